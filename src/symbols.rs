//! Names of functions by their addresses, in programs and in the kernel. A look-up reads the program's
//! file, so it is asked for only where stacks are shown, and seldom.

use std::collections::HashSet;

use blazesym::Pid;
use blazesym::symbolize::source::{Kernel, Process, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};

/// Processes whose maps are remembered, before all are forgotten.
const MAX_PROCESSES: usize = 256;

/// A cache of symbols.
#[derive(Debug)]
pub struct Symbols {
    symbolizer: Symbolizer,
    seen: HashSet<u32>,
}

impl Default for Symbols {
    fn default() -> Self {
        Symbols { symbolizer: Symbolizer::new(), seen: HashSet::new() }
    }
}

impl Symbols {
    /// `function+0x12 (file)` for each address in a process; the bare address where nothing is known
    /// of it, or of the process any more.
    pub fn of_process(&mut self, pid: u32, addresses: &[u64]) -> Vec<String> {
        if self.seen.len() >= MAX_PROCESSES {
            *self = Symbols::default();
        }
        self.seen.insert(pid);
        let mut process = Process::new(Pid::from(pid));
        // Files whose path the program chooses are not opened: a FIFO there would hold us for ever.
        process.perf_map = false;
        process.debug_syms = false;
        self.look_up(&Source::Process(process), addresses)
    }

    /// The same for addresses of the kernel.
    pub fn of_kernel(&self, addresses: &[u64]) -> Vec<String> {
        self.look_up(&Source::Kernel(Kernel::default()), addresses)
    }

    /// The kernel's function at an address, and how far in.
    pub fn kernel_function(&self, address: u64) -> Option<(String, u64)> {
        let source = Source::Kernel(Kernel::default());
        let found = self.symbolizer.symbolize(&source, Input::AbsAddr(&[address])).ok()?;
        let Symbolized::Sym(symbol) = found.first()? else {
            return None;
        };
        let name = crate::names::visible(symbol.name.as_bytes());
        Some((name, symbol.offset.try_into().ok()?))
    }

    fn look_up(&self, source: &Source<'_>, addresses: &[u64]) -> Vec<String> {
        let found = self.symbolizer.symbolize(source, Input::AbsAddr(addresses));
        let found = found.unwrap_or_default();
        let name = |(at, address): (usize, &u64)| match found.get(at) {
            Some(Symbolized::Sym(symbol)) => {
                let file = symbol
                    .module
                    .as_ref()
                    .and_then(|module| std::path::Path::new(&**module).file_name());
                let file = file.map_or_else(String::new, |f| format!(" ({})", f.to_string_lossy()));
                format!("{}+{:#x}{file}", symbol.name, symbol.offset)
            }
            _ => format!("{address:#x}"),
        };
        let names = addresses.iter().enumerate().map(name);
        names.map(|name| crate::names::visible(name.as_bytes())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_have_names() {
        let mut symbols = Symbols::default();
        let address = own_functions_have_names as *const () as u64;
        let names = symbols.of_process(std::process::id(), &[address + 1, 16]);
        assert!(names[0].contains("own_functions_have_names"), "{names:?}");
        assert!(names[0].contains("+0x1 (nettrace-"), "{names:?}");
        assert_eq!(names[1], "0x10");
    }

    #[test]
    fn of_a_process_that_is_gone_addresses_are_left() {
        assert_eq!(Symbols::default().of_process(4_194_305, &[0x1234]), ["0x1234"]);
    }
}

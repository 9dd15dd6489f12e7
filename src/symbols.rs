//! Names of functions by their addresses, in programs and in the kernel. A look-up reads the program's
//! file, so it is asked for only where stacks are shown, and seldom.

use std::collections::HashSet;
use std::path::PathBuf;

use blazesym::Pid;
use blazesym::symbolize::source::{Elf, Kernel, Process, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

/// Processes whose maps are remembered, before all are forgotten.
const MAX_PROCESSES: usize = 256;

/// A cache of symbols.
#[derive(Debug)]
pub struct Symbols {
    symbolizer: Symbolizer,
    seen: HashSet<u32>,
    detail: Detail,
}

/// What of a symbol is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Names of C++ and Rust as they were written.
    pub demangled: bool,
    /// Files, lines and inlined functions, by the debug information within the program's file.
    pub lines: bool,
}

/// A function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// How far in the address is; none for a function that is inlined there.
    pub offset: Option<usize>,
    /// The file that it is in.
    pub module: Option<PathBuf>,
    /// The file and line of the source.
    pub line: Option<(PathBuf, u32)>,
}

impl Default for Symbols {
    fn default() -> Self {
        Symbols::new(Detail { demangled: true, lines: false })
    }
}

impl Symbols {
    /// An empty cache.
    pub fn new(detail: Detail) -> Self {
        let builder = Symbolizer::builder()
            .enable_code_info(detail.lines)
            .enable_inlined_fns(detail.lines)
            .enable_demangling(detail.demangled)
            // A program says the name of the file with its debug information.
            .set_debug_dirs(None::<[PathBuf; 0]>);
        Symbols { symbolizer: builder.build(), seen: HashSet::new(), detail }
    }

    /// The functions at an address of a process, inlined ones first; none if nothing is known of it.
    pub fn at(&mut self, pid: u32, address: u64) -> Vec<Symbol> {
        let source = Source::Process(self.process(pid));
        self.found_at(&source, Input::AbsAddr(&[address]))
    }

    /// The same of a program's file, as it is linked: of a process that is gone, unless the kernel put it elsewhere.
    pub fn at_file(&self, path: &std::path::Path, address: u64) -> Vec<Symbol> {
        let source = Source::Elf(Elf::new(path));
        self.found_at(&source, Input::VirtOffset(&[address]))
    }

    /// The same of the kernel.
    pub fn at_kernel(&self, address: u64) -> Vec<Symbol> {
        let source = Source::Kernel(Kernel::default());
        self.found_at(&source, Input::AbsAddr(&[address]))
    }

    fn found_at(&self, source: &Source<'_>, address: Input<&[u64]>) -> Vec<Symbol> {
        let found = self.symbolizer.symbolize(source, address).unwrap_or_default();
        found.first().and_then(Symbolized::as_sym).map_or_else(Vec::new, functions_of)
    }

    fn process(&mut self, pid: u32) -> Process {
        if self.seen.len() >= MAX_PROCESSES {
            *self = Symbols::new(self.detail);
        }
        self.seen.insert(pid);
        let mut process = Process::new(Pid::from(pid));
        // Files whose path the program chooses are not opened: a FIFO there would hold us for ever.
        process.perf_map = false;
        process.debug_syms = self.detail.lines;
        process
    }

    /// `function+0x12 (file)` for each address in a process; the bare address where nothing is known
    /// of it, or of the process any more.
    pub fn of_process(&mut self, pid: u32, addresses: &[u64]) -> Vec<String> {
        let source = Source::Process(self.process(pid));
        self.look_up(&source, addresses)
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

/// The innermost first, as stacks are read.
fn functions_of(symbol: &Sym<'_>) -> Vec<Symbol> {
    let visible = |name: &str| crate::names::visible(name.as_bytes());
    let line = |code: &CodeInfo<'_>| Some((code.to_path().into_owned(), code.line?));
    let inlined = symbol.inlined.iter().rev().map(|function| Symbol {
        name: visible(&function.name),
        offset: None,
        module: None,
        line: function.code_info.as_ref().and_then(line),
    });
    let outer = Symbol {
        name: visible(&symbol.name),
        offset: Some(symbol.offset),
        module: symbol.module.as_deref().map(PathBuf::from),
        line: symbol.code_info.as_deref().and_then(line),
    };
    inlined.chain([outer]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_lines() {
        let mut symbols = Symbols::new(Detail { demangled: true, lines: true });
        let found = symbols.at(std::process::id(), functions_have_lines as *const () as u64 + 1);
        let last = found.last().unwrap();
        assert!(last.name.contains("functions_have_lines"), "{found:?}");
        assert_eq!(last.offset, Some(1));
        assert!(last.line.as_ref().unwrap().0.ends_with("src/symbols.rs"), "{found:?}");
        assert_eq!(symbols.at(std::process::id(), 16), []);
    }

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

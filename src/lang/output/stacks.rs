//! Stacks and symbols as text.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use blazesym::helper::read_elf_build_id;

use crate::lang::config::Config;
use crate::lang::types::{Stack, StackMode};
use crate::symbols::{Detail, Symbol, Symbols};

/// Indent of a frame.
const INDENT: &str = "        ";

/// Whose addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space<'a> {
    Kernel,
    /// Of a process, and the program that it probably ran, in case it is gone.
    Process(u32, Option<&'a Path>),
}

/// Functions by their addresses.
#[derive(Debug)]
pub(super) struct Functions {
    symbols: Symbols,
    /// Build ids of files.
    build_ids: HashMap<PathBuf, Option<String>>,
}

impl Functions {
    pub(super) fn new(config: &Config) -> Self {
        let detail = Detail { demangled: config.cpp_demangle, lines: config.show_debug_info };
        Self { symbols: Symbols::new(detail), build_ids: HashMap::new() }
    }

    /// The name of the function at an address, or the address.
    pub(super) fn name(&mut self, space: Space<'_>, address: u64) -> String {
        self.known_name(space, address).unwrap_or_else(|| format!("{address:#x}"))
    }

    /// The same, if the function is known.
    pub(super) fn known_name(&mut self, space: Space<'_>, address: u64) -> Option<String> {
        self.found(space, address).into_iter().next_back().map(|symbol| symbol.name)
    }

    /// The same of a file, where it is linked.
    pub(super) fn linked_name(&self, file: &Path, address: u64) -> Option<String> {
        self.symbols.at_file(file, address).into_iter().next_back().map(|symbol| symbol.name)
    }

    fn found(&mut self, space: Space<'_>, address: u64) -> Vec<Symbol> {
        match space {
            Space::Kernel => self.symbols.at_kernel(address),
            Space::Process(pid, file) => {
                let found = self.symbols.at(pid, address);
                match file {
                    // An address that isn't the file's own is none of those that it says.
                    Some(file) if found.is_empty() => self.symbols.at_file(file, address),
                    _ => found,
                }
            }
        }
    }

    /// A line for each frame, behind an empty one.
    pub(super) fn stack(&mut self, stack: Stack, space: Space<'_>, frames: &[u64]) -> String {
        let mut text = "\n".to_owned();
        for &address in frames {
            // Writing to a string can't fail.
            _ = match stack.mode {
                StackMode::Raw => writeln!(text, "{address:x}"),
                StackMode::BuildId => writeln!(text, "{}", self.in_file(space, address)),
                StackMode::Bpftrace => self.frame(&mut text, space, address),
                StackMode::Perf => self.perf_frame(&mut text, space, address),
            };
        }
        text
    }

    fn frame(&mut self, text: &mut String, space: Space<'_>, address: u64) -> std::fmt::Result {
        let found = self.found(space, address);
        if found.is_empty() {
            return writeln!(text, "{INDENT}{address:#x}");
        }
        for symbol in found {
            let line = symbol
                .line
                .map_or_else(String::new, |(file, line)| format!("@{}:{line}", file.display()));
            match symbol.offset {
                Some(offset) => writeln!(text, "{INDENT}{}+{offset}{line}", symbol.name)?,
                None => writeln!(text, "{INDENT}[inlined] {}{line}", symbol.name)?,
            }
        }
        Ok(())
    }

    fn perf_frame(
        &mut self,
        text: &mut String,
        space: Space<'_>,
        address: u64,
    ) -> std::fmt::Result {
        let found = self.found(space, address);
        if found.is_empty() {
            let unknown = if space == Space::Kernel { "" } else { " ([unknown])" };
            return writeln!(text, "\t{address:x} {address:#x}{unknown}");
        }
        for symbol in found {
            let offset = symbol.offset.map(|offset| format!("+{offset}")).unwrap_or_default();
            let module = match (space, symbol.offset, symbol.module) {
                (_, None, _) => " (inlined)".to_owned(),
                (Space::Kernel, ..) => String::new(),
                (_, _, Some(module)) => format!(" ({})", module.display()),
                _ => " ([unknown])".to_owned(),
            };
            writeln!(text, "\t{address:x} {}{offset}{module}", symbol.name)?;
        }
        Ok(())
    }

    /// The build id of the file and the offset in it, or the address.
    fn in_file(&mut self, space: Space<'_>, address: u64) -> String {
        let Space::Process(pid, _) = space else { return format!("{address:x}") };
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let found =
            maps.lines().find_map(|line| mapped(line, address)).and_then(|(file, offset)| {
                let path = PathBuf::from(format!("/proc/{pid}/root{}", file.display()));
                let id = self.build_ids.entry(path).or_insert_with_key(|path| {
                    let id = read_elf_build_id(path).ok()??;
                    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
                });
                id.as_ref().map(|id| format!("{id} {offset:#x}"))
            });
        found.unwrap_or_else(|| format!("{address:x}"))
    }
}

/// The file of a line of /proc/PID/maps that has an address, and the address's offset in it.
fn mapped(line: &str, address: u64) -> Option<(PathBuf, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let offset = u64::from_str_radix(words.nth(1)?, 16).ok()?;
    let file = words.nth(2).filter(|file| file.starts_with('/'))?;
    (start..end).contains(&address).then(|| (PathBuf::from(file), address - start + offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mode: StackMode, frames: &[u64]) -> String {
        let config = Config { show_debug_info: false, ..Config::default() };
        let stack = Stack { mode, limit: 127 };
        Functions::new(&config).stack(stack, Space::Process(std::process::id(), None), frames)
    }

    #[test]
    fn frames_are_written() {
        let here = frames_are_written as *const () as u64;
        assert_eq!(shown(StackMode::Raw, &[here, 16]), format!("\n{here:x}\n10\n"));
        let text = shown(StackMode::Bpftrace, &[here + 3, 16]);
        assert!(text.starts_with("\n        nettrace::lang::output::stacks"), "{text}");
        assert!(text.ends_with("frames_are_written+3\n        0x10\n"), "{text}");
        let text = shown(StackMode::Perf, &[here, 16]);
        assert!(text.contains(&format!("\t{here:x} ")) && text.contains("+0 (/"), "{text}");
        assert!(text.ends_with("\t10 0x10 ([unknown])\n"), "{text}");
        assert_eq!(shown(StackMode::Bpftrace, &[]), "\n");
    }

    #[test]
    fn files_of_addresses_are_found() {
        let line = "55d0-55f0 r-xp 00000020 fe:01 1234    /usr/bin/true";
        assert_eq!(mapped(line, 0x55d8), Some(("/usr/bin/true".into(), 0x28)));
        assert_eq!(mapped(line, 0x55f0), None);
        assert_eq!(mapped("55d0-55f0 rw-p 00000000 00:00 0  [heap]", 0x55d8), None);
        assert_eq!(mapped("", 1), None);
        let text = shown(StackMode::BuildId, &[frames_are_written as *const () as u64]);
        let id = text.trim().split(' ').next().unwrap_or_default();
        assert!(id.len() >= 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    }
}

//! Functions of the kernel that a kprobe can be put on.

use std::fs;

use super::super::super::types::Name;
use super::super::super::wildcard::{has_wildcard, is_match};
use crate::tracefs::Tracefs;

/// Functions whose module and name are meant by these words, in the order of their names. Nothing if no list of them
/// can be read.
pub(super) fn functions(module: Option<&str>, pattern: &str) -> Option<Vec<Name>> {
    let list = traceable().or_else(|| fs::read_to_string("/proc/kallsyms").ok())?;
    let mut names: Vec<Name> = list
        .lines()
        .filter_map(parse)
        .filter(|(name, of)| {
            let is_named =
                if has_wildcard(pattern) { is_match(pattern, name) } else { *name == pattern };
            is_named && module.is_none_or(|module| is_match(module, of))
        })
        .map(|(name, _)| name.into())
        .collect();
    names.sort();
    names.dedup();
    Some(names)
}

/// The list that ftrace has, which says what can be traced.
fn traceable() -> Option<String> {
    fs::read_to_string(Tracefs::open().ok()?.path().join("available_filter_functions")).ok()
}

/// A line of either list: the function's name and its module's.
fn parse(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_ascii_whitespace().peekable();
    // /proc/kallsyms has the address and the kind first.
    let first = words.next()?;
    let name = match words.peek() {
        Some(kind) if kind.len() == 1 => {
            let is_code = matches!(words.next()?, "t" | "T" | "w" | "W");
            words.next().filter(|_| is_code)?
        }
        _ => first,
    };
    let module = words.next().unwrap_or("vmlinux");
    Some((name, module.trim_matches(['[', ']'])))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_of_both_lists() {
        assert_eq!(parse("vfs_read"), Some(("vfs_read", "vmlinux")));
        assert_eq!(parse("btrfs_sync [btrfs]"), Some(("btrfs_sync", "btrfs")));
        assert_eq!(parse("ffffffff81000000 T _stext"), Some(("_stext", "vmlinux")));
        assert_eq!(parse("0 t f\t[m]"), Some(("f", "m")));
        assert_eq!(parse("0 D some_data"), None);
    }
}

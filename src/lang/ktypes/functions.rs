//! Functions of the kernel that a kprobe can be put on.

use std::fs;

use crate::lang::types::Name;
use crate::lang::wildcard::{has_wildcard, is_match};
use crate::tracefs::Tracefs;

/// Functions whose module and name are meant by these words, in the order of their names. Nothing if no list of them
/// can be read.
///
/// A wildcard leaves out functions of RCU, which probes need themselves.
pub fn functions(module: Option<&str>, pattern: &str) -> Option<Vec<Name>> {
    let list = list()?;
    let mut names: Vec<Name> = list
        .lines()
        .filter_map(parse)
        .filter(|(name, of)| {
            let is_named = if has_wildcard(pattern) {
                is_match(pattern, name) && !name.starts_with("rcu_")
            } else {
                *name == pattern
            };
            is_named && module.is_none_or(|module| is_match(module, of))
        })
        .map(|(name, _)| name.into())
        .collect();
    names.sort();
    names.dedup();
    Some(names)
}

/// All of them: module and name, in this order, each once.
pub fn all_functions() -> Vec<(String, String)> {
    let list = list().unwrap_or_default();
    let functions = list.lines().filter_map(parse);
    // Its own marks for places that it lost, and copies of a part of a function.
    let is_one =
        |name: &str| !name.starts_with("__ftrace_invalid_address__") && !name.contains(".part.");
    let functions = functions.filter(|(name, _)| is_one(name));
    let mut all: Vec<_> =
        functions.map(|(name, module)| (module.to_owned(), name.to_owned())).collect();
    all.sort();
    all.dedup();
    all
}

/// The list that ftrace has, which says what can be traced, or else all symbols.
fn list() -> Option<String> {
    let traceable = || {
        let tracefs = Tracefs::open().ok()?;
        fs::read_to_string(tracefs.path().join("available_filter_functions")).ok()
    };
    traceable().or_else(|| fs::read_to_string("/proc/kallsyms").ok())
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

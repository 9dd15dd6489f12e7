//! Functions of the kernel that a kprobe can be put on.

use std::fs;

use crate::lang::types::Name;
use crate::lang::wildcard::{has_wildcard, is_match};
use crate::tracefs::Tracefs;

/// Functions of a list whose module and name are meant by these words, in the order of their names.
///
/// A wildcard leaves out functions of RCU, which probes need themselves.
pub(super) fn functions(list: &str, module: Option<&str>, pattern: &str) -> Vec<Name> {
    let is_meant = |(name, of): &(&str, &str)| {
        let is_named = if has_wildcard(pattern) {
            is_match(pattern, name) && !name.starts_with("rcu_")
        } else {
            *name == pattern
        };
        is_named && module.is_none_or(|module| is_match(module, of))
    };
    // One name is soon found; of the lines without it none is taken apart.
    let lines: Vec<&str> = if pattern.is_empty() {
        Vec::new()
    } else if has_wildcard(pattern) {
        list.lines().collect()
    } else {
        let places = memchr::memmem::find_iter(list.as_bytes(), pattern);
        places.map(|at| line_at(list, at)).collect()
    };
    let functions = lines.into_iter().filter_map(parse).filter(is_meant);
    let mut names: Vec<Name> = functions.map(|(name, _)| name.into()).collect();
    names.sort();
    names.dedup();
    names
}

/// The line that a byte is in.
fn line_at(list: &str, at: usize) -> &str {
    let begin = memchr::memrchr(b'\n', &list.as_bytes()[..at]).map_or(0, |newline| newline + 1);
    list[begin..].lines().next().unwrap_or_default()
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
pub(super) fn list() -> Option<String> {
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
    use super::{functions, parse};

    #[test]
    fn functions_by_name_and_module() {
        let list = "vfs_read\nvfs_readv\nbtrfs_read [btrfs]\n__vfs_read\nvfs_read [other]\n";
        let names = |module, pattern| functions(list, module, pattern).join(" ");
        assert_eq!(names(None, "vfs_read"), "vfs_read");
        assert_eq!(names(None, "*vfs_read*"), "__vfs_read vfs_read vfs_readv");
        assert_eq!(names(Some("btrfs"), "*"), "btrfs_read");
        assert_eq!(names(Some("none"), "vfs_read"), "");
        assert_eq!(functions("rcu_read\nread", None, "*read").join(" "), "read");
    }

    #[test]
    fn lines_of_both_lists() {
        assert_eq!(parse("vfs_read"), Some(("vfs_read", "vmlinux")));
        assert_eq!(parse("btrfs_sync [btrfs]"), Some(("btrfs_sync", "btrfs")));
        assert_eq!(parse("ffffffff81000000 T _stext"), Some(("_stext", "vmlinux")));
        assert_eq!(parse("0 t f\t[m]"), Some(("f", "m")));
        assert_eq!(parse("0 D some_data"), None);
    }
}

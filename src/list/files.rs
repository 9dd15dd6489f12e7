//! Functions and static tracepoints of programs and libraries.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Listed;
use crate::lang::elf::{self, File};
use crate::lang::wildcard::{has_wildcard, is_match};

/// `FILE:FUNCTION` of those that fit, in the order of their words.
pub(super) fn functions(words: &str, pid: Option<u32>) -> Vec<Listed> {
    let (file, function) = words.split_once(':').unwrap_or(("*", words));
    let names = |path: &Path| {
        let functions = File::open(path).and_then(|file| file.functions()).unwrap_or_default();
        functions.into_iter().map(|function| function.name).collect()
    };
    listed(file, function, pid, &names)
}

/// `FILE:PROVIDER:NAME` of those that fit.
pub(super) fn usdt(words: &str, pid: Option<u32>) -> Vec<Listed> {
    let (file, probe) = match words.split(':').count() {
        0 | 1 => ("*", format!("*:{words}")),
        2 => {
            let (file, name) = words.split_once(':').unwrap_or_default();
            (file, format!("*:{name}"))
        }
        _ => {
            let (file, probe) = words.split_once(':').unwrap_or_default();
            (file, probe.to_owned())
        }
    };
    let _ = (file, probe, pid);
    Vec::new()
}

fn listed(
    file: &str,
    pattern: &str,
    pid: Option<u32>,
    names: &dyn Fn(&Path) -> Vec<String>,
) -> Vec<Listed> {
    let mut all = Vec::new();
    for path in paths(file, pid) {
        for name in names(&path).into_iter().filter(|name| is_match(pattern, name)) {
            all.push(Listed { words: format!("{}:{name}", path.display()), arguments: Vec::new() });
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Files that a word means: those that fit it, or that a process has mapped.
fn paths(word: &str, pid: Option<u32>) -> Vec<PathBuf> {
    if !has_wildcard(word) {
        return elf::resolve(word, pid).into_iter().collect();
    }
    if let Some(pid) = pid {
        let mapped = mapped(pid).into_iter();
        return mapped.filter(|path| is_match(word, &path.to_string_lossy())).collect();
    }
    let (folder, name) = match word.rsplit_once('/') {
        Some((folder, name)) => (folder, name),
        None => return Vec::new(),
    };
    // A wildcard stands for names of files, not of folders.
    let entries = fs::read_dir(if folder.is_empty() { "/" } else { folder });
    let names = entries.into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut paths: Vec<PathBuf> = names
        .filter(|file| is_match(name, file))
        .map(|file| Path::new(folder).join(file))
        .collect();
    paths.sort();
    paths
}

/// Files whose code a process has mapped, as they are seen from here.
fn mapped(pid: u32) -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let code = maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let is_code = words.nth(1)?.contains('x');
        words.nth(3).filter(|path| is_code && path.starts_with('/'))
    });
    code.filter_map(|path| elf::resolve(path, Some(pid))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_are_listed() {
        let own = std::env::current_exe().unwrap();
        let words = format!("{}:*own_functions_are_listed*", own.display());
        let found = functions(&words, None);
        assert!(
            !found.is_empty()
                && found.iter().all(|one| one.words.starts_with(own.to_str().unwrap()))
        );
        let of_process = functions("*:*own_functions_are_listed*", Some(std::process::id()));
        assert_eq!(of_process, found);
        assert_eq!(functions("/nonexistent:*", None), []);
    }
}

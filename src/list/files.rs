//! Functions and static tracepoints of programs and libraries.

use std::path::{Path, PathBuf};

use super::Listed;
use crate::lang::dwarf::Cache;
use crate::lang::elf::{self, File, Marker};
use crate::lang::wildcard::{has_wildcard, is_match};

/// `FILE:FUNCTION` of those that fit, in the order of their words; what they take, if somebody wants to know.
pub(super) fn functions(words: &str, pid: Option<u32>, debug: Option<&Cache>) -> Vec<Listed> {
    let (file, function) = words.split_once(':').unwrap_or(("*", words));
    let names = |path: &Path| {
        let functions = File::open(path).and_then(|file| file.functions()).unwrap_or_default();
        functions.into_iter().map(|function| function.name).collect()
    };
    let mut all = listed(file, function, pid, &names);
    let Some(debug) = debug else { return all };
    for Listed { words, arguments } in &mut all {
        let Some((file, function)) = words.rsplit_once(':') else { continue };
        let known = debug.of(Path::new(file)).and_then(|debug| debug.declarations(function));
        *arguments = known.unwrap_or_default();
    }
    all
}

/// `FILE:PROVIDER:NAME` of those that fit.
pub(super) fn usdt(words: &str, pid: Option<u32>) -> Vec<Listed> {
    let (file, pattern) = words.split_once(':').unwrap_or(("*", words));
    let names = |path: &Path| {
        let markers = File::open(path).and_then(|file| file.markers()).unwrap_or_default();
        let name = |marker: Marker| format!("{}:{}", marker.provider, marker.name);
        markers.into_iter().map(name).collect()
    };
    listed(file, pattern, pid, &names)
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
    match pid {
        Some(pid) if has_wildcard(word) => {
            let mapped = elf::mapped_files(pid).into_iter();
            mapped.filter(|path| is_match(word, &path.to_string_lossy())).collect()
        }
        _ => elf::shown(word, pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_functions_are_listed() {
        let own = std::env::current_exe().unwrap();
        let words = format!("{}:*own_functions_are_listed*", own.display());
        let found = functions(&words, None, None);
        assert!(
            !found.is_empty()
                && found.iter().all(|one| one.words.starts_with(own.to_str().unwrap()))
        );
        let of_process = functions("*:*own_functions_are_listed*", Some(std::process::id()), None);
        assert_eq!(of_process, found);
        assert_eq!(functions("/nonexistent:*", None, None), []);
    }
}

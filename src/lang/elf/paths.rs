//! Files by the words that attach points have: a path, a program of `PATH`, a library.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::lang::wildcard::is_match;

/// The file that is meant by a word, as a process sees it if there is one.
///
/// `libc` and `libc.so.6` are looked for as the dynamic linker does; what has no slash else in `PATH`.
pub fn resolve(word: &str, pid: Option<u32>) -> Option<PathBuf> {
    let seen = |path: &Path| match pid {
        Some(pid) if !shares_mounts(pid) => of_process(pid, path),
        _ => path.to_owned(),
    };
    if word.contains('/') {
        return Some(seen(Path::new(word))).filter(|path| path.is_file());
    }
    if word.starts_with("lib")
        && let Some(library) = library(word)
    {
        return Some(seen(&library));
    }
    let as_is = Some(PathBuf::from(word));
    let search = env::var_os("PATH").unwrap_or_default();
    let of_search: Vec<PathBuf> = env::split_paths(&search).map(|path| path.join(word)).collect();
    as_is.into_iter().chain(of_search).map(|path| seen(&path)).find(|path| path.is_file())
}

/// All files that are meant by a word with `*` in it, in the order of their names; else the one, if it is there.
pub fn shown(word: &str, pid: Option<u32>) -> Vec<PathBuf> {
    if !word.contains('*') {
        return resolve(word, pid).into_iter().collect();
    }
    let begin = if word.starts_with('/') { "/" } else { "" };
    let mut found = vec![PathBuf::from(begin)];
    for part in word.split('/').filter(|part| !part.is_empty()) {
        found = found.into_iter().flat_map(|folder| within(&folder, part)).collect();
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// What is in a folder by that name, or by what `*` stands for.
fn within(folder: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains('*') {
        return vec![folder.join(part)];
    }
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(here).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_match(part, name)).map(|name| folder.join(name)).collect()
}

/// Files whose code a process has in its memory.
pub fn mapped_files(pid: u32) -> Vec<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let root = if shares_mounts(pid) { None } else { Some(pid) };
    let code = maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let is_code = words.nth(1)?.contains('x');
        let path = line.find('/').map(|at| &line[at..])?;
        (is_code && !path.ends_with(" (deleted)")).then_some(path)
    });
    let mut files: Vec<PathBuf> = code
        .map(|path| match root {
            Some(pid) => of_process(pid, Path::new(path)),
            None => PathBuf::from(path),
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

/// The same of all processes.
pub fn running_files() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut files: Vec<PathBuf> = pids.flat_map(mapped_files).collect();
    files.sort();
    files.dedup();
    files
}

/// A path of another mount namespace by way of its process.
fn of_process(pid: u32, path: &Path) -> PathBuf {
    let root = format!("/proc/{pid}/root");
    match path.strip_prefix("/") {
        Ok(rest) if !path.starts_with(&root) => Path::new(&root).join(rest),
        _ => path.to_owned(),
    }
}

fn shares_mounts(pid: u32) -> bool {
    let namespace =
        |process: &str| fs::metadata(format!("/proc/{process}/ns/mnt")).map(|of| of.ino());
    match (namespace("self"), namespace(&pid.to_string())) {
        (Ok(own), Ok(other)) => own == other,
        _ => true,
    }
}

/// The library of that name, with or without what is behind its first dot: where the dynamic linker has it, or, on
/// systems without its cache, where libraries usually are.
fn library(word: &str) -> Option<PathBuf> {
    let is_meant = |name: &str| {
        name == word || name.strip_prefix(word).is_some_and(|rest| rest.starts_with(".so"))
    };
    let cache = fs::read("/etc/ld.so.cache").unwrap_or_default();
    let known = libraries(&cache).find(|(name, _)| is_meant(name));
    let known = known.map(|(_, path)| PathBuf::from(path)).filter(|path| path.is_file());
    known.or_else(|| {
        let triplet = format!("{}-linux-gnu", env::consts::ARCH);
        let folders = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"];
        let folders = folders
            .iter()
            .flat_map(|folder| [PathBuf::from(folder), Path::new(folder).join(&triplet)]);
        let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let meant = files.filter(|file| file.file_name().to_str().is_some_and(is_meant));
        meant.map(|file| file.path()).filter(|path| path.is_file()).min()
    })
}

/// Names and paths in the dynamic linker's cache, those of this machine's kind.
fn libraries(cache: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    #[cfg(target_arch = "x86_64")]
    const KIND: u32 = 0x0303;
    #[cfg(target_arch = "aarch64")]
    const KIND: u32 = 0x0a03;

    // Older caches have another one in front.
    let begin = memchr::memmem::find(cache, MAGIC).unwrap_or(cache.len());
    let cache = &cache[begin..];
    let word = move |at: usize| {
        cache.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_ne_bytes(*word))
    };
    let string = move |at: u32| {
        let rest = cache.get(at as usize..)?;
        std::str::from_utf8(&rest[..memchr::memchr(0, rest)?]).ok()
    };
    let count = word(MAGIC.len()).unwrap_or(0) as usize;
    (0..count).map(move |number| HEADER + number * ENTRY).filter_map(move |at| {
        let is_ours = word(at)? == KIND;
        is_ours.then_some((string(word(at + 4)?)?, string(word(at + 8)?)?))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn programs_and_libraries() {
        assert!(resolve("ls", None).unwrap().ends_with("ls"));
        let libc = resolve("libc", None).unwrap();
        assert!(libc.to_string_lossy().contains("libc.so"), "{libc:?}");
        assert_eq!(resolve("libc.so.6", None), Some(libc));
        assert_eq!(resolve("/no/such/file", None), None);
        assert_eq!(resolve("/etc/passwd", Some(std::process::id())), Some("/etc/passwd".into()));
    }

    #[test]
    fn wildcards_are_of_names() {
        let found = shown("/proc/self/stat*", None);
        let names = ["/proc/self/stat", "/proc/self/statm", "/proc/self/status"];
        assert_eq!(found, names.map(PathBuf::from));
        assert!(shown("Cargo.t*l", None).contains(&"Cargo.toml".into()));
    }

    #[test]
    fn own_code_is_in_a_file() {
        let own = mapped_files(std::process::id());
        assert!(own.contains(&env::current_exe().unwrap()), "{own:?}");
        assert!(own.iter().all(|path| path.starts_with("/")));
    }

    #[test]
    fn paths_of_other_mounts() {
        assert_eq!(of_process(7, Path::new("/bin/x")), Path::new("/proc/7/root/bin/x"));
        let already = Path::new("/proc/7/root/bin/x");
        assert_eq!(of_process(7, already), already);
    }
}

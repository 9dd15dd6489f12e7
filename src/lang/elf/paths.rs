//! Files by the words that attach points have: a path, a program of `PATH`, a library.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// The library of that name, with or without what is behind its first dot.
fn library(word: &str) -> Option<PathBuf> {
    let cache = fs::read("/etc/ld.so.cache").ok()?;
    let mut found = libraries(&cache);
    let path = found.find(|(name, _)| {
        *name == word || name.strip_prefix(word).is_some_and(|rest| rest.starts_with(".so"))
    });
    path.map(|(_, path)| PathBuf::from(path)).filter(|path| path.is_file())
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
    fn paths_of_other_mounts() {
        assert_eq!(of_process(7, Path::new("/bin/x")), Path::new("/proc/7/root/bin/x"));
        let already = Path::new("/proc/7/root/bin/x");
        assert_eq!(of_process(7, already), already);
    }
}

//! Paths of cgroups by their ids, in all hierarchies that are mounted.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::lang::wildcard;

/// Paths that were found.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    known: HashMap<(PathBuf, u64), String>,
}

impl Cgroups {
    /// `unified:/a/b,pids:/a`: where that id is, in the hierarchies whose name fits the pattern.
    pub(super) fn paths(&mut self, id: u64, pattern: &str) -> String {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut found = Vec::new();
        for (name, root) in hierarchies(&mounts) {
            if (pattern.is_empty() || wildcard::is_match(pattern, &name))
                && let Some(path) = self.path(&root, id)
            {
                found.push(format!("{name}:{path}"));
            }
        }
        found.join(",")
    }

    fn path(&mut self, root: &Path, id: u64) -> Option<String> {
        let key = (root.to_owned(), id);
        if let Some(known) = self.known.get(&key) {
            let path = root.join(known.trim_start_matches('/'));
            // It may have gone, and another one have its number.
            if fs::metadata(path).is_ok_and(|meta| meta.ino() == id) {
                return Some(known.clone());
            }
        }
        let path = find(root, id)?;
        let path = format!("/{}", path.strip_prefix(root).ok()?.display());
        self.known.insert(key, path.clone());
        Some(path)
    }
}

/// Names and roots: the unified one first, then the others by name.
fn hierarchies(mounts: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(bool, String, PathBuf)> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let root = PathBuf::from(words.next()?);
            let name = match words.next()? {
                "cgroup2" => "unified".to_owned(),
                "cgroup" => root.file_name()?.to_string_lossy().into_owned(),
                _ => return None,
            };
            Some((name != "unified", name, root))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, name, root)| (name, root)).collect()
}

fn find(dir: &Path, id: u64) -> Option<PathBuf> {
    if fs::metadata(dir).ok()?.ino() == id {
        return Some(dir.to_owned());
    }
    let entries = fs::read_dir(dir).ok()?.flatten();
    let mut dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.find_map(|entry| find(&entry.path(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            hierarchies(mounts),
            [
                ("unified".to_owned(), PathBuf::from("/sys/fs/cgroup/unified")),
                ("pids".to_owned(), PathBuf::from("/sys/fs/cgroup/pids")),
            ]
        );
    }

    #[test]
    fn paths_are_found_by_inode() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let id = fs::metadata(&inner).unwrap().ino();
        let mut cgroups = Cgroups::default();
        assert_eq!(cgroups.path(root.path(), id).as_deref(), Some("/a/b"));
        assert_eq!(cgroups.path(root.path(), id).as_deref(), Some("/a/b"));
        let own = fs::metadata(root.path()).unwrap().ino();
        assert_eq!(cgroups.path(root.path(), own).as_deref(), Some("/"));
        fs::remove_dir(&inner).unwrap();
        assert_eq!(cgroups.path(root.path(), id), None);
    }
}

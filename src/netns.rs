//! Network namespaces by name: finding one, naming one, and doing something inside of one.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{FsType, fstatfs};

use crate::names::visible;

const NAMED: &str = "/run/netns";
/// The file system of namespaces, from the kernel's `magic.h`.
const NSFS_MAGIC: libc::c_long = 0x6e73_6673;

/// There is no network namespace of a name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoNetns(String);

/// An open network namespace: it goes on to exist as long as this does.
#[derive(Debug)]
pub struct Netns {
    file: File,
    inode: u32,
}

impl Netns {
    /// Opens a namespace by its name under `/run/netns`, or by a path such as `/proc/1/ns/net`.
    ///
    /// # Errors
    /// [`NoNetns`] where there is none of that name, with those there are; or what failed.
    pub fn open(name: &str) -> Result<Self> {
        let path =
            if name.contains('/') { PathBuf::from(name) } else { Path::new(NAMED).join(name) };
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(none_of(name).into()),
            file => file.with_context(|| format!("open network namespace {name}"))?,
        };
        if fstatfs(&file).is_ok_and(|fs| fs.filesystem_type() != FsType(NSFS_MAGIC)) {
            return Err(NoNetns(format!("{} is no network namespace", path.display())).into());
        }
        let inode = file.metadata().context("look up the namespace's inode")?.ino();
        let inode = u32::try_from(inode).context("that isn't a network namespace")?;
        Ok(Netns { file, inode })
    }

    /// Its inode, by which the kernel side knows it.
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// Runs `work` inside of it, on a thread of its own, and returns what it returned.
    ///
    /// # Errors
    /// Where entering it isn't permitted.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside =
                thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)
                        .context("enter the network namespace")?;
                    work()
                })?;
            inside.join().unwrap_or_else(|_| Err(anyhow!("the thread in the namespace died")))
        })
    }
}

fn none_of(name: &str) -> NoNetns {
    let known: Vec<String> = names().iter().map(|(name, _)| visible(name.as_bytes())).collect();
    let known = if known.is_empty() {
        "none has a name (ip netns)".to_owned()
    } else {
        format!("there are {}", known.join(" "))
    };
    NoNetns(format!("there is no network namespace {}; {known}", visible(name.as_bytes())))
}

/// The inode of the namespace that this thread is in; 0 if it can't be had.
pub fn own() -> u32 {
    let inode = fs::metadata("/proc/thread-self/ns/net").map(|file| file.ino());
    inode.ok().and_then(|inode| u32::try_from(inode).ok()).unwrap_or(0)
}

/// The named namespaces and their inodes.
pub fn names() -> Vec<(String, u32)> {
    let Ok(entries) = fs::read_dir(NAMED) else {
        return Vec::new();
    };
    let mut names: Vec<(String, u32)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let inode = fs::metadata(entry.path()).ok()?.ino();
            Some((entry.file_name().to_string_lossy().into_owned(), u32::try_from(inode).ok()?))
        })
        .collect();
    names.sort();
    names
}

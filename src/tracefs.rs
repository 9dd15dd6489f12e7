//! tracefs, wherever it is mounted, or nowhere.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::kernel;

/// A way to tracefs' files.
#[derive(Debug)]
pub struct Tracefs {
    path: PathBuf,
    /// One that is mounted nowhere serves as well, and is gone with its descriptor.
    _mount: Option<OwnedFd>,
}

impl Tracefs {
    /// Where it is mounted; else a mount of our own that nobody sees.
    ///
    /// # Errors
    /// Where it isn't mounted, and the privileges don't allow it or the kernel has none.
    pub fn open() -> io::Result<Self> {
        if let Some(path) = kernel::tracefs() {
            return Ok(Self { path, _mount: None });
        }
        let mount = mount()?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Ok(Self { path, _mount: Some(mount) })
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of a tracepoint, with its `id` and `format`.
    pub fn event(&self, group: &str, name: &str) -> PathBuf {
        self.path.join("events").join(group).join(name)
    }
}

fn mount() -> io::Result<OwnedFd> {
    const TRACEFS: &CStr = c"tracefs";
    const FSOPEN_CLOEXEC: u32 = 1;
    const FSCONFIG_CMD_CREATE: u32 = 6;
    const FSMOUNT_CLOEXEC: u32 = 1;
    let none = std::ptr::null::<libc::c_char>();

    // SAFETY: a string with its end.
    let fs = unsafe { libc::syscall(libc::SYS_fsopen, TRACEFS.as_ptr(), FSOPEN_CLOEXEC) };
    let fs = owned(fs)?;
    // SAFETY: our own descriptor; the command takes no key and no value.
    let created = unsafe {
        libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0)
    };
    if created < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: our own descriptor.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// The descriptor that a system call returned, or its error.
pub(crate) fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: a descriptor that was just made and nobody else has.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

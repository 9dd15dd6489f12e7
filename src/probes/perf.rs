//! Tracepoints by perf's way: a program on one is run by the kernel with preemption off, which those
//! on raw tracepoints aren't everywhere.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::kernel;

/// An event of the tracepoint on all CPUs, for a program to be attached to.
///
/// # Errors
/// Where tracefs can't be read, or has no such tracepoint, or the privileges don't allow it.
pub(super) fn open_tracepoint(group: &str, name: &str) -> io::Result<OwnedFd> {
    let attr = libbpf_sys::perf_event_attr {
        type_: libbpf_sys::PERF_TYPE_TRACEPOINT,
        size: size_of::<libbpf_sys::perf_event_attr>() as u32,
        config: number(group, name)?,
        ..Default::default()
    };
    // SAFETY: an attr of its own size; any process, CPU 0 (programs run on all), no group.
    let fd = unsafe {
        let flags = libbpf_sys::PERF_FLAG_FD_CLOEXEC;
        libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, 0, -1, flags)
    };
    owned(fd)
}

/// What tracefs calls the tracepoint.
fn number(group: &str, name: &str) -> io::Result<u64> {
    let id = format!("events/{group}/{name}/id");
    let mut text = String::new();
    match kernel::tracefs() {
        Some(dir) => File::open(dir.join(&id))?.read_to_string(&mut text)?,
        // One that is mounted nowhere serves as well, and is gone with its descriptor.
        None => {
            let mount = mount_tracefs()?;
            let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
            File::open(path.join(Path::new(&id)))?.read_to_string(&mut text)?
        }
    };
    text.trim().parse().map_err(io::Error::other)
}

fn mount_tracefs() -> io::Result<OwnedFd> {
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

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: a descriptor that was just made and nobody else has.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

//! Tracepoints by perf's way: a program on one is run by the kernel with preemption off, which those
//! on raw tracepoints aren't everywhere.

use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::OwnedFd;

use crate::tracefs::{self, Tracefs};

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
    tracefs::owned(fd)
}

/// What tracefs calls the tracepoint.
fn number(group: &str, name: &str) -> io::Result<u64> {
    let tracefs = Tracefs::open()?;
    let text = fs::read_to_string(tracefs.event(group, name).join("id"))?;
    text.trim().parse().map_err(io::Error::other)
}

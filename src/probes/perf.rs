//! Tracepoints by perf's way: a program on one is run by the kernel with preemption off, which those
//! on raw tracepoints aren't everywhere.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

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
    open(&attr)
}

/// What tracefs calls the tracepoint.
fn number(group: &str, name: &str) -> io::Result<u64> {
    let tracefs = Tracefs::open()?;
    let text = fs::read_to_string(tracefs.event(group, name).join("id"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Attaches a program to a function's entry; it is detached with the descriptor.
///
/// # Errors
/// Where the kernel has no kprobes, or none there.
pub(super) fn attach_kprobe(function: &CStr, program: &OwnedFd) -> io::Result<OwnedFd> {
    const ENABLE: libc::Ioctl = libc::_IO(b'$' as u32, 0);
    const SET_BPF: libc::Ioctl = libc::_IOW::<u32>(b'$' as u32, 8);

    let kind = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?;
    let mut attr = libbpf_sys::perf_event_attr {
        type_: kind.trim().parse().map_err(io::Error::other)?,
        size: size_of::<libbpf_sys::perf_event_attr>() as u32,
        ..Default::default()
    };
    attr.__bindgen_anon_3.kprobe_func = function.as_ptr() as u64;
    let event = open(&attr)?;
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: our own descriptor, and a program's, which lives during the call.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}

/// Of any process, on CPU 0: programs run on all.
fn open(attr: &libbpf_sys::perf_event_attr) -> io::Result<OwnedFd> {
    // SAFETY: an attr of its own size, with a string that lives during the call if it has one; no group.
    let fd = unsafe {
        let flags = libbpf_sys::PERF_FLAG_FD_CLOEXEC;
        libc::syscall(libc::SYS_perf_event_open, std::ptr::from_ref(attr), -1, 0, -1, flags)
    };
    tracefs::owned(fd)
}

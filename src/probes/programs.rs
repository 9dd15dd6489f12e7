//! What the kernel says of loaded programs.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::{Object, ProgramImpl};

/// Of each loaded program.
pub(super) fn infos(object: &Object) -> impl Iterator<Item = libbpf_sys::bpf_prog_info> {
    object.progs().filter(ProgramImpl::autoload).filter_map(|program| info(program.as_fd()))
}

/// Of one.
pub(super) fn info(program: BorrowedFd<'_>) -> Option<libbpf_sys::bpf_prog_info> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut len = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    let fd = program.as_raw_fd();
    // SAFETY: `info` is a bpf_prog_info of `len` bytes; zeroed, it asks for no arrays.
    let status = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(fd, &raw mut info, &raw mut len) };
    (status == 0).then_some(info)
}

/// Run time of all of them, ns, if the kernel keeps it.
pub(super) fn run_time_ns(object: &Object) -> Option<u64> {
    let enabled = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").ok()?;
    (enabled.trim() != "0").then(|| infos(object).map(|info| info.run_time_ns).sum())
}

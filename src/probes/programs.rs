//! What the kernel says of loaded programs.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::{AsRawLibbpf, ErrorExt, Object, OpenObject, ProgramImpl};

use super::ladder::Choice;
use crate::packet::filter::Filter;

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

/// Runs that were skipped, because the program (with kprobes, any) was running on that CPU already.
pub(super) fn missed_runs(object: &Object) -> impl Iterator<Item = (String, u64)> {
    object.progs().filter(ProgramImpl::autoload).map(|program| {
        let missed = info(program.as_fd()).map_or(0, |info| info.recursion_misses);
        (program.name().to_string_lossy().into_owned(), missed)
    })
}

/// The object's own types, as the kernel has them.
pub(super) fn btf_fd(object: &Object) -> i32 {
    // SAFETY: a valid object, which libbpf only reads.
    unsafe { libbpf_sys::bpf_object__btf_fd(object.as_libbpf_object().as_ptr()) }
}

/// Puts a filter into all programs that ask for its verdict.
pub(super) fn put_filter(object: &mut OpenObject, filter: &Filter) -> libbpf_rs::Result<()> {
    let too_long = || libbpf_rs::Error::from_raw_os_error(libc::E2BIG);
    filter.install(object).map_err(|error| too_long().context(format!("{error:#}")))?;
    Ok(())
}

/// Has the kernel take in only what was chosen.
pub(super) fn load_chosen(object: &mut OpenObject, choice: &Choice) {
    for mut program in object.progs_mut() {
        let is_chosen = choice.hooks().any(|hook| program.name() == hook.program);
        program.set_autoload(is_chosen);
    }
}

/// Run time of all of them, ns, if the kernel keeps it.
pub(super) fn run_time_ns(object: &Object) -> Option<u64> {
    let enabled = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").ok()?;
    (enabled.trim() != "0").then(|| infos(object).map(|info| info.run_time_ns).sum())
}

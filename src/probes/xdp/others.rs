//! XDP programs of others: what they are called, and what they do with packets.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::{Btf, TypeId};
use libbpf_rs::skel::OpenSkel;
use libbpf_rs::{Link, MapHandle, Program};

use super::hooks::WATCHER;
use super::skel::{OpenXdpSkel, XdpSkel};
use crate::names::visible;
use crate::probes::programs;

/// A trampoline behind a program, as long as this is.
pub(super) struct Watcher {
    pub(super) skel: XdpSkel<'static>,
    _link: Link,
}

impl Watcher {
    /// Watches the program of this id; `open` is the object with its settings.
    ///
    /// # Errors
    /// Where it has no types, or the kernel doesn't allow it.
    pub(super) fn of(
        id: u32,
        mut open: OpenXdpSkel<'static>,
        [slots, counts]: [&MapHandle; 2],
    ) -> Result<Self> {
        let fd = Program::fd_from_id(id).context("open it")?;
        let name = function(id, fd.as_fd()).context("it has no types")?;
        for mut program in open.open_object_mut().progs_mut() {
            program.set_autoload(program.name() == WATCHER);
        }
        open.progs.others_verdict.set_attach_target(fd.as_raw_fd(), Some(name))?;
        open.maps.slots.reuse_fd(slots.as_fd())?;
        open.maps.counts.reuse_fd(counts.as_fd())?;
        let skel = open.load().context("load a program behind it")?;
        let link = skel.progs.others_verdict.attach_trace().context("attach to it")?;
        Ok(Watcher { skel, _link: link })
    }
}

/// Its name, cut off where the kernel does; none if it can't be asked for.
pub(super) fn name(id: u32) -> Option<String> {
    let fd = Program::fd_from_id(id).ok()?;
    let info = programs::info(fd.as_fd())?;
    let bytes = info.name.map(|byte| byte as u8);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Some(visible(&bytes[..end]))
}

/// The name of its function, in full: the first one.
fn function(id: u32, program: BorrowedFd<'_>) -> Option<String> {
    let mut function = libbpf_sys::bpf_func_info::default();
    let mut info = libbpf_sys::bpf_prog_info {
        nr_func_info: 1,
        func_info_rec_size: size_of::<libbpf_sys::bpf_func_info>() as u32,
        func_info: &raw mut function as u64,
        ..Default::default()
    };
    let mut len = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: `info` is a bpf_prog_info of `len` bytes, with room for one function.
    let status = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len)
    };
    if status != 0 || info.nr_func_info == 0 {
        return None;
    }
    let btf = Btf::from_prog_id(id).ok()?;
    let function: Func<'_> = btf.type_by_id(TypeId::from(function.type_id))?;
    Some(function.name()?.to_string_lossy().into_owned())
}

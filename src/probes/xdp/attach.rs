//! A program at an interface's XDP hook, by a link: it goes with nettrace however it ends, and never takes the
//! place of another one.

use std::io;
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::sample::{XdpMode, XdpWanted};

/// Attaches in the first mode that works, of which each has its program; with the mode, or what each said.
///
/// # Errors
/// In words, of all modes.
pub(super) fn attach(
    program: impl Fn(XdpMode) -> i32,
    index: u32,
    wanted: XdpWanted,
) -> Result<(XdpMode, OwnedFd), String> {
    let mut refusals = Vec::new();
    for mode in wanted.modes() {
        match link(program(mode), index, mode) {
            Ok(link) => return Ok((mode, link)),
            Err(error) => refusals.push(format!("{mode}: {}", why(&error))),
        }
    }
    Err(refusals.join(", "))
}

fn link(program: i32, index: u32, mode: XdpMode) -> io::Result<OwnedFd> {
    let opts = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        flags: flags(mode),
        ..Default::default()
    };
    let target = index.cast_signed();
    // SAFETY: opts says its own size; the program is open.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(program, target, libbpf_sys::BPF_XDP, &raw const opts)
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: a descriptor that was just made.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `XDP_FLAGS_…_MODE` of the kernel's `if_link.h`.
fn flags(mode: XdpMode) -> u32 {
    match mode {
        XdpMode::Skb => 1 << 1,
        XdpMode::Native => 1 << 2,
        XdpMode::Hw => 1 << 3,
    }
}

fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "not by this driver".to_owned(),
        Some(libc::EBUSY | libc::EEXIST) => "another program is there".to_owned(),
        Some(libc::ERANGE) => "packets of this MTU are too large for it".to_owned(),
        _ => error.to_string(),
    }
}

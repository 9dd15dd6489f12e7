//! User side of each probe: load, attach, read, and nothing of what the figures mean. A new probe
//! is one `src/bpf/<probe>.bpf.c`, one folder here, and one field of [`crate::session::Session`].

mod climb;
pub mod ifaces;
pub mod ladder;
mod perf;
mod programs;
pub mod sockets;
pub mod syscalls;
pub mod verify;

/// What the probes can be attached to, with everything switched on.
fn targets() -> Vec<&'static str> {
    let subjects = sockets::subjects(true).into_iter().chain(syscalls::subjects(true));
    let arrangements: Vec<_> = subjects.map(|subject| subject.arrangement).collect();
    ladder::hooks(&arrangements).map(|hook| hook.target).collect()
}

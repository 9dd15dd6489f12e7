//! User side of each probe: load, attach, read, and nothing of what the figures mean. A new probe
//! is one `src/bpf/<probe>.bpf.c`, one folder here, and one field of [`crate::session::Session`].

mod batches;
mod climb;
pub mod drops;
pub mod flows;
pub mod ifaces;
pub mod ladder;
mod losses;
mod netlink;
mod perf;
mod programs;
pub mod sockets;
pub mod syscalls;
pub mod verify;

/// How the second program of a pair is called; see `pairs.bpf.h`.
const SECOND: &str = "_second";

/// CLOCK_MONOTONIC, ns, as `bpf_ktime_get_ns()` has it.
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// What the probes can be attached to, with everything switched on.
fn targets() -> Vec<&'static str> {
    let arrangements: Vec<_> = verify::subjects(true).map(|subject| subject.arrangement).collect();
    ladder::hooks(&arrangements).map(|hook| hook.target).collect()
}

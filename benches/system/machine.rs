//! The machine, and where on it things run.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

pub(crate) const LOAD_CPU: usize = 1;
pub(crate) const OBSERVER_CPU: usize = 0;

pub(crate) fn describe() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("kernel {}, {cpus} CPUs", nettrace::kernel::release())
}

/// Keeps a process (0: this thread) on one CPU.
pub(crate) fn pin(pid: i32, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU");
    // With one CPU everything is on it; the figures then say nothing of isolation.
    let _ = sched_setaffinity(Pid::from_raw(pid), &set);
}

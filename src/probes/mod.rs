//! User side of each probe: load, attach, read, and nothing of what the figures mean. A new probe
//! is one `src/bpf/<probe>.bpf.c`, one folder here, and one line where [`crate::session`] opens them.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::Result;
use caps::Capability;

use crate::sample::{Backlog, Sample};

mod batches;
pub mod capture;
mod climb;
mod clock;
pub mod drops;
pub mod flows;
pub mod ifaces;
mod interfaces;
pub mod ladder;
mod losses;
mod mapped;
mod netlink;
mod objects;
pub mod path;
mod perf;
mod programs;
pub mod sockets;
pub mod syscalls;
mod taps;
pub mod verify;
pub mod xdp;

pub use clock::monotonic_ns;
use ladder::Standing;
pub(crate) use taps::matches;

/// How the second program of a pair is called; see `pairs.bpf.h`.
const SECOND: &str = "_second";

/// What is shown one by one is shown soon, however long a tick is.
const READ_EVENTS_AFTER: Duration = Duration::from_millis(100);

/// When single events are handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Soon after they happened.
    #[default]
    Soon,
    /// With the next tick.
    Tick,
}

/// What a session does with each probe that is open. Dropping it detaches everything.
pub trait Probe {
    /// Readable when the ring wants to be drained before the tick ends.
    fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Empties the ring into memory.
    ///
    /// # Errors
    /// Where libbpf can't read it.
    fn drain(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the backlog should be read at once.
    fn has_backlog(&self) -> bool {
        false
    }

    /// How long the backlog may wait at most; none if that is the end of the tick.
    fn backlog_after(&self) -> Option<Duration> {
        None
    }

    /// Reads what shouldn't wait for the end of the tick.
    ///
    /// # Errors
    /// Where the kernel refuses a read.
    fn read_backlog(&mut self) -> Result<()> {
        Ok(())
    }

    /// Adds what [`Probe::read_backlog`] read.
    fn hand_on<'a>(&'a self, _backlog: &mut Backlog<'a>) {}

    /// Looks for what came and went, if it is time to. Takes longer than a reading, so it comes before.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    fn look_around(&mut self) -> Result<()> {
        Ok(())
    }

    /// Reads everything once.
    ///
    /// # Errors
    /// Where the kernel refuses a read, or has no memory for a larger table.
    fn read(&mut self) -> Result<()>;

    /// Adds what [`Probe::read`] read.
    fn fill<'a>(&'a self, sample: &mut Sample<'a>);

    /// Records nothing more, of what comes one by one.
    fn stop(&mut self) {}

    /// What was lost since the start, per cause.
    fn losses(&self) -> Vec<(&'static str, u64)>;

    /// Run time of the programs, if the kernel keeps it.
    fn run_time_ns(&self) -> Option<u64>;

    /// How each datum is had, or why not.
    fn standings(&self) -> &[Standing];

    /// What reading goes on to need after attaching.
    fn capabilities(&self) -> Vec<Capability> {
        // A larger table; and before Linux 5.19 every bpf(2) that isn't by the root of old.
        vec![Capability::CAP_BPF]
    }
}

/// What the probes can be attached to, with everything switched on.
fn targets() -> Vec<&'static str> {
    let arrangements: Vec<_> = verify::subjects(true).map(|subject| subject.arrangement).collect();
    ladder::hooks(&arrangements).map(|hook| hook.target).collect()
}

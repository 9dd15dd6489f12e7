//! What a probe missed: what its programs counted as lost, and their runs that the kernel skipped.

use std::cell::Cell;
use std::time::Duration;

/// How often, and how long, a program that may be preempted just now is waited on.
pub(super) const SECOND_CHANCES: u32 = 5;
pub(super) const SECOND_CHANCE: Duration = Duration::from_millis(2);

/// What was lost, by the names of the causes, from `losses` of a probe's programs.
pub(super) fn by_name<const N: usize>(
    names: [(&'static str, u32); N],
    losses: Option<&[u64]>,
) -> Vec<(&'static str, u64)> {
    let count = |cause: u32| {
        let count = losses.and_then(|losses| losses.get(cause as usize));
        // SAFETY: a valid reference; volatile because BPF programs write there.
        count.map_or(0, |count| unsafe { std::ptr::from_ref(count).read_volatile() })
    };
    names.into_iter().map(|(name, cause)| (name, count(cause))).collect()
}

/// Runs missed, as told last.
#[derive(Debug, Default)]
pub(super) struct MissedRuns(Cell<u64>);

impl MissedRuns {
    /// Counts once more before more are told: the second program of a pair may be about to make up for
    /// what the first just missed.
    pub(super) fn settle(&self, count: impl Fn() -> u64) -> u64 {
        let mut missed = count();
        for _ in 0..SECOND_CHANCES {
            if missed <= self.0.get() {
                break;
            }
            std::thread::sleep(SECOND_CHANCE);
            missed = count();
        }
        self.0.set(missed);
        missed
    }
}

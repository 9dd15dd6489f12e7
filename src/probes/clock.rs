//! Times of the kernel's monotonic clock as times of day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// By less than this the two clocks differ since they aren't read at the same moment; by more, since
/// somebody set the time of day.
const SET_NS: u64 = 10_000_000;

/// Time of day at the monotonic clock's 0, ns since 1970; 0 is not known yet. The same for all probes, so
/// that what happened later has the later time, whoever read it and when.
static OFFSET_NS: AtomicI64 = AtomicI64::new(0);

/// CLOCK_MONOTONIC, ns, as `bpf_ktime_get_ns()` has it.
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC).cast_unsigned()
}

/// What turns times of the monotonic clock into times of day.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOfDay {
    offset_ns: i64,
}

impl TimeOfDay {
    /// As the clocks are now.
    pub(super) fn now() -> Self {
        let is = read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_MONOTONIC);
        let was = OFFSET_NS.load(Ordering::Relaxed);
        let offset_ns = if was.abs_diff(is) > SET_NS { is } else { was };
        OFFSET_NS.store(offset_ns, Ordering::Relaxed);
        TimeOfDay { offset_ns }
    }

    pub(super) fn at(self, clock_ns: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.ns_at(clock_ns))
    }

    /// Since 1970, ns.
    pub(super) fn ns_at(self, clock_ns: u64) -> u64 {
        self.offset_ns.saturating_add_unsigned(clock_ns).max(0).cast_unsigned()
    }
}

fn read(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_order_and_near_the_time_of_day() {
        let (first, second) = (monotonic_ns(), monotonic_ns() + 1);
        let early = TimeOfDay::now().at(first);
        let late = TimeOfDay::now().at(second);
        assert!(early < late);
        let off = SystemTime::now().duration_since(early).unwrap_or_default();
        assert!(off < Duration::from_secs(60), "{off:?}");
    }
}

//! What the system-call probe tells, and the ways to have it.

use super::Options;
use crate::probes::ladder::{Arrangement, Datum, Hook, Rung, Way};

/// Number of the arrangement with threads in a hash.
pub(super) const BY_THREAD: usize = 1;

/// Threads in task storage; or in a hash by their id, where that can't be had.
pub(super) fn arrangements(options: &Options) -> [Arrangement; 2] {
    let storage = Hook::new(Rung::Helper, "bpf_task_storage_get", "")
        .since("task storage for tracing programs, since Linux 5.12");
    let program = if options.count_only { "counted" } else { "returned" };
    let returned = Hook::new(Rung::TpBtf, "sys_exit", program);
    let calls = |hooks: &[Hook]| {
        let ways = vec![Way::new(Rung::TpBtf, hooks)];
        Datum { name: "calls", words: "system calls", required: true, ways }
    };
    let common = common(options);
    let with = |calls| [vec![calls], common.clone()].concat();
    [
        Arrangement { data: with(calls(&[returned, storage])), limit: "" },
        Arrangement { data: with(calls(&[returned])), limit: "" },
    ]
}

fn common(options: &Options) -> Vec<Datum> {
    let datum = |name, words, target, program| Datum {
        name,
        words,
        required: false,
        ways: vec![Way::new(Rung::TpBtf, [Hook::new(Rung::TpBtf, target, program)])],
    };
    // The end is hooked first: what is seen to begin will be seen to end.
    let mut data = vec![datum("ends", "calls that never return", "sched_process_exit", "exited")];
    if options.follow_forks {
        data.push(datum("forks", "children of the traced command", "sched_process_fork", "forked"));
    }
    if options.stacks {
        data.push(datum("sleeps", "where a slow call slept", "sched_switch", "switched"));
    }
    if !options.count_only {
        data.push(datum("durations", "how long system calls take", "sys_enter", "entered"));
    }
    data
}

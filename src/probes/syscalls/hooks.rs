//! What the system-call probe tells, and the ways to have it.

use super::Options;
use crate::probes::ladder::{Arrangement, Datum, Hook, Rung, Way};

/// Number of the arrangement with threads in a hash.
pub(super) const BY_THREAD: usize = 1;

/// The group of system calls' tracepoints in tracefs.
pub(super) const GROUP: &str = "raw_syscalls";

/// Threads in task storage; or in a hash by their id, where that can't be had. `is_preempted` where
/// the programs of tracepoints can be.
pub(super) fn arrangements(options: &Options, is_preempted: bool) -> [Arrangement; 2] {
    let storage = Hook::new(Rung::Helper, "bpf_task_storage_get", "")
        .since("task storage for tracing programs, since Linux 5.12");
    let with = |more: &[Hook]| {
        let mut calls = calls(options, is_preempted);
        for way in &mut calls.ways {
            way.hooks.extend_from_slice(more);
        }
        [vec![calls], others(options, is_preempted)].concat()
    };
    let limit = "the threads that it knows are in another place";
    [Arrangement { data: with(&[storage]), limit }, Arrangement { data: with(&[]), limit }]
}

/// Calls, and how long they take: a way that one of the two lacks is none for the other.
fn calls(options: &Options, is_preempted: bool) -> Datum {
    let way = |rung, exit, entry| {
        let mut hooks = vec![Hook::new(rung, "sys_exit", exit)];
        if !options.count_only {
            hooks.push(Hook::new(rung, "sys_enter", entry));
        }
        Way::new(rung, hooks)
    };
    let mut ways = if options.count_only {
        vec![way(Rung::TpBtf, "counted", ""), way(Rung::Perf, "perf_counted", "")]
    } else {
        vec![
            way(Rung::TpBtf, "returned", "entered"),
            way(Rung::Perf, "perf_returned", "perf_entered"),
        ]
    };
    if is_preempted {
        ways.reverse();
    }
    Datum { name: "calls", words: "system calls", required: true, ways }
}

fn others(options: &Options, is_preempted: bool) -> Vec<Datum> {
    let datum = |name, words, target, programs: &[&'static str]| {
        let hooks: Vec<Hook> =
            programs.iter().map(|program| Hook::new(Rung::TpBtf, target, program)).collect();
        Datum { name, words, required: false, ways: vec![Way::new(Rung::TpBtf, hooks)] }
    };
    let once_or_twice = |programs: &'static [&'static str; 2]| {
        if is_preempted { &programs[..] } else { &programs[..1] }
    };
    let exited = once_or_twice(&["exited", "exited_second"]);
    let mut data = vec![datum("ends", "calls that never return", "sched_process_exit", exited)];
    if options.follow_forks {
        let forked = once_or_twice(&["forked", "forked_second"]);
        data.push(datum(
            "children",
            "children of the traced command",
            "sched_process_fork",
            forked,
        ));
    }
    if options.stacks {
        data.push(datum("sleeps", "where a slow call slept", "sched_switch", &["switched"]));
    }
    data
}

use std::collections::BTreeMap;

use super::*;
use crate::histogram::{BUCKETS, bucket_of};
use crate::model::Model;
use crate::names::syscalls::Abi;
use crate::sample::{Backlog, EndedThread, SlowCall};

const READ: Call = Call { abi: Abi::Native, number: 0 };
const WRITE: Call = Call { abi: Abi::Native, number: 1 };
const EAGAIN: u32 = 11;
const EPIPE: u32 = 32;

fn process(tgid: u32, comm: &str) -> ProcessRecord {
    let mut record = ProcessRecord { start: u64::from(tgid), tgid, ..ProcessRecord::default() };
    for (to, from) in record.comm.iter_mut().zip(comm.bytes()) {
        *to = from.cast_signed();
    }
    record
}

fn histogram(durations: &[u64]) -> Histogram {
    let mut raw = [0; BUCKETS];
    durations.iter().for_each(|ns| raw[bucket_of(*ns)] += 1);
    Histogram::default().add_wrapped(&raw)
}

/// Calls of these durations, ns.
fn calls(tgid: u32, tid: u32, call: Call, durations: &[u64]) -> CallRecord {
    CallRecord {
        process: process(tgid, "worker"),
        named_ns: 1,
        tid,
        call,
        calls: durations.len() as u64,
        errors: 0,
        total_ns: durations.iter().sum(),
        max_ns: durations.iter().copied().max().unwrap_or(0),
        errnos: Vec::new(),
        histogram: histogram(durations),
    }
}

fn failed(record: CallRecord, errnos: &[(u32, u64)]) -> CallRecord {
    let errors = errnos.iter().map(|(_, count)| count).sum();
    CallRecord { errors, errnos: errnos.to_vec(), ..record }
}

struct Run {
    table: SyscallTable,
    names: Names,
    filter: Filter,
}

impl Run {
    fn new(grouping: Grouping) -> Self {
        Run {
            table: SyscallTable::new(grouping, false),
            names: Names::new(true),
            filter: Filter::default(),
        }
    }

    fn absorb(&mut self, calls: &[CallRecord], ended: &[EndedThread]) {
        let reading = SyscallReading { calls, ended, slow: &[] };
        self.table.absorb(&reading, &mut self.names, &self.filter);
    }

    /// After two seconds: by process, thread and call.
    fn rows(&mut self) -> BTreeMap<(u32, u32, String), SyscallRow> {
        let rows = self.table.rows(Span { seconds: 2.0, clock_ns: 0 }, None);
        let key = |row: &SyscallRow| {
            let pid = row.process.as_ref().map_or(0, |process| process.pid);
            let call = row.call.map_or(String::new(), |call| call.name().into_owned());
            (pid, row.tid.unwrap_or(0), call)
        };
        rows.into_iter().map(|row| (key(&row), row)).collect()
    }
}

fn key(pid: u32, tid: u32, call: &str) -> (u32, u32, String) {
    (pid, tid, call.to_owned())
}

fn end(tgid: u32, tid: u32, is_last: bool) -> EndedThread {
    EndedThread { process: process(tgid, "worker"), tid, is_last }
}

#[test]
fn threads_are_summed_and_ticks_add_up() {
    let mut run = Run::new(Grouping::ProcessCall);
    run.absorb(&[calls(7, 7, READ, &[100, 300]), calls(7, 8, READ, &[200])], &[]);
    run.absorb(&[calls(7, 8, WRITE, &[50])], &[]);
    let rows = run.rows();
    assert_eq!(rows.len(), 2);
    let read = &rows[&key(7, 0, "read")];
    assert_eq!((read.sums.calls, read.sums.total_ns, read.sums.max_ns), (3, 600, 300));
    assert_eq!(read.sums.mean_ns(), Some(200));
    assert!((read.rate - 1.5).abs() < 1e-9);
    assert!((read.share.unwrap() - 600.0 * 100.0 / 650.0).abs() < 1e-9);
    assert_eq!(read.percentiles.unwrap()[2], 300);

    run.absorb(&[calls(7, 7, READ, &[1000])], &[]);
    let rows = run.rows();
    let read = &rows[&key(7, 0, "read")];
    assert_eq!((read.sums.calls, read.sums.max_ns, read.rate), (4, 1000, 0.5));
    assert_eq!(read.percentiles.unwrap()[2], 1000);
    assert_eq!(rows[&key(7, 0, "write")].rate, 0.0);
}

#[test]
fn rows_are_of_what_they_sum_up() {
    let records = [
        calls(7, 7, READ, &[100]),
        calls(7, 8, READ, &[100]),
        calls(9, 9, READ, &[100]),
        calls(9, 9, WRITE, &[100]),
    ];
    let rows = |grouping| {
        let mut run = Run::new(grouping);
        run.absorb(&records, &[]);
        run.rows().into_iter().map(|(key, row)| (key, row.sums.calls)).collect::<Vec<_>>()
    };
    assert_eq!(rows(Grouping::Call), [(key(0, 0, "read"), 3), (key(0, 0, "write"), 1)]);
    assert_eq!(rows(Grouping::Process), [(key(7, 0, ""), 2), (key(9, 0, ""), 2)]);
    assert_eq!(rows(Grouping::Container), [(key(0, 0, ""), 4)]);
    assert_eq!(
        rows(Grouping::ThreadCall),
        [
            (key(7, 7, "read"), 1),
            (key(7, 8, "read"), 1),
            (key(9, 9, "read"), 1),
            (key(9, 9, "write"), 1)
        ]
    );
}

#[test]
fn too_many_that_ended_have_one_row() {
    let mut run = Run::new(Grouping::ProcessCall);
    run.table.room = 3;
    let of = |pids: std::ops::Range<u32>| -> Vec<CallRecord> {
        pids.map(|pid| failed(calls(pid, pid, READ, &[100, 300]), &[(EAGAIN, 1)])).collect()
    };
    run.absorb(&of(1..4), &[end(1, 1, true), end(2, 2, true)]);
    assert_eq!(run.table.merged(), 0);
    run.absorb(&of(4..5), &[]);
    assert_eq!(run.table.merged(), 2);
    let rows = run.rows();
    assert_eq!(rows.len(), 3, "{:?}", rows.keys());
    let common = &rows[&key(0, 0, "read")];
    assert_eq!((common.sums.calls, common.sums.total_ns, common.rate), (4, 800, 2.0));
    assert_eq!((common.sums.errnos.as_slice(), common.ended), (&[(EAGAIN, 2)][..], false));
    assert_eq!(rows.values().map(|row| row.sums.calls).sum::<u64>(), 8);
}

#[test]
fn every_model_keeps_rows_of_what_ended() {
    let mut model = Model::new(Names::new(true), Filter::default(), Vec::new());
    let (calls, ended) = ([calls(7, 7, READ, &[100])], [end(7, 7, true)]);
    for calls in [&calls[..], &[]] {
        let syscalls = SyscallReading { calls, ended: &ended, slow: &[] };
        model.absorb(&Backlog { syscalls, ..Backlog::default() });
    }
    assert_eq!(model.syscalls.merged(), 0);
    let rows = model.syscalls.rows(Span { seconds: 1.0, clock_ns: 0 }, None);
    assert_eq!(rows.iter().map(|row| row.process.is_some()).collect::<Vec<_>>(), [true]);
}

#[test]
fn who_ended_is_shown_once() {
    let mut run = Run::new(Grouping::ProcessCall);
    run.absorb(&[calls(7, 7, READ, &[100]), calls(7, 8, READ, &[100])], &[end(7, 8, false)]);
    assert!(!run.rows()[&key(7, 0, "read")].ended);
    // In the middle of a tick.
    run.absorb(&[calls(7, 7, READ, &[100])], &[end(7, 7, true)]);
    run.absorb(&[], &[]);
    let rows = run.rows();
    let row = &rows[&key(7, 0, "read")];
    assert!(row.ended);
    assert_eq!(row.sums.calls, 3);
    assert!(run.rows().is_empty());
}

#[test]
fn sums_over_processes_outlive_them() {
    let mut run = Run::new(Grouping::Call);
    run.absorb(&[calls(7, 7, READ, &[100])], &[end(7, 7, true)]);
    assert!(!run.rows()[&key(0, 0, "read")].ended);
    run.absorb(&[calls(9, 9, READ, &[100])], &[]);
    assert_eq!(run.rows()[&key(0, 0, "read")].sums.calls, 2);
}

#[test]
fn sums_over_processes_forget_those_that_ended() {
    for grouping in [Grouping::Call, Grouping::Container] {
        let mut run = Run::new(grouping);
        run.absorb(&[calls(7, 7, READ, &[1]), calls(8, 8, READ, &[1])], &[end(7, 7, true)]);
        assert_eq!(run.table.callers.len(), 1, "{grouping:?}");
        assert_eq!(run.rows().values().next().unwrap().sums.calls, 2, "{grouping:?}");
    }
}

#[test]
fn a_thread_ends_alone() {
    let mut run = Run::new(Grouping::ThreadCall);
    run.absorb(&[calls(7, 7, READ, &[1]), calls(7, 8, READ, &[1])], &[end(7, 8, false)]);
    let rows = run.rows();
    assert!(rows[&key(7, 8, "read")].ended);
    assert!(!rows[&key(7, 7, "read")].ended);
    assert_eq!(run.rows().len(), 1);
}

#[test]
fn errnos_are_counted_apart() {
    let mut run = Run::new(Grouping::ProcessCall);
    let record = calls(7, 7, READ, &[1; 5]);
    run.absorb(&[failed(record.clone(), &[(EAGAIN, 2), (EPIPE, 1)])], &[]);
    run.absorb(&[failed(record, &[(EPIPE, 3)])], &[]);
    let rows = run.rows();
    let sums = &rows[&key(7, 0, "read")].sums;
    assert_eq!((sums.calls, sums.errors), (10, 6));
    let mut errnos = sums.errnos.clone();
    errnos.sort_unstable();
    assert_eq!(errnos, [(EAGAIN, 2), (EPIPE, 4)]);
}

#[test]
fn calls_without_a_duration_have_no_mean() {
    let mut run = Run::new(Grouping::ProcessCall);
    run.absorb(&[CallRecord { calls: 2, ..calls(7, 7, READ, &[]) }], &[]);
    let rows = run.rows();
    let row = &rows[&key(7, 0, "read")];
    assert_eq!((row.sums.calls, row.sums.mean_ns(), row.percentiles), (2, None, None));
    assert_eq!(row.share, None);
}

#[test]
fn the_youngest_name_is_shown_and_filtered() {
    let mut run = Run::new(Grouping::ProcessCall);
    run.filter = Filter::parse("comm:ls").unwrap();
    run.absorb(&[calls(7, 7, READ, &[1])], &[]);
    let renamed = CallRecord { process: process(7, "ls"), named_ns: 2, ..calls(7, 7, READ, &[1]) };
    run.absorb(&[renamed], &[]);
    // An older thread's record knows the older name.
    run.absorb(&[calls(7, 7, READ, &[1])], &[]);
    let rows = run.rows();
    let row = &rows[&key(7, 0, "read")];
    assert_eq!(row.process.as_ref().unwrap().comm, "ls");
    assert_eq!(row.sums.calls, 2);
}

#[test]
fn slow_calls_are_filtered_and_know_their_errno() {
    let slow = |tgid, result| SlowCall {
        process: process(tgid, "worker"),
        tid: tgid,
        call: READ,
        args: [3, 0, 0, 0, 0, 0],
        began: SystemTime::UNIX_EPOCH,
        duration_ns: 10,
        asleep_ns: None,
        result,
        user_stack: Vec::new(),
        kernel_stack: Vec::new(),
    };
    let slow = [slow(7, -11), slow(8, 0), slow(7, -4096)];
    let reading = SyscallReading { slow: &slow, ..SyscallReading::default() };
    let filter = Filter::parse("pid:7").unwrap();
    let (mut names, mut symbols) = (Names::new(true), Symbols::default());
    let mut table = SyscallTable::new(Grouping::default(), false);
    let rows = table.slow(&reading, &mut names, &mut symbols, &filter);
    let errnos: Vec<_> = rows.iter().map(SlowRow::errno).collect();
    assert_eq!(errnos, [Some(EAGAIN), None]);
}

#[test]
fn a_kernel_stack_begins_below_the_scheduler() {
    let frames = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let stack =
        frames(&["bpf_trace_run4+0xfc", "__schedule+0x618", "schedule+0x23", "do_wait+0x53"]);
    assert_eq!(below_schedule(stack), frames(&["schedule+0x23", "do_wait+0x53"]));
    assert_eq!(below_schedule(frames(&["0xffff"])), frames(&["0xffff"]));
}

//! `syscalls`: one row a process and system call, or a sum over one of the two, from what threads'
//! calls grew by.

use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Span;
use super::processes::{self, Process};
use crate::filter::{Facts, Filter};
use crate::histogram::Histogram;
use crate::names::syscalls::Call;
use crate::names::{self, Container, Names};
use crate::sample::{CallRecord, EndedThread, ProcessRecord, SyscallReading};
use crate::symbols::Symbols;

/// What a row sums up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// One process's calls of one kind.
    #[default]
    ProcessCall,
    /// One thread's calls of one kind.
    ThreadCall,
    /// All calls of one kind.
    Call,
    /// One process's calls.
    Process,
    /// One container's or unit's calls.
    Container,
}

/// A row of `syscalls`. What it sums over is none.
#[derive(Clone, Debug, PartialEq)]
pub struct SyscallRow {
    /// Who called.
    pub process: Option<Arc<Process>>,
    /// Thread id in the initial namespace.
    pub tid: Option<u32>,
    /// Where it runs.
    pub container: Option<Arc<Container>>,
    /// What was called.
    pub call: Option<Call>,
    /// Calls per second in the interval.
    pub rate: f64,
    /// Time in calls that ended in the interval, ns.
    pub interval_ns: u64,
    /// Its sums since the start.
    pub sums: Arc<Sums>,
    /// p50, p90 and p99 of the durations, ns.
    pub percentiles: Option<[u64; 3]>,
    /// Of all rows' time, percent.
    pub share: Option<f64>,
    /// Rows are to show how durations are distributed.
    pub with_histogram: bool,
    /// The process or thread ended; this is its last row.
    pub ended: bool,
}

/// What calls came to since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Calls that returned, or never will.
    pub calls: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Time in those seen from begin to end, ns.
    pub total_ns: u64,
    /// The longest of them, ns.
    pub max_ns: u64,
    /// Errors by errno, the most frequent first.
    pub errnos: Vec<(u32, u64)>,
    /// Their durations.
    pub histogram: Histogram,
}

impl Sums {
    fn add(&mut self, record: &CallRecord) {
        self.calls += record.calls;
        self.errors += record.errors;
        self.total_ns += record.total_ns;
        self.max_ns = self.max_ns.max(record.max_ns);
        self.histogram.merge(&record.histogram);
        self.add_errnos(&record.errnos);
    }

    fn merge(&mut self, other: &Sums) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.total_ns += other.total_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.histogram.merge(&other.histogram);
        self.add_errnos(&other.errnos);
    }

    fn add_errnos(&mut self, errnos: &[(u32, u64)]) {
        for (errno, count) in errnos {
            match self.errnos.iter_mut().find(|(known, _)| known == errno) {
                Some((_, sum)) => *sum += count,
                None => self.errnos.push((*errno, *count)),
            }
        }
    }

    /// Calls seen from begin to end.
    pub fn timed(&self) -> u64 {
        self.histogram.count()
    }

    /// Their mean duration, ns.
    pub fn mean_ns(&self) -> Option<u64> {
        self.total_ns.checked_div(self.timed())
    }
}

/// What all rows of a frame come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyscallTotals {
    /// Calls.
    pub calls: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Time in those seen from begin to end, ns.
    pub total_ns: u64,
}

impl SyscallTotals {
    /// The sum of `rows`.
    pub(super) fn of(rows: &[SyscallRow]) -> Self {
        rows.iter().fold(SyscallTotals::default(), |sum, row| SyscallTotals {
            calls: sum.calls + row.sums.calls,
            errors: sum.errors + row.sums.errors,
            total_ns: sum.total_ns + row.sums.total_ns,
        })
    }
}

/// A call that took longer than wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowRow {
    /// When it began.
    pub began: SystemTime,
    /// Who called.
    pub process: Arc<Process>,
    /// Thread id in the initial namespace.
    pub tid: u32,
    /// What was called.
    pub call: Call,
    /// With these arguments, as the registers had them.
    pub args: [u64; 6],
    /// Its duration, ns.
    pub duration_ns: u64,
    /// Of it off the CPU, ns, if that was watched.
    pub asleep_ns: Option<u64>,
    /// What it returned; from -4095 to -1 an errno.
    pub result: i64,
    /// Where the program called it, innermost first; empty if stacks weren't asked for.
    pub user_stack: Vec<String>,
    /// Where the kernel slept longest in it.
    pub kernel_stack: Vec<String>,
}

impl SlowRow {
    /// The errno, if it failed.
    pub fn errno(&self) -> Option<u32> {
        u32::try_from(-self.result).ok().filter(|errno| (1..=4095).contains(errno))
    }
}

/// Which row a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    process: Option<(u32, u64)>,
    tid: Option<u32>,
    call: Option<Call>,
    container: Option<String>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Shared with the last frame, as long as there is one.
    sums: Arc<Sums>,
    /// As of the frame before.
    calls_before: u64,
    total_ns_before: u64,
    percentiles: Option<[u64; 3]>,
    ended: bool,
}

/// A process that called something.
#[derive(Debug)]
struct Caller {
    process: Arc<Process>,
    record: ProcessRecord,
    named_ns: u64,
    /// The filter lets it through.
    shown: bool,
    ended: bool,
}

/// Sums by row, and the processes that they are of.
#[derive(Debug)]
pub(super) struct SyscallTable {
    grouping: Grouping,
    with_histograms: bool,
    entries: FxHashMap<Key, Entry>,
    callers: FxHashMap<(u32, u64), Caller>,
    containers: FxHashMap<String, Arc<Container>>,
    readings: u32,
    /// Since they were last asked for.
    calls: u64,
    /// So many entries there may be until those that ended are looked for.
    room: usize,
    /// Entries that ended and lost their rows to a common one.
    merged: u64,
}

/// Readings between two looks at which processes live.
const SWEEP_AFTER: u32 = 32;
/// Ended processes or threads keep about so many rows until these are shown: a summary may be hours away.
const ENDED_KEPT: usize = 100_000;

impl SyscallTable {
    /// A table of such rows.
    pub(super) fn new(grouping: Grouping, with_histograms: bool) -> Self {
        SyscallTable {
            grouping,
            with_histograms,
            entries: FxHashMap::default(),
            callers: FxHashMap::default(),
            containers: FxHashMap::default(),
            readings: 0,
            calls: 0,
            room: ENDED_KEPT,
            merged: 0,
        }
    }

    /// Takes a reading in.
    pub(super) fn absorb(
        &mut self,
        reading: &SyscallReading<'_>,
        names: &mut Names,
        filter: &Filter,
    ) {
        for record in reading.calls {
            let caller = self.caller(record, names, filter);
            if !caller.shown {
                continue;
            }
            let container = caller.process.container.clone();
            let key = self.key(record, container.as_ref());
            if let (Some(container), Some(name)) = (container, &key.container) {
                self.containers.entry(name.clone()).or_insert(container);
            }
            Arc::make_mut(&mut self.entries.entry(key).or_default().sums).add(record);
            self.calls += record.calls;
        }
        for thread in reading.ended {
            let id = id(&thread.process);
            if thread.is_last && !self.has_rows_of_processes() {
                // A summary may be hours away.
                self.callers.remove(&id);
            } else if thread.is_last
                && let Some(caller) = self.callers.get_mut(&id)
            {
                caller.ended = true;
            }
        }
        self.readings += 1;
        if self.readings.is_multiple_of(SWEEP_AFTER) {
            self.sweep(names::is_alive);
        }
        if self.grouping == Grouping::ThreadCall && !reading.ended.is_empty() {
            self.end_threads(reading.ended);
        }
        if self.entries.len() > self.room {
            self.merge_ended();
            self.room = self.entries.len() + ENDED_KEPT;
        }
    }

    /// Gives up the rows of what ended for one without a process.
    fn merge_ended(&mut self) {
        let has_ended = |key: &Key, entry: &Entry| {
            let caller = key.process.and_then(|id| self.callers.get(&id));
            entry.ended || caller.is_some_and(|caller| caller.ended)
        };
        let ended = self.entries.extract_if(|key, entry| has_ended(key, entry));
        let ended: Vec<(Key, Entry)> = ended.collect();
        self.callers.retain(|_, caller| !caller.ended);
        self.merged += ended.len() as u64;
        for (key, entry) in ended {
            let common = Key { process: None, tid: None, ..key };
            let common = self.entries.entry(common).or_default();
            common.calls_before += entry.calls_before;
            common.total_ns_before += entry.total_ns_before;
            Arc::make_mut(&mut common.sums).merge(&entry.sums);
        }
    }

    /// Rows that were given up, since the start.
    pub(super) fn merged(&self) -> u64 {
        self.merged
    }

    /// Ends processes whose last thread made none of the calls that are watched, so that nobody told.
    fn sweep(&mut self, is_alive: impl Fn(&ProcessRecord) -> bool) {
        let has_rows = self.has_rows_of_processes();
        self.callers.retain(|_, caller| {
            caller.ended |= !is_alive(&caller.record);
            has_rows || !caller.ended
        });
    }

    fn end_threads(&mut self, ended: &[EndedThread]) {
        let ended: FxHashSet<_> =
            ended.iter().map(|thread| (Some(id(&thread.process)), Some(thread.tid))).collect();
        for (key, entry) in &mut self.entries {
            entry.ended |= ended.contains(&(key.process, key.tid));
        }
    }

    /// The slow calls of a reading that the filter lets through, with names for their stacks.
    pub(super) fn slow(
        &mut self,
        reading: &SyscallReading<'_>,
        names: &mut Names,
        symbols: &mut Symbols,
        filter: &Filter,
    ) -> Vec<SlowRow> {
        let mut rows = Vec::with_capacity(reading.slow.len());
        for slow in reading.slow {
            let process = match self.callers.get(&id(&slow.process)) {
                Some(caller) => Arc::clone(&caller.process),
                None => Arc::new(processes::process(&slow.process, names)),
            };
            if !matches(filter, &process) {
                continue;
            }
            let user_stack = match &slow.user_stack[..] {
                [] => Vec::new(),
                addresses => symbols.of_process(process.pid, addresses),
            };
            let kernel_stack = match &slow.kernel_stack[..] {
                [] => Vec::new(),
                addresses => below_schedule(symbols.of_kernel(addresses)),
            };
            rows.push(SlowRow {
                began: slow.began,
                process,
                tid: slow.tid,
                call: slow.call,
                args: slow.args,
                duration_ns: slow.duration_ns,
                asleep_ns: slow.asleep_ns,
                result: slow.result,
                user_stack,
                kernel_stack,
            });
        }
        rows
    }

    /// Calls since this was last asked.
    pub(super) fn take_calls(&mut self) -> u64 {
        std::mem::take(&mut self.calls)
    }

    /// Ends an interval whose rows nobody wants.
    pub(super) fn pass(&mut self) {
        for (key, entry) in &mut self.entries {
            let caller = key.process.and_then(|id| self.callers.get(&id));
            entry.ended |= caller.is_some_and(|caller| caller.ended);
            entry.calls_before = entry.sums.calls;
            entry.percentiles = None;
        }
        self.forget_ended();
    }

    fn forget_ended(&mut self) {
        self.entries.retain(|_, entry| !entry.ended);
        self.callers.retain(|_, caller| !caller.ended);
    }

    /// The rows of a frame, of processes that match `only`, as far as it asks of processes. Those that
    /// ended are in no later one.
    pub(super) fn rows(&mut self, span: Span, only: Option<&Filter>) -> Vec<SyscallRow> {
        let only = only.filter(|filter| filter.about_sockets().is_none());
        let hides = |caller: &Caller| only.is_some_and(|only| !matches(only, &caller.process));
        let total: u64 = self.entries.values().map(|entry| entry.sums.total_ns).sum();
        let mut rows = Vec::with_capacity(self.entries.len());
        for (key, entry) in &mut self.entries {
            let caller = key.process.and_then(|id| self.callers.get(&id));
            entry.ended |= caller.is_some_and(|caller| caller.ended);
            if caller.is_some_and(hides) {
                entry.calls_before = entry.sums.calls;
                entry.percentiles = None;
                continue;
            }
            let process = caller.map(|caller| Arc::clone(&caller.process));
            let container = key.container.as_ref().and_then(|name| self.containers.get(name));
            rows.push(SyscallRow {
                container: process
                    .as_ref()
                    .map_or_else(|| container.cloned(), |process| process.container.clone()),
                process,
                tid: key.tid,
                call: key.call,
                rate: span.rate(entry.sums.calls - entry.calls_before),
                interval_ns: entry.sums.total_ns - entry.total_ns_before,
                percentiles: entry.percentiles(),
                share: (total > 0).then(|| entry.sums.total_ns as f64 * 100.0 / total as f64),
                sums: Arc::clone(&entry.sums),
                with_histogram: self.with_histograms,
                ended: entry.ended,
            });
            entry.calls_before = entry.sums.calls;
            entry.total_ns_before = entry.sums.total_ns;
        }
        self.forget_ended();
        rows
    }

    /// Fills in users' names that are known by now.
    pub(super) fn learn_users(&self, names: &mut Names) {
        self.callers.values().for_each(|caller| caller.process.learn_user(names));
    }

    fn caller(&mut self, record: &CallRecord, names: &mut Names, filter: &Filter) -> &Caller {
        let caller = self.callers.entry(id(&record.process)).or_insert_with(|| {
            let process = Arc::new(processes::process(&record.process, names));
            let shown = matches(filter, &process);
            Caller {
                process,
                record: record.process,
                named_ns: record.named_ns,
                shown,
                ended: false,
            }
        });
        if record.named_ns > caller.named_ns {
            caller.named_ns = record.named_ns;
            caller.process = Arc::new(processes::process(&record.process, names));
            caller.shown = matches(filter, &caller.process);
        }
        caller
    }

    fn has_rows_of_processes(&self) -> bool {
        !matches!(self.grouping, Grouping::Call | Grouping::Container)
    }

    fn key(&self, record: &CallRecord, container: Option<&Arc<Container>>) -> Key {
        use Grouping::{Container, Process, ProcessCall, ThreadCall};

        let by = |groupings: &[Grouping]| groupings.contains(&self.grouping);
        Key {
            process: by(&[ProcessCall, ThreadCall, Process]).then(|| id(&record.process)),
            tid: by(&[ThreadCall]).then_some(record.tid),
            call: by(&[ProcessCall, ThreadCall, Grouping::Call]).then_some(record.call),
            container: container.filter(|_| by(&[Container])).map(|c| c.name.clone()),
        }
    }
}

impl Entry {
    /// Computed anew if there were calls since.
    fn percentiles(&mut self) -> Option<[u64; 3]> {
        if self.percentiles.is_none() || self.sums.calls != self.calls_before {
            let at = |p| self.sums.histogram.percentile(p, self.sums.max_ns);
            self.percentiles = (|| Some([at(50.0)?, at(90.0)?, at(99.0)?]))();
        }
        self.percentiles
    }
}

/// The caller of the scheduler: what is above it is how we were told.
fn below_schedule(stack: Vec<String>) -> Vec<String> {
    let is_scheduler = |frame: &String| frame.starts_with("__schedule+");
    let first = stack.iter().rposition(is_scheduler).map_or(0, |at| at + 1);
    stack.into_iter().skip(first).collect()
}

fn id(process: &ProcessRecord) -> (u32, u64) {
    (process.tgid, process.start)
}

fn matches(filter: &Filter, process: &Process) -> bool {
    // Its own waiting would stand above everything else; who asks for it gets it.
    if filter.is_empty() && process.pid == std::process::id() {
        return false;
    }
    let facts = Facts::of_cgroup(process.container.as_deref(), process.cgroup.as_deref());
    filter.matches(&Facts { pid: process.pid, comm: &process.comm, uid: process.uid, ..facts })
}

#[cfg(test)]
mod tests;

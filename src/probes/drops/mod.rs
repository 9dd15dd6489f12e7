//! The drop probe: loads `drops.bpf.c`, and reads what was dropped since the start, summed up by reason
//! and place, and single drops as they come.

use std::cell::RefCell;
use std::mem::size_of;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use caps::Capability;
use libbpf_rs::skel::Skel;
use libbpf_rs::{Link, MapCore, MapFlags, RingBuffer, RingBufferBuilder};
use plain::Plain;

use crate::kernel;
use crate::names::reasons::{Chosen, Reasons};
use crate::packet::filter::Filter;
use crate::probes::clock::TimeOfDay;
use crate::probes::ladder::{Choice, Standing};
use crate::probes::losses::{self, MissedRuns};
use crate::probes::verify::{self, Load, Subject, load_changed};
use crate::probes::{Pace, Probe, READ_EVENTS_AFTER, programs};
use crate::sample::{
    Backlog, DropEvent, DropFlow, DropKind, DropPlace, DropReading, DropRecord, ProcessRecord,
    Sample,
};

mod hooks;
mod load;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/drops.skel.rs"));
}
use load::{Told, load};
use skel::DropsSkel;
use skel::types::{self, drop_counts, drop_event, drop_key, loss};

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for drop_key {}
// SAFETY: as above.
unsafe impl Plain for drop_counts {}
// SAFETY: as above.
unsafe impl Plain for drop_event {}

/// Single drops kept between two readings; what comes above is counted as lost.
const MAX_EVENTS: usize = 100_000;
/// How often a row is read again, if it changes while it is read.
const READS: u32 = 4;

/// Names of the loss causes that this probe has.
pub(crate) const LOSS_NAMES: [(&str, u32); 3] = [
    ("drop_table", loss::LOSS_DROP_TABLE.0),
    ("drop_ring", loss::LOSS_DROP_RING.0),
    ("drop_limit", loss::LOSS_DROP_LIMIT.0),
];

/// What is recorded.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only this network namespace, by its inode; 0 is all.
    pub netns: u32,
    /// Only packets that are on the interface of this name.
    pub interface: Option<String>,
    /// Only these, which are then all needed; empty means all, as far as this kernel tells of them.
    pub kinds: Vec<DropKind>,
    /// Only such packets; segments of connections that have none at hand are made up.
    pub filter: Option<Filter>,
    /// Only these reasons.
    pub reasons: Option<Vec<Chosen>>,
    /// Single drops are handed on as well, at most so many in a second.
    pub events_per_second: Option<u64>,
    /// When.
    pub pace: Pace,
    /// Bytes of the ring of single drops, a power of two; `None` takes room for those of a
    /// second.
    pub ring_bytes: Option<u32>,
    /// Rows of the kernel's table; `None` takes the default of 4096.
    pub entries: Option<u32>,
}

/// The probe's arrangements with everything switched on.
pub(super) fn subjects(is_preempted: bool) -> Vec<Subject> {
    let options = Options {
        netns: 1,
        interface: Some("lo".to_owned()),
        filter: verify::filter(),
        reasons: Some(Vec::new()),
        events_per_second: Some(1),
        ..Options::default()
    };
    let arrangements = hooks::arrangements(is_preempted, &[]).into_iter().zip(["typed", "address"]);
    let subject = |(number, (arrangement, name))| {
        let options = options.clone();
        let load: Load = Box::new(move |choice, change| {
            let told = kernel::btf().map(|btf| Told::by(&btf)).unwrap_or_default();
            load_changed(load::prepare(&options, told, choice)?, change)
        });
        Subject { object: "drops", name, number, arrangement, load }
    };
    arrangements.enumerate().map(subject).collect()
}

/// How the probe stands that couldn't be opened.
pub fn not_had(error: &anyhow::Error) -> Standing {
    Standing::not_had("drops", "dropped packets", "kfree_skb", error)
}

/// The loaded and attached probe.
pub struct DropProbe {
    reasons: Reasons,
    hands_on_soon: bool,
    records: Vec<DropRecord>,
    events: Vec<DropEvent>,
    incoming: Rc<RefCell<Incoming>>,
    missed: MissedRuns,
    ring: RingBuffer<'static>,
    _links: Vec<Link>,
    choice: Choice,
    skel: DropsSkel<'static>,
}

/// What came through the ring.
#[derive(Default)]
struct Incoming {
    events: Vec<drop_event>,
    dropped: u64,
}

impl DropProbe {
    /// Loads and attaches the probe.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: &Options) -> Result<Self> {
        // Without them nothing can be loaded, and loading says so best.
        let btf = kernel::btf().ok();
        let told = btf.as_deref().map(Told::by).unwrap_or_default();
        let reasons = btf.as_ref().map(Reasons::of_kernel).unwrap_or_default();
        drop(btf);
        let loaded = load(options, told)?;
        let incoming = Rc::new(RefCell::new(Incoming::default()));
        let mut ring = RingBufferBuilder::new();
        let sink = Rc::clone(&incoming);
        ring.add(&loaded.skel.maps.drop_events, move |bytes| keep(&sink, bytes))
            .context("open the ring of drops")?;
        let ring = ring.build().context("open the ring of drops")?;
        Ok(DropProbe {
            reasons,
            hands_on_soon: options.events_per_second.is_some() && options.pace == Pace::Soon,
            records: Vec::new(),
            events: Vec::new(),
            incoming,
            missed: MissedRuns::default(),
            ring,
            _links: loaded.links,
            choice: loaded.choice,
            skel: loaded.skel,
        })
    }

    /// What was read last.
    pub fn reading(&self) -> DropReading<'_> {
        DropReading { counts: &self.records, events: &self.events }
    }

    fn read_events(&mut self) -> Result<()> {
        self.drain()?;
        self.events.clear();
        let incoming = std::mem::take(&mut self.incoming.borrow_mut().events);
        let clock = TimeOfDay::now();
        for event in incoming {
            let depth = usize::try_from(event.depth).unwrap_or(0) / size_of::<u64>();
            let stack = event.stack.iter().copied().take(depth).collect();
            self.events.push(DropEvent {
                time: clock.at(event.time_ns),
                place: place(&event.key, &self.reasons),
                flow: flow(&event.flow),
                length: event.length,
                interface: event.interface,
                process: process(&event.process),
                stack: below(stack, event.key.location),
            });
        }
        // CPUs write one after the other, but look at the clock before.
        self.events.sort_by_key(|event| event.time);
        Ok(())
    }

    /// The counts of all CPUs under one key.
    fn sum(&self, key: &[u8]) -> Result<Option<Sum>> {
        let mut sum = Sum::default();
        for _ in 0..READS {
            let cpus = self.skel.maps.drops.lookup_percpu(key, MapFlags::ANY);
            let Some(cpus) = cpus.context("read the table of drops")? else { return Ok(None) };
            sum = Sum::of(cpus.iter().filter_map(|bytes| copied(bytes)));
            if sum.is_whole {
                break;
            }
        }
        Ok(Some(sum))
    }
}

impl Probe for DropProbe {
    fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the epoll descriptor is the ring's, which `self` keeps open.
        Some(unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) })
    }

    fn drain(&self) -> Result<()> {
        self.ring.consume().context("read the ring of drops")
    }

    fn backlog_after(&self) -> Option<Duration> {
        self.hands_on_soon.then_some(READ_EVENTS_AFTER)
    }

    fn read_backlog(&mut self) -> Result<()> {
        if self.hands_on_soon { self.read_events() } else { Ok(()) }
    }

    fn hand_on<'a>(&'a self, backlog: &mut Backlog<'a>) {
        if self.hands_on_soon {
            backlog.drops = &self.events;
        }
    }

    fn read(&mut self) -> Result<()> {
        self.records.clear();
        let clock = TimeOfDay::now();
        for bytes in self.skel.maps.drops.keys() {
            let Ok(key) = drop_key::from_bytes(&bytes) else { continue };
            let Some(sum) = self.sum(&bytes)? else { continue };
            self.records.push(DropRecord {
                place: place(key, &self.reasons),
                count: sum.count,
                bytes: sum.bytes,
                last: clock.at(sum.last.last_ns),
                last_flow: flow(&sum.last.last),
                last_interface: sum.last.last_interface,
            });
        }
        self.read_events()
    }

    fn fill<'a>(&'a self, sample: &mut Sample<'a>) {
        sample.drops = Some(self.reading());
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let counts = self.skel.maps.bss_data.as_ref().map(|bss| &bss.losses[..]);
        let mut losses = losses::by_name(LOSS_NAMES, counts);
        losses.push(("drop_backlog", self.incoming.borrow().dropped));
        let missed = || programs::missed_runs(self.skel.object()).map(|(_, missed)| missed).sum();
        losses.push(("hook_reentered", self.missed.settle(missed)));
        losses
    }

    fn run_time_ns(&self) -> Option<u64> {
        programs::run_time_ns(self.skel.object())
    }

    fn standings(&self) -> &[Standing] {
        &self.choice.standings
    }

    fn capabilities(&self) -> Vec<Capability> {
        // To see where the kernel's functions are.
        vec![Capability::CAP_BPF, Capability::CAP_SYSLOG]
    }
}

/// Of several CPUs.
#[derive(Default)]
struct Sum {
    count: u64,
    bytes: u64,
    last: drop_counts,
    /// No CPU was writing what `last` is of.
    is_whole: bool,
}

impl Sum {
    fn of(cpus: impl Iterator<Item = drop_counts>) -> Self {
        cpus.fold(Sum { is_whole: true, ..Sum::default() }, |sum, cpu| {
            let is_last = cpu.last_ns > sum.last.last_ns;
            Sum {
                count: sum.count + cpu.drops,
                bytes: sum.bytes + cpu.bytes,
                is_whole: if is_last { cpu.written == cpu.writing } else { sum.is_whole },
                last: if is_last { cpu } else { sum.last },
            }
        })
    }
}

fn copied(bytes: &[u8]) -> Option<drop_counts> {
    let mut counts = drop_counts::default();
    counts.copy_from_bytes(bytes).ok()?;
    Some(counts)
}

fn place(key: &drop_key, reasons: &Reasons) -> DropPlace {
    let kind = DropKind::of_number(key.kind.into());
    let reason: Option<Arc<str>> = match kind.name() {
        Some(name) => Some(name.into()),
        None => (!reasons.is_empty()).then(|| reasons.name(key.reason)),
    };
    DropPlace {
        kind,
        reason,
        location: key.location,
        netns: key.netns,
        protocol: key.protocol,
        transport: key.transport,
        family: key.family,
    }
}

fn flow(flow: &types::drop_flow) -> DropFlow {
    let types::drop_flow { source, destination, source_port, destination_port, .. } = *flow;
    DropFlow { source, destination, source_port, destination_port }
}

/// The same, as the other probe's skeleton calls it.
fn process(p: &types::process) -> ProcessRecord {
    let types::process { start, cgroup, tgid, uid, comm } = *p;
    ProcessRecord { start, cgroup, tgid, uid, comm }
}

/// What is above the place of the drop is how we were told of it.
fn below(stack: Vec<u64>, location: u64) -> Vec<u64> {
    let first = stack.iter().position(|address| *address == location).unwrap_or(0);
    stack[first..].to_vec()
}

fn keep(incoming: &RefCell<Incoming>, bytes: &[u8]) -> i32 {
    let mut incoming = incoming.borrow_mut();
    match drop_event::from_bytes(bytes) {
        Ok(event) if incoming.events.len() < MAX_EVENTS => incoming.events.push(*event),
        _ => incoming.dropped += 1,
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(drops: u64, last_ns: u64, written: u64, writing: u64) -> drop_counts {
        drop_counts { drops, bytes: drops * 10, last_ns, written, writing, ..Default::default() }
    }

    #[test]
    fn cpus_are_summed_and_the_last_drop_is_the_last_of_all() {
        let sum = Sum::of([cpu(2, 50, 2, 2), cpu(3, 90, 3, 3), cpu(0, 0, 0, 0)].into_iter());
        assert_eq!((sum.count, sum.bytes, sum.last.last_ns, sum.is_whole), (5, 50, 90, true));
    }

    #[test]
    fn only_the_last_drop_must_be_whole() {
        assert!(Sum::of([cpu(2, 50, 2, 3), cpu(3, 90, 3, 3)].into_iter()).is_whole);
        assert!(!Sum::of([cpu(2, 50, 2, 2), cpu(3, 90, 3, 4)].into_iter()).is_whole);
    }

    #[test]
    fn a_stack_begins_where_the_packet_was_dropped() {
        assert_eq!(below(vec![1, 2, 3, 4], 3), [3, 4]);
        assert_eq!(below(vec![1, 2], 9), [1, 2]);
    }
}

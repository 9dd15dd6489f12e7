//! The path probe: loads `path.bpf.c` and hands on what happens to packets that are followed, as it comes.

use std::cell::RefCell;
use std::mem::{offset_of, size_of};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use libbpf_rs::skel::Skel;
use libbpf_rs::{RingBuffer, RingBufferBuilder};
use plain::Plain;

use crate::kernel;
use crate::names::reasons::Reasons;
use crate::packet::filter::{Filter, LinkType};
use crate::probes::clock::TimeOfDay;
use crate::probes::ladder::{Rung, Standing};
use crate::probes::losses::{self, MissedRuns};
use crate::probes::programs;
use crate::probes::verify::{Load, Subject, load_changed};
use crate::sample::{DropFlow, PathKind, PathStep};

mod attach;
mod functions;
mod hooks;
mod load;
mod types;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/path.skel.rs"));
}
use load::{Loaded, Told, load};
use skel::types::{drop_flow, loss, path_event, path_kind};

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for path_event {}

/// Steps kept between two readings; what comes above is counted as lost.
const MAX_STEPS: usize = 100_000;

/// Names of the loss causes that this probe has.
pub(crate) const LOSS_NAMES: [(&str, u32); 3] = [
    ("path_table", loss::LOSS_PATH_TABLE.0),
    ("path_ring", loss::LOSS_PATH_RING.0),
    ("path_busy", loss::LOSS_PATH_BUSY.0),
];

/// What is followed, and where.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which packets.
    pub filter: Option<Filter>,
    /// Only those that are first seen in this network namespace, by its inode; 0 is all.
    pub netns: u32,
    /// At most so many packets, or a few more.
    pub most_packets: Option<u64>,
    /// Only these functions or tracepoints, `*` for any part; all if there are none.
    pub functions: Vec<String>,
    /// At most so many functions; `None` takes all, or 100 where they are watched one by one.
    pub most_probes: Option<usize>,
    /// Each step has the kernel's stack.
    pub stacks: bool,
    /// Bytes of the ring of steps, a power of two; `None` takes 4 MB.
    pub ring_bytes: Option<u32>,
}

/// The probe's arrangement with everything switched on.
pub(super) fn subjects(is_preempted: bool) -> Vec<Subject> {
    const USUAL: &str = "(tcp port 443 and not net 10.0.0.0/8) or host fd00::1 or icmp";

    let subject = |arrangement| {
        let load: Load = Box::new(|choice, change| {
            let told = kernel::btf().map(|btf| Told::by(&btf)).unwrap_or_default();
            let options = Options {
                filter: Filter::compile(USUAL, LinkType::Ethernet).ok(),
                netns: 1,
                most_packets: Some(1),
                stacks: true,
                ..Options::default()
            };
            load_changed(load::prepare(&options, told, choice)?, change)
        });
        Subject { object: "path", name: "address", number: 0, arrangement, load }
    };
    hooks::arrangements(is_preempted).into_iter().map(subject).collect()
}

/// How the probe stands that couldn't be opened.
pub fn not_had(error: &anyhow::Error) -> Standing {
    Standing::not_had(hooks::STEPS, "functions that packets pass", "ip_rcv", error)
}

/// What the probe is attached to.
#[derive(Clone, Debug)]
pub struct Reach {
    /// By which rung functions are watched, or tracepoints.
    pub rung: Rung,
    /// How many.
    pub count: usize,
    /// Those that the kernel refused.
    pub refused: Vec<String>,
    /// How many there was no room for.
    pub left_out: usize,
    /// Attaching took so long.
    pub took: Duration,
}

/// The loaded and attached probe.
pub struct PathProbe {
    names: Vec<Arc<str>>,
    reasons: Reasons,
    incoming: Rc<RefCell<Incoming>>,
    missed: MissedRuns,
    ring: RingBuffer<'static>,
    loaded: Loaded,
}

/// What came through the ring.
#[derive(Default)]
struct Incoming {
    events: Vec<path_event>,
    dropped: u64,
}

impl PathProbe {
    /// Loads and attaches the probe; `progress` is told how many of how many functions are done.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it;
    /// [`crate::run::Usage`] if no function is as the options say.
    pub fn open(options: &Options, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        // Without them nothing can be loaded, and loading says so best.
        let btf = kernel::btf().ok();
        let told = btf.as_deref().map(Told::by).unwrap_or_default();
        let reasons = btf.as_ref().map(Reasons::of_kernel).unwrap_or_default();
        drop(btf);
        let mut loaded = load(options, told, progress)?;
        let incoming = Rc::new(RefCell::new(Incoming::default()));
        let mut ring = RingBufferBuilder::new();
        let sink = Rc::clone(&incoming);
        ring.add(&loaded.skel.maps.path_events, move |bytes| keep(&sink, bytes))
            .context("open the ring of steps")?;
        let ring = ring.build().context("open the ring of steps")?;
        if let Some(bss) = loaded.skel.maps.bss_data.as_mut() {
            bss.is_ready = 1;
        }
        let names = functions::COPIES.into_iter().map(str::to_owned);
        let names = names.chain(loaded.attached.names.iter().cloned()).map(Into::into).collect();
        Ok(PathProbe { names, reasons, incoming, missed: MissedRuns::default(), ring, loaded })
    }

    /// What happened since the last reading, in order.
    ///
    /// # Errors
    /// Where libbpf can't read the ring.
    pub fn read(&mut self) -> Result<Vec<PathStep>> {
        self.ring.consume().context("read the ring of steps")?;
        let events = std::mem::take(&mut self.incoming.borrow_mut().events);
        let clock = TimeOfDay::now();
        let mut steps: Vec<PathStep> = events.iter().map(|event| self.step(event, clock)).collect();
        // CPUs write one after the other, but look at the clock before.
        steps.sort_by_key(|step| step.clock_ns);
        Ok(steps)
    }

    fn step(&self, event: &path_event, clock: TimeOfDay) -> PathStep {
        let kind = match path_kind(event.kind) {
            path_kind::PATH_COPIED => PathKind::Copied,
            path_kind::PATH_DROPPED => PathKind::Dropped,
            path_kind::PATH_CONSUMED => PathKind::Consumed,
            path_kind::PATH_FREED => PathKind::Freed,
            _ => PathKind::Step,
        };
        let has_reason = kind == PathKind::Dropped && !self.reasons.is_empty();
        let depth = usize::try_from(event.depth).unwrap_or(0) / size_of::<u64>();
        let drop_flow { source, destination, source_port, destination_port, .. } = event.flow;
        PathStep {
            time: clock.at(event.time_ns),
            clock_ns: event.time_ns,
            packet: event.packet,
            skb: event.skb,
            kind,
            place: self.names.get(event.hook as usize).cloned(),
            location: event.location,
            reason: has_reason.then(|| self.reasons.name(event.reason)),
            flow: DropFlow { source, destination, source_port, destination_port },
            proto: (event.flow.protocol, event.flow.transport, event.flow.family),
            interface: event.interface,
            netns: event.netns,
            mark: event.mark,
            length: event.length,
            cpu: event.cpu,
            stack: event.stack.iter().copied().take(depth).collect(),
        }
    }

    /// Readable when there is something to read.
    pub fn ring_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the epoll descriptor is the ring's, which `self` keeps open.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }

    /// What was lost since the start, per cause.
    pub fn losses(&self) -> Vec<(&'static str, u64)> {
        let skel = &self.loaded.skel;
        let counts = skel.maps.bss_data.as_ref().map(|bss| &bss.losses[..]);
        let mut losses = losses::by_name(LOSS_NAMES, counts);
        losses.push(("path_backlog", self.incoming.borrow().dropped));
        let missed = || programs::missed_runs(skel.object()).map(|(_, missed)| missed).sum();
        losses.push(("hook_reentered", self.missed.settle(missed)));
        losses
    }

    /// What it is attached to.
    pub fn reach(&self) -> Reach {
        let Loaded { attached, choice, left_out, took, .. } = &self.loaded;
        let way = |standing: &Standing| standing.way.as_ref().map(|way| way.rung);
        let steps = choice.standings.iter().find(|standing| standing.datum == hooks::STEPS);
        Reach {
            rung: steps.and_then(way).unwrap_or(Rung::RawTp),
            count: attached.count(),
            refused: attached.refused.clone(),
            left_out: *left_out,
            took: *took,
        }
    }

    /// How each datum is had, or why not.
    pub fn standings(&self) -> &[Standing] {
        &self.loaded.choice.standings
    }
}

/// Records without stacks are shorter.
fn keep(incoming: &RefCell<Incoming>, bytes: &[u8]) -> i32 {
    let mut incoming = incoming.borrow_mut();
    let mut event = path_event::default();
    let has_room = incoming.events.len() < MAX_STEPS;
    if !has_room || bytes.len() < offset_of!(path_event, stack) {
        incoming.dropped += 1;
        return 0;
    }
    let length = bytes.len().min(size_of::<path_event>());
    // SAFETY: plain integers, of which any bytes are some.
    let target = unsafe { plain::as_mut_bytes(&mut event) };
    target[..length].copy_from_slice(&bytes[..length]);
    incoming.events.push(event);
    0
}

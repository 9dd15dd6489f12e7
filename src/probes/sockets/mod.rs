//! The socket probe: loads `sockets.bpf.c`, reads the table of sockets once a tick, and collects
//! the records of those that closed in between.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::skel::Skel;
use libbpf_rs::{
    AsRawLibbpf, Iter, Link, MapCore, MapFlags, MapHandle, RingBuffer, RingBufferBuilder,
};
use plain::Plain;
use rustc_hash::FxHashSet;

use crate::losses::{CLOSED_BACKLOG, EVENT_BACKLOG, HOOK_REENTERED};
use crate::probes::batches::Batches;
use crate::probes::clock::TimeOfDay;
use crate::probes::ladder::{Choice, Standing};
use crate::probes::losses::{self, MissedRuns, SECOND_CHANCE, SECOND_CHANCES};
use crate::probes::verify::{Load, Subject, load_changed};
use crate::probes::{Pace, Probe, READ_EVENTS_AFTER, SECOND, monotonic_ns, programs};
use crate::sample::{
    Backlog, Sample, SocketEvent, SocketEventKind, SocketRecord, UsageRecord, born_ns, tag,
};

mod hooks;
mod load;
mod records;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/sockets.skel.rs"));
}
use hooks::{BY_ADDRESS, RECEIVED, SENT};
use load::{Loaded, load};
use records::Records;
use skel::SocketsSkel;
pub use skel::types;
use types::{loss, socket_event, socket_event_kind};

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for types::socket_record {}
// SAFETY: as above.
unsafe impl Plain for socket_event {}

/// Names of the loss causes that this probe has.
pub(crate) const LOSS_NAMES: [(&str, u32); 6] = [
    ("socket_storage", loss::LOSS_SOCKET_STORAGE.0),
    ("close_ring", loss::LOSS_CLOSE_RING.0),
    ("birth_ring", loss::LOSS_BIRTH_RING.0),
    ("usage_table", loss::LOSS_USAGE_TABLE.0),
    ("tree_table", loss::LOSS_TREE_TABLE.0),
    ("call_return", loss::LOSS_CALL_RETURN.0),
];

/// Sockets that nobody used or connected, and who holds those that were accepted and not used yet,
/// are found by walking all open files again: at most every two seconds, and so seldom that it takes
/// no more than one percent of a CPU.
const RESEED_AFTER: Duration = Duration::from_secs(2);
const RESEED_SHARE: u32 = 100;
/// So many closed sockets are worth handing on before the tick ends.
const BACKLOG: usize = 16_384;
/// Closed sockets kept at most, in 16 MB; what comes above is counted as lost.
const MAX_CLOSED: usize = 80_000;
/// The same of sockets that began and ended, where that is told one by one.
const MAX_EVENTS: usize = 80_000;
/// A table that is outgrown gets an eighth more than it needs.
const GROWTH: usize = 8;
/// Walks over tags by address in one reading, where sockets come and go meanwhile.
const MAX_WALKS: u32 = 4;

/// What of the server is recorded.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Inode of the one network namespace to watch; 0 watches all.
    pub netns: u32,
    /// Only sockets that one of these processes touches; empty means all processes.
    pub pids: Vec<u32>,
    /// Children of `pids` count too.
    pub follow_forks: bool,
    /// Unix sockets too.
    pub unix: bool,
    /// Only listeners of TCP, and no calls: what they refuse is in their records.
    pub only_listeners: bool,
    /// Who uses a socket, but not for how many bytes: for those who look for the owners of packets.
    pub only_owners: bool,
    /// TCP sockets that begin, fail to or end are told one by one.
    pub events: Option<Pace>,
    /// Bytes of the ring of sockets, a power of two; `None` takes the default of 1 MiB, or of 4 MiB
    /// with events.
    pub ring_bytes: Option<u32>,
}

/// The loaded probe. Dropping it detaches everything.
pub struct SocketProbe {
    records: Records,
    incoming: Rc<RefCell<Incoming>>,
    only_owners: bool,
    pace: Option<Pace>,
    events: Vec<SocketEvent>,
    count: usize,
    missed: MissedRuns,
    /// The last walk saw every socket.
    is_whole: bool,
    clock_ns: u64,
    reseed_at: Instant,
    ended: Vec<SocketRecord>,
    backlog: Vec<SocketRecord>,
    usage: Vec<UsageRecord>,
    usage_batches: Batches<types::usage_key, types::usage>,
    choice: Choice,
    // Dropped in this order: what refers to the maps goes before them.
    ring: RingBuffer<'static>,
    seed_link: Option<Link>,
    read_link: Link,
    _links: Vec<Link>,
    skel: SocketsSkel<'static>,
}

/// What came through the ring.
#[derive(Default)]
struct Incoming {
    closed: Vec<SocketRecord>,
    closed_dropped: u64,
    /// None unless they are told.
    events: Option<Vec<socket_event>>,
    events_dropped: u64,
}

/// Where a walk over the table stands.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// Sockets seen, also those that had no room.
    records: u32,
    /// Tags by address: those seen ...
    entries: u32,
    /// ... made since the start ...
    made: u64,
    /// ... and removed.
    removed: u64,
}

impl Walk {
    /// Whether a walk that began as `before` saw every tag by address that was there all the time.
    /// An entry that is removed and used again under its feet leads it into another bucket.
    fn is_whole(&self, before: &Walk) -> bool {
        u64::from(self.entries) >= before.made.saturating_sub(self.removed)
    }
}

/// How the probe stands that couldn't be opened.
pub fn not_had(error: &anyhow::Error) -> Standing {
    Standing::not_had("table", "sockets", "inet_sock_set_state", error)
}

/// The same of one for listeners alone.
pub fn listeners_not_had(error: &anyhow::Error) -> Standing {
    const WORDS: &str = "connections that listeners refuse";
    Standing::not_had("table", WORDS, "inet_sock_set_state", error)
}

/// The probe's arrangements with everything switched on.
pub(super) fn subjects(in_pairs: bool) -> Vec<Subject> {
    let options = Options {
        pids: vec![1],
        follow_forks: true,
        unix: true,
        events: Some(Pace::Soon),
        ..Options::default()
    };
    let names = ["storage", "address"];
    let arrangements = hooks::arrangements(&options, in_pairs).into_iter().zip(names).enumerate();
    arrangements
        .map(|(number, (arrangement, name))| {
            let options = options.clone();
            let load: Load = Box::new(move |choice, change| {
                load_changed(load::prepare(&options, choice)?, change)
            });
            Subject { object: "sockets", name, number, arrangement, load }
        })
        .collect()
}

impl SocketProbe {
    /// Loads and attaches the probe, and tags the sockets that are open now.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: &Options) -> Result<Self> {
        let Loaded { skel, seed_link, read_link, links, choice } = load(options)?;
        let incoming =
            Incoming { events: options.events.map(|_| Vec::new()), ..Incoming::default() };
        let incoming = Rc::new(RefCell::new(incoming));
        let mut ring = RingBufferBuilder::new();
        let sink = Rc::clone(&incoming);
        ring.add(&skel.maps.socket_events, move |bytes| keep(&sink, bytes))
            .context("open the ring of sockets")?;
        let ring = ring.build().context("open the ring of sockets")?;
        let first = MapHandle::try_from(&skel.maps.first_records);
        let records = Records::open(first.context("open the table of sockets")?)?;

        let probe = SocketProbe {
            records,
            incoming,
            only_owners: options.only_owners,
            pace: options.events,
            events: Vec::new(),
            count: 0,
            missed: MissedRuns::default(),
            is_whole: false,
            clock_ns: 0,
            reseed_at: Instant::now() + RESEED_AFTER,
            ended: Vec::new(),
            backlog: Vec::new(),
            usage: Vec::new(),
            usage_batches: Batches::new(),
            choice,
            ring,
            seed_link,
            read_link,
            _links: links,
            skel,
        };
        probe.seed()?;
        Ok(probe)
    }

    /// The tags, where they are in socket storage, which programs on interfaces can read too.
    ///
    /// # Errors
    /// Where there can't be one more descriptor.
    pub fn tags(&self) -> Result<Option<OwnedFd>> {
        let tags = self.skel.maps.tags.as_fd();
        let is_used = self.choice.arrangement != BY_ADDRESS;
        is_used.then(|| tags.try_clone_to_owned().context("share the tags")).transpose()
    }

    /// Walks the open files of all processes and tags the sockets that have no owner yet: those
    /// open before the start, and later those that were never used nor connected.
    fn seed(&self) -> Result<()> {
        self.seed_link
            .as_ref()
            .map_or(Ok(()), run_iterator)
            .context("walk the open files of all processes")
    }

    fn take_events(&mut self) {
        let clock = TimeOfDay::now();
        self.events.clear();
        let mut incoming = self.incoming.borrow_mut();
        self.events.extend(incoming.events.iter_mut().flat_map(|events| events.drain(..)).map(
            |event| SocketEvent {
                time: clock.at(event.time_ns),
                clock_ns: event.time_ns,
                kind: kind(event.kind),
                errno: event.error,
                socket: event.socket,
            },
        ));
    }

    /// Empties the ring of all that began to be written before. A record that isn't complete holds up
    /// those behind it, which may be the last of a process that is dead by now.
    fn drain_to_now(&self) -> Result<()> {
        // SAFETY: the ring buffer has one ring, which lives as long; libbpf only reads its positions.
        let (ring, end) = unsafe {
            let ring = libbpf_sys::ring_buffer__ring(self.ring.as_libbpf_object().as_ptr(), 0);
            (ring, libbpf_sys::ring__producer_pos(ring))
        };
        self.drain()?;
        for _ in 0..SECOND_CHANCES {
            // SAFETY: as above.
            if unsafe { libbpf_sys::ring__consumer_pos(ring) } >= end {
                break;
            }
            std::thread::sleep(SECOND_CHANCE);
            self.drain()?;
        }
        Ok(())
    }

    /// Runs that the kernel skipped, less those that another program made up for.
    fn missed_runs(&self) -> u64 {
        let (mut states, mut destructs, mut others) = (0, None, 0);
        for (name, missed) in programs::missed_runs(self.skel.object()) {
            match name {
                // Costs a name for a moment; and what the second of a pair misses, the first had.
                name if name.contains("clone") || name.ends_with(SECOND) => {}
                // Nothing of an end is recorded.
                name if name.contains("exited") => {}
                // Any system call; what it would have found is told as `call_return`.
                name if name.starts_with("raw_tp") => {}
                name if name.ends_with("_first") => others += missed,
                name if name.contains("state") => states += missed,
                name if name.contains("destruct") => *destructs.get_or_insert(0) += missed,
                _ => others += missed,
            }
        }
        // Read last: what was missed may have been made up for since.
        let made_up = self.skel.maps.bss_data.as_ref().map_or(0, |bss| {
            // SAFETY: valid references; volatile because BPF programs write there.
            unsafe {
                others += (&raw const bss.turns_deferred).read_volatile();
                (&raw const bss.turns_made_up).read_volatile()
            }
        });
        // A connection whose end was missed is told of as it is destructed.
        states.min(destructs.unwrap_or(u64::MAX)) + others.saturating_sub(made_up)
    }

    fn read_table(&mut self) -> Result<()> {
        let mut walks = 0;
        loop {
            let before = self.start_walk();
            run_iterator(&self.read_link).context("read the table of sockets")?;
            let after = self.walk();
            self.count = after.records as usize;
            walks += 1;
            if self.count > self.records.capacity() {
                self.grow(self.count + self.count / GROWTH)?;
                continue;
            }
            self.is_whole = after.is_whole(&before);
            if self.is_whole || walks >= MAX_WALKS {
                return Ok(());
            }
        }
    }

    fn walk(&self) -> Walk {
        self.skel.maps.bss_data.as_ref().map_or_else(Walk::default, |bss| {
            // SAFETY: valid references; volatile because BPF programs write there.
            unsafe {
                Walk {
                    records: (&raw const bss.records_read).read_volatile(),
                    entries: (&raw const bss.addresses_walked).read_volatile(),
                    made: (&raw const bss.addresses_made).read_volatile(),
                    removed: (&raw const bss.addresses_removed).read_volatile(),
                }
            }
        })
    }

    fn start_walk(&mut self) -> Walk {
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            // SAFETY: valid references; volatile because the iterator reads there.
            unsafe {
                (&raw mut bss.records_read).write_volatile(0);
                (&raw mut bss.addresses_walked).write_volatile(0);
            }
        }
        self.walk()
    }

    fn grow(&mut self, capacity: usize) -> Result<()> {
        let larger =
            Records::create(capacity, &self.records, programs::btf_fd(self.skel.object()))?;
        let fd = larger.map().as_fd().as_raw_fd();
        self.skel
            .maps
            .records
            .update(&0u32.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
            .with_context(|| format!("make room for {capacity} sockets"))?;
        self.records = larger;
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            // SAFETY: a valid reference; volatile because the iterator reads there.
            unsafe { (&raw mut bss.outgrown).write_volatile(true) };
        }
        Ok(())
    }

    fn read_usage(&mut self) -> Result<()> {
        self.usage.clear();
        let usage = &mut self.usage;
        let map = self.skel.maps.usage.as_fd();
        self.usage_batches.read(map, |key: &types::usage_key, value: &types::usage| {
            usage.push(UsageRecord {
                id: value.id,
                socket: key.socket,
                user: value.user,
                ends: value.ends,
                rx_bytes: value.rx_bytes,
                tx_bytes: value.tx_bytes,
                ended: false,
            });
        })?;
        if self.usage.is_empty() {
            return Ok(());
        }
        // Gone is what is older than our walk of the table and not in it, and what closed since. The
        // table's flag doesn't tell who has calls: the first one may be younger than the walk.
        let mut gone = FxHashSet::default();
        if self.is_whole {
            gone.extend(self.usage.iter().map(|record| record.id));
        }
        gone.retain(|id| born_ns(*id) < self.clock_ns);
        for record in self.records.first(self.count) {
            gone.remove(&record.id);
        }
        gone.extend(self.ended.iter().map(|record| record.id));
        for record in &mut self.usage {
            record.ended = gone.contains(&record.id);
            if record.ended {
                let key =
                    types::usage_key { socket: record.socket, tgid: record.user.tgid, pad: 0 };
                // Another user's clean-up can't have come first: the map is ours alone.
                let _ = self.skel.maps.usage.delete(bytes_of(&key));
            }
        }
        Ok(())
    }
}

impl Probe for SocketProbe {
    fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the epoll descriptor is the ring's, which `self` keeps open.
        Some(unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) })
    }

    fn drain(&self) -> Result<()> {
        self.ring.consume().context("read the ring of sockets")
    }

    fn has_backlog(&self) -> bool {
        self.incoming.borrow().closed.len() >= BACKLOG
    }

    fn backlog_after(&self) -> Option<Duration> {
        (self.pace == Some(Pace::Soon)).then_some(READ_EVENTS_AFTER)
    }

    /// Closed sockets, once they are many: before the tick ends, since it may be far. Those with
    /// per-call counters stay for the tick, which reads these. Events, always.
    fn read_backlog(&mut self) -> Result<()> {
        if self.pace == Some(Pace::Soon) {
            self.drain()?;
            self.take_events();
        }
        let closed = &mut self.incoming.borrow_mut().closed;
        self.backlog.clear();
        if closed.len() >= BACKLOG {
            let whole = |record: &mut SocketRecord| record.flags & tag::USED == 0;
            self.backlog.extend(closed.extract_if(.., whole));
        }
        Ok(())
    }

    fn hand_on<'a>(&'a self, backlog: &mut Backlog<'a>) {
        backlog.closed = &self.backlog;
        if self.pace == Some(Pace::Soon) {
            backlog.socket_events = &self.events;
        }
    }

    fn look_around(&mut self) -> Result<()> {
        let start = Instant::now();
        if start >= self.reseed_at {
            self.seed()?;
            self.reseed_at = Instant::now() + RESEED_AFTER.max(start.elapsed() * RESEED_SHARE);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        self.clock_ns = monotonic_ns();
        self.read_table()?;
        // After the table: what closes later is in the next reading. Before the usage: each closed
        // socket's usage is then complete.
        self.drain_to_now()?;
        self.ended.clear();
        std::mem::swap(&mut self.ended, &mut self.incoming.borrow_mut().closed);
        self.take_events();
        self.read_usage()
    }

    fn fill<'a>(&'a self, sample: &mut Sample<'a>) {
        sample.clock_ns = self.clock_ns;
        sample.sockets = self.records.first(self.count);
        sample.closed = &self.ended;
        sample.socket_events = &self.events;
        sample.usage = &self.usage;
        sample.calls_counted =
            !self.only_owners && self.choice.has(SENT) && self.choice.has(RECEIVED);
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let counts = self.skel.maps.bss_data.as_ref().map(|bss| &bss.losses[..]);
        let mut losses = losses::by_name(LOSS_NAMES, counts);
        let incoming = self.incoming.borrow();
        losses.push((CLOSED_BACKLOG, incoming.closed_dropped));
        losses.push((EVENT_BACKLOG, incoming.events_dropped));
        losses.push((HOOK_REENTERED, self.missed.settle(|| self.missed_runs())));
        losses
    }

    fn run_time_ns(&self) -> Option<u64> {
        programs::run_time_ns(self.skel.object())
    }

    fn standings(&self) -> &[Standing] {
        &self.choice.standings
    }
}

/// Runs an iterator whose output is nothing but its side effects.
fn run_iterator(link: &Link) -> Result<()> {
    let mut iter = Iter::new(link)?;
    let mut nothing = [0u8; 64];
    loop {
        match iter.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // After a million objects without output the kernel takes a breath.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The ring's callback: never blocks, never panics, allocates only while the vectors grow.
fn keep(incoming: &RefCell<Incoming>, bytes: &[u8]) -> i32 {
    let Ok(mut incoming) = incoming.try_borrow_mut() else {
        return 0;
    };
    let mut event = socket_event::default();
    if event.copy_from_bytes(bytes).is_err() {
        return 0;
    }
    if kind(event.kind) == SocketEventKind::Closed {
        if incoming.closed.len() < MAX_CLOSED {
            incoming.closed.push(event.socket);
        } else {
            incoming.closed_dropped += 1;
        }
    }
    match &mut incoming.events {
        None => {}
        Some(events) if events.len() < MAX_EVENTS => events.push(event),
        Some(_) => incoming.events_dropped += 1,
    }
    0
}

fn kind(number: u32) -> SocketEventKind {
    match socket_event_kind(number) {
        socket_event_kind::SOCKET_CONNECTED => SocketEventKind::Connected,
        socket_event_kind::SOCKET_ACCEPTED => SocketEventKind::Accepted,
        _ => SocketEventKind::Closed,
    }
}

fn bytes_of(key: &types::usage_key) -> &[u8] {
    // SAFETY: 16 bytes of integers without padding between them.
    unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(key).cast(), size_of::<types::usage_key>())
    }
}

//! The system-call probe: loads `syscalls.bpf.c`, and reads what each thread's calls grew by since
//! the last reading.

use std::cell::RefCell;
use std::mem::size_of;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::skel::Skel;
use libbpf_rs::{Link, MapCore, MapFlags, RingBuffer, RingBufferBuilder};
use nix::unistd::{SysconfVar, sysconf};
use plain::Plain;
use rustc_hash::FxHashMap;

use crate::histogram::Histogram;
use crate::losses::{HOOK_REENTERED, SLOW_BACKLOG};
use crate::names::syscalls::{Abi, Call};
use crate::probes::clock::TimeOfDay;
use crate::probes::ladder::{Choice, Standing};
use crate::probes::losses::{self, MissedRuns};
use crate::probes::verify::{Load, Subject, load_changed};
use crate::probes::{Probe, READ_EVENTS_AFTER, SECOND, programs};
use crate::sample::{
    Backlog, CallRecord, EndedThread, ProcessRecord, Sample, SlowCall, SyscallReading,
};

mod hooks;
mod load;
mod slots;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/syscalls.skel.rs"));
}
use load::{attach, load};
use skel::SyscallsSkel;
use skel::types::{self, call_slot, loss, slow_call, slow_call_with_stacks, thread_slot};
use slots::{CHUNK, MAX_CHUNKS, Slots, THREAD};

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for slow_call {}
// SAFETY: as above.
unsafe impl Plain for slow_call_with_stacks {}

/// Slots kept free, and half as many as are in use. More take the kernel a grace period, 5 to 90 ms,
/// in which a storm of new processes takes thousands.
const FREE_SLOTS: u64 = 16 * CHUNK as u64;
const FREE_SHARE: u64 = 2;
/// Slots taken after which the table is read before the tick ends, for those that can be given out
/// again.
const READ_AFTER: u64 = 128 * CHUNK as u64;
/// However long a tick is: counters have 32 bits.
const READ_CALLS_AFTER: Duration = Duration::from_secs(60);
/// Slow calls kept between two readings; what comes above is counted as lost.
const MAX_SLOW: usize = 20_000;

/// Names of the loss causes that this probe has.
pub(crate) const LOSS_NAMES: [(&str, u32); 5] = [
    ("tree_table", loss::LOSS_TREE_TABLE.0),
    ("task_storage", loss::LOSS_TASK_STORAGE.0),
    ("call_table", loss::LOSS_CALL_TABLE.0),
    ("errno_table", loss::LOSS_ERRNO_TABLE.0),
    ("slow_ring", loss::LOSS_SLOW_RING.0),
];

/// What of the server is recorded. Narrower than what is shown, never wider: who reads the records
/// judges them once more.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these processes; empty (and no `held`) means all.
    pub pids: Vec<u32>,
    /// A process that is about to execute a command, and counts from then on.
    pub held: Option<u32>,
    /// Children of `pids` and `held` count too.
    pub follow_forks: bool,
    /// Only processes of these names.
    pub comms: Vec<String>,
    /// Only processes of these users.
    pub uids: Vec<u32>,
    /// Cgroups by id, and whether they are watched; of those that aren't listed all is.
    pub cgroups: Vec<(u64, bool)>,
    /// Only these calls.
    pub calls: Option<Vec<Call>>,
    /// Only calls that fail.
    pub errors_only: bool,
    /// No durations, for less.
    pub count_only: bool,
    /// Calls that take at least so long are handed on one by one; 0: none.
    pub slower_than_ns: u64,
    /// Those with their stacks.
    pub stacks: bool,
    /// Room for so many threads and calls of each; `None` takes a million, as they are needed.
    pub room: Option<usize>,
    /// Bytes of the ring of slow calls, a power of two; `None` takes the default of 256 KiB.
    pub ring_bytes: Option<u32>,
}

impl Options {
    fn only_tree(&self) -> bool {
        !self.pids.is_empty() || self.held.is_some()
    }
}

/// The probe's arrangements with everything switched on.
pub(super) fn subjects(is_preempted: bool) -> Vec<Subject> {
    let everything = Options {
        pids: vec![1],
        follow_forks: true,
        comms: vec![String::new()],
        uids: vec![0],
        cgroups: vec![(1, true)],
        calls: Some(Vec::new()),
        errors_only: true,
        slower_than_ns: 1,
        stacks: true,
        ..Options::default()
    };
    let counting = Options { count_only: true, ..everything.clone() };
    let mut subjects = Vec::new();
    for options in [everything, counting] {
        let arrangements =
            hooks::arrangements(&options, is_preempted).into_iter().zip(["storage", "thread"]);
        for (number, (arrangement, name)) in arrangements.enumerate() {
            let options = options.clone();
            let load: Load = Box::new(move |choice, change| {
                load_changed(load::prepare(&options, choice)?, change)
            });
            subjects.push(Subject { object: "syscalls", name, number, arrangement, load });
        }
    }
    subjects
}

/// How the probe stands that couldn't be opened.
pub fn not_had(error: &anyhow::Error) -> Standing {
    Standing::not_had("calls", "system calls", "sys_exit", error)
}

/// The loaded probe. Dropping it detaches everything.
pub struct SyscallProbe {
    slots: Slots,
    room: usize,
    /// Slots taken before the last reading.
    taken_before: u64,
    /// By slot: what was read of it.
    seen: Vec<Seen>,
    records: Vec<CallRecord>,
    ended: Vec<EndedThread>,
    slow: Vec<SlowCall>,
    incoming: Rc<RefCell<Incoming>>,
    missed: MissedRuns,
    has_slow: bool,
    read_calls_at: Instant,
    choice: Choice,
    // Dropped in this order: what refers to the maps goes before them.
    ring: RingBuffer<'static>,
    _links: Vec<Link>,
    skel: SyscallsSkel<'static>,
}

/// What was read of a slot.
#[derive(Clone, Debug, Default)]
struct Seen {
    calls: u64,
    errors: u64,
    total_ns: u64,
    errnos: [u32; 4],
    further: Vec<(u32, u64)>,
    histogram: Histogram,
}

/// A slow call as it came through the ring.
struct Slow {
    call: slow_call,
    user_stack: Vec<u64>,
    kernel_stack: Vec<u64>,
}

#[derive(Default)]
struct Incoming {
    slow: Vec<Slow>,
    dropped: u64,
    wants_slots: bool,
}

impl SyscallProbe {
    /// Loads and attaches the probe.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: &Options) -> Result<Self> {
        let loaded = load(options)?;
        let incoming = Rc::new(RefCell::new(Incoming::default()));
        let mut ring = RingBufferBuilder::new();
        let sink = Rc::clone(&incoming);
        ring.add(&loaded.skel.maps.slow_calls, move |bytes| keep(&sink, bytes))
            .context("open the ring of slow calls")?;
        let ring = ring.build().context("open the ring of slow calls")?;
        let slots = open_slots(&loaded.skel)?;
        let first = slots.len() - 1;
        let mut probe = SyscallProbe {
            seen: vec![Seen::default(); slots.len()],
            slots,
            room: options.room.unwrap_or_else(room),
            taken_before: 0,
            records: Vec::new(),
            ended: Vec::new(),
            slow: Vec::new(),
            incoming,
            missed: MissedRuns::default(),
            has_slow: options.slower_than_ns > 0,
            read_calls_at: Instant::now() + READ_CALLS_AFTER,
            ring,
            _links: Vec::new(),
            choice: loaded.choice.clone(),
            skel: loaded.skel,
        };
        probe.give(first as u64);
        probe.make_room()?;
        probe._links = attach(&probe.skel, &probe.choice, loaded.events)?;
        Ok(probe)
    }

    /// Makes room where the kernel's side asked for it; true if a reading is to make more. That
    /// takes longer, and storms ask for room one time after another.
    fn relieve(&mut self) -> Result<bool> {
        let asked = self.has_backlog();
        self.make_room()?;
        Ok(asked && (self.is_full() || self.balance().0 - self.taken_before >= READ_AFTER))
    }

    /// Runs that the kernel skipped, less those that the second program of a pair made up for.
    fn missed_runs(&self) -> u64 {
        let missed = programs::missed_runs(self.skel.object());
        let missed = missed.filter(|(name, _)| !name.ends_with(SECOND)).map(|(_, missed)| missed);
        let missed: u64 = missed.sum();
        // Read last: what was missed may have been made up for since.
        let made_up = self.skel.maps.bss_data.as_ref().map_or(0, |bss| {
            // SAFETY: a valid reference; volatile because BPF programs write there.
            unsafe { (&raw const bss.turns_made_up).read_volatile() }
        });
        missed.saturating_sub(made_up)
    }

    /// What was read last.
    pub fn reading(&self) -> SyscallReading<'_> {
        SyscallReading { calls: &self.records, ended: &self.ended, slow: &self.slow }
    }

    /// The threads that there are, by slot.
    fn threads(&self) -> FxHashMap<u32, thread_slot> {
        let slots = 1..self.slots.len() as u32;
        slots.filter_map(|slot| Some((slot, self.slots.thread(slot)?))).collect()
    }

    /// Errnos that found no place in their slot, by slot.
    fn further_errnos(&self) -> Result<FxHashMap<u32, Vec<(u32, u64)>>> {
        let mut further: FxHashMap<u32, Vec<(u32, u64)>> = FxHashMap::default();
        for key in self.skel.maps.errnos.keys() {
            let value = self.skel.maps.errnos.lookup(&key, MapFlags::ANY);
            let Some(value) = value.context("read the table of errnos")? else { continue };
            let (Ok(key), Ok(count)) = (<[u8; 8]>::try_from(key), <[u8; 8]>::try_from(value))
            else {
                continue;
            };
            let [a, b, c, d, errno @ ..] = key;
            let slot = u32::from_ne_bytes([a, b, c, d]);
            let errno = u32::from_ne_bytes(errno);
            further.entry(slot).or_default().push((errno, u64::from_ne_bytes(count)));
        }
        Ok(further)
    }

    fn read_slot(&mut self, number: u32, who: &thread_slot, further: &[(u32, u64)]) {
        let (Some(slot), Some(seen)) =
            (self.slots.call(number), self.seen.get_mut(number as usize))
        else {
            return;
        };
        let errnos = seen.errnos(&slot, further);
        self.records.push(CallRecord {
            process: process(&who.process),
            named_ns: who.named_ns,
            tid: who.tid,
            call: call_of(slot.call),
            calls: slot.calls - seen.calls,
            errors: slot.errors - seen.errors,
            total_ns: slot.total_ns - seen.total_ns,
            max_ns: slot.max_ns,
            errnos,
            histogram: seen.histogram.add_wrapped(&slot.buckets),
        });
        seen.calls = slot.calls;
        seen.errors = slot.errors;
        seen.total_ns = slot.total_ns;
    }

    fn release(&mut self, slot: u32, further: &[(u32, u64)]) -> Result<()> {
        for (errno, _) in further {
            let key = [slot.to_ne_bytes(), errno.to_ne_bytes()].concat();
            // It is there: only we take something out.
            let _ = self.skel.maps.errnos.delete(&key);
        }
        if let Some(key) = self.slots.further_key(slot) {
            // As above.
            let _ = self.skel.maps.further.delete(&key);
        }
        if let Some(seen) = self.seen.get_mut(slot as usize) {
            *seen = Seen::default();
        }
        self.slots.release(slot)?;
        self.give(1);
        Ok(())
    }

    /// Keeps a share of the slots free, as far as there can be more.
    fn make_room(&mut self) -> Result<()> {
        let (taken, given) = self.balance();
        let free = given.saturating_sub(taken);
        let used = (self.slots.len() as u64).saturating_sub(free);
        let wanted = FREE_SLOTS + used / FREE_SHARE;
        let missing = usize::try_from(wanted.saturating_sub(free))?;
        let missing = missing.min(self.room.saturating_sub(self.slots.len()));
        if missing > 0
            && let Err(error) = self.grow(missing.div_ceil(CHUNK))
        {
            // What there is has to do; what finds no room is counted as lost.
            self.room = self.slots.len();
            eprintln!(
                "nettrace: {error:#}; there is none for more than {} kinds of calls by all threads",
                self.room
            );
        }
        self.incoming.borrow_mut().wants_slots = false;
        let is_full = self.is_full();
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            // SAFETY: valid references; volatile because BPF programs look there.
            unsafe {
                (&raw mut bss.few_slots).write_volatile(wanted / 2);
                (&raw mut bss.wants_slots).write_volatile(is_full);
            }
        }
        Ok(())
    }

    fn grow(&mut self, chunks: usize) -> Result<()> {
        let before = self.slots.len();
        let grown = self.slots.grow(chunks);
        self.seen.resize(self.slots.len(), Seen::default());
        self.give((self.slots.len() - before) as u64);
        grown
    }

    fn is_full(&self) -> bool {
        self.slots.len() >= self.room
    }

    /// Slots taken and given out since the start.
    fn balance(&self) -> (u64, u64) {
        self.skel.maps.bss_data.as_ref().map_or((0, 0), |bss| {
            // SAFETY: valid references; volatile because BPF programs write there.
            unsafe {
                let given = (&raw const bss.slots_given).read_volatile();
                ((&raw const bss.slots_taken).read_volatile(), given)
            }
        })
    }

    fn give(&mut self, count: u64) {
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            // SAFETY: a valid reference; only we write it, volatile because programs look there.
            unsafe {
                let given = (&raw const bss.slots_given).read_volatile();
                (&raw mut bss.slots_given).write_volatile(given + count);
            }
        }
    }

    fn take_slow(&mut self) {
        self.slow.clear();
        let incoming = std::mem::take(&mut self.incoming.borrow_mut().slow);
        let clock = TimeOfDay::now();
        for Slow { call, user_stack, kernel_stack } in incoming {
            self.slow.push(SlowCall {
                process: process(&call.process),
                tid: call.tid,
                call: call_of(call.call),
                args: call.args,
                began: clock.at(call.began_ns),
                duration_ns: call.duration_ns,
                asleep_ns: self.choice.has("sleeps").then_some(call.asleep_ns),
                result: call.result,
                user_stack,
                kernel_stack,
            });
        }
    }
}

impl Probe for SyscallProbe {
    fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the epoll descriptor is the ring's, which `self` keeps open.
        Some(unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) })
    }

    fn drain(&self) -> Result<()> {
        self.ring.consume().context("read the ring of slow calls")
    }

    /// Whether the kernel's side is short of slots, so that it should get some before the tick ends.
    fn has_backlog(&self) -> bool {
        self.incoming.borrow().wants_slots
    }

    fn backlog_after(&self) -> Option<Duration> {
        Some(if self.has_slow { READ_EVENTS_AFTER } else { READ_CALLS_AFTER })
    }

    fn read_backlog(&mut self) -> Result<()> {
        if self.relieve()? || Instant::now() >= self.read_calls_at {
            self.read_calls_at = Instant::now() + READ_CALLS_AFTER;
            return self.read();
        }
        self.records.clear();
        self.ended.clear();
        self.drain()?;
        self.take_slow();
        Ok(())
    }

    fn hand_on<'a>(&'a self, backlog: &mut Backlog<'a>) {
        backlog.syscalls = self.reading();
    }

    fn read(&mut self) -> Result<()> {
        self.records.clear();
        self.ended.clear();
        self.taken_before = self.balance().0;
        self.drain()?;
        self.take_slow();
        // Ends first: what a thread did before its end is then read whole.
        let threads = self.threads();
        let further = self.further_errnos()?;
        let mut released = Vec::new();
        for slot in 1..self.slots.len() as u32 {
            let Some((call, thread, calls)) = self.slots.head(slot) else { break };
            if call == 0 || call == THREAD {
                continue;
            }
            let Some(who) = threads.get(&thread) else { continue };
            if self.seen[slot as usize].calls != calls {
                self.read_slot(slot, who, further.get(&slot).map_or(&[], Vec::as_slice));
            }
            if who.ended != 0 {
                released.push(slot);
            }
        }
        for (slot, who) in threads.iter().filter(|(_, who)| who.ended != 0) {
            self.ended.push(EndedThread {
                process: process(&who.process),
                tid: who.tid,
                is_last: who.process_ended != 0,
            });
            released.push(*slot);
        }
        for slot in released {
            self.release(slot, further.get(&slot).map_or(&[], Vec::as_slice))?;
        }
        self.make_room()
    }

    fn fill<'a>(&'a self, sample: &mut Sample<'a>) {
        sample.syscalls = Some(self.reading());
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let counts = self.skel.maps.bss_data.as_ref().map(|bss| &bss.losses[..]);
        let mut losses = losses::by_name(LOSS_NAMES, counts);
        losses.push((SLOW_BACKLOG, self.incoming.borrow().dropped));
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

/// Return addresses, innermost first.
fn stack(frames: &[u64], bytes: i32) -> Vec<u64> {
    let depth = usize::try_from(bytes).unwrap_or(0) / size_of::<u64>();
    frames.iter().copied().take(depth).take_while(|address| *address != 0).collect()
}

impl Seen {
    /// What the errnos grew by; remembers them.
    fn errnos(&mut self, slot: &call_slot, further: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let mut errnos = Vec::new();
        for (now, seen) in slot.errnos.iter().zip(&mut self.errnos) {
            let grown = now.count.wrapping_sub(*seen);
            *seen = now.count;
            if grown > 0 {
                errnos.push((now.errno, grown.into()));
            }
        }
        for (errno, count) in further {
            let known = self.further.iter_mut().find(|(known, _)| known == errno);
            let grown = count - known.as_ref().map_or(0, |(_, seen)| *seen);
            match known {
                Some((_, seen)) => *seen = *count,
                None => self.further.push((*errno, *count)),
            }
            if grown > 0 {
                errnos.push((*errno, grown));
            }
        }
        errnos
    }
}

/// A share of the memory there is, however large.
fn room() -> usize {
    const SHARE: u64 = 16;

    let of = |name| sysconf(name).ok().flatten().and_then(|n| u64::try_from(n).ok());
    let bytes =
        of(SysconfVar::_PHYS_PAGES).zip(of(SysconfVar::PAGE_SIZE)).map(|(n, size)| n * size);
    let slots = bytes.unwrap_or(u64::MAX) / SHARE / size_of::<call_slot>() as u64;
    usize::try_from(slots).unwrap_or(usize::MAX).clamp(CHUNK, MAX_CHUNKS * CHUNK)
}

fn open_slots(skel: &SyscallsSkel<'static>) -> Result<Slots> {
    let btf_fd = programs::btf_fd(skel.object());
    let maps = &skel.maps;
    Slots::new(&maps.first_chunk, &maps.chunks, &maps.free_slots, btf_fd)
}

/// The same, as the other probe's skeleton calls it.
fn process(p: &types::process) -> ProcessRecord {
    let types::process { start, cgroup, tgid, uid, comm } = *p;
    ProcessRecord { start, cgroup, tgid, uid, comm }
}

/// `call` of a slot or an event.
fn call_of(raw: u32) -> Call {
    const NUMBER: u32 = 0x4fff_ffff;
    const COMPAT: u32 = 0x1000_0000;

    let abi = if raw & COMPAT == 0 { Abi::Native } else { Abi::Compat };
    Call { abi, number: raw & NUMBER }
}

/// Takes in what came through the ring: a slow call, or in four bytes that slots are short.
fn keep(incoming: &RefCell<Incoming>, bytes: &[u8]) -> i32 {
    let mut incoming = incoming.borrow_mut();
    let slow = match slow_call_with_stacks::from_bytes(bytes) {
        Ok(all) => Slow {
            call: all.slow,
            user_stack: stack(&all.user, all.user_depth),
            kernel_stack: stack(&all.kernel, all.kernel_depth),
        },
        Err(_) => match slow_call::from_bytes(bytes) {
            Ok(call) => Slow { call: *call, user_stack: Vec::new(), kernel_stack: Vec::new() },
            Err(_) => {
                incoming.wants_slots = true;
                return 0;
            }
        },
    };
    if incoming.slow.len() < MAX_SLOW {
        incoming.slow.push(slow);
    } else {
        incoming.dropped += 1;
    }
    0
}

//! Single events of all kinds, in the order of time, each with the process whose socket it was on.
//! They come by several rings, so those of the last moment wait until nothing older can come.

mod overflows;
mod owners;
mod row;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::drops::DropTable;
use super::{DropEventRow, Model, Process, SlowRow, drops};
use crate::filter::{Filter, nearest};
use crate::losses::{EVENT_LIMIT, EVENT_ORDER};
use crate::names::{Names, NetnsNames};
use crate::sample::{Backlog, DropEvent, Sample, SocketEvent, SyscallReading};
use crate::symbols::Symbols;
pub(super) use overflows::{Overflow, Overflows};
use owners::Owners;

/// An event is shown no sooner. What a CPU writes into its ring it has the time of some microseconds
/// before, but the CPU may be a virtual one that is taken away meanwhile.
const WINDOW: Duration = Duration::from_millis(100);

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A TCP connection was made to a peer, or could not be.
    Connect,
    /// A listener has a TCP connection.
    Accept,
    /// A TCP connection ended.
    Close,
    /// TCP sent a segment again.
    Retransmit,
    /// TCP sent or received a reset.
    Reset,
    /// The kernel dropped a packet.
    Drop,
    /// A listener refused connections, its queue being full.
    ListenOverflow,
    /// A system call took long.
    SlowSyscall,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 8] = [
        EventKind::Connect,
        EventKind::Accept,
        EventKind::Close,
        EventKind::Retransmit,
        EventKind::Reset,
        EventKind::Drop,
        EventKind::ListenOverflow,
        EventKind::SlowSyscall,
    ];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Connect => "connect",
            EventKind::Accept => "accept",
            EventKind::Close => "close",
            EventKind::Retransmit => "retransmit",
            EventKind::Reset => "reset",
            EventKind::Drop => "drop",
            EventKind::ListenOverflow => "listen-overflow",
            EventKind::SlowSyscall => "slow-syscall",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EventKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let names = || EventKind::ALL.into_iter().map(EventKind::name);
        let found = EventKind::ALL.into_iter().find(|kind| kind.name() == word);
        found.ok_or_else(|| match nearest(word, names()) {
            Some(near) => format!("no event {word}; did you mean {near}?"),
            None => format!("no event {word}; there are {}", names().collect::<Vec<_>>().join(" ")),
        })
    }
}

/// What came of a wish to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer answered.
    Established,
    /// It failed so.
    Failed(u32),
    /// The program closed the socket before the peer answered.
    GivenUp,
}

/// What is particular to an event's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// Of [`EventKind::Connect`].
    Connect {
        /// What came of it.
        outcome: Outcome,
        /// From the SYN to that, ns; none if it began before nettrace.
        took_ns: Option<u64>,
    },
    /// Of [`EventKind::Accept`].
    Accept {
        /// The handshake's round trip, `tcp_sock.srtt_us >> 3`, µs; none if it wasn't measured.
        srtt_us: Option<u32>,
    },
    /// Of [`EventKind::Close`].
    Close {
        /// From the SYN or the handshake's end on, ns; none if it is older than nettrace.
        lived_ns: Option<u64>,
        /// Payload received, bytes; none if it isn't known whose the kernel's counters are.
        rx_bytes: Option<u64>,
        /// Payload sent, bytes.
        tx_bytes: Option<u64>,
        /// Segments sent again.
        retransmits: u32,
        /// What ended it, if that was an error, as ECONNRESET.
        errno: Option<u32>,
    },
    /// Of [`EventKind::Retransmit`].
    Retransmit {
        /// Of the segment, bytes.
        length: u32,
    },
    /// Of [`EventKind::Reset`].
    Reset {
        /// It was sent, else received.
        is_sent: bool,
    },
    /// Of [`EventKind::Drop`].
    Drop(Box<DropEventRow>),
    /// Of [`EventKind::ListenOverflow`].
    ListenOverflow {
        /// Connections refused since the last time, `sk_drops`.
        count: u64,
        /// Connections that wait for accept() now.
        queued: u32,
        /// As many as may, `sk_max_ack_backlog`.
        backlog: u32,
    },
    /// Of [`EventKind::SlowSyscall`].
    SlowSyscall(Box<SlowRow>),
}

/// A single event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// When it was; of a slow system call, its end.
    pub time: SystemTime,
    /// Whose socket or call it was, as far as that is known.
    pub process: Option<Arc<Process>>,
    /// The protocol.
    pub proto: Option<Arc<str>>,
    /// Own address and port; of a dropped packet, where it came from.
    pub local: Option<(IpAddr, u16)>,
    /// The peer's; of a dropped packet, where it went to.
    pub remote: Option<(IpAddr, u16)>,
    /// Network namespace's name, or its inode in brackets.
    pub netns: Option<Arc<str>>,
    netns_inode: u32,
    /// What it was.
    pub detail: Detail,
}

impl EventRow {
    /// What it was, in a word.
    pub fn kind(&self) -> EventKind {
        match &self.detail {
            Detail::Connect { .. } => EventKind::Connect,
            Detail::Accept { .. } => EventKind::Accept,
            Detail::Close { .. } => EventKind::Close,
            Detail::Retransmit { .. } => EventKind::Retransmit,
            Detail::Reset { .. } => EventKind::Reset,
            Detail::Drop(_) => EventKind::Drop,
            Detail::ListenOverflow { .. } => EventKind::ListenOverflow,
            Detail::SlowSyscall(_) => EventKind::SlowSyscall,
        }
    }
}

/// Which events there are to be.
#[derive(Clone, Debug)]
pub struct EventOptions {
    /// Of these kinds.
    pub kinds: Vec<EventKind>,
    /// Only of sockets that are in the table, whose scope is narrower than that of drops.
    pub only_owned: bool,
    /// At most so many in a second.
    pub per_second: u64,
    /// Drops have the kernel's functions that led there.
    pub stacks: bool,
}

/// What happened, as the probes tell it.
#[derive(Clone, Debug)]
enum Raw {
    Socket(Box<SocketEvent>),
    Drop(Box<DropEvent>),
    Overflow(Box<Overflow>),
    Slow(Box<SlowRow>),
}

/// Events on their way into order.
#[derive(Debug)]
pub(super) struct EventStream {
    options: EventOptions,
    owners: Owners,
    overflows: Overflows,
    pending: Vec<(SystemTime, Raw)>,
    /// What was handed on is no younger.
    handed_on: SystemTime,
    drops: DropTable,
    second_began: SystemTime,
    in_second: u64,
    limited: u64,
    late: u64,
}

/// What raw events are looked at through.
struct Lens<'a> {
    names: &'a mut Names,
    symbols: &'a Symbols,
    filter: &'a Filter,
    netns: NetnsNames,
}

impl EventStream {
    fn new(options: EventOptions) -> Self {
        let drops = DropTable::new(false, options.stacks);
        EventStream {
            options,
            owners: Owners::default(),
            overflows: Overflows::default(),
            pending: Vec::new(),
            handed_on: SystemTime::UNIX_EPOCH,
            drops,
            second_began: SystemTime::UNIX_EPOCH,
            in_second: 0,
            limited: 0,
            late: 0,
        }
    }

    fn push(&mut self, time: SystemTime, raw: Raw) {
        self.late += u64::from(time < self.handed_on);
        self.pending.push((time, raw));
    }

    /// Users are asked for now, so that their names are known when the events are shown.
    fn push_all(
        &mut self,
        sockets: &[SocketEvent],
        drops: &[DropEvent],
        slow: Vec<SlowRow>,
        names: &mut Names,
    ) {
        for event in sockets {
            self.owners.note(&event.socket);
            names.user(event.socket.owner.uid);
            self.push(event.time, Raw::Socket(Box::new(*event)));
        }
        for event in drops {
            let owner = self.owners.find(&event.place, &event.flow);
            names.user(owner.unwrap_or(&event.process).uid);
            self.push(event.time, Raw::Drop(Box::new(event.clone())));
        }
        for row in slow {
            let ended = row.began + Duration::from_nanos(row.duration_ns);
            self.push(ended, Raw::Slow(Box::new(row)));
        }
    }

    /// Takes out what is older than `until`, in order.
    fn release(&mut self, until: SystemTime, lens: &mut Lens<'_>) -> Vec<EventRow> {
        self.pending.sort_by_key(|(time, _)| *time);
        let count = self.pending.partition_point(|(time, _)| *time < until);
        let mut rows = Vec::with_capacity(count);
        for (time, raw) in self.pending.drain(..count).collect::<Vec<_>>() {
            let Some(row) = self.row(time, raw, lens) else { continue };
            if row.is_let_through(lens.filter) && self.is_within_limit(time) {
                rows.push(row);
            }
        }
        self.handed_on = self.handed_on.max(until);
        rows
    }

    fn row(&mut self, time: SystemTime, raw: Raw, lens: &mut Lens<'_>) -> Option<EventRow> {
        let row = match raw {
            Raw::Socket(event) => row::of_socket(&event, lens)?,
            Raw::Overflow(overflow) => row::of_overflow(time, &overflow, lens),
            Raw::Slow(slow) => row::of_slow_call(time, slow),
            Raw::Drop(event) => {
                let owner = self.owners.find(&event.place, &event.flow).copied();
                if owner.is_none() && self.options.only_owned {
                    return None;
                }
                let mut lens = drops::Lens {
                    names: lens.names,
                    symbols: lens.symbols,
                    filter: &Filter::default(),
                    netns: &mut lens.netns,
                };
                let drop = self.drops.absorb(std::slice::from_ref(&event), &mut lens).pop()?;
                row::of_drop(&event, drop, owner, lens.names)
            }
        };
        self.options.kinds.contains(&row.kind()).then_some(row)
    }

    fn is_within_limit(&mut self, time: SystemTime) -> bool {
        let since = time.duration_since(self.second_began).unwrap_or_default();
        if since >= Duration::from_secs(1) {
            self.second_began = time;
            self.in_second = 0;
        }
        self.in_second += 1;
        let is_within = self.in_second <= self.options.per_second;
        self.limited += u64::from(!is_within);
        is_within
    }
}

impl Model {
    /// Single events are to be handed on.
    #[must_use]
    pub fn with_events(self, options: EventOptions) -> Self {
        Model { stream: Some(Box::new(EventStream::new(options))), ..self }
    }

    /// Takes in what came before the tick ends, for single events alone; `now` is when.
    /// Returns what has nothing older to come.
    pub fn follow(&mut self, backlog: &Backlog<'_>, now: SystemTime) -> Vec<EventRow> {
        let slow = self.slow_calls(Some(&backlog.syscalls));
        if let Some(stream) = &mut self.stream {
            stream.push_all(backlog.socket_events, backlog.drops, slow, &mut self.names);
        }
        self.hand_on(now - WINDOW)
    }

    /// The same of a tick. The last one has nothing older to come at all.
    pub fn follow_tick(&mut self, sample: &Sample<'_>, is_last: bool) -> Vec<EventRow> {
        let slow = self.slow_calls(sample.syscalls.as_ref());
        if let Some(stream) = &mut self.stream {
            stream.owners.learn(sample.sockets);
            for overflow in stream.overflows.advance(sample.sockets, sample.closed) {
                stream.push(sample.time, Raw::Overflow(Box::new(overflow)));
            }
            let drops = sample.drops.map_or(&[][..], |reading| reading.events);
            stream.push_all(sample.socket_events, drops, slow, &mut self.names);
        }
        let until = if is_last { None } else { sample.time.checked_sub(WINDOW) };
        self.hand_on(until.unwrap_or(sample.time + FAR))
    }

    fn slow_calls(&mut self, reading: Option<&SyscallReading<'_>>) -> Vec<SlowRow> {
        let Some(reading) = reading.filter(|reading| !reading.slow.is_empty()) else {
            return Vec::new();
        };
        self.syscalls.slow(reading, &mut self.names, &mut self.symbols, &self.calls_filter)
    }

    fn hand_on(&mut self, until: SystemTime) -> Vec<EventRow> {
        let Some(stream) = self.stream.as_mut().filter(|stream| !stream.pending.is_empty()) else {
            return Vec::new();
        };
        let mut lens = Lens {
            names: &mut self.names,
            symbols: &self.symbols,
            filter: &self.filter,
            netns: NetnsNames::read(),
        };
        stream.release(until, &mut lens)
    }

    /// Events that weren't handed on, or too late, by cause.
    pub fn event_losses(&self) -> Vec<(&'static str, u64)> {
        let counts = self.stream.as_ref().map_or((0, 0), |stream| (stream.limited, stream.late));
        vec![(EVENT_LIMIT, counts.0), (EVENT_ORDER, counts.1)]
    }
}

/// Later than anything that was read.
const FAR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;

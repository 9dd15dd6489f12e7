//! The table of sockets between two samples: differences of their counters, and whose they are.
//!
//! The kernel counts a TCP socket's bytes as a whole. What other processes than its owner moved was
//! counted per call; the owner has the rest.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, OnceLock};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::filter::{Facts, Filter};
use crate::names::{self, Container, Names, NetnsNames};
use crate::sample::{
    ESTABLISHED, Endpoints, LISTEN, ProcessRecord, Sample, SocketRecord, TCP_STATES, UsageRecord,
    tag,
};

/// A process, named once.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in the initial namespace; 0 is the kernel.
    pub pid: u32,
    /// Its name, made safe to show.
    pub comm: String,
    /// Its user.
    pub uid: u32,
    /// The user's name, once it is known.
    user: OnceLock<Arc<str>>,
    /// Where it runs.
    pub container: Option<Arc<Container>>,
    /// Path of its cgroup in the unified hierarchy.
    pub cgroup: Option<Arc<str>>,
}

impl Process {
    /// Its user's name, or number as long as the name isn't known.
    pub fn user(&self) -> Cow<'_, str> {
        match self.user.get() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.uid.to_string()),
        }
    }

    fn learn_user(&self, names: &mut Names) {
        if self.user.get().is_none()
            && let Some(name) = names.user(self.uid)
        {
            // Another thread can't have been first: only the model names processes.
            let _ = self.user.set(name);
        }
    }
}

/// Received and sent, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Received.
    pub rx: u64,
    /// Sent.
    pub tx: u64,
}

impl std::ops::AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        self.rx += other.rx;
        self.tx += other.tx;
    }
}

impl Bytes {
    fn since(self, before: Bytes) -> Bytes {
        Bytes { rx: self.rx.saturating_sub(before.rx), tx: self.tx.saturating_sub(before.tx) }
    }

    fn max(self, other: Bytes) -> Bytes {
        Bytes { rx: self.rx.max(other.rx), tx: self.tx.max(other.tx) }
    }
}

/// One socket in one interval.
#[derive(Debug)]
pub struct Socket<'a> {
    /// What the kernel says of it.
    pub record: &'a SocketRecord,
    /// Who used it last.
    pub process: Arc<Process>,
    /// Payload of this interval.
    pub delta: Bytes,
    /// Payload since the start.
    pub bytes: Bytes,
    /// Payload since its birth, where the kernel kept that.
    pub total: Option<Bytes>,
    /// Retransmitted segments since the start.
    pub retransmits: u64,
    /// Dropped since the start, or since its birth if that is later.
    pub drops: u64,
    /// Jiffies of this interval: all, busy, and limited by the receiver and by the send buffer. All
    /// is none for a connection that is in its first interval.
    pub chrono: Chrono,
    /// Whether its bytes are known.
    pub counted: bool,
    /// It closed in this interval.
    pub ended: bool,
}

/// How long a TCP sender was held back, by what; in jiffies of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chrono {
    /// The interval's length, unless this is the connection's first.
    pub elapsed: Option<u32>,
    /// With data to send.
    pub busy: u32,
    /// Of that, held by the receiver's window.
    pub rwnd: u32,
    /// Of that, held by the send buffer.
    pub sndbuf: u32,
}

impl Socket<'_> {
    /// Its protocol's name.
    pub fn proto(&self) -> &'static str {
        proto(&self.record.ends)
    }

    /// A listener, or a UDP socket that takes datagrams from anybody.
    pub fn is_listener(&self) -> bool {
        let ends = &self.record.ends;
        let is_open_udp = is_udp(ends) && ends.remote_port == 0 && ends.local_port != 0;
        is_tcp(ends) && self.record.state == LISTEN || is_open_udp
    }

    /// Has a peer, or moved bytes.
    pub fn is_connection(&self) -> bool {
        let ends = &self.record.ends;
        if is_tcp(ends) {
            return self.record.state != LISTEN;
        }
        ends.remote_port != 0 || self.record.flags & tag::USED != 0
    }
}

const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_UDPLITE: u16 = 136;
const AF_UNIX: u16 = 1;

fn is_unix(ends: &Endpoints) -> bool {
    ends.family == AF_UNIX
}

pub(super) fn is_tcp(ends: &Endpoints) -> bool {
    ends.protocol == IPPROTO_TCP && !is_unix(ends)
}

fn is_udp(ends: &Endpoints) -> bool {
    (ends.protocol == IPPROTO_UDP || ends.protocol == IPPROTO_UDPLITE) && !is_unix(ends)
}

fn proto(ends: &Endpoints) -> &'static str {
    if is_unix(ends) {
        return "unix";
    }
    match ends.protocol {
        1 => "icmp",
        IPPROTO_TCP => "tcp",
        IPPROTO_UDP => "udp",
        33 => "dccp",
        58 => "icmp6",
        132 => "sctp",
        IPPROTO_UDPLITE => "udplite",
        262 => "mptcp",
        _ => "raw",
    }
}

/// As `ss` writes them; other protocols than TCP know connected and not.
pub(super) fn state(record: &SocketRecord) -> &'static str {
    let state = if is_tcp(&record.ends) || record.state == ESTABLISHED { record.state } else { 7 };
    TCP_STATES.get(state as usize).copied().unwrap_or(TCP_STATES[0])
}

/// An address and port, v4-mapped as v4. Protocols without ports have port 0; a wildcard of a v6
/// socket stays `::`.
fn end(ends: &Endpoints, address: [u8; 16], port: u16) -> Option<(IpAddr, u16)> {
    // A raw socket's “port” is its protocol.
    let has_ports = is_tcp(ends) || is_udp(ends) || matches!(proto(ends), "sctp" | "dccp");
    let address = Ipv6Addr::from(address).to_canonical();
    (!is_unix(ends)).then_some((address, if has_ports { port } else { 0 }))
}

/// The socket's own address.
pub(super) fn local(ends: &Endpoints) -> Option<(IpAddr, u16)> {
    end(ends, ends.local, ends.local_port)
}

/// The peer's, if it has one.
pub(super) fn remote(ends: &Endpoints) -> Option<(IpAddr, u16)> {
    let nobody = |address: IpAddr| address.is_unspecified();
    end(ends, ends.remote, ends.remote_port)
        .filter(|(address, port)| !nobody(*address) || *port != 0)
}

/// What turns records into names and decides which count.
pub(super) struct Lens<'a> {
    pub(super) names: &'a mut Names,
    pub(super) filter: &'a Filter,
    pub(super) netns: &'a mut NetnsNames,
}

impl Lens<'_> {
    fn shows(&mut self, record: &SocketRecord, process: &Process) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let netns_name = self.netns.get(record.ends.netns);
        self.filter.matches(&Facts {
            proto: proto(&record.ends),
            local: local(&record.ends),
            remote: remote(&record.ends),
            state: state(record),
            pid: process.pid,
            comm: &process.comm,
            uid: process.uid,
            container: process.container.as_ref().map(|c| c.name.as_str()),
            pod: process.container.as_ref().and_then(|c| c.pod.as_deref()),
            cgroup: process.cgroup.as_deref(),
            netns: record.ends.netns,
            netns_name: &netns_name,
        })
    }
}

/// A process's sums.
#[derive(Debug)]
pub(super) struct ProcessEntry {
    pub(super) process: Arc<Process>,
    pub(super) record: ProcessRecord,
    pub(super) bytes: Bytes,
    pub(super) delta: Bytes,
    pub(super) unix_bytes: Bytes,
    pub(super) retransmits: u64,
    pub(super) drops: u64,
    pub(super) connections: u64,
    /// The filter let something of it through.
    pub(super) shown: bool,
    /// Owns or uses an open socket that the filter lets through.
    pub(super) has_sockets: bool,
    tick: u32,
    /// It is dead; this is its last frame.
    pub(super) ended: bool,
}

/// What is remembered of an open socket. Small: there may be 100,000.
#[derive(Clone, Copy, Debug, Default)]
struct SocketEntry {
    /// The owner's part of the kernel's counters.
    owned: Bytes,
    /// The counters at the start, for a socket that is older.
    base: Bytes,
    base_retransmits: u32,
    retransmits: u32,
    base_drops: u32,
    drops: u32,
    busy: u32,
    rwnd: u32,
    sndbuf: u32,
    tick: u32,
}

impl SocketEntry {
    /// A socket that was open before us starts at what it has; one born later at nothing.
    fn new(record: &SocketRecord) -> Self {
        if record.flags & tag::SEEDED == 0 {
            return SocketEntry::default();
        }
        let base = Bytes { rx: record.rx_bytes, tx: record.tx_bytes };
        SocketEntry {
            owned: base,
            base,
            base_retransmits: record.retransmits,
            retransmits: record.retransmits,
            base_drops: record.drops,
            drops: record.drops,
            ..SocketEntry::default()
        }
    }

    /// `jiffies` as of the last sample.
    fn chrono(&self, record: &SocketRecord, jiffies: u32) -> Chrono {
        Chrono {
            elapsed: (self.tick != 0).then(|| record.jiffies.wrapping_sub(jiffies)),
            busy: record.busy.wrapping_sub(self.busy),
            rwnd: record.rwnd_limited.wrapping_sub(self.rwnd),
            sndbuf: record.sndbuf_limited.wrapping_sub(self.sndbuf),
        }
    }

    fn take(&mut self, record: &SocketRecord, owned: Bytes, tick: u32) {
        self.owned = owned;
        self.retransmits = record.retransmits;
        self.drops = record.drops;
        self.busy = record.busy;
        self.rwnd = record.rwnd_limited;
        self.sndbuf = record.sndbuf_limited;
        self.tick = tick;
    }
}

/// One process's calls on one socket in this interval.
#[derive(Debug)]
struct Use<'a> {
    record: &'a UsageRecord,
    delta: Bytes,
}

type ProcessKey = (u32, u64);

/// Sockets and processes as of the last sample.
#[derive(Debug, Default)]
pub(super) struct SocketTable {
    sockets: FxHashMap<u64, SocketEntry>,
    used: FxHashMap<(u64, u32), Bytes>,
    processes: FxHashMap<ProcessKey, ProcessEntry>,
    jiffies: u32,
    tick: u32,
    is_begun: bool,
    calls_counted: bool,
}

impl SocketTable {
    /// Takes in a sample and calls `visit` for each socket that matches the lens' filter.
    pub(super) fn advance(
        &mut self,
        sample: &Sample<'_>,
        lens: &mut Lens<'_>,
        visit: &mut dyn FnMut(&Socket<'_>, &mut NetnsNames),
    ) {
        self.begin();
        self.calls_counted = sample.calls_counted;
        let mut uses = self.uses(sample.usage);
        // At once: doubling would need both tables for a moment.
        self.sockets.reserve(sample.sockets.len().saturating_sub(self.sockets.len()));
        // What closed while the table was read may be in both; its last record tells all.
        let closed: FxHashSet<u64> = sample.closed.iter().map(|record| record.id).collect();
        let live = sample.sockets.iter().filter(|record| !closed.contains(&record.id));
        let live = live.map(|record| (record, false));
        for (record, ended) in live.chain(sample.closed.iter().map(|record| (record, true))) {
            // Not by the record's flag: the calls are read later and may be the first ones.
            let own = uses.remove(&record.id).unwrap_or_default();
            self.socket(record, &own, ended, lens, visit);
        }
        // What is left died before the table was read; only its calls tell of it.
        for uses in uses.into_values() {
            self.vanished(&uses, lens, visit);
        }
        let tick = self.tick;
        self.sockets.retain(|_, entry| entry.tick == tick);
        self.end_processes();
        let last = sample.sockets.iter().map(|record| record.jiffies).find(|jiffies| *jiffies != 0);
        self.jiffies = last.unwrap_or(self.jiffies);
        self.is_begun = false;
    }

    /// Takes in sockets that closed within the interval.
    pub(super) fn absorb(&mut self, closed: &[SocketRecord], lens: &mut Lens<'_>) {
        self.begin();
        for record in closed {
            self.socket(record, &[], true, lens, &mut |_, _| {});
        }
    }

    /// Begins an interval, unless something of it came already.
    fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            self.tick += 1;
            self.start_processes();
        }
    }

    /// The processes of the last sample.
    pub(super) fn processes(&self) -> impl Iterator<Item = &ProcessEntry> {
        self.processes.values()
    }

    /// Fills in users' names that are known by now.
    pub(super) fn learn_users(&self, names: &mut Names) {
        for entry in self.processes.values() {
            entry.process.learn_user(names);
        }
    }

    fn start_processes(&mut self) {
        self.processes.retain(|_, entry| !entry.ended);
        for entry in self.processes.values_mut() {
            entry.delta = Bytes::default();
            entry.connections = 0;
            entry.has_sockets = false;
        }
    }

    /// A process that owns a socket is taken to live; of the others /proc knows. Those that the
    /// filter hides go with their last socket.
    fn end_processes(&mut self) {
        let tick = self.tick;
        self.processes.retain(|_, entry| entry.shown || entry.tick == tick);
        for entry in self.processes.values_mut() {
            entry.ended = entry.shown && !entry.has_sockets && !names::is_alive(&entry.record);
        }
    }

    fn uses<'a>(&mut self, usage: &'a [UsageRecord]) -> FxHashMap<u64, Vec<Use<'a>>> {
        let mut uses: FxHashMap<u64, Vec<Use<'a>>> = FxHashMap::default();
        for record in usage {
            let key = (record.id, record.user.tgid);
            let now = Bytes { rx: record.rx_bytes, tx: record.tx_bytes };
            let before = self.used.insert(key, now).unwrap_or_default();
            if record.ended {
                self.used.remove(&key);
            }
            uses.entry(record.id).or_default().push(Use { record, delta: now.since(before) });
        }
        uses
    }

    fn socket(
        &mut self,
        record: &SocketRecord,
        uses: &[Use<'_>],
        ended: bool,
        lens: &mut Lens<'_>,
        visit: &mut dyn FnMut(&Socket<'_>, &mut NetnsNames),
    ) {
        let by_calls = total_of(uses);
        let kernel = Bytes { rx: record.rx_bytes, tx: record.tx_bytes };
        let mut entry =
            self.sockets.get(&record.id).copied().unwrap_or_else(|| SocketEntry::new(record));
        // Calls were read after the table, so the owner's part may come out too small for now; it
        // never shrinks.
        let owned = kernel.since(by_calls).max(entry.owned);
        let mut delta = owned.since(entry.owned);
        let retransmits = record.retransmits.saturating_sub(entry.retransmits);
        let drops = record.drops.saturating_sub(entry.drops);
        let chrono = entry.chrono(record, self.jiffies);
        entry.take(record, owned, self.tick);
        if ended {
            self.sockets.remove(&record.id);
        } else {
            self.sockets.insert(record.id, entry);
        }

        let owner = self.process(&record.owner, lens);
        if lens.shows(record, &owner.process) {
            owner.add(delta, &record.ends, !ended);
            owner.retransmits += u64::from(retransmits);
            owner.drops += u64::from(drops);
        }
        let mut process = Arc::clone(&owner.process);
        for one in uses {
            delta += one.delta;
            let user = self.used_by(one, record, !ended, lens);
            if one.record.user.tgid == record.last_tgid {
                process = user;
            }
        }
        if !lens.shows(record, &process) {
            return;
        }
        let mut bytes = owned.since(entry.base);
        bytes += by_calls;
        let socket = Socket {
            record,
            process,
            delta,
            bytes,
            total: is_tcp(&record.ends).then_some(kernel.max(by_calls)),
            retransmits: u64::from(record.retransmits.saturating_sub(entry.base_retransmits)),
            drops: u64::from(record.drops.saturating_sub(entry.base_drops)),
            chrono,
            counted: is_tcp(&record.ends) || self.calls_counted,
            ended,
        };
        if socket.is_connection() && !is_unix(&record.ends) && !ended {
            self.count_connection(record, uses, lens);
        }
        visit(&socket, lens.netns);
    }

    fn vanished(
        &mut self,
        uses: &[Use<'_>],
        lens: &mut Lens<'_>,
        visit: &mut dyn FnMut(&Socket<'_>, &mut NetnsNames),
    ) {
        let Some(last) = uses.last() else {
            return;
        };
        let ends = last.record.ends;
        let record = SocketRecord {
            id: last.record.id,
            owner: last.record.user,
            ends,
            flags: tag::USED,
            state: if ends.remote_port == 0 { 0 } else { ESTABLISHED },
            ..SocketRecord::default()
        };
        let ended = last.record.ended;
        let mut delta = Bytes::default();
        for one in uses {
            delta += one.delta;
            self.used_by(one, &record, !ended, lens);
        }
        let process = Arc::clone(&self.process(&record.owner, lens).process);
        if lens.shows(&record, &process) {
            let bytes = total_of(uses);
            let socket = Socket {
                record: &record,
                process,
                delta,
                bytes,
                total: None,
                retransmits: 0,
                drops: 0,
                chrono: Chrono::default(),
                counted: true,
                ended,
            };
            visit(&socket, lens.netns);
        }
    }

    /// Adds the bytes of one process's calls to it.
    fn used_by(
        &mut self,
        one: &Use<'_>,
        record: &SocketRecord,
        is_open: bool,
        lens: &mut Lens<'_>,
    ) -> Arc<Process> {
        let user = self.process(&one.record.user, lens);
        if lens.shows(record, &user.process) {
            user.add(one.delta, &record.ends, is_open);
        }
        Arc::clone(&user.process)
    }

    /// A connection counts for the process that used it last.
    fn count_connection(&mut self, record: &SocketRecord, uses: &[Use<'_>], lens: &mut Lens<'_>) {
        let last = uses.iter().find(|one| one.record.user.tgid == record.last_tgid);
        let last = last.map_or(&record.owner, |one| &one.record.user);
        self.process(last, lens).connections += 1;
    }

    fn process(&mut self, record: &ProcessRecord, lens: &mut Lens<'_>) -> &mut ProcessEntry {
        let tick = self.tick;
        let entry =
            self.processes.entry((record.tgid, record.start)).or_insert_with(|| ProcessEntry {
                process: Arc::new(Process {
                    pid: record.tgid,
                    comm: comm(record),
                    uid: record.uid,
                    user: OnceLock::new(),
                    container: lens.names.container(record),
                    cgroup: lens.names.cgroup(record),
                }),
                record: *record,
                bytes: Bytes::default(),
                delta: Bytes::default(),
                unix_bytes: Bytes::default(),
                retransmits: 0,
                drops: 0,
                connections: 0,
                shown: false,
                has_sockets: false,
                // Not this one yet: the first touch of a tick asks for names.
                tick: 0,
                ended: false,
            });
        if entry.tick != tick {
            entry.tick = tick;
            entry.process.learn_user(lens.names);
        }
        entry
    }
}

impl ProcessEntry {
    fn add(&mut self, delta: Bytes, ends: &Endpoints, is_open: bool) {
        self.shown = true;
        self.has_sockets |= is_open;
        if is_unix(ends) {
            self.unix_bytes += delta;
        } else {
            self.bytes += delta;
            self.delta += delta;
        }
    }
}

fn total_of(uses: &[Use<'_>]) -> Bytes {
    let mut total = Bytes::default();
    for one in uses {
        total += Bytes { rx: one.record.rx_bytes, tx: one.record.tx_bytes };
    }
    total
}

fn comm(record: &ProcessRecord) -> String {
    let bytes: Vec<u8> =
        record.comm.iter().take_while(|c| **c != 0).map(|c| c.cast_unsigned()).collect();
    names::visible(&bytes)
}

#[cfg(test)]
pub(super) mod tests;

//! The table of sockets between two samples: differences of their counters, and whose they are.
//!
//! The kernel counts a TCP socket's bytes as a whole. What other processes than its owner moved was
//! counted per call; the owner has the rest.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::ends::{is_tcp, is_udp, is_unix, local, proto, remote, state};
use super::processes::{Process, ProcessTable};
use crate::filter::{Facts, Filter};
use crate::names::{Names, NetnsNames};
use crate::sample::{ESTABLISHED, LISTEN, ProcessRecord, Sample, SocketRecord, UsageRecord, tag};

/// Received and sent, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Received.
    pub rx: u64,
    /// Sent.
    pub tx: u64,
}

/// What came to them; less, where a share had been taken for too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Received.
    pub rx: i64,
    /// Sent.
    pub tx: i64,
}

impl std::ops::AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        self.rx += other.rx;
        self.tx += other.tx;
    }
}

impl std::ops::AddAssign for Change {
    fn add_assign(&mut self, other: Change) {
        self.rx += other.rx;
        self.tx += other.tx;
    }
}

impl Bytes {
    fn less(self, other: Bytes) -> Bytes {
        Bytes { rx: self.rx.saturating_sub(other.rx), tx: self.tx.saturating_sub(other.tx) }
    }

    fn since(self, before: Bytes) -> Change {
        let since = |now: u64, before: u64| now.wrapping_sub(before).cast_signed();
        Change { rx: since(self.rx, before.rx), tx: since(self.tx, before.tx) }
    }
}

impl Change {
    /// Not below nothing, as what is shown can't be.
    pub(super) fn bytes(self) -> Bytes {
        Bytes { rx: self.rx.max(0).cast_unsigned(), tx: self.tx.max(0).cast_unsigned() }
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
    pub delta: Change,
    /// Payload since the start.
    pub bytes: Bytes,
    /// Payload since its birth, where the kernel kept that.
    pub total: Option<Bytes>,
    /// Retransmitted segments since the start.
    pub retransmits: u64,
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
            v6: None,
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

/// What is remembered of an open socket. Small: there may be 100,000.
#[derive(Clone, Copy, Debug, Default)]
struct SocketEntry {
    /// The owner's part of the kernel's counters.
    owned: Bytes,
    /// That part at the start, for a socket that is older.
    base: Bytes,
    base_retransmits: u32,
    retransmits: u32,
    drops: u32,
    busy: u32,
    rwnd: u32,
    sndbuf: u32,
    tick: u32,
}

impl SocketEntry {
    /// A socket that was open before us starts at what it has; one born later at nothing.
    fn new(record: &SocketRecord, owned: Bytes) -> Self {
        if record.flags & tag::SEEDED == 0 {
            return SocketEntry::default();
        }
        SocketEntry {
            owned,
            base: owned,
            base_retransmits: record.retransmits,
            retransmits: record.retransmits,
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
    delta: Change,
}

/// Sockets and processes as of the last sample.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketTable {
    sockets: FxHashMap<u64, SocketEntry>,
    used: FxHashMap<(u64, u32), Bytes>,
    /// What was given to owners that have yet to use their socket.
    lent: FxHashMap<u64, (ProcessRecord, Change)>,
    pub(super) processes: ProcessTable,
    /// Segments retransmitted in this interval.
    retransmits: u64,
    jiffies: u32,
    tick: u32,
    is_begun: bool,
    calls_counted: bool,
}

impl SocketTable {
    /// The same sockets, of processes that have moved nothing yet.
    pub(super) fn begun_anew(&self) -> Self {
        SocketTable { processes: ProcessTable::default(), ..self.clone() }
    }

    /// Segments retransmitted in the last interval.
    pub(super) fn retransmits(&self) -> u64 {
        self.retransmits
    }

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
        let sockets = &self.sockets;
        self.lent.retain(|id, _| sockets.contains_key(id));
        self.processes.end();
        let last = sample.sockets.iter().map(|record| record.jiffies).find(|jiffies| *jiffies != 0);
        self.jiffies = last.unwrap_or(self.jiffies);
        self.is_begun = false;
    }

    /// Takes in sockets that closed within the interval.
    pub(super) fn absorb(
        &mut self,
        closed: &[SocketRecord],
        lens: &mut Lens<'_>,
        visit: &mut dyn FnMut(&Socket<'_>, &mut NetnsNames),
    ) {
        self.begin();
        for record in closed {
            self.socket(record, &[], true, lens, visit);
        }
    }

    /// Begins an interval, unless something of it came already.
    fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            self.tick += 1;
            self.retransmits = 0;
            self.processes.begin();
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
        let whole = Bytes { rx: record.rx_bytes, tx: record.tx_bytes };
        // What nobody read yet of a shared socket is nobody's; at its end, of who used it last.
        let unread = if uses.is_empty() { 0 } else { u64::from(record.receive_queue) };
        let unread = Bytes { rx: unread.min(whole.rx), tx: 0 };
        let owned = whole.less(unread).less(by_calls);
        let known = self.sockets.get(&record.id).copied();
        if !ended && known.is_some_and(|entry| entry.tick == self.tick) {
            // A walk over tags by address may come by twice, where others come and go.
            return;
        }
        let mut entry = known.unwrap_or_else(|| SocketEntry::new(record, owned));
        // Less than before, where another process's first call, which is counted when it returns,
        // had gone on for a while; or for a moment, since calls are read after the table.
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

        let handed_over = self.lend(record, delta, ended, lens);
        let owner = self.processes.get(&record.owner, record.id, lens.names);
        if lens.shows(record, &owner.process) {
            owner.bytes += handed_over;
            owner.add(delta, &record.ends, !ended);
            owner.retransmits += u64::from(retransmits);
            self.retransmits += u64::from(retransmits);
            owner.drops += u64::from(drops);
        }
        let mut process = Arc::clone(&owner.process);
        let mut last = &record.owner;
        let mut found = false;
        for one in uses {
            delta += one.delta;
            let user = self.used_by(one, record, !ended, lens);
            // The tag tells who used a TCP socket last; of others, who moved something just now.
            let is_last = one.record.user.tgid == record.last_tgid;
            let is_at_it = !is_tcp(&record.ends) && one.delta != Change::default();
            if is_last && !found || is_at_it {
                found = true;
                process = user;
                last = &one.record.user;
            }
        }
        let mut bytes = owned.less(entry.base);
        bytes += by_calls;
        if ended {
            let rest = unread.since(Bytes::default());
            delta += rest;
            bytes += unread;
            self.give(last, rest, record, lens);
        }
        if !lens.shows(record, &process) {
            return;
        }
        let socket = Socket {
            record,
            process,
            delta,
            bytes,
            total: has_total(record).then_some(whole),
            retransmits: u64::from(record.retransmits.saturating_sub(entry.base_retransmits)),
            chrono,
            counted: is_tcp(&record.ends) || self.calls_counted,
            ended,
        };
        if socket.is_connection() && !is_unix(&record.ends) && !ended {
            self.processes.get(last, 0, lens.names).connections += 1;
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
        let mut delta = Change::default();
        for one in uses {
            delta += one.delta;
            self.used_by(one, &record, !ended, lens);
        }
        let owner = self.processes.get(&record.owner, 0, lens.names);
        let process = Arc::clone(&owner.process);
        if lens.shows(&record, &process) {
            let bytes = total_of(uses);
            let socket = Socket {
                record: &record,
                process,
                delta,
                bytes,
                total: None,
                retransmits: 0,
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
        let user = self.processes.get(&one.record.user, 0, lens.names);
        if lens.shows(record, &user.process) {
            user.add(one.delta, &record.ends, is_open);
        }
        Arc::clone(&user.process)
    }

    /// An owner that hasn't used its socket may not be who will: a listener's process has it until
    /// the one that accepted it reads or writes. Takes back what such an owner was given, and
    /// returns it for the present one.
    fn lend(
        &mut self,
        record: &SocketRecord,
        delta: Change,
        ended: bool,
        lens: &mut Lens<'_>,
    ) -> Change {
        let is_provisional = record.flags & tag::PROVISIONAL != 0;
        if !is_provisional && self.lent.is_empty() {
            return Change::default();
        }
        let mut handed_over = Change::default();
        let mut given = Change::default();
        if let Some((to, change)) = self.lent.remove(&record.id) {
            given = change;
            if (to.tgid, to.start) != (record.owner.tgid, record.owner.start) {
                let entry = self.processes.get(&to, 0, lens.names);
                if lens.shows(record, &entry.process) {
                    entry.bytes += Change { rx: -change.rx, tx: -change.tx };
                }
                handed_over = change;
            }
        }
        given += delta;
        if is_provisional && !ended && given != Change::default() {
            self.lent.insert(record.id, (record.owner, given));
        }
        handed_over
    }

    /// Gives a process what is left of a socket that ended.
    fn give(
        &mut self,
        to: &ProcessRecord,
        rest: Change,
        record: &SocketRecord,
        lens: &mut Lens<'_>,
    ) {
        let entry = self.processes.get(to, 0, lens.names);
        if rest != Change::default() && lens.shows(record, &entry.process) {
            entry.add(rest, &record.ends, false);
        }
    }
}

/// The kernel counted from the birth, and we know which part of it was payload.
fn has_total(record: &SocketRecord) -> bool {
    is_tcp(&record.ends) && record.flags & tag::PER_CALL == 0
}

fn total_of(uses: &[Use<'_>]) -> Bytes {
    let mut total = Bytes::default();
    for one in uses {
        total += Bytes { rx: one.record.rx_bytes, tx: one.record.tx_bytes };
    }
    total
}

#[cfg(test)]
pub(super) mod tests;

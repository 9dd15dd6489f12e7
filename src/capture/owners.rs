//! Whose packets are: what the kernel's side found, else by the tables of sockets and calls.

use std::ffi::c_char;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use etherparse::IpNumber;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::filter::{Facts, Filter};
use crate::names::{Names, visible};
use crate::packet::comment::{Owner, comment};
use crate::packet::decode::{Decoded, Ip};
use crate::sample::{
    Endpoints, PacketBatch, PacketDirection, PacketRecord, Place, ProcessRecord, Sample,
    SocketRecord,
};

/// Tables are read again for packets that aren't in them: so often at most, and so seldom that it takes no
/// more than a twentieth of the time; where packets of nobody are left out, a fifth.
const LEARN_AFTER: Duration = Duration::from_millis(50);
const LEARN_SHARE: u32 = 20;
const SCOPED_SHARE: u32 = 5;
/// For how long packets wait for that at least, since who sends by a new socket is known when its call is over,
/// and at most.
const SETTLED: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_millis(200);
/// What isn't in the tables isn't looked for again so soon: most of it never will be.
const UNKNOWN: Duration = Duration::from_secs(1);
/// What was in a table is remembered for one to two of these, since packets may be behind their sockets.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Processes remembered; above it all are forgotten and looked at anew.
const PROCESSES: usize = 65_536;

/// Where a packet's socket may be.
type Places = [Place; 7];
/// How many of a packet's places are those of the socket of its direction, in the captured namespace.
const OWN: usize = 4;

/// One process, as packets need it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) owner: Owner,
    /// It was asked for.
    pub(super) is_wanted: bool,
    /// Of received and of sent packets.
    comments: [String; 2],
}

impl Known {
    pub(super) fn comment(&self, direction: PacketDirection) -> &str {
        &self.comments[usize::from(direction == PacketDirection::Out)]
    }
}

/// What was read of sockets, lately and before that.
#[derive(Debug, Default)]
struct Generation {
    places: FxHashMap<Place, ProcessRecord>,
    cookies: FxHashMap<u64, ProcessRecord>,
}

/// Who it is, and as whom it is shown.
type Identity = (u32, u64, u64, [c_char; 16]);

/// By what a packet can be somebody's: its own socket's place, and its sender's cookie.
type Trace = (Option<Place>, u64);
const NO_TRACE: Trace = (None, 0);

/// Processes of packets.
pub(super) struct Owners {
    names: Names,
    wanted: Filter,
    /// Inode of the namespace that packets are captured in.
    netns: u32,
    generations: [Generation; 2],
    rotate_at: Instant,
    learn_at: Instant,
    is_scoped: bool,
    /// Packets that were nobody's in the tables.
    unknown: FxHashSet<Trace>,
    ask_again_at: Instant,
    known: FxHashMap<Identity, Rc<Known>>,
    last: Option<(Identity, Rc<Known>)>,
}

impl Owners {
    /// `is_scoped` where packets of nobody are left out.
    pub(super) fn new(wanted: Filter, netns: u32, is_scoped: bool) -> Self {
        Owners {
            names: Names::new(true),
            wanted,
            netns,
            generations: Default::default(),
            rotate_at: Instant::now() + REMEMBERED,
            learn_at: Instant::now(),
            is_scoped,
            unknown: FxHashSet::default(),
            ask_again_at: Instant::now(),
            known: FxHashMap::default(),
            last: None,
        }
    }

    /// In how long the tables should be read again for a packet of these, if they should. They aren't asked
    /// for the same packets again soon.
    pub(super) fn lack(&mut self, batch: &PacketBatch) -> Option<Duration> {
        let now = Instant::now();
        let wait = self.learn_at.saturating_duration_since(now);
        if !self.is_scoped && !wait.is_zero() {
            return None;
        }
        if now >= self.ask_again_at {
            self.ask_again_at = now + UNKNOWN;
            self.unknown.clear();
        }
        let mut lacks = false;
        for record in batch.records.iter().filter(|record| record.owner.is_none()) {
            let places = self.places(record, batch.bytes_of(record));
            if self.find_at(record, places.as_ref()).is_none() {
                let trace = (places.map(|places| places[0]), record.cookie);
                lacks |= trace != NO_TRACE && self.unknown.insert(trace);
            }
        }
        // What is left out can't be told later; the ring has room meanwhile.
        lacks.then(|| wait.clamp(SETTLED, PATIENCE))
    }

    /// At the end everything that can be known is.
    pub(super) fn learn_soon(&mut self) {
        self.learn_at = Instant::now();
        self.unknown.clear();
    }

    /// Takes in what was read of sockets, and how long that took.
    pub(super) fn learn(&mut self, sample: &Sample<'_>, cost: Duration) {
        let now = Instant::now();
        let share = if self.is_scoped { SCOPED_SHARE } else { LEARN_SHARE };
        self.learn_at = now + LEARN_AFTER.max(cost * share);
        if now >= self.rotate_at {
            self.rotate_at = now + REMEMBERED;
            self.generations.swap(0, 1);
            self.generations[0] = Generation::default();
        }
        let new = &mut self.generations[0];
        for usage in sample.usage {
            // Of calls that were counted by an id, nobody asks for that.
            new.cookies.insert(usage.socket, usage.user);
            new.add(&usage.ends, &usage.user);
        }
        // Who owns a socket goes before who called once.
        self.absorb(sample.closed);
        self.absorb(sample.sockets);
    }

    /// Takes in sockets.
    pub(super) fn absorb(&mut self, sockets: &[SocketRecord]) {
        for socket in sockets.iter().filter(|socket| socket.owner.tgid != 0) {
            self.generations[0].add(&socket.ends, &socket.owner);
        }
    }

    /// Whose a packet is.
    pub(super) fn of(&mut self, record: &PacketRecord, bytes: &[u8]) -> Option<Rc<Known>> {
        let process = record.owner.or_else(|| self.look_up(record, bytes))?;
        let identity = (process.tgid, process.start, process.cgroup, process.comm);
        if let Some((_, known)) = self.last.as_ref().filter(|(last, _)| *last == identity) {
            return Some(Rc::clone(known));
        }
        if self.known.len() >= PROCESSES {
            self.known.clear();
        }
        let (names, wanted) = (&mut self.names, &self.wanted);
        let known = self.known.entry(identity).or_insert_with(|| known(names, wanted, &process));
        let known = Rc::clone(known);
        self.last = Some((identity, Rc::clone(&known)));
        Some(known)
    }

    fn look_up(&self, record: &PacketRecord, bytes: &[u8]) -> Option<ProcessRecord> {
        self.find_at(record, self.places(record, bytes).as_ref())
    }

    fn places(&self, record: &PacketRecord, bytes: &[u8]) -> Option<Places> {
        let decoded = Decoded::of(record.link, bytes);
        decoded.ip().and_then(|ip| places(self.netns, record.direction, ip))
    }

    fn find_at(&self, record: &PacketRecord, places: Option<&Places>) -> Option<ProcessRecord> {
        let (own, other) = places.map_or((&[][..], &[][..]), |it| it.split_at(OWN));
        // The socket in a packet is its sender's.
        let sender = || self.find(|generation| generation.cookies.get(&record.cookie));
        let at = |places: &[Place]| {
            places.iter().find_map(|it| self.find(|generation| generation.places.get(it)))
        };
        let found = match record.direction {
            PacketDirection::Out => sender().or_else(|| at(own)),
            PacketDirection::In => at(own).or_else(sender),
        };
        found.or_else(|| at(other))
    }

    fn find(&self, of: impl Fn(&Generation) -> Option<&ProcessRecord>) -> Option<ProcessRecord> {
        self.generations.iter().find_map(of).copied()
    }
}

impl Generation {
    fn add(&mut self, ends: &Endpoints, owner: &ProcessRecord) {
        let place = Place::of(ends);
        if place.is_connected() {
            // Packets of containers pass by other namespaces too.
            self.places.insert(place.anywhere(), *owner);
        }
        self.places.insert(place, *owner);
    }
}

/// Where the socket of a packet may be, the likeliest first: [`OWN`] of the sender's of what is sent, of the
/// receiver's of what is received; then the other one's.
fn places(netns: u32, direction: PacketDirection, ip: &Ip<'_>) -> Option<Places> {
    let protocol = ip.protocol;
    if ![IpNumber::TCP.0, IpNumber::UDP.0].contains(&protocol) {
        return None;
    }
    let ports = ip.ports()?;
    let (from, to) = ((mapped(ip.source), ports.0), (mapped(ip.destination), ports.1));
    let (own, other) = if direction == PacketDirection::Out { (from, to) } else { (to, from) };
    let place = Place { netns, protocol: protocol.into(), local: own, remote: other };
    let [itself, bound, unbound, of_both] = place.takers();
    let turned = place.turned();
    Some([itself, bound, unbound, of_both, turned, place.anywhere(), turned.anywhere()])
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn known(names: &mut Names, wanted: &Filter, process: &ProcessRecord) -> Rc<Known> {
    let end = process.comm.iter().position(|c| *c == 0).unwrap_or(process.comm.len());
    let comm: Vec<u8> = process.comm[..end].iter().map(|c| *c as u8).collect();
    let comm = visible(&comm);
    let (container, cgroup) = (names.container(process), names.cgroup(process));
    let facts = Facts {
        pid: process.tgid,
        comm: &comm,
        uid: process.uid,
        ..Facts::of_cgroup(container.as_deref(), cgroup.as_deref())
    };
    let is_wanted = wanted.matches(&facts);
    let container = container.map(|container| container.name.as_str().into());
    let owner = Owner { pid: process.tgid, comm: comm.as_str().into(), container };
    let comments = [PacketDirection::In, PacketDirection::Out]
        .map(|direction| comment(Some(&owner), direction));
    Rc::new(Known { owner, is_wanted, comments })
}

#[cfg(test)]
mod tests;

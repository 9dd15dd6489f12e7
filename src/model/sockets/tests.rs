//! The model over handmade samples, and what the tests of the other views are made with.

use super::*;

mod bytes;
mod rows;

use std::sync::OnceLock;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use crate::model::ends::{AF_UNIX, IPPROTO_TCP, IPPROTO_UDP};
use crate::model::{ConnRow, Frame, HostRow, ListenerRow, Model, Picture, ProcRow, Rows, View};
use crate::output::{self, Style};
use crate::sample::{Backlog, Endpoints, IfaceRecord, Losses, OwnCost, XdpRecord};

/// Process ids above the highest that Linux gives (2²²), so these are dead.
pub(in crate::model) const A: u32 = 4_194_305;
pub(in crate::model) const B: u32 = 4_194_306;
pub(in crate::model) const C: u32 = 4_194_307;

/// Between two samples. Not one second: a difference isn't a rate.
const SECONDS: u64 = 2;
const LISTENING: u32 = LISTEN;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

pub(in crate::model) fn process(tgid: u32) -> ProcessRecord {
    named(tgid, b"worker")
}

fn named(tgid: u32, name: &[u8]) -> ProcessRecord {
    let mut record = ProcessRecord { tgid, uid: 1000, ..ProcessRecord::default() };
    for (to, from) in record.comm.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    record
}

pub(in crate::model) fn v4(address: [u8; 4]) -> [u8; 16] {
    Ipv4Addr::from(address).to_ipv6_mapped().octets()
}

fn v6(address: &str) -> [u8; 16] {
    address.parse::<Ipv6Addr>().unwrap().octets()
}

/// An established connection 10.0.0.1:5000 → 192.0.2.1:443 that moved nothing.
pub(in crate::model) fn tcp(id: u64, tgid: u32) -> SocketRecord {
    SocketRecord {
        id,
        owner: process(tgid),
        last_tgid: tgid,
        state: ESTABLISHED,
        ends: Endpoints {
            local: v4([10, 0, 0, 1]),
            remote: v4([192, 0, 2, 1]),
            local_port: 5000,
            remote_port: 443,
            netns: 7,
            family: AF_INET,
            protocol: IPPROTO_TCP,
        },
        ..SocketRecord::default()
    }
}

pub(in crate::model) fn listener(id: u64, tgid: u32) -> SocketRecord {
    let mut record = tcp(id, tgid);
    record.state = LISTENING;
    record.ends.local_port = 80;
    record.ends.remote = v4([0; 4]);
    record.ends.remote_port = 0;
    record
}

/// A connected UDP socket; the kernel counts no bytes of it.
pub(in crate::model) fn udp(id: u64, tgid: u32) -> SocketRecord {
    let mut record = tcp(id, tgid);
    record.ends.protocol = IPPROTO_UDP;
    record.ends.remote_port = 53;
    record
}

/// A UDP socket that takes datagrams from anybody.
pub(in crate::model) fn open_udp(id: u64, tgid: u32) -> SocketRecord {
    let mut record = listener(id, tgid);
    record.ends.protocol = IPPROTO_UDP;
    record.state = 7;
    record
}

fn unix(id: u64, tgid: u32) -> SocketRecord {
    let mut record = tcp(id, tgid);
    record.ends = Endpoints { netns: 7, family: AF_UNIX, ..Endpoints::default() };
    record
}

pub(in crate::model) fn moved(record: SocketRecord, rx: u64, tx: u64) -> SocketRecord {
    SocketRecord { rx_bytes: rx, tx_bytes: tx, ..record }
}

pub(in crate::model) fn flagged(record: SocketRecord, flags: u32) -> SocketRecord {
    SocketRecord { flags: record.flags | flags, ..record }
}

fn seeded(record: SocketRecord) -> SocketRecord {
    flagged(record, tag::SEEDED)
}

fn used(record: SocketRecord) -> SocketRecord {
    flagged(record, tag::USED)
}

pub(in crate::model) fn calls(record: &SocketRecord, tgid: u32, rx: u64, tx: u64) -> UsageRecord {
    UsageRecord {
        socket: 0,
        id: record.id,
        user: process(tgid),
        ends: record.ends,
        rx_bytes: rx,
        tx_bytes: tx,
        ended: false,
    }
}

fn last_calls(record: &SocketRecord, tgid: u32, rx: u64, tx: u64) -> UsageRecord {
    UsageRecord { ended: true, ..calls(record, tgid, rx, tx) }
}

/// What one sample holds.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Tick {
    pub(in crate::model) sockets: Vec<SocketRecord>,
    pub(in crate::model) closed: Vec<SocketRecord>,
    pub(in crate::model) usage: Vec<UsageRecord>,
    pub(in crate::model) ifaces: Vec<IfaceRecord>,
    pub(in crate::model) xdp: Vec<XdpRecord>,
    /// The kernel doesn't tell of calls.
    pub(in crate::model) uncounted: bool,
}

impl Tick {
    pub(in crate::model) fn open(sockets: &[SocketRecord]) -> Self {
        Tick { sockets: sockets.to_vec(), ..Tick::default() }
    }

    pub(in crate::model) fn closed(closed: &[SocketRecord]) -> Self {
        Tick { closed: closed.to_vec(), ..Tick::default() }
    }

    pub(in crate::model) fn calls(self, usage: &[UsageRecord]) -> Self {
        Tick { usage: usage.to_vec(), ..self }
    }
}

/// A model that gets a sample every two seconds.
pub(in crate::model) struct Run {
    pub(in crate::model) model: Model,
    clock_ns: u64,
}

impl Run {
    pub(in crate::model) fn new() -> Self {
        Run::with(Filter::default(), &[])
    }

    pub(in crate::model) fn filtered(filter: &str) -> Self {
        Run::with(Filter::parse(filter).unwrap(), &[])
    }

    pub(in crate::model) fn with(filter: Filter, interfaces: &[&str]) -> Self {
        let model = Model::new(
            Names::new(true),
            filter,
            interfaces.iter().map(|name| (*name).to_owned()).collect(),
        );
        Run { model, clock_ns: 1_000_000_000 }
    }

    pub(in crate::model) fn frame(&mut self, view: View, tick: &Tick) -> Frame {
        let sample = self.sample(tick);
        self.model.advance(&sample, view)
    }

    pub(in crate::model) fn picture(&mut self, views: &[View], tick: &Tick) -> Picture {
        let sample = self.sample(tick);
        self.model.advance_all(&sample, views)
    }

    fn sample<'a>(&mut self, tick: &'a Tick) -> Sample<'a> {
        self.clock_ns += SECONDS * 1_000_000_000;
        Sample {
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(self.clock_ns),
            clock_ns: self.clock_ns,
            sockets: &tick.sockets,
            closed: &tick.closed,
            socket_events: &[],
            calls_counted: !tick.uncounted,
            usage: &tick.usage,
            ifaces: &tick.ifaces,
            xdp: &tick.xdp,
            syscalls: None,
            drops: None,
            flows: None,
            packets: None,
            losses: Losses::default(),
            own: OwnCost::default(),
        }
    }

    fn absorb(&mut self, closed: &[SocketRecord]) {
        self.model.absorb(&Backlog { closed, ..Backlog::default() });
    }

    /// By process id.
    pub(in crate::model) fn procs(&mut self, tick: &Tick) -> BTreeMap<u32, ProcRow> {
        let Rows::Procs(rows) = self.frame(View::Procs, tick).rows else { panic!("procs") };
        let count = rows.len();
        let rows: BTreeMap<u32, ProcRow> =
            rows.into_iter().map(|row| (row.process.pid, row)).collect();
        assert_eq!(rows.len(), count, "a process is shown twice");
        rows
    }

    /// By socket.
    pub(in crate::model) fn conns(&mut self, tick: &Tick) -> BTreeMap<u64, ConnRow> {
        let Rows::Conns(rows) = self.frame(View::Conns, tick).rows else { panic!("conns") };
        let count = rows.len();
        let rows: BTreeMap<u64, ConnRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        assert_eq!(rows.len(), count, "a socket is shown twice");
        rows
    }

    pub(in crate::model) fn hosts(&mut self, tick: &Tick) -> BTreeMap<String, HostRow> {
        let Rows::Hosts(rows) = self.frame(View::Hosts, tick).rows else { panic!("hosts") };
        rows.into_iter().map(|row| (row.remote.to_string(), row)).collect()
    }

    pub(in crate::model) fn listeners(&mut self, tick: &Tick) -> Vec<ListenerRow> {
        let Rows::Listeners(rows) = self.frame(View::Listeners, tick).rows else {
            panic!("listeners")
        };
        rows
    }
}

fn bytes_of(row: &ProcRow) -> (u64, u64) {
    (row.rx_bytes, row.tx_bytes)
}

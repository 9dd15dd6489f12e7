//! The model over handmade samples, and what the tests of the other views are made with.

use super::*;

use std::sync::OnceLock;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

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

#[test]
fn rates_are_differences_over_the_time_between_samples() {
    let mut run = Run::new();
    let first = run.frame(View::Conns, &Tick::open(&[moved(tcp(1, A), 1000, 10)]));
    let Rows::Conns(rows) = &first.rows else { panic!("conns") };
    assert_eq!((first.interval_s, rows[0].rx_rate, rows[0].tx_rate), (0.0, 0.0, 0.0));
    assert_eq!((rows[0].rx_bytes, rows[0].tx_bytes), (1000, 10));

    let second = run.frame(View::Conns, &Tick::open(&[moved(tcp(1, A), 5000, 16)]));
    let Rows::Conns(rows) = &second.rows else { panic!("conns") };
    assert_eq!((second.interval_s, rows[0].rx_rate, rows[0].tx_rate), (2.0, 2000.0, 3.0));
    assert_eq!((rows[0].rx_bytes, rows[0].tx_bytes), (5000, 16));
}

#[test]
fn a_process_sums_over_its_sockets() {
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 100, 0), moved(tcp(2, A), 10, 1)]));
    let rows = run.procs(&Tick::open(&[
        moved(tcp(1, A), 300, 0),
        moved(tcp(2, A), 10, 5),
        moved(tcp(3, B), 0, 8),
    ]));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (100.0, 2.0));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((310, 5), (0, 8)));
    assert_eq!(rows[&B].tx_rate, 4.0);
    let idle = run.procs(&Tick::open(&[moved(tcp(1, A), 300, 0), moved(tcp(2, A), 10, 5)]));
    assert_eq!((idle[&A].rx_rate, idle[&A].tx_rate), (0.0, 0.0));
    assert_eq!(bytes_of(&idle[&A]), (310, 5));
}

#[test]
fn a_seeded_socket_counts_only_what_came_since() {
    let old = SocketRecord { retransmits: 9, drops: 4, ..moved(seeded(tcp(1, A)), 1000, 100) };
    let new = SocketRecord { retransmits: 11, drops: 5, ..moved(old, 1500, 107) };
    let mut run = Run::new();
    let rows = run.conns(&Tick::open(&[old]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (0, 0));
    assert_eq!((rows[&1].rx_bytes_total, rows[&1].tx_bytes_total), (Some(1000), Some(100)));

    let rows = run.conns(&Tick::open(&[new]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (500, 7));
    assert_eq!((rows[&1].rx_bytes_total, rows[&1].tx_bytes_total), (Some(1500), Some(107)));
    assert_eq!((rows[&1].rx_rate, rows[&1].tx_rate), (250.0, 3.5));
    assert_eq!(rows[&1].tcp.map(|tcp| tcp.retransmits), Some(11));
    assert_eq!(rows[&1].age_s, None);

    let mut run = Run::new();
    run.procs(&Tick::open(&[old]));
    let rows = run.procs(&Tick::open(&[new]));
    assert_eq!((bytes_of(&rows[&A]), rows[&A].retransmits, rows[&A].drops), ((500, 7), 2, 1));
}

#[test]
fn a_socket_born_later_counts_everything() {
    let born = 2_500_000_000;
    let id = (born >> 6) << 12;
    let record = SocketRecord { retransmits: 2, drops: 1, ..moved(tcp(id, A), 70, 80) };
    let mut run = Run::new();
    run.conns(&Tick::default());
    let rows = run.conns(&Tick::open(&[record]));
    assert_eq!((rows[&id].rx_bytes, rows[&id].rx_bytes_total), (70, Some(70)));
    assert_eq!((rows[&id].rx_rate, rows[&id].tx_rate), (35.0, 40.0));
    assert_eq!(rows[&id].tcp.map(|tcp| tcp.retransmits), Some(2));
    // The second sample is at 5 s.
    assert_eq!(rows[&id].age_s, Some(2.5));
}

#[test]
fn the_owner_has_what_others_did_not_move() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 100, 0)]));
    let rows = run.procs(
        &Tick::open(&[moved(socket, 1000, 50)])
            .calls(&[calls(&socket, B, 300, 20), calls(&socket, C, 5, 0)]),
    );
    assert_eq!(bytes_of(&rows[&A]), (695, 30));
    assert_eq!(bytes_of(&rows[&B]), (300, 20));
    assert_eq!(bytes_of(&rows[&C]), (5, 0));
    assert_eq!((rows[&A].rx_rate, rows[&B].rx_rate, rows[&C].rx_rate), (297.5, 150.0, 2.5));
}

#[test]
fn a_shared_socket_s_row_has_the_bytes_of_all() {
    let socket = SocketRecord { last_tgid: B, ..used(tcp(1, A)) };
    let mut run = Run::new();
    run.conns(&Tick::open(&[moved(tcp(1, A), 100, 0)]));
    let rows =
        run.conns(&Tick::open(&[moved(socket, 1000, 50)]).calls(&[calls(&socket, B, 300, 20)]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (1000, 50));
    assert_eq!((rows[&1].rx_rate, rows[&1].tx_rate), (450.0, 25.0));
    assert_eq!(rows[&1].process.pid, B);
}

#[test]
fn an_owner_s_share_is_right_once_the_tables_agree() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 1000, 1000)]).calls(&[calls(&socket, B, 100, 100)]));
    // The other moved 300 more between the reads of the two tables.
    let ahead =
        run.procs(&Tick::open(&[moved(socket, 1000, 1000)]).calls(&[calls(&socket, B, 400, 400)]));
    assert_eq!(bytes_of(&ahead[&A]), (600, 600));
    assert_eq!((bytes_of(&ahead[&B]), ahead[&A].rx_rate), ((400, 400), 0.0));
    let level =
        run.procs(&Tick::open(&[moved(socket, 1350, 1300)]).calls(&[calls(&socket, B, 400, 400)]));
    assert_eq!(bytes_of(&level[&A]), (950, 900));
    assert_eq!((level[&A].rx_rate, level[&A].tx_rate), (175.0, 150.0));
}

#[test]
fn a_closed_socket_counts_to_the_byte_and_is_shown_once() {
    let mut run = Run::new();
    run.conns(&Tick::open(&[moved(tcp(1, A), 100, 10)]));
    let rows = run.conns(&Tick::closed(&[moved(tcp(1, A), 1123, 11)]));
    assert!(rows[&1].ended);
    assert_eq!(rows[&1].state, "CLOSED");
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (1123, 11));
    assert_eq!(rows[&1].rx_rate, 511.5);
    assert!(run.conns(&Tick::default()).is_empty());
}

#[test]
fn a_closed_shared_socket_counts_to_the_byte() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 100, 10)]).calls(&[calls(&socket, B, 40, 0)]));
    let rows = run
        .procs(&Tick::closed(&[moved(socket, 200, 30)]).calls(&[last_calls(&socket, B, 90, 20)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((110, 10), (90, 20)));
    assert!(rows[&A].ended && rows[&B].ended);
}

#[test]
fn a_socket_never_seen_open_counts_whole() {
    let mut run = Run::new();
    run.conns(&Tick::default());
    let rows = run.conns(&Tick::closed(&[moved(tcp(1, A), 77, 33)]));
    assert!(rows[&1].ended);
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (77, 33));
    assert!(run.conns(&Tick::default()).is_empty());

    let mut run = Run::new();
    run.procs(&Tick::default());
    let rows = run.procs(&Tick::closed(&[moved(tcp(1, A), 77, 33)]));
    assert_eq!((bytes_of(&rows[&A]), rows[&A].rx_rate), ((77, 33), 38.5));
}

#[test]
fn a_seeded_socket_that_closes_before_the_first_read_contributes_nothing() {
    let mut run = Run::new();
    let rows = run.procs(&Tick::closed(&[moved(seeded(tcp(1, A)), 1000, 2000)]));
    assert_eq!(bytes_of(&rows[&A]), (0, 0));
    let rows = run.conns(&Tick::closed(&[moved(seeded(tcp(2, A)), 1000, 2000)]));
    assert_eq!((rows[&2].rx_bytes, rows[&2].rx_bytes_total), (0, Some(1000)));
}

#[test]
fn a_socket_that_is_in_the_table_and_closed_is_counted_once() {
    // It closed between the read of the table and the read of the ring.
    let socket = SocketRecord { retransmits: 3, ..used(tcp(1, A)) };
    let tick = Tick {
        sockets: vec![moved(socket, 900, 0)],
        closed: vec![moved(socket, 1000, 0)],
        usage: vec![calls(&socket, B, 300, 0)],
        ..Tick::default()
    };
    let before = Tick::open(&[moved(socket, 500, 0)]).calls(&[calls(&socket, B, 100, 0)]);

    let mut run = Run::new();
    run.procs(&before);
    let rows = run.procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((700, 0), (300, 0)));
    assert_eq!((rows[&A].retransmits, rows[&A].connections), (3, 0));
    assert!(rows[&A].ended);

    let mut run = Run::new();
    run.conns(&before);
    let rows = run.conns(&tick);
    assert_eq!((rows[&1].rx_bytes, rows[&1].rx_rate, rows[&1].ended), (1000, 250.0, true));
    assert!(run.conns(&Tick::default()).is_empty());
}

#[test]
fn what_was_absorbed_counts_in_the_next_frame() {
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 100, 0), moved(tcp(2, B), 10, 0)]));
    run.absorb(&[moved(tcp(1, A), 150, 4)]);
    run.absorb(&[moved(tcp(3, A), 7, 0), moved(seeded(tcp(4, C)), 9, 9)]);
    let rows = run.procs(&Tick::open(&[moved(tcp(2, B), 20, 0)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((157, 4), (20, 0)));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate, rows[&B].rx_rate), (28.5, 2.0, 5.0));
    assert_eq!((rows[&A].ended, rows[&B].ended, bytes_of(&rows[&C])), (true, false, (0, 0)));
    let rows = run.procs(&Tick::open(&[moved(tcp(2, B), 20, 0)]));
    assert_eq!((rows.len(), rows[&B].rx_rate), (1, 0.0));
}

#[test]
fn what_was_absorbed_has_no_row_and_that_is_told() {
    let mut run = Run::new();
    let first = run.frame(View::Conns, &Tick::open(&[tcp(1, A), tcp(2, A)]));
    assert_eq!(first.losses.happened().count(), 0);
    run.absorb(&[tcp(1, A), tcp(3, A)]);
    let frame = run.frame(View::Conns, &Tick::open(&[tcp(2, A)]));
    assert_eq!(frame.losses.happened().collect::<Vec<_>>(), [("closed_unlisted", 2)]);
    let Rows::Conns(rows) = frame.rows else { panic!("conns") };
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [2]);
}

#[test]
fn without_calls_only_tcp_s_bytes_are_known() {
    let tick = Tick::open(&[tcp(1, A), udp(2, A)]);
    let rows = Run::new().conns(&Tick { uncounted: true, ..tick.clone() });
    assert_eq!((rows[&1].counted, rows[&2].counted), (true, false));
    let rows = Run::new().conns(&tick);
    assert_eq!((rows[&1].counted, rows[&2].counted), (true, true));
}

#[test]
fn a_udp_socket_that_dies_between_samples_is_shown_once() {
    let socket = used(udp(1, A));
    let open = Tick::open(&[socket]).calls(&[calls(&socket, A, 100, 10)]);
    let gone = Tick::default().calls(&[last_calls(&socket, A, 150, 30)]);

    let mut run = Run::new();
    assert!(!run.conns(&open)[&1].ended);
    let rows = run.conns(&gone);
    assert!(rows[&1].ended);
    assert_eq!((rows[&1].proto, rows[&1].state), ("udp", "CLOSED"));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (150, 30));
    assert_eq!((rows[&1].rx_rate, rows[&1].tx_rate), (25.0, 10.0));
    assert_eq!((rows[&1].rx_bytes_total, rows[&1].tcp), (None, None));
    assert!(run.conns(&Tick::default()).is_empty());

    let mut run = Run::new();
    run.procs(&open);
    let rows = run.procs(&gone);
    assert_eq!((bytes_of(&rows[&A]), rows[&A].ended), ((150, 30), true));
}

#[test]
fn a_udp_socket_s_bytes_belong_to_who_made_the_calls() {
    let socket = used(udp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[udp(1, A)]));
    let tick = Tick::open(&[socket]).calls(&[calls(&socket, A, 100, 0), calls(&socket, B, 0, 40)]);
    let rows = run.procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((100, 0), (0, 40)));
    assert_eq!((rows[&A].rx_rate, rows[&B].tx_rate), (50.0, 20.0));
    let rows = run.conns(&tick);
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes, rows[&1].rx_rate), (100, 40, 0.0));
}

#[test]
fn what_was_used_before_it_was_read_counts_once() {
    // Younger than the walk over the table: in this sample only its calls tell of it.
    let socket = used(udp(1, A));
    let mut run = Run::new();
    run.conns(&Tick::default());
    let rows = run.conns(&Tick::default().calls(&[calls(&socket, A, 10, 20)]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].ended, rows[&1].state), (10, false, "ESTAB"));
    let rows = run.procs(&Tick::open(&[socket]).calls(&[calls(&socket, A, 10, 25)]));
    assert_eq!(bytes_of(&rows[&A]), (10, 25));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (0.0, 2.5));
}

#[test]
fn a_socket_first_used_after_it_was_read_counts_once() {
    // The record has no flag yet that tells of calls.
    let socket = moved(tcp(1, A), 100, 0);
    let tick = Tick::open(&[socket]).calls(&[calls(&socket, B, 40, 0)]);
    let rows = Run::new().procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((60, 0), (40, 0)));
    let rows = Run::new().conns(&tick);
    assert_eq!((rows.len(), rows[&1].rx_bytes, rows[&1].ended), (1, 100, false));
}

#[test]
fn a_dead_process_is_shown_once_with_its_sums() {
    let mut run = Run::new();
    let rows = run.procs(&Tick::open(&[moved(tcp(1, A), 5, 6)]));
    assert!(!rows[&A].ended, "an open socket keeps it");
    let rows = run.procs(&Tick::default());
    assert_eq!((bytes_of(&rows[&A]), rows[&A].ended), ((5, 6), true));
    assert!(run.procs(&Tick::default()).is_empty());
}

#[test]
fn what_a_dead_process_did_and_is_told_late_joins_its_sums() {
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 5, 6)]));
    assert!(run.procs(&Tick::closed(&[moved(tcp(1, A), 7, 6)]))[&A].ended);
    let rows = run.procs(&Tick::closed(&[moved(tcp(2, A), 100, 200)]));
    assert_eq!((bytes_of(&rows[&A]), rows[&A].ended), ((107, 206), true));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (50.0, 100.0));
    assert!(run.procs(&Tick::default()).is_empty());
    let rows = run.procs(&Tick::closed(&[moved(tcp(3, A), 1, 1)]));
    assert_eq!(bytes_of(&rows[&A]), (1, 1), "nobody is remembered for ever");
}

#[test]
fn a_living_process_stays_when_its_sockets_are_gone() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    let pid = std::process::id();
    let mut record = moved(tcp(1, pid), 5, 6);
    record.owner.start = ticks.parse::<u64>().unwrap() * 10_000_000;
    let mut run = Run::new();
    run.procs(&Tick::open(&[record]));
    for _ in 0..2 {
        let rows = run.procs(&Tick::default());
        assert_eq!((bytes_of(&rows[&pid]), rows[&pid].ended), ((5, 6), false));
        assert_eq!((rows[&pid].rx_rate, rows[&pid].connections), (0.0, 0));
    }
}

#[test]
fn a_process_id_used_again_is_another_process() {
    let mut later = moved(tcp(2, A), 7, 0);
    later.owner.start = 60_000_000_000;
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 5, 0)]));
    let Rows::Procs(mut rows) = run.frame(View::Procs, &Tick::open(&[later])).rows else {
        panic!("procs")
    };
    rows.sort_by_key(|row| row.rx_bytes);
    let seen: Vec<_> = rows.iter().map(|row| (row.rx_bytes, row.ended)).collect();
    assert_eq!(seen, [(5, true), (7, false)]);
}

#[test]
fn nothing_is_remembered_of_what_is_gone() {
    let (tcp, udp) = (used(tcp(1, A)), used(udp(2, B)));
    let mut run = Run::filtered("pid:4194305");
    run.procs(&Tick::open(&[tcp, udp]).calls(&[calls(&tcp, C, 1, 1), calls(&udp, B, 1, 1)]));
    run.procs(
        &Tick::closed(&[moved(tcp, 9, 9)])
            .calls(&[last_calls(&tcp, C, 1, 1), last_calls(&udp, B, 1, 1)]),
    );
    run.procs(&Tick::default());
    let table = &run.model.sockets;
    assert!(
        table.sockets.is_empty() && table.used.is_empty() && table.processes.iter().count() == 0
    );
}

#[test]
fn connections_are_open_and_have_a_peer_or_moved_bytes() {
    let unconnected = used(open_udp(5, A));
    let tick = Tick {
        sockets: vec![
            tcp(1, A),
            SocketRecord { state: 2, ..tcp(2, A) },
            listener(3, A),
            udp(4, A),
            unconnected,
            open_udp(6, A),
            used(unix(7, A)),
        ],
        closed: vec![tcp(8, A)],
        usage: vec![calls(&unconnected, A, 1, 0), calls(&unix(7, A), A, 1, 0)],
        ..Tick::default()
    };
    assert_eq!(Run::new().procs(&tick)[&A].connections, 4);
    let rows = Run::new().conns(&tick);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5, 7, 8]);
    let states: Vec<_> = rows.values().map(|row| row.state).collect();
    assert_eq!(states, ["ESTAB", "SYN-SENT", "ESTAB", "UNCONN", "ESTAB", "CLOSED"]);
    assert_eq!(Run::new().listeners(&tick).len(), 3);
}

#[test]
fn a_connection_belongs_to_who_used_it_last() {
    let socket = SocketRecord { last_tgid: B, ..used(tcp(1, A)) };
    let tick = Tick::open(&[moved(socket, 9, 0)]).calls(&[calls(&socket, B, 4, 0)]);
    let rows = Run::new().procs(&tick);
    assert_eq!((rows[&A].connections, rows[&B].connections), (0, 1));

    let back = SocketRecord { last_tgid: A, ..socket };
    let rows = Run::new().procs(&Tick::open(&[back]).calls(&[calls(&back, B, 4, 0)]));
    assert_eq!((rows[&A].connections, rows[&B].connections), (1, 0));

    // Its calls moved nothing that was counted: the owner stands for it.
    let rows = Run::new().procs(&Tick::open(&[SocketRecord { last_tgid: C, ..tcp(1, A) }]));
    assert_eq!(rows[&A].connections, 1);
}

#[test]
fn unix_bytes_are_counted_apart() {
    let socket = used(unix(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(2, A), 10, 20)]));
    let tick = Tick::open(&[socket, moved(tcp(2, A), 10, 20)]).calls(&[calls(&socket, A, 70, 80)]);
    let rows = run.procs(&tick);
    assert_eq!(bytes_of(&rows[&A]), (10, 20));
    assert_eq!((rows[&A].unix_rx_bytes, rows[&A].unix_tx_bytes), (70, 80));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (0.0, 0.0));
    let row = &Run::new().conns(&tick)[&1];
    assert_eq!((row.proto, row.local, row.remote), ("unix", None, None));
    assert_eq!((row.rx_bytes, row.tx_bytes), (70, 80));
}

#[test]
fn addresses_come_out_as_what_they_are() {
    let mapped =
        SocketRecord { ends: Endpoints { family: AF_INET6, ..tcp(1, A).ends }, ..tcp(1, A) };
    let six = SocketRecord {
        ends: Endpoints {
            local: v6("2001:db8::1"),
            remote: v6("2001:db8::2"),
            family: AF_INET6,
            ..tcp(2, A).ends
        },
        ..tcp(2, A)
    };
    let rows = Run::new().conns(&Tick::open(&[mapped, six]));
    let end = |text: &str, port| Some((text.parse::<IpAddr>().unwrap(), port));
    assert_eq!((rows[&1].local, rows[&1].remote), (end("10.0.0.1", 5000), end("192.0.2.1", 443)));
    assert_eq!(rows[&2].local, end("2001:db8::1", 5000));
    assert_eq!(rows[&2].remote, end("2001:db8::2", 443));
}

#[test]
fn a_wildcard_stays_of_its_family() {
    let mut six = listener(1, A);
    six.ends.family = AF_INET6;
    six.ends.local = [0; 16];
    six.ends.remote = [0; 16];
    let mut four = listener(2, A);
    four.ends.local = v4([0; 4]);
    let rows = Run::new().listeners(&Tick::open(&[six, four]));
    let locals: Vec<_> = rows.iter().map(|row| row.local.unwrap().0.to_string()).collect();
    assert_eq!(locals, ["::", "0.0.0.0"]);
    for record in [six, four] {
        assert_eq!(remote(&record.ends), None);
    }
}

#[test]
fn a_raw_socket_has_no_ports() {
    for (protocol, name) in [(1, "icmp"), (58, "icmp6"), (89, "raw")] {
        let mut socket = used(tcp(1, A));
        socket.ends.protocol = protocol;
        socket.ends.local_port = protocol;
        socket.ends.remote_port = 0;
        let row = &Run::new().conns(&Tick::open(&[socket]))[&1];
        assert_eq!((row.proto, row.local.unwrap().1, row.remote.unwrap().1), (name, 0, 0));
    }
}

#[test]
fn a_filter_for_a_port_hides_other_sockets() {
    let other = SocketRecord { ends: Endpoints { remote_port: 80, ..tcp(2, A).ends }, ..tcp(2, A) };
    let tick = Tick::open(&[moved(tcp(1, A), 10, 0), moved(other, 7, 0), moved(other, 1, 0)]);
    let tick = Tick { closed: vec![SocketRecord { id: 4, ..moved(other, 50, 0) }], ..tick };
    let rows = Run::filtered("dport:443").procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), rows[&A].connections), ((10, 0), 1));
    let rows = Run::filtered("dport:443").conns(&tick);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1]);
    assert!(Run::filtered("dport:22").procs(&tick).is_empty());
}

#[test]
fn a_filter_for_a_process_takes_its_part_of_a_shared_socket() {
    let mut socket = SocketRecord { last_tgid: B, ..used(tcp(1, A)) };
    socket.owner = named(A, b"parent");
    let usage = UsageRecord { user: named(B, b"child"), ..calls(&socket, B, 300, 20) };
    let tick = Tick::open(&[moved(socket, 1000, 50)]).calls(&[usage]);
    for (filter, pid, bytes, connections) in [
        ("comm:parent", A, (700, 30), 0),
        ("comm:child", B, (300, 20), 1),
        ("pid:4194305", A, (700, 30), 0),
        ("!pid:4194305", B, (300, 20), 1),
    ] {
        let rows = Run::filtered(filter).procs(&tick);
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [pid], "{filter}");
        let row = &rows[&pid];
        assert_eq!((bytes_of(row), row.connections), (bytes, connections), "{filter}");
    }
    // The row of a socket is its last user's.
    assert!(Run::filtered("pid:4194305").conns(&tick).is_empty());
    assert_eq!(Run::filtered("pid:4194306").conns(&tick)[&1].rx_bytes, 1000);
}

#[test]
fn a_process_that_the_filter_hid_comes_with_its_first_match() {
    let mut run = Run::filtered("state:estab");
    let connecting = SocketRecord { state: 2, ..moved(tcp(1, A), 5, 0) };
    assert!(run.procs(&Tick::open(&[connecting])).is_empty());
    let rows = run.procs(&Tick::open(&[moved(tcp(1, A), 25, 0)]));
    assert_eq!((rows[&A].rx_bytes, rows[&A].rx_rate), (20, 10.0));
}

#[test]
fn a_hostile_name_comes_out_visible() {
    let mut socket = tcp(1, A);
    socket.owner = named(A, b"\x1b[31mred\n\xff");
    let rows = Run::new().procs(&Tick::open(&[socket]));
    assert_eq!(rows[&A].process.comm, "\\x1b[31mred\\x0a\\xff");
    socket.owner = named(A, b"sixteen letters!");
    let rows = Run::new().procs(&Tick::open(&[socket]));
    assert_eq!(rows[&A].process.comm, "sixteen letters!");
}

#[test]
fn a_hostile_cgroup_comes_out_visible() {
    let mut row = Run::new().procs(&Tick::open(&[tcp(1, A)])).remove(&A).unwrap();
    row.process = Arc::new(Process {
        pid: A,
        comm: "worker".to_owned(),
        uid: 0,
        user: OnceLock::new(),
        container: None,
        cgroup: Some("/\x1b[2J".into()),
    });
    let nothing = Run::new().frame(View::Procs, &Tick::default());
    let frame = Frame { rows: Rows::Procs(vec![row]), ..nothing };
    let columns = output::select(View::Procs, &["cgroup".to_owned()]).unwrap();
    let style = Style { columns: Some(columns), ..Style::default() };
    assert_eq!(output::to_string(&frame, &style).unwrap(), "CGROUP\n/\\x1b[2J\n");
}

#[test]
fn figures_of_tcp_are_in_its_units_and_unknown_where_unmeasured() {
    let measured = SocketRecord {
        srtt_us: 8 * 1500,
        rttvar_us: 4 * 200,
        min_rtt_us: 900,
        cwnd: 10,
        ssthresh: 7,
        pacing_rate: 5000,
        ..tcp(1, A)
    };
    let unmeasured = SocketRecord {
        min_rtt_us: u32::MAX,
        ssthresh: 0x7fff_ffff,
        pacing_rate: u64::MAX,
        ..tcp(2, A)
    };
    let rows = Run::new().conns(&Tick::open(&[measured, unmeasured]));
    let tcp = rows[&1].tcp.unwrap();
    assert_eq!((tcp.srtt_us, tcp.rttvar_us, tcp.min_rtt_us), (Some(1500), Some(200), Some(900)));
    assert_eq!((tcp.cwnd, tcp.ssthresh, tcp.pacing_rate), (10, Some(7), Some(5000)));
    let tcp = rows[&2].tcp.unwrap();
    assert_eq!((tcp.srtt_us, tcp.rttvar_us, tcp.min_rtt_us), (None, None, None));
    assert_eq!((tcp.ssthresh, tcp.pacing_rate), (None, None));
}

#[test]
fn what_limits_a_sender_is_measured_over_the_interval() {
    let at =
        |jiffies, busy, rwnd_limited| SocketRecord { jiffies, busy, rwnd_limited, ..tcp(1, A) };
    let limit = |rows: BTreeMap<u64, ConnRow>| rows[&1].tcp.unwrap().limit.name();
    let mut run = Run::new();
    run.conns(&Tick::open(&[at(u32::MAX - 99, 5000, 5000)]));
    // Each time 500 jiffies passed, here past the end of 32 bits.
    assert_eq!(limit(run.conns(&Tick::open(&[at(400, 5500, 5000)]))), "cwnd");
    assert_eq!(limit(run.conns(&Tick::open(&[at(900, 5800, 5200)]))), "rwnd");
    assert_eq!(limit(run.conns(&Tick::open(&[at(1400, 6000, 5400)]))), "app");
}

/// Moves of one step: by the owner, by two others, and by these others between the read of the
/// socket table and of the usage table.
type Step = [[u64; 2]; 5];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let amount = prop_oneof![Just(0), 1..2000_u64];
    proptest::collection::vec(proptest::array::uniform5(proptest::array::uniform2(amount)), 1..9)
}

proptest! {
    #[test]
    fn sums_over_processes_equal_the_kernel_s_total(
        steps in steps(),
        seed in proptest::option::of([0..5000_u64, 0..5000_u64]),
        closes: bool,
    ) {
        let base = seed.unwrap_or_default();
        let mut socket = moved(tcp(1, A), base[0], base[1]);
        if seed.is_some() {
            socket.flags |= tag::SEEDED;
        }
        let mut run = Run::new();
        run.procs(&Tick::open(&[socket]));
        socket.flags |= tag::USED;

        let mut by_b = [0, 0];
        let mut by_c = [0, 0];
        let add = |sum: &mut [u64; 2], more: [u64; 2]| {
            sum[0] += more[0];
            sum[1] += more[1];
        };
        let mut total = base;
        // B's calls are at times read later than the table; C's at times return later.
        for [owner, b, c, late_b, early_c] in steps {
            for part in [owner, b, c, early_c] {
                add(&mut total, part);
            }
            for part in [b, late_b] {
                add(&mut by_b, part);
            }
            add(&mut by_c, c);
            let tick = Tick::open(&[moved(socket, total[0], total[1])]);
            let usage = [calls(&socket, B, by_b[0], by_b[1]), calls(&socket, C, by_c[0], by_c[1])];
            run.procs(&tick.calls(&usage));
            add(&mut total, late_b);
            add(&mut by_c, early_c);
        }

        let last = moved(socket, total[0], total[1]);
        let tick = if closes { Tick::closed(&[last]) } else { Tick::open(&[last]) };
        let usage = [calls(&socket, B, by_b[0], by_b[1]), calls(&socket, C, by_c[0], by_c[1])];
        let rows = run.procs(&tick.calls(&usage));
        let sum = rows.values().map(bytes_of).fold((0, 0), |s, r| (s.0 + r.0, s.1 + r.1));
        prop_assert_eq!(sum, if seed.is_some() {
            (total[0] - base[0], total[1] - base[1])
        } else {
            (total[0], total[1])
        });
        prop_assert_eq!(bytes_of(&rows[&B]), (by_b[0], by_b[1]));
        prop_assert_eq!(bytes_of(&rows[&C]), (by_c[0], by_c[1]));
    }
}

#[test]
fn hosts_count_what_was_absorbed() {
    let mut run = Run::new();
    run.hosts(&Tick::open(&[tcp(1, A)]));
    run.absorb(&[moved(tcp(1, A), 1000, 0)]);
    assert_eq!(run.hosts(&Tick::default()).get("192.0.2.1").map(|r| r.rx_rate), Some(500.0));
}

#[test]
fn calls_before_the_first_read_are_not_in_a_seeded_socket_s_base() {
    let socket = used(seeded(tcp(1, A)));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 1000, 0)]).calls(&[calls(&socket, B, 100, 0)]));
    let rows =
        run.procs(&Tick::open(&[moved(socket, 1050, 0)]).calls(&[calls(&socket, B, 100, 0)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((50, 0), (100, 0)));
}

#[test]
fn what_waits_in_a_shared_socket_is_nobody_s() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    let queued = SocketRecord { receive_queue: 100, ..moved(socket, 100, 0) };
    run.procs(&Tick::open(&[queued]).calls(&[calls(&socket, B, 0, 0)]));
    let rows = run.procs(&Tick::open(&[moved(socket, 100, 0)]).calls(&[calls(&socket, B, 100, 0)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (100, 0)));
}

#[test]
fn a_call_that_returns_takes_back_what_the_owner_was_given() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 0, 100)]).calls(&[calls(&socket, B, 0, 0)]));
    let rows = run.procs(&Tick::open(&[moved(socket, 0, 100)]).calls(&[calls(&socket, B, 0, 100)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (0, 100)));
}

#[test]
fn a_process_has_the_name_that_its_youngest_socket_tells() {
    let mut socket = tcp(1, A);
    let mut run = Run::new();
    socket.owner = named(A, b"sh");
    run.procs(&Tick::open(&[socket]));
    socket.owner = named(A, b"nginx");
    assert_eq!(run.procs(&Tick::open(&[socket]))[&A].process.comm, "nginx");
}

#[test]
fn a_socket_found_in_mid_life_has_no_total() {
    let socket = flagged(used(tcp(1, A)), 8);
    let rows = Run::new().conns(&Tick::open(&[socket]).calls(&[calls(&socket, A, 300, 0)]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].rx_bytes_total), (300, None));
}

#[test]
fn what_arrived_before_the_first_use_goes_over_to_the_user() {
    let of = |owner: u32, flags: u32, rx: u64| {
        let mut record = moved(tcp(1, owner), rx, 0);
        record.flags = flags;
        record
    };
    let mut run = Run::new();
    run.procs(&Tick::default());
    let rows = run.procs(&Tick::open(&[of(A, tag::PROVISIONAL, 4000)]));
    assert_eq!(bytes_of(&rows[&A]), (4000, 0));
    let rows = run.procs(&Tick::open(&[of(B, 0, 4100)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (4100, 0)));
    assert_eq!(rows[&B].rx_rate, 50.0);
    let rows = run.procs(&Tick::closed(&[of(B, 0, 4200)]));
    assert_eq!(bytes_of(&rows[&B]), (4200, 0));

    let mut run = Run::new();
    run.procs(&Tick::default());
    run.procs(&Tick::open(&[of(A, tag::PROVISIONAL, 4000)]));
    let rows = run.procs(&Tick::closed(&[of(B, 0, 4000)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (4000, 0)));
}

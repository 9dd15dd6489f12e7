#![allow(clippy::unwrap_used)]

use std::time::UNIX_EPOCH;

use super::*;
use crate::model::sockets::tests::{A, B, flagged, listener, moved, process, tcp};
use crate::sample::{
    DropFlow, DropKind, DropPlace, Losses, OwnCost, SocketEventKind, SocketRecord, tag,
};

const SYN_SENT: u32 = 2;
const SYN_RECV: u32 = 3;
const LAST_ACK: u32 = 9;

fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1000) + Duration::from_millis(ms)
}

/// Of a socket that was born 5 ms before.
fn event(ms: u64, kind: SocketEventKind, socket: SocketRecord) -> SocketEvent {
    let born_ns = 64_000_000;
    let socket = SocketRecord { id: (born_ns >> 6) << 12 | socket.id, ..socket };
    SocketEvent { time: at(ms), clock_ns: born_ns + 5_000_000, kind, errno: 0, socket }
}

fn ended(ms: u64, state: u32, errno: u32) -> SocketEvent {
    let socket = SocketRecord { state, ..tcp(1, A) };
    SocketEvent { errno, ..event(ms, SocketEventKind::Closed, socket) }
}

fn dropped(ms: u64, kind: DropKind, socket: &SocketRecord) -> DropEvent {
    DropEvent {
        time: at(ms),
        place: DropPlace {
            kind,
            reason: None,
            location: 0,
            netns: socket.ends.netns,
            protocol: 0x0800,
            transport: 6,
            family: 0,
        },
        flow: DropFlow {
            source: socket.ends.local,
            destination: socket.ends.remote,
            source_port: socket.ends.local_port,
            destination_port: socket.ends.remote_port,
        },
        length: 60,
        interface: [0; 16],
        process: process(B),
        stack: Vec::new(),
    }
}

fn model(filter: &str, change: fn(&mut EventOptions)) -> Model {
    let mut options = EventOptions {
        kinds: EventKind::ALL.to_vec(),
        only_owned: false,
        per_second: 100,
        stacks: false,
    };
    change(&mut options);
    Model::new(Names::new(true), Filter::parse(filter).unwrap(), Vec::new()).with_events(options)
}

fn sockets(model: &mut Model, events: &[SocketEvent], now: u64) -> Vec<EventRow> {
    let backlog = Backlog { socket_events: events, ..Backlog::default() };
    model.follow(&backlog, at(now))
}

fn drops(model: &mut Model, events: &[DropEvent], now: u64) -> Vec<EventRow> {
    model.follow(&Backlog { drops: events, ..Backlog::default() }, at(now))
}

fn tick(model: &mut Model, open: &[SocketRecord], ms: u64, is_last: bool) -> Vec<EventRow> {
    let sample = Sample {
        time: at(ms),
        clock_ns: 0,
        sockets: open,
        closed: &[],
        socket_events: &[],
        usage: &[],
        calls_counted: true,
        ifaces: &[],
        xdp: &[],
        syscalls: None,
        drops: None,
        flows: None,
        packets: None,
        losses: Losses::default(),
        own: OwnCost::default(),
    };
    model.follow_tick(&sample, is_last)
}

fn times(rows: &[EventRow]) -> Vec<u128> {
    rows.iter().map(|row| row.time.duration_since(at(0)).unwrap().as_millis()).collect()
}

#[test]
fn what_comes_by_several_rings_is_in_order_and_the_last_moment_waits() {
    let mut model = model("", |_| ());
    let socket = tcp(1, A);
    let events =
        [50, 10, 30].map(|ms| event(ms, SocketEventKind::Connected, SocketRecord { ..socket }));
    assert!(sockets(&mut model, &events, 100).is_empty());
    let rows = drops(&mut model, &[dropped(20, DropKind::Packet, &socket)], 140);
    assert_eq!(times(&rows), [10, 20, 30]);
    // Too late to be in order, but not lost.
    let rows = sockets(&mut model, &[event(5, SocketEventKind::Connected, socket)], 200);
    assert_eq!(times(&rows), [5, 50]);
    assert_eq!(model.event_losses(), [(EVENT_LIMIT, 0), (EVENT_ORDER, 1)]);
    sockets(&mut model, &[event(240, SocketEventKind::Connected, socket)], 250);
    assert_eq!(times(&tick(&mut model, &[], 250, true)), [240]);
}

#[test]
fn users_have_names_when_events_are_shown() {
    let mut model = Model { names: Names::new(false), ..model("", |_| ()) };
    let mut socket = tcp(1, A);
    socket.owner.uid = 0;
    assert!(sockets(&mut model, &[event(50, SocketEventKind::Connected, socket)], 60).is_empty());
    model.names.settle(Duration::from_secs(10));
    let rows = sockets(&mut model, &[], 1000);
    assert_eq!(rows[0].process.as_ref().unwrap().user(), "root");
}

#[test]
fn a_connect_says_what_came_of_it() {
    let mut model = model("", |_| ());
    let connected = event(1, SocketEventKind::Connected, tcp(1, A));
    let old = event(2, SocketEventKind::Connected, flagged(tcp(1, A), tag::SEEDED));
    let events = [connected, old, ended(3, SYN_SENT, 111), ended(4, SYN_SENT, 0)];
    let rows = sockets(&mut model, &events, 1000);
    let outcomes: Vec<_> = rows
        .iter()
        .map(|row| match row.detail {
            Detail::Connect { outcome, took_ns } => (outcome, took_ns),
            _ => panic!("{row:?}"),
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            (Outcome::Established, Some(5_000_000)),
            (Outcome::Established, None),
            (Outcome::Failed(111), Some(5_000_000)),
            (Outcome::GivenUp, Some(5_000_000)),
        ]
    );
}

#[test]
fn a_close_has_the_bytes_and_only_what_was_a_connection_closes() {
    let mut model = model("", |_| ());
    let closed = |socket| SocketEvent { socket, ..ended(1, LAST_ACK, 104) };
    let whole = moved(ended(1, LAST_ACK, 0).socket, 7, 9);
    let events = [
        closed(whole),
        closed(flagged(whole, tag::PER_CALL)),
        ended(2, SYN_RECV, 0),
        event(3, SocketEventKind::Closed, listener(2, A)),
    ];
    let rows = sockets(&mut model, &events, 1000);
    let close = |rx_bytes, tx_bytes| Detail::Close {
        lived_ns: Some(5_000_000),
        rx_bytes,
        tx_bytes,
        retransmits: 0,
        errno: Some(104),
    };
    let details: Vec<_> = rows.into_iter().map(|row| row.detail).collect();
    assert_eq!(details, [close(Some(7), Some(9)), close(None, None)]);
}

#[test]
fn packets_belong_to_who_has_the_socket() {
    let mut model = model("", |options| options.only_owned = true);
    let (socket, waiting) = (tcp(1, A), listener(2, B));
    tick(&mut model, &[socket, waiting], 0, false);
    let mut stranger = tcp(3, A);
    stranger.ends.local_port = 1;
    let mut to_listener = tcp(3, A);
    (to_listener.ends.remote, to_listener.ends.remote_port) = (waiting.ends.local, 80);
    let received = DropEvent {
        flow: DropFlow {
            source: socket.ends.remote,
            destination: socket.ends.local,
            source_port: 443,
            destination_port: 5000,
        },
        ..dropped(2, DropKind::ResetReceived, &socket)
    };
    let events = [
        dropped(1, DropKind::Retransmit, &socket),
        received,
        dropped(3, DropKind::Packet, &to_listener),
        dropped(4, DropKind::Retransmit, &stranger),
    ];
    let rows = drops(&mut model, &events, 1000);
    let pids: Vec<_> = rows.iter().map(|row| row.process.as_ref().unwrap().pid).collect();
    assert_eq!((times(&rows), pids), (vec![1, 2, 3], vec![A, A, B]));
    // Whatever the direction, the own address is the socket's.
    assert!(rows[..2].iter().all(|row| row.local.unwrap().1 == 5000));
    assert_eq!(rows[1].detail, Detail::Reset { is_sent: false });

    // A tick after its end it is still known, and then no more.
    tick(&mut model, &[], 1100, false);
    let late = |ms| [dropped(ms, DropKind::Retransmit, &socket)];
    assert_eq!(drops(&mut model, &late(1110), 2000).len(), 1);
    tick(&mut model, &[], 2100, false);
    assert!(drops(&mut model, &late(2110), 3000).is_empty());
}

#[test]
fn filters_kinds_and_the_limit_leave_events_out() {
    let connected = |ms| event(ms, SocketEventKind::Connected, tcp(1, A));
    let mut none = model("comm:nobody", |_| ());
    assert!(sockets(&mut none, &[connected(1)], 1000).is_empty());
    let mut by_word = model("/connect/ dport:443", |_| ());
    assert_eq!(sockets(&mut by_word, &[connected(1), ended(2, LAST_ACK, 0)], 1000).len(), 1);
    let mut closes = model("", |options| options.kinds = vec![EventKind::Close]);
    assert!(sockets(&mut closes, &[connected(1)], 1000).is_empty());
    let mut few = model("", |options| options.per_second = 2);
    let events = [1, 2, 3, 4, 1001, 1002].map(connected);
    assert_eq!(times(&sockets(&mut few, &events, 5000)), [1, 2, 1001, 1002]);
    assert_eq!(few.event_losses()[0], (EVENT_LIMIT, 2));
}

#[test]
fn a_listener_that_refuses_is_an_event() {
    let mut model = model("", |_| ());
    let socket = |drops| SocketRecord { drops, queue_max: 1, receive_queue: 2, ..listener(2, B) };
    tick(&mut model, &[socket(0)], 0, false);
    tick(&mut model, &[socket(3)], 1000, false);
    let rows = tick(&mut model, &[socket(3)], 2000, false);
    let overflow = Detail::ListenOverflow { count: 3, queued: 2, backlog: 1 };
    assert_eq!((rows.len(), &rows[0].detail), (1, &overflow));
    assert_eq!((rows[0].process.as_ref().unwrap().pid, rows[0].local.unwrap().1), (B, 80));
}

#[test]
fn names_are_those_of_the_command_line() {
    for kind in EventKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert!("acept".parse::<EventKind>().unwrap_err().contains("did you mean accept?"));
}

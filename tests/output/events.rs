//! Single events of all kinds.

use nettrace::filter::Filter;
use nettrace::model::{EventKind, EventOptions, EventRow, Model};
use nettrace::names::Names;
use nettrace::output::{EventWriter, Format, Sink};
use nettrace::sample::{
    DropEvent, DropFlow, DropKind, DropPlace, DropReading, Sample, SocketEvent, SocketEventKind,
    SocketRecord, SyscallReading,
};

use serde_json::Value;

use super::fixtures::{listener, sample, slow_calls, socket, style};
use super::rows::{PID, process};
use super::{check, schema};

const MILLISECOND: u64 = 1_000_000;
const BORN_NS: u64 = 64 * MILLISECOND;

/// Of a socket that had been born 12.5 ms before.
fn event(kind: SocketEventKind, errno: u32, socket: SocketRecord) -> SocketEvent {
    let socket = SocketRecord { id: (BORN_NS >> 6) << 12, ..socket };
    let clock_ns = BORN_NS + 12_500_000;
    SocketEvent { time: sample(0).time, clock_ns, kind, errno, socket }
}

fn dropped(kind: DropKind, socket: &SocketRecord) -> DropEvent {
    DropEvent {
        time: sample(0).time,
        place: DropPlace {
            kind,
            reason: (kind == DropKind::Packet).then(|| "NETFILTER_DROP".into()),
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
        length: 1500,
        interface: [0; 16],
        process: process(9, "ksoftirqd/0"),
        stack: Vec::new(),
    }
}

/// One of each kind, and of connections all ways that they can go.
fn rows() -> Vec<EventRow> {
    let options = EventOptions {
        kinds: EventKind::ALL.to_vec(),
        only_owned: false,
        per_second: 100,
        stacks: false,
    };
    let mut model =
        Model::new(Names::new(true), Filter::default(), Vec::new()).with_events(options);
    let ends = ["10.0.0.1:50001", "192.0.2.7:443"];
    let client = SocketRecord {
        rx_bytes: 5_000_000,
        tx_bytes: 700,
        retransmits: 2,
        ..socket(process(1, "curl"), 6, ends, 0)
    };
    let v6 = ["[2001:db8::1]:22", "[2001:db8::99]:51234"];
    let server = SocketRecord { srtt_us: 8 * 40, ..socket(process(2, "sshd"), 6, v6, 0) };
    let not_yet = SocketRecord { state: 2, ..client };
    let sockets = [
        event(SocketEventKind::Connected, 0, client),
        event(SocketEventKind::Closed, 111, not_yet),
        event(SocketEventKind::Closed, 0, not_yet),
        event(SocketEventKind::Accepted, 0, server),
        event(SocketEventKind::Closed, 0, client),
        event(SocketEventKind::Closed, 104, SocketRecord { retransmits: 0, ..client }),
    ];
    let mut nobody_s = client;
    nobody_s.ends.local_port = 1;
    let drops = [
        dropped(DropKind::Retransmit, &client),
        dropped(DropKind::ResetSent, &client),
        dropped(DropKind::Packet, &nobody_s),
    ];
    let overflown = SocketRecord {
        drops: 3,
        receive_queue: 129,
        queue_max: 128,
        ..listener(3, 6, "0.0.0.0:80")
    };
    let slow = slow_calls();
    model.follow_tick(
        &Sample {
            sockets: &[overflown],
            socket_events: &sockets,
            drops: Some(DropReading { counts: &[], events: &drops }),
            syscalls: Some(SyscallReading { slow: &slow[..1], ..SyscallReading::default() }),
            ..sample(0)
        },
        true,
    )
}

#[test]
fn a_line_each_and_an_object_each() {
    let rows = rows();
    assert_eq!(rows.len(), 11);
    assert!(rows.iter().all(|row| row.process.as_ref().is_none_or(|process| process.pid >= PID)));
    let forms = [Format::Table, Format::Ndjson].map(|format| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let sink = Sink::file(&path, false, false).unwrap();
        let mut writer = EventWriter::new(sink, style(format));
        writer.events(&rows).unwrap();
        let sample = sample(0);
        writer.end(sample.time, &sample.losses, sample.own).unwrap();
        writer.finish().unwrap();
        format!("{format:?}\n{}", std::fs::read_to_string(&path).unwrap())
    });
    let schema = &schema()["$defs"]["event"];
    let objects = forms[1].lines().filter(|line| line.contains("\"view\":\"event\""));
    let objects: Vec<Value> = objects.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), rows.len());
    objects.iter().for_each(|object| check(object, schema, "event"));
    insta::assert_snapshot!(forms.join("\n"));
}

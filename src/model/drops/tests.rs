#![allow(clippy::unwrap_used)]

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::sample::{DropFlow, DropKind, ProcessRecord};

fn place(reason: Option<&str>, location: u64, transport: u8) -> DropPlace {
    DropPlace {
        kind: DropKind::Packet,
        reason: reason.map(Into::into),
        location,
        netns: 7,
        protocol: 0x0800,
        transport,
        family: 0,
    }
}

fn flow(port: u16) -> DropFlow {
    let v4 = |last| {
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, last]);
        address
    };
    DropFlow { source: v4(1), destination: v4(2), source_port: 4242, destination_port: port }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn record(place: DropPlace, count: u64, last: u64) -> DropRecord {
    DropRecord {
        place,
        count,
        bytes: count * 100,
        last: at(last),
        last_flow: flow(u16::try_from(last).unwrap()),
        last_interface: [0; 16],
    }
}

fn event(place: DropPlace, port: u16, process: Option<ProcessRecord>) -> DropEvent {
    DropEvent {
        time: at(port.into()),
        place,
        flow: flow(port),
        length: 60,
        interface: [0; 16],
        stack: if process.is_some() { vec![0x31] } else { vec![0x41, 0x51, 0x31] },
        process: process.unwrap_or_default(),
    }
}

/// A table with what it looks through.
struct Run {
    table: DropTable,
    names: Names,
    symbols: Symbols,
    filter: Filter,
    netns: NetnsNames,
}

impl Run {
    fn new(by_event: bool, filter: &str) -> Self {
        let mut table = DropTable::new(by_event, false);
        // One function with two places, others with one.
        for (address, name, offset) in [
            (0x11, "udp_rcv", 0x11),
            (0x12, "udp_rcv", 0x12),
            (0x21, "ip_rcv", 1),
            (0x31, "do_syscall_64", 1),
            (0x41, "net_rx_action", 1),
            (0x51, "handle_softirqs", 1),
            (0x61, "asm_common_interrupt", 1),
            (0x62, "common_interrupt", 1),
        ] {
            table.functions.insert(address, (name.into(), offset));
        }
        Run {
            table,
            names: Names::new(true),
            symbols: Symbols::default(),
            filter: Filter::parse(filter).unwrap(),
            netns: NetnsNames::read(),
        }
    }

    fn lens(&mut self) -> (&mut DropTable, Lens<'_>) {
        let Run { table, names, symbols, filter, netns } = self;
        (table, Lens { names, symbols, filter, netns })
    }

    fn rows(&mut self, counts: &[DropRecord]) -> Vec<DropRow> {
        let (table, mut lens) = self.lens();
        table.advance(&DropReading { counts, events: &[] }, &mut lens);
        self.rows_only(None)
    }

    fn rows_only(&mut self, only: Option<&Filter>) -> Vec<DropRow> {
        let span = Span { seconds: 2.0, clock_ns: 0 };
        let mut rows = self.table.rows(span, at(100), &mut self.netns, only);
        rows.sort_by(|a, b| (&a.reason, &a.function).cmp(&(&b.reason, &b.function)));
        rows
    }

    fn events(&mut self, events: &[DropEvent]) -> Vec<DropEventRow> {
        let (table, mut lens) = self.lens();
        table.absorb(events, &mut lens)
    }
}

#[test]
fn places_and_namespaces_are_summed_into_one_row() {
    let elsewhere = DropPlace { netns: 8, ..place(Some("NO_SOCKET"), 0x11, 17) };
    let mut run = Run::new(false, "");
    let rows = run.rows(&[
        record(place(Some("NO_SOCKET"), 0x11, 17), 3, 60),
        record(place(Some("NO_SOCKET"), 0x12, 17), 1, 90),
        record(elsewhere, 2, 70),
        record(place(Some("IP_INHDR"), 0x21, 17), 5, 10),
    ]);
    assert_eq!(rows.len(), 2);
    let row = &rows[1];
    assert_eq!(row.reason.as_deref(), Some("NO_SOCKET"));
    assert_eq!(row.function.as_deref(), Some("udp_rcv"));
    assert_eq!((row.count, row.bytes, row.rate), (6, 600, 3.0));
    assert_eq!(row.places, [(0x11, 5), (0x12, 1)]);
    // The last of all.
    assert_eq!(row.last_age_s, 10.0);
    assert_eq!(row.last_flow.unwrap().to_string(), "10.0.0.1:4242 > 10.0.0.2:90");
    assert_eq!(row.last_netns.as_deref(), Some("[7]"));
}

#[test]
fn counts_are_since_the_start_and_rates_of_the_interval() {
    let mut run = Run::new(false, "");
    let of = |count| [record(place(Some("NO_SOCKET"), 0x11, 17), count, 1)];
    assert_eq!(run.rows(&of(4))[0].rate, 2.0);
    let row = &run.rows(&of(10))[0];
    assert_eq!((row.count, row.rate), (10, 3.0));
    let row = &run.rows(&of(10))[0];
    assert_eq!((row.count, row.rate), (10, 0.0));
}

#[test]
fn a_kernel_without_reasons_has_the_place() {
    let rows = Run::new(false, "").rows(&[record(place(None, 0x21, 6), 1, 1)]);
    assert_eq!((rows[0].reason.as_deref(), rows[0].function.as_deref()), (None, Some("ip_rcv")));
    assert_eq!(rows[0].proto.as_deref(), Some("tcp"));
}

#[test]
fn what_is_no_packet_has_no_place() {
    let retransmit = DropPlace { kind: DropKind::Retransmit, ..place(Some("retransmit"), 0, 6) };
    let rows = Run::new(false, "").rows(&[record(retransmit, 1, 1)]);
    assert_eq!(rows[0].function, None);
}

#[test]
fn sums_are_filtered_by_what_they_have() {
    let counts = [
        record(place(Some("NO_SOCKET"), 0x11, 17), 3, 60),
        record(place(Some("IP_INHDR"), 0x21, 6), 5, 10),
    ];
    for (filter, left) in [
        ("proto:udp", &["NO_SOCKET"][..]),
        ("!proto:udp", &["IP_INHDR"]),
        ("/no_socket/", &["NO_SOCKET"]),
        ("/IP_INHDR ip_rcv/", &["IP_INHDR"]),
        ("netns:[7]", &["IP_INHDR", "NO_SOCKET"]),
        ("netns:[8]", &[]),
    ] {
        let names = |rows: Vec<DropRow>| -> Vec<String> {
            rows.iter().map(|row| row.reason.as_deref().unwrap().to_owned()).collect()
        };
        assert_eq!(names(Run::new(false, filter).rows(&counts)), left, "{filter}");
        let mut run = Run::new(false, "");
        run.rows(&counts);
        assert_eq!(names(run.rows_only(Some(&Filter::parse(filter).unwrap()))), left, "{filter}");
    }
}

#[test]
fn a_scope_is_asked_of_sums_as_far_as_they_know() {
    let of_v6 = DropPlace { protocol: 0x86dd, ..place(Some("NO_SOCKET"), 0x11, 17) };
    let no_ip = DropPlace { protocol: 0x0806, ..place(Some("IP_INHDR"), 0x21, 0) };
    let by_family = DropPlace { protocol: 0, family: 10, ..place(Some("TCP_RESET"), 0x21, 0) };
    let counts = [of_v6, no_ip, by_family, place(Some("TCP_CSUM"), 0x11, 6)]
        .map(|place| record(place, 1, 1));
    let names = |filter: Filter| {
        let mut run = Run { filter, ..Run::new(false, "") };
        let rows = run.rows(&counts);
        rows.iter().map(|row| row.reason.as_deref().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let family = |v6| {
        let mut filter = Filter::default();
        filter.and_family(v6);
        filter
    };
    assert_eq!(names(family(true)), ["NO_SOCKET", "TCP_RESET"]);
    assert_eq!(names(family(false)), ["TCP_CSUM"]);
    let mut of_process = family(true);
    of_process.and_pids(&[1]);
    of_process.and_comm(&["a".to_owned()]);
    assert_eq!(names(of_process), ["NO_SOCKET", "TCP_RESET"]);
}

#[test]
fn single_drops_are_counted_where_the_filter_asks_for_more() {
    let mut comm = [0; 16];
    comm[0] = b'a' as _;
    let process = ProcessRecord { tgid: 4_194_305, comm, ..ProcessRecord::default() };
    let udp = || place(Some("NO_SOCKET"), 0x11, 17);
    let events = [event(udp(), 80, None), event(udp(), 81, Some(process)), event(udp(), 82, None)];
    let ports = |filter: &str| -> Vec<u16> {
        let mut run = Run::new(true, filter);
        let rows = run.events(&events);
        let sums = run.rows(&[record(udp(), 99, 1)]);
        assert_eq!(sums.iter().map(|row| row.count).sum::<u64>(), rows.len() as u64);
        rows.iter().map(|row| row.flow.unwrap().destination.1).collect()
    };
    assert_eq!(ports(""), [80, 81, 82]);
    assert_eq!(ports("dport:80,82"), [80, 82]);
    assert!(ports("sport:80").is_empty());
    assert_eq!(ports("src:10.0.0.1 port:82"), [82]);
    assert_eq!(ports("comm:a"), [81]);
    assert_eq!(ports("pid:4194305"), [81]);
    assert_eq!(ports("/udp_rcv/"), [80, 81, 82]);
}

#[test]
fn a_process_is_named_only_where_the_drop_was_in_its_time() {
    use DropContext::{Hardirq, Softirq, Task};

    let mut run = Run::new(false, "");
    for (stack, context) in [
        (&[0x11, 0x31][..], Some(Task)),
        (&[0x11, 0x41, 0x51, 0x31], Some(Softirq)),
        // One that came as a hardware interrupt ended.
        (&[0x11, 0x51, 0x62, 0x61, 0x31], Some(Softirq)),
        (&[0x11, 0x62, 0x61, 0x31], Some(Hardirq)),
        // An address that nobody knows.
        (&[0x11, 0x9999], None),
        (&[], None),
    ] {
        let one = DropEvent {
            stack: stack.to_vec(),
            ..event(place(None, 0x11, 17), 1, Some(ProcessRecord::default()))
        };
        let row = &run.events(&[one])[0];
        assert_eq!(row.context, context, "{stack:x?}");
        assert_eq!(row.process.is_some(), context == Some(Task));
    }
}

#[test]
fn a_reset_has_no_length() {
    let of = |kind| event(DropPlace { kind, ..place(None, 0, 6) }, 1, None);
    let kinds =
        [DropKind::Packet, DropKind::Retransmit, DropKind::ResetSent, DropKind::ResetReceived];
    let rows = Run::new(false, "").events(&kinds.map(of));
    let lengths: Vec<_> = rows.iter().map(|row| row.length).collect();
    assert_eq!(lengths, [Some(60), Some(60), None, None]);
}

#[test]
fn protocols_have_names() {
    let name = |key| protocol(key);
    assert_eq!(name((0x0800, 6, 0)).as_deref(), Some("tcp"));
    assert_eq!(name((0x86dd, 58, 0)).as_deref(), Some("icmp6"));
    assert_eq!(name((0x0800, 253, 0)).as_deref(), Some("ip-253"));
    assert_eq!(name((0x0806, 0, 0)).as_deref(), Some("arp"));
    assert_eq!(name((0x9999, 0, 0)).as_deref(), Some("0x9999"));
    assert_eq!(name((0x0026, 0, 0)).as_deref(), Some("802.3"));
    assert_eq!(name((0, 0, 1)).as_deref(), Some("unix"));
    assert_eq!(name((0, 0, 0)), None);
}

#[test]
fn ends_are_written_so_that_ports_are_seen() {
    let v6 = Flow {
        source: ("fd00::1".parse().unwrap(), 0),
        destination: ("fd00::2".parse().unwrap(), 80),
    };
    assert_eq!(v6.to_string(), "fd00::1 > [fd00::2]:80");
    assert_eq!(ends(&DropFlow::default()), None);
}

#[test]
fn a_split_function_has_its_own_name() {
    assert_eq!(bare("tcp_v4_rcv.cold"), "tcp_v4_rcv");
    assert_eq!(bare("ip_rcv_core.isra.0"), "ip_rcv_core");
}

#[test]
fn what_listeners_refuse_is_a_row_beside() {
    use crate::model::events::Overflow;
    use crate::model::sockets::tests::{A, listener};

    let overflow = |count| Overflow { listener: listener(1, A), count };
    let refused = |filter: &str, by_event| {
        let mut run = Run::new(by_event, filter);
        for (count, time) in [(3, 40), (2, 50)] {
            let (table, mut lens) = run.lens();
            table.refuse(&[overflow(count)], at(time), &mut lens);
        }
        let rows = run.rows(&[record(place(Some("NO_SOCKET"), 0x11, 17), 1, 1)]);
        rows.into_iter().find(|row| row.reason.as_deref() == Some("listen-overflow"))
    };
    let row = refused("", false).unwrap();
    assert_eq!((row.count, row.rate, row.last_age_s), (5, 2.5, 50.0));
    assert_eq!((row.function, row.proto.as_deref()), (None, Some("tcp")));
    assert_eq!(row.last_flow.unwrap().to_string(), "0.0.0.0 > 10.0.0.1:80");
    assert!(refused("proto:udp", false).is_none());
    // Single ones know the listener's process.
    assert_eq!(refused(&format!("pid:{A} dport:80"), true).unwrap().count, 5);
    assert!(refused("pid:1", true).is_none());
    let of_family = |v6| {
        let mut run = Run::new(true, "");
        run.filter.and_family(v6);
        let (table, mut lens) = run.lens();
        table.refuse(&[overflow(3)], at(40), &mut lens);
        run.rows_only(None).len()
    };
    assert_eq!((of_family(false), of_family(true)), (1, 0));
}

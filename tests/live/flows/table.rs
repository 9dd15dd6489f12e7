//! Flows that are over leave the table with every packet told, and their places serve again. Packets are put
//! through the program itself.

use std::collections::HashMap;
use std::mem::{offset_of, size_of};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Barrier;
use std::thread::sleep;
use std::time::Duration;

use etherparse::PacketBuilder;
use nettrace::netns::Netns;
use nettrace::probes::Probe;
use nettrace::probes::flows::{FlowProbe, Options};

use super::skel::types::__sk_buff;
use crate::support::{Pair, use_libbpf};

/// Above the coarse clock's step, which is 10 ms at most.
const IDLE: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_millis(60);

/// Packets to so many ports each.
fn send(probe: &FlowProbe, ports: Range<u16>, packets: u32) {
    run(probe.ingress_program(), ports, packets);
}

fn run(program: BorrowedFd<'_>, ports: Range<u16>, packets: u32) {
    run_merged(program, ports, packets, 0);
}

/// Each of so many segments.
fn run_merged(program: BorrowedFd<'_>, ports: Range<u16>, packets: u32, segments: u32) {
    // Bytes, since the kernel refuses padding that isn't 0, and a struct's may be anything.
    let mut context = [0; size_of::<__sk_buff>()];
    let at = offset_of!(__sk_buff, gso_segs);
    context[at..at + size_of_val(&segments)].copy_from_slice(&segments.to_ne_bytes());
    for port in ports {
        let mut packet = Vec::new();
        let builder =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
        builder.udp(1, port).write(&mut packet, &[0; 20]).unwrap();
        let mut opts = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
            data_in: packet.as_ptr().cast(),
            data_size_in: packet.len() as u32,
            ctx_in: context.as_ptr().cast(),
            ctx_size_in: context.len() as u32,
            repeat: packets.cast_signed(),
            ..Default::default()
        };
        // SAFETY: opts says its own size, its packet's and its context's, which outlive the call.
        let status =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut opts) };
        assert_eq!(status, 0);
    }
}

/// Packets of each port's flow, and whether it is over.
fn read(probe: &mut FlowProbe) -> Vec<(u16, u64, bool)> {
    probe.read().unwrap();
    let row = |r: &nettrace::sample::FlowRecord| (r.key.destination_port, r.packets, r.ended);
    let mut rows: Vec<_> = probe.records().iter().map(row).collect();
    rows.sort_by_key(|(port, _, ended)| (*port, !ended));
    rows
}

fn open(entries: u32) -> FlowProbe {
    let options = Options { entries: Some(entries), idle_after: Some(IDLE), ..Options::default() };
    FlowProbe::open(options).unwrap()
}

#[test]
fn a_flow_that_is_over_is_told_whole_and_may_begin_anew() {
    let _libbpf = use_libbpf();
    let mut probe = open(8);
    send(&probe, 1..4, 5);
    assert_eq!(read(&mut probe), [(1, 5, false), (2, 5, false), (3, 5, false)]);
    sleep(LONG);
    send(&probe, 2..3, 1);
    assert_eq!(read(&mut probe), [(1, 5, false), (2, 6, false), (3, 5, false)]);
    // Between its last two tellings it is another flow, with a place of its own.
    send(&probe, 3..4, 7);
    assert_eq!(read(&mut probe), [(1, 5, true), (2, 6, false), (3, 5, true), (3, 7, false)]);
    assert_eq!(read(&mut probe), [(2, 6, false), (3, 7, false)]);
}

#[test]
fn places_of_flows_that_are_over_serve_again() {
    const ENTRIES: u16 = 16;
    let _libbpf = use_libbpf();
    let mut probe = open(ENTRIES.into());
    for round in 0..5u16 {
        let ports = 1 + round * ENTRIES..1 + (round + 1) * ENTRIES;
        send(&probe, ports.clone(), 2);
        let full: Vec<_> = ports.clone().map(|port| (port, 2, false)).collect();
        assert_eq!(read(&mut probe), full, "round {round}");
        // One more has no room.
        let lost = |probe: &FlowProbe| probe.losses().iter().map(|(_, count)| count).sum::<u64>();
        let before = lost(&probe);
        send(&probe, 9000..9001, 1);
        assert_eq!(lost(&probe), before + 1);
        sleep(LONG);
        assert_eq!(read(&mut probe), full);
        let over: Vec<_> = ports.map(|port| (port, 2, true)).collect();
        assert_eq!(read(&mut probe), over);
    }
}

/// Both begin each flow at once, most of the time.
#[test]
fn two_cpus_count_in_one_flow() {
    const PORTS: u16 = 2000;
    let _libbpf = use_libbpf();
    let options = Options { entries: Some(u32::from(PORTS)), ..Options::default() };
    let mut probe = FlowProbe::open(options).unwrap();
    let (program, barrier) = (probe.ingress_program(), Barrier::new(2));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for port in 0..PORTS {
                    barrier.wait();
                    run(program, port..port + 1, 10);
                }
            });
        }
    });
    let rows = read(&mut probe);
    let by_port: HashMap<u16, u64> =
        rows.iter().map(|(port, packets, _)| (*port, *packets)).collect();
    assert_eq!((rows.len(), by_port.len()), (usize::from(PORTS), usize::from(PORTS)));
    assert!(by_port.values().all(|packets| *packets == 20), "{by_port:?}");
}

/// Packets and bytes are of the same packets at each reading, long after a part of the word that they share was full.
#[test]
fn sums_are_whole_at_each_reading() {
    const SEGMENTS: u64 = 65_535;
    const HEADERS: u64 = 14 + 20 + 8;
    const BYTES: u64 = HEADERS * SEGMENTS + 20;
    const PACKETS: u32 = 5_000;
    let _libbpf = use_libbpf();
    let pair = Pair::new();
    let watch = || {
        // What is run comes by the loopback, whose received packets may be merged ones.
        let options = Options { interfaces: vec!["lo".to_owned()], ..Options::default() };
        let mut probe = FlowProbe::open(options)?;
        let program = probe.ingress_program().try_clone_to_owned()?;
        let send = || run_merged(program.as_fd(), 7..8, PACKETS, SEGMENTS as u32);
        let mut read = || {
            probe.read().unwrap();
            let flow = probe.records().iter().find(|flow| flow.key.destination_port == 7);
            let (packets, bytes) = flow.map_or((0, 0), |flow| (flow.packets, flow.bytes));
            assert_eq!((packets % SEGMENTS, bytes), (0, packets / SEGMENTS * BYTES));
            packets / SEGMENTS
        };
        std::thread::scope(|scope| {
            let senders = [scope.spawn(send), scope.spawn(send)];
            while senders.iter().any(|sender| !sender.is_finished()) {
                read();
            }
        });
        Ok(read())
    };
    let packets = Netns::open(&pair.b).and_then(|netns| netns.run(watch)).unwrap();
    assert_eq!(packets, 2 * u64::from(PACKETS));
}

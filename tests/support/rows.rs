//! Records and rows that more than one crate of tests is made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use nettrace::model::{ContainerRow, DropRow, Flow, FlowRow};
use nettrace::names::Container;
use nettrace::probes::xdp::types::{packet_count, stack_count};
use nettrace::sample::xdp::XdpCounts;
use nettrace::sample::{
    Endpoints, FlowDirection, FlowKey, IfaceRecord, ProcessRecord, SocketRecord, XdpMode,
    XdpProgram, XdpRecord, XdpWanted,
};

/// Above the highest that Linux gives, so that no living process is asked about.
pub(crate) const PID: u32 = 4_194_305;
pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const START: u64 = 100 * SECOND;

pub(crate) fn process(number: u32, name: &str) -> ProcessRecord {
    let mut record = ProcessRecord { tgid: PID + number, uid: 1000, ..ProcessRecord::default() };
    for (to, from) in record.comm.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    record
}

/// An address of either family, v4-mapped, and a port.
pub(crate) fn end(text: &str) -> ([u8; 16], u16) {
    let end: std::net::SocketAddr = text.parse().unwrap();
    let address = match end.ip() {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        std::net::IpAddr::V6(v6) => v6,
    };
    (Ipv6Addr::octets(&address), end.port())
}

/// Handmade: a container is only found by the cgroup of a process that lives.
pub(crate) fn pod() -> ContainerRow {
    let container = Container {
        name: "cri:0123456789ab".to_owned(),
        pod: Some("9a1b2c3d-1111-2222-3333-444455556666".to_owned()),
    };
    ContainerRow {
        container: Some(Arc::new(container)),
        rx_rate: 1024.0 / 3.0,
        tx_rate: 0.0,
        rx_bytes: 123_456,
        tx_bytes: 0,
        connections: 12,
        syscall_rate: Some(1234.0),
        drops: 0,
    }
}

/// Handmade: functions are only found by the kernel's addresses.
pub(crate) fn drops() -> Vec<DropRow> {
    let flow = |source: [u8; 4], port| Flow {
        source: (IpAddr::from(source), 50_001),
        destination: (IpAddr::from([10, 0, 0, 1]), port),
    };
    let row = |reason: &str, function: Option<&str>, count: u64, last_flow| DropRow {
        reason: Some(reason.into()),
        function: function.map(Into::into),
        proto: Some("tcp".into()),
        count,
        bytes: count * 60,
        rate: count as f64 / 2.0,
        places: function.map_or_else(Vec::new, |_| vec![(0x91, count)]),
        last_age_s: 1.5,
        last_flow: Some(last_flow),
        last_interface: function.map(|_| "eth0".to_owned()),
        last_netns: Some("blue".into()),
    };
    vec![
        row("NO_SOCKET", Some("tcp_v4_rcv"), 3, flow([192, 0, 2, 7], 81)),
        row("NETFILTER_DROP", Some("nf_hook_slow"), 1200, flow([192, 0, 2, 8], 22)),
        row("retransmit", None, 2, flow([10, 0, 0, 1], 443)),
        // As on a kernel that tells no reasons.
        DropRow {
            reason: None,
            proto: Some("arp".into()),
            last_flow: None,
            last_netns: None,
            ..row("", Some("arp_rcv"), 1, flow([0, 0, 0, 0], 0))
        },
    ]
}

pub(crate) fn iface(index: u32, name: &str, bytes: u64) -> IfaceRecord {
    IfaceRecord {
        index,
        name: name.to_owned(),
        rx_bytes: bytes,
        tx_bytes: bytes / 3,
        rx_packets: bytes / 1000,
        tx_packets: bytes / 3000,
        errors: 0,
        drops: u64::from(index - 1),
        hooks: Vec::new(),
    }
}

/// An interface on which a program of somebody else drops one packet of ten.
pub(crate) fn xdp(interface: u32, packets: u64) -> XdpRecord {
    let [tcp, udp] = [0, 1];
    let [drop, pass] = [1, 2];
    let dropped = packets / 10;
    let mut counts = XdpCounts::default();
    counts.verdicts[drop][udp] = packet_count { packets: dropped, bytes: 60 * dropped };
    counts.verdicts[pass][tcp] = packet_count { packets: packets - dropped, bytes: 1000 * packets };
    counts.stack[tcp] = stack_count { pieces: packets / 4, segments: packets - dropped };
    counts.events[0] = 3;
    let others = XdpProgram { id: 12, name: Some("drop_scans".to_owned()), mode: XdpMode::Native };
    XdpRecord {
        interface,
        wanted: XdpWanted::Auto,
        mode: None,
        others: vec![others],
        obstacle: None,
        has_stack: true,
        seen_in_pieces: false,
        counted_in_pieces: false,
        counts,
    }
}

/// An established one of that protocol.
pub(crate) fn socket(
    id: u64,
    owner: ProcessRecord,
    protocol: u16,
    ends: [&str; 2],
) -> SocketRecord {
    let ((local, local_port), (remote, remote_port)) = (end(ends[0]), end(ends[1]));
    SocketRecord {
        id,
        owner,
        last_tgid: owner.tgid,
        state: 1,
        ends: Endpoints { local, remote, local_port, remote_port, netns: 7, family: 10, protocol },
        ..SocketRecord::default()
    }
}

/// A connection's one direction, an answer that is on its way in a VLAN, and what had no room.
pub(crate) fn flows() -> Vec<FlowRow> {
    let bytes = |last| Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets();
    let tcp = FlowRow {
        key: FlowKey {
            interface: 2,
            direction: FlowDirection::Out,
            source: bytes(1),
            destination: bytes(2),
            source_port: 50_001,
            destination_port: 443,
            ethertype: 0x0800,
            protocol: 6,
            tunnel: 0,
            vlan: 0,
            inner_vlan: 0,
            icmp: 0,
            is_fragment: false,
            is_truncated: false,
            is_other: false,
        },
        interface: "eth0".into(),
        proto: "tcp".into(),
        packet_rate: 1000.5,
        byte_rate: 1_500_000.0,
        packets: 2001,
        bytes: 3_000_000,
        tcp_flags: Some(0x1a),
        owner: None,
        age_s: 12.5,
        last_age_s: 0.5,
        ended: false,
    };
    let icmp = FlowRow {
        key: FlowKey {
            direction: FlowDirection::In,
            protocol: 1,
            vlan: 10,
            icmp: 0x0303,
            source: tcp.key.destination,
            destination: tcp.key.source,
            source_port: 0,
            destination_port: 0,
            ..tcp.key
        },
        proto: "icmp".into(),
        packet_rate: 0.0,
        byte_rate: 0.0,
        packets: 1,
        bytes: 70,
        tcp_flags: None,
        owner: None,
        ended: true,
        ..tcp.clone()
    };
    let other = FlowRow {
        key: FlowKey {
            is_other: true,
            source: [0; 16],
            destination: [0; 16],
            source_port: 0,
            destination_port: 0,
            ethertype: 0,
            protocol: 0,
            ..tcp.key
        },
        proto: "other".into(),
        tcp_flags: None,
        owner: None,
        ..tcp.clone()
    };
    vec![tcp, icmp, other]
}

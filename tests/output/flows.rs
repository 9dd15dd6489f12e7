//! Flows of packets.

use std::net::{IpAddr, Ipv4Addr};

use nettrace::model::{Flow, FlowRow, View};
use nettrace::sample::{FlowDirection, FlowKey};

use super::fixtures::{forms, frame};

/// A connection's one direction, an answer that is on its way in a VLAN, and what had no room.
pub(super) fn rows() -> Vec<FlowRow> {
    let v4 = |last| IpAddr::from([10, 0, 0, last]);
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
        ends: Some(Flow { source: (v4(1), 50_001), destination: (v4(2), 443) }),
        packet_rate: 1000.5,
        byte_rate: 1_500_000.0,
        packets: 2001,
        bytes: 3_000_000,
        tcp_flags: Some("SPA".to_owned()),
        age_s: 12.5,
        ended: false,
    };
    let icmp = FlowRow {
        key: FlowKey {
            direction: FlowDirection::In,
            protocol: 1,
            vlan: 10,
            icmp: 0x0303,
            source_port: 0,
            destination_port: 0,
            ..tcp.key
        },
        proto: "icmp".into(),
        ends: Some(Flow { source: (v4(2), 0), destination: (v4(1), 0) }),
        packet_rate: 0.0,
        byte_rate: 0.0,
        packets: 1,
        bytes: 70,
        tcp_flags: None,
        ended: true,
        ..tcp.clone()
    };
    let other = FlowRow {
        key: FlowKey { is_other: true, ethertype: 0, protocol: 0, ..tcp.key },
        proto: "other".into(),
        ends: None,
        tcp_flags: None,
        ..tcp.clone()
    };
    vec![tcp, icmp, other]
}

#[test]
fn of_top() {
    insta::assert_snapshot!(forms(&frame(View::Flows)));
}

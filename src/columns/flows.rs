//! The columns of flows, and the order of their rows where none was asked for.

use std::cmp::Ordering;
use std::hash::Hash;

use super::lists::{address, extra, int, port, shown, text};
use super::{Column, Row, Unit, Value};
use crate::model::{FlowRow, Process, View};
use Unit::{ByteRate, Count, Flag, Number, Rate, Seconds, Text};

/// Of ICMP and its like for IPv6 alone.
fn of_icmp(row: &FlowRow, part: fn(u16) -> u16) -> Value<'static> {
    let is_icmp = [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&row.key.protocol.into());
    let is_known = is_icmp && !row.key.is_fragment && !row.key.is_truncated;
    int(is_known.then(|| part(row.key.icmp)))
}

fn container(owner: Option<&Process>) -> Value<'_> {
    let container = owner.and_then(|owner| owner.container.as_ref());
    container.map_or(Value::None, |container| text(&container.name))
}

static FLOWS: [Column<FlowRow>; 25] = [
    shown("interface", "IFACE", Text, "the interface's name", |r| text(&r.interface)),
    shown("direction", "DIR", Text, "in: received there; out: sent", |r| text(r.direction())),
    shown(
        "proto",
        "PROTO",
        Text,
        "tcp, udp, icmp, arp, …; other: what the table had no room for",
        |r| text(&r.proto),
    ),
    shown("source_address", "SRC", Text, "where the packets come from", |r| {
        address(r.ends().map(|ends| ends.source))
    }),
    shown("source_port", "SPORT", Number, "the port there", |r| {
        port(r.ends().map(|ends| ends.source))
    }),
    shown("destination_address", "DST", Text, "where they go to", |r| {
        address(r.ends().map(|ends| ends.destination))
    }),
    shown("destination_port", "DPORT", Number, "the port there", |r| {
        port(r.ends().map(|ends| ends.destination))
    }),
    shown("packets_per_second", "PKTS/s", Rate, "packets in the interval", |r| {
        Value::Real(r.packet_rate)
    }),
    shown("bytes_per_second", "BYTES/s", ByteRate, "bytes in the interval", |r| {
        Value::Real(r.byte_rate)
    }),
    shown("packets", "PKTS", Count, "packets since nettrace's start", |r| Value::Int(r.packets)),
    shown("bytes", "BYTES", Unit::Bytes, "their bytes, with the link layer's header", |r| {
        Value::Int(r.bytes)
    }),
    shown("tcp_flags", "FLAGS", Text, "TCP's flags seen: F S R P A U E C", |r| {
        r.flag_letters().map_or(Value::None, |letters| Value::Text(letters.into()))
    }),
    shown("age_s", "AGE", Seconds, "since the first packet seen", |r| Value::Real(r.age_s)),
    shown("pid", "PID", Number, "the process whose socket has the end here", |r| {
        int(r.owner.as_ref().map(|owner| owner.pid))
    }),
    shown("comm", "COMM", Text, "its name", |r| {
        r.owner.as_ref().map_or(Value::None, |owner| text(&owner.comm))
    }),
    extra("container", "CONTAINER", Text, "its container or systemd unit", |r| {
        container(r.owner.as_deref())
    }),
    extra("last_age_s", "AGO", Seconds, "since the last packet seen", |r| {
        Value::Real(r.last_age_s)
    }),
    extra("vlan", "VLAN", Number, "VLAN id", |r| int((r.key.vlan > 0).then_some(r.key.vlan))),
    extra("inner_vlan", "VLAN2", Number, "VLAN id of the inner one of two tags", |r| {
        int((r.key.inner_vlan > 0).then_some(r.key.inner_vlan))
    }),
    extra("tunnel", "TUNNEL", Number, "with --inner, VXLAN's VNI or GRE's key", |r| {
        int((r.key.tunnel > 0).then_some(r.key.tunnel))
    }),
    extra("icmp_type", "TYPE", Number, "ICMP's type", |r| of_icmp(r, |icmp| icmp >> 8)),
    extra("icmp_code", "CODE", Number, "ICMP's code", |r| of_icmp(r, |icmp| icmp & 0xff)),
    extra("fragment", "FRAG", Flag, "fragments behind a first one that wasn't seen", |r| {
        Value::Bool(r.key.is_fragment)
    }),
    extra("truncated", "TRUNC", Flag, "packets that end within their headers", |r| {
        Value::Bool(r.key.is_truncated)
    }),
    extra("ended", "ENDED", Flag, "without a packet for a minute; this is its last row", |r| {
        Value::Bool(r.ended)
    }),
];

impl Row for FlowRow {
    const VIEW: View = View::Flows;

    fn columns() -> &'static [Column<Self>] {
        &FLOWS
    }

    fn weight(&self) -> [f64; 2] {
        [self.byte_rate, self.bytes as f64]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        a.key.cmp(&b.key)
    }

    fn identity(&self) -> impl Hash {
        self.key
    }

    fn is_last(&self) -> bool {
        self.ended
    }
}

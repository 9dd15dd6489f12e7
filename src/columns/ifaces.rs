//! The columns of interfaces, and the order of their rows where none was asked for.

use std::cmp::Ordering;
use std::hash::Hash;

use super::lists::{extra, int, shown, text};
use super::{Column, Row, Unit, Value};
use crate::model::{Arrived, IfaceRow, Seen, View};
use Unit::{ByteRate, Bytes, Count, Counts, Rate, Text};

/// What a table shows of interfaces where XDP is watched, unless other columns are asked for.
pub const OF_XDP: [&str; 11] = [
    "interface",
    "rx_packets_per_second",
    "xdp_requested",
    "xdp_mode",
    "xdp_packets_per_second",
    "stack_packets_per_second",
    "xdp_missing",
    "xdp_verdicts",
    "xdp_events",
    "xdp_programs",
    "xdp_obstacle",
];

fn seen(row: &IfaceRow) -> Option<&Seen> {
    row.xdp.as_ref()?.seen.as_ref()
}

fn stack(row: &IfaceRow) -> Option<&Arrived> {
    row.xdp.as_ref()?.stack.as_ref()
}

/// None if there were no packets.
fn size(byte_rate: f64, packet_rate: f64) -> Value<'static> {
    let is_known = packet_rate > 0.0;
    if is_known { Value::Int((byte_rate / packet_rate).round() as u64) } else { Value::None }
}

fn counts(counts: &[(impl AsRef<str>, u64)]) -> Value<'_> {
    Value::Counts(counts.iter().map(|(name, count)| (name.as_ref().into(), *count)).collect())
}

static IFACES: [Column<IfaceRow>; 28] = [
    shown("interface", "IFACE", Text, "the interface's name", |r| text(&r.interface)),
    shown("rx_bytes_per_second", "RX/s", ByteRate, "bytes on the wire in the interval", |r| {
        Value::Real(r.rx_rate)
    }),
    shown("tx_bytes_per_second", "TX/s", ByteRate, "bytes on the wire in the interval", |r| {
        Value::Real(r.tx_rate)
    }),
    shown("rx_packets_per_second", "RXPPS", Rate, "packets in the interval", |r| {
        Value::Real(r.rx_packet_rate)
    }),
    shown("tx_packets_per_second", "TXPPS", Rate, "packets in the interval", |r| {
        Value::Real(r.tx_packet_rate)
    }),
    extra("rx_bytes", "RX", Bytes, "bytes since nettrace's start", |r| Value::Int(r.rx_bytes)),
    extra("tx_bytes", "TX", Bytes, "bytes since nettrace's start", |r| Value::Int(r.tx_bytes)),
    extra("rx_packets", "RXPKTS", Count, "packets since nettrace's start", |r| {
        Value::Int(r.rx_packets)
    }),
    extra("tx_packets", "TXPKTS", Count, "packets since nettrace's start", |r| {
        Value::Int(r.tx_packets)
    }),
    extra(
        "rx_packet_bytes",
        "RXSIZE",
        Bytes,
        "a packet's bytes, on average in the interval",
        |r| size(r.rx_rate, r.rx_packet_rate),
    ),
    extra(
        "tx_packet_bytes",
        "TXSIZE",
        Bytes,
        "a packet's bytes, on average in the interval",
        |r| size(r.tx_rate, r.tx_packet_rate),
    ),
    shown("errors", "ERR", Count, "rx_errors + tx_errors since the start", |r| {
        Value::Int(r.errors)
    }),
    shown("drops", "DROP", Count, "rx_dropped + tx_dropped + rx_missed since the start", |r| {
        Value::Int(r.drops)
    }),
    shown("hook", "HOOK", Text, "XDP and tcx programs and classifiers found on it", |r| {
        r.hook.as_deref().map_or(Value::None, text)
    }),
    extra("xdp_requested", "XDPREQ", Text, "where nettrace's XDP program was to run", |r| {
        r.xdp.as_ref().map_or(Value::None, |xdp| text(xdp.wanted.name()))
    }),
    extra("xdp_mode", "XDP", Text, "where it runs: native, skb, hw", |r| {
        r.xdp.as_ref().and_then(|xdp| xdp.mode).map_or(Value::None, |mode| text(mode.name()))
    }),
    extra(
        "xdp_packets_per_second",
        "XDPPPS",
        Rate,
        "packets before the stack, in the interval",
        |r| seen(r).map_or(Value::None, |seen| Value::Real(seen.packet_rate)),
    ),
    extra("xdp_bytes_per_second", "XDP/s", ByteRate, "their bytes", |r| {
        seen(r).map_or(Value::None, |seen| Value::Real(seen.byte_rate))
    }),
    extra(
        "stack_packets_per_second",
        "STACKPPS",
        Rate,
        "packets that reached the stack, in the interval",
        |r| stack(r).map_or(Value::None, |stack| Value::Real(stack.packet_rate)),
    ),
    extra("xdp_packets", "XDPPKTS", Count, "packets before the stack since the start", |r| {
        int(seen(r).map(|seen| seen.packets))
    }),
    extra("xdp_bytes", "XDPBYTES", Bytes, "their bytes", |r| int(seen(r).map(|seen| seen.bytes))),
    extra("stack_packets", "STACKPKTS", Count, "packets at the stack since the start", |r| {
        int(stack(r).map(|stack| stack.packets))
    }),
    extra(
        "xdp_missing",
        "MISSING",
        Count,
        "packets that never reached the stack, of xdp_packets, or where nothing sees these of rx_packets",
        |r| int(r.xdp.as_ref().and_then(|xdp| xdp.missing)),
    ),
    extra(
        "xdp_verdicts",
        "VERDICTS",
        Counts,
        "packets by what XDP programs, nettrace's or others', did with them, and protocol",
        |r| {
            let verdicts = seen(r).map(|seen| counts(&seen.verdicts));
            verdicts.unwrap_or(Value::None)
        },
    ),
    extra("stack_protocols", "STACK", Counts, "packets at the stack by protocol", |r| {
        stack(r).map_or(Value::None, |stack| counts(&stack.protocols))
    }),
    extra(
        "xdp_events",
        "XDPEVENTS",
        Counts,
        "errors and bulks of XDP programs, by the kernel's xdp tracepoints",
        |r| r.xdp.as_ref().map_or(Value::None, |xdp| counts(&xdp.events)),
    ),
    extra("xdp_programs", "OTHERS", Text, "XDP programs of others: name#id:mode", |r| {
        let others = r.xdp.iter().flat_map(|xdp| &xdp.others).map(ToString::to_string);
        let others: Vec<String> = others.collect();
        if others.is_empty() { Value::None } else { Value::Text(others.join(" ").into()) }
    }),
    extra(
        "xdp_obstacle",
        "WHYNOT",
        Text,
        "why packets before the stack aren't counted there, or not as requested",
        |r| r.xdp.as_ref().and_then(|xdp| xdp.obstacle.as_deref()).map_or(Value::None, text),
    ),
];

impl Row for IfaceRow {
    const VIEW: View = View::Ifaces;

    fn columns() -> &'static [Column<Self>] {
        &IFACES
    }

    fn weight(&self) -> [f64; 2] {
        [self.rx_rate + self.tx_rate, 0.0]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        a.interface.cmp(&b.interface)
    }

    fn identity(&self) -> impl Hash {
        &self.interface
    }

    fn is_last(&self) -> bool {
        false
    }
}

//! The columns of drops, and the order of their rows where none was asked for.

use std::cmp::Ordering;
use std::hash::Hash;

use super::lists::{extra, shown, text};
use super::{Column, Row, Unit, Value};
use crate::model::{DropRow, View};
use Unit::{Bytes, Count, Counts, Rate, Seconds, Text};

fn name(name: Option<&str>) -> Value<'_> {
    name.map_or(Value::None, text)
}

static DROPS: [Column<DropRow>; 11] = [
    shown(
        "reason",
        "REASON",
        Text,
        "the kernel's drop reason; in small letters what is told beside drops: retransmit, reset-sent, reset-received, listen-overflow",
        |r| name(r.reason.as_deref()),
    ),
    shown("location", "WHERE", Text, "the kernel's function that dropped", |r| {
        name(r.function.as_deref())
    }),
    shown(
        "proto",
        "PROTO",
        Text,
        "tcp, udp, icmp, …, else Ethernet's, else the socket's family",
        |r| name(r.proto.as_deref()),
    ),
    shown("count", "COUNT", Count, "packets since nettrace's start", |r| Value::Int(r.count)),
    shown("per_second", "RATE", Rate, "packets per second in the interval", |r| {
        Value::Real(r.rate)
    }),
    extra("dropped_bytes", "BYTES", Bytes, "their bytes from the IP header on", |r| {
        Value::Int(r.bytes)
    }),
    shown("last_flow", "LASTFLOW", Text, "source and destination of the last one", |r| {
        r.last_flow.map_or(Value::None, |flow| Value::Text(flow.to_string().into()))
    }),
    extra("last_age_s", "AGO", Seconds, "since the last one", |r| Value::Real(r.last_age_s)),
    extra("last_interface", "IFACE", Text, "the interface that the last one was on", |r| {
        name(r.last_interface.as_deref())
    }),
    extra(
        "last_netns",
        "NETNS",
        Text,
        "the last one's network namespace: its name, or [inode]",
        |r| name(r.last_netns.as_deref()),
    ),
    extra("places", "PLACES", Counts, "packets by the place in the function", |r| {
        Value::Counts(r.places.iter().map(|(at, n)| (format!("+{at:#x}").into(), *n)).collect())
    }),
];

impl Row for DropRow {
    const VIEW: View = View::Drops;

    fn columns() -> &'static [Column<Self>] {
        &DROPS
    }

    fn weight(&self) -> [f64; 2] {
        [self.rate, self.count as f64]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        (&a.reason, &a.function, &a.proto).cmp(&(&b.reason, &b.function, &b.proto))
    }

    fn identity(&self) -> impl Hash {
        (&self.reason, &self.function, &self.proto)
    }

    fn is_last(&self) -> bool {
        false
    }
}

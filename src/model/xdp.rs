//! An interface's packets before the stack: what programs did with them, and what the stack had of them.

use crate::sample::xdp::{EVENTS, PROTOCOLS, VERDICTS, XdpCounts};
use crate::sample::{XdpMode, XdpProgram, XdpRecord, XdpWanted};

use super::Span;

/// Columns of `ifaces` that are known where XDP is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct XdpRow {
    /// Where nettrace's program was to run.
    pub wanted: XdpWanted,
    /// Where it does, if it is attached.
    pub mode: Option<XdpMode>,
    /// Those of others.
    pub others: Vec<XdpProgram>,
    /// Why packets aren't counted, or not as wanted.
    pub obstacle: Option<String>,
    /// Before the stack; none if nothing sees them there.
    pub seen: Option<Seen>,
    /// At the stack; none if it isn't had.
    pub stack: Option<Arrived>,
    /// Packets that never reached the stack, of those seen before it or else received by the interface's own
    /// count, since the start.
    pub missing: Option<u64>,
    /// What the kernel tells of programs, by kind, since the start.
    pub events: Vec<(&'static str, u64)>,
}

/// Packets before the stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Packets/s.
    pub packet_rate: f64,
    /// Bytes/s.
    pub byte_rate: f64,
    /// Since the start.
    pub packets: u64,
    /// Since the start.
    pub bytes: u64,
    /// Packets by what was done with them and protocol, as `drop udp`, since the start.
    pub verdicts: Vec<(String, u64)>,
}

/// Packets at the stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// Packets/s.
    pub packet_rate: f64,
    /// Since the start.
    pub packets: u64,
    /// By protocol, since the start.
    pub protocols: Vec<(&'static str, u64)>,
}

/// The row's part of a record, by the counts of the first one and of the last, and by what the interface says
/// that it received since the start.
pub(super) fn row(
    first: &XdpCounts,
    last: &XdpCounts,
    now: &XdpRecord,
    received: u64,
    span: Span,
) -> XdpRow {
    let (all, grown) = (now.counts.since(first), now.counts.since(last));
    let in_pieces = if now.is_seen() { now.seen_in_pieces } else { now.counted_in_pieces };
    let of_protocols = |counts: &XdpCounts| arrived(counts, in_pieces);
    let sum = |counts: &XdpCounts| of_protocols(counts).iter().sum::<u64>();
    let before = if now.is_seen() { seen(&all).0 } else { received };
    XdpRow {
        wanted: now.wanted,
        mode: now.mode,
        others: now.others.clone(),
        obstacle: now.obstacle.clone(),
        seen: now.is_seen().then(|| Seen {
            packet_rate: span.rate(seen(&grown).0),
            byte_rate: span.rate(seen(&grown).1),
            packets: seen(&all).0,
            bytes: seen(&all).1,
            verdicts: verdicts(&all),
        }),
        stack: now.has_stack.then(|| Arrived {
            packet_rate: span.rate(sum(&grown)),
            packets: sum(&all),
            protocols: happened(&PROTOCOLS, &of_protocols(&all)),
        }),
        missing: now.has_stack.then(|| before.saturating_sub(sum(&all))),
        events: happened(&EVENTS, &all.events),
    }
}

/// Packets and bytes.
fn seen(counts: &XdpCounts) -> (u64, u64) {
    let all = counts.verdicts.as_flattened().iter();
    all.fold((0, 0), |(packets, bytes), count| (packets + count.packets, bytes + count.bytes))
}

fn verdicts(counts: &XdpCounts) -> Vec<(String, u64)> {
    let by_verdict = VERDICTS.iter().zip(&counts.verdicts);
    let all = by_verdict.flat_map(|(verdict, protocols)| {
        let by_protocol = PROTOCOLS.iter().zip(protocols);
        by_protocol.map(move |(protocol, count)| (format!("{verdict} {protocol}"), count.packets))
    });
    all.filter(|(_, packets)| *packets > 0).collect()
}

/// Packets by protocol, as they were counted before.
fn arrived(counts: &XdpCounts, in_pieces: bool) -> [u64; PROTOCOLS.len()] {
    counts.stack.map(|count| if in_pieces { count.pieces } else { count.segments })
}

fn happened(names: &[&'static str], counts: &[u64]) -> Vec<(&'static str, u64)> {
    let all = names.iter().copied().zip(counts.iter().copied());
    all.filter(|(_, count)| *count > 0).collect()
}

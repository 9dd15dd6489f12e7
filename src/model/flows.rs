//! `flows`: one row a flow, direction and interface, from what the kernel's side counted.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Span;
use super::packets::{Flow, ends, protocol};
use crate::filter::{Facts, Filter};
use crate::sample::{DropFlow, FlowDirection, FlowKey, FlowRecord};

/// What stands for the protocol of all that the table had no room for.
const OTHER: &str = "other";
/// TCP's flags, from the lowest bit on.
const TCP_FLAGS: [char; 8] = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];

/// A row of `flows`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowRow {
    /// Which packets.
    pub key: FlowKey,
    /// The interface's name.
    pub interface: Arc<str>,
    /// Their protocol; `other` for what the table had no room for.
    pub proto: Arc<str>,
    /// Where they came from and went to, if that is known.
    pub ends: Option<Flow>,
    /// Packets per second in the interval.
    pub packet_rate: f64,
    /// Bytes per second in the interval.
    pub byte_rate: f64,
    /// Since the start.
    pub packets: u64,
    /// Since the start, with the link layer's header.
    pub bytes: u64,
    /// TCP's flags seen, as letters; none if it isn't TCP.
    pub tcp_flags: Option<String>,
    /// Since the first packet, seconds.
    pub age_s: f64,
    /// It was idle for long; this is its last row.
    pub ended: bool,
}

/// What each flow had at the last reading: packets and bytes.
#[derive(Debug, Default)]
pub(super) struct FlowTable {
    before: FxHashMap<FlowKey, (u64, u64)>,
    protos: FxHashMap<(u16, u8), Arc<str>>,
}

impl FlowTable {
    /// The rows that the filter lets through.
    pub(super) fn advance(
        &mut self,
        records: &[FlowRecord],
        span: Span,
        filter: &Filter,
    ) -> Vec<FlowRow> {
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let before = if record.ended {
                self.before.remove(&record.key)
            } else {
                self.before.insert(record.key, (record.packets, record.bytes))
            };
            let row = self.row(record, before.unwrap_or_default(), span);
            if matches(&row, filter) {
                rows.push(row);
            }
        }
        rows
    }

    fn row(&mut self, record: &FlowRecord, before: (u64, u64), span: Span) -> FlowRow {
        let key = &record.key;
        let since = |now: u64, before: u64| span.rate(now.saturating_sub(before));
        let is_tcp = key.protocol == libc::IPPROTO_TCP as u8 && !key.is_other;
        FlowRow {
            key: *key,
            interface: Arc::clone(&record.interface),
            proto: self.proto(key),
            ends: ends(&DropFlow {
                source: key.source,
                destination: key.destination,
                source_port: key.source_port,
                destination_port: key.destination_port,
            }),
            packet_rate: since(record.packets, before.0),
            byte_rate: since(record.bytes, before.1),
            packets: record.packets,
            bytes: record.bytes,
            tcp_flags: is_tcp.then(|| letters(record.tcp_flags)),
            age_s: span.clock_ns.saturating_sub(record.first_ns) as f64 / 1e9,
            ended: record.ended,
        }
    }

    fn proto(&mut self, key: &FlowKey) -> Arc<str> {
        if key.is_other {
            return OTHER.into();
        }
        let of_key = (key.ethertype, key.protocol);
        let name = || protocol((key.ethertype, key.protocol, 0)).unwrap_or_else(|| "0x0000".into());
        Arc::clone(self.protos.entry(of_key).or_insert_with(|| name().into()))
    }
}

fn matches(row: &FlowRow, filter: &Filter) -> bool {
    filter.is_empty()
        || filter.matches(&Facts {
            proto: &row.proto,
            local: row.ends.map(|ends| ends.source),
            remote: row.ends.map(|ends| ends.destination),
            // What an expression looks for.
            state: &format!("{} {}", row.interface, row.direction()),
            ..Facts::of_cgroup(None, None)
        })
}

impl FlowRow {
    /// `in` or `out`.
    pub fn direction(&self) -> &'static str {
        match self.key.direction {
            FlowDirection::In => "in",
            FlowDirection::Out => "out",
        }
    }
}

fn letters(flags: u8) -> String {
    let seen = TCP_FLAGS.into_iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
    seen.map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: u8, last: u8) -> FlowKey {
        let v4 = |last| std::net::Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets();
        FlowKey {
            interface: 2,
            direction: FlowDirection::In,
            source: v4(last),
            destination: v4(1),
            source_port: 5000,
            destination_port: 80,
            ethertype: 0x0800,
            protocol,
            tunnel: 0,
            vlan: 0,
            inner_vlan: 0,
            icmp: 0,
            is_fragment: false,
            is_truncated: false,
            is_other: false,
        }
    }

    fn record(key: FlowKey, packets: u64) -> FlowRecord {
        FlowRecord {
            key,
            interface: "eth0".into(),
            packets,
            bytes: packets * 100,
            first_ns: 1_000_000_000,
            tcp_flags: 0x12,
            ended: false,
        }
    }

    fn span(seconds: u64) -> Span {
        Span { seconds: 2.0, clock_ns: seconds * 1_000_000_000 }
    }

    #[test]
    fn rates_are_of_the_interval_and_sums_of_the_run() {
        let mut table = FlowTable::default();
        let filter = Filter::default();
        table.advance(&[record(key(6, 9), 10)], span(2), &filter);
        let rows = table.advance(&[record(key(6, 9), 30)], span(4), &filter);
        let row = &rows[0];
        assert_eq!((row.packets, row.packet_rate, row.byte_rate), (30, 10.0, 1000.0));
        assert_eq!((row.age_s, row.tcp_flags.as_deref()), (3.0, Some("SA")));
        assert_eq!((&*row.proto, row.direction()), ("tcp", "in"));
    }

    #[test]
    fn a_flow_that_comes_back_begins_anew() {
        let mut table = FlowTable::default();
        let filter = Filter::default();
        table.advance(&[record(key(17, 9), 10)], span(2), &filter);
        let last = FlowRecord { ended: true, ..record(key(17, 9), 12) };
        let rows = table.advance(&[last], span(4), &filter);
        assert_eq!((rows[0].ended, rows[0].packets, rows[0].packet_rate), (true, 12, 1.0));
        let rows = table.advance(&[record(key(17, 9), 4)], span(6), &filter);
        assert_eq!((rows[0].packets, rows[0].packet_rate), (4, 2.0));
        assert_eq!(rows[0].tcp_flags, None);
    }

    #[test]
    fn what_had_no_room_and_what_is_no_ip_have_names() {
        let mut table = FlowTable::default();
        let other = FlowKey { is_other: true, source: [0; 16], destination: [0; 16], ..key(0, 0) };
        let arp = FlowKey { ethertype: 0x0806, protocol: 0, ..key(0, 2) };
        let strange = FlowKey { ethertype: 0x88b5, ..arp };
        let records = [other, arp, strange].map(|key| record(key, 1));
        let rows = table.advance(&records, span(2), &Filter::default());
        assert_eq!(
            rows.iter().map(|row| &*row.proto).collect::<Vec<_>>(),
            ["other", "arp", "0x88b5"]
        );
        assert_eq!(rows[0].ends, None);
    }

    #[test]
    fn filters_ask_for_ends_protocols_and_the_line() {
        let records = [record(key(6, 9), 1), record(key(17, 8), 1)];
        let count = |filter: &str| {
            let filter = Filter::parse(filter).unwrap();
            FlowTable::default().advance(&records, span(2), &filter).len()
        };
        for (filter, expected) in [
            ("", 2),
            ("src:10.0.0.9", 1),
            ("dst:10.0.0.9", 0),
            ("dport:80", 2),
            ("proto:udp", 1),
            ("/eth0 in/", 2),
            ("/10.0.0.8/", 1),
        ] {
            assert_eq!(count(filter), expected, "{filter}");
        }
    }
}

//! `ifaces`: one row an interface, from the kernel's own counters of bytes on the wire.

use std::collections::HashMap;

use super::Span;
use super::xdp::{self, XdpRow};
use crate::names;
use crate::sample::xdp::XdpCounts;
use crate::sample::{IfaceRecord, XdpRecord};

/// A row of `ifaces`.
#[derive(Clone, Debug, PartialEq)]
pub struct IfaceRow {
    /// Its name.
    pub interface: String,
    /// On the wire, bytes/s.
    pub rx_rate: f64,
    /// On the wire, bytes/s.
    pub tx_rate: f64,
    /// Packets/s.
    pub rx_packet_rate: f64,
    /// Packets/s.
    pub tx_packet_rate: f64,
    /// Bytes since the start.
    pub rx_bytes: u64,
    /// Bytes since the start.
    pub tx_bytes: u64,
    /// Packets since the start.
    pub rx_packets: u64,
    /// Packets since the start.
    pub tx_packets: u64,
    /// Receive and transmit errors since the start.
    pub errors: u64,
    /// Packets dropped or missed since the start.
    pub drops: u64,
    /// Programs and classifiers on it; none where there are none.
    pub hook: Option<String>,
    /// Packets before the stack, if they are watched.
    pub xdp: Option<XdpRow>,
}

/// First and last counters of each interface.
#[derive(Debug, Default)]
pub(super) struct IfaceTable(HashMap<u32, Counted>);

/// At one reading.
#[derive(Clone, Debug, Default)]
struct Reading {
    own: IfaceRecord,
    xdp: XdpCounts,
}

#[derive(Debug)]
struct Counted {
    first: Reading,
    last: Reading,
}

impl IfaceTable {
    pub(super) fn advance(
        &mut self,
        records: &[IfaceRecord],
        xdp: &[XdpRecord],
        span: Span,
    ) -> Vec<IfaceRow> {
        let mut before = std::mem::take(&mut self.0);
        let is_baseline = before.is_empty();
        let xdp: HashMap<u32, &XdpRecord> = xdp.iter().map(|it| (it.interface, it)).collect();
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let before_stack = xdp.get(&record.index);
            let counts = before_stack.map(|it| it.counts).unwrap_or_default();
            let now = Reading { own: record.clone(), xdp: counts };
            // One that came later has counted nothing but what came since.
            let unseen = || if is_baseline { now.clone() } else { Reading::default() };
            let counted = before
                .remove(&record.index)
                .unwrap_or_else(|| Counted { first: unseen(), last: unseen() });
            let Counted { first, last } = &counted;
            let mut row = row(&first.own, &last.own, record, span);
            let received = row.rx_packets;
            row.xdp = before_stack.map(|it| xdp::row(&first.xdp, &last.xdp, it, received, span));
            rows.push(row);
            self.0.insert(record.index, Counted { last: now, ..counted });
        }
        rows
    }
}

fn row(first: &IfaceRecord, last: &IfaceRecord, now: &IfaceRecord, span: Span) -> IfaceRow {
    // A driver that resets its counters must not make a rate of 2⁶⁴.
    let rate = |field: fn(&IfaceRecord) -> u64| span.rate(field(now).saturating_sub(field(last)));
    let since = |field: fn(&IfaceRecord) -> u64| field(now).saturating_sub(field(first));
    IfaceRow {
        interface: names::visible(now.name.as_bytes()),
        rx_rate: rate(|r| r.rx_bytes),
        tx_rate: rate(|r| r.tx_bytes),
        rx_packet_rate: rate(|r| r.rx_packets),
        tx_packet_rate: rate(|r| r.tx_packets),
        rx_bytes: since(|r| r.rx_bytes),
        tx_bytes: since(|r| r.tx_bytes),
        rx_packets: since(|r| r.rx_packets),
        tx_packets: since(|r| r.tx_packets),
        errors: since(|r| r.errors),
        drops: since(|r| r.drops),
        hook: (!now.hooks.is_empty()).then(|| now.hooks.join(" ")),
        xdp: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::model::sockets::tests::{Run, Tick};
    use crate::model::{Rows, View};
    use crate::probes::xdp::types::{packet_count, stack_count};
    use crate::sample::{XdpMode, XdpProgram, XdpWanted};

    fn iface(index: u32, name: &str, bytes: u64) -> IfaceRecord {
        IfaceRecord {
            index,
            name: name.to_owned(),
            rx_bytes: bytes,
            tx_bytes: 2 * bytes,
            rx_packets: bytes / 10,
            tx_packets: bytes / 5,
            errors: 1,
            drops: 2,
            hooks: Vec::new(),
        }
    }

    fn ifaces(run: &mut Run, records: &[IfaceRecord]) -> Vec<IfaceRow> {
        let tick = Tick { ifaces: records.to_vec(), ..Tick::default() };
        let Rows::Ifaces(rows) = run.frame(View::Ifaces, &tick).rows else { panic!("ifaces") };
        rows
    }

    #[test]
    fn counters_start_at_the_first_sample() {
        let mut run = Run::new();
        let rows = ifaces(&mut run, &[iface(2, "eth0", 1000)]);
        assert_eq!((rows[0].rx_bytes, rows[0].rx_rate, rows[0].errors), (0, 0.0, 0));
        ifaces(&mut run, &[iface(2, "eth0", 1500)]);
        let last = IfaceRecord { errors: 4, drops: 3, ..iface(2, "eth0", 1600) };
        assert_eq!(
            ifaces(&mut run, &[last]),
            [IfaceRow {
                interface: "eth0".to_owned(),
                rx_rate: 50.0,
                tx_rate: 100.0,
                rx_packet_rate: 5.0,
                tx_packet_rate: 10.0,
                rx_bytes: 600,
                tx_bytes: 1200,
                rx_packets: 60,
                tx_packets: 120,
                errors: 3,
                drops: 1,
                hook: None,
                xdp: None,
            }]
        );
    }

    #[test]
    fn an_interface_that_appears_later_counts_from_nothing() {
        let mut run = Run::new();
        ifaces(&mut run, &[iface(2, "eth0", 1000)]);
        let rows = ifaces(&mut run, &[iface(2, "eth0", 1000), iface(3, "veth1", 50)]);
        assert_eq!((rows[1].rx_bytes, rows[1].rx_rate, rows[1].errors), (50, 25.0, 1));
        let rows = ifaces(&mut run, &[iface(2, "eth0", 1000), iface(3, "veth1", 70)]);
        assert_eq!((rows[1].rx_bytes, rows[1].rx_rate, rows[1].errors), (70, 10.0, 1));
    }

    #[test]
    fn a_reset_of_counters_makes_no_rate() {
        let mut run = Run::new();
        ifaces(&mut run, &[iface(2, "eth0", 1000)]);
        ifaces(&mut run, &[iface(2, "eth0", 5000)]);
        let rows = ifaces(&mut run, &[iface(2, "eth0", 10)]);
        assert_eq!((rows[0].rx_rate, rows[0].tx_rate, rows[0].rx_packet_rate), (0.0, 0.0, 0.0));
        let rows = ifaces(&mut run, &[iface(2, "eth0", 30)]);
        assert_eq!((rows[0].rx_rate, rows[0].tx_rate), (10.0, 20.0));
    }

    #[test]
    fn an_interface_keeps_its_counts_under_another_name() {
        let mut run = Run::new();
        ifaces(&mut run, &[iface(2, "eth0", 1000)]);
        let rows = ifaces(&mut run, &[iface(2, "wan", 1010)]);
        assert_eq!((rows[0].interface.as_str(), rows[0].rx_bytes), ("wan", 10));
    }

    #[test]
    fn only_those_that_were_asked_for_are_shown() {
        let records = [iface(1, "lo", 1), iface(2, "eth0", 2), iface(3, "eth01", 3)];
        for (wanted, shown) in [
            (&["eth0"][..], &["eth0"][..]),
            (&["eth*"], &["eth0", "eth01"]),
            (&["lo", "*1"], &["lo", "eth01"]),
            (&[], &["lo", "eth0", "eth01"]),
            (&["any"], &["lo", "eth0", "eth01"]),
        ] {
            let rows = ifaces(&mut Run::with(Filter::default(), wanted), &records);
            let names: Vec<_> = rows.iter().map(|row| row.interface.as_str()).collect();
            assert_eq!(names, shown);
        }
    }

    fn xdp(change: impl FnOnce(&mut XdpCounts)) -> XdpRecord {
        let mut counts = XdpCounts::default();
        change(&mut counts);
        XdpRecord {
            interface: 2,
            wanted: XdpWanted::Auto,
            mode: Some(XdpMode::Native),
            others: Vec::new(),
            obstacle: None,
            has_stack: true,
            seen_in_pieces: false,
            counted_in_pieces: false,
            counts,
        }
    }

    fn with_xdp(run: &mut Run, record: XdpRecord) -> XdpRow {
        let (ifaces, xdp) = (vec![iface(2, "eth0", 0)], vec![record]);
        let tick = Tick { ifaces, xdp, ..Tick::default() };
        let Rows::Ifaces(rows) = run.frame(View::Ifaces, &tick).rows else { panic!("ifaces") };
        rows[0].xdp.clone().unwrap()
    }

    const UDP: usize = 1;
    const DROP: usize = 1;
    const PASS: usize = 2;

    #[test]
    fn what_the_stack_never_had_is_missing() {
        let mut run = Run::new();
        with_xdp(&mut run, xdp(|counts| counts.verdicts[DROP][UDP].packets = 1));
        let row = with_xdp(
            &mut run,
            xdp(|counts| {
                counts.verdicts[DROP][UDP] = packet_count { packets: 31, bytes: 3000 };
                counts.verdicts[PASS][0] = packet_count { packets: 10, bytes: 1000 };
                counts.stack[0] = stack_count { pieces: 3, segments: 8 };
                counts.events[0] = 4;
            }),
        );
        let seen = row.seen.as_ref().unwrap();
        assert_eq!((seen.packets, seen.bytes, seen.packet_rate), (40, 4000, 20.0));
        assert_eq!(seen.verdicts, [("drop udp".to_owned(), 30), ("pass tcp".to_owned(), 10)]);
        assert_eq!(row.stack.as_ref().unwrap().protocols, [("tcp", 8)]);
        assert_eq!((row.missing, row.events), (Some(32), vec![("aborted", 4)]));
    }

    #[test]
    fn behind_the_driver_merged_packets_are_one() {
        let counts = |counts: &mut XdpCounts| {
            counts.verdicts[PASS][0].packets = 3;
            counts.stack[0] = stack_count { pieces: 3, segments: 8 };
        };
        let mut run = Run::new();
        with_xdp(&mut run, xdp(|_| {}));
        let mode = Some(XdpMode::Skb);
        let record = XdpRecord { mode, seen_in_pieces: true, ..xdp(counts) };
        assert_eq!(with_xdp(&mut run, record).missing, Some(0));
    }

    #[test]
    fn where_nothing_sees_packets_before_the_stack_the_interface_counts_them() {
        let others = vec![XdpProgram { id: 12, name: Some("drop".into()), mode: XdpMode::Native }];
        let record = XdpRecord { mode: None, others: others.clone(), ..xdp(|_| {}) };
        let row = with_xdp(&mut Run::new(), record.clone());
        assert!(row.seen.is_some());
        assert_eq!(row.others, others);
        let refused = XdpRecord { obstacle: Some("no".to_owned()), ..record };
        let mut run = Run::new();
        with_xdp(&mut run, refused.clone());
        let mut after = refused;
        after.counts.stack[UDP].segments = 6;
        let tick =
            Tick { ifaces: vec![iface(2, "eth0", 100)], xdp: vec![after], ..Tick::default() };
        let Rows::Ifaces(rows) = run.frame(View::Ifaces, &tick).rows else { panic!("ifaces") };
        let row = rows[0].xdp.clone().unwrap();
        assert_eq!((rows[0].rx_packets, row.seen, row.missing), (10, None, Some(4)));
    }

    #[test]
    fn hooks_are_joined_and_names_made_visible() {
        let hooks = ["xdp:native#12".to_owned(), "tcx:in×1".to_owned()].to_vec();
        let record = IfaceRecord { hooks, ..iface(2, "e\x1b[0m", 1) };
        let rows = ifaces(&mut Run::new(), &[record]);
        assert_eq!(rows[0].hook.as_deref(), Some("xdp:native#12 tcx:in×1"));
        assert_eq!(rows[0].interface, "e\\x1b[0m");
    }
}

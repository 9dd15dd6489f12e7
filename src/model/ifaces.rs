//! `ifaces`: one row an interface, from the kernel's own counters of bytes on the wire.

use std::collections::HashMap;

use super::Span;
use crate::names;
use crate::sample::IfaceRecord;

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
}

/// First and last counters of each interface.
#[derive(Debug, Default)]
pub(super) struct IfaceTable(HashMap<u32, (IfaceRecord, IfaceRecord)>);

impl IfaceTable {
    pub(super) fn advance(&mut self, records: &[IfaceRecord], span: Span) -> Vec<IfaceRow> {
        let before = std::mem::take(&mut self.0);
        let is_baseline = before.is_empty();
        let nothing = IfaceRecord::default();
        records
            .iter()
            .map(|record| {
                // One that came later has counted nothing but what came since.
                let unseen = if is_baseline { record } else { &nothing };
                let (first, last) =
                    before.get(&record.index).map_or((unseen, unseen), |(f, l)| (f, l));
                let row = row(first, last, record, span);
                self.0.insert(record.index, (first.clone(), record.clone()));
                row
            })
            .collect()
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::model::sockets::tests::{Run, Tick};
    use crate::model::{Rows, View};

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
    fn only_the_one_that_was_asked_for_is_shown() {
        let records = [iface(1, "lo", 1), iface(2, "eth0", 2), iface(3, "eth01", 3)];
        let mut run = Run::with(Filter::default(), Some("eth0"));
        let rows = ifaces(&mut run, &records);
        assert_eq!(rows.iter().map(|row| row.interface.as_str()).collect::<Vec<_>>(), ["eth0"]);
        assert_eq!(ifaces(&mut Run::new(), &records).len(), 3);
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

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

//! `procs`: one row a process that has or had sockets, until it was shown once after its end.

use std::sync::Arc;

use super::Span;
use super::processes::{Process, ProcessEntry};

/// A row of `procs`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcRow {
    /// Who it is.
    pub process: Arc<Process>,
    /// Payload received, bytes/s.
    pub rx_rate: f64,
    /// Payload sent, bytes/s.
    pub tx_rate: f64,
    /// Payload received since the start, bytes.
    pub rx_bytes: u64,
    /// Payload sent since the start, bytes.
    pub tx_bytes: u64,
    /// Received over unix sockets since the start, bytes.
    pub unix_rx_bytes: u64,
    /// Sent over unix sockets since the start, bytes.
    pub unix_tx_bytes: u64,
    /// Sockets open now that have a peer or moved bytes.
    pub connections: u64,
    /// Retransmitted TCP segments since the start.
    pub retransmits: u64,
    /// Dropped on its sockets since the start.
    pub drops: u64,
    /// The process is dead; this is its last row.
    pub ended: bool,
}

pub(super) fn rows<'a>(
    processes: impl Iterator<Item = &'a ProcessEntry>,
    span: Span,
) -> Vec<ProcRow> {
    processes
        .filter(|entry| entry.shown)
        .map(|entry| ProcRow {
            process: Arc::clone(&entry.process),
            rx_rate: span.rate_of(entry.delta.rx),
            tx_rate: span.rate_of(entry.delta.tx),
            rx_bytes: entry.bytes.bytes().rx,
            tx_bytes: entry.bytes.bytes().tx,
            unix_rx_bytes: entry.unix_bytes.bytes().rx,
            unix_tx_bytes: entry.unix_bytes.bytes().tx,
            connections: entry.connections,
            retransmits: entry.retransmits,
            drops: entry.drops,
            ended: entry.ended,
        })
        .collect()
}

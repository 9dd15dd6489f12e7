//! `containers`: one row a container or systemd unit, over its processes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Span;
use super::sockets::{Bytes, ProcessEntry};
use crate::names::Container;

/// A row of `containers`.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerRow {
    /// Container or unit; none for what runs in neither.
    pub container: Option<Arc<Container>>,
    /// Payload received, bytes/s.
    pub rx_rate: f64,
    /// Payload sent, bytes/s.
    pub tx_rate: f64,
    /// Payload received since the start by processes that still live or ended in this interval.
    pub rx_bytes: u64,
    /// The same, sent.
    pub tx_bytes: u64,
    /// Sockets open now that have a peer or moved bytes.
    pub connections: u64,
    /// Dropped on its processes' sockets since the start.
    pub drops: u64,
}

#[derive(Default)]
struct Sum {
    delta: Bytes,
    bytes: Bytes,
    connections: u64,
    drops: u64,
}

pub(super) fn rows<'a>(
    processes: impl Iterator<Item = &'a ProcessEntry>,
    span: Span,
) -> Vec<ContainerRow> {
    let mut sums: HashMap<Option<&str>, (Option<Arc<Container>>, Sum)> = HashMap::new();
    for entry in processes.filter(|entry| entry.shown) {
        let container = &entry.process.container;
        let name = container.as_ref().map(|c| c.name.as_str());
        let (_, sum) = sums.entry(name).or_insert_with(|| (container.clone(), Sum::default()));
        sum.delta += entry.delta;
        sum.bytes += entry.bytes;
        sum.connections += entry.connections;
        sum.drops += entry.drops;
    }
    sums.into_values()
        .map(|(container, sum)| ContainerRow {
            container,
            rx_rate: span.rate(sum.delta.rx),
            tx_rate: span.rate(sum.delta.tx),
            rx_bytes: sum.bytes.rx,
            tx_bytes: sum.bytes.tx,
            connections: sum.connections,
            drops: sum.drops,
        })
        .collect()
}

//! `hosts`: one row a remote address, over all sockets that are connected to it.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Span;
use super::sockets::{Bytes, Socket, remote};
use crate::names::Names;

/// A row of `hosts`.
#[derive(Clone, Debug, PartialEq)]
pub struct HostRow {
    /// The address.
    pub remote: IpAddr,
    /// Its name by reverse DNS, where there is one.
    pub name: Option<Arc<str>>,
    /// Sockets connected to it now.
    pub connections: u64,
    /// Payload received, bytes/s.
    pub rx_rate: f64,
    /// Payload sent, bytes/s.
    pub tx_rate: f64,
    /// Mean of its TCP connections' smoothed round-trip times, µs.
    pub srtt_us: Option<u64>,
    /// Retransmitted segments of the connections of this interval, since the start.
    pub retransmits: u64,
    /// All of its connections closed; this is its last row.
    pub ended: bool,
}

impl HostRow {
    pub(super) fn rename(&mut self, names: &mut Names) {
        self.name = names.host(self.remote);
    }
}

#[derive(Debug, Default)]
struct Host {
    connections: u64,
    delta: Bytes,
    retransmits: u64,
    srtt_sum: u64,
    srtt_count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Hosts(FxHashMap<IpAddr, Host>);

impl Hosts {
    pub(super) fn add(&mut self, socket: &Socket<'_>) {
        let Some((address, _)) = remote(&socket.record.ends) else {
            return;
        };
        let host = self.0.entry(address).or_default();
        host.connections += u64::from(!socket.ended);
        host.delta += socket.delta;
        host.retransmits += socket.retransmits;
        if socket.record.srtt_us != 0 {
            host.srtt_sum += u64::from(socket.record.srtt_us >> 3);
            host.srtt_count += 1;
        }
    }

    pub(super) fn rows(self, names: &mut Names, span: Span) -> Vec<HostRow> {
        self.0
            .into_iter()
            .map(|(remote, host)| HostRow {
                remote,
                name: names.host(remote),
                connections: host.connections,
                rx_rate: span.rate(host.delta.rx),
                tx_rate: span.rate(host.delta.tx),
                srtt_us: host.srtt_sum.checked_div(host.srtt_count),
                retransmits: host.retransmits,
                ended: host.connections == 0,
            })
            .collect()
    }
}

//! `hosts`: one row a remote address, over all sockets that are connected to it.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Span;
use super::ends::remote;
use super::sockets::{Change, Socket};
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
    /// Whether the bytes of any of its connections are known.
    pub counted: bool,
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
    delta: Change,
    retransmits: u64,
    srtt_sum: u64,
    srtt_count: u64,
    counted: bool,
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
        host.counted |= socket.counted;
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
                rx_rate: span.rate_of(host.delta.rx),
                tx_rate: span.rate_of(host.delta.tx),
                srtt_us: host.srtt_sum.checked_div(host.srtt_count),
                retransmits: host.retransmits,
                counted: host.counted,
                ended: host.connections == 0,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::model::sockets::tests::{A, B, Run, Tick, listener, moved, open_udp, tcp, udp, v4};
    use crate::sample::SocketRecord;

    fn to(address: [u8; 4], record: SocketRecord) -> SocketRecord {
        let mut record = record;
        record.ends.remote = v4(address);
        record
    }

    #[test]
    fn sockets_of_all_processes_and_protocols_are_grouped_by_peer() {
        let others = SocketRecord { retransmits: 5, ..moved(tcp(2, B), 40, 8) };
        let mut run = Run::new();
        run.hosts(&Tick::default());
        let rows = run.hosts(&Tick::open(&[
            SocketRecord { retransmits: 2, ..moved(tcp(1, A), 10, 4) },
            others,
            udp(3, A),
            to([192, 0, 2, 9], moved(tcp(4, A), 6, 0)),
        ]));
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["192.0.2.1", "192.0.2.9"]);
        let row = &rows["192.0.2.1"];
        assert_eq!((row.connections, row.retransmits, row.ended), (3, 7, false));
        assert_eq!((row.rx_rate, row.tx_rate), (25.0, 6.0));
        assert_eq!((rows["192.0.2.9"].connections, rows["192.0.2.9"].rx_rate), (1, 3.0));
    }

    #[test]
    fn the_round_trip_is_the_mean_of_those_measured() {
        let rows = Run::new().hosts(&Tick::open(&[
            SocketRecord { srtt_us: 8 * 1000, ..tcp(1, A) },
            SocketRecord { srtt_us: 8 * 4001, ..tcp(2, A) },
            tcp(3, A),
            udp(4, A),
            to([192, 0, 2, 9], tcp(5, A)),
        ]));
        assert_eq!(rows["192.0.2.1"].srtt_us, Some(2500));
        assert_eq!(rows["192.0.2.9"].srtt_us, None);
    }

    #[test]
    fn a_host_ends_with_its_last_connection() {
        let mut run = Run::new();
        run.hosts(&Tick::open(&[tcp(1, A), tcp(2, A)]));
        let one = Tick { closed: vec![moved(tcp(1, A), 50, 0)], ..Tick::open(&[tcp(2, A)]) };
        let rows = run.hosts(&one);
        assert_eq!((rows["192.0.2.1"].connections, rows["192.0.2.1"].ended), (1, false));
        let rows = run.hosts(&Tick::closed(&[moved(tcp(2, A), 8, 0)]));
        assert_eq!((rows["192.0.2.1"].connections, rows["192.0.2.1"].ended), (0, true));
        assert_eq!(rows["192.0.2.1"].rx_rate, 4.0);
        assert!(run.hosts(&Tick::default()).is_empty());
    }

    #[test]
    fn a_host_of_which_nothing_is_counted_is_unknown() {
        let tick = Tick::open(&[tcp(1, A), to([192, 0, 2, 9], udp(2, A))]);
        let rows = Run::new().hosts(&Tick { uncounted: true, ..tick });
        assert!(rows["192.0.2.1"].counted);
        assert!(!rows["192.0.2.9"].counted);
    }

    #[test]
    fn a_socket_that_is_read_twice_counts_once() {
        let twice = [moved(tcp(1, A), 10, 4), moved(tcp(1, A), 10, 4)];
        let mut run = Run::new();
        run.hosts(&Tick::default());
        let rows = run.hosts(&Tick::open(&twice));
        assert_eq!((rows["192.0.2.1"].connections, rows["192.0.2.1"].rx_rate), (1, 5.0));
    }

    #[test]
    fn what_has_no_peer_is_no_host() {
        assert!(Run::new().hosts(&Tick::open(&[listener(1, A), open_udp(2, A)])).is_empty());
    }

    #[test]
    fn a_filter_hides_hosts() {
        let tick = Tick::open(&[tcp(1, A), to([192, 0, 2, 9], tcp(2, A))]);
        let rows = Run::filtered("!host:192.0.2.1").hosts(&tick);
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["192.0.2.9"]);
    }
}

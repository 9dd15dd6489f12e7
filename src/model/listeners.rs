//! `listeners`: one row a socket that waits for connections, or for datagrams from anybody.

use std::net::IpAddr;
use std::sync::Arc;

use super::ends::{is_tcp, local};
use super::processes::Process;
use super::sockets::Socket;
use crate::names::NetnsNames;

/// A row of `listeners`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerRow {
    /// `tcp`, `udp`, …
    pub proto: &'static str,
    /// Own address and port.
    pub local: Option<(IpAddr, u16)>,
    /// Who used it last.
    pub process: Arc<Process>,
    /// The network namespace's name, or its inode in brackets.
    pub netns: Arc<str>,
    /// Connections that may wait for accept(), `sk_max_ack_backlog`; TCP only.
    pub backlog: Option<u32>,
    /// Connections that wait now, `sk_ack_backlog`; TCP only.
    pub queued: Option<u32>,
    /// Connections, or datagrams, refused for want of room since its birth, `sk_drops`.
    pub overflows: u64,
    /// It closed; this is its last row.
    pub ended: bool,
}

pub(super) fn row(socket: &Socket<'_>, netns: &mut NetnsNames) -> Option<ListenerRow> {
    if !socket.is_listener() {
        return None;
    }
    let record = socket.record;
    let is_tcp = is_tcp(&record.ends);
    Some(ListenerRow {
        proto: socket.proto(),
        local: local(&record.ends),
        process: Arc::clone(&socket.process),
        netns: netns.get(record.ends.netns),
        backlog: is_tcp.then_some(record.queue_max),
        queued: is_tcp.then_some(record.receive_queue),
        overflows: record.drops.into(),
        ended: socket.ended,
    })
}

#[cfg(test)]
mod tests {
    use crate::model::sockets::tests::{
        A, B, Run, Tick, calls, flagged, listener, open_udp, tcp, udp,
    };
    use crate::sample::{SocketRecord, tag};

    #[test]
    fn overflows_count_since_the_birth() {
        let old = SocketRecord { drops: 10, ..flagged(listener(1, A), tag::SEEDED) };
        let mut run = Run::new();
        assert_eq!(run.listeners(&Tick::open(&[old]))[0].overflows, 10);
        let new = SocketRecord { drops: 3, ..listener(2, B) };
        let rows = run.listeners(&Tick::open(&[SocketRecord { drops: 14, ..old }, new]));
        assert_eq!(rows.iter().map(|row| row.overflows).collect::<Vec<_>>(), [14, 3]);
        // They add up; they aren't those of the interval.
        let rows = run.listeners(&Tick::open(&[SocketRecord { drops: 15, ..old }, new]));
        assert_eq!(rows.iter().map(|row| row.overflows).collect::<Vec<_>>(), [15, 3]);
    }

    #[test]
    fn only_tcp_has_a_backlog() {
        let tcp = SocketRecord { queue_max: 128, receive_queue: 2, ..listener(1, A) };
        let rows = Run::new().listeners(&Tick::open(&[tcp, open_udp(2, A)]));
        assert_eq!((rows[0].proto, rows[0].backlog, rows[0].queued), ("tcp", Some(128), Some(2)));
        assert_eq!((rows[1].proto, rows[1].backlog, rows[1].queued), ("udp", None, None));
        assert_eq!(rows[0].local.map(|(_, port)| port), Some(80));
    }

    #[test]
    fn what_has_a_peer_or_no_port_does_not_listen() {
        let mut unbound = open_udp(3, A);
        unbound.ends.local_port = 0;
        assert!(Run::new().listeners(&Tick::open(&[tcp(1, A), udp(2, A), unbound])).is_empty());
    }

    #[test]
    fn a_listener_belongs_to_who_used_it_last_and_ends_once() {
        let socket = SocketRecord { last_tgid: B, ..flagged(open_udp(1, A), tag::USED) };
        let mut run = Run::new();
        let rows = run.listeners(&Tick::open(&[socket]).calls(&[calls(&socket, B, 1, 0)]));
        assert_eq!((rows[0].process.pid, rows[0].ended), (B, false));
        run.listeners(&Tick::open(&[listener(2, A)]));
        let rows = run.listeners(&Tick::closed(&[listener(2, A)]));
        assert_eq!((rows.len(), rows[0].process.pid, rows[0].ended), (1, A, true));
        assert!(run.listeners(&Tick::default()).is_empty());
    }
}

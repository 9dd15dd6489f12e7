//! `listeners`: one row a socket that waits for connections, or for datagrams from anybody.

use std::net::IpAddr;
use std::sync::Arc;

use super::sockets::{Process, Socket, is_tcp, local};
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
    /// Connections, or datagrams, refused for want of room since the start, `sk_drops`.
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
        overflows: socket.drops,
        ended: socket.ended,
    })
}

//! What a socket's addresses, protocol and state say: pure decoding of the kernel's numbers.

use std::net::{IpAddr, Ipv6Addr};

use crate::sample::{ESTABLISHED, Endpoints, SocketRecord, TCP_STATES};

pub(super) const IPPROTO_TCP: u16 = 6;
pub(super) const IPPROTO_UDP: u16 = 17;
const IPPROTO_UDPLITE: u16 = 136;
pub(super) const AF_UNIX: u16 = 1;

pub(super) fn is_unix(ends: &Endpoints) -> bool {
    ends.family == AF_UNIX
}

pub(super) fn is_tcp(ends: &Endpoints) -> bool {
    ends.protocol == IPPROTO_TCP && !is_unix(ends)
}

pub(super) fn is_udp(ends: &Endpoints) -> bool {
    (ends.protocol == IPPROTO_UDP || ends.protocol == IPPROTO_UDPLITE) && !is_unix(ends)
}

pub(super) fn proto(ends: &Endpoints) -> &'static str {
    if is_unix(ends) {
        return "unix";
    }
    match ends.protocol {
        1 => "icmp",
        IPPROTO_TCP => "tcp",
        IPPROTO_UDP => "udp",
        33 => "dccp",
        58 => "icmp6",
        132 => "sctp",
        IPPROTO_UDPLITE => "udplite",
        262 => "mptcp",
        _ => "raw",
    }
}

/// As `ss` writes them; other protocols than TCP know connected and not.
pub(super) fn state(record: &SocketRecord) -> &'static str {
    let state = if is_tcp(&record.ends) || record.state == ESTABLISHED { record.state } else { 7 };
    TCP_STATES.get(state as usize).copied().unwrap_or(TCP_STATES[0])
}

/// An address and port, v4-mapped as v4. Protocols without ports have port 0; a wildcard of a v6
/// socket stays `::`.
fn end(ends: &Endpoints, address: [u8; 16], port: u16) -> Option<(IpAddr, u16)> {
    // A raw socket's “port” is its protocol.
    let has_ports =
        is_tcp(ends) || is_udp(ends) || matches!(proto(ends), "sctp" | "dccp" | "mptcp");
    let address = Ipv6Addr::from(address).to_canonical();
    (!is_unix(ends)).then_some((address, if has_ports { port } else { 0 }))
}

/// The socket's own address.
pub(super) fn local(ends: &Endpoints) -> Option<(IpAddr, u16)> {
    end(ends, ends.local, ends.local_port)
}

/// The peer's, if it has one.
pub(super) fn remote(ends: &Endpoints) -> Option<(IpAddr, u16)> {
    let nobody = |address: IpAddr| address.is_unspecified();
    end(ends, ends.remote, ends.remote_port)
        .filter(|(address, port)| !nobody(*address) || *port != 0)
}

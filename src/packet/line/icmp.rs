//! ICMP and ICMPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::IpNumber;

use super::put;
use crate::packet::decode::Ip;

/// Type, code, and the four bytes behind the checksum.
fn head(bytes: &[u8]) -> Option<(u8, u8, [u8; 4])> {
    let &[kind, code, _, _, a, b, c, d] = bytes.first_chunk()?;
    Some((kind, code, [a, b, c, d]))
}

/// The packet that an error is about.
fn about(bytes: &[u8]) -> Option<Ip<'_>> {
    Ip::of(bytes.get(8..)?)
}

fn pairs([a, b, c, d]: [u8; 4]) -> (u16, u16) {
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// `10.0.0.1 udp port 53`.
fn port_of(ip: &Ip<'_>) -> String {
    let name = match IpNumber(ip.protocol) {
        IpNumber::TCP => "tcp",
        IpNumber::UDP => "udp",
        _ => return format!("{} protocol {} port", ip.destination, ip.protocol),
    };
    let port = ip.ports().map_or(0, |(_, port)| port);
    format!("{} {name} port {port}", ip.destination)
}

pub(super) fn write_v4(out: &mut String, ip: &Ip<'_>) {
    let Some((kind, code, rest)) = head(ip.payload) else {
        return out.push_str("[|icmp]");
    };
    let (id, seq) = pairs(rest);
    let inner = about(ip.payload);
    let destination = inner.map_or_else(String::new, |ip| ip.destination.to_string());
    let words = match (kind, code) {
        (0, _) => format!("echo reply, id {id}, seq {seq}"),
        (8, _) => format!("echo request, id {id}, seq {seq}"),
        (3, 0) => format!("net {destination} unreachable"),
        (3, 1) => format!("host {destination} unreachable"),
        (3, 2) => {
            let protocol = inner.map_or(0, |ip| ip.protocol);
            format!("{destination} protocol {protocol} unreachable")
        }
        (3, 3) => format!("{} unreachable", inner.as_ref().map_or_else(String::new, port_of)),
        (3, 4) => format!("{destination} unreachable - need to frag (mtu {seq})"),
        (3, 9) => format!("net {destination} unreachable - admin prohibited"),
        (3, 10) => format!("host {destination} unreachable - admin prohibited"),
        (3, 13) => format!("host {destination} unreachable - admin prohibited filter"),
        (3, code) => format!("{destination} unreachable - #{code}"),
        (4, _) => "source quench".to_owned(),
        (5, 0) => format!("redirect {destination} to net {}", Ipv4Addr::from(rest)),
        (5, _) => format!("redirect {destination} to host {}", Ipv4Addr::from(rest)),
        (11, 0) => "time exceeded in-transit".to_owned(),
        (11, _) => "ip reassembly time exceeded".to_owned(),
        (12, _) => format!("parameter problem - octet {}", rest[0]),
        (13, _) => format!("time stamp query id {id} seq {seq}"),
        (14, _) => format!("time stamp reply id {id} seq {seq}"),
        (kind, _) => format!("type-#{kind}"),
    };
    put(out, format_args!("ICMP {words}, length {}", ip.length));
}

pub(super) fn write_v6(out: &mut String, ip: &Ip<'_>) {
    let Some((kind, code, rest)) = head(ip.payload) else {
        return out.push_str("[|icmp6]");
    };
    let (id, seq) = pairs(rest);
    let inner = about(ip.payload);
    let destination = inner.map_or_else(String::new, |ip| ip.destination.to_string());
    let target = || {
        let address = ip.payload.get(8..24).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        address.map_or_else(|| "[|icmp6]".to_owned(), |bytes| Ipv6Addr::from(bytes).to_string())
    };
    let words = match (kind, code) {
        (1, 0) => format!("destination unreachable, unreachable route {destination}"),
        (1, 1) => format!("destination unreachable, unreachable prohibited {destination}"),
        (1, 2) => format!("destination unreachable, beyond scope {destination}"),
        (1, 3) => format!("destination unreachable, unreachable address {destination}"),
        (1, 4) => {
            let port = inner.as_ref().map_or_else(String::new, port_of);
            format!("destination unreachable, unreachable port, {port}")
        }
        (1, code) => format!("destination unreachable, unknown code ({code})"),
        (2, _) => format!("packet too big, mtu {}", u32::from_be_bytes(rest)),
        (3, 0) => format!("time exceeded in-transit for {destination}"),
        (3, _) => "ip reassembly time exceeded".to_owned(),
        (4, _) => format!("parameter problem, octet {}", u32::from_be_bytes(rest)),
        (128, _) => format!("echo request, id {id}, seq {seq}"),
        (129, _) => format!("echo reply, id {id}, seq {seq}"),
        (130, _) => "multicast listener query".to_owned(),
        (131, _) => format!("multicast listener report {}", target()),
        (132, _) => format!("multicast listener done {}", target()),
        (133, _) => "router solicitation".to_owned(),
        (134, _) => "router advertisement".to_owned(),
        (135, _) => format!("neighbor solicitation, who has {}", target()),
        (136, _) => format!("neighbor advertisement, tgt is {}", target()),
        (137, _) => format!("redirect, to {}", target()),
        (143, _) => format!("multicast listener report v2, {seq} group record(s)"),
        (kind, code) => format!("unknown ({kind}), code {code}"),
    };
    put(out, format_args!("ICMP6, {words}, length {}", ip.length));
}

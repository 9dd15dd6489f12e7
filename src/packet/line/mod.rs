//! A packet in one line, as tcpdump writes it with `-n`.

mod icmp;
mod tcp;

use std::fmt::Write;
use std::net::IpAddr;

use etherparse::{ArpPacketSlice, IpNumber, UdpSlice};

use super::decode::{Decoded, Ip, Network};
use tcp::Conversations;

/// Packets in packets in packets … have an end.
const MAX_DEPTH: u32 = 4;
const VXLAN_PORT: u16 = 4789;
const IP: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
/// Below it the type of an Ethernet frame is a length.
const FIRST_TYPE: u16 = 0x600;

/// Writes lines. It remembers where TCP's sequence numbers began.
#[derive(Debug, Default)]
pub struct Lines {
    conversations: Conversations,
}

impl Lines {
    /// Writes what a packet is, without an end of line; `length` is its length on the wire.
    pub fn write(&mut self, out: &mut String, packet: &Decoded<'_>, length: u32) {
        for vlan in &packet.vlans {
            put(out, format_args!("vlan {vlan}, "));
        }
        match &packet.network {
            Network::Ip(ip) => self.ip(out, ip, 0),
            Network::Arp(bytes) => arp(out, bytes),
            Network::Truncated => out.push_str(match packet.ether_type {
                IP => "[|ip]",
                IPV6 => "[|ip6]",
                ARP => "[|arp]",
                _ => "[|ether]",
            }),
            Network::Other(_) if packet.ether_type < FIRST_TYPE => {
                put(out, format_args!("802.3, length {length}"));
            }
            Network::Other(_) => other(out, packet, length),
        }
    }

    fn ip(&mut self, out: &mut String, ip: &Ip<'_>, depth: u32) {
        out.push_str(if ip.source.is_ipv4() { "IP " } else { "IP6 " });
        if ip.fragment.is_some_and(|fragment| fragment.offset > 0) {
            return later_fragment(out, ip);
        }
        match ip.ports() {
            Some((from, to)) => {
                put(out, format_args!("{}.{from} > {}.{to}: ", ip.source, ip.destination));
            }
            None => put(out, format_args!("{} > {}: ", ip.source, ip.destination)),
        }
        match IpNumber(ip.protocol) {
            IpNumber::TCP => self.conversations.write(out, ip),
            IpNumber::UDP => self.udp(out, ip, depth),
            IpNumber::ICMP => icmp::write_v4(out, ip),
            IpNumber::IPV6_ICMP => icmp::write_v6(out, ip),
            IpNumber::IPV4 | IpNumber::IPV6 => self.inner(out, ip.payload, depth),
            IpNumber::GRE => self.gre(out, ip, depth),
            IpNumber::SCTP => put(out, format_args!("sctp, length {}", ip.length)),
            IpNumber::ENCAPSULATING_SECURITY_PAYLOAD => esp(out, ip),
            IpNumber::IGMP => igmp(out, ip),
            IpNumber(number) => put(out, format_args!("ip-proto-{number} {}", ip.length)),
        }
    }

    fn inner(&mut self, out: &mut String, bytes: &[u8], depth: u32) {
        match Ip::of(bytes) {
            Some(ip) if depth < MAX_DEPTH => self.ip(out, &ip, depth + 1),
            _ => out.push_str("[|ip]"),
        }
    }

    fn udp(&mut self, out: &mut String, ip: &Ip<'_>, depth: u32) {
        const HEADER: usize = 8;

        let Ok(udp) = UdpSlice::from_slice_lax(ip.payload) else {
            return out.push_str("[|udp]");
        };
        let told = usize::from(udp.length());
        let length = if told == 0 { ip.length } else { told }.saturating_sub(HEADER);
        if udp.destination_port() == VXLAN_PORT
            && let Some((header, frame)) = udp.payload().split_at_checked(8)
        {
            let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
            put(out, format_args!("VXLAN, vni {vni}: "));
            return self.frame(out, frame, depth);
        }
        put(out, format_args!("UDP, length {length}"));
    }

    /// An Ethernet frame within a packet.
    fn frame(&mut self, out: &mut String, bytes: &[u8], depth: u32) {
        let frame = Decoded::of(super::filter::LinkType::Ethernet, bytes);
        match frame.ip() {
            Some(ip) if depth < MAX_DEPTH => self.ip(out, ip, depth + 1),
            _ => put(out, format_args!("ethertype 0x{:04x}", frame.ether_type)),
        }
    }

    fn gre(&mut self, out: &mut String, ip: &Ip<'_>, depth: u32) {
        const ETHERNET: u16 = 0x6558;
        /// Checksum, key and sequence number, four bytes each where they are.
        const OPTIONAL: [u16; 3] = [0x8000, 0x2000, 0x1000];

        let Some(&[a, b, c, d]) = ip.payload.first_chunk() else {
            return out.push_str("[|gre]");
        };
        let (flags, protocol) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let header = 4 + 4 * OPTIONAL.iter().filter(|bit| flags & **bit != 0).count();
        put(out, format_args!("GREv{}, length {}: ", flags & 7, ip.length));
        let rest = ip.payload.get(header..).unwrap_or_default();
        match protocol {
            ETHERNET => self.frame(out, rest, depth),
            IP | IPV6 => self.inner(out, rest, depth),
            it => put(out, format_args!("gre-proto-0x{it:x}")),
        }
    }
}

fn later_fragment(out: &mut String, ip: &Ip<'_>) {
    let name = match IpNumber(ip.protocol) {
        IpNumber::TCP => "tcp",
        IpNumber::UDP => "udp",
        IpNumber::ICMP => "icmp",
        IpNumber::IPV6_ICMP => "icmp6",
        IpNumber(number) => {
            let (from, to) = (ip.source, ip.destination);
            return put(out, format_args!("{from} > {to}: ip-proto-{number}"));
        }
    };
    put(out, format_args!("{} > {}: {name}", ip.source, ip.destination));
}

fn esp(out: &mut String, ip: &Ip<'_>) {
    let Some(&[a, b, c, d, e, f, g, h]) = ip.payload.first_chunk() else {
        return out.push_str("[|esp]");
    };
    let (spi, seq) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    put(out, format_args!("ESP(spi=0x{spi:08x},seq=0x{seq:x}), length {}", ip.length));
}

fn igmp(out: &mut String, ip: &Ip<'_>) {
    let Some(&[kind, _, _, _, a, b, c, d]) = ip.payload.first_chunk() else {
        return out.push_str("[|igmp]");
    };
    let group = IpAddr::from([a, b, c, d]);
    match kind {
        0x11 => out.push_str("igmp query"),
        0x12 => put(out, format_args!("igmp v1 report {group}")),
        0x16 => put(out, format_args!("igmp v2 report {group}")),
        0x17 => put(out, format_args!("igmp leave {group}")),
        0x22 => {
            let groups = u16::from_be_bytes([c, d]);
            put(out, format_args!("igmp v3 report, {groups} group record(s)"));
        }
        other => put(out, format_args!("igmp-0x{other:x}")),
    }
}

fn arp(out: &mut String, bytes: &[u8]) {
    let Ok(arp) = ArpPacketSlice::from_slice(bytes) else {
        return out.push_str("[|arp]");
    };
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let addresses = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
    let (Ok(sender), Ok(target)) = addresses else {
        return put(out, format_args!("ARP, hardware #{}", arp.hw_addr_type().0));
    };
    match arp.operation().0 {
        1 => {
            put(out, format_args!("ARP, Request who-has {target} "));
            if arp.target_hw_addr().iter().any(|byte| *byte != 0) {
                put(out, format_args!("({}) ", hardware(arp.target_hw_addr())));
            }
            put(out, format_args!("tell {sender}"));
        }
        2 => {
            let at = hardware(arp.sender_hw_addr());
            put(out, format_args!("ARP, Reply {sender} is-at {at}"));
        }
        other => put(out, format_args!("ARP, Unknown ({other}) {sender} to {target}")),
    }
    put(out, format_args!(", length {}", bytes.len()));
}

fn other(out: &mut String, packet: &Decoded<'_>, length: u32) {
    if let Some((source, destination)) = packet.hardware {
        put(out, format_args!("{} > {}, ", hardware(&source), hardware(&destination)));
    }
    put(out, format_args!("ethertype Unknown (0x{:04x}), length {length}", packet.ether_type));
}

fn hardware(address: &[u8]) -> String {
    address.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Writing into memory doesn't fail.
fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

#[cfg(test)]
mod tests;

//! What a packet's headers say, for rows of flows and of drops.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::sample::DropFlow;

/// Two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where it came from.
    pub source: (IpAddr, u16),
    /// Where it went to.
    pub destination: (IpAddr, u16),
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |(address, port): (IpAddr, u16)| match (address, port) {
            (address, 0) => address.to_string(),
            (IpAddr::V6(address), port) => format!("[{address}]:{port}"),
            (address, port) => format!("{address}:{port}"),
        };
        write!(f, "{} > {}", end(self.source), end(self.destination))
    }
}

/// Where it came from and went to, if it says so.
pub(super) fn ends(flow: &DropFlow) -> Option<Flow> {
    let address = |bytes: [u8; 16]| Ipv6Addr::from(bytes).to_canonical();
    let has_ends = flow.source != [0; 16] || flow.destination != [0; 16];
    has_ends.then(|| Flow {
        source: (address(flow.source), flow.source_port),
        destination: (address(flow.destination), flow.destination_port),
    })
}

/// By what IP calls it, else Ethernet, else the family of its socket.
pub(super) fn protocol((ethernet, transport, family): (u16, u8, u8)) -> Option<String> {
    const IP: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;

    let known = match (ethernet, transport) {
        (IP | IPV6, 6) => "tcp",
        (IP | IPV6, 17) => "udp",
        (IP | IPV6, 136) => "udplite",
        (IP | IPV6, 1) => "icmp",
        (IP | IPV6, 2) => "igmp",
        (IP | IPV6, 4) => "ipip",
        (IP | IPV6, 33) => "dccp",
        (IP | IPV6, 41) => "ip6ip",
        (IP | IPV6, 47) => "gre",
        (IP | IPV6, 50) => "esp",
        (IP | IPV6, 51) => "ah",
        (IP | IPV6, 58) => "icmp6",
        (IP | IPV6, 103) => "pim",
        (IP | IPV6, 112) => "vrrp",
        (IP | IPV6, 132) => "sctp",
        (IP, 0) => "ip",
        (IPV6, 0) => "ip6",
        (IP | IPV6, number) => return Some(format!("ip-{number}")),
        (0x0806, _) => "arp",
        (0x8100 | 0x88a8, _) => "vlan",
        (0x8863 | 0x8864, _) => "pppoe",
        (0x8847 | 0x8848, _) => "mpls",
        (0x88cc, _) => "lldp",
        (0, _) => match i32::from(family) {
            0 => return None,
            libc::AF_UNIX => "unix",
            libc::AF_NETLINK => "netlink",
            libc::AF_PACKET => "packet",
            libc::AF_VSOCK => "vsock",
            number => return Some(format!("family-{number}")),
        },
        // Below, the type of an Ethernet frame is a length, and the kernel's own numbers are of such frames.
        (..0x600, _) => "802.3",
        (number, _) => return Some(format!("{number:#06x}")),
    };
    Some(known.to_owned())
}

//! Packets' headers, by etherparse: what lines, objects and the search for owners are made from. A packet
//! may be cut off anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket, LinkSlice};

use crate::packet::filter::LinkType;

/// A packet as far as its network layer.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// Hardware addresses, the source's first.
    pub hardware: Option<([u8; 6], [u8; 6])>,
    /// VLAN ids, the outer one first.
    pub vlans: Vec<u16>,
    /// What Ethernet says that there is; 0 where there is no Ethernet.
    pub ether_type: u16,
    /// What it is.
    pub network: Network<'a>,
}

/// The network layer.
#[derive(Debug)]
pub enum Network<'a> {
    /// IPv4 or IPv6.
    Ip(Ip<'a>),
    /// ARP; the packet.
    Arp(&'a [u8]),
    /// Something else, with its bytes.
    Other(&'a [u8]),
    /// It ends before.
    Truncated,
}

/// An IP packet.
#[derive(Clone, Copy, Debug)]
pub struct Ip<'a> {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// What it carries, behind extension headers; IP's number.
    pub protocol: u8,
    /// Of that what there is.
    pub payload: &'a [u8],
    /// Its length on the wire, as the header has it.
    pub length: usize,
    /// Where in a datagram it belongs, if that is in fragments.
    pub fragment: Option<Fragment>,
}

/// A part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes before it.
    pub offset: u16,
    /// It isn't the last one.
    pub has_more: bool,
}

impl<'a> Ip<'a> {
    /// Source and destination port of TCP, UDP and SCTP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let has_ports = [IpNumber::TCP.0, IpNumber::UDP.0, IpNumber::SCTP.0];
        let is_first = self.fragment.is_none_or(|fragment| fragment.offset == 0);
        let [a, b, c, d] = *self.payload.first_chunk()?;
        let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        (is_first && has_ports.contains(&self.protocol)).then_some(ports)
    }

    /// Of a packet that begins with IP.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        LaxSlicedPacket::from_ip(bytes).ok()?.net.and_then(|net| ip(&net))
    }
}

impl<'a> Decoded<'a> {
    /// Reads a packet's headers.
    pub fn of(link: LinkType, bytes: &'a [u8]) -> Self {
        let packet = match link {
            LinkType::Ethernet => LaxSlicedPacket::from_ethernet(bytes).ok(),
            LinkType::Raw => LaxSlicedPacket::from_ip(bytes).ok(),
        };
        let Some(packet) = packet else {
            let network = Network::Truncated;
            return Decoded { hardware: None, vlans: Vec::new(), ether_type: 0, network };
        };
        let hardware = match &packet.link {
            Some(LinkSlice::Ethernet2(it)) => Some((it.source(), it.destination())),
            _ => None,
        };
        let payload = packet.ether_payload();
        let network = match packet.net.as_ref() {
            Some(LaxNetSlice::Arp(arp)) => Network::Arp(arp.slice()),
            Some(net) => ip(net).map_or(Network::Truncated, Network::Ip),
            None if packet.stop_err.is_some() => Network::Truncated,
            None => Network::Other(payload.as_ref().map_or(&[], |payload| payload.payload)),
        };
        Decoded {
            hardware,
            vlans: packet.vlan_ids().iter().map(|id| id.value()).collect(),
            ether_type: payload.map_or(0, |payload| payload.ether_type.0),
            network,
        }
    }

    /// The IP packet in it.
    pub fn ip(&self) -> Option<&Ip<'a>> {
        match &self.network {
            Network::Ip(ip) => Some(ip),
            _ => None,
        }
    }
}

fn ip<'a>(net: &LaxNetSlice<'a>) -> Option<Ip<'a>> {
    match net {
        LaxNetSlice::Ipv4(v4) => {
            let (header, payload) = (v4.header(), v4.payload());
            let headers =
                header.slice().len() + v4.extensions().auth.map_or(0, |a| a.slice().len());
            let fragment = Fragment {
                offset: header.fragments_offset().byte_offset(),
                has_more: header.more_fragments(),
            };
            Some(Ip {
                source: Ipv4Addr::from(header.source()).into(),
                destination: Ipv4Addr::from(header.destination()).into(),
                protocol: payload.ip_number.0,
                payload: payload.payload,
                length: length(usize::from(header.total_len()), headers, payload.payload),
                fragment: payload.fragmented.then_some(fragment),
            })
        }
        LaxNetSlice::Ipv6(v6) => {
            let (header, payload) = (v6.header(), v6.payload());
            let headers = v6.extensions().slice().len();
            let fragment =
                v6.extensions().clone().into_iter().find_map(|extension| match extension {
                    etherparse::Ipv6ExtensionSlice::Fragment(it) => Some(Fragment {
                        offset: it.fragment_offset().byte_offset(),
                        has_more: it.more_fragments(),
                    }),
                    _ => None,
                });
            Some(Ip {
                source: Ipv6Addr::from(header.source()).into(),
                destination: Ipv6Addr::from(header.destination()).into(),
                protocol: payload.ip_number.0,
                payload: payload.payload,
                length: length(usize::from(header.payload_length()), headers, payload.payload),
                fragment: fragment.filter(|_| payload.fragmented),
            })
        }
        LaxNetSlice::Arp(_) => None,
    }
}

/// What is behind the headers; none is told of what the card is to split.
fn length(told: usize, headers: usize, payload: &[u8]) -> usize {
    if told == 0 { payload.len() } else { told.saturating_sub(headers) }
}

//! Frames made by hand, with what is wrong in them, and sent as they are.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The two ends' addresses on the wire, which tests give them.
pub(crate) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SYN: u8 = 2;
pub(crate) const FIN: u8 = 1;

/// An IPv4 packet in an Ethernet frame; right until something is changed.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) mac: [u8; 6],
    pub(crate) ethertype: u16,
    pub(crate) version_and_length: u8,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    /// Added to what the header says of the packet's length.
    pub(crate) excess: u16,
    /// Added to the header's checksum.
    pub(crate) header_error: u16,
    /// Added to the checksum of what is in the packet.
    pub(crate) payload_error: u16,
    pub(crate) port: u16,
    pub(crate) tcp_flags: u8,
}

impl Frame {
    /// From one end of a pair to a port of the other.
    pub(crate) fn new(protocol: u8, [source, destination]: [&str; 2], port: u16) -> Self {
        Frame {
            mac: MAC_B,
            ethertype: 0x0800,
            version_and_length: 0x45,
            ttl: 64,
            protocol,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            excess: 0,
            header_error: 0,
            payload_error: 0,
            port,
            tcp_flags: SYN,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let payload = self.payload();
        let length = 20 + payload.len() as u16 + self.excess;
        let mut header = vec![self.version_and_length, 0];
        header.extend(length.to_be_bytes());
        header.extend([0, 1, 0, 0, self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        let sum = checksum(&header).wrapping_add(self.header_error);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&self.mac[..], &MAC_A, &self.ethertype.to_be_bytes(), &header, &payload].concat()
    }

    fn payload(&self) -> Vec<u8> {
        let ports = [4000u16.to_be_bytes(), self.port.to_be_bytes()].concat();
        let (mut payload, at) = match self.protocol {
            UDP => ([&ports[..], &12u16.to_be_bytes(), &[0, 0], b"test"].concat(), 6),
            TCP => {
                let rest = [0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, self.tcp_flags, 0xff, 0xff, 0, 0, 0, 0];
                ([&ports[..], &rest].concat(), 16)
            }
            _ => return ports,
        };
        let length = (payload.len() as u16).to_be_bytes();
        let pseudo =
            [&self.source.octets()[..], &self.destination.octets(), &[0, self.protocol], &length];
        let sum = checksum(&[&pseudo.concat()[..], &payload].concat());
        let sum = sum.wrapping_add(self.payload_error);
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        payload
    }

    /// Out of an interface of the namespace that the thread is in.
    pub(crate) fn send(&self, interface: &str) -> io::Result<()> {
        send(&self.bytes(), interface)
    }
}

/// Bytes as they are, out of an interface of the namespace that the thread is in.
pub(crate) fn send(bytes: &[u8], interface: &str) -> io::Result<()> {
    send_all(std::iter::once(bytes), interface)
}

/// The same of many frames by one socket, whose end takes longer than all of them.
pub(crate) fn send_all<'a>(
    frames: impl IntoIterator<Item = &'a [u8]>,
    interface: &str,
) -> io::Result<()> {
    let name = CString::new(interface)?;
    // SAFETY: a string with its end.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 || index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: plain integers, of which all zero is one.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as u32;
    for bytes in frames {
        // SAFETY: bytes and an address of their lengths.
        let sent = unsafe {
            let to = (&raw const to).cast();
            libc::sendto(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, to, length)
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The Internet's, of an even or odd number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What `nettrace drops` says of where it went.
pub(crate) fn is_to(drop: &serde_json::Value, address: &str, port: u16) -> bool {
    let to = drop["destination_address"].as_str().and_then(|to| to.parse::<IpAddr>().ok());
    let port = (port != 0).then_some(u64::from(port));
    to == address.parse().ok() && drop["destination_port"].as_u64() == port
}

//! Writes pcapng (draft-ietf-opsawg-pcapng): one section, in this machine's byte order, with times in ns.

use std::io::{self, Write};

use crate::packet::filter::LinkType;
use crate::sample::PacketDirection;

/// Types of blocks.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Codes of options, each of its block.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SECTION_OS: u16 = 3;
    pub(super) const SECTION_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const INTERFACE_RESOLUTION: u16 = 9;
    pub(super) const INTERFACE_FILTER: u16 = 11;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const STATISTICS_START: u16 = 2;
    pub(super) const STATISTICS_END: u16 = 3;
    pub(super) const STATISTICS_RECEIVED: u16 = 4;
    pub(super) const STATISTICS_ACCEPTED: u16 = 6;
    pub(super) const STATISTICS_LOST: u16 = 7;
    pub(super) const STATISTICS_DELIVERED: u16 = 8;
}

/// 10^-9 s.
const NANOSECONDS: u8 = 9;
/// An option's length has 16 bits.
const LONGEST_OPTION: usize = 0xffff;

/// LINKTYPE_ETHERNET and LINKTYPE_RAW, which aren't what libpcap calls them when it compiles.
fn link_number(link: LinkType) -> u16 {
    match link {
        LinkType::Ethernet => 1,
        LinkType::Raw => 101,
    }
}

/// What a file says of its packets as a whole.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The operating system.
    pub os: String,
    /// The program.
    pub application: String,
}

/// An interface, before its first packet.
#[derive(Clone, Debug)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// What packets begin with.
    pub link: LinkType,
    /// The most that is copied of a packet.
    pub snaplen: u32,
    /// The expression that packets had to match.
    pub filter: &'a str,
}

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// In the order of [`PcapngWriter::interface`]'s calls.
    pub interface: u32,
    /// Since 1970, ns.
    pub time_ns: u64,
    /// On the wire.
    pub length: u32,
    /// What was copied of it.
    pub bytes: &'a [u8],
    /// If it is known.
    pub direction: Option<PacketDirection>,
    /// Empty is none.
    pub comment: &'a str,
}

/// What an interface had, from the start to this file's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// As that of a packet.
    pub interface: u32,
    /// Since 1970, ns.
    pub start_ns: u64,
    /// The same.
    pub end_ns: u64,
    /// Packets.
    pub received: u64,
    /// Of them those that the filter took,
    pub accepted: u64,
    /// of these those that were lost,
    pub lost: u64,
    /// and those that were written.
    pub delivered: u64,
}

/// A file that grows. It writes block by block, so what it writes to should have a buffer.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    block: Vec<u8>,
    written: u64,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, section: &Section) -> io::Result<Self> {
        const BYTE_ORDER: u32 = 0x1a2b_3c4d;
        const VERSION: [u16; 2] = [1, 0];
        const LENGTH_UNKNOWN: u64 = u64::MAX;

        let mut writer = PcapngWriter { out, block: Vec::new(), written: 0 };
        writer.begin(SECTION);
        writer.u32(BYTE_ORDER);
        writer.u16(VERSION[0]);
        writer.u16(VERSION[1]);
        writer.u64(LENGTH_UNKNOWN);
        writer.text(option::SECTION_OS, &section.os);
        writer.text(option::SECTION_APPLICATION, &section.application);
        writer.end_options();
        writer.end()?;
        Ok(writer)
    }

    /// Says what the next interface is.
    ///
    /// # Errors
    /// Those of what it writes to.
    pub fn interface(&mut self, interface: &Interface<'_>) -> io::Result<()> {
        /// The kind of filter that is a text.
        const EXPRESSION: char = '\0';

        self.begin(INTERFACE);
        self.u16(link_number(interface.link));
        self.u16(0);
        self.u32(interface.snaplen);
        self.text(option::INTERFACE_NAME, interface.name);
        self.option(option::INTERFACE_RESOLUTION, &[NANOSECONDS]);
        if !interface.filter.is_empty() {
            self.text(option::INTERFACE_FILTER, &format!("{EXPRESSION}{}", interface.filter));
        }
        self.end_options();
        self.end()
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// Those of what it writes to.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        const FLAG_IN: u32 = 1;
        const FLAG_OUT: u32 = 2;

        self.begin(PACKET);
        self.u32(packet.interface);
        self.time(packet.time_ns);
        self.u32(packet.bytes.len() as u32);
        self.u32(packet.length);
        self.padded(packet.bytes);
        if let Some(direction) = packet.direction {
            let flags = if direction == PacketDirection::In { FLAG_IN } else { FLAG_OUT };
            self.option(option::PACKET_FLAGS, &flags.to_ne_bytes());
        }
        self.text(option::COMMENT, packet.comment);
        if packet.direction.is_some() || !packet.comment.is_empty() {
            self.end_options();
        }
        self.end()
    }

    /// Writes what an interface had.
    ///
    /// # Errors
    /// Those of what it writes to.
    pub fn statistics(&mut self, it: &Statistics) -> io::Result<()> {
        self.begin(STATISTICS);
        self.u32(it.interface);
        self.time(it.end_ns);
        for (code, time_ns) in
            [(option::STATISTICS_START, it.start_ns), (option::STATISTICS_END, it.end_ns)]
        {
            self.option(code, &halves(time_ns));
        }
        for (code, count) in [
            (option::STATISTICS_RECEIVED, it.received),
            (option::STATISTICS_ACCEPTED, it.accepted),
            (option::STATISTICS_LOST, it.lost),
            (option::STATISTICS_DELIVERED, it.delivered),
        ] {
            self.option(code, &count.to_ne_bytes());
        }
        self.end_options();
        self.end()
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Hands what is in buffers on.
    ///
    /// # Errors
    /// Those of what it writes to.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn begin(&mut self, block: u32) {
        self.block.clear();
        self.u32(block);
        // Its length, as soon as it is known.
        self.u32(0);
    }

    fn end(&mut self) -> io::Result<()> {
        let length = self.block.len() as u32 + 4;
        self.block[4..8].copy_from_slice(&length.to_ne_bytes());
        self.u32(length);
        self.written += u64::from(length);
        self.out.write_all(&self.block)
    }

    fn u16(&mut self, value: u16) {
        self.block.extend_from_slice(&value.to_ne_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.block.extend_from_slice(&value.to_ne_bytes());
    }

    fn time(&mut self, time_ns: u64) {
        self.block.extend_from_slice(&halves(time_ns));
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// None if it is empty.
    fn text(&mut self, code: u16, text: &str) {
        if !text.is_empty() {
            self.option(code, fitting(text).as_bytes());
        }
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(value.len() as u16);
        self.padded(value);
    }

    fn end_options(&mut self) {
        self.option(option::END, &[]);
    }
}

/// A time: its upper half comes first, whatever the byte order.
fn halves(time_ns: u64) -> [u8; 8] {
    let (high, low) = ((time_ns >> 32) as u32, time_ns as u32);
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&high.to_ne_bytes());
    bytes[4..].copy_from_slice(&low.to_ne_bytes());
    bytes
}

/// The longest beginning of whole characters that an option has room for.
fn fitting(text: &str) -> &str {
    let end = (0..=text.len().min(LONGEST_OPTION)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

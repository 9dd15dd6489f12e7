//! Reads pcap and pcapng, of nettrace and of others, packet by packet.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pcap_parser::pcapng::{Block, EnhancedPacketBlock, InterfaceDescriptionBlock};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Linktype, OptionCode, PcapBlockOwned, PcapError, PcapHeader, create_reader};

use super::filter::LinkType;
use crate::names::visible;
use crate::sample::PacketDirection;

/// The reader's buffer at first, and at most: a block has to fit.
const CAPACITY: usize = 1 << 20;
const MOST_CAPACITY: usize = 1 << 28;
/// Nanoseconds in a second.
const NS_PER_S: u64 = 1_000_000_000;
/// Of a file's first block, to know its kind by.
const MAGIC: usize = 4;
const PCAP_HEADER: usize = 24;
const SECTION: [u8; MAGIC] = [0x0a, 0x0d, 0x0d, 0x0a];

/// A packet of a file.
#[derive(Clone, Debug, Default)]
pub struct ReadPacket {
    /// Since 1970, ns.
    pub time_ns: u64,
    /// On the wire.
    pub length: u32,
    /// What was copied of it.
    pub bytes: Vec<u8>,
    /// It begins with IP, not Ethernet.
    pub is_raw: bool,
    /// Its interface's number in the file.
    pub index: u32,
    /// Its interface's name, if the file has it.
    pub interface: Option<Arc<str>>,
    /// If the file has it.
    pub direction: Option<PacketDirection>,
    /// The last one; none is empty.
    pub comment: String,
}

impl ReadPacket {
    /// What it begins with.
    pub fn link(&self) -> LinkType {
        if self.is_raw { LinkType::Raw } else { LinkType::Ethernet }
    }
}

/// How packets of an interface begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Ethernet,
    Ip,
    /// What libpcap makes of all interfaces at once, in its two versions.
    Cooked,
    Cooked2,
    Unknown(i32),
}

impl Link {
    fn of(number: Linktype) -> Self {
        match number {
            Linktype::ETHERNET => Link::Ethernet,
            Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12) => Link::Ip,
            Linktype::LINUX_SLL => Link::Cooked,
            Linktype(276) => Link::Cooked2,
            Linktype(number) => Link::Unknown(number),
        }
    }
}

#[derive(Clone, Debug)]
struct Interface {
    link: Link,
    name: Option<Arc<str>>,
    /// Units of its times in a second.
    resolution: u64,
    offset_s: i64,
}

/// A file that is read.
pub struct Reader {
    blocks: Box<dyn PcapReaderIterator + Send>,
    capacity: usize,
    interfaces: Vec<Interface>,
    packet: ReadPacket,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// Where it is neither pcap nor pcapng, or can't be read.
    pub fn new(mut input: impl Read + Send + 'static) -> Result<Self> {
        let header = header(&mut input).context("read the file's beginning")?;
        let whole = Cursor::new(header).chain(input);
        let blocks = create_reader(CAPACITY, whole).map_err(|error| match error {
            PcapError::ReadError => anyhow::anyhow!("it can't be read"),
            _ => anyhow::anyhow!("it is neither pcap nor pcapng"),
        })?;
        let packet = ReadPacket::default();
        Ok(Reader { blocks, capacity: CAPACITY, interfaces: Vec::new(), packet })
    }

    /// The next packet; none at the end.
    ///
    /// # Errors
    /// Where the file is broken, cut off, or has packets of a kind that isn't known.
    pub fn next_packet(&mut self) -> Result<Option<&ReadPacket>> {
        loop {
            let step = match self.blocks.next() {
                Ok((offset, block)) => {
                    let is_packet = take(&mut self.interfaces, &mut self.packet, block)?;
                    Step::Block(offset, is_packet)
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => Step::Refill,
                Err(PcapError::BufferTooSmall) => Step::Grow,
                Err(PcapError::UnexpectedEof) => bail!("the file ends in the middle of a packet"),
                Err(_) => bail!("the file is broken"),
            };
            match step {
                Step::Block(offset, is_packet) => {
                    self.blocks.consume(offset);
                    if is_packet {
                        return Ok(Some(&self.packet));
                    }
                }
                Step::Refill => self.refill()?,
                Step::Grow => {
                    self.capacity *= 2;
                    if self.capacity > MOST_CAPACITY || !self.blocks.grow(self.capacity) {
                        bail!("the file has a block of more than {MOST_CAPACITY} bytes");
                    }
                    self.refill()?;
                }
            }
        }
    }

    fn refill(&mut self) -> Result<()> {
        self.blocks.refill().map_err(|_| anyhow::anyhow!("the file can't be read"))
    }
}

enum Step {
    /// So many bytes; whether it was a packet.
    Block(usize, bool),
    Refill,
    Grow,
}

/// As much as has to be there at once: a pipe may hand over less.
fn header(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    let mut more = |length: usize, header: &mut Vec<u8>| {
        input.take(length as u64).read_to_end(header).map(drop)
    };
    more(MAGIC, &mut header)?;
    if header != SECTION {
        more(PCAP_HEADER - MAGIC, &mut header)?;
        return Ok(header);
    }
    // Its length, by which it isn't known yet in which byte order, and that.
    more(8, &mut header)?;
    if let Ok(words) = <[u8; 12]>::try_from(&header[..]) {
        let length = [words[4], words[5], words[6], words[7]];
        let is_little = words[8] == 0x4d;
        let length =
            if is_little { u32::from_le_bytes(length) } else { u32::from_be_bytes(length) };
        more((length as usize).clamp(12, CAPACITY) - 12, &mut header)?;
    }
    Ok(header)
}

/// Takes a block; true if it is a packet.
fn take(
    interfaces: &mut Vec<Interface>,
    packet: &mut ReadPacket,
    block: PcapBlockOwned<'_>,
) -> Result<bool> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => interfaces.push(legacy(&header)),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
        PcapBlockOwned::NG(Block::InterfaceDescription(it)) => interfaces.push(described(&it)),
        PcapBlockOwned::Legacy(it) => {
            let found = interfaces.first().context("a packet without a file's header")?;
            fill(packet, found, it.origlen, it.data)?;
            packet.index = 0;
            let fraction_ns = u64::from(it.ts_usec) * (NS_PER_S / found.resolution);
            packet.time_ns = u64::from(it.ts_sec) * NS_PER_S + fraction_ns;
            return Ok(true);
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(it)) => {
            let found = interfaces.get(it.if_id as usize).context("a packet without interface")?;
            fill(packet, found, it.origlen, it.packet_data())?;
            options(packet, &it);
            packet.index = it.if_id;
            let ticks = u64::from(it.ts_high) << 32 | u64::from(it.ts_low);
            packet.time_ns = time(ticks, found);
            return Ok(true);
        }
        PcapBlockOwned::NG(Block::SimplePacket(it)) => {
            let found = interfaces.first().context("a packet without interface")?;
            let copied = it.packet_data();
            let length = copied.len().min(it.origlen as usize);
            fill(packet, found, it.origlen, &copied[..length])?;
            packet.time_ns = 0;
            packet.index = 0;
            return Ok(true);
        }
        PcapBlockOwned::NG(_) => {}
    }
    Ok(false)
}

fn legacy(header: &PcapHeader) -> Interface {
    let resolution = if header.is_nanosecond_precision() { NS_PER_S } else { 1_000_000 };
    // The upper bits say other things.
    let link = Link::of(Linktype(header.network.0 & 0x0fff_ffff));
    Interface { link, name: None, resolution, offset_s: 0 }
}

fn described(it: &InterfaceDescriptionBlock<'_>) -> Interface {
    let name = it.if_name().and_then(Result::ok).map(|name| name.trim_end_matches('\0'));
    Interface {
        link: Link::of(it.linktype),
        name: name.map(|name| visible(name.as_bytes()).into()),
        resolution: it.ts_resolution().filter(|units| *units > 0).unwrap_or(1_000_000),
        offset_s: it.ts_offset(),
    }
}

fn time(ticks: u64, interface: &Interface) -> u64 {
    let ns = u128::from(ticks) * u128::from(NS_PER_S) / u128::from(interface.resolution);
    let ns = u64::try_from(ns).unwrap_or(u64::MAX);
    ns.saturating_add_signed(interface.offset_s.saturating_mul(NS_PER_S as i64))
}

/// What all kinds of packets have.
fn fill(packet: &mut ReadPacket, interface: &Interface, length: u32, copied: &[u8]) -> Result<()> {
    packet.bytes.clear();
    packet.interface.clone_from(&interface.name);
    packet.direction = None;
    packet.comment.clear();
    packet.length = length;
    packet.is_raw = false;
    match interface.link {
        Link::Ethernet => packet.bytes.extend_from_slice(copied),
        Link::Ip => {
            packet.is_raw = true;
            packet.bytes.extend_from_slice(copied);
        }
        Link::Cooked => uncook(packet, copied, &COOKED),
        Link::Cooked2 => uncook(packet, copied, &COOKED2),
        Link::Unknown(number) => bail!(
            "its packets begin with link type {number}; nettrace knows Ethernet, IP and tcpdump's -i any"
        ),
    }
    Ok(())
}

/// Where libpcap's header for all interfaces has its fields.
struct Cooked {
    protocol: usize,
    packet_type: usize,
    address: usize,
    length: usize,
}

const COOKED: Cooked = Cooked { protocol: 14, packet_type: 1, address: 6, length: 16 };
const COOKED2: Cooked = Cooked { protocol: 0, packet_type: 10, address: 12, length: 20 };

/// An Ethernet frame made of it.
fn uncook(packet: &mut ReadPacket, copied: &[u8], cooked: &Cooked) {
    const OUTGOING: u8 = 4;
    const ETHERNET: u32 = 14;

    let Some((header, rest)) = copied.split_at_checked(cooked.length) else { return };
    let direction = if header[cooked.packet_type] == OUTGOING {
        PacketDirection::Out
    } else {
        PacketDirection::In
    };
    packet.direction = Some(direction);
    packet.length = packet.length.saturating_sub(cooked.length as u32) + ETHERNET;
    packet.bytes.extend_from_slice(&[0; 6]);
    packet.bytes.extend_from_slice(&header[cooked.address..cooked.address + 6]);
    packet.bytes.extend_from_slice(&header[cooked.protocol..cooked.protocol + 2]);
    packet.bytes.extend_from_slice(rest);
}

fn options(packet: &mut ReadPacket, block: &EnhancedPacketBlock<'_>) {
    const FLAGS: OptionCode = OptionCode(2);

    for option in &block.options {
        match option.code {
            OptionCode::Comment => {
                packet.comment = visible(option.as_bytes().unwrap_or_default());
            }
            FLAGS => {
                if let Ok(flags) = <[u8; 4]>::try_from(option.as_bytes().unwrap_or_default()) {
                    let lowest = if block.big_endian() { flags[3] } else { flags[0] };
                    packet.direction = match lowest & 3 {
                        1 => Some(PacketDirection::In),
                        2 => Some(PacketDirection::Out),
                        _ => packet.direction,
                    };
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

#![allow(clippy::unwrap_used)]

use super::*;
use crate::packet::pcapng::{self, PcapngWriter, Section, Statistics};

/// All of a file's packets.
fn read(bytes: &[u8]) -> Result<Vec<ReadPacket>> {
    let mut reader = Reader::new(Cursor::new(bytes.to_vec()))?;
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet()? {
        packets.push(packet.clone());
    }
    Ok(packets)
}

fn words(result: Result<Vec<ReadPacket>>) -> String {
    format!("{:#}", result.unwrap_err())
}

fn section() -> Section {
    Section { os: "Linux".to_owned(), application: "nettrace".to_owned() }
}

fn written() -> Vec<u8> {
    let mut writer = PcapngWriter::new(Vec::new(), &section()).unwrap();
    for (name, link) in [("eth0", LinkType::Ethernet), ("wg0", LinkType::Raw)] {
        let interface = pcapng::Interface { name, link, snaplen: 96, filter: "udp" };
        writer.interface(&interface).unwrap();
    }
    let packet = pcapng::Packet {
        interface: 0,
        time_ns: 1_764_000_000_123_456_789,
        length: 1500,
        bytes: &[1; 33],
        direction: Some(PacketDirection::Out),
        comment: "process=curl[7] direction=out",
    };
    writer.packet(&packet).unwrap();
    let raw = pcapng::Packet {
        interface: 1,
        bytes: &[2; 300_000],
        direction: Some(PacketDirection::In),
        comment: "",
        ..packet
    };
    writer.packet(&raw).unwrap();
    writer.packet(&pcapng::Packet { direction: None, bytes: &[], ..raw }).unwrap();
    let statistics = Statistics { interface: 1, lost: 3, ..Statistics::default() };
    writer.statistics(&statistics).unwrap();
    let length = writer.written();
    let bytes = writer.into_inner();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

#[test]
fn what_is_written_is_read() {
    let packets = read(&written()).unwrap();
    assert_eq!(packets.len(), 3);
    let first = &packets[0];
    assert_eq!(first.time_ns, 1_764_000_000_123_456_789);
    assert_eq!((first.length, &first.bytes[..]), (1500, &[1; 33][..]));
    assert_eq!((first.interface.as_deref(), first.index), (Some("eth0"), 0));
    assert_eq!((first.direction, first.link()), (Some(PacketDirection::Out), LinkType::Ethernet));
    assert_eq!(first.comment, "process=curl[7] direction=out");
    let second = &packets[1];
    assert_eq!((second.bytes.len(), second.link()), (300_000, LinkType::Raw));
    assert_eq!((second.direction, second.comment.as_str()), (Some(PacketDirection::In), ""));
    assert_eq!((packets[2].direction, packets[2].bytes.len()), (None, 0));
}

/// Blocks say how long they are at both ends, and are whole words.
#[test]
fn blocks_are_as_the_format_has_them() {
    let bytes = written();
    let mut rest = &bytes[..];
    let mut kinds = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
        let length = word(4) as usize;
        assert_eq!((length % 4, word(length - 4)), (0, length as u32));
        kinds.push(word(0));
        rest = &rest[length..];
    }
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 1, 6, 6, 6, 5]);
}

fn pcap(magic: [u8; 4], is_big: bool, link: u32, packet: &[u8]) -> Vec<u8> {
    let word = |value: u32| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
    let version = if is_big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let header = [magic, version, word(0), word(0), word(65535), word(link)];
    let record = [word(100), word(7), word(packet.len() as u32), word(2000)];
    [&header.concat()[..], &record.concat(), packet].concat()
}

#[test]
fn pcap_of_both_byte_orders_and_precisions() {
    for (magic, is_big, time_ns) in [
        ([0xd4, 0xc3, 0xb2, 0xa1], false, 100_000_007_000),
        ([0xa1, 0xb2, 0xc3, 0xd4], true, 100_000_007_000),
        ([0x4d, 0x3c, 0xb2, 0xa1], false, 100_000_000_007),
        ([0xa1, 0xb2, 0x3c, 0x4d], true, 100_000_000_007),
    ] {
        let packets = read(&pcap(magic, is_big, 1, &[5; 60])).unwrap();
        assert_eq!(packets.len(), 1);
        assert_eq!((packets[0].time_ns, packets[0].length), (time_ns, 2000));
        assert_eq!(packets[0].bytes, [5; 60]);
    }
}

const LITTLE: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];

#[test]
fn a_cooked_packet_becomes_a_frame() {
    let ip = [0x45, 0, 0, 20];
    let second =
        [&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 4, 6][..], &[2, 0, 0, 0, 0, 1, 0, 0], &ip].concat();
    let packets = read(&pcap(LITTLE, false, 276, &second)).unwrap();
    assert_eq!(packets[0].bytes, [&[0; 6][..], &[2, 0, 0, 0, 0, 1, 8, 0], &ip].concat());
    assert_eq!((packets[0].direction, packets[0].length), (Some(PacketDirection::Out), 1994));
    let first = [&[0, 0, 0, 1, 0, 6][..], &[2, 0, 0, 0, 0, 1, 0, 0], &[8, 0], &ip].concat();
    let packets = read(&pcap(LITTLE, false, 113, &first)).unwrap();
    assert_eq!(packets[0].bytes, [&[0; 6][..], &[2, 0, 0, 0, 0, 1, 8, 0], &ip].concat());
    assert_eq!((packets[0].direction, packets[0].length), (Some(PacketDirection::In), 1998));
}

#[test]
fn what_is_no_such_file_says_so() {
    assert_eq!(words(read(b"")), "it is neither pcap nor pcapng");
    assert_eq!(words(read(b"hello, this is no file of packets")), "it is neither pcap nor pcapng");
    let whole = pcap(LITTLE, false, 1, &[5; 60]);
    assert_eq!(words(read(&whole[..80])), "the file ends in the middle of a packet");
    let all = written();
    assert_eq!(words(read(&all[..all.len() - 200])), "the file ends in the middle of a packet");
    assert!(words(read(&pcap(LITTLE, false, 105, &[5; 60]))).contains("link type 105"));
}

/// A pipe hands over what there is.
struct Drip(Cursor<Vec<u8>>);

impl Read for Drip {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(7);
        self.0.read(&mut to[..most])
    }
}

#[test]
fn a_slow_pipe_is_read_too() {
    let mut reader = Reader::new(Drip(Cursor::new(written()))).unwrap();
    let mut count = 0;
    while reader.next_packet().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
}

proptest::proptest! {
    #[test]
    fn noise_is_an_error_at_most(noise: Vec<u8>, at in 0usize..400) {
        let _ = read(&noise);
        let mut bytes = written();
        let end = (at + noise.len()).min(bytes.len());
        let at = at.min(end);
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        let _ = read(&bytes);
    }
}

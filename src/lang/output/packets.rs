//! Files of packets: libpcap's first format, with times in µs and packets that begin with IP.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};

const MAGIC: u32 = 0xa1b2_c3d4;
/// LINKTYPE_RAW.
const RAW: u32 = 101;
/// What a packet is cut to at most.
const SNAPLEN: u32 = 65_535;

/// Files by their paths; each is made at its first packet.
#[derive(Debug, Default)]
pub(super) struct Packets {
    files: HashMap<String, BufWriter<File>>,
}

impl Packets {
    /// A packet that passed so many ns after 1970.
    ///
    /// # Errors
    /// If it can't be written.
    pub(super) fn write(&mut self, path: &str, time_ns: u64, packet: &[u8]) -> io::Result<()> {
        if !self.files.contains_key(path) {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(&header())?;
            self.files.insert(path.to_owned(), file);
        }
        let Some(file) = self.files.get_mut(path) else { return Ok(()) };
        file.write_all(&record(time_ns, packet.len() as u32))?;
        file.write_all(packet)
    }

    /// # Errors
    /// If what is buffered can't be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.files.values_mut().try_for_each(BufWriter::flush)
    }
}

fn header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&MAGIC.to_ne_bytes());
    header[4..6].copy_from_slice(&2_u16.to_ne_bytes());
    header[6..8].copy_from_slice(&4_u16.to_ne_bytes());
    header[16..20].copy_from_slice(&SNAPLEN.to_ne_bytes());
    header[20..].copy_from_slice(&RAW.to_ne_bytes());
    header
}

fn record(time_ns: u64, length: u32) -> [u8; 16] {
    let words = [
        (time_ns / 1_000_000_000) as u32,
        (time_ns % 1_000_000_000 / 1_000) as u32,
        length,
        length,
    ];
    let mut record = [0; 16];
    for (place, word) in record.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::reader::Reader;

    #[test]
    fn files_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skb.pcap");
        let mut packets = Packets::default();
        for (time, packet) in [(1_700_000_000_000_001_000, &[0x45_u8, 0, 0, 20][..]), (2, &[1, 2])]
        {
            packets.write(path.to_str().unwrap(), time, packet).unwrap();
        }
        packets.flush().unwrap();
        let mut reader = Reader::new(File::open(&path).unwrap()).unwrap();
        let first = reader.next_packet().unwrap().unwrap();
        assert_eq!(
            (first.time_ns, &*first.bytes),
            (1_700_000_000_000_001_000, &[0x45, 0, 0, 20][..])
        );
        assert_eq!(reader.next_packet().unwrap().unwrap().bytes, [1, 2]);
        assert!(reader.next_packet().unwrap().is_none());
    }
}

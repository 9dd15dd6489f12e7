//! Captured packets.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::ProcessRecord;
use crate::packet::filter::LinkType;

/// As the interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketDirection {
    /// Received.
    In,
    /// Sent.
    Out,
}

impl PacketDirection {
    /// `in` or `out`.
    pub fn name(self) -> &'static str {
        match self {
            PacketDirection::In => "in",
            PacketDirection::Out => "out",
        }
    }
}

/// A captured packet; its bytes are the batch's.
#[derive(Clone, Debug)]
pub struct PacketRecord {
    /// Since 1970, ns.
    pub time_ns: u64,
    /// The interface's number.
    pub index: u32,
    /// What it begins with.
    pub link: LinkType,
    /// In which direction.
    pub direction: PacketDirection,
    /// Its length on the wire, bytes.
    pub length: u32,
    /// Where in the batch what was copied of it is.
    pub bytes: Range<usize>,
    /// Whose it is, if the kernel's side found that.
    pub owner: Option<ProcessRecord>,
    /// Its sender's socket, if that is on this machine and had no owner yet; 0 is none.
    pub cookie: u64,
}

/// Captured packets, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct PacketBatch {
    /// One after the other.
    pub records: Vec<PacketRecord>,
    /// What was copied of all of them.
    pub bytes: Vec<u8>,
    /// Names of the interfaces.
    pub interfaces: FxHashMap<u32, Arc<str>>,
}

impl PacketBatch {
    /// What was copied of a packet.
    pub fn bytes_of(&self, record: &PacketRecord) -> &[u8] {
        self.bytes.get(record.bytes.clone()).unwrap_or_default()
    }

    /// The name of a packet's interface.
    pub fn interface_of(&self, record: &PacketRecord) -> Arc<str> {
        self.interfaces.get(&record.index).cloned().unwrap_or_default()
    }

    /// Without packets.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        self.interfaces.clear();
    }
}

/// What an interface had since the start, in the directions that are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub interface: Arc<str>,
    /// What its packets begin with.
    pub link: LinkType,
    /// Packets.
    pub seen: u64,
    /// Of them those that the filter takes ...
    pub accepted: u64,
    /// ... and of these those that there was no room for.
    pub lost: u64,
}

/// Captured packets, and how many there were.
#[derive(Clone, Copy, Debug)]
pub struct CaptureReading<'a> {
    /// Those that came since the last reading.
    pub batch: &'a PacketBatch,
    /// There may be more of them already.
    pub has_more: bool,
    /// By interface.
    pub counts: &'a [CaptureCounts],
}

//! What the XDP probe reads of an interface.

use std::fmt;

use crate::probes::xdp::types;
use crate::probes::xdp::types::{packet_protocol, verdict, xdp_event};

/// Counts of one interface, of all CPUs; see `struct xdp_counts` in `xdp/layout.bpf.h`.
pub type XdpCounts = types::xdp_counts;

impl XdpCounts {
    /// Takes in those of another CPU.
    pub fn add(&mut self, other: &XdpCounts) {
        self.combine(other, u64::wrapping_add);
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &XdpCounts) -> XdpCounts {
        let mut since = *self;
        since.combine(before, u64::saturating_sub);
        since
    }

    fn combine(&mut self, other: &XdpCounts, with: fn(u64, u64) -> u64) {
        let verdicts = self.verdicts.as_flattened_mut().iter_mut();
        for (mine, other) in verdicts.zip(other.verdicts.as_flattened()) {
            mine.packets = with(mine.packets, other.packets);
            mine.bytes = with(mine.bytes, other.bytes);
        }
        for (mine, other) in self.stack.iter_mut().zip(&other.stack) {
            mine.pieces = with(mine.pieces, other.pieces);
            mine.segments = with(mine.segments, other.segments);
        }
        for (mine, other) in self.events.iter_mut().zip(&other.events) {
            *mine = with(*mine, *other);
        }
    }
}

/// Names of `enum packet_protocol`.
pub const PROTOCOLS: [&str; packet_protocol::PACKET_PROTOCOLS.0 as usize] =
    ["tcp", "udp", "icmp", "icmp6", "sctp", "ip", "arp", "other"];
/// Names of the kernel's `enum xdp_action`, and of what is none.
pub const VERDICTS: [&str; verdict::VERDICTS.0 as usize] =
    ["aborted", "drop", "pass", "tx", "redirect", "invalid"];
/// Names of `enum xdp_event`.
pub const EVENTS: [&str; xdp_event::XDP_EVENTS.0 as usize] = [
    "aborted",
    "invalid",
    "tx-failed",
    "redirect-failed",
    "redirected",
    "redirect-refused",
    "tx-sent",
    "tx-dropped",
    "devmap-sent",
    "devmap-dropped",
    "cpumap-queued",
    "cpumap-dropped",
];

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// Behind it, on packets that the stack has made of it.
    Skb,
    /// On the card.
    Hw,
}

impl XdpMode {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            XdpMode::Native => "native",
            XdpMode::Skb => "skb",
            XdpMode::Hw => "hw",
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where nettrace's program is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XdpWanted {
    /// In the driver, or behind it if the driver can't.
    #[default]
    Auto,
    /// There, or nowhere.
    Only(XdpMode),
}

impl XdpWanted {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            XdpWanted::Auto => "auto",
            XdpWanted::Only(mode) => mode.name(),
        }
    }

    /// The modes to try, the best first.
    pub fn modes(self) -> impl Iterator<Item = XdpMode> {
        let (first, second) = match self {
            XdpWanted::Auto => (XdpMode::Native, Some(XdpMode::Skb)),
            XdpWanted::Only(mode) => (mode, None),
        };
        [Some(first), second].into_iter().flatten()
    }
}

/// Somebody else's program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct XdpProgram {
    /// Its id in the kernel.
    pub id: u32,
    /// Its name, safe to show; none if it can't be asked for.
    pub name: Option<String>,
    /// Where it runs.
    pub mode: XdpMode,
}

impl fmt::Display for XdpProgram {
    /// `drop_all#12:native`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}:{}", self.name.as_deref().unwrap_or(""), self.id, self.mode)
    }
}

/// An interface's packets before and at the stack.
#[derive(Clone, Debug)]
pub struct XdpRecord {
    /// The interface's number in its namespace.
    pub interface: u32,
    /// Where nettrace's program was to run.
    pub wanted: XdpWanted,
    /// Where it does, if it is attached.
    pub mode: Option<XdpMode>,
    /// Those of others.
    pub others: Vec<XdpProgram>,
    /// Why packets aren't counted, or not as wanted.
    pub obstacle: Option<String>,
    /// Whether what reaches the stack is counted.
    pub has_stack: bool,
    /// Whether to programs a packet is what the stack has in one piece, be it merged of many.
    pub seen_in_pieces: bool,
    /// The same, to the interface's own counters.
    pub counted_in_pieces: bool,
    /// Since the start.
    pub counts: XdpCounts,
}

impl XdpRecord {
    /// Whether anything sees packets before the stack.
    pub fn is_seen(&self) -> bool {
        self.mode.is_some() || (!self.others.is_empty() && self.obstacle.is_none())
    }
}

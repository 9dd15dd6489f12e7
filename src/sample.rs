//! What the probes read in one tick: cumulative counters as the kernel keeps them, and what ended
//! since the last tick. Plain data; how it was had is the probes' affair, what it means the model's.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::SystemTime;

use crate::histogram::Histogram;
use crate::names::syscalls::Call;
use crate::probes::sockets::types;

mod packets;
pub(crate) mod place;
pub mod xdp;

pub use packets::{CaptureCounts, CaptureReading, PacketBatch, PacketDirection, PacketRecord};
pub(crate) use place::Place;
pub use xdp::{XdpMode, XdpProgram, XdpRecord, XdpWanted};

/// A socket as the kernel side describes it; see `struct socket_record` in `sockets.bpf.c`.
pub type SocketRecord = types::socket_record;
/// Addresses and ports of a socket; v4 addresses are v4-mapped.
pub type Endpoints = types::endpoints;
/// Who a process is; see `struct process` in `nettrace.bpf.h`.
pub type ProcessRecord = types::process;

/// Flags of a [`SocketRecord`], as `enum tag_flags` numbers them.
pub mod tag {
    use crate::probes::sockets::types::tag_flags;

    /// The socket was open before the first read.
    pub const SEEDED: u32 = tag_flags::TAG_SEEDED.0;
    /// The owner opened or inherited it, but hasn't used it yet.
    pub const PROVISIONAL: u32 = tag_flags::TAG_PROVISIONAL.0;
    /// A TCP socket whose birth wasn't seen: only calls on it count.
    pub const PER_CALL: u32 = tag_flags::TAG_PER_CALL.0;
    /// Some of its bytes were counted per call.
    pub const USED: u32 = tag_flags::TAG_USED.0;
}

/// States of a TCP socket, as the kernel numbers them.
pub const TCP_STATES: [&str; 13] = [
    "UNKNOWN",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
];
/// Index in [`TCP_STATES`] of an established connection; UDP sockets use it when connected.
pub const ESTABLISHED: u32 = 1;
/// Index in [`TCP_STATES`] of a listener.
pub const LISTEN: u32 = 10;

/// What happened to a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEventKind {
    /// It closed, or gave up to connect: its record's state is that before.
    Closed,
    /// The peer answered.
    Connected,
    /// A listener's handshake with the peer is complete.
    Accepted,
}

/// A TCP socket that began or ended.
#[derive(Clone, Copy, Debug)]
pub struct SocketEvent {
    /// When it did.
    pub time: SystemTime,
    /// The same, CLOCK_MONOTONIC, ns.
    pub clock_ns: u64,
    /// What it was.
    pub kind: SocketEventKind,
    /// The socket's pending error (`sk_err`); 0 is none.
    pub errno: u32,
    /// With the counters of that moment.
    pub socket: SocketRecord,
}

/// Bytes that one process moved on one socket, counted per call.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageRecord {
    /// The socket's [`SocketRecord::id`].
    pub id: u64,
    /// What the table of calls knows it by: the kernel's cookie, or again its id.
    pub socket: u64,
    /// Who made the calls.
    pub user: ProcessRecord,
    /// The socket's addresses at its first call.
    pub ends: Endpoints,
    /// Payload received, bytes.
    pub rx_bytes: u64,
    /// Payload sent, bytes.
    pub tx_bytes: u64,
    /// The socket is gone; this is the last record of it.
    pub ended: bool,
}

/// What one thread's calls of one system call grew by since the last reading.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// The thread's process.
    pub process: ProcessRecord,
    /// CLOCK_MONOTONIC at which `process` was read, ns: a younger one knows a newer name.
    pub named_ns: u64,
    /// The thread's id in the initial namespace.
    pub tid: u32,
    /// What it called.
    pub call: Call,
    /// Calls that returned, or will never return.
    pub calls: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Time in those that were seen from begin to end, ns.
    pub total_ns: u64,
    /// The longest since the thread's first, ns.
    pub max_ns: u64,
    /// Errors by errno, in no order.
    pub errnos: Vec<(u32, u64)>,
    /// Durations of those that were seen from begin to end.
    pub histogram: Histogram,
}

/// A thread that ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedThread {
    /// Its process.
    pub process: ProcessRecord,
    /// The thread's id in the initial namespace.
    pub tid: u32,
    /// The process ended with it.
    pub is_last: bool,
}

/// A call that took longer than wanted.
#[derive(Clone, Debug)]
pub struct SlowCall {
    /// Whose it was.
    pub process: ProcessRecord,
    /// The thread's id in the initial namespace.
    pub tid: u32,
    /// What it called.
    pub call: Call,
    /// With these arguments, as the registers had them.
    pub args: [u64; 6],
    /// When it began.
    pub began: SystemTime,
    /// Its duration, ns.
    pub duration_ns: u64,
    /// Of it off the CPU, ns, if that was watched.
    pub asleep_ns: Option<u64>,
    /// What it returned; from -4095 to -1 an errno.
    pub result: i64,
    /// Where the program called it: return addresses, innermost first.
    pub user_stack: Vec<u64>,
    /// Where the kernel slept longest in it.
    pub kernel_stack: Vec<u64>,
}

/// Counters of an interface, from netlink's `rtnl_link_stats64`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfaceRecord {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// Bytes on the wire.
    pub rx_bytes: u64,
    /// Bytes on the wire.
    pub tx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// `rx_errors` + `tx_errors`.
    pub errors: u64,
    /// `rx_dropped` + `tx_dropped` + `rx_missed_errors`.
    pub drops: u64,
    /// Programs found on it, as `xdp:native#12 tcx:in×1`.
    pub hooks: Vec<String>,
}

/// What couldn't be recorded since the start, per cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(pub Vec<(&'static str, u64)>);

impl Losses {
    /// The causes that happened.
    pub fn happened(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied().filter(|(_, count)| *count > 0)
    }
}

/// What nettrace itself costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnCost {
    /// User and system CPU time since the start, seconds.
    pub cpu_s: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Run time of its BPF programs, ns; none unless `kernel.bpf_stats_enabled` is set.
    pub bpf_ns: Option<u64>,
}

impl Losses {
    /// Takes in those of another probe; what both have is summed.
    pub fn add(&mut self, others: Vec<(&'static str, u64)>) {
        for (cause, count) in others {
            match self.0.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((cause, count)),
            }
        }
    }
}

/// What system calls grew by since the last reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyscallReading<'a> {
    /// By thread and call.
    pub calls: &'a [CallRecord],
    /// Threads that ended, after their last calls.
    pub ended: &'a [EndedThread],
    /// Calls slower than wanted, in order.
    pub slow: &'a [SlowCall],
}

/// What a record of the drop probe is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropKind {
    /// A packet that the kernel freed as dropped.
    Packet,
    /// A TCP segment that was sent again.
    Retransmit,
    /// A reset that TCP sent.
    ResetSent,
    /// A reset that TCP received.
    ResetReceived,
    /// A connection that a listener refused, as its queue was full; the listener counts them.
    ListenOverflow,
}

impl DropKind {
    /// All of them, as `enum drop_kind` numbers them.
    pub const ALL: [DropKind; 5] = [
        DropKind::Packet,
        DropKind::Retransmit,
        DropKind::ResetSent,
        DropKind::ResetReceived,
        DropKind::ListenOverflow,
    ];

    /// Its number in the kernel's side.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The kind of this number.
    pub fn of_number(number: u32) -> Self {
        DropKind::ALL.into_iter().find(|kind| kind.number() == number).unwrap_or(DropKind::Packet)
    }

    /// What stands in the place of a reason, where the kernel has none: in small letters and with a
    /// hyphen, as none of the kernel's is.
    pub fn name(self) -> Option<&'static str> {
        match self {
            DropKind::Packet => None,
            DropKind::Retransmit => Some("retransmit"),
            DropKind::ResetSent => Some("reset-sent"),
            DropKind::ResetReceived => Some("reset-received"),
            DropKind::ListenOverflow => Some("listen-overflow"),
        }
    }
}

/// Where and why packets were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DropPlace {
    /// What it is of.
    pub kind: DropKind,
    /// The kernel's reason, by the name that this kernel has for it; none if it tells no reasons.
    pub reason: Option<Arc<str>>,
    /// Return address in the function that dropped; 0 if it is no packet.
    pub location: u64,
    /// Network namespace's inode; 0 if it isn't known.
    pub netns: u32,
    /// The packet's protocol, as Ethernet numbers it; 0 if it isn't known.
    pub protocol: u16,
    /// As IP numbers it.
    pub transport: u8,
    /// Of the socket, if there is no protocol.
    pub family: u8,
}

impl DropPlace {
    /// Whether it is of IPv6, or of IPv4; none if it is of neither, or that isn't known.
    pub fn is_v6(&self) -> Option<bool> {
        match (i32::from(self.protocol), i32::from(self.family)) {
            (libc::ETH_P_IP, _) | (0, libc::AF_INET) => Some(false),
            (libc::ETH_P_IPV6, _) | (0, libc::AF_INET6) => Some(true),
            _ => None,
        }
    }
}

/// Where a packet came from and went to; v4 addresses are v4-mapped, and all is 0 where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropFlow {
    /// Address.
    pub source: [u8; 16],
    /// Address.
    pub destination: [u8; 16],
    /// Port.
    pub source_port: u16,
    /// Port.
    pub destination_port: u16,
}

/// What was dropped in one place for one reason since the start.
#[derive(Clone, Debug)]
pub struct DropRecord {
    /// Where and why.
    pub place: DropPlace,
    /// Packets.
    pub count: u64,
    /// Of IP packets, else what was left of the frame.
    pub bytes: u64,
    /// When the last one was.
    pub last: SystemTime,
    /// Its flow.
    pub last_flow: DropFlow,
    /// Its interface's name, if it had one.
    pub last_interface: [c_char; 16],
}

/// A single drop.
#[derive(Clone, Debug)]
pub struct DropEvent {
    /// When it was.
    pub time: SystemTime,
    /// Where and why.
    pub place: DropPlace,
    /// Its flow.
    pub flow: DropFlow,
    /// Bytes of the IP packet, else what was left of the frame.
    pub length: u32,
    /// Its interface's name, if it had one.
    pub interface: [c_char; 16],
    /// Who ran on the CPU: of a drop in an interrupt somebody who has nothing to do with it.
    pub process: ProcessRecord,
    /// Return addresses from the place of the drop on; empty if there is no telling.
    pub stack: Vec<u64>,
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropReading<'a> {
    /// Since the start.
    pub counts: &'a [DropRecord],
    /// Since the last reading, in order.
    pub events: &'a [DropEvent],
}

/// What happened to a packet that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// It came by a function or tracepoint.
    Step,
    /// From here on there is another `sk_buff` of it.
    Copied,
    /// It was dropped.
    Dropped,
    /// It was used up.
    Consumed,
    /// It was freed without a word.
    Freed,
}

/// A step of a packet that is followed.
#[derive(Clone, Debug)]
pub struct PathStep {
    /// When it was.
    pub time: SystemTime,
    /// CLOCK_MONOTONIC, ns.
    pub clock_ns: u64,
    /// A number that all `sk_buff`s of the packet have in common.
    pub packet: u64,
    /// The address of the `sk_buff`.
    pub skb: u64,
    /// What happened.
    pub kind: PathKind,
    /// The function or tracepoint; none of ends that the kernel tells by `location`.
    pub place: Option<Arc<str>>,
    /// Return address in the function that freed it, 0 if that isn't known; of a copy, the `sk_buff` that
    /// was copied.
    pub location: u64,
    /// Why it was dropped, if this kernel tells that.
    pub reason: Option<Arc<str>>,
    /// Its ends, as they are at this step.
    pub flow: DropFlow,
    /// Protocol as Ethernet numbers it and as IP does, family of its socket; each 0 if there is none.
    pub proto: (u16, u8, u8),
    /// Its interface's name, if it has one.
    pub interface: [c_char; 16],
    /// The network namespace's inode, 0 if that isn't known.
    pub netns: u32,
    /// The mark that firewalls and routing know it by.
    pub mark: u32,
    /// Bytes of the IP packet, else what there is of the frame.
    pub length: u32,
    /// Where the program ran.
    pub cpu: u32,
    /// Return addresses, if they were asked for.
    pub stack: Vec<u64>,
}

/// Which way a packet passed its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowDirection {
    /// It was received.
    In,
    /// It was sent.
    Out,
}

/// What packets of a flow have in common. Integers of the packet are in host order, v4 addresses are
/// v4-mapped, and what a packet doesn't have is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The interface's number.
    pub interface: u32,
    /// Which way.
    pub direction: FlowDirection,
    /// Address.
    pub source: [u8; 16],
    /// Address.
    pub destination: [u8; 16],
    /// Port.
    pub source_port: u16,
    /// Port.
    pub destination_port: u16,
    /// Ethernet's protocol, behind VLAN tags.
    pub ethertype: u16,
    /// IP's protocol.
    pub protocol: u8,
    /// Of a packet within VXLAN, its VNI; within GRE, the key.
    pub tunnel: u32,
    /// VLAN id of the outer tag.
    pub vlan: u16,
    /// VLAN id of the inner tag.
    pub inner_vlan: u16,
    /// ICMP's type << 8 | code.
    pub icmp: u16,
    /// Fragments behind a first one that wasn't seen.
    pub is_fragment: bool,
    /// Packets that end within their headers.
    pub is_truncated: bool,
    /// All that the table had no room for.
    pub is_other: bool,
}

/// A flow in one direction on one interface.
#[derive(Clone, Debug)]
pub struct FlowRecord {
    /// Which packets.
    pub key: FlowKey,
    /// Its place in the kernel's table, from 0 on, which no other has meanwhile; none of what had no room there.
    pub number: Option<u32>,
    /// The interface's name.
    pub interface: Arc<str>,
    /// Its network namespace's inode.
    pub netns: u32,
    /// Packets since the first.
    pub packets: u64,
    /// Their bytes, with the link layer's header.
    pub bytes: u64,
    /// CLOCK_MONOTONIC of the first, ns.
    pub first_ns: u64,
    /// CLOCK_MONOTONIC of the last, to 10 ms, and not before the first.
    pub last_ns: u64,
    /// TCP's flags seen, as its header numbers them.
    pub tcp_flags: u8,
    /// It was idle for long; this is the last record of it.
    pub ended: bool,
}

/// What is read before the tick ends, since it would be too much to keep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog<'a> {
    /// TCP sockets that closed.
    pub closed: &'a [SocketRecord],
    /// TCP sockets that began and ended, if that is to be told.
    pub socket_events: &'a [SocketEvent],
    /// System calls.
    pub syscalls: SyscallReading<'a>,
    /// Single drops.
    pub drops: &'a [DropEvent],
    /// Captured packets.
    pub packets: Option<CaptureReading<'a>>,
}

/// Everything of one tick.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// Wall-clock time of the read.
    pub time: SystemTime,
    /// CLOCK_MONOTONIC at the read, ns.
    pub clock_ns: u64,
    /// Every tagged socket that is open.
    pub sockets: &'a [SocketRecord],
    /// TCP sockets that closed since the last tick, with their final counters.
    pub closed: &'a [SocketRecord],
    /// TCP sockets that began and ended since the last reading, if that is to be told.
    pub socket_events: &'a [SocketEvent],
    /// What was counted per call.
    pub usage: &'a [UsageRecord],
    /// Whether calls are counted at all; else only TCP's bytes are known.
    pub calls_counted: bool,
    /// The interfaces, if they were asked for.
    pub ifaces: &'a [IfaceRecord],
    /// Packets before the stack, by interface, if they are watched.
    pub xdp: &'a [XdpRecord],
    /// System calls, if they are watched.
    pub syscalls: Option<SyscallReading<'a>>,
    /// Drops, if they are watched.
    pub drops: Option<DropReading<'a>>,
    /// Flows, if they are watched.
    pub flows: Option<&'a [FlowRecord]>,
    /// Captured packets, the last batch again, if there are any.
    pub packets: Option<CaptureReading<'a>>,
    /// What was missed.
    pub losses: Losses,
    /// What it cost.
    pub own: OwnCost,
}

/// CLOCK_MONOTONIC at which the socket of this id was tagged, ns; see `new_id()` in `sockets.bpf.c`.
pub fn born_ns(id: u64) -> u64 {
    (id >> 12) << 6
}

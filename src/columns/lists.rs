//! The columns of each view, in order, and the order of its rows where none was asked for.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::hash::Hash;
use std::net::IpAddr;

use super::{Column, Row, Unit, Value};
use crate::model::{
    ConnRow, ContainerRow, HostRow, ListenerRow, ProcRow, Process, SyscallRow, View,
};
use crate::names::{self, syscalls};

pub(super) const fn shown<R>(
    key: &'static str,
    title: &'static str,
    unit: Unit,
    about: &'static str,
    get: fn(&R) -> Value<'_>,
) -> Column<R> {
    Column { key, title, unit, shown: true, about, get }
}

pub(super) const fn extra<R>(
    key: &'static str,
    title: &'static str,
    unit: Unit,
    about: &'static str,
    get: fn(&R) -> Value<'_>,
) -> Column<R> {
    Column { key, title, unit, shown: false, about, get }
}

pub(super) fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

pub(super) fn int(value: Option<impl Into<u64>>) -> Value<'static> {
    value.map_or(Value::None, |value| Value::Int(value.into()))
}

pub(super) fn address(end: Option<(IpAddr, u16)>) -> Value<'static> {
    end.map_or(Value::None, |(address, _)| Value::Address(address))
}

pub(super) fn port(end: Option<(IpAddr, u16)>) -> Value<'static> {
    int(end.map(|(_, port)| port).filter(|port| *port != 0))
}

fn container(process: &Process) -> Value<'_> {
    process.container.as_ref().map_or(Value::None, |c| text(&c.name))
}

fn pod(process: &Process) -> Value<'_> {
    process.container.as_ref().and_then(|c| c.pod.as_deref()).map_or(Value::None, text)
}

/// Bytes, on a kernel that tells of them.
fn known(counted: bool, value: Value<'static>) -> Value<'static> {
    if counted { value } else { Value::None }
}

macro_rules! tcp {
    ($row:expr, $figure:ident) => {
        $row.tcp.as_ref().map(|tcp| tcp.$figure)
    };
}

use Unit::{
    Buckets, ByteRate, Bytes, Count, Counts, Flag, Micros, Nanos, Number, Percent, Rate, Seconds,
    Text,
};

static PROCS: [Column<ProcRow>; 17] = [
    shown("pid", "PID", Number, "process id; 0 is the kernel", |r| {
        Value::Int(r.process.pid.into())
    }),
    shown("comm", "COMM", Text, "the process's name", |r| text(&r.process.comm)),
    shown("user", "USER", Text, "its user's name, or number", |r| Value::Text(r.process.user())),
    shown("container", "CONTAINER", Text, "container or systemd unit, by its cgroup", |r| {
        container(&r.process)
    }),
    extra("pod", "POD", Text, "uid of the Kubernetes pod", |r| pod(&r.process)),
    extra("cgroup", "CGROUP", Text, "path in the unified cgroup hierarchy", |r| {
        r.process
            .cgroup
            .as_deref()
            .map_or(Value::None, |path| Value::Text(names::visible(path.as_bytes()).into()))
    }),
    shown("rx_bytes_per_second", "RX/s", ByteRate, "payload received in the interval", |r| {
        Value::Real(r.rx_rate)
    }),
    shown("tx_bytes_per_second", "TX/s", ByteRate, "payload sent in the interval", |r| {
        Value::Real(r.tx_rate)
    }),
    shown("rx_bytes", "RX", Bytes, "payload received since nettrace's start", |r| {
        Value::Int(r.rx_bytes)
    }),
    shown("tx_bytes", "TX", Bytes, "payload sent since nettrace's start", |r| {
        Value::Int(r.tx_bytes)
    }),
    extra("unix_rx_bytes", "UNIXRX", Bytes, "received over unix sockets (with --unix)", |r| {
        Value::Int(r.unix_rx_bytes)
    }),
    extra("unix_tx_bytes", "UNIXTX", Bytes, "sent over unix sockets (with --unix)", |r| {
        Value::Int(r.unix_tx_bytes)
    }),
    shown("connections", "CONNS", Count, "sockets open now that have a peer or moved bytes", |r| {
        Value::Int(r.connections)
    }),
    shown("retransmits", "RETR", Count, "retransmitted TCP segments since the start", |r| {
        Value::Int(r.retransmits)
    }),
    shown(
        "drops",
        "DROPS",
        Count,
        "datagrams, or connections at listeners, that its sockets had no room for",
        |r| Value::Int(r.drops),
    ),
    extra("uid", "UID", Number, "its user's number", |r| Value::Int(r.process.uid.into())),
    extra("ended", "ENDED", Flag, "the process ended; this is its last row", |r| {
        Value::Bool(r.ended)
    }),
];

static CONNS: [Column<ConnRow>; 36] = [
    shown("proto", "PROTO", Text, "tcp, udp, udplite, icmp, raw, …", |r| text(r.proto)),
    shown("local_address", "LADDR", Text, "own address", |r| address(r.local)),
    shown("local_port", "LPORT", Number, "own port", |r| port(r.local)),
    shown("remote_address", "RADDR", Text, "the peer's address", |r| address(r.remote)),
    shown("remote_port", "RPORT", Number, "the peer's port", |r| port(r.remote)),
    shown("state", "STATE", Text, "as ss writes it; CLOSED if it ended", |r| text(r.state)),
    shown("pid", "PID", Number, "the process that used it last", |r| {
        Value::Int(r.process.pid.into())
    }),
    shown("comm", "COMM", Text, "its name", |r| text(&r.process.comm)),
    extra("user", "USER", Text, "its user", |r| Value::Text(r.process.user())),
    extra("container", "CONTAINER", Text, "its container or systemd unit", |r| {
        container(&r.process)
    }),
    extra("pod", "POD", Text, "uid of its Kubernetes pod", |r| pod(&r.process)),
    extra("netns", "NETNS", Text, "network namespace: its name, or [inode]", |r| text(&r.netns)),
    shown("rx_bytes_per_second", "RX/s", ByteRate, "payload received in the interval", |r| {
        known(r.counted, Value::Real(r.rx_rate))
    }),
    shown("tx_bytes_per_second", "TX/s", ByteRate, "payload sent in the interval", |r| {
        known(r.counted, Value::Real(r.tx_rate))
    }),
    shown(
        "rx_bytes_total",
        "RX",
        Bytes,
        "payload received since its birth, as far as known",
        |r| known(r.counted, Value::Int(r.rx_bytes_total.unwrap_or(r.rx_bytes))),
    ),
    shown("tx_bytes_total", "TX", Bytes, "payload sent since its birth, as far as known", |r| {
        known(r.counted, Value::Int(r.tx_bytes_total.unwrap_or(r.tx_bytes)))
    }),
    extra("rx_bytes", "RXNEW", Bytes, "payload received since nettrace's start", |r| {
        known(r.counted, Value::Int(r.rx_bytes))
    }),
    extra("tx_bytes", "TXNEW", Bytes, "payload sent since nettrace's start", |r| {
        known(r.counted, Value::Int(r.tx_bytes))
    }),
    shown("srtt_us", "SRTT", Micros, "smoothed round-trip time, tcp_sock.srtt_us >> 3", |r| {
        int(tcp!(r, srtt_us).flatten())
    }),
    extra("rttvar_us", "RTTVAR", Micros, "its mean deviation, tcp_sock.mdev_us >> 2", |r| {
        int(tcp!(r, rttvar_us).flatten())
    }),
    shown("min_rtt_us", "MINRTT", Micros, "least round trip of late, tcp_sock.rtt_min", |r| {
        int(tcp!(r, min_rtt_us).flatten())
    }),
    shown("cwnd", "CWND", Count, "congestion window, segments", |r| int(tcp!(r, cwnd))),
    extra("ssthresh", "SSTHRESH", Count, "slow-start threshold, segments", |r| {
        int(tcp!(r, ssthresh).flatten())
    }),
    shown("retransmits", "RETR", Count, "retransmitted segments since its birth", |r| {
        int(tcp!(r, retransmits))
    }),
    extra("lost", "LOST", Count, "segments taken for lost since its birth", |r| int(tcp!(r, lost))),
    extra("delivered", "DELIVERED", Count, "segments delivered since its birth", |r| {
        int(tcp!(r, delivered))
    }),
    extra("segments_in", "SEGSIN", Count, "segments received since its birth", |r| {
        int(tcp!(r, segments_in))
    }),
    extra("segments_out", "SEGSOUT", Count, "segments sent since its birth", |r| {
        int(tcp!(r, segments_out))
    }),
    extra("pacing_bytes_per_second", "PACING", ByteRate, "sk_pacing_rate", |r| {
        tcp!(r, pacing_rate).flatten().map_or(Value::None, |rate| Value::Real(rate as f64))
    }),
    extra("receive_queue_bytes", "RECVQ", Bytes, "arrived and not read yet (TCP)", |r| {
        int(r.tcp.as_ref().map(|_| r.receive_queue))
    }),
    extra("send_queue_bytes", "SENDQ", Bytes, "handed over and not acknowledged yet (TCP)", |r| {
        int(r.tcp.as_ref().map(|_| r.send_queue))
    }),
    shown("limit", "LIMIT", Text, "what held the sender back: app, rwnd, cwnd or sndbuf", |r| {
        r.tcp.as_ref().map_or(Value::None, |tcp| text(tcp.limit.name()))
    }),
    shown("age_s", "AGE", Seconds, "age; null for a socket older than nettrace", |r| {
        r.age_s.map_or(Value::None, Value::Real)
    }),
    extra("uid", "UID", Number, "its user's number", |r| Value::Int(r.process.uid.into())),
    extra("socket", "SOCKET", Number, "nettrace's own number for it, unique in a run", |r| {
        Value::Int(r.id)
    }),
    extra("ended", "ENDED", Flag, "it closed; this is its last row", |r| Value::Bool(r.ended)),
];

static HOSTS: [Column<HostRow>; 8] = [
    shown("remote_address", "REMOTE", Text, "the peer's address", |r| Value::Address(r.remote)),
    shown("name", "NAME", Text, "its name by reverse DNS", |r| {
        r.name.as_deref().map_or(Value::None, text)
    }),
    shown("connections", "CONNS", Count, "sockets connected to it now", |r| {
        Value::Int(r.connections)
    }),
    shown("rx_bytes_per_second", "RX/s", ByteRate, "payload received in the interval", |r| {
        known(r.counted, Value::Real(r.rx_rate))
    }),
    shown("tx_bytes_per_second", "TX/s", ByteRate, "payload sent in the interval", |r| {
        known(r.counted, Value::Real(r.tx_rate))
    }),
    shown("srtt_us", "SRTT", Micros, "mean of its TCP connections' smoothed round trips", |r| {
        int(r.srtt_us)
    }),
    shown("retransmits", "RETR", Count, "retransmitted segments of these connections", |r| {
        Value::Int(r.retransmits)
    }),
    extra("ended", "ENDED", Flag, "all connections closed; this is its last row", |r| {
        Value::Bool(r.ended)
    }),
];

static CONTAINERS: [Column<ContainerRow>; 9] = [
    shown("container", "CONTAINER", Text, "container or systemd unit, by its cgroup", |r| {
        r.container.as_ref().map_or(Value::None, |c| text(&c.name))
    }),
    shown("pod", "POD", Text, "uid of the Kubernetes pod", |r| {
        r.container.as_ref().and_then(|c| c.pod.as_deref()).map_or(Value::None, text)
    }),
    shown("rx_bytes_per_second", "RX/s", ByteRate, "payload received in the interval", |r| {
        Value::Real(r.rx_rate)
    }),
    shown("tx_bytes_per_second", "TX/s", ByteRate, "payload sent in the interval", |r| {
        Value::Real(r.tx_rate)
    }),
    extra("rx_bytes", "RX", Bytes, "payload received by its living processes", |r| {
        Value::Int(r.rx_bytes)
    }),
    extra("tx_bytes", "TX", Bytes, "payload sent by its living processes", |r| {
        Value::Int(r.tx_bytes)
    }),
    shown("connections", "CONNS", Count, "sockets open now that have a peer or moved bytes", |r| {
        Value::Int(r.connections)
    }),
    shown("syscalls_per_second", "SYSCALLS/s", Rate, "system calls in the interval", |r| {
        r.syscall_rate.map_or(Value::None, Value::Real)
    }),
    shown(
        "drops",
        "DROPS",
        Count,
        "datagrams, or connections at listeners, that its sockets had no room for",
        |r| Value::Int(r.drops),
    ),
];

static LISTENERS: [Column<ListenerRow>; 12] = [
    shown("proto", "PROTO", Text, "tcp, udp, udplite", |r| text(r.proto)),
    shown("local_address", "LADDR", Text, "the address it listens on", |r| address(r.local)),
    shown("local_port", "LPORT", Number, "the port it listens on", |r| port(r.local)),
    shown("pid", "PID", Number, "the process that used it last", |r| {
        Value::Int(r.process.pid.into())
    }),
    shown("comm", "COMM", Text, "its name", |r| text(&r.process.comm)),
    extra("container", "CONTAINER", Text, "its container or systemd unit", |r| {
        container(&r.process)
    }),
    extra("netns", "NETNS", Text, "network namespace: its name, or [inode]", |r| text(&r.netns)),
    shown("backlog", "BACKLOG", Count, "connections that may wait for accept (TCP)", |r| {
        int(r.backlog)
    }),
    shown("queued", "QUEUED", Count, "connections that wait for accept (TCP)", |r| int(r.queued)),
    shown(
        "overflows",
        "OVERFLOWS",
        Count,
        "refused for want of room since its birth, sk_drops",
        |r| Value::Int(r.overflows),
    ),
    extra("uid", "UID", Number, "its user's number", |r| Value::Int(r.process.uid.into())),
    extra("ended", "ENDED", Flag, "it closed; this is its last row", |r| Value::Bool(r.ended)),
];

fn percentile(row: &SyscallRow, number: usize) -> Value<'static> {
    int(row.percentiles.and_then(|all| all.get(number).copied()))
}

/// Of calls that were seen from begin to end.
fn timed(row: &SyscallRow, value: Option<u64>) -> Value<'static> {
    int(value.filter(|_| row.sums.timed() > 0))
}

static SYSCALLS: [Column<SyscallRow>; 24] = [
    shown("pid", "PID", Number, "process id", |r| int(r.process.as_ref().map(|p| p.pid))),
    extra("tid", "TID", Number, "thread id, where rows are of threads", |r| int(r.tid)),
    shown("comm", "COMM", Text, "the process's name", |r| {
        r.process.as_ref().map_or(Value::None, |process| text(&process.comm))
    }),
    extra("user", "USER", Text, "its user's name, or number", |r| {
        r.process.as_ref().map_or(Value::None, |process| Value::Text(process.user()))
    }),
    extra("container", "CONTAINER", Text, "container or systemd unit, by its cgroup", |r| {
        r.container.as_ref().map_or(Value::None, |container| text(&container.name))
    }),
    extra("pod", "POD", Text, "uid of the Kubernetes pod", |r| {
        r.container.as_ref().and_then(|c| c.pod.as_deref()).map_or(Value::None, text)
    }),
    shown("syscall", "SYSCALL", Text, "the system call's name", |r| {
        r.call.map_or(Value::None, |call| Value::Text(call.name()))
    }),
    shown("calls_per_second", "CALLS/s", Rate, "calls in the interval", |r| Value::Real(r.rate)),
    shown(
        "calls",
        "CALLS",
        Count,
        "calls that returned since nettrace's start, or never will",
        |r| Value::Int(r.sums.calls),
    ),
    shown("errors", "ERR", Count, "of them those that failed", |r| Value::Int(r.sums.errors)),
    shown("top_errno", "TOPERRNO", Text, "the most frequent error", |r| {
        let top = r.sums.errnos.iter().min_by_key(|(errno, count)| (Reverse(*count), *errno));
        top.map_or(Value::None, |(errno, _)| Value::Text(syscalls::errno_name(*errno)))
    }),
    extra("errnos", "ERRNOS", Counts, "errors by errno", |r| {
        let mut errnos = r.sums.errnos.clone();
        errnos.sort_by_key(|(errno, count)| (Reverse(*count), *errno));
        let named = errnos.into_iter().map(|(errno, n)| (syscalls::errno_name(errno), n));
        Value::Counts(named.collect())
    }),
    shown("avg_ns", "AVG", Nanos, "mean duration", |r| int(r.sums.mean_ns())),
    shown("p50_ns", "P50", Nanos, "median duration, to an eighth", |r| percentile(r, 0)),
    extra("p90_ns", "P90", Nanos, "nine of ten calls took no longer, to an eighth", |r| {
        percentile(r, 1)
    }),
    shown("p99_ns", "P99", Nanos, "99 of 100 calls took no longer, to an eighth", |r| {
        percentile(r, 2)
    }),
    shown("max_ns", "MAX", Nanos, "the longest call", |r| timed(r, Some(r.sums.max_ns))),
    shown("total_ns", "TOTAL", Nanos, "time in calls that were seen from begin to end", |r| {
        timed(r, Some(r.sums.total_ns))
    }),
    extra("interval_ns", "TIME", Nanos, "time in calls that ended in the interval", |r| {
        timed(r, Some(r.interval_ns))
    }),
    extra("share_percent", "%TIME", Percent, "of all rows' time", |r| {
        r.share.filter(|_| r.sums.timed() > 0).map_or(Value::None, Value::Real)
    }),
    extra("timed_calls", "TIMED", Count, "calls that were seen from begin to end", |r| {
        Value::Int(r.sums.timed())
    }),
    extra("histogram", "HISTOGRAM", Buckets, "durations by range (with --histogram)", |r| {
        if r.with_histogram {
            Value::Buckets(r.sums.histogram.buckets().collect())
        } else {
            Value::None
        }
    }),
    extra("uid", "UID", Number, "its user's number", |r| int(r.process.as_ref().map(|p| p.uid))),
    extra("ended", "ENDED", Flag, "the process or thread ended; this is its last row", |r| {
        Value::Bool(r.ended)
    }),
];

impl Row for ProcRow {
    const VIEW: View = View::Procs;

    fn columns() -> &'static [Column<Self>] {
        &PROCS
    }

    fn weight(&self) -> [f64; 2] {
        [self.rx_rate + self.tx_rate, (self.rx_bytes + self.tx_bytes) as f64]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        let rest = |r: &Self| (Reverse(r.connections), r.process.pid);
        rest(a).cmp(&rest(b))
    }

    fn identity(&self) -> impl Hash {
        self.process.pid
    }

    fn is_last(&self) -> bool {
        self.ended
    }
}

impl Row for ConnRow {
    const VIEW: View = View::Conns;

    fn columns() -> &'static [Column<Self>] {
        &CONNS
    }

    fn weight(&self) -> [f64; 2] {
        [self.rx_rate + self.tx_rate, (self.rx_bytes + self.tx_bytes) as f64]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        let bytes = |r: &Self| (r.rx_bytes_total, r.tx_bytes_total);
        bytes(b).cmp(&bytes(a)).then_with(|| a.id.cmp(&b.id))
    }

    fn identity(&self) -> impl Hash {
        self.id
    }

    fn is_last(&self) -> bool {
        self.ended
    }
}

impl Row for HostRow {
    const VIEW: View = View::Hosts;

    fn columns() -> &'static [Column<Self>] {
        &HOSTS
    }

    fn weight(&self) -> [f64; 2] {
        [self.rx_rate + self.tx_rate, self.connections as f64]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        a.remote.cmp(&b.remote)
    }

    fn identity(&self) -> impl Hash {
        self.remote
    }

    fn is_last(&self) -> bool {
        self.ended
    }
}

impl Row for ContainerRow {
    const VIEW: View = View::Containers;

    fn columns() -> &'static [Column<Self>] {
        &CONTAINERS
    }

    fn weight(&self) -> [f64; 2] {
        [self.rx_rate + self.tx_rate, (self.rx_bytes + self.tx_bytes) as f64]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        let name = |r: &Self| r.container.as_ref().map(|c| c.name.clone());
        name(a).cmp(&name(b))
    }

    fn identity(&self) -> impl Hash {
        self.container.as_ref().map(|container| &container.name)
    }

    fn is_last(&self) -> bool {
        false
    }
}

impl Row for ListenerRow {
    const VIEW: View = View::Listeners;

    fn columns() -> &'static [Column<Self>] {
        &LISTENERS
    }

    fn weight(&self) -> [f64; 2] {
        [self.overflows as f64, f64::from(self.queued.unwrap_or(0))]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        let port = |r: &Self| r.local.map(|(address, port)| (port, address));
        let rest = |r: &Self| (r.proto, port(r), r.process.pid);
        rest(a).cmp(&rest(b))
    }

    fn identity(&self) -> impl Hash {
        (self.proto, self.local, self.process.pid, &self.netns)
    }

    fn is_last(&self) -> bool {
        self.ended
    }
}

impl Row for SyscallRow {
    const VIEW: View = View::Syscalls;

    fn columns() -> &'static [Column<Self>] {
        &SYSCALLS
    }

    fn weight(&self) -> [f64; 2] {
        [self.interval_ns as f64, self.sums.total_ns as f64]
    }

    fn among_equals(a: &Self, b: &Self) -> Ordering {
        let pid = |r: &Self| r.process.as_ref().map(|process| process.pid);
        let rest = |r: &Self| (Reverse(r.sums.calls), pid(r), r.tid, r.call);
        rest(a).cmp(&rest(b))
    }

    fn identity(&self) -> impl Hash {
        let pid = self.process.as_ref().map(|process| process.pid);
        let container = self.container.as_ref().map(|container| &container.name);
        (pid, self.tid, container, self.call)
    }

    fn is_last(&self) -> bool {
        self.ended
    }
}

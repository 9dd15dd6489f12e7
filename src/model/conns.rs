//! `conns`: one row a socket that has a peer or moved bytes; closed ones once.

use std::net::IpAddr;
use std::sync::Arc;

use super::Span;
use super::ends::{is_tcp, local, remote, state};
use super::processes::Process;
use super::sockets::{Chrono, Socket};
use crate::names::NetnsNames;
use crate::sample::{born_ns, tag};

/// The state of a row that ended.
const CLOSED: &str = "CLOSED";
/// `TCP_INFINITE_SSTHRESH`: slow start has no end yet.
const NO_SSTHRESH: u32 = 0x7fff_ffff;
/// The sender counts as busy above half of the time, and as limited above half of its busy time.
const HALF: u64 = 2;

/// What holds a TCP sender back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It has nothing to send most of the time.
    App,
    /// The receiver's window.
    ReceiverWindow,
    /// The congestion window.
    CongestionWindow,
    /// The send buffer is full.
    SendBuffer,
}

impl Limit {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Limit::App => "app",
            Limit::ReceiverWindow => "rwnd",
            Limit::CongestionWindow => "cwnd",
            Limit::SendBuffer => "sndbuf",
        }
    }

    fn of(chrono: Chrono) -> Self {
        let [busy, rwnd, sndbuf] =
            [chrono.busy, chrono.rwnd, chrono.sndbuf].map(|jiffies| HALF * u64::from(jiffies));
        let elapsed = u64::from(chrono.elapsed.unwrap_or(0));
        if busy == 0 || busy < elapsed {
            Limit::App
        } else if rwnd > u64::from(chrono.busy) {
            Limit::ReceiverWindow
        } else if sndbuf > u64::from(chrono.busy) {
            Limit::SendBuffer
        } else {
            Limit::CongestionWindow
        }
    }
}

/// A row of `conns`. What only TCP has is none for others.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnRow {
    /// nettrace's own number for it, unique in a run.
    pub id: u64,
    /// `tcp`, `udp`, …
    pub proto: &'static str,
    /// Own address and port; the port is 0 where there are none.
    pub local: Option<(IpAddr, u16)>,
    /// The peer's.
    pub remote: Option<(IpAddr, u16)>,
    /// As `ss` writes it, or `CLOSED`.
    pub state: &'static str,
    /// Who used it last.
    pub process: Arc<Process>,
    /// The network namespace's name, or its inode in brackets.
    pub netns: Arc<str>,
    /// Whether its bytes are known: on kernels that don't tell of calls, only TCP's are.
    pub counted: bool,
    /// Payload received, bytes/s.
    pub rx_rate: f64,
    /// Payload sent, bytes/s.
    pub tx_rate: f64,
    /// Payload received since the start, bytes.
    pub rx_bytes: u64,
    /// Payload sent since the start, bytes.
    pub tx_bytes: u64,
    /// Payload received since its birth.
    pub rx_bytes_total: Option<u64>,
    /// Payload sent since its birth.
    pub tx_bytes_total: Option<u64>,
    /// Arrived and not read yet, bytes.
    pub receive_queue: u32,
    /// Sent and not acknowledged yet, or not sent yet, bytes.
    pub send_queue: u32,
    /// TCP's own figures.
    pub tcp: Option<TcpFigures>,
    /// Age, seconds; none for a socket older than nettrace.
    pub age_s: Option<f64>,
    /// It closed; this is its last row.
    pub ended: bool,
}

/// What `tcp_sock` says of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TcpFigures {
    /// Smoothed round-trip time, `srtt_us >> 3`, µs.
    pub srtt_us: Option<u32>,
    /// Its mean deviation, `mdev_us >> 2`, µs.
    pub rttvar_us: Option<u32>,
    /// Least of the last minutes, `rtt_min`, µs.
    pub min_rtt_us: Option<u32>,
    /// Congestion window, segments.
    pub cwnd: u32,
    /// Slow-start threshold, segments; none before the first loss.
    pub ssthresh: Option<u32>,
    /// Retransmitted segments since its birth, as `ss` counts them.
    pub retransmits: u32,
    /// Segments taken for lost since its birth.
    pub lost: u32,
    /// Segments delivered since its birth.
    pub delivered: u32,
    /// Segments received since its birth.
    pub segments_in: u32,
    /// Segments sent since its birth.
    pub segments_out: u32,
    /// `sk_pacing_rate`, bytes/s; none where unlimited.
    pub pacing_rate: Option<u64>,
    /// What held it back in this interval.
    pub limit: Limit,
}

pub(super) fn row(socket: &Socket<'_>, netns: &mut NetnsNames, span: Span) -> Option<ConnRow> {
    if !socket.is_connection() {
        return None;
    }
    let record = socket.record;
    let is_young = record.flags & (tag::SEEDED | tag::PER_CALL) == 0;
    let age_ns = span.clock_ns.saturating_sub(born_ns(record.id));
    Some(ConnRow {
        id: record.id,
        proto: socket.proto(),
        local: local(&record.ends),
        remote: remote(&record.ends),
        state: if socket.ended { CLOSED } else { state(record) },
        process: Arc::clone(&socket.process),
        netns: netns.get(record.ends.netns),
        counted: socket.counted,
        rx_rate: span.rate_of(socket.delta.rx),
        tx_rate: span.rate_of(socket.delta.tx),
        rx_bytes: socket.bytes.rx,
        tx_bytes: socket.bytes.tx,
        rx_bytes_total: socket.total.map(|total| total.rx),
        tx_bytes_total: socket.total.map(|total| total.tx),
        receive_queue: record.receive_queue,
        send_queue: record.send_queue,
        tcp: is_tcp(&record.ends).then(|| figures(socket)),
        age_s: is_young.then_some(age_ns as f64 / 1e9),
        ended: socket.ended,
    })
}

fn figures(socket: &Socket<'_>) -> TcpFigures {
    let record = socket.record;
    // A connection that is not established yet has no round trip.
    let measured = |us: u32| (record.srtt_us != 0).then_some(us);
    TcpFigures {
        srtt_us: measured(record.srtt_us >> 3),
        rttvar_us: measured(record.rttvar_us >> 2),
        min_rtt_us: measured(record.min_rtt_us).filter(|us| *us != u32::MAX),
        cwnd: record.cwnd,
        ssthresh: Some(record.ssthresh).filter(|segments| *segments < NO_SSTHRESH),
        retransmits: record.retransmits,
        lost: record.lost,
        delivered: record.delivered,
        segments_in: record.segments_in,
        segments_out: record.segments_out,
        pacing_rate: Some(record.pacing_rate).filter(|rate| *rate != u64::MAX),
        limit: Limit::of(socket.chrono),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_filled_most_of_the_busy_time() {
        let limit = |elapsed, busy, rwnd, sndbuf| Limit::of(Chrono { elapsed, busy, rwnd, sndbuf });
        assert_eq!(limit(Some(250), 0, 0, 0), Limit::App);
        assert_eq!(limit(Some(250), 100, 90, 0), Limit::App);
        assert_eq!(limit(Some(250), 250, 200, 0), Limit::ReceiverWindow);
        assert_eq!(limit(Some(250), 250, 20, 200), Limit::SendBuffer);
        assert_eq!(limit(Some(250), 250, 20, 20), Limit::CongestionWindow);
        assert_eq!(limit(None, 3, 0, 0), Limit::CongestionWindow);
        assert_eq!(limit(None, 0, 0, 0), Limit::App);
    }
}

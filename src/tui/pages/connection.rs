//! One connection since it was opened here: its figures over time, and what happened to it.

use std::net::IpAddr;
use std::time::SystemTime;

use super::News;
use crate::model::{ConnRow, EventKind, EventRow, Limit, TcpFigures};
use crate::tui::history::History;

/// A congestion window that falls to this part of what it was is an event.
const COLLAPSE: u32 = 2;

/// What is kept of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Payload received, bytes/s.
    pub rx_rate: f64,
    /// Payload sent, bytes/s.
    pub tx_rate: f64,
    /// Smoothed round-trip time, µs.
    pub srtt_us: Option<u32>,
    /// Congestion window, segments.
    pub cwnd: Option<u32>,
    /// Segments delivered per second.
    pub delivery_rate: Option<f64>,
    /// Segments retransmitted in the interval.
    pub retransmits: Option<u32>,
    /// What held it back.
    pub limit: Option<Limit>,
}

/// Something that happened, as far as two pictures tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was seen.
    pub time: SystemTime,
    /// What it was.
    pub words: String,
}

/// A connection over time.
#[derive(Debug)]
pub struct ConnectionPage {
    /// As the breadcrumb has it.
    pub title: String,
    /// As of the last picture.
    pub row: ConnRow,
    /// One an interval.
    pub points: History<Point>,
    /// What differed between two pictures, the newest last.
    pub events: History<Event>,
    /// What the kernel told, the newest last.
    pub singles: Vec<EventRow>,
    /// It isn't among the rows any more.
    pub is_gone: bool,
    shown_at: SystemTime,
}

impl ConnectionPage {
    pub(super) fn new(row: &ConnRow) -> Self {
        let end = |end: Option<(IpAddr, u16)>| match end {
            Some((IpAddr::V6(address), port)) => format!("[{address}]:{port}"),
            Some((address, port)) => format!("{address}:{port}"),
            None => "*".to_owned(),
        };
        let title = format!("{} {} → {}", row.proto, end(row.local), end(row.remote));
        let mut page = ConnectionPage {
            title,
            row: row.clone(),
            points: History::default(),
            events: History::default(),
            singles: Vec::new(),
            is_gone: row.ended,
            shown_at: SystemTime::UNIX_EPOCH,
        };
        page.points.push(Point::of(row, None));
        page
    }

    pub(super) fn take(&mut self, news: &News<'_>) {
        if self.is_gone {
            return;
        }
        let is_it = |row: &&ConnRow| row.id == self.row.id;
        let Some(row) = news.conns.iter().chain(news.ended).find(is_it) else {
            self.is_gone = true;
            self.event(news.time, "no longer there".to_owned());
            return;
        };
        let before = self.singles.iter().rev();
        let are_told = before.take_while(|single| single.time > self.shown_at).any(is_retransmit);
        for words in changes(&self.row, row, are_told) {
            self.event(news.time, words);
        }
        self.shown_at = news.time;
        self.points.push(Point::of(row, self.row.tcp.as_ref().zip(Some(news.interval_s))));
        self.row = row.clone();
        self.is_gone = row.ended;
    }

    fn event(&mut self, time: SystemTime, words: String) {
        self.events.push(Event { time, words });
    }
}

impl Point {
    fn of(row: &ConnRow, before: Option<(&TcpFigures, f64)>) -> Self {
        let before = before.filter(|(_, seconds)| *seconds > 0.0).zip(row.tcp.as_ref());
        let delivered = |((before, seconds), now): ((&TcpFigures, f64), &TcpFigures)| {
            f64::from(now.delivered.wrapping_sub(before.delivered)) / seconds
        };
        let retransmits = |((before, _), now): ((&TcpFigures, f64), &TcpFigures)| {
            now.retransmits.saturating_sub(before.retransmits)
        };
        Point {
            rx_rate: row.rx_rate,
            tx_rate: row.tx_rate,
            srtt_us: row.tcp.and_then(|tcp| tcp.srtt_us),
            cwnd: row.tcp.map(|tcp| tcp.cwnd),
            delivery_rate: before.map(delivered),
            retransmits: before.map(retransmits),
            limit: row.tcp.map(|tcp| tcp.limit),
        }
    }
}

fn is_retransmit(event: &EventRow) -> bool {
    event.kind() == EventKind::Retransmit
}

/// What differs between two pictures, as far as it is worth a line.
fn changes(before: &ConnRow, now: &ConnRow, retransmits_are_told: bool) -> Vec<String> {
    let mut changes = Vec::new();
    if before.state != now.state {
        changes.push(format!("{} → {}", before.state, now.state));
    }
    if before.process.pid != now.process.pid {
        changes.push(format!("now used by {} {}", now.process.comm, now.process.pid));
    }
    if let (Some(before), Some(now)) = (&before.tcp, &now.tcp) {
        let grown = now.retransmits.saturating_sub(before.retransmits);
        if grown > 0 && !retransmits_are_told {
            changes.push(format!("{grown} segments retransmitted"));
        }
        if now.cwnd.saturating_mul(COLLAPSE) <= before.cwnd && before.cwnd > 0 {
            changes.push(format!("congestion window {} → {}", before.cwnd, now.cwnd));
        }
        if now.limit != before.limit {
            changes.push(format!("held back by {}, was {}", now.limit.name(), before.limit.name()));
        }
    }
    changes
}

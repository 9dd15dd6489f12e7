//! Single events of all kinds: a line each for people, an object each for programs.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::human::{Units, bytes};
use super::json::{loss, own};
use super::{Format, Sink, Style, drops, slow};
use crate::histogram::duration;
use crate::model::{Detail, EventKind, EventRow, Outcome};
use crate::names::syscalls::errno_name;
use crate::sample::{Losses, OwnCost};

/// The longest name of a kind, on a terminal.
const KIND_WIDTH: usize = 15;

/// Writes events in one style to one sink.
pub struct EventWriter {
    sink: Sink,
    style: Style,
}

impl EventWriter {
    /// A writer of nothing yet.
    pub fn new(sink: Sink, style: Style) -> Self {
        EventWriter { sink, style }
    }

    /// Writes events, a line each.
    ///
    /// # Errors
    /// What the sink says; a closed pipe among it.
    pub fn events(&mut self, rows: &[EventRow]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            match self.style.format {
                Format::Ndjson => writeln!(self.sink, "{}", object(row))?,
                _ => writeln!(self.sink, "{}", line(row, self.style.units))?,
            }
        }
        self.sink.flush()
    }

    /// Tells programs what was lost and what it cost; people are told on stderr.
    ///
    /// # Errors
    /// As [`EventWriter::events`].
    pub fn end(&mut self, time: SystemTime, losses: &Losses, cost: OwnCost) -> io::Result<()> {
        if self.style.format != Format::Ndjson {
            return Ok(());
        }
        let end = json!({
            "time": rfc3339_us(time),
            "view": "nettrace",
            "loss": loss(losses),
            "self": own(cost),
        });
        writeln!(self.sink, "{end}")
    }

    /// Flushes.
    ///
    /// # Errors
    /// As [`EventWriter::events`].
    pub fn finish(self) -> io::Result<()> {
        self.sink.finish()
    }
}

/// RFC 3339 with microseconds, UTC.
fn rfc3339_us(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

/// `TIME KIND COMM[PID] LOCAL > REMOTE DETAIL`, and where it was.
fn line(row: &EventRow, units: Units) -> String {
    let mut line = format!("{} {:<KIND_WIDTH$}", rfc3339_us(row.time), row.kind().name());
    // Writing into a string can't fail.
    let _ = match &row.process {
        Some(process) => write!(line, " {}[{}]", process.comm, process.pid),
        None => write!(line, " -"),
    };
    if let Some(ends) = ends(row) {
        let _ = write!(line, " {ends}");
    }
    line.push_str(&detail(&row.detail, units));
    if let Some(container) = row.process.as_ref().and_then(|process| process.container.as_ref()) {
        let _ = write!(line, " of {}", container.name);
    }
    // A namespace without a name tells people nothing.
    if let Some(netns) = row.netns.as_deref().filter(|name| !name.starts_with('[')) {
        let _ = write!(line, " in {netns}");
    }
    line
}

/// Where it was, as far as it was between two ends.
pub(crate) fn ends(row: &EventRow) -> Option<String> {
    let arrow = match row.kind() {
        EventKind::Accept => "<",
        _ => ">",
    };
    let local = end(row.local?);
    Some(row.remote.map_or(local.clone(), |remote| format!("{local} {arrow} {}", end(remote))))
}

/// What is particular to its kind; begins with a space.
pub(crate) fn detail(detail: &Detail, units: Units) -> String {
    let amount = |count: Option<u64>| count.map_or("-".to_owned(), |n| bytes(n as f64, units));
    let time = |ns: Option<u64>| ns.map_or("-".to_owned(), duration);
    match detail {
        Detail::Connect { outcome, took_ns } => match outcome {
            Outcome::Established => format!(" in {}", time(*took_ns)),
            Outcome::Failed(errno) => format!(" {} after {}", errno_name(*errno), time(*took_ns)),
            Outcome::GivenUp => format!(" given up after {}", time(*took_ns)),
        },
        Detail::Accept { srtt_us } => {
            srtt_us.map_or(String::new(), |us| format!(" rtt {}", duration(u64::from(us) * 1000)))
        }
        Detail::Close { lived_ns, rx_bytes, tx_bytes, retransmits, errno } => {
            let mut text = format!(
                " after {}, received {}, sent {}",
                time(*lived_ns),
                amount(*rx_bytes),
                amount(*tx_bytes)
            );
            if *retransmits > 0 {
                let _ = write!(text, ", {retransmits} retransmits");
            }
            if let Some(errno) = errno {
                let _ = write!(text, ", {}", errno_name(*errno));
            }
            text
        }
        Detail::Retransmit { length } => format!(" {length}B"),
        Detail::Reset { is_sent } => if *is_sent { " sent" } else { " received" }.to_owned(),
        Detail::Drop(drop) => {
            let known = |text: Option<&str>| text.unwrap_or("-").to_owned();
            let mut text = format!(
                " {} {} {}",
                known(drop.proto.as_deref()),
                known(drop.reason.as_deref()),
                known(drop.function.as_deref())
            );
            if let Some(length) = drop.length {
                let _ = write!(text, " {length}B");
            }
            if let Some(interface) = &drop.interface {
                let _ = write!(text, " on {interface}");
            }
            text
        }
        Detail::ListenOverflow { count, queued, backlog } => {
            format!(" refused {count}, {queued} of {backlog} wait")
        }
        Detail::SlowSyscall(slow) => {
            format!(" {} in {}", slow::call(slow), duration(slow.duration_ns))
        }
    }
}

fn end((address, port): (IpAddr, u16)) -> String {
    match (address, port) {
        (address, 0) => address.to_string(),
        (IpAddr::V6(address), port) => format!("[{address}]:{port}"),
        (address, port) => format!("{address}:{port}"),
    }
}

/// An event for programs.
fn object(row: &EventRow) -> Value {
    let process = row.process.as_deref();
    let container = process.and_then(|process| process.container.as_deref());
    let mut object = json!({
        "time": rfc3339_us(row.time),
        "view": "event",
        "event": row.kind().name(),
        "pid": process.map(|process| process.pid),
        "comm": process.map(|process| process.comm.as_str()),
        "user": process.map(|process| process.user().into_owned()),
        "container": container.map(|container| container.name.as_str()),
        "pod": container.and_then(|container| container.pod.as_deref()),
        "netns": row.netns.as_deref(),
        "proto": row.proto.as_deref(),
    });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, particulars(&row.detail)) {
        // Which end of a dropped packet is here isn't known.
        let (own, peer) = match row.kind() {
            EventKind::Drop => ("source", "destination"),
            _ => ("local", "remote"),
        };
        for (whose, end) in [(own, row.local), (peer, row.remote)] {
            let (address, port) = (end.map(|end| end.0.to_string()), end.map(|end| end.1));
            object.insert(format!("{whose}_address"), json!(address));
            object.insert(format!("{whose}_port"), json!(port.filter(|port| *port != 0)));
        }
        object.extend(more);
    }
    object
}

fn particulars(detail: &Detail) -> Value {
    match detail {
        Detail::Connect { outcome, took_ns } => json!({
            "established": *outcome == Outcome::Established,
            "errno": match outcome {
                Outcome::Failed(errno) => Some(errno_name(*errno)),
                Outcome::Established | Outcome::GivenUp => None,
            },
            "latency_ns": took_ns,
        }),
        Detail::Accept { srtt_us } => json!({ "srtt_us": srtt_us }),
        Detail::Close { lived_ns, rx_bytes, tx_bytes, retransmits, errno } => json!({
            "lifetime_ns": lived_ns,
            "rx_bytes": rx_bytes,
            "tx_bytes": tx_bytes,
            "retransmits": retransmits,
            "errno": errno.map(errno_name),
        }),
        Detail::Retransmit { length } => json!({ "length_bytes": length }),
        Detail::Reset { is_sent } => {
            json!({ "direction": if *is_sent { "sent" } else { "received" } })
        }
        Detail::Drop(drop) => match drops::object(drop) {
            Value::Object(mut all) => {
                // What all events have, by their names.
                all.retain(|key, _| {
                    matches!(
                        key.as_str(),
                        "reason" | "location" | "offset" | "length_bytes" | "interface"
                    )
                });
                Value::Object(all)
            }
            other => other,
        },
        Detail::ListenOverflow { count, queued, backlog } => {
            json!({ "count": count, "queued": queued, "backlog": backlog })
        }
        Detail::SlowSyscall(slow) => match slow::object(slow) {
            Value::Object(mut all) => {
                all.retain(|key, _| !matches!(key.as_str(), "time" | "pid" | "comm"));
                Value::Object(all)
            }
            other => other,
        },
    }
}

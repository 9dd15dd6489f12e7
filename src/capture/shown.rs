//! Packets for people and for programs, on stdout.

use std::io::{self, BufWriter, Stdout, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Shown;
use crate::packet::decode::{Decoded, Ip};
use crate::packet::line;
use crate::sample::PacketDirection;

const BUFFER: usize = 1 << 16;

/// A line each.
pub(super) struct Lines {
    lines: line::Lines,
    text: String,
    out: BufWriter<Stdout>,
}

impl Default for Lines {
    fn default() -> Self {
        let out = BufWriter::with_capacity(BUFFER, io::stdout());
        Lines { lines: line::Lines::default(), text: String::new(), out }
    }
}

impl Lines {
    pub(super) fn packet(&mut self, packet: &Shown<'_>) -> Result<()> {
        self.text.clear();
        write_line(&mut self.text, &mut self.lines, packet);
        self.text.push('\n');
        self.out.write_all(self.text.as_bytes()).context("write the output")
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.out.flush().context("write the output")
    }
}

/// `TIME INTERFACE DIRECTION PACKET  PROCESS`, as far as it is known.
fn write_line(text: &mut String, lines: &mut line::Lines, packet: &Shown<'_>) {
    text.push_str(&time(packet.time_ns));
    text.push(' ');
    if !packet.interface.is_empty() {
        text.push_str(packet.interface);
        text.push(' ');
    }
    text.push_str(match packet.direction {
        Some(PacketDirection::In) => "In  ",
        Some(PacketDirection::Out) => "Out ",
        None => "",
    });
    lines.write(text, &Decoded::of(packet.link, packet.bytes), packet.length);
    if let Some(owner) = packet.owner {
        text.push_str("  ");
        text.push_str(&owner.to_string());
    }
}

/// RFC 3339 with microseconds, UTC.
fn time(time_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns));
    time.map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

/// An object a line each.
pub(super) struct Objects {
    lines: line::Lines,
    out: BufWriter<Stdout>,
}

impl Default for Objects {
    fn default() -> Self {
        let out = BufWriter::with_capacity(BUFFER, io::stdout());
        Objects { lines: line::Lines::default(), out }
    }
}

impl Objects {
    pub(super) fn packet(&mut self, packet: &Shown<'_>) -> Result<()> {
        writeln!(self.out, "{}", object(&mut self.lines, packet)).context("write the output")
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.out.flush().context("write the output")
    }
}

fn object(lines: &mut line::Lines, packet: &Shown<'_>) -> Value {
    let decoded = Decoded::of(packet.link, packet.bytes);
    let ip = decoded.ip();
    let ports = ip.and_then(Ip::ports);
    let mut text = String::new();
    lines.write(&mut text, &decoded, packet.length);
    json!({
        "time": time(packet.time_ns),
        "view": "packet",
        "interface": Some(packet.interface).filter(|name| !name.is_empty()),
        "direction": packet.direction.map(PacketDirection::name),
        "length_bytes": packet.length,
        "captured_bytes": packet.bytes.len(),
        "vlan": decoded.vlans.first(),
        "ether_type": Some(decoded.ether_type).filter(|number| *number != 0),
        "ip_protocol": ip.map(|ip| ip.protocol),
        "source_address": ip.map(|ip| ip.source.to_string()),
        "source_port": ports.map(|(from, _)| from),
        "destination_address": ip.map(|ip| ip.destination.to_string()),
        "destination_port": ports.map(|(_, to)| to),
        "pid": packet.owner.map(|owner| owner.pid),
        "comm": packet.owner.map(|owner| &*owner.comm),
        "container": packet.owner.and_then(|owner| owner.container.as_deref()),
        "text": text,
    })
}

#[cfg(test)]
mod tests;

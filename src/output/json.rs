//! JSON: one document over all frames, or one object a line.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::json;

use super::{Style, drops, rfc3339, schema, slow};
use crate::columns::{Column, Row, Value};
use crate::kernel;
use crate::model::{Frame, View};
use crate::sample::{Losses, OwnCost};
use crate::with_rows;

/// A row as an object of its columns.
struct RowObject<'a, R: 'static> {
    row: &'a R,
    columns: &'a [&'static Column<R>],
    /// Keys before the row's own.
    prefix: &'a [(&'static str, &'a str)],
}

impl<R> Serialize for RowObject<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.prefix.len() + self.columns.len()))?;
        for (key, value) in self.prefix {
            map.serialize_entry(key, value)?;
        }
        for column in self.columns {
            map.serialize_entry(column.key, &(column.get)(self.row))?;
        }
        map.end()
    }
}

struct RowList<'a, R: 'static> {
    rows: &'a [R],
    columns: &'a [&'static Column<R>],
}

impl<R> Serialize for RowList<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.rows.len()))?;
        for row in self.rows {
            list.serialize_element(&RowObject { row, columns: self.columns, prefix: &[] })?;
        }
        list.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::None => serializer.serialize_none(),
            Value::Int(n) => serializer.serialize_u64(*n),
            // Rates of bytes don't carry more than thousandths.
            Value::Real(x) => serializer.serialize_f64((x * 1e3).round() / 1e3),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Address(address) => serializer.collect_str(address),
            Value::Bool(yes) => serializer.serialize_bool(*yes),
            Value::Counts(counts) => {
                serializer.collect_map(counts.iter().map(|(name, count)| (name, count)))
            }
            Value::Buckets(buckets) => serializer.collect_seq(buckets.iter().map(
                |(range, count)| json!({ "from_ns": range.start, "to_ns": range.end, "count": count }),
            )),
        }
    }
}

pub(super) fn write_in_document(
    out: &mut impl Write,
    frame: &Frame,
    style: &Style,
    is_first: bool,
) -> io::Result<()> {
    if is_first {
        begin_document(out)?;
    } else {
        out.write_all(b",")?;
    }
    write!(out, "\n{{\"time\":\"{}\",\"interval_s\":", rfc3339(frame.time))?;
    serde_json::to_writer(&mut *out, &Value::Real(frame.interval_s))?;
    write!(out, ",\"view\":\"{}\",\"rows\":", frame.view)?;
    with_rows!(&frame.rows, rows => write_list(out, rows, style))?;
    match frame.view {
        View::Syscalls => {
            write_objects(out, "slow_syscalls", frame.events.slow.iter().map(slow::object))?;
        }
        View::Drops => write_objects(out, "drops", frame.events.drops.iter().map(drops::object))?,
        _ => {}
    }
    write!(out, ",\"loss\":{},\"self\":{}}}", loss(&frame.losses), own(frame.own))
}

fn write_objects(
    out: &mut impl Write,
    key: &str,
    objects: impl Iterator<Item = serde_json::Value>,
) -> io::Result<()> {
    write!(out, ",\"{key}\":[")?;
    for (number, object) in objects.enumerate() {
        let comma = if number > 0 { "," } else { "" };
        write!(out, "{comma}{object}")?;
    }
    write!(out, "]")
}

fn begin_document(out: &mut impl Write) -> io::Result<()> {
    let head = json!({
        "schema_version": schema::VERSION,
        "nettrace": env!("CARGO_PKG_VERSION"),
        "host": kernel::hostname(),
        "kernel": kernel::release(),
    })
    .to_string();
    write!(out, "{},\"frames\":[", head.trim_end_matches('}'))
}

/// Closes the document; one without frames is opened first.
pub(super) fn end_document(out: &mut impl Write, is_empty: bool) -> io::Result<()> {
    if is_empty {
        begin_document(out)?;
    }
    writeln!(out, "]}}")
}

fn write_list<R: Row>(out: &mut impl Write, rows: &[R], style: &Style) -> io::Result<()> {
    let columns = style.selected::<R>();
    Ok(serde_json::to_writer(out, &RowList { rows, columns: &columns })?)
}

pub(super) fn write_lines(out: &mut impl Write, frame: &Frame, style: &Style) -> io::Result<()> {
    let time = rfc3339(frame.time);
    let prefix = [("time", time.as_str()), ("view", frame.view.name())];
    with_rows!(&frame.rows, rows => write_row_lines(out, rows, style, &prefix))?;
    let tick = json!({
        "time": time,
        "view": "nettrace",
        "interval_s": Value::Real(frame.interval_s),
        "loss": loss(&frame.losses),
        "self": own(frame.own),
    });
    writeln!(out, "{tick}")
}

fn write_row_lines<R: Row>(
    out: &mut impl Write,
    rows: &[R],
    style: &Style,
    prefix: &[(&'static str, &str)],
) -> io::Result<()> {
    let columns = style.selected::<R>();
    for row in rows {
        serde_json::to_writer(&mut *out, &RowObject { row, columns: &columns, prefix })?;
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn loss(losses: &Losses) -> serde_json::Value {
    losses.0.iter().map(|(cause, count)| ((*cause).to_owned(), json!(count))).collect()
}

pub(super) fn own(own: OwnCost) -> serde_json::Value {
    json!({
        "cpu_s": Value::Real(own.cpu_s),
        "rss_bytes": own.rss_bytes,
        "bpf_ns": own.bpf_ns,
    })
}

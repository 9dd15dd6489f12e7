//! RFC 4180: a header of keys, then one line a row with the frame's time before it.

use std::io::{self, Write};

use super::{Style, rfc3339};
use crate::columns::{Row, Value};
use crate::model::Frame;
use crate::with_rows;

pub(super) fn write(
    out: &mut impl Write,
    frame: &Frame,
    style: &Style,
    is_first: bool,
) -> io::Result<()> {
    let time = rfc3339(frame.time);
    with_rows!(&frame.rows, rows => write_rows(out, rows, &time, style, is_first))
}

fn write_rows<R: Row>(
    out: &mut impl Write,
    rows: &[R],
    time: &str,
    style: &Style,
    is_first: bool,
) -> io::Result<()> {
    let columns = style.selected::<R>();
    if is_first {
        write!(out, "time")?;
        for column in &columns {
            write!(out, ",{}", column.key)?;
        }
        write!(out, "\r\n")?;
    }
    for row in rows {
        write!(out, "{time}")?;
        for column in &columns {
            write!(out, ",")?;
            field(out, &(column.get)(row))?;
        }
        write!(out, "\r\n")?;
    }
    Ok(())
}

fn field(out: &mut impl Write, value: &Value<'_>) -> io::Result<()> {
    match value {
        Value::None => Ok(()),
        Value::Int(n) => write!(out, "{n}"),
        Value::Real(x) => write!(out, "{}", (x * 1e3).round() / 1e3),
        Value::Address(address) => write!(out, "{address}"),
        Value::Bool(yes) => write!(out, "{yes}"),
        Value::Counts(counts) => words(out, counts.iter().map(|(name, n)| format!("{name}:{n}"))),
        Value::Buckets(buckets) => words(
            out,
            buckets.iter().map(|(range, n)| format!("{}-{}:{n}", range.start, range.end)),
        ),
        Value::Text(text) if text.contains(['"', ',', '\n', '\r']) => {
            write!(out, "\"{}\"", text.replace('"', "\"\""))
        }
        Value::Text(text) => write!(out, "{text}"),
    }
}

fn words(out: &mut impl Write, words: impl Iterator<Item = String>) -> io::Result<()> {
    write!(out, "{}", words.collect::<Vec<_>>().join(" "))
}

//! An object on each line, as bpftrace writes them.

use std::io::Write;

use super::shown::{Bucket, Histogram, Kind, Series, Shown, ShownMap};
use super::times::{self, Zone};
use super::value::Value;

/// Which percentiles of histograms are told, if they are.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// `{"type": …, "data": …}` of text.
pub(super) fn text(kind: &str, text: &[u8], to: &mut Vec<u8>) {
    // Writing to a vector can't fail.
    _ = write!(to, r#"{{"type": "{kind}", "data": "#);
    string(text, to);
    to.extend_from_slice(b"}\n");
}

/// A map, and nothing if it has no entries.
pub(super) fn map(map: &ShownMap, with_percentiles: bool, to: &mut Vec<u8>) {
    if matches!(&map.shown, Shown::Map(entries) if entries.is_empty()) {
        return;
    }
    let kind = match map.kind {
        Kind::Map => "map",
        Kind::Stats => "stats",
        Kind::Hist => "hist",
        Kind::Series => "tseries",
    };
    _ = write!(to, r#"{{"type": "{kind}", "data": {{"#);
    string(map.name.as_bytes(), to);
    to.extend_from_slice(b": ");
    shown(&map.shown, to);
    to.push(b'}');
    if with_percentiles && map.kind == Kind::Hist {
        to.extend_from_slice(br#", "percentiles": {"#);
        string(map.name.as_bytes(), to);
        to.extend_from_slice(b": ");
        percentiles(&map.shown, to);
        to.push(b'}');
    }
    to.extend_from_slice(b"}\n");
}

/// A value that was printed.
pub(super) fn value(of: &Shown, to: &mut Vec<u8>) {
    to.extend_from_slice(br#"{"type": "value", "data": "#);
    shown(of, to);
    to.extend_from_slice(b"}\n");
}

/// Of what is counted, both as `count` and in `data`.
pub(super) fn count(kind: &str, what: &str, count: u64, to: &mut Vec<u8>) {
    _ = writeln!(to, r#"{{"type": "{kind}", "count": {count}, "data": {{"{what}": {count}}}}}"#);
}

fn shown(of: &Shown, to: &mut Vec<u8>) {
    match of {
        Shown::Value(value) => primitive(value, to),
        Shown::Histogram(of) => histogram(of, to),
        Shown::Series(of) => series(of, to),
        Shown::Map(entries) => by_key(entries, to, shown),
    }
}

fn by_key<T>(entries: &[(Value, T)], to: &mut Vec<u8>, each: impl Fn(&T, &mut Vec<u8>)) {
    to.push(b'{');
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            to.extend_from_slice(b", ");
        }
        let mut key = key.written_as_key();
        key.retain(|byte| *byte != b' ');
        string(&key, to);
        to.extend_from_slice(b": ");
        each(value, to);
    }
    to.push(b'}');
}

pub(super) fn primitive(of: &Value, to: &mut Vec<u8>) {
    match of {
        Value::Null => to.extend_from_slice(b"null"),
        Value::Bool(is) => to.extend_from_slice(if *is { b"true" } else { b"false" }),
        Value::Signed(value) => number((*value).into(), to),
        Value::Unsigned(value) => number((*value).into(), to),
        Value::Named(_, value) => number(*value, to),
        Value::Text(text) => string(text, to),
        Value::Buffer(bytes) => {
            listed(bytes, to, |byte, to| number(byte.cast_signed().into(), to));
        }
        Value::Array(values) | Value::Tuple(values) => listed(values, to, primitive),
        Value::Record(fields) => {
            to.push(b'{');
            for (at, (name, value)) in fields.iter().enumerate() {
                if at > 0 {
                    to.extend_from_slice(b", ");
                }
                string(name.as_bytes(), to);
                to.extend_from_slice(b": ");
                primitive(value, to);
            }
            to.push(b'}');
        }
    }
}

fn listed<T>(values: &[T], to: &mut Vec<u8>, each: impl Fn(&T, &mut Vec<u8>)) {
    to.push(b'[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            to.push(b',');
        }
        each(value, to);
    }
    to.push(b']');
}

/// As a string, if readers that have floating-point numbers only would read another one.
fn number(number: i128, to: &mut Vec<u8>) {
    _ = if number as f64 as i128 == number {
        write!(to, "{number}")
    } else {
        write!(to, "\"{number}\"")
    };
}

/// Text in quotes. What isn't UTF-8 becomes U+FFFD, since JSON can't say it.
pub(super) fn string(text: &[u8], to: &mut Vec<u8>) {
    to.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' => to.extend_from_slice(b"\\\""),
            '\\' => to.extend_from_slice(b"\\\\"),
            '\n' => to.extend_from_slice(b"\\n"),
            '\r' => to.extend_from_slice(b"\\r"),
            '\t' => to.extend_from_slice(b"\\t"),
            '\0'..='\x1f' => _ = write!(to, "\\u{:04x}", c as u32),
            _ => to.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    to.push(b'"');
}

/// Here a bucket's upper end is the last value in it.
fn histogram(of: &Histogram, to: &mut Vec<u8>) {
    listed(&of.buckets, to, |Bucket { from, to: end, count }, to| {
        to.push(b'{');
        if let Some(from) = from {
            to.extend_from_slice(b"\"min\": ");
            primitive(from, to);
            to.extend_from_slice(b", ");
        }
        if let Some(end) = end.as_ref().and_then(Value::number) {
            to.extend_from_slice(b"\"max\": ");
            number(end - 1, to);
            to.extend_from_slice(b", ");
        }
        _ = write!(to, "\"count\": {count}}}");
    });
}

fn series(of: &Series, to: &mut Vec<u8>) {
    let there = |(at, value): &(u64, Option<Value>)| Some((*at, value.clone()?));
    let values: Vec<(u64, Value)> = of.values.iter().filter_map(there).collect();
    listed(&values, to, |(at, value), to| {
        let (seconds, part) = ((at / 1_000_000_000) as i64, at % 1_000_000_000);
        let time = times::strftime("%Y-%m-%d %H:%M:%S", seconds, Zone::Utc, 32);
        to.extend_from_slice(br#"{"interval_start":""#);
        to.extend_from_slice(&time.unwrap_or_default());
        _ = write!(to, r#".{part:09}","value":"#);
        primitive(value, to);
        to.push(b'}');
    });
}

fn percentiles(of: &Shown, to: &mut Vec<u8>) {
    match of {
        Shown::Histogram(histogram) => {
            to.push(b'{');
            let known = PERCENTILES.iter().filter_map(|(name, percent)| {
                histogram.percentile(*percent).map(|value| (name, value))
            });
            for (at, (name, value)) in known.enumerate() {
                let comma = if at > 0 { ", " } else { "" };
                _ = write!(to, "{comma}\"{name}\": ");
                number(value, to);
            }
            to.push(b'}');
        }
        Shown::Map(entries) => by_key(entries, to, percentiles),
        Shown::Value(_) | Shown::Series(_) => to.extend_from_slice(b"null"),
    }
}

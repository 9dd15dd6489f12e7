//! Text for people, as bpftrace lays it out.

use std::io::Write;

use super::shown::{Bucket, Histogram, Series, Shown, ShownMap};
use super::times::{self, Zone};
use super::value::Value;

/// Columns of a histogram's longest bar.
const BAR: usize = 52;
/// Columns of a series' graph, its edges among them.
const GRAPH: usize = 53;
/// Columns of the least value above and below it.
const LEAST: usize = 21;

/// A map by its name, each entry on a line or more of its own.
pub(super) fn map(map: &ShownMap, to: &mut Vec<u8>) {
    let name = &map.name;
    match &map.shown {
        Shown::Map(entries) => {
            for (key, shown) in entries {
                to.extend_from_slice(name.as_bytes());
                to.push(b'[');
                to.extend_from_slice(&key.written_as_key());
                to.extend_from_slice(if shown.has_lines() { b"]:\n" } else { b"]: " });
                value(shown, to);
            }
        }
        shown => {
            to.extend_from_slice(name.as_bytes());
            to.extend_from_slice(if shown.has_lines() { b":\n" } else { b": " });
            value(shown, to);
        }
    }
}

/// A value and the end of its line.
pub(super) fn value(shown: &Shown, to: &mut Vec<u8>) {
    match shown {
        Shown::Value(value) => value.write(to),
        Shown::Histogram(of) => histogram(of, to),
        Shown::Series(of) => series(of, to),
        Shown::Map(entries) => {
            for (key, shown) in entries {
                to.push(b'[');
                key.write(to);
                to.extend_from_slice(b"]: ");
                value(shown, to);
            }
        }
    }
    to.push(b'\n');
}

fn histogram(histogram: &Histogram, to: &mut Vec<u8>) {
    let most = histogram.buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default();
    for bucket in &histogram.buckets {
        let range = range(bucket);
        // In single precision, so that bars end where bpftrace's do.
        let bar = bucket.count as f32 / most as f32 * BAR as f32;
        let bar = "@".repeat(bar as usize);
        // Writing to a vector can't fail.
        _ = writeln!(to, "{range:<16}{:>8} |{bar:<BAR$}|", bucket.count);
    }
}

/// `[4, 8)`; `[4]` of one value, `(..., 0)` and `[100, ...)` of what has no end.
fn range(bucket: &Bucket) -> String {
    let edge = |value: &Value| String::from_utf8_lossy(&value.written()).into_owned();
    match (&bucket.from, &bucket.to) {
        (None, None) => "(..., ...)".to_owned(),
        (None, Some(to)) => format!("(..., {})", edge(to)),
        (Some(from), None) => format!("[{}, ...)", edge(from)),
        (Some(Value::Signed(from)), Some(Value::Signed(to))) if from + 1 == *to => {
            format!("[{from}]")
        }
        (Some(from), Some(to)) => format!("[{}, {})", edge(from), edge(to)),
    }
}

/// In which unit parts of a second are shown: its name and its digits.
fn unit(interval_ns: u64) -> (&'static str, usize) {
    match interval_ns {
        1_000_000_000.. => ("s", 0),
        1_000_000.. => ("ms", 3),
        1_000.. => ("μs", 6),
        _ => ("ns", 9),
    }
}

fn series(series: &Series, to: &mut Vec<u8>) {
    let (Some((first, _)), Some((last, _))) = (series.values.first(), series.values.last()) else {
        to.extend_from_slice(b"<no data>");
        return;
    };
    let (unit, digits) = unit((last - first) / (series.values.len() as u64 - 1).max(1));
    let (least, greatest) = bounds(series);
    let (format, columns) = match digits {
        0 => ("hh:mm:ss".to_owned(), 8),
        digits => (format!("hh:mm:ss.{unit}"), 9 + digits),
    };
    // Columns are counted in bytes, as bpftrace counts them.
    let padding = " ".repeat((columns + 1).saturating_sub(format.len()));
    let indent = " ".repeat(columns + 1);
    let ends = format!("{least:<LEAST$}{greatest:>width$}", width = GRAPH - LEAST);
    // Writing to a vector can't fail.
    _ = writeln!(to, "{indent}{ends}");
    _ = writeln!(to, "{format}{padding}|{}|", "_".repeat(GRAPH - 2));
    for (at, value) in &series.values {
        let text = times::strftime("%H:%M:%S", (at / 1_000_000_000) as i64, Zone::Local, 16);
        to.extend_from_slice(&text.unwrap_or_default());
        if digits > 0 {
            let part = at % 1_000_000_000 / 10_u64.pow(9 - digits as u32);
            _ = write!(to, ".{part:0digits$}");
        }
        let number = value.as_ref().and_then(Value::number);
        let point = String::from_utf8_lossy(&line(number, least, greatest)).into_owned();
        let shown = value.as_ref().map_or_else(|| b"-".to_vec(), Value::written);
        _ = writeln!(to, " {point} {}", String::from_utf8_lossy(&shown));
    }
    _ = writeln!(to, "{indent}v{}v", "_".repeat(GRAPH - 2));
    _ = writeln!(to, "{indent}{ends}");
}

/// The least and the greatest value; if they are the same, one less and one more.
fn bounds(series: &Series) -> (i128, i128) {
    let values = || series.values.iter().filter_map(|(_, value)| value.as_ref());
    let numbers = || values().filter_map(Value::number);
    let least = numbers().min().unwrap_or_default();
    let greatest = numbers().max().unwrap_or_default();
    if least != greatest {
        return (least, greatest);
    }
    let is_signed = values().any(|value| matches!(value, Value::Signed(_)));
    let range = if is_signed {
        i128::from(i64::MIN)..=i128::from(i64::MAX)
    } else {
        0..=i128::from(u64::MAX)
    };
    ((least - 1).max(*range.start()), (greatest + 1).min(*range.end()))
}

/// A line of the graph, with a point where a value is and another where 0 is.
fn line(value: Option<i128>, least: i128, greatest: i128) -> Vec<u8> {
    // In single precision, so that points are where bpftrace's are.
    let place = |columns: usize, value: i128| {
        let share = columns as f32 * (value - least) as f32 / (greatest - least) as f32;
        (share as usize).min(GRAPH - 1)
    };
    let mut line = vec![b' '; GRAPH];
    (line[0], line[GRAPH - 1]) = (b'|', b'|');
    if least < 0 && greatest > 0 {
        let zero = place(GRAPH, 0);
        if zero > 0 {
            line[zero] = b'.';
        }
    }
    if let Some(value) = value {
        let at = if least == greatest { GRAPH / 2 } else { place(GRAPH - 1, value) };
        line[at] = b'*';
    }
    line
}

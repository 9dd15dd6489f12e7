//! Aggregates that are tables → histograms and series.

use std::collections::BTreeMap;

use super::read::{number, word};
use super::shown::{Bucket, Histogram, Series};
use super::value::Value;
use crate::lang::types::{self, Aggregate};

/// Entries of one key: their numbers, and the values of all CPUs.
pub(super) type Entries = BTreeMap<u64, Vec<u8>>;

/// A table as it is shown; values of hist are divided by `divisor`.
pub(super) fn histogram(of: Aggregate, entries: &Entries, divisor: u64) -> Histogram {
    let counts: Vec<(u64, u64)> = entries
        .iter()
        .map(|(bucket, value)| (*bucket, sum(value)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let (Some(&(first, _)), Some(&(last, _))) = (counts.first(), counts.last()) else {
        return Histogram::default();
    };
    let counts: BTreeMap<u64, u64> = counts.into_iter().collect();
    let buckets = (first..=last).map(|at| {
        let count = counts.get(&at).copied().unwrap_or_default();
        match of {
            Aggregate::Lhist { min, max, step } => Bucket {
                from: at.checked_sub(1).map(|below| step_edge(min, step, below)),
                to: (edge(min, step, at) <= i128::from(max)).then(|| step_edge(min, step, at)),
                count,
            },
            Aggregate::Hist { bits } => Bucket {
                from: at.checked_sub(1).map(|below| power_edge(below, bits)),
                to: Some(power_edge(at, bits)),
                count: count / divisor.max(1),
            },
            _ => Bucket { from: None, to: None, count },
        }
    });
    Histogram { buckets: buckets.collect() }
}

/// Of all CPUs.
pub(super) fn sum(value: &[u8]) -> u64 {
    let (words, _) = value.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)))
}

/// Where hist's bucket ends: those of one value as a number, the others in powers of 1024 if they can be.
fn power_edge(bucket: u64, bits: u8) -> Value {
    if bucket <= 2 << bits {
        return Value::Signed(bucket as i64);
    }
    let power = (bucket >> bits) - 1;
    let mantissa = (1 << bits) + (bucket & ((1 << bits) - 1));
    let unit = ["", "K", "M", "G", "T", "P", "E"].get(power as usize / 10).unwrap_or(&"");
    let label = format!("{}{unit}", mantissa << (power % 10));
    Value::Named(label.into_bytes(), i128::from(mantissa) << power)
}

fn edge(min: i64, step: i64, at: u64) -> i128 {
    i128::from(min) + i128::from(at) * i128::from(step)
}

/// lhist's: in powers of 1024 if the steps are such.
fn step_edge(min: i64, step: i64, at: u64) -> Value {
    const K: i128 = 1024;
    const M: i128 = K * K;

    let edge = edge(min, step, at);
    if i128::from(step) % K != 0 {
        return Value::Signed(edge as i64);
    }
    let label = match edge {
        0 => "0".to_owned(),
        edge if edge % M == 0 => format!("{}M", edge / M),
        edge if edge % K == 0 => format!("{}K", edge / K),
        edge => edge.to_string(),
    };
    Value::Named(label.into_bytes(), edge)
}

/// The intervals that have a value, by their numbers.
pub(super) fn intervals(
    of: types::Series,
    signed: bool,
    entries: &Entries,
) -> BTreeMap<u64, Value> {
    let values = entries.values().map(|value| latest(of, signed, value));
    values.map(|(at, value)| (at, number(value, signed))).collect()
}

/// The latest interval that any CPU has in an entry, and its value. The interval 0 is one that never was.
fn latest(of: types::Series, signed: bool, value: &[u8]) -> (u64, i128) {
    let (entries, _) = value.as_chunks::<24>();
    let entries = || entries.iter().map(|entry| (word(entry, 0), word(entry, 8), word(entry, 16)));
    let interval = entries().filter(|(_, _, count)| *count > 0).map(|(at, ..)| at).max();
    let Some(interval) = interval.filter(|at| *at > 0) else { return (0, 0) };
    let sign = |value: u64| {
        if signed { i128::from(value.cast_signed()) } else { i128::from(value) }
    };
    let of_interval = || {
        let those = entries().filter(move |(at, _, count)| *at == interval && *count > 0);
        those.map(move |(_, value, count)| (sign(value), count))
    };
    let values = || of_interval().map(|(value, _)| value);
    let value = match of {
        types::Series::Last => {
            of_interval().max_by_key(|(_, count)| *count).map(|(value, _)| value)
        }
        types::Series::Min => values().min(),
        types::Series::Max => values().max(),
        types::Series::Sum => Some(values().sum()),
        types::Series::Avg => {
            let count: u64 = of_interval().map(|(_, count)| count).sum();
            Some(values().sum::<i128>() / i128::from(count.max(1)))
        }
    };
    (interval, value.unwrap_or_default())
}

/// The last `intervals` up to `last`, from the first of them that has a value.
pub(super) fn series(
    values: &BTreeMap<u64, Value>,
    last: u64,
    intervals: u32,
    length_ns: u64,
) -> Series {
    let Some(earliest) = (last + 1).checked_sub(intervals.into()) else { return Series::default() };
    let Some((&first, _)) = values.range(earliest..=last).next() else { return Series::default() };
    let row = |at: u64| (at.wrapping_mul(length_ns), values.get(&at).cloned());
    Series { values: (first..=last).map(row).collect() }
}

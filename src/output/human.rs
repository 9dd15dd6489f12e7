//! Values as people read them in tables.

use crate::columns::{Unit, Value};
use crate::histogram::duration;

/// Units of byte columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Units {
    /// 1.5KiB.
    #[default]
    BinBytes,
    /// 12.0Kib.
    BinBits,
    /// 1.5kB.
    SiBytes,
    /// 12.3kb.
    SiBits,
}

/// What stands for a value that isn't known.
const UNKNOWN: &str = "-";

/// A value as tables show it.
pub fn cell(value: &Value<'_>, unit: Unit, units: Units) -> String {
    match (value, unit) {
        (Value::None, _) => UNKNOWN.to_owned(),
        (Value::Text(text), _) => text.clone().into_owned(),
        (Value::Address(address), _) => address.to_string(),
        (Value::Counts(counts), _) => {
            let words: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name}:{count}")).collect();
            if words.is_empty() { UNKNOWN.to_owned() } else { words.join(" ") }
        }
        (Value::Buckets(buckets), _) => format!("{} buckets", buckets.len()),
        (Value::Bool(yes), _) => if *yes { "yes" } else { "no" }.to_owned(),
        (Value::Int(n), Unit::Bytes) => bytes(*n as f64, units),
        (Value::Int(n), Unit::Micros) => micros(*n),
        (Value::Int(n), Unit::Nanos) => duration(*n),
        (Value::Int(n), _) => n.to_string(),
        (Value::Real(x), Unit::Bytes | Unit::ByteRate) => bytes(*x, units),
        (Value::Real(x), Unit::Seconds) => age(*x),
        (Value::Real(x), Unit::Percent) => format!("{x:.1}"),
        (Value::Real(x), _) => format!("{x:.0}"),
    }
}

pub(crate) fn bytes(bytes: f64, units: Units) -> String {
    let (amount, step, prefixes, unit) = match units {
        Units::BinBytes => (bytes, 1024.0, ["", "Ki", "Mi", "Gi", "Ti", "Pi"], "B"),
        Units::BinBits => (bytes * 8.0, 1024.0, ["", "Ki", "Mi", "Gi", "Ti", "Pi"], "b"),
        Units::SiBytes => (bytes, 1000.0, ["", "k", "M", "G", "T", "P"], "B"),
        Units::SiBits => (bytes * 8.0, 1000.0, ["", "k", "M", "G", "T", "P"], "b"),
    };
    let mut amount = amount;
    let mut prefix = 0;
    // 999.95 would be shown as 1000.0.
    while amount >= step - 0.05 && prefix + 1 < prefixes.len() {
        amount /= step;
        prefix += 1;
    }
    let digits = usize::from(prefix > 0);
    format!("{amount:.digits$}{}{unit}", prefixes[prefix])
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        _ => format!("{:.2}s", us as f64 / 1e6),
    }
}

fn age(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..120 => format!("{whole}s"),
        120..7_200 => format!("{}m", whole / 60),
        7_200..172_800 => format!("{}h", whole / 3_600),
        _ => format!("{}d", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_each_unit() {
        assert_eq!(bytes(0.0, Units::BinBytes), "0B");
        assert_eq!(bytes(1023.0, Units::BinBytes), "1023B");
        assert_eq!(bytes(1536.0, Units::BinBytes), "1.5KiB");
        assert_eq!(bytes(1536.0, Units::BinBits), "12.0Kib");
        assert_eq!(bytes(1500.0, Units::SiBytes), "1.5kB");
        assert_eq!(bytes(999_999.0, Units::SiBytes), "1.0MB");
        assert_eq!(bytes(1e6, Units::SiBits), "8.0Mb");
        assert_eq!(bytes(u64::MAX as f64, Units::BinBytes), "16384.0PiB");
    }

    #[test]
    fn times() {
        assert_eq!(micros(999), "999us");
        assert_eq!(micros(1_500), "1.5ms");
        assert_eq!(micros(2_000_000), "2.00s");
        assert_eq!(age(0.04), "0.0s");
        assert_eq!(age(59.0), "59s");
        assert_eq!(age(7_199.0), "119m");
        assert_eq!(age(200_000.0), "2d");
    }
}

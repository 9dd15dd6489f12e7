//! Maps' entries → what is shown of them, in the order in which bpftrace shows it: by value where values are
//! numbers, else by key.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;

use super::read::{Reader, int, number, word};
use super::shown::{Kind, Shown, ShownMap};
use super::tables::{self, Entries};
use super::value::Value;
use crate::lang::program::{Map, Role};
use crate::lang::types::{Aggregate, Int, Structs, Type};

/// How much of a map is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cut {
    /// So many entries, those that come last; 0 for all.
    pub(super) top: u64,
    /// Values are divided by this; 0 for not at all.
    pub(super) divisor: u64,
}

/// What is known of a map before it is read.
struct Shape<'m> {
    map: &'m Map,
    key: Option<&'m Type>,
    value: &'m Type,
}

impl<'m> Shape<'m> {
    fn of(map: &'m Map) -> Option<Self> {
        let Role::User { key, value } = &map.role else { return None };
        Some(Self { map, key: key.as_ref(), value })
    }

    fn kind(&self) -> Kind {
        match self.value.aggregate() {
            Some(Aggregate::Avg { .. } | Aggregate::Stats { .. }) => Kind::Stats,
            Some(Aggregate::Hist { .. } | Aggregate::Lhist { .. }) => Kind::Hist,
            Some(Aggregate::Tseries { .. }) => Kind::Series,
            _ => Kind::Map,
        }
    }

    /// Bytes between one CPU's value and the next one's.
    fn stride(&self) -> usize {
        self.map.value_size.next_multiple_of(8) as usize
    }
}

/// Whether a map has an entry with something in it.
pub(super) fn is_empty(entries: &[(Vec<u8>, Vec<u8>)], map: &Map) -> bool {
    let is_array = map.kind == crate::lang::program::MapKind::PercpuArray;
    let is_zero = |value: &[u8]| value.iter().all(|byte| *byte == 0);
    entries.iter().all(|(_, value)| is_array && is_zero(value))
}

impl Reader<'_> {
    /// A map as it is shown. `zeroed`: an array in which all is 0 was written to. Nothing if there is nothing in it.
    ///
    /// # Errors
    /// If it can't be read.
    pub(super) fn map(
        &mut self,
        place: usize,
        zeroed: bool,
        cut: Cut,
    ) -> io::Result<Option<ShownMap>> {
        let program = self.program;
        let Some(shape) = program.maps.get(place).and_then(Shape::of) else { return Ok(None) };
        let mut entries = self.maps.entries(place)?;
        if !zeroed && is_empty(&entries, shape.map) {
            return Ok(None);
        }
        let shown = if let Some(of) = shape.value.aggregate().filter(|of| of.is_table()) {
            self.table(&shape, of, &entries, cut)
        } else {
            entries.sort_by(|(a, _), (b, _)| by_key(&program.structs, shape.key, a, b));
            self.plain(&shape, entries, cut)
        };
        let name = shape.map.name.clone();
        Ok(shown.map(|shown| ShownMap { name, shown, kind: shape.kind() }))
    }

    /// A scalar map in which there is nothing, which `print` shows nevertheless.
    pub(super) fn empty(&mut self, place: usize) -> Option<ShownMap> {
        let shape = self.program.maps.get(place).and_then(Shape::of)?;
        let is_table = shape.value.aggregate().is_some_and(Aggregate::is_table);
        if shape.key.is_some() || is_table {
            return None;
        }
        let shown = Shown::Value(self.entry_value(&shape, &[], 1));
        Some(ShownMap { name: shape.map.name.clone(), shown, kind: shape.kind() })
    }

    /// The entry of a key.
    ///
    /// # Errors
    /// If it can't be read.
    pub(super) fn entry(&mut self, place: usize, key: &[u8]) -> io::Result<Shown> {
        let Some(shape) = self.program.maps.get(place).and_then(Shape::of) else {
            return Ok(Shown::Value(Value::Null));
        };
        if let Some(of) = shape.value.aggregate().filter(|of| of.is_table()) {
            let mut entries = self.maps.entries(place)?;
            entries.retain(|(other, _)| other.starts_with(key));
            let shown = self.table(&shape, of, &entries, Cut::default());
            return Ok(match shown {
                Some(Shown::Map(mut entries)) if !entries.is_empty() => entries.remove(0).1,
                Some(shown) => shown,
                None => Shown::Map(Vec::new()),
            });
        }
        let value = self.maps.value(place, key)?.unwrap_or_default();
        Ok(Shown::Value(self.entry_value(&shape, &value, 1)))
    }

    fn plain(
        &mut self,
        shape: &Shape<'_>,
        mut entries: Vec<(Vec<u8>, Vec<u8>)>,
        cut: Cut,
    ) -> Option<Shown> {
        if is_ordered_by_value(shape.value) {
            entries.sort_by_cached_key(|(_, value)| rank(shape, value));
        }
        skip(&mut entries, cut.top);
        let divisor = cut.divisor.max(1);
        let Some(key) = shape.key else {
            let (_, value) = entries.first()?;
            return Some(Shown::Value(self.entry_value(shape, value, divisor)));
        };
        let shown = entries.iter().map(|(at, value)| {
            (self.value(key, at), Shown::Value(self.entry_value(shape, value, divisor)))
        });
        Some(Shown::Map(shown.collect()))
    }

    /// A value that isn't a table.
    fn entry_value(&mut self, shape: &Shape<'_>, value: &[u8], divisor: u64) -> Value {
        match shape.value {
            Type::Aggregate(of) => aggregate(*of, value, divisor),
            Type::Int(of) if shape.map.kind.is_per_cpu() => {
                let cpus = value.chunks(shape.stride());
                let sum = cpus.map(|cpu| int(*of, cpu)).sum();
                number(of.wrap(sum) / i128::from(divisor), of.signed)
            }
            Type::Int(of) => number(int(*of, value) / i128::from(divisor), of.signed),
            other => self.value(other, value),
        }
    }

    fn table(
        &mut self,
        shape: &Shape<'_>,
        of: Aggregate,
        entries: &[(Vec<u8>, Vec<u8>)],
        cut: Cut,
    ) -> Option<Shown> {
        let tables = by_prefix(&self.program.structs, shape, entries);
        let mut shown: Vec<(Vec<u8>, u64, Shown)> = match of {
            Aggregate::Tseries { of, interval, intervals, signed } => {
                let series =
                    |(key, entries): (_, Entries)| (key, tables::intervals(of, signed, &entries));
                let all: Vec<(Vec<u8>, BTreeMap<u64, Value>)> =
                    tables.into_iter().map(series).collect();
                let last = all.iter().filter_map(|(_, values)| values.keys().next_back()).max();
                let last = last.copied().unwrap_or_default();
                let shown =
                    |values| Shown::Series(tables::series(values, last, intervals, interval));
                all.iter().map(|(key, values)| (key.clone(), 0, shown(values))).collect()
            }
            _ => {
                let count =
                    |entries: &Entries| entries.values().map(|value| tables::sum(value)).sum();
                let shown = |entries: &Entries| {
                    Shown::Histogram(tables::histogram(of, entries, cut.divisor))
                };
                let one = |(key, entries): (_, Entries)| (key, count(&entries), shown(&entries));
                tables.into_iter().map(one).collect()
            }
        };
        shown.sort_by_key(|(_, count, _)| *count);
        if !matches!(of, Aggregate::Tseries { .. }) {
            skip(&mut shown, cut.top);
        }
        let Some(key) = shape.key else { return shown.pop().map(|(.., shown)| shown) };
        let shown = shown.into_iter().map(|(at, _, shown)| (self.value(key, &at), shown));
        Some(Shown::Map(shown.collect()))
    }
}

/// Only the last so many.
fn skip<T>(entries: &mut Vec<T>, top: u64) {
    let top = usize::try_from(top).unwrap_or(usize::MAX);
    if top > 0 && entries.len() > top {
        entries.drain(..entries.len() - top);
    }
}

/// The tables of each key, keys in the order of their bytes.
fn by_prefix(
    structs: &Structs,
    shape: &Shape<'_>,
    entries: &[(Vec<u8>, Vec<u8>)],
) -> BTreeMap<Vec<u8>, Entries> {
    let behind = shape.key.map_or(0, |key| Map::table_key(structs, key) as usize);
    let mut tables: BTreeMap<Vec<u8>, Entries> = BTreeMap::new();
    for (key, value) in entries {
        let (prefix, bucket) = key.split_at(behind.min(key.len()));
        let mut number = [0; 8];
        let length = bucket.len().min(8);
        number[..length].copy_from_slice(&bucket[..length]);
        let table = tables.entry(prefix.to_vec()).or_default();
        table.insert(word(&number, 0), value.clone());
    }
    tables
}

/// What one CPU counted, after what the others did.
fn pairs(value: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let (pairs, _) = value.as_chunks::<16>();
    pairs.iter().map(|pair| (word(pair, 0), word(pair, 8)))
}

fn sign(value: u64, signed: bool) -> i128 {
    if signed { value.cast_signed().into() } else { value.into() }
}

/// Least and greatest of all CPUs; 0 if there is none.
fn extreme(value: &[u8], signed: bool, is_max: bool) -> i128 {
    let values = pairs(value).filter(|(_, is)| *is != 0).map(|(value, _)| sign(value, signed));
    let found = if is_max { values.max() } else { values.min() };
    found.unwrap_or_default()
}

/// Total and count of all CPUs.
fn total(value: &[u8], signed: bool) -> (i128, i128) {
    let sums = pairs(value).fold((0_u64, 0_u64), |(total, count), (more, times)| {
        (total.wrapping_add(more), count.wrapping_add(times))
    });
    (sign(sums.0, signed), sums.1.into())
}

fn mean((total, count): (i128, i128)) -> i128 {
    if count == 0 { 0 } else { total / count }
}

fn aggregate(of: Aggregate, value: &[u8], divisor: u64) -> Value {
    let signed = of.signed() == Some(true);
    let divided = |value: i128| number(value / i128::from(divisor), signed);
    match of {
        Aggregate::Count | Aggregate::Sum { .. } => divided(sign(tables::sum(value), signed)),
        Aggregate::Min { .. } => divided(extreme(value, signed, false)),
        Aggregate::Max { .. } => divided(extreme(value, signed, true)),
        Aggregate::Avg { .. } => divided(mean(total(value, signed))),
        Aggregate::Stats { .. } => {
            let (total, count) = total(value, signed);
            Value::Record(vec![
                ("count".into(), number(count, signed)),
                ("average".into(), divided(mean((total, count)))),
                ("total".into(), number(total, signed)),
            ])
        }
        Aggregate::Hist { .. } | Aggregate::Lhist { .. } | Aggregate::Tseries { .. } => Value::Null,
    }
}

/// Whether it is values that are ordered, not keys.
fn is_ordered_by_value(value: &Type) -> bool {
    value.is_int() || matches!(value, Type::Aggregate(_))
}

/// By what a value is ordered.
fn rank(shape: &Shape<'_>, value: &[u8]) -> i128 {
    let of = match shape.value {
        Type::Aggregate(of) => of,
        other => {
            let of = other.int().unwrap_or(Int::U64);
            return value.chunks(shape.stride()).map(|cpu| int(of, cpu)).sum();
        }
    };
    let signed = of.signed() == Some(true);
    match of {
        Aggregate::Count | Aggregate::Sum { .. } => sign(tables::sum(value), signed),
        Aggregate::Min { .. } => extreme(value, signed, false),
        Aggregate::Max { .. } => extreme(value, signed, true),
        _ => mean(total(value, signed)),
    }
}

/// Integers by their values, as if all were signed, strings and what else there is by their bytes; tuples by their
/// first part that differs.
fn by_key(structs: &Structs, key: Option<&Type>, a: &[u8], b: &[u8]) -> Ordering {
    match key {
        Some(Type::Int(of) | Type::Enum(_, of)) => {
            let of = Int { signed: true, ..*of };
            int(of, a).cmp(&int(of, b))
        }
        Some(ty @ Type::Tuple(parts)) => {
            let offsets = structs.layout(ty).offsets;
            let part = |(ty, at): (&Type, u32)| {
                let size = structs.size_of(ty) as usize;
                let of = |bytes: &[u8]| {
                    let there = bytes.get(at as usize..).unwrap_or_default();
                    there[..there.len().min(size)].to_vec()
                };
                by_key(structs, Some(ty), &of(a), &of(b))
            };
            parts
                .iter()
                .zip(offsets)
                .map(part)
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        _ => a.cmp(b),
    }
}

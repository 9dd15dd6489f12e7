//! Every column once: its key in JSON and on the command line, its title, its unit, where its value
//! comes from, and the order of a view's rows. Tables, CSV, JSON and the schema are made from this.

mod drops;
mod flows;
mod ifaces;
pub(crate) mod importance;
mod lists;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;

pub use ifaces::OF_XDP;
use rustc_hash::FxHasher;

use crate::filter::nearest;
use crate::model::{
    ConnRow, ContainerRow, DropRow, FlowRow, HostRow, IfaceRow, ListenerRow, ProcRow, Rows,
    SyscallRow, View,
};

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Unknown, or not applicable.
    None,
    /// A count, bytes, µs: whole and exact.
    Int(u64),
    /// A rate or a time.
    Real(f64),
    /// A name.
    Text(Cow<'a, str>),
    /// An IP address.
    Address(IpAddr),
    /// Yes or no.
    Bool(bool),
    /// Counts by name.
    Counts(Vec<(Cow<'a, str>, u64)>),
    /// Counts by range of ns.
    Buckets(Vec<(Range<u64>, u64)>),
}

/// How a value is shown and what JSON type it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Text, left-aligned.
    Text,
    /// An identifying number, shown as it is.
    Number,
    /// A count.
    Count,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    ByteRate,
    /// Things per second.
    Rate,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
    /// Of a hundred.
    Percent,
    /// Seconds.
    Seconds,
    /// Yes or no.
    Flag,
    /// Counts by name.
    Counts,
    /// Counts by range of ns.
    Buckets,
}

/// One column of rows of type `R`.
#[derive(Debug)]
pub struct Column<R: 'static> {
    /// Its name in JSON and for `-s` and `--columns`.
    pub key: &'static str,
    /// Its header in tables.
    pub title: &'static str,
    /// How it is shown.
    pub unit: Unit,
    /// Whether a table shows it unasked.
    pub shown: bool,
    /// What it means, for the schema.
    pub about: &'static str,
    /// Its value in a row.
    pub get: fn(&R) -> Value<'_>,
}

/// A row type of a view.
pub trait Row: Sized + 'static {
    /// The view it is a row of.
    const VIEW: View;
    /// All its columns, in order.
    fn columns() -> &'static [Column<Self>];
    /// How much the row matters, where no order was asked for: the first number before the second.
    fn weight(&self) -> [f64; 2];
    /// The order of rows of the same weight.
    fn among_equals(a: &Self, b: &Self) -> Ordering;
    /// What a row has in common with the row of the same thing in other frames of its view.
    fn identity(&self) -> impl Hash;
    /// It is the last row of what it tells of.
    fn is_last(&self) -> bool;
}

/// [`Row::identity`] in one number.
pub fn identity<R: Row>(row: &R) -> u64 {
    let mut hasher = FxHasher::default();
    row.identity().hash(&mut hasher);
    hasher.finish()
}

/// Calls a generic function with the rows of whatever view it is.
#[macro_export]
macro_rules! with_rows {
    ($rows:expr, $name:ident => $body:expr) => {
        match $rows {
            $crate::model::Rows::Procs($name) => $body,
            $crate::model::Rows::Conns($name) => $body,
            $crate::model::Rows::Hosts($name) => $body,
            $crate::model::Rows::Containers($name) => $body,
            $crate::model::Rows::Ifaces($name) => $body,
            $crate::model::Rows::Flows($name) => $body,
            $crate::model::Rows::Listeners($name) => $body,
            $crate::model::Rows::Syscalls($name) => $body,
            $crate::model::Rows::Drops($name) => $body,
        }
    };
}

/// What is known of a column without its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    /// See [`Column::key`].
    pub key: &'static str,
    /// See [`Column::title`].
    pub title: &'static str,
    /// See [`Column::unit`].
    pub unit: Unit,
    /// See [`Column::shown`].
    pub shown: bool,
    /// See [`Column::about`].
    pub about: &'static str,
}

/// The columns of a view.
pub fn of_view(view: View) -> Vec<ColumnInfo> {
    fn infos<R: Row>() -> Vec<ColumnInfo> {
        let info = |c: &Column<R>| ColumnInfo {
            key: c.key,
            title: c.title,
            unit: c.unit,
            shown: c.shown,
            about: c.about,
        };
        R::columns().iter().map(info).collect()
    }
    match view {
        View::Procs => infos::<ProcRow>(),
        View::Conns => infos::<ConnRow>(),
        View::Hosts => infos::<HostRow>(),
        View::Containers => infos::<ContainerRow>(),
        View::Ifaces => infos::<IfaceRow>(),
        View::Flows => infos::<FlowRow>(),
        View::Listeners => infos::<ListenerRow>(),
        View::Syscalls => infos::<SyscallRow>(),
        View::Drops => infos::<DropRow>(),
    }
}

/// Finds a column of a view by key or title.
///
/// # Errors
/// The message for the user, with the nearest name or all of them.
pub fn find(view: View, word: &str) -> Result<usize, String> {
    let columns = of_view(view);
    let is_it = |c: &ColumnInfo| c.key == word || c.title.eq_ignore_ascii_case(word);
    columns.iter().position(is_it).ok_or_else(|| {
        match nearest(word, columns.iter().flat_map(|c| [c.title, c.key])) {
            Some(near) => format!("no column {word} in {view}; did you mean {near}?"),
            None => {
                let keys: Vec<&str> = columns.iter().map(|c| c.key).collect();
                format!("no column {word} in {view}; there are {}", keys.join(" "))
            }
        }
    })
}

/// How the rows of a frame are ordered and cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Index of the column to sort by; by weight where none.
    pub column: Option<usize>,
    /// The other way round.
    pub reverse: bool,
    /// At most so many rows; 0 is all.
    pub rows: usize,
}

/// Sorts the rows, numbers from large to small and text from A to Z, and cuts them. Returns how many
/// were cut off.
pub fn arrange(rows: &mut Rows, order: Order) -> usize {
    with_rows!(rows, rows => arrange_rows(rows, order))
}

fn arrange_rows<R: Row>(rows: &mut Vec<R>, order: Order) -> usize {
    let column = order.column.and_then(|index| R::columns().get(index));
    let turned = |order_of: Ordering| if order.reverse { order_of.reverse() } else { order_of };
    let by_value = |a: &R, b: &R| {
        let by_value = column.map(|c| compare(&(c.get)(a), &(c.get)(b)));
        by_value.unwrap_or(Ordering::Equal)
    };
    // Rows are large, and far apart in memory: nearly all comparisons do with what is beside the index.
    let key = |(index, row): (usize, &R)| {
        let column = column.map_or(Rank::SAME, |c| Rank::of(&(c.get)(row)));
        (column, row.weight().map(rank_of_number), index)
    };
    let mut keys: Vec<(Rank, [u64; 2], usize)> = rows.iter().enumerate().map(key).collect();
    keys.sort_unstable_by(|(a, a_weight, a_at), (b, b_weight, b_at)| {
        let (a_row, b_row) = (&rows[*a_at], &rows[*b_at]);
        let unknown = a.is_unknown.cmp(&b.is_unknown);
        let by_rank = unknown.then_with(|| turned(a.number.cmp(&b.number)));
        let by_column = by_rank.then_with(|| match a.is_exact && b.is_exact {
            true => Ordering::Equal,
            false => turned(by_value(a_row, b_row)),
        });
        let by_weight = || a_weight.cmp(b_weight).then_with(|| R::among_equals(a_row, b_row));
        by_column.then_with(|| turned(by_weight())).then(a_at.cmp(b_at))
    });
    permute(rows, keys.iter().map(|key| key.2).collect());
    let all = rows.len();
    if order.rows > 0 {
        rows.truncate(order.rows);
    }
    all - rows.len()
}

/// Puts at each place what is at `from[place]`.
fn permute<T>(items: &mut [T], mut from: Vec<usize>) {
    for start in 0..items.len() {
        let mut at = start;
        while from[at] != start {
            let next = from[at];
            items.swap(at, next);
            from[at] = at;
            at = next;
        }
        from[at] = at;
    }
}

/// A value's place in the order of its column, as far as a number says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rank {
    is_unknown: bool,
    /// Never goes against [`compare`], though it may be the same for different values ...
    number: u64,
    /// ... but for those of which it says all.
    is_exact: bool,
}

impl Rank {
    const SAME: Self = Rank { is_unknown: false, number: 0, is_exact: true };

    fn of(value: &Value<'_>) -> Self {
        let (number, is_exact) = match value {
            Value::None => return Rank { is_unknown: true, ..Rank::SAME },
            Value::Text(text) => {
                let mut start = [0; size_of::<u64>()];
                let known = text.len().min(start.len());
                start[..known].copy_from_slice(&text.as_bytes()[..known]);
                (u64::from_be_bytes(start), text.len() < start.len() && !text.contains('\0'))
            }
            Value::Address(IpAddr::V4(address)) => (u64::from(u32::from(*address)), true),
            Value::Address(IpAddr::V6(address)) => {
                (1 << 63 | (u128::from(*address) >> 65) as u64, false)
            }
            Value::Int(value) => (!*value, true),
            value => (rank_of_number(number(value).unwrap_or(0.0)), true),
        };
        Rank { is_unknown: false, number, is_exact }
    }
}

/// Of a number, large ones first.
fn rank_of_number(number: f64) -> u64 {
    let bits = number.to_bits();
    // As f64::total_cmp has it: of negative numbers all bits are turned, of others the sign.
    let rising = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    !rising
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Real(value) => Some(*value),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Counts(counts) => Some(counts.iter().map(|(_, count)| *count as f64).sum()),
        Value::Text(_) | Value::Address(_) | Value::Buckets(_) | Value::None => None,
    }
}

/// Numbers from large to small, names from A to Z.
fn compare(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => b.cmp(a),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Address(a), Value::Address(b)) => a.cmp(b),
        _ => number(b).unwrap_or(0.0).total_cmp(&number(a).unwrap_or(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn values() -> impl Strategy<Value = Vec<Value<'static>>> {
        let text = "[a-c]{0,10}|\\PC{0,10}".prop_map(|text| Value::Text(Cow::Owned(text)));
        let v4 = any::<[u8; 4]>().prop_map(|bytes| Value::Address(IpAddr::from(bytes)));
        let v6 = (any::<[u8; 16]>(), 0..3_u8).prop_map(|(mut bytes, last)| {
            bytes[..15].fill(last);
            Value::Address(IpAddr::from(bytes))
        });
        let pairs = |one: BoxedStrategy<Value<'static>>| collection::vec(one, 2);
        prop_oneof![
            pairs(prop_oneof![any::<u64>(), 0..4_u64].prop_map(Value::Int).boxed()),
            pairs(any::<f64>().prop_map(Value::Real).boxed()),
            pairs(any::<bool>().prop_map(Value::Bool).boxed()),
            pairs(text.boxed()),
            pairs(prop_oneof![v4, v6].boxed()),
        ]
    }

    proptest! {
        #[test]
        fn a_rank_never_goes_against_the_order(values in values()) {
            let (a, b) = (&values[0], &values[1]);
            let (by_value, ranks) = (compare(a, b), [a, b].map(Rank::of));
            let by_rank = ranks[0].number.cmp(&ranks[1].number);
            let says_all = ranks.iter().all(|rank| rank.is_exact);
            prop_assert!(by_rank == by_value || by_rank == Ordering::Equal && !says_all, "{a:?} {b:?}");
        }

        #[test]
        fn rows_are_put_where_they_belong(from in Just((0..50_usize).collect()).prop_shuffle()) {
            let from: Vec<usize> = from;
            let mut items: Vec<usize> = (0..50).collect();
            permute(&mut items, from.clone());
            prop_assert_eq!(items, from);
        }
    }

    #[test]
    fn keys_and_titles_are_unique_in_a_view() {
        for view in View::ALL {
            let columns = of_view(view);
            let keys: HashSet<_> = columns.iter().map(|c| c.key).collect();
            let titles: HashSet<_> = columns.iter().map(|c| c.title).collect();
            assert_eq!(keys.len(), columns.len(), "{view}");
            assert_eq!(titles.len(), columns.len(), "{view}");
        }
    }

    #[test]
    fn keys_say_their_unit() {
        for (view, column) in
            View::ALL.into_iter().flat_map(|v| of_view(v).into_iter().map(move |c| (v, c)))
        {
            let suffix = match column.unit {
                Unit::ByteRate => "_bytes_per_second",
                Unit::Rate => "_per_second",
                Unit::Micros => "_us",
                Unit::Nanos => "_ns",
                Unit::Percent => "_percent",
                Unit::Seconds => "_s",
                Unit::Bytes if column.key.ends_with("_total") => "_bytes_total",
                Unit::Bytes => "_bytes",
                _ => "",
            };
            assert!(format!("_{}", column.key).ends_with(suffix), "{view} {}", column.key);
        }
    }

    #[test]
    fn columns_are_found_by_key_and_title() {
        assert_eq!(find(View::Procs, "pid"), Ok(0));
        assert_eq!(find(View::Procs, "rx/s"), find(View::Procs, "rx_bytes_per_second"));
        assert_eq!(
            find(View::Procs, "connection").unwrap_err(),
            "no column connection in procs; did you mean connections?"
        );
        assert!(find(View::Ifaces, "qqq").unwrap_err().contains("there are interface"));
    }

    #[test]
    fn numbers_fall_and_names_rise() {
        assert_eq!(compare(&Value::Int(2), &Value::Int(1)), Ordering::Less);
        let text = |text: &'static str| Value::Text(text.into());
        assert_eq!(compare(&text("a"), &text("b")), Ordering::Less);
        assert_eq!(compare(&Value::Real(1.0), &Value::Real(2.0)), Ordering::Greater);
        let address = |text: &str| Value::Address(text.parse().unwrap());
        assert_eq!(compare(&address("10.0.0.9"), &address("10.0.0.10")), Ordering::Less);
    }
}

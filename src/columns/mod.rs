//! Every column once: its key in JSON and on the command line, its title, its unit, where its value
//! comes from, and the order of a view's rows. Tables, CSV, JSON and the schema are made from this.

mod drops;
mod flows;
mod lists;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;

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
    /// The order of rows where none was asked for: what matters first.
    fn by_weight(a: &Self, b: &Self) -> Ordering;
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
    rows.sort_by(|a, b| {
        let by_column = column.map_or(Ordering::Equal, |c| {
            let (a, b) = ((c.get)(a), (c.get)(b));
            let unknown = (a == Value::None).cmp(&(b == Value::None));
            unknown.then_with(|| turned(compare(&a, &b)))
        });
        by_column.then_with(|| turned(R::by_weight(a, b)))
    });
    let all = rows.len();
    if order.rows > 0 {
        rows.truncate(order.rows);
    }
    all - rows.len()
}

/// Numbers from large to small, names from A to Z.
fn compare(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    fn number(value: &Value<'_>) -> Option<f64> {
        match value {
            Value::Int(value) => Some(*value as f64),
            Value::Real(value) => Some(*value),
            Value::Bool(value) => Some(f64::from(u8::from(*value))),
            Value::Counts(counts) => Some(counts.iter().map(|(_, count)| *count as f64).sum()),
            Value::Text(_) | Value::Address(_) | Value::Buckets(_) | Value::None => None,
        }
    }
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
    use std::collections::HashSet;

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

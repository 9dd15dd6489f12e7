//! The state of a table: its rows, their order, which one the cursor is on, and how wide columns are.
//! Whatever draws it asks here and changes nothing.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use crate::columns::{self, ColumnInfo, Order, Unit, Value, identity, importance};
use crate::model::{Rows, View};
use crate::output::{self, Units};
use crate::with_rows;

/// Between two columns.
pub const GAP: u16 = 2;
/// Text that is wider is cut; addresses of IPv6 just fit.
const WIDEST_TEXT: u16 = 39;
/// Names of processes as the kernel has them; only those with escapes are longer.
const WIDEST_COMM: u16 = 16;
/// No text takes more than this part of the width ...
const TEXT_SHARE: u16 = 4;
/// ... but this much it always may.
const NARROW_TEXT: u16 = 12;

/// Rows under a header, and a cursor among them.
#[derive(Debug)]
pub struct Table {
    /// What the columns are of.
    pub view: View,
    /// What is in the table.
    pub rows: Rows,
    /// The order that is wanted.
    pub order: Order,
    /// The order that they are in.
    arranged: Option<Order>,
    /// The cursor is where it belongs among these rows.
    is_settled: bool,
    /// There may be rows, but the last picture had none of this view.
    pub is_unread: bool,
    /// The row under the cursor.
    pub cursor: usize,
    /// The first row that is seen.
    pub offset: usize,
    /// Rows that are seen at once.
    height: usize,
    /// The row that the cursor stays on; none where it stays at the top.
    held: Option<u64>,
    columns: Vec<ColumnInfo>,
    /// The only columns to show, if they were chosen.
    chosen: Option<Vec<usize>>,
    /// Keys of columns that all rows have in common.
    common: &'static [&'static str],
    /// The widest cell of each column that was seen; they don't shrink.
    widths: Vec<u16>,
}

/// A column that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its index among the view's columns.
    pub column: usize,
    /// Where it begins.
    pub x: u16,
    /// How wide it is.
    pub width: u16,
}

impl Table {
    /// A table of no rows yet.
    pub fn new(view: View, chosen: Option<Vec<usize>>) -> Self {
        let columns = columns::of_view(view);
        let widths = columns.iter().map(least_width).collect();
        Table {
            view,
            rows: Rows::none(view),
            order: Order::default(),
            arranged: None,
            is_settled: true,
            is_unread: true,
            cursor: 0,
            offset: 0,
            height: 1,
            held: None,
            columns,
            chosen,
            common: &[],
            widths,
        }
    }

    /// Leaves out columns, by their keys, that all rows have in common.
    #[must_use]
    pub fn without(self, common: &'static [&'static str]) -> Self {
        Table { common, ..self }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        with_rows!(&self.rows, rows => rows.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of a column.
    pub fn column(&self, index: usize) -> &ColumnInfo {
        &self.columns[index]
    }

    /// The value of a cell.
    pub fn value(&self, row: usize, column: usize) -> Value<'_> {
        fn value<R: columns::Row>(rows: &[R], row: usize, column: usize) -> Value<'_> {
            let column = R::columns().get(column);
            rows.get(row).zip(column).map_or(Value::None, |(row, column)| (column.get)(row))
        }
        with_rows!(&self.rows, rows => value(rows, row, column))
    }

    /// A cell as it is shown.
    pub fn cell(&self, row: usize, column: usize, units: Units) -> String {
        output::cell(&self.value(row, column), self.columns[column].unit, units)
    }

    /// Whether a row is the last of what it tells of.
    pub fn is_last(&self, row: usize) -> bool {
        fn is_last<R: columns::Row>(rows: &[R], row: usize) -> bool {
            rows.get(row).is_some_and(R::is_last)
        }
        with_rows!(&self.rows, rows => is_last(rows, row))
    }

    fn identity(&self, row: usize) -> Option<u64> {
        with_rows!(&self.rows, rows => rows.get(row).map(identity))
    }

    /// Where a row is, looked for from where it was: rows seldom go far.
    fn position(&self, wanted: u64) -> Option<usize> {
        fn position<R: columns::Row>(rows: &[R], near: usize, wanted: u64) -> Option<usize> {
            let near = near.min(rows.len());
            let mut below = near..rows.len();
            let mut above = (0..near).rev();
            let is_it = |at: &usize| identity(&rows[*at]) == wanted;
            loop {
                match (below.next(), above.next()) {
                    (None, None) => return None,
                    (one, other) => {
                        if let Some(at) = one.into_iter().chain(other).find(is_it) {
                            return Some(at);
                        }
                    }
                }
            }
        }
        with_rows!(&self.rows, rows => position(rows, self.cursor, wanted))
    }

    /// Takes new rows, which are in such an order or in none. Returns the rows of before.
    pub fn take(&mut self, rows: Rows, arranged: Option<Order>) -> Rows {
        self.arranged = arranged;
        self.is_settled = false;
        self.is_unread = false;
        std::mem::replace(&mut self.rows, rows)
    }

    /// Lets rows go that no picture has any more; returns them. The cursor is on its row once there are new
    /// ones.
    pub fn forget(&mut self) -> Rows {
        let rows = self.take(Rows::none(self.view), None);
        self.is_settled = true;
        self.is_unread = true;
        rows
    }

    /// Makes new rows ready to be seen. The cursor stays on its row, and the row where it is on the screen;
    /// if it is gone, the cursor stays where it is.
    pub fn settle(&mut self, units: Units) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        if self.arranged != Some(self.order) {
            self.sort();
        }
        self.hold();
        self.fit(units);
    }

    fn hold(&mut self) {
        let line = self.cursor.saturating_sub(self.offset);
        match self.held.and_then(|held| self.position(held)) {
            Some(at) => {
                self.cursor = at;
                self.offset = at.saturating_sub(line);
            }
            None if self.held.is_none() => {
                self.cursor = 0;
                self.offset = 0;
            }
            None => {
                self.cursor = self.cursor.min(self.len().saturating_sub(1));
                self.held = self.identity(self.cursor);
            }
        }
        self.bring_into_view();
    }

    fn bring_into_view(&mut self) {
        let last = self.len().saturating_sub(self.height);
        self.offset = self.offset.min(last);
        self.offset = self.offset.clamp((self.cursor + 1).saturating_sub(self.height), self.cursor);
    }

    /// Makes room for so many rows.
    pub fn resize(&mut self, height: usize, units: Units) {
        if self.height == height.max(1) {
            return;
        }
        self.height = height.max(1);
        self.bring_into_view();
        self.fit(units);
    }

    /// Widens columns to what is seen.
    fn fit(&mut self, units: Units) {
        let seen = self.offset..self.len().min(self.offset + self.height);
        for column in self.wanted().into_iter().flatten() {
            let widest = seen.clone().map(|row| self.cell(row, column, units).width()).max();
            let widest = u16::try_from(widest.unwrap_or(0)).unwrap_or(u16::MAX);
            let most = match &self.columns[column] {
                ColumnInfo { key: "comm", .. } => WIDEST_COMM,
                ColumnInfo { unit: Unit::Text, .. } => WIDEST_TEXT,
                _ => u16::MAX,
            };
            self.widths[column] = self.widths[column].max(widest.min(most));
        }
    }

    /// Moves the cursor by so many rows; it holds its row from then on.
    pub fn step(&mut self, by: isize, units: Units) {
        self.go(self.cursor.saturating_add_signed(by), units);
    }

    /// Moves the cursor by pages.
    pub fn page(&mut self, pages: isize, units: Units) {
        let rows = isize::try_from(self.height.saturating_sub(1).max(1)).unwrap_or(1);
        self.step(pages * rows, units);
    }

    /// Puts the cursor on a row.
    pub fn go(&mut self, row: usize, units: Units) {
        self.cursor = row.min(self.len().saturating_sub(1));
        self.held = self.identity(self.cursor);
        self.bring_into_view();
        self.fit(units);
    }

    /// Puts the cursor on the last row.
    pub fn bottom(&mut self, units: Units) {
        self.go(usize::MAX, units);
    }

    /// Puts the cursor at the top, where it stays whatever row that is.
    pub fn top(&mut self, units: Units) {
        self.go(0, units);
        self.held = None;
    }

    /// Sorts by another column, or by weight; by the same one the other way round.
    pub fn sort_by(&mut self, column: Option<usize>, units: Units) {
        let same = self.order.column == column;
        self.order = Order { column, reverse: same && !self.order.reverse, rows: 0 };
        self.sorted(units);
    }

    /// Sorts by the next column of those that are drawn in this width, after the last by weight.
    pub fn sort_next(&mut self, width: u16, units: Units) {
        let placed = self.placed(width);
        let now = placed.iter().position(|placed| Some(placed.column) == self.order.column);
        let next = now.map_or(0, |now| now + 1);
        self.order.column = placed.get(next).map(|placed| placed.column);
        self.order.reverse = false;
        self.sorted(units);
    }

    /// Sorts the other way round.
    pub fn reverse(&mut self, units: Units) {
        self.order.reverse = !self.order.reverse;
        self.sorted(units);
    }

    fn sorted(&mut self, units: Units) {
        self.is_settled = false;
        self.settle(units);
    }

    fn sort(&mut self) {
        columns::arrange(&mut self.rows, self.order);
        self.arranged = Some(self.order);
    }

    /// What the rows are sorted by, in words.
    pub fn order_words(&self) -> String {
        let column = self.order.column.map(|column| self.columns[column].title);
        match (column, self.order.reverse) {
            (Some(title), false) => format!("by {title}"),
            (Some(title), true) => format!("by {title}, reversed"),
            (None, is_reverse) => {
                let what = match self.view {
                    View::Listeners => "fullest",
                    View::Syscalls => "most time",
                    _ => "busiest",
                };
                format!("{what} {}", if is_reverse { "last" } else { "first" })
            }
        }
    }

    /// The columns that are drawn in so much width: the important ones, in the view's order. A number is
    /// never cut; long texts are, so that they leave room for others.
    pub fn placed(&self, width: u16) -> Vec<Placed> {
        let widest = (width / TEXT_SHARE).max(NARROW_TEXT);
        let width_of = |column: usize| match self.columns[column].unit {
            Unit::Text => self.widths[column].min(widest),
            _ => self.widths[column],
        };
        let cells = |column| usize::from(width_of(column));
        let mut taken = importance::fitting(self.wanted(), cells, GAP.into(), width.into());
        if self.chosen.is_none() {
            taken.sort_unstable();
        }
        let mut x = 0;
        let place = |column: usize| {
            let placed = Placed { column, x, width: width_of(column) };
            x += placed.width + GAP;
            placed
        };
        taken.into_iter().map(place).collect()
    }

    /// Groups of columns, what matters most first.
    fn wanted(&self) -> Vec<Vec<usize>> {
        if let Some(chosen) = &self.chosen {
            return chosen.iter().map(|column| vec![*column]).collect();
        }
        importance::groups(self.view, |key| {
            let is_wanted = |column: &ColumnInfo| column.key == key && !self.common.contains(&key);
            self.columns.iter().position(is_wanted)
        })
    }

    /// The column whose header is at `x`, where the table is drawn in `area`.
    pub fn column_at(&self, x: u16, area: Rect) -> Option<usize> {
        let x = x.checked_sub(area.x)?;
        let is_there = |placed: &&Placed| (placed.x..placed.x + placed.width).contains(&x);
        self.placed(area.width).iter().find(is_there).map(|placed| placed.column)
    }

    /// The row under the cursor as a line of tab-separated cells, with what isn't drawn.
    pub fn line(&self, units: Units) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let shown = (0..self.columns.len()).filter(|column| self.columns[*column].shown);
        Some(
            shown
                .map(|column| self.cell(self.cursor, column, units))
                .collect::<Vec<_>>()
                .join("\t"),
        )
    }
}

/// What a column takes before anything is seen, so that usual values don't move the others.
fn least_width(column: &ColumnInfo) -> u16 {
    let usual = match column.unit {
        Unit::Bytes | Unit::ByteRate => 9,
        Unit::Micros | Unit::Nanos => 7,
        Unit::Number | Unit::Count | Unit::Rate | Unit::Seconds | Unit::Percent => 5,
        Unit::Text | Unit::Flag | Unit::Counts | Unit::Buckets => 0,
    };
    // Room for the mark of the order.
    let title = u16::try_from(column.title.width() + 1).unwrap_or(u16::MAX);
    title.max(usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostRow;

    const UNITS: Units = Units::BinBytes;

    fn host(last: u8, rate: f64) -> HostRow {
        HostRow {
            remote: [192, 0, 2, last].into(),
            name: None,
            connections: 1,
            rx_rate: rate,
            tx_rate: 0.0,
            srtt_us: None,
            retransmits: 0,
            counted: true,
            ended: false,
        }
    }

    fn rows(hosts: &[(u8, f64)]) -> Rows {
        let mut rows = Rows::Hosts(hosts.iter().map(|(last, rate)| host(*last, *rate)).collect());
        columns::arrange(&mut rows, Order::default());
        rows
    }

    fn table(hosts: &[(u8, f64)]) -> Table {
        let mut table = Table::new(View::Hosts, None);
        table.resize(3, UNITS);
        show(&mut table, rows(hosts));
        table
    }

    fn show(table: &mut Table, rows: Rows) {
        table.take(rows, Some(Order::default()));
        table.settle(UNITS);
    }

    fn under_cursor(table: &Table) -> String {
        table.cell(table.cursor, 0, UNITS)
    }

    #[test]
    fn the_cursor_stays_on_its_row_and_the_row_on_its_line() {
        let mut table = table(&[(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0), (5, 5.0), (6, 4.0)]);
        table.step(3, UNITS);
        assert_eq!((under_cursor(&table).as_str(), table.offset), ("192.0.2.4", 1));
        // It falls by one, and all that is seen with it.
        let later = rows(&[(1, 9.0), (2, 8.0), (3, 7.0), (4, 5.0), (5, 6.0), (6, 4.0)]);
        show(&mut table, later);
        assert_eq!(
            (under_cursor(&table).as_str(), table.cursor, table.offset),
            ("192.0.2.4", 4, 2)
        );
        // It rises to the top, where it can't keep its line.
        show(&mut table, rows(&[(4, 99.0), (1, 9.0), (2, 8.0), (3, 7.0)]));
        assert_eq!(
            (under_cursor(&table).as_str(), table.cursor, table.offset),
            ("192.0.2.4", 0, 0)
        );
    }

    #[test]
    fn the_cursor_finds_its_row_after_rows_were_forgotten() {
        let mut table = table(&[(1, 9.0), (2, 8.0), (3, 7.0)]);
        table.step(1, UNITS);
        assert_eq!(table.forget(), rows(&[(1, 9.0), (2, 8.0), (3, 7.0)]));
        table.settle(UNITS);
        assert!(table.is_empty() && table.is_unread);
        show(&mut table, rows(&[(2, 1.0), (1, 9.0), (3, 7.0)]));
        assert_eq!((under_cursor(&table).as_str(), table.cursor), ("192.0.2.2", 2));
    }

    #[test]
    fn a_cursor_that_was_never_moved_stays_at_the_top() {
        let mut table = table(&[(1, 9.0), (2, 8.0)]);
        show(&mut table, rows(&[(1, 1.0), (2, 8.0)]));
        assert_eq!(under_cursor(&table), "192.0.2.2");
        table.step(1, UNITS);
        table.top(UNITS);
        show(&mut table, rows(&[(1, 9.0), (2, 8.0)]));
        assert_eq!(under_cursor(&table), "192.0.2.1");
    }

    #[test]
    fn the_cursor_stays_in_place_where_its_row_is_gone() {
        let mut table = table(&[(1, 9.0), (2, 8.0), (3, 7.0)]);
        table.step(1, UNITS);
        show(&mut table, rows(&[(1, 9.0), (3, 7.0)]));
        assert_eq!(under_cursor(&table), "192.0.2.3");
        show(&mut table, rows(&[]));
        assert_eq!((table.cursor, table.offset, table.line(UNITS)), (0, 0, None));
        show(&mut table, rows(&[(7, 1.0)]));
        assert_eq!(under_cursor(&table), "192.0.2.7");
    }

    #[test]
    fn rows_that_came_in_another_order_are_sorted() {
        let mut table = table(&[(1, 9.0), (2, 8.0)]);
        table.sort_by(Some(0), UNITS);
        table.sort_by(Some(0), UNITS);
        assert!(table.order.reverse);
        show(&mut table, rows(&[(1, 9.0), (2, 8.0), (3, 10.0)]));
        let all: Vec<String> = (0..3).map(|row| table.cell(row, 0, UNITS)).collect();
        assert_eq!(all, ["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
    }

    #[test]
    fn sort_keys_go_round() {
        let mut table = table(&[(1, 9.0)]);
        let count = table.placed(200).len();
        for _ in 0..count {
            table.sort_next(200, UNITS);
            assert!(table.order.column.is_some());
        }
        table.sort_next(200, UNITS);
        assert_eq!(table.order.column, None);
    }

    #[test]
    fn more_width_shows_more_columns_and_none_is_cut() {
        for view in View::ALL {
            let table = Table::new(view, None);
            let mut before = 0;
            for width in 40..250 {
                let placed = table.placed(width);
                assert!(placed.last().is_some_and(|last| last.x + last.width <= width));
                before = before.max(placed.len());
            }
            let all: usize = importance::of(view).iter().map(|group| group.len()).sum();
            assert_eq!(before, all, "{view}");
        }
    }

    #[test]
    fn a_header_is_found_where_it_is_drawn() {
        let table = table(&[(1, 9.0)]);
        let area = Rect::new(1, 5, 80, 10);
        for placed in table.placed(area.width) {
            assert_eq!(table.column_at(area.x + placed.x, area), Some(placed.column));
        }
        assert_eq!(table.column_at(0, area), None);
    }
}

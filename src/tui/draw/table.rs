//! A table: its header, and the rows that there is room for.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::text;
use crate::columns::{Unit, Value};
use crate::tui::app::Settings;
use crate::tui::layout;
use crate::tui::table::{Placed, Table};
use crate::tui::theme::Theme;

/// Draws a table, with a cursor if keys go to it; `hint` stands in for rows.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    table: &Table,
    has_cursor: bool,
    hint: &str,
    settings: &Settings,
) {
    if area.height == 0 {
        return;
    }
    let theme = &settings.theme;
    let placed = table.placed(area.width);
    header(buffer, area, table, &placed, theme);
    let rows = layout::rows(area);
    if table.is_empty() {
        let line = Rect { height: 1, y: rows.y + rows.height.min(3) / 2, ..rows };
        if rows.height > 0 {
            text::centred(buffer, line, hint, theme.muted);
        }
        return;
    }
    for (row, y) in (table.offset..table.len()).zip(rows.y..rows.bottom()) {
        let is_last = table.is_last(row);
        for one in &placed {
            let style = cell_style(table, row, one.column, theme);
            let style = if is_last { theme.muted.add_modifier(Modifier::DIM) } else { style };
            let cell = table.cell(row, one.column, settings.units);
            let cell = match table.value(row, one.column) {
                // The ends of an address tell more than its middle.
                Value::Address(_) => text::cut_middle(&cell, one.width),
                _ => cell,
            };
            put_cell(buffer, area, one, y, table.column(one.column).unit, &cell, style);
        }
        if has_cursor && row == table.cursor {
            let line = Rect::new(area.x.saturating_sub(1), y, area.width + 2, 1);
            buffer.set_style(line.intersection(buffer.area), theme.selection);
        }
    }
}

fn header(buffer: &mut Buffer, area: Rect, table: &Table, placed: &[Placed], theme: &Theme) {
    for one in placed {
        let column = table.column(one.column);
        let is_order = table.order.column == Some(one.column);
        let mark = match (is_order, table.order.reverse) {
            (false, _) => "",
            (true, false) => "▾",
            (true, true) => "▴",
        };
        let style = if is_order { theme.accent } else { theme.title.patch(theme.muted) };
        let title = format!("{}{mark}", column.title);
        put_cell(buffer, area, one, area.y, column.unit, &title, style);
    }
}

fn put_cell(
    buffer: &mut Buffer,
    area: Rect,
    placed: &Placed,
    y: u16,
    unit: Unit,
    text: &str,
    style: Style,
) {
    let x = area.x + placed.x;
    if unit == Unit::Text {
        text::put(buffer, x, y, text, placed.width, style);
    } else {
        text::put_right(buffer, x, y, text, placed.width, style);
    }
}

/// What is nothing steps back, what is wrong steps forward.
fn cell_style(table: &Table, row: usize, column: usize, theme: &Theme) -> Style {
    let value = table.value(row, column);
    let key = table.column(column).key;
    let is_nothing = match value {
        Value::None => true,
        Value::Int(n) => n == 0,
        // It is shown as 0 below one half.
        Value::Real(x) => x < 0.5 && table.column(column).unit != Unit::Seconds,
        _ => false,
    };
    match key {
        _ if is_nothing => theme.muted,
        "rx_bytes_per_second" => theme.rx,
        "tx_bytes_per_second" => theme.tx,
        "retransmits" | "drops" | "errors" | "overflows" | "lost" => theme.warning,
        "user" | "container" | "pod" | "proto" | "netns" | "local_address" => theme.muted,
        _ => theme.text,
    }
}

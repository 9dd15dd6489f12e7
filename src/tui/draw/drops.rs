//! One reason and function of drops: what is counted, and the last ones with the kernel's functions that
//! led there.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text;
use crate::columns::{Column, Row};
use crate::model::{Detail, DropRow, EventRow};
use crate::output::{Units, cell, event_detail, event_ends};
use crate::tui::app::App;
use crate::tui::pages::drops::{DropPage, stack};
use crate::tui::singles::DROPS_PER_SECOND;

pub(super) fn draw(buffer: &mut Buffer, body: Rect, page: &DropPage, app: &App) {
    let theme = &app.settings.theme;
    let mut y = body.y;
    let mut say = |words: &str, style: Style| {
        if y < body.bottom() {
            text::put(buffer, body.x, y, words, body.width, style);
            y += 1;
        }
    };
    for words in text::flow(&facts(page, app), body.width) {
        say(&words, theme.text);
    }
    say("", theme.text);
    let scope = app.settings.scope.of_single_drops();
    let of = if scope.is_empty() { String::new() } else { format!(" of {scope}") };
    say(
        &format!(
            "the last ones{of}, newest first, of at most {DROPS_PER_SECOND} a second of all drops"
        ),
        theme.muted,
    );
    match &page.singles {
        None => say("reading", theme.muted),
        Some(singles) if singles.is_empty() => say("none of late", theme.muted),
        Some(_) => {
            let lines = lines(page, app);
            for (words, style) in lines.into_iter().skip(page.offset) {
                say(&words, style);
            }
        }
    }
}

fn lines(page: &DropPage, app: &App) -> Vec<(String, Style)> {
    let theme = &app.settings.theme;
    let mut lines = Vec::new();
    for row in page.newest_first() {
        let words = words(row, app.settings.units);
        lines.push((format!("{}  {words}", super::time_of_day(row.time)), theme.text));
        lines.extend(stack(row).iter().map(|frame| (format!("    {frame}"), theme.muted)));
    }
    lines
}

/// What isn't said of all of them.
fn words(row: &EventRow, units: Units) -> String {
    let mut words = event_ends(row).unwrap_or_default();
    match &row.detail {
        Detail::Drop(drop) => {
            if let Some(length) = drop.length {
                words.push_str(&format!(" {length}B"));
            }
            if let Some(interface) = &drop.interface {
                words.push_str(&format!(" on {interface}"));
            }
        }
        detail => words.push_str(&event_detail(detail, units)),
    }
    if let Some(process) = &row.process {
        words.push_str(&format!(" of {} {}", process.comm, process.pid));
    }
    words
}

fn facts(page: &DropPage, app: &App) -> Vec<String> {
    const KEYS: [&str; 7] =
        ["reason", "location", "proto", "count", "per_second", "dropped_bytes", "last_netns"];
    let fact = |column: &Column<DropRow>| {
        let value = cell(&(column.get)(&page.row), column.unit, app.settings.units);
        format!("{} {value}", column.title)
    };
    let find = |key: &&str| DropRow::columns().iter().find(|column| column.key == *key);
    let gone = page.is_gone.then(|| "gone".to_owned());
    let places = page.row.places.iter().map(|(offset, count)| format!("at +{offset:#x}: {count}"));
    KEYS.iter().filter_map(find).map(fact).chain(places).chain(gone).collect()
}

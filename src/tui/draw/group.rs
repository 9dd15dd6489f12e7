//! A group's connections and system calls, side by side where there is room.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{table, text, title};
use crate::tui::app::App;
use crate::tui::layout;
use crate::tui::pages::group::GroupPage;
use crate::tui::table::Table;

pub(super) fn draw(buffer: &mut Buffer, body: Rect, page: &GroupPage, app: &App) {
    const NO_CONNS: &str = "no connections";

    let settings = &app.settings;
    let no_conns = if page.is_waiting { "reading" } else { NO_CONNS };
    let Some(calls) = &page.calls else {
        table::draw(buffer, body, &page.conns, true, no_conns, settings);
        return;
    };
    let [first, second] = layout::panes(body);
    let no_calls = if app.totals.newest().is_some_and(|totals| totals.syscall_rate.is_none()) {
        "system calls are not watched"
    } else {
        "no system calls seen yet"
    };
    for (pane, name, of, is_focused, hint) in [
        (first, "connections", &page.conns, !page.is_on_calls, no_conns),
        (second, "system calls", calls, page.is_on_calls, no_calls),
    ] {
        heading(buffer, pane, name, of, is_focused, app);
        table::draw(buffer, layout::pane_table(pane), of, is_focused, hint, settings);
    }
}

fn heading(buffer: &mut Buffer, pane: Rect, name: &str, of: &Table, is_focused: bool, app: &App) {
    let theme = &app.settings.theme;
    let line = Rect { height: 1, ..pane };
    title::rule(buffer, Rect { x: line.x, ..line }, theme.muted);
    let style = if is_focused { theme.accent } else { theme.muted };
    let mark = if is_focused { "▸ " } else { "" };
    let words = format!(" {mark}{name} {} ", of.len());
    let used = text::put(buffer, line.x + 1, line.y, &words, line.width - 1, style);
    let words = format!(" {} ", of.order_words());
    let room = line.width.saturating_sub(used + 3);
    if text::columns(&words) <= room {
        let x = line.right() - 1 - text::columns(&words);
        text::put(buffer, x, line.y, &words, room, theme.muted);
    }
}

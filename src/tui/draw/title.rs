//! The rule above the body: what it shows, in which order, of what.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text;
use crate::model::View;
use crate::tui::app::App;
use crate::tui::keys::Action;
use crate::tui::pages::Page;

/// From here on there is room to say how a filter is got rid of.
const WITH_HINTS: u16 = 60;

pub(super) fn draw(buffer: &mut Buffer, line: Rect, app: &App) {
    let theme = &app.settings.theme;
    rule(buffer, line, theme.muted);
    let right = right(app);
    let width: u16 = right.iter().map(|(text, _)| text::columns(text)).sum();
    let end = line.right().saturating_sub(width + 1).max(line.x + 1);
    let room = Rect::new(end, line.y, line.right() - end, 1);
    text::pieces(buffer, room, &right);

    let mut left = vec![(format!(" {}", app.view), theme.title)];
    for page in &app.trail {
        left.push((" › ".to_owned(), theme.muted));
        left.push((page.title().to_owned(), theme.title));
    }
    if app.trail.is_empty() {
        let table = app.table();
        let rows = if table.len() == 1 { "row" } else { "rows" };
        left.push((format!("  {} {rows}, {}", table.len(), table.order_words()), theme.muted));
    }
    left.push((" ".to_owned(), theme.muted));
    let room = end.saturating_sub(line.x + 2);
    let used: u16 = left.iter().map(|(text, _)| text::columns(text)).sum();
    if used > room && app.trail.len() > 1 {
        // What is open last matters most.
        left.splice(1..left.len() - 3, [(" › …".to_owned(), theme.muted)]);
    }
    let mut x = line.x + 1;
    for (piece, style) in left {
        let left = end.saturating_sub(x + 1);
        x += text::put(buffer, x, line.y, &piece, left, style);
    }
}

/// A thin line.
pub(super) fn rule(buffer: &mut Buffer, line: Rect, style: Style) {
    for x in line.x..line.right() {
        buffer.set_string(x, line.y, "─", style);
    }
}

fn right(app: &App) -> Vec<(String, Style)> {
    let theme = &app.settings.theme;
    let mut pieces = scope(app);
    if !app.filter_text.is_empty() {
        let longest = app.size.0 / 3;
        let filter = text::cut(&app.filter_text, longest);
        match app.unfiltered().filter(|_| app.trail.is_empty()) {
            None => pieces.push((format!(" filter {filter} "), theme.accent)),
            Some(why) => pieces.push((format!(" no filter here: {why} "), theme.warning)),
        }
        let key = app.settings.keys.first_of(Action::Back);
        if app.trail.is_empty() && !key.is_empty() && app.size.0 >= WITH_HINTS {
            pieces.push((format!("({key} clears) "), theme.muted));
        }
    }
    let shows_conns = app.trail.is_empty() && app.view == View::Conns
        || matches!(app.trail.last(), Some(Page::Group(_)));
    if app.shows_closed && shows_conns {
        pieces.push((" closed too ".to_owned(), theme.accent));
    }
    if app.is_smooth {
        let words = if app.size.0 >= WITH_HINTS { " rates smoothed " } else { " smoothed " };
        pieces.push((words.to_owned(), theme.accent));
    }
    if app.is_paused {
        pieces.push((" PAUSED ".to_owned(), theme.warning));
    }
    pieces
}

/// Of what part of the server this is.
fn scope(app: &App) -> Vec<(String, Style)> {
    let theme = &app.settings.theme;
    let longest = app.size.0 / 3;
    let mut pieces = Vec::new();
    let only = app.settings.scope.applying(app.view);
    if !only.is_empty() {
        pieces.push((format!(" only {} ", text::cut(&only, longest)), theme.accent));
    }
    if app.scope_ended {
        pieces.push((" ended ".to_owned(), theme.warning));
    }
    let ignored = app.settings.scope.ignored(app.view);
    if !ignored.is_empty() {
        let ignored = text::cut(&ignored, longest);
        pieces.push((format!(" {ignored} doesn't apply here "), theme.warning));
    }
    pieces
}

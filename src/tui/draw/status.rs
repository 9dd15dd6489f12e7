//! The last line: what was missed, what nettrace costs, and the keys to begin with; and the line that a
//! filter is typed in.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::text;
use crate::columns::{Unit, Value};
use crate::filter;
use crate::output::cell;
use crate::tui::app::App;
use crate::tui::keys::Action;
use crate::tui::pages::Page;
use crate::tui::prompt::Line;

const GAP: &str = "  ";
/// From here on there is room to say what isn't known.
const WITH_UNKNOWN: u16 = 100;

pub(super) fn draw(buffer: &mut Buffer, line: Rect, app: &App) {
    let theme = &app.settings.theme;
    if let Some(note) = &app.note {
        text::put(buffer, line.x, line.y, note, line.width, theme.accent);
        return;
    }
    let mut pieces: Vec<(String, Style)> = Vec::new();
    let mut say = |words: String, style: Style| {
        if !pieces.is_empty() {
            pieces.push((GAP.to_owned(), theme.muted));
        }
        pieces.push((words, style));
    };
    say(format!("every {}", interval(app)), theme.muted);
    match &app.status.losses[..] {
        [] => say("nothing lost".to_owned(), theme.muted),
        losses => say(lost(losses, line.width / 2, app), theme.error),
    }
    if app.status.unlisted > 0 {
        say(format!("{} closed without a row", app.status.unlisted), theme.muted);
    }
    match &app.missing[..] {
        [] => say("all hooks".to_owned(), theme.muted),
        missing => say(format!("missing: {}", missing.join(", ")), theme.warning),
    }
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |x| format!("{x:.1}%"));
    say(format!("cpu {}", percent(app.status.cpu_percent)), theme.muted);
    let rss = cell(&Value::Int(app.status.rss_bytes), Unit::Bytes, app.settings.units);
    say(format!("mem {rss}"), theme.muted);
    if line.width >= WITH_UNKNOWN || app.status.bpf_percent.is_some() {
        say(format!("bpf {}", percent(app.status.bpf_percent)), theme.muted);
    }
    let end = text::pieces(buffer, line, &pieces);
    keys(buffer, Rect::new(end, line.y, line.right() - end, 1), app);
}

/// What was lost, and the key that says more; the causes where there is room for them.
fn lost(losses: &[(&str, u64)], room: u16, app: &App) -> String {
    let key = app.settings.keys.first_of(Action::Losses);
    let why = if key.is_empty() { key } else { format!(" ({key}: why)") };
    let causes: Vec<String> =
        losses.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
    let all = format!("lost {}{why}", causes.join(", "));
    if text::columns(&all) <= room {
        return all;
    }
    format!("lost {}{why}", losses.iter().map(|(_, count)| count).sum::<u64>())
}

fn interval(app: &App) -> String {
    let seconds = app.interval.as_secs_f64();
    if seconds < 1.0 { format!("{}ms", app.interval.as_millis()) } else { format!("{seconds}s") }
}

/// At the right, as many as there is room for.
fn keys(buffer: &mut Buffer, room: Rect, app: &App) {
    let theme = &app.settings.theme;
    let hints: &[(Action, &str)] = match app.trail.last() {
        None => &[
            (Action::Help, "help"),
            (Action::Quit, "quit"),
            (Action::Filter, "filter"),
            (Action::Open, "open"),
            (Action::NextSort, "sort"),
            (Action::Palette, "commands"),
        ],
        Some(Page::Group(page)) if page.calls.is_some() => &[
            (Action::Back, "back"),
            (Action::Help, "help"),
            (Action::Right, "calls"),
            (Action::Open, "open"),
        ],
        Some(_) => &[(Action::Back, "back"), (Action::Help, "help")],
    };
    let mut shown: Vec<(String, String)> = Vec::new();
    let mut width = 0;
    for (action, words) in hints {
        let hint = (app.settings.keys.first_of(*action), format!(" {words}"));
        let needed = text::columns(&hint.0) + text::columns(&hint.1) + 2;
        if hint.0.is_empty() || width + needed > room.width {
            continue;
        }
        width += needed;
        shown.push(hint);
    }
    let mut x = room.right() - width;
    for (key, words) in shown {
        x += 2;
        x += text::put(buffer, x, room.y, &key, room.right() - x, theme.accent);
        x += text::put(buffer, x, room.y, &words, room.right() - x, theme.muted);
    }
}

/// The line that a filter is typed in, and what is wrong with it or what can be written. Returns where
/// the cursor is.
pub(super) fn filter(
    buffer: &mut Buffer,
    area: Rect,
    line: &Line,
    error: Option<&str>,
    app: &App,
) -> Position {
    let theme = &app.settings.theme;
    let keys: Vec<String> = filter::KEYS.iter().map(|key| format!("{key}:")).collect();
    let hint = format!("{} /regex/ !not", keys.join(" "));
    let (words, style) = match error {
        Some(error) => (error, theme.error),
        None if line.text().is_empty() => (hint.as_str(), theme.muted),
        None => ("Enter sets the filter, Esc leaves it as it was", theme.muted),
    };
    text::put(buffer, area.x, area.y + 1, words, area.width, style);
    let label = text::put(buffer, area.x, area.y, "filter ", area.width, theme.accent);
    typed(buffer, Rect::new(area.x + label, area.y, area.width - label, 1), line, theme.text)
}

/// A line that is typed, scrolled so that its cursor is seen.
pub(super) fn typed(buffer: &mut Buffer, room: Rect, line: &Line, style: Style) -> Position {
    let before = text::columns(&line.before());
    let hidden = before.saturating_sub(room.width.saturating_sub(1));
    let mut skipped = 0;
    let shown: String = line
        .text()
        .chars()
        .skip_while(|c| {
            let is_hidden = skipped < hidden;
            skipped += text::columns(c.encode_utf8(&mut [0; 4]));
            is_hidden
        })
        .collect();
    buffer.set_stringn(room.x, room.y, shown, room.width.into(), style);
    Position::new(room.x + before.saturating_sub(hidden).min(room.width), room.y)
}

//! The first line: the names of the views, and at the right who and when.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::text;
use crate::model::View;
use crate::tui::app::{App, TABS, tab};

/// A tab's place in the line.
struct Tab {
    view: View,
    text: String,
    x: u16,
}

/// The tabs that fit: with their numbers and apart, closer, without numbers, or only the one that is
/// shown.
fn tabs(app: &App, line: Rect) -> Vec<Tab> {
    let name = |view: View, numbered: bool| match numbered {
        true => format!("{} {view}", tab(view)),
        false => view.to_string(),
    };
    for (numbered, gap) in [(true, 3), (true, 2), (true, 1), (false, 2), (false, 1)] {
        let mut x = line.x;
        let place = |view: View| {
            let tab = Tab { view, text: name(view, numbered), x };
            x += text::columns(&tab.text) + gap;
            tab
        };
        let tabs: Vec<Tab> = TABS.into_iter().map(place).collect();
        if x - gap <= line.right() {
            return tabs;
        }
    }
    let text = format!("‹ {} {} ›", tab(app.view), app.view);
    vec![Tab { view: app.view, text, x: line.x }]
}

/// The view whose tab is at `x`.
pub fn view_at(app: &App, line: Rect, x: u16) -> Option<View> {
    let is_there = |tab: &Tab| (tab.x..tab.x + text::columns(&tab.text)).contains(&x);
    tabs(app, line).into_iter().find(is_there).map(|tab| tab.view)
}

pub(super) fn draw(buffer: &mut Buffer, line: Rect, app: &App) {
    let theme = &app.settings.theme;
    let mut end = line.x;
    for tab in tabs(app, line) {
        let style = if tab.view == app.view {
            theme.accent.add_modifier(Modifier::UNDERLINED)
        } else {
            theme.muted
        };
        end = tab.x + text::put(buffer, tab.x, line.y, &tab.text, line.right() - tab.x, style);
    }
    let time = app.status.time.and_then(|time| jiff::Timestamp::try_from(time).ok());
    let time = time.map_or_else(String::new, |time| time.strftime("%H:%M:%S UTC").to_string());
    let host = app.settings.host.as_str();
    for right in [format!("nettrace on {host}  {time}"), format!("{host}  {time}"), time] {
        let width = text::columns(&right);
        if end + width + 3 <= line.right() {
            text::put(buffer, line.right() - width, line.y, &right, width, theme.muted);
            return;
        }
    }
}

//! Drawing: from the state, which it only reads, into a buffer. One file a part of the screen.

pub mod call;
mod charts;
pub mod connection;
mod drops;
pub mod group;
pub mod help;
mod iface;
mod palette;
mod status;
pub mod table;
pub mod tabs;
mod text;
mod title;
mod totals;

use std::time::SystemTime;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::app::{App, Mode};
use super::layout::{LEAST_HEIGHT, LEAST_WIDTH};
use super::pages::Page;
use crate::model::View;

/// Programs on interfaces are nothing that anybody expects of a dashboard.
const NO_FLOWS: &str = "no packets are watched; nettrace flows -i eth0 does that";

/// Draws everything, and puts the cursor where something is typed.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    if let Some(cursor) = screen(frame.buffer_mut(), area, app) {
        frame.set_cursor_position(cursor);
    }
}

/// Draws everything into a buffer; returns where the cursor is, if anywhere.
pub fn screen(buffer: &mut Buffer, area: Rect, app: &App) -> Option<Position> {
    let Some(areas) = app.areas() else {
        too_small(buffer, area, app);
        return None;
    };
    if (area.width, area.height) != app.size {
        // It was resized a moment ago; that message is on its way.
        return None;
    }
    tabs::draw(buffer, areas.tabs, app);
    totals::draw(buffer, areas.totals, app);
    title::draw(buffer, areas.title, app);
    match app.trail.last() {
        None => {
            let hint = match app.status.time {
                None => "waiting for the first picture",
                _ if app.view == View::Flows && !app.settings.scope.has_interfaces() => NO_FLOWS,
                Some(_) if app.table().is_unread => "reading",
                Some(_) if !app.filter_text.is_empty() => "nothing here matches the filter",
                Some(_) if app.scope_ended => "all processes of -p have ended",
                Some(_) if !app.settings.scope.applying(app.view).is_empty() => {
                    "nothing here is in the scope"
                }
                Some(_) => empty(app.view),
            };
            table::draw(buffer, areas.body, app.table(), true, hint, &app.settings);
        }
        Some(Page::Group(page)) => group::draw(buffer, areas.body, page, app),
        Some(Page::Connection(page)) => connection::draw(buffer, areas.body, page, app),
        Some(Page::Iface(page)) => iface::draw(buffer, areas.body, page, app),
        Some(Page::Drops(page)) => drops::draw(buffer, areas.body, page, app),
        Some(Page::Call(page)) => call::draw(buffer, areas.body, page, app),
    }
    status::draw(buffer, areas.status, app);
    match &app.mode {
        Mode::Browse => None,
        Mode::Filter(line, error) => {
            Some(status::filter(buffer, areas.prompt, line, error.as_deref(), app))
        }
        Mode::Palette(palette) => Some(palette::draw(buffer, area, palette, app)),
        Mode::Help(topic, line) => {
            help::draw(buffer, area, *topic, *line, app);
            None
        }
    }
}

/// To the second, UTC.
fn time_of_day(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time);
    time.map_or_else(|_| String::new(), |time| time.strftime("%H:%M:%S").to_string())
}

fn empty(view: View) -> &'static str {
    match view {
        View::Procs | View::Hosts => "nobody uses the network now",
        View::Conns => "there are no connections now",
        View::Containers => "no container or unit uses the network now",
        View::Ifaces => "no interfaces",
        View::Flows => "no packets were seen",
        View::Listeners => "nobody listens",
        View::Drops => "nothing was dropped since the start",
        View::Syscalls => "no system calls were seen",
    }
}

fn too_small(buffer: &mut Buffer, area: Rect, app: &App) {
    let (width, height) = (area.width, area.height);
    let lines = [
        "nettrace needs more room".to_owned(),
        format!("{width}×{height}, wants {LEAST_WIDTH}×{LEAST_HEIGHT}"),
    ];
    let top = area.y + area.height.saturating_sub(2) / 2;
    for (line, y) in lines.iter().zip(top..area.bottom()) {
        text::centred(buffer, Rect::new(area.x, y, width, 1), line, app.settings.theme.text);
    }
}

//! The help: what this view shows, what its columns mean, and the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text;
use crate::columns;
use crate::model::View;
use crate::tui::app::App;
use crate::tui::importance;
use crate::tui::keys::COMMANDS;
use crate::tui::layout;
use crate::tui::pages::Page;

const WIDTH: u16 = 76;
const NAME: u16 = 16;

/// A line: what stands at the left, what at the right.
type HelpLine = (String, String);

/// The last line that the help can begin with.
pub fn last_line(app: &App) -> usize {
    let inner = window(app).height.saturating_sub(2);
    lines(app).len().saturating_sub(inner.into())
}

fn window(app: &App) -> Rect {
    let (width, height) = app.size;
    let room = Rect::new(1, 1, width.saturating_sub(2), height.saturating_sub(2));
    layout::middle(WIDTH, u16::MAX, room)
}

pub(super) fn draw(buffer: &mut Buffer, screen: Rect, first: usize, app: &App) {
    let theme = &app.settings.theme;
    let area = window(app).intersection(screen);
    let title =
        if last_line(app) > 0 { "help: j k scroll, Esc closes" } else { "help: Esc closes" };
    text::window(buffer, area, title, theme);
    let inner = Rect::new(area.x + 2, area.y + 1, area.width - 4, area.height - 2);
    for ((left, right), y) in lines(app).into_iter().skip(first).zip(inner.y..inner.bottom()) {
        let is_heading = right.is_empty();
        let style: Style = if is_heading { theme.title } else { theme.accent };
        let width = if is_heading { inner.width } else { NAME };
        text::put(buffer, inner.x, y, &left, width, style);
        let room = inner.width.saturating_sub(NAME + 1);
        text::put(buffer, inner.x + NAME + 1, y, &right, room, theme.text);
    }
}

fn lines(app: &App) -> Vec<HelpLine> {
    let heading = |words: &str| (words.to_owned(), String::new());
    let mut lines: Vec<HelpLine> = vec![heading(about(app))];
    match app.trail.last() {
        None => lines.extend(column_lines(app.view)),
        Some(Page::Group(page)) if page.is_on_calls => lines.extend(column_lines(View::Syscalls)),
        Some(Page::Group(_)) => lines.extend(column_lines(View::Conns)),
        Some(Page::Connection(_) | Page::Call(_)) => {}
    }
    lines.push(heading(""));
    lines.push(heading("Keys"));
    for command in &COMMANDS {
        let keys = app.settings.keys.of(command.action);
        lines.push((keys, command.about.to_owned()));
    }
    lines.push(heading(""));
    lines.push(heading("Filters, all of which must hold"));
    for (filter, about) in [
        ("port:443", "either port; sport: own, dport: the peer's; 8000-8100 and lists too"),
        ("host:10.0.0.0/8", "either address; src: own, dst: the peer's"),
        ("comm:nginx", "part of the process's name; container: pod: netns: likewise"),
        ("pid:1,2", "these processes"),
        ("state:estab", "as ss names states; proto:udp likewise"),
        ("/regex/", "over the whole line"),
        ("!port:22", "what must not hold"),
    ] {
        lines.push((filter.to_owned(), about.to_owned()));
    }
    if !app.missing.is_empty() {
        lines.push(heading(""));
        lines.push(heading("Missing on this kernel; nettrace doctor says why"));
        lines.extend(app.missing.iter().map(|words| ("-".to_owned(), words.clone())));
    }
    lines
}

fn column_lines(view: View) -> Vec<HelpLine> {
    let columns = columns::of_view(view);
    let find = |key: &&str| columns.iter().find(|column| column.key == *key);
    let keys = importance::of(view).iter().flat_map(|group| group.iter());
    let mut shown: Vec<_> = keys.filter_map(find).collect();
    shown.sort_by_key(|column| columns.iter().position(|other| other.key == column.key));
    shown.into_iter().map(|column| (column.title.to_owned(), column.about.to_owned())).collect()
}

fn about(app: &App) -> &'static str {
    match (app.trail.last(), app.view) {
        (Some(Page::Group(_)), _) => "Its connections and system calls; ← → go between them",
        (Some(Page::Connection(_)), _) => "One connection since it was opened here",
        (Some(Page::Call(_)), _) => "One system call since it was opened here",
        (None, View::Procs) => "Processes: who sends and receives",
        (None, View::Conns) => "Connections: sockets that have a peer or moved bytes",
        (None, View::Hosts) => "Hosts: who is talked to",
        (None, View::Containers) => "Containers and systemd units",
        (None, View::Ifaces) => "Interfaces: bytes on the wire",
        (None, View::Listeners) => {
            "Listeners: who waits for connections, and where there is no room"
        }
        (None, View::Syscalls) => "System calls by process: how often, how long, how they fail",
    }
}

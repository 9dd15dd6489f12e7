//! The help: what this view shows, what its columns mean, and the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text;
use crate::columns::{self, importance};
use crate::losses;
use crate::model::View;
use crate::tui::app::{App, Topic};
use crate::tui::keys::COMMANDS;
use crate::tui::layout;
use crate::tui::pages::Page;

const WIDTH: u16 = 76;
const NAME: u16 = 16;
const INDENT: u16 = 2;

/// A line, or what is wrapped to several.
enum Part {
    Gap,
    Heading(String),
    /// A name, and what it means beside it.
    Pair(String, String),
    /// A cause of losses and how often, and what it means below it.
    Loss(String),
    Words(String),
}

/// A piece of a line: where it begins, and its style.
type Piece = (u16, String, Style);

/// The last line that the help can begin with.
pub fn last_line(app: &App, topic: Topic) -> usize {
    let inner = inside(window(app, topic));
    lines(app, topic, inner.width).len().saturating_sub(inner.height.into())
}

/// No higher than what is in it.
fn window(app: &App, topic: Topic) -> Rect {
    let (width, height) = app.size;
    let room = Rect::new(1, 1, width.saturating_sub(2), height.saturating_sub(2));
    let width = inside(layout::middle(WIDTH, u16::MAX, room)).width;
    let lines = u16::try_from(lines(app, topic, width).len()).unwrap_or(u16::MAX);
    layout::middle(WIDTH, lines.saturating_add(2), room)
}

fn inside(window: Rect) -> Rect {
    let (width, height) = (window.width.saturating_sub(4), window.height.saturating_sub(2));
    Rect::new(window.x + 2, window.y + 1, width, height)
}

pub(super) fn draw(buffer: &mut Buffer, screen: Rect, topic: Topic, first: usize, app: &App) {
    let theme = &app.settings.theme;
    let area = window(app, topic).intersection(screen);
    let scrolls = if last_line(app, topic) > 0 { "j k scroll, " } else { "" };
    let what = match topic {
        Topic::View => "help",
        Topic::Losses => "losses",
    };
    text::window(buffer, area, &format!("{what}: {scrolls}Esc closes"), theme);
    let inner = inside(area);
    let shown = lines(app, topic, inner.width).into_iter().skip(first);
    for (line, y) in shown.zip(inner.y..inner.bottom()) {
        for (x, words, style) in line {
            let room = inner.width.saturating_sub(x);
            text::put(buffer, inner.x + x, y, &words, room, style);
        }
    }
}

fn lines(app: &App, topic: Topic, width: u16) -> Vec<Vec<Piece>> {
    let theme = &app.settings.theme;
    let parts = match topic {
        Topic::View => view_parts(app),
        Topic::Losses => loss_parts(app),
    };
    let wrapped = |at: u16, words: &str| -> Vec<Vec<Piece>> {
        let lines = text::wrap(words, width.saturating_sub(at));
        lines.into_iter().map(|line| vec![(at, line, theme.text)]).collect()
    };
    let lines = |part: Part| match part {
        Part::Gap => vec![Vec::new()],
        Part::Heading(words) => vec![vec![(0, words, theme.title)]],
        Part::Loss(words) => vec![vec![(0, words, theme.error)]],
        Part::Words(words) => wrapped(INDENT, &words),
        Part::Pair(name, words) => {
            let mut lines = wrapped(NAME + 1, &words);
            let name = text::cut(&name, NAME).into_owned();
            match lines.first_mut() {
                Some(line) => line.push((0, name, theme.accent)),
                None => lines.push(vec![(0, name, theme.accent)]),
            }
            lines
        }
    };
    parts.into_iter().flat_map(lines).collect()
}

fn heading(words: &str) -> Part {
    Part::Heading(words.to_owned())
}

fn view_parts(app: &App) -> Vec<Part> {
    let mut parts: Vec<Part> = vec![heading(about(app))];
    match app.trail.last() {
        None => parts.extend(column_parts(app.view)),
        Some(Page::Group(page)) if page.is_on_calls => parts.extend(column_parts(View::Syscalls)),
        Some(Page::Group(_)) => parts.extend(column_parts(View::Conns)),
        Some(Page::Connection(_) | Page::Call(_) | Page::Iface(_) | Page::Drops(_)) => {}
    }
    parts.extend([Part::Gap, heading("Keys")]);
    for command in &COMMANDS {
        let keys = app.settings.keys.of(command.action);
        parts.push(Part::Pair(keys, command.about.to_owned()));
    }
    parts.extend([Part::Gap, heading("Filters, all of which must hold")]);
    for (filter, about) in [
        ("port:443", "either port; sport: own, dport: the peer's; 8000-8100 and lists too"),
        ("host:10.0.0.0/8", "either address; src: own, dst: the peer's"),
        ("comm:nginx", "part of the process's name; container: pod: netns: likewise"),
        ("pid:1,2", "these processes"),
        ("state:estab", "as ss names states; proto:udp likewise"),
        ("/regex/", "over the whole line"),
        ("!port:22", "what must not hold"),
    ] {
        parts.push(Part::Pair(filter.to_owned(), about.to_owned()));
    }
    if !app.missing.is_empty() {
        parts.extend([Part::Gap, heading("Missing on this kernel; nettrace doctor says why")]);
        let missing = app.missing.iter();
        parts.extend(missing.map(|words| Part::Pair("-".to_owned(), words.clone())));
    }
    if !app.status.losses.is_empty() {
        parts.push(Part::Gap);
        parts.extend(loss_parts(app));
    }
    parts
}

/// What was lost, why, and what helps; then what only has no row.
fn loss_parts(app: &App) -> Vec<Part> {
    let mut parts = match &app.status.losses[..] {
        [] => vec![
            heading("Nothing was lost since the start"),
            Part::Words(
                "What can't be recorded is counted by its cause, and shown here.".to_owned(),
            ),
        ],
        losses => {
            let losses = losses.iter().flat_map(|(cause, count)| cause_parts(cause, *count));
            [heading("Lost since the start")].into_iter().chain(losses).collect()
        }
    };
    if app.status.unlisted > 0 {
        parts.extend([Part::Gap, heading("Counted, but not listed")]);
        parts.extend(cause_parts(losses::CLOSED_UNLISTED, app.status.unlisted));
    }
    parts
}

fn cause_parts(name: &str, count: u64) -> Vec<Part> {
    let mut parts = vec![Part::Gap, Part::Loss(format!("{count} {name}"))];
    if let Some(cause) = losses::about(name) {
        parts.push(Part::Words(format!("{count} {}.", cause.about)));
        if !cause.remedy.is_empty() {
            parts.push(Part::Words(format!("→ {}", cause.remedy)));
        }
    }
    parts
}

fn column_parts(view: View) -> Vec<Part> {
    let columns = columns::of_view(view);
    let find = |key: &&str| columns.iter().find(|column| column.key == *key);
    let keys = importance::of(view).iter().flat_map(|group| group.iter());
    let mut shown: Vec<_> = keys.filter_map(find).collect();
    shown.sort_by_key(|column| columns.iter().position(|other| other.key == column.key));
    let pair =
        |column: &columns::ColumnInfo| Part::Pair(column.title.to_owned(), column.about.to_owned());
    shown.into_iter().map(pair).collect()
}

fn about(app: &App) -> &'static str {
    match (app.trail.last(), app.view) {
        (Some(Page::Group(_)), _) => "Its connections and system calls; ← → go between them",
        (Some(Page::Connection(_)), _) => "One connection since it was opened here",
        (Some(Page::Call(_)), _) => "One system call since it was opened here",
        (Some(Page::Iface(_)), _) => "One interface since it was opened here",
        (Some(Page::Drops(_)), _) => {
            "One reason and function of drops: the last ones, with their stacks"
        }
        (None, View::Procs) => "Processes: who sends and receives",
        (None, View::Conns) => "Connections: sockets that have a peer or moved bytes",
        (None, View::Hosts) => "Hosts: who is talked to",
        (None, View::Containers) => "Containers and systemd units",
        (None, View::Ifaces) => "Interfaces: bytes on the wire",
        (None, View::Flows) => "Flows: packets by interface, direction and addresses",
        (None, View::Listeners) => {
            "Listeners: who waits for connections, and where there is no room"
        }
        (None, View::Drops) => "Drops: why packets are thrown away, and in which function",
        (None, View::Syscalls) => "System calls by process: how often, how long, how they fail",
    }
}

//! Keys, the mouse and pasted text: what they do to the state, and what is to be done outside.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::app::{App, Effect, Mode, TABS, Topic, number};
use super::draw;
use super::keys::Action;
use super::layout;
use super::pages::Page;
use super::palette::{Palette, Run};
use super::prompt::Line;
use super::theme::Theme;
use crate::columns;
use crate::filter::Filter;

/// Rows that a notch of the wheel moves.
const WHEEL: isize = 3;
/// Lines that a page of what isn't a table is.
const PAGE: isize = 10;

/// A key was pressed.
pub(super) fn key(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    if key.kind == KeyEventKind::Release {
        return Vec::new();
    }
    app.note = None;
    let action = app.settings.keys.action(key);
    // What quits by Ctrl does so wherever keys go.
    let is_ctrl = key.modifiers.contains(crossterm::event::KeyModifiers::CONTROL);
    if is_ctrl && matches!(action, Some(Action::Quit | Action::Redraw | Action::Suspend)) {
        return action.map_or_else(Vec::new, |action| act(app, action));
    }
    match std::mem::take(&mut app.mode) {
        Mode::Browse => browse(app, key, action),
        Mode::Filter(line, _) => filter(app, key, line),
        Mode::Palette(palette) => palette_key(app, key, palette),
        Mode::Help(topic, line) => help(app, key, action, topic, line),
    }
}

fn browse(app: &mut App, key: KeyEvent, action: Option<Action>) -> Vec<Effect> {
    if let Some(action) = action {
        return act(app, action);
    }
    let digit = match key.code {
        KeyCode::Char(c) => c.to_digit(10),
        _ => None,
    };
    let view = digit.and_then(|digit| TABS.get((digit as usize).checked_sub(1)?));
    view.map_or_else(Vec::new, |view| app.show(*view))
}

/// Does something.
pub(super) fn act(app: &mut App, action: Action) -> Vec<Effect> {
    let units = app.settings.units;
    match action {
        Action::NextView => return app.turn(1),
        Action::PreviousView => return app.turn(-1),
        Action::Open => return app.open(),
        Action::Slower => return app.change_interval(true),
        Action::Faster => return app.change_interval(false),
        Action::Closed => return app.toggle_closed(),
        Action::Smooth => return app.toggle_smooth(),
        Action::Redraw => return vec![Effect::Redraw],
        Action::Suspend => return vec![Effect::Suspend],
        Action::Quit => return vec![Effect::Quit],
        Action::Copy => return copy(app),
        Action::NextSort | Action::Reverse => return sort(app, action),
        Action::Back => {
            if app.trail.pop().is_none() && !app.filter_text.is_empty() {
                return app.clear_filter();
            }
        }
        Action::Filter => app.mode = Mode::Filter(Line::new(&app.filter_text), None),
        Action::Palette => app.mode = Mode::Palette(Palette::new(app)),
        Action::Help => app.mode = Mode::Help(Topic::View, 0),
        Action::Losses => app.mode = Mode::Help(Topic::Losses, 0),
        Action::Pause => app.is_paused = !app.is_paused,
        Action::Left | Action::Right => {
            if let Some(Page::Group(page)) = app.trail.last_mut() {
                page.focus(action == Action::Right);
            }
        }
        Action::Down
        | Action::Up
        | Action::Top
        | Action::Bottom
        | Action::PageDown
        | Action::PageUp => {
            if let Some(Page::Drops(page)) = app.trail.last_mut() {
                page.scroll(match action {
                    Action::Down => 1,
                    Action::Up => -1,
                    Action::Top => isize::MIN,
                    Action::Bottom => isize::MAX,
                    Action::PageDown => PAGE,
                    _ => -PAGE,
                });
            }
            if let Some(table) = app.focused() {
                match action {
                    Action::Down => table.step(1, units),
                    Action::Up => table.step(-1, units),
                    Action::Top => table.top(units),
                    Action::Bottom => table.bottom(units),
                    Action::PageDown => table.page(1, units),
                    _ => table.page(-1, units),
                }
            }
        }
    }
    Vec::new()
}

fn copy(app: &mut App) -> Vec<Effect> {
    let units = app.settings.units;
    let line = match app.trail.last() {
        Some(Page::Connection(page)) => Some(page.title.clone()),
        Some(Page::Call(page)) => Some(page.title.clone()),
        Some(Page::Iface(page)) => Some(page.row.interface.clone()),
        Some(Page::Drops(page)) => Some(page.title.clone()),
        _ => app.focused().and_then(|table| table.line(units)),
    };
    app.note = line.as_ref().map(|_| "copied, if your terminal allows it (OSC 52)".to_owned());
    line.map(Effect::Copy).into_iter().collect()
}

fn sort(app: &mut App, action: Action) -> Vec<Effect> {
    let units = app.settings.units;
    let Some(area) = table_area(app) else {
        return Vec::new();
    };
    if let Some(table) = app.focused() {
        if action == Action::Reverse {
            table.reverse(units);
        } else {
            table.sort_next(area.width, units);
        }
    }
    vec![Effect::Ask]
}

/// Where the table is drawn that the cursor is in.
fn table_area(app: &App) -> Option<Rect> {
    let body = app.areas()?.body;
    match app.trail.last() {
        None => Some(body),
        Some(Page::Group(page)) => Some(page.tables(body)[usize::from(page.is_on_calls)]),
        Some(_) => None,
    }
}

fn filter(app: &mut App, key: KeyEvent, mut line: Line) -> Vec<Effect> {
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter => match app.set_filter(&line.text()) {
            Ok(effects) => return effects,
            Err(error) => {
                app.mode = Mode::Filter(line, Some(error));
                return Vec::new();
            }
        },
        _ => {
            line.key(key);
        }
    }
    let error = Filter::parse(&line.text()).err().map(|error| error.to_string());
    app.mode = Mode::Filter(line, error);
    Vec::new()
}

fn palette_key(app: &mut App, key: KeyEvent, mut palette: Palette) -> Vec<Effect> {
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter => {
            return palette.chosen().map_or_else(Vec::new, |run| run_command(app, run));
        }
        KeyCode::Up | KeyCode::BackTab => palette.step(-1),
        KeyCode::Down | KeyCode::Tab => palette.step(1),
        _ => palette.key(key),
    }
    app.mode = Mode::Palette(palette);
    Vec::new()
}

fn run_command(app: &mut App, run: Run) -> Vec<Effect> {
    match run {
        Run::Do(action) => act(app, action),
        Run::Show(view) => app.show(view),
        Run::Sort(column) => {
            let units = app.settings.units;
            if let Some(table) = app.focused() {
                table.sort_by(column, units);
            }
            vec![Effect::Ask]
        }
        Run::Theme(name) => {
            if let Some(theme) = Theme::named(name).filter(|_| app.settings.has_colour) {
                app.settings.theme = theme;
            } else {
                app.note = Some("there is no colour here".to_owned());
            }
            Vec::new()
        }
        Run::Filter(text) => app.set_filter(&text).unwrap_or_else(|error| {
            app.note = Some(error);
            Vec::new()
        }),
    }
}

fn help(
    app: &mut App,
    key: KeyEvent,
    action: Option<Action>,
    topic: Topic,
    line: usize,
) -> Vec<Effect> {
    let last = draw::help::last_line(app, topic);
    let line = match action {
        Some(Action::Down) => line + 1,
        Some(Action::Up) => line.saturating_sub(1),
        Some(Action::PageDown) => line + 10,
        Some(Action::PageUp) => line.saturating_sub(10),
        Some(Action::Top) => 0,
        Some(Action::Bottom) => last,
        Some(Action::Quit | Action::Help | Action::Losses | Action::Back | Action::Open) => {
            return Vec::new();
        }
        _ if key.code == KeyCode::Esc => return Vec::new(),
        _ => line,
    };
    app.mode = Mode::Help(topic, line.min(last));
    Vec::new()
}

/// A text was pasted: into what is typed, if anything is.
pub(super) fn paste(app: &mut App, text: &str) {
    match &mut app.mode {
        Mode::Filter(line, error) => {
            line.insert(text);
            *error = Filter::parse(&line.text()).err().map(|error| error.to_string());
        }
        Mode::Palette(palette) => palette.insert(text),
        Mode::Browse | Mode::Help(..) => {}
    }
}

/// The mouse was clicked or its wheel turned.
pub(super) fn mouse(app: &mut App, mouse: MouseEvent) -> Vec<Effect> {
    let by = match mouse.kind {
        MouseEventKind::ScrollDown => WHEEL,
        MouseEventKind::ScrollUp => -WHEEL,
        MouseEventKind::Down(MouseButton::Left) => return click(app, mouse.column, mouse.row),
        _ => return Vec::new(),
    };
    let units = app.settings.units;
    if let Mode::Help(topic, line) = app.mode {
        let last = draw::help::last_line(app, topic);
        app.mode = Mode::Help(topic, line.saturating_add_signed(by).min(last));
    }
    match &mut app.mode {
        Mode::Help(..) => {}
        Mode::Palette(palette) => palette.step(by.signum()),
        Mode::Browse | Mode::Filter(..) => {
            if let Some(Page::Drops(page)) = app.trail.last_mut() {
                page.scroll(by);
            }
            if let Some(table) = app.focused() {
                table.step(by, units);
            }
        }
    }
    Vec::new()
}

fn click(app: &mut App, x: u16, y: u16) -> Vec<Effect> {
    let Some(areas) = app.areas() else {
        return Vec::new();
    };
    if !matches!(app.mode, Mode::Browse) {
        return Vec::new();
    }
    app.note = None;
    if y == areas.tabs.y {
        let view = draw::tabs::view_at(app, areas.tabs, x);
        return view.map_or_else(Vec::new, |view| app.show(view));
    }
    let units = app.settings.units;
    if let Some(Page::Group(page)) = app.trail.last_mut() {
        let panes = page.tables(areas.body);
        if let Some(pane) = panes.iter().position(|pane| pane.contains(Position::new(x, y))) {
            page.focus(pane == 1);
        }
    }
    let Some(area) = table_area(app).filter(|area| area.contains(Position::new(x, y))) else {
        return Vec::new();
    };
    let Some(table) = app.focused() else {
        return Vec::new();
    };
    if y == area.y {
        if let Some(column) = table.column_at(x, area) {
            table.sort_by(Some(column), units);
            return vec![Effect::Ask];
        }
        return Vec::new();
    }
    let row = table.offset + usize::from(y - layout::rows(area).y);
    if row < table.len() {
        table.go(row, units);
    }
    Vec::new()
}

/// The columns of the tab that rows can be sorted by.
pub(super) fn sortable(app: &App) -> impl Iterator<Item = (usize, &'static str)> {
    let columns = columns::of_view(app.tables[number(app.view)].view);
    columns.into_iter().enumerate().map(|(index, column)| (index, column.title))
}

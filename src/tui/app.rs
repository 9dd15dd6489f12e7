//! The state of the dashboard, and the one place where it changes: [`update`] takes a message and
//! returns what is to be done outside.

use std::time::{Duration, SystemTime};

use crossterm::event::{KeyEvent, MouseEvent};

use super::history::History;
use super::input;
use super::keys::Keys;
use super::layout::{self, Areas};
use super::pages::{News, Page};
use super::palette::Palette;
use super::prompt::Line;
use super::table::Table;
use super::theme::Theme;
use crate::columns::Order;
use crate::filter::Filter;
use crate::model::{ConnRow, Picture, Rows, SyscallRow, Totals, View};
use crate::output::Units;
use crate::sample::OwnCost;

/// Closed connections that are shown, if they are asked for; the oldest go.
const CLOSED_KEPT: usize = 1000;
/// Among the causes of losses the one that loses nothing but rows.
const UNLISTED: &str = "closed_unlisted";
/// Intervals that `+` and `-` go through.
const INTERVALS: [u64; 11] = [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000];

/// What the user chose once and for all.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How things look.
    pub theme: Theme,
    /// Which key does what.
    pub keys: Keys,
    /// How bytes are shown.
    pub units: Units,
    /// The columns of each view, where they were chosen.
    pub columns: [Option<Vec<usize>>; View::ALL.len()],
    /// Saved filters: name and text.
    pub filters: Vec<(String, String)>,
    /// The view at the start.
    pub view: View,
    /// The interval at the start.
    pub interval: Duration,
    /// Colours may be chosen.
    pub has_colour: bool,
    /// The host's name.
    pub host: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            theme: Theme::fitting(true, None),
            keys: Keys::default(),
            units: Units::default(),
            columns: Default::default(),
            filters: Vec::new(),
            view: View::default(),
            interval: Duration::from_secs(1),
            has_colour: true,
            host: String::new(),
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was clicked or its wheel turned.
    Mouse(MouseEvent),
    /// A text was pasted.
    Paste(String),
    /// The terminal has this size.
    Resize(u16, u16),
    /// The collector has a picture.
    Picture(Box<Picture>),
}

/// What is to be done outside of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the collector what is wanted; see [`App::wanted`].
    Ask,
    /// Put a text on the clipboard.
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Give the terminal back until `fg`.
    Suspend,
    /// End.
    Quit,
}

/// What the collector is to read.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// At least these views.
    pub views: Vec<View>,
    /// In this order, by the views' numbers.
    pub orders: [Order; View::ALL.len()],
    /// Only what matches this.
    pub filter: Filter,
    /// Its text, by which two are told apart.
    pub filter_text: String,
    /// Between two pictures.
    pub interval: Duration,
}

/// What keys go to.
#[derive(Debug, Default)]
pub enum Mode {
    /// The table or page.
    #[default]
    Browse,
    /// A filter is typed; what is wrong with it.
    Filter(Line, Option<String>),
    /// A command is chosen.
    Palette(Palette),
    /// The help, from this line on.
    Help(usize),
}

/// What the status line says.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// When the last picture was read.
    pub time: Option<SystemTime>,
    /// What was missed since the start, by cause.
    pub losses: Vec<(&'static str, u64)>,
    /// Connections that closed while a picture was waited for: they count, but have no rows.
    pub unlisted: u64,
    /// nettrace's own share of a CPU, percent.
    pub cpu_percent: Option<f64>,
    /// Of its programs in the kernel, percent.
    pub bpf_percent: Option<f64>,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    own: OwnCost,
}

/// The dashboard.
#[derive(Debug)]
pub struct App {
    /// What the user chose once and for all.
    pub settings: Settings,
    /// Columns and lines of the terminal.
    pub size: (u16, u16),
    /// The tab.
    pub view: View,
    /// By the views' numbers.
    pub tables: [Table; View::ALL.len()],
    /// What is open below the tab's row.
    pub trail: Vec<Page>,
    /// What keys go to.
    pub mode: Mode,
    /// The picture is held.
    pub is_paused: bool,
    /// Closed connections are shown too.
    pub shows_closed: bool,
    /// Between two pictures.
    pub interval: Duration,
    /// The filter's text.
    pub filter_text: String,
    filter: Filter,
    /// One an interval.
    pub totals: History<Totals>,
    /// What the status line says.
    pub status: Status,
    /// Hooks that are missing: what is lost without them, and why.
    pub missing: Vec<String>,
    /// Said until the next key.
    pub note: Option<String>,
    closed: History<ConnRow>,
    /// Rows that aren't shown any more. To free 100,000 takes time, which keys don't have.
    spent: Vec<Rows>,
}

/// Takes a message and returns what is to be done outside.
pub fn update(app: &mut App, message: Message) -> Vec<Effect> {
    let effects = match message {
        Message::Key(key) => input::key(app, key),
        Message::Mouse(mouse) => input::mouse(app, mouse),
        Message::Paste(text) => {
            input::paste(app, &text);
            Vec::new()
        }
        Message::Resize(width, height) => {
            app.size = (width, height);
            Vec::new()
        }
        Message::Picture(picture) => {
            app.take(*picture);
            Vec::new()
        }
    };
    app.make_room();
    effects
}

impl App {
    /// A dashboard that has no picture yet.
    pub fn new(settings: Settings, size: (u16, u16), missing: Vec<String>) -> Self {
        let table = |view: View| Table::new(view, settings.columns[number(view)].clone());
        let mut app = App {
            size,
            view: settings.view,
            tables: View::ALL.map(table),
            trail: Vec::new(),
            mode: Mode::Browse,
            is_paused: false,
            shows_closed: false,
            interval: settings.interval,
            filter_text: String::new(),
            filter: Filter::default(),
            totals: History::default(),
            status: Status::default(),
            missing,
            note: None,
            closed: History::default(),
            spent: Vec::new(),
            settings,
        };
        app.make_room();
        app
    }

    /// The tab's table.
    pub fn table(&self) -> &Table {
        &self.tables[number(self.view)]
    }

    /// The table that the cursor is in.
    pub fn focused(&mut self) -> Option<&mut Table> {
        match self.trail.last_mut() {
            Some(page) => page.table(),
            None => Some(&mut self.tables[number(self.view)]),
        }
    }

    /// The parts of the screen, if it is large enough for any.
    pub fn areas(&self) -> Option<Areas> {
        let is_prompting = matches!(self.mode, Mode::Filter(..));
        layout::areas(self.size.0, self.size.1, is_prompting)
    }

    /// Why the filter doesn't apply to the view, if it doesn't.
    pub fn unfiltered(&self) -> Option<String> {
        match self.view {
            View::Ifaces if !self.filter.is_empty() => Some("not of interfaces".to_owned()),
            View::Syscalls => {
                self.filter.about_sockets().map(|key| format!("{key}: is not of system calls"))
            }
            _ => None,
        }
    }

    /// What the collector is to read.
    pub fn wanted(&self) -> Wanted {
        let mut views = vec![self.view];
        if !self.trail.is_empty() {
            views.extend([View::Conns, View::Syscalls]);
        }
        Wanted {
            views,
            orders: View::ALL.map(|view| self.tables[number(view)].order),
            filter: self.filter.clone(),
            filter_text: self.filter_text.clone(),
            interval: self.interval,
        }
    }

    /// Goes to a view.
    pub fn show(&mut self, view: View) -> Vec<Effect> {
        self.view = view;
        self.trail.clear();
        vec![Effect::Ask]
    }

    /// Goes to the view so many tabs to the right.
    pub fn turn(&mut self, by: isize) -> Vec<Effect> {
        let count = View::ALL.len().cast_signed();
        let at = (number(self.view).cast_signed() + by).rem_euclid(count);
        self.show(View::ALL[at.cast_unsigned()])
    }

    /// Sets the filter.
    ///
    /// # Errors
    /// The message for the user.
    pub fn set_filter(&mut self, text: &str) -> Result<Vec<Effect>, String> {
        self.filter = Filter::parse(text).map_err(|error| error.to_string())?;
        self.filter_text = text.trim().to_owned();
        self.closed = History::default();
        if self.is_paused {
            self.note = Some("paused: the filter is seen when the picture goes on".to_owned());
        }
        Ok(vec![Effect::Ask])
    }

    /// A longer interval, or a shorter one.
    pub fn change_interval(&mut self, longer: bool) -> Vec<Effect> {
        let now = self.interval.as_millis();
        let mut steps = INTERVALS.iter().map(|ms| u128::from(*ms));
        let next =
            if longer { steps.find(|ms| *ms > now) } else { steps.rev().find(|ms| *ms < now) };
        if let Some(ms) = next.and_then(|ms| u64::try_from(ms).ok()) {
            self.interval = Duration::from_millis(ms);
        }
        vec![Effect::Ask]
    }

    /// Opens the row under the cursor.
    pub fn open(&mut self) -> Vec<Effect> {
        let Some(table) = self.focused() else {
            return Vec::new();
        };
        match Page::of(&table.rows, table.cursor) {
            Some(page) => {
                self.trail.push(page);
                self.show_pages();
            }
            None if table.is_empty() => {}
            None => self.note = Some("there is nothing below an interface".to_owned()),
        }
        vec![Effect::Ask]
    }

    /// Fills a page that was just opened with what is there.
    fn show_pages(&mut self) {
        let App { tables, trail, status, settings, .. } = self;
        let (Rows::Conns(conns), Rows::Syscalls(calls)) =
            (&tables[number(View::Conns)].rows, &tables[number(View::Syscalls)].rows)
        else {
            return;
        };
        if let Some(Page::Group(page)) = trail.last_mut() {
            let time = status.time.unwrap_or(SystemTime::UNIX_EPOCH);
            let units = settings.units;
            page.take(&News { conns, ended: &[], calls, time, interval_s: 0.0, units });
        }
    }

    /// Shows closed connections too, or not.
    pub fn toggle_closed(&mut self) {
        self.shows_closed = !self.shows_closed;
        let said = if self.shows_closed { "shown" } else { "hidden" };
        self.note = Some(format!("closed connections are {said}"));
        let closed = self.closed_rows();
        let table = &mut self.tables[number(View::Conns)];
        if let Rows::Conns(rows) = &mut table.rows {
            let mut rows = std::mem::take(rows);
            rows.retain(|row| !row.ended);
            rows.extend(closed);
            table.take_unsorted(Rows::Conns(rows), self.settings.units);
        }
    }

    fn closed_rows(&self) -> Vec<ConnRow> {
        let kept = if self.shows_closed { CLOSED_KEPT } else { 0 };
        self.closed.last(kept).cloned().collect()
    }

    fn take(&mut self, picture: Picture) {
        if self.is_paused {
            self.spent.extend(picture.frames.into_iter().map(|frame| frame.rows));
            return;
        }
        let Some(frame) = picture.frames.first() else {
            return;
        };
        self.status.advance(&frame.losses.0, frame.own, frame.interval_s);
        self.status.time = Some(frame.time);
        let (time, interval_s) = (frame.time, frame.interval_s);
        if interval_s > 0.0 {
            self.totals.push(picture.totals);
        }
        let units = self.settings.units;
        let orders = self.wanted().orders;
        let mut ended = Vec::new();
        for frame in picture.frames {
            let mut rows = frame.rows;
            if let Rows::Conns(rows) = &mut rows {
                ended = self.split_off_closed(rows);
            }
            let at = number(frame.view);
            self.spent.push(self.tables[at].take(rows, orders[at], units));
        }
        let Rows::Conns(conns) = &self.tables[number(View::Conns)].rows else {
            return;
        };
        let calls: &[SyscallRow] = match &self.tables[number(View::Syscalls)].rows {
            Rows::Syscalls(calls) => calls,
            _ => &[],
        };
        let news = News { conns, ended: &ended, calls, time, interval_s, units };
        self.trail.iter_mut().for_each(|page| page.take(&news));
    }

    /// Takes connections that ended out of the rows, and puts in those that ended of late, if wanted.
    fn split_off_closed(&mut self, rows: &mut Vec<ConnRow>) -> Vec<ConnRow> {
        let ended: Vec<ConnRow> = rows.iter().filter(|row| row.ended).cloned().collect();
        for row in &ended {
            self.closed.push(ConnRow { rx_rate: 0.0, tx_rate: 0.0, ..row.clone() });
        }
        if !ended.is_empty() {
            rows.retain(|row| !row.ended);
        }
        rows.extend(self.closed_rows());
        ended
    }

    /// Rows that aren't shown any more, to be freed elsewhere.
    pub fn take_spent(&mut self) -> Vec<Rows> {
        std::mem::take(&mut self.spent)
    }

    /// Tells the tables how many rows are seen.
    fn make_room(&mut self) {
        let Some(areas) = self.areas() else {
            return;
        };
        let units = self.settings.units;
        let height = |area| usize::from(layout::rows(area).height);
        self.tables.iter_mut().for_each(|table| table.resize(height(areas.body), units));
        for page in &mut self.trail {
            if let Page::Group(page) = page {
                let [first, second] = page.tables(areas.body);
                page.conns.resize(height(first), units);
                if let Some(calls) = &mut page.calls {
                    calls.resize(height(second), units);
                }
            }
        }
    }
}

impl Status {
    fn advance(&mut self, losses: &[(&'static str, u64)], own: OwnCost, seconds: f64) {
        let unlisted = losses.iter().find(|(cause, _)| *cause == UNLISTED);
        self.unlisted = unlisted.map_or(0, |(_, count)| *count);
        let is_lost = |(cause, count): &(&str, u64)| *count > 0 && *cause != UNLISTED;
        self.losses = losses.iter().copied().filter(is_lost).collect();
        self.rss_bytes = own.rss_bytes;
        if seconds > 0.0 {
            self.cpu_percent = Some((own.cpu_s - self.own.cpu_s).max(0.0) / seconds * 100.0);
            self.bpf_percent = own
                .bpf_ns
                .zip(self.own.bpf_ns)
                .map(|(now, before)| now.saturating_sub(before) as f64 / 1e9 / seconds * 100.0);
        }
        self.own = own;
    }
}

/// A view's place among the tabs.
pub fn number(view: View) -> usize {
    View::ALL.iter().position(|other| *other == view).unwrap_or(0)
}

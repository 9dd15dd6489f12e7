//! The state of the dashboard, and the one place where it changes: [`update`] takes a message and
//! returns what is to be done outside.

use std::time::{Duration, SystemTime};

use crossterm::event::{KeyEvent, MouseEvent};

use super::history::History;
use super::input;
use super::keys::Keys;
use super::layout::{self, Areas};
use super::pages::group::{Group, GroupRows};
use super::pages::{News, Page};
use super::palette::Palette;
use super::prepare::Prepared;
use super::prompt::Line;
use super::scope::Scope;
use super::singles::SinglesOf;
use super::table::Table;
use super::theme::Theme;
use crate::columns::Order;
use crate::filter::Filter;
use crate::losses::{CLOSED_UNLISTED, DROP_LIMIT};
use crate::model::{Rows, TIME_CONSTANT_S, Totals, View};
use crate::output::Units;
use crate::sample::OwnCost;

/// With more rows, what is opened is filled with the next picture.
const FILLED_AT_ONCE: usize = 20_000;
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
    /// Rates are averages at the start.
    pub smooth: bool,
    /// The part of the server that is looked at.
    pub scope: Scope,
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
            smooth: false,
            scope: Scope::default(),
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
    Picture(Box<Prepared>),
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
    /// Closed connections too.
    pub closed: bool,
    /// Averages in place of rates.
    pub smooth: bool,
    /// Single events of what is open.
    pub singles: Option<SinglesOf>,
    /// The group that is open, and the orders of its tables.
    pub group: Option<(Group, [Order; 2])>,
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
    Help(Topic, usize),
}

/// What the help is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The keys, and what is shown.
    View,
    /// What was lost.
    Losses,
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
    /// Rates are averages.
    pub is_smooth: bool,
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
    /// All processes that the scope names have ended.
    pub scope_ended: bool,
    /// Said until the next key.
    pub note: Option<String>,
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
        Message::Picture(prepared) => {
            app.take(*prepared);
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
            is_smooth: settings.smooth,
            interval: settings.interval,
            filter_text: String::new(),
            filter: Filter::default(),
            totals: History::default(),
            status: Status::default(),
            missing,
            scope_ended: false,
            note: None,
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
            View::Drops => self
                .filter
                .about_single_drops()
                .map(|key| format!("{key}: is not of sums of drops")),
            View::Flows => {
                self.filter.about_no_packets().map(|key| format!("{key}: is not of packets"))
            }
            _ => None,
        }
    }

    /// What the collector is to read.
    pub fn wanted(&self) -> Wanted {
        let mut views = vec![self.view];
        if !matches!(self.trail.first(), None | Some(Page::Iface(_) | Page::Drops(_))) {
            views.extend([View::Conns, View::Syscalls]);
        }
        let group = match self.trail.first() {
            Some(Page::Group(page)) => Some((page.group.clone(), page.orders())),
            _ => None,
        };
        Wanted {
            views,
            orders: View::ALL.map(|view| self.tables[number(view)].order),
            filter: self.filter.clone(),
            filter_text: self.filter_text.clone(),
            interval: self.interval,
            closed: self.shows_closed,
            smooth: self.is_smooth,
            singles: self.trail.last().and_then(Page::singles),
            group,
        }
    }

    /// Goes to a view.
    pub fn show(&mut self, view: View) -> Vec<Effect> {
        self.view = view;
        self.trail.clear();
        self.tables[number(view)].settle(self.settings.units);
        vec![Effect::Ask]
    }

    /// Goes to the view so many tabs to the right.
    pub fn turn(&mut self, by: isize) -> Vec<Effect> {
        let count = TABS.len().cast_signed();
        let at = (tab(self.view).cast_signed() - 1 + by).rem_euclid(count);
        self.show(TABS[at.cast_unsigned()])
    }

    /// Sets the filter.
    ///
    /// # Errors
    /// The message for the user.
    pub fn set_filter(&mut self, text: &str) -> Result<Vec<Effect>, String> {
        self.filter = Filter::parse(text).map_err(|error| error.to_string())?;
        self.filter_text = text.trim().to_owned();
        Ok(self.ask())
    }

    /// Shows everything again.
    pub fn clear_filter(&mut self) -> Vec<Effect> {
        self.filter = Filter::default();
        self.filter_text.clear();
        self.ask()
    }

    /// Asks the collector for something else, which a picture that is held doesn't show.
    fn ask(&mut self) -> Vec<Effect> {
        if self.is_paused {
            self.note = Some("paused: it is seen when the picture goes on".to_owned());
        }
        vec![Effect::Ask]
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
        if let Some(page) = Page::of(&table.rows, table.cursor) {
            self.trail.push(page);
            self.show_pages();
        } else if table.view == View::Flows && !table.is_empty() {
            self.note = Some("nobody on this machine is known to own this flow".to_owned());
            return Vec::new();
        }
        vec![Effect::Ask]
    }

    /// Fills a page that was just opened with what is there, unless that takes longer than a key may.
    fn show_pages(&mut self) {
        let (conns, calls) = (number(View::Conns), number(View::Syscalls));
        let Some(Page::Group(page)) = self.trail.last_mut() else {
            return;
        };
        let sources = [&self.tables[conns], &self.tables[calls]];
        if sources.iter().map(|table| table.len()).sum::<usize>() <= FILLED_AT_ONCE {
            let mut rows = GroupRows::new(page.group.clone());
            sources.iter().for_each(|table| rows.add(&table.rows));
            page.take(rows, self.settings.units);
        }
    }

    /// Shows closed connections too, or not.
    pub fn toggle_closed(&mut self) -> Vec<Effect> {
        self.shows_closed = !self.shows_closed;
        let said = if self.shows_closed { "shown" } else { "hidden" };
        self.note = Some(format!("closed connections are {said}"));
        self.ask()
    }

    /// Smooths rates, or doesn't.
    pub fn toggle_smooth(&mut self) -> Vec<Effect> {
        self.is_smooth = !self.is_smooth;
        self.note = Some(if self.is_smooth {
            format!("rates are averages over some {TIME_CONSTANT_S} s; what is counted stays exact")
        } else {
            "rates are those of the interval".to_owned()
        });
        self.ask()
    }

    fn take(&mut self, prepared: Prepared) {
        let Prepared { picture, arranged, ended, group, singles } = prepared;
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
        let mut unread = View::ALL.to_vec();
        for frame in picture.frames {
            let at = number(frame.view);
            unread.retain(|view| *view != frame.view);
            self.spent.push(self.tables[at].take(frame.rows, arranged[at]));
        }
        // Old rows would be taken for those of now.
        for view in unread {
            self.spent.push(self.tables[number(view)].forget());
        }
        self.tables[number(self.view)].settle(units);
        if let (Some((of, events)), Some(page)) = (singles, self.trail.last_mut())
            && page.singles() == Some(of)
        {
            page.take_singles(events);
        }
        let views = [View::Conns, View::Syscalls, View::Ifaces, View::Drops];
        let [Rows::Conns(conns), Rows::Syscalls(calls), Rows::Ifaces(ifaces), Rows::Drops(drops)] =
            views.map(|view| &self.tables[number(view)].rows)
        else {
            return;
        };
        let news = News { conns, ended: &ended, calls, drops, ifaces, time, interval_s };
        self.trail.iter_mut().for_each(|page| page.take(&news));
        if let (Some(rows), Some(Page::Group(page))) = (group, self.trail.first_mut()) {
            self.spent.extend(page.take(rows, units));
        }
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
        let unlisted = losses.iter().find(|(cause, _)| *cause == CLOSED_UNLISTED);
        self.unlisted = unlisted.map_or(0, |(_, count)| *count);
        // Of drops, some are looked at singly; all count.
        let is_lost = |(cause, count): &(&str, u64)| {
            *count > 0 && ![CLOSED_UNLISTED, DROP_LIMIT].contains(cause)
        };
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

/// The views in the order of their tabs.
pub const TABS: [View; 9] = [
    View::Procs,
    View::Conns,
    View::Hosts,
    View::Containers,
    View::Ifaces,
    View::Listeners,
    View::Syscalls,
    View::Drops,
    View::Flows,
];

/// A view's place among the tabs, from 1 on.
pub fn tab(view: View) -> usize {
    TABS.iter().position(|other| *other == view).unwrap_or(0) + 1
}

/// A view's place among all.
pub fn number(view: View) -> usize {
    View::ALL.iter().position(|other| *other == view).unwrap_or(0)
}

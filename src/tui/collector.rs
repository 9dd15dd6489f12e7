//! The thread that owns the probes and the model. It makes a picture each interval and hands it over;
//! what is wanted can change at any time, and then it comes at once.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::app::Wanted;
use super::prepare::{Prepared, Preparer};
use super::singles;
use crate::filter::Filter;
use crate::model::{EventRow, Model, Picture, Rows, View};
use crate::names::{Names, exists};
use crate::privileges;
use crate::session::{self, Session, Wake};

/// With more sockets or flows, only the views that are wanted get rows: it is those rows that take time.
const SOCKETS_FOR_ALL_VIEWS: usize = 20_000;
/// The second picture is the first with rates; nobody wants to wait long for it.
const FIRST_INTERVAL: Duration = Duration::from_millis(300);
/// A picture that is wanted at once still needs some time for its rates.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);
/// Pictures under way. A collector that is ahead waits, so that none is lost.
const UNDER_WAY: usize = 1;
/// Rows that wait to be freed; beyond it they are freed where they were drawn.
const SPENT: usize = 4;

/// What the collector has to say.
#[derive(Debug)]
pub enum Report {
    /// Everything is attached; what is lost where it couldn't be.
    Ready(Vec<String>),
    /// What was read.
    Picture(Box<Prepared>),
    /// No process lives any more of those that the scope names.
    ScopeEnded,
    /// It can't go on.
    Failed(anyhow::Error),
}

/// What it begins with, and keeps to.
#[derive(Debug, Default)]
pub struct Begin {
    /// What is read.
    pub probes: session::Options,
    /// No look-ups of names.
    pub numeric: bool,
    /// The scope.
    pub filter: Filter,
    /// The interfaces to show; all if none are named.
    pub interfaces: Vec<String>,
    /// The only processes to watch; all if none are named.
    pub pids: Vec<u32>,
}

/// The other end of the thread.
#[derive(Debug)]
pub struct Collector {
    reports: Option<Receiver<Report>>,
    spent: SyncSender<Vec<Rows>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The latest counts; none ends the thread.
    wanted: Mutex<Option<Wanted>>,
    /// Something else is wanted.
    changed: EventFd,
    /// There is a report.
    reported: EventFd,
}

impl Shared {
    fn wanted(&self) -> Option<Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn want(&self, wanted: Option<Wanted>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        // Only a counter at its end refuses.
        let _ = self.changed.write(1);
    }
}

impl Collector {
    /// Starts the thread, which attaches first.
    ///
    /// # Errors
    /// Where the operating system has no more descriptors or threads.
    pub fn start(begin: Begin, wanted: Wanted) -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = || EventFd::from_value_and_flags(0, flags).context("make an eventfd");
        let shared = Arc::new(Shared {
            wanted: Mutex::new(Some(wanted)),
            changed: eventfd()?,
            reported: eventfd()?,
        });
        let (sender, reports) = sync_channel(UNDER_WAY);
        let (spender, spent) = sync_channel(SPENT);
        let reporter = Reporter { reports: Some(sender), spent, shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("collector".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = collect(begin, &reporter) {
                reporter.report(Report::Failed(error));
            }
        });
        let thread = thread.context("start the collector")?;
        Ok(Collector { reports: Some(reports), spent: spender, shared, thread: Some(thread) })
    }

    /// Readable when there is a report.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.reported.as_fd()
    }

    /// Waits for a report.
    ///
    /// # Errors
    /// If the thread is gone.
    pub fn wait(&self) -> Result<Report> {
        let report = self.reports.as_ref().map(Receiver::recv);
        report.and_then(Result::ok).context("the collector ended")
    }

    /// The next report, if there is one.
    ///
    /// # Errors
    /// If the thread is gone.
    pub fn next(&self) -> Result<Option<Report>> {
        let _ = self.shared.reported.read();
        match self.reports.as_ref().map(Receiver::try_recv) {
            Some(Ok(report)) => Ok(Some(report)),
            Some(Err(TryRecvError::Empty)) => Ok(None),
            Some(Err(TryRecvError::Disconnected)) | None => anyhow::bail!("the collector ended"),
        }
    }

    /// Has rows freed by the collector, which has the time.
    pub fn free(&self, spent: Vec<Rows>) {
        if !spent.is_empty() {
            // What is refused comes back, and is freed here.
            let _ = self.spent.try_send(spent);
        }
    }

    /// Says what is wanted from now on.
    pub fn want(&self, wanted: Wanted) {
        self.shared.want(Some(wanted));
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.want(None);
        // It may be waiting to hand a picture over.
        self.reports = None;
        if let Some(thread) = self.thread.take() {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

struct Reporter {
    /// None once the thread ends.
    reports: Option<SyncSender<Report>>,
    spent: Receiver<Vec<Rows>>,
    shared: Arc<Shared>,
}

impl Reporter {
    /// Hands a report over; false if nobody takes it any more.
    fn report(&self, report: Report) -> bool {
        let is_taken = self.reports.as_ref().is_some_and(|reports| reports.send(report).is_ok());
        let _ = self.shared.reported.write(1);
        is_taken
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        // The thread ends, maybe by a panic: that is worth a look, which must find it gone.
        self.reports = None;
        let _ = self.shared.reported.write(1);
    }
}

fn collect(begin: Begin, reporter: &Reporter) -> Result<()> {
    let Begin { probes, numeric, filter, interfaces, mut pids } = begin;
    let mut session = Session::open(probes)?;
    // Of this thread and of that which looks up names.
    privileges::keep_only(&session.capabilities())?;
    let model = Model::new(Names::new(numeric), filter, interfaces);
    let mut model = model.with_events(singles::options());
    if !reporter.report(Report::Ready(missing(&session))) {
        return Ok(());
    }
    let mut preparer = Preparer::default();
    let mut filter_text = String::new();
    let mut next = Instant::now();
    let mut is_first = true;
    while let Some(wanted) = reporter.shared.wanted() {
        if filter_text != wanted.filter_text {
            filter_text.clone_from(&wanted.filter_text);
            model.narrow(wanted.filter.clone());
        }
        while reporter.spent.try_recv().is_ok() {}
        #[cfg(debug_assertions)]
        if !is_first {
            super::panic_if_told("collector");
        }
        let now = Instant::now();
        let (picture, shown, events) = picture(&mut session, &mut model, &wanted.views)?;
        preparer.keep(events);
        let prepared = preparer.prepare(picture, &wanted);
        if !reporter.report(Report::Picture(Box::new(prepared))) {
            return Ok(());
        }
        if !pids.is_empty() && !pids.iter().any(|pid| exists(*pid)) {
            pids.clear();
            if !reporter.report(Report::ScopeEnded) {
                return Ok(());
            }
        }
        let interval = if is_first { wanted.interval.min(FIRST_INTERVAL) } else { wanted.interval };
        is_first = false;
        // Pictures that take longer than the interval don't make the next ones hurry.
        next = (next + interval).max(now + LEAST_INTERVAL);
        if next < Instant::now() {
            next = Instant::now() + LEAST_INTERVAL;
        }
        let drawn = Drawn { at: now, shown, wanted };
        drawn.wait(&mut session, &mut model, reporter, &mut next)?;
    }
    Ok(())
}

/// What is on the screen while the next picture is waited for.
struct Drawn {
    at: Instant,
    shown: Vec<View>,
    wanted: Wanted,
}

impl Drawn {
    /// Whether the picture has all that is wanted, but for the order of rows.
    fn has(&self, wanted: &Wanted) -> bool {
        let group = |wanted: &Wanted| wanted.group.as_ref().map(|(group, _)| group.clone());
        wanted.views.iter().all(|view| self.shown.contains(view))
            && wanted.filter_text == self.wanted.filter_text
            && wanted.closed == self.wanted.closed
            && wanted.singles == self.wanted.singles
            // Of few rows, a group's were found when it was opened.
            && (self.shown.len() == View::ALL.len()
                || wanted.group.is_none()
                || group(wanted) == group(&self.wanted))
    }

    fn wait(
        &self,
        session: &mut Session,
        model: &mut Model,
        reporter: &Reporter,
        next: &mut Instant,
    ) -> Result<()> {
        let shared = &reporter.shared;
        let mut interval = self.wanted.interval;
        loop {
            match session.wait(*next, &[(shared.changed.as_fd(), PollFlags::POLLIN)])? {
                Wake::Tick => return Ok(()),
                Wake::Backlog => {
                    model.absorb(&session.backlog()?);
                }
                Wake::Fd(_) => {
                    let _ = shared.changed.read();
                    let Some(wanted) = shared.wanted() else {
                        return Ok(());
                    };
                    if wanted.interval != interval {
                        interval = wanted.interval;
                        *next = (self.at + interval).max(Instant::now());
                    }
                    if !self.has(&wanted) {
                        *next = (self.at + LEAST_INTERVAL).max(Instant::now()).min(*next);
                    }
                }
            }
        }
    }
}

/// A picture with these views at least; returns which it has, and single events since.
fn picture(
    session: &mut Session,
    model: &mut Model,
    wanted: &[View],
) -> Result<(Picture, Vec<View>, Vec<EventRow>)> {
    let sample = session.sample()?;
    let flows = sample.flows.map_or(0, <[_]>::len);
    let is_light = sample.sockets.len().max(flows) <= SOCKETS_FOR_ALL_VIEWS;
    let views: Vec<View> =
        View::ALL.into_iter().filter(|view| is_light || wanted.contains(view)).collect();
    let events = model.follow_tick(&sample, false);
    Ok((model.advance_all(&sample, &views), views, events))
}

fn missing(session: &Session) -> Vec<String> {
    let standings = session.standings();
    standings
        .filter(|(_, standing)| standing.reason().is_some())
        .map(|(_, s)| s.words.to_owned())
        .collect()
}

//! A run that writes single events as they come, in the order of time, and what was lost at its end.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use super::watch::{Event, Watch};
use super::{Plan, Started, is_closed_pipe, report_losses, start, style};
use crate::model::{EventOptions, EventRow, Model};
use crate::names::Names;
use crate::output::EventWriter;
use crate::sample::Losses;
use crate::session::Session;

/// How often the table of sockets is read: for owners of sockets that were there before, and for what
/// listeners refused.
const TICK: Duration = Duration::from_secs(1);

/// Runs a plan for events and returns the exit status; after `count` of them, if that is set.
///
/// # Errors
/// As [`super::run`].
pub fn run_events(mut plan: Plan, options: EventOptions, count: Option<u64>) -> Result<i32> {
    let Started { sink, session, mut watch } = start(&mut plan)?;
    let writer = EventWriter::new(sink, style(&plan));
    let filter = std::mem::take(&mut plan.filter);
    let model = Model::new(Names::new(plan.numeric), filter, Vec::new()).with_events(options);
    let duration = plan.duration;
    let mut run = EventRun { session, model, writer, left: count, losses: Losses::default() };
    let result = run.until_the_end(duration, &mut watch);
    let EventRun { session, writer, losses, .. } = run;
    // Detaches: the command may go on for long.
    drop(session);
    match result.and_then(|()| writer.finish().context("write the output")) {
        Ok(()) => {
            report_losses(&losses);
            watch.status()
        }
        // Whoever read it has enough.
        Err(error) if is_closed_pipe(&error) => watch.status(),
        Err(error) => Err(error),
    }
}

struct EventRun {
    session: Session,
    model: Model,
    writer: EventWriter,
    /// So many are still to be written, if there is a limit.
    left: Option<u64>,
    losses: Losses,
}

impl EventRun {
    fn until_the_end(&mut self, duration: Option<Duration>, watch: &mut Watch) -> Result<()> {
        self.tick(false)?;
        watch.release()?;
        if duration.is_none() && watch.child.is_none() && io::stderr().is_terminal() {
            eprintln!("nettrace: watching; Ctrl-C ends it");
        }
        let start = Instant::now();
        let end = duration.map(|duration| start + duration);
        let mut tick = start + TICK;
        loop {
            let deadline = end.map_or(tick, |end| end.min(tick));
            let event = watch.wait(&self.session, deadline)?;
            let now = Instant::now();
            match event {
                Event::Backlog => {
                    let backlog = self.session.backlog()?;
                    let rows = self.model.follow(&backlog, SystemTime::now());
                    self.write(rows)?;
                }
                Event::Tick if end.is_none_or(|end| now < end) => {
                    self.tick(false)?;
                    tick = now + TICK;
                }
                Event::Tick | Event::Stop => {
                    if watch.is_over() {
                        eprintln!("nettrace: there is no process left to watch");
                    }
                    return self.tick(true);
                }
            }
            if self.left == Some(0) {
                return self.tick(true);
            }
        }
    }

    fn tick(&mut self, is_last: bool) -> Result<()> {
        let sample = self.session.sample()?;
        let rows = self.model.follow_tick(&sample, is_last);
        self.losses = sample.losses.clone();
        self.losses.add(self.model.event_losses());
        let (time, own) = (sample.time, sample.own);
        self.write(rows)?;
        if is_last {
            self.writer.end(time, &self.losses, own).context("write the output")?;
        }
        Ok(())
    }

    fn write(&mut self, mut rows: Vec<EventRow>) -> Result<()> {
        if let Some(left) = &mut self.left {
            rows.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= rows.len() as u64;
        }
        self.writer.events(&rows).context("write the output")
    }
}

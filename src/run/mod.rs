//! One run of a command that reads, models and writes until there is enough.

mod child;
mod events;
mod packets;
mod plan;
mod watch;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use caps::Capability;

pub use child::NotExecuted;
pub use events::run_events;
pub use packets::{Asked, asked};
pub(crate) use plan::process_filter;
pub use plan::{Plan, check_filter};

use crate::columns::{self, Order};
use crate::losses::{self, Cause};
use crate::model::{Events, Frame, Model, View};
use crate::names::{Names, visible};
use crate::netns::{Netns, NoNetns};
use crate::output::{Format, Sink, Style, Writer};
use crate::privileges;
use crate::sample::{IfaceRecord, Losses};
use crate::session::{self, Session};
pub(crate) use child::{Child, open_pidfd};
pub(crate) use watch::{Event, Watch, signal_pipe, stdout_pipe};

/// Wrong usage: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// How long a frame waits for names that are being looked up. They were asked for at the baseline,
/// an interval ago; what is slower than that is shown as a number this time.
const PATIENCE: Duration = Duration::from_millis(50);
/// A terminal's lines that are not rows: the header, the line of what is hidden, the prompt.
const NOT_ROWS: usize = 3;
/// Slow calls, or drops, that a frame of a document lists at most; the others are counted.
const MAX_LISTED: usize = 100_000;
/// For a run without ticks; the end comes by a signal or the command's end.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// Runs a plan and returns the exit status.
///
/// # Errors
/// [`Usage`], [`crate::kernel::Unsupported`], [`NotExecuted`], or what failed on the way.
pub fn run(mut plan: Plan) -> Result<i32> {
    let Started { sink, session, mut watch } = start(&mut plan)?;
    let mut writer = Writer::new(sink, style(&plan));
    let names = Names::new(plan.numeric);
    let filter = std::mem::take(&mut plan.filter);
    let model = Model::new(names, filter, plan.interfaces.clone())
        .group_syscalls(plan.grouping, plan.histograms);
    let model = model.single_drops(plan.by_single_drops, plan.drop_stacks);
    let kept = Kept::default();
    let mut run = Run { plan, session, model, kept };
    let result = run.frames(&mut watch, &mut writer);
    // Detaches: the command may go on for long after the last frame.
    drop(run);
    let result = result.and_then(|last| {
        writer.finish().context("write the output")?;
        Ok(last)
    });
    match result {
        Ok(last) => {
            report_losses(&last.losses);
            watch.status()
        }
        // Whoever read it has enough.
        Err(error) if is_closed_pipe(&error) => watch.status(),
        Err(error) => Err(error),
    }
}

/// What is there once everything is attached.
struct Started {
    sink: Sink,
    session: Session,
    watch: Watch,
}

/// Opens what a plan writes to and what it reads, with its command held, and gives up what isn't needed
/// any more.
fn start(plan: &mut Plan) -> Result<Started> {
    let sink = match &plan.out {
        Some(path) if path.as_os_str() == "-" => Sink::stdout(),
        Some(path) => Sink::file(path, plan.force, plan.format == Format::Json)?,
        None => Sink::stdout(),
    };
    // Before any thread: a fork takes only one along.
    let held = Some(&plan.command).filter(|command| !command.is_empty());
    let child = held.map(|command| Child::hold(command)).transpose()?;
    let watch = Watch::new(child, &plan.pids, plan.out.is_none())?;
    let mut probes = std::mem::take(&mut plan.probes);
    if let Some(child) = &watch.child {
        follow(&mut probes, child.pid());
    }
    let session = Session::open(probes)?;
    report_missing_hooks(&session);
    // Before any thread: each has its own.
    privileges::keep_only(&capabilities(plan, &session, &watch))?;
    Ok(Started { sink, session, watch })
}

struct Run {
    plan: Plan,
    session: Session,
    model: Model,
    kept: Kept,
}

/// What waits for the frame of a document that lists it.
#[derive(Default)]
struct Kept {
    events: Events,
    unlisted_slow: u64,
    unlisted_drops: u64,
}

impl Kept {
    fn keep(&mut self, events: Events) {
        self.unlisted_slow += fill(&mut self.events.slow, events.slow);
        self.unlisted_drops += fill(&mut self.events.drops, events.drops);
    }
}

/// Adds what there is room for; how many had none.
fn fill<T>(list: &mut Vec<T>, mut more: Vec<T>) -> u64 {
    let room = MAX_LISTED.saturating_sub(list.len()).min(more.len());
    let unlisted = more.len() - room;
    list.extend(more.drain(..room));
    unlisted as u64
}

impl Run {
    /// Writes frames until the last one, and returns it.
    fn frames(&mut self, watch: &mut Watch, writer: &mut Writer) -> Result<Frame> {
        let baseline = self.session.sample()?;
        self.model.advance(&baseline, self.plan.view);
        watch.release()?;
        if self.plan.is_open_ended() && watch.child.is_none() && io::stderr().is_terminal() {
            eprintln!("nettrace: counting; Ctrl-C ends it");
        }
        let start = Instant::now();
        let end = self.plan.duration.map(|duration| start + duration);
        let interval = self.plan.interval.unwrap_or(FOREVER);
        let mut tick = start;
        let mut number = 0;
        loop {
            number += 1;
            tick += interval;
            let deadline = end.map_or(tick, |end| end.min(tick));
            let stopped = self.wait(watch, deadline, writer)?;
            let is_last = stopped
                || self.plan.count == Some(number)
                || end.is_some_and(|end| Instant::now() >= end);
            let frame = self.frame(writer)?;
            if watch.is_over() {
                eprintln!("nettrace: there is no process left to watch");
            }
            if is_last {
                if !stopped && watch.child.is_some() {
                    eprintln!("nettrace: the last table; waiting for the command to end");
                }
                return Ok(frame);
            }
            // A frame that took longer than the interval doesn't make the next ones hurry.
            let now = Instant::now();
            if now > tick + interval {
                tick = now;
            }
        }
    }

    /// Waits for `deadline`; true if the run is to end now.
    fn wait(&mut self, watch: &mut Watch, deadline: Instant, writer: &mut Writer) -> Result<bool> {
        loop {
            match watch.wait(&self.session, deadline)? {
                Event::Tick => return Ok(false),
                Event::Stop => return Ok(true),
                Event::Backlog => {
                    let events = self.model.absorb(&self.session.backlog()?);
                    writer.events(&events).context("write the output")?;
                    if self.plan.format == Format::Json {
                        self.kept.keep(events);
                    }
                }
            }
        }
    }

    fn frame(&mut self, writer: &mut Writer) -> Result<Frame> {
        let mut frame = self.model.advance(&self.session.sample()?, self.plan.view);
        self.model.settle(&mut frame, PATIENCE);
        if self.plan.format == Format::Json {
            self.kept.keep(std::mem::take(&mut frame.events));
            frame.events = std::mem::take(&mut self.kept.events);
        }
        frame.losses.add(vec![(losses::SLOW_UNLISTED, self.kept.unlisted_slow)]);
        if self.plan.view == View::Drops {
            frame.losses.add(vec![(losses::DROPS_UNLISTED, self.kept.unlisted_drops)]);
        }
        let order = Order {
            column: self.plan.sort,
            reverse: self.plan.reverse,
            rows: rows_that_fit(&self.plan),
        };
        let hidden = columns::arrange(&mut frame.rows, order);
        writer.frame(&frame).context("write the output")?;
        if hidden > 0 && self.plan.format == Format::Table && io::stderr().is_terminal() {
            eprintln!("… and {hidden} more; --rows 0 shows all");
        }
        Ok(frame)
    }
}

/// Has a command watched, and its children.
fn follow(probes: &mut session::Options, pid: u32) {
    // Owners of flows may be others.
    if let Some(sockets) = probes.sockets.as_mut().filter(|_| !probes.sockets_are_spared) {
        sockets.pids.push(pid);
        sockets.follow_forks = true;
    }
    if let Some(syscalls) = &mut probes.syscalls {
        syscalls.held = Some(pid);
        syscalls.follow_forks = true;
    }
}

/// What is still needed once everything is attached.
fn capabilities(plan: &Plan, session: &Session, watch: &Watch) -> Vec<Capability> {
    let mut needed = session.capabilities();
    if plan.out.is_some() {
        // A document gets its name at the end, maybe in another user's folder.
        needed.push(Capability::CAP_DAC_OVERRIDE);
    }
    if plan.stacks {
        // To read other programs' maps and files, and where the kernel's functions are.
        needed.extend([
            Capability::CAP_SYS_PTRACE,
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_DAC_OVERRIDE,
            Capability::CAP_SYSLOG,
        ]);
    }
    if watch.child.is_some() {
        // The command may become another user.
        needed.push(Capability::CAP_KILL);
    }
    needed
}

/// By the environment, whatever the terminal can do.
pub(crate) fn wants_no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn style(plan: &Plan) -> Style {
    let is_terminal = plan.out.is_none() && io::stdout().is_terminal();
    let no_colour = plan.plain
        || wants_no_colour()
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let size = terminal_size::terminal_size().filter(|_| is_terminal);
    Style {
        format: plan.format,
        units: plan.units,
        columns: plan.columns.clone(),
        colour: is_terminal && !no_colour,
        width: size.map(|(width, _)| usize::from(width.0)),
        times: plan.interval.is_some() && plan.count != Some(1),
        totals: plan.summary,
    }
}

/// What was asked for, or what fits a terminal; 0 is all.
fn rows_that_fit(plan: &Plan) -> usize {
    let is_table_on_terminal =
        plan.format == Format::Table && plan.out.is_none() && io::stdout().is_terminal();
    plan.rows.unwrap_or_else(|| match terminal_size::terminal_size() {
        Some((_, height)) if is_table_on_terminal => {
            usize::from(height.0).saturating_sub(NOT_ROWS).max(1)
        }
        _ => 0,
    })
}

/// Makes sure that there is such an interface.
///
/// # Errors
/// [`Usage`] with those that there are.
pub(crate) fn check_interface(name: &str, ifaces: &[IfaceRecord]) -> Result<()> {
    if ifaces.iter().any(|iface| iface.name == name) {
        return Ok(());
    }
    let known: Vec<String> = ifaces.iter().map(|i| visible(i.name.as_bytes())).collect();
    Err(Usage(format!("there is no interface {name}; there are {}", known.join(" "))).into())
}

/// Opens the network namespace of `--netns`, if there is one.
///
/// # Errors
/// [`Usage`] with those that there are, or what failed.
pub(crate) fn open_netns(name: Option<&str>) -> Result<Option<Netns>> {
    let netns = name.map(Netns::open).transpose();
    netns.map_err(|error| match error.downcast::<NoNetns>() {
        Ok(none) => Usage(none.to_string()).into(),
        Err(error) => error,
    })
}

/// Says on stderr what this kernel has no hook for.
pub(crate) fn report_missing_hooks(session: &Session) {
    for (_, standing) in session.standings() {
        if let Some(reason) = standing.reason() {
            eprintln!("nettrace: missing are {}: {reason}", standing.words);
        }
    }
}

/// Says on stderr what was lost, and what it means.
pub(crate) fn report_losses(losses: &Losses) {
    for (cause, count) in losses.happened() {
        match losses::about(cause) {
            Some(Cause { about, remedy, is_counted: true, .. }) => {
                eprintln!("nettrace: {count} {about}; {remedy}");
            }
            Some(Cause { about, remedy: "", .. }) => {
                eprintln!("nettrace: lost {count} by {cause}: {about}");
            }
            Some(Cause { about, remedy, .. }) => {
                eprintln!("nettrace: lost {count} by {cause}: {about}; {remedy}");
            }
            None => eprintln!("nettrace: lost {count} by {cause}"),
        }
    }
}

/// Whether it is that nobody reads any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

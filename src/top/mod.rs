//! `nettrace top`: reads, models and writes until there is enough.

mod child;
mod plan;

use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use caps::Capability;
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::sys::stat::{SFlag, fstat};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

pub use child::NotExecuted;
pub use plan::Usage;

use crate::cli::TopArgs;
use crate::columns::{self, Order};
use crate::model::{Frame, Model, View};
use crate::names::{Names, visible};
use crate::output::{Format, Sink, Style, Writer};
use crate::privileges;
use crate::probes::{sockets, syscalls};
use crate::sample::IfaceRecord;
use crate::session::{self, Session, Wake};
use child::Child;
use plan::Plan;

/// How long a frame waits for names that are being looked up. They were asked for at the baseline,
/// an interval ago; what is slower than that is shown as a number this time.
const PATIENCE: Duration = Duration::from_millis(50);
/// A terminal's lines that are not rows: the header, the line of what is hidden, the prompt.
const NOT_ROWS: usize = 3;
/// For a run without ticks; the end comes by a signal or the command's end.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// Runs `top` and returns the exit status.
///
/// # Errors
/// [`Usage`], [`crate::kernel::Unsupported`], [`NotExecuted`], or what failed on the way.
pub fn run(args: &TopArgs) -> Result<i32> {
    let mut plan = Plan::new(args)?;
    let sink = match &args.output.out {
        Some(path) if path.as_os_str() == "-" => Sink::stdout(),
        Some(path) => Sink::file(path, args.output.force, plan.format == Format::Json)?,
        None => Sink::stdout(),
    };
    // Before any thread: a fork takes only one along.
    let held = Some(&args.command).filter(|command| !command.is_empty());
    let child = held.map(|command| Child::hold(command)).transpose()?;
    let mut watch = Watch::new(child, args.output.out.is_none())?;
    let session = Session::open(options(args, &mut plan, &watch))?;
    report_missing_hooks(&session);
    // Before any thread: each has its own.
    privileges::keep_only(&capabilities(args, &session, &watch))?;

    let mut writer = Writer::new(sink, style(args, &plan));
    let names = Names::new(args.output.numeric);
    let filter = std::mem::take(&mut plan.filter);
    let model = Model::new(names, filter, plan.interface.clone());
    let mut run =
        Run { plan, rows: rows_that_fit(args), reverse: args.order.reverse, session, model };
    let result = run.frames(&mut watch, &mut writer);
    // Detaches: the command may go on for long after the last frame.
    drop(run);
    let result = result.and_then(|last| {
        writer.finish().context("write the output")?;
        Ok(last)
    });
    match result {
        Ok(last) => {
            report_losses(&last);
            watch.status()
        }
        // Whoever read it has enough.
        Err(error) if is_closed_pipe(&error) => watch.status(),
        Err(error) => Err(error),
    }
}

struct Run {
    plan: Plan,
    rows: usize,
    reverse: bool,
    session: Session,
    model: Model,
}

impl Run {
    /// Writes frames until the last one, and returns it.
    fn frames(&mut self, watch: &mut Watch, writer: &mut Writer) -> Result<Frame> {
        let baseline = self.session.sample()?;
        if let Some(name) = &self.plan.interface {
            check_interface(name, baseline.ifaces)?;
        }
        self.model.advance(&baseline, self.plan.view);
        watch.release()?;
        let start = Instant::now();
        let end = self.plan.duration.map(|duration| start + duration);
        let interval = self.plan.interval.unwrap_or(FOREVER);
        let mut tick = start;
        let mut number = 0;
        loop {
            number += 1;
            tick += interval;
            let deadline = end.map_or(tick, |end| end.min(tick));
            let stopped = self.wait(watch, deadline)?;
            let is_last = stopped
                || self.plan.count == Some(number)
                || end.is_some_and(|end| Instant::now() >= end);
            let frame = self.frame(writer)?;
            if is_last {
                if !stopped && watch.child.is_some() {
                    eprintln!("nettrace: the last table; waiting for the command to end");
                }
                return Ok(frame);
            }
            if self.plan.is_over() {
                eprintln!("nettrace: there is no process left to watch");
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
    fn wait(&mut self, watch: &mut Watch, deadline: Instant) -> Result<bool> {
        loop {
            match watch.wait(&self.session, deadline)? {
                Event::Tick => return Ok(false),
                Event::Stop => return Ok(true),
                Event::Backlog => self.model.absorb(&self.session.backlog()?),
            }
        }
    }

    fn frame(&mut self, writer: &mut Writer) -> Result<Frame> {
        let mut frame = self.model.advance(&self.session.sample()?, self.plan.view);
        self.model.settle(&mut frame, PATIENCE);
        let order = Order { column: self.plan.sort, reverse: self.reverse, rows: self.rows };
        let hidden = columns::arrange(&mut frame.rows, order);
        writer.frame(&frame).context("write the output")?;
        if hidden > 0 && self.plan.format == Format::Table && io::stderr().is_terminal() {
            eprintln!("… and {hidden} more; --rows 0 shows all");
        }
        Ok(frame)
    }
}

/// What a run waits for.
enum Event {
    Tick,
    Stop,
    Backlog,
}

/// What ends a run early: signals, and the end of the command.
struct Watch {
    signals: UnixStream,
    which: [(Signal, std::sync::Arc<std::sync::atomic::AtomicBool>); 3],
    child: Option<Child>,
    /// Standard output, if it is a pipe.
    pipe: Option<OwnedFd>,
    signalled: bool,
    child_ended: bool,
}

impl Watch {
    fn new(child: Option<Child>, to_stdout: bool) -> Result<Self> {
        let (signals, sender) = UnixStream::pair().context("make a pipe for signals")?;
        signals.set_nonblocking(true).context("make a pipe for signals")?;
        let mut which = Vec::new();
        for (number, signal) in
            [(SIGINT, Signal::SIGINT), (SIGTERM, Signal::SIGTERM), (SIGHUP, Signal::SIGHUP)]
        {
            let flag = std::sync::Arc::default();
            signal_hook::flag::register(number, std::sync::Arc::clone(&flag))?;
            let sender = sender.try_clone().context("make a pipe for signals")?;
            signal_hook::low_level::pipe::register(number, sender)?;
            which.push((signal, flag));
        }
        let which = which.try_into().map_err(|_| anyhow::anyhow!("three signals"))?;
        let pipe = stdout_pipe().filter(|_| to_stdout);
        Ok(Watch { signals, which, child, pipe, signalled: false, child_ended: false })
    }

    fn release(&mut self) -> Result<()> {
        self.child.as_mut().map_or(Ok(()), Child::release)
    }

    fn wait(&mut self, session: &Session, deadline: Instant) -> Result<Event> {
        loop {
            let signals = self.signals.as_fd();
            let child = self.child.as_ref().map(Child::fd);
            // Asked for nothing, a pipe still tells that its reader is gone.
            let reader = self.pipe.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::empty()));
            let has_pipe = reader.is_some();
            let watched: Vec<(BorrowedFd<'_>, PollFlags)> =
                std::iter::once((signals, PollFlags::POLLIN))
                    .chain(reader)
                    .chain(child.map(|fd| (fd, PollFlags::POLLIN)))
                    .collect();
            match session.wait(deadline, &watched)? {
                Wake::Tick => return Ok(Event::Tick),
                Wake::Backlog => return Ok(Event::Backlog),
                Wake::Fd(0) if self.signal() => return Ok(Event::Stop),
                Wake::Fd(0) => {}
                Wake::Fd(1) if has_pipe => {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                }
                Wake::Fd(_) => {
                    self.child_ended = true;
                    return Ok(Event::Stop);
                }
            }
        }
    }

    /// Takes a signal; true if the run is to end now. The command gets a chance to end first: the
    /// terminal sends it Ctrl-C as well, what else comes is passed on.
    fn signal(&mut self) -> bool {
        let _ = self.signals.read(&mut [0; 16]);
        let is_second = std::mem::replace(&mut self.signalled, true);
        let Some(child) = &self.child else {
            return true;
        };
        for (signal, flag) in &self.which {
            let came = flag.swap(false, std::sync::atomic::Ordering::Relaxed);
            if came && (*signal != Signal::SIGINT || !has_terminal()) {
                child.signal(*signal);
            }
        }
        is_second
    }

    /// The exit status: the command's if it has ended or will, else 0.
    fn status(&mut self) -> Result<i32> {
        match &mut self.child {
            Some(_) if self.signalled && !self.child_ended => Ok(128 + SIGINT),
            Some(child) => child.wait(),
            None => Ok(0),
        }
    }
}

/// Whether a terminal's Ctrl-C comes to us, and so to the command too.
fn has_terminal() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else {
        return false;
    };
    nix::unistd::tcgetpgrp(&terminal).is_ok_and(|group| group == nix::unistd::getpgrp())
}

fn stdout_pipe() -> Option<OwnedFd> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok()?;
    let mode = SFlag::from_bits_truncate(fstat(&stdout).ok()?.st_mode);
    (mode & SFlag::S_IFMT == SFlag::S_IFIFO).then_some(stdout)
}

fn options(args: &TopArgs, plan: &mut Plan, watch: &Watch) -> session::Options {
    let child = watch.child.as_ref().map(Child::pid);
    if plan.view == View::Ifaces {
        return session::Options {
            ifaces: true,
            netns: plan.netns.take(),
            ..session::Options::default()
        };
    }
    let sockets = sockets::Options {
        netns: plan.netns.as_ref().map_or(0, crate::netns::Netns::inode),
        pids: args.scope.pids.iter().copied().chain(child).collect(),
        follow_forks: child.is_some(),
        unix: args.scope.unix,
        ring_bytes: args.ring_size,
    };
    let syscalls = syscalls::Options {
        pids: args.scope.pids.clone(),
        held: child,
        follow_forks: child.is_some(),
        comms: args.scope.comms.clone(),
        uids: plan.uids.clone(),
        count_only: plan.view == View::Containers,
        ring_bytes: args.ring_size,
        ..syscalls::Options::default()
    };
    session::Options {
        sockets: (plan.view != View::Syscalls).then_some(sockets),
        syscalls: matches!(plan.view, View::Syscalls | View::Containers).then_some(syscalls),
        ifaces: false,
        netns: None,
    }
}

/// What is still needed once everything is attached.
fn capabilities(args: &TopArgs, session: &Session, watch: &Watch) -> Vec<Capability> {
    let mut needed = session.capabilities();
    if args.output.out.is_some() {
        // A document gets its name at the end, maybe in another user's folder.
        needed.push(Capability::CAP_DAC_OVERRIDE);
    }
    if watch.child.is_some() {
        // The command may become another user.
        needed.push(Capability::CAP_KILL);
    }
    needed
}

fn style(args: &TopArgs, plan: &Plan) -> Style {
    let is_terminal = args.output.out.is_none() && io::stdout().is_terminal();
    let no_colour = args.output.no_color
        || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let size = terminal_size::terminal_size().filter(|_| is_terminal);
    Style {
        format: plan.format,
        units: plan.units,
        columns: plan.columns.clone(),
        colour: is_terminal && !no_colour,
        width: size.map(|(width, _)| usize::from(width.0)),
        times: plan.interval.is_some() && plan.count != Some(1),
    }
}

/// `--rows`, or what fits a terminal; 0 is all.
fn rows_that_fit(args: &TopArgs) -> usize {
    let is_table_on_terminal = args.output.format == crate::cli::FormatArg::Table
        && args.output.out.is_none()
        && io::stdout().is_terminal();
    args.order.rows.unwrap_or_else(|| match terminal_size::terminal_size() {
        Some((_, height)) if is_table_on_terminal => {
            usize::from(height.0).saturating_sub(NOT_ROWS).max(1)
        }
        _ => 0,
    })
}

fn check_interface(name: &str, ifaces: &[IfaceRecord]) -> Result<()> {
    if ifaces.iter().any(|iface| iface.name == name) {
        return Ok(());
    }
    let known: Vec<String> = ifaces.iter().map(|i| visible(i.name.as_bytes())).collect();
    Err(Usage(format!("there is no interface {name}; there are {}", known.join(" "))).into())
}

fn report_missing_hooks(session: &Session) {
    for (_, standing) in session.standings() {
        if let Some(reason) = standing.reason() {
            eprintln!("nettrace: missing are {}: {reason}", standing.words);
        }
    }
}

fn report_losses(frame: &Frame) {
    for (cause, count) in frame.losses.happened() {
        let todo = match cause {
            "closed_unlisted" => {
                eprintln!(
                    "nettrace: {count} connections closed within one INTERVAL have no row of their own; their bytes are counted"
                );
                continue;
            }
            "close_ring" => "; --ring-size makes more room, a shorter INTERVAL reads more often",
            _ => "",
        };
        eprintln!("nettrace: lost {count} by {cause}{todo}");
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

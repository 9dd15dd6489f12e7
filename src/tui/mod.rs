//! The dashboard: `nettrace` on a terminal. A collector reads in its own thread; this one draws what it
//! sends and answers keys. State changes in [`app`] alone, `draw` only reads it, and what is to be
//! done outside is done here.

pub mod app;
pub mod collector;
pub mod config;
pub mod draw;
pub mod history;
mod input;
pub mod keys;
pub mod layout;
pub mod pages;
pub mod palette;
pub mod prepare;
pub mod prompt;
pub mod scope;
pub mod singles;
pub mod table;
mod terminal;
#[cfg(test)]
mod tests;
pub mod theme;

use std::env;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::{self, Event};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};

use crate::cli::DashboardArgs;
use crate::kernel;
use crate::privileges;
use crate::run::{Usage, signal_pipe, wants_no_colour};
use crate::top::{self, Start};
use app::{App, Effect, Message, Settings, update};
use collector::{Begin, Collector, Report};
use scope::Scope;
use terminal::Screen;
use theme::Theme;

/// What is there to be read is waited for so long; with no time at all it isn't read.
const KEY: Duration = Duration::from_millis(1);

/// Runs the dashboard and returns the exit status.
///
/// # Errors
/// [`Usage`] for a wrong configuration or terminal, [`crate::kernel::Unsupported`], or what failed.
pub fn run(args: &DashboardArgs) -> Result<i32> {
    let Start { view, interval, filter, expression, mut plan } = top::dashboard(args)?;
    let mut settings = settings(args)?;
    settings.scope = Scope::of(args, &expression);
    settings.view = view.unwrap_or(settings.view);
    settings.interval = interval.unwrap_or(settings.interval);
    let input = terminal::input().map_err(|_| {
        Usage("there is no terminal to read keys from; nettrace top needs none".to_owned())
    })?;
    let signals = Signals::catch()?;
    let mut app = App::new(settings, (0, 0), Vec::new());
    app.set_filter(&filter).map_err(Usage)?;
    let begin = Begin {
        probes: std::mem::take(&mut plan.probes),
        numeric: args.numeric,
        filter: plan.filter,
        interfaces: plan.interfaces,
        pids: plan.pids,
    };
    let collector = Collector::start(begin, app.wanted())?;
    // Drawing needs none; the collector has its own.
    privileges::keep_only(&[])?;
    match collector.wait()? {
        Report::Ready(missing) => app.missing = missing,
        Report::Failed(error) => return Err(error),
        Report::Picture(_) | Report::ScopeEnded => {}
    }
    let screen = Screen::take()?;
    Dashboard { app, screen, collector, signals, input }.go()
}

fn settings(args: &DashboardArgs) -> Result<Settings, Usage> {
    let term = env::var("TERM").unwrap_or_default();
    if term.is_empty() || term == "dumb" {
        return Err(Usage(
            "this terminal can't place a cursor (TERM=dumb); nettrace top prints tables".to_owned(),
        ));
    }
    let no_colour = args.no_color || wants_no_colour();
    let background = env::var("COLORFGBG").ok();
    let mut settings = Settings {
        theme: Theme::fitting(true, background.as_deref()),
        has_colour: !no_colour,
        host: crate::names::visible(kernel::hostname().as_bytes()),
        ..Settings::default()
    };
    if let Some(path) = config::path() {
        config::apply_file(&mut settings, &path)?;
    }
    if let Some(name) = &args.theme {
        settings.theme = config::theme_named(name).map_err(Usage)?;
    }
    if no_colour {
        settings.theme = Theme::mono();
    }
    Ok(settings)
}

/// What comes by signals, as bytes to be read.
struct Signals {
    ends: UnixStream,
    resizes: UnixStream,
    stops: UnixStream,
}

impl Signals {
    fn catch() -> Result<Self> {
        Ok(Signals {
            ends: signal_pipe(&[SIGINT, SIGTERM, SIGHUP])?,
            resizes: signal_pipe(&[SIGWINCH])?,
            stops: signal_pipe(&[SIGTSTP])?,
        })
    }
}

/// Whether anything was written; it is read.
fn came(pipe: &mut UnixStream) -> bool {
    let mut any = false;
    while pipe.read(&mut [0; 64]).is_ok_and(|read| read > 0) {
        any = true;
    }
    any
}

struct Dashboard {
    app: App,
    screen: Screen,
    collector: Collector,
    signals: Signals,
    input: OwnedFd,
}

impl Dashboard {
    fn go(mut self) -> Result<i32> {
        let (width, height) = self.screen.size();
        update(&mut self.app, Message::Resize(width, height));
        self.screen.redraw()?;
        loop {
            self.screen.draw(&self.app)?;
            self.wait()?;
            if came(&mut self.signals.ends) {
                return Ok(0);
            }
            if came(&mut self.signals.stops) {
                self.screen.suspend()?;
            }
            for message in self.messages()? {
                for effect in update(&mut self.app, message) {
                    if effect == Effect::Quit {
                        return Ok(0);
                    }
                    self.apply(effect)?;
                }
            }
            self.collector.free(self.app.take_spent());
        }
    }

    /// Waits until there is anything to do.
    fn wait(&self) -> Result<()> {
        let Signals { ends, resizes, stops } = &self.signals;
        let mut fds =
            [self.input.as_fd(), self.collector.fd(), ends.as_fd(), resizes.as_fd(), stops.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error).context("wait for input"),
        }
    }

    fn has_input(&self) -> bool {
        let mut fds = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn messages(&mut self) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        if came(&mut self.signals.resizes) {
            let (width, height) = self.screen.size();
            messages.push(Message::Resize(width, height));
        }
        // Several keys may come at once; what was read and not asked for is asked for here.
        let has_input = self.has_input();
        while has_input && event::poll(KEY).context("read keys")? {
            match event::read().context("read keys")? {
                Event::Key(key) => messages.push(Message::Key(key)),
                Event::Mouse(mouse) => messages.push(Message::Mouse(mouse)),
                Event::Paste(text) => messages.push(Message::Paste(text)),
                Event::Resize(width, height) => messages.push(Message::Resize(width, height)),
                Event::FocusGained | Event::FocusLost => {}
            }
        }
        while let Some(report) = self.collector.next()? {
            match report {
                Report::Picture(picture) => {
                    #[cfg(debug_assertions)]
                    panic_if_told("drawing");
                    messages.push(Message::Picture(picture));
                }
                Report::Failed(error) => return Err(error),
                Report::Ready(missing) => self.app.missing = missing,
                Report::ScopeEnded => self.app.scope_ended = true,
            }
        }
        Ok(messages)
    }

    fn apply(&mut self, effect: Effect) -> Result<()> {
        match effect {
            Effect::Ask => self.collector.want(self.app.wanted()),
            Effect::Copy(text) => self.screen.copy(&text)?,
            Effect::Redraw => self.screen.redraw()?,
            Effect::Suspend => self.screen.suspend()?,
            Effect::Quit => {}
        }
        Ok(())
    }
}

/// For the test that the terminal comes back.
#[cfg(debug_assertions)]
fn panic_if_told(thread: &str) {
    let told = env::var("NETTRACE_TEST_PANIC");
    assert!(told.as_deref() != Ok(thread), "told to panic");
}

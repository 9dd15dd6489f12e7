//! What ends a run before its time: signals, the end of the command, a reader that is gone.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::sys::stat::{SFlag, fstat};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::child::Child;
use crate::session::{Session, Wake};

/// What a run waits for.
pub(super) enum Event {
    Tick,
    Stop,
    Backlog,
}

/// What ends a run early: signals, and the end of the command.
pub(super) struct Watch {
    signals: UnixStream,
    which: [(Signal, std::sync::Arc<std::sync::atomic::AtomicBool>); 3],
    pub(super) child: Option<Child>,
    /// Standard output, if it is a pipe.
    pipe: Option<OwnedFd>,
    signalled: bool,
    child_ended: bool,
}

impl Watch {
    pub(super) fn new(child: Option<Child>, to_stdout: bool) -> Result<Self> {
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

    pub(super) fn release(&mut self) -> Result<()> {
        self.child.as_mut().map_or(Ok(()), Child::release)
    }

    pub(super) fn wait(&mut self, session: &Session, deadline: Instant) -> Result<Event> {
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
    pub(super) fn status(&mut self) -> Result<i32> {
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

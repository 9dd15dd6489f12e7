//! What ends a run before its time: signals, the end of the command or of the processes that are
//! watched, a reader that is gone.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::sys::stat::{SFlag, fstat};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Usage;
use super::child::{Child, open_pidfd};
use crate::session::{Session, Wake};

/// What a run waits for.
pub(crate) enum Event {
    Tick,
    Stop,
    Backlog,
}

/// What a descriptor tells.
#[derive(Clone, Copy)]
enum Watched {
    Signals,
    Reader,
    Child,
    /// Index in [`Watch::processes`].
    Process(usize),
}

/// What ends a run early.
pub(crate) struct Watch {
    signals: UnixStream,
    which: [(Signal, std::sync::Arc<std::sync::atomic::AtomicBool>); 3],
    pub(super) child: Option<Child>,
    /// Standard output, if it is a pipe.
    pipe: Option<OwnedFd>,
    /// Of the processes to watch, those that live.
    processes: Vec<OwnedFd>,
    signalled: bool,
    child_ended: bool,
    is_over: bool,
}

impl Watch {
    /// # Errors
    /// [`Usage`] if one of `pids` is no process.
    pub(crate) fn new(child: Option<Child>, pids: &[u32], to_stdout: bool) -> Result<Self> {
        let mut which = Vec::new();
        for (number, signal) in
            [(SIGINT, Signal::SIGINT), (SIGTERM, Signal::SIGTERM), (SIGHUP, Signal::SIGHUP)]
        {
            let flag = std::sync::Arc::default();
            signal_hook::flag::register(number, std::sync::Arc::clone(&flag))?;
            which.push((signal, flag));
        }
        // After the flags, which are set then when somebody is woken to look at them.
        let signals = signal_pipe(&[SIGINT, SIGTERM, SIGHUP])?;
        let which = which.try_into().map_err(|_| anyhow::anyhow!("three signals"))?;
        let pipe = stdout_pipe().filter(|_| to_stdout);
        let processes = pids.iter().filter_map(|pid| living(*pid).transpose());
        let processes = processes.collect::<Result<Vec<_>>>()?;
        Ok(Watch {
            signals,
            which,
            child,
            pipe,
            is_over: processes.is_empty() && !pids.is_empty(),
            processes,
            signalled: false,
            child_ended: false,
        })
    }

    /// Whether all processes that were to be watched have ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The command's process id, if there is one.
    pub(crate) fn child_pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    pub(crate) fn release(&mut self) -> Result<()> {
        self.child.as_mut().map_or(Ok(()), Child::release)
    }

    pub(crate) fn wait(&mut self, session: &Session, deadline: Instant) -> Result<Event> {
        while !self.is_over {
            let (which, fds): (Vec<Watched>, Vec<_>) = self.watched().unzip();
            match session.wait(deadline, &fds)? {
                Wake::Tick => return Ok(Event::Tick),
                Wake::Backlog => return Ok(Event::Backlog),
                Wake::Fd(index) => match which[index] {
                    Watched::Signals if self.signal() => return Ok(Event::Stop),
                    Watched::Signals => {}
                    Watched::Reader => {
                        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                    }
                    Watched::Child => {
                        self.child_ended = true;
                        return Ok(Event::Stop);
                    }
                    Watched::Process(index) => {
                        self.processes.swap_remove(index);
                        self.is_over = self.processes.is_empty();
                    }
                },
            }
        }
        Ok(Event::Stop)
    }

    fn watched(&self) -> impl Iterator<Item = (Watched, (BorrowedFd<'_>, PollFlags))> {
        let processes = self.processes.iter().enumerate();
        // Asked for nothing, a pipe still tells that its reader is gone.
        let reader = self.pipe.iter().map(|pipe| (Watched::Reader, pipe.as_fd()));
        std::iter::once((Watched::Signals, self.signals.as_fd()))
            .chain(reader)
            .chain(self.child.iter().map(|child| (Watched::Child, child.fd())))
            .chain(processes.map(|(index, fd)| (Watched::Process(index), fd.as_fd())))
            .map(|(what, fd)| match what {
                Watched::Reader => (what, (fd, PollFlags::empty())),
                _ => (what, (fd, PollFlags::POLLIN)),
            })
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
    pub(crate) fn status(&mut self) -> Result<i32> {
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

/// Readable when the process ends; none if it has.
fn living(pid: u32) -> Result<Option<OwnedFd>> {
    match open_pidfd(pid) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ESRCH) => Ok(None),
        // Kernels differ.
        Err(Errno::EINVAL | Errno::ENOENT) => {
            Err(Usage(format!("{pid} is a thread; write its process's number")).into())
        }
        Err(error) => Err(error).with_context(|| format!("watch process {pid}")),
    }
}

/// Signals as bytes to be read, so that they can be waited for beside other things.
///
/// # Errors
/// Where there can't be one more descriptor.
pub(crate) fn signal_pipe(numbers: &[i32]) -> Result<UnixStream> {
    let (reader, writer) = UnixStream::pair().context("make a pipe for signals")?;
    reader.set_nonblocking(true).context("make a pipe for signals")?;
    for number in numbers {
        let writer = writer.try_clone().context("make a pipe for signals")?;
        signal_hook::low_level::pipe::register(*number, writer)?;
    }
    Ok(reader)
}

pub(crate) fn stdout_pipe() -> Option<OwnedFd> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok()?;
    let mode = SFlag::from_bits_truncate(fstat(&stdout).ok()?.st_mode);
    (mode & SFlag::S_IFMT == SFlag::S_IFIFO).then_some(stdout)
}

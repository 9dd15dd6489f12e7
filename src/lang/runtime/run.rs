//! From a compiled program to its end.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::attach::{Attached, Failed, Scope, attach};
use super::load::{LoadOptions, Loaded, load};
use super::maps::{KernelMaps, MapError, MapOptions};
use super::ring::Ring;
use super::sys;
use super::trials::TrialOptions;
use crate::lang::config::{Config, MissingProbes};
use crate::lang::diagnostics::Diagnostics;
use crate::lang::ktypes::KernelTypes;
use crate::lang::output::{Asked, Format, Output};
use crate::lang::probe::Probe as Place;
use crate::lang::program::Program;
use crate::lang::source::Sources;
use crate::run::{Child, NotExecuted, open_pidfd, signal_pipe, stdout_pipe};

/// So long messages are read before somebody looks whether it is time to end.
const LONGEST_READ: Duration = Duration::from_millis(100);
/// Messages between two looks at the clock.
const CLOCK_EVERY: u32 = 64;
/// What is still there at the end is read for so long.
const LAST_READ: Duration = Duration::from_secs(1);
/// While many messages come, so long none is waited for: those that come meanwhile wake nobody.
const REST: Duration = Duration::from_millis(10);
/// Unless so much of the ring was full: then it is read again at once.
const FULL_PART: usize = 8;
/// Descriptors for everything but the program's own.
const OTHER_DESCRIPTORS: u64 = 64;

/// How a program is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The process of `-p`.
    pub pid: Option<u32>,
    /// The words of `-c`; empty without.
    pub command: Vec<OsString>,
    /// Probes may be put where they may do harm.
    pub is_unsafe: bool,
    /// Folders to look for stripped-off debug information in.
    pub debug_folders: Vec<PathBuf>,
    /// What is run.
    pub mode: Mode,
    /// How results of tests and benchmarks are written.
    pub format: Format,
    /// It ends once everything is attached.
    pub is_dry: bool,
    /// How programs are loaded.
    pub load: LoadOptions,
    /// Bytes of the ring, a power of two of at least a page; none for what the program says.
    pub ring_size: Option<u32>,
    /// Warnings are told.
    pub with_warnings: bool,
    /// A line on stdout once all is attached, for whoever waits for that.
    pub notice: Option<&'static str>,
    /// Output goes to stdout, and there is no use in going on when nobody reads it any more.
    pub to_stdout: bool,
}

/// What of a program is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Probes, but those of the others.
    #[default]
    Run,
    /// `test` probes.
    Test,
    /// `bench` probes.
    Bench,
}

/// Why a program doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What is wrong with the program, with its places.
    #[error("the kernel doesn't take the program")]
    Refused(Diagnostics),
    /// No map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Places that can't be attached to, as text for people.
    #[error("{0}")]
    NotAttached(String),
    /// `-c` can't be run.
    #[error(transparent)]
    Child(#[from] NotExecuted),
    /// Something else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Runs a program to its end and returns its exit status.
///
/// # Errors
/// Where it can't be loaded or attached, or what it says can't be written.
pub fn run(
    program: &Program,
    config: &Config,
    sources: &Sources,
    kernel: &KernelTypes,
    options: &Options,
    output: &mut Output<'_>,
) -> Result<i32, RunError> {
    allow_descriptors(program);
    let mut watch = Watch::new(options)?;
    let maps = KernelMaps::create(
        &program.maps,
        &MapOptions { child: watch.child.as_ref().map(Child::pid), ring_size: options.ring_size },
    )?;
    let loaded = load(program, sources, kernel, &maps, &options.load).map_err(RunError::Refused)?;
    for loaded in &loaded {
        if let Some(log) = &loaded.log {
            eprintln!("The verifier on {}:\n{log}", program.probes[loaded.probe].name);
        }
    }
    let ring = maps.ring().map(|(map, size)| Ring::open(map, size)).transpose()?;
    let mut run = Run {
        program,
        loaded: &loaded,
        maps: &maps,
        ring,
        output,
        lost: 0,
        status: None,
        is_walk: false,
    };
    run.fire(|place| matches!(place, Place::Begin))?;
    if options.mode != Mode::Run {
        return run
            .try_out(options.mode, &TrialOptions { config, sources, format: options.format });
    }
    let pid = watch.child.as_ref().map(Child::pid).or(options.pid);
    let scope = Scope { pid, is_unsafe: options.is_unsafe, debug_folders: &options.debug_folders };
    let mut attached = attach(&program.probes, &loaded, scope);
    report(&attached.failed, config.missing_probes, options.with_warnings)?;
    let by_itself =
        |place: &Place| matches!(place, Place::Begin | Place::End | Place::SelfSignal(_));
    let places = attached.places + run.count(by_itself);
    if places == 0 {
        return Err(RunError::NotAttached("ERROR: Attachment failed for all probes.\n".to_owned()));
    }
    if options.is_dry {
        return Ok(0);
    }
    watch.release()?;
    run.output.attached(places)?;
    run.output.flush()?;
    if let Some(notice) = options.notice {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{notice}")?;
        stdout.flush()?;
    }
    if !attached.walks.is_empty() {
        run.walk(&mut attached, &watch)?;
    } else if attached.places + run.count(|place| matches!(place, Place::SelfSignal(_))) > 0 {
        run.listen(&mut watch, None)?;
    }
    let status = run.end(attached)?;
    // Without whom it ran for, a command has nothing more to do.
    if let Some(child) = watch.child.as_ref().filter(|_| !watch.has_ended()) {
        child.signal(Signal::SIGTERM);
    }
    Ok(status)
}

/// Makes room for the descriptors of a large program.
fn allow_descriptors(program: &Program) {
    let places: usize = program.probes.iter().map(|probe| probe.attach.len() + 1).sum();
    let needed = (places * 3 + program.maps.len()) as u64 + OTHER_DESCRIPTORS;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < needed
    {
        // What can't be had shows where a descriptor is missing.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed, needed.max(hard))
            .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    }
}

/// Tells of places that couldn't be attached to, as the program wants it.
fn report(failed: &[Failed], missing: MissingProbes, with_warnings: bool) -> Result<(), RunError> {
    let (label, end) = match missing {
        MissingProbes::Error => {
            ("ERROR", "If this is expected, set the 'missing_probes' config variable to 'warn'.")
        }
        MissingProbes::Warn => ("WARNING", "Skipping."),
        MissingProbes::Ignore => return Ok(()),
    };
    let mut text = String::new();
    for Failed { name, why, hint } in failed {
        text += &format!("{label}: {why}\n{label}: Unable to attach probe: {name}. {end}\n");
        if let Some(hint) = hint {
            text += &format!("HINT: {hint}\n");
        }
    }
    match missing {
        MissingProbes::Error if !text.is_empty() => Err(RunError::NotAttached(text)),
        _ => {
            if with_warnings {
                eprint!("{text}");
            }
            Ok(())
        }
    }
}

/// What ends a run, or calls for something, beside messages.
struct Watch {
    ends: UnixStream,
    /// SIGUSR1, which ends no program that has no probe for it.
    calls: UnixStream,
    child: Option<Child>,
    process: Option<OwnedFd>,
    pipe: Option<OwnedFd>,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Messages,
    Signal,
    Call,
    Ended,
    Unread,
    Walked,
    Time,
}

impl Watch {
    fn new(options: &Options) -> Result<Self, RunError> {
        // Before anything else: a fork takes one thread along, and what is open.
        let command = &options.command;
        let child = if command.is_empty() { None } else { Some(Child::hold(command)?) };
        let process = options.pid.map(process).transpose()?;
        let ends = signal_pipe(&[SIGINT, SIGTERM, SIGHUP])?;
        let calls = signal_pipe(&[SIGUSR1])?;
        let pipe = stdout_pipe().filter(|_| options.to_stdout);
        Ok(Self { ends, calls, child, process, pipe })
    }

    /// Whether the command ended by itself.
    fn has_ended(&self) -> bool {
        let Some(child) = &self.child else { return true };
        let mut fds = [PollFd::new(child.fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ended| ended > 0)
    }

    fn release(&mut self) -> Result<(), RunError> {
        let Some(child) = &mut self.child else { return Ok(()) };
        child.release().map_err(|error| match error.downcast() {
            Ok(not_executed) => RunError::Child(not_executed),
            Err(error) => RunError::Other(error),
        })
    }

    /// Waits for what is next, and for messages if wanted.
    fn wait(
        &self,
        ring: Option<BorrowedFd<'_>>,
        walked: Option<BorrowedFd<'_>>,
        time: PollTimeout,
    ) -> io::Result<Wake> {
        let child = self.child.as_ref().map(Child::fd);
        let process = self.process.as_ref().map(AsFd::as_fd);
        let (readable, nothing) = (PollFlags::POLLIN, PollFlags::empty());
        // Asked for nothing, a pipe still tells that its reader is gone.
        let all = [
            (Some(self.ends.as_fd()), readable, Wake::Signal),
            (Some(self.calls.as_fd()), readable, Wake::Call),
            (self.pipe.as_ref().map(AsFd::as_fd), nothing, Wake::Unread),
            (ring, readable, Wake::Messages),
            (walked, readable, Wake::Walked),
            (child, readable, Wake::Ended),
            (process, readable, Wake::Ended),
        ];
        let mut wakes = [Wake::Time; 7];
        let mut used = 0;
        let mut fds = all.map(|(fd, flags, wake)| {
            let fd = fd.map(|fd| PollFd::new(fd, flags));
            if fd.is_some() {
                wakes[used] = wake;
                used += 1;
            }
            fd
        });
        fds.sort_by_key(Option::is_none);
        // The array has no empty places left in front.
        let mut polled: [PollFd<'_>; 7] =
            fds.map(|fd| fd.unwrap_or_else(|| PollFd::new(self.ends.as_fd(), nothing)));
        match poll(&mut polled[..used], time) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Wake::Time),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let first = polled[..used].iter().position(|fd| fd.any().unwrap_or(true));
        Ok(first.map_or(Wake::Time, |first| wakes[first]))
    }
}

fn process(pid: u32) -> Result<OwnedFd, RunError> {
    open_pidfd(pid).map_err(|error| {
        let why = match error {
            Errno::ESRCH => format!("there is no process {pid}"),
            error => format!("process {pid} can't be watched: {error}"),
        };
        RunError::Other(anyhow::anyhow!(why))
    })
}

/// How many probes of a kind there are.
fn count(program: &Program, wanted: impl Fn(&Place) -> bool) -> usize {
    let places = program.probes.iter().flat_map(|probe| &probe.attach);
    places.filter_map(|point| point.probe.as_ref()).filter(|place| wanted(place)).count()
}

/// How often messages come. What comes seldom is read at once, exit() among it; while many come, reading rests.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    /// Reads with no more than a rest between two.
    reads: u16,
}

impl Pace {
    /// Reads before the first rest.
    const AT_ONCE: u16 = 4;

    fn read(&mut self) {
        let now = Instant::now();
        let is_soon = self.last.is_some_and(|last| now - last < REST * 2);
        self.reads = if is_soon { self.reads.saturating_add(1) } else { 0 };
        self.last = Some(now);
    }

    fn rest_ms(&self) -> u16 {
        let longest = u16::try_from(REST.as_millis()).unwrap_or(u16::MAX);
        self.reads.saturating_sub(Self::AT_ONCE).min(longest)
    }
}

/// A program that runs.
pub(super) struct Run<'r, 'o> {
    pub(super) program: &'r Program,
    pub(super) loaded: &'r [Loaded],
    maps: &'r KernelMaps,
    pub(super) ring: Option<Ring<'r>>,
    pub(super) output: &'r mut Output<'o>,
    lost: u64,
    /// What it wants to end with, once it does.
    pub(super) status: Option<u64>,
    /// An iterator is read.
    is_walk: bool,
}

impl Run<'_, '_> {
    fn count(&self, wanted: impl Fn(&Place) -> bool) -> usize {
        count(self.program, wanted)
    }

    /// Runs probes that nothing but the runtime runs.
    pub(super) fn fire(&self, wanted: impl Fn(&Place) -> bool) -> io::Result<()> {
        for loaded in self.loaded {
            let places = self.program.probes[loaded.probe]
                .attach
                .iter()
                .filter_map(|point| point.probe.as_ref());
            for _ in places.filter(|place| wanted(place)) {
                sys::test_run(loaded.fd.as_fd())?;
            }
        }
        Ok(())
    }

    /// Has another one write what is there by now.
    pub(super) fn drain_into(&mut self, output: &mut Output<'_>) -> Result<(), RunError> {
        let Some(ring) = &mut self.ring else { return Ok(()) };
        let (maps, status) = (self.maps, &mut self.status);
        ring.drain(|message| {
            if let Asked::Exit(code) = output.message(message, maps)? {
                *status = Some(code);
            }
            Ok::<bool, io::Error>(true)
        })?;
        Ok(output.flush()?)
    }

    /// Hands over what is there by now; whether it was much.
    pub(super) fn drain(&mut self) -> Result<bool, RunError> {
        let Some(ring) = &mut self.ring else { return Ok(false) };
        let (maps, output, status) = (self.maps, &mut *self.output, &mut self.status);
        let is_walk = self.is_walk;
        let (began, mut messages) = (Instant::now(), 0_u32);
        let read = ring.drain(|message| match output.message(message, maps)? {
            Asked::Nothing => {
                messages = messages.wrapping_add(1);
                let is_long = messages % CLOCK_EVERY == 0 && began.elapsed() > LONGEST_READ;
                Ok::<bool, io::Error>(!is_long)
            }
            Asked::Exit(code) => {
                *status = Some(code);
                // bpftrace's iterators write their text themselves, and go on to their end.
                Ok(is_walk)
            }
        })?;
        let is_much = read >= ring.size() / FULL_PART || began.elapsed() > LONGEST_READ;
        let lost = self.maps.lost();
        if lost > self.lost {
            self.output.lost(lost - self.lost)?;
            self.lost = lost;
        }
        self.output.flush()?;
        Ok(is_much)
    }

    /// Reads messages until something ends the run.
    fn listen(&mut self, watch: &mut Watch, walked: Option<&EventFd>) -> Result<(), RunError> {
        // What begin probes said.
        self.drain()?;
        let mut rests = false;
        let mut pace = Pace::default();
        while self.status.is_none() {
            let ring = self.ring.as_ref().filter(|_| !rests).map(AsFd::as_fd);
            let time = if rests { PollTimeout::from(pace.rest_ms()) } else { PollTimeout::NONE };
            match watch.wait(ring, walked.map(AsFd::as_fd), time)? {
                Wake::Time => {
                    // Nothing came meanwhile: whoever comes next is to wake us.
                    rests = false;
                }
                Wake::Messages => {
                    let is_much = self.drain()?;
                    pace.read();
                    rests = !is_much && pace.rest_ms() > 0;
                }
                Wake::Call => {
                    let _ = watch.calls.read(&mut [0; 16]);
                    self.fire(|place| matches!(place, Place::SelfSignal(_)))?;
                    self.drain()?;
                }
                Wake::Unread => {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                }
                Wake::Signal | Wake::Ended | Wake::Walked => break,
            }
        }
        Ok(())
    }

    /// Reads iterators to their ends, by a thread: meanwhile messages come.
    fn walk(&mut self, attached: &mut Attached, watch: &Watch) -> Result<(), RunError> {
        let walks = std::mem::take(&mut attached.walks);
        let done = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(io::Error::from)?;
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let read = walks.into_iter().try_for_each(|walk| {
                    // The programs write no text of their own, but messages.
                    io::copy(&mut std::fs::File::from(walk), &mut io::sink()).map(drop)
                });
                let _ = done.write(1);
                read
            });
            let mut rests = false;
            self.is_walk = true;
            loop {
                let ring = self.ring.as_ref().filter(|_| !rests).map(AsFd::as_fd);
                let time = if rests { PollTimeout::from(1_u8) } else { PollTimeout::NONE };
                match watch.wait(ring, Some(done.as_fd()), time)? {
                    Wake::Time | Wake::Call => rests = false,
                    Wake::Messages => rests = !self.drain()?,
                    _ => break,
                }
            }
            reader.join().map_err(|_| anyhow::anyhow!("the walk failed"))??;
            self.drain()?;
            self.is_walk = false;
            Ok(())
        })
    }

    /// What is left in the ring when nothing more comes; what takes too long to read is lost.
    fn read_rest(&mut self) -> Result<(), RunError> {
        let until = Instant::now() + LAST_READ;
        while self.drain()? {
            if Instant::now() > until {
                break;
            }
        }
        let mut unread = 0;
        if let Some(ring) = &mut self.ring {
            ring.drain(|_| {
                unread += 1;
                Ok::<bool, io::Error>(true)
            })?;
        }
        if unread > 0 {
            self.output.lost(unread)?;
        }
        Ok(())
    }

    /// Detaches, runs end probes, and shows what is to be shown then.
    fn end(mut self, attached: Attached) -> Result<i32, RunError> {
        drop(attached);
        match (self.status, &mut self.ring) {
            // What was said after exit() doesn't count.
            (Some(_), Some(ring)) => _ = ring.drain(|_| Ok::<bool, io::Error>(true))?,
            _ => self.read_rest()?,
        }
        self.fire(|place| matches!(place, Place::End))?;
        let status = self.status.take();
        self.drain()?;
        let status = status.or(self.status).unwrap_or(0);
        self.output.at_end(self.maps)?;
        self.output.flush()?;
        Ok(status as i32)
    }
}

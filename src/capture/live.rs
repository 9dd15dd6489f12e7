//! Packets of interfaces, from when all is attached to when it ends.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use caps::Capability;

use super::owners::Owners;
use super::{Output, Shown, check, direction, filter};
use crate::cli::CaptureArgs;
use crate::filter::Filter;
use crate::netns::{self, Netns};
use crate::packet::comment::comment;
use crate::packet::filter::LinkType;
use crate::privileges;
use crate::probes::{capture, ifaces, sockets};
use crate::run::{self, Child, Event, Watch, is_closed_pipe};
use crate::sample::{CaptureCounts, CaptureReading, Losses};
use crate::session::{self, Session};

/// The end comes by a signal or the command's end.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);
/// What is looked at after the end: packets that were under way, and how they were counted.
const LAST_BATCHES: u32 = 100_000;

/// Captures, and returns the exit status.
///
/// # Errors
/// As [`super::run`].
pub(super) fn run(args: &CaptureArgs) -> Result<i32> {
    check(args)?;
    let filter = filter(args, LinkType::Ethernet)?;
    let wanted = run::process_filter(&args.processes)?;
    let netns = run::open_netns(args.netns.as_deref())?;
    check_interfaces(args, netns.as_ref())?;
    let inode = netns.as_ref().map_or_else(netns::own, Netns::inode);
    // Before any thread: a fork takes only one along.
    let held = Some(&args.command).filter(|command| !command.is_empty());
    let child = held.map(|command| Child::hold(command)).transpose()?;
    let is_scoped = child.is_some() || !wanted.is_empty();
    let goes_to_stdout = args.write.as_ref().is_none_or(|path| path.as_os_str() == "-");
    let mut watch = Watch::new(child, &args.processes.pids, goes_to_stdout)?;
    let probes = probes(args, netns, filter, watch.child_pid());
    let session = Session::open(probes)?;
    // After it, since what can't be captured should leave no file.
    let began_ns = now_ns();
    let output = Output::new(args, Some(began_ns), began_ns)?;
    run::report_missing_hooks(&session);
    privileges::keep_only(&capabilities(args, &session, &watch))?;
    let mut live = Live::new(session, output, wanted, is_scoped, inode, args.count);
    let result = live.run(&mut watch, args);
    match result {
        Ok(()) => watch.status(),
        // Whoever read it has enough.
        Err(error) if is_closed_pipe(&error) => watch.status(),
        Err(error) => Err(error),
    }
}

struct Live {
    session: Session,
    shower: Shower,
}

/// What becomes of packets.
struct Shower {
    owners: Owners,
    output: Option<Output>,
    /// Packets of nobody are left out.
    is_scoped: bool,
    captured: u64,
    most: Option<u64>,
    is_full: bool,
}

/// What there was at the end.
struct End {
    counts: Vec<CaptureCounts>,
    losses: Losses,
}

impl Live {
    fn new(
        session: Session,
        output: Output,
        wanted: Filter,
        is_scoped: bool,
        netns: u32,
        most: Option<u64>,
    ) -> Self {
        let owners = Owners::new(wanted, netns, is_scoped);
        let output = Some(output);
        let shower = Shower { owners, output, is_scoped, captured: 0, most, is_full: false };
        Live { session, shower }
    }

    fn run(&mut self, watch: &mut Watch, args: &CaptureArgs) -> Result<()> {
        watch.release()?;
        if io::stderr().is_terminal() && args.command.is_empty() && args.duration.is_none() {
            eprintln!("nettrace: capturing; Ctrl-C ends it");
        }
        let start = Instant::now();
        let end = start + args.duration.map_or(FOREVER, Duration::from_secs_f64);
        let mut has_more = false;
        while !self.shower.is_full {
            // Signals are looked at, however many packets come.
            let until = if has_more { Instant::now() } else { end };
            match watch.wait(&self.session, until)? {
                Event::Stop => break,
                Event::Tick if Instant::now() >= end => break,
                Event::Tick | Event::Backlog => has_more = self.packets()?,
            }
        }
        let end = self.end()?;
        report(&end, self.shower.captured);
        Ok(())
    }

    /// Takes a batch of packets; true if there may be more.
    fn packets(&mut self) -> Result<bool> {
        let backlog = self.session.backlog()?;
        self.shower.owners.absorb(backlog.closed);
        let Some(reading) = backlog.packets else { return Ok(false) };
        let Some(wait) = self.shower.owners.lack(reading.batch) else {
            return self.shower.show(reading);
        };
        thread::sleep(wait);
        let start = Instant::now();
        let sample = self.session.sample()?;
        self.shower.owners.learn(&sample, start.elapsed());
        sample.packets.map_or(Ok(false), |reading| self.shower.show(reading))
    }

    /// Takes what is left, and what was counted when there was nothing more to come.
    fn end(&mut self) -> Result<End> {
        self.session.stop();
        self.shower.owners.learn_soon();
        for _ in 0..LAST_BATCHES {
            if self.shower.is_full || !self.packets()? {
                break;
            }
        }
        let sample = self.session.sample()?;
        let counts = sample.packets.map_or_else(Vec::new, |reading| reading.counts.to_vec());
        let losses = sample.losses.clone();
        if let Some(mut output) = self.shower.output.take() {
            output.note(&counts);
            output.end()?;
        }
        Ok(End { counts, losses })
    }
}

impl Shower {
    fn show(&mut self, reading: CaptureReading<'_>) -> Result<bool> {
        let Some(output) = &mut self.output else { return Ok(false) };
        let batch = reading.batch;
        output.note(reading.counts);
        for record in &batch.records {
            if self.is_full {
                break;
            }
            let bytes = batch.bytes_of(record);
            let known = self.owners.of(record, bytes);
            if self.is_scoped && !known.as_ref().is_some_and(|known| known.is_wanted) {
                continue;
            }
            let nobodys;
            let comment = match &known {
                Some(known) => known.comment(record.direction),
                None => {
                    nobodys = comment(None, record.direction);
                    &nobodys
                }
            };
            let shown = Shown {
                time_ns: record.time_ns,
                length: record.length,
                bytes,
                link: record.link,
                index: record.index,
                interface: batch.interfaces.get(&record.index).map_or("", |name| name),
                direction: Some(record.direction),
                owner: known.as_ref().map(|known| &known.owner),
                comment,
            };
            if !output.packet(&shown)? {
                self.is_full = true;
                break;
            }
            self.captured += 1;
            self.is_full = self.most == Some(self.captured);
        }
        output.flush()?;
        Ok(reading.has_more)
    }
}

fn report(end: &End, captured: u64) {
    let sum = |of: fn(&CaptureCounts) -> u64| end.counts.iter().map(of).sum::<u64>();
    let (seen, accepted) = (sum(|counts| counts.seen), sum(|counts| counts.accepted));
    let s = if captured == 1 { "" } else { "s" };
    eprintln!("nettrace: {captured} packet{s} captured; the filter took {accepted} of {seen}");
    run::report_losses(&end.losses);
}

fn probes(
    args: &CaptureArgs,
    netns: Option<Netns>,
    filter: Option<crate::packet::filter::Filter>,
    child: Option<u32>,
) -> session::Options {
    let interfaces =
        if args.interfaces.is_empty() { vec!["any".to_owned()] } else { args.interfaces.clone() };
    let capture = capture::Options {
        netns,
        interfaces,
        filter,
        direction: direction(args),
        snaplen: args.snaplen,
        ring_bytes: args.ring_size,
        owners: true,
        tags: None,
    };
    let sockets = sockets::Options {
        pids: args.processes.pids.iter().copied().chain(child).collect(),
        follow_forks: child.is_some(),
        ..sockets::Options::default()
    };
    session::Options {
        capture: Some(capture),
        sockets: Some(sockets),
        sockets_are_spared: true,
        ..session::Options::default()
    }
}

/// What is still needed once everything is attached.
fn capabilities(args: &CaptureArgs, session: &Session, watch: &Watch) -> Vec<Capability> {
    let mut needed = session.capabilities();
    if args.file_size.is_some() || args.file_seconds.is_some() {
        // More files, maybe in another user's folder.
        needed.push(Capability::CAP_DAC_OVERRIDE);
    }
    if watch.child_pid().is_some() {
        // The command may become another user.
        needed.push(Capability::CAP_KILL);
    }
    needed
}

/// An interface that is named whole has to be there.
fn check_interfaces(args: &CaptureArgs, netns: Option<&Netns>) -> Result<()> {
    let is_pattern = |name: &str| name == "any" || name.contains('*');
    let mut named = args.interfaces.iter().filter(|name| !is_pattern(name)).peekable();
    if named.peek().is_none() {
        return Ok(());
    }
    let here = ifaces::read(netns)?;
    named.try_for_each(|name| run::check_interface(name, &here))
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

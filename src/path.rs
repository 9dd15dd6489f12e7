//! `nettrace path`: packets on their way through the kernel, each shown when it has ended.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use caps::Capability;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::{PathArgs, PathFormat};
use crate::model::{PathLens, PathPacket, Paths};
use crate::names::NetnsNames;
use crate::netns::Netns;
use crate::output::{self, Sink};
use crate::packet::filter::{Filter, LinkType};
use crate::privileges;
use crate::probes::ladder::Rung;
use crate::probes::monotonic_ns;
use crate::probes::path::{Options, PathProbe, Reach};
use crate::run::{self, Usage};
use crate::sample::Losses;
use crate::symbols::Symbols;

/// How often steps are read; sooner if the ring fills.
const READ_EVERY: Duration = Duration::from_millis(100);
/// Functions that the kernel refused, of which the names are told.
const NAMED: usize = 5;

/// Runs `path` and returns the exit status.
///
/// # Errors
/// [`Usage`], [`crate::kernel::Unsupported`], or what failed on the way.
pub fn run(args: &PathArgs) -> Result<i32> {
    let options = options(args)?;
    let sink = match &args.out {
        Some(path) if path.as_os_str() != "-" => Sink::file(path, args.force, false)?,
        _ => Sink::stdout(),
    };
    let signals = run::signal_pipe(&[SIGINT, SIGTERM, SIGHUP])?;
    let probe = open(&options)?;
    privileges::keep_only(&[Capability::CAP_BPF, Capability::CAP_SYSLOG])?;
    let reader = run::stdout_pipe().filter(|_| args.out.is_none());
    let mut run = Run {
        probe,
        paths: Paths::new(args.count),
        symbols: Symbols::default(),
        sink,
        format: args.format,
        signals: OwnedFd::from(signals),
        reader,
    };
    match run.packets(args.duration.map(Duration::from_secs_f64)) {
        Ok(()) => run.end(),
        // Whoever read it has enough.
        Err(error) if run::is_closed_pipe(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn options(args: &PathArgs) -> Result<Options> {
    if args.words.is_empty() {
        let words =
            "path needs a filter, as in nettrace path udp port 53; ip or ip6 takes all packets";
        return Err(Usage(words.to_owned()).into());
    }
    let filter = Filter::compile(&args.words.join(" "), LinkType::Ethernet);
    let filter = filter.map_err(|error| Usage(error.to_string()))?;
    let netns = run::open_netns(args.netns.as_deref())?;
    Ok(Options {
        filter: Some(filter),
        netns: netns.as_ref().map_or(0, Netns::inode),
        most_packets: args.count,
        functions: args.functions.clone(),
        most_probes: args.max_probes.map(|most| most as usize),
        stacks: args.stack,
        ring_bytes: args.ring_size,
    })
}

/// Opens the probe, and says what it has got.
fn open(options: &Options) -> Result<PathProbe> {
    let is_terminal = io::stderr().is_terminal();
    let mut progress = |done: usize, all: usize| {
        if is_terminal {
            eprint!("\rnettrace: attaching, {done} of {all}\x1b[K");
        }
    };
    let probe = PathProbe::open(options, &mut progress);
    if is_terminal {
        eprint!("\r\x1b[K");
    }
    let probe = probe?;
    for standing in probe.standings() {
        if let Some(reason) = standing.reason() {
            eprintln!("nettrace: missing are {}: {reason}", standing.words);
        } else if standing.datum == "path" {
            standing.above.iter().for_each(|refused| eprintln!("nettrace: not by {refused}"));
        }
    }
    eprintln!("nettrace: {}", reached(&probe.reach()));
    Ok(probe)
}

fn reached(reach: &Reach) -> String {
    let what = if reach.rung == Rung::RawTp { "tracepoints" } else { "functions" };
    let mut words = format!(
        "follows packets at {} {what} by {}, attached in {:.2} s",
        reach.count,
        reach.rung,
        reach.took.as_secs_f64()
    );
    if reach.left_out > 0 {
        words += &format!("; {} more are left out (--max-probes, --functions)", reach.left_out);
    }
    if !reach.refused.is_empty() {
        let named = reach.refused[..reach.refused.len().min(NAMED)].join(" ");
        let more = if reach.refused.len() > NAMED { " …" } else { "" };
        words += &format!("; the kernel refused {}: {named}{more}", reach.refused.len());
    }
    words
}

struct Run {
    probe: PathProbe,
    paths: Paths,
    symbols: Symbols,
    sink: Sink,
    format: PathFormat,
    signals: OwnedFd,
    /// Standard output, if it is a pipe.
    reader: Option<OwnedFd>,
}

impl Run {
    /// Shows packets until there are enough, the time is over, or somebody ends it.
    fn packets(&mut self, duration: Option<Duration>) -> Result<()> {
        let deadline = duration.map(|duration| Instant::now() + duration);
        loop {
            let is_over = self.wait(deadline)?;
            self.show(is_over)?;
            if is_over || self.paths.is_enough() {
                return Ok(());
            }
        }
    }

    /// Waits for what is to be read, a while; true if the run is to end now.
    fn wait(&self, deadline: Option<Instant>) -> Result<bool> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let patience = left.map_or(READ_EVERY, |left| left.min(READ_EVERY));
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.probe.ring_fd(), PollFlags::POLLIN),
        ];
        // Asked for nothing, a pipe still tells that its reader is gone.
        let reader = self.reader.as_ref();
        fds.extend(reader.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::empty())));
        let timeout = PollTimeout::try_from(patience.as_nanos().div_ceil(1_000_000));
        match poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("wait for packets"),
        }
        if fds.get(2).is_some_and(|pipe| pipe.any().unwrap_or(false)) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        let is_signalled = fds[0].any().unwrap_or(false);
        Ok(is_signalled || deadline.is_some_and(|deadline| Instant::now() >= deadline))
    }

    fn show(&mut self, all: bool) -> Result<()> {
        // What happens after this moment may be of packets that seem to have ended.
        let now = monotonic_ns();
        self.paths.absorb(self.probe.read()?);
        let mut netns = NetnsNames::read();
        let mut lens = PathLens { netns: &mut netns, symbols: &self.symbols };
        let packets = self.paths.finished(now, all, &mut lens);
        packets.iter().try_for_each(|packet| self.write(packet)).context("write the output")?;
        self.sink.flush().context("write the output")
    }

    fn write(&mut self, packet: &PathPacket) -> io::Result<()> {
        match self.format {
            PathFormat::Lines => output::write_path_lines(&mut self.sink, packet),
            PathFormat::Ndjson => output::write_path_object(&mut self.sink, packet),
        }
    }

    /// Says what was missed.
    fn end(mut self) -> Result<i32> {
        let losses = self.probe.losses();
        if self.format == PathFormat::Ndjson {
            output::write_losses(&mut self.sink, &losses).context("write the output")?;
        }
        self.sink.finish().context("write the output")?;
        let mut told = Losses::default();
        told.add(losses);
        run::report_losses(&told);
        let packets = self.paths.count();
        let s = if packets == 1 { "" } else { "s" };
        eprintln!("nettrace: {packets} packet{s} followed");
        if io::stderr().is_terminal() {
            // Where functions are watched one by one, that takes as long as attaching did.
            eprintln!("nettrace: detaching");
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(words: &[&str]) -> String {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let error = options(&PathArgs { words, ..PathArgs::default() }).unwrap_err();
        assert!(error.is::<Usage>());
        error.to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(message(&[]).contains("nettrace path udp port 53"));
        assert!(message(&["tcp", "prt", "80"]).contains("^^^"));
    }

    #[test]
    fn what_was_got_is_said() {
        let reach = Reach {
            rung: Rung::Kprobe,
            count: 98,
            refused: ["a", "b"].map(str::to_owned).to_vec(),
            left_out: 1300,
            took: Duration::from_millis(1234),
        };
        assert_eq!(
            reached(&reach),
            "follows packets at 98 functions by kprobe, attached in 1.23 s; 1300 more are left out \
             (--max-probes, --functions); the kernel refused 2: a b"
        );
        let reach = Reach { rung: Rung::RawTp, refused: Vec::new(), left_out: 0, ..reach };
        assert!(reached(&reach).starts_with("follows packets at 98 tracepoints by raw_tp"));
    }
}

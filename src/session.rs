//! One run: opens the probes that a view needs, waits for ticks without waking per event, and hands
//! out a [`Sample`] each. Knows nothing of what is shown.

use std::fs;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use caps::Capability;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

use crate::netns::Netns;
use crate::probes::drops::{self, DropProbe};
use crate::probes::flows::{self, FlowProbe};
use crate::probes::ifaces;
use crate::probes::ladder::Standing;
use crate::probes::monotonic_ns;
use crate::probes::sockets::{self, SocketProbe};
use crate::probes::syscalls::{self, SyscallProbe};
use crate::sample::{Backlog, IfaceRecord, Losses, OwnCost, Sample};

/// Sockets that nobody used or connected, and who holds those that were accepted and not used yet,
/// are found by walking all open files again: at most every two seconds, and so seldom that it takes
/// no more than one percent of a CPU.
const RESEED_AFTER: Duration = Duration::from_secs(2);
const RESEED_SHARE: u32 = 100;

/// However long a tick is: counters of system calls have 32 bits, and what is shown one by one is shown
/// soon.
const READ_CALLS_AFTER: Duration = Duration::from_secs(60);
const READ_EVENTS_AFTER: Duration = Duration::from_millis(100);

/// What a run reads.
#[derive(Debug, Default)]
pub struct Options {
    /// The socket table, unless no view needs it.
    pub sockets: Option<sockets::Options>,
    /// System calls.
    pub syscalls: Option<syscalls::Options>,
    /// Dropped packets.
    pub drops: Option<drops::Options>,
    /// Flows of packets, in a namespace of their own options.
    pub flows: Option<flows::Options>,
    /// The interfaces' counters.
    pub ifaces: bool,
    /// The namespace whose interfaces are read; nettrace's own if none.
    pub netns: Option<Netns>,
}

/// Why [`Session::wait`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time was over.
    Tick,
    /// This one of the descriptors watched is ready.
    Fd(usize),
    /// [`Session::backlog`] has something that shouldn't wait for the tick.
    Backlog,
}

/// How a probe stands that couldn't be opened.
type NotHad = fn(&anyhow::Error) -> Standing;

/// The open probes.
pub struct Session {
    sockets: Option<SocketProbe>,
    syscalls: Option<SyscallProbe>,
    drops: Option<DropProbe>,
    flows: Option<FlowProbe>,
    /// How long what shouldn't wait for a tick may wait; none if there is no such thing.
    backlog_after: Option<Duration>,
    backlog_at: Option<Instant>,
    read_calls_at: Instant,
    /// Probes that there could not be, and why.
    lacking: Vec<(&'static str, Standing)>,
    with_ifaces: bool,
    netns: Option<Netns>,
    ifaces: Vec<IfaceRecord>,
    reseed_at: Instant,
}

impl Session {
    /// Loads and attaches what `options` ask for.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: Options) -> Result<Self> {
        let sockets = options.sockets.as_ref().map(SocketProbe::open).transpose()?;
        let mut lacking = Vec::new();
        // A column or a view less, where there is another probe.
        let spared = |error: &anyhow::Error, lacking: &mut Vec<_>, name, not_had: NotHad| {
            let is_spared = sockets.is_some();
            if is_spared {
                lacking.push((name, not_had(error)));
            }
            is_spared
        };
        let syscalls = match options.syscalls.as_ref().map(SyscallProbe::open).transpose() {
            Err(error) if spared(&error, &mut lacking, "syscalls", syscalls::not_had) => None,
            syscalls => syscalls?,
        };
        let drops = match options.drops.as_ref().map(DropProbe::open).transpose() {
            Err(error) if spared(&error, &mut lacking, "drops", drops::not_had) => None,
            drops => drops?,
        };
        let flows = options.flows.map(FlowProbe::open).transpose()?;
        let has_events = options.syscalls.is_some_and(|options| options.slower_than_ns > 0)
            || options.drops.is_some_and(|options| options.events_per_second.is_some());
        let backlog_after = match syscalls {
            _ if has_events => Some(READ_EVENTS_AFTER),
            Some(_) => Some(READ_CALLS_AFTER),
            None => flows.as_ref().map(|_| flows::SCAN_AFTER),
        };
        let now = Instant::now();
        Ok(Session {
            sockets,
            syscalls,
            drops,
            flows,
            backlog_after,
            backlog_at: backlog_after.map(|after| now + after),
            read_calls_at: now + READ_CALLS_AFTER,
            lacking,
            with_ifaces: options.ifaces,
            netns: options.netns,
            ifaces: Vec::new(),
            reseed_at: Instant::now() + RESEED_AFTER,
        })
    }

    /// Waits until `deadline` or until one of `watched` has what it is watched for, or an error. A
    /// ring that fills is drained meanwhile.
    ///
    /// # Errors
    /// Where a ring can't be read.
    pub fn wait(&self, deadline: Instant, watched: &[(BorrowedFd<'_>, PollFlags)]) -> Result<Wake> {
        loop {
            let rings = [
                self.sockets.as_ref().map(SocketProbe::ring_fd),
                self.syscalls.as_ref().map(SyscallProbe::ring_fd),
                self.drops.as_ref().map(DropProbe::ring_fd),
            ];
            let mut fds: Vec<PollFd<'_>> = watched
                .iter()
                .copied()
                .chain(rings.into_iter().flatten().map(|fd| (fd, PollFlags::POLLIN)))
                .map(|(fd, flags)| PollFd::new(fd, flags))
                .collect();
            let until = self.backlog_at.map_or(deadline, |at| deadline.min(at));
            let left = until.saturating_duration_since(Instant::now());
            // poll() counts in milliseconds; rounding up keeps it from spinning at the end.
            let left = left.as_nanos().div_ceil(1_000_000);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error).context("wait for the next tick"),
            }
            let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            if let Some(index) = fds.iter().take(watched.len()).position(ready) {
                return Ok(Wake::Fd(index));
            }
            if fds.iter().any(ready) && self.drain()? {
                return Ok(Wake::Backlog);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Wake::Tick);
            }
            if now >= until {
                return Ok(Wake::Backlog);
            }
        }
    }

    /// Empties the rings; true if there is a backlog then.
    fn drain(&self) -> Result<bool> {
        let mut has_backlog = false;
        if let Some(probe) = &self.sockets {
            probe.drain()?;
            has_backlog |= probe.has_backlog();
        }
        if let Some(probe) = &self.syscalls {
            probe.drain()?;
            has_backlog |= probe.has_backlog();
        }
        if let Some(probe) = &self.drops {
            probe.drain()?;
        }
        Ok(has_backlog)
    }

    /// What shouldn't wait for the end of the tick.
    ///
    /// # Errors
    /// Where the kernel refuses a read.
    pub fn backlog(&mut self) -> Result<Backlog<'_>> {
        let mut backlog = Backlog::default();
        if let Some(probe) = &mut self.sockets {
            backlog.closed = probe.take_backlog();
        }
        if let Some(probe) = &mut self.syscalls {
            let now = Instant::now();
            if probe.relieve()? || now >= self.read_calls_at {
                self.read_calls_at = now + READ_CALLS_AFTER;
                probe.read()?;
            } else {
                probe.read_slow()?;
            }
            backlog.syscalls = probe.reading();
        }
        if let Some(probe) = &mut self.drops {
            probe.read_events()?;
            backlog.drops = probe.events();
        }
        if let Some(probe) = &mut self.flows {
            probe.scan()?;
        }
        self.backlog_at = self.backlog_after.map(|after| Instant::now() + after);
        Ok(backlog)
    }

    /// Reads everything once.
    ///
    /// # Errors
    /// Where the kernel refuses a read.
    pub fn sample(&mut self) -> Result<Sample<'_>> {
        self.reseed()?;
        let time = SystemTime::now();
        if self.with_ifaces {
            self.ifaces = ifaces::read(self.netns.as_ref())?;
        }
        let mut sample = Sample {
            time,
            clock_ns: monotonic_ns(),
            sockets: &[],
            closed: &[],
            usage: &[],
            calls_counted: true,
            ifaces: &self.ifaces,
            syscalls: None,
            drops: None,
            flows: None,
            losses: Losses::default(),
            own: OwnCost::default(),
        };
        let mut run_times = Vec::new();
        if let Some(probe) = &mut self.syscalls {
            probe.read()?;
            sample.losses.add(probe.losses());
            run_times.push(probe.run_time_ns());
            sample.syscalls = Some(probe.reading());
        }
        if let Some(probe) = &mut self.drops {
            probe.read()?;
            sample.losses.add(probe.losses());
            run_times.push(probe.run_time_ns());
            sample.drops = Some(probe.reading());
        }
        if let Some(probe) = &mut self.flows {
            probe.read()?;
            sample.losses.add(probe.losses());
            run_times.push(probe.run_time_ns());
            sample.flows = Some(probe.reading());
        }
        if let Some(probe) = &mut self.sockets {
            probe.read()?;
            sample.losses.add(probe.losses());
            run_times.push(probe.run_time_ns());
            let reading = probe.reading();
            sample.clock_ns = reading.clock_ns;
            sample.sockets = reading.sockets;
            sample.closed = reading.closed;
            sample.usage = reading.usage;
            sample.calls_counted = probe.counts_calls();
        }
        let bpf_ns = run_times.into_iter().flatten().reduce(|sum, ns| sum + ns);
        sample.own = own_cost(bpf_ns);
        Ok(sample)
    }

    /// What reading goes on to need after attaching.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut needed = Vec::new();
        if self.sockets.is_some() || self.syscalls.is_some() || self.drops.is_some() {
            // A larger table; and before Linux 5.19 every bpf(2) that isn't by the root of old.
            needed.push(Capability::CAP_BPF);
        }
        if self.drops.is_some() {
            // To see where the kernel's functions are.
            needed.push(Capability::CAP_SYSLOG);
        }
        needed.extend(self.flows.iter().flat_map(FlowProbe::capabilities));
        if self.with_ifaces {
            // To ask for the programs on an interface.
            needed.push(Capability::CAP_NET_ADMIN);
        }
        if self.with_ifaces && self.netns.is_some() {
            // To enter the namespace.
            needed.push(Capability::CAP_SYS_ADMIN);
        }
        needed
    }

    /// How each datum is had, or why not, by the probe's name.
    pub fn standings(&self) -> impl Iterator<Item = (&'static str, &Standing)> {
        let sockets = self.sockets.as_ref().map_or(&[][..], SocketProbe::standings);
        let syscalls = self.syscalls.as_ref().map_or(&[][..], SyscallProbe::standings);
        let drops = self.drops.as_ref().map_or(&[][..], DropProbe::standings);
        let of = |probe| move |standing| (probe, standing);
        let had = sockets.iter().map(of("sockets")).chain(syscalls.iter().map(of("syscalls")));
        let flows = self.flows.as_ref().map_or(&[][..], FlowProbe::standings);
        let had = had.chain(drops.iter().map(of("drops"))).chain(flows.iter().map(of("flows")));
        had.chain(self.lacking.iter().map(|(probe, standing)| (*probe, standing)))
    }

    fn reseed(&mut self) -> Result<()> {
        let start = Instant::now();
        if start < self.reseed_at {
            return Ok(());
        }
        if let Some(probe) = &mut self.sockets {
            probe.seed()?;
        }
        self.reseed_at = Instant::now() + RESEED_AFTER.max(start.elapsed() * RESEED_SHARE);
        Ok(())
    }
}

fn own_cost(bpf_ns: Option<u64>) -> OwnCost {
    let cpu_s = getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    });
    let rss_bytes = resident_pages().unwrap_or(0) * page_size();
    OwnCost { cpu_s, rss_bytes, bpf_ns }
}

fn resident_pages() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

fn page_size() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

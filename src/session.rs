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
use crate::probes::capture::{self, CaptureProbe};
use crate::probes::drops::{self, DropProbe};
use crate::probes::flows::{self, FlowProbe};
use crate::probes::ifaces;
use crate::probes::ladder::Standing;
use crate::probes::sockets::{self, SocketProbe};
use crate::probes::syscalls::{self, SyscallProbe};
use crate::probes::xdp::{self, XdpProbe};
use crate::probes::{Probe, monotonic_ns};
use crate::sample::{Backlog, IfaceRecord, Losses, OwnCost, Sample};

/// What a run reads.
#[derive(Debug, Default)]
pub struct Options {
    /// The socket table, unless no view needs it.
    pub sockets: Option<sockets::Options>,
    /// It is for owners of flows or packets alone, which do without.
    pub sockets_are_spared: bool,
    /// Listeners alone, where there is no socket table.
    pub listeners: Option<sockets::Options>,
    /// System calls.
    pub syscalls: Option<syscalls::Options>,
    /// Dropped packets.
    pub drops: Option<drops::Options>,
    /// Flows of packets, in a namespace of their own options.
    pub flows: Option<flows::Options>,
    /// Packets themselves, in a namespace of their own options; their processes by the socket table.
    pub capture: Option<capture::Options>,
    /// The interfaces' counters.
    pub ifaces: bool,
    /// Packets before the stack, in a namespace of their own options.
    pub xdp: Option<xdp::Options>,
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
    /// By name, in the order of opening.
    probes: Vec<(&'static str, Box<dyn Probe>)>,
    /// How long what shouldn't wait for a tick may wait; none if there is no such thing.
    backlog_after: Option<Duration>,
    backlog_at: Option<Instant>,
    /// Probes that there could not be, and why.
    lacking: Vec<(&'static str, Standing)>,
    with_ifaces: bool,
    netns: Option<Netns>,
    ifaces: Vec<IfaceRecord>,
    has_baseline: bool,
}

/// The name of the probe before the stack.
const XDP: &str = "xdp";

/// What has been opened so far.
#[derive(Default)]
struct Opened {
    probes: Vec<(&'static str, Box<dyn Probe>)>,
    lacking: Vec<(&'static str, Standing)>,
}

impl Opened {
    /// Takes in a probe that was wanted. One that can't be had is a column or a view less, where there
    /// is another probe.
    fn add(
        &mut self,
        name: &'static str,
        probe: Option<Result<impl Probe + 'static>>,
        not_had: NotHad,
    ) -> Result<()> {
        match probe {
            None => {}
            Some(Ok(probe)) => self.probes.push((name, Box::new(probe))),
            Some(Err(error)) if self.probes.is_empty() => return Err(error),
            Some(Err(error)) => self.lacking.push((name, not_had(&error))),
        }
        Ok(())
    }
}

impl Session {
    /// Loads and attaches what `options` ask for.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: Options) -> Result<Self> {
        let Options { sockets, listeners, syscalls, drops, flows, capture, xdp, .. } = options;
        let mut opened = Opened::default();
        let sockets = sockets.as_ref().map(SocketProbe::open);
        let flows = || flows.map(FlowProbe::open);
        // Captured packets have their processes by the tags of sockets.
        let tags = sockets.as_ref().and_then(|probe| probe.as_ref().ok());
        let tags = tags.map(SocketProbe::tags).transpose()?.flatten();
        let capture =
            || capture.map(|capture| CaptureProbe::open(capture::Options { tags, ..capture }));
        if options.sockets_are_spared {
            opened.add("flows", flows(), flows::not_had)?;
            opened.add("capture", capture(), capture::not_had)?;
            opened.add("sockets", sockets, sockets::not_had)?;
            // Sockets are to be the last that is read.
            opened.probes.reverse();
        } else {
            opened.add("sockets", sockets, sockets::not_had)?;
            opened.add("syscalls", syscalls.as_ref().map(SyscallProbe::open), syscalls::not_had)?;
            opened.add("drops", drops.as_ref().map(DropProbe::open), drops::not_had)?;
            opened.add("flows", flows(), flows::not_had)?;
            opened.add("capture", capture(), capture::not_had)?;
            let listeners = listeners.as_ref().map(SocketProbe::open);
            opened.add("listeners", listeners, sockets::listeners_not_had)?;
            opened.add(XDP, xdp.map(XdpProbe::open), xdp::not_had)?;
        }
        let Opened { probes, lacking } = opened;
        let backlog_after = probes.iter().filter_map(|(_, probe)| probe.backlog_after()).min();
        Ok(Session {
            probes,
            backlog_after,
            backlog_at: backlog_after.map(|after| Instant::now() + after),
            lacking,
            with_ifaces: options.ifaces,
            netns: options.netns,
            ifaces: Vec::new(),
            has_baseline: false,
        })
    }

    /// Waits until `deadline` or until one of `watched` has what it is watched for, or an error. A
    /// ring that fills is drained meanwhile.
    ///
    /// # Errors
    /// Where a ring can't be read.
    pub fn wait(&self, deadline: Instant, watched: &[(BorrowedFd<'_>, PollFlags)]) -> Result<Wake> {
        loop {
            let rings = self.probes.iter().filter_map(|(_, probe)| probe.ring_fd());
            let mut fds: Vec<PollFd<'_>> = watched
                .iter()
                .copied()
                .chain(rings.map(|fd| (fd, PollFlags::POLLIN)))
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
        for (_, probe) in &self.probes {
            probe.drain()?;
            has_backlog |= probe.has_backlog();
        }
        Ok(has_backlog)
    }

    /// What shouldn't wait for the end of the tick.
    ///
    /// # Errors
    /// Where the kernel refuses a read.
    pub fn backlog(&mut self) -> Result<Backlog<'_>> {
        for (_, probe) in &mut self.probes {
            probe.read_backlog()?;
        }
        self.backlog_at = self.backlog_after.map(|after| Instant::now() + after);
        let mut backlog = Backlog::default();
        for (_, probe) in &self.probes {
            probe.hand_on(&mut backlog);
        }
        Ok(backlog)
    }

    /// Reads everything once.
    ///
    /// # Errors
    /// Where the kernel refuses a read.
    pub fn sample(&mut self) -> Result<Sample<'_>> {
        for (_, probe) in &mut self.probes {
            probe.look_around()?;
        }
        let (time, clock_ns) = (SystemTime::now(), monotonic_ns());
        if self.with_ifaces {
            self.ifaces = ifaces::read(self.netns.as_ref())?;
        }
        // Sockets last: their clock is the sample's.
        for (_, probe) in self.probes.iter_mut().rev() {
            probe.read()?;
        }
        if !std::mem::replace(&mut self.has_baseline, true) {
            self.agree_on_interfaces()?;
        }
        let mut sample = Sample {
            time,
            clock_ns,
            sockets: &[],
            closed: &[],
            socket_events: &[],
            usage: &[],
            calls_counted: true,
            ifaces: &self.ifaces,
            xdp: &[],
            syscalls: None,
            drops: None,
            flows: None,
            packets: None,
            losses: Losses::default(),
            own: OwnCost::default(),
        };
        for (_, probe) in &self.probes {
            probe.fill(&mut sample);
            sample.losses.add(probe.losses());
        }
        let run_times = self.probes.iter().filter_map(|(_, probe)| probe.run_time_ns());
        sample.own = own_cost(run_times.reduce(|sum, ns| sum + ns));
        Ok(sample)
    }

    /// What an interface received, and what of it reached the stack, are read one after the other: packets that
    /// come between the two first readings would be missing for good. So until none does, if ever.
    fn agree_on_interfaces(&mut self) -> Result<()> {
        const TRIES: u32 = 20;

        let Some((_, probe)) = self.probes.iter_mut().find(|(name, _)| *name == XDP) else {
            return Ok(());
        };
        let received = |ifaces: &[IfaceRecord]| -> Vec<(u32, u64)> {
            ifaces.iter().map(|iface| (iface.index, iface.rx_packets)).collect()
        };
        for _ in 0..TRIES {
            let again = ifaces::read(self.netns.as_ref())?;
            let before = std::mem::replace(&mut self.ifaces, again);
            if received(&before) == received(&self.ifaces) {
                return Ok(());
            }
            probe.read()?;
        }
        Ok(())
    }

    /// Has the probes record nothing more of what comes one by one; what was recorded can still be read.
    pub fn stop(&mut self) {
        for (_, probe) in &mut self.probes {
            probe.stop();
        }
    }

    /// What reading goes on to need after attaching.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut needed: Vec<Capability> =
            self.probes.iter().flat_map(|(_, probe)| probe.capabilities()).collect();
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
        let had = self
            .probes
            .iter()
            .flat_map(|(name, probe)| probe.standings().iter().map(|standing| (*name, standing)));
        had.chain(self.lacking.iter().map(|(name, standing)| (*name, standing)))
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

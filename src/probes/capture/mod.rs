//! The capture probe: loads `capture.bpf.c` with the filter in it, attaches it to the interfaces that are
//! wanted, those that come later too, and hands on the packets in batches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use caps::Capability;
use libbpf_rs::skel::{OpenSkel, Skel};
use libbpf_rs::{MapCore, MapFlags};
use plain::Plain;

use crate::btf::Btf;
use crate::kernel;
use crate::netns::Netns;
use crate::packet::filter::{Filter, LinkType};
use crate::probes::climb::{Failure, climb};
use crate::probes::clock::TimeOfDay;
use crate::probes::interfaces::Interface;
use crate::probes::ladder::{Choice, Standing};
use crate::probes::taps::{Programs, Taps, Wanted};
use crate::probes::verify::{Load, Subject, load_changed};
use crate::probes::{Probe, READ_EVENTS_AFTER, losses, objects, programs};
use crate::sample::{
    Backlog, CaptureCounts, CaptureReading, PacketBatch, PacketDirection, PacketRecord,
    ProcessRecord, Sample,
};

mod hooks;
mod ring;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/capture.skel.rs"));
}
use ring::{Incoming, Ring};
use skel::types::{self, capture_counts, capture_direction, captured, loss};
use skel::{CaptureSkel, CaptureSkelBuilder, OpenCaptureSkel};

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for capture_counts {}

/// The longest that is copied of a packet (`CAPTURE_LIMIT` in `capture/layout.bpf.h`).
pub const SNAPLEN_LIMIT: u32 = 262_144;
/// The shortest: an Ethernet header with its tags.
pub const SNAPLEN_LEAST: u32 = 32;
/// How old the interfaces' counts may be beside packets.
const COUNT_AFTER: Duration = Duration::from_millis(50);
/// A program doesn't take longer.
const LAST_PACKETS: Duration = Duration::from_millis(10);
/// An expression that the verifier's test has in the programs.
const EXAMPLE: &str = "tcp port 443 and len > 100 or ip6 protochain 17 or inbound";

/// Names of the loss causes that this probe has.
pub(crate) const LOSS_NAMES: [(&str, u32); 1] = [("packet_ring", loss::LOSS_PACKET_RING.0)];

/// What is captured.
#[derive(Debug, Default)]
pub struct Options {
    /// The namespace whose interfaces are watched; nettrace's own if none.
    pub netns: Option<Netns>,
    /// Names, with `*` for any part; `any` is all but the loopback.
    pub interfaces: Vec<String>,
    /// Only these packets; compiled for Ethernet.
    pub filter: Option<Filter>,
    /// Only this direction.
    pub direction: Option<PacketDirection>,
    /// At most so many bytes of each packet; `None` takes [`SNAPLEN_LIMIT`].
    pub snaplen: Option<u32>,
    /// Bytes of the ring, a power of two; `None` takes the default of 8 MiB.
    pub ring_bytes: Option<u32>,
    /// Packets tell their sockets, and so their processes.
    pub owners: bool,
    /// The socket probe's tags, where they are in socket storage.
    pub tags: Option<OwnedFd>,
}

/// The probe's arrangement with everything switched on.
pub(super) fn subjects() -> Vec<Subject> {
    let subject = |arrangement| {
        let load: Load = Box::new(|_, change| {
            let filter = Filter::compile(EXAMPLE, LinkType::Ethernet).ok();
            let options = Options { owners: true, filter, ..Options::default() };
            let mut open = prepare(&options)?;
            if let Some(rodata) = open.maps.rodata_data.as_mut() {
                rodata.has_tags = kernel::btf().is_ok_and(|btf| has_storage(&btf));
            }
            load_changed(open, change)
        });
        Subject { object: "capture", name: "packet", number: 0, arrangement, load }
    };
    hooks::arrangements().into_iter().map(subject).collect()
}

/// Whether the socket probe's tags can be in socket storage at all.
fn has_storage(btf: &Btf) -> bool {
    kernel::has_function(btf, "bpf_sk_storage_get_tracing")
}

/// How the probe stands that couldn't be opened.
pub fn not_had(error: &anyhow::Error) -> Standing {
    Standing::not_had("packets", "captured packets", "tcx_ingress", error)
}

/// The loaded and attached probe.
pub struct CaptureProbe {
    batch: PacketBatch,
    counts: Vec<CaptureCounts>,
    count_at: Instant,
    /// There may be more in the ring than in the last batch.
    has_more: bool,
    has_netns: bool,
    choice: Choice,
    ring: Ring,
    // Dropped before the programs that it has attached.
    taps: Taps,
    skel: CaptureSkel<'static>,
}

impl CaptureProbe {
    /// Loads the probe, and attaches it to the interfaces that are wanted.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: Options) -> Result<Self> {
        const WHAT: &str = "load the capture probe";

        let Options { netns, interfaces, .. } = options;
        let options = Options { netns: None, interfaces: Vec::new(), ..options };
        let has_netns = netns.is_some();
        let wanted = Wanted::permitted(WHAT, netns, interfaces)?;
        let here = wanted.here()?;
        let (skel, taps, choice) = climb(
            WHAT,
            |_| hooks::arrangements(),
            |choice| {
                let skel = match prepare(&options).and_then(OpenSkel::load) {
                    Ok(skel) => skel,
                    Err(error) => return Ok(Err(Failure::of_loading(&choice, error))),
                };
                Ok(attach(&skel, &choice, &wanted, &here).map(|taps| (skel, taps, choice)))
            },
        )?;
        let ring = Ring::open(&skel.maps.packets)?;
        Ok(CaptureProbe {
            batch: PacketBatch::default(),
            counts: Vec::new(),
            count_at: Instant::now(),
            has_more: false,
            has_netns,
            choice,
            ring,
            taps,
            skel,
        })
    }

    /// Takes a batch of packets out of the ring.
    fn read_packets(&mut self) -> Result<()> {
        // Before reading: who comes later wakes us again.
        self.ring.forget_wakeup();
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            // SAFETY: a valid reference; volatile because BPF programs read there.
            unsafe { (&raw mut bss.is_woken).write_volatile(0) };
        }
        let day = TimeOfDay::now();
        let (batch, taps) = (&mut self.batch, &self.taps);
        batch.clear();
        self.has_more = self.ring.read(|incoming| fill(batch, incoming, day, taps))?;
        Ok(())
    }

    fn read_counts(&mut self) -> Result<()> {
        let map = &self.skel.maps.capture_counts;
        self.counts.clear();
        for key in map.keys() {
            let cpus = map.lookup_percpu(&key, MapFlags::ANY).context("read the counts")?;
            let Ok(key) = <[u8; 4]>::try_from(&key[..]) else { continue };
            let index = u32::from_ne_bytes(key);
            let interface = self.taps.interface(index);
            let mut sum = CaptureCounts {
                index,
                interface: self.taps.name(index),
                link: if interface.is_none_or(|it| it.has_link_header) {
                    LinkType::Ethernet
                } else {
                    LinkType::Raw
                },
                seen: 0,
                accepted: 0,
                lost: 0,
            };
            for bytes in cpus.into_iter().flatten() {
                let mut cpu = capture_counts::default();
                if cpu.copy_from_bytes(&bytes).is_ok() {
                    sum.seen += cpu.seen;
                    sum.accepted += cpu.accepted;
                    sum.lost += cpu.lost;
                }
            }
            self.counts.push(sum);
        }
        self.counts.sort_by_key(|counts| counts.index);
        self.count_at = Instant::now() + COUNT_AFTER;
        Ok(())
    }

    fn reading(&self) -> CaptureReading<'_> {
        CaptureReading { batch: &self.batch, has_more: self.has_more, counts: &self.counts }
    }

    /// The program at ingress of Ethernet interfaces, for benchmarks that run it by themselves.
    pub fn ingress_program(&self) -> BorrowedFd<'_> {
        self.skel.progs.nettrace_cap_in.as_fd()
    }
}

impl Probe for CaptureProbe {
    fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ring.fd())
    }

    /// Being woken is one.
    fn has_backlog(&self) -> bool {
        true
    }

    fn backlog_after(&self) -> Option<Duration> {
        Some(READ_EVENTS_AFTER)
    }

    fn read_backlog(&mut self) -> Result<()> {
        self.look_around()?;
        self.read_packets()?;
        if Instant::now() >= self.count_at { self.read_counts() } else { Ok(()) }
    }

    fn hand_on<'a>(&'a self, backlog: &mut Backlog<'a>) {
        backlog.packets = Some(self.reading());
    }

    /// Looks for interfaces that came and went.
    fn look_around(&mut self) -> Result<()> {
        self.taps.scan(|interface| make_counts(&self.skel, interface)).map(drop)
    }

    /// The counts alone: the last batch may be looked at still.
    fn read(&mut self) -> Result<()> {
        self.read_counts()
    }

    fn fill<'a>(&'a self, sample: &mut Sample<'a>) {
        sample.packets = Some(self.reading());
    }

    fn stop(&mut self) {
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            // SAFETY: a valid reference; volatile because BPF programs read there.
            unsafe { (&raw mut bss.is_over).write_volatile(1) };
        }
        // Those that are under way come to their ends.
        std::thread::sleep(LAST_PACKETS);
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let counts = self.skel.maps.bss_data.as_ref().map(|bss| &bss.losses[..]);
        losses::by_name(LOSS_NAMES, counts)
    }

    fn run_time_ns(&self) -> Option<u64> {
        programs::run_time_ns(self.skel.object())
    }

    fn standings(&self) -> &[Standing] {
        &self.choice.standings
    }

    /// Interfaces come and go.
    fn capabilities(&self) -> Vec<Capability> {
        let mut needed = vec![Capability::CAP_BPF, Capability::CAP_NET_ADMIN];
        if self.has_netns {
            needed.push(Capability::CAP_SYS_ADMIN);
        }
        needed
    }
}

/// The object with all settings and the filter, before the kernel sees it.
fn prepare(options: &Options) -> libbpf_rs::Result<OpenCaptureSkel<'static>> {
    let mut open = objects::open::<CaptureSkelBuilder>()?;
    let snaplen = options.snaplen.unwrap_or(SNAPLEN_LIMIT).clamp(SNAPLEN_LEAST, SNAPLEN_LIMIT);
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        rodata.snaplen = snaplen;
        rodata.wants_in = options.direction != Some(PacketDirection::Out);
        rodata.wants_out = options.direction != Some(PacketDirection::In);
        rodata.with_owners = options.owners;
        rodata.has_tags = options.tags.is_some();
        if let Some(filter) = &options.filter {
            rodata.filter_on = true;
            rodata.filter_reach = filter.reach();
        }
        if let Some(bytes) = options.ring_bytes {
            rodata.ring_wakeup = u64::from(bytes) / 4;
        }
    }
    if let Some(filter) = &options.filter {
        let install = filter.install(open.open_object_mut());
        install.map_err(|error| libbpf_rs::Error::from(io::Error::other(format!("{error:#}"))))?;
    }
    if let Some(bytes) = options.ring_bytes {
        open.maps.packets.set_max_entries(bytes)?;
    }
    if let Some(tags) = &options.tags {
        open.maps.tags.reuse_fd(tags.as_fd())?;
    }
    let cpus = libbpf_rs::num_possible_cpus()? as u32;
    open.maps.drafts.set_max_entries(cpus)?;
    open.maps.drafts.set_value_size(size_of::<captured>() as u32 + snaplen)?;
    Ok(open)
}

fn attach(
    skel: &CaptureSkel<'static>,
    choice: &Choice,
    wanted: &Arc<Wanted>,
    here: &[Interface],
) -> Result<Taps, Failure> {
    let progs = &skel.progs;
    let programs = Programs::of(
        [&progs.nettrace_cap_in, &progs.nettrace_cap_out],
        [&progs.nettrace_capi_in, &progs.nettrace_capi_out],
    );
    Taps::attach(wanted, choice, programs, here, |interface| make_counts(skel, interface))
}

/// Counts of an interface, before its first packet.
fn make_counts(skel: &CaptureSkel<'static>, interface: &Interface) -> io::Result<()> {
    let map = &skel.maps.capture_counts;
    let cpus = libbpf_rs::num_possible_cpus().map_err(io::Error::other)?;
    let none = vec![vec![0; size_of::<capture_counts>()]; cpus];
    match map.update_percpu(&interface.index.to_ne_bytes(), &none, MapFlags::NO_EXIST) {
        Err(error) if error.kind() != libbpf_rs::ErrorKind::AlreadyExists => {
            Err(io::Error::other(format!("{error:#}")))
        }
        _ => Ok(()),
    }
}

fn fill(batch: &mut PacketBatch, incoming: &mut Incoming, day: TimeOfDay, taps: &Taps) {
    std::mem::swap(&mut batch.bytes, &mut incoming.bytes);
    let mut begin = 0;
    for head in &incoming.heads {
        let end = (begin + head.copied as usize).min(batch.bytes.len());
        batch.records.push(PacketRecord {
            time_ns: day.ns_at(head.time_ns),
            index: head.ifindex,
            link: if head.has_link_header == 0 { LinkType::Raw } else { LinkType::Ethernet },
            direction: match capture_direction(head.direction.into()) {
                capture_direction::CAPTURE_OUT => PacketDirection::Out,
                _ => PacketDirection::In,
            },
            length: head.length,
            bytes: begin..end,
            owner: process(&head.owner),
            cookie: head.cookie,
        });
        begin = end;
        batch.interfaces.entry(head.ifindex).or_insert_with(|| taps.name(head.ifindex));
    }
}

/// The same, as the other probe's skeleton calls it.
fn process(p: &types::process) -> Option<ProcessRecord> {
    let types::process { start, cgroup, tgid, uid, comm } = *p;
    (tgid != 0).then_some(ProcessRecord { start, cgroup, tgid, uid, comm })
}

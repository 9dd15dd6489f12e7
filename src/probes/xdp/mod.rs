//! The XDP probe: loads `xdp.bpf.c`, puts it at the interfaces' XDP hooks where nobody else's program is,
//! watches those of others, and reads what each interface had since the start.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use caps::Capability;
use libbpf_rs::skel::{OpenSkel, Skel};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, ProgramMut};
use plain::Plain;
use rustc_hash::FxHashMap;

use crate::kernel;
use crate::losses::HOOK_REENTERED;
use crate::netns::{self, Netns};
use crate::probes::climb::{Failure, climb};
use crate::probes::interfaces::Interface;
use crate::probes::ladder::{Choice, Hook, Rung, Standing};
use crate::probes::losses::MissedRuns;
use crate::probes::taps::{Programs, SCAN_AFTER, Taps, Wanted};
use crate::probes::verify::{Load, Subject, load_changed};
use crate::probes::{Probe, objects, programs};
use crate::sample::xdp::XdpCounts;
use crate::sample::{Sample, XdpMode, XdpProgram, XdpRecord, XdpWanted};
use card::Card;
use others::Watcher;

mod attach;
mod card;
mod hooks;
mod others;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/xdp.skel.rs"));
}
pub use skel::types;
use skel::{OpenXdpSkel, XdpSkel, XdpSkelBuilder};

// SAFETY: integers and arrays of them only, and no padding.
unsafe impl Plain for types::xdp_counts {}

/// Interfaces that may come beside those that there are.
const SPARE_SLOTS: usize = 64;
/// Since Linux 5.18 a program may say that it knows packets in fragments, which large MTUs need.
const HAS_FRAGMENTS: u32 = 1 << 5;

/// What is recorded.
#[derive(Debug, Default)]
pub struct Options {
    /// The namespace whose interfaces are watched; nettrace's own if none.
    pub netns: Option<Netns>,
    /// Names, with `*` for any part; `any` is all but the loopback. Nothing is attached if there are none.
    pub interfaces: Vec<String>,
    /// Where the program is to run.
    pub wanted: XdpWanted,
}

/// The probe's arrangement with everything switched on.
pub(super) fn subjects() -> Vec<Subject> {
    let subject = |arrangement| {
        let load: Load = Box::new(|choice, change| {
            let settings = Settings::of(choice, 1, 0);
            // What is watched is a program too.
            let target = settings.load(|program| program == "nettrace_xdp")?;
            let mut open = settings.open()?;
            let fd = target.progs.nettrace_xdp.as_fd().as_raw_fd();
            let name = Some("nettrace_xdp".to_owned());
            open.progs.others_verdict.set_attach_target(fd, name)?;
            load_changed(open, change)
        });
        Subject { object: "xdp", name: "packet", number: 0, arrangement, load }
    };
    hooks::arrangements().into_iter().map(subject).chain([card::subject()]).collect()
}

/// How the probe stands that couldn't be opened.
pub fn not_had(error: &anyhow::Error) -> Standing {
    Standing::not_had("xdp", "packets before the stack sees them", "xdp", error)
}

/// How the object is loaded.
#[derive(Clone, Copy, Debug)]
struct Settings {
    slots: usize,
    netns: u32,
    by_address: bool,
    in_fragments: bool,
}

impl Settings {
    fn of(choice: &Choice, slots: usize, netns: u32) -> Self {
        let by_address = choice.hooks().any(|hook| hook.rung == Rung::RawTp);
        Settings { slots, netns, by_address, in_fragments: false }
    }

    /// The object, before the kernel sees it.
    fn open(self) -> libbpf_rs::Result<OpenXdpSkel<'static>> {
        let mut open = objects::open::<XdpSkelBuilder>()?;
        if let Some(rodata) = open.maps.rodata_data.as_mut() {
            rodata.netns = self.netns;
            rodata.by_address = self.by_address;
            rodata.in_fragments = self.in_fragments;
        }
        if self.in_fragments {
            open.progs.nettrace_xdp.set_flags(HAS_FRAGMENTS);
            open.progs.nettrace_xdp_ip.set_flags(HAS_FRAGMENTS);
        }
        open.maps.counts.set_max_entries(u32::try_from(self.slots).unwrap_or(u32::MAX))?;
        Ok(open)
    }

    /// Of its programs those that are wanted.
    fn load(self, wants: impl Fn(&str) -> bool) -> libbpf_rs::Result<XdpSkel<'static>> {
        let mut open = self.open()?;
        for mut program in open.open_object_mut().progs_mut() {
            let is_wanted = program.name().to_str().is_some_and(&wants);
            program.set_autoload(is_wanted);
        }
        open.load()
    }
}

/// Our program on an interface.
struct Ours {
    mode: XdpMode,
    _link: OwnedFd,
    /// With its counts, if it is there that it runs.
    card: Option<Card>,
}

/// What becomes of the packets of one interface.
#[derive(Default)]
struct Place {
    /// Its number in `counts`; none if there is no room.
    slot: Option<u32>,
    ours: Option<Ours>,
    others: Vec<XdpProgram>,
    obstacle: Option<String>,
    is_veth: bool,
}

impl Place {
    /// Whether some program sees packets before they can be merged.
    fn is_in_driver(&self) -> bool {
        let of_others = self.others.iter().map(|program| program.mode);
        let mut modes = self.ours.iter().map(|ours| ours.mode).chain(of_others);
        modes.any(|mode| mode != XdpMode::Skb)
    }
}

/// The loaded and attached probe.
pub struct XdpProbe {
    wanted: Arc<Wanted>,
    mode: XdpWanted,
    settings: Settings,
    places: FxHashMap<u32, Place>,
    /// Of `counts`.
    free: Vec<u32>,
    /// By the ids of others' programs; or why they can't be watched.
    watchers: FxHashMap<u32, Result<Watcher, String>>,
    records: Vec<XdpRecord>,
    missed: MissedRuns,
    scan_at: Instant,
    choice: Choice,
    has_netns: bool,
    // Dropped before the programs that they have attached.
    taps: Option<Taps>,
    _links: Vec<Link>,
    skel: XdpSkel<'static>,
}

impl XdpProbe {
    /// Loads the probe, and attaches it to the interfaces that are wanted.
    ///
    /// # Errors
    /// [`crate::kernel::Unsupported`] where the kernel or the privileges don't allow it.
    pub fn open(options: Options) -> Result<Self> {
        const WHAT: &str = "load the XDP probe";

        let inode = options.netns.as_ref().map_or_else(netns::own, Netns::inode);
        let has_netns = options.netns.is_some();
        let wanted = Wanted::permitted(WHAT, options.netns, options.interfaces)?;
        let here = wanted.here()?;
        let slots = here.len() + SPARE_SLOTS;
        let loaded = climb(
            WHAT,
            |_| hooks::arrangements(),
            |choice| {
                let settings = Settings::of(&choice, slots, inode);
                Ok(load(settings, choice, &wanted, &here))
            },
        )?;
        let Loaded { skel, settings, choice, links, taps } = loaded;
        let mut probe = XdpProbe {
            wanted,
            mode: options.wanted,
            settings,
            places: FxHashMap::default(),
            free: (0..u32::try_from(slots).unwrap_or(u32::MAX)).rev().collect(),
            watchers: FxHashMap::default(),
            records: Vec::new(),
            missed: MissedRuns::default(),
            scan_at: Instant::now() + SCAN_AFTER,
            choice,
            has_netns,
            taps,
            _links: links,
            skel,
        };
        probe.settle(&here)?;
        Ok(probe)
    }

    /// The program before the stack, for benchmarks that run it by themselves.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.skel.progs.nettrace_xdp.as_fd()
    }

    /// The one at the stack.
    pub fn stack_program(&self) -> BorrowedFd<'_> {
        self.skel.progs.nettrace_stack.as_fd()
    }

    /// Goes by what there is now: interfaces, and programs of others.
    fn settle(&mut self, here: &[Interface]) -> Result<()> {
        let is_here = |index: u32| here.iter().any(|interface| interface.index == index);
        let gone: Vec<u32> = self.places.keys().copied().filter(|index| !is_here(*index)).collect();
        for index in gone {
            if let Some(slot) = self.places.remove(&index).and_then(|place| place.slot) {
                set_slot(&self.skel, index, 0)?;
                self.free.push(slot);
            }
        }
        let ours = self.our_ids();
        let of_others = |interface: &Interface| {
            let others = interface.xdp.iter().filter(|(_, id)| !ours.contains(id));
            others.copied().collect::<Vec<_>>()
        };
        let ids: Vec<u32> = here.iter().flat_map(of_others).map(|(_, id)| id).collect();
        self.watchers.retain(|id, _| ids.contains(id));
        for interface in here {
            self.settle_at(interface, &of_others(interface))?;
        }
        Ok(())
    }

    fn settle_at(&mut self, interface: &Interface, others: &[(XdpMode, u32)]) -> Result<()> {
        let is_new = !self.places.contains_key(&interface.index);
        let mut place = self.places.remove(&interface.index).unwrap_or_default();
        if is_new {
            place.slot = self.take_slot(interface.index)?;
            place.is_veth = interface.is_veth;
        }
        let had_others = !place.others.is_empty();
        place.others = others.iter().map(|(mode, id)| self.other(*mode, *id)).collect();
        if place.slot.is_none() {
            place.obstacle = Some("there is no room for more interfaces".to_owned());
        } else if place.ours.is_none() && !others.is_empty() {
            place.obstacle = self.watch(&place.others);
        } else if place.ours.is_none() && (is_new || had_others) {
            // What was refused once isn't tried again: a driver may start the card anew for it.
            let attached = self.attach(interface)?;
            place.obstacle = attached.as_ref().err().cloned();
            place.ours = attached.ok();
        }
        self.places.insert(interface.index, place);
        Ok(())
    }

    /// Ids of the programs that may be found on interfaces and are ours.
    fn our_ids(&self) -> Vec<u32> {
        let progs = &self.skel.progs;
        let programs = [
            &progs.nettrace_xdp,
            &progs.nettrace_xdp_ip,
            &progs.nettrace_skb,
            &progs.nettrace_skb_ip,
        ];
        let info = |program: &ProgramMut<'_>| programs::info(program.as_fd());
        programs.into_iter().filter_map(info).map(|info| info.id).collect()
    }

    fn other(&self, mode: XdpMode, id: u32) -> XdpProgram {
        let known = self.places.values().flat_map(|place| &place.others);
        let known = known.filter(|known| known.id == id).find_map(|known| known.name.clone());
        XdpProgram { id, name: known.or_else(|| others::name(id)), mode }
    }

    /// Why what these do isn't seen, if it isn't.
    fn watch(&mut self, programs: &[XdpProgram]) -> Option<String> {
        let maps = [&self.skel.maps.slots, &self.skel.maps.counts];
        let mut obstacle = None;
        for program in programs {
            let watcher = self.watchers.entry(program.id).or_insert_with(|| {
                let refused = self.choice.standings.iter().find(|it| it.datum == hooks::VERDICTS);
                if let Some(reason) = refused.and_then(Standing::reason) {
                    return Err(reason.to_string());
                }
                let open = self.settings.open().map_err(|error| error.to_string())?;
                let [slots, counts] = maps.map(MapHandle::try_from);
                let maps = slots.and_then(|slots| Ok([slots, counts?]));
                let maps = maps.map_err(|error| error.to_string())?;
                Watcher::of(program.id, open, [&maps[0], &maps[1]])
                    .map_err(|error| format!("{error:#}"))
            });
            if let Err(reason) = watcher {
                obstacle = Some(format!("{program} can't be watched: {reason}"));
            }
        }
        obstacle
    }

    fn attach(&self, interface: &Interface) -> Result<Result<Ours, String>> {
        if self.mode == XdpWanted::Only(XdpMode::Hw) {
            return self.attach_to_card(interface);
        }
        let progs = &self.skel.progs;
        let programs = match interface.has_link_header {
            true => [&progs.nettrace_xdp, &progs.nettrace_skb],
            false => [&progs.nettrace_xdp_ip, &progs.nettrace_skb_ip],
        };
        let [native, skb] = programs.map(|program| program.as_fd().as_raw_fd());
        let program = move |mode| if mode == XdpMode::Skb { skb } else { native };
        let (index, mode) = (interface.index, self.mode);
        let attached = self.wanted.within(|| Ok(attach::attach(program, index, mode)))?;
        Ok(attached.map(|(mode, link)| Ours { mode, _link: link, card: None }))
    }

    fn attach_to_card(&self, interface: &Interface) -> Result<Result<Ours, String>> {
        let (index, mode) = (interface.index, self.mode);
        self.wanted.within(|| {
            let card = match Card::load(index) {
                Ok(card) => card,
                Err(error) => return Ok(Err(format!("hw: {}", kernel::refused(&error)))),
            };
            let attached = attach::attach(|_| card.program(), index, mode);
            Ok(attached.map(|(mode, link)| Ours { mode, _link: link, card: Some(card) }))
        })
    }

    /// One with all counts at 0; none if there is no more.
    fn take_slot(&mut self, index: u32) -> Result<Option<u32>> {
        if index >= self.skel.maps.slots.max_entries() {
            return Ok(None);
        }
        let Some(slot) = self.free.pop() else { return Ok(None) };
        let zeros = vec![vec![0; size_of::<XdpCounts>()]; libbpf_rs::num_possible_cpus()?];
        let cleared =
            self.skel.maps.counts.update_percpu(&slot.to_ne_bytes(), &zeros, MapFlags::ANY);
        cleared.context("clear an interface's counts")?;
        set_slot(&self.skel, index, slot + 1)?;
        Ok(Some(slot))
    }

    fn counts_at(&self, place: &Place) -> Result<XdpCounts> {
        let mut counts = place.slot.map(|slot| self.counts(slot)).transpose()?.unwrap_or_default();
        if let Some(card) = place.ours.as_ref().and_then(|ours| ours.card.as_ref()) {
            card.add_to(&mut counts)?;
        }
        Ok(counts)
    }

    fn counts(&self, slot: u32) -> Result<XdpCounts> {
        let key = slot.to_ne_bytes();
        let cpus = self.skel.maps.counts.lookup_percpu(&key, MapFlags::ANY);
        let cpus = cpus.context("read an interface's counts")?.unwrap_or_default();
        let mut sum = XdpCounts::default();
        for bytes in cpus {
            let mut cpu = XdpCounts::default();
            cpu.copy_from_bytes(&bytes).map_err(|error| anyhow!("counts: {error:?}"))?;
            sum.add(&cpu);
        }
        Ok(sum)
    }
}

/// Numbers of an interface in `counts` begin with 1; 0 is none.
fn set_slot(skel: &XdpSkel<'static>, index: u32, number: u32) -> Result<()> {
    let (key, value) = (index.to_ne_bytes(), number.to_ne_bytes());
    skel.maps.slots.update(&key, &value, MapFlags::ANY).context("say which interface is watched")
}

/// What an attempt comes to.
struct Loaded {
    skel: XdpSkel<'static>,
    settings: Settings,
    choice: Choice,
    links: Vec<Link>,
    taps: Option<Taps>,
}

fn load(
    settings: Settings,
    choice: Choice,
    wanted: &Arc<Wanted>,
    here: &[Interface],
) -> Result<Loaded, Failure> {
    let is_chosen = |program: &str| {
        program != hooks::WATCHER && choice.hooks().any(|hook| hook.program == program)
    };
    // An older kernel knows nothing of fragments, and says so.
    let with_fragments = Settings { in_fragments: true, ..settings };
    let (skel, settings) = match with_fragments.load(is_chosen) {
        Ok(skel) => (skel, with_fragments),
        Err(_) => match settings.load(is_chosen) {
            Ok(skel) => (skel, settings),
            Err(error) => return Err(Failure::of_loading(&choice, error)),
        },
    };
    let mut links = Vec::new();
    for hook in choice.hooks() {
        let link = match hook.rung {
            Rung::TpBtf | Rung::RawTp => attach_tracepoint(&skel, hook),
            Rung::Fexit => try_to_watch(&skel, settings).map(|()| None),
            _ => Ok(None),
        };
        links.extend(link.map_err(|error| Failure { hook: Some(*hook), error })?);
    }
    let taps = choice.has(hooks::STACK).then(|| {
        let programs = Programs::of_ingress(&skel.progs.nettrace_stack);
        Taps::attach(wanted, &choice, programs, here, |_| Ok(()))
    });
    let taps = taps.transpose()?;
    Ok(Loaded { skel, settings, choice, links, taps })
}

fn attach_tracepoint(skel: &XdpSkel<'static>, hook: &Hook) -> libbpf_rs::Result<Option<Link>> {
    let program = skel.object().progs_mut().find(|program| program.name() == hook.program);
    let Some(program) = program else { return Ok(None) };
    match hook.rung {
        Rung::RawTp => program.attach_raw_tracepoint(hook.target),
        _ => program.attach_trace(),
    }
    .map(Some)
}

/// Whether others' programs can be watched, tried with ours, which isn't attached to anything yet.
fn try_to_watch(skel: &XdpSkel<'static>, settings: Settings) -> libbpf_rs::Result<()> {
    let mut open = settings.open()?;
    for mut program in open.open_object_mut().progs_mut() {
        program.set_autoload(program.name() == hooks::WATCHER);
    }
    let fd = skel.progs.nettrace_xdp.as_fd().as_raw_fd();
    open.progs.others_verdict.set_attach_target(fd, Some("nettrace_xdp".to_owned()))?;
    open.load()?.progs.others_verdict.attach_trace().map(drop)
}

impl Probe for XdpProbe {
    fn backlog_after(&self) -> Option<Duration> {
        Some(SCAN_AFTER)
    }

    fn read_backlog(&mut self) -> Result<()> {
        self.look_around()
    }

    /// Looks for interfaces and programs of others that came and went.
    fn look_around(&mut self) -> Result<()> {
        if let Some(taps) = &mut self.taps {
            taps.scan(|_| Ok(()))?;
        }
        if Instant::now() < self.scan_at {
            return Ok(());
        }
        self.scan_at = Instant::now() + SCAN_AFTER;
        let here = self.wanted.here()?;
        self.settle(&here)
    }

    fn read(&mut self) -> Result<()> {
        self.records.clear();
        for (index, place) in &self.places {
            self.records.push(XdpRecord {
                interface: *index,
                wanted: self.mode,
                mode: place.ours.as_ref().map(|ours| ours.mode),
                others: place.others.clone(),
                obstacle: place.obstacle.clone(),
                has_stack: self.taps.is_some(),
                seen_in_pieces: !place.is_in_driver(),
                // A veth's driver neither splits nor merges, unless it has a program.
                counted_in_pieces: place.is_veth && !place.is_in_driver(),
                counts: self.counts_at(place)?,
            });
        }
        Ok(())
    }

    fn fill<'a>(&'a self, sample: &mut Sample<'a>) {
        sample.xdp = &self.records;
    }

    fn losses(&self) -> Vec<(&'static str, u64)> {
        let watchers = self.watchers.values().filter_map(|watcher| watcher.as_ref().ok());
        let objects = || {
            let watchers = watchers.clone().map(|watcher| watcher.skel.object());
            watchers.chain([self.skel.object()])
        };
        let missed = || {
            let runs = objects().flat_map(programs::missed_runs);
            runs.map(|(_, missed)| missed).sum()
        };
        vec![(HOOK_REENTERED, self.missed.settle(missed))]
    }

    fn run_time_ns(&self) -> Option<u64> {
        let watchers = self.watchers.values().filter_map(|watcher| watcher.as_ref().ok());
        let watchers = watchers.filter_map(|watcher| programs::run_time_ns(watcher.skel.object()));
        Some(programs::run_time_ns(self.skel.object())? + watchers.sum::<u64>())
    }

    fn standings(&self) -> &[Standing] {
        &self.choice.standings
    }

    /// Interfaces and programs of others come and go; these are opened by their ids, and watched.
    fn capabilities(&self) -> Vec<Capability> {
        let mut needed = vec![Capability::CAP_BPF, Capability::CAP_NET_ADMIN];
        if self.has_netns || self.choice.has(hooks::VERDICTS) {
            needed.push(Capability::CAP_SYS_ADMIN);
        }
        if self.choice.has(hooks::VERDICTS) {
            needed.push(Capability::CAP_PERFMON);
        }
        needed
    }
}

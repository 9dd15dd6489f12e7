//! Loads and attaches the drop probe.

use std::mem::size_of;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, Skel};
use libbpf_rs::{Link, MapCore, MapFlags};

use super::Options;
use super::hooks::{BY_ADDRESS, GROUP, arrangements};
use super::skel::types::drop_event;
use super::skel::{DropsSkel, DropsSkelBuilder, OpenDropsSkel};
use crate::btf::Btf;
use crate::kernel::{self, Reason, Unsupported};
use crate::probes::climb::{Failure, climb};
use crate::probes::ladder::{Choice, Hook, Rung};
use crate::probes::{objects, perf, programs};

/// What this kernel's tracepoints tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    reasons: bool,
    receiver: bool,
    retransmit_err: bool,
}

impl Told {
    pub(super) fn by(btf: &Btf) -> Self {
        let has = |name, number| kernel::tracepoint_args(btf, name) >= Some(number);
        Told {
            reasons: has("kfree_skb", 3),
            receiver: has("kfree_skb", 4),
            retransmit_err: has("tcp_retransmit_skb", 3),
        }
    }
}

/// The probe, loaded and attached.
pub(super) struct Loaded {
    pub(super) skel: DropsSkel<'static>,
    pub(super) links: Vec<Link>,
    pub(super) choice: Choice,
}

/// Loads and attaches the best that this kernel allows.
///
/// # Errors
/// [`crate::kernel::Unsupported`] where drops can't be had.
pub(super) fn load(options: &Options, told: Told) -> Result<Loaded> {
    let arrangements = |is_preempted| arrangements(is_preempted, &options.kinds);
    if options.filter.is_some() && kernel::is_confidential() {
        let what = "programs to read memory by its address";
        return Err(
            Unsupported::new("read packets for the filter", Reason::Lockdown { what }).into()
        );
    }
    climb("load the drop probe", arrangements, |choice| {
        if reads_by_address(&choice) && kernel::is_confidential() {
            // Linux 5.10 loads such programs all the same, and has them read nothing.
            let error = libbpf_rs::Error::from_raw_os_error(libc::EPERM);
            return Ok(Err(Failure { hook: choice.hooks().next().copied(), error }));
        }
        let skel = match prepare(options, told, &choice).and_then(OpenSkel::load) {
            Ok(skel) => skel,
            Err(error) => return Ok(Err(Failure::of_loading(&choice, error))),
        };
        for (kind, reason) in options.reasons.iter().flatten() {
            let key = u64::from(kind.number()) << 32 | u64::from(*reason);
            let set = skel.maps.reasons.update(&key.to_ne_bytes(), &[1], MapFlags::ANY);
            set.context("set the reasons to watch")?;
        }
        Ok(attach(skel, choice))
    })
}

/// Perf hands over no typed pointers.
fn reads_by_address(choice: &Choice) -> bool {
    choice.arrangement == BY_ADDRESS || choice.hooks().any(|hook| hook.rung == Rung::Perf)
}

fn attach(skel: DropsSkel<'static>, choice: Choice) -> Result<Loaded, Failure> {
    let mut links = Vec::new();
    for hook in choice.hooks() {
        let link = attach_hook(&skel, hook);
        links.push(link.map_err(|error| Failure { hook: Some(*hook), error })?);
    }
    Ok(Loaded { skel, links, choice })
}

fn attach_hook(skel: &DropsSkel<'static>, hook: &Hook) -> libbpf_rs::Result<Link> {
    let mut programs = skel.object().progs_mut();
    let program = programs.find(|program| program.name() == hook.program);
    let program = program.ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::ENOENT))?;
    if hook.rung != Rung::Perf {
        return program.attach_trace();
    }
    let event: OwnedFd = perf::open_tracepoint(GROUP, hook.target)?;
    let link = program.attach_perf_event(event.as_raw_fd())?;
    // Its link closes it.
    let _ = event.into_raw_fd();
    Ok(link)
}

/// The object with all settings, before the kernel sees it.
pub(super) fn prepare(
    options: &Options,
    told: Told,
    choice: &Choice,
) -> libbpf_rs::Result<OpenDropsSkel<'static>> {
    let mut open = objects::open::<DropsSkelBuilder>()?;
    configure(&mut open, options, told, choice)?;
    Ok(open)
}

/// Room for what may come in a second, which may be at once.
fn ring_bytes(events_per_second: Option<u64>) -> u32 {
    const LEAST: u64 = 1 << 12;
    const MOST: u64 = 1 << 26;

    let record = size_of::<drop_event>() as u64 + 8;
    let bytes = events_per_second.unwrap_or(0).saturating_mul(record).clamp(LEAST, MOST);
    // Below 2^27.
    bytes.next_power_of_two() as u32
}

fn configure(
    open: &mut OpenDropsSkel<'static>,
    options: &Options,
    told: Told,
    choice: &Choice,
) -> libbpf_rs::Result<()> {
    let ring_bytes = options.ring_bytes.unwrap_or_else(|| ring_bytes(options.events_per_second));
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        rodata.by_address = reads_by_address(choice);
        rodata.reads_memory = !kernel::is_confidential();
        rodata.has_reasons = told.reasons;
        rodata.has_receiver = told.receiver;
        rodata.has_retransmit_err = told.retransmit_err;
        rodata.only_reasons = options.reasons.is_some();
        rodata.netns = options.netns;
        if let Some(filter) = &options.filter {
            rodata.filter_on = true;
            rodata.filter_reach = filter.reach();
        }
        if let Some(name) = &options.interface {
            rodata.only_interface = true;
            for (to, from) in rodata.interface.iter_mut().zip(name.bytes()) {
                *to = from as _;
            }
        }
        if let Some(limit) = options.events_per_second {
            rodata.with_events = true;
            rodata.events_per_second = limit;
        }
        rodata.ring_wakeup = u64::from(ring_bytes) / 4;
    }
    open.maps.drop_events.set_max_entries(ring_bytes)?;
    if let Some(entries) = options.entries {
        open.maps.drops.set_max_entries(entries)?;
    }
    if let Some(filter) = &options.filter {
        programs::put_filter(open.open_object_mut(), filter)?;
    }
    programs::load_chosen(open.open_object_mut(), choice);
    Ok(())
}

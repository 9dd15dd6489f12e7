//! Loads and attaches the socket probe, rung by rung, until what is left works.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, Skel};
use libbpf_rs::{IterOpts, Link, MapCore, MapFlags, ProgramMut};

use super::Options;
use super::hooks::{BY_ADDRESS, arrangements};
use super::skel::{OpenSocketsSkel, SocketsSkel, SocketsSkelBuilder};
use crate::kernel;
use crate::probes::climb::{Failure, climb};
use crate::probes::ladder::{Choice, Hook, Rung};
use crate::probes::{SECOND, objects, programs};

/// A connection on loopback is four events, of 300 bytes each.
const EVENTS_RING_BYTES: u32 = 4 << 20;

/// The probe, loaded and attached.
pub(super) struct Loaded {
    pub(super) skel: SocketsSkel<'static>,
    /// The walk over all open files, where it can be had.
    pub(super) seed_link: Option<Link>,
    /// The walk over all tags.
    pub(super) read_link: Link,
    pub(super) links: Vec<Link>,
    pub(super) choice: Choice,
}

/// Loads and attaches the best that this kernel allows.
///
/// # Errors
/// [`crate::kernel::Unsupported`] where even the table of sockets can't be had.
pub(super) fn load(options: &Options) -> Result<Loaded> {
    let arrangements = |is_preempted| arrangements(options, is_preempted);
    climb("load the socket probe", arrangements, |choice| attempt(options, choice))
}

fn attempt(options: &Options, choice: Choice) -> Result<Result<Loaded, Failure>> {
    let skel = match open(options, &choice) {
        Ok(skel) => skel,
        Err(error) => return Ok(Err(Failure::of_loading(&choice, error))),
    };
    for pid in &options.pids {
        let followed = skel.maps.tree.update(&pid.to_ne_bytes(), &[1], MapFlags::ANY);
        followed.with_context(|| format!("follow process {pid}"))?;
    }
    Ok(attach(skel, choice))
}

fn attach(skel: SocketsSkel<'static>, choice: Choice) -> Result<Loaded, Failure> {
    let mut links = Vec::new();
    let (mut seed_link, mut read_link) = (None, None);
    for hook in choice.hooks() {
        let mut progs = skel.object().progs_mut();
        let Some(program) = progs.find(|program| program.name() == hook.program) else {
            return Err(libbpf_rs::Error::from_raw_os_error(libc::ENOENT).into());
        };
        let link = attach_hook(&skel, &program, hook);
        let link = link.map_err(|error| Failure { hook: Some(*hook), error })?;
        match hook.target {
            "task_file" => seed_link = Some(link),
            "bpf_sk_storage_map" | "bpf_map_elem" => read_link = Some(link),
            _ => links.push(link),
        }
    }
    let read_link = read_link.ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::ENOENT))?;
    Ok(Loaded { skel, seed_link, read_link, links, choice })
}

fn attach_hook(
    skel: &SocketsSkel<'static>,
    program: &ProgramMut<'_>,
    hook: &Hook,
) -> libbpf_rs::Result<Link> {
    match (hook.rung, hook.target) {
        (Rung::Kprobe, target) => program.attach_kprobe(hook.at_return, target),
        (Rung::RawTp, target) => program.attach_raw_tracepoint(target),
        (Rung::Iter, "bpf_sk_storage_map") => program.attach_iter(skel.maps.tags.as_fd()),
        (Rung::Iter, "bpf_map_elem") => program.attach_iter(skel.maps.addresses.as_fd()),
        (Rung::Iter, _) => program.attach_iter_with_opts(IterOpts::None),
        _ => program.attach_trace(),
    }
}

fn open(options: &Options, choice: &Choice) -> libbpf_rs::Result<SocketsSkel<'static>> {
    prepare(options, choice)?.load()
}

/// The object with all settings, before the kernel sees it.
pub(super) fn prepare(
    options: &Options,
    choice: &Choice,
) -> libbpf_rs::Result<OpenSocketsSkel<'static>> {
    let mut open = objects::open::<SocketsSkelBuilder>()?;
    configure(&mut open, options, choice)?;
    Ok(open)
}

fn configure(
    open: &mut OpenSocketsSkel<'static>,
    options: &Options,
    choice: &Choice,
) -> libbpf_rs::Result<()> {
    let by_address = choice.arrangement == BY_ADDRESS;
    let hooks: Vec<&Hook> = choice.hooks().collect();
    let ring_bytes = options.ring_bytes.or(options.events.map(|_| EVENTS_RING_BYTES));
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        rodata.only_netns = options.netns;
        rodata.only_tree = !options.pids.is_empty();
        rodata.with_unix = options.unix;
        rodata.by_address = by_address;
        rodata.reads_memory = !kernel::is_confidential();
        rodata.in_pairs = hooks.iter().any(|hook| hook.program.ends_with(SECOND));
        rodata.only_owners = options.only_owners;
        rodata.only_listeners = options.only_listeners;
        rodata.with_births = options.events.is_some();
        if let Some(bytes) = ring_bytes {
            rodata.ring_wakeup = u64::from(bytes) / 4;
        }
    }
    if let Some(bytes) = ring_bytes {
        open.maps.socket_events.set_max_entries(bytes)?;
    }
    let has_kprobes = hooks.iter().any(|hook| hook.rung == Rung::Kprobe);
    if has_kprobes {
        // Before Linux 6.1 a kprobe must not allocate.
        open.maps.usage.set_map_flags(0)?;
        open.maps.addresses.set_map_flags(0)?;
        open.maps.tree.set_map_flags(0)?;
    } else {
        open.maps.calls.set_max_entries(1)?;
    }
    if !by_address {
        open.maps.addresses.set_max_entries(1)?;
    }
    programs::load_chosen(open.open_object_mut(), choice);
    Ok(())
}

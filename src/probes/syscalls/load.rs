//! Loads and attaches the system-call probe.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, Skel};
use libbpf_rs::{Link, MapCore, MapFlags};

use super::Options;
use super::hooks::{BY_THREAD, GROUP, arrangements};
use super::skel::{OpenSyscallsSkel, SyscallsSkel, SyscallsSkelBuilder, types};
use crate::kernel;
use crate::names::syscalls::{Abi, Call};
use crate::probes::climb::{Failure, climb};
use crate::probes::ladder::{Choice, Hook, Rung};
use crate::probes::{SECOND, objects, perf, programs};

/// Threads in a table that is made whole at the start.
const THREADS_BY_PERF: u32 = 1 << 14;

/// The probe, loaded; attached once there are slots.
pub(super) struct Loaded {
    pub(super) skel: SyscallsSkel<'static>,
    pub(super) choice: Choice,
    /// Perf's events, for the hooks of that rung in their order.
    pub(super) events: Vec<OwnedFd>,
}

/// Loads the best that this kernel allows.
///
/// # Errors
/// [`crate::kernel::Unsupported`] where system calls can't be counted.
pub(super) fn load(options: &Options) -> Result<Loaded> {
    let arrangements = |is_preempted| arrangements(options, is_preempted);
    climb("load the system-call probe", arrangements, |choice| {
        // Asked for before the rest is loaded, since it may not be there.
        let events = match open_events(&choice) {
            Ok(events) => events,
            Err(failure) => return Ok(Err(failure)),
        };
        let skel = match prepare(options, &choice).and_then(OpenSkel::load) {
            Ok(skel) => skel,
            Err(error) => return Ok(Err(Failure::of_loading(&choice, error))),
        };
        fill_scope(&skel, options)?;
        Ok(Ok(Loaded { skel, choice, events }))
    })
}

/// Attaches what was loaded, in the ladder's order.
///
/// # Errors
/// What the kernel says.
pub(super) fn attach(
    skel: &SyscallsSkel<'static>,
    choice: &Choice,
    events: Vec<OwnedFd>,
) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    let mut events = events.into_iter();
    // What ends is hooked first, and of calls the end: what is seen to begin will be seen to end.
    let (calls, others): (Vec<&Hook>, Vec<&Hook>) =
        choice.hooks().partition(|hook| hook.target.starts_with("sys_"));
    for hook in others.into_iter().chain(calls) {
        let mut programs = skel.object().progs_mut();
        let program = programs.find(|program| program.name() == hook.program);
        let event = if hook.rung == Rung::Perf { events.next() } else { None };
        let link = program.map(|program| match event {
            Some(event) => {
                let link = program.attach_perf_event(event.as_raw_fd())?;
                // Its link closes it.
                let _ = event.into_raw_fd();
                Ok(link)
            }
            None => program.attach_trace(),
        });
        links.extend(link.transpose().with_context(|| format!("attach to {}", hook.target))?);
    }
    Ok(links)
}

fn open_events(choice: &Choice) -> Result<Vec<OwnedFd>, Failure> {
    let hooks = choice.hooks().filter(|hook| hook.rung == Rung::Perf);
    let event = |hook: &Hook| {
        perf::open_tracepoint(GROUP, hook.target)
            .map_err(|error| Failure { hook: Some(*hook), error: error.into() })
    };
    hooks.map(event).collect()
}

/// The object with all settings, before the kernel sees it.
pub(super) fn prepare(
    options: &Options,
    choice: &Choice,
) -> libbpf_rs::Result<OpenSyscallsSkel<'static>> {
    let mut open = objects::open::<SyscallsSkelBuilder>()?;
    configure(&mut open, options, choice)?;
    Ok(open)
}

fn configure(
    open: &mut OpenSyscallsSkel<'static>,
    options: &Options,
    choice: &Choice,
) -> libbpf_rs::Result<()> {
    let by_thread = choice.arrangement == BY_THREAD;
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        rodata.count_only = options.count_only;
        rodata.errors_only = options.errors_only;
        rodata.by_thread = by_thread;
        rodata.reads_memory = !kernel::is_confidential();
        rodata.in_pairs = choice.hooks().any(|hook| hook.program.ends_with(SECOND));
        rodata.only_tree = options.only_tree();
        rodata.only_comms = !options.comms.is_empty();
        rodata.only_uids = !options.uids.is_empty();
        rodata.only_cgroups = !options.cgroups.is_empty();
        rodata.has_scope =
            rodata.only_tree || rodata.only_comms || rodata.only_uids || rodata.only_cgroups;
        rodata.slower_than_ns = options.slower_than_ns;
        rodata.with_stacks = options.stacks;
        if let Some(bytes) = options.ring_bytes {
            rodata.ring_wakeup = u64::from(bytes) / 4;
        }
        if let Some(calls) = &options.calls {
            rodata.only_wanted = true;
            calls.iter().for_each(|call| set_wanted(&mut rodata.wanted, *call));
        }
    }
    if let Some(bytes) = options.ring_bytes {
        open.maps.slow_calls.set_max_entries(bytes)?;
    }
    if by_thread {
        open.maps.storage.set_autocreate(false)?;
        open.maps.sleeps.set_autocreate(false)?;
    } else {
        open.maps.threads.set_max_entries(1)?;
    }
    if by_thread && choice.hooks().any(|hook| hook.rung == Rung::Perf) {
        // Kernels as old as that don't like perf's programs to allocate.
        open.maps.threads.set_map_flags(0)?;
        open.maps.threads.set_max_entries(THREADS_BY_PERF)?;
        open.maps.sleeps_by_thread.set_map_flags(0)?;
        open.maps.sleeps_by_thread.set_max_entries(THREADS_BY_PERF)?;
        open.maps.errnos.set_map_flags(0)?;
        open.maps.further.set_map_flags(0)?;
        open.maps.tree.set_map_flags(0)?;
        open.maps.comms.set_map_flags(0)?;
        open.maps.uids.set_map_flags(0)?;
        open.maps.cgroups.set_map_flags(0)?;
    }
    if !(by_thread && options.stacks) {
        open.maps.sleeps_by_thread.set_max_entries(1)?;
    }
    programs::load_chosen(open.open_object_mut(), choice);
    Ok(())
}

fn set_wanted(wanted: &mut [[u64; 16]; 2], call: Call) {
    let table = &mut wanted[usize::from(call.abi == Abi::Compat)];
    if let Some(bits) = table.get_mut(call.number as usize / 64) {
        *bits |= 1 << (call.number % 64);
    }
}

fn fill_scope(skel: &SyscallsSkel<'static>, options: &Options) -> Result<()> {
    let maps = &skel.maps;
    let follow = |pid: u32, how: types::follow| {
        let followed = maps.tree.update(&pid.to_ne_bytes(), &[how.0 as u8], MapFlags::ANY);
        followed.with_context(|| format!("follow process {pid}"))
    };
    for pid in &options.pids {
        follow(*pid, types::follow::FOLLOW)?;
    }
    if let Some(pid) = options.held {
        follow(pid, types::follow::FOLLOW_HELD)?;
    }
    for name in &options.comms {
        let mut comm = [0; 16];
        // What is longer than the kernel's names is cut there too.
        let bytes = name.as_bytes();
        let len = bytes.len().min(comm.len() - 1);
        comm[..len].copy_from_slice(&bytes[..len]);
        maps.comms.update(&comm, &[1], MapFlags::ANY).context("set the names to watch")?;
    }
    for (id, is_watched) in &options.cgroups {
        // Those that find no room are judged as they are seen.
        let _ = maps.cgroups.update(&id.to_ne_bytes(), &[u8::from(*is_watched)], MapFlags::ANY);
    }
    for uid in &options.uids {
        let key = uid.to_ne_bytes();
        maps.uids.update(&key, &[1], MapFlags::ANY).context("set the users to watch")?;
    }
    Ok(())
}

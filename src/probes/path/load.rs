//! Loads the path probe and attaches it.

use std::fs;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use libbpf_rs::skel::{OpenSkel, Skel};
use libbpf_rs::{Link, ProgramMut};

use super::attach::{Attached, Place, Progress};
use super::hooks::{COPIED, GROUP, STEPS, arrangements};
use super::skel::{OpenPathSkel, PathSkel, PathSkelBuilder};
use super::{Options, functions, types};
use crate::btf::Btf;
use crate::kernel::{self, Reason, Unsupported};
use crate::packet::filter::{Filter, LinkType};
use crate::probes::climb::{Failure, climb};
use crate::probes::ladder::{Choice, Hook, Rung};
use crate::probes::{objects, perf, programs};
use crate::run::Usage;
use crate::tracefs::Tracefs;

/// Functions that are watched one by one, unless options say otherwise: each takes some milliseconds to
/// attach, and more to detach.
const PROBES: usize = 100;

/// Room for steps: some ten thousand of them without stacks.
const RING_BYTES: u32 = 4 << 20;

/// Tracepoints at which packets end, which have programs of their own.
const ENDS: [&str; 2] = ["kfree_skb", "consume_skb"];

/// What this kernel's tracepoints tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) reasons: bool,
    location: bool,
}

impl Told {
    pub(super) fn by(btf: &Btf) -> Self {
        let has = |name, number| kernel::tracepoint_args(btf, name) >= Some(number);
        Told { reasons: has("kfree_skb", 3), location: has("consume_skb", 2) }
    }
}

/// The probe, loaded and attached.
pub(super) struct Loaded {
    pub(super) skel: PathSkel<'static>,
    pub(super) choice: Choice,
    pub(super) attached: Attached,
    pub(super) left_out: usize,
    /// How long it took to attach to all functions, once the program was loaded and they were known.
    pub(super) took: Duration,
    pub(super) _links: Vec<Link>,
}

/// Loads and attaches the best that this kernel allows.
///
/// # Errors
/// [`Usage`] if no function is as the patterns; [`Unsupported`] where packets can't be followed.
pub(super) fn load(options: &Options, told: Told, progress: Progress<'_>) -> Result<Loaded> {
    if kernel::is_confidential() {
        let why = Reason::Lockdown { what: "BPF to read kernel memory by its address" };
        return Err(Unsupported::new("follow packets", why).into());
    }
    climb("follow packets", arrangements, |choice| {
        let skel = match prepare(options, told, &choice).and_then(OpenSkel::load) {
            Ok(skel) => skel,
            Err(error) => return Ok(Err(Failure::of_loading(&choice, error))),
        };
        attach(skel, choice, options, progress)
    })
}

fn attach(
    skel: PathSkel<'static>,
    choice: Choice,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Result<Loaded, Failure>> {
    let mut links = Vec::new();
    let mut steps = None;
    for hook in choice.hooks() {
        let mut programs = skel.object().progs_mut();
        let Some(program) = programs.find(|program| program.name() == hook.program) else {
            bail!("no program {}", hook.program);
        };
        if is_of_steps(&choice, hook) {
            steps = Some((program, *hook));
            continue;
        }
        match attach_hook(&program, hook) {
            Ok(link) => links.push(link),
            Err(error) => return Ok(Err(Failure { hook: Some(*hook), error })),
        }
    }
    let Some((program, hook)) = steps else { bail!("no way to see functions was chosen") };
    let (places, left_out) = places(options, hook.rung, choice.has(COPIED))?;
    let begin = Instant::now();
    let attached = match Attached::new(&program, hook.rung, places, progress) {
        Ok(attached) if attached.count() > 0 => attached,
        Ok(_) => {
            let error = libbpf_rs::Error::from_raw_os_error(libc::ENOENT);
            return Ok(Err(Failure { hook: Some(hook), error }));
        }
        Err(error) => return Ok(Err(Failure { hook: Some(hook), error })),
    };
    Ok(Ok(Loaded { took: begin.elapsed(), skel, choice, attached, left_out, _links: links }))
}

fn is_of_steps(choice: &Choice, hook: &Hook) -> bool {
    let of_it = choice.standings.iter().find(|standing| standing.datum == STEPS);
    of_it.and_then(|standing| standing.way.as_ref()).is_some_and(|way| way.hooks.contains(hook))
}

fn attach_hook(program: &ProgramMut<'_>, hook: &Hook) -> libbpf_rs::Result<Link> {
    if hook.rung != Rung::Perf {
        return program.attach_trace();
    }
    let event: OwnedFd = perf::open_tracepoint(GROUP, hook.target)?;
    let link = program.attach_perf_event(event.as_raw_fd())?;
    // Its link closes it.
    let _ = event.into_raw_fd();
    Ok(link)
}

/// What the rung's program is attached to, and how many functions there is no room for.
fn places(options: &Options, rung: Rung, has_copies: bool) -> Result<(Vec<Place>, usize)> {
    let btf = kernel::btf()?;
    let patterns = &options.functions;
    if rung == Rung::RawTp {
        let mut takers = types::tracepoints(&btf);
        takers.retain(|taker| !ENDS.contains(&taker.name.as_str()));
        let choice = functions::choose(takers, None, patterns, false, options.most_probes);
        check(patterns, &choice, "tracepoints")?;
        let places = choice.steps.into_iter().map(|taker| Place { taker, is_end: false });
        return Ok((places.collect(), choice.left_out));
    }
    let mut takers = types::functions(&btf);
    if rung == Rung::Fentry {
        // A program would have to be bound to a module's types.
        takers.retain(|taker| taker.id.is_some());
    }
    // All are tried where it can't be read.
    let tracefs = Tracefs::open();
    let list = tracefs
        .and_then(|tracefs| fs::read_to_string(tracefs.path().join("available_filter_functions")))
        .ok();
    let names = list.as_deref().map(functions::names);
    let most = match rung {
        Rung::KprobeMulti => options.most_probes,
        _ => Some(options.most_probes.unwrap_or(PROBES)),
    };
    let choice = functions::choose(takers, names.as_ref(), patterns, has_copies, most);
    check(patterns, &choice, "functions")?;
    let steps = choice.steps.into_iter().map(|taker| Place { taker, is_end: false });
    let ends = choice.ends.into_iter().map(|taker| Place { taker, is_end: true });
    Ok((steps.chain(ends).collect(), choice.left_out))
}

fn check(patterns: &[String], choice: &functions::Choice, what: &str) -> Result<()> {
    if choice.steps.is_empty() && !patterns.is_empty() {
        let patterns = patterns.join(",");
        let words = format!(
            "--functions {patterns}: no {what} of this kernel that take a packet are called so; write * for \
             any part, as in 'ip_*,nf_*'"
        );
        return Err(Usage(words).into());
    }
    Ok(())
}

/// The object with all settings, before the kernel sees it.
pub(super) fn prepare(
    options: &Options,
    told: Told,
    choice: &Choice,
) -> libbpf_rs::Result<OpenPathSkel<'static>> {
    let mut open = objects::open::<PathSkelBuilder>()?;
    let filter = options.filter.as_ref();
    let ring_bytes = options.ring_bytes.unwrap_or(RING_BYTES);
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        rodata.by_address = true;
        rodata.reads_memory = true;
        rodata.has_reasons = told.reasons;
        rodata.has_location = told.location;
        rodata.with_stacks = options.stacks;
        rodata.by_tracepoints = choice.hooks().any(|hook| hook.rung == Rung::RawTp);
        rodata.netns = options.netns;
        rodata.ring_wakeup = u64::from(ring_bytes) / 4;
        rodata.most_packets = options.most_packets.unwrap_or(0);
        rodata.filter_on = filter.is_some();
        rodata.filter_raw = filter.is_some_and(|filter| filter.link() == LinkType::Raw);
        rodata.filter_reach = filter.map_or(0, Filter::reach);
    }
    open.maps.path_events.set_max_entries(ring_bytes)?;
    if let Some(filter) = filter {
        let install = filter.install(open.open_object_mut());
        install.map_err(|error| libbpf_rs::Error::from(std::io::Error::other(error)))?;
    }
    programs::load_chosen(open.open_object_mut(), choice);
    Ok(open)
}

//! What this kernel's verifier says of each program of each probe, loaded alone. Tests hold it against
//! a list; nettrace itself has no use for it.

use anyhow::{Context, Result};
use libbpf_rs::OpenObject;
use libbpf_rs::skel::OpenSkel;

use super::ladder::{Arrangement, Choice, Datum, Hook, Rung, Standing, Way};
use super::{capture, drops, flows, path, sockets, syscalls, xdp};
use crate::btf::Btf;
use crate::kernel;
use crate::packet::filter::{Filter, LinkType};

/// The verifier's log levels: a summary, and each step.
const SUMMARY: u32 = 4;
const STEPS: u32 = 1;

/// A program in one of its probe's arrangements.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its object's name.
    pub object: &'static str,
    /// Where the probe knows sockets or threads by (`storage`, `address` or `thread`), how it reads
    /// (`typed`, `address`), or what it counts (`packet`).
    pub arrangement: &'static str,
    /// Its name in `<object>.bpf.c`.
    pub program: &'static str,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was loaded.
    Loaded {
        /// Instructions that the verifier went through, each as often as it did.
        instructions: u64,
    },
    /// This kernel doesn't have what it is attached to, or a helper that it calls.
    Absent,
    /// The kernel doesn't permit it, whatever the program does.
    Refused,
    /// The verifier, or libbpf before it, found fault with it.
    Failed {
        /// What they said.
        log: String,
    },
}

/// How an object is opened with all settings of a choice, changed, and loaded.
pub(super) type Load =
    Box<dyn Fn(&Choice, &mut dyn FnMut(&mut OpenObject)) -> libbpf_rs::Result<()>>;

/// Loads what was opened, changed.
pub(super) fn load_changed<'a>(
    mut open: impl OpenSkel<'a>,
    change: &mut dyn FnMut(&mut OpenObject),
) -> libbpf_rs::Result<()> {
    change(open.open_object_mut());
    open.load().map(|_| ())
}

/// One of a probe's arrangements, with everything switched on.
pub(super) struct Subject {
    pub(super) object: &'static str,
    /// The arrangement's name ...
    pub(super) name: &'static str,
    /// ... and number.
    pub(super) number: usize,
    pub(super) arrangement: Arrangement,
    pub(super) load: Load,
}

/// An expression that looks as far as usual ones do, and behind headers of any length.
pub(super) fn filter() -> Option<Filter> {
    const USUAL: &str = "(tcp port 443 and not net 10.0.0.0/8) or host fd00::1 or icmp";

    Filter::compile(USUAL, LinkType::Ethernet).ok()
}

pub(super) fn subjects(in_pairs: bool) -> impl Iterator<Item = Subject> {
    let probes = [
        sockets::subjects(in_pairs),
        syscalls::subjects(in_pairs),
        drops::subjects(in_pairs),
        flows::subjects(),
        capture::subjects(),
        path::subjects(in_pairs),
        xdp::subjects(),
    ];
    probes.into_iter().flatten()
}

/// Loads all programs, one after the other, with everything switched on.
///
/// # Errors
/// Where this kernel's types can't be read.
pub fn verify() -> Result<Vec<Verified>> {
    let btf = kernel::btf()?;
    kernel::catch_all_of_libbpf();
    let in_pairs = kernel::is_preemptible() && kernel::has_preemptible_tracepoints(&btf);
    let mut all: Vec<Verified> = Vec::new();
    for subject in subjects(in_pairs) {
        let Subject { object, name, number, arrangement, load } = &subject;
        for program in programs(arrangement) {
            let is_known = |one: &Verified| {
                (one.object, one.arrangement, one.program) == (*object, *name, program)
            };
            if all.iter().any(is_known) {
                continue;
            }
            let verdict = match way_of(arrangement, program, &btf) {
                Some(way) => {
                    let choice = Choice { arrangement: *number, standings: with(arrangement, way) };
                    verdict(load, &choice, program).with_context(|| format!("verify {program}"))?
                }
                None => Verdict::Absent,
            };
            all.push(Verified { object, arrangement: name, program, verdict });
        }
    }
    Ok(all)
}

fn ways(arrangement: &Arrangement) -> impl Iterator<Item = &Way> {
    arrangement.data.iter().flat_map(|datum| &datum.ways)
}

fn programs(arrangement: &Arrangement) -> Vec<&'static str> {
    let hooks = ways(arrangement).flat_map(|way| &way.hooks);
    let hooks = hooks.filter(|hook| hook.rung != Rung::Helper);
    let mut programs: Vec<_> = hooks.map(|hook| hook.program).collect();
    programs.sort_unstable();
    programs.dedup();
    programs
}

/// A way by the program, if this kernel has something to attach it to.
fn way_of<'a>(arrangement: &'a Arrangement, program: &str, btf: &Btf) -> Option<&'a Way> {
    let mut hooks = ways(arrangement).flat_map(|way| &way.hooks);
    if hooks.any(|hook| hook.rung == Rung::Helper && !hook.is_in(btf)) {
        return None;
    }
    let is_had = |hook: &Hook| hook.program == program && hook.is_in(btf);
    ways(arrangement).find(|way| way.hooks.iter().any(is_had))
}

/// All data, one of them in this way: settings depend on what is chosen beside a program.
fn with(arrangement: &Arrangement, way: &Way) -> Vec<Standing> {
    let standing = |datum: &Datum| Standing {
        datum: datum.name,
        words: datum.words,
        required: datum.required,
        way: datum.ways.iter().find(|it| *it == way).or(datum.ways.first()).cloned(),
        above: Vec::new(),
    };
    arrangement.data.iter().map(standing).collect()
}

fn verdict(load: &Load, choice: &Choice, program: &str) -> Result<Verdict> {
    let Err(error) = load_one(load, choice, program, SUMMARY) else {
        let log = kernel::quoted_libbpf();
        let instructions = processed(&log).context("the verifier didn't tell how much it did")?;
        return Ok(Verdict::Loaded { instructions });
    };
    let is_verified = processed(&kernel::quoted_libbpf()).is_some();
    if kernel::errno(&error) == Some(libc::EPERM) && !is_verified {
        return Ok(Verdict::Refused);
    }
    let error = load_one(load, choice, program, STEPS).err().unwrap_or(error);
    Ok(Verdict::Failed { log: format!("{error:#}{}", kernel::quoted_libbpf()) })
}

/// Loads one program of those chosen.
fn load_one(load: &Load, choice: &Choice, program: &str, log: u32) -> libbpf_rs::Result<()> {
    kernel::forget_libbpf();
    load(choice, &mut |open| {
        for mut each in open.progs_mut() {
            let is_it = each.name() == program;
            each.set_autoload(is_it);
            each.set_log_level(log);
        }
    })
}

/// The number in “processed 1234 insns (limit 1000000) …”.
fn processed(log: &str) -> Option<u64> {
    let (_, rest) = log.rsplit_once("processed ")?;
    rest.split_once(" insns")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_program_of_every_object_is_verified() {
        let subjects: Vec<_> = [false, true].into_iter().flat_map(subjects).collect();
        for Subject { object, load, .. } in &subjects {
            let of_object = subjects.iter().filter(|subject| subject.object == *object);
            let names: Vec<_> = of_object.flat_map(|s| programs(&s.arrangement)).collect();
            let nothing = Choice { arrangement: 0, standings: Vec::new() };
            // It isn't for the kernel: the first program that it should have stops it.
            let _ = load(&nothing, &mut |open| {
                for mut program in open.progs_mut() {
                    let name = program.name().to_string_lossy().into_owned();
                    assert!(names.contains(&name.as_str()), "{object} {name}");
                    program.set_autoload(false);
                }
            });
        }
    }

    #[test]
    fn programs_are_verified_with_a_filter() {
        assert!(filter().is_some());
    }

    #[test]
    fn the_verifier_s_figure_is_found() {
        let log = "libbpf: prog 'sent': -- BEGIN PROG LOAD LOG --\nverification time 7 usec\n\
                   processed 1234 insns (limit 1000000) max_states_per_insn 4";
        assert_eq!(processed(log), Some(1234));
        assert_eq!(processed("libbpf: prog 'sent': BPF program load failed: -EPERM"), None);
    }
}

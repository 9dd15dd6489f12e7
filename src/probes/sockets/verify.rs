//! What this kernel's verifier says of each program of the socket probe, loaded alone. Tests hold it
//! against a list; nettrace itself has no use for it.

use anyhow::{Context, Result};
use libbpf_rs::btf::Btf;
use libbpf_rs::skel::OpenSkel;

use super::Options;
use super::hooks::{BY_ADDRESS, arrangements};
use super::load::prepare;
use crate::kernel;
use crate::probes::ladder::{Arrangement, Choice, Datum, Hook, Rung, Standing, Way};

/// The verifier's log levels: a summary, and each step.
const SUMMARY: u32 = 4;
const STEPS: u32 = 1;

/// A program in one of the probe's arrangements.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Where the probe has its tags: `storage` or `address`.
    pub arrangement: &'static str,
    /// Its name in `sockets.bpf.c`.
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

/// Loads all programs, one after the other, with everything switched on.
///
/// # Errors
/// Where this kernel's types can't be read.
pub fn verify() -> Result<Vec<Verified>> {
    let options = Options {
        pids: vec![std::process::id()],
        follow_forks: true,
        unix: true,
        ..Options::default()
    };
    let btf = kernel::btf()?;
    kernel::catch_all_of_libbpf();
    let mut all = Vec::new();
    let in_pairs = kernel::is_preemptible() && kernel::has_preemptible_tracepoints(&btf);
    let arrangements = arrangements(&options, in_pairs);
    for (number, arrangement) in arrangements.iter().enumerate() {
        for program in programs(arrangement) {
            let verdict = match way_of(arrangement, program, &btf) {
                Some(way) => {
                    let choice = Choice { arrangement: number, standings: with(arrangement, way) };
                    verdict(&options, &choice, program)
                        .with_context(|| format!("verify {program}"))?
                }
                None => Verdict::Absent,
            };
            let arrangement = if number == BY_ADDRESS { "address" } else { "storage" };
            all.push(Verified { arrangement, program, verdict });
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
fn way_of<'a>(arrangement: &'a Arrangement, program: &str, btf: &Btf<'_>) -> Option<&'a Way> {
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

fn verdict(options: &Options, choice: &Choice, program: &str) -> Result<Verdict> {
    let Err(error) = load(options, choice, program, SUMMARY) else {
        let log = kernel::quoted_libbpf();
        let instructions = processed(&log).context("the verifier didn't tell how much it did")?;
        return Ok(Verdict::Loaded { instructions });
    };
    let is_verified = processed(&kernel::quoted_libbpf()).is_some();
    if kernel::errno(&error) == Some(libc::EPERM) && !is_verified {
        return Ok(Verdict::Refused);
    }
    let error = load(options, choice, program, STEPS).err().unwrap_or(error);
    Ok(Verdict::Failed { log: format!("{error:#}{}", kernel::quoted_libbpf()) })
}

/// Loads one program of those chosen.
fn load(options: &Options, choice: &Choice, program: &str, log: u32) -> libbpf_rs::Result<()> {
    kernel::forget_libbpf();
    let mut open = prepare(options, choice)?;
    for mut each in open.open_object_mut().progs_mut() {
        let is_it = each.name() == program;
        each.set_autoload(is_it);
        each.set_log_level(log);
    }
    open.load().map(|_| ())
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
    fn every_program_of_the_object_is_verified() {
        let options = Options { follow_forks: true, unix: true, ..Options::default() };
        let all = [false, true].map(|in_pairs| arrangements(&options, in_pairs));
        let names: Vec<_> = all.iter().flatten().flat_map(programs).collect();
        let nothing = Choice { arrangement: 0, standings: Vec::new() };
        let mut open = prepare(&options, &nothing).unwrap();
        for program in open.open_object_mut().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            assert!(names.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn the_verifier_s_figure_is_found() {
        let log = "libbpf: prog 'sent': -- BEGIN PROG LOAD LOG --\nverification time 7 usec\n\
                   processed 1234 insns (limit 1000000) max_states_per_insn 4";
        assert_eq!(processed(log), Some(1234));
        assert_eq!(processed("libbpf: prog 'sent': BPF program load failed: -EPERM"), None);
    }
}

//! The ladder of hooks: each datum is had in the first of its ways that this kernel allows. Choosing
//! is pure; what can be had is found out by trying, and kept in [`Tried`].

use std::fmt;

use anyhow::{Result, bail};

use crate::btf::Btf;
use crate::kernel::{self, Reason, Unsupported};

/// Switches rungs and hooks off, to test the lower ones: `NETTRACE_WITHOUT=fentry,tp_btf:sys_exit`.
const WITHOUT: &str = "NETTRACE_WITHOUT";

/// A rung, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// A tracepoint with typed arguments.
    TpBtf,
    /// A tracepoint with untyped arguments, which helps others out.
    RawTp,
    /// A tracepoint by perf's way, as tracefs numbers it.
    Perf,
    /// A BPF iterator over kernel objects.
    Iter,
    /// A trampoline on a function's entry or exit.
    Fentry,
    /// A trampoline on the exit of another BPF program.
    Fexit,
    /// One program on the entries of many functions.
    KprobeMulti,
    /// A breakpoint on a function's entry or return.
    Kprobe,
    /// Nothing to attach: a function of the kernel that a helper needs.
    Helper,
    /// A link in an interface's driver, or right behind it.
    Xdp,
    /// A link at an interface's ingress or egress.
    Tcx,
    /// A filter there, of a queueing discipline that is made for it.
    Clsact,
    /// No BPF: the kernel answers on a netlink socket.
    Netlink,
}

impl Rung {
    const ALL: [Rung; 13] = [
        Rung::TpBtf,
        Rung::RawTp,
        Rung::Perf,
        Rung::Iter,
        Rung::Fentry,
        Rung::Fexit,
        Rung::KprobeMulti,
        Rung::Kprobe,
        Rung::Helper,
        Rung::Xdp,
        Rung::Tcx,
        Rung::Clsact,
        Rung::Netlink,
    ];

    /// Its name, as in BPF's section names.
    pub fn name(self) -> &'static str {
        match self {
            Rung::TpBtf => "tp_btf",
            Rung::RawTp => "raw_tp",
            Rung::Perf => "perf",
            Rung::Iter => "iter",
            Rung::Fentry => "fentry",
            Rung::Fexit => "fexit",
            Rung::KprobeMulti => "kprobe_multi",
            Rung::Kprobe => "kprobe",
            Rung::Helper => "helper",
            Rung::Xdp => "xdp",
            Rung::Tcx => "tcx",
            Rung::Clsact => "clsact",
            Rung::Netlink => "netlink",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One program on one place of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program's name in its object.
    pub program: &'static str,
    /// How it is attached.
    pub rung: Rung,
    /// On a kprobe's rung: it sees the return.
    pub at_return: bool,
    /// Tracepoint, iterator or function.
    pub target: &'static str,
    /// When the target came, as “since Linux 6.3”; empty if it is as old as what else is needed.
    pub since: &'static str,
    /// A kernel without the target has nothing to see there.
    pub optional: bool,
}

impl Hook {
    /// A hook that its way can't do without.
    pub const fn new(rung: Rung, target: &'static str, program: &'static str) -> Self {
        Hook { program, rung, at_return: false, target, since: "", optional: false }
    }

    /// With the version that brought the target.
    pub const fn since(self, since: &'static str) -> Self {
        Hook { since, ..self }
    }

    /// For a target that not every kernel has, nor needs.
    pub const fn optional(self) -> Self {
        Hook { optional: true, ..self }
    }

    /// A kretprobe.
    pub const fn at_return(self) -> Self {
        Hook { at_return: true, ..self }
    }

    /// Whether this kernel has its target: of a function its types may be a module's, or none, which
    /// is no matter for a kprobe.
    pub(super) fn is_in(&self, btf: &Btf) -> bool {
        match self.rung {
            Rung::TpBtf | Rung::RawTp => kernel::has_tracepoint(btf, self.target),
            Rung::Iter => kernel::has_iterator(btf, self.target),
            Rung::Helper => kernel::has_function(btf, self.target),
            Rung::Fentry | Rung::Kprobe => {
                kernel::has_function(btf, self.target) || kernel::has_symbol(self.target)
            }
            Rung::KprobeMulti => kernel::has_function(btf, "register_fprobe_ips"),
            Rung::Fexit => kernel::has_function(btf, "bpf_trampoline_link_prog"),
            Rung::Xdp => kernel::has_function(btf, "bpf_xdp_link_attach"),
            Rung::Tcx => kernel::has_function(btf, "tcx_link_attach"),
            // Tracefs has the answer, if it can be read at all; and clsact may be a module.
            Rung::Perf | Rung::Clsact | Rung::Netlink => true,
        }
    }
}

/// One way to have a datum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// What it is called.
    pub rung: Rung,
    /// What it attaches; the first one names it.
    pub hooks: Vec<Hook>,
}

impl Way {
    /// A way by hooks of the same rung.
    pub fn new(rung: Rung, hooks: impl Into<Vec<Hook>>) -> Self {
        Way { rung, hooks: hooks.into() }
    }

    /// The hooks that this kernel has, as far as was tried.
    fn had<'a>(&'a self, tried: &'a Tried) -> impl Iterator<Item = &'a Hook> {
        self.hooks.iter().filter(|hook| tried.failure(hook).is_none())
    }

    /// Why it can't be had, if it can't.
    fn failure(&self, tried: &Tried) -> Option<Reason> {
        let failed = |hook: &&Hook| !hook.optional || !tried.is_missing(hook);
        self.hooks.iter().filter(failed).find_map(|hook| tried.failure(hook)).cloned()
    }

    fn refused(&self, tried: &Tried) -> Option<Refused> {
        let reason = self.failure(tried)?;
        Some(Refused { rung: self.rung, target: self.target(), reason })
    }

    fn target(&self) -> &'static str {
        self.hooks.first().map_or("", |hook| hook.target)
    }
}

/// Something that a probe tells.
#[derive(Clone, Debug)]
pub struct Datum {
    /// A short name, for machines.
    pub name: &'static str,
    /// What is lost without it.
    pub words: &'static str,
    /// Without it the probe is of no use.
    pub required: bool,
    /// The best first.
    pub ways: Vec<Way>,
}

/// Data that can be had together.
#[derive(Clone, Debug)]
pub struct Arrangement {
    /// All that the probe tells, in the order of attaching.
    pub data: Vec<Datum>,
    /// What keeps a way of it from being had, where nothing is wrong with the way.
    pub limit: &'static str,
}

/// Hooks that can't be had, and why.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    failures: Vec<(Rung, &'static str, Reason)>,
}

impl Tried {
    /// What the environment switches off; `targets` are those of all probes.
    ///
    /// # Errors
    /// If it names what isn't there.
    pub fn from_environment(arrangements: &[Arrangement], targets: &[&str]) -> Result<Self> {
        match std::env::var(WITHOUT) {
            Ok(words) => Tried::without(&words, arrangements, targets),
            Err(_) => Ok(Tried::default()),
        }
    }

    fn without(words: &str, arrangements: &[Arrangement], targets: &[&str]) -> Result<Self> {
        let mut tried = Tried::default();
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (of_rung, name) = word.split_once(':').unwrap_or(("", word));
            if Rung::ALL.iter().all(|rung| rung.name() != name) && !targets.contains(&name) {
                bail!(
                    "{WITHOUT}: there is no hook {word}; write tp_btf, fentry, kprobe, tcx or a name that `nettrace doctor` shows"
                );
            }
            for hook in hooks(arrangements) {
                let rung = hook.rung.name();
                if rung == name || (hook.target == name && ["", rung].contains(&of_rung)) {
                    tried.insert(hook, Reason::SwitchedOff { by: WITHOUT });
                }
            }
        }
        Ok(tried)
    }

    /// Finds what this kernel doesn't have; true if that is anything new.
    pub fn ask(&mut self, btf: &Btf, arrangements: &[Arrangement]) -> bool {
        let before = self.failures.len();
        for hook in hooks(arrangements) {
            if self.failure(hook).is_none() && (self.lacks_function(hook) || !hook.is_in(btf)) {
                self.insert(hook, missing(hook));
            }
        }
        self.failures.len() > before
    }

    /// Remembers that a hook failed.
    pub fn insert(&mut self, hook: &Hook, reason: Reason) {
        if self.failure(hook).is_none() {
            self.failures.push((hook.rung, hook.target, reason));
        }
    }

    fn failure(&self, hook: &Hook) -> Option<&Reason> {
        self.failures
            .iter()
            .find(|(rung, target, _)| (*rung, *target) == (hook.rung, hook.target))
            .map(|(_, _, reason)| reason)
    }

    /// Whether another rung has looked for the same function in vain, through all symbols.
    fn lacks_function(&self, hook: &Hook) -> bool {
        let is_function = |rung| matches!(rung, Rung::Fentry | Rung::Kprobe);
        let is_same = |rung, target| is_function(rung) && target == hook.target;
        is_function(hook.rung)
            && self.failures.iter().any(|(rung, target, reason)| {
                is_same(*rung, *target) && matches!(reason, Reason::Missing { .. })
            })
    }

    fn is_missing(&self, hook: &Hook) -> bool {
        matches!(self.failure(hook), Some(Reason::Missing { .. }))
    }
}

/// That a kernel doesn't have a hook's target.
pub fn missing(hook: &Hook) -> Reason {
    if hook.rung == Rung::KprobeMulti {
        return Reason::NotBuilt { option: "CONFIG_FPROBE" };
    }
    Reason::Missing { target: hook.target.to_owned(), since: hook.since }
}

/// All that could be attached.
pub(super) fn hooks(arrangements: &[Arrangement]) -> impl Iterator<Item = &Hook> {
    let data = arrangements.iter().flat_map(|arrangement| &arrangement.data);
    data.flat_map(|datum| &datum.ways).flat_map(|way| &way.hooks)
}

/// What to load and attach.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The number of the arrangement.
    pub arrangement: usize,
    /// Each datum's standing.
    pub standings: Vec<Standing>,
}

/// How a datum is had, or why not.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The datum's name.
    pub datum: &'static str,
    /// What is lost without it.
    pub words: &'static str,
    /// Without it the probe is of no use.
    pub required: bool,
    /// The rung and its hooks.
    pub way: Option<Way>,
    /// The ways that would have been better, and why they weren't had.
    pub above: Vec<Refused>,
}

/// A way that can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its rung.
    pub rung: Rung,
    /// What it would have been attached to.
    pub target: &'static str,
    /// Why it isn't.
    pub reason: Reason,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.rung, self.target, self.reason)
    }
}

impl Choice {
    /// The hooks to attach, in order and each once.
    pub fn hooks(&self) -> impl Iterator<Item = &Hook> {
        let ways = self.standings.iter().filter_map(|standing| standing.way.as_ref());
        let mut hooks: Vec<&Hook> = Vec::new();
        for hook in ways.flat_map(|way| &way.hooks) {
            if hook.rung != Rung::Helper && !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
        hooks.into_iter()
    }

    /// Whether a datum can be had.
    pub fn has(&self, datum: &str) -> bool {
        self.standings.iter().any(|standing| standing.datum == datum && standing.way.is_some())
    }

    /// A datum that can't be had, though the probe needs it.
    pub fn lacking(&self) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.required && standing.way.is_none())
    }

    /// What is worse: something needed that is missing, then anything missing.
    fn badness(&self) -> (usize, usize) {
        let missing = || self.standings.iter().filter(|standing| standing.way.is_none());
        (missing().filter(|standing| standing.required).count(), missing().count())
    }
}

impl Standing {
    /// Of what a probe is for, where it couldn't be opened.
    pub(super) fn not_had(
        datum: &'static str,
        words: &'static str,
        target: &'static str,
        error: &anyhow::Error,
    ) -> Self {
        let reason = match error.downcast_ref::<Unsupported>() {
            Some(unsupported) => unsupported.why.clone(),
            None => Reason::Refused(format!("{error:#}")),
        };
        let above = vec![Refused { rung: Rung::TpBtf, target, reason }];
        Standing { datum, words, required: true, way: None, above }
    }

    /// Why it can't be had: of the last way, which asks least of a kernel.
    pub fn reason(&self) -> Option<&Reason> {
        match self.way {
            Some(_) => None,
            None => self.above.last().map(|refused| &refused.reason),
        }
    }
}

/// The arrangement with the least missing, the first of equals; in it each datum's first way.
pub fn choose(arrangements: &[Arrangement], tried: &Tried) -> Choice {
    let choices = (0..arrangements.len()).map(|number| arrange(arrangements, number, tried));
    choices.min_by_key(Choice::badness).unwrap_or(Choice { arrangement: 0, standings: Vec::new() })
}

/// What is against each way to have a datum, in all arrangements.
pub fn against(arrangements: &[Arrangement], tried: &Tried, datum: &str) -> Vec<Refused> {
    let data = arrangements.iter().flat_map(|arrangement| &arrangement.data);
    let ways = data.filter(|d| d.name == datum).flat_map(|d| &d.ways);
    ways.filter_map(|way| way.refused(tried)).collect()
}

fn arrange(arrangements: &[Arrangement], number: usize, tried: &Tried) -> Choice {
    let (before, rest) = arrangements.split_at(number);
    let (data, after) =
        rest.split_first().map_or((&[][..], rest), |(chosen, after)| (&chosen.data, after));
    let standings = data.iter().map(|datum| standing(datum, before, after, tried)).collect();
    Choice { arrangement: number, standings }
}

fn standing(
    datum: &Datum,
    before: &[Arrangement],
    after: &[Arrangement],
    tried: &Tried,
) -> Standing {
    let mut above = elsewhere(datum, before, tried);
    let mut chosen = None;
    for way in &datum.ways {
        match way.refused(tried) {
            Some(refused) => above.push(refused),
            None => {
                let hooks: Vec<Hook> = way.had(tried).copied().collect();
                chosen = Some(Way::new(way.rung, hooks));
                break;
            }
        }
    }
    if chosen.is_none() {
        above.extend(elsewhere(datum, after, tried));
    }
    Standing { datum: datum.name, words: datum.words, required: datum.required, way: chosen, above }
}

/// The ways that a datum has in other arrangements alone.
fn elsewhere(datum: &Datum, arrangements: &[Arrangement], tried: &Tried) -> Vec<Refused> {
    let mut refused = Vec::new();
    for arrangement in arrangements {
        let ways = arrangement.data.iter().filter(|d| d.name == datum.name).flat_map(|d| &d.ways);
        for way in ways.filter(|way| !datum.ways.contains(way)) {
            let reason = way.failure(tried).unwrap_or(Reason::Unfit(arrangement.limit));
            refused.push(Refused { rung: way.rung, target: way.target(), reason });
        }
    }
    refused
}

#[cfg(test)]
mod tests;

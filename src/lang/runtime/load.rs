//! Programs into the kernel. What its verifier refuses is told at the line of the source that it comes from.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_sys::{
    BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_RAW_TRACEPOINT,
    BPF_PROG_TYPE_TRACEPOINT, BPF_PROG_TYPE_TRACING, BPF_PROG_TYPE_XDP, BPF_TRACE_FENTRY,
    BPF_TRACE_FEXIT, BPF_TRACE_ITER, BPF_TRACE_KPROBE_MULTI, BPF_TRACE_KPROBE_SESSION,
    BPF_TRACE_RAW_TP, BPF_TRACE_UPROBE_MULTI, bpf_func_info, bpf_line_info,
};

use super::btf::{FunctionTypes, identifier};
use super::link::{Linked, link};
use super::maps::KernelMaps;
use super::sessions::sessions;
use super::sys::{self, Owner, ProgramSpec};
use super::verifier;
use crate::btf::Kind as BtfKind;
use crate::kernel::Reason;
use crate::lang::ast::AttachPoint;
use crate::lang::diagnostics::Diagnostics;
use crate::lang::ktypes::{KernelTypes, Object};
use crate::lang::probe::{Period, Probe as Place};
use crate::lang::program::{Probe, Program};
use crate::lang::source::Sources;
use crate::lang::types::Name;
use crate::privileges;

/// What the verifier is asked to write: each instruction, and why it stops.
const LOG_LEVEL: u32 = 1;
/// The log of what was loaded, for `-d verifier`: statistics too.
const LOUD: u32 = 1 | 4;

/// How programs are loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Bytes of the verifier's log.
    pub log_size: u64,
    /// The log is wanted also of what is accepted.
    pub with_logs: bool,
    /// Only one process is looked at.
    pub has_pid: bool,
    /// What is not to be made use of.
    pub without: Without,
}

/// What the kernel may offer and is to be done without.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Without {
    pub kprobe_multi: bool,
    pub kprobe_session: bool,
    pub uprobe_multi: bool,
}

/// A program in the kernel.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Which probe it runs, by its place in the program; of a session, the one at the entry.
    pub(super) probe: usize,
    pub(super) fd: OwnedFd,
    pub(super) way: Way,
    /// What the verifier said, if that was wanted.
    pub(super) log: Option<String>,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// To each place by itself.
    #[default]
    One,
    /// To many places by one link.
    Many,
    /// The same, and it runs at their entries and at their returns.
    Session,
}

/// By its name or number: who has the type that a probe is attached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Whose {
    #[default]
    Kernel,
    Module(Name),
    Program(u32),
}

impl Whose {
    fn open(&self) -> io::Result<Owner> {
        Ok(match self {
            Whose::Kernel => Owner::Kernel,
            Whose::Module(name) => Owner::Module(sys::module_btf(name)?),
            Whose::Program(id) => Owner::Program(sys::program(*id)?),
        })
    }
}

/// How the kernel is to take a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kind {
    program: u32,
    attach: u32,
    btf_id: u32,
    owner: Whose,
    way: Way,
}

/// Loads the programs of all probes, in their order.
pub(super) fn load(
    program: &Program,
    sources: &Sources,
    kernel: &KernelTypes,
    maps: &KernelMaps,
    options: &LoadOptions,
) -> Result<Vec<Loaded>, Diagnostics> {
    let descriptors = maps.descriptors();
    let mut linked: Vec<Linked> =
        program.probes.iter().map(|probe| link(program, probe, &descriptors)).collect();
    let without = options.without.kprobe_session;
    let sessions = if without { Vec::new() } else { sessions(program, kernel, &descriptors) };
    let (pairs, of_sessions): (Vec<_>, Vec<Linked>) = sessions.into_iter().unzip();
    linked.extend(of_sessions);
    let mut diagnostics = Diagnostics::default();
    let types = match Types::load(program, &linked, sources) {
        Ok(types) => types,
        Err(error) => {
            let span = program.probes.first().map(|probe| probe.span).unwrap_or_default();
            told(&mut diagnostics, span, "the kernel doesn't take the program's types", &error);
            return Err(diagnostics);
        }
    };
    let one = |probe: usize, linked_at: usize| One {
        program,
        probe: &program.probes[probe],
        number: probe,
        linked: &linked[linked_at],
        lines: &types.lines[linked_at],
        types: &types,
    };
    let mut loaded = Vec::with_capacity(program.probes.len());
    let mut is_in_session = vec![false; program.probes.len()];
    for (at, &(entry, exit)) in pairs.iter().enumerate() {
        if let Some(session) = one(entry, program.probes.len() + at).load_session(options) {
            loaded.push(session);
            (is_in_session[entry], is_in_session[exit]) = (true, true);
        }
    }
    for number in (0..program.probes.len()).filter(|number| !is_in_session[*number]) {
        loaded.extend(one(number, number).load(kernel, options, &mut diagnostics));
    }
    loaded.sort_by_key(|loaded| loaded.probe);
    if diagnostics.errors() > 0 { Err(diagnostics) } else { Ok(loaded) }
}

/// A message with the kernel's word.
fn told(
    diagnostics: &mut Diagnostics,
    span: crate::lang::source::Span,
    what: &str,
    error: &io::Error,
) {
    let told = diagnostics.error(span, format!("{what}: {error}"));
    match error.raw_os_error() {
        Some(libc::EPERM) if privileges::missing(&privileges::needed()).is_empty() => {
            told.hint(Reason::Policy.to_string());
        }
        Some(libc::EPERM | libc::EACCES) => {
            told.hint("this needs root, or CAP_BPF and CAP_PERFMON; `nettrace doctor` says more");
        }
        Some(libc::EMFILE) => {
            told.hint("`ulimit -n` says how many descriptors a process may have");
        }
        _ => {}
    }
}

/// The program's BTF in the kernel, and the numbers of its functions.
struct Types {
    fd: OwnedFd,
    /// Probes' names there, and their numbers.
    names: Vec<String>,
    probes: Vec<u32>,
    functions: Vec<u32>,
    lines: Vec<Vec<bpf_line_info>>,
}

impl Types {
    fn load(program: &Program, linked: &[Linked], sources: &Sources) -> io::Result<Self> {
        let mut writer = FunctionTypes::new();
        let probes = (1..).zip(&program.probes);
        let names: Vec<String> = probes.map(|(number, probe)| symbol(probe, number)).collect();
        let probes = names.iter().map(|name| writer.function(name, 1)).collect();
        let functions = program.functions.iter();
        let functions =
            functions.map(|function| writer.function(&function.name, function.arguments)).collect();
        let lines = linked.iter().map(|linked| line_info(linked, sources, &mut writer)).collect();
        let fd = sys::btf_load(&writer.finish())?;
        Ok(Self { fd, names, probes, functions, lines })
    }
}

/// The name of a probe's function, by which others may attach to it: as bpftrace has them, `kprobe_vfs_read_1`.
fn symbol(probe: &Probe, number: usize) -> String {
    let place = probe.attach.first().and_then(|point| point.probe.as_ref());
    let name = match place {
        Some(place @ (Place::Interval(period) | Place::Profile(period))) => {
            let (unit, count) = match period {
                Period::Hertz(count) => ("hz", *count),
                Period::Nanoseconds(ns) => ("us", ns / 1_000),
            };
            format!("{}_{unit}_{count}", place.provider())
        }
        _ => probe.name.clone(),
    };
    format!("{}_{number}", identifier(&name))
}

/// Where instructions come from, in the kernel's form: at most one place an instruction.
fn line_info(linked: &Linked, sources: &Sources, writer: &mut FunctionTypes) -> Vec<bpf_line_info> {
    // Lines and columns that fit what the kernel has for them.
    const MOST_LINES: u32 = (1 << 22) - 1;
    const MOST_COLUMNS: u32 = (1 << 10) - 1;
    let mut lines: Vec<bpf_line_info> = Vec::with_capacity(linked.lines.len());
    for (at, span) in &linked.lines {
        let written = sources.written(*span);
        let mut info = bpf_line_info { insn_off: *at, ..Default::default() };
        if let Some(source) = sources.of(written) {
            let place = source.position(written.start);
            info.file_name_off = writer.string(&source.name);
            info.line_off = writer.string(source.line(place.line).trim());
            info.line_col = place.line.min(MOST_LINES) << 10 | place.column.min(MOST_COLUMNS);
        }
        match lines.last_mut() {
            Some(last) if last.insn_off == *at => *last = info,
            _ => lines.push(info),
        }
    }
    lines
}

/// A program that is being loaded.
struct One<'a> {
    program: &'a Program,
    probe: &'a Probe,
    number: usize,
    linked: &'a Linked,
    lines: &'a [bpf_line_info],
    types: &'a Types,
}

impl One<'_> {
    fn load(
        &self,
        kernel: &KernelTypes,
        options: &LoadOptions,
        diagnostics: &mut Diagnostics,
    ) -> Option<Loaded> {
        let kinds = match kinds(&self.probe.attach, kernel, options) {
            Ok(kinds) => kinds,
            Err(why) => {
                diagnostics.error(self.probe.span, why);
                return None;
            }
        };
        let functions = self.functions();
        let mut refused = None;
        let owner = kinds.iter().map(|kind| &kind.owner).find(|owner| **owner != Whose::Kernel);
        let owner = match owner.unwrap_or(&Whose::Kernel).open() {
            Ok(owner) => owner,
            Err(error) => {
                let what = format!("the types of what {} is put on can't be had", self.probe.name);
                told(diagnostics, self.probe.span, &what, &error);
                return None;
            }
        };
        for kind in kinds {
            let spec = self.spec(&kind, &owner, &functions);
            match self.try_kind(&spec, options) {
                Ok((fd, log)) => return Some(self.loaded(kind.way, fd, log)),
                Err(error) => refused = Some((spec, error)),
            }
        }
        let (spec, error) = refused?;
        self.explain(&spec, &error, options, diagnostics);
        None
    }

    /// As a session, if the kernel takes it as one.
    fn load_session(&self, options: &LoadOptions) -> Option<Loaded> {
        let (program, attach) = (BPF_PROG_TYPE_KPROBE, BPF_TRACE_KPROBE_SESSION);
        let kind = Kind { program, attach, way: Way::Session, ..Kind::default() };
        let functions = self.functions();
        let (fd, log) =
            self.try_kind(&self.spec(&kind, &Owner::Kernel, &functions), options).ok()?;
        Some(self.loaded(kind.way, fd, log))
    }

    fn loaded(&self, way: Way, fd: OwnedFd, log: Option<String>) -> Loaded {
        Loaded { probe: self.number, fd, way, log }
    }

    fn functions(&self) -> Vec<bpf_func_info> {
        let functions = self.linked.functions.iter().map(|(at, number)| {
            let type_id = match number {
                None => self.types.probes[self.number],
                Some(number) => self.types.functions.get(*number).copied().unwrap_or_default(),
            };
            bpf_func_info { insn_off: *at, type_id }
        });
        functions.collect()
    }

    fn spec<'s>(
        &'s self,
        kind: &Kind,
        owner: &'s Owner,
        functions: &'s [bpf_func_info],
    ) -> ProgramSpec<'s> {
        ProgramSpec {
            kind: kind.program,
            attach_type: kind.attach,
            attach_btf_id: kind.btf_id,
            owner,
            sleepable: self.probe.sleepable,
            name: &self.types.names[self.number],
            license: &self.program.license,
            insns: &self.linked.insns,
            btf: self.types.fd.as_fd(),
            functions,
            lines: self.lines,
        }
    }

    fn try_kind(
        &self,
        spec: &ProgramSpec<'_>,
        options: &LoadOptions,
    ) -> io::Result<(OwnedFd, Option<String>)> {
        if !options.with_logs {
            return Ok((sys::prog_load(spec, None)?, None));
        }
        let mut room = vec![0; log_room(options)];
        let fd = sys::prog_load(spec, Some((LOUD, &mut room)))?;
        Ok((fd, Some(text(&room))))
    }

    /// Loads it once more, for the verifier's log.
    fn explain(
        &self,
        spec: &ProgramSpec<'_>,
        error: &io::Error,
        options: &LoadOptions,
        diagnostics: &mut Diagnostics,
    ) {
        let mut room = vec![0; log_room(options)];
        // Refused as before; it isn't loaded even if it were accepted now.
        let _ = sys::prog_load(spec, Some((LOG_LEVEL, &mut room)));
        let log = text(&room);
        if log.is_empty() {
            let what = format!("the kernel doesn't take the program of {}", self.probe.name);
            told(diagnostics, self.probe.span, &what, error);
            return;
        }
        let refusal = verifier::read(&log);
        let span = refusal.insn.and_then(|insn| self.linked.span_at(insn));
        let span = span.unwrap_or(self.probe.span);
        let message = match &refusal.helper {
            Some(helper) => format!("helper {helper} not allowed in probe"),
            None => format!("the kernel's verifier refuses this: {}", refusal.message),
        };
        let told = diagnostics.error(span, message);
        if let Some(insn) = refusal.insn {
            told.hint(format!(
                "instruction {insn} of {}; -d verifier shows all that the verifier says",
                self.probe.name
            ));
        }
        if options.with_logs {
            eprintln!("{log}");
        }
    }
}

fn log_room(options: &LoadOptions) -> usize {
    options.log_size.clamp(1 << 10, 1 << 28) as usize
}

fn text(room: &[u8]) -> String {
    let end = memchr::memchr(0, room).unwrap_or(room.len());
    String::from_utf8_lossy(&room[..end]).into_owned()
}

/// How the kernel can take a probe that is attached to such places, the best way first.
fn kinds(
    attach: &[AttachPoint],
    kernel: &KernelTypes,
    options: &LoadOptions,
) -> Result<Vec<Kind>, String> {
    let without = options.without;
    let Some(place) = attach.first().and_then(|point| point.probe.as_ref()) else {
        return Err("the probe has no place to be attached to".to_owned());
    };
    let of = |program| Kind { program, ..Kind::default() };
    let tracing =
        |attach, (owner, btf_id)| Kind { attach, btf_id, owner, ..of(BPF_PROG_TYPE_TRACING) };
    let multi = |attach| Kind { attach, way: Way::Many, ..of(BPF_PROG_TYPE_KPROBE) };
    let kprobe = of(BPF_PROG_TYPE_KPROBE);
    let has_many = attach.len() > 1;
    // A kernel without such links may load programs for them all the same; then it lacks their struct.
    let has_struct = |name| kernel.btf().is_none_or(|btf| btf.find_struct(name).is_some());
    Ok(match place {
        Place::Begin | Place::End | Place::SelfSignal(_) => vec![of(BPF_PROG_TYPE_RAW_TRACEPOINT)],
        // The kernel measures how long these take.
        Place::Test(_) | Place::Bench(_) => vec![of(BPF_PROG_TYPE_XDP)],
        Place::Interval(_)
        | Place::Profile(_)
        | Place::Software { .. }
        | Place::Hardware { .. }
        | Place::Watchpoint { .. } => vec![of(BPF_PROG_TYPE_PERF_EVENT)],
        Place::Tracepoint { .. } => vec![of(BPF_PROG_TYPE_TRACEPOINT)],
        Place::Kprobe { .. }
            if has_many && !without.kprobe_multi && has_struct("bpf_kprobe_multi_link") =>
        {
            vec![multi(BPF_TRACE_KPROBE_MULTI), kprobe]
        }
        // Of a process such a link is of all its threads, an event of perf of one alone.
        Place::Uprobe { .. } | Place::Usdt { .. }
            if (has_many || options.has_pid || matches!(place, Place::Usdt { .. }))
                && !without.uprobe_multi
                && has_struct("bpf_uprobe_multi_link") =>
        {
            vec![multi(BPF_TRACE_UPROBE_MULTI), kprobe]
        }
        Place::Kprobe { .. } | Place::Uprobe { .. } | Place::Usdt { .. } => vec![kprobe],
        Place::RawTracepoint { module, event } => {
            let typedef = format!("btf_trace_{event}");
            let is_typedef = |kind| matches!(kind, BtfKind::Typedef(_));
            let found = kernel.find(module.as_deref(), &typedef, is_typedef);
            vec![tracing(BPF_TRACE_RAW_TP, id(kernel, found, "raw tracepoint", event)?)]
        }
        Place::Fentry { at_return, module, function } => {
            let attach = if *at_return { BPF_TRACE_FEXIT } else { BPF_TRACE_FENTRY };
            let is_function = |kind| matches!(kind, BtfKind::Function(_));
            let found = kernel.find(module.as_deref(), function, is_function);
            vec![tracing(attach, id(kernel, found, "function", function)?)]
        }
        Place::Iter { object, .. } => {
            let function = format!("bpf_iter_{object}");
            let is_function = |kind| matches!(kind, BtfKind::Function(_));
            let found = kernel.find(None, &function, is_function);
            vec![tracing(BPF_TRACE_ITER, id(kernel, found, "iterator", object)?)]
        }
        Place::FentryBpf { at_return, id, function } => {
            let attach = if *at_return { BPF_TRACE_FEXIT } else { BPF_TRACE_FENTRY };
            let found = id.and_then(|id| kernel.program_function(id, function));
            let found = found.ok_or_else(|| format!("no BPF program has a function {function}"))?;
            vec![tracing(attach, (Whose::Program(found.program), found.type_id))]
        }
    })
}

/// A type that a probe is attached by: whose it is, and its number.
fn id(
    kernel: &KernelTypes,
    found: Option<(Object<'_>, u32)>,
    what: &str,
    shown: &str,
) -> Result<(Whose, u32), String> {
    match found {
        Some((object, id)) => {
            let module = object.module.map(|module| Whose::Module(module.name.clone()));
            Ok((module.unwrap_or_default(), id))
        }
        None if kernel.btf().is_none() => {
            Err(format!("a {what} needs the kernel's types, and this kernel has no BTF"))
        }
        None => Err(format!("this kernel has no {what} {shown}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::lang::program::Code;
    use crate::lang::source::Span;
    use crate::lang::{ast, passes};

    #[test]
    fn functions_are_named_by_their_probes() {
        let options = passes::Options::default();
        let text = "begin { } interval:100ms { } profile:hz:99 { } self:signal:SIGUSR1 { }";
        let typed = passes::check("a.bt", text, &options, &KernelTypes::new()).typed.unwrap();
        let probe = |of: &ast::Probe| Probe {
            name: of.attach_points[0].name.to_string(),
            attach: of.attach_points.clone(),
            span: of.span,
            code: Code::default(),
            sleepable: false,
        };
        let probes = (1..).zip(typed.script.probes.iter().map(probe));
        let names: Vec<String> = probes.map(|(number, probe)| symbol(&probe, number)).collect();
        assert_eq!(
            names,
            ["begin_1", "interval_us_100000_2", "profile_hz_99_3", "self_signal_SIGUSR1_4"]
        );
    }

    #[test]
    fn lines_have_their_text_and_place() {
        let mut sources = Sources::default();
        let span = sources.add("a.bt", "begin {\n  @ = 1;\n}\n");
        let at = |start: u32| Span { start: span.start + start, end: span.start + start + 1 };
        let linked = Linked {
            insns: Vec::new(),
            lines: vec![(0, at(0)), (2, at(0)), (2, at(10))],
            functions: Vec::new(),
        };
        let mut writer = FunctionTypes::new();
        let lines = line_info(&linked, &sources, &mut writer);
        let places: Vec<(u32, u32, u32)> = lines
            .iter()
            .map(|line| (line.insn_off, line.line_col >> 10, line.line_col & 1023))
            .collect();
        assert_eq!(places, [(0, 1, 1), (2, 2, 3)]);
        assert_eq!(lines[1].line_off, writer.string("@ = 1;"));
        assert_eq!(lines[0].file_name_off, writer.string("a.bt"));
    }
}

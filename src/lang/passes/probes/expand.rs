//! Wildcards, by what this kernel has.

use std::fs;
use std::path::Path;

use super::super::super::ast::AttachPoint;
use super::super::super::config::MissingProbes;
use super::super::super::ktypes::Object;
use super::super::super::probe::{Address, Probe};
use super::super::super::programs::ProgramFunction;
use super::super::super::types::Name;
use super::super::super::wildcard::{has_wildcard, is_match};
use super::files::{self, NoFile};
use super::{Context, missing, tell_missing};
use crate::btf::{Btf, Kind};
use crate::tracefs::Tracefs;

/// An attach point with its probe, or all that its wildcards mean.
pub(super) fn expand(
    point: &AttachPoint,
    probe: &Probe,
    context: &mut Context<'_>,
) -> Vec<AttachPoint> {
    let probes = match files::found(probe, context) {
        Ok(of_files) => of_files.or_else(|| found(probe, context)),
        Err(NoFile::Unnamed(why)) => {
            context.diagnostics.error(point.span, why);
            return Vec::new();
        }
        Err(NoFile::Missing(why)) => {
            tell_missing(point.span, &why, ". Skipping.", context, |_| Vec::new());
            return Vec::new();
        }
    };
    let mut probes = probes.unwrap_or_else(|| vec![probe.clone()]);
    let is_forced = context.options.is_unsafe && matches!(probe, Probe::Kprobe { .. });
    if probes.is_empty() && is_forced && !has_wildcard(&point.name) {
        explain(point, probe, context);
        probes.push(probe.clone());
    }
    // A wildcard may mean nothing, if only something else of the probe is there.
    let is_optional =
        has_wildcard(&point.name) || matches!(probe, Probe::RawTracepoint { module: None, .. });
    if probes.is_empty() && !is_optional {
        explain(point, probe, context);
        let name = name(probe, &point.name);
        let (provider, rest) = name.split_once(':').unwrap_or((&name, ""));
        missing(point, probe, &format!("{provider} {rest}"), context);
    }
    let of = |probe: Probe| AttachPoint {
        name: name(&probe, &point.name),
        probe: Some(probe),
        span: point.span,
    };
    probes.into_iter().map(of).collect()
}

/// Says why a kernel function isn't there, if that is known.
fn explain(point: &AttachPoint, probe: &Probe, context: &mut Context<'_>) {
    let Probe::Kprobe { module, at: Address::Function { name, .. }, .. } = probe else { return };
    if let Some(module) = module.as_ref().filter(|module| !is_loaded(module)) {
        let message = format!("specified module {module} in probe {} is not loaded.", point.name);
        context.diagnostics.error(point.span, message);
    } else if context.config.missing_probes != MissingProbes::Ignore {
        let message = format!(
            "{name} is not traceable (either non-existing, inlined, or marked as \"notrace\"); \
             attaching to it will likely fail"
        );
        context.diagnostics.warn(point.span, message);
    }
}

/// What there is of a probe; nothing if whoever attaches it finds out.
pub(super) fn found(probe: &Probe, context: &Context<'_>) -> Option<Vec<Probe>> {
    match probe {
        Probe::Tracepoint { category, event } => tracepoints(category, event),
        Probe::RawTracepoint { module, event } => {
            let is_typedef = |kind| matches!(kind, Kind::Typedef(_));
            let names = btf_names(module.as_ref(), event, context, is_typedef)?;
            let of = |(module, event)| Probe::RawTracepoint { module, event };
            Some(names.into_iter().map(of).collect())
        }
        Probe::Fentry { at_return, module, function } => {
            let is_function = |kind| matches!(kind, Kind::Function(_));
            let names = btf_names(module.as_ref(), function, context, is_function)?;
            let of = |(module, function)| Probe::Fentry { at_return: *at_return, module, function };
            Some(names.into_iter().map(of).collect())
        }
        Probe::FentryBpf { at_return, id, function } => {
            let is_meant = |of: &&ProgramFunction| {
                id.is_none_or(|id| id == of.program) && is_match(function, &of.name)
            };
            let of = |of: &ProgramFunction| Probe::FentryBpf {
                at_return: *at_return,
                id: Some(of.program),
                function: of.name.clone(),
            };
            Some(context.kernel.programs().iter().filter(is_meant).map(of).collect())
        }
        Probe::Kprobe { at_return, module, at: Address::Function { name, offset } } => {
            let functions = context.kernel.functions(module.as_deref(), name)?;
            let of = |name| Probe::Kprobe {
                at_return: *at_return,
                module: module.clone().filter(|module| !has_wildcard(module)),
                at: Address::Function { name, offset: *offset },
            };
            Some(functions.into_iter().map(of).collect())
        }
        _ => None,
    }
}

/// What names of raw tracepoints begin with in BTF.
const TRACEPOINT: &str = "btf_trace_";

/// Names in BTF that are meant by words for a module and a name, each with its module unless it is the kernel's own: of
/// functions, or of raw tracepoints, which are types. A name without a module is looked for in modules if the kernel itself
/// hasn't it.
fn btf_names(
    module: Option<&Name>,
    pattern: &str,
    context: &Context<'_>,
    wanted: impl Fn(Kind) -> bool,
) -> Option<Vec<(Option<Name>, Name)>> {
    context.kernel.btf()?;
    let mut found = Vec::new();
    let is_meant =
        |object: &Object<'_>| module.is_none_or(|module| is_match(module, object.name()));
    for object in context.kernel.objects().filter(is_meant) {
        let names = names_of(object.btf, pattern, &wanted);
        let of = match object.module {
            None => module.map(|_| object.name().into()),
            Some(of) => Some(of.name.clone()),
        };
        found.extend(names.into_iter().map(|name| (of.clone(), name)));
        // Most are found at once, and reading all modules' types takes a while.
        if module.is_none_or(|module| !has_wildcard(module)) && !found.is_empty() {
            break;
        }
    }
    Some(found)
}

fn names_of(btf: &Btf, pattern: &str, wanted: impl Fn(Kind) -> bool) -> Vec<Name> {
    let is_tracepoint = wanted(Kind::Typedef(0));
    if !has_wildcard(pattern) {
        let name =
            if is_tracepoint { format!("{TRACEPOINT}{pattern}") } else { pattern.to_owned() };
        return btf.find(&name, wanted).map(|_| pattern.into()).into_iter().collect();
    }
    let named = btf.ids().filter(|id| wanted(btf.kind(*id))).map(|id| btf.name(id));
    let names = named.filter_map(|name| match is_tracepoint {
        true => name.strip_prefix(TRACEPOINT),
        false => Some(name),
    });
    let mut names: Vec<Name> =
        names.filter(|name| is_match(pattern, name)).map(Name::from).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a module is there; the kernel itself is `vmlinux`.
fn is_loaded(module: &str) -> bool {
    module == "vmlinux" || has_wildcard(module) || Path::new("/sys/module").join(module).exists()
}

/// Names in a folder that are meant by a word, in their order.
fn folders(path: &Path, pattern: &str) -> Vec<Name> {
    if !has_wildcard(pattern) {
        return if path.join(pattern).is_dir() { vec![pattern.into()] } else { Vec::new() };
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<Name> =
        names.filter(|name| is_match(pattern, name)).map(Name::from).collect();
    names.sort();
    names
}

fn tracepoints(category: &str, event: &str) -> Option<Vec<Probe>> {
    let tracefs = Tracefs::open().ok()?;
    let events = tracefs.path().join("events");
    let mut found = Vec::new();
    for category in folders(&events, category) {
        for event in folders(&events.join(&*category), event) {
            found.push(Probe::Tracepoint { category: category.clone(), event });
        }
    }
    Some(found)
}

/// A probe in full, as `probe` says it. Times and counters are in the words in which they are written.
pub(super) fn name(probe: &Probe, written: &str) -> Name {
    let provider = probe.provider();
    let of = |words: &[&str]| -> Name { format!("{provider}:{}", words.join(":")).into() };
    let words = written.split_once(':').map(|(_, words)| words);
    let as_written = words.filter(|words| !words.contains(['$', '"']));
    let optional = |module: &Option<Name>, rest: &str| match module {
        Some(module) => of(&[module, rest]),
        None => of(&[rest]),
    };
    match probe {
        Probe::Begin | Probe::End => provider.into(),
        Probe::Test(name) | Probe::Bench(name) => of(&[name]),
        Probe::SelfSignal(signal) => of(&["signal", signal]),
        Probe::Interval(period) | Probe::Profile(period) => {
            let (unit, count) = period.words();
            of(&[as_written.unwrap_or(&format!("{unit}:{count}"))])
        }
        Probe::Software { event, count } | Probe::Hardware { event, count } => {
            of(&[as_written.unwrap_or(&format!("{event}:{count}"))])
        }
        Probe::Tracepoint { category, event } => of(&[category, event]),
        Probe::RawTracepoint { module, event } => optional(module, event),
        Probe::Fentry { module, function, .. } => optional(module, function),
        Probe::FentryBpf { id, function, .. } => match id {
            Some(id) => of(&["bpf", &id.to_string(), function]),
            None => of(&["bpf", function]),
        },
        Probe::Kprobe { module, at, .. } => optional(module, &at.to_string()),
        Probe::Uprobe { file, is_cpp, at, .. } => match at {
            Address::Line { .. } => format!("{provider}:{file}@{at}").into(),
            _ if *is_cpp => of(&[file, "cpp", &at.to_string()]),
            _ => of(&[file, &at.to_string()]),
        },
        Probe::Usdt { file, provider: namespace, event } => match namespace {
            Some(namespace) => of(&[file, namespace, event]),
            None => of(&[file, event]),
        },
        Probe::Iter { object, pin } => match pin {
            Some(pin) => of(&[object, pin]),
            None => of(&[object]),
        },
        Probe::Watchpoint { address, length, mode } => {
            of(&[&format!("{address:#x}"), &length.to_string(), mode])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, is_meant) in [
            ("sys_enter_*", "sys_enter_read", true),
            ("*", "", true),
            ("*read*", "vfs_readv", true),
            ("*read", "vfs_readv", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(is_match(pattern, name), is_meant, "{pattern} {name}");
        }
    }
}

//! Wildcards, by what this kernel has.

use std::fs;
use std::path::Path;

use super::super::super::ast::AttachPoint;
use super::super::super::probe::{Address, Probe};
use super::super::super::types::Name;
use super::{Context, missing};
use crate::tracefs::Tracefs;

/// An attach point with its probe, or all that its wildcards mean.
pub fn expand(point: &AttachPoint, probe: Probe, context: &mut Context<'_>) -> Vec<AttachPoint> {
    let probes = match &probe {
        Probe::Tracepoint { category, event } => {
            let found = tracepoints(category, event);
            if found.is_empty() {
                missing(point, &format!("tracepoint {category}:{event}"), context);
            }
            found
        }
        _ => vec![probe],
    };
    let of =
        |probe: Probe| AttachPoint { name: name(&probe), probe: Some(probe), span: point.span };
    probes.into_iter().map(of).collect()
}

/// Whether a word has signs that stand for others.
fn has_wildcard(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether a name is meant by a word in which `*` stands for anything.
pub(super) fn is_match(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
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

fn tracepoints(category: &Name, event: &Name) -> Vec<Probe> {
    let Ok(tracefs) = Tracefs::open() else {
        // Whoever attaches it says why it can't be.
        return vec![Probe::Tracepoint { category: category.clone(), event: event.clone() }];
    };
    let events = tracefs.path().join("events");
    let mut found = Vec::new();
    for category in folders(&events, category) {
        for event in folders(&events.join(&*category), event) {
            found.push(Probe::Tracepoint { category: category.clone(), event });
        }
    }
    found
}

/// A probe in full, as `probe` says it.
fn name(probe: &Probe) -> Name {
    let provider = probe.provider();
    let of = |words: &[&str]| -> Name { format!("{provider}:{}", words.join(":")).into() };
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
            of(&[unit, &count.to_string()])
        }
        Probe::Software { event, count } | Probe::Hardware { event, count } => {
            of(&[event, &count.to_string()])
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

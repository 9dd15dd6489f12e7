//! The kernel's probes.

use std::collections::HashMap;
use std::fs;

use super::{Listed, c};
use crate::btf::{Btf, Id, Kind};
use crate::lang::ktypes::{self, KernelTypes};
use crate::lang::probe::{HARDWARE, SIGNALS, SOFTWARE};
use crate::lang::wildcard::is_match;
use crate::tracefs::Tracefs;

/// Those of a provider whose words fit, in the order of their words.
pub(super) fn probes(
    provider: &str,
    words: &str,
    types: &KernelTypes,
    is_verbose: bool,
) -> Vec<Listed> {
    let named = |words: Vec<String>| {
        words.into_iter().map(|words| Listed { words, arguments: Vec::new() }).collect::<Vec<_>>()
    };
    let mut all = match provider {
        "interval" | "profile" => {
            named(["hz", "ms", "s", "us"].map(|unit| format!("{unit}:")).into())
        }
        "software" => named(events(SOFTWARE)),
        "hardware" => named(events(HARDWARE)),
        "self" => named(SIGNALS.iter().map(|signal| format!("signal:{signal}")).collect()),
        "tracepoint" => tracepoints(words, is_verbose),
        "kprobe" | "kretprobe" => named(kprobes(words)),
        "fentry" | "fexit" if words.starts_with(OF_PROGRAMS) => named(of_programs(types)),
        "fentry" | "fexit" => named(fentries()),
        "rawtracepoint" => types.btf().map(|btf| named(raw_tracepoints(btf))).unwrap_or_default(),
        "iter" => types.btf().map(|btf| named(iterators(btf))).unwrap_or_default(),
        _ => Vec::new(),
    };
    // A function of BPF programs may be named without their number.
    let words = match words.strip_prefix(OF_PROGRAMS).filter(|of| !of.contains(':')) {
        Some(function) if matches!(provider, "fentry" | "fexit") => {
            format!("{OF_PROGRAMS}*:{function}")
        }
        _ => words.to_owned(),
    };
    all.retain(|listed| is_match(&words, &listed.words));
    all.sort();
    all.dedup();
    let with_types = is_verbose && !all.is_empty() && !words.starts_with(OF_PROGRAMS);
    if let Some(btf) = types.btf().filter(|_| with_types) {
        add_arguments(provider, btf, &mut all);
    }
    all
}

fn events(names: &[(&str, &str)]) -> Vec<String> {
    let all = names.iter().flat_map(|(name, short)| [name, short]);
    all.filter(|name| !name.is_empty()).map(|name| format!("{name}:")).collect()
}

/// With their modules if the pattern has one.
fn kprobes(words: &str) -> Vec<String> {
    let has_module = words.contains(':');
    let word = |(module, name)| if has_module { format!("{module}:{name}") } else { name };
    ktypes::all_functions().into_iter().map(word).collect()
}

fn fentries() -> Vec<String> {
    ktypes::all_functions().into_iter().map(|(module, name)| format!("{module}:{name}")).collect()
}

/// What patterns of functions of BPF programs begin with.
const OF_PROGRAMS: &str = "bpf:";

fn of_programs(types: &KernelTypes) -> Vec<String> {
    let functions = types.programs().iter();
    functions.map(|of| format!("{OF_PROGRAMS}{}:{}", of.program, of.name)).collect()
}

fn raw_tracepoints(btf: &Btf) -> Vec<String> {
    let typedefs = btf.ids().filter(|id| matches!(btf.kind(*id), Kind::Typedef(_)));
    let names = typedefs.filter_map(|id| btf.name(id).strip_prefix("btf_trace_"));
    names.map(|name| format!("vmlinux:{name}")).collect()
}

fn iterators(btf: &Btf) -> Vec<String> {
    let structs = btf.ids().filter(|id| matches!(btf.kind(*id), Kind::Struct(_)));
    let names = structs.filter_map(|id| btf.name(id).strip_prefix("bpf_iter__"));
    // Types that the verifier has for itself.
    names.filter(|name| !name.contains("__")).map(str::to_owned).collect()
}

fn tracepoints(words: &str, is_verbose: bool) -> Vec<Listed> {
    let Ok(tracefs) = Tracefs::open() else { return Vec::new() };
    let events = tracefs.path().join("events");
    let folders = |path: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let (category, _) = words.split_once(':').unwrap_or(("*", words));
    let mut all = Vec::new();
    for group in folders(&events).into_iter().filter(|group| is_match(category, group)) {
        for event in folders(&events.join(&group)) {
            let found = format!("{group}:{event}");
            if !is_match(words, &found) {
                continue;
            }
            let format = tracefs.event(&group, &event).join("format");
            let format = is_verbose.then(|| fs::read_to_string(format).ok()).flatten();
            let arguments = fields(&format.unwrap_or_default());
            all.push(Listed { words: found, arguments });
        }
    }
    all
}

/// The fields of a tracepoint's format that are its own.
fn fields(format: &str) -> Vec<String> {
    let own = format.lines().skip_while(|line| !line.is_empty());
    let declared = own.filter_map(|line| line.strip_prefix("\tfield:")?.split(';').next());
    declared.map(str::to_owned).collect()
}

fn add_arguments(provider: &str, btf: &Btf, all: &mut [Listed]) {
    let is_wanted = |kind| match provider {
        "iter" => matches!(kind, Kind::Struct(_)),
        "rawtracepoint" => matches!(kind, Kind::Typedef(_)),
        _ => matches!(kind, Kind::Function(_)),
    };
    // All names once, since there may be as many probes.
    let ids = btf.ids().filter(|id| is_wanted(btf.kind(*id)));
    let ids: HashMap<&str, Id> = ids.map(|id| (btf.name(id), id)).collect();
    for listed in all {
        let name = listed.words.rsplit(':').next().unwrap_or_default();
        let found = |name: &str| ids.get(name).copied();
        let arguments = match provider {
            "iter" => found(&format!("bpf_iter__{name}")).map(|id| members(btf, id)),
            "rawtracepoint" => found(&format!("btf_trace_{name}")).map(|id| {
                let Kind::Pointer(prototype) = btf.kind(btf.resolve(id)) else { return Vec::new() };
                // The first is the kernel's own.
                parameters(btf, prototype, 1)
            }),
            "kprobe" | "fentry" => found(name).map(|id| parameters(btf, id, 0)),
            "kretprobe" => found(name).map(|id| returned(btf, id).into_iter().collect()),
            "fexit" => found(name)
                .map(|id| parameters(btf, id, 0).into_iter().chain(returned(btf, id)).collect()),
            _ => None,
        };
        listed.arguments.extend(arguments.unwrap_or_default());
    }
}

fn parameters(btf: &Btf, function: Id, skip: usize) -> Vec<String> {
    let parameters = btf.parameters(function).skip(skip);
    parameters
        .map(|parameter| format!("{} {}", c::name(btf, parameter.ty), parameter.name))
        .collect()
}

fn returned(btf: &Btf, function: Id) -> Option<String> {
    let returns = btf.returns(function);
    (btf.kind(returns) != Kind::Void).then(|| format!("{} retval", c::name(btf, returns)))
}

/// Of an iterator's context, but for what all have.
fn members(btf: &Btf, context: Id) -> Vec<String> {
    // A pointer is in a union of its own, to have its room.
    let pointer = |id: Id| match btf.kind(id) {
        Kind::Union(_) => btf.members(id).next(),
        _ => None,
    };
    let members = btf.members(context);
    let members = members.map(|member| pointer(member.ty).unwrap_or(member));
    let own = members.filter(|member| member.name != "meta");
    own.map(|member| format!("{} {}", c::name(btf, member.ty), member.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracepoint_s_own_fields() {
        let format = "name: x\nformat:\n\tfield:unsigned short common_type;\toffset:0;\n\n\
                      \tfield:long id;\toffset:8;\tsize:8;\n\tfield:char comm[16];\toffset:16;\n\nprint fmt: \"\"\n";
        assert_eq!(fields(format), ["long id", "char comm[16]"]);
    }
}

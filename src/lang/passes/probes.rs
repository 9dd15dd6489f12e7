//! Attach points are taken apart: `kprobe:vfs_read+8` into its provider, function and offset.
//!
//! Wildcards of tracepoints are written out here, since each has arguments of its own. Those of functions stay, so that
//! one program can be attached to all of them at once.

use std::mem;

use super::super::ast::{AttachPoint, Probe as Body, Script};
use super::super::config::MissingProbes;
use super::super::probe::Probe;
use super::super::source::Span;
use super::Context;
use crate::filter::nearest;

mod expand;
mod parts;

/// Providers by their names and short names.
const PROVIDERS: &[(&str, &str)] = &[
    ("begin", "BEGIN"),
    ("end", "END"),
    ("self", ""),
    ("test", ""),
    ("bench", ""),
    ("kprobe", "k"),
    ("kretprobe", "kr"),
    ("uprobe", "u"),
    ("uretprobe", "ur"),
    ("usdt", "U"),
    ("tracepoint", "t"),
    ("rawtracepoint", "rt"),
    ("profile", "p"),
    ("interval", "i"),
    ("software", "s"),
    ("hardware", "h"),
    ("watchpoint", "w"),
    ("fentry", "f"),
    ("fexit", "fr"),
    ("fentry", "kfunc"),
    ("fexit", "kretfunc"),
    ("iter", "it"),
];

/// Takes all attach points apart. Probes that nothing is left of are gone then.
pub fn run(script: &mut Script, context: &mut Context<'_>) {
    for probe in &mut script.probes {
        let points = mem::take(&mut probe.attach_points);
        for point in points {
            match parts::parse(&point.name, context) {
                Ok(parsed) => probe.attach_points.extend(expand::expand(&point, parsed, context)),
                Err(wrong) => tell(&point, &wrong, context),
            }
        }
    }
    let (options, has_errors) = (context.options, context.diagnostics.errors() > 0);
    script.probes.retain(|probe| !probe.attach_points.is_empty());
    script.probes.iter_mut().for_each(|probe| {
        probe.attach_points.retain(|point| match point.probe {
            Some(Probe::Test(_)) => options.test,
            Some(Probe::Bench(_)) => options.bench,
            _ => !options.test && !options.bench,
        });
    });
    script.probes.retain(|probe| !probe.attach_points.is_empty());
    if script.probes.is_empty() && !has_errors {
        context.diagnostics.error(Span::default(), "No probes to attach");
    }
    let probes = mem::take(&mut script.probes);
    script.probes = probes.into_iter().flat_map(split).collect();
}

/// An attach point that isn't there, as the program wants it told.
fn missing(point: &AttachPoint, what: &str, context: &mut Context<'_>) {
    let message = format!("No matches for {what}.");
    match context.config.missing_probes {
        MissingProbes::Error => {
            context
                .diagnostics
                .error(point.span, message)
                .hint("If this is expected, set the 'missing_probes' config variable to 'warn'.");
        }
        MissingProbes::Warn => {
            context.diagnostics.warn(point.span, format!("{message} Skipping."));
        }
        MissingProbes::Ignore => {}
    }
}

fn tell(point: &AttachPoint, wrong: &str, context: &mut Context<'_>) {
    let told = context.diagnostics.error(point.span, wrong);
    if let Some(word) = wrong.strip_prefix("Invalid probe type: ") {
        let names = PROVIDERS.iter().map(|(name, _)| *name);
        if let Some(near) = nearest(word, names) {
            told.hint(format!("Did you mean '{near}'?"));
        }
    }
}

/// One probe for each attach point whose code isn't that of the others.
fn split(probe: Body) -> Vec<Body> {
    if probe.attach_points.len() == 1 {
        return vec![probe];
    }
    let of = |point: AttachPoint| Body { attach_points: vec![point], ..probe.clone() };
    probe.attach_points.clone().into_iter().map(of).collect()
}

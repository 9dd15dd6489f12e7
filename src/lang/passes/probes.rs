//! Attach points are taken apart: `kprobe:vfs_read+8` into its provider, function and offset.
//!
//! Wildcards are written out by what this kernel has. Places whose code is the same stay together, so that one program can be
//! attached to all of them at once.

use std::collections::HashMap;
use std::mem;

use super::super::ast::{AttachPoint, BinaryOp, Expr, ExprKind, Probe as Body, Script};
use super::super::config::MissingProbes;
use super::super::functions::Function;
use super::super::probe::{PROVIDERS, Probe};
use super::super::source::Span;
use super::super::walk::{self, Visit};
use super::super::wildcard::has_wildcard;
use super::Context;
use crate::filter::nearest;

mod expand;
mod files;
mod near;
mod parts;

pub(super) use near::alike;

/// Whether this kernel and its files have what the program is to be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    Found,
    /// With a probe that isn't there, what it assigns to is gone, and every use of that would look like a mistake.
    Missing,
}

/// Takes all attach points apart. Probes that nothing is left of are gone then: perhaps all.
pub(super) fn run(script: &mut Script, context: &mut Context<'_>) -> Places {
    let mut found = Places::Found;
    // What isn't there, by the probes that it was to be attached for.
    let mut sought: HashMap<Span, Vec<Probe>> = HashMap::new();
    for probe in &mut script.probes {
        let points = mem::take(&mut probe.attach_points);
        for point in points {
            match parts::parse(&point.name, context) {
                Ok(parsed) => {
                    let places = expand::expand(&point, &parsed, context);
                    if places.is_empty() {
                        found = Places::Missing;
                        if !has_wildcard(&point.name) {
                            sought.entry(probe.span).or_default().push(parsed);
                        }
                    }
                    probe.attach_points.extend(places);
                }
                Err(wrong) => tell(&point, &wrong, context),
            }
        }
    }
    no_places(script, &sought, context);
    script.probes.retain(|probe| !probe.attach_points.is_empty());
    let probes = mem::take(&mut script.probes);
    script.probes = probes.into_iter().flat_map(split).collect();
    limit(script, context);
    if let Some(pid) = context.options.pid {
        script.probes.iter_mut().for_each(|probe| only_process(probe, pid));
    }
    found
}

/// Probes that none of their attach points is left of.
fn no_places(script: &Script, sought: &HashMap<Span, Vec<Probe>>, context: &mut Context<'_>) {
    const REMOVED: &str = " It is being removed which may cause issues with program behavior.";

    if context.diagnostics.errors() > 0 {
        return;
    }
    let message = "Probe has no valid attach points.";
    for probe in script.probes.iter().filter(|probe| probe.attach_points.is_empty()) {
        let mut sought = sought.get(&probe.span).into_iter().flatten().rev();
        tell_missing(probe.span, message, REMOVED, context, |context| {
            sought.find_map(|probe| meant(probe, context)).into_iter().collect()
        });
    }
}

/// No more programs and places than the settings allow.
fn limit(script: &Script, context: &mut Context<'_>) {
    let places: usize = script.probes.iter().map(|probe| probe.attach_points.len()).sum();
    let (programs, config) = (script.probes.len() as u64, &context.config);
    let (message, name) = if programs > config.max_bpf_progs {
        let message = format!(
            "Your program is trying to generate more than {programs} BPF programs, which exceeds \
             the current limit of {}",
            config.max_bpf_progs
        );
        (message, "BPFTRACE_MAX_BPF_PROGS")
    } else if places as u64 > config.max_probes {
        let message = format!(
            "Can't attach to {places} probes because it exceeds the current limit of {} probes.",
            config.max_probes
        );
        (message, "BPFTRACE_MAX_PROBES")
    } else {
        return;
    };
    let span = script.probes.last().map(|probe| probe.span).unwrap_or_default();
    let hint = format!("You can increase the limit through the {name} environment variable.");
    context.diagnostics.error(span, message).hint(hint);
}

/// An attach point that isn't there, as the program wants it told.
fn missing(point: &AttachPoint, probe: &Probe, what: &str, context: &mut Context<'_>) {
    const EXPECTED: &str =
        "If this is expected, set the 'missing_probes' config variable to 'warn'.";

    let message = format!("No matches for {what}.");
    tell_missing(point.span, &message, " Skipping.", context, |context| {
        [EXPECTED.to_owned()].into_iter().chain(meant(probe, context)).collect()
    });
}

/// What isn't there, as `missing_probes` wants it told: an error with hints, or a warning of what follows.
fn tell_missing(
    span: Span,
    message: &str,
    follows: &str,
    context: &mut Context<'_>,
    hints: impl FnOnce(&Context<'_>) -> Vec<String>,
) {
    match context.config.missing_probes {
        MissingProbes::Error => {
            let hints = hints(context);
            let told = context.diagnostics.error(span, message);
            hints.into_iter().for_each(|hint| _ = told.hint(hint));
        }
        MissingProbes::Warn => {
            context.diagnostics.warn(span, format!("{message}{follows}"));
        }
        MissingProbes::Ignore => {}
    }
}

/// A hint at what is there, and named alike.
fn meant(probe: &Probe, context: &Context<'_>) -> Option<String> {
    near::near(probe, context).map(|near| format!("Did you mean '{near}'?"))
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
    let Body { attach_points, mut body, locals, span } = probe;
    let mut depends = Depends::default();
    depends.block(&mut body);
    let mut bodies: Vec<Body> = Vec::new();
    for point in attach_points {
        let provider = |point: &AttachPoint| point.probe.as_ref().map(Probe::provider);
        let shared = bodies.last_mut().filter(|last| {
            let is_same = provider(&last.attach_points[0]) == provider(&point);
            is_same && !depends.on_place && can_share(&point)
        });
        match shared {
            Some(last) => last.attach_points.push(point),
            None => bodies.push(Body {
                attach_points: vec![point],
                body: body.clone(),
                locals: locals.clone(),
                span,
            }),
        }
    }
    bodies
}

/// Whether one program can be attached to several such places.
fn can_share(point: &AttachPoint) -> bool {
    matches!(
        point.probe,
        Some(Probe::Kprobe { .. } | Probe::Uprobe { .. } | Probe::Tracepoint { .. })
    )
}

/// Whether code says something about where it is attached.
#[derive(Default)]
struct Depends {
    on_place: bool,
}

impl Visit for Depends {
    fn expr(&mut self, expr: &mut Expr) {
        let is_of_place = matches!(
            expr.kind,
            ExprKind::Function {
                function: Function::Args | Function::Probe | Function::Ctx | Function::Uaddr,
                ..
            }
        );
        self.on_place |= is_of_place;
        walk::walk_expr(self, expr);
    }
}

/// Where -p is the program's to look at, since the kernel doesn't for such probes.
fn only_process(probe: &mut Body, pid: u32) {
    let is_ours = probe.attach_points.iter().any(|point| {
        matches!(
            point.probe,
            Some(
                Probe::Kprobe { .. }
                    | Probe::Fentry { .. }
                    | Probe::FentryBpf { .. }
                    | Probe::Tracepoint { .. }
                    | Probe::RawTracepoint { .. }
            )
        )
    });
    if !is_ours {
        return;
    }
    let span = probe.span;
    let own = ExprKind::Function { function: Function::Pid, arguments: Vec::new() };
    let kind = ExprKind::Binary {
        op: BinaryOp::Eq,
        left: Box::new(Expr::new(own, span)),
        right: Box::new(Expr::new(ExprKind::Int(i128::from(pid)), span)),
    };
    let body = mem::take(&mut probe.body);
    probe.body = body.guarded(Expr::new(kind, span), span);
}

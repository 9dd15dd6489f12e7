//! `nettrace doctor`: what works here, what doesn't, why, and what to do about it. It loads and
//! attaches the probes for real, for a moment, following nothing but itself.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use crate::cli::DoctorFormat;
use crate::kernel::{self, Reason, Unsupported};
use crate::privileges;
use crate::probes::ladder::{Hook, Refused, Rung, Standing, Way};
use crate::probes::path::PathProbe;
use crate::probes::{capture, drops, flows, ifaces, path, sockets, syscalls, xdp};
use crate::session::{Options, Session};

/// No namespace has it.
const NO_NETNS: u32 = 1;

/// A fact of this machine.
struct Fact {
    name: &'static str,
    value: String,
    good: bool,
    todo: Option<String>,
}

struct Report {
    facts: Vec<Fact>,
    hooks: Vec<(&'static str, Standing)>,
    failure: Option<String>,
}

/// Prints the report; the status is 3 if the socket table can't be had.
///
/// # Errors
/// Where it can't be written.
pub fn run(format: DoctorFormat) -> Result<i32> {
    let report = examine();
    let text = match format {
        DoctorFormat::Table => table(&report),
        DoctorFormat::Json => format!("{:#}\n", document(&report)),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if report.failure.is_some() { 3 } else { 0 })
}

fn examine() -> Report {
    let mut hooks = Vec::new();
    let mut failure = None;
    let sockets = sockets::Options {
        pids: vec![std::process::id()],
        follow_forks: true,
        ..sockets::Options::default()
    };
    let calls = syscalls::Options {
        pids: vec![std::process::id()],
        follow_forks: true,
        stacks: true,
        ..syscalls::Options::default()
    };
    match Session::open(Options { sockets: Some(sockets), ..Options::default() }) {
        Ok(session) => hooks.extend(standings(&session)),
        Err(error) => {
            failure = Some(match error.downcast_ref::<Unsupported>() {
                Some(unsupported) => unsupported.why.to_string(),
                None => format!("{error:#}"),
            });
        }
    }
    match Session::open(Options { syscalls: Some(calls), ..Options::default() }) {
        Ok(session) => hooks.extend(standings(&session)),
        Err(error) => hooks.push(("syscalls", syscalls::not_had(&error))),
    }
    let drops = drops::Options { netns: NO_NETNS, ..drops::Options::default() };
    match Session::open(Options { drops: Some(drops), ..Options::default() }) {
        Ok(session) => hooks.extend(standings(&session)),
        Err(error) => hooks.push(("drops", drops::not_had(&error))),
    }
    // No interface: it is loaded and asked for tcx, and no packet passes it.
    match Session::open(Options { flows: Some(flows::Options::default()), ..Options::default() }) {
        Ok(session) => hooks.extend(standings(&session)),
        Err(error) => hooks.push(("flows", flows::not_had(&error))),
    }
    match Session::open(Options {
        capture: Some(capture::Options::default()),
        ..Options::default()
    }) {
        Ok(session) => hooks.extend(standings(&session)),
        Err(error) => hooks.push(("capture", capture::not_had(&error))),
    }
    match Session::open(Options { xdp: Some(xdp::Options::default()), ..Options::default() }) {
        Ok(session) => hooks.extend(standings(&session)),
        Err(error) => hooks.push(("xdp", xdp::not_had(&error))),
    }
    hooks.extend(paths());
    hooks.push(("ifaces", interfaces()));
    Report { facts: facts(), hooks, failure }
}

fn standings(session: &Session) -> Vec<(&'static str, Standing)> {
    session.standings().map(|(probe, standing)| (probe, standing.clone())).collect()
}

/// At one function, or tracepoint, for all: attaching to many takes longer than a moment.
fn paths() -> Vec<(&'static str, Standing)> {
    let functions = ["ip_rcv", "netif_receive_skb"].map(str::to_owned).to_vec();
    let options = path::Options { netns: NO_NETNS, functions, ..path::Options::default() };
    match PathProbe::open(&options, &mut |_, _| ()) {
        Ok(probe) => probe.standings().iter().map(|standing| ("path", standing.clone())).collect(),
        Err(error) => vec![("path", path::not_had(&error))],
    }
}

fn interfaces() -> Standing {
    const TARGET: &str = "rtnetlink";
    let hook = Hook::new(Rung::Netlink, TARGET, "");
    let outcome = ifaces::read(None);
    let refused = |error| Refused {
        rung: Rung::Netlink,
        target: TARGET,
        reason: Reason::Refused(format!("{error:#}")),
    };
    Standing {
        datum: "counters",
        words: "counters of interfaces, and what is attached to them",
        required: false,
        way: outcome.is_ok().then(|| Way::new(Rung::Netlink, [hook])),
        above: outcome.err().into_iter().map(refused).collect(),
    }
}

fn facts() -> Vec<Fact> {
    let good = |name, value: String| Fact { name, value, good: true, todo: None };
    let bad = |name, value: &str, todo: String| Fact {
        name,
        value: value.to_owned(),
        good: false,
        todo: Some(todo),
    };
    let mut facts =
        vec![good("kernel", format!("{} {}", kernel::release(), std::env::consts::ARCH))];
    facts.push(if kernel::has_btf() {
        good("BTF", "yes".to_owned())
    } else {
        bad("BTF", "no", "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_owned())
    });
    facts.push(good("lockdown", kernel::lockdown().unwrap_or_else(|| "none".to_owned())));
    let wanted: Vec<_> = privileges::needed().into_iter().chain(privileges::USEFUL).collect();
    let missing = privileges::missing(&wanted);
    facts.push(if missing.is_empty() {
        good("capabilities", "all that are needed".to_owned())
    } else {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let names = format!("{} missing", names.join(", "));
        bad("capabilities", &names, privileges::setcap_line())
    });
    facts.push(match kernel::tracefs() {
        Some(path) => good("tracefs", path.display().to_string()),
        // Nothing needs it yet, so it is no fault.
        None => good("tracefs", "not mounted".to_owned()),
    });
    facts.push(match kernel::cgroup2() {
        Some(path) => good("cgroup v2", path.display().to_string()),
        None => bad(
            "cgroup v2",
            "not mounted",
            "containers of processes that ended have no name; mount -t cgroup2 none /sys/fs/cgroup"
                .to_owned(),
        ),
    });
    facts
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    for fact in &report.facts {
        let mark = if fact.good { "ok" } else { "!!" };
        text.push_str(&format!("{mark}  {:<13} {}\n", fact.name, fact.value));
        if let Some(todo) = &fact.todo {
            text.push_str(&format!("    {:<13} → {todo}\n", ""));
        }
    }
    text.push('\n');
    if let Some(failure) = &report.failure {
        text.push_str(&format!("!!  sockets       can't be had: {failure}\n"));
    }
    for (probe, standing) in &report.hooks {
        let mark = if standing.way.is_some() { "ok" } else { "!!" };
        let rung = standing.way.as_ref().map_or("-", |way| way.rung.name());
        let targets = targets(standing);
        text.push_str(&format!("{mark}  {probe:<13} {rung:<8} {}\n", standing.words));
        if !targets.is_empty() {
            text.push_str(&format!("    {:<13} {:<8} by {}\n", "", "", targets.join(", ")));
        }
        for refused in &standing.above {
            text.push_str(&format!("    {:<13} {:<8} not {refused}\n", "", ""));
        }
    }
    text
}

/// What a datum is attached to, each once.
fn targets(standing: &Standing) -> Vec<&'static str> {
    let hooks = standing.way.iter().flat_map(|way| &way.hooks);
    let hooks = hooks.filter(|hook| hook.rung != Rung::Helper);
    let mut targets: Vec<&str> = hooks.map(|hook| hook.target).collect();
    targets.dedup();
    targets
}

fn document(report: &Report) -> serde_json::Value {
    let facts: Vec<_> = report
        .facts
        .iter()
        .map(|fact| json!({"name": fact.name, "value": fact.value, "ok": fact.good, "todo": fact.todo}))
        .collect();
    let hooks: Vec<_> =
        report.hooks.iter().map(|(probe, standing)| hook(probe, standing)).collect();
    json!({
        "nettrace": env!("CARGO_PKG_VERSION"),
        "kernel": kernel::release(),
        "facts": facts,
        "hooks": hooks,
        "failure": report.failure,
    })
}

fn hook(probe: &str, standing: &Standing) -> serde_json::Value {
    let above = standing.above.iter().map(|refused| {
        json!({
            "rung": refused.rung.name(),
            "hook": refused.target,
            "reason": refused.reason.to_string(),
        })
    });
    json!({
        "probe": probe,
        "datum": standing.datum,
        "words": standing.words,
        "rung": standing.way.as_ref().map(|way| way.rung.name()),
        "hooks": targets(standing),
        "reason": standing.reason().map(ToString::to_string),
        "above": above.collect::<Vec<_>>(),
    })
}

//! `nettrace top`: tables of one view, interval by interval.

use std::time::Duration;

use anyhow::Result;

use crate::cli::{DashboardArgs, FlowArgs, FormatArg, TopArgs, XdpArgs, XdpModeArg};
use crate::columns;
use crate::filter::Filter;
use crate::model::View;
use crate::netns::Netns;
use crate::output;
use crate::probes::{Pace, drops, flows, ifaces, sockets, syscalls, xdp};
use crate::run::{self, Asked, Plan, Usage};
use crate::sample::{XdpMode, XdpWanted};
use crate::session;
use crate::tui::singles::DROPS_PER_SECOND;

/// Below it, reading costs more than it shows.
const LEAST_INTERVAL: f64 = 0.05;
const LONGEST_INTERVAL: f64 = 1e9;
const DEFAULT_INTERVAL: f64 = 1.0;

/// Runs `top` and returns the exit status.
///
/// # Errors
/// As [`run::run`].
pub fn run(args: &TopArgs) -> Result<i32> {
    run::run(plan(args)?)
}

#[derive(Debug, Default, PartialEq)]
struct Words {
    view: Option<View>,
    interval: Option<f64>,
    count: Option<u64>,
    filter: String,
}

fn plan(args: &TopArgs) -> Result<Plan> {
    let words = Words::parse(&args.words).map_err(Usage)?;
    let view = words.view.unwrap_or(View::Procs);
    check_scope(view, args).map_err(Usage)?;
    if view != View::Ifaces && args.xdp != XdpArgs::default() {
        return Err(Usage("--xdp-mode goes with the view ifaces".to_owned()).into());
    }
    let (mut plan, netns) = in_scope(view, &words.filter, args)?;
    run::check_filter(view, &plan.filter)?;
    let count = args.count.or(words.count);
    if args.count.is_some() && words.count.is_some() {
        return Err(Usage("write COUNT or --count, not both".to_owned()).into());
    }
    let has_command = !plan.command.is_empty();
    let default_count = if has_command || plan.duration.is_some() { 0 } else { 1 };
    plan.count = Some(count.unwrap_or(default_count)).filter(|count| *count > 0);
    let default_interval = (!has_command).then_some(DEFAULT_INTERVAL);
    plan.interval = words.interval.or(default_interval).map(Duration::from_secs_f64);
    if matches!(view, View::Flows | View::Ifaces) {
        check_interfaces(&args.sockets.interfaces, netns.as_ref())?;
    }
    if args.xdp != XdpArgs::default() && args.run.output.format == FormatArg::Table {
        let of_xdp = columns::OF_XDP.map(str::to_owned);
        plan.columns = plan.columns.or(Some(output::select(view, &of_xdp).map_err(Usage)?));
    }
    plan.probes = probes(&plan, args, netns)?;
    Ok(plan)
}

fn is_of_packets(view: View) -> bool {
    matches!(view, View::Drops | View::Flows)
}

/// What a trailing filter asks for.
fn asked(view: View, filter: &str) -> Result<Asked, Usage> {
    if is_of_packets(view) {
        return run::asked(filter);
    }
    Ok(Asked { rows: filter.to_owned(), ..Asked::default() })
}

/// The one interface that is named, if there is just one.
pub fn only_interface(names: &[String]) -> Option<&String> {
    let [name] = names else { return None };
    Some(name).filter(|name| *name != "any" && !name.contains('*'))
}

/// A plan of what the flags let through, and the namespace that they name.
fn in_scope(view: View, filter: &str, args: &TopArgs) -> Result<(Plan, Option<Netns>)> {
    let asked = asked(view, filter)?;
    let mut plan = Plan::new(view, &asked.rows, &args.run)?;
    plan.packets = asked.packets;
    let netns = run::open_netns(args.sockets.netns.as_deref())?;
    // Of drops and flows the kernel's side looks at the namespace.
    if let Some(netns) = netns.as_ref().filter(|_| !is_of_packets(view)) {
        plan.filter.and_netns(netns.inode());
    }
    if args.sockets.v4 || args.sockets.v6 {
        plan.filter.and_family(args.sockets.v6);
    }
    plan.interfaces.clone_from(&args.sockets.interfaces);
    Ok((plan, netns))
}

/// What the dashboard begins with.
#[derive(Debug)]
pub struct Start {
    /// The first view, if one was named or follows.
    pub view: Option<View>,
    /// Between two pictures.
    pub interval: Option<Duration>,
    /// A filter to begin with, which can be taken away.
    pub filter: String,
    /// An expression of packets, which stays; empty if there is none.
    pub expression: String,
    /// What of the server is looked at all the while.
    pub plan: Plan,
}

/// What the dashboard begins with, by the words and flags of `top`.
///
/// # Errors
/// As `top` has them.
pub fn dashboard(args: &DashboardArgs) -> Result<Start> {
    let top = TopArgs::from(args);
    let words = Words::parse(&top.words).map_err(Usage)?;
    if words.count.is_some() {
        return Err(
            Usage("the dashboard goes on until q; nettrace top takes COUNT".to_owned()).into()
        );
    }
    let is_of_interfaces = !top.sockets.interfaces.is_empty() || top.xdp != XdpArgs::default();
    let view = words.view.or(is_of_interfaces.then_some(View::Ifaces));
    check_scope(view.unwrap_or(View::Procs), &top).map_err(Usage)?;
    let asked = asked(view.unwrap_or(View::Procs), &words.filter)?;
    let filter = Filter::parse(&asked.rows);
    let filter = filter.map_err(|error| Usage(error.pointed(&asked.rows)))?;
    if let Some(view @ (View::Syscalls | View::Flows)) = view {
        run::check_filter(view, &filter)?;
    }
    let (mut plan, netns) = in_scope(view.unwrap_or(View::Procs), "", &top)?;
    plan.packets = asked.packets;
    let flows = flows_of_dashboard(&plan, &top)?;
    let xdp = of_xdp(&top)?;
    plan.probes = session::Options {
        sockets: Some(sockets::Options {
            events: Some(Pace::Tick),
            ..of_sockets(&plan, &top, netns.as_ref())
        }),
        syscalls: (!args.no_syscalls).then(|| plan.syscalls(&top.run)),
        drops: Some(drops::Options {
            events_per_second: Some(DROPS_PER_SECOND),
            pace: Pace::Tick,
            ..of_drops(&plan, netns.as_ref())
        }),
        flows,
        ifaces: true,
        xdp,
        netns,
        ..session::Options::default()
    };
    let interval = words.interval.map(Duration::from_secs_f64);
    Ok(Start { view, interval, filter: asked.rows, expression: asked.expression, plan })
}

/// The dashboard has programs on interfaces that are named alone.
fn flows_of_dashboard(plan: &Plan, args: &TopArgs) -> Result<Option<flows::Options>> {
    let interfaces = &args.sockets.interfaces;
    if interfaces.is_empty() {
        return Ok(None);
    }
    let netns = run::open_netns(args.sockets.netns.as_deref())?;
    check_interfaces(interfaces, netns.as_ref())?;
    Ok(Some(of_flows(plan, args, netns)))
}

fn of_sockets(plan: &Plan, args: &TopArgs, netns: Option<&Netns>) -> sockets::Options {
    sockets::Options {
        netns: netns.map_or(0, Netns::inode),
        pids: plan.pids.clone(),
        unix: args.sockets.unix,
        ring_bytes: args.run.ring_size,
        ..sockets::Options::default()
    }
}

fn of_drops(plan: &Plan, netns: Option<&Netns>) -> drops::Options {
    drops::Options {
        netns: netns.map_or(0, Netns::inode),
        interface: only_interface(&plan.interfaces).cloned(),
        filter: plan.packets.clone(),
        ..drops::Options::default()
    }
}

fn of_flows(plan: &Plan, args: &TopArgs, netns: Option<Netns>) -> flows::Options {
    flows::Options {
        netns,
        interfaces: wanted_interfaces(args),
        inner: args.flows.inner,
        entries: args.flows.entries,
        filter: plan.packets.clone(),
        ..flows::Options::default()
    }
}

/// Before the stack, if that is wanted.
fn of_xdp(args: &TopArgs) -> Result<Option<xdp::Options>> {
    let wanted = match args.xdp.xdp_mode {
        XdpModeArg::Off => return Ok(None),
        XdpModeArg::Auto => XdpWanted::Auto,
        XdpModeArg::Native => XdpWanted::Only(XdpMode::Native),
        XdpModeArg::Skb => XdpWanted::Only(XdpMode::Skb),
        XdpModeArg::Hw => XdpWanted::Only(XdpMode::Hw),
    };
    let netns = run::open_netns(args.sockets.netns.as_deref())?;
    Ok(Some(xdp::Options { netns, interfaces: wanted_interfaces(args), wanted }))
}

/// All but the loopback, where none is named.
fn wanted_interfaces(args: &TopArgs) -> Vec<String> {
    let mut interfaces = args.sockets.interfaces.clone();
    if interfaces.is_empty() {
        interfaces.push("any".to_owned());
    }
    interfaces
}

/// Makes sure that there are the interfaces that are named in full.
fn check_interfaces(names: &[String], netns: Option<&Netns>) -> Result<()> {
    let named: Vec<_> = names.iter().filter(|name| *name != "any" && !name.contains('*')).collect();
    if named.is_empty() {
        return Ok(());
    }
    let here = ifaces::read(netns)?;
    named.into_iter().try_for_each(|name| run::check_interface(name, &here))
}

fn probes(plan: &Plan, args: &TopArgs, netns: Option<Netns>) -> Result<session::Options> {
    if plan.view == View::Ifaces {
        let xdp = of_xdp(args)?;
        return Ok(session::Options { ifaces: true, xdp, netns, ..session::Options::default() });
    }
    Ok(probes_of_packets(plan, args, netns))
}

fn probes_of_packets(plan: &Plan, args: &TopArgs, netns: Option<Netns>) -> session::Options {
    if plan.view == View::Drops {
        let drops = of_drops(plan, netns.as_ref());
        return session::Options {
            // They refuse connections on no interface.
            listeners: drops.interface.is_none().then(|| crate::drops::listeners(drops.netns)),
            drops: Some(drops),
            ..session::Options::default()
        };
    }
    if plan.view == View::Flows {
        return session::Options {
            sockets: Some(sockets::Options { only_owners: true, ..of_sockets(plan, args, None) }),
            sockets_are_spared: true,
            flows: Some(of_flows(plan, args, netns)),
            ..session::Options::default()
        };
    }
    let sockets = of_sockets(plan, args, netns.as_ref());
    let syscalls =
        syscalls::Options { count_only: plan.view == View::Containers, ..plan.syscalls(&args.run) };
    session::Options {
        sockets: (plan.view != View::Syscalls).then_some(sockets),
        syscalls: matches!(plan.view, View::Syscalls | View::Containers).then_some(syscalls),
        ..session::Options::default()
    }
}

impl Words {
    /// `[VIEW] [INTERVAL [COUNT]] [FILTER]…`, told apart by their looks.
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut parsed = Words::default();
        let mut rest = words.iter().map(String::as_str).peekable();
        let is_filter = |word: &str| {
            let body = word.strip_prefix('!').unwrap_or(word);
            body.starts_with('/') || body.contains(':')
        };
        let is_number =
            |word: &str| word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        if let Some(word) = rest.next_if(|word| !is_filter(word) && !is_number(word)) {
            parsed.view = Some(word.parse()?);
        }
        if let Some(word) = rest.next_if(|word| is_number(word) && !is_filter(word)) {
            parsed.interval = Some(interval(word)?);
        }
        if let Some(word) = rest.next_if(|word| is_number(word) && !is_filter(word)) {
            let count =
                word.parse().map_err(|_| format!("“{word}” is no COUNT; write 5, or 0 for no end"));
            parsed.count = Some(count?);
        }
        parsed.filter = rest.collect::<Vec<_>>().join(" ");
        Ok(parsed)
    }
}

fn interval(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(seconds) if (LEAST_INTERVAL..=LONGEST_INTERVAL).contains(&seconds) => Ok(seconds),
        _ => Err(format!(
            "“{word}” is no INTERVAL; write seconds from {LEAST_INTERVAL} up, as 1 or 0.5"
        )),
    }
}

fn check_scope(view: View, args: &TopArgs) -> Result<(), String> {
    let (sockets, processes) = (&args.sockets, &args.run.processes);
    let of_interfaces = matches!(view, View::Ifaces | View::Drops | View::Flows);
    if !of_interfaces && !sockets.interfaces.is_empty() {
        return Err(format!(
            "-i goes with the views ifaces, drops and flows; what {view} counts has no interface"
        ));
    }
    if view == View::Drops && sockets.interfaces.len() > 1 {
        return Err("drops takes one -i; flows and ifaces take several".to_owned());
    }
    if view != View::Flows && args.flows != FlowArgs::default() {
        return Err("--flows and --inner go with the view flows".to_owned());
    }
    let about_processes = !processes.pids.is_empty()
        || !processes.comms.is_empty()
        || !processes.users.is_empty()
        || [&processes.cgroup, &processes.container, &processes.pod]
            .into_iter()
            .any(Option::is_some);
    let about_family = sockets.v4 || sockets.v6;
    let about_sockets = about_family || sockets.unix;
    if view == View::Syscalls && (about_sockets || sockets.netns.is_some()) {
        return Err(
            "syscalls counts all system calls; -4, -6, --unix and --netns are about sockets"
                .to_owned(),
        );
    }
    if view == View::Drops && (sockets.unix || about_processes) {
        return Err(
            "drops counts packets, whoever's they are; nettrace drops shows single ones, and filters those by process and address"
                .to_owned(),
        );
    }
    if view == View::Flows && sockets.unix {
        return Err(
            "flows counts packets on interfaces, which unix sockets have none of".to_owned()
        );
    }
    let has_filter = about_processes
        || about_sockets
        || args.words.iter().any(|word| word.contains(':') || word.contains('/'));
    if view == View::Ifaces && has_filter {
        return Err(
            "ifaces counts what is on the wire, whoever sent it; it takes -i and --netns only"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Words, String> {
        Words::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn parsed(
        view: Option<View>,
        interval: Option<f64>,
        count: Option<u64>,
        filter: &str,
    ) -> Words {
        Words { view, interval, count, filter: filter.to_owned() }
    }

    #[test]
    fn every_part_may_be_left_out() {
        assert_eq!(words(""), Ok(parsed(None, None, None, "")));
        assert_eq!(words("conns"), Ok(parsed(Some(View::Conns), None, None, "")));
        assert_eq!(words("2"), Ok(parsed(None, Some(2.0), None, "")));
        assert_eq!(words("hosts .5 0"), Ok(parsed(Some(View::Hosts), Some(0.5), Some(0), "")));
        assert_eq!(
            words("conns 1 port:443 !comm:curl"),
            Ok(parsed(Some(View::Conns), Some(1.0), None, "port:443 !comm:curl"))
        );
        assert_eq!(words("/a b/"), Ok(parsed(None, None, None, "/a b/")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(words("conn").unwrap_err(), "no view conn; did you mean conns?");
        assert_eq!(
            words("zzz").unwrap_err(),
            "no view zzz; there are procs conns hosts containers ifaces flows listeners syscalls drops"
        );
        assert_eq!(
            words("procs 0").unwrap_err(),
            "“0” is no INTERVAL; write seconds from 0.05 up, as 1 or 0.5"
        );
        for wrong in ["-1", "1e99", "1x"] {
            assert!(words(wrong).unwrap_err().contains("is no INTERVAL"), "{wrong}");
        }
        assert!(words("1 -3").unwrap_err().contains("is no COUNT"));
        assert!(words("1 1.5").unwrap_err().contains("is no COUNT"));
    }

    fn planned(words: &[&str], change: impl FnOnce(&mut TopArgs)) -> Result<Plan> {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        let mut args = TopArgs { words, ..TopArgs::default() };
        change(&mut args);
        plan(&args)
    }

    #[test]
    fn counts() {
        assert_eq!(planned(&[], |_| {}).unwrap().count, Some(1));
        assert_eq!(planned(&["1", "0"], |_| {}).unwrap().count, None);
        assert_eq!(planned(&["1"], |a| a.count = Some(3)).unwrap().count, Some(3));
        assert_eq!(planned(&[], |a| a.run.duration = Some(3.0)).unwrap().count, None);
        let with_command = planned(&[], |a| a.run.command = vec!["true".into()]).unwrap();
        assert_eq!((with_command.count, with_command.interval), (None, None));
        assert!(planned(&["1", "2"], |a| a.count = Some(3)).is_err());
    }

    #[test]
    fn the_dashboard_takes_the_same_and_keeps_the_filter_apart() {
        let start = |line: &str, change: fn(&mut DashboardArgs)| {
            let words = line.split_whitespace().map(str::to_owned).collect();
            let mut args = DashboardArgs { words, ..DashboardArgs::default() };
            change(&mut args);
            dashboard(&args)
        };
        let wrong = |line, change| {
            let error = start(line, change).unwrap_err();
            assert!(error.is::<Usage>());
            error.to_string()
        };
        let begun = start("conns .5 port:443", |a| a.processes.pids = vec![1]).unwrap();
        assert_eq!((begun.view, begun.filter.as_str()), (Some(View::Conns), "port:443"));
        assert_eq!(begun.interval, Some(Duration::from_millis(500)));
        assert!(begun.plan.filter.about_sockets().is_none() && !begun.plan.filter.is_empty());
        assert_eq!(begun.plan.probes.sockets.unwrap().pids, [1]);
        assert_eq!(begun.plan.probes.syscalls.unwrap().pids, [1]);

        let nobody: fn(&mut DashboardArgs) = |a| a.processes.pids = vec![4_194_305];
        assert_eq!(wrong("", nobody), "there is no process 4194305");
        assert!(wrong("procs 1 5", |_| {}).contains("takes COUNT"));
        assert!(wrong("port:x", |_| {}).contains("port:"));
        assert!(wrong("syscalls port:1", |_| {}).contains("port:"));
        assert!(wrong("syscalls", |a| a.sockets.v4 = true).contains("about sockets"));
        let on_lo: fn(&mut DashboardArgs) = |a| a.sockets.interfaces = vec!["lo".to_owned()];
        assert!(wrong("conns", on_lo).contains("-i goes with the views ifaces"));
        let begun = start("", on_lo).unwrap();
        assert_eq!(begun.view, Some(View::Ifaces));
        assert!(begun.plan.probes.flows.is_some());
        let begun = start("flows tcp port 443 dport:443", on_lo).unwrap();
        let flows = begun.plan.probes.flows.unwrap();
        assert_eq!((begun.filter.as_str(), flows.filter.is_some()), ("dport:443", true));
        assert_eq!(begun.expression, "tcp port 443");
        assert!(start("flows", |_| {}).unwrap().plan.probes.flows.is_none());
        assert!(wrong("flows tcp prt 1", on_lo).contains("syntax error"));
        assert!(wrong("conns tcp port 1", |_| {}).contains("is no filter"));
    }

    #[test]
    fn scopes_that_do_not_fit_are_refused() {
        let message = |words: &[&str], change: fn(&mut TopArgs)| {
            let error = planned(words, change).unwrap_err();
            assert!(error.is::<Usage>());
            error.to_string()
        };
        let on_eth0 = |a: &mut TopArgs| a.sockets.interfaces = vec!["eth0".to_owned()];
        assert!(message(&["conns"], on_eth0).contains("-i goes with the views ifaces"));
        assert!(message(&["ifaces"], |a| a.sockets.v4 = true).contains("on the wire"));
        assert!(message(&["ifaces", "port:1"], |_| {}).contains("on the wire"));
        assert_eq!(
            message(&[], |a| a.run.processes.users = vec!["nobody-here".to_owned()]),
            "there is no user nobody-here"
        );
        assert_eq!(
            message(&[], |a| a.run.processes.pids = vec![4_194_305]),
            "there is no process 4194305"
        );
        assert!(
            message(&[], |a| a.run.order.sort = Some("rx/z".to_owned()))
                .contains("did you mean RX/s?")
        );
    }
}

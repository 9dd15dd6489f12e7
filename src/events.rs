//! `nettrace events`: single events of all kinds, in the order of time.

use anyhow::Result;

use crate::cli::EventsArgs;
use crate::model::{EventKind, EventOptions, View};
use crate::netns::Netns;
use crate::output::Format;
use crate::probes::{Pace, drops, sockets, syscalls};
use crate::run::{self, Plan, Usage};
use crate::sample::DropKind;
use crate::session;

/// What the drop probe tells of.
const OF_DROPS: [(EventKind, &[DropKind]); 3] = [
    (EventKind::Retransmit, &[DropKind::Retransmit]),
    (EventKind::Reset, &[DropKind::ResetSent, DropKind::ResetReceived]),
    (EventKind::Drop, &[DropKind::Packet]),
];

/// Runs `events` and returns the exit status.
///
/// # Errors
/// As [`run::run`].
pub fn run(args: &EventsArgs) -> Result<i32> {
    let (plan, options) = plan(args)?;
    run::run_events(plan, options, args.count)
}

fn plan(args: &EventsArgs) -> Result<(Plan, EventOptions)> {
    let (filters, kinds): (Vec<&String>, Vec<&String>) =
        args.words.iter().partition(|word| looks_like_a_filter(word));
    let filters: Vec<&str> = filters.into_iter().map(String::as_str).collect();
    let named = kinds.into_iter().map(|word| kind(word)).collect::<Result<Vec<_>, _>>();
    let named = named.map_err(Usage)?;
    let run = args.run();
    let mut plan = Plan::new(View::Conns, &filters.join(" "), &run)?;
    if matches!(plan.format, Format::Csv | Format::Json) {
        return Err(Usage("events are one a line; -O ndjson has objects".to_owned()).into());
    }
    if named.contains(&EventKind::SlowSyscall) && args.slower_than.is_none() {
        return Err(
            Usage("slow-syscall needs --slower-than, as --slower-than 10ms".to_owned()).into()
        );
    }
    if let Some(key) = plan.filter.about_state() {
        return Err(Usage(format!("{key}: is of sockets, not of events; name the kinds")).into());
    }
    if args.v4 || args.v6 {
        plan.filter.and_family(args.v6);
    }
    let netns = run::open_netns(args.netns.as_deref())?;
    let netns = netns.as_ref().map_or(0, Netns::inode);
    let wants = |kind: EventKind| {
        let is_slow = kind == EventKind::SlowSyscall;
        if named.is_empty() {
            !is_slow || args.slower_than.is_some()
        } else {
            named.contains(&kind)
        }
    };
    let kinds: Vec<EventKind> = EventKind::ALL.into_iter().filter(|kind| wants(*kind)).collect();
    let slower_than = args.slower_than.filter(|_| wants(EventKind::SlowSyscall));
    plan.probes = session::Options {
        sockets: Some(sockets::Options {
            netns,
            pids: plan.pids.clone(),
            events: Some(Pace::Soon),
            ring_bytes: args.ring_size,
            ..sockets::Options::default()
        }),
        drops: of_drops(&kinds, named.is_empty()).map(|kinds| drops::Options {
            netns,
            kinds,
            events_per_second: Some(args.limit),
            ring_bytes: args.ring_size,
            ..drops::Options::default()
        }),
        syscalls: slower_than.map(|time| syscalls::Options {
            slower_than_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            ..plan.syscalls(&run)
        }),
        ..session::Options::default()
    };
    let only_owned = !plan.pids.is_empty() || !plan.command.is_empty();
    Ok((plan, EventOptions { kinds, only_owned, per_second: args.limit, stacks: false }))
}

/// What the drop probe is to tell, if anything; all where nothing is named, as far as this kernel has it.
fn of_drops(kinds: &[EventKind], are_all: bool) -> Option<Vec<DropKind>> {
    if are_all {
        return Some(Vec::new());
    }
    let wanted = OF_DROPS.iter().filter(|(kind, _)| kinds.contains(kind));
    let wanted: Vec<DropKind> = wanted.flat_map(|(_, kinds)| kinds.iter().copied()).collect();
    Some(wanted).filter(|kinds| !kinds.is_empty())
}

fn kind(word: &str) -> Result<EventKind, String> {
    match word.parse() {
        _ if word == "dns" => Err(
            "there are no events of dns: nettrace reads no payload; nettrace events close dport:53 has \
those over TCP"
                .to_owned(),
        ),
        Err(_) if word.parse::<f64>().is_ok() => {
            Err(format!("“{word}” is no event; --duration {word} ends it after {word} s"))
        }
        kind => kind,
    }
}

fn looks_like_a_filter(word: &str) -> bool {
    word.trim_start_matches('!').starts_with('/') || word.contains(':')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(words: &[&str]) -> EventsArgs {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        EventsArgs { words, limit: 1, ..EventsArgs::default() }
    }

    fn message(args: &EventsArgs) -> String {
        let error = plan(args).unwrap_err();
        assert!(error.is::<Usage>());
        error.to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(message(&of(&["conect"])).contains("did you mean connect?"));
        assert!(message(&of(&["10"])).contains("--duration 10"));
        assert!(message(&of(&["dns"])).contains("no payload"));
        assert!(message(&of(&["slow-syscall"])).contains("--slower-than 10ms"));
        assert!(message(&of(&["state:ESTAB"])).contains("name the kinds"));
        let mut csv = of(&[]);
        csv.output.format = crate::cli::FormatArg::Csv;
        assert!(message(&csv).contains("-O ndjson"));
    }

    #[test]
    fn help_has_no_form_that_is_refused() {
        for name in ["events", "drops"] {
            let mut all = <crate::cli::Cli as clap::CommandFactory>::command();
            let help = all.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(help.contains("ndjson") && !help.contains("csv"), "{help}");
        }
    }

    #[test]
    fn only_the_probes_of_the_kinds_are_opened() {
        let probes = |args: &EventsArgs| {
            let (plan, options) = plan(args).unwrap();
            let drops = plan.probes.drops.map(|drops| drops.kinds);
            (drops, plan.probes.syscalls.is_some(), options.kinds.len())
        };
        assert_eq!(probes(&of(&[])), (Some(vec![]), false, 7));
        assert_eq!(probes(&of(&["close", "dport:80"])), (None, false, 1));
        let resets = vec![DropKind::ResetSent, DropKind::ResetReceived];
        assert_eq!(probes(&of(&["reset"])), (Some(resets), false, 1));
        let slow = EventsArgs { slower_than: Some(Duration::from_millis(5)), ..of(&[]) };
        assert_eq!(probes(&slow), (Some(vec![]), true, 8));
    }
}

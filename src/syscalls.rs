//! `nettrace syscalls`: what is called, how long it takes and how it fails, as a summary at the end.

use anyhow::Result;

use crate::cli::{ByArg, SyscallsArgs};
use crate::columns;
use crate::model::{Grouping, View};
use crate::names::syscalls::select;
use crate::output::Format;
use crate::probes::syscalls;
use crate::run::{self, Plan, Usage};
use crate::session;

const WHO: &[(Grouping, &[&str])] = &[
    (Grouping::Call, &["syscall"]),
    (Grouping::Process, &["pid", "comm"]),
    (Grouping::Container, &["container"]),
    (Grouping::ThreadCall, &["pid", "tid", "comm", "syscall"]),
];
const COUNTS: [&str; 3] = ["calls", "errors", "top_errno"];
/// What a terminal of 80 columns has no room for comes last.
const TIMES: [&str; 6] = ["total_ns", "avg_ns", "p50_ns", "p99_ns", "max_ns", "share_percent"];

/// Runs `syscalls` and returns the exit status.
///
/// # Errors
/// As [`run::run`].
pub fn run(args: &SyscallsArgs) -> Result<i32> {
    run::run(plan(args)?)
}

fn plan(args: &SyscallsArgs) -> Result<Plan> {
    if let Some(word) = args.words.iter().find(|word| !looks_like_a_filter(word)) {
        return Err(Usage(no_filter(word)).into());
    }
    let mut plan = Plan::new(View::Syscalls, &args.words.join(" "), &args.run)?;
    run::check_filter(View::Syscalls, &plan.filter)?;
    let calls = Some(&args.syscall).filter(|words| !words.is_empty());
    let calls = calls.map(|words| select(words)).transpose().map_err(Usage)?;
    if args.slower_than.is_some() && plan.format == Format::Csv {
        return Err(
            Usage("--slower-than has no CSV; -O ndjson has a line a call".to_owned()).into()
        );
    }
    plan.grouping = match args.by {
        _ if args.threads => Grouping::ThreadCall,
        None | Some(ByArg::Syscall) => Grouping::Call,
        Some(ByArg::Process) => Grouping::Process,
        Some(ByArg::Container) => Grouping::Container,
    };
    plan.summary = true;
    plan.histograms = args.histogram;
    plan.stacks = args.stack;
    plan.count = Some(1);
    // A summary is whole, however small the terminal is.
    plan.rows = plan.rows.or(Some(0));
    if plan.columns.is_none() && plan.format == Format::Table {
        plan.columns = Some(columns_of(plan.grouping, args.count_only));
    }
    let options = syscalls::Options {
        calls,
        errors_only: args.errors,
        count_only: args.count_only,
        slower_than_ns: args.slower_than.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(0)),
        stacks: args.stack,
        ..plan.syscalls(&args.run)
    };
    plan.probes = session::Options { syscalls: Some(options), ..session::Options::default() };
    Ok(plan)
}

fn looks_like_a_filter(word: &str) -> bool {
    word.trim_start_matches('!').starts_with('/') || word.contains(':')
}

/// What was meant, maybe.
fn no_filter(word: &str) -> String {
    let instead = match word {
        _ if word.parse::<f64>().is_ok() => format!("--duration {word} ends it after {word} s"),
        _ if word.starts_with('%') => format!("calls are chosen by --syscall {word}"),
        _ => format!("a command goes behind --, as in nettrace syscalls -- {word}"),
    };
    format!("“{word}” is no filter, as comm:nginx is; {instead}")
}

/// The columns of a summary, in order.
pub fn columns_of(grouping: Grouping, count_only: bool) -> Vec<usize> {
    let who = WHO.iter().find(|(of, _)| *of == grouping).map_or(&[][..], |(_, keys)| keys);
    let times = if count_only { &[][..] } else { &TIMES };
    let keys = who.iter().chain(&COUNTS).chain(times);
    keys.filter_map(|key| columns::find(View::Syscalls, key).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_say_what_a_row_is_of() {
        let titles = |grouping, count_only| -> Vec<&str> {
            let all = columns::of_view(View::Syscalls);
            columns_of(grouping, count_only).into_iter().map(|index| all[index].title).collect()
        };
        assert_eq!(titles(Grouping::Process, true), ["PID", "COMM", "CALLS", "ERR", "TOPERRNO"]);
        assert_eq!(
            titles(Grouping::Call, false),
            ["SYSCALL", "CALLS", "ERR", "TOPERRNO", "TOTAL", "AVG", "P50", "P99", "MAX", "%TIME"]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |change: fn(&mut SyscallsArgs)| {
            let mut args = SyscallsArgs::default();
            change(&mut args);
            let error = plan(&args).unwrap_err();
            assert!(error.is::<Usage>());
            error.to_string()
        };
        assert!(message(|a| a.syscall = vec!["raed".to_owned()]).contains("did you mean read"));
        assert!(message(|a| a.words = vec!["port:80".to_owned()]).contains("port:"));
        assert_eq!(
            message(|a| a.words = vec!["ls".to_owned()]),
            "“ls” is no filter, as comm:nginx is; a command goes behind --, as in nettrace syscalls -- ls"
        );
        assert!(message(|a| a.words = vec!["10".to_owned()]).contains("--duration 10"));
        assert_eq!(
            message(|a| a.run.processes.pids = vec![4_194_305]),
            "there is no process 4194305"
        );
    }
}

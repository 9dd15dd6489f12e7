//! `nettrace drops`: each packet that the kernel drops, and a table of all at the end.

use anyhow::Result;

use crate::cli::DropsArgs;
use crate::kernel;
use crate::model::View;
use crate::names::reasons::{Chosen, Reasons};
use crate::netns::Netns;
use crate::output::Format;
use crate::probes::drops::Options;
use crate::probes::sockets;
use crate::run::{self, Asked, Plan, Usage};
use crate::sample::DropKind;
use crate::session;

/// The kernel's names of interfaces are shorter.
const LONGEST_NAME: usize = 15;

/// Runs `drops` and returns the exit status.
///
/// # Errors
/// As [`run::run`].
pub fn run(args: &DropsArgs) -> Result<i32> {
    run::run(plan(args)?)
}

fn plan(args: &DropsArgs) -> Result<Plan> {
    let asked = asked(&args.words)?;
    let mut plan = Plan::new(View::Drops, &asked.rows, &args.run)?;
    if args.v4 || args.v6 {
        plan.filter.and_family(args.v6);
    }
    if plan.format == Format::Csv {
        return Err(Usage(
            "single drops have no CSV; -O ndjson has a line a drop, nettrace top drops -O csv the counts"
                .to_owned(),
        )
        .into());
    }
    if let Some(name) = args.interface.as_ref().filter(|name| name.len() > LONGEST_NAME) {
        return Err(Usage(format!("there is no interface {name}: the name is too long")).into());
    }
    let netns = run::open_netns(args.netns.as_deref())?;
    let reasons = reasons(&args.reason)?;
    let are_refused = wants_refused(reasons.as_deref(), args.interface.is_some());
    // The kernel's sums have neither addresses nor processes.
    plan.by_single_drops = !plan.filter.is_empty();
    plan.summary = true;
    plan.drop_stacks = args.stack;
    plan.count = Some(1);
    plan.rows = plan.rows.or(Some(0));
    let drops = Options {
        netns: netns.as_ref().map_or(0, Netns::inode),
        interface: args.interface.clone(),
        reasons,
        events_per_second: Some(args.limit),
        ring_bytes: args.run.ring_size,
        filter: asked.packets,
        ..Options::default()
    };
    plan.probes = session::Options {
        listeners: are_refused.then(|| listeners(drops.netns)),
        drops: Some(drops),
        ..session::Options::default()
    };
    Ok(plan)
}

/// Whether what listeners refuse is to be shown: they do so on no interface.
fn wants_refused(reasons: Option<&[Chosen]>, is_of_interface: bool) -> bool {
    let is_it = |(kind, _): &Chosen| *kind == DropKind::ListenOverflow;
    !is_of_interface && reasons.is_none_or(|reasons| reasons.iter().any(is_it))
}

/// What is read of listeners beside drops.
pub(crate) fn listeners(netns: u32) -> sockets::Options {
    sockets::Options { netns, only_listeners: true, ..sockets::Options::default() }
}

fn reasons(words: &[String]) -> Result<Option<Vec<Chosen>>> {
    if words.is_empty() {
        return Ok(None);
    }
    let btf = kernel::btf()?;
    Ok(Some(Reasons::of_kernel(&btf).select(words).map_err(Usage)?))
}

fn asked(words: &[String]) -> Result<Asked, Usage> {
    let meant = words.first().and_then(|word| meant(word));
    // libpcap takes a number for an address.
    let is_number = |word: &String| word.parse::<f64>().is_ok();
    if let (Some(word), Some(meant)) = (words.first().filter(|word| is_number(word)), &meant) {
        return Err(Usage(format!("“{word}” is no filter, as dst:10.0.0.7 is; {meant}")));
    }
    run::asked(&words.join(" ")).map_err(|Usage(error)| match meant {
        Some(meant) if words.len() == 1 => Usage(format!("{error}\n{meant}")),
        _ => Usage(error),
    })
}

/// What a word may be that is no filter.
fn meant(word: &str) -> Option<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if word.parse::<f64>().is_ok() {
        return Some(format!("--duration {word} ends it after {word} s"));
    }
    if word.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
        return Some(format!("reasons are chosen by --reason {word}"));
    }
    word.chars()
        .all(is_word)
        .then(|| format!("a command goes behind --, as in nettrace drops -- {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: fn(&mut DropsArgs)) -> String {
        let mut args = DropsArgs { limit: 1, ..DropsArgs::default() };
        change(&mut args);
        let error = plan(&args).unwrap_err();
        assert!(error.is::<Usage>());
        error.to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(message(|a| a.words = vec!["10".to_owned()]).contains("--duration 10"));
        assert!(
            message(|a| a.words = vec!["tcp prt 80".to_owned()]).ends_with("prt 80\n        ^^^")
        );
        assert!(message(|a| a.words = vec!["ls".to_owned()]).contains("nettrace drops -- ls"));
        assert!(message(|a| a.words = vec!["NO_SOCKET".to_owned()]).contains("--reason NO_SOCKET"));
        assert!(
            message(|a| a.reason = vec!["retransmits".to_owned()]).contains("mean retransmit?")
        );
        assert!(message(|a| a.interface = Some("x".repeat(16))).contains("too long"));
        assert!(
            message(|a| a.run.output.format = crate::cli::FormatArg::Csv).contains("-O ndjson")
        );
    }

    #[test]
    fn a_filter_has_single_drops_counted() {
        let by_single_drops = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            plan(&DropsArgs { words, limit: 1, ..DropsArgs::default() }).unwrap().by_single_drops
        };
        assert!(!by_single_drops(&[]));
        assert!(by_single_drops(&["dst:10.0.0.7"]));
        // The kernel's sums are of its packets alone.
        assert!(!by_single_drops(&["dst", "10.0.0.7"]));
    }
}

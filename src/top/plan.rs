//! From `top`'s arguments to what will be done: everything that can be wrong with them is found
//! here, before anything is attached.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::User;

use crate::cli::{FormatArg, TopArgs, UnitsArg};
use crate::columns;
use crate::filter::Filter;
use crate::model::View;
use crate::names::exists;
use crate::netns::Netns;
use crate::output::{self, Format, Units};

/// Wrong usage: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Below it, reading costs more than it shows.
const LEAST_INTERVAL: f64 = 0.05;
const LONGEST_INTERVAL: f64 = 1e9;
const DEFAULT_INTERVAL: f64 = 1.0;

/// What `top` does.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is shown.
    pub view: View,
    /// Between two frames; none for one frame at the end of a command.
    pub interval: Option<Duration>,
    /// So many frames; none is no limit.
    pub count: Option<u64>,
    /// The run's length; none is no limit.
    pub duration: Option<Duration>,
    /// What counts.
    pub filter: Filter,
    /// The namespace to look into.
    pub netns: Option<Netns>,
    /// The only processes to watch; all if none are named.
    pub pids: Vec<u32>,
    /// The only users to watch; all if none are named.
    pub uids: Vec<u32>,
    /// The one interface to show.
    pub interface: Option<String>,
    /// The column to sort by.
    pub sort: Option<usize>,
    /// The columns to show.
    pub columns: Option<Vec<usize>>,
    /// The form.
    pub format: Format,
    /// Units of bytes.
    pub units: Units,
}

#[derive(Debug, Default, PartialEq)]
struct Words {
    view: Option<View>,
    interval: Option<f64>,
    count: Option<u64>,
    filter: String,
}

impl Plan {
    /// Checks the arguments.
    ///
    /// # Errors
    /// [`Usage`] for what is wrong with them; others where a namespace can't be opened.
    pub(super) fn new(args: &TopArgs) -> Result<Self> {
        let words = Words::parse(&args.words).map_err(Usage)?;
        let view = words.view.unwrap_or(View::Procs);
        check_scope(view, args).map_err(Usage)?;
        let netns = args.scope.netns.as_deref().map(Netns::open).transpose()?;
        let mut filter = Filter::parse(&words.filter).map_err(|e| Usage(e.to_string()))?;
        let uids = args.scope.users.iter().map(|user| uid(user)).collect::<Result<Vec<u32>>>()?;
        add_scope(&mut filter, args, &uids, netns.as_ref())?;
        let sort = args.order.sort.as_deref().map(|key| columns::find(view, key));
        let columns = Some(&args.order.columns).filter(|words| !words.is_empty());
        let columns = columns.map(|words| output::select(view, words));
        let has_command = !args.command.is_empty();
        let count = args.count.or(words.count);
        if args.count.is_some() && words.count.is_some() {
            return Err(Usage("write COUNT or --count, not both".to_owned()).into());
        }
        let default_count = if has_command || args.duration.is_some() { 0 } else { 1 };
        Ok(Plan {
            view,
            interval: words
                .interval
                .or_else(|| (!has_command).then_some(DEFAULT_INTERVAL))
                .map(Duration::from_secs_f64),
            count: Some(count.unwrap_or(default_count)).filter(|count| *count > 0),
            duration: args.duration.map(Duration::from_secs_f64),
            filter,
            netns,
            pids: args.scope.pids.clone(),
            uids,
            interface: args.scope.interface.clone(),
            sort: sort.transpose().map_err(Usage)?,
            columns: columns.transpose().map_err(Usage)?,
            format: match args.output.format {
                FormatArg::Table => Format::Table,
                FormatArg::Json => Format::Json,
                FormatArg::Ndjson => Format::Ndjson,
                FormatArg::Csv => Format::Csv,
            },
            units: match args.output.units {
                UnitsArg::BinBytes => Units::BinBytes,
                UnitsArg::BinBits => Units::BinBits,
                UnitsArg::SiBytes => Units::SiBytes,
                UnitsArg::SiBits => Units::SiBits,
            },
        })
    }
}

impl Plan {
    /// Whether all processes that were to be watched are gone.
    pub(super) fn is_over(&self) -> bool {
        !self.pids.is_empty() && !self.pids.iter().any(|pid| exists(*pid))
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
    let scope = &args.scope;
    if view != View::Ifaces {
        return match scope.interface {
            Some(_) => Err(format!(
                "-i goes with the view ifaces; {view} counts sockets, which have no interface"
            )),
            None => Ok(()),
        };
    }
    let has_filter = !scope.pids.is_empty()
        || !scope.comms.is_empty()
        || !scope.users.is_empty()
        || [&scope.cgroup, &scope.container, &scope.pod].into_iter().any(Option::is_some)
        || scope.v4
        || scope.v6
        || scope.unix
        || args.words.iter().any(|word| word.contains(':') || word.contains('/'));
    if has_filter {
        return Err(
            "ifaces counts what is on the wire, whoever sent it; it takes -i and --netns only"
                .to_owned(),
        );
    }
    Ok(())
}

fn add_scope(
    filter: &mut Filter,
    args: &TopArgs,
    uids: &[u32],
    netns: Option<&Netns>,
) -> Result<()> {
    let scope = &args.scope;
    if !scope.pids.is_empty() {
        filter.and_pids(&scope.pids);
    }
    if !scope.comms.is_empty() {
        filter.and_comm(&scope.comms);
    }
    if !uids.is_empty() {
        filter.and_uids(uids);
    }
    if let Some(path) = &scope.cgroup {
        filter.and_cgroup(path.strip_prefix("/sys/fs/cgroup").unwrap_or(path));
    }
    if let Some(name) = &scope.container {
        filter.and_container(name);
    }
    if let Some(name) = &scope.pod {
        filter.and_pod(name);
    }
    if let Some(netns) = netns {
        filter.and_netns(netns.inode());
    }
    if scope.v4 || scope.v6 {
        filter.and_family(scope.v6);
    }
    for pid in &scope.pids {
        if !exists(*pid) {
            return Err(Usage(format!("there is no process {pid}")).into());
        }
    }
    Ok(())
}

fn uid(user: &str) -> Result<u32> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    let found = User::from_name(user).with_context(|| format!("look up user {user}"))?;
    let found = found.ok_or_else(|| Usage(format!("there is no user {user}")))?;
    Ok(found.uid.as_raw())
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
            "no view zzz; there are procs conns hosts containers ifaces listeners"
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

    fn plan(words: &[&str], change: impl FnOnce(&mut TopArgs)) -> Result<Plan> {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        let mut args = TopArgs { words, ..TopArgs::default() };
        change(&mut args);
        Plan::new(&args)
    }

    #[test]
    fn counts() {
        assert_eq!(plan(&[], |_| {}).unwrap().count, Some(1));
        assert_eq!(plan(&["1", "0"], |_| {}).unwrap().count, None);
        assert_eq!(plan(&["1"], |a| a.count = Some(3)).unwrap().count, Some(3));
        assert_eq!(plan(&[], |a| a.duration = Some(3.0)).unwrap().count, None);
        let with_command = plan(&[], |a| a.command = vec!["true".into()]).unwrap();
        assert_eq!((with_command.count, with_command.interval), (None, None));
        assert!(plan(&["1", "2"], |a| a.count = Some(3)).is_err());
    }

    #[test]
    fn scopes_that_do_not_fit_are_refused() {
        let message = |words: &[&str], change: fn(&mut TopArgs)| {
            let error = plan(words, change).unwrap_err();
            assert!(error.is::<Usage>());
            error.to_string()
        };
        let on_eth0 = |a: &mut TopArgs| a.scope.interface = Some("eth0".to_owned());
        assert!(message(&["conns"], on_eth0).contains("-i goes with the view ifaces"));
        assert!(message(&["ifaces"], |a| a.scope.v4 = true).contains("on the wire"));
        assert!(message(&["ifaces", "port:1"], |_| {}).contains("on the wire"));
        assert_eq!(
            message(&[], |a| a.scope.users = vec!["nobody-here".to_owned()]),
            "there is no user nobody-here"
        );
        assert_eq!(message(&[], |a| a.scope.pids = vec![4_194_305]), "there is no process 4194305");
        assert!(
            message(&[], |a| a.order.sort = Some("rx/z".to_owned())).contains("did you mean RX/s?")
        );
    }
}

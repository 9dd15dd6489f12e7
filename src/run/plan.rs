//! What a run does, and the part of it that every command's arguments have: whatever can be wrong
//! with them is found here, before anything is attached.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::User;

use super::Usage;
use crate::cli::{FormatArg, ProcessArgs, RunArgs, UnitsArg};
use crate::columns;
use crate::filter::{Facts, Filter};
use crate::model::{Grouping, View};
use crate::names::{self, exists};
use crate::output::{self, Format, Units};
use crate::packet;
use crate::probes::syscalls;
use crate::session;

/// What a run does.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is shown.
    pub view: View,
    /// What is read for it.
    pub probes: session::Options,
    /// The command to run and watch; none if empty.
    pub command: Vec<OsString>,
    /// Between two frames; none for one frame at the end.
    pub interval: Option<Duration>,
    /// So many frames; none is no limit.
    pub count: Option<u64>,
    /// The run's length; none is no limit.
    pub duration: Option<Duration>,
    /// What counts.
    pub filter: Filter,
    /// Of packets, what the kernel's side looks at.
    pub packets: Option<packet::filter::Filter>,
    /// What a row of system calls sums up.
    pub grouping: Grouping,
    /// Rows of system calls show how their durations are distributed.
    pub histograms: bool,
    /// One frame, at the end.
    pub summary: bool,
    /// Rows of drops are counted from single ones.
    pub by_single_drops: bool,
    /// Single drops have their stacks.
    pub drop_stacks: bool,
    /// Slow calls have their stacks.
    pub stacks: bool,
    /// The only processes to watch; all if none are named.
    pub pids: Vec<u32>,
    /// The only users to watch; all if none are named.
    pub uids: Vec<u32>,
    /// The interfaces to show, with `*` for any part of a name; all if none are named.
    pub interfaces: Vec<String>,
    /// The column to sort by.
    pub sort: Option<usize>,
    /// The other way round.
    pub reverse: bool,
    /// At most so many rows, 0 is all; none: what fits a terminal.
    pub rows: Option<usize>,
    /// The columns to show.
    pub columns: Option<Vec<usize>>,
    /// The form.
    pub format: Format,
    /// Units of bytes.
    pub units: Units,
    /// No look-ups of names.
    pub numeric: bool,
    /// No colour, whatever the terminal.
    pub plain: bool,
    /// Into this file in place of stdout.
    pub out: Option<PathBuf>,
    /// Even if it is there.
    pub force: bool,
}

impl Plan {
    /// A run of such a view by what every command takes, over what matches `filter` too. It reads
    /// nothing yet.
    ///
    /// # Errors
    /// [`Usage`] for what is wrong with it.
    pub fn new(view: View, filter: &str, args: &RunArgs) -> Result<Self> {
        let mut filter = Filter::parse(filter).map_err(|error| Usage(error.pointed(filter)))?;
        let uids = args.processes.users.iter().map(|user| uid(user));
        let uids = uids.collect::<Result<Vec<u32>>>()?;
        add_processes(&mut filter, &args.processes, &uids)?;
        let sort = args.order.sort.as_deref().map(|key| columns::find(view, key));
        let columns = Some(&args.order.columns).filter(|words| !words.is_empty());
        let columns = columns.map(|words| output::select(view, words));
        Ok(Plan {
            view,
            command: args.command.clone(),
            duration: args.duration.map(Duration::from_secs_f64),
            filter,
            uids,
            pids: args.processes.pids.clone(),
            sort: sort.transpose().map_err(Usage)?,
            reverse: args.order.reverse,
            rows: args.order.rows,
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
            numeric: args.output.numeric,
            plain: args.output.no_color,
            out: args.output.out.clone(),
            force: args.output.force,
            ..Plan::default()
        })
    }

    /// Whether nothing is shown before somebody ends it.
    pub(super) fn is_open_ended(&self) -> bool {
        self.interval.is_none() && self.duration.is_none()
    }

    /// What of system calls is to be recorded, as far as every command says.
    pub fn syscalls(&self, args: &RunArgs) -> syscalls::Options {
        syscalls::Options {
            pids: self.pids.clone(),
            comms: args.processes.comms.clone(),
            uids: self.uids.clone(),
            cgroups: cgroups(&args.processes),
            ring_bytes: args.ring_size,
            ..syscalls::Options::default()
        }
    }
}

/// Makes sure that a filter asks what rows of the view can answer.
///
/// # Errors
/// [`Usage`] with the key that they can't.
pub fn check_filter(view: View, filter: &Filter) -> Result<(), Usage> {
    let (key, words) = match view {
        View::Syscalls => (
            filter.about_sockets(),
            "is about sockets; system calls are filtered by comm: pid: container: pod: and /REGEX/",
        ),
        View::Drops => (
            filter.about_single_drops(),
            "is about single drops, which nettrace drops shows; sums are filtered by proto: netns: and /REGEX/",
        ),
        View::Flows => (
            filter.about_no_packets(),
            "is not of packets; flows are filtered by src: dst: host: sport: dport: port: proto: comm: pid: container: pod: /REGEX/ and by expressions as tcp port 443",
        ),
        _ => (None, ""),
    };
    key.map_or(Ok(()), |key| Err(Usage(format!("{key}: {words}"))))
}

/// Which cgroups are in scope and which aren't, so that the kernel's side can leave those out. New
/// ones are in neither list, and judged when they are seen.
fn cgroups(args: &ProcessArgs) -> Vec<(u64, bool)> {
    let mut filter = Filter::default();
    add_cgroups(&mut filter, args);
    let by_container = args.container.is_some() || args.pod.is_some();
    if filter.is_empty() || by_container && names::has_old_cgroups() {
        return Vec::new();
    }
    let judge = |(id, path): (u64, Arc<str>)| {
        let container = names::container_of(&path);
        (id, filter.matches(&Facts::of_cgroup(container.as_ref(), Some(&path))))
    };
    names::all_cgroups().into_iter().map(judge).collect()
}

fn add_cgroups(filter: &mut Filter, args: &ProcessArgs) {
    if let Some(path) = &args.cgroup {
        filter.and_cgroup(below_root(path));
    }
    if let Some(name) = &args.container {
        filter.and_container(name);
    }
    if let Some(name) = &args.pod {
        filter.and_pod(name);
    }
}

/// A cgroup's path as the kernel tells it, whether or not it was given with the mount's.
fn below_root(path: &str) -> &str {
    path.strip_prefix("/sys/fs/cgroup").unwrap_or(path)
}

/// The processes that flags of scope name; all if there are none.
///
/// # Errors
/// [`Usage`] for what isn't there.
pub(crate) fn process_filter(args: &ProcessArgs) -> Result<Filter> {
    let uids = args.users.iter().map(|user| uid(user)).collect::<Result<Vec<u32>>>()?;
    let mut filter = Filter::default();
    add_processes(&mut filter, args, &uids)?;
    Ok(filter)
}

fn add_processes(filter: &mut Filter, args: &ProcessArgs, uids: &[u32]) -> Result<()> {
    if !args.pids.is_empty() {
        filter.and_pids(&args.pids);
    }
    if !args.comms.is_empty() {
        filter.and_comm(&args.comms);
    }
    if !uids.is_empty() {
        filter.and_uids(uids);
    }
    add_cgroups(filter, args);
    // It may come, as a unit that is started.
    if let Some(path) = &args.cgroup
        && !names::has_cgroup(below_root(path))
    {
        eprintln!("nettrace: there is no cgroup {path} so far");
    }
    for pid in &args.pids {
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

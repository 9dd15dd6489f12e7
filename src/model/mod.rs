//! From two samples to one [`Frame`]: rates, totals since the start, and the rows of a view. Plain
//! data in, plain data out; no BPF below this line of thought and no drawing in it.

mod conns;
mod containers;
mod drops;
mod ends;
mod events;
mod flows;
mod hosts;
mod ifaces;
mod listeners;
mod narrowed;
mod packets;
mod path;
mod processes;
mod procs;
mod smooth;
mod sockets;
mod syscalls;
mod totals;
mod xdp;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

pub use conns::{ConnRow, Limit, TcpFigures};
pub use containers::ContainerRow;
pub use drops::{DropContext, DropEventRow, DropRow};
pub use events::{Detail, EventKind, EventOptions, EventRow, Outcome};
pub use flows::FlowRow;
pub use hosts::HostRow;
pub use ifaces::IfaceRow;
pub use listeners::ListenerRow;
pub use packets::Flow;
pub use path::{Lens as PathLens, PathEnd, PathPacket, PathRow, Paths};
pub use processes::Process;
pub use procs::ProcRow;
pub use smooth::{Smoother, TIME_CONSTANT_S};
pub use sockets::Socket;
pub use syscalls::{Grouping, SlowRow, Sums, SyscallRow, SyscallTotals};
pub use totals::{Picture, Totals};
pub use xdp::{Arrived, Seen, XdpRow};

use crate::filter::{Filter, nearest};
use crate::losses::{CALLERS_MERGED, CLOSED_UNLISTED};
use crate::names::{Names, NetnsNames};
use crate::probes::matches;
use crate::sample::{Backlog, DropEvent, Losses, OwnCost, Sample, SocketRecord, SyscallReading};
use crate::symbols::Symbols;

/// What a table is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum View {
    /// One row a process.
    #[default]
    Procs,
    /// One row a socket.
    Conns,
    /// One row a remote address.
    Hosts,
    /// One row a container or unit.
    Containers,
    /// One row an interface.
    Ifaces,
    /// One row a flow of packets, direction and interface.
    Flows,
    /// One row a listening socket.
    Listeners,
    /// One row a process and system call.
    Syscalls,
    /// One row a reason, function and protocol of dropped packets.
    Drops,
}

impl View {
    /// All of them, in the order of the interface's tabs.
    pub const ALL: [View; 9] = [
        View::Procs,
        View::Conns,
        View::Hosts,
        View::Containers,
        View::Ifaces,
        View::Flows,
        View::Listeners,
        View::Syscalls,
        View::Drops,
    ];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            View::Procs => "procs",
            View::Conns => "conns",
            View::Hosts => "hosts",
            View::Containers => "containers",
            View::Ifaces => "ifaces",
            View::Flows => "flows",
            View::Listeners => "listeners",
            View::Syscalls => "syscalls",
            View::Drops => "drops",
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for View {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let names = || View::ALL.into_iter().map(View::name);
        View::ALL.into_iter().find(|view| view.name() == word).ok_or_else(|| {
            match nearest(word, names()) {
                Some(near) => format!("no view {word}; did you mean {near}?"),
                None => {
                    format!("no view {word}; there are {}", names().collect::<Vec<_>>().join(" "))
                }
            }
        })
    }
}

/// The rows of a view.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Of [`View::Procs`].
    Procs(Vec<ProcRow>),
    /// Of [`View::Conns`].
    Conns(Vec<ConnRow>),
    /// Of [`View::Hosts`].
    Hosts(Vec<HostRow>),
    /// Of [`View::Containers`].
    Containers(Vec<ContainerRow>),
    /// Of [`View::Ifaces`].
    Ifaces(Vec<IfaceRow>),
    /// Of [`View::Flows`].
    Flows(Vec<FlowRow>),
    /// Of [`View::Listeners`].
    Listeners(Vec<ListenerRow>),
    /// Of [`View::Syscalls`].
    Syscalls(Vec<SyscallRow>),
    /// Of [`View::Drops`].
    Drops(Vec<DropRow>),
}

impl Rows {
    /// No rows of a view.
    pub fn none(view: View) -> Self {
        match view {
            View::Procs => Rows::Procs(Vec::new()),
            View::Conns => Rows::Conns(Vec::new()),
            View::Hosts => Rows::Hosts(Vec::new()),
            View::Containers => Rows::Containers(Vec::new()),
            View::Ifaces => Rows::Ifaces(Vec::new()),
            View::Flows => Rows::Flows(Vec::new()),
            View::Listeners => Rows::Listeners(Vec::new()),
            View::Syscalls => Rows::Syscalls(Vec::new()),
            View::Drops => Rows::Drops(Vec::new()),
        }
    }

    /// What they are rows of.
    pub fn view(&self) -> View {
        match self {
            Rows::Procs(_) => View::Procs,
            Rows::Conns(_) => View::Conns,
            Rows::Hosts(_) => View::Hosts,
            Rows::Containers(_) => View::Containers,
            Rows::Ifaces(_) => View::Ifaces,
            Rows::Flows(_) => View::Flows,
            Rows::Listeners(_) => View::Listeners,
            Rows::Syscalls(_) => View::Syscalls,
            Rows::Drops(_) => View::Drops,
        }
    }
}

/// What is shown one by one, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// Calls slower than wanted.
    pub slow: Vec<SlowRow>,
    /// Drops.
    pub drops: Vec<DropEventRow>,
}

impl Events {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slow.is_empty() && self.drops.is_empty()
    }
}

/// One moment of one view, ready to be shown anywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// When it was read.
    pub time: SystemTime,
    /// Since the frame before, seconds.
    pub interval_s: f64,
    /// Its view.
    pub view: View,
    /// What came one by one.
    pub events: Events,
    /// In no order yet.
    pub rows: Rows,
    /// What all rows of system calls come to, however many are shown.
    pub totals: SyscallTotals,
    /// What was missed since the start.
    pub losses: Losses,
    /// What nettrace cost since the start.
    pub own: OwnCost,
}

/// What lies between two samples.
#[derive(Clone, Copy, Debug)]
struct Span {
    seconds: f64,
    clock_ns: u64,
}

impl Span {
    fn rate(self, delta: u64) -> f64 {
        if self.seconds > 0.0 { delta as f64 / self.seconds } else { 0.0 }
    }

    /// Of what may have been taken back; a rate isn't below nothing.
    fn rate_of(self, change: i64) -> f64 {
        self.rate(change.max(0).cast_unsigned())
    }
}

/// Remembers what the next frame's differences need.
#[derive(Debug)]
pub struct Model {
    names: Names,
    symbols: Symbols,
    filter: Filter,
    /// As far as it asks of processes.
    calls_filter: Filter,
    interfaces: Vec<String>,
    sockets: sockets::SocketTable,
    /// What is shown in place of all that is counted.
    narrowed: Option<narrowed::Narrowed>,
    ifaces: ifaces::IfaceTable,
    syscalls: syscalls::SyscallTable,
    drops: drops::DropTable,
    overflows: events::Overflows,
    flows: flows::FlowTable,
    /// Single events, if they are handed on.
    stream: Option<Box<events::EventStream>>,
    clock_ns: Option<u64>,
    /// Of sockets that were absorbed since the last frame.
    absorbed: hosts::Hosts,
    unlisted: u64,
}

impl Model {
    /// A model of the sockets that match `filter`, and of the interfaces of those names,
    /// with `*` for any part, or of all.
    pub fn new(names: Names, filter: Filter, interfaces: Vec<String>) -> Self {
        Model {
            names,
            symbols: Symbols::default(),
            calls_filter: filter.of_processes(),
            filter,
            interfaces,
            sockets: sockets::SocketTable::default(),
            narrowed: None,
            ifaces: ifaces::IfaceTable::default(),
            syscalls: syscalls::SyscallTable::new(Grouping::default(), false),
            drops: drops::DropTable::default(),
            overflows: events::Overflows::default(),
            flows: flows::FlowTable::default(),
            stream: None,
            clock_ns: None,
            absorbed: hosts::Hosts::default(),
            unlisted: 0,
        }
    }

    /// Rows of system calls are to be summed up so, and to show their distributions or not.
    #[must_use]
    pub fn group_syscalls(self, grouping: Grouping, with_histograms: bool) -> Self {
        let syscalls = syscalls::SyscallTable::new(grouping, with_histograms);
        Model { syscalls, ..self }
    }

    /// Single drops are what rows of them are counted from, in place of the kernel's sums; and they
    /// are to have stacks.
    #[must_use]
    pub fn single_drops(self, are_counted: bool, with_stacks: bool) -> Self {
        Model { drops: drops::DropTable::new(are_counted, with_stacks), ..self }
    }

    /// Takes in what was read before the tick ends. Sockets that closed count in the next frame, but
    /// have no row of their own in it.
    /// Returns what is shown one by one.
    pub fn absorb(&mut self, backlog: &Backlog<'_>) -> Events {
        if !backlog.closed.is_empty() {
            self.absorb_closed(backlog.closed);
        }
        Events {
            slow: self.absorb_syscalls(Some(&backlog.syscalls)),
            drops: self.absorb_drops(backlog.drops),
        }
    }

    /// Takes in what of a sample is shown one by one.
    fn absorb_events(&mut self, sample: &Sample<'_>) -> Events {
        Events {
            slow: self.absorb_syscalls(sample.syscalls.as_ref()),
            drops: self.absorb_drops(sample.drops.map_or(&[], |reading| reading.events)),
        }
    }

    fn absorb_drops(&mut self, events: &[DropEvent]) -> Vec<DropEventRow> {
        if events.is_empty() {
            return Vec::new();
        }
        let mut netns = NetnsNames::read();
        self.drops.absorb(
            events,
            &mut drops::Lens {
                names: &mut self.names,
                symbols: &self.symbols,
                filter: &self.filter,
                netns: &mut netns,
            },
        )
    }

    fn drops(&mut self, sample: &Sample<'_>, span: Span, is_wanted: bool) -> Vec<DropRow> {
        let Some(reading) = sample.drops else { return Vec::new() };
        let overflows = self.overflows.advance(sample.sockets, sample.closed);
        if overflows.is_empty() && !is_wanted {
            return Vec::new();
        }
        let mut netns = NetnsNames::read();
        let mut lens = drops::Lens {
            names: &mut self.names,
            symbols: &self.symbols,
            filter: &self.filter,
            netns: &mut netns,
        };
        self.drops.refuse(&overflows, sample.time, &mut lens);
        if !is_wanted {
            return Vec::new();
        }
        self.drops.advance(&reading, &mut lens);
        self.drops.rows(span, sample.time, &mut netns, self.narrowed.as_ref().map(|n| &n.added))
    }

    fn absorb_syscalls(&mut self, reading: Option<&SyscallReading<'_>>) -> Vec<SlowRow> {
        let Some(reading) = reading else { return Vec::new() };
        self.syscalls.absorb(reading, &mut self.names, &self.calls_filter);
        self.syscalls.slow(reading, &mut self.names, &mut self.symbols, &self.calls_filter)
    }

    fn flows(&mut self, sample: &Sample<'_>, span: Span) -> Vec<FlowRow> {
        let none = Filter::default();
        let added = self.narrowed.as_ref().map_or(&none, |narrowed| &narrowed.added);
        self.flows.advance(sample, span, [&self.filter, added], &mut self.names)
    }

    fn absorb_closed(&mut self, closed: &[SocketRecord]) {
        self.flows.absorb(closed);
        let mut netns = NetnsNames::read();
        let mut lens =
            sockets::Lens { names: &mut self.names, filter: &self.filter, netns: &mut netns };
        let hosts = &mut self.absorbed;
        match &mut self.narrowed {
            None => self.sockets.absorb(closed, &mut lens, &mut |socket, _| hosts.add(socket)),
            Some(narrowed) => {
                self.sockets.absorb(closed, &mut lens, &mut |_, _| {});
                lens.filter = &narrowed.filter;
                narrowed.sockets.absorb(closed, &mut lens, &mut |socket, _| hosts.add(socket));
            }
        }
        self.unlisted += closed.len() as u64;
    }

    /// Takes in one sample and makes a frame of it. The first one is the baseline, of rates 0.
    pub fn advance(&mut self, sample: &Sample<'_>, view: View) -> Frame {
        let span = self.span(sample);
        let events = self.absorb_events(sample);
        let rows = self.rows(sample, &[view], span).pop().unwrap_or_else(|| Rows::none(view));
        self.frame(sample, rows, events, span)
    }

    fn span(&mut self, sample: &Sample<'_>) -> Span {
        let since = self.clock_ns.map_or(0, |before| sample.clock_ns.saturating_sub(before));
        self.clock_ns = Some(sample.clock_ns);
        Span { seconds: since as f64 / 1e9, clock_ns: sample.clock_ns }
    }

    fn frame(&self, sample: &Sample<'_>, rows: Rows, events: Events, span: Span) -> Frame {
        Frame {
            time: sample.time,
            interval_s: span.seconds,
            view: rows.view(),
            events,
            totals: match &rows {
                Rows::Syscalls(rows) => SyscallTotals::of(rows),
                _ => SyscallTotals::default(),
            },
            rows,
            losses: self.losses(sample),
            own: sample.own,
        }
    }

    /// The sample's, and rows that a table would have had.
    fn losses(&self, sample: &Sample<'_>) -> Losses {
        let mut losses = sample.losses.clone();
        losses.0.push((CLOSED_UNLISTED, self.unlisted));
        if sample.syscalls.is_some() {
            losses.0.push((CALLERS_MERGED, self.syscalls.merged()));
        }
        losses
    }

    /// Waits for names that are being looked up, but no longer than `patience`, and puts them in.
    pub fn settle(&mut self, frame: &mut Frame, patience: Duration) {
        self.names.settle(patience);
        self.sockets.processes.learn_users(&mut self.names);
        if let Some(narrowed) = &self.narrowed {
            narrowed.sockets.processes.learn_users(&mut self.names);
        }
        self.syscalls.learn_users(&mut self.names);
        if let Rows::Hosts(rows) = &mut frame.rows {
            rows.iter_mut().for_each(|row| row.rename(&mut self.names));
        }
    }

    /// Of each view once; a table that no view asks for moves on all the same.
    fn rows(&mut self, sample: &Sample<'_>, views: &[View], span: Span) -> Vec<Rows> {
        let wants = |view: View| views.contains(&view);
        let mut conns = Vec::new();
        let mut listeners = Vec::new();
        let mut hosts = std::mem::take(&mut self.absorbed);
        self.advance_sockets(sample, &mut |socket, netns| {
            if wants(View::Conns) {
                conns.extend(conns::row(socket, netns, span));
            }
            if wants(View::Listeners) {
                listeners.extend(listeners::row(socket, netns));
            }
            if wants(View::Hosts) {
                hosts.add(socket);
            }
        });
        let mut calls = (wants(View::Syscalls) || wants(View::Containers))
            .then(|| self.syscalls.rows(span, self.narrowed.as_ref().map(|n| &n.added)));
        if calls.is_none() {
            self.syscalls.pass();
        }
        let mut drops = self.drops(sample, span, wants(View::Drops));
        let mut flows = self.flows(sample, span);
        let ifaces = self.ifaces.advance(sample.ifaces, sample.xdp, span);
        let table = self.narrowed.as_ref().map_or(&self.sockets, |narrowed| &narrowed.sockets);
        let containers = wants(View::Containers).then(|| {
            let calls = calls.as_deref().filter(|_| sample.syscalls.is_some());
            containers::rows(table.processes.iter(), calls, span)
        });
        let mut containers = containers.unwrap_or_default();
        let rows_of = |view: &View| match view {
            View::Procs => Rows::Procs(procs::rows(table.processes.iter(), span)),
            View::Conns => Rows::Conns(std::mem::take(&mut conns)),
            View::Hosts => Rows::Hosts(std::mem::take(&mut hosts).rows(&mut self.names, span)),
            View::Containers => Rows::Containers(std::mem::take(&mut containers)),
            View::Ifaces => {
                let is_wanted = |name: &str| {
                    let mut wanted = self.interfaces.iter();
                    self.interfaces.is_empty() || wanted.any(|it| it == "any" || matches(it, name))
                };
                let wanted = |row: &&IfaceRow| is_wanted(&row.interface);
                Rows::Ifaces(ifaces.iter().filter(wanted).cloned().collect())
            }
            View::Flows => Rows::Flows(std::mem::take(&mut flows)),
            View::Listeners => Rows::Listeners(std::mem::take(&mut listeners)),
            View::Syscalls => Rows::Syscalls(calls.take().unwrap_or_default()),
            View::Drops => Rows::Drops(std::mem::take(&mut drops)),
        };
        views.iter().map(rows_of).collect()
    }

    fn advance_sockets(
        &mut self,
        sample: &Sample<'_>,
        visit: &mut dyn FnMut(&sockets::Socket<'_>, &mut NetnsNames),
    ) {
        let mut netns = NetnsNames::read();
        let mut lens =
            sockets::Lens { names: &mut self.names, filter: &self.filter, netns: &mut netns };
        match &mut self.narrowed {
            None => self.sockets.advance(sample, &mut lens, visit),
            Some(narrowed) => {
                self.sockets.advance(sample, &mut lens, &mut |_, _| {});
                lens.filter = &narrowed.filter;
                narrowed.sockets.advance(sample, &mut lens, visit);
            }
        }
    }
}

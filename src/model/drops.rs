//! `drops`: one row a reason, function and protocol, from what the kernel's side counted; and single
//! drops, which the rows are counted from where a filter asks for what only those have.

mod refused;

use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::FxHashMap;

use super::Span;
use super::packets::{Flow, ends, protocol};
use super::processes::{self, Process};
use crate::filter::{Facts, Filter};
use crate::names::{Names, NetnsNames, visible};
use crate::sample::{DropEvent, DropKind, DropPlace, DropReading, DropRecord};
use crate::symbols::Symbols;

/// Functions remembered; above it all are forgotten.
const MAX_FUNCTIONS: usize = 65_536;

/// What runs software interrupts; the second since Linux 6.10.
const SOFTIRQ: [&str; 2] = ["__do_softirq", "handle_softirqs"];
/// What hardware interrupts begin with, on x86 and on ARM.
const HARDIRQ: [&str; 5] = ["common_interrupt", "__sysvec_", "sysvec_", "exc_nmi", "el1_interrupt"];

/// A row of `drops`.
#[derive(Clone, Debug, PartialEq)]
pub struct DropRow {
    /// The kernel's reason; none if it tells no reasons.
    pub reason: Option<Arc<str>>,
    /// The function that dropped; none of what isn't a packet.
    pub function: Option<Arc<str>>,
    /// The packets' protocol.
    pub proto: Option<Arc<str>>,
    /// Packets since the start.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets per second in the interval.
    pub rate: f64,
    /// Places in the function, by its offset, and how many were dropped there.
    pub places: Vec<(u64, u64)>,
    /// Since the last one, seconds.
    pub last_age_s: f64,
    /// Where it came from and went to.
    pub last_flow: Option<Flow>,
    /// The interface it was on.
    pub last_interface: Option<String>,
    /// Its network namespace.
    pub last_netns: Option<Arc<str>>,
}

/// Whose time a packet was dropped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropContext {
    /// A process's, by what it asked of the kernel.
    Task,
    /// A software interrupt's, whatever process it came to.
    Softirq,
    /// A hardware interrupt's.
    Hardirq,
}

/// A single drop.
#[derive(Clone, Debug, PartialEq)]
pub struct DropEventRow {
    /// When it was.
    pub time: SystemTime,
    /// The kernel's reason; none if it tells no reasons.
    pub reason: Option<Arc<str>>,
    /// The function that dropped; none of what isn't a packet.
    pub function: Option<Arc<str>>,
    /// From its begin to where it did.
    pub offset: u64,
    /// The packet's protocol.
    pub proto: Option<Arc<str>>,
    /// Where it came from and went to.
    pub flow: Option<Flow>,
    /// From the IP header on; of a segment that was sent again, its payload. None of resets.
    pub length: Option<u32>,
    /// The interface it was on.
    pub interface: Option<String>,
    /// Its network namespace.
    pub netns: Option<Arc<str>>,
    /// Whose time it was in, as far as the stack tells.
    pub context: Option<DropContext>,
    /// The process in whose time it was, by what it asked of the kernel.
    pub process: Option<Arc<Process>>,
    /// The kernel's functions from the place of the drop on; empty if stacks weren't asked for.
    pub stack: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    reason: Option<Arc<str>>,
    function: Option<Arc<str>>,
    proto: Option<Arc<str>>,
}

#[derive(Debug)]
struct Entry {
    count: u64,
    before: u64,
    bytes: u64,
    places: FxHashMap<u64, u64>,
    last: SystemTime,
    last_flow: Option<Flow>,
    last_interface: Option<String>,
    last_netns: u32,
}

/// Sums by row.
#[derive(Debug, Default)]
pub(super) struct DropTable {
    /// From single drops, since the filter asks for what the kernel's table doesn't have.
    by_event: bool,
    with_stacks: bool,
    entries: FxHashMap<Key, Entry>,
    /// What listeners refused since the start; not of what is counted by event.
    refused: FxHashMap<DropPlace, DropRecord>,
    functions: FxHashMap<u64, (Arc<str>, u64)>,
    protos: FxHashMap<(u16, u8, u8), Option<Arc<str>>>,
}

/// What a reading is looked at through.
pub(super) struct Lens<'a> {
    pub(super) names: &'a mut Names,
    pub(super) symbols: &'a Symbols,
    pub(super) filter: &'a Filter,
    pub(super) netns: &'a mut NetnsNames,
}

impl DropTable {
    /// A table that counts single drops, or what the kernel's side counted.
    pub(super) fn new(by_event: bool, with_stacks: bool) -> Self {
        DropTable { by_event, with_stacks, ..DropTable::default() }
    }

    /// Takes single drops in; those that the filter lets through.
    pub(super) fn absorb(
        &mut self,
        events: &[DropEvent],
        lens: &mut Lens<'_>,
    ) -> Vec<DropEventRow> {
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            let Some(row) = self.event(event, lens) else { continue };
            if self.by_event {
                let entry = self.entry(&event.place, lens.symbols, event.time);
                entry.count += 1;
                entry.bytes += u64::from(event.length);
                *entry.places.entry(row.offset).or_default() += 1;
                entry.last = event.time;
                entry.last_flow = row.flow;
                entry.last_interface.clone_from(&row.interface);
                entry.last_netns = event.place.netns;
            }
            rows.push(row);
        }
        rows
    }

    fn event(&mut self, event: &DropEvent, lens: &mut Lens<'_>) -> Option<DropEventRow> {
        let place = &event.place;
        let context = self.context(&event.stack, lens.symbols);
        let process = (context == Some(DropContext::Task))
            .then(|| processes::process(&event.process, lens.names));
        let netns = (place.netns != 0).then(|| lens.netns.get(place.netns));
        let (function, offset) = self.function(place.location, lens.symbols).unzip();
        let proto = self.proto(place);
        let flow = ends(&event.flow);
        let of_process = process.as_ref().map(|p| Facts {
            pid: p.pid,
            comm: &p.comm,
            uid: p.uid,
            ..Facts::of_cgroup(p.container.as_deref(), p.cgroup.as_deref())
        });
        let facts = Facts {
            proto: proto.as_deref().unwrap_or(""),
            local: flow.map(|flow| flow.source),
            remote: flow.map(|flow| flow.destination),
            v6: place.is_v6(),
            state: &words(place, function.as_ref()),
            netns: place.netns,
            netns_name: netns.as_deref().unwrap_or(""),
            ..of_process.unwrap_or_else(|| Facts::of_cgroup(None, None))
        };
        if !lens.filter.matches(&facts) {
            return None;
        }
        let stack = match &event.stack[..] {
            addresses if self.with_stacks && !addresses.is_empty() => {
                below_the_program(lens.symbols.of_kernel(addresses))
            }
            _ => Vec::new(),
        };
        Some(DropEventRow {
            time: event.time,
            reason: place.reason.clone(),
            function,
            offset: offset.unwrap_or(0),
            proto,
            flow,
            length: length(event),
            interface: name(&event.interface),
            netns,
            context,
            process: process.map(Arc::new),
            stack,
        })
    }

    /// Takes in what was counted since the start.
    pub(super) fn advance(&mut self, reading: &DropReading<'_>, lens: &mut Lens<'_>) {
        if self.by_event {
            return;
        }
        for entry in self.entries.values_mut() {
            (entry.count, entry.bytes) = (0, 0);
            entry.places.clear();
        }
        let refused = std::mem::take(&mut self.refused);
        let filter = lens.filter.of_sums_of_drops();
        for record in reading.counts.iter().chain(refused.values()) {
            if self.lets_through(record, &filter, lens) {
                self.add(record, lens.symbols);
            }
        }
        self.refused = refused;
        self.entries.retain(|_, entry| entry.count > 0);
    }

    fn lets_through(&mut self, record: &DropRecord, filter: &Filter, lens: &mut Lens<'_>) -> bool {
        if filter.is_empty() {
            return true;
        }
        let place = &record.place;
        let function = self.function(place.location, lens.symbols).map(|(name, _)| name);
        let proto = self.proto(place);
        let netns = (place.netns != 0).then(|| lens.netns.get(place.netns));
        filter.matches(&Facts {
            proto: proto.as_deref().unwrap_or(""),
            v6: place.is_v6(),
            state: &words(place, function.as_ref()),
            netns: place.netns,
            netns_name: netns.as_deref().unwrap_or(""),
            ..Facts::of_cgroup(None, None)
        })
    }

    fn add(&mut self, record: &DropRecord, symbols: &Symbols) {
        let offset = self.function(record.place.location, symbols).map_or(0, |(_, offset)| offset);
        let entry = self.entry(&record.place, symbols, record.last);
        entry.count += record.count;
        entry.bytes += record.bytes;
        *entry.places.entry(offset).or_default() += record.count;
        if record.last >= entry.last || entry.count == record.count {
            entry.last = record.last;
            entry.last_flow = ends(&record.last_flow);
            entry.last_interface = name(&record.last_interface);
            entry.last_netns = record.place.netns;
        }
    }

    fn entry(&mut self, place: &DropPlace, symbols: &Symbols, last: SystemTime) -> &mut Entry {
        let key = Key {
            reason: place.reason.clone(),
            function: self.function(place.location, symbols).map(|(name, _)| name),
            proto: self.proto(place),
        };
        self.entries.entry(key).or_insert_with(|| Entry {
            count: 0,
            before: 0,
            bytes: 0,
            places: FxHashMap::default(),
            last,
            last_flow: None,
            last_interface: None,
            last_netns: 0,
        })
    }

    /// The rows of a frame that `only` lets through, as far as it asks for what rows have.
    pub(super) fn rows(
        &mut self,
        span: Span,
        time: SystemTime,
        netns: &mut NetnsNames,
        only: Option<&Filter>,
    ) -> Vec<DropRow> {
        let only = only.filter(|filter| filter.about_single_drops().is_none());
        let mut rows = Vec::with_capacity(self.entries.len());
        for (key, entry) in &mut self.entries {
            let rate = span.rate(entry.count.saturating_sub(entry.before));
            entry.before = entry.count;
            let last_netns = (entry.last_netns != 0).then(|| netns.get(entry.last_netns));
            let facts = Facts {
                proto: key.proto.as_deref().unwrap_or(""),
                state: &row_words(key.reason.as_deref(), key.function.as_deref()),
                netns: entry.last_netns,
                netns_name: last_netns.as_deref().unwrap_or(""),
                ..Facts::of_cgroup(None, None)
            };
            if only.is_some_and(|only| !only.matches(&facts)) {
                continue;
            }
            let mut places: Vec<_> = entry.places.iter().map(|(at, n)| (*at, *n)).collect();
            places.sort_unstable();
            rows.push(DropRow {
                reason: key.reason.clone(),
                function: key.function.clone(),
                proto: key.proto.clone(),
                count: entry.count,
                bytes: entry.bytes,
                rate,
                places,
                last_age_s: time.duration_since(entry.last).unwrap_or_default().as_secs_f64(),
                last_flow: entry.last_flow,
                last_interface: entry.last_interface.clone(),
                last_netns,
            });
        }
        rows
    }

    /// By the innermost of the functions that interrupts come by; a task's stack has none.
    fn context(&mut self, stack: &[u64], symbols: &Symbols) -> Option<DropContext> {
        if stack.is_empty() {
            return None;
        }
        let mut context = DropContext::Task;
        for address in stack {
            let (function, _) = self.function(*address, symbols)?;
            if function.starts_with("0x") {
                // Nothing is known of functions here, or this is none of the kernel's.
                return None;
            }
            if SOFTIRQ.contains(&&*function) {
                context = DropContext::Softirq;
                break;
            }
            if HARDIRQ.iter().any(|name| function.starts_with(name)) {
                context = DropContext::Hardirq;
                break;
            }
        }
        Some(context)
    }

    /// The function at an address, and how far in; the address itself where nothing is known of it.
    fn function(&mut self, address: u64, symbols: &Symbols) -> Option<(Arc<str>, u64)> {
        if address == 0 {
            return None;
        }
        if self.functions.len() >= MAX_FUNCTIONS {
            self.functions.clear();
        }
        let found = self.functions.entry(address).or_insert_with(|| {
            match symbols.kernel_function(address) {
                Some((name, offset)) => (bare(&name).into(), offset),
                None => (format!("{address:#x}").into(), 0),
            }
        });
        Some(found.clone())
    }

    fn proto(&mut self, place: &DropPlace) -> Option<Arc<str>> {
        let key = (place.protocol, place.transport, place.family);
        self.protos.entry(key).or_insert_with(|| protocol(key).map(Into::into)).clone()
    }
}

/// Known of what the tracepoint gave as a packet.
fn length(event: &DropEvent) -> Option<u32> {
    match event.place.kind {
        DropKind::Packet | DropKind::Retransmit => Some(event.length),
        DropKind::ResetSent | DropKind::ResetReceived | DropKind::ListenOverflow => None,
    }
}

/// What an expression looks for.
fn words(place: &DropPlace, function: Option<&Arc<str>>) -> String {
    row_words(place.reason.as_deref(), function.map(|name| &**name))
}

fn row_words(reason: Option<&str>, function: Option<&str>) -> String {
    format!("{} {}", reason.unwrap_or("-"), function.unwrap_or("-"))
}

/// What is above it is how we were told.
pub(super) fn below_the_program(stack: Vec<String>) -> Vec<String> {
    const OURS: [&str; 5] =
        ["bpf_prog_", "bpf_trace_run", "bpf_trampoline_", "__bpf_trace_", "__traceiter_"];

    let is_ours = |frame: &String| OURS.iter().any(|name| frame.starts_with(name));
    let first = stack.iter().position(|frame| !is_ours(frame)).unwrap_or(0);
    stack.into_iter().skip(first).collect()
}

/// Without what compilers add to the name of a function that they split.
pub(super) fn bare(name: &str) -> &str {
    name.split_once('.').map_or(name, |(name, _)| name)
}

pub(super) fn name(bytes: &[std::ffi::c_char; 16]) -> Option<String> {
    let name = bytes.map(|byte| byte as u8);
    let name: &[u8] = name.split(|byte| *byte == 0).next().unwrap_or(&[]);
    (!name.is_empty()).then(|| visible(name))
}

#[cfg(test)]
mod tests;

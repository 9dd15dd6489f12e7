//! Packets on their way: the steps of each together, from the first to its last end.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;

use super::drops::{bare, below_the_program, name};
use super::packets::{Flow, ends, protocol};
use crate::names::NetnsNames;
use crate::sample::{PathKind, PathStep};
use crate::symbols::Symbols;

/// A packet that has ended may have copies yet that nobody saw.
const SETTLE: Duration = Duration::from_millis(100);
/// A packet to which nothing happens for so long waits somewhere, or its end wasn't told.
const IDLE: Duration = Duration::from_secs(1);
/// Steps of a packet that are kept before it is shown.
const MAX_STEPS: usize = 10_000;
/// Packets whose number is remembered; above it those that have ended are forgotten.
const MAX_NUMBERS: usize = 65_536;

/// How a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEnd {
    /// Dropped.
    Dropped,
    /// Used up: by whom it was for, or sent away.
    Consumed,
    /// Freed without a word.
    Freed,
    /// It hasn't yet, or that wasn't told.
    Open,
}

/// A packet's way, or a part of it.
#[derive(Clone, Debug)]
pub struct PathPacket {
    /// From 1 on.
    pub number: u64,
    /// The steps before these were shown already.
    pub is_continued: bool,
    /// When the first of the steps was.
    pub time: SystemTime,
    /// What it is.
    pub proto: Option<String>,
    /// Its ends as they were first.
    pub flow: Option<Flow>,
    /// Bytes of the IP packet, else of what there was of the frame.
    pub length: u32,
    /// In order.
    pub steps: Vec<PathRow>,
    /// How it ended.
    pub end: PathEnd,
}

/// One step.
#[derive(Clone, Debug)]
pub struct PathRow {
    /// Since the last step, or since the first, 0.
    pub since_ns: u64,
    /// What happened.
    pub kind: PathKind,
    /// The function or tracepoint, or where it was freed.
    pub function: Option<Arc<str>>,
    /// Where in the function, of a drop.
    pub offset: Option<u64>,
    /// The network namespace's name.
    pub netns: Option<Arc<str>>,
    /// The interface's.
    pub interface: Option<String>,
    /// Its ends.
    pub flow: Option<Flow>,
    /// They were other ones a step before.
    pub was: Option<Flow>,
    /// The mark, 0 is none.
    pub mark: u32,
    /// It was another one a step before.
    pub is_marked: bool,
    /// Why it was dropped.
    pub reason: Option<Arc<str>>,
    /// Which `sk_buff` of the packet, from 1 on.
    pub copy: usize,
    /// Where the function ran.
    pub cpu: u32,
    /// Functions, the innermost first.
    pub stack: Vec<String>,
}

/// The packets that are followed.
#[derive(Debug, Default)]
pub struct Paths {
    most: Option<u64>,
    last_number: u64,
    numbers: FxHashMap<u64, Known>,
    open: FxHashMap<u64, Open>,
    shown: u64,
}

/// What is remembered of a packet when it has been shown.
#[derive(Debug, Default)]
struct Known {
    number: u64,
    /// Its `sk_buff`s in the order that they were seen.
    skbs: Vec<u64>,
    last_ns: u64,
    flow: Option<Flow>,
    mark: u32,
    was_shown: bool,
}

/// Steps that weren't shown yet.
#[derive(Debug, Default)]
struct Open {
    steps: Vec<PathStep>,
    /// When something happened last to each of its `sk_buff`s, and whether that was its end.
    skbs: FxHashMap<u64, (u64, bool)>,
    last_ns: u64,
}

impl Paths {
    /// At most so many packets.
    pub fn new(most: Option<u64>) -> Self {
        Paths { most, ..Paths::default() }
    }

    /// Takes in what happened.
    pub fn absorb(&mut self, steps: Vec<PathStep>) {
        for step in steps {
            if !self.numbers.contains_key(&step.packet) {
                if self.most.is_some_and(|most| self.last_number >= most) {
                    continue;
                }
                self.last_number += 1;
                let known = Known { number: self.last_number, ..Known::default() };
                self.numbers.insert(step.packet, known);
            }
            let open = self.open.entry(step.packet).or_default();
            open.last_ns = open.last_ns.max(step.clock_ns);
            // CPUs' records may come a little out of order.
            let (last_ns, has_ended) = open.skbs.entry(step.skb).or_default();
            if step.clock_ns >= *last_ns {
                (*last_ns, *has_ended) = (step.clock_ns, end(step.kind).is_some());
            }
            open.steps.push(step);
        }
    }

    /// The packets that are whole at this time, CLOCK_MONOTONIC, or idle for long; with `all`, what there is.
    pub fn finished(&mut self, clock_ns: u64, all: bool, lens: &mut Lens<'_>) -> Vec<PathPacket> {
        let is_finished = |open: &Open| {
            let quiet = Duration::from_nanos(clock_ns.saturating_sub(open.last_ns));
            let patience = if open.has_ended() { SETTLE } else { IDLE };
            all || quiet >= patience || open.steps.len() >= MAX_STEPS
        };
        let ready = self.open.iter().filter(|(_, open)| is_finished(open)).map(|(id, _)| *id);
        let ready: Vec<u64> = ready.collect();
        let taken = ready.into_iter().filter_map(|id| Some((id, self.open.remove(&id)?)));
        let taken: Vec<(u64, Open)> = taken.collect();
        let packets = taken.into_iter().filter_map(|(id, open)| {
            let known = self.numbers.get_mut(&id)?;
            self.shown += u64::from(!known.was_shown);
            known.packet(open, lens)
        });
        let mut packets: Vec<PathPacket> = packets.collect();
        packets.sort_by_key(|packet| (packet.time, packet.number));
        if self.numbers.len() > MAX_NUMBERS {
            self.numbers.retain(|id, _| self.open.contains_key(id));
        }
        packets
    }

    /// Whether as many packets as were asked for have been shown.
    pub fn is_enough(&self) -> bool {
        self.most.is_some_and(|most| self.shown >= most)
    }

    /// How many packets were followed.
    pub fn count(&self) -> u64 {
        self.last_number
    }
}

impl Open {
    fn has_ended(&self) -> bool {
        self.skbs.values().all(|(_, has_ended)| *has_ended)
    }
}

/// Where names come from.
pub struct Lens<'a> {
    /// Network namespaces'.
    pub netns: &'a mut NetnsNames,
    /// Functions'.
    pub symbols: &'a Symbols,
}

impl Known {
    fn packet(&mut self, mut open: Open, lens: &mut Lens<'_>) -> Option<PathPacket> {
        open.steps.sort_by_key(|step| step.clock_ns);
        let first = open.steps.first()?;
        let time = first.time;
        let (proto, flow, length) = (protocol(first.proto), ends(&first.flow), first.length);
        let is_continued = std::mem::replace(&mut self.was_shown, true);
        let last_end = open.steps.iter().rev().find_map(|step| end(step.kind));
        let steps = open.steps.iter().map(|step| self.row(step, lens)).collect();
        Some(PathPacket {
            number: self.number,
            is_continued,
            time,
            proto,
            flow,
            length,
            steps,
            end: last_end.filter(|_| open.has_ended()).unwrap_or(PathEnd::Open),
        })
    }

    fn row(&mut self, step: &PathStep, lens: &mut Lens<'_>) -> PathRow {
        let is_first = self.skbs.is_empty();
        let since_ns = if is_first { 0 } else { step.clock_ns.saturating_sub(self.last_ns) };
        self.last_ns = step.clock_ns;
        let copy = self.skbs.iter().position(|skb| *skb == step.skb).unwrap_or_else(|| {
            self.skbs.push(step.skb);
            self.skbs.len() - 1
        });
        if end(step.kind).is_some() {
            // Another one may have its address next.
            self.skbs[copy] = 0;
        }
        let flow = ends(&step.flow);
        let was = self.flow.filter(|was| flow.is_some_and(|flow| flow != *was));
        self.flow = flow.or(self.flow);
        let is_marked = !is_first && step.mark != self.mark || is_first && step.mark != 0;
        self.mark = step.mark;
        let has_location = step.kind != PathKind::Copied && step.location != 0;
        let location = has_location.then(|| lens.symbols.kernel_function(step.location)).flatten();
        let (freed_in, offset) = location.unzip();
        let address = || has_location.then(|| format!("{:#x}", step.location));
        let ended_in = freed_in.map(|name| bare(&name).to_owned()).or_else(address);
        let is_told = matches!(step.kind, PathKind::Dropped | PathKind::Consumed);
        PathRow {
            since_ns,
            kind: step.kind,
            function: if is_told { ended_in.map(Into::into) } else { step.place.clone() },
            offset,
            netns: (step.netns != 0).then(|| lens.netns.get(step.netns)),
            interface: interface(&step.interface),
            flow,
            was,
            mark: step.mark,
            is_marked,
            reason: step.reason.clone(),
            copy: copy + 1,
            cpu: step.cpu,
            stack: stack(step, lens.symbols),
        }
    }
}

fn interface(bytes: &[c_char; 16]) -> Option<String> {
    name(bytes)
}

fn end(kind: PathKind) -> Option<PathEnd> {
    match kind {
        PathKind::Dropped => Some(PathEnd::Dropped),
        PathKind::Consumed => Some(PathEnd::Consumed),
        PathKind::Freed => Some(PathEnd::Freed),
        PathKind::Step | PathKind::Copied => None,
    }
}

/// From where it was freed on, if that is known.
fn stack(step: &PathStep, symbols: &Symbols) -> Vec<String> {
    if step.stack.is_empty() {
        return Vec::new();
    }
    match step.stack.iter().position(|address| *address == step.location) {
        Some(first) => symbols.of_kernel(&step.stack[first..]),
        None => below_the_program(symbols.of_kernel(&step.stack)),
    }
}

#[cfg(test)]
mod tests;

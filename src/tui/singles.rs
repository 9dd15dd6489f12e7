//! Single events of late: kept by the collector, and handed over for the page that is open.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{ConnRow, Detail, DropRow, EventKind, EventOptions, EventRow};

/// Events of connections kept, the newest.
const KEPT: usize = 10_000;
/// Of each kind of drops.
const KEPT_DROPS: usize = 20;
/// Kinds of drops, before all are forgotten.
const MAX_KINDS: usize = 4096;
/// Events that a page gets, the newest.
const SHOWN: usize = 200;
/// Drops that are looked at singly in a second, each with its stack.
pub(crate) const DROPS_PER_SECOND: u64 = 100;

/// Which events the dashboard keeps.
pub(crate) fn options() -> EventOptions {
    let kinds = EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::SlowSyscall);
    EventOptions { kinds: kinds.collect(), only_owned: false, per_second: u64::MAX, stacks: true }
}

type End = Option<(IpAddr, u16)>;

/// What a row of drops is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DropOf {
    reason: Option<Arc<str>>,
    function: Option<Arc<str>>,
    proto: Option<Arc<str>>,
}

/// Whose events are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinglesOf {
    /// Of one connection.
    Connection {
        /// Own end.
        local: End,
        /// The peer's.
        remote: End,
        /// The namespace.
        netns: Arc<str>,
    },
    /// Of one row of drops.
    Drops(DropOf),
}

impl SinglesOf {
    /// Of the row's connection.
    pub fn connection(row: &ConnRow) -> Self {
        let netns = Arc::clone(&row.netns);
        SinglesOf::Connection { local: row.local, remote: row.remote, netns }
    }

    /// Of what the row sums up.
    pub fn drops(row: &DropRow) -> Self {
        let DropRow { reason, function, proto, .. } = row.clone();
        SinglesOf::Drops(DropOf { reason, function, proto })
    }
}

/// The last events.
#[derive(Debug, Default)]
pub struct Singles {
    of_connections: VecDeque<EventRow>,
    drops: FxHashMap<DropOf, VecDeque<EventRow>>,
}

impl Singles {
    /// Takes in what came, in order.
    pub fn keep(&mut self, rows: Vec<EventRow>) {
        for row in rows {
            let of = drop_of(&row);
            if row.kind() != EventKind::Drop {
                push(&mut self.of_connections, row.clone(), KEPT);
            }
            let Some(of) = of else { continue };
            if self.drops.len() >= MAX_KINDS && !self.drops.contains_key(&of) {
                self.drops.clear();
            }
            push(self.drops.entry(of).or_default(), row, KEPT_DROPS);
        }
    }

    /// The last of these, the oldest first.
    pub fn of(&self, wanted: &SinglesOf) -> Vec<EventRow> {
        let mut found: Vec<EventRow> = match wanted {
            SinglesOf::Drops(of) => self.drops.get(of).into_iter().flatten().cloned().collect(),
            SinglesOf::Connection { local, remote, netns } => {
                let is_drop = |row: &&EventRow| row.kind() == EventKind::Drop;
                let drops = self.drops.values().flatten().filter(is_drop);
                let is_it = |row: &&EventRow| {
                    let ends = [row.local, row.remote];
                    row.netns.as_ref() == Some(netns)
                        && (ends == [*local, *remote]
                            || row.kind() == EventKind::Drop && ends == [*remote, *local])
                };
                self.of_connections.iter().chain(drops).filter(is_it).cloned().collect()
            }
        };
        found.sort_by_key(|row| row.time);
        found.split_off(found.len().saturating_sub(SHOWN))
    }
}

fn push(rows: &mut VecDeque<EventRow>, row: EventRow, kept: usize) {
    if rows.len() >= kept {
        rows.pop_front();
    }
    rows.push_back(row);
}

/// The row of drops that an event is in, by the names of `DropKind`.
fn drop_of(row: &EventRow) -> Option<DropOf> {
    let reason = match &row.detail {
        Detail::Drop(drop) => {
            let (reason, function) = (drop.reason.clone(), drop.function.clone());
            return Some(DropOf { reason, function, proto: drop.proto.clone() });
        }
        Detail::Retransmit { .. } => "retransmit",
        Detail::Reset { is_sent: true } => "reset-sent",
        Detail::Reset { is_sent: false } => "reset-received",
        Detail::ListenOverflow { .. } => "listen-overflow",
        Detail::Connect { .. }
        | Detail::Accept { .. }
        | Detail::Close { .. }
        | Detail::SlowSyscall(_) => return None,
    };
    Some(DropOf { reason: Some(reason.into()), function: None, proto: row.proto.clone() })
}

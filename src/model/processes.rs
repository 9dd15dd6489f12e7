//! Processes and their sums, from the first socket to one frame after their end, and for what comes late
//! to one more.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use super::ends::is_unix;
use super::sockets::Change;
use crate::names::{self, Container, Names};
use crate::sample::{Endpoints, ProcessRecord};

/// A process, by the name that it has now.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in the initial namespace; 0 is the kernel.
    pub pid: u32,
    /// Its name, made safe to show.
    pub comm: String,
    /// Its user.
    pub uid: u32,
    /// The user's name, once it is known.
    pub(super) user: OnceLock<Arc<str>>,
    /// Where it runs.
    pub container: Option<Arc<Container>>,
    /// Path of its cgroup in the unified hierarchy.
    pub cgroup: Option<Arc<str>>,
}

impl Process {
    /// Its user's name, or number as long as the name isn't known.
    pub fn user(&self) -> Cow<'_, str> {
        match self.user.get() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.uid.to_string()),
        }
    }

    fn renamed(&self, comm: String) -> Self {
        Process {
            pid: self.pid,
            comm,
            uid: self.uid,
            user: self.user.clone(),
            container: self.container.clone(),
            cgroup: self.cgroup.clone(),
        }
    }

    pub(super) fn learn_user(&self, names: &mut Names) {
        if self.user.get().is_none()
            && let Some(name) = names.user(self.uid)
        {
            // Another thread can't have been first: only the model names processes.
            let _ = self.user.set(name);
        }
    }
}

/// A process's sums.
#[derive(Clone, Debug)]
pub(super) struct ProcessEntry {
    pub(super) process: Arc<Process>,
    record: ProcessRecord,
    /// The youngest socket that told its name.
    named_by: u64,
    pub(super) bytes: Change,
    pub(super) delta: Change,
    pub(super) unix_bytes: Change,
    pub(super) retransmits: u64,
    pub(super) drops: u64,
    pub(super) connections: u64,
    /// The filter let something of it through since it was last told to have ended.
    pub(super) shown: bool,
    /// Owns or uses an open socket that the filter lets through.
    pub(super) has_sockets: bool,
    tick: u32,
    /// It is dead; this is its last frame, as far as is known.
    pub(super) ended: bool,
}

/// By process id and start: ids are used again.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessTable {
    entries: FxHashMap<(u32, u64), ProcessEntry>,
    tick: u32,
}

impl ProcessTable {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ProcessEntry> {
        self.entries.values()
    }

    /// What all of them moved in this interval.
    pub(super) fn delta(&self) -> Change {
        let mut sum = Change::default();
        self.iter().for_each(|entry| sum += entry.delta);
        sum
    }

    /// Fills in users' names that are known by now.
    pub(super) fn learn_users(&self, names: &mut Names) {
        for entry in self.entries.values() {
            entry.process.learn_user(names);
        }
    }

    /// Begins an interval. One that ended is hidden, and goes at this interval's end; what is late, since
    /// it closed a connection and died within the last reading, joins its sums and is told by another row.
    pub(super) fn begin(&mut self) {
        self.tick += 1;
        for entry in self.entries.values_mut() {
            entry.shown &= !entry.ended;
            entry.ended = false;
            entry.delta = Change::default();
            entry.connections = 0;
            entry.has_sockets = false;
        }
    }

    /// Ends an interval. A process that owns a socket is taken to live; of the others /proc knows.
    /// Those that the filter hides go with their last socket.
    pub(super) fn end(&mut self) {
        let tick = self.tick;
        self.entries.retain(|_, entry| entry.shown || entry.tick == tick);
        for entry in self.entries.values_mut() {
            entry.ended = entry.shown && !entry.has_sockets && !names::is_alive(&entry.record);
        }
    }

    /// The process that a record tells of, as of the time when `socket` was born: a younger socket
    /// may know a newer name.
    pub(super) fn get(
        &mut self,
        record: &ProcessRecord,
        socket: u64,
        names: &mut Names,
    ) -> &mut ProcessEntry {
        let entry = self
            .entries
            .entry((record.tgid, record.start))
            .or_insert_with(|| ProcessEntry::new(process(record, names), record));
        if entry.tick != self.tick {
            entry.tick = self.tick;
            entry.process.learn_user(names);
        }
        if socket >= entry.named_by {
            entry.named_by = socket;
            if entry.record.comm != record.comm {
                entry.record.comm = record.comm;
                entry.process = Arc::new(entry.process.renamed(comm(record)));
            }
        }
        entry
    }
}

impl ProcessEntry {
    pub(super) fn new(process: Process, record: &ProcessRecord) -> Self {
        ProcessEntry {
            process: Arc::new(process),
            record: *record,
            named_by: 0,
            bytes: Change::default(),
            delta: Change::default(),
            unix_bytes: Change::default(),
            retransmits: 0,
            drops: 0,
            connections: 0,
            shown: false,
            has_sockets: false,
            // Not this one yet: the first touch of a tick asks for names.
            tick: 0,
            ended: false,
        }
    }

    /// Adds what a socket of these ends moved for it.
    pub(super) fn add(&mut self, change: Change, ends: &Endpoints, is_open: bool) {
        self.shown = true;
        self.has_sockets |= is_open;
        if is_unix(ends) {
            self.unix_bytes += change;
        } else {
            self.bytes += change;
            self.delta += change;
        }
    }
}

/// The process that a record tells of.
pub(super) fn process(record: &ProcessRecord, names: &mut Names) -> Process {
    let process = Process {
        pid: record.tgid,
        comm: comm(record),
        uid: record.uid,
        user: OnceLock::new(),
        container: names.container(record),
        cgroup: names.cgroup(record),
    };
    process.learn_user(names);
    process
}

fn comm(record: &ProcessRecord) -> String {
    let bytes: Vec<u8> =
        record.comm.iter().take_while(|c| **c != 0).map(|c| c.cast_unsigned()).collect();
    names::visible(&bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A process of sums that were never added up.
    pub(in crate::model) fn entry(
        container: Option<&str>,
        delta: Change,
        bytes: Change,
    ) -> ProcessEntry {
        let container = container
            .map(|name| Arc::new(Container { name: name.to_owned(), pod: Some("p".to_owned()) }));
        let process = Process {
            pid: 4_194_305,
            comm: "worker".to_owned(),
            uid: 0,
            user: OnceLock::new(),
            container,
            cgroup: None,
        };
        let mut entry = ProcessEntry::new(process, &ProcessRecord::default());
        entry.bytes = bytes;
        entry.delta = delta;
        entry.unix_bytes = Change { rx: 1 << 40, tx: 1 << 40 };
        entry.drops = 3;
        entry.connections = 2;
        entry.shown = true;
        entry
    }
}

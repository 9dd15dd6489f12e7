//! Rows of single events, from what the probes tell.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Detail, EventRow, Lens, Outcome, Overflow};
use crate::filter::{Facts, Filter};
use crate::model::ends::{local, proto, remote};
use crate::model::{DropEventRow, SlowRow, processes};
use crate::names::Names;
use crate::sample::{
    DropEvent, DropKind, LISTEN, ProcessRecord, SocketEvent, SocketEventKind, SocketRecord,
    TCP_STATES, born_ns, tag,
};

/// An event of a socket; none where it never was a connection.
pub(super) fn of_socket(event: &SocketEvent, lens: &mut Lens<'_>) -> Option<EventRow> {
    let socket = &event.socket;
    let is_old = socket.flags & tag::SEEDED != 0;
    let since_birth = (!is_old).then(|| event.clock_ns.saturating_sub(born_ns(socket.id)));
    let errno = (event.errno != 0).then_some(event.errno);
    let detail = match event.kind {
        SocketEventKind::Connected => {
            Detail::Connect { outcome: Outcome::Established, took_ns: since_birth }
        }
        SocketEventKind::Accepted => {
            Detail::Accept { srtt_us: (socket.srtt_us != 0).then_some(socket.srtt_us >> 3) }
        }
        SocketEventKind::Closed => match TCP_STATES.get(socket.state as usize).copied() {
            Some("SYN-SENT") => Detail::Connect {
                outcome: errno.map_or(Outcome::GivenUp, Outcome::Failed),
                took_ns: since_birth,
            },
            Some("SYN-RECV") => return None,
            _ if socket.state == LISTEN => return None,
            _ => {
                let is_known = socket.flags & tag::PER_CALL == 0;
                Detail::Close {
                    lived_ns: since_birth,
                    rx_bytes: is_known.then_some(socket.rx_bytes),
                    tx_bytes: is_known.then_some(socket.tx_bytes),
                    retransmits: socket.retransmits,
                    errno,
                }
            }
        },
    };
    Some(with_ends(event.time, socket, detail, lens))
}

pub(super) fn of_overflow(time: SystemTime, overflow: &Overflow, lens: &mut Lens<'_>) -> EventRow {
    let Overflow { listener, count } = overflow;
    let detail = Detail::ListenOverflow {
        count: *count,
        queued: listener.receive_queue,
        backlog: listener.queue_max,
    };
    with_ends(time, listener, detail, lens)
}

fn with_ends(
    time: SystemTime,
    socket: &SocketRecord,
    detail: Detail,
    lens: &mut Lens<'_>,
) -> EventRow {
    let ends = &socket.ends;
    EventRow {
        time,
        process: process(&socket.owner, lens.names),
        proto: Some(proto(ends).into()),
        local: local(ends),
        remote: remote(ends),
        netns: Some(lens.netns.get(ends.netns)),
        netns_inode: ends.netns,
        detail,
    }
}

/// Of whoever has the socket; else of who asked the kernel for what came to the drop.
pub(super) fn of_drop(
    event: &DropEvent,
    drop: DropEventRow,
    owner: Option<ProcessRecord>,
    names: &mut Names,
) -> EventRow {
    let flow = drop.flow;
    let ends = (flow.map(|flow| flow.source), flow.map(|flow| flow.destination));
    let (local, remote) = match event.place.kind {
        DropKind::ResetReceived => (ends.1, ends.0),
        _ => ends,
    };
    EventRow {
        time: event.time,
        process: owner
            .and_then(|owner| process(&owner, names))
            .or_else(|| drop.process.clone().filter(|_| event.place.kind == DropKind::Packet)),
        proto: drop.proto.clone(),
        local,
        remote,
        netns: drop.netns.clone(),
        netns_inode: event.place.netns,
        detail: match event.place.kind {
            DropKind::Packet | DropKind::ListenOverflow => Detail::Drop(Box::new(drop)),
            DropKind::Retransmit => Detail::Retransmit { length: event.length },
            DropKind::ResetSent => Detail::Reset { is_sent: true },
            DropKind::ResetReceived => Detail::Reset { is_sent: false },
        },
    }
}

pub(super) fn of_slow_call(time: SystemTime, slow: Box<SlowRow>) -> EventRow {
    EventRow {
        time,
        process: Some(Arc::clone(&slow.process)),
        proto: None,
        local: None,
        remote: None,
        netns: None,
        netns_inode: 0,
        detail: Detail::SlowSyscall(slow),
    }
}

/// None of what is the kernel's own.
fn process(record: &ProcessRecord, names: &mut Names) -> Option<Arc<crate::model::Process>> {
    (record.tgid != 0).then(|| Arc::new(processes::process(record, names)))
}

impl EventRow {
    pub(super) fn is_let_through(&self, filter: &Filter) -> bool {
        if filter.is_empty() {
            return true;
        }
        let of_process = match self.process.as_deref() {
            Some(process) => Facts {
                pid: process.pid,
                comm: &process.comm,
                uid: process.uid,
                ..Facts::of_cgroup(process.container.as_deref(), process.cgroup.as_deref())
            },
            // Nobody isn't root.
            None => Facts { uid: u32::MAX, ..Facts::of_cgroup(None, None) },
        };
        filter.matches(&Facts {
            proto: self.proto.as_deref().unwrap_or(""),
            local: self.local,
            remote: self.remote,
            state: &self.words(),
            netns: self.netns_inode,
            netns_name: self.netns.as_deref().unwrap_or(""),
            ..of_process
        })
    }

    /// What an expression looks for beside addresses and the process.
    fn words(&self) -> String {
        let kind = self.kind();
        match &self.detail {
            Detail::Drop(drop) => {
                let known = |word: Option<&Arc<str>>| word.map_or("-", |word| &**word).to_owned();
                let (reason, function) =
                    (known(drop.reason.as_ref()), known(drop.function.as_ref()));
                format!("{kind} {reason} {function}")
            }
            Detail::SlowSyscall(slow) => format!("{kind} {}", slow.call.name()),
            _ => kind.name().to_owned(),
        }
    }
}

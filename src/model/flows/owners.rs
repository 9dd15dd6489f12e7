//! Whose a flow is: the process of the socket with its ends, from the socket table, which has those of
//! all namespaces. A flow is one direction, so a socket is looked for at its end here.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::processes::{Process, process};
use crate::names::Names;
use crate::sample::{
    Endpoints, FlowDirection, FlowKey, FlowRecord, Place, ProcessRecord, Sample, SocketRecord,
};

/// Processes by their sockets.
#[derive(Debug, Default)]
pub(super) struct Owners {
    sockets: FxHashMap<Place, ProcessRecord>,
    /// Of processes that own flows.
    processes: FxHashMap<(u32, u64), Arc<Process>>,
}

impl Owners {
    /// Takes in sockets that closed before the tick ended.
    pub(super) fn absorb(&mut self, closed: &[SocketRecord]) {
        for record in closed {
            self.add(&record.ends, &record.owner);
        }
    }

    /// Takes in the sockets of a sample.
    pub(super) fn learn(&mut self, sample: &Sample<'_>) {
        self.absorb(sample.closed);
        self.absorb(sample.sockets);
        // Who moved something knows better than who opened the socket.
        for record in sample.usage {
            self.add(&record.ends, &record.user);
        }
    }

    /// Forgets the sockets: ports are used again.
    pub(super) fn forget(&mut self) {
        self.sockets.clear();
        self.processes.retain(|_, process| Arc::strong_count(process) > 1);
    }

    fn add(&mut self, ends: &Endpoints, process: &ProcessRecord) {
        if ends.local_port == 0 || !has_ports(ends.protocol) {
            return;
        }
        let place = Place::of(ends);
        if place.is_connected() {
            self.sockets.entry(place.anywhere()).or_insert(*process);
        }
        self.sockets.insert(place, *process);
    }

    /// The process whose socket has the flow's end here, in the interface's namespace; or, where packets
    /// only pass through that, in any.
    pub(super) fn find(&mut self, flow: &FlowRecord, names: &mut Names) -> Option<Arc<Process>> {
        let key = &flow.key;
        if !can_have_one(key) {
            return None;
        }
        let source = (key.source, key.source_port);
        let destination = (key.destination, key.destination_port);
        let (here, there) = match key.direction {
            FlowDirection::In => (destination, source),
            FlowDirection::Out => (source, destination),
        };
        let protocol = key.protocol.into();
        let place = Place { netns: flow.netns, protocol, local: here, remote: there };
        // What comes in from a container is its, and so is what goes out to it.
        let passing = [place.turned().anywhere(), place.anywhere()];
        let mut places = place.takers().into_iter().chain(passing);
        let record = places.find_map(|place| self.sockets.get(&place).copied())?;
        let known = self.processes.entry((record.tgid, record.start));
        Some(Arc::clone(known.or_insert_with(|| Arc::new(process(&record, names)))))
    }
}

/// Whether a socket can be found by its ends.
pub(super) fn can_have_one(key: &FlowKey) -> bool {
    has_ports(key.protocol.into()) && key.source_port != 0 && !key.is_other && key.tunnel == 0
}

fn has_ports(protocol: u16) -> bool {
    matches!(
        i32::from(protocol),
        libc::IPPROTO_TCP
            | libc::IPPROTO_UDP
            | libc::IPPROTO_UDPLITE
            | libc::IPPROTO_SCTP
            | libc::IPPROTO_DCCP
    )
}

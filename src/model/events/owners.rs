//! Whose sockets packets belong to, by addresses and ports: of those in the table, and of those that
//! closed since.

use rustc_hash::FxHashMap;

use crate::sample::{DropFlow, DropKind, DropPlace, Place, ProcessRecord, SocketRecord};

/// Of sockets that closed since the last tick; what comes above isn't known.
const MAX_CLOSED: usize = 200_000;

/// Owners of the sockets of this tick and of the one before.
#[derive(Debug, Default)]
pub(super) struct Owners {
    now: FxHashMap<Place, ProcessRecord>,
    before: FxHashMap<Place, ProcessRecord>,
}

impl Owners {
    /// Remembers the sockets that there are, and forgets those that were gone a tick ago.
    pub(super) fn learn(&mut self, sockets: &[SocketRecord]) {
        self.before = std::mem::take(&mut self.now);
        self.now.reserve(sockets.len());
        for socket in sockets {
            self.now.insert(Place::of(&socket.ends), socket.owner);
        }
    }

    /// Remembers one that began or ended.
    pub(super) fn note(&mut self, socket: &SocketRecord) {
        if self.now.len() < MAX_CLOSED || self.now.contains_key(&Place::of(&socket.ends)) {
            self.now.insert(Place::of(&socket.ends), socket.owner);
        }
    }

    /// Who has the socket that a packet was for, or else that it was from.
    pub(super) fn find(&self, place: &DropPlace, flow: &DropFlow) -> Option<&ProcessRecord> {
        if place.netns == 0 {
            return None;
        }
        let source = (flow.source, flow.source_port);
        let destination = (flow.destination, flow.destination_port);
        let (netns, protocol) = (place.netns, place.transport.into());
        let received = Place { netns, protocol, local: destination, remote: source };
        let sent = received.turned();
        match place.kind {
            DropKind::Retransmit | DropKind::ResetSent => self.get(&sent),
            DropKind::ResetReceived => self.get(&received),
            DropKind::Packet | DropKind::ListenOverflow => {
                let [itself, bound, unbound, of_both] = received.takers();
                [itself, sent, bound, unbound, of_both].iter().find_map(|place| self.get(place))
            }
        }
    }

    fn get(&self, place: &Place) -> Option<&ProcessRecord> {
        self.now.get(place).or_else(|| self.before.get(place))
    }
}

//! Whose sockets packets belong to, by addresses and ports: of those in the table, and of those that
//! closed since.

use rustc_hash::FxHashMap;

use crate::sample::{
    DropFlow, DropKind, DropPlace, Endpoints, LISTEN, ProcessRecord, SocketRecord,
};

/// v4-mapped 0.0.0.0.
const ANY_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
const ANY_V6: [u8; 16] = [0; 16];
/// Of sockets that closed since the last tick; what comes above isn't known.
const MAX_CLOSED: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    netns: u32,
    protocol: u16,
    local: ([u8; 16], u16),
    /// All 0 if it takes from anybody.
    remote: ([u8; 16], u16),
}

/// Owners of the sockets of this tick and of the one before.
#[derive(Debug, Default)]
pub(super) struct Owners {
    now: FxHashMap<Key, ProcessRecord>,
    before: FxHashMap<Key, ProcessRecord>,
}

impl Owners {
    /// Remembers the sockets that there are, and forgets those that were gone a tick ago.
    pub(super) fn learn(&mut self, sockets: &[SocketRecord]) {
        self.before = std::mem::take(&mut self.now);
        self.now.reserve(sockets.len());
        for socket in sockets {
            self.now.insert(key(socket), socket.owner);
        }
    }

    /// Remembers one that began or ended.
    pub(super) fn note(&mut self, socket: &SocketRecord) {
        if self.now.len() < MAX_CLOSED || self.now.contains_key(&key(socket)) {
            self.now.insert(key(socket), socket.owner);
        }
    }

    /// Who has the socket that a packet was for, or else that it was from.
    pub(super) fn find(&self, place: &DropPlace, flow: &DropFlow) -> Option<&ProcessRecord> {
        if place.netns == 0 {
            return None;
        }
        let source = (flow.source, flow.source_port);
        let destination = (flow.destination, flow.destination_port);
        let of = |local, remote| {
            let key = Key { netns: place.netns, protocol: place.transport.into(), local, remote };
            self.get(&key)
        };
        let anybody = ([0; 16], 0);
        match place.kind {
            DropKind::Retransmit | DropKind::ResetSent => of(source, destination),
            DropKind::ResetReceived => of(destination, source),
            DropKind::Packet | DropKind::ListenOverflow => of(destination, source)
                .or_else(|| of(source, destination))
                .or_else(|| of(destination, anybody))
                .or_else(|| of((ANY_V4, destination.1), anybody))
                .or_else(|| of((ANY_V6, destination.1), anybody)),
        }
    }

    fn get(&self, key: &Key) -> Option<&ProcessRecord> {
        self.now.get(key).or_else(|| self.before.get(key))
    }
}

fn key(socket: &SocketRecord) -> Key {
    let Endpoints { local, remote, local_port, remote_port, netns, protocol, .. } = socket.ends;
    let takes_from_anybody = socket.state == LISTEN || remote_port == 0;
    let remote = if takes_from_anybody { ([0; 16], 0) } else { (remote, remote_port) };
    Key { netns, protocol, local: (local, local_port), remote }
}

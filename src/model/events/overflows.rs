//! Connections that listeners refused for want of room. No tracepoint tells of them: the listener counts
//! them, and what that grew by since the last tick is an event.

use rustc_hash::FxHashMap;

use crate::model::ends::is_tcp;
use crate::sample::{LISTEN, SocketRecord, tag};

/// What a listener refused since the last tick.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Overflow {
    pub(in crate::model) listener: SocketRecord,
    pub(in crate::model) count: u64,
}

/// By socket, what it had refused before.
#[derive(Debug, Default)]
pub(in crate::model) struct Overflows {
    seen: FxHashMap<u64, u32>,
}

impl Overflows {
    /// What was refused since the last time; of a listener older than nettrace, since that was first seen.
    pub(in crate::model) fn advance(
        &mut self,
        open: &[SocketRecord],
        closed: &[SocketRecord],
    ) -> Vec<Overflow> {
        let mut overflows = Vec::new();
        let before = std::mem::take(&mut self.seen);
        let is_listener = |socket: &&SocketRecord| socket.state == LISTEN && is_tcp(&socket.ends);
        for listener in open.iter().filter(is_listener) {
            overflows.extend(overflow(listener, before.get(&listener.id)));
            self.seen.insert(listener.id, listener.drops);
        }
        for listener in closed.iter().filter(is_listener) {
            let seen = self.seen.remove(&listener.id);
            overflows.extend(overflow(listener, seen.as_ref().or(before.get(&listener.id))));
        }
        overflows
    }
}

fn overflow(listener: &SocketRecord, before: Option<&u32>) -> Option<Overflow> {
    let is_old = listener.flags & tag::SEEDED != 0;
    let before = before.copied().unwrap_or(if is_old { listener.drops } else { 0 });
    let count = listener.drops.wrapping_sub(before);
    (count > 0).then(|| Overflow { listener: *listener, count: count.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sockets::tests::{A, flagged, listener};

    fn counts(
        overflows: &mut Overflows,
        open: &[SocketRecord],
        closed: &[SocketRecord],
    ) -> Vec<u64> {
        overflows.advance(open, closed).iter().map(|overflow| overflow.count).collect()
    }

    #[test]
    fn what_a_listener_refused_is_told_once() {
        let mut overflows = Overflows::default();
        let drops = |drops| SocketRecord { drops, ..listener(1, A) };
        assert_eq!(counts(&mut overflows, &[drops(3)], &[]), [3]);
        assert!(counts(&mut overflows, &[drops(3)], &[]).is_empty());
        assert_eq!(counts(&mut overflows, &[drops(7)], &[]), [4]);
        // In the table and closed since: what it refused in between counts once.
        assert_eq!(counts(&mut overflows, &[drops(8)], &[drops(10)]), [1, 2]);
        assert!(counts(&mut overflows, &[], &[]).is_empty());
    }

    #[test]
    fn what_was_before_the_start_is_no_event() {
        let old = |drops| SocketRecord { drops, ..flagged(listener(1, A), tag::SEEDED) };
        let mut overflows = Overflows::default();
        assert!(counts(&mut overflows, &[old(90)], &[]).is_empty());
        assert_eq!(counts(&mut overflows, &[old(95)], &[]), [5]);
    }
}

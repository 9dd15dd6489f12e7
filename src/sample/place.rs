//! Where a socket is: what a packet's addresses and ports find it by.

use super::Endpoints;

/// An address, v4-mapped if it is of IPv4, and a port.
pub(crate) type End = ([u8; 16], u16);

pub(crate) const ANY: [u8; 16] = [0; 16];
pub(crate) const ANY_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
/// The other end of a socket that takes packets of whomever.
const ANYBODY: End = (ANY, 0);

/// A socket's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Inode of the namespace; 0 is any.
    pub(crate) netns: u32,
    /// As IP numbers it.
    pub(crate) protocol: u16,
    pub(crate) local: End,
    pub(crate) remote: End,
}

impl Place {
    pub(crate) fn of(ends: &Endpoints) -> Self {
        let Endpoints { netns, protocol, local, local_port, remote, remote_port, .. } = *ends;
        let remote = if remote_port == 0 { ANYBODY } else { (remote, remote_port) };
        Place { netns, protocol, local: (local, local_port), remote }
    }

    /// Whether it is one peer's alone.
    pub(crate) fn is_connected(&self) -> bool {
        self.remote != ANYBODY
    }

    /// In whatever namespace.
    pub(crate) fn anywhere(self) -> Self {
        Place { netns: 0, ..self }
    }

    /// The other end's.
    pub(crate) fn turned(self) -> Self {
        Place { local: self.remote, remote: self.local, ..self }
    }

    /// Those of a socket that takes packets for this connected one, the closest first: itself, one that is
    /// bound to its address, one that is to none, of its family or of IPv6 for both.
    pub(crate) fn takers(self) -> [Self; 4] {
        let (address, port) = self.local;
        let is_v4 = address.starts_with(&ANY_V4[..12]);
        let bound = Place { remote: ANYBODY, ..self };
        let unbound = |any| Place { local: (any, port), ..bound };
        [self, bound, unbound(if is_v4 { ANY_V4 } else { ANY }), unbound(ANY)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_what_it_takes() {
        let local = std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
        let packet = Place { netns: 7, protocol: 17, local: (local, 53), remote: ([2; 16], 4000) };
        let ends = |local, remote_port| Endpoints {
            netns: 7,
            protocol: 17,
            local,
            local_port: 53,
            remote: [2; 16],
            remote_port,
            ..Endpoints::default()
        };
        let takers = packet.takers();
        for (socket, number) in
            [(ends(local, 4000), 0), (ends(local, 0), 1), (ends(ANY_V4, 0), 2), (ends(ANY, 0), 3)]
        {
            let place = Place::of(&socket);
            assert_eq!(takers.iter().position(|taker| *taker == place), Some(number));
            assert_eq!(place.is_connected(), number == 0);
        }
        assert_eq!(packet.turned().turned(), packet);
        assert_eq!(packet.turned().anywhere().netns, 0);
    }
}

//! What an interface's own counters make of packets that the stack has in one piece.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use super::skel::types::interface_splits;
use crate::kernel;
use crate::probes::interfaces::Interface;

/// How the interface's own counters count what the stack has in one piece: `enum interface_splits`.
pub(super) fn splits(interface: &Interface) -> u32 {
    const ETHTOOL_GTSO: u32 = 0x1e;
    const ETHTOOL_GGRO: u32 = 0x2b;

    // What can't be asked splits nothing.
    let mut splits = 0;
    if ethtool(&interface.name, ETHTOOL_GTSO).is_ok_and(|on| !on) {
        splits |= interface_splits::SPLIT_OUT.0;
    }
    let merges = || ethtool(&interface.name, ETHTOOL_GGRO).unwrap_or(false);
    if (!interface.is_veth || veth_merges()) && merges() {
        splits |= interface_splits::SPLIT_IN.0;
    }
    splits
}

/// Before Linux 5.13 veth's GRO is on, and does nothing. The function is called from another file, by
/// a table, so that no compiler inlines it.
fn veth_merges() -> bool {
    static MERGES: OnceLock<bool> = OnceLock::new();

    *MERGES.get_or_init(|| kernel::has_symbol("veth_set_features"))
}

/// Asks for a value by SIOCETHTOOL.
fn ethtool(name: &str, command: u32) -> io::Result<bool> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;

    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        value: u32,
    }

    // Any socket will do.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut value = Value { command, value: 0 };
    // SAFETY: plain integers and pointers, of which all zero is one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as _;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: an ifreq whose data is an ethtool_value, as these commands want it.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(value.value != 0) }
}

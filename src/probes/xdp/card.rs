//! The program on a card: loaded for its interface, with counters that are on the card too.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, anyhow};
use libbpf_rs::skel::OpenSkel;
use libbpf_rs::{MapCore, MapFlags};
use plain::Plain;

use crate::probes::objects;
use crate::probes::verify::{Load, Subject, load_changed};
use crate::sample::xdp::XdpCounts;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/xdp_card.skel.rs"));
}
use skel::types::packet_count;
use skel::{XdpCardSkel, XdpCardSkelBuilder};

// SAFETY: integers only.
unsafe impl Plain for packet_count {}

/// The kernel's `XDP_PASS`.
const PASS: usize = 2;

/// As the verifier has it for a CPU: a card's driver asks again.
pub(super) fn subject() -> Subject {
    let load: Load =
        Box::new(|_, change| load_changed(objects::open::<XdpCardSkelBuilder>()?, change));
    let arrangement = super::hooks::of_card();
    Subject { object: "xdp_card", name: "packet", number: 0, arrangement, load }
}

/// Loaded for one interface.
pub(super) struct Card {
    skel: XdpCardSkel<'static>,
}

impl Card {
    /// Loads it for the interface of this number, in the namespace that the thread is in.
    ///
    /// # Errors
    /// Where the driver takes no programs, or not this one.
    pub(super) fn load(index: u32) -> libbpf_rs::Result<Self> {
        let mut open = objects::open::<XdpCardSkelBuilder>()?;
        open.progs.nettrace_xdp_hw.set_ifindex(index);
        open.maps.passed.set_map_ifindex(index);
        Ok(Card { skel: open.load()? })
    }

    pub(super) fn program(&self) -> i32 {
        self.skel.progs.nettrace_xdp_hw.as_fd().as_raw_fd()
    }

    /// Adds what it has passed.
    ///
    /// # Errors
    /// Where the card doesn't answer.
    pub(super) fn add_to(&self, counts: &mut XdpCounts) -> Result<()> {
        for (protocol, sum) in (0u32..).zip(&mut counts.verdicts[PASS]) {
            let value = self.skel.maps.passed.lookup(&protocol.to_ne_bytes(), MapFlags::ANY);
            let value = value.context("read the card's counts")?.unwrap_or_default();
            let mut count = packet_count::default();
            count.copy_from_bytes(&value).map_err(|error| anyhow!("counts: {error:?}"))?;
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
        Ok(())
    }
}

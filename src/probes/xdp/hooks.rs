//! What the XDP probe tells, and the ways to have it.

use crate::probes::ladder::{Arrangement, Datum, Hook, Rung, Way};

/// Packets at the stack.
pub(super) const STACK: &str = "xdp_stack";
/// What programs of others do.
pub(super) const VERDICTS: &str = "xdp_verdicts";
/// The program that watches one of others.
pub(super) const WATCHER: &str = "others_verdict";

/// Of the tracepoints: names, and programs by typed arguments and by addresses.
const EVENTS: [(&str, &str, &str); 6] = [
    ("xdp_exception", "xdp_exception", "raw_xdp_exception"),
    ("xdp_redirect", "xdp_redirect", "raw_xdp_redirect"),
    ("xdp_redirect_err", "xdp_redirect_err", "raw_xdp_redirect_err"),
    ("xdp_bulk_tx", "xdp_bulk_tx", "raw_xdp_bulk_tx"),
    ("xdp_devmap_xmit", "xdp_devmap_xmit", "raw_xdp_devmap_xmit"),
    ("xdp_cpumap_enqueue", "xdp_cpumap_enqueue", "raw_xdp_cpumap_enqueue"),
];

/// The program on a card, for the verifier.
pub(super) fn of_card() -> Arrangement {
    let way = Way::new(Rung::Xdp, [Hook::new(Rung::Xdp, "xdp", "nettrace_xdp_hw")]);
    let packets = Datum {
        name: "xdp",
        words: "packets before the card's driver sees them",
        required: true,
        ways: vec![way],
    };
    Arrangement { data: vec![packets], limit: "" }
}

/// A link before the stack, and what helps to say what became of packets.
pub(super) fn arrangements() -> [Arrangement; 1] {
    let at_stack = |rung, target, since| {
        Way::new(rung, [Hook::new(rung, target, "nettrace_stack").since(since)])
    };
    let packets = Datum {
        name: "xdp",
        words: "packets before the stack sees them",
        required: true,
        ways: vec![Way::new(
            Rung::Xdp,
            ["nettrace_xdp", "nettrace_xdp_ip", "nettrace_skb", "nettrace_skb_ip"]
                .map(|program| Hook::new(Rung::Xdp, "xdp", program)),
        )],
    };
    let stack = Datum {
        name: STACK,
        words: "packets that reach the stack",
        required: false,
        ways: vec![
            at_stack(Rung::Tcx, "tcx_ingress", "since Linux 6.6"),
            at_stack(Rung::Clsact, "clsact_ingress", ""),
        ],
    };
    let verdicts = Datum {
        name: VERDICTS,
        words: "what XDP programs of others do with packets",
        required: false,
        ways: vec![Way::new(Rung::Fexit, [Hook::new(Rung::Fexit, "xdp_program", WATCHER)])],
    };
    let typed = EVENTS.map(|(name, typed, _)| Hook::new(Rung::TpBtf, name, typed).optional());
    let by_address = EVENTS.map(|(name, _, raw)| Hook::new(Rung::RawTp, name, raw).optional());
    let events = Datum {
        name: "xdp_events",
        words: "errors and bulks of XDP programs",
        required: false,
        ways: vec![Way::new(Rung::TpBtf, typed), Way::new(Rung::RawTp, by_address)],
    };
    [Arrangement { data: vec![packets, stack, verdicts, events], limit: "" }]
}

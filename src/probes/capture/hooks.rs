//! What the capture probe tells, and the ways to have it.

use crate::probes::ladder::{Arrangement, Datum, Hook, Rung, Way};

/// A link beside those of others, which goes with nettrace however it ends; or a filter.
pub(super) fn arrangements() -> [Arrangement; 1] {
    let way = |rung, [ingress, egress]: [&'static str; 2], since| {
        let hooks = [
            Hook::new(rung, ingress, "nettrace_cap_in").since(since),
            Hook::new(rung, ingress, "nettrace_capi_in").since(since),
            Hook::new(rung, egress, "nettrace_cap_out").since(since),
            Hook::new(rung, egress, "nettrace_capi_out").since(since),
        ];
        Way::new(rung, hooks)
    };
    let packets = Datum {
        name: "packets",
        words: "captured packets",
        required: true,
        ways: vec![
            way(Rung::Tcx, ["tcx_ingress", "tcx_egress"], "since Linux 6.6"),
            way(Rung::Clsact, ["clsact_ingress", "clsact_egress"], ""),
        ],
    };
    [Arrangement { data: vec![packets], limit: "" }]
}

//! What the path probe tells, and the ways to have it.

use super::functions::COPIES;
use crate::probes::ladder::{Arrangement, Datum, Hook, Rung, Way};

/// The group of `kfree_skb` and `consume_skb` in tracefs.
pub(super) const GROUP: &str = "skb";

/// The datum of functions, of which the ways name one that every kernel has and stand for all.
pub(super) const STEPS: &str = "path";

/// The datum of copies.
pub(super) const COPIED: &str = "path_copies";

/// The programs at the functions that give copies, in the order of [`COPIES`].
const COPYING: [&str; 4] = ["cloned", "copied_whole", "copied_headers", "copied_expanded"];

/// All are read by address, since functions' arguments are. `is_preempted` where the programs of
/// tracepoints can be: these would miss ends.
pub(super) fn arrangements(is_preempted: bool) -> [Arrangement; 1] {
    let way = |rung, target, program| Way::new(rung, [Hook::new(rung, target, program)]);
    let freed = |target, by_type, by_perf| {
        let mut ways = vec![way(Rung::TpBtf, target, by_type), way(Rung::Perf, target, by_perf)];
        if is_preempted {
            ways.reverse();
        }
        ways
    };
    let steps = vec![
        way(Rung::KprobeMulti, "ip_rcv", "probed_of_many"),
        way(Rung::Fentry, "ip_rcv", "entered"),
        way(Rung::Kprobe, "ip_rcv", "probed"),
        way(Rung::RawTp, "netif_receive_skb", "passed"),
    ];
    let copying = COPIES.into_iter().zip(COPYING);
    let copying: Vec<Hook> = copying
        .map(|(target, program)| Hook::new(Rung::Fentry, target, program).optional())
        .collect();
    let datum = |name, words, required, ways| Datum { name, words, required, ways };
    let data = vec![
        datum("path_drops", "dropped packets", true, freed("kfree_skb", "dropped", "perf_dropped")),
        datum(
            "path_ends",
            "ends of packets",
            true,
            freed("consume_skb", "consumed", "perf_consumed"),
        ),
        datum(COPIED, "copies of packets", false, vec![Way::new(Rung::Fentry, copying)]),
        datum(STEPS, "functions that packets pass", true, steps),
    ];
    [Arrangement { data, limit: "" }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::ladder::{self, Tried};

    /// The rungs of steps, drops and copies.
    fn rungs(is_preempted: bool, lacks: &[&str]) -> Vec<&'static str> {
        let arrangements = arrangements(is_preempted);
        let mut tried = Tried::default();
        for hook in ladder::hooks(&arrangements) {
            if lacks.contains(&hook.rung.name()) {
                tried.insert(hook, ladder::missing(hook));
            }
        }
        let choice = ladder::choose(&arrangements, &tried);
        let rung = |datum: &&'static str| {
            let standing = choice.standings.iter().find(|standing| standing.datum == *datum);
            standing.and_then(|standing| standing.way.as_ref()).map_or("-", |way| way.rung.name())
        };
        [STEPS, "path_drops", COPIED].iter().map(rung).collect()
    }

    #[test]
    fn many_at_once_come_before_one_by_one_and_tracepoints_last() {
        assert_eq!(rungs(false, &[]), ["kprobe_multi", "tp_btf", "fentry"]);
        assert_eq!(rungs(true, &[]), ["kprobe_multi", "perf", "fentry"]);
        assert_eq!(rungs(false, &["kprobe_multi"]), ["fentry", "tp_btf", "fentry"]);
        let lacks = ["kprobe_multi", "fentry"];
        assert_eq!(rungs(false, &lacks)[0], "kprobe");
        let lacks = ["kprobe_multi", "fentry", "kprobe"];
        assert_eq!(rungs(false, &lacks)[0], "raw_tp");
    }
}

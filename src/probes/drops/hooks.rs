//! What the drop probe tells, and the ways to have it.

use crate::probes::ladder::{Arrangement, Datum, Hook, Rung, Way};
use crate::sample::DropKind;

/// Number of the arrangement that reads everything by its address.
pub(super) const BY_ADDRESS: usize = 1;

/// The group of `kfree_skb` in tracefs.
pub(super) const GROUP: &str = "skb";

/// Fields read in place; or by a helper, where the current task's type isn't known. `is_preempted`
/// where the programs of tracepoints can be: a drop in softirq would find them busy with a task that
/// lost its CPU, and all that come until it goes on. What isn't one of `kinds` is left out, unless these
/// are none.
pub(super) fn arrangements(is_preempted: bool, kinds: &[DropKind]) -> [Arrangement; 2] {
    let typed = Hook::new(Rung::Helper, "bpf_get_current_task_btf", "")
        .since("typed current task, since Linux 5.11");
    let limit = "the programs read by address here";
    [
        Arrangement { data: data(is_preempted, kinds, &[typed]), limit },
        Arrangement { data: data(is_preempted, kinds, &[]), limit },
    ]
}

fn data(is_preempted: bool, kinds: &[DropKind], more: &[Hook]) -> Vec<Datum> {
    let way = |rung, target, program| {
        let hooks = [&[Hook::new(rung, target, program)], more].concat();
        Way::new(rung, hooks)
    };
    let mut drops = vec![
        way(Rung::TpBtf, "kfree_skb", "dropped"),
        way(Rung::Perf, "kfree_skb", "perf_dropped"),
    ];
    if is_preempted {
        drops.reverse();
    }
    let of = |kind: DropKind, name, words, ways| {
        let required = kinds.contains(&kind) || kind == DropKind::Packet;
        let datum = Datum { name, words, required, ways };
        (kinds.is_empty() || kinds.contains(&kind)).then_some(datum)
    };
    let by = |target, program| vec![way(Rung::TpBtf, target, program)];
    let data = [
        of(DropKind::Packet, "drops", "dropped packets", drops),
        of(
            DropKind::Retransmit,
            "retransmits",
            "single retransmits",
            by("tcp_retransmit_skb", "retransmitted"),
        ),
        of(
            DropKind::ResetSent,
            "resets_sent",
            "resets that TCP sends",
            by("tcp_send_reset", "reset_sent"),
        ),
        of(
            DropKind::ResetReceived,
            "resets_received",
            "resets that TCP receives",
            by("tcp_receive_reset", "reset_received"),
        ),
    ];
    data.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::ladder::{self, Tried};

    fn rung(is_preempted: bool, lacks: &[&str]) -> (usize, &'static str) {
        let arrangements = arrangements(is_preempted, &[]);
        let mut tried = Tried::default();
        for hook in ladder::hooks(&arrangements) {
            if lacks.contains(&hook.target) || lacks.contains(&hook.rung.name()) {
                tried.insert(hook, ladder::missing(hook));
            }
        }
        let choice = ladder::choose(&arrangements, &tried);
        (choice.arrangement, choice.standings[0].way.as_ref().map_or("-", |way| way.rung.name()))
    }

    #[test]
    fn perf_comes_first_where_programs_are_preempted() {
        assert_eq!(rung(false, &[]), (0, "tp_btf"));
        assert_eq!(rung(true, &[]), (0, "perf"));
        assert_eq!(rung(true, &["perf"]), (0, "tp_btf"));
        assert_eq!(rung(false, &["tp_btf"]), (0, "perf"));
    }

    #[test]
    fn what_is_named_is_needed_and_nothing_else_is_attached() {
        let [first, _] = arrangements(false, &[DropKind::Retransmit]);
        let data: Vec<_> = first.data.iter().map(|datum| (datum.name, datum.required)).collect();
        assert_eq!(data, [("retransmits", true)]);
    }

    #[test]
    fn without_a_typed_task_all_is_read_by_address() {
        assert_eq!(rung(false, &["bpf_get_current_task_btf"]), (BY_ADDRESS, "tp_btf"));
    }
}

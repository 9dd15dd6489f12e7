//! Which functions of the kernel are watched: all that take a packet and can be, those that are asked for,
//! or so many of them as a rung allows.

use std::collections::HashSet;

use super::types::Taker;
use crate::probes::taps::matches;

/// Functions that free the `sk_buff` itself, some of them without a tracepoint. Not every kernel has all.
const ENDS: [&str; 7] = [
    "__kfree_skb",
    "__kfree_skb_defer",
    "__napi_kfree_skb",
    "kfree_skb_partial",
    "kfree_skbmem",
    "napi_skb_cache_put",
    "napi_skb_free_stolen_head",
];

/// Functions that give up a packet, or are told that it goes: what they do is told by tracepoints, or no
/// matter once it goes.
const GOING: [&str; 15] = [
    "consume_skb",
    "kfree_skb",
    "kfree_skb_list",
    "kfree_skb_list_reason",
    "kfree_skb_reason",
    "napi_consume_skb",
    "sk_skb_reason_drop",
    "skb_free_head",
    "skb_release_all",
    "skb_release_data",
    "skb_release_head_state",
    "sock_edemux",
    "sock_efree",
    "sock_ofree",
    "sock_pfree",
];
const GOING_ENDINGS: [&str; 2] = ["_wfree", "_rfree"];
const DESTRUCTOR: &str = "_destruct";

/// Those that give a copy, in the order of `enum path_copies`.
pub(super) const COPIES: [&str; 4] =
    ["skb_clone", "skb_copy", "__pskb_copy_fclone", "skb_copy_expand"];

/// The functions that tell most, where there can't be many.
const FIRST: [&str; 60] = [
    "ip_local_out",
    "__ip_local_out",
    "ip_output",
    "ip_finish_output2",
    "ip6_output",
    "ip6_finish_output2",
    "__dev_queue_xmit",
    "dev_hard_start_xmit",
    "__netif_receive_skb_core",
    "__netif_receive_skb_one_core",
    "ip_rcv",
    "ip_rcv_finish",
    "ip_local_deliver",
    "ip_local_deliver_finish",
    "ip_forward",
    "ip_forward_finish",
    "nf_hook_slow",
    "nf_nat_ipv4_fn",
    "nf_nat_inet_fn",
    "nf_nat_manip_pkt",
    "nf_nat_packet",
    "nf_conntrack_in",
    "nft_do_chain",
    "ipt_do_table",
    "udp_rcv",
    "__udp4_lib_rcv",
    "udp_queue_rcv_skb",
    "udp_queue_rcv_one_skb",
    "__udp_enqueue_schedule_skb",
    "udp_send_skb",
    "tcp_v4_rcv",
    "tcp_v4_do_rcv",
    "tcp_rcv_established",
    "tcp_rcv_state_process",
    "tcp_data_queue",
    "__tcp_transmit_skb",
    "icmp_rcv",
    "icmp_echo",
    "ipv6_rcv",
    "ip6_rcv_finish",
    "ip6_input",
    "ip6_forward",
    "udpv6_rcv",
    "__udp6_lib_rcv",
    "udpv6_queue_rcv_skb",
    "tcp_v6_rcv",
    "tcp_v6_do_rcv",
    "icmpv6_rcv",
    "sch_direct_xmit",
    "validate_xmit_skb",
    "netif_rx",
    "netif_rx_internal",
    "enqueue_to_backlog",
    "napi_gro_receive",
    "dev_forward_skb",
    "__dev_forward_skb",
    "skb_scrub_packet",
    "br_handle_frame",
    "br_forward",
    "packet_rcv",
];

/// What is watched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// A packet comes by there.
    pub(super) steps: Vec<Taker>,
    /// A packet ends there.
    pub(super) ends: Vec<Taker>,
    /// Functions that would be watched if there could be more.
    pub(super) left_out: usize,
}

/// Chooses among all functions those that can be watched (all, if that isn't known) and are as one of the
/// patterns (any, if there are none), the most telling first and at most so many.
pub(super) fn choose(
    all: Vec<Taker>,
    can_be_watched: Option<&HashSet<&str>>,
    patterns: &[String],
    has_copies: bool,
    most: Option<usize>,
) -> Choice {
    let mut choice = Choice::default();
    for taker in all {
        let name = taker.name.as_str();
        if can_be_watched.is_some_and(|names| !names.contains(name)) {
            continue;
        }
        let is_chosen =
            patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name));
        let is_told = is_going(name) || has_copies && COPIES.contains(&name);
        if ENDS.contains(&name) {
            choice.ends.push(taker);
        } else if is_chosen && !is_told {
            choice.steps.push(taker);
        }
    }
    let Some(most) = most else { return choice };
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    choice.steps.sort_by_key(|taker| rank(&taker.name));
    choice.left_out = choice.steps.len().saturating_sub(most);
    choice.steps.truncate(most);
    choice
}

fn is_going(name: &str) -> bool {
    GOING.contains(&name)
        || GOING_ENDINGS.iter().any(|ending| name.ends_with(ending))
        || name.contains(DESTRUCTOR)
}

/// The names of a list of functions as tracefs has it: a line each, a module's with its name behind.
pub(super) fn names(list: &str) -> HashSet<&str> {
    list.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takers(names: &[&str]) -> Vec<Taker> {
        let taker = |name: &&str| Taker { name: (*name).to_owned(), argument: 1, id: Some(1) };
        names.iter().map(taker).collect()
    }

    fn chosen(patterns: &[&str], most: Option<usize>) -> (Vec<String>, Vec<String>, usize) {
        let all = takers(&[
            "__kfree_skb",
            "a_function",
            "consume_skb",
            "ip_forward",
            "ip_rcv",
            "nft_do_chain",
            "skb_clone",
            "sock_wfree",
            "unseen",
        ]);
        let list = "__kfree_skb\na_function\nconsume_skb\nip_forward\nip_rcv\nskb_clone\n\
                    sock_wfree\nnft_do_chain [nf_tables]\n";
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let choice = choose(all, Some(&names(list)), &patterns, true, most);
        let names = |all: Vec<Taker>| all.into_iter().map(|taker| taker.name).collect();
        (names(choice.steps), names(choice.ends), choice.left_out)
    }

    #[test]
    fn all_that_can_be_watched_are_but_those_by_which_a_packet_goes() {
        let (steps, ends, left_out) = chosen(&[], None);
        assert_eq!(steps, ["a_function", "ip_forward", "ip_rcv", "nft_do_chain"]);
        assert_eq!((ends, left_out), (vec!["__kfree_skb".to_owned()], 0));
    }

    #[test]
    fn where_there_cannot_be_many_the_most_telling_are_left() {
        let (steps, ends, left_out) = chosen(&[], Some(2));
        assert_eq!(steps, ["ip_rcv", "ip_forward"]);
        assert_eq!((ends.len(), left_out), (1, 2));
    }

    #[test]
    fn patterns_choose_steps_and_leave_ends() {
        let (steps, ends, _) = chosen(&["ip_*", "*chain"], None);
        assert_eq!(steps, ["ip_forward", "ip_rcv", "nft_do_chain"]);
        assert_eq!(ends.len(), 1);
        assert_eq!(chosen(&["nothing"], None).0, Vec::<String>::new());
    }

    #[test]
    fn without_a_list_all_may_be_watched() {
        let choice = choose(takers(&["ip_rcv", "skb_clone"]), None, &[], false, None);
        assert_eq!(choice.steps.len(), 2);
    }
}

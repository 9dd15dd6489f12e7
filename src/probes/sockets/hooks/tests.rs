#![allow(clippy::unwrap_used)]

use super::*;
use crate::kernel::Reason;
use crate::probes::SECOND;
use crate::probes::ladder::{self, Choice, Tried};

/// A kernel, by what it lacks: a target, or all of a rung.
struct Kernel {
    lacks: &'static [&'static str],
    refuses: &'static [Rung],
}

const SINCE_6_5: &[&str] = &["inet_sendpage"];
const DEBIAN_12: &[&str] = &["sock_send_length", "sock_recv_length"];
const DEBIAN_11: &[&str] = &["sock_send_length", "sock_recv_length", "bpf_sk_storage_get_tracing"];

fn choose(kernel: &Kernel, options: &Options) -> Choice {
    let arrangements = arrangements(options, false);
    let mut tried = Tried::default();
    for hook in ladder::hooks(&arrangements) {
        if kernel.lacks.contains(&hook.target) {
            tried.insert(hook, ladder::missing(hook));
        } else if kernel.refuses.contains(&hook.rung) {
            tried.insert(hook, Reason::Refused("EPERM".to_owned()));
        }
    }
    ladder::choose(&arrangements, &tried)
}

fn uses(choice: &Choice, program: &str) -> bool {
    choice.hooks().any(|hook| hook.program == program)
}

/// `datum=rung` of each, in order.
fn rungs(choice: &Choice) -> String {
    let rung = |way: &Option<Way>| way.as_ref().map_or("-", |way| way.rung.name());
    let all = choice.standings.iter().map(|s| format!("{}={}", s.datum, rung(&s.way)));
    all.collect::<Vec<_>>().join(" ")
}

fn check(lacks: &'static [&'static str], refuses: &'static [Rung], expected: &str) -> Choice {
    let options = Options { follow_forks: true, ..Options::default() };
    let choice = choose(&Kernel { lacks, refuses }, &options);
    assert_eq!(rungs(&choice), expected);
    choice
}

#[test]
fn a_new_kernel_needs_tracepoints_alone() {
    let choice = check(
        SINCE_6_5,
        &[],
        "table=iter owners=iter states=tp_btf sent=tp_btf received=tp_btf forks=tp_btf exits=tp_btf",
    );
    assert_eq!(choice.arrangement, 0);
    assert!(choice.standings.iter().all(|standing| standing.above.is_empty()));
}

#[test]
fn debian_12_counts_calls_by_fexit_and_has_sendpage() {
    let choice = check(
        DEBIAN_12,
        &[],
        "table=iter owners=iter states=tp_btf sent=fentry received=fentry forks=tp_btf exits=tp_btf",
    );
    assert_eq!(choice.arrangement, 0);
    assert!(uses(&choice, "fexit_inet_sendpage"));
    let sent = choice.standings.iter().find(|s| s.datum == SENT).unwrap();
    assert_eq!(
        sent.above.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["tp_btf sock_send_length: this kernel has no sock_send_length (since Linux 6.3)"]
    );
}

#[test]
fn debian_11_has_its_table_by_address() {
    let choice = check(
        DEBIAN_11,
        &[],
        "table=fentry accepted=fentry owners=iter states=tp_btf sent=fentry received=fentry \
         forks=tp_btf exits=tp_btf",
    );
    assert_eq!(choice.arrangement, BY_ADDRESS);
    assert!(choice.standings[0].above[0].to_string().contains("since Linux 5.11"));
}

#[test]
fn without_trampolines_kprobes_count_calls_and_tags_go_by_address() {
    let choice = check(
        DEBIAN_12,
        &[Rung::Fentry],
        "table=kprobe accepted=kprobe owners=iter states=tp_btf sent=kprobe received=kprobe \
         forks=tp_btf exits=tp_btf",
    );
    assert_eq!(choice.arrangement, BY_ADDRESS);
    assert!(choice.standings[0].above[0].to_string().contains("kprobes"));
}

#[test]
fn kprobes_are_not_taken_for_what_tracepoints_have() {
    let choice = check(
        SINCE_6_5,
        &[Rung::Fentry],
        "table=iter owners=iter states=tp_btf sent=tp_btf received=tp_btf forks=tp_btf exits=tp_btf",
    );
    assert!(!choice.hooks().any(|hook| hook.rung == Rung::Kprobe));
}

#[test]
fn no_kprobe_goes_with_socket_storage() {
    let choice = check(
        &["inet_sock_set_state", "inet_sendpage"],
        &[Rung::Fentry],
        "table=kprobe accepted=kprobe owners=iter states=kprobe sent=tp_btf received=tp_btf \
         forks=tp_btf exits=tp_btf",
    );
    assert_eq!(choice.arrangement, BY_ADDRESS);
}

#[test]
fn without_any_hook_on_calls_the_table_stays_in_storage() {
    let choice = check(
        DEBIAN_12,
        &[Rung::Fentry, Rung::Kprobe],
        "table=iter owners=iter states=tp_btf sent=- received=- forks=tp_btf exits=tp_btf",
    );
    assert_eq!(choice.arrangement, 0);
    assert!(choice.lacking().is_none());
    let received = choice.standings.iter().find(|s| s.datum == RECEIVED).unwrap();
    assert_eq!(received.reason().unwrap().to_string(), "the kernel refused it: EPERM");
    let rungs: Vec<_> = received.above.iter().map(|refused| refused.rung).collect();
    assert_eq!(rungs, [Rung::TpBtf, Rung::Fentry, Rung::Kprobe]);
}

#[test]
fn without_any_table_it_is_not_possible() {
    let options = Options::default();
    let kernel = Kernel { lacks: DEBIAN_11, refuses: &[Rung::Fentry, Rung::Kprobe] };
    assert_eq!(choose(&kernel, &options).lacking().unwrap().datum, "table");
}

#[test]
fn a_kernel_without_ipv6_has_nothing_to_see_there() {
    let choice = check(
        &[
            "inet6_sendmsg",
            "inet6_recvmsg",
            "inet_sendpage",
            "sock_send_length",
            "sock_recv_length",
        ],
        &[],
        "table=iter owners=iter states=tp_btf sent=fentry received=fentry forks=tp_btf exits=tp_btf",
    );
    assert!(uses(&choice, "fexit_inet_sendmsg") && !uses(&choice, "fexit_inet6_sendmsg"));
}

#[test]
fn an_optional_hook_that_is_there_but_refused_is_no_way() {
    let arrangements = arrangements(&Options::default(), false);
    let mut tried = Tried::default();
    for hook in ladder::hooks(&arrangements) {
        match (hook.rung, hook.target) {
            (Rung::TpBtf, "sock_send_length") => tried.insert(hook, ladder::missing(hook)),
            (Rung::Fentry, "inet6_sendmsg") => {
                tried.insert(hook, Reason::Refused("EBUSY".to_owned()));
            }
            _ => {}
        }
    }
    // Half of the bytes would be worse than the next rung.
    let choice = ladder::choose(&arrangements, &tried);
    assert_eq!(choice.arrangement, BY_ADDRESS);
    assert!(uses(&choice, "kprobe_send"));
}

#[test]
fn unix_sockets_are_hooked_only_when_asked_for() {
    let kernel = Kernel { lacks: DEBIAN_11, refuses: &[] };
    let without = choose(&kernel, &Options::default());
    assert!(!without.hooks().any(|hook| hook.target.starts_with("unix_")));
    let with = choose(&kernel, &Options { unix: true, ..Options::default() });
    for program in ["fexit_unix_dgram_sendmsg", "fexit_unix_stream_recvmsg", "fentry_unix_destruct"]
    {
        assert!(uses(&with, program), "{program}");
    }
}

#[test]
fn a_kretprobe_is_there_before_the_entry_it_completes() {
    let kernel = Kernel { lacks: DEBIAN_12, refuses: &[Rung::Fentry] };
    let choice = choose(&kernel, &Options::default());
    let hooks: Vec<_> = choice.hooks().filter(|hook| hook.target == "inet_recvmsg").collect();
    assert_eq!(hooks.iter().map(|hook| hook.at_return).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn pairs_are_attached_first_and_second() {
    let options = Options { follow_forks: true, ..Options::default() };
    let arrangements = arrangements(&options, true);
    let choice = ladder::choose(&arrangements, &Tried::default());
    let programs: Vec<_> = choice.hooks().map(|hook| hook.program).collect();
    let place = |program: &str| programs.iter().position(|p| *p == program).unwrap();
    for first in ["sent", "received", "forked"] {
        assert!(place(first) < place(&format!("{first}{SECOND}")), "{first}");
    }
    assert!(place("set_state_first") < place("set_state_second"));
}

#[test]
fn what_two_ways_share_is_attached_once() {
    let kernel = Kernel { lacks: DEBIAN_12, refuses: &[Rung::Fentry] };
    let choice = choose(&kernel, &Options::default());
    assert_eq!(choice.hooks().filter(|hook| hook.target == "sys_exit").count(), 1);
}

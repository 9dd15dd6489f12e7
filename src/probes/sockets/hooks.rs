//! What the socket probe tells, and the ways to have it, the best first.

use super::Options;
use crate::probes::Pace;
use crate::probes::ladder::{Arrangement, Datum, Hook, Rung, Way};

/// Bytes and calls of the sockets that the kernel doesn't count itself.
pub(super) const SENT: &str = "sent";
pub(super) const RECEIVED: &str = "received";

/// Whose a connection is that arrives.
const ACCEPTED: &str = "accepted";

/// Number of the arrangement with tags by address.
pub(super) const BY_ADDRESS: usize = 1;

/// Functions of `net/socket.c`'s callees: called across files, so never inlined.
const SENDS: [(&str, &str); 2] =
    [("inet_sendmsg", "fexit_inet_sendmsg"), ("inet6_sendmsg", "fexit_inet6_sendmsg")];
const UNIX_SENDS: [(&str, &str); 2] = [
    ("unix_stream_sendmsg", "fexit_unix_stream_sendmsg"),
    ("unix_dgram_sendmsg", "fexit_unix_dgram_sendmsg"),
];
const RECEIVES: [(&str, &str); 2] =
    [("inet_recvmsg", "fexit_inet_recvmsg"), ("inet6_recvmsg", "fexit_inet6_recvmsg")];
const UNIX_RECEIVES: [(&str, &str); 2] = [
    ("unix_stream_recvmsg", "fexit_unix_stream_recvmsg"),
    ("unix_dgram_recvmsg", "fexit_unix_dgram_recvmsg"),
];
/// Gone since Linux 6.5, where `sendfile()` goes by `inet_sendmsg`.
const SENDPAGE: &str = "inet_sendpage";

/// Tags in socket storage; or by address, where that can't be had or kprobes are needed. `in_pairs` where
/// the programs of tracepoints can be preempted.
pub(super) fn arrangements(options: &Options, in_pairs: bool) -> [Arrangement; 2] {
    let storage = datum(
        "table",
        "the table of sockets",
        [Way::new(
            Rung::Iter,
            [
                Hook::new(Rung::Iter, "bpf_sk_storage_map", "read_sockets")
                    .since("since Linux 5.9"),
                Hook::new(Rung::Helper, "bpf_sk_storage_get_tracing", "")
                    .since("socket storage for tracing programs, since Linux 5.11"),
            ],
        )],
    );
    let mut in_storage = with_common(options, in_pairs, [needed(storage)]);
    for datum in &mut in_storage {
        datum.ways.retain(|way| way.rung != Rung::Kprobe);
    }
    let mut by_address = with_common(options, in_pairs, [needed(addresses(options)), accepted()]);
    if options.only_listeners {
        by_address.retain(|datum| datum.name != ACCEPTED);
    }
    [
        Arrangement { data: in_storage, limit: "kprobes, which are needed here, can't use it" },
        Arrangement {
            data: by_address,
            limit: "it needs the table by address, which can't be had here",
        },
    ]
}

fn datum<const N: usize>(name: &'static str, words: &'static str, ways: [Way; N]) -> Datum {
    Datum { name, words, required: false, ways: ways.into() }
}

fn needed(datum: Datum) -> Datum {
    Datum { required: true, ..datum }
}

fn fentry(target: &'static str, program: &'static str) -> Hook {
    Hook::new(Rung::Fentry, target, program)
}

fn kprobe(target: &'static str, program: &'static str) -> Hook {
    Hook::new(Rung::Kprobe, target, program)
}

fn tracepoint(target: &'static str, since: &'static str, programs: &[&'static str]) -> Way {
    let hook = |program: &&'static str| Hook::new(Rung::TpBtf, target, program).since(since);
    Way::new(Rung::TpBtf, programs.iter().map(hook).collect::<Vec<_>>())
}

fn with_common<const N: usize>(options: &Options, in_pairs: bool, table: [Datum; N]) -> Vec<Datum> {
    let mut data: Vec<Datum> = table.into();
    data.push(datum(
        "owners",
        "owners of sockets open before the start",
        [Way::new(
            Rung::Iter,
            [Hook::new(Rung::Iter, "task_file", "seed_sockets").since("since Linux 5.8")],
        )],
    ));
    data.push(states(options.events == Some(Pace::Soon), in_pairs));
    if !options.only_listeners {
        data.extend(calls(options, in_pairs));
    }
    if options.follow_forks {
        let forked: &[_] = if in_pairs { &["forked", "forked_second"] } else { &["forked"] };
        data.push(task(
            "forks",
            "children of the traced command",
            tracepoint("sched_process_fork", "", forked),
            ("wake_up_new_task", "fentry_forked", "kprobe_forked"),
        ));
        // No pair: a missed end only leaves a process id behind, which is used again some day.
        data.push(task(
            "exits",
            "ends of traced processes",
            tracepoint("sched_process_exit", "", &["exited"]),
            ("exit_files", "fentry_exited", "kprobe_exited"),
        ));
    }
    data
}

fn states(required: bool, in_pairs: bool) -> Datum {
    // The kernels without atomic compare-and-swap don't need pairs.
    let set_state: &[_] =
        if in_pairs { &["set_state_first", "set_state_second"] } else { &["set_state"] };
    let states = datum(
        "states",
        "TCP connections that begin and end",
        [
            tracepoint("inet_sock_set_state", "", set_state),
            Way::new(
                Rung::Fentry,
                [
                    fentry("inet_sk_state_store", "fentry_state_store"),
                    fentry("inet_sk_set_state", "fentry_set_state"),
                ],
            ),
            Way::new(
                Rung::Kprobe,
                [
                    kprobe("inet_sk_state_store", "kprobe_set_state"),
                    kprobe("inet_sk_set_state", "kprobe_set_state"),
                ],
            ),
        ],
    );
    Datum { required, ..states }
}

fn task(
    name: &'static str,
    words: &'static str,
    tracepoint: Way,
    (function, entry, probe): (&'static str, &'static str, &'static str),
) -> Datum {
    let by_entry = Way::new(Rung::Fentry, [fentry(function, entry)]);
    let by_probe = Way::new(Rung::Kprobe, [kprobe(function, probe)]);
    datum(name, words, [tracepoint, by_entry, by_probe])
}

/// The table by address needs to be told when an address is free again.
fn addresses(options: &Options) -> Datum {
    let way = |rung, program, unix_program| {
        let mut hooks = vec![
            Hook::new(rung, "inet_sock_destruct", program),
            Hook::new(Rung::Iter, "bpf_map_elem", "read_addresses").since("since Linux 5.9"),
        ];
        if options.unix {
            hooks.push(Hook::new(rung, "unix_sock_destructor", unix_program));
        }
        Way::new(rung, hooks)
    };
    datum(
        "table",
        "the table of sockets",
        [
            way(Rung::Fentry, "fentry_destruct", "fentry_unix_destruct"),
            way(Rung::Kprobe, "kprobe_destruct", "kprobe_destruct"),
        ],
    )
}

fn accepted() -> Datum {
    let target = "inet_csk_clone_lock";
    datum(
        ACCEPTED,
        "who listens for a connection that isn't accepted yet",
        [
            Way::new(Rung::Fentry, [fentry(target, "fentry_clone")]),
            Way::new(Rung::Kprobe, [kprobe(target, "kprobe_clone")]),
        ],
    )
}

fn calls(options: &Options, in_pairs: bool) -> [Datum; 2] {
    let choose = |inet: &[(&'static str, &'static str)], unix: &[(&'static str, &'static str)]| {
        let unix = if options.unix { unix } else { &[] };
        [inet, unix].concat()
    };
    let sends = choose(&SENDS, &UNIX_SENDS);
    let receives = choose(&RECEIVES, &UNIX_RECEIVES);

    let by_tracepoint = |target, first, second| {
        let programs: &[_] = if in_pairs { &[first, second] } else { &[first] };
        tracepoint(target, "since Linux 6.3", programs)
    };
    let page = fentry(SENDPAGE, "fexit_inet_sendpage").optional();
    let returns = Hook::new(Rung::RawTp, "sys_exit", "raw_tp_returned").optional();
    let pages = probes(&[(SENDPAGE, "")], "kprobe_sendpage", "kretprobe_call");
    let pages = pages.map(Hook::optional);
    let send_probes = probes(&sends, "kprobe_send", "kretprobe_call").chain(pages);
    let receive_probes = probes(&receives, "kprobe_receive", "kretprobe_call");
    [
        datum(
            SENT,
            "bytes sent on UDP and raw sockets, and by further users of a TCP socket",
            [
                by_tracepoint("sock_send_length", "sent", "sent_second"),
                Way::new(Rung::Fentry, exits(&sends).chain([page]).collect::<Vec<_>>()),
                Way::new(Rung::Kprobe, send_probes.chain([returns]).collect::<Vec<_>>()),
            ],
        ),
        datum(
            RECEIVED,
            "bytes received on UDP and raw sockets, and by further users of a TCP socket",
            [
                by_tracepoint("sock_recv_length", "received", "received_second"),
                Way::new(Rung::Fentry, exits(&receives).collect::<Vec<_>>()),
                Way::new(Rung::Kprobe, receive_probes.chain([returns]).collect::<Vec<_>>()),
            ],
        ),
    ]
}

/// Not every kernel has IPv6.
fn is_optional(target: &str) -> bool {
    target.starts_with("inet6_")
}

fn exits(functions: &[(&'static str, &'static str)]) -> impl Iterator<Item = Hook> {
    functions
        .iter()
        .map(|(target, program)| Hook { optional: is_optional(target), ..fentry(target, program) })
}

/// The return is hooked first: a call that is seen to begin will be seen to end.
fn probes(
    functions: &[(&'static str, &'static str)],
    at_entry: &'static str,
    at_return: &'static str,
) -> impl Iterator<Item = Hook> {
    functions.iter().flat_map(move |(target, _)| {
        let optional = is_optional(target);
        let hook = |program| Hook { optional, ..kprobe(target, program) };
        [hook(at_return).at_return(), hook(at_entry)]
    })
}

#[cfg(test)]
mod tests;

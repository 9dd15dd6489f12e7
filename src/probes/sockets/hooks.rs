//! The hooks of the socket probe, and which of them this kernel has.

use anyhow::Result;

use super::Options;
use crate::kernel::{self, HookStatus, Reason, Rung};

pub(super) struct Hook {
    pub(super) program: &'static str,
    rung: Rung,
    target: &'static str,
    datum: &'static str,
    since: &'static str,
    required: bool,
}

const fn hook(
    program: &'static str,
    rung: Rung,
    target: &'static str,
    datum: &'static str,
    since: &'static str,
    required: bool,
) -> Hook {
    Hook { program, rung, target, datum, since, required }
}

const HOOKS: [Hook; 7] = [
    hook(
        "seed_sockets",
        Rung::Iter,
        "task_file",
        "owners of sockets open before the start",
        "since Linux 5.8",
        true,
    ),
    hook(
        "read_sockets",
        Rung::Iter,
        "bpf_sk_storage_map",
        "the table of sockets",
        "since Linux 5.9",
        true,
    ),
    hook(
        "set_state",
        Rung::TpBtf,
        "inet_sock_set_state",
        "TCP connections that begin and end",
        "since Linux 4.16",
        true,
    ),
    hook(
        "sent",
        Rung::TpBtf,
        "sock_send_length",
        "bytes sent on UDP and raw sockets, and by further users of a TCP socket",
        "since Linux 6.3",
        false,
    ),
    hook(
        "received",
        Rung::TpBtf,
        "sock_recv_length",
        "bytes received on UDP and raw sockets, and by further users of a TCP socket",
        "since Linux 6.3",
        false,
    ),
    hook("forked", Rung::TpBtf, "sched_process_fork", "children of the traced command", "", true),
    hook("exited", Rung::TpBtf, "sched_process_exit", "ends of traced processes", "", true),
];

/// Whether a hook is wanted at all with these options.
fn is_wanted(hook: &Hook, options: &Options) -> bool {
    options.follow_forks || !["forked", "exited"].contains(&hook.program)
}

pub(super) fn statuses(options: &Options, absent: &[&Hook]) -> Vec<HookStatus> {
    HOOKS
        .iter()
        .filter(|hook| is_wanted(hook, options))
        .map(|hook| HookStatus {
            probe: "sockets",
            datum: hook.datum,
            target: hook.target,
            outcome: if absent.iter().any(|a| a.program == hook.program) {
                Err(Reason::Missing { target: hook.target.to_owned(), since: hook.since })
            } else {
                Ok(hook.rung)
            },
        })
        .collect()
}

/// Finds the optional hooks that this kernel lacks, after a load failed with `error`.
pub(super) fn missing_hooks(
    options: &Options,
    error: &libbpf_rs::Error,
) -> Result<Vec<&'static Hook>> {
    let failed = |why| kernel::Unsupported::new("load the socket probe", why);
    let refused = || kernel::unsupported("load the socket probe", error);
    if !kernel::has_btf() || !kernel::missing_capabilities(&kernel::NEEDED).is_empty() {
        return Err(refused().into());
    }
    let btf = kernel::btf()?;
    if !kernel::has_function(&btf, "bpf_sk_storage_get_tracing") {
        let target = "socket storage in tracing programs".to_owned();
        return Err(failed(Reason::Missing { target, since: "since Linux 5.11" }).into());
    }
    let absent: Vec<_> = HOOKS
        .iter()
        .filter(|hook| is_wanted(hook, options))
        .filter(|hook| match hook.rung {
            Rung::Iter => !kernel::has_iterator(&btf, hook.target),
            _ => !kernel::has_tracepoint(&btf, hook.target),
        })
        .collect();
    if let Some(hook) = absent.iter().find(|hook| hook.required) {
        let target = hook.target.to_owned();
        return Err(failed(Reason::Missing { target, since: hook.since }).into());
    }
    if absent.is_empty() {
        return Err(refused().into());
    }
    Ok(absent)
}

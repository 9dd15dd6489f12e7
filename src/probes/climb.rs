//! Up the ladder: what a choice of hooks fails at is remembered, and the next best tried, until what
//! is left works.

use anyhow::Result;
use caps::Capability;

use crate::kernel::{self, Reason, Unsupported};
use crate::privileges;
use crate::probes::ladder::{self, Arrangement, Choice, Hook, Rung, Tried};

/// What failed in one attempt, and at which hook if that is known.
pub(super) struct Failure {
    pub(super) hook: Option<Hook>,
    pub(super) error: libbpf_rs::Error,
}

impl From<libbpf_rs::Error> for Failure {
    fn from(error: libbpf_rs::Error) -> Self {
        Failure { hook: None, error }
    }
}

impl Failure {
    /// Of an object that couldn't be loaded: libbpf said at which program.
    pub(super) fn of_loading(choice: &Choice, error: libbpf_rs::Error) -> Self {
        let program = kernel::failed_program();
        let hook = choice.hooks().find(|hook| Some(hook.program) == program.as_deref());
        Failure { hook: hook.copied(), error }
    }
}

/// Tries the best choice that is left until one works, among the arrangements for a kernel where
/// programs on tracepoints can be preempted, or can't.
///
/// # Errors
/// [`Unsupported`] where what the probe needs can't be had.
pub(super) fn climb<T, const N: usize>(
    what: &str,
    arrangements: impl FnOnce(bool) -> [Arrangement; N],
    mut attempt: impl FnMut(Choice) -> Result<Result<T, Failure>>,
) -> Result<T> {
    // Read at most once, since that takes a while; the usual kernel isn't asked for more.
    let mut btf = kernel::is_preemptible().then(kernel::btf).and_then(Result::ok);
    let is_preempted = btf.as_deref().is_some_and(kernel::has_preemptible_tracepoints);
    let arrangements = &arrangements(is_preempted);
    let mut tried = Tried::from_environment(arrangements, &super::targets())?;
    let mut is_asked = false;
    loop {
        let choice = ladder::choose(arrangements, &tried);
        if let Some(lacking) = choice.lacking() {
            let ways = ladder::against(arrangements, &tried, lacking.datum);
            let ways = ways.iter().map(ToString::to_string).collect();
            return Err(Unsupported::new(what, Reason::NoWay(ways)).into());
        }
        kernel::forget_libbpf();
        let failure = match attempt(choice)? {
            Ok(loaded) => return Ok(loaded),
            Err(failure) => failure,
        };
        if let Some(reason) = kernel::obstacle(&failure.error) {
            return Err(Unsupported::new(what, reason).into());
        }
        // The usual kernel has everything; only another is asked, since that takes a while.
        if !is_asked {
            is_asked = true;
            let btf = btf.take().map_or_else(kernel::btf, Ok)?;
            if tried.ask(&btf, arrangements) {
                continue;
            }
        }
        let Some(hook) = failure.hook else {
            return Err(Unsupported::new(what, kernel::refused_all(&failure.error)).into());
        };
        tried.insert(&hook, reason(&hook, &failure.error));
    }
}

fn reason(hook: &Hook, error: &libbpf_rs::Error) -> Reason {
    const ENOTSUPP: i32 = 524;

    let is_forbidden = kernel::errno(error) == Some(libc::EPERM);
    match hook.rung {
        Rung::Kprobe if !kernel::has_kprobes() => {
            Reason::NotBuilt { option: "CONFIG_KPROBE_EVENTS" }
        }
        Rung::Fentry if kernel::errno(error) == Some(ENOTSUPP) => {
            Reason::NotBuilt { option: "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS" }
        }
        Rung::Kprobe if kernel::errno(error) == Some(libc::EACCES) => kernel::added_paranoia()
            .map_or_else(|| kernel::refused(error), |level| Reason::Paranoid { level }),
        // It is opened by its id, as another's program is.
        Rung::Fexit
            if is_forbidden && !privileges::missing(&[Capability::CAP_SYS_ADMIN]).is_empty() =>
        {
            Reason::Capabilities(vec![Capability::CAP_SYS_ADMIN])
        }
        _ if kernel::is_confidential() => {
            Reason::Lockdown { what: "BPF to read kernel memory by its address" }
        }
        _ if is_forbidden => Reason::Policy,
        _ => kernel::refused(error),
    }
}

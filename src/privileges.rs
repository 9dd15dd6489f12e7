//! Capabilities: what nettrace needs to attach, what it keeps to run, and what it gives up.

use std::collections::HashSet;

use anyhow::{Context, Result};
use caps::{CapSet, Capability};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::kernel;

/// What makes more visible: programs on interfaces, and where the kernel's functions are.
pub const USEFUL: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_SYSLOG];

/// What loading and attaching needs, measured by leaving out one after the other: to load programs and
/// read kernel memory, and before Linux 5.11, where BPF maps are locked memory, to have enough of it.
pub fn needed() -> Vec<Capability> {
    let mut needed = vec![Capability::CAP_BPF, Capability::CAP_PERFMON];
    let is_limited =
        getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(_, hard)| hard != RLIM_INFINITY);
    let is_counted =
        || kernel::btf().is_ok_and(|btf| kernel::has_function(&btf, "bpf_map_charge_init"));
    if is_limited && is_counted() {
        needed.push(Capability::CAP_SYS_RESOURCE);
    }
    needed
}

/// Capabilities among `wanted` that this process doesn't have in effect. CAP_SYS_ADMIN stands for
/// the newer ones that were split off it.
pub fn missing(wanted: &[Capability]) -> Vec<Capability> {
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    let split_off = [Capability::CAP_BPF, Capability::CAP_PERFMON];
    wanted
        .iter()
        .copied()
        .filter(|cap| {
            let by_admin =
                split_off.contains(cap) && effective.contains(&Capability::CAP_SYS_ADMIN);
            !effective.contains(cap) && !by_admin
        })
        .collect()
}

/// The line that lets an ordinary user run this binary.
pub fn setcap_line() -> String {
    let needed = needed().into_iter().chain(USEFUL);
    let names: Vec<String> = needed.map(|cap| cap.to_string().to_lowercase()).collect();
    let program = std::env::current_exe()
        .map_or_else(|_| "nettrace".to_owned(), |p| p.to_string_lossy().into_owned());
    format!("sudo setcap {}+ep {program}", names.join(","))
}

/// Gives up all capabilities but these, on this thread and on those that it will start.
///
/// # Errors
/// Where the kernel refuses, which it has no reason to.
pub fn keep_only(keep: &[Capability]) -> Result<()> {
    let permitted = caps::read(None, CapSet::Permitted).context("read the capabilities")?;
    let mut keep: HashSet<Capability> = keep.iter().copied().collect();
    if !permitted.contains(&Capability::CAP_BPF) && keep.contains(&Capability::CAP_BPF) {
        keep.insert(Capability::CAP_SYS_ADMIN);
    }
    let kept = permitted.intersection(&keep).copied().collect();
    caps::clear(None, CapSet::Inheritable)
        .and_then(|()| caps::set(None, CapSet::Effective, &kept))
        .and_then(|()| caps::set(None, CapSet::Permitted, &kept))
        .context("give up capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setcap_line_names_each_capability_once() {
        let line = setcap_line();
        for cap in ["cap_bpf", "cap_perfmon", "cap_net_admin"] {
            assert_eq!(line.matches(cap).count(), 1, "{line}");
        }
    }

    #[test]
    fn what_is_given_up_is_gone_and_no_other_thread_s() {
        let before = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let thread = std::thread::spawn(|| {
            keep_only(&[Capability::CAP_BPF]).map_err(|error| error.to_string())?;
            let inner = std::thread::spawn(|| caps::read(None, CapSet::Permitted));
            inner.join().map_err(|_| "it panicked".to_owned())?.map_err(|e| e.to_string())
        });
        let after = thread.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
        let expected = before.iter().copied().filter(|cap| *cap == Capability::CAP_BPF).collect();
        assert_eq!(after, Ok(expected));
        assert_eq!(caps::read(None, CapSet::Permitted).unwrap_or_default(), before);
    }
}

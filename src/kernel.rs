//! What this kernel allows, as typed reasons; and libbpf's own words, kept for the errors that need
//! them. Which hook a probe then chooses is the probe's affair.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use caps::Capability;
use libbpf_rs::PrintLevel;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, FsType, statfs};

use crate::btf::{self, Btf, Kind};
use crate::privileges;

/// Who may have perf events, as sysctl(8) calls it.
const PERF_EVENT_PARANOID: &str = "kernel.perf_event_paranoid";

/// Lines of libbpf's that an error may quote: a verifier's complaint is at the end of many.
const KEPT_LINES: usize = 40;

/// This kernel or these privileges don't allow it: exit status 3.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}\n{todo}")]
pub struct Unsupported {
    /// What was wanted, as “load the socket probe”.
    pub what: String,
    /// The reason that was found.
    pub why: Reason,
    /// What to do about it.
    pub todo: String,
}

/// Why a hook or a whole probe can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The tracepoint, iterator or function isn't in this kernel's BTF.
    #[error("this kernel has no {target}{}", in_brackets(.since))]
    Missing {
        /// The tracepoint or iterator.
        target: String,
        /// When it came, as “since 6.3”.
        since: &'static str,
    },
    /// Capabilities that the process lacks.
    #[error("no permission: {} missing", join(.0))]
    Capabilities(Vec<Capability>),
    /// Kernel lockdown refuses to read kernel memory by its address.
    #[error("kernel lockdown is in confidentiality mode, which forbids {what}")]
    Lockdown {
        /// What it forbids, as “kprobes”.
        what: &'static str,
    },
    /// A level of a sysctl that distributions add: perf events, and so kprobes, are for root alone.
    #[error("{PERF_EVENT_PARANOID} is {level}: above 2 this kernel asks CAP_SYS_ADMIN for kprobes")]
    Paranoid {
        /// The level.
        level: i32,
    },
    /// A part of the kernel that was left out when it was built.
    #[error("this kernel was built without {option}")]
    NotBuilt {
        /// The option's name, as “CONFIG_KPROBE_EVENTS”.
        option: &'static str,
    },
    /// EPERM to a process that has what it needs: a security module's or a hypervisor's doing.
    #[error("a policy of this machine forbids it, though no capability is missing")]
    Policy,
    /// It would work, but not beside what else is needed here.
    #[error("{0}")]
    Unfit(&'static str),
    /// A person wanted it so.
    #[error("switched off by {by}")]
    SwitchedOff {
        /// The switch.
        by: &'static str,
    },
    /// No type information to relocate against.
    #[error("this kernel has no BTF ({}; built without CONFIG_DEBUG_INFO_BTF)", btf::VMLINUX)]
    NoBtf,
    /// No bpf(2) at all.
    #[error("this kernel has no bpf system call (built without CONFIG_BPF_SYSCALL)")]
    NoBpf,
    /// There are several ways, and something against each.
    #[error("there is no way to have it here:\n  {}", .0.join("\n  "))]
    NoWay(Vec<String>),
    /// The kernel refused for another reason.
    #[error("the kernel refused it: {0}")]
    Refused(String),
}

fn in_brackets(since: &str) -> String {
    if since.is_empty() { String::new() } else { format!(" ({since})") }
}

fn join(caps: &[Capability]) -> String {
    let names: Vec<String> = caps.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The release, as `uname -r` prints it.
pub fn release() -> String {
    nix::sys::utsname::uname()
        .map(|u| u.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The host's name.
pub fn hostname() -> String {
    nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether the kernel exports its types.
pub fn has_btf() -> bool {
    Path::new(btf::VMLINUX).exists()
}

/// The kernel's own types, for questions of what it has.
pub fn btf() -> anyhow::Result<Rc<Btf>> {
    Ok(Rc::new(Btf::vmlinux().with_context(|| format!("read {}", btf::VMLINUX))?))
}

/// Whether `btf` has the tracepoint that `tp_btf/name` attaches to.
pub fn has_tracepoint(btf: &Btf, name: &str) -> bool {
    btf.find_typedef(&format!("btf_trace_{name}")).is_some()
}

/// How many arguments a tracepoint hands to programs, if there is such a one: newer ones at the end.
pub fn tracepoint_args(btf: &Btf, name: &str) -> Option<usize> {
    let typedef = btf.find_typedef(&format!("btf_trace_{name}"))?;
    let Kind::Pointer(function) = btf.kind(btf.resolve(typedef)) else { return None };
    // The first is the tracepoint's own.
    btf.parameters(function).count().checked_sub(1)
}

/// Whether `btf` has the iterator that `iter/name` attaches to.
pub fn has_iterator(btf: &Btf, name: &str) -> bool {
    btf.find_struct(&format!("bpf_iter__{name}")).is_some()
}

/// Whether `btf` has a function, such as the one behind a helper.
pub fn has_function(btf: &Btf, name: &str) -> bool {
    btf.find_function(name).is_some()
}

/// Whether the kernel has a function, whatever its types say: some have no static functions in there.
pub fn has_symbol(name: &str) -> bool {
    // A line ends with the name, or a tab and the module's name follow. Not split into words: there are
    // 200,000 lines.
    fs::read_to_string("/proc/kallsyms")
        .is_ok_and(|all| ["\n", "\t"].iter().any(|end| all.contains(&format!(" {name}{end}"))))
}

/// Whether a task can lose its CPU within the kernel, as far as its build says.
pub fn is_preemptible() -> bool {
    nix::sys::utsname::uname()
        .is_ok_and(|uname| uname.version().to_string_lossy().contains("PREEMPT"))
}

/// Whether a task that runs a tracepoint's program can lose its CPU in a kernel that
/// [`is_preemptible`], as since Linux 7.0. The kernel then skips the program for others on that CPU.
pub fn has_preemptible_tracepoints(btf: &Btf) -> bool {
    let is_variable = |kind| matches!(kind, Kind::Variable(_));
    btf.find_typedef("class_srcu_fast_notrace_t").is_some()
        && btf.find("tracepoint_srcu_srcu_data", is_variable).is_some()
}

/// The lockdown mode (`none`, `integrity`, `confidentiality`), if the kernel has lockdown.
pub fn lockdown() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let mode = modes.split_once('[')?.1.split_once(']')?.0;
    Some(mode.to_owned())
}

/// Where tracefs is mounted, if it is.
pub fn tracefs() -> Option<PathBuf> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.join("events").is_dir())
}

/// Where the unified cgroup hierarchy is mounted, if it is.
pub fn cgroup2() -> Option<PathBuf> {
    let is_cgroup2 = |path: &Path| -> bool {
        statfs(path).is_ok_and(|s| s.filesystem_type() == FsType(CGROUP2_SUPER_MAGIC.0))
    };
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| is_cgroup2(path))
}

/// What keeps every BPF program from being loaded here, if `error` came of something like that.
pub fn obstacle(error: &libbpf_rs::Error) -> Option<Reason> {
    if !has_btf() {
        return Some(Reason::NoBtf);
    }
    let missing = privileges::missing(&privileges::needed());
    if !missing.is_empty() {
        return Some(Reason::Capabilities(missing));
    }
    match errno(error) {
        Some(libc::ENOSYS) => Some(Reason::NoBpf),
        // Nothing about the kernel: a hook that fails so isn't missing.
        Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::EINTR) => {
            Some(refused_all(error))
        }
        _ => None,
    }
}

/// The number behind an error of libbpf's, which has it only in its words.
pub fn errno(error: &libbpf_rs::Error) -> Option<i32> {
    let words = format!("{error:#}");
    let (_, rest) = words.rsplit_once("(os error ")?;
    rest.split(')').next()?.parse().ok()
}

/// That the kernel refused one of several ways.
pub fn refused(error: &libbpf_rs::Error) -> Reason {
    Reason::Refused(format!("{error:#}"))
}

/// That the kernel refused everything, with libbpf's last words.
pub fn refused_all(error: &libbpf_rs::Error) -> Reason {
    Reason::Refused(format!("{error:#}{}", quoted_libbpf()))
}

/// Whether lockdown forbids programs to read from an address; typed accesses go on to work.
pub fn is_confidential() -> bool {
    lockdown().as_deref() == Some("confidentiality")
}

/// Whether perf events can be kprobes.
pub fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// The level of `kernel.perf_event_paranoid`, if it is one that distributions add.
pub fn added_paranoia() -> Option<i32> {
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    level.trim().parse().ok().filter(|level| *level > 2)
}

impl Unsupported {
    /// That `what` isn't possible, and what to do about such a reason.
    pub fn new(what: &str, why: Reason) -> Self {
        let todo = match why {
            Reason::Capabilities(_) => {
                format!("run it as root, or once: {}", privileges::setcap_line())
            }
            _ => "`nettrace doctor` shows what works here and what doesn't".to_owned(),
        };
        Unsupported { what: what.to_owned(), why, todo }
    }
}

static VERBOSE: AtomicBool = AtomicBool::new(false);
static LAST_LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Catches what libbpf prints: kept for errors, and shown on stderr if `verbose`.
pub fn catch_libbpf(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
    let level = if verbose { PrintLevel::Debug } else { PrintLevel::Warn };
    libbpf_rs::set_print(Some((level, keep_line)));
}

/// Keeps all that libbpf prints, what is no complaint too, and shows nothing.
pub fn catch_all_of_libbpf() {
    libbpf_rs::set_print(Some((PrintLevel::Debug, keep_line)));
}

fn keep_line(_: PrintLevel, line: String) {
    let line = line.trim_end();
    if VERBOSE.load(Ordering::Relaxed) {
        eprintln!("{line}");
    }
    if let Ok(mut lines) = LAST_LINES.lock() {
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

/// Forgets what libbpf said, before something new is tried.
pub fn forget_libbpf() {
    if let Ok(mut lines) = LAST_LINES.lock() {
        lines.clear();
    }
}

/// The program that libbpf last complained about.
pub fn failed_program() -> Option<String> {
    let lines = LAST_LINES.lock().ok()?;
    lines.iter().rev().find_map(|line| program_in(line)).map(str::to_owned)
}

fn program_in(line: &str) -> Option<&str> {
    let (name, _) = line.split_once("prog '")?.1.split_once('\'')?;
    Some(name)
}

/// Its last words, a line each, which are forgotten then.
pub fn quoted_libbpf() -> String {
    let Ok(mut lines) = LAST_LINES.lock() else {
        return String::new();
    };
    lines.drain(..).fold(String::new(), |all, line| all + "\n  " + &line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_say_what_and_since_when() {
        let reason =
            Reason::Missing { target: "sock_send_length".to_owned(), since: "since Linux 6.3" };
        assert_eq!(reason.to_string(), "this kernel has no sock_send_length (since Linux 6.3)");
        let reason = Reason::Capabilities(vec![Capability::CAP_BPF, Capability::CAP_PERFMON]);
        assert_eq!(reason.to_string(), "no permission: CAP_BPF, CAP_PERFMON missing");
    }

    #[test]
    fn an_error_s_number_is_in_its_words() {
        for number in [libc::ENOSYS, libc::EPERM, 524] {
            let error = libbpf_rs::Error::from_raw_os_error(number);
            assert_eq!(errno(&error), Some(number), "{error}");
        }
    }

    #[test]
    fn libbpf_names_the_program_that_failed() {
        let line = "libbpf: prog 'fexit_inet_sendmsg': BPF program load failed: -EPERM";
        assert_eq!(program_in(line), Some("fexit_inet_sendmsg"));
        assert_eq!(program_in("libbpf: failed to load object 'sockets_bpf'"), None);
    }
}

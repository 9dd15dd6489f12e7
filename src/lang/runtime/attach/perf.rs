//! Events of perf_event_open(2) that programs are attached to.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use libbpf_sys::{
    BPF_PERF_EVENT, PERF_COUNT_SW_CPU_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_TYPE_BREAKPOINT,
    PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT, perf_event_attr,
};

use super::super::sys;
use crate::lang::probe::Period;
use crate::tracefs::{self, Tracefs};

const ENABLE: libc::Ioctl = libc::_IO(b'$' as u32, 0);
const SET_BPF: libc::Ioctl = libc::_IOW::<u32>(b'$' as u32, 8);

/// Names of perf_event_open(2)'s software events, their numbers, and how much they count between two events if
/// nobody says.
const SOFTWARE: &[(&str, u64, u64)] = &[
    ("alignment-faults", 7, 1),
    ("bpf-output", 10, 1),
    ("context-switches", 3, 1000),
    ("cpu-clock", 0, 1_000_000),
    ("cpu-migrations", 4, 1),
    ("dummy", 9, 1),
    ("emulation-faults", 8, 1),
    ("major-faults", 6, 1),
    ("minor-faults", 5, 100),
    ("page-faults", 2, 100),
    ("task-clock", 1, 1),
];

/// The same of the CPU's.
const HARDWARE: &[(&str, u64, u64)] = &[
    ("backend-stalls", 8, 1_000_000),
    ("branch-instructions", 4, 100_000),
    ("branch-misses", 5, 100_000),
    ("bus-cycles", 6, 100_000),
    ("cache-misses", 3, 1_000_000),
    ("cache-references", 2, 1_000_000),
    ("cpu-cycles", 0, 1_000_000),
    ("frontend-stalls", 7, 1_000_000),
    ("instructions", 1, 1_000_000),
    ("ref-cycles", 9, 1_000_000),
];

/// Whose events: all of a CPU, or those of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose {
    pub(super) pid: Option<u32>,
    /// None for whichever CPU a process is on.
    pub(super) cpu: Option<u32>,
}

/// An event that a program is attached to for as long as its descriptor is there.
pub(super) fn attach(
    attr: &perf_event_attr,
    whose: Whose,
    program: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let event = open(attr, whose)?;
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        control(&event, request, argument)?;
    }
    Ok(event)
}

/// The same of each thread that a process has.
///
/// # Errors
/// If one can't be watched; those that end meanwhile needn't be.
pub(super) fn attach_to_threads(
    attr: &perf_event_attr,
    pid: u32,
    program: BorrowedFd<'_>,
) -> io::Result<Vec<OwnedFd>> {
    let mut events = Vec::new();
    // A thread that is made by one that isn't watched yet is found by another look.
    let mut seen = HashSet::new();
    loop {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let new: Vec<u32> = threads.filter(|thread| seen.insert(*thread)).collect();
        if new.is_empty() {
            return Ok(events);
        }
        for thread in new {
            match attach(attr, Whose { pid: Some(thread), cpu: None }, program) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                event => events.push(event?),
            }
        }
    }
}

/// Has threads watched that those which are watched make.
pub(super) fn with_new_threads(attr: &mut perf_event_attr) {
    attr.set_inherit(1);
    attr.set_inherit_thread(1);
}

/// The same by a link with a number that the program can ask for: link and event.
///
/// # Errors
/// Where the kernel has no such links (before Linux 5.15), and as above.
pub(super) fn attach_numbered(
    attr: &perf_event_attr,
    whose: Whose,
    program: BorrowedFd<'_>,
    number: u64,
) -> io::Result<[OwnedFd; 2]> {
    let event = open(attr, whose)?;
    let mut options = sys::link_options();
    options.__bindgen_anon_1.perf_event.bpf_cookie = number;
    let link = sys::link_create(program, Some(event.as_fd()), BPF_PERF_EVENT, &options)?;
    control(&event, ENABLE, 0)?;
    Ok([link, event])
}

fn open(attr: &perf_event_attr, whose: Whose) -> io::Result<OwnedFd> {
    let pid = whose.pid.map_or(-1, u32::cast_signed);
    let cpu = whose.cpu.map_or(-1, u32::cast_signed);
    // SAFETY: an attr of its own size, with a string that lives during the call if it has one; no group.
    tracefs::owned(unsafe {
        let (attr, flags) = (std::ptr::from_ref(attr), PERF_FLAG_FD_CLOEXEC);
        libc::syscall(libc::SYS_perf_event_open, attr, pid, cpu, -1, flags)
    })
}

fn control(event: &OwnedFd, request: libc::Ioctl, argument: RawFd) -> io::Result<()> {
    // SAFETY: our own descriptor, and a program's or none, which lives during the call.
    if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn attr(kind: u32, config: u64) -> perf_event_attr {
    perf_event_attr {
        type_: kind,
        size: size_of::<perf_event_attr>() as u32,
        config,
        ..Default::default()
    }
}

/// From time to time.
pub(super) fn clock(period: Period) -> perf_event_attr {
    let mut attr = attr(PERF_TYPE_SOFTWARE, u64::from(PERF_COUNT_SW_CPU_CLOCK));
    match period {
        Period::Nanoseconds(ns) => attr.__bindgen_anon_1.sample_period = ns,
        Period::Hertz(count) => {
            attr.set_freq(1);
            attr.__bindgen_anon_1.sample_freq = count;
        }
    }
    attr
}

/// A counter of the kernel, each so many counts.
pub(super) fn software(event: &str, count: u64) -> Option<perf_event_attr> {
    counter(PERF_TYPE_SOFTWARE, SOFTWARE, event, count)
}

/// A counter of the CPU.
pub(super) fn hardware(event: &str, count: u64) -> Option<perf_event_attr> {
    counter(PERF_TYPE_HARDWARE, HARDWARE, event, count)
}

fn counter(
    kind: u32,
    events: &[(&str, u64, u64)],
    event: &str,
    count: u64,
) -> Option<perf_event_attr> {
    let (_, number, usual) = events.iter().find(|(name, ..)| *name == event)?;
    let mut attr = attr(kind, *number);
    attr.__bindgen_anon_1.sample_period = if count == 0 { *usual } else { count };
    Some(attr)
}

/// Accesses to memory; `mode` has the letters r, w and x.
pub(super) fn breakpoint(address: u64, length: u64, mode: &str) -> perf_event_attr {
    let mut attr = attr(PERF_TYPE_BREAKPOINT, 0);
    let bits = [('r', 1), ('w', 2), ('x', 4)];
    attr.bp_type =
        bits.iter().filter(|(letter, _)| mode.contains(*letter)).map(|(_, bit)| bit).sum();
    attr.__bindgen_anon_3.bp_addr = address;
    // What is executed has no length but a word's.
    attr.__bindgen_anon_4.bp_len = if mode.contains('x') { 8 } else { length };
    attr.__bindgen_anon_1.sample_period = 1;
    attr
}

/// A tracepoint.
///
/// # Errors
/// Where tracefs has none of that name, or can't be read.
pub(super) fn tracepoint(category: &str, event: &str) -> io::Result<perf_event_attr> {
    let tracefs = Tracefs::open()?;
    let text = fs::read_to_string(tracefs.event(category, event).join("id"))?;
    let number = text.trim().parse().map_err(io::Error::other)?;
    Ok(attr(PERF_TYPE_TRACEPOINT, number))
}

/// A place in code of the kernel (`kprobe`) or of a file (`uprobe`), at a function's return if wanted.
///
/// # Errors
/// Where the kernel has no such probes.
pub(super) fn probe(
    kind: &str,
    name: &CStr,
    offset: u64,
    at_return: bool,
    semaphore: u64,
) -> io::Result<perf_event_attr> {
    let folder = format!("/sys/bus/event_source/devices/{kind}");
    let number = fs::read_to_string(format!("{folder}/type"))?;
    let number = number.trim().parse().map_err(io::Error::other)?;
    let return_bit = if at_return { 1 << config_bit(&folder, "retprobe") } else { 0 };
    // Where a file's own count of who watches is, in the upper half.
    let mut attr = attr(number, return_bit | semaphore << 32);
    attr.__bindgen_anon_3.config1 = name.as_ptr() as u64;
    attr.__bindgen_anon_4.config2 = offset;
    Ok(attr)
}

/// Which bit of `config` a word of the kernel's stands for.
fn config_bit(folder: &str, word: &str) -> u32 {
    let text = fs::read_to_string(format!("{folder}/format/{word}")).unwrap_or_default();
    text.trim().strip_prefix("config:").and_then(|bit| bit.parse().ok()).unwrap_or(0)
}

/// CPUs that are in use.
pub(super) fn online_cpus() -> Vec<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let cpus = parse_cpus(&text);
    if cpus.is_empty() { vec![0] } else { cpus }
}

fn parse_cpus(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_cpus("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_cpus("0\n"), [0]);
        assert!(parse_cpus("").is_empty());
    }

    #[test]
    fn counters_have_numbers_of_their_own() {
        let events = |events: &[(&str, u64, u64)]| {
            let mut numbers: Vec<u64> = events.iter().map(|(_, number, _)| *number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len()
        };
        assert_eq!((events(SOFTWARE), events(HARDWARE)), (SOFTWARE.len(), HARDWARE.len()));
        assert!(software("cpu-clock", 0).is_some() && software("cycles", 0).is_none());
    }
}

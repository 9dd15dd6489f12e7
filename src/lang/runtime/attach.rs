//! Programs to their places. All that holds them there are descriptors, so that nothing stays behind.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_sys::{
    BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN, BPF_TRACE_KPROBE_MULTI,
    BPF_TRACE_UPROBE_MULTI, perf_event_attr,
};

use super::load::Loaded;
use super::sys;
use crate::kernel;
use crate::lang::ast::AttachPoint;
use crate::lang::elf;
use crate::lang::probe::{Address, Probe as Place};
use crate::lang::program::Probe;
use perf::Whose;

mod perf;

/// What is attached.
#[derive(Debug, Default)]
pub(super) struct Attached {
    links: Vec<OwnedFd>,
    /// How many places.
    pub(super) places: usize,
    /// Walks of iterators that are to be read.
    pub(super) walks: Vec<OwnedFd>,
    /// Places that couldn't be attached to.
    pub(super) failed: Vec<Failed>,
}

/// A place that couldn't be attached to.
#[derive(Debug)]
pub(super) struct Failed {
    /// As the program has it.
    pub(super) name: String,
    /// Why.
    pub(super) why: String,
    /// What would do instead, or what to do about it.
    pub(super) hint: Option<String>,
}

/// Why a place can't be attached to.
struct Reason {
    why: String,
    hint: Option<String>,
}

impl Reason {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Attaches all probes but those that the runtime runs by itself.
///
/// Some kinds are run by the kernel in the order of their attaching, others the other way round; so that probes run in the
/// program's order, the latter are attached from the last to the first.
pub(super) fn attach(probes: &[Probe], loaded: &[Loaded], pid: Option<u32>) -> Attached {
    let mut attached = Attached::default();
    let all: Vec<(&Probe, &Loaded)> = probes.iter().zip(loaded).collect();
    let is_forward = |probe: &Probe| {
        let place = probe.attach.first().and_then(|point| point.probe.as_ref());
        place.is_some_and(|place| !runs_backward(place))
    };
    for (probe, loaded) in all.iter().filter(|(probe, _)| is_forward(probe)) {
        attached.probe(probe, loaded, pid);
    }
    for (probe, loaded) in all.iter().rev().filter(|(probe, _)| !is_forward(probe)) {
        attached.probe(probe, loaded, pid);
    }
    attached
}

/// Whether the kernel runs the last attached program first.
fn runs_backward(place: &Place) -> bool {
    matches!(
        place,
        Place::Kprobe { at_return: false, .. }
            | Place::Uprobe { .. }
            | Place::Usdt { .. }
            | Place::Fentry { .. }
            | Place::FentryBpf { .. }
            | Place::Iter { .. }
    )
}

impl Attached {
    fn probe(&mut self, probe: &Probe, loaded: &Loaded, pid: Option<u32>) {
        let program = loaded.fd.as_fd();
        if loaded.is_multi {
            match multi(&probe.attach, program, pid) {
                Ok(links) => {
                    self.links.extend(links);
                    self.places += probe.attach.len();
                }
                Err(reason) => self.fail(&probe.attach[0], reason),
            }
            return;
        }
        for point in &probe.attach {
            let Some(place) = &point.probe else { continue };
            match self.place(place, program, pid) {
                Ok(places) => self.places += places,
                Err(reason) => self.fail(point, reason),
            }
        }
    }

    fn fail(&mut self, point: &AttachPoint, Reason { why, hint }: Reason) {
        let name = point.name.to_string();
        self.failed.push(Failed { name, why, hint });
    }

    /// Attaches to one place; how many that is.
    fn place(
        &mut self,
        place: &Place,
        program: BorrowedFd<'_>,
        pid: Option<u32>,
    ) -> Result<usize, Reason> {
        match place {
            Place::Begin | Place::End | Place::SelfSignal(_) | Place::Test(_) | Place::Bench(_) => {
                return Ok(0);
            }
            Place::Interval(period) => {
                let cpu = perf::online_cpus().first().copied();
                let whose = Whose { pid: None, cpu };
                self.links.push(perf::attach(&perf::clock(*period), whose, program)?);
            }
            Place::Profile(period) => self.on_all_cpus(&perf::clock(*period), program, pid)?,
            Place::Software { event, count } => {
                let attr = perf::software(event, *count);
                let attr = attr.ok_or_else(|| Reason::new("perf has no such event"))?;
                self.on_all_cpus(&attr, program, pid)?;
            }
            Place::Hardware { event, count } => {
                let attr = perf::hardware(event, *count);
                let attr = attr.ok_or_else(|| Reason::new("perf has no such event"))?;
                self.on_all_cpus(&attr, program, pid).map_err(|error| no_counter(&error))?;
            }
            Place::Watchpoint { address, length, mode } => {
                let attr = perf::breakpoint(*address, *length, mode);
                match pid {
                    Some(_) => {
                        let whose = Whose { pid, cpu: None };
                        self.links.push(perf::attach(&attr, whose, program)?);
                    }
                    None => self.on_all_cpus(&attr, program, None)?,
                }
            }
            Place::Tracepoint { category, event } => {
                let attr = perf::tracepoint(category, event)?;
                self.links.push(perf::attach(&attr, Whose { pid: None, cpu: Some(0) }, program)?);
            }
            Place::RawTracepoint { .. } => self.links.push(sys::attach_tracing(program)?),
            Place::Fentry { .. } | Place::FentryBpf { .. } => {
                let link = sys::attach_tracing(program).map_err(|error| no_trampoline(&error))?;
                self.links.push(link);
            }
            Place::Iter { .. } => {
                let (link, walk) = sys::iterator(program)?;
                self.links.push(link);
                self.walks.push(walk);
            }
            Place::Kprobe { at_return, at, .. } => {
                self.links.push(kprobe(at, *at_return, program)?);
            }
            Place::Uprobe { at_return, file, at, .. } => {
                let path = elf::resolve(file, pid)
                    .ok_or_else(|| Reason::new(format!("there is no file {file}")))?;
                let offset = elf::File::open(&path).and_then(|elf| elf.place(at));
                let offset = offset.map_err(|error| Reason::new(error.to_string()))?;
                self.links.push(uprobe(&path, offset, *at_return, 0, program, pid)?);
            }
            Place::Usdt { .. } => return Err(Reason::new("usdt isn't supported yet")),
        }
        Ok(1)
    }

    fn on_all_cpus(
        &mut self,
        attr: &perf_event_attr,
        program: BorrowedFd<'_>,
        pid: Option<u32>,
    ) -> io::Result<()> {
        for cpu in perf::online_cpus() {
            self.links.push(perf::attach(attr, Whose { pid, cpu: Some(cpu) }, program)?);
        }
        Ok(())
    }
}

fn no_counter(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => Reason::new(
            "this machine shows the kernel no such counter of its CPU, as guests often do",
        )
        .hint("software:cpu-clock and profile count time instead"),
        _ => Reason::new(error.to_string()),
    }
}

fn no_trampoline(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        // 524 is the kernel's ENOTSUPP.
        Some(524 | libc::EOPNOTSUPP | libc::EPERM | libc::EINVAL) => Reason::new(format!(
            "this kernel attaches no programs to its functions by trampoline: {error}"
        ))
        .hint(instead_of_functions()),
        _ => Reason::new(error.to_string()),
    }
}

/// What would do where functions can't be attached to.
fn instead_of_functions() -> &'static str {
    "a tracepoint or rawtracepoint near the function would do; `nettrace doctor` shows what works here"
}

fn kprobe(at: &Address, at_return: bool, program: BorrowedFd<'_>) -> Result<OwnedFd, Reason> {
    let (name, offset) = match at {
        Address::Function { name, offset } => (c_string(name)?, *offset),
        // Without a name it is an address.
        Address::Absolute(address) => (CString::default(), *address),
        Address::Line { .. } => {
            return Err(Reason::new("lines of the kernel's source aren't known"));
        }
    };
    if !kernel::has_kprobes() {
        return Err(Reason::new("this kernel has no kprobes").hint(instead_of_functions()));
    }
    let mut attr = perf::probe("kprobe", &name, offset, at_return, 0)?;
    if name.is_empty() {
        attr.__bindgen_anon_3.config1 = 0;
    }
    perf::attach(&attr, Whose { pid: None, cpu: Some(0) }, program).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EADDRNOTAVAIL) => {
                Reason::new("the kernel has no such function")
            }
            Some(libc::EINVAL) => Reason::new(format!("no probe can be put there: {error}"))
                .hint("the function may be inlined, or one that probes themselves use"),
            Some(libc::EPERM | libc::EACCES) => {
                Reason::new(format!("no kprobe may be put there: {error}"))
                    .hint(instead_of_functions())
            }
            _ => error.into(),
        }
    })
}

fn uprobe(
    path: &std::path::Path,
    offset: u64,
    at_return: bool,
    semaphore: u64,
    program: BorrowedFd<'_>,
    pid: Option<u32>,
) -> Result<OwnedFd, Reason> {
    let name = c_string(&path.to_string_lossy())?;
    let attr = perf::probe("uprobe", &name, offset, at_return, semaphore)
        .map_err(|error| Reason::new(format!("this kernel has no uprobes: {error}")))?;
    // Of a process wherever it runs; without one an event is of a CPU, but its probe is hit on all.
    let whose = Whose { pid, cpu: if pid.is_some() { None } else { Some(0) } };
    perf::attach(&attr, whose, program).map_err(Reason::from)
}

fn c_string(text: &str) -> Result<CString, Reason> {
    CString::new(text).map_err(|_| Reason::new("a name with a NUL"))
}

/// Attaches to all places by a link for each file.
fn multi(
    points: &[AttachPoint],
    program: BorrowedFd<'_>,
    pid: Option<u32>,
) -> Result<Vec<OwnedFd>, Reason> {
    match points.first().and_then(|point| point.probe.as_ref()) {
        Some(Place::Kprobe { at_return, .. }) => Ok(vec![kprobes(points, *at_return, program)?]),
        Some(Place::Uprobe { at_return, .. }) => uprobes(points, *at_return, program, pid),
        _ => Err(Reason::new("such probes can't be attached to many places at once")),
    }
}

fn kprobes(
    points: &[AttachPoint],
    at_return: bool,
    program: BorrowedFd<'_>,
) -> Result<OwnedFd, Reason> {
    let names = points.iter().filter_map(|point| match &point.probe {
        Some(Place::Kprobe { at: Address::Function { name, .. }, .. }) => Some(c_string(name)),
        _ => None,
    });
    let names = names.collect::<Result<Vec<CString>, Reason>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let mut options = sys::link_options();
    options.__bindgen_anon_1.kprobe_multi.flags =
        if at_return { BPF_F_KPROBE_MULTI_RETURN } else { 0 };
    options.__bindgen_anon_1.kprobe_multi.cnt = pointers.len() as u32;
    options.__bindgen_anon_1.kprobe_multi.syms = pointers.as_mut_ptr();
    sys::link_create(program, BPF_TRACE_KPROBE_MULTI, &options).map_err(Reason::from)
}

fn uprobes(
    points: &[AttachPoint],
    at_return: bool,
    program: BorrowedFd<'_>,
    pid: Option<u32>,
) -> Result<Vec<OwnedFd>, Reason> {
    let mut files: Vec<(&str, Vec<&Address>)> = Vec::new();
    for point in points {
        let Some(Place::Uprobe { file, at, .. }) = &point.probe else { continue };
        match files.iter_mut().find(|(name, _)| *name == &**file) {
            Some((_, places)) => places.push(at),
            None => files.push((file, vec![at])),
        }
    }
    let mut links = Vec::new();
    for (file, places) in files {
        let path = elf::resolve(file, pid)
            .ok_or_else(|| Reason::new(format!("there is no file {file}")))?;
        let elf = elf::File::open(&path).map_err(|error| Reason::new(error.to_string()))?;
        let offsets = places.into_iter().map(|place| elf.place(place));
        let offsets = offsets.collect::<Result<Vec<u64>, _>>();
        let offsets = offsets.map_err(|error| Reason::new(error.to_string()))?;
        let name = c_string(&path.to_string_lossy())?;
        let mut options = sys::link_options();
        let multi = libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
            flags: if at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 },
            cnt: offsets.len() as u32,
            path: name.as_ptr(),
            offsets: offsets.as_ptr(),
            pid: pid.unwrap_or(0),
            ..Default::default()
        };
        options.__bindgen_anon_1.uprobe_multi = multi;
        links.push(sys::link_create(program, BPF_TRACE_UPROBE_MULTI, &options)?);
    }
    Ok(links)
}

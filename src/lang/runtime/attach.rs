//! Programs to their places. All that holds them there are descriptors, so that nothing stays behind.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use libbpf_sys::{
    BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN, BPF_TRACE_KPROBE_MULTI,
    BPF_TRACE_KPROBE_SESSION, BPF_TRACE_UPROBE_MULTI, bpf_attach_type,
    bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3, perf_event_attr,
};

use super::load::{Loaded, Way};
use super::sys;
use crate::kernel;
use crate::lang::ast::AttachPoint;
use crate::lang::elf;
use crate::lang::probe::{Address, Probe as Place};
use crate::lang::program::Probe;
use perf::Whose;

mod perf;

/// Whose events, and how careful to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// Only this process's.
    pub(super) pid: Option<u32>,
    /// Also where a probe may do harm.
    pub(super) is_unsafe: bool,
    /// Where stripped-off debug information is looked for.
    pub(super) debug_folders: &'a [PathBuf],
}

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
pub(super) fn attach(probes: &[Probe], loaded: &[Loaded], scope: Scope<'_>) -> Attached {
    let mut attached = Attached::default();
    let all = loaded.iter().map(|loaded| (&probes[loaded.probe], loaded));
    let all: Vec<(&Probe, &Loaded)> = all.collect();
    let is_forward = |probe: &Probe| {
        let place = probe.attach.first().and_then(|point| point.probe.as_ref());
        place.is_some_and(|place| !runs_backward(place))
    };
    for (probe, loaded) in all.iter().filter(|(probe, _)| is_forward(probe)) {
        attached.probe(probe, loaded, scope);
    }
    for (probe, loaded) in all.iter().rev().filter(|(probe, _)| !is_forward(probe)) {
        attached.probe(probe, loaded, scope);
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
    fn probe(&mut self, probe: &Probe, loaded: &Loaded, scope: Scope<'_>) {
        let program = loaded.fd.as_fd();
        if loaded.way != Way::One {
            if let Err(reason) = self.at_once(&probe.attach, loaded, scope)
                && let Some(point) = probe.attach.first()
            {
                self.fail(point, reason);
            }
            return;
        }
        for point in &probe.attach {
            let Some(place) = &point.probe else { continue };
            match self.place(place, program, scope) {
                Ok(places) => self.places += places,
                Err(reason) => self.fail(point, reason),
            }
        }
    }

    fn fail(&mut self, point: &AttachPoint, Reason { why, hint }: Reason) {
        let name = point.name.to_string();
        self.failed.push(Failed { name, why, hint });
    }

    /// Attaches to all places by a link, or one for each file.
    fn at_once(
        &mut self,
        points: &[AttachPoint],
        loaded: &Loaded,
        scope: Scope<'_>,
    ) -> Result<(), Reason> {
        let program = loaded.fd.as_fd();
        match points.first().and_then(|point| point.probe.as_ref()) {
            Some(Place::Kprobe { at_return, .. }) => {
                let is_session = loaded.way == Way::Session;
                let kind =
                    if is_session { BPF_TRACE_KPROBE_SESSION } else { BPF_TRACE_KPROBE_MULTI };
                self.links.push(kprobes(points, *at_return, kind, program)?);
            }
            _ => {
                for spots in by_file(points, scope)? {
                    self.links.push(spots.attach_at_once(program, scope)?);
                }
            }
        }
        self.places += points.len();
        Ok(())
    }

    /// Attaches to one place; how many that is.
    fn place(
        &mut self,
        place: &Place,
        program: BorrowedFd<'_>,
        scope: Scope<'_>,
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
            Place::Profile(period) => self.on_all_cpus(&perf::clock(*period), program, scope)?,
            Place::Software { event, count } => {
                let attr = perf::software(event, *count);
                let attr = attr.ok_or_else(|| Reason::new("perf has no such event"))?;
                self.on_all_cpus(&attr, program, scope)?;
            }
            Place::Hardware { event, count } => {
                let attr = perf::hardware(event, *count);
                let attr = attr.ok_or_else(|| Reason::new("perf has no such event"))?;
                self.on_all_cpus(&attr, program, scope).map_err(|error| no_counter(&error))?;
            }
            Place::Watchpoint { address, length, mode } => {
                let mut attr = perf::breakpoint(*address, *length, mode);
                match scope.pid {
                    Some(pid) => {
                        perf::with_new_threads(&mut attr);
                        self.links.extend(perf::attach_to_threads(&attr, pid, program)?);
                    }
                    None => self.on_all_cpus(&attr, program, scope)?,
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
            Place::Uprobe { .. } | Place::Usdt { .. } => {
                self.links.extend(Spots::of(place, scope)?.attach(program, scope)?);
            }
        }
        Ok(1)
    }

    fn on_all_cpus(
        &mut self,
        attr: &perf_event_attr,
        program: BorrowedFd<'_>,
        scope: Scope<'_>,
    ) -> io::Result<()> {
        for cpu in perf::online_cpus() {
            self.links.push(perf::attach(attr, Whose { pid: scope.pid, cpu: Some(cpu) }, program)?);
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
            Some(libc::EILSEQ) => Reason::new(
                "Possible attachment attempt in the middle of an instruction, try a different offset.",
            ),
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

/// A place of a file's code.
struct Spot {
    offset: u64,
    semaphore: u64,
    /// What the program is told of it.
    number: u64,
}

/// Places of a probe that are in the same file.
struct Spots {
    path: PathBuf,
    at_return: bool,
    spots: Vec<Spot>,
}

impl Spots {
    /// Where a probe of a file is to be.
    fn of(place: &Place, scope: Scope<'_>) -> Result<Self, Reason> {
        let said = |error: elf::ElfError| Reason::new(error.to_string());
        match place {
            Place::Uprobe { at_return, file, at, .. } => {
                let path = elf::resolve(file, scope.pid)
                    .ok_or_else(|| Reason::new(format!("there is no file {file}")))?;
                let elf = elf::File::open(&path).map_err(said)?;
                let elf = elf.with_debug_folders(scope.debug_folders);
                let offset =
                    if scope.is_unsafe { elf.forced_place(at) } else { elf.safe_place(at) };
                let offset = offset.map_err(said)?;
                let spots = vec![Spot { offset, semaphore: 0, number: 0 }];
                Ok(Self { path, at_return: *at_return, spots })
            }
            Place::Usdt { file, provider, event } => {
                let markers = elf::places_of(file, provider.as_deref(), event).map_err(said)?;
                let spot = |(number, marker): (u64, elf::Marker)| Spot {
                    offset: marker.offset,
                    semaphore: marker.semaphore,
                    number,
                };
                let spots = (0..).zip(markers).map(spot).collect();
                Ok(Self { path: PathBuf::from(&**file), at_return: false, spots })
            }
            _ => Err(Reason::new("such probes aren't of a file")),
        }
    }

    fn name(&self) -> Result<CString, Reason> {
        CString::new(self.path.as_os_str().as_encoded_bytes())
            .map_err(|_| Reason::new("a name with a NUL"))
    }

    /// One by one.
    fn attach(&self, program: BorrowedFd<'_>, scope: Scope<'_>) -> Result<Vec<OwnedFd>, Reason> {
        let name = self.name()?;
        // Of a process wherever it runs; without one an event is of a CPU, but its probe is hit on all.
        let whose = Whose { pid: scope.pid, cpu: if scope.pid.is_some() { None } else { Some(0) } };
        let mut links = Vec::new();
        for spot in &self.spots {
            let attr = perf::probe("uprobe", &name, spot.offset, self.at_return, spot.semaphore)
                .map_err(|error| Reason::new(format!("this kernel has no uprobes: {error}")))?;
            if self.spots.len() > 1 {
                links.extend(perf::attach_numbered(&attr, whose, program, spot.number)?);
            } else {
                links.push(perf::attach(&attr, whose, program)?);
            }
        }
        Ok(links)
    }

    /// By one link.
    fn attach_at_once(&self, program: BorrowedFd<'_>, scope: Scope<'_>) -> Result<OwnedFd, Reason> {
        let name = self.name()?;
        let offsets: Vec<u64> = self.spots.iter().map(|spot| spot.offset).collect();
        let semaphores: Vec<u64> = self.spots.iter().map(|spot| spot.semaphore).collect();
        let numbers: Vec<u64> = self.spots.iter().map(|spot| spot.number).collect();
        let mut options = sys::link_options();
        options.__bindgen_anon_1.uprobe_multi = bpf_link_create_opts__bindgen_ty_1__bindgen_ty_3 {
            flags: if self.at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 },
            cnt: offsets.len() as u32,
            path: name.as_ptr(),
            offsets: offsets.as_ptr(),
            ref_ctr_offsets: semaphores.as_ptr(),
            cookies: numbers.as_ptr(),
            pid: scope.pid.unwrap_or(0),
            ..Default::default()
        };
        Ok(sys::link_create(program, None, BPF_TRACE_UPROBE_MULTI, &options)?)
    }
}

fn c_string(text: &str) -> Result<CString, Reason> {
    CString::new(text).map_err(|_| Reason::new("a name with a NUL"))
}

fn kprobes(
    points: &[AttachPoint],
    at_return: bool,
    kind: bpf_attach_type,
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
    Ok(sys::link_create(program, None, kind, &options)?)
}

/// Puts places of the same file together.
fn by_file(points: &[AttachPoint], scope: Scope<'_>) -> Result<Vec<Spots>, Reason> {
    let mut files: Vec<Spots> = Vec::new();
    for place in points.iter().filter_map(|point| point.probe.as_ref()) {
        let of = Spots::of(place, scope)?;
        match files.iter_mut().find(|known| known.path == of.path) {
            Some(known) => known.spots.extend(of.spots),
            None => files.push(of),
        }
    }
    Ok(files)
}

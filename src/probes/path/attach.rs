//! Attaches to functions and tracepoints: to many by one link, or a copy of the program to each.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libbpf_rs::{AsRawLibbpf, KprobeMultiOpts, Link, ProgramMut};
use libbpf_sys::bpf_insn;

use super::skel::types::path_copies;
use super::types::Taker;
use crate::kernel;
use crate::probes::ladder::Rung;
use crate::probes::perf;

/// As `path/layout.bpf.h` has them.
const HOOK_IS_END: u64 = 8;
const HOOK_SHIFT: u32 = 8;
const HOOK_MARK: u64 = 0x6e_7468_6f6f_6b01;

/// `ld_imm64`, which takes two instructions.
const LOAD_NUMBER: u8 = 0x18;

/// A function or tracepoint to attach to.
pub(super) struct Place {
    pub(super) taker: Taker,
    /// The packet ends there.
    pub(super) is_end: bool,
}

/// What is attached, in place of what goes with it.
#[derive(Default)]
pub(super) struct Attached {
    /// What steps are named by, from number [`path_copies::COPIES`] on.
    pub(super) names: Vec<String>,
    /// Those that the kernel refused.
    pub(super) refused: Vec<String>,
    links: Vec<Link>,
    /// Before the programs.
    descriptors: Vec<OwnedFd>,
}

/// Tells how many of how many are attached.
pub(super) type Progress<'a> = &'a mut dyn FnMut(usize, usize);

impl Attached {
    /// Attaches a program to all places by a rung; what the kernel refuses of them is left out.
    ///
    /// # Errors
    /// Where it refuses all.
    pub(super) fn new(
        program: &ProgramMut<'_>,
        rung: Rung,
        places: Vec<Place>,
        progress: Progress<'_>,
    ) -> libbpf_rs::Result<Self> {
        let mut attached = Attached::default();
        let numbered: Vec<(Place, u64)> =
            places.into_iter().zip(path_copies::COPIES.0.into()..).collect();
        let many: Vec<(&str, u64)> = numbered
            .iter()
            .map(|(place, number)| (&*place.taker.name, hook(place, *number)))
            .collect();
        progress(0, many.len());
        if rung == Rung::KprobeMulti {
            attached.attach_many(program, &many)?;
        } else {
            attached.attach_each(program, rung, &numbered, progress)?;
        }
        attached.names = numbered.into_iter().map(|(place, _)| place.taker.name).collect();
        Ok(attached)
    }

    /// How many places it is attached to.
    pub(super) fn count(&self) -> usize {
        self.names.len() - self.refused.len()
    }

    /// By halves, where the kernel refuses a list for one of it.
    fn attach_many(
        &mut self,
        program: &ProgramMut<'_>,
        many: &[(&str, u64)],
    ) -> libbpf_rs::Result<()> {
        if many.is_empty() {
            return Ok(());
        }
        let (symbols, cookies) =
            many.iter().map(|(name, cookie)| ((*name).to_owned(), *cookie)).unzip();
        let options = KprobeMultiOpts { symbols, cookies, ..KprobeMultiOpts::default() };
        let error = match program.attach_kprobe_multi_with_opts(options) {
            Ok(link) => {
                self.links.push(link);
                return Ok(());
            }
            Err(error) => error,
        };
        let is_of_one = matches!(
            kernel::errno(&error),
            Some(libc::ESRCH | libc::ENOENT | libc::EINVAL | libc::EADDRNOTAVAIL)
        );
        if !is_of_one {
            return Err(error);
        }
        if let [(name, _)] = many {
            self.refused.push((*name).to_owned());
            return Ok(());
        }
        let (first, second) = many.split_at(many.len() / 2);
        self.attach_many(program, first)?;
        self.attach_many(program, second)
    }

    fn attach_each(
        &mut self,
        program: &ProgramMut<'_>,
        rung: Rung,
        places: &[(Place, u64)],
        progress: Progress<'_>,
    ) -> libbpf_rs::Result<()> {
        let template = Template::of(program);
        let mut last = None;
        for (done, (place, number)) in places.iter().enumerate() {
            let one = template.load(hook(place, *number), place.taker.id);
            match one.and_then(|program| Ok((attach(&program, rung, &place.taker.name)?, program)))
            {
                Ok((link, program)) => self.descriptors.extend([link, program]),
                Err(error) => {
                    self.refused.push(place.taker.name.clone());
                    last = Some(error);
                }
            }
            progress(done + 1, places.len());
        }
        match last {
            Some(error) if self.refused.len() == places.len() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn hook(place: &Place, number: u64) -> u64 {
    let end = if place.is_end { HOOK_IS_END } else { 0 };
    number << HOOK_SHIFT | end | u64::from(place.taker.argument)
}

/// A loaded program, to be loaded again for other hooks.
struct Template {
    insns: Vec<bpf_insn>,
    kind: libbpf_sys::bpf_prog_type,
    attach: libbpf_sys::bpf_attach_type,
}

impl Template {
    fn of(program: &ProgramMut<'_>) -> Self {
        let raw = program.as_libbpf_object().as_ptr();
        // SAFETY: a valid program, which libbpf only reads.
        let (kind, attach) = unsafe {
            let attach = libbpf_sys::bpf_program__expected_attach_type(raw);
            (libbpf_sys::bpf_program__type(raw), attach)
        };
        Template { insns: program.insns().to_vec(), kind, attach }
    }

    /// With a hook of its own; `target` is the function's type, for those that are bound to one.
    fn load(&self, hook: u64, target: Option<u32>) -> io::Result<OwnedFd> {
        let mut insns = self.insns.clone();
        mark(&mut insns, hook);
        let is_bound = self.kind == libbpf_sys::BPF_PROG_TYPE_TRACING;
        let target = match target {
            Some(target) => target,
            None if is_bound => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
            None => 0,
        };
        let options = libbpf_sys::bpf_prog_load_opts {
            sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
            expected_attach_type: self.attach,
            attach_btf_id: if is_bound { target } else { 0 },
            ..Default::default()
        };
        // SAFETY: strings with their ends, so many instructions, and options of their own size.
        let fd = unsafe {
            let (name, license) = (c"nettrace_path".as_ptr(), c"Dual BSD/GPL".as_ptr());
            let (insns, count) = (insns.as_ptr(), insns.len() as _);
            libbpf_sys::bpf_prog_load(
                self.kind,
                name,
                license,
                insns,
                count,
                &raw const options as _,
            )
        };
        owned(fd)
    }
}

/// Puts the hook into the place of the mark.
fn mark(insns: &mut [bpf_insn], hook: u64) {
    let halves =
        |number: u64| [(number as u32).cast_signed(), ((number >> 32) as u32).cast_signed()];
    for at in 1..insns.len() {
        if insns[at - 1].code == LOAD_NUMBER
            && [insns[at - 1].imm, insns[at].imm] == halves(HOOK_MARK)
        {
            let [low, high] = halves(hook);
            (insns[at - 1].imm, insns[at].imm) = (low, high);
        }
    }
}

fn attach(program: &OwnedFd, rung: Rung, target: &str) -> io::Result<OwnedFd> {
    let name = CString::new(target)?;
    if rung == Rung::Kprobe {
        return perf::attach_kprobe(&name, program);
    }
    let name = if rung == Rung::RawTp { name.as_ptr() } else { ptr::null() };
    // SAFETY: a string with its end, or none for a program that is bound to a function.
    owned(unsafe { libbpf_sys::bpf_raw_tracepoint_open(name, program.as_raw_fd()) })
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: a descriptor that was just made and nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_its_hook_where_the_mark_was() {
        let insn = |code, imm: i32| bpf_insn { code, imm, ..Default::default() };
        let mut insns = [
            insn(LOAD_NUMBER, 7),
            insn(0, 0),
            insn(LOAD_NUMBER, 0x6f6f_6b01),
            insn(0, 0x6e_7468),
            insn(0x95, 0),
        ];
        mark(&mut insns, 5 << 32 | 9);
        assert_eq!(insns.map(|insn| insn.imm), [7, 0, 9, 5, 0]);
    }

    #[test]
    fn a_hook_says_number_end_and_argument() {
        let taker = Taker { name: "f".to_owned(), argument: 3, id: None };
        let place = Place { taker, is_end: true };
        assert_eq!(hook(&place, 5), 5 << 8 | 8 | 3);
    }
}

//! Programs that do nothing, or only ask for the time, on the hooks that nettrace uses per call: the
//! least that watching there can cost.

use std::ffi::c_char;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::Result;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Typedef;
use nettrace::netns::Netns;
use nix::net::if_::if_nametoindex;

type Insn = libbpf_sys::bpf_insn;

const CALL: u8 = 0x85;
/// The next program, or what the stack does anyway.
const TCX_NEXT: u32 = u32::MAX;
const XDP_PASS: u32 = 2;
/// `r0 = 0; exit`
const NOTHING: [Insn; 2] = [insn(0xb7, 0), insn(0x95, 0)];
/// `bpf_ktime_get_ns(); r0 = 0; exit`
const CLOCK: [Insn; 3] = [insn(CALL, libbpf_sys::BPF_FUNC_ktime_get_ns), NOTHING[0], NOTHING[1]];

const fn insn(code: u8, imm: u32) -> Insn {
    Insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: libbpf_sys::__BindgenBitfieldUnit::new([0]),
        off: 0,
        imm: imm.cast_signed(),
    }
}

/// Attached as long as it lives.
pub(crate) struct Empty {
    _fds: Vec<OwnedFd>,
}

impl Empty {
    pub(crate) fn attach(tracepoints: &[&str]) -> Self {
        Self::attach_program(&NOTHING, tracepoints)
    }

    /// Programs that read the clock once.
    pub(crate) fn attach_clock(tracepoints: &[&str]) -> Self {
        Self::attach_program(&CLOCK, tracepoints)
    }

    /// Programs that let packets pass, both ways of an interface.
    pub(crate) fn attach_tcx(netns: &str, interface: &str) -> Self {
        let program = load_packet_program(Kind::Tc);
        let link = |place| {
            let index = if_nametoindex(interface)?.cast_signed();
            // SAFETY: an open program, and no options.
            let fd = unsafe {
                libbpf_sys::bpf_link_create(program.as_raw_fd(), index, place, std::ptr::null())
            };
            assert!(fd >= 0, "attach by tcx: {fd}");
            // SAFETY: a descriptor that was just made.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        let places = [libbpf_sys::BPF_TCX_INGRESS, libbpf_sys::BPF_TCX_EGRESS];
        let links = Netns::open(netns).and_then(|netns| {
            netns.run(|| places.into_iter().map(link).collect::<Result<Vec<_>>>())
        });
        let links = links.expect("the interface");
        Empty { _fds: links.into_iter().chain([program]).collect() }
    }

    fn attach_program(program: &[Insn], tracepoints: &[&str]) -> Self {
        let btf = Btf::from_vmlinux().expect("the kernel's types");
        let fds = tracepoints
            .iter()
            .flat_map(|name| {
                let program = load(&btf, name, program);
                // SAFETY: a program descriptor; typed raw tracepoints take no name.
                let link = unsafe {
                    libbpf_sys::bpf_raw_tracepoint_open(std::ptr::null::<c_char>(), program)
                };
                assert!(link >= 0, "attach to {name}: {link}");
                [program, link]
            })
            // SAFETY: both were just made and nobody else has them.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .collect();
        Empty { _fds: fds }
    }
}

/// Where a program sees packets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Tc,
    Xdp,
}

/// A program that lets packets pass.
pub(crate) fn load_packet_program(kind: Kind) -> OwnedFd {
    let (kind, verdict) = match kind {
        Kind::Tc => (libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, TCX_NEXT),
        Kind::Xdp => (libbpf_sys::BPF_PROG_TYPE_XDP, XDP_PASS),
    };
    let program = [insn(0xb7, verdict), insn(0x95, 0)];
    // SAFETY: whole instructions, and a string with its end.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            kind,
            std::ptr::null(),
            c"GPL".as_ptr(),
            program.as_ptr(),
            program.len() as _,
            std::ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "load an empty program: {fd}");
    // SAFETY: a descriptor that was just made.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn load(btf: &Btf<'_>, name: &str, program: &[Insn]) -> i32 {
    let typedef = btf.type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}")).expect(name);
    let mut opts = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
        expected_attach_type: libbpf_sys::BPF_TRACE_RAW_TP,
        attach_btf_id: u32::from(typedef.type_id()),
        ..Default::default()
    };
    // SAFETY: whole instructions, a string with its end, and opts of its own size.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_TRACING,
            std::ptr::null(),
            c"GPL".as_ptr(),
            program.as_ptr(),
            program.len() as _,
            &raw mut opts,
        )
    };
    assert!(fd >= 0, "load an empty program: {fd}");
    fd
}

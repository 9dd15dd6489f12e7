//! Programs that do nothing, or only ask for the time, on the hooks that nettrace uses per call: the
//! least that watching there can cost.

use std::ffi::c_char;
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Typedef;

type Insn = libbpf_sys::bpf_insn;

const CALL: u8 = 0x85;
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

//! The few functions of libpcap that filters need: its compiler, and its interpreter. Instructions are
//! libpcap's own, in classic BPF.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::hint::black_box;
use std::ptr;

use super::LinkType;

/// An instruction of classic BPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Insn {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

#[repr(C)]
struct Program {
    len: c_uint,
    insns: *mut Insn,
}

#[repr(C)]
struct Header {
    time: libc::timeval,
    caplen: u32,
    len: u32,
}

#[repr(C)]
struct Handle {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn pcap_open_dead(link: c_int, snaplen: c_int) -> *mut Handle;
    fn pcap_close(handle: *mut Handle);
    fn pcap_geterr(handle: *mut Handle) -> *const c_char;
    fn pcap_compile(
        handle: *mut Handle,
        program: *mut Program,
        expression: *const c_char,
        optimize: c_int,
        netmask: u32,
    ) -> c_int;
    fn pcap_freecode(program: *mut Program);
    fn pcap_offline_filter(
        program: *const Program,
        header: *const Header,
        packet: *const u8,
    ) -> c_int;
}

/// What a program returns for a packet that it takes.
const SNAPLEN: c_int = 0x4_0000;

/// `PCAP_NETMASK_UNKNOWN`
const NO_NETMASK: u32 = u32::MAX;

/// The instructions of an expression, or libpcap's words.
pub(super) fn compile(expression: &str, link: LinkType) -> Result<Vec<Insn>, String> {
    black_box(not_wanted::ALL);
    let expression = CString::new(expression).map_err(|error| error.to_string())?;
    // SAFETY: no device is opened; it may be null.
    let handle = unsafe { pcap_open_dead(link as c_int, SNAPLEN) };
    if handle.is_null() {
        return Err("libpcap has no memory".to_owned());
    }
    let mut program = Program { len: 0, insns: ptr::null_mut() };
    // SAFETY: all pointers are valid during the call, and the expression ends with a zero.
    let status =
        unsafe { pcap_compile(handle, &raw mut program, expression.as_ptr(), 1, NO_NETMASK) };
    let result = if status == 0 {
        // SAFETY: libpcap has put `len` instructions there; they are copied before they are freed, once.
        unsafe {
            let insns = std::slice::from_raw_parts(program.insns, program.len as usize).to_vec();
            pcap_freecode(&raw mut program);
            Ok(insns)
        }
    } else {
        // SAFETY: a string with a zero at its end, which lives as long as the handle.
        let words = unsafe { CStr::from_ptr(pcap_geterr(handle)) };
        Err(words.to_string_lossy().into_owned())
    };
    // SAFETY: nothing of the handle is used any more.
    unsafe { pcap_close(handle) };
    result
}

/// What libpcap's interpreter says of a packet of `len` bytes that begins with `bytes`.
pub(super) fn matches(insns: &[Insn], bytes: &[u8], len: u32) -> bool {
    let program = Program { len: insns.len() as c_uint, insns: insns.as_ptr().cast_mut() };
    let time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let header = Header { time, caplen: bytes.len() as u32, len };
    // SAFETY: the program and `caplen` bytes are read, and nothing is written.
    unsafe { pcap_offline_filter(&raw const program, &raw const header, bytes.as_ptr()) != 0 }
}

/// Where libpcap is linked statically, its kinds of devices that need more libraries are left out:
/// a symbol that is here isn't looked for there, nor what it needs in turn.
mod not_wanted {
    use std::ffi::{c_char, c_int, c_void};
    use std::ptr;

    type Create = extern "C" fn(*const c_char, *mut c_char, *mut c_int) -> *mut c_void;
    type FindAll = extern "C" fn(*mut c_void, *mut c_char) -> c_int;

    pub(super) static ALL: (Create, FindAll, Create, FindAll) =
        (dbus_create, dbus_findalldevs, rdmasniff_create, rdmasniff_findalldevs);

    #[unsafe(no_mangle)]
    extern "C" fn dbus_create(
        _name: *const c_char,
        _error: *mut c_char,
        is_ours: *mut c_int,
    ) -> *mut c_void {
        disown(is_ours)
    }

    #[unsafe(no_mangle)]
    extern "C" fn rdmasniff_create(
        _name: *const c_char,
        _error: *mut c_char,
        is_ours: *mut c_int,
    ) -> *mut c_void {
        disown(is_ours)
    }

    #[unsafe(no_mangle)]
    extern "C" fn dbus_findalldevs(_devices: *mut c_void, _error: *mut c_char) -> c_int {
        0
    }

    #[unsafe(no_mangle)]
    extern "C" fn rdmasniff_findalldevs(_devices: *mut c_void, _error: *mut c_char) -> c_int {
        0
    }

    fn disown(is_ours: *mut c_int) -> *mut c_void {
        // SAFETY: libpcap passes where it keeps that.
        unsafe { *is_ours = 0 };
        ptr::null_mut()
    }
}

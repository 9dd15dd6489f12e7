//! bpf(2), by libbpf's thin wrappers: with lengths that are right, owned descriptors and errors.

use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};

use libbpf_sys::{
    BPF_TRACE_ITER, bpf_attach_type, bpf_btf_info, bpf_func_info, bpf_insn, bpf_line_info,
    bpf_link_create_opts, bpf_map_batch_opts, bpf_map_create_opts, bpf_prog_load_opts,
    bpf_prog_type, bpf_test_run_opts,
};

/// A map to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapSpec<'a> {
    pub(super) kind: u32,
    pub(super) name: &'a str,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

/// A program to be loaded.
#[derive(Clone, Debug)]
pub(super) struct ProgramSpec<'a> {
    pub(super) kind: bpf_prog_type,
    pub(super) attach_type: bpf_attach_type,
    /// A type, for those that are attached to one.
    pub(super) attach_btf_id: u32,
    /// Whose type it is.
    pub(super) owner: &'a Owner,
    pub(super) sleepable: bool,
    pub(super) name: &'a str,
    pub(super) license: &'a str,
    pub(super) insns: &'a [bpf_insn],
    pub(super) btf: BorrowedFd<'a>,
    pub(super) functions: &'a [bpf_func_info],
    pub(super) lines: &'a [bpf_line_info],
}

/// Who has the type that a program is attached by.
#[derive(Debug)]
pub(super) enum Owner {
    /// The kernel itself.
    Kernel,
    /// The module with these types.
    Module(OwnedFd),
    /// This BPF program.
    Program(OwnedFd),
}

/// libbpf returns the negative error number.
fn check(returned: c_int) -> io::Result<c_int> {
    if returned < 0 { Err(io::Error::from_raw_os_error(-returned)) } else { Ok(returned) }
}

fn owned(returned: c_int) -> io::Result<OwnedFd> {
    // SAFETY: a descriptor that was just made and nobody else has.
    check(returned).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// As the kernel takes names of maps and programs: 15 letters, digits, `_` and `.`.
fn object_name(name: &str) -> CString {
    let letters = name.bytes().map(|byte| match byte {
        b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => byte,
        b'@' => b'm',
        _ => b'_',
    });
    CString::new(letters.take(15).collect::<Vec<u8>>()).unwrap_or_default()
}

pub(super) fn map_create(spec: &MapSpec<'_>) -> io::Result<OwnedFd> {
    let name = object_name(spec.name);
    let options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as u64,
        map_flags: spec.flags,
        ..Default::default()
    };
    // SAFETY: a string with its end and options of their own size, both alive during the call.
    owned(unsafe {
        libbpf_sys::bpf_map_create(
            spec.kind,
            name.as_ptr(),
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            &options,
        )
    })
}

/// Key and value have the map's sizes, a per-CPU value that of all CPUs.
pub(super) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    // SAFETY: both are as long as the kernel reads.
    check(unsafe {
        let (key, value) = (key.as_ptr().cast(), value.as_ptr().cast());
        libbpf_sys::bpf_map_update_elem(map.as_raw_fd(), key, value, 0)
    })
    .map(drop)
}

/// False if there is no such entry. `value` is as large as the map's on all its CPUs.
pub(super) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    // SAFETY: the key is as long as the kernel reads, the value as it writes.
    found(unsafe {
        let (key, value) = (key.as_ptr().cast(), value.as_mut_ptr().cast());
        libbpf_sys::bpf_map_lookup_elem(map.as_raw_fd(), key, value)
    })
}

/// False if there is no such entry.
pub(super) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    // SAFETY: the key is as long as the kernel reads.
    found(unsafe { libbpf_sys::bpf_map_delete_elem(map.as_raw_fd(), key.as_ptr().cast()) })
}

/// The key behind another, or the first; false if there is none.
pub(super) fn map_next_key(
    map: BorrowedFd<'_>,
    key: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<bool> {
    let key = key.map_or(null(), |key| key.as_ptr().cast());
    // SAFETY: both are as long as the map's keys, or there is none before.
    found(unsafe {
        libbpf_sys::bpf_map_get_next_key(map.as_raw_fd(), key, next.as_mut_ptr().cast())
    })
}

fn found(returned: c_int) -> io::Result<bool> {
    match check(returned) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A batch of entries.
pub(super) struct Batch<'a> {
    /// Where the kernel goes on: none at the beginning.
    pub(super) from: Option<&'a [u8]>,
    pub(super) to: &'a mut [u8],
    /// Room for `most` of each.
    pub(super) keys: &'a mut [u8],
    pub(super) values: &'a mut [u8],
    pub(super) most: u32,
}

/// How many entries were read, and whether they were the last.
pub(super) fn map_lookup_batch(
    map: BorrowedFd<'_>,
    batch: &mut Batch<'_>,
) -> io::Result<(u32, bool)> {
    let options = bpf_map_batch_opts {
        sz: size_of::<bpf_map_batch_opts>() as u64,
        ..bpf_map_batch_opts::default()
    };
    let mut count = batch.most;
    // The kernel reads it only.
    let from = batch.from.map_or(null_mut(), |from| from.as_ptr().cast_mut().cast::<c_void>());
    // SAFETY: room for `most` keys and values, and for a place to go on from.
    let returned = unsafe {
        libbpf_sys::bpf_map_lookup_batch(
            map.as_raw_fd(),
            from,
            batch.to.as_mut_ptr().cast(),
            batch.keys.as_mut_ptr().cast(),
            batch.values.as_mut_ptr().cast(),
            &mut count,
            &options,
        )
    };
    found(returned).map(|goes_on| (count, !goes_on))
}

/// Nothing in user space changes the map from now on, so that the verifier may go by what is in it.
pub(super) fn map_freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a number alone.
    check(unsafe { libbpf_sys::bpf_map_freeze(map.as_raw_fd()) }).map(drop)
}

pub(super) fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: as long as is said; no options.
    owned(unsafe { libbpf_sys::bpf_btf_load(btf.as_ptr().cast(), btf.len() as u64, null_mut()) })
}

/// The types of a module that is loaded.
pub(super) fn module_btf(module: &str) -> io::Result<OwnedFd> {
    let mut id = 0;
    loop {
        // SAFETY: a number that is read and written.
        check(unsafe { libbpf_sys::bpf_btf_get_next_id(id, &mut id) })?;
        // SAFETY: a number alone.
        let btf = match owned(unsafe { libbpf_sys::bpf_btf_get_fd_by_id(id) }) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            btf => btf?,
        };
        let mut name = [0_u8; 64];
        let mut told = bpf_btf_info {
            name: name.as_mut_ptr() as u64,
            name_len: name.len() as u32,
            ..Default::default()
        };
        let mut size = size_of::<bpf_btf_info>() as u32;
        // SAFETY: a struct of that size, and room for a name of that length, which the kernel ends.
        check(unsafe {
            libbpf_sys::bpf_btf_get_info_by_fd(btf.as_raw_fd(), &mut told, &mut size)
        })?;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        if told.kernel_btf == 1 && name.to_bytes() == module.as_bytes() {
            return Ok(btf);
        }
    }
}

/// The program of that number.
pub(super) fn program(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: a number alone.
    owned(unsafe { libbpf_sys::bpf_prog_get_fd_by_id(id) })
}

/// Loads a program; with room for it, the verifier says what it does.
pub(super) fn prog_load(
    spec: &ProgramSpec<'_>,
    log: Option<(u32, &mut [u8])>,
) -> io::Result<OwnedFd> {
    let name = object_name(spec.name);
    let license = CString::new(spec.license).unwrap_or_default();
    let (module, program) = match spec.owner {
        Owner::Kernel => (0, 0),
        Owner::Module(btf) => (btf.as_raw_fd().cast_unsigned(), 0),
        Owner::Program(program) => (0, program.as_raw_fd().cast_unsigned()),
    };
    let mut options = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as u64,
        expected_attach_type: spec.attach_type,
        prog_btf_fd: spec.btf.as_raw_fd().cast_unsigned(),
        prog_flags: if spec.sleepable { libbpf_sys::BPF_F_SLEEPABLE } else { 0 },
        attach_btf_id: spec.attach_btf_id,
        attach_btf_obj_fd: module,
        attach_prog_fd: program,
        func_info: spec.functions.as_ptr().cast(),
        func_info_cnt: spec.functions.len() as u32,
        func_info_rec_size: size_of::<bpf_func_info>() as u32,
        line_info: spec.lines.as_ptr().cast(),
        line_info_cnt: spec.lines.len() as u32,
        line_info_rec_size: size_of::<bpf_line_info>() as u32,
        ..Default::default()
    };
    if let Some((level, room)) = log {
        options.log_level = level;
        options.log_size = room.len() as u32;
        options.log_buf = room.as_mut_ptr().cast();
    }
    // SAFETY: all that is pointed to is as long as is said and lives during the call.
    owned(unsafe {
        libbpf_sys::bpf_prog_load(
            spec.kind,
            name.as_ptr(),
            license.as_ptr(),
            spec.insns.as_ptr(),
            spec.insns.len() as u64,
            &mut options,
        )
    })
}

/// Runs a program of a raw tracepoint once, here and now.
pub(super) fn test_run(program: BorrowedFd<'_>) -> io::Result<()> {
    let mut options = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as u64,
        ..bpf_test_run_opts::default()
    };
    // SAFETY: options of their own size, with neither context nor data.
    check(unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) })
        .map(drop)
}

/// What came of runs with a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    /// What the last run returned.
    pub(super) returned: u32,
    /// What a run took, ns.
    pub(super) ns: u32,
}

/// Runs a program of XDP so many times, with a packet of nothing.
pub(super) fn test_runs(program: BorrowedFd<'_>, times: u32) -> io::Result<Runs> {
    // The least that a packet has: an Ethernet header.
    let packet = [0_u8; 14];
    let mut options = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as u64,
        data_in: packet.as_ptr().cast(),
        data_size_in: packet.len() as u32,
        repeat: times.cast_signed(),
        ..bpf_test_run_opts::default()
    };
    // SAFETY: options of their own size; the packet lives during the call, and nothing is to be written.
    check(unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) })?;
    Ok(Runs { returned: options.retval, ns: options.duration })
}

/// Attaches a program to what it was loaded for: a raw tracepoint or a function, by BTF.
pub(super) fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: no name; the program knows it.
    owned(unsafe { libbpf_sys::bpf_raw_tracepoint_open(null(), program.as_raw_fd()) })
}

/// A link of a program to something or other, with what the kind of link wants to know.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    target: Option<BorrowedFd<'_>>,
    kind: bpf_attach_type,
    options: &bpf_link_create_opts,
) -> io::Result<OwnedFd> {
    let target = target.map_or(0, |target| target.as_raw_fd());
    // SAFETY: options of their own size; who made them keeps alive what they point to.
    owned(unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), target, kind, options) })
}

/// Options of a link without any.
pub(super) fn link_options() -> bpf_link_create_opts {
    bpf_link_create_opts {
        sz: size_of::<bpf_link_create_opts>() as u64,
        ..bpf_link_create_opts::default()
    }
}

/// A walk of an iterator's program, which is done by reading.
pub(super) fn iterator(program: BorrowedFd<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let link = link_create(program, None, BPF_TRACE_ITER, &link_options())?;
    // SAFETY: a number alone.
    let walk = owned(unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) })?;
    Ok((link, walk))
}

/// CPUs that there may be: so many values a per-CPU map has.
pub(super) fn possible_cpus() -> io::Result<usize> {
    // SAFETY: nothing is passed.
    check(unsafe { libbpf_sys::libbpf_num_possible_cpus() }).map(|count| count as usize)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_as_the_kernel_takes_them() {
        let name = |name| object_name(name).into_string().unwrap();
        assert_eq!(name("@start"), "mstart");
        assert_eq!(name("tracepoint:syscalls:sys_enter_read"), "tracepoint_sysc");
        assert_eq!(name("ü"), "__");
    }
}

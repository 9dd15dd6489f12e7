//! How each probe's BPF object is opened.

use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use libbpf_rs::OpenObject;
use libbpf_rs::skel::SkelBuilder;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::btf::Btf;

/// Those types of the kernel that our programs are relocated by.
const KERNEL_TYPES: &[&str] = &include!(concat!(env!("OUT_DIR"), "/kernel_types.rs"));

/// An object, before the kernel sees it. What libbpf keeps of it, a few words, lives as long as the process.
pub(super) fn open<B>() -> libbpf_rs::Result<B::Output>
where
    B: SkelBuilder<'static> + Default,
{
    let storage: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut builder = B::default();
    // Without, libbpf has all of the kernel's types.
    if let Some(types) = kernel_types() {
        let path = format!("/proc/self/fd/{}", types.as_raw_fd());
        builder.object_builder_mut().btf_custom_path(path)?;
    }
    builder.open(storage)
}

/// The kernel's BTF without what programs don't read: libbpf looks for each type among all that it has, of
/// which a kernel has 100,000.
fn kernel_types() -> Option<&'static File> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();

    let make = || {
        let names = KERNEL_TYPES.iter().copied().collect();
        let slice = Btf::vmlinux().ok()?.slice(&names);
        let mut file = File::from(memfd_create(c"kernel_types", MFdFlags::MFD_CLOEXEC).ok()?);
        file.write_all(&slice).ok()?;
        Some(file)
    };
    FILE.get_or_init(make).as_ref()
}

//! Arrays of the kernel's that are read in place.

use std::marker::PhantomData;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapHandle};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use plain::Plain;

/// An array of `T`, mapped.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    address: NonNull<libc::c_void>,
    len: NonZeroUsize,
    capacity: usize,
    map: MapHandle,
    elements: PhantomData<T>,
}

impl<T: Plain> Mapped<T> {
    // The kernel rounds elements up to 8 bytes; a slice doesn't.
    const IS_WHOLE: () = assert!(size_of::<T>().is_multiple_of(8));

    /// Maps an array for reading, and for writing if `protection` says so.
    ///
    /// # Errors
    /// Where the kernel refuses to map it.
    pub(super) fn open(map: MapHandle, protection: ProtFlags) -> Result<Self> {
        let () = Self::IS_WHOLE;
        let capacity = map.max_entries() as usize;
        let len = NonZeroUsize::new(capacity * size_of::<T>()).context("a table of nothing")?;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice.
        let address = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, map.as_fd(), 0) };
        let address = address.context("map a table of the kernel's")?;
        Ok(Mapped { address, len, capacity, map, elements: PhantomData })
    }

    /// How many elements it has.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The array itself.
    pub(super) fn map(&self) -> &MapHandle {
        &self.map
    }

    /// The elements, page-aligned; programs write there.
    pub(super) fn as_ptr(&self) -> *mut T {
        self.address.as_ptr().cast()
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no slice of it outlives `self`.
        let _ = unsafe { munmap(self.address, self.len.get()) };
    }
}

//! Hash maps that are read by batches, since a system call for each element takes a hundred times as long.

use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};

/// Elements a system call: above what a bucket has.
const BATCH: usize = 4096;

/// Room for keys and values, kept from one reading to the next.
#[derive(Debug)]
pub(super) struct Batches<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Clone + Default, V: Clone + Default> Batches<K, V> {
    pub(super) fn new() -> Self {
        Batches { keys: vec![K::default(); BATCH], values: vec![V::default(); BATCH] }
    }

    /// Visits all elements of the hash `map`, whose keys and values have to be `K` and `V`, plain data.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) fn read(
        &mut self,
        map: BorrowedFd<'_>,
        mut visit: impl FnMut(&K, &V),
    ) -> Result<()> {
        // The kernel's own cursor; opaque, 4 bytes for a hash.
        let mut cursor = 0u32;
        let mut first = true;
        loop {
            let mut count = BATCH as u32;
            let from = if first { std::ptr::null_mut() } else { (&raw mut cursor).cast() };
            // SAFETY: keys and values have room for `count` elements of the map's own sizes, and
            // the cursor the 4 bytes that a hash's takes.
            let status = unsafe {
                libbpf_sys::bpf_map_lookup_batch(
                    map.as_raw_fd(),
                    from,
                    (&raw mut cursor).cast(),
                    self.keys.as_mut_ptr().cast(),
                    self.values.as_mut_ptr().cast(),
                    &raw mut count,
                    std::ptr::null(),
                )
            };
            let end = status == -libc::ENOENT;
            if status < 0 && !end {
                return Err(std::io::Error::from_raw_os_error(-status))
                    .context("read a table of the kernel's side");
            }
            let read = self.keys.iter().zip(&self.values).take(count as usize);
            read.for_each(|(key, value)| visit(key, value));
            if end {
                return Ok(());
            }
            first = false;
        }
    }
}

//! The array that the iterator writes into, mapped for reading.

use std::mem::size_of;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapHandle, MapType};
use nix::sys::mman::ProtFlags;

use crate::probes::mapped::Mapped;
use crate::sample::SocketRecord;

/// One array of records.
pub(super) struct Records(Mapped<SocketRecord>);

impl Records {
    /// Makes an array of room for `capacity` sockets, of the same type as `first`: on Linux 6.1 one
    /// without a type can't take the place of one that has it.
    ///
    /// # Errors
    /// Where the kernel has no memory for it.
    pub(super) fn create(capacity: usize, first: &Records, btf_fd: i32) -> Result<Self> {
        let entries = u32::try_from(capacity).context("too many sockets")?;
        let types = first.map().info().context("ask for the type of the table of sockets")?.info;
        let opts = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            map_flags: libbpf_sys::BPF_F_MMAPABLE | libbpf_sys::BPF_F_INNER_MAP,
            btf_fd: btf_fd.cast_unsigned(),
            btf_key_type_id: types.btf_key_type_id,
            btf_value_type_id: types.btf_value_type_id,
            ..Default::default()
        };
        let map = MapHandle::create(
            MapType::Array,
            Some("records"),
            size_of::<u32>() as u32,
            size_of::<SocketRecord>() as u32,
            entries,
            &opts,
        );
        Records::open(map.with_context(|| format!("make room for {capacity} sockets"))?)
    }

    /// Maps an array.
    ///
    /// # Errors
    /// Where the kernel refuses to map it.
    pub(super) fn open(map: MapHandle) -> Result<Self> {
        Mapped::open(map, ProtFlags::PROT_READ).map(Records)
    }

    /// How many sockets it has room for.
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The array itself.
    pub(super) fn map(&self) -> &MapHandle {
        self.0.map()
    }

    /// The first records; no more than there is room for.
    pub(super) fn first(&self, count: usize) -> &[SocketRecord] {
        let count = count.min(self.capacity());
        // SAFETY: the mapping holds `capacity` records, page-aligned, of integers only; the
        // iterator writes there only while `read_table` runs it, which needs `&mut` of the probe.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), count) }
    }
}

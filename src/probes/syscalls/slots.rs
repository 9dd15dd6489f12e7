//! The table of slots: chunks that the kernel's side counts in and we map, added as they are needed.

use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use anyhow::{Context, Result};
use libbpf_rs::{Map, MapCore, MapFlags, MapHandle, MapType};
use nix::sys::mman::{MapFlags as Mapping, ProtFlags, mmap, munmap};
use plain::Plain;

use super::skel::types::{call_slot, thread_slot};

/// Slots of a chunk; `CHUNK_SLOTS` in `layout.bpf.h`.
pub(super) const CHUNK: usize = 1 << 10;
/// Chunks at most; `MAX_CHUNKS` in `layout.bpf.h`.
pub(super) const MAX_CHUNKS: usize = 1024;
/// Chunks made in one step, each of which takes a descriptor meanwhile.
const AT_ONCE: usize = 64;

// A thread's slot lies in the same place; the kernel rounds elements up to 8 bytes.
const _: () = assert!(size_of::<call_slot>().is_multiple_of(8));
const _: () = assert!(size_of::<thread_slot>() <= size_of::<call_slot>());

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for call_slot {}
// SAFETY: as above.
unsafe impl Plain for thread_slot {}

/// One chunk, mapped.
struct Chunk {
    address: NonNull<call_slot>,
}

impl Chunk {
    fn map(map: &MapHandle) -> Result<Self> {
        let len = NonZeroUsize::new(CHUNK * size_of::<call_slot>()).context("no chunk")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice.
        let address = unsafe { mmap(None, len, protection, Mapping::MAP_SHARED, map.as_fd(), 0) };
        Ok(Chunk { address: address.context("map the table of system calls")?.cast() })
    }
}

/// All chunks there are.
pub(super) struct Slots {
    chunks: Vec<Chunk>,
    /// The first one, for its type.
    first: MapHandle,
    table: MapHandle,
    free: MapHandle,
    btf_fd: i32,
}

impl Slots {
    /// The slots of `first_map` alone. `table` is where the kernel's side finds chunks, `free` where it
    /// takes slots from; `btf_fd` has their types.
    ///
    /// # Errors
    /// Where the kernel refuses to map it.
    pub(super) fn new(
        first_map: &Map<'_>,
        table: &Map<'_>,
        free: &Map<'_>,
        btf_fd: i32,
    ) -> Result<Self> {
        let table = MapHandle::try_from(table).context("open the table of system calls")?;
        let free = MapHandle::try_from(free).context("open the queue of free slots")?;
        let first = MapHandle::try_from(first_map).context("open the first system calls")?;
        let mut slots = Slots { chunks: Vec::new(), first, table, free, btf_fd };
        slots.add(std::slice::from_ref(&MapHandle::try_from(first_map)?))?;
        Ok(slots)
    }

    /// Slots there are, those in use and those that are free.
    pub(super) fn len(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// Makes so many more chunks, of the same type as the first: on Linux 6.1 one without a type
    /// can't stand beside one that has it.
    ///
    /// # Errors
    /// Where the kernel has no memory for them.
    pub(super) fn grow(&mut self, chunks: usize) -> Result<()> {
        let types = self.first.info().context("ask for the type of system calls")?.info;
        let opts = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            map_flags: libbpf_sys::BPF_F_MMAPABLE,
            btf_fd: self.btf_fd.cast_unsigned(),
            btf_key_type_id: types.btf_key_type_id,
            btf_value_type_id: types.btf_value_type_id,
            ..Default::default()
        };
        let (key, value) = (size_of::<u32>() as u32, size_of::<call_slot>() as u32);
        let make =
            || MapHandle::create(MapType::Array, Some("chunk"), key, value, CHUNK as u32, &opts);
        let mut left = chunks;
        while left > 0 {
            let some = left.min(AT_ONCE);
            let maps: libbpf_rs::Result<Vec<MapHandle>> = (0..some).map(|_| make()).collect();
            self.add(&maps.context("make room for system calls")?)?;
            left -= some;
        }
        Ok(())
    }

    /// Maps chunks, and gives their slots out. The table and the mapping keep them; a descriptor for
    /// each would soon be too many.
    fn add(&mut self, maps: &[MapHandle]) -> Result<()> {
        let chunks: Result<Vec<Chunk>> = maps.iter().map(Chunk::map).collect();
        let before = u32::try_from(self.chunks.len())?;
        self.enter(before, maps).context("make room for system calls")?;
        self.chunks.extend(chunks?);
        // Number 0 means none.
        for slot in (before * CHUNK as u32).max(1)..self.len() as u32 {
            self.give(slot)?;
        }
        Ok(())
    }

    /// Enters chunks in the table. After each update there the kernel waits for its readers, so all
    /// go in one, where Linux has that (since 5.16).
    fn enter(&self, first: u32, maps: &[MapHandle]) -> libbpf_rs::Result<()> {
        let numbers = first..first + maps.len() as u32;
        let keys: Vec<u8> = numbers.clone().flat_map(u32::to_ne_bytes).collect();
        let fd = |map: &MapHandle| map.as_fd().as_raw_fd().to_ne_bytes();
        let fds: Vec<u8> = maps.iter().flat_map(fd).collect();
        let count = numbers.len() as u32;
        if self.table.update_batch(&keys, &fds, count, MapFlags::ANY, MapFlags::ANY).is_ok() {
            return Ok(());
        }
        let mut each = keys.chunks_exact(4).zip(fds.chunks_exact(4));
        each.try_for_each(|(key, fd)| self.table.update(key, fd, MapFlags::ANY))
    }

    fn give(&self, slot: u32) -> Result<()> {
        self.free
            .update(&[], &slot.to_ne_bytes(), MapFlags::ANY)
            .context("give out a slot for system calls")
    }

    /// Empties a slot that nobody writes any more, and gives it out again.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub(super) fn release(&self, slot: u32) -> Result<()> {
        if let Some(address) = self.address(slot) {
            // SAFETY: see `address`; its thread has ended, so we alone write it.
            unsafe { address.write_volatile(call_slot::default()) };
        }
        self.give(slot)
    }

    /// Which call, of which thread, and how many of them: what changes whenever the slot does.
    pub(super) fn head(&self, slot: u32) -> Option<(u32, u32, u64)> {
        let address = self.address(slot)?.as_ptr();
        // SAFETY: see `address`; volatile because the kernel's side writes there.
        unsafe {
            let call = (&raw const (*address).call).read_volatile();
            let thread = (&raw const (*address).thread).read_volatile();
            let calls = (&raw const (*address).calls).read_volatile();
            Some((call, thread, calls))
        }
    }

    /// What `further` knows a slot by, if it does.
    pub(super) fn further_key(&self, slot: u32) -> Option<[u8; 8]> {
        const CALL: u32 = 0x7fff_ffff;

        let (call, thread, _) = self.head(slot).filter(|(call, ..)| *call != THREAD)?;
        // SAFETY: see `address`; volatile because the kernel's side writes there.
        let is_further =
            unsafe { (&raw const (*self.address(slot)?.as_ptr()).is_further).read_volatile() };
        let [a, b, c, d] = thread.to_ne_bytes();
        let [e, f, g, h] = (call & CALL).to_ne_bytes();
        (is_further != 0).then_some([a, b, c, d, e, f, g, h])
    }

    /// A copy of a slot. Its thread may be writing: each word is whole, and so old or new.
    pub(super) fn call(&self, slot: u32) -> Option<call_slot> {
        let from = self.address(slot)?.cast::<u64>();
        let mut copy = call_slot::default();
        let to = (&raw mut copy).cast::<u64>();
        for word in 0..size_of::<call_slot>() / size_of::<u64>() {
            // SAFETY: see `address`; both hold so many words, of which any bits are integers.
            // Volatile because the kernel's side writes there.
            unsafe { to.add(word).write(from.add(word).read_volatile()) };
        }
        Some(copy)
    }

    /// A copy of a thread's own slot.
    pub(super) fn thread(&self, slot: u32) -> Option<thread_slot> {
        let (call, ..) = self.head(slot)?;
        let address = self.address(slot)?.cast::<thread_slot>();
        // SAFETY: see `address`; both lie in the same place.
        (call == THREAD).then(|| unsafe { address.read_volatile() })
    }

    /// Where a slot is: inside of a mapping of `CHUNK` slots that lives as long as `self`.
    fn address(&self, slot: u32) -> Option<NonNull<call_slot>> {
        let slot = slot as usize;
        let chunk = self.chunks.get(slot / CHUNK)?;
        // SAFETY: the place is below `CHUNK`.
        Some(unsafe { chunk.address.add(slot % CHUNK) })
    }
}

/// `CALL_THREAD` in `layout.bpf.h`.
pub(super) const THREAD: u32 = u32::MAX;

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and of this length.
        let _ = unsafe { munmap(self.address.cast(), CHUNK * size_of::<call_slot>()) };
    }
}

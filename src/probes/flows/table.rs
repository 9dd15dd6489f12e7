//! The kernel's table of flows, read in place.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use nix::sys::mman::ProtFlags;

use super::skel::types::{flow, flow_numbers, flow_sums};
use super::skel::{FlowsSkel, OpenFlowsSkel};
use crate::probes::mapped::Mapped;

/// The table, and the flows in it that are over.
pub(super) struct Table {
    flows: Mapped<flow>,
    /// Taken out at the last reading. What was on its way to them then has arrived by the next.
    retired: Vec<u32>,
    has_freed: bool,
}

/// Settings of the table, with room for so many flows.
pub(super) fn prepare(open: &mut OpenFlowsSkel<'_>, entries: Option<u32>) -> libbpf_rs::Result<()> {
    let random = RandomState::new();
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        for (number, factor) in rodata.hash_factors.iter_mut().enumerate() {
            *factor = random.hash_one(number) | 1;
        }
    }
    let Some(entries) = entries else {
        return Ok(());
    };
    let too_many = || libbpf_rs::Error::from_raw_os_error(libc::E2BIG);
    let numbers = entries.checked_next_power_of_two().ok_or_else(too_many)?;
    if let Some(rodata) = open.maps.rodata_data.as_mut() {
        rodata.flow_room = entries;
        rodata.number_mask = numbers - 1;
    }
    let maps = &mut open.maps;
    maps.flows.set_max_entries(entries)?;
    maps.places.set_max_entries(entries)?;
    maps.freed_numbers.set_max_entries(entries)?;
    maps.hints.set_max_entries((numbers / 2).max(1))
}

impl Table {
    /// Maps the table of a loaded probe.
    ///
    /// # Errors
    /// Where the kernel refuses to map it.
    pub(super) fn open(skel: &FlowsSkel<'_>) -> Result<Self> {
        let map = MapHandle::try_from(&skel.maps.flows).context("open the table of flows")?;
        let flows = Mapped::open(map, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        Ok(Table { flows, retired: Vec::new(), has_freed: false })
    }

    /// Visits each flow of those that are used, with its number; last of all, with `true`, when it is over: `is_idle` said so at the reading
    /// before. Those come before others, which may be the same flows begun anew.
    ///
    /// # Errors
    /// Where the kernel refuses to forget a flow.
    pub(super) fn read(
        &mut self,
        skel: &mut FlowsSkel<'_>,
        used: u32,
        is_idle: impl Fn(&flow) -> bool,
        mut visit: impl FnMut(u32, &flow, bool),
    ) -> Result<()> {
        for number in std::mem::take(&mut self.retired) {
            visit(number, &self.get(number), true);
            self.clear(number);
            let freed = skel.maps.freed_numbers.update(&[], &number.to_ne_bytes(), MapFlags::ANY);
            freed.context("free a place in the table of flows")?;
            self.has_freed = true;
        }
        // Each time: a program that just found none may take the last word for the next ones.
        if let Some(bss) = skel.maps.bss_data.as_mut().filter(|_| self.has_freed) {
            // SAFETY: a valid reference; volatile because programs write there.
            unsafe { (&raw mut bss.has_freed_numbers).write_volatile(true) };
        }
        for number in 0..used.min(self.flows.capacity() as u32) {
            let flow = self.get(number);
            // Whoever begins one sets its place at the end, and counts then.
            if flow.place == 0 || flow.packets == 0 {
                continue;
            }
            if is_idle(&flow) {
                let place = flow.place.to_ne_bytes();
                skel.maps.places.delete(&place).context("forget a flow that is over")?;
                self.place(number).store(0, Ordering::Release);
                self.retired.push(number);
            }
            visit(number, &flow, false);
        }
        Ok(())
    }

    /// With its sums up to date.
    fn get(&self, number: u32) -> flow {
        loop {
            let before = self.moves(number).load(Ordering::Acquire);
            // SAFETY: within the mapping, whose elements are integers; volatile because programs write there.
            let mut flow = unsafe { self.element(number).read_volatile() };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.moves(number).load(Ordering::Relaxed) == before {
                flow.packets += flow.recent >> flow_sums::FLOW_BYTES_BITS.0;
                flow.bytes += flow.recent & ((1 << flow_sums::FLOW_BYTES_BITS.0) - 1);
                flow.recent = 0;
                return flow;
            }
            std::hint::spin_loop();
        }
    }

    fn element(&self, number: u32) -> *mut flow {
        assert!(
            (number as usize) < self.flows.capacity(),
            "flow {number} of {}",
            self.flows.capacity()
        );
        // SAFETY: within the mapping.
        unsafe { self.flows.as_ptr().add(number as usize) }
    }

    fn place(&self, number: u32) -> &AtomicU64 {
        // SAFETY: within the mapping, aligned, and shared with programs that load and store it whole.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.element(number)).place) }
    }

    fn moves(&self, number: u32) -> &AtomicU32 {
        // SAFETY: as in `place`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.element(number)).moves) }
    }

    /// Its number is nobody's meanwhile.
    fn clear(&self, number: u32) {
        // SAFETY: as in `get`; no program writes to a flow without a place.
        unsafe { self.element(number).write_volatile(flow::default()) };
    }
}

/// Numbers that some flow has or had.
pub(super) fn used(skel: &FlowsSkel<'_>) -> Result<u32> {
    let key = 0u32.to_ne_bytes();
    let value = skel.maps.fresh_numbers.lookup(&key, MapFlags::ANY);
    let value = value.context("read how many flows there are")?.context("no count of flows")?;
    let at = std::mem::offset_of!(flow_numbers, next);
    let next = value.get(at..at + size_of::<u32>()).and_then(|bytes| bytes.try_into().ok());
    next.map(u32::from_ne_bytes).context("a count of flows of another size")
}

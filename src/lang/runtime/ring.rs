//! The ring that messages come through, read where it lies.
//!
//! The kernel wakes who waits at a message that is the next to be read, and at none behind it. So who reads from time to
//! time is woken once each time, however much there is.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_sys::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{SysconfVar, sysconf};

/// A ring in memory: the consumer's page, which is ours to write, then the producer's, then its records twice, so that
/// none is cut at the end.
#[derive(Debug)]
pub(super) struct Ring<'m> {
    map: BorrowedFd<'m>,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    size: usize,
}

/// Memory that goes with it.
#[derive(Debug)]
struct Mapping {
    at: NonNull<libc::c_void>,
    len: usize,
}

impl Mapping {
    fn new(map: BorrowedFd<'_>, len: usize, prot: ProtFlags, offset: usize) -> io::Result<Self> {
        let size = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping of the ring, which nobody else has.
        let at = unsafe { mmap(None, size, prot, MapFlags::MAP_SHARED, map, offset as i64) }?;
        Ok(Self { at, len })
    }

    /// The position at its beginning.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: a page's beginning is aligned, and both sides use it as an atomic.
        unsafe { self.at.cast::<AtomicU64>().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody borrows it any more.
        _ = unsafe { munmap(self.at, self.len) };
    }
}

impl<'m> Ring<'m> {
    /// The ring of that map; `size` are its bytes.
    pub(super) fn open(map: BorrowedFd<'m>, size: u32) -> io::Result<Self> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.map_or(4096, |page| page as usize);
        let size = size as usize;
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let consumer = Mapping::new(map, page, both, 0)?;
        let producer = Mapping::new(map, page + 2 * size, ProtFlags::PROT_READ, page)?;
        Ok(Self { map, consumer, producer, page, size })
    }

    /// Its bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Hands over what is there by now, until told to stop; how many bytes were read.
    ///
    /// # Errors
    /// Those of `take`; the message that it failed with is gone.
    pub(super) fn drain<E>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<usize, E> {
        let mut read = 0;
        let mut at = self.consumer.position().load(Ordering::Relaxed);
        let end = self.producer.position().load(Ordering::Acquire);
        while at < end {
            let offset = self.page + (at as usize & (self.size - 1));
            // SAFETY: a record's header lies at a multiple of 8 within what is mapped twice.
            let header = unsafe { self.producer.at.byte_add(offset).cast::<AtomicU32>().as_ref() };
            let len = header.load(Ordering::Acquire);
            if len & BPF_RINGBUF_BUSY_BIT != 0 {
                break;
            }
            let is_message = len & BPF_RINGBUF_DISCARD_BIT == 0;
            let len = (len & !BPF_RINGBUF_DISCARD_BIT) as usize;
            let whole = (len + BPF_RINGBUF_HDR_SZ as usize).next_multiple_of(8);
            // SAFETY: the kernel wrote so many bytes there, and writes no more until the position moves on.
            let message = unsafe {
                let first = self.producer.at.byte_add(offset + BPF_RINGBUF_HDR_SZ as usize);
                std::slice::from_raw_parts(first.cast::<u8>().as_ptr(), len)
            };
            let goes_on = if is_message { take(message) } else { Ok(true) };
            at += whole as u64;
            read += whole;
            self.consumer.position().store(at, Ordering::Release);
            if !goes_on? {
                break;
            }
        }
        Ok(read)
    }
}

impl AsFd for Ring<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map
    }
}

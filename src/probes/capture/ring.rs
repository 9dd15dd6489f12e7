//! The ring that packets come through, read in batches.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use plain::Plain;

use super::skel::types::captured;

// SAFETY: integers and arrays of them only, and no padding that isn't a field.
unsafe impl Plain for captured {}

/// A batch ends with so many packets, or bytes of them: what is behind it stays in the ring.
const BATCH: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;
/// Packets taken between two looks at the bytes.
const STEP: usize = 64;

/// Packets that came, with what they need to be understood.
#[derive(Default)]
pub(super) struct Incoming {
    pub(super) heads: Vec<captured>,
    pub(super) bytes: Vec<u8>,
}

/// The user's end of the ring.
pub(super) struct Ring {
    incoming: Rc<RefCell<Incoming>>,
    ring: RingBuffer<'static>,
    woken: Epoll,
}

impl Ring {
    pub(super) fn open(map: &dyn MapCore) -> Result<Self> {
        const WHAT: &str = "open the ring of packets";

        let incoming = Rc::new(RefCell::new(Incoming::default()));
        let sink = Rc::clone(&incoming);
        let mut ring = RingBufferBuilder::new();
        ring.add(map, move |bytes| keep(&sink, bytes)).context(WHAT)?;
        let ring = ring.build().context(WHAT)?;
        // libbpf's own tells of every packet that is there; this one of wake-ups alone.
        let woken = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(WHAT)?;
        let edges = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        woken.add(map.as_fd(), edges).context(WHAT)?;
        Ok(Ring { incoming, ring, woken })
    }

    /// Readable when the programs had somebody woken.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.woken.0.as_fd()
    }

    /// Takes note of being woken.
    pub(super) fn forget_wakeup(&self) {
        // Nothing is there to be told if nobody was woken.
        let _ = self.woken.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO);
    }

    /// Takes a batch out of the ring; true if that may not have been all.
    pub(super) fn read(&self, batch: impl FnOnce(&mut Incoming)) -> Result<bool> {
        let mut is_all = false;
        while !is_all && self.has_room() {
            let read = self.ring.consume_raw_n(STEP);
            let Ok(read) = usize::try_from(read) else {
                bail!("read the ring of packets: {}", std::io::Error::from_raw_os_error(-read));
            };
            is_all = read < STEP;
        }
        let mut incoming = self.incoming.borrow_mut();
        batch(&mut incoming);
        incoming.heads.clear();
        incoming.bytes.clear();
        Ok(!is_all)
    }

    fn has_room(&self) -> bool {
        let incoming = self.incoming.borrow();
        incoming.heads.len() + STEP <= BATCH && incoming.bytes.len() < BATCH_BYTES
    }
}

fn keep(incoming: &RefCell<Incoming>, bytes: &[u8]) -> i32 {
    let mut incoming = incoming.borrow_mut();
    if let Ok(head) = captured::from_bytes(bytes) {
        let copied = &bytes[size_of::<captured>()..];
        // What the ring pads it with isn't the packet's.
        let copied = &copied[..copied.len().min(head.copied as usize)];
        incoming.heads.push(*head);
        incoming.bytes.extend_from_slice(copied);
    }
    0
}

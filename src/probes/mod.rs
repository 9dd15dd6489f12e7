//! User side of each probe: load, attach, read, and nothing of what the figures mean. A new probe
//! is one `src/bpf/<probe>.bpf.c`, one file here, and one field of [`crate::session::Session`].

mod climb;
pub mod ifaces;
pub mod ladder;
mod programs;
pub mod sockets;
pub mod syscalls;

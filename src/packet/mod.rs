//! Packets: which of them are wanted.

pub mod filter;

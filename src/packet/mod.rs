//! Packets: which of them are wanted, what is in them, and files of them.

pub mod comment;
pub mod decode;
pub mod filter;
pub mod line;
pub mod pcapng;
pub mod reader;

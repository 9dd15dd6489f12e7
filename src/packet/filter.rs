//! Filter expressions (pcap-filter(7)): libpcap compiles them to classic BPF, which is translated to
//! eBPF and put into programs that call `filter()` of `filter.bpf.h`. What the packet is, the caller
//! says; what its bytes mean, libpcap knows.

mod classic;
mod libpcap;
mod place;
mod translate;

use std::fmt;
use std::io;
use std::ops::Range;

use anyhow::{Context, Result};
use libbpf_rs::{AsRawLibbpf, OpenObject};
use libbpf_sys::bpf_insn;

use crate::bytecode::{self, AssemblyError};
use crate::caret::pointed;

/// A filter looks at so many bytes of a packet, at most (`FILTER_REACH_LIMIT` in `filter.bpf.h`).
pub const REACH_LIMIT: u32 = 4096;

/// The size of `struct filter_packet` in `filter.bpf.h`.
pub const PACKET_SIZE: usize = translate::PACKET_SIZE;

/// The number of the helper that programs call for the verdict, as `filter.bpf.h` does. No kernel has it.
pub const VERDICT: u32 = 0x6e_7466;

/// What a packet begins with; libpcap's numbers (`DLT_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header, with its VLAN tags.
    Ethernet = 1,
    /// An IPv4 or IPv6 header.
    Raw = 12,
}

/// A wrong expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ExpressionError {
    /// libpcap's, or ours.
    words: String,
    expression: String,
    place: Option<Range<usize>>,
}

impl ExpressionError {
    /// The part of the expression that it is about; empty at the end, where something is missing.
    pub fn place(&self) -> Option<Range<usize>> {
        self.place.clone()
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = format!("filter: {}", self.words);
        f.write_str(&pointed(&words, &self.expression, self.place.clone()))
    }
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Filter {
    classic: Vec<libpcap::Insn>,
    insns: Vec<bpf_insn>,
    link: LinkType,
    reach: u32,
    asks_more: bool,
}

impl Filter {
    /// Compiles an expression; the empty one takes every packet. Names of hosts in it are looked up.
    ///
    /// # Errors
    /// Where libpcap doesn't understand it, and where it needs what a program in the kernel can't have.
    pub fn compile(expression: &str, link: LinkType) -> Result<Self, ExpressionError> {
        let error = |words: String, place| {
            Err(ExpressionError { words, expression: expression.to_owned(), place })
        };
        let classic = match libpcap::compile(expression, link) {
            Ok(classic) => classic,
            Err(words) => {
                let place = place::place(expression, link, &words);
                return error(words, place);
            }
        };
        let Some(ops) = classic::decode(&classic) else {
            return error("it asks for what isn't known of a packet here".to_owned(), None);
        };
        let asks_more = ops.iter().any(classic::Op::asks_more_than_bytes);
        let (ops, has_loop) = classic::unroll(&ops);
        let (_, reach) = classic::reach(&ops);
        // A loop's reach is that of its last round.
        if reach > u64::from(REACH_LIMIT) && !has_loop {
            let words = format!("it may look beyond the first {REACH_LIMIT} bytes of a packet");
            return error(words, None);
        }
        match translate::translate(&ops) {
            Ok(insns) => {
                let reach = reach.min(u64::from(REACH_LIMIT)) as u32;
                Ok(Filter { classic, insns, link, reach, asks_more })
            }
            Err(AssemblyError::TooFar(_) | AssemblyError::Unbound) => {
                error("it is too long".to_owned(), None)
            }
        }
    }

    /// What packets must begin with.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// Its verdict depends on so many bytes of a packet, and on the length of all.
    pub fn reach(&self) -> u32 {
        self.reach
    }

    /// It asks for a packet's direction or interface (`inbound`, `outbound`, `ifindex`).
    pub fn asks_more_than_bytes(&self) -> bool {
        self.asks_more
    }

    /// The verdict on a packet of `len` bytes that begins with `bytes`, by libpcap's interpreter. It has no
    /// interface and no direction.
    pub fn matches(&self, bytes: &[u8], len: u32) -> bool {
        libpcap::matches(&self.classic, bytes, len)
    }

    /// Puts the filter in the place of each call of [`VERDICT`]; says how many there were.
    ///
    /// # Errors
    /// Where that makes a jump too far.
    pub fn inline(&self, insns: &mut Vec<bpf_insn>) -> Result<usize, AssemblyError> {
        bytecode::inline_calls(insns, VERDICT, &self.insns)
    }

    /// Puts the filter into the programs of an object that isn't loaded; says into how many.
    ///
    /// # Errors
    /// Where a program gets too long.
    pub fn install(&self, object: &mut OpenObject) -> Result<usize> {
        let mut count = 0;
        for program in object.progs_mut() {
            let context = || format!("put the filter into {}", program.name().to_string_lossy());
            let mut insns = program.insns().to_vec();
            if self.inline(&mut insns).with_context(context)? == 0 {
                continue;
            }
            // SAFETY: the program isn't loaded; libbpf copies that many instructions.
            let status = unsafe {
                let program = program.as_libbpf_object().as_ptr();
                libbpf_sys::bpf_program__set_insns(program, insns.as_mut_ptr(), insns.len() as _)
            };
            if status != 0 {
                return Err(io::Error::from_raw_os_error(-status)).with_context(context);
            }
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;

//! One function's instructions, its registers and its memory.
//!
//! A value that fits a register is computed in R0. What must outlive the next computation is *held*: in one of
//! the registers that calls leave alone, or on the stack where these run out. R1 to R5 are free at any time.
//! What is larger has a *room*: on the stack, or in the probe's scratch value, which each CPU has.
//!
//! Rooms and held values are given back together, to where a [`Mark`] was taken.

use libbpf_sys::BPF_FUNC_probe_read_kernel;

use crate::bytecode::{Alu, Assembler, AssemblyError, Cond, Label, Operand, Reg, Size, Width};
use crate::lang::program::Code;
use crate::lang::source::Span;
use crate::lang::types::Int;

/// Bytes of stack for a probe itself; the kernel gives 512 to a probe and the callbacks within.
const OWN_STACK: i32 = 352;
/// Bytes of stack for a callback.
const CALLBACK_STACK: i32 = 96;
/// What is larger goes to the scratch value.
const LARGEST_ON_STACK: u32 = 64;
/// So many loads and stores are shorter than a call.
const LONGEST_UNROLLED: u32 = 24;

/// Where the probe's context is kept: the first word of its frame.
pub(super) const CONTEXT: Place = Place { base: Base::Probe, offset: -8 };
/// Where the address of its scratch value is kept.
pub(super) const SCRATCH: Place = Place { base: Base::Probe, offset: -16 };
/// Set once the probe is to end, from within a callback.
pub(super) const ENDED: Place = Place { base: Base::Probe, offset: -24 };
const KEPT: i32 = 24;

/// Where a value is, in memory that the verifier knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) base: Base,
    pub(super) offset: i32,
}

/// What a place is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The end of the probe's frame, which callbacks see too.
    Probe,
    /// The end of this function's own frame.
    Own,
    /// The probe's scratch value.
    Scratch,
    /// An address that is held.
    Held(Held),
    /// The value of the map with this number.
    Map(usize),
}

/// Where a word is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Register(Reg),
    Slot(i32),
}

/// How much was in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    registers: usize,
    stack: i32,
    scratch: u32,
}

impl Place {
    /// So many bytes further.
    pub(super) fn at(self, offset: u32) -> Place {
        Place { offset: self.offset + offset as i32, ..self }
    }

    /// What its address is a multiple of, as far as that is known.
    fn align(self) -> u32 {
        1 << self.offset.trailing_zeros().min(3)
    }
}

/// A function that is being written.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) asm: Assembler,
    lines: Vec<(u32, Span)>,
    is_callback: bool,
    in_use: Mark,
    /// The most bytes of scratch that were in use at a time.
    pub(super) scratch: u32,
    /// Whether the context is asked for.
    pub(super) needs_context: bool,
}

impl Machine {
    pub(super) fn probe() -> Self {
        Self::new(false, Mark { registers: 0, stack: KEPT, scratch: 0 })
    }

    /// A callback within this function.
    pub(super) fn callback(&self) -> Self {
        Self::new(true, Mark { registers: 0, stack: 0, scratch: self.in_use.scratch })
    }

    fn new(is_callback: bool, in_use: Mark) -> Self {
        Self {
            asm: Assembler::new(),
            lines: Vec::new(),
            is_callback,
            in_use,
            scratch: in_use.scratch,
            needs_context: false,
        }
    }

    /// Registers that calls leave alone; a callback has the probe's frame in one.
    fn holding(&self) -> &'static [Reg] {
        if self.is_callback {
            &[Reg::R6, Reg::R7, Reg::R8]
        } else {
            &[Reg::R6, Reg::R7, Reg::R8, Reg::R9]
        }
    }

    pub(super) fn mark(&self) -> Mark {
        self.in_use
    }

    pub(super) fn release(&mut self, mark: Mark) {
        self.in_use = mark;
    }

    /// What follows comes from there.
    pub(super) fn line(&mut self, span: Span) {
        let at = self.asm.position() as u32;
        match self.lines.last_mut() {
            Some(last) if last.0 == at => last.1 = span,
            Some(last) if last.1 == span => {}
            _ => self.lines.push((at, span)),
        }
    }

    /// What `write` adds comes from there, and what follows from where it came before.
    pub(super) fn from(&mut self, span: Span, write: impl FnOnce(&mut Self)) {
        let before = self.lines.last().map(|(_, span)| *span);
        self.line(span);
        write(self);
        if let Some(before) = before {
            self.line(before);
        }
    }

    /// The instructions, and the first one of each place.
    pub(super) fn finish(mut self) -> Result<Code, AssemblyError> {
        let now = self.asm.prune()?;
        let mut lines: Vec<(u32, Span)> = Vec::with_capacity(self.lines.len());
        for (at, span) in self.lines {
            let at = now[at as usize] as u32;
            // Of several at one place, the last is of what is left there.
            match lines.last_mut() {
                Some(last) if last.0 == at => last.1 = span,
                _ => lines.push((at, span)),
            }
        }
        let insns = self.asm.finish()?;
        lines.retain(|(at, _)| (*at as usize) < insns.len());
        Ok(Code { insns, lines })
    }

    /// Memory for so many bytes, of which nothing is known.
    pub(super) fn room(&mut self, size: u32) -> Place {
        let whole = size.next_multiple_of(8);
        let limit = if self.is_callback { CALLBACK_STACK } else { OWN_STACK };
        if size <= LARGEST_ON_STACK && self.in_use.stack + whole as i32 <= limit {
            self.in_use.stack += whole as i32;
            return Place { base: Base::Own, offset: -self.in_use.stack };
        }
        let place = Place { base: Base::Scratch, offset: self.in_use.scratch as i32 };
        self.in_use.scratch += whole;
        self.scratch = self.scratch.max(self.in_use.scratch);
        place
    }

    /// The same for what callbacks see as well, in a probe itself.
    pub(super) fn shared_room(&mut self, size: u32) -> Place {
        match self.room(size) {
            Place { base: Base::Own, offset } if !self.is_callback => {
                Place { base: Base::Probe, offset }
            }
            scratch => scratch,
        }
    }

    /// A word of stack, also for what must be there.
    pub(super) fn slot(&mut self) -> Place {
        self.in_use.stack += 8;
        Place { base: Base::Own, offset: -self.in_use.stack }
    }

    /// Holds R0.
    pub(super) fn hold(&mut self) -> Held {
        if let Some(&free) = self.holding().get(self.in_use.registers) {
            self.in_use.registers += 1;
            self.mov(free, Reg::R0);
            return Held::Register(free);
        }
        let slot = self.slot();
        self.store(Size::DW, slot, Reg::R0);
        Held::Slot(slot.offset)
    }

    /// What is held, into a register.
    pub(super) fn take(&mut self, held: Held, dst: Reg) {
        match held {
            Held::Register(from) if from == dst => {}
            Held::Register(from) => self.mov(dst, from),
            Held::Slot(offset) => self.asm.load(Size::DW, dst, Reg::R10, offset as i16),
        }
    }

    /// A register from which a place can be reached, and how far; `free` if one is needed.
    fn reach(&mut self, place: Place, free: Reg) -> (Reg, i16) {
        let offset = place.offset as i16;
        match place.base {
            Base::Own => (Reg::R10, offset),
            Base::Probe => (self.frame(), offset),
            Base::Held(Held::Register(reg)) => (reg, offset),
            Base::Held(held) => {
                self.take(held, free);
                (free, offset)
            }
            Base::Scratch => {
                let frame = self.frame();
                self.asm.load(Size::DW, free, frame, SCRATCH.offset as i16);
                (free, offset)
            }
            Base::Map(map) => {
                self.asm.load_map_value(free, map as i32, place.offset as u32);
                (free, 0)
            }
        }
    }

    fn frame(&self) -> Reg {
        if self.is_callback { Reg::R9 } else { Reg::R10 }
    }

    pub(super) fn load(&mut self, size: Size, dst: Reg, from: Place) {
        let (reg, offset) = self.reach(from, dst);
        self.asm.load(size, dst, reg, offset);
    }

    /// Goes by R5 if the place isn't at hand.
    pub(super) fn store(&mut self, size: Size, to: Place, src: impl Into<Operand>) {
        let (reg, offset) = self.reach(to, Reg::R5);
        self.asm.store(size, reg, offset, src);
    }

    /// Stores a number of so many bytes; goes by R4 if it is a large one.
    pub(super) fn store_number(&mut self, size: Size, to: Place, number: u64) {
        let narrow = number as i32;
        if size != Size::DW || i64::from(narrow) as u64 == number {
            self.store(size, to, narrow);
        } else {
            self.asm.load_imm64(Reg::R4, number);
            self.store(size, to, Reg::R4);
        }
    }

    pub(super) fn address(&mut self, dst: Reg, of: Place) {
        let (reg, offset) = self.reach(of, dst);
        if reg != dst {
            self.mov(dst, reg);
        }
        if offset != 0 {
            self.asm.alu(Width::W64, Alu::Add, dst, i32::from(offset));
        }
    }

    /// The probe's context.
    pub(super) fn context(&mut self, dst: Reg) {
        self.needs_context = true;
        self.load(Size::DW, dst, CONTEXT);
    }

    pub(super) fn mov(&mut self, dst: Reg, src: impl Into<Operand>) {
        self.asm.alu(Width::W64, Alu::Mov, dst, src);
    }

    pub(super) fn number(&mut self, dst: Reg, number: u64) {
        match i32::try_from(number as i64) {
            Ok(narrow) => self.mov(dst, narrow),
            Err(_) => self.asm.load_imm64(dst, number),
        }
    }

    pub(super) fn alu(&mut self, op: Alu, dst: Reg, src: impl Into<Operand>) {
        self.asm.alu(Width::W64, op, dst, src);
    }

    pub(super) fn jump_if(&mut self, cond: Cond, dst: Reg, src: impl Into<Operand>, to: Label) {
        self.asm.jump_if(Width::W64, cond, dst, src, to);
    }

    /// Makes all 64 bits of a register those of an integer in its lower bits.
    pub(super) fn extend(&mut self, reg: Reg, int: Int) {
        match (int.bits, int.signed) {
            (64, _) => {}
            (32, false) => self.asm.alu(Width::W32, Alu::Mov, reg, reg),
            (bits, false) => self.alu(Alu::And, reg, (1 << bits) - 1),
            (bits, true) => {
                let shift = 64 - i32::from(bits);
                self.alu(Alu::Lsh, reg, shift);
                self.alu(Alu::Arsh, reg, shift);
            }
        }
    }

    /// Zeroes so many bytes. All of R0 to R5 may change.
    pub(super) fn zero(&mut self, at: Place, len: u32) {
        let pieces = pieces(len, at.align());
        if pieces.len() as u32 <= LONGEST_UNROLLED {
            self.unrolled(at, |machine, reg, base| {
                for &(size, offset) in &pieces {
                    machine.asm.store(size, reg, base + offset as i16, 0);
                }
            });
            return;
        }
        // Nobody can read from address 0, and what can't be read is zeroed.
        self.address(Reg::R1, at);
        self.mov(Reg::R2, len as i32);
        self.mov(Reg::R3, 0);
        self.asm.call(BPF_FUNC_probe_read_kernel);
    }

    /// Copies so many bytes. All of R0 to R5 may change.
    pub(super) fn copy(&mut self, to: Place, from: Place, len: u32) {
        if to == from || len == 0 {
            return;
        }
        let pieces = pieces(len, to.align().min(from.align()));
        if pieces.len() as u32 > LONGEST_UNROLLED {
            self.address(Reg::R3, from);
            self.address(Reg::R1, to);
            self.mov(Reg::R2, len as i32);
            self.asm.call(BPF_FUNC_probe_read_kernel);
            return;
        }
        let (src, src_offset) = self.reach(from, Reg::R2);
        let (dst, dst_offset) = self.reach(to, Reg::R1);
        for (size, offset) in pieces {
            self.asm.load(size, Reg::R3, src, src_offset + offset as i16);
            self.asm.store(size, dst, dst_offset + offset as i16, Reg::R3);
        }
    }

    /// Writes known bytes. R1 to R5 may change.
    pub(super) fn write(&mut self, to: Place, bytes: &[u8]) {
        for (size, offset) in pieces(bytes.len() as u32, to.align()) {
            let mut word = [0; 8];
            let from = &bytes[offset as usize..][..size.bytes() as usize];
            word[..from.len()].copy_from_slice(from);
            self.store_number(size, to.at(offset), u64::from_le_bytes(word));
        }
    }

    fn unrolled(&mut self, at: Place, write: impl FnOnce(&mut Self, Reg, i16)) {
        let (reg, offset) = self.reach(at, Reg::R1);
        write(self, reg, offset);
    }
}

/// Loads and stores that cover so many bytes from a place with that alignment on.
pub(super) fn pieces(len: u32, align: u32) -> Vec<(Size, u32)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < len {
        let fitting = [Size::DW, Size::W, Size::H, Size::B]
            .into_iter()
            .find(|size| size.bytes() <= align && at + size.bytes() <= len);
        let size = fitting.unwrap_or(Size::B);
        pieces.push((size, at));
        at += size.bytes();
    }
    pieces
}

/// The load or store of so many bytes, if there is one.
pub(super) fn size_of_word(bytes: u32) -> Option<Size> {
    match bytes {
        1 => Some(Size::B),
        2 => Some(Size::H),
        4 => Some(Size::W),
        8 => Some(Size::DW),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_covered_by_aligned_pieces() {
        let sizes = |len, align| -> Vec<(u32, u32)> {
            pieces(len, align).into_iter().map(|(size, at)| (size.bytes(), at)).collect()
        };
        assert_eq!(sizes(16, 8), [(8, 0), (8, 8)]);
        assert_eq!(sizes(15, 8), [(8, 0), (4, 8), (2, 12), (1, 14)]);
        assert_eq!(sizes(6, 2), [(2, 0), (2, 2), (2, 4)]);
        assert_eq!(sizes(2, 1), [(1, 0), (1, 1)]);
        assert_eq!(sizes(0, 8), []);
    }

    #[test]
    fn registers_run_out_and_the_stack_goes_on() {
        let mut machine = Machine::probe();
        let mark = machine.mark();
        let held: Vec<Held> = (0..5).map(|_| machine.hold()).collect();
        assert_eq!(held[0], Held::Register(Reg::R6));
        assert_eq!(held[4], Held::Slot(-KEPT - 8));
        machine.release(mark);
        assert_eq!(machine.hold(), Held::Register(Reg::R6));
    }

    #[test]
    fn what_the_stack_has_no_room_for_goes_to_scratch() {
        let mut machine = Machine::probe();
        let small = machine.room(16);
        assert_eq!((small.base, small.offset), (Base::Own, -KEPT - 16));
        let large = machine.room(1000);
        assert_eq!((large.base, large.offset), (Base::Scratch, 0));
        for _ in 0..OWN_STACK / 64 {
            machine.room(64);
        }
        assert_eq!(machine.room(64).base, Base::Scratch);
        assert!(machine.scratch >= 1064);
    }
}

//! Stacks: frames go to a map under their hash; what a program has of a stack is the key there.

use libbpf_sys::{
    BPF_F_USER_STACK, BPF_FUNC_get_stack, BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem,
};

use super::machine::Place;
use super::{Coder, Result};
use crate::bytecode::{Alu, Cond, Reg, Size};
use crate::lang::ast::Expr;
use crate::lang::program::RuntimeError;
use crate::lang::types::{Stack, Type};

/// FNV's offset and prime: what is hashed are whole words.
const HASH_BEGIN: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_BY: u64 = 0x100_0000_01b3;

impl Coder<'_, '_> {
    /// `kstack`, `ustack` of so many frames.
    pub(super) fn stack_into(&mut self, expr: &Expr, stack: Stack, to: Place) -> Result<()> {
        let of_user = matches!(expr.ty, Type::UStack(_));
        let frames = u32::from(stack.limit).max(1);
        let size = self.size_of(&expr.ty);
        let mark = self.machine.mark();
        self.machine.zero(to, size);
        let room = self.machine.room(frames * 8);
        let end = self.machine.asm.label();
        let failed = self.machine.asm.label();
        self.machine.zero(room, frames * 8);
        self.machine.context(Reg::R1);
        self.machine.address(Reg::R2, room);
        self.machine.mov(Reg::R3, (frames * 8) as i32);
        self.machine.mov(Reg::R4, if of_user { BPF_F_USER_STACK as i32 } else { 0 });
        self.machine.asm.call(BPF_FUNC_get_stack);
        if of_user {
            self.owner_of_stack(to);
        }
        self.machine.jump_if(Cond::Sle, Reg::R0, 0, failed);
        self.machine.alu(Alu::Rsh, Reg::R0, 3);
        self.machine.store(Size::DW, to.at(8), Reg::R0);
        self.hash(room, frames);
        self.machine.store(Size::DW, to, Reg::R0);
        self.keep_stack(room, to, frames);
        self.machine.asm.jump(end);
        self.machine.asm.bind(failed);
        let error = if of_user { RuntimeError::UserStack } else { RuntimeError::KernelStack };
        if self.unit.options.tells_failed_reads {
            self.runtime_error(error, expr.span);
        }
        self.machine.asm.bind(end);
        self.machine.release(mark);
        Ok(())
    }

    /// The process and the probe, behind R0's frames. R0 stays.
    fn owner_of_stack(&mut self, to: Place) {
        let mark = self.machine.mark();
        let got = self.machine.hold();
        self.process(true);
        self.machine.store(Size::W, to.at(16), Reg::R0);
        let place = self.place as i32;
        self.machine.store(Size::W, to.at(20), place);
        self.machine.take(got, Reg::R0);
        self.machine.release(mark);
    }

    /// Of all words of a room, into R0.
    fn hash(&mut self, room: Place, words: u32) {
        let next = self.machine.asm.label();
        let end = self.machine.asm.label();
        self.machine.address(Reg::R1, room);
        self.machine.mov(Reg::R2, words as i32);
        self.machine.asm.load_imm64(Reg::R3, HASH_BY);
        self.machine.asm.load_imm64(Reg::R0, HASH_BEGIN);
        self.machine.asm.bind(next);
        self.machine.asm.load(Size::DW, Reg::R4, Reg::R1, 0);
        // A stack ends with a zero.
        self.machine.jump_if(Cond::Eq, Reg::R4, 0, end);
        self.machine.alu(Alu::Xor, Reg::R0, Reg::R4);
        self.machine.alu(Alu::Mul, Reg::R0, Reg::R3);
        self.machine.alu(Alu::Add, Reg::R1, 8);
        self.machine.alu(Alu::Sub, Reg::R2, 1);
        self.machine.jump_if(Cond::Ne, Reg::R2, 0, next);
        self.machine.asm.bind(end);
    }

    /// Puts the frames into the map, unless they are there.
    fn keep_stack(&mut self, room: Place, key: Place, frames: u32) {
        let map = self.unit.stacks(frames);
        let known = self.machine.asm.label();
        // The key is in memory that maps don't take keys from everywhere.
        let copy = self.machine.room(16);
        self.machine.copy(copy, key, 16);
        self.machine.address(Reg::R2, copy);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.asm.call(BPF_FUNC_map_lookup_elem);
        self.machine.jump_if(Cond::Ne, Reg::R0, 0, known);
        self.machine.address(Reg::R2, copy);
        self.machine.address(Reg::R3, room);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.mov(Reg::R4, 0);
        self.machine.asm.call(BPF_FUNC_map_update_elem);
        self.machine.asm.bind(known);
    }
}

//! Strings and buffers: read, compared, searched.

use libbpf_sys::{
    BPF_FUNC_probe_read_kernel_str, BPF_FUNC_probe_read_str, BPF_FUNC_probe_read_user_str,
};

use super::access::Where;
use super::machine::{Held, Place};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Reg, Size};
use crate::lang::ast::{Expr, ExprKind};
use crate::lang::functions::Function;
use crate::lang::source::Span;
use crate::lang::types::{AddressSpace, Type};

/// From this max_strlen on, bpftrace doesn't say of a string that it was cut.
const MARKS_CUT_STRINGS: u64 = 1024;
/// Needles longer than this would make a search too long for the verifier.
const LONGEST_NEEDLE: u32 = 64;

impl Coder<'_, '_> {
    /// `str(from, length)`. What is behind its end is zero, so that equal strings are equal keys.
    pub(super) fn string_from(
        &mut self,
        from: &Expr,
        length: Option<&Expr>,
        ty: &Type,
        to: Place,
    ) -> Result<()> {
        let size = self.size_of(ty);
        let mark = self.machine.mark();
        if let Type::String(have) = from.ty {
            return self.cut_string(from, have, length, ty, to);
        }
        let space = self.pointed_to(from)?;
        let pointer = self.machine.hold();
        // The length counts the NUL.
        let length = match length {
            Some(length) if length.as_int().is_none_or(|known| known < i128::from(size)) => {
                self.scalar(length)?;
                let fits = self.machine.asm.label();
                self.machine.jump_if(Cond::Le, Reg::R0, size as i32, fits);
                self.machine.mov(Reg::R0, size as i32);
                self.machine.asm.bind(fits);
                Some(self.machine.hold())
            }
            _ => None,
        };
        self.machine.zero(to, size);
        match length {
            Some(length) => self.machine.take(length, Reg::R2),
            None => self.machine.mov(Reg::R2, size as i32),
        }
        self.machine.take(pointer, Reg::R3);
        self.machine.address(Reg::R1, to);
        let helper = match self.known_space(space) {
            AddressSpace::Kernel | AddressSpace::Own => BPF_FUNC_probe_read_kernel_str,
            AddressSpace::User => BPF_FUNC_probe_read_user_str,
            AddressSpace::Unknown => BPF_FUNC_probe_read_str,
        };
        self.machine.asm.call(helper);
        self.tell_failed_read(helper, from.span);
        if length.is_none() && self.unit.typed.config.max_strlen < MARKS_CUT_STRINGS {
            self.mark_cut_string(helper, pointer, size, to);
        }
        self.machine.release(mark);
        Ok(())
    }

    /// A string that has more than there is room for loses its NUL, by which it is known to be cut. R0 is how much was
    /// read of it.
    fn mark_cut_string(&mut self, helper: u32, pointer: Held, size: u32, to: Place) {
        let whole = self.machine.asm.label();
        self.machine.jump_if(Cond::Ne, Reg::R0, size as i32, whole);
        self.machine.take(pointer, Reg::R3);
        self.machine.alu(Alu::Add, Reg::R3, size as i32 - 1);
        self.machine.address(Reg::R1, to.at(size - 1));
        self.machine.mov(Reg::R2, 1);
        self.machine.asm.call(if helper == BPF_FUNC_probe_read_kernel_str {
            libbpf_sys::BPF_FUNC_probe_read_kernel
        } else if helper == BPF_FUNC_probe_read_user_str {
            libbpf_sys::BPF_FUNC_probe_read_user
        } else {
            libbpf_sys::BPF_FUNC_probe_read
        });
        self.machine.asm.bind(whole);
    }

    /// A string's beginning.
    fn cut_string(
        &mut self,
        from: &Expr,
        have: u32,
        length: Option<&Expr>,
        ty: &Type,
        to: Place,
    ) -> Result<()> {
        let size = self.size_of(ty);
        let place = self.place_of(from)?;
        let both = have.min(size);
        self.machine.copy(to, place, both);
        self.machine.zero(to.at(both), size - both);
        if have > size {
            self.machine.store(Size::B, to.at(size - 1), 0);
        }
        match length.map(|length| (length, length.as_int())) {
            // The length counts the NUL, but of a literal.
            Some((_, Some(known))) if (0..i128::from(size)).contains(&known) => {
                let is_literal = matches!(from.kind, ExprKind::Str(_));
                let end = (known as u32).saturating_sub(u32::from(!is_literal));
                self.machine.zero(to.at(end), size - end);
            }
            Some((length, None)) => {
                self.scalar(length)?;
                let (some, long) = (self.machine.asm.label(), self.machine.asm.label());
                self.machine.jump_if(Cond::Eq, Reg::R0, 0, some);
                self.machine.alu(Alu::Sub, Reg::R0, 1);
                self.machine.asm.bind(some);
                self.machine.jump_if(Cond::Ge, Reg::R0, size as i32, long);
                self.machine.address(Reg::R1, to);
                self.machine.alu(Alu::Add, Reg::R1, Reg::R0);
                self.machine.asm.store(Size::B, Reg::R1, 0, 0);
                self.machine.asm.bind(long);
            }
            _ => {}
        }
        Ok(())
    }

    /// The address that a string or buffer is read from, into R0, and of which memory it is.
    fn pointed_to(&mut self, from: &Expr) -> Result<AddressSpace> {
        if !from.ty.is_in_memory() {
            self.scalar(from)?;
            return Ok(self.space(&from.ty));
        }
        match self.locate(from)? {
            Where::Own(place) => {
                self.machine.address(Reg::R0, place);
                Ok(AddressSpace::Kernel)
            }
            Where::Memory(space, offset) => {
                self.advance(Reg::R0, offset);
                Ok(space)
            }
            Where::Context(offset) => {
                self.machine.context(Reg::R0);
                self.machine.alu(Alu::Add, Reg::R0, offset);
                Ok(AddressSpace::Kernel)
            }
            Where::Register => Ok(AddressSpace::Unknown),
        }
    }

    /// `buf(from, length)`.
    pub(super) fn buffer_from(
        &mut self,
        arguments: &[Expr],
        ty: &Type,
        span: Span,
        to: Place,
    ) -> Result<()> {
        let (from, length) = match arguments {
            [from] => (from, None),
            [from, length] => (from, Some(length)),
            _ => return Err(Refusal::new(span, "buf() expects an address and a length")),
        };
        let size = self.size_of(ty) - 4;
        let mark = self.machine.mark();
        let space = self.pointed_to(from)?;
        let pointer = self.machine.hold();
        let fits = self.machine.asm.label();
        match length {
            Some(length) => self.scalar(length)?,
            None => self.machine.mov(Reg::R0, size as i32),
        }
        self.machine.jump_if(Cond::Le, Reg::R0, size as i32, fits);
        self.machine.mov(Reg::R0, size as i32);
        self.machine.asm.bind(fits);
        let length = self.machine.hold();
        self.machine.zero(to, size + 4);
        self.machine.take(length, Reg::R2);
        self.machine.store(Size::W, to, Reg::R2);
        self.machine.take(pointer, Reg::R3);
        self.machine.address(Reg::R1, to.at(4));
        let helper = match self.known_space(space) {
            AddressSpace::Kernel | AddressSpace::Own => libbpf_sys::BPF_FUNC_probe_read_kernel,
            AddressSpace::User => libbpf_sys::BPF_FUNC_probe_read_user,
            AddressSpace::Unknown => libbpf_sys::BPF_FUNC_probe_read,
        };
        self.machine.asm.call(helper);
        self.tell_failed_read(helper, span);
        self.machine.release(mark);
        Ok(())
    }

    /// `strncmp(a, b, n)`, `memcmp(a, b, n)`: 0 if they are equal.
    pub(super) fn compare_first(
        &mut self,
        function: Function,
        arguments: &[Expr],
        span: Span,
    ) -> Result<()> {
        let [left, right, count] = arguments else { return Err(self.unknown(function, span)) };
        let Some(count) = count.as_int() else {
            return Err(Refusal::missing(count.span, "a length that isn't known now"));
        };
        let place = self.place_of(left)?;
        let other = self.place_of(right)?;
        let both = self.size_of(&left.ty).min(self.size_of(&right.ty));
        let len = both.min(u32::try_from(count).unwrap_or(u32::MAX));
        let (differ, end) = (self.machine.asm.label(), self.machine.asm.label());
        if function == Function::Strncmp {
            self.branch_strings(place, other, len, differ, false);
        } else {
            self.branch_bytes(place, other, len, differ, false);
        }
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.jump(end);
        self.machine.asm.bind(differ);
        self.machine.mov(Reg::R0, 1);
        self.machine.asm.bind(end);
        Ok(())
    }

    /// `strlen(a)`.
    pub(super) fn string_length(&mut self, of: &Expr) -> Result<()> {
        let size = self.size_of(&of.ty);
        let place = self.place_of(of)?;
        let (next, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.machine.address(Reg::R1, place);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(next);
        self.machine.asm.load(Size::B, Reg::R2, Reg::R1, 0);
        self.machine.jump_if(Cond::Eq, Reg::R2, 0, end);
        self.machine.alu(Alu::Add, Reg::R1, 1);
        self.machine.alu(Alu::Add, Reg::R0, 1);
        self.machine.jump_if(Cond::Lt, Reg::R0, size as i32, next);
        self.machine.asm.bind(end);
        Ok(())
    }

    /// `strstr(a, b)`: where b begins in a, or -1. `strcontains(a, b)`: whether it does.
    pub(super) fn search(
        &mut self,
        function: Function,
        arguments: &[Expr],
        span: Span,
    ) -> Result<()> {
        let [hay, needle] = arguments else { return Err(self.unknown(function, span)) };
        let (hay_size, needle_size) = (self.size_of(&hay.ty), self.size_of(&needle.ty));
        if needle_size > LONGEST_NEEDLE && !matches!(needle.kind, ExprKind::Str(_)) {
            return Err(Refusal::missing(needle.span, "a search for a string this long")
                .hint(format!("str(…, {LONGEST_NEEDLE}) makes it shorter")));
        }
        let (hay, needle) = (self.place_of(hay)?, self.place_of(needle)?);
        let (next, other, found, missing, end) = (
            self.machine.asm.label(),
            self.machine.asm.label(),
            self.machine.asm.label(),
            self.machine.asm.label(),
            self.machine.asm.label(),
        );
        // R0: where the search is; R1: that place; R2: the needle.
        self.machine.address(Reg::R1, hay);
        self.machine.address(Reg::R2, needle);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(next);
        for offset in 0..needle_size.min(hay_size) {
            self.machine.asm.load(Size::B, Reg::R3, Reg::R2, offset as i16);
            self.machine.jump_if(Cond::Eq, Reg::R3, 0, found);
            // No further than the hay's room.
            self.machine.jump_if(Cond::Gt, Reg::R0, (hay_size - offset) as i32 - 1, missing);
            self.machine.asm.load(Size::B, Reg::R4, Reg::R1, offset as i16);
            self.machine.jump_if(Cond::Ne, Reg::R3, Reg::R4, other);
        }
        self.machine.asm.jump(missing);
        self.machine.asm.bind(other);
        self.machine.asm.load(Size::B, Reg::R4, Reg::R1, 0);
        self.machine.jump_if(Cond::Eq, Reg::R4, 0, missing);
        self.machine.alu(Alu::Add, Reg::R0, 1);
        self.machine.alu(Alu::Add, Reg::R1, 1);
        self.machine.jump_if(Cond::Lt, Reg::R0, hay_size as i32, next);
        self.machine.asm.bind(missing);
        let is_place = function == Function::Strstr;
        self.machine.mov(Reg::R0, if is_place { -1 } else { 0 });
        self.machine.asm.jump(end);
        self.machine.asm.bind(found);
        if !is_place {
            self.machine.mov(Reg::R0, 1);
        }
        self.machine.asm.bind(end);
        Ok(())
    }

    /// `str_concat(a, b)`: the second where the first ends.
    pub(super) fn concatenate(
        &mut self,
        arguments: &[Expr],
        ty: &Type,
        span: Span,
        to: Place,
    ) -> Result<()> {
        let [left, right] = arguments else {
            return Err(self.unknown(Function::StrConcat, span));
        };
        let (size, first, second) =
            (self.size_of(ty), self.size_of(&left.ty), self.size_of(&right.ty));
        self.machine.zero(to, size);
        let from = self.place_of(left)?;
        self.machine.copy(to, from, first.min(size));
        let from = self.place_of(right)?;
        let (next, ended, copied) =
            (self.machine.asm.label(), self.machine.asm.label(), self.machine.asm.label());
        self.machine.address(Reg::R1, to);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(next);
        self.machine.asm.load(Size::B, Reg::R2, Reg::R1, 0);
        self.machine.jump_if(Cond::Eq, Reg::R2, 0, ended);
        self.machine.alu(Alu::Add, Reg::R1, 1);
        self.machine.alu(Alu::Add, Reg::R0, 1);
        self.machine.jump_if(Cond::Lt, Reg::R0, first.min(size) as i32, next);
        self.machine.asm.bind(ended);
        // As much as there is room for: the size is larger than the first string by what the second one may have.
        let room = second.min(size.saturating_sub(first.min(size)) + 1);
        let last = size.saturating_sub(room) as i32;
        self.machine.jump_if(Cond::Gt, Reg::R0, last, copied);
        self.machine.address(Reg::R3, from);
        self.machine.mov(Reg::R2, room as i32);
        self.machine.asm.call(BPF_FUNC_probe_read_kernel_str);
        self.machine.asm.bind(copied);
        Ok(())
    }
}

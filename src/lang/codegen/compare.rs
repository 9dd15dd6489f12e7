//! Conditions: jumps rather than values, as long as nobody wants a value.

use super::arithmetic::narrow;
use super::machine::{Place, pieces};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Label, Operand, Reg, Size};
use crate::lang::ast::{BinaryOp, Expr, ExprKind, UnaryOp};
use crate::lang::types::Type;

/// Strings longer than this are compared by a loop.
const LONGEST_UNROLLED: u32 = 128;

impl Coder<'_, '_> {
    /// 1 or 0 in R0.
    pub(super) fn truth(&mut self, expr: &Expr) -> Result<()> {
        let (no, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.branch(expr, no, false)?;
        self.machine.mov(Reg::R0, 1);
        self.machine.asm.jump(end);
        self.machine.asm.bind(no);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(end);
        Ok(())
    }

    /// Goes on at the label if the condition is what is asked for.
    pub(super) fn branch(&mut self, expr: &Expr, to: Label, when: bool) -> Result<()> {
        let mark = self.machine.mark();
        match &expr.kind {
            ExprKind::Unary { op: UnaryOp::Not, of } => self.branch(of, to, !when)?,
            ExprKind::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
                // Of "and", one false side says it all; of "or", one true one.
                let decides = *op == BinaryOp::Or;
                if when == decides {
                    self.branch(left, to, when)?;
                    self.branch(right, to, when)?;
                } else {
                    let decided = self.machine.asm.label();
                    self.branch(left, decided, decides)?;
                    self.branch(right, to, when)?;
                    self.machine.asm.bind(decided);
                }
            }
            ExprKind::Binary { op, left, right } if op.is_comparison() => {
                if left.ty.is_in_memory() || right.ty.is_in_memory() {
                    self.branch_memory(*op, left, right, expr, to, when)?;
                } else {
                    let right_side = self.both(left, right)?;
                    let signed =
                        left.ty.is_signed() && (right.ty.is_signed() || narrow(right).is_some());
                    self.machine.jump_if(condition(*op, signed, when), Reg::R0, right_side, to);
                }
            }
            ExprKind::Bool(value) => {
                if *value == when {
                    self.machine.asm.jump(to);
                }
            }
            _ if matches!(expr.ty, Type::String(_)) => {
                // A string is true if it isn't empty.
                let place = self.place_of(expr)?;
                self.machine.load(Size::B, Reg::R0, place);
                let cond = if when { Cond::Ne } else { Cond::Eq };
                self.machine.jump_if(cond, Reg::R0, 0, to);
            }
            _ => {
                self.scalar(expr)?;
                let cond = if when { Cond::Ne } else { Cond::Eq };
                self.machine.jump_if(cond, Reg::R0, 0, to);
            }
        }
        self.machine.release(mark);
        Ok(())
    }

    /// Compares strings, arrays, tuples.
    fn branch_memory(
        &mut self,
        op: BinaryOp,
        left: &Expr,
        right: &Expr,
        whole: &Expr,
        to: Label,
        when: bool,
    ) -> Result<()> {
        if !matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            return Err(Refusal::new(
                whole.span,
                format!("the {} operator can not be used on {}", op.symbol(), left.ty.kind()),
            ));
        }
        let when_equal = (op == BinaryOp::Eq) == when;
        // A literal needs no memory: it is compared by its words.
        for (literal, other) in [(right, left), (left, right)] {
            if let (ExprKind::Str(bytes), Type::String(size)) = (&literal.kind, &other.ty) {
                let mut text = bytes.clone();
                text.push(0);
                if text.len() as u32 > *size {
                    // It can't be that long.
                    if !when_equal {
                        self.machine.asm.jump(to);
                    }
                    return Ok(());
                }
                let place = self.place_of(other)?;
                self.branch_literal(place, &text, to, when_equal);
                return Ok(());
            }
        }
        let place = self.place_of(left)?;
        let other = self.place_of(right)?;
        let both = self.size_of(&left.ty).min(self.size_of(&right.ty));
        let are_strings = matches!((&left.ty, &right.ty), (Type::String(_), Type::String(_)));
        if are_strings {
            self.branch_strings(place, other, both, to, when_equal);
        } else {
            self.branch_bytes(place, other, both, to, when_equal);
        }
        Ok(())
    }

    fn branch_literal(&mut self, place: Place, text: &[u8], to: Label, when_equal: bool) {
        let differ = if when_equal { self.machine.asm.label() } else { to };
        self.machine.address(Reg::R1, place);
        let align = 1 << place.offset.trailing_zeros().min(3);
        for (size, offset) in pieces(text.len() as u32, align) {
            let mut word = [0; 8];
            let part = &text[offset as usize..][..size.bytes() as usize];
            word[..part.len()].copy_from_slice(part);
            let word = u64::from_le_bytes(word);
            self.machine.asm.load(size, Reg::R2, Reg::R1, offset as i16);
            let wanted: Operand = match i32::try_from(word) {
                Ok(narrow) => narrow.into(),
                Err(_) => {
                    self.machine.asm.load_imm64(Reg::R3, word);
                    Reg::R3.into()
                }
            };
            self.machine.jump_if(Cond::Ne, Reg::R2, wanted, differ);
        }
        self.when_equal(differ, to, when_equal);
    }

    pub(super) fn branch_bytes(
        &mut self,
        place: Place,
        other: Place,
        len: u32,
        to: Label,
        when_equal: bool,
    ) {
        let differ = if when_equal { self.machine.asm.label() } else { to };
        self.machine.address(Reg::R1, place);
        self.machine.address(Reg::R2, other);
        let align = 1 << (place.offset | other.offset).trailing_zeros().min(3);
        for (size, offset) in pieces(len, align) {
            self.machine.asm.load(size, Reg::R3, Reg::R1, offset as i16);
            self.machine.asm.load(size, Reg::R4, Reg::R2, offset as i16);
            self.machine.jump_if(Cond::Ne, Reg::R3, Reg::R4, differ);
        }
        self.when_equal(differ, to, when_equal);
    }

    /// Byte by byte, as far as the strings go: what is behind their ends may differ.
    pub(super) fn branch_strings(
        &mut self,
        place: Place,
        other: Place,
        len: u32,
        to: Label,
        when_equal: bool,
    ) {
        let (differ, equal) = (self.machine.asm.label(), self.machine.asm.label());
        self.machine.address(Reg::R1, place);
        self.machine.address(Reg::R2, other);
        if len <= LONGEST_UNROLLED {
            for offset in 0..len {
                self.machine.asm.load(Size::B, Reg::R3, Reg::R1, offset as i16);
                self.machine.asm.load(Size::B, Reg::R4, Reg::R2, offset as i16);
                self.machine.jump_if(Cond::Ne, Reg::R3, Reg::R4, differ);
                if offset + 1 < len {
                    self.machine.jump_if(Cond::Eq, Reg::R3, 0, equal);
                }
            }
        } else {
            let next = self.machine.asm.label();
            self.machine.mov(Reg::R5, len as i32);
            self.machine.asm.bind(next);
            self.machine.asm.load(Size::B, Reg::R3, Reg::R1, 0);
            self.machine.asm.load(Size::B, Reg::R4, Reg::R2, 0);
            self.machine.jump_if(Cond::Ne, Reg::R3, Reg::R4, differ);
            self.machine.jump_if(Cond::Eq, Reg::R3, 0, equal);
            for (reg, by) in [(Reg::R1, 1), (Reg::R2, 1), (Reg::R5, -1)] {
                self.machine.alu(Alu::Add, reg, by);
            }
            self.machine.jump_if(Cond::Ne, Reg::R5, 0, next);
        }
        self.machine.asm.bind(equal);
        if when_equal {
            self.machine.asm.jump(to);
            self.machine.asm.bind(differ);
        } else {
            let end = self.machine.asm.label();
            self.machine.asm.jump(end);
            self.machine.asm.bind(differ);
            self.machine.asm.jump(to);
            self.machine.asm.bind(end);
        }
    }

    /// What comes after a comparison that went to `differ` if there was a difference.
    fn when_equal(&mut self, differ: Label, to: Label, when_equal: bool) {
        if when_equal {
            self.machine.asm.jump(to);
            self.machine.asm.bind(differ);
        }
    }
}

/// The jump for an operator, or for its contrary.
fn condition(op: BinaryOp, signed: bool, when: bool) -> Cond {
    let op = if when { op } else { contrary(op) };
    match (op, signed) {
        (BinaryOp::Ne, _) => Cond::Ne,
        (BinaryOp::Lt, true) => Cond::Slt,
        (BinaryOp::Lt, false) => Cond::Lt,
        (BinaryOp::Le, true) => Cond::Sle,
        (BinaryOp::Le, false) => Cond::Le,
        (BinaryOp::Gt, true) => Cond::Sgt,
        (BinaryOp::Gt, false) => Cond::Gt,
        (BinaryOp::Ge, true) => Cond::Sge,
        (BinaryOp::Ge, false) => Cond::Ge,
        _ => Cond::Eq,
    }
}

fn contrary(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Eq => BinaryOp::Ne,
        BinaryOp::Ne => BinaryOp::Eq,
        BinaryOp::Lt => BinaryOp::Ge,
        BinaryOp::Ge => BinaryOp::Lt,
        BinaryOp::Gt => BinaryOp::Le,
        BinaryOp::Le => BinaryOp::Gt,
        other => other,
    }
}

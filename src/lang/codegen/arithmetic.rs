//! Operators with numbers.

use super::machine::{Place, size_of_word};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Label, Operand, Reg, Size, Width};
use crate::lang::ast::{BinaryOp, Expr, ExprKind, UnaryOp};
use crate::lang::program::RuntimeError;
use crate::lang::types::Type;

impl Coder<'_, '_> {
    pub(super) fn arithmetic(
        &mut self,
        op: BinaryOp,
        left: &Expr,
        right: &Expr,
        whole: &Expr,
    ) -> Result<()> {
        let mark = self.machine.mark();
        let right_side = self.both(left, right)?;
        match op {
            BinaryOp::Div | BinaryOp::Mod => self.divide(op, right_side, whole),
            BinaryOp::Add | BinaryOp::Sub => {
                self.add(op, left, right, right_side);
            }
            _ => {
                let alu = match op {
                    BinaryOp::Mul => Alu::Mul,
                    BinaryOp::BitAnd => Alu::And,
                    BinaryOp::BitOr => Alu::Or,
                    BinaryOp::BitXor => Alu::Xor,
                    BinaryOp::Shl => Alu::Lsh,
                    BinaryOp::Shr if left.ty.is_signed() => Alu::Arsh,
                    BinaryOp::Shr => Alu::Rsh,
                    _ => return Err(Refusal::missing(whole.span, "this operator")),
                };
                self.machine.alu(alu, Reg::R0, right_side);
            }
        }
        if let Some(int) = whole.ty.int() {
            self.machine.extend(Reg::R0, int);
        }
        self.machine.release(mark);
        Ok(())
    }

    /// The left side into R0, the right one into R1 or a number.
    pub(super) fn both(&mut self, left: &Expr, right: &Expr) -> Result<Operand> {
        if let Some(number) = narrow(right) {
            self.scalar(left)?;
            return Ok(Operand::Imm(number));
        }
        if self.is_leaf(right) && !has_effects(left) {
            self.scalar(left)?;
            self.leaf(right, Reg::R1)?;
            return Ok(Operand::Reg(Reg::R1));
        }
        self.scalar(left)?;
        let held = self.machine.hold();
        self.scalar(right)?;
        self.machine.mov(Reg::R1, Reg::R0);
        self.machine.take(held, Reg::R0);
        Ok(Operand::Reg(Reg::R1))
    }

    /// A pointer goes on by as many elements.
    fn add(&mut self, op: BinaryOp, left: &Expr, right: &Expr, right_side: Operand) {
        let alu = if op == BinaryOp::Add { Alu::Add } else { Alu::Sub };
        let element = |of: &Expr| match &of.ty {
            Type::Pointer(pointer) => Some(self.size_of(&pointer.to).max(1) as i32),
            _ => None,
        };
        match (element(left), element(right), right_side) {
            (Some(size), None, Operand::Imm(number)) => {
                self.machine.alu(alu, Reg::R0, number.wrapping_mul(size));
            }
            (Some(size), None, Operand::Reg(reg)) => {
                if size != 1 {
                    self.machine.alu(Alu::Mul, reg, size);
                }
                self.machine.alu(alu, Reg::R0, reg);
            }
            (None, Some(size), _) => {
                if size != 1 {
                    self.machine.alu(Alu::Mul, Reg::R0, size);
                }
                self.machine.alu(alu, Reg::R0, right_side);
            }
            _ => self.machine.alu(alu, Reg::R0, right_side),
        }
    }

    /// R0 by the right side. The kernel knows unsigned division alone, everywhere, and makes 0 of one by 0; the
    /// language takes 1 then, and says so.
    fn divide(&mut self, op: BinaryOp, right: Operand, whole: &Expr) {
        let alu = if op == BinaryOp::Div { Alu::Div } else { Alu::Mod };
        let signed = whole.ty.is_signed();
        match right {
            Operand::Imm(number) if number > 0 && !signed => {
                self.machine.alu(alu, Reg::R0, number);
                return;
            }
            Operand::Imm(number) => self.machine.mov(Reg::R1, number),
            Operand::Reg(_) => {}
        }
        let end = self.machine.asm.label();
        if right == Operand::Imm(0) || matches!(right, Operand::Reg(_)) {
            self.nonzero(whole, end);
        }
        if !signed {
            self.machine.alu(alu, Reg::R0, Reg::R1);
            self.machine.asm.bind(end);
            return;
        }
        // The quotient is negative if one side is; the rest, if the left one is.
        self.machine.mov(Reg::R2, Reg::R0);
        if op == BinaryOp::Div {
            self.machine.alu(Alu::Xor, Reg::R2, Reg::R1);
        }
        self.absolute(Reg::R0);
        self.absolute(Reg::R1);
        self.machine.alu(alu, Reg::R0, Reg::R1);
        let positive = self.machine.asm.label();
        self.machine.jump_if(Cond::Sge, Reg::R2, 0, positive);
        self.machine.asm.neg(Width::W64, Reg::R0);
        self.machine.asm.bind(positive);
        self.machine.asm.bind(end);
    }

    /// 1 in R0, and on to the end, if R1 is 0.
    fn nonzero(&mut self, whole: &Expr, end: Label) {
        let divides = self.machine.asm.label();
        self.machine.jump_if(Cond::Ne, Reg::R1, 0, divides);
        self.machine.mov(Reg::R0, 0);
        self.runtime_error(RuntimeError::DivideByZero, whole.span);
        self.machine.mov(Reg::R0, 1);
        self.machine.asm.jump(end);
        self.machine.asm.bind(divides);
    }

    fn absolute(&mut self, reg: Reg) {
        let positive = self.machine.asm.label();
        self.machine.jump_if(Cond::Sge, reg, 0, positive);
        self.machine.asm.neg(Width::W64, reg);
        self.machine.asm.bind(positive);
    }

    pub(super) fn unary(&mut self, op: UnaryOp, of: &Expr, to: &Type) -> Result<()> {
        self.scalar(of)?;
        match op {
            UnaryOp::Neg => self.machine.asm.neg(Width::W64, Reg::R0),
            UnaryOp::BitNot => self.machine.alu(Alu::Xor, Reg::R0, -1),
            UnaryOp::Not | UnaryOp::Deref => {}
        }
        if let Some(int) = to.int() {
            self.machine.extend(Reg::R0, int);
        }
        Ok(())
    }

    /// `a++` and the like, for their value.
    pub(super) fn step(&mut self, by: i8, is_postfix: bool, of: &Expr) -> Result<()> {
        let mark = self.machine.mark();
        let by = self.step_size(by, &of.ty);
        match &of.kind {
            ExprKind::Variable(variable) => {
                let place = self.local(variable)?;
                let ty = self.probe.locals[variable.id.0 as usize].ty.clone();
                self.load_scalar(Reg::R0, place, &ty);
                let before = self.machine.hold();
                self.stepped(by, &ty);
                self.store_scalar(place, &ty);
                if is_postfix {
                    self.machine.take(before, Reg::R0);
                }
            }
            ExprKind::Map { name, key } => {
                let map = self.map_number(name, of.span)?;
                let key = self.key_of(map, key.as_deref())?;
                self.map_value_or_zero(map, key, &of.ty);
                let before = self.machine.hold();
                self.stepped(by, &of.ty);
                let after = self.word_room();
                self.update(map, key, after, of.span)?;
                if is_postfix {
                    self.machine.take(before, Reg::R0);
                } else {
                    self.load_scalar(Reg::R0, after, &of.ty);
                }
            }
            _ => return Err(Refusal::missing(of.span, "a step of this")),
        }
        self.machine.release(mark);
        Ok(())
    }

    fn step_size(&self, by: i8, ty: &Type) -> i32 {
        let element = match ty {
            Type::Pointer(pointer) => self.size_of(&pointer.to).max(1) as i32,
            _ => 1,
        };
        i32::from(by) * element
    }

    fn stepped(&mut self, by: i32, ty: &Type) {
        self.machine.alu(Alu::Add, Reg::R0, by);
        if let Some(int) = ty.int() {
            self.machine.extend(Reg::R0, int);
        }
    }

    /// The same where the value isn't wanted: an entry that is there is added to in place, and none is lost.
    pub(super) fn step_only(&mut self, by: i8, of: &Expr) -> Result<()> {
        let by = self.step_size(by, &of.ty);
        let (ExprKind::Map { name, key }, Some(Size::DW | Size::W)) =
            (&of.kind, size_of_word(self.size_of(&of.ty)))
        else {
            return self.step(if by < 0 { -1 } else { 1 }, false, of);
        };
        let width = if self.size_of(&of.ty) == 8 { Width::W64 } else { Width::W32 };
        let map = self.map_number(name, of.span)?;
        let key: Place = self.key_of(map, key.as_deref())?;
        let (new, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.look_up(map, key);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, new);
        self.machine.mov(Reg::R1, by);
        self.machine.asm.atomic_add(width, Reg::R0, 0, Reg::R1);
        self.machine.asm.jump(end);
        self.machine.asm.bind(new);
        self.machine.mov(Reg::R0, by);
        let first = self.word_room();
        self.update(map, key, first, of.span)?;
        self.machine.asm.bind(end);
        Ok(())
    }
}

/// A number that fits an instruction.
pub(super) fn narrow(expr: &Expr) -> Option<i32> {
    match expr.kind {
        ExprKind::Int(value) => i32::try_from(value).ok(),
        ExprKind::Bool(value) => Some(i32::from(value)),
        _ => None,
    }
}

/// Whether evaluating it may change a variable.
fn has_effects(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Step { .. } | ExprKind::Block(_) | ExprKind::If { .. } => true,
        ExprKind::Binary { left, right, .. } => has_effects(left) || has_effects(right),
        ExprKind::Unary { of, .. }
        | ExprKind::Cast { of, .. }
        | ExprKind::Field { of, .. }
        | ExprKind::TupleItem { of, .. } => has_effects(of),
        ExprKind::Index { of, index } => has_effects(of) || has_effects(index),
        ExprKind::Function { arguments, .. } => arguments.iter().any(has_effects),
        ExprKind::Map { key, .. } => key.as_deref().is_some_and(has_effects),
        _ => false,
    }
}

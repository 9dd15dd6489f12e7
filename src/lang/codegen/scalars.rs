//! Values that fit a register: computed in R0, all of whose 64 bits count, extended as the type's sign says.

use super::machine::{Base, Place, size_of_word};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Cond, Reg, Size};
use crate::lang::ast::{Expr, ExprKind, UnaryOp};
use crate::lang::types::{AddressSpace, Int, Type};

impl Coder<'_, '_> {
    /// Into R0.
    pub(super) fn scalar(&mut self, expr: &Expr) -> Result<()> {
        match &expr.kind {
            ExprKind::None => self.machine.mov(Reg::R0, 0),
            ExprKind::Int(_) | ExprKind::Bool(_) | ExprKind::Variable(_) if self.is_leaf(expr) => {
                self.leaf(expr, Reg::R0)?;
            }
            ExprKind::Binary { op, left, right } => {
                if op.is_comparison() || op.is_logical() {
                    self.truth(expr)?;
                } else {
                    self.arithmetic(*op, left, right, expr)?;
                }
            }
            ExprKind::Unary { op: UnaryOp::Not, .. } => self.truth(expr)?,
            ExprKind::Unary { op: UnaryOp::Deref, .. }
            | ExprKind::Field { .. }
            | ExprKind::TupleItem { .. }
            | ExprKind::Index { .. } => self.read_scalar(expr)?,
            ExprKind::Unary { op, of } => self.unary(*op, of, &expr.ty)?,
            ExprKind::Step { by, is_postfix, of } => self.step(*by, *is_postfix, of)?,
            ExprKind::Cast { of, .. } => self.cast(of, &expr.ty, expr)?,
            ExprKind::If { condition, then, otherwise } => {
                self.choose(condition, then, otherwise, Self::scalar)?;
            }
            ExprKind::Block(block) => self.block_value(block, Self::scalar)?,
            ExprKind::Map { name, key } => self.map_scalar(name, key.as_deref(), expr)?,
            ExprKind::Function { function, arguments } => {
                self.function_scalar(*function, arguments, expr)?;
            }
            ExprKind::Argument(number) => self.argument(*number, expr)?,
            ExprKind::AddressOf(of) => self.address_of(of)?,
            ExprKind::Call { name, .. } => {
                return Err(Refusal::missing(expr.span, format_args!("a call of {name}()")));
            }
            _ => return Err(Refusal::missing(expr.span, "this expression")),
        }
        Ok(())
    }

    /// A block's statements, and then its value.
    pub(super) fn block_value(
        &mut self,
        block: &crate::lang::ast::Block,
        value: impl FnOnce(&mut Self, &Expr) -> Result<()>,
    ) -> Result<()> {
        let last = block.value.as_deref();
        for statement in &block.statements {
            self.statement(statement)?;
        }
        match last {
            Some(last) => value(self, last),
            None => {
                self.machine.mov(Reg::R0, 0);
                Ok(())
            }
        }
    }

    /// Whether it can be had without any register but its own.
    pub(super) fn is_leaf(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Int(_) | ExprKind::Bool(_) => true,
            ExprKind::Variable(_) => !expr.ty.is_in_memory(),
            _ => false,
        }
    }

    /// The value of such a one, in any register.
    pub(super) fn leaf(&mut self, expr: &Expr, dst: Reg) -> Result<()> {
        match &expr.kind {
            ExprKind::Int(value) => self.machine.number(dst, *value as u64),
            ExprKind::Bool(value) => self.machine.mov(dst, i32::from(*value)),
            ExprKind::Variable(variable) => {
                let place = self.local(variable)?;
                let ty = self.probe.locals[variable.id.0 as usize].ty.clone();
                self.load_scalar(dst, place, &ty);
            }
            _ => return Err(Refusal::missing(expr.span, "this expression")),
        }
        Ok(())
    }

    /// Reads a value of that type; nothing of an empty type.
    pub(super) fn load_scalar(&mut self, dst: Reg, from: Place, ty: &Type) {
        match size_of_word(self.size_of(ty)) {
            Some(size) => {
                self.machine.load(size, dst, from);
                if let Some(int) = ty.int().filter(|int| int.signed) {
                    self.machine.extend(dst, int);
                }
            }
            None => self.machine.mov(dst, 0),
        }
    }

    /// Writes R0 as a value of that type.
    pub(super) fn store_scalar(&mut self, to: Place, ty: &Type) {
        if let Some(size) = size_of_word(self.size_of(ty)) {
            self.machine.store(size, to, Reg::R0);
        }
    }

    fn cast(&mut self, of: &Expr, to: &Type, expr: &Expr) -> Result<()> {
        if let (ExprKind::Map { name, key }, Some(aggregate)) = (&of.kind, of.ty.aggregate()) {
            return self.map_sum(name, key.as_deref(), aggregate, of.span);
        }
        if of.ty.is_in_memory() {
            return self.bytes_as_scalar(of, to, expr);
        }
        self.scalar(of)?;
        self.convert(&of.ty, to);
        Ok(())
    }

    /// Makes R0, of one type, a value of another.
    pub(super) fn convert(&mut self, from: &Type, to: &Type) {
        match (to, to.int()) {
            (Type::Bool, _) if *from != Type::Bool => {
                let zero = self.machine.asm.label();
                self.machine.jump_if(Cond::Eq, Reg::R0, 0, zero);
                self.machine.mov(Reg::R0, 1);
                self.machine.asm.bind(zero);
            }
            (_, Some(int)) if !is_within(from, int) => self.machine.extend(Reg::R0, int),
            _ => {}
        }
    }

    /// An array or string of a word's size as a word.
    fn bytes_as_scalar(&mut self, of: &Expr, to: &Type, expr: &Expr) -> Result<()> {
        let size = self.size_of(&of.ty);
        let Some(word) = size_of_word(size) else {
            let what = format!("a cast of {size} bytes to a number");
            return Err(Refusal::new(expr.span, format!("{what}: there is none of that size")));
        };
        let mark = self.machine.mark();
        let room = self.machine.room(8);
        self.value_into(of, room)?;
        self.machine.load(word, Reg::R0, room);
        self.machine.release(mark);
        if let Some(int) = to.int() {
            self.machine.extend(Reg::R0, int);
        }
        Ok(())
    }

    /// `&$a`, `&@a`.
    fn address_of(&mut self, of: &Expr) -> Result<()> {
        match &of.kind {
            ExprKind::Variable(variable) => {
                let place = self.local(variable)?;
                self.machine.address(Reg::R0, place);
            }
            ExprKind::Map { name, key: None } => {
                let map = self.map_number(name, of.span)?;
                self.machine.asm.load_map(Reg::R0, map as i32);
            }
            ExprKind::Map { name, key: Some(key) } => {
                let map = self.map_number(name, of.span)?;
                let key = self.key_of(map, Some(key))?;
                self.look_up(map, key);
            }
            _ => return Err(Refusal::missing(of.span, "the address of this")),
        }
        Ok(())
    }

    /// The memory that a type's pointers are of, as far as the probe tells.
    pub(super) fn space(&self, ty: &Type) -> AddressSpace {
        match ty {
            Type::Pointer(pointer) => pointer.space,
            _ => AddressSpace::Unknown,
        }
    }

    /// R0 as an address that is held.
    pub(super) fn held_place(&mut self) -> Place {
        Place { base: Base::Held(self.machine.hold()), offset: 0 }
    }

    /// Stores R0, whole, in a room of its own.
    pub(super) fn word_room(&mut self) -> Place {
        let room = self.machine.slot();
        self.machine.store(Size::DW, room, Reg::R0);
        room
    }
}

/// Whether every value of the type is one of the integer's as it is extended.
fn is_within(from: &Type, to: Int) -> bool {
    match from {
        Type::Bool => true,
        _ => from.int().is_some_and(|from| {
            to.bits == 64 || from == to || from.bits < to.bits && (to.signed || !from.signed)
        }),
    }
}

//! Values that don't fit a register: written where they are wanted.

use super::machine::Place;
use super::{Coder, Refusal, Result};
use crate::bytecode::{Cond, Reg, Size};
use crate::lang::ast::{Expr, ExprKind, UnaryOp};
use crate::lang::types::Type;

impl Coder<'_, '_> {
    /// Writes a value of any type, as its type says how.
    pub(super) fn value_into(&mut self, expr: &Expr, to: Place) -> Result<()> {
        let mark = self.machine.mark();
        if expr.ty.is_in_memory() {
            self.memory_into(expr, to)?;
        } else {
            self.scalar(expr)?;
            self.store_scalar(to, &expr.ty);
        }
        self.machine.release(mark);
        Ok(())
    }

    /// The same as another type, which its own fits into: a shorter string, a tuple of smaller integers.
    pub(super) fn value_as_into(&mut self, expr: &Expr, ty: &Type, to: Place) -> Result<()> {
        if expr.ty == *ty {
            return self.value_into(expr, to);
        }
        let mark = self.machine.mark();
        match (&expr.kind, &expr.ty, ty) {
            _ if !expr.ty.is_in_memory() => {
                self.scalar(expr)?;
                self.convert(&expr.ty, ty);
                self.store_scalar(to, ty);
            }
            (ExprKind::Tuple(items), _, Type::Tuple(types)) => {
                self.parts_into(items.iter().zip(types.iter()), ty, to)?;
            }
            (ExprKind::Record(fields), _, Type::Record(types)) => {
                self.record_into(fields, types, ty, to)?;
            }
            (ExprKind::Block(block), ..) => {
                self.block_value(block, |coder, value| coder.value_as_into(value, ty, to))?;
            }
            (ExprKind::If { condition, then, otherwise }, ..) => {
                self.choose(condition, then, otherwise, |coder, side| {
                    coder.value_as_into(side, ty, to)
                })?;
            }
            (_, Type::Array(..), Type::Int(_)) | (_, Type::Int(_), Type::Array(..)) => {
                self.value_into(expr, to)?;
            }
            _ => {
                let from = self.place_of(expr)?;
                self.convert_memory(from, &expr.ty, to, ty, expr)?;
            }
        }
        self.machine.release(mark);
        Ok(())
    }

    /// A value in memory as one of another type.
    fn convert_memory(
        &mut self,
        from: Place,
        have: &Type,
        to: Place,
        want: &Type,
        expr: &Expr,
    ) -> Result<()> {
        let (size, room) = (self.size_of(have), self.size_of(want));
        match (have, want) {
            _ if have == want => self.machine.copy(to, from, size),
            (Type::Tuple(have_parts), Type::Tuple(want_parts))
                if have_parts.len() == want_parts.len() =>
            {
                let (source, target) =
                    (self.unit.structs().layout(have), self.unit.structs().layout(want));
                self.machine.zero(to, room);
                for (index, (have, want)) in have_parts.iter().zip(want_parts.iter()).enumerate() {
                    let (from, to) = (from.at(source.offsets[index]), to.at(target.offsets[index]));
                    self.convert_memory(from, have, to, want, expr)?;
                }
            }
            (Type::Record(have_parts), Type::Record(want_parts)) => {
                let (source, target) =
                    (self.unit.structs().layout(have), self.unit.structs().layout(want));
                self.machine.zero(to, room);
                for (at, (name, want)) in want_parts.iter().enumerate() {
                    let found = have_parts.iter().position(|(other, _)| other == name);
                    let index = found
                        .ok_or_else(|| Refusal::missing(expr.span, "a record of other fields"))?;
                    let (from, to) = (from.at(source.offsets[index]), to.at(target.offsets[at]));
                    self.convert_memory(from, &have_parts[index].1, to, want, expr)?;
                }
            }
            _ if !have.is_in_memory() && !want.is_in_memory() => {
                self.load_scalar(Reg::R0, from, have);
                self.convert(have, want);
                self.store_scalar(to, want);
            }
            _ if size <= room => {
                self.machine.copy(to, from, size);
                self.machine.zero(to.at(size), room - size);
            }
            (Type::String(_), Type::String(_)) => {
                self.machine.copy(to, from, room);
                self.machine.store(Size::B, to.at(room - 1), 0);
            }
            _ => self.machine.copy(to, from, room),
        }
        Ok(())
    }

    fn memory_into(&mut self, expr: &Expr, to: Place) -> Result<()> {
        let size = self.size_of(&expr.ty);
        match &expr.kind {
            ExprKind::None => self.machine.zero(to, size),
            ExprKind::Str(bytes) => self.literal_into(bytes, size, to),
            ExprKind::Tuple(items) => {
                let Type::Tuple(types) = &expr.ty else {
                    return Err(Refusal::missing(expr.span, "this tuple"));
                };
                self.parts_into(items.iter().zip(types.iter()), &expr.ty, to)?;
            }
            ExprKind::Record(fields) => {
                let Type::Record(types) = &expr.ty else {
                    return Err(Refusal::missing(expr.span, "this record"));
                };
                self.record_into(fields, types, &expr.ty, to)?;
            }
            ExprKind::If { condition, then, otherwise } => {
                self.choose(condition, then, otherwise, |coder, side| {
                    coder.value_as_into(side, &expr.ty, to)
                })?;
            }
            ExprKind::Block(block) => {
                self.block_value(block, |coder, value| coder.value_as_into(value, &expr.ty, to))?;
            }
            ExprKind::Cast { of, .. } => self.cast_into(of, &expr.ty, to)?,
            ExprKind::Map { name, key } => self.map_into(name, key.as_deref(), expr, to)?,
            ExprKind::Function { function, arguments } if !is_context(expr) => {
                self.function_into(*function, arguments, expr, to)?;
            }
            ExprKind::Variable(_)
            | ExprKind::Field { .. }
            | ExprKind::TupleItem { .. }
            | ExprKind::Index { .. }
            | ExprKind::Function { .. }
            | ExprKind::Unary { op: UnaryOp::Deref, .. } => {
                let from = self.locate(expr)?;
                self.read_into(from, to, size, expr.span)?;
            }
            _ => return Err(Refusal::missing(expr.span, "this value")),
        }
        Ok(())
    }

    fn literal_into(&mut self, bytes: &[u8], size: u32, to: Place) {
        let mut text = bytes.to_vec();
        let zeroes_after = size.saturating_sub(bytes.len() as u32 + 1);
        text.push(0);
        text.truncate(size as usize);
        if text.len() > 64 {
            let from = self.unit.constant(&text);
            self.machine.copy(to, from, text.len() as u32);
        } else {
            // Words up to the next multiple of 8, if there is room.
            let whole = (text.len() as u32).next_multiple_of(8).min(size);
            text.resize(whole as usize, 0);
            self.machine.write(to, &text);
        }
        let written = text.len() as u32;
        if zeroes_after > 0 && written < size {
            self.machine.zero(to.at(written), size - written);
        }
    }

    /// Items of a tuple, each as the type that it has in there.
    fn parts_into<'e>(
        &mut self,
        items: impl Iterator<Item = (&'e Expr, &'e Type)>,
        whole: &Type,
        to: Place,
    ) -> Result<()> {
        let layout = self.unit.structs().layout(whole);
        let items: Vec<_> = items.collect();
        let used: u32 = items.iter().map(|(_, ty)| self.size_of(ty)).sum();
        if used < layout.size {
            self.machine.zero(to, layout.size);
        }
        for ((item, ty), offset) in items.into_iter().zip(layout.offsets) {
            self.value_as_into(item, ty, to.at(offset))?;
        }
        Ok(())
    }

    /// In the order in which they are written; the type may have another.
    fn record_into(
        &mut self,
        fields: &[(crate::lang::types::Name, Expr)],
        types: &[(crate::lang::types::Name, Type)],
        whole: &Type,
        to: Place,
    ) -> Result<()> {
        let layout = self.unit.structs().layout(whole);
        self.machine.zero(to, layout.size);
        for (name, value) in fields {
            let Some(index) = types.iter().position(|(other, _)| other == name) else { continue };
            self.value_as_into(value, &types[index].1, to.at(layout.offsets[index]))?;
        }
        Ok(())
    }

    /// A cast to something in memory.
    fn cast_into(&mut self, of: &Expr, ty: &Type, to: Place) -> Result<()> {
        if of.ty.is_in_memory() {
            return self.value_as_into(of, ty, to);
        }
        match ty {
            // An integer's bytes.
            Type::Array(..) => {
                self.scalar(of)?;
                let room = self.word_room();
                self.machine.copy(to, room, self.size_of(ty).min(8));
            }
            // What an address is of.
            Type::String(_) => self.string_from(of, None, ty, to)?,
            Type::Struct(_) => {
                self.scalar(of)?;
                let from = super::access::Where::Memory(self.space(&of.ty), 0);
                self.read_into(from, to, self.size_of(ty), of.span)?;
            }
            Type::Inet => self.address_into(None, of, to)?,
            _ => {
                let kind = ty.kind();
                return Err(Refusal::missing(of.span, format_args!("a cast to {kind}")));
            }
        }
        Ok(())
    }

    /// R0 as the address of a map's value: copied, or zeroes in the place of one that isn't there.
    pub(super) fn found_into(&mut self, to: Place, size: u32) {
        let (missing, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, missing);
        let from = self.held_place();
        self.machine.copy(to, from, size);
        self.machine.asm.jump(end);
        self.machine.asm.bind(missing);
        self.machine.zero(to, size);
        self.machine.asm.bind(end);
    }
}

/// `args` and `ctx`: memory as they are.
fn is_context(expr: &Expr) -> bool {
    use crate::lang::functions::Function;
    matches!(expr.kind, ExprKind::Function { function: Function::Args | Function::Ctx, .. })
}

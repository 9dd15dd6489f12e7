//! Fields, elements, and what pointers point to: first where a value is, then how it is read from there.

use libbpf_sys::{BPF_FUNC_probe_read, BPF_FUNC_probe_read_kernel, BPF_FUNC_probe_read_user};

use super::machine::{Place, size_of_word};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Reg, Size};
use crate::lang::ast::{Expr, ExprKind, UnaryOp};
use crate::lang::functions::Function;
use crate::lang::probe::Probe;
use crate::lang::program::RuntimeError;
use crate::lang::source::Span;
use crate::lang::types::{AddressSpace, BitField, Field, Origin, StructId, Type};

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Where {
    /// In the program's own memory.
    Own(Place),
    /// So far from the address in R0.
    Memory(AddressSpace, i32),
    /// So far into the probe's context, which the verifier lets be read by words.
    Context(i32),
    /// In R0 already: an argument that has a register.
    Register,
}

impl Coder<'_, '_> {
    /// Where it is. An address in R0 lasts until the next computation.
    pub(super) fn locate(&mut self, expr: &Expr) -> Result<Where> {
        match &expr.kind {
            ExprKind::Variable(variable) => Ok(Where::Own(self.local(variable)?)),
            ExprKind::Unary { op: UnaryOp::Deref, of } => self.pointee(of),
            ExprKind::Field { of, name } => {
                self.locate_field(of, name, expr.span).map(|found| found.0)
            }
            ExprKind::TupleItem { of, index } => {
                let offset = self.unit.structs().layout(&of.ty).offsets.get(*index).copied();
                let offset =
                    offset.ok_or_else(|| Refusal::new(expr.span, "there is no such item"))?;
                let whole = self.locate(of)?;
                Ok(self.further(whole, offset as i32))
            }
            ExprKind::Index { of, index } => self.locate_element(of, index),
            ExprKind::Function { function: Function::Args | Function::Ctx, .. }
                if matches!(expr.ty, Type::Struct(_)) =>
            {
                self.locate_context(expr)
            }
            ExprKind::Cast { of, .. } if of.ty == expr.ty => self.locate(of),
            ExprKind::Cast { of, .. } if is_view(&of.ty, &expr.ty) => self.locate(of),
            _ => {
                let room = self.machine.room(self.size_of(&expr.ty).max(8));
                self.value_into(expr, room)?;
                Ok(Where::Own(room))
            }
        }
    }

    /// The context as a whole. Arguments in registers are no struct there, and are put together.
    fn locate_context(&mut self, expr: &Expr) -> Result<Where> {
        let structs = self.unit.structs();
        let is_in_registers = matches!(expr.ty, Type::Struct(id)
            if structs.get(id).origin == Origin::UserArguments);
        if !is_in_registers {
            return Ok(Where::Context(0));
        }
        let size = self.size_of(&expr.ty);
        let room = self.machine.room(size.max(8));
        for offset in (0..size).step_by(8) {
            self.register_argument((offset / 8) as u8, expr.span)?;
            self.machine.store(Size::DW, room.at(offset), Reg::R0);
        }
        Ok(Where::Own(room))
    }

    /// What a pointer points to.
    fn pointee(&mut self, pointer: &Expr) -> Result<Where> {
        self.scalar(pointer)?;
        Ok(Where::Memory(self.space(&pointer.ty), 0))
    }

    fn further(&self, from: Where, by: i32) -> Where {
        match from {
            Where::Own(place) => Where::Own(Place { offset: place.offset + by, ..place }),
            Where::Memory(space, offset) => Where::Memory(space, offset + by),
            Where::Context(offset) => Where::Context(offset + by),
            Where::Register => Where::Register,
        }
    }

    /// A field, and what is known of it.
    fn locate_field(
        &mut self,
        of: &Expr,
        name: &str,
        span: Span,
    ) -> Result<(Where, Option<Field>)> {
        if let Type::Record(fields) = &of.ty {
            let index = fields.iter().position(|(field, _)| &**field == name);
            let offset = index.map(|index| self.unit.structs().layout(&of.ty).offsets[index]);
            let offset =
                offset.ok_or_else(|| Refusal::new(span, format!("there is no field {name}")))?;
            let whole = self.locate(of)?;
            return Ok((self.further(whole, offset as i32), None));
        }
        let (id, through) = match &of.ty {
            Type::Struct(id) => (*id, false),
            Type::Pointer(pointer) => match &*pointer.to {
                Type::Struct(id) => (*id, true),
                _ => return Err(Refusal::new(span, "this pointer isn't one to a struct")),
            },
            _ => return Err(Refusal::new(span, format!("{} has no fields", of.ty.kind()))),
        };
        let field = self.field(id, name, span)?;
        let is_context =
            matches!(of.kind, ExprKind::Function { function: Function::Args | Function::Ctx, .. });
        let whole = match self.unit.structs().get(id).origin {
            Origin::UserArguments if is_context => {
                self.register_argument((field.offset / 8) as u8, span)?;
                return Ok((Where::Register, Some(field)));
            }
            _ if is_context => Where::Context(0),
            _ if through => self.pointee(of)?,
            _ => self.locate(of)?,
        };
        Ok((self.further(whole, field.offset as i32), Some(field)))
    }

    pub(super) fn field(&mut self, id: StructId, name: &str, span: Span) -> Result<Field> {
        let kernel = self.unit.kernel;
        let field = self.unit.program.structs.field(id, name, kernel);
        field.ok_or_else(|| {
            let of = &self.unit.structs().get(id).name;
            Refusal::new(
                span,
                format!("Struct/union of type '{of}' does not contain a field named '{name}'"),
            )
        })
    }

    fn locate_element(&mut self, of: &Expr, index: &Expr) -> Result<Where> {
        let (element, count) = match &of.ty {
            Type::Array(element, count) => (self.size_of(element), Some(*count)),
            Type::Pointer(pointer) => (self.size_of(&pointer.to).max(1), None),
            Type::String(count) => (1, Some(*count)),
            _ => {
                return Err(Refusal::missing(
                    of.span,
                    format_args!("an element of {}", of.ty.kind()),
                ));
            }
        };
        if let Some(index) = index.as_int() {
            let whole = if count.is_some() { self.locate(of)? } else { self.pointee(of)? };
            return Ok(self.further(whole, index as i32 * element as i32));
        }
        self.scalar(index)?;
        let held = self.machine.hold();
        let whole = if count.is_some() { self.locate(of)? } else { self.pointee(of)? };
        // The address of the first, and then the one that is meant.
        let space = match whole {
            Where::Own(place) => {
                self.machine.address(Reg::R0, place);
                None
            }
            Where::Memory(space, offset) => {
                self.advance(Reg::R0, offset);
                Some(space)
            }
            Where::Context(offset) => {
                self.machine.context(Reg::R0);
                self.machine.alu(Alu::Add, Reg::R0, offset);
                Some(AddressSpace::Kernel)
            }
            Where::Register => {
                return Err(Refusal::missing(of.span, "an element of this argument"));
            }
        };
        self.machine.take(held, Reg::R1);
        match (space, count) {
            (None, Some(count)) => self.within_bounds(count, index.span),
            // Memory can be read there too, whatever it is.
            (Some(_), Some(count)) => self.tell_out_of_bounds(count, index.span),
            _ => {}
        }
        self.machine.alu(Alu::Mul, Reg::R1, element as i32);
        self.machine.alu(Alu::Add, Reg::R0, Reg::R1);
        Ok(match space {
            Some(space) => Where::Memory(space, 0),
            None => Where::Own(self.held_place()),
        })
    }

    /// R1 as an index that is in bounds; the first element's if it isn't. R0 stays.
    fn within_bounds(&mut self, count: u32, span: Span) {
        let fits = self.machine.asm.label();
        self.machine.jump_if(Cond::Lt, Reg::R1, count as i32, fits);
        let held = self.machine.hold();
        self.machine.mov(Reg::R0, 0);
        self.runtime_error(RuntimeError::OutOfBounds, span);
        self.machine.take(held, Reg::R0);
        self.machine.mov(Reg::R1, 0);
        self.machine.asm.bind(fits);
    }

    /// Tells that R1 is no index that is in bounds. R0 and R1 stay.
    fn tell_out_of_bounds(&mut self, count: u32, span: Span) {
        let fits = self.machine.asm.label();
        self.machine.jump_if(Cond::Lt, Reg::R1, count as i32, fits);
        let address = self.machine.hold();
        self.machine.mov(Reg::R0, Reg::R1);
        let index = self.machine.hold();
        self.machine.mov(Reg::R0, 0);
        self.runtime_error(RuntimeError::OutOfBounds, span);
        self.machine.take(address, Reg::R0);
        self.machine.take(index, Reg::R1);
        self.machine.asm.bind(fits);
    }

    /// A pointer further on. One that an iterator hands over may be null, which the verifier wants to be asked.
    pub(super) fn advance(&mut self, pointer: Reg, by: i32) {
        if by == 0 {
            return;
        }
        let is_null = self.machine.asm.label();
        if matches!(self.attach(), Some(Probe::Iter { .. })) {
            self.machine.jump_if(Cond::Eq, pointer, 0, is_null);
        }
        self.machine.alu(Alu::Add, pointer, by);
        self.machine.asm.bind(is_null);
    }

    /// Reads what an expression locates into R0.
    pub(super) fn read_scalar(&mut self, expr: &Expr) -> Result<()> {
        let mark = self.machine.mark();
        let (from, field) = match &expr.kind {
            ExprKind::Field { of, name } => self.locate_field(of, name, expr.span)?,
            _ => (self.locate(expr)?, None),
        };
        let bits = field.as_ref().and_then(|field| field.bits);
        if field.as_ref().is_some_and(|field| field.is_data_loc) {
            self.data_location(from);
        } else if let Some(bits) = bits {
            self.read_bits(from, bits, expr.span)?;
        } else {
            self.read_word(from, &expr.ty, expr.span)?;
        }
        self.machine.release(mark);
        Ok(())
    }

    fn read_word(&mut self, from: Where, ty: &Type, span: Span) -> Result<()> {
        match from {
            Where::Own(place) => self.load_scalar(Reg::R0, place, ty),
            Where::Register => {
                self.extended(ty);
                self.nothing_or_something(ty);
            }
            Where::Context(offset) => {
                let size = size_of_word(self.size_of(ty)).unwrap_or(Size::DW);
                self.machine.context(Reg::R1);
                self.machine.asm.load(size, Reg::R0, Reg::R1, offset as i16);
                self.extended(ty);
                self.nothing_or_something(ty);
            }
            Where::Memory(..) => {
                let room = self.machine.slot();
                self.read_into(from, room, self.size_of(ty), span)?;
                self.load_scalar(Reg::R0, room, ty);
            }
        }
        Ok(())
    }

    /// A bit-field: the bytes that have it, shifted.
    fn read_bits(&mut self, from: Where, bits: BitField, span: Span) -> Result<()> {
        let bytes = (bits.shift + bits.width).div_ceil(8).next_power_of_two().min(8);
        let size = size_of_word(bytes).unwrap_or(Size::DW);
        match from {
            Where::Own(place) => self.machine.load(size, Reg::R0, place),
            Where::Register => {}
            Where::Context(offset) => {
                self.machine.context(Reg::R1);
                self.machine.asm.load(size, Reg::R0, Reg::R1, offset as i16);
            }
            Where::Memory(..) => {
                let room = self.machine.slot();
                self.read_into(from, room, bytes, span)?;
                self.machine.load(size, Reg::R0, room);
            }
        }
        let above = 64 - (bits.shift + bits.width) as i32;
        self.machine.alu(Alu::Lsh, Reg::R0, above);
        // Never below 0, as bpftrace has it.
        self.machine.alu(Alu::Rsh, Reg::R0, 64 - bits.width as i32);
        Ok(())
    }

    /// The address that a `__data_loc` tells: its offset from the context is in the lower half.
    fn data_location(&mut self, from: Where) {
        if let Where::Context(offset) = from {
            self.machine.context(Reg::R0);
            self.machine.asm.load(Size::W, Reg::R1, Reg::R0, offset as i16);
            self.machine.alu(Alu::And, Reg::R1, 0xffff);
            self.machine.alu(Alu::Add, Reg::R0, Reg::R1);
        }
    }

    /// Of a pointer of the context that may be null, the verifier lets nothing be computed before it was compared.
    fn nothing_or_something(&mut self, ty: &Type) {
        let has_typed_context = matches!(
            self.attach(),
            Some(
                Probe::Iter { .. }
                    | Probe::RawTracepoint { .. }
                    | Probe::Fentry { .. }
                    | Probe::FentryBpf { .. }
            )
        );
        if !has_typed_context || !matches!(ty, Type::Pointer(_)) {
            return;
        }
        let something = self.machine.asm.label();
        self.machine.jump_if(Cond::Ne, Reg::R0, 0, something);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(something);
    }

    fn extended(&mut self, ty: &Type) {
        if let Some(int) = ty.int() {
            self.machine.extend(Reg::R0, int);
        }
    }

    /// Reads so many bytes from where they are.
    pub(super) fn read_into(
        &mut self,
        from: Where,
        to: Place,
        size: u32,
        span: Span,
    ) -> Result<()> {
        match from {
            Where::Own(place) => self.machine.copy(to, place, size),
            Where::Register => {
                return Err(Refusal::missing(span, "an argument in registers as a whole"));
            }
            Where::Context(offset) => {
                self.machine.context(Reg::R3);
                self.machine.alu(Alu::Add, Reg::R3, offset);
                self.machine.address(Reg::R1, to);
                self.machine.mov(Reg::R2, size as i32);
                self.machine.asm.call(BPF_FUNC_probe_read_kernel);
            }
            Where::Memory(space, offset) => {
                self.machine.mov(Reg::R3, Reg::R0);
                self.advance(Reg::R3, offset);
                self.machine.address(Reg::R1, to);
                self.machine.mov(Reg::R2, size as i32);
                let helper = self.reader(space);
                self.machine.asm.call(helper);
                self.tell_failed_read(helper, span);
            }
        }
        Ok(())
    }

    /// The helper that reads memory of that kind; what isn't known is told by the address.
    fn reader(&self, space: AddressSpace) -> u32 {
        match self.known_space(space) {
            AddressSpace::Kernel | AddressSpace::Own => BPF_FUNC_probe_read_kernel,
            AddressSpace::User => BPF_FUNC_probe_read_user,
            AddressSpace::Unknown => BPF_FUNC_probe_read,
        }
    }

    /// Where an address without a word is taken to be of, by where the probe is.
    pub(super) fn known_space(&self, space: AddressSpace) -> AddressSpace {
        match (space, self.attach()) {
            (AddressSpace::Unknown, Some(Probe::Uprobe { .. } | Probe::Usdt { .. })) => {
                AddressSpace::User
            }
            (AddressSpace::Unknown, Some(Probe::Tracepoint { category, .. }))
                if &**category == "syscalls" =>
            {
                AddressSpace::User
            }
            (space, _) => space,
        }
    }

    /// With `-k`, a read that fails is told.
    pub(super) fn tell_failed_read(&mut self, helper: u32, span: Span) {
        if !self.unit.options.tells_failed_reads {
            return;
        }
        let read = self.machine.asm.label();
        self.machine.jump_if(Cond::Sge, Reg::R0, 0, read);
        self.runtime_error(RuntimeError::Helper(helper), span);
        self.machine.asm.bind(read);
    }

    /// A place that can be read by loads: where it is, or a copy.
    pub(super) fn place_of(&mut self, expr: &Expr) -> Result<Place> {
        if let ExprKind::Str(bytes) = &expr.kind {
            let mut text = bytes.clone();
            text.resize((self.size_of(&expr.ty) as usize).max(bytes.len() + 1), 0);
            return Ok(self.unit.constant(&text));
        }
        if let ExprKind::Map { name, key } = &expr.kind {
            return self.map_place(name, key.as_deref(), expr);
        }
        match self.locate(expr)? {
            Where::Own(place) => Ok(place),
            elsewhere => {
                let size = self.size_of(&expr.ty);
                let room = self.machine.room(size.max(8));
                self.read_into(elsewhere, room, size, expr.span)?;
                Ok(room)
            }
        }
    }
}

/// Whether a value is the same bytes in both types.
fn is_view(from: &Type, to: &Type) -> bool {
    matches!(
        (from, to),
        (Type::Array(..) | Type::String(_), Type::Array(..)) | (Type::Array(..), Type::String(_))
    )
}

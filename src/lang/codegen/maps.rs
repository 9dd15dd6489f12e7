//! Maps: keys, values, what is there and what isn't.

use libbpf_sys::{
    BPF_FUNC_for_each_map_elem, BPF_FUNC_map_delete_elem, BPF_FUNC_map_lookup_elem,
    BPF_FUNC_map_update_elem,
};

use super::machine::Place;
use super::{Coder, Refusal, Result};
use crate::bytecode::{Cond, Reg, Size};
use crate::lang::ast::{Expr, ExprKind};
use crate::lang::functions::Function;
use crate::lang::program::{Action, Code, MapKind, Role, RuntimeError};
use crate::lang::source::Span;
use crate::lang::types::{Aggregate, Name, Type};

impl Coder<'_, '_> {
    /// What a map adds up.
    pub(super) fn aggregate_of(&self, map: usize) -> Option<Aggregate> {
        match &self.unit.program.maps[map].role {
            Role::User { value, .. } => value.aggregate(),
            _ => None,
        }
    }

    /// The types of a map's key and value.
    fn types_of(&self, map: usize) -> (Option<Type>, Type) {
        match &self.unit.program.maps[map].role {
            Role::User { key, value } => (key.clone(), value.clone()),
            _ => (None, Type::None),
        }
    }

    /// Where a key is: written, unless it is somewhere as the map wants it.
    pub(super) fn key_of(&mut self, map: usize, key: Option<&Expr>) -> Result<Place> {
        let (ty, _) = self.types_of(map);
        let size = self.unit.program.maps[map].key_size;
        let (Some(key), Some(ty)) = (key, ty) else {
            let room = self.machine.slot();
            let is_array = self.unit.program.maps[map].kind == MapKind::PercpuArray;
            self.machine.store(if is_array { Size::W } else { Size::DW }, room, 0);
            return Ok(room);
        };
        if let (ExprKind::Variable(variable), true) =
            (&key.kind, key.ty == ty && self.size_of(&ty) == size)
        {
            return self.local(variable);
        }
        let room = self.machine.room(size.max(8));
        let written = self.size_of(&ty);
        self.value_as_into(key, &ty, room)?;
        if written < size {
            self.machine.zero(room.at(written), size - written);
        }
        Ok(room)
    }

    /// The address of a value into R0; null if there is none.
    pub(super) fn look_up(&mut self, map: usize, key: Place) {
        self.machine.address(Reg::R2, key);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.asm.call(BPF_FUNC_map_lookup_elem);
    }

    /// Sets an entry to the value at a place.
    pub(super) fn update(
        &mut self,
        map: usize,
        key: Place,
        value: Place,
        span: Span,
    ) -> Result<()> {
        self.machine.address(Reg::R2, key);
        self.machine.address(Reg::R3, value);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.mov(Reg::R4, 0);
        self.machine.asm.call(BPF_FUNC_map_update_elem);
        let updated = self.machine.asm.label();
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, updated);
        self.runtime_error(RuntimeError::Helper(BPF_FUNC_map_update_elem), span);
        self.machine.asm.bind(updated);
        Ok(())
    }

    /// `@a[key] = value`.
    pub(super) fn assign_map(
        &mut self,
        name: &Name,
        key: Option<&Expr>,
        value: &Expr,
        span: Span,
    ) -> Result<()> {
        let map = self.map_number(name, span)?;
        if let ExprKind::Function { function, arguments } = &value.kind
            && function.is_aggregation()
        {
            return self.aggregate(map, key, *function, arguments, value.span);
        }
        let (_, ty) = self.types_of(map);
        let size = self.size_of(&ty);
        let room = self.machine.room(size.max(8));
        self.value_as_into(value, &ty, room)?;
        let key = self.key_of(map, key)?;
        self.update(map, key, room, span)
    }

    /// A map's value that fits a register.
    pub(super) fn map_scalar(
        &mut self,
        name: &Name,
        key: Option<&Expr>,
        expr: &Expr,
    ) -> Result<()> {
        let mark = self.machine.mark();
        let map = self.map_number(name, expr.span)?;
        if let Some(aggregate) = self.aggregate_of(map) {
            return self.map_sum(name, key, aggregate, expr.span);
        }
        let key = self.key_of(map, key)?;
        self.look_up(map, key);
        self.tell_missing(map, expr.span);
        self.found_value(&expr.ty);
        self.machine.release(mark);
        Ok(())
    }

    /// Tells that a look-up found nothing, if somebody wants to know (`-k`). R0 stays.
    fn tell_missing(&mut self, map: usize, span: Span) {
        let (key, _) = self.types_of(map);
        if !self.unit.options.tells_failed_reads || key.is_none() {
            return;
        }
        let found = self.machine.asm.label();
        self.machine.jump_if(Cond::Ne, Reg::R0, 0, found);
        self.runtime_error(RuntimeError::Helper(BPF_FUNC_map_lookup_elem), span);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(found);
    }

    pub(super) fn map_value_or_zero(&mut self, map: usize, key: Place, ty: &Type) {
        self.look_up(map, key);
        self.found_value(ty);
    }

    /// The value that R0 points to into R0.
    fn found_value(&mut self, ty: &Type) {
        let missing = self.machine.asm.label();
        // Null is the zero that is wanted.
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, missing);
        if let Some(size) = super::machine::size_of_word(self.size_of(ty)) {
            self.machine.asm.load(size, Reg::R0, Reg::R0, 0);
            if let Some(int) = ty.int().filter(|int| int.signed) {
                self.machine.extend(Reg::R0, int);
            }
        }
        self.machine.asm.bind(missing);
    }

    /// A map's value in memory, copied.
    pub(super) fn map_into(
        &mut self,
        name: &Name,
        key: Option<&Expr>,
        expr: &Expr,
        to: Place,
    ) -> Result<()> {
        let map = self.map_number(name, expr.span)?;
        let key = self.key_of(map, key)?;
        self.look_up(map, key);
        self.tell_missing(map, expr.span);
        self.found_into(to, self.size_of(&expr.ty));
        Ok(())
    }

    /// The same where it is only read: in the map, or zeroes in its place.
    pub(super) fn map_place(
        &mut self,
        name: &Name,
        key: Option<&Expr>,
        expr: &Expr,
    ) -> Result<Place> {
        let map = self.map_number(name, expr.span)?;
        let size = self.size_of(&expr.ty);
        let key = self.key_of(map, key)?;
        let room = self.machine.room(size.max(8));
        self.look_up(map, key);
        self.found_into(room, size);
        Ok(room)
    }

    /// `delete(@a, key)`. Told if there was none and nobody asks.
    pub(super) fn delete(&mut self, arguments: &[Expr], span: Span, tells: bool) -> Result<()> {
        let (name, key) = match arguments {
            [Expr { kind: ExprKind::Map { name, key: None }, .. }, key] => (name, Some(key)),
            [Expr { kind: ExprKind::Map { name, key }, .. }] => (name, key.as_deref()),
            _ => return Err(Refusal::new(span, "delete() expects a map")),
        };
        let map = self.map_number(name, span)?;
        let table = self.aggregate_of(map).is_some_and(Aggregate::is_table);
        if table || self.unit.program.maps[map].kind == MapKind::PercpuArray {
            if key.is_some() {
                return Err(Refusal::missing(span, "delete() of one entry of this map"));
            }
            let action = self.unit.action(Action::ClearMap(map));
            self.message(action, 0, |_, _| Ok(()))?;
            self.machine.mov(Reg::R0, 1);
            return Ok(());
        }
        let key = self.key_of(map, key)?;
        self.machine.address(Reg::R2, key);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.asm.call(BPF_FUNC_map_delete_elem);
        let (there, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, there);
        if tells {
            self.runtime_error(RuntimeError::Helper(BPF_FUNC_map_delete_elem), span);
        }
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.jump(end);
        self.machine.asm.bind(there);
        self.machine.mov(Reg::R0, 1);
        self.machine.asm.bind(end);
        Ok(())
    }

    /// `has_key(@a, key)`.
    pub(super) fn has_key(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let (map, key) = self.map_and_key(arguments, span)?;
        let key = self.key_of(map, Some(key))?;
        self.look_up(map, key);
        let missing = self.machine.asm.label();
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, missing);
        self.machine.mov(Reg::R0, 1);
        self.machine.asm.bind(missing);
        Ok(())
    }

    /// `find(@a, key, $value)`.
    pub(super) fn find(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let (map, key) = self.map_and_key(arguments, span)?;
        let Some(Expr { kind: ExprKind::Variable(variable), .. }) = arguments.get(2) else {
            return Err(Refusal::new(span, "find() expects a variable for the value"));
        };
        let (_, ty) = self.types_of(map);
        let place = self.local(variable)?;
        let want = self.probe.locals[variable.id.0 as usize].ty.clone();
        let key = self.key_of(map, Some(key))?;
        self.look_up(map, key);
        let missing = self.machine.asm.label();
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, missing);
        let from = self.held_place();
        if ty.is_in_memory() {
            self.machine.copy(place, from, self.size_of(&ty).min(self.size_of(&want)));
        } else {
            self.load_scalar(Reg::R0, from, &ty);
            self.store_scalar(place, &want);
        }
        self.machine.mov(Reg::R0, 1);
        self.machine.asm.bind(missing);
        Ok(())
    }

    fn map_and_key<'e>(&self, arguments: &'e [Expr], span: Span) -> Result<(usize, &'e Expr)> {
        match arguments {
            [Expr { kind: ExprKind::Map { name, key: None }, .. }, key, ..] => {
                Ok((self.map_number(name, span)?, key))
            }
            _ => Err(Refusal::new(span, "expects a map and a key")),
        }
    }

    /// `clear(@a)`, `zero(@a)`: user space does it.
    pub(super) fn map_action(
        &mut self,
        function: Function,
        arguments: &[Expr],
        span: Span,
    ) -> Result<()> {
        let [Expr { kind: ExprKind::Map { name, key: None }, .. }] = arguments else {
            return Err(Refusal::new(span, format!("{}() expects a map", function.name())));
        };
        let map = self.map_number(name, span)?;
        let action = match function {
            Function::Zero => Action::ZeroMap(map),
            _ => Action::ClearMap(map),
        };
        let action = self.unit.action(action);
        self.message(action, 0, |_, _| Ok(()))
    }

    /// `len(@a)`.
    pub(super) fn map_len(&mut self, name: &Name, span: Span) -> Result<()> {
        let map = self.map_number(name, span)?;
        self.machine.asm.load_map(Reg::R1, map as i32);
        if let Some(counter) = self.unit.kfunc("bpf_map_sum_elem_count") {
            self.machine.asm.call_kfunc(counter);
            return Ok(());
        }
        let callback = self.empty_callback();
        self.machine.asm.load_function(Reg::R2, callback);
        self.machine.mov(Reg::R3, 0);
        self.machine.mov(Reg::R4, 0);
        self.machine.asm.call(BPF_FUNC_for_each_map_elem);
        Ok(())
    }

    /// A callback that does nothing: the helper counts.
    fn empty_callback(&mut self) -> u32 {
        let mut asm = crate::bytecode::Assembler::new();
        asm.alu(crate::bytecode::Width::W64, crate::bytecode::Alu::Mov, Reg::R0, 0);
        asm.exit();
        let insns = asm.finish().unwrap_or_default();
        let functions = &mut self.unit.program.functions;
        let number = functions.len() as u32;
        let code = Code { insns, lines: vec![(0, self.probe.span)] };
        functions.push(crate::lang::program::Function {
            name: format!("each_{number}"),
            arguments: 4,
            code,
        });
        number
    }
}

//! What maps add up, each CPU for itself: no atomics, and no line in common.

use libbpf_sys::{BPF_FUNC_map_lookup_elem, BPF_FUNC_map_lookup_percpu_elem};

use super::machine::{Held, Place};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Reg, Size};
use crate::lang::ast::Expr;
use crate::lang::functions::Function;
use crate::lang::program::MapKind;
use crate::lang::source::Span;
use crate::lang::types::{Aggregate, Name};

impl Coder<'_, '_> {
    /// `@a[key] = count()` and the like.
    pub(super) fn aggregate(
        &mut self,
        map: usize,
        key: Option<&Expr>,
        function: Function,
        arguments: &[Expr],
        span: Span,
    ) -> Result<()> {
        let Some(aggregate) = self.aggregate_of(map) else {
            return Err(Refusal::new(
                span,
                format!("{}() needs a map of its own", function.name()),
            ));
        };
        if aggregate.is_table() {
            return self.table(map, key, aggregate, arguments, span);
        }
        let value = match arguments.first() {
            Some(value) => {
                self.scalar(value)?;
                Some(self.machine.hold())
            }
            None => None,
        };
        let key = self.key_of(map, key)?;
        let (new, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.look_up(map, key);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, new);
        self.add_up(aggregate, value);
        self.machine.asm.jump(end);
        self.machine.asm.bind(new);
        if self.unit.program.maps[map].kind != MapKind::PercpuArray {
            let first = self.first(aggregate, value);
            self.update(map, key, first, span)?;
        }
        self.machine.asm.bind(end);
        Ok(())
    }

    /// One more to the value that R0 points to.
    fn add_up(&mut self, aggregate: Aggregate, value: Option<Held>) {
        let machine = &mut self.machine;
        let add = |machine: &mut super::machine::Machine, offset, by: Option<Held>| {
            machine.asm.load(Size::DW, Reg::R1, Reg::R0, offset);
            match by {
                Some(Held::Register(by)) => machine.alu(Alu::Add, Reg::R1, by),
                Some(by) => {
                    machine.take(by, Reg::R2);
                    machine.alu(Alu::Add, Reg::R1, Reg::R2);
                }
                None => machine.alu(Alu::Add, Reg::R1, 1),
            }
            machine.asm.store(Size::DW, Reg::R0, offset, Reg::R1);
        };
        match (aggregate, value) {
            (Aggregate::Count, _) => add(machine, 0, None),
            (Aggregate::Sum { .. }, value) => add(machine, 0, value),
            (Aggregate::Avg { .. } | Aggregate::Stats { .. }, value) => {
                add(machine, 0, value);
                add(machine, 8, None);
            }
            (Aggregate::Min { signed } | Aggregate::Max { signed }, Some(value)) => {
                let keeps = match (aggregate, signed) {
                    (Aggregate::Min { .. }, true) => Cond::Sge,
                    (Aggregate::Min { .. }, false) => Cond::Ge,
                    (_, true) => Cond::Sle,
                    (_, false) => Cond::Le,
                };
                let (set, end) = (machine.asm.label(), machine.asm.label());
                machine.take(value, Reg::R2);
                machine.asm.load(Size::DW, Reg::R1, Reg::R0, 8);
                machine.jump_if(Cond::Eq, Reg::R1, 0, set);
                machine.asm.load(Size::DW, Reg::R1, Reg::R0, 0);
                machine.jump_if(keeps, Reg::R2, Reg::R1, end);
                machine.asm.bind(set);
                machine.asm.store(Size::DW, Reg::R0, 0, Reg::R2);
                machine.asm.store(Size::DW, Reg::R0, 8, 1);
                machine.asm.bind(end);
            }
            _ => {}
        }
    }

    /// The first value of an entry.
    fn first(&mut self, aggregate: Aggregate, value: Option<Held>) -> Place {
        let room = self.machine.room(16);
        match value {
            Some(value) => {
                self.machine.take(value, Reg::R1);
                self.machine.store(Size::DW, room, Reg::R1);
            }
            None => self.machine.store(Size::DW, room, 1),
        }
        if aggregate.size() > 8 {
            self.machine.store(Size::DW, room.at(8), 1);
        }
        room
    }

    /// An aggregate as a number, of all CPUs.
    pub(super) fn map_sum(
        &mut self,
        name: &Name,
        key: Option<&Expr>,
        aggregate: Aggregate,
        span: Span,
    ) -> Result<()> {
        let mark = self.machine.mark();
        let map = self.map_number(name, span)?;
        let key = self.key_of(map, key)?;
        self.all_cpus(map, key, aggregate, span)?;
        self.machine.release(mark);
        Ok(())
    }

    /// The same of an entry whose key is at a place.
    pub(super) fn all_cpus(
        &mut self,
        map: usize,
        key: Place,
        aggregate: Aggregate,
        span: Span,
    ) -> Result<()> {
        if aggregate.is_table() {
            return Err(Refusal::new(
                span,
                format!("a {} can't be read as a number", aggregate.kind()),
            ));
        }
        let mark = self.machine.mark();
        let (total, count, cpu) = (self.machine.slot(), self.machine.slot(), self.machine.slot());
        for slot in [total, count, cpu] {
            self.machine.store(Size::DW, slot, 0);
        }
        let (next, end) = (self.machine.asm.label(), self.machine.asm.label());
        let cpus = self.unit.cpus();
        // A verifier that walks through all of them has to find that it ends.
        self.machine.asm.bind(next);
        self.machine.load(Size::DW, Reg::R3, cpu);
        self.machine.jump_if(Cond::Ge, Reg::R3, cpus as i32, end);
        self.machine.address(Reg::R2, key);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.asm.call(BPF_FUNC_map_lookup_percpu_elem);
        self.machine.load(Size::DW, Reg::R3, cpu);
        self.machine.alu(Alu::Add, Reg::R3, 1);
        self.machine.store(Size::DW, cpu, Reg::R3);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, next);
        self.gather(aggregate, total, count, next);
        self.machine.asm.jump(next);
        self.machine.asm.bind(end);
        self.machine.load(Size::DW, Reg::R0, total);
        if let Aggregate::Avg { signed } | Aggregate::Stats { signed } = aggregate {
            self.mean(count, signed);
        }
        self.machine.release(mark);
        Ok(())
    }

    /// One CPU's value, which R0 points to.
    fn gather(
        &mut self,
        aggregate: Aggregate,
        total: Place,
        count: Place,
        next: crate::bytecode::Label,
    ) {
        let machine = &mut self.machine;
        machine.asm.load(Size::DW, Reg::R1, Reg::R0, 0);
        match aggregate {
            Aggregate::Min { signed } | Aggregate::Max { signed } => {
                let keeps = match (aggregate, signed) {
                    (Aggregate::Min { .. }, true) => Cond::Sge,
                    (Aggregate::Min { .. }, false) => Cond::Ge,
                    (_, true) => Cond::Sle,
                    (_, false) => Cond::Le,
                };
                let set = machine.asm.label();
                machine.asm.load(Size::DW, Reg::R2, Reg::R0, 8);
                machine.jump_if(Cond::Eq, Reg::R2, 0, next);
                machine.load(Size::DW, Reg::R2, count);
                machine.jump_if(Cond::Eq, Reg::R2, 0, set);
                machine.load(Size::DW, Reg::R2, total);
                machine.jump_if(keeps, Reg::R1, Reg::R2, next);
                machine.asm.bind(set);
                machine.store(Size::DW, total, Reg::R1);
                machine.store(Size::DW, count, 1);
            }
            _ => {
                machine.load(Size::DW, Reg::R2, total);
                machine.alu(Alu::Add, Reg::R2, Reg::R1);
                machine.store(Size::DW, total, Reg::R2);
                if aggregate.size() > 8 {
                    machine.asm.load(Size::DW, Reg::R1, Reg::R0, 8);
                    machine.load(Size::DW, Reg::R2, count);
                    machine.alu(Alu::Add, Reg::R2, Reg::R1);
                    machine.store(Size::DW, count, Reg::R2);
                }
            }
        }
    }

    /// The total in R0 by the count; 0 of none.
    fn mean(&mut self, count: Place, signed: bool) {
        let machine = &mut self.machine;
        machine.load(Size::DW, Reg::R1, count);
        let negative = machine.asm.label();
        let end = machine.asm.label();
        if signed {
            machine.jump_if(Cond::Slt, Reg::R0, 0, negative);
        }
        machine.alu(Alu::Div, Reg::R0, Reg::R1);
        machine.asm.jump(end);
        machine.asm.bind(negative);
        if signed {
            machine.asm.neg(crate::bytecode::Width::W64, Reg::R0);
            machine.alu(Alu::Div, Reg::R0, Reg::R1);
            machine.asm.neg(crate::bytecode::Width::W64, Reg::R0);
        }
        machine.asm.bind(end);
    }

    /// Adds 1 to the word of an array's entry, whose number is at a place.
    pub(super) fn count_in_array(&mut self, map: usize, key: Place) {
        let end = self.machine.asm.label();
        self.machine.address(Reg::R2, key);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.asm.call(BPF_FUNC_map_lookup_elem);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, end);
        self.machine.asm.load(Size::DW, Reg::R1, Reg::R0, 0);
        self.machine.alu(Alu::Add, Reg::R1, 1);
        self.machine.asm.store(Size::DW, Reg::R0, 0, Reg::R1);
        self.machine.asm.bind(end);
    }
}

impl super::Unit<'_> {
    /// How many CPUs there can be.
    pub(super) fn cpus(&self) -> usize {
        libbpf_rs::num_possible_cpus().unwrap_or(1)
    }
}

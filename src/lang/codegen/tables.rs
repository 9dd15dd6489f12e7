//! Aggregates that are tables: hist, lhist, tseries. The number of the entry is behind the key, or is the key.

use libbpf_sys::{BPF_FUNC_ktime_get_boot_ns, BPF_FUNC_ktime_get_tai_ns};

use super::machine::{Held, Place};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Reg, Size};
use crate::lang::ast::Expr;
use crate::lang::program::{Map, MapKind, Parameter};
use crate::lang::source::Span;
use crate::lang::types::{Aggregate, Series};

impl Coder<'_, '_> {
    pub(super) fn table(
        &mut self,
        map: usize,
        key: Option<&Expr>,
        aggregate: Aggregate,
        arguments: &[Expr],
        span: Span,
    ) -> Result<()> {
        let value = arguments.first().ok_or_else(|| Refusal::new(span, "a value is missing"))?;
        self.scalar(value)?;
        match aggregate {
            Aggregate::Hist { bits } => self.hist_bucket(bits),
            Aggregate::Lhist { min, max, step } => {
                self.lhist_bucket(min, max, step, aggregate.buckets());
            }
            _ => {
                let value = self.machine.hold();
                return self.series(map, key, value, aggregate, span);
            }
        }
        let bucket = self.machine.hold();
        let key = self.table_key(map, key, bucket)?;
        let (new, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.look_up(map, key);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, new);
        self.machine.asm.load(Size::DW, Reg::R1, Reg::R0, 0);
        self.machine.alu(Alu::Add, Reg::R1, 1);
        self.machine.asm.store(Size::DW, Reg::R0, 0, Reg::R1);
        self.machine.asm.jump(end);
        self.machine.asm.bind(new);
        if self.unit.program.maps[map].kind != MapKind::PercpuArray {
            let first = self.machine.slot();
            self.machine.store(Size::DW, first, 1);
            self.update(map, key, first, span)?;
        }
        self.machine.asm.bind(end);
        Ok(())
    }

    /// The program's key with an entry's number behind it; of a scalar, the number.
    fn table_key(&mut self, map: usize, key: Option<&Expr>, number: Held) -> Result<Place> {
        let is_array = self.unit.program.maps[map].kind == MapKind::PercpuArray;
        if is_array || key.is_none() {
            let room = self.machine.slot();
            self.machine.take(number, Reg::R1);
            self.machine.store(Size::DW, room, Reg::R1);
            return Ok(room);
        }
        let room = self.machine.room(self.unit.program.maps[map].key_size);
        let crate::lang::program::Role::User { key: Some(ty), .. } =
            &self.unit.program.maps[map].role
        else {
            return Ok(room);
        };
        let ty = ty.clone();
        let (size, behind) = (self.size_of(&ty), Map::table_key(self.unit.structs(), &ty));
        if let Some(key) = key {
            self.value_as_into(key, &ty, room)?;
        }
        self.machine.zero(room.at(size), behind - size);
        self.machine.take(number, Reg::R1);
        self.machine.store(Size::DW, room.at(behind), Reg::R1);
        Ok(room)
    }

    /// The bucket of R0: powers of two, each in `1 << bits` parts.
    fn hist_bucket(&mut self, bits: u8) {
        let machine = &mut self.machine;
        let bits = i32::from(bits);
        let (small, end) = (machine.asm.label(), machine.asm.label());
        machine.mov(Reg::R1, Reg::R0);
        machine.mov(Reg::R0, 0);
        machine.jump_if(Cond::Slt, Reg::R1, 0, end);
        machine.jump_if(Cond::Lt, Reg::R1, 1 << bits, small);
        // R0: the number of the highest bit, found by halves.
        machine.mov(Reg::R2, Reg::R1);
        for half in [32, 16, 8, 4, 2, 1] {
            let lower = machine.asm.label();
            machine.mov(Reg::R3, Reg::R2);
            machine.alu(Alu::Rsh, Reg::R3, half);
            machine.jump_if(Cond::Eq, Reg::R3, 0, lower);
            machine.mov(Reg::R2, Reg::R3);
            machine.alu(Alu::Add, Reg::R0, half);
            machine.asm.bind(lower);
        }
        machine.alu(Alu::Sub, Reg::R0, bits);
        // The bits behind the highest one say which part.
        machine.alu(Alu::Rsh, Reg::R1, Reg::R0);
        machine.alu(Alu::And, Reg::R1, (1 << bits) - 1);
        machine.alu(Alu::Add, Reg::R0, 1);
        machine.alu(Alu::Lsh, Reg::R0, bits);
        machine.asm.bind(small);
        machine.alu(Alu::Add, Reg::R0, Reg::R1);
        machine.alu(Alu::Add, Reg::R0, 1);
        machine.asm.bind(end);
    }

    /// The bucket of R0: what is below, steps, what is above.
    fn lhist_bucket(&mut self, min: i64, max: i64, step: i64, buckets: u32) {
        let machine = &mut self.machine;
        let (below, above, end) = (machine.asm.label(), machine.asm.label(), machine.asm.label());
        machine.number(Reg::R1, min as u64);
        machine.jump_if(Cond::Slt, Reg::R0, Reg::R1, below);
        machine.number(Reg::R2, max as u64);
        machine.jump_if(Cond::Sge, Reg::R0, Reg::R2, above);
        machine.alu(Alu::Sub, Reg::R0, Reg::R1);
        machine.number(Reg::R1, step.max(1) as u64);
        machine.alu(Alu::Div, Reg::R0, Reg::R1);
        machine.alu(Alu::Add, Reg::R0, 1);
        machine.asm.jump(end);
        machine.asm.bind(below);
        machine.mov(Reg::R0, 0);
        machine.asm.jump(end);
        machine.asm.bind(above);
        machine.mov(Reg::R0, buckets as i32 - 1);
        machine.asm.bind(end);
    }

    fn series(
        &mut self,
        map: usize,
        key: Option<&Expr>,
        value: Held,
        aggregate: Aggregate,
        span: Span,
    ) -> Result<()> {
        let Aggregate::Tseries { of, interval, intervals, signed } = aggregate else {
            return Ok(());
        };
        self.series_time(span)?;
        self.machine.number(Reg::R1, interval.max(1));
        self.machine.alu(Alu::Div, Reg::R0, Reg::R1);
        let number = self.machine.hold();
        self.machine.alu(Alu::Mod, Reg::R0, intervals as i32);
        let entry = self.machine.hold();
        let key = self.table_key(map, key, entry)?;
        let (new, fresh, end) =
            (self.machine.asm.label(), self.machine.asm.label(), self.machine.asm.label());
        self.look_up(map, key);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, new);
        self.machine.take(number, Reg::R1);
        self.machine.take(value, Reg::R2);
        self.machine.asm.load(Size::DW, Reg::R3, Reg::R0, 0);
        self.machine.jump_if(Cond::Ne, Reg::R3, Reg::R1, fresh);
        self.machine.asm.load(Size::DW, Reg::R3, Reg::R0, 16);
        self.machine.jump_if(Cond::Eq, Reg::R3, 0, fresh);
        self.machine.alu(Alu::Add, Reg::R3, 1);
        self.machine.asm.store(Size::DW, Reg::R0, 16, Reg::R3);
        self.series_value(of, signed, end);
        self.machine.asm.jump(end);
        self.machine.asm.bind(fresh);
        self.machine.asm.store(Size::DW, Reg::R0, 0, Reg::R1);
        self.machine.asm.store(Size::DW, Reg::R0, 8, Reg::R2);
        self.machine.asm.store(Size::DW, Reg::R0, 16, 1);
        self.machine.asm.jump(end);
        self.machine.asm.bind(new);
        if self.unit.program.maps[map].kind != MapKind::PercpuArray {
            let first = self.machine.room(24);
            for (held, offset) in [(number, 0), (value, 8)] {
                self.machine.take(held, Reg::R1);
                self.machine.store(Size::DW, first.at(offset), Reg::R1);
            }
            self.machine.store(Size::DW, first.at(16), 1);
            self.update(map, key, first, span)?;
        }
        self.machine.asm.bind(end);
        Ok(())
    }

    /// R2 into the interval's value, which is 8 bytes behind R0.
    fn series_value(&mut self, of: Series, signed: bool, end: crate::bytecode::Label) {
        let machine = &mut self.machine;
        machine.asm.load(Size::DW, Reg::R3, Reg::R0, 8);
        let keeps = match (of, signed) {
            (Series::Min, true) => Some(Cond::Sge),
            (Series::Min, false) => Some(Cond::Ge),
            (Series::Max, true) => Some(Cond::Sle),
            (Series::Max, false) => Some(Cond::Le),
            _ => None,
        };
        match (of, keeps) {
            (_, Some(keeps)) => machine.jump_if(keeps, Reg::R2, Reg::R3, end),
            (Series::Avg | Series::Sum, _) => machine.alu(Alu::Add, Reg::R2, Reg::R3),
            _ => {}
        }
        machine.asm.store(Size::DW, Reg::R0, 8, Reg::R2);
    }

    /// CLOCK_TAI, since what is shown are times of day.
    fn series_time(&mut self, span: Span) -> Result<()> {
        if let Some(clock) = self.unit.options.series_clock.clone() {
            let map = self.map_number(&clock, span)?;
            let key = self.key_of(map, None)?;
            self.map_value_or_zero(map, key, &crate::lang::types::Type::U64);
            return Ok(());
        }
        if self.unit.has_helper("bpf_ktime_get_tai_ns") {
            self.machine.asm.call(BPF_FUNC_ktime_get_tai_ns);
        } else {
            self.tai_by_offset();
        }
        Ok(())
    }

    /// The time since boot and how far CLOCK_TAI was ahead at the start.
    pub(super) fn tai_by_offset(&mut self) {
        self.machine.asm.call(BPF_FUNC_ktime_get_boot_ns);
        let offset = self.unit.parameter(Parameter::TaiOffset);
        self.machine.load(Size::DW, Reg::R1, offset);
        self.machine.alu(Alu::Add, Reg::R0, Reg::R1);
    }
}

impl super::Unit<'_> {
    /// Whether the kernel has a helper: its implementation is a function in BTF.
    pub(super) fn has_helper(&mut self, name: &'static str) -> bool {
        self.kfunc(name).is_some()
    }
}

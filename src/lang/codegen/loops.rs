//! Loops: over numbers and as long as something is true by the kernel's iterator of numbers, where it has one; over
//! maps by a callback for each entry.

use libbpf_sys::BPF_FUNC_for_each_map_elem;

use super::machine::{Base, ENDED, Place, size_of_word};
use super::{Coder, Refusal, Result, assembled};
use crate::bytecode::{Alu, Cond, Label, Reg, Size};
use crate::lang::ast::{Block, Expr, Variable};
use crate::lang::program::{Function, MOST_ROUNDS, Parameter, RuntimeError};
use crate::lang::source::Span;
use crate::lang::types::{Name, Type};

/// A loop that is being written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loop {
    /// In this function.
    Inline {
        next: Label,
        end: Label,
        /// The iterator, to be given back by who leaves the probe from within.
        iterator: Option<Place>,
    },
    /// The function itself is a loop's body.
    Callback,
}

impl Coder<'_, '_> {
    /// `while (condition) { … }`.
    pub(super) fn while_loop(&mut self, condition: &Expr, body: &Block) -> Result<()> {
        self.machine.mov(Reg::R0, MOST_ROUNDS);
        self.counted(Some(condition.span), |coder, end| {
            coder.branch(condition, end, false)?;
            coder.block(body)
        })
    }

    /// `for ($i : from..to) { … }`.
    pub(super) fn range_loop(
        &mut self,
        variable: &Variable,
        from: &Expr,
        to: &Expr,
        body: &Block,
    ) -> Result<()> {
        let place = self.local(variable)?;
        let ty = self.probe.locals[variable.id.0 as usize].ty.clone();
        let first = self.machine.slot();
        self.scalar(from)?;
        self.machine.store(Size::DW, first, Reg::R0);
        self.scalar(to)?;
        self.machine.load(Size::DW, Reg::R1, first);
        self.machine.alu(Alu::Sub, Reg::R0, Reg::R1);
        let (some, few) = (self.machine.asm.label(), self.machine.asm.label());
        self.machine.jump_if(Cond::Sgt, Reg::R0, 0, some);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(some);
        self.machine.jump_if(Cond::Sle, Reg::R0, MOST_ROUNDS, few);
        let range = Span { start: from.span.start, end: to.span.end };
        self.runtime_error(RuntimeError::LoopEnded, range);
        self.machine.mov(Reg::R0, MOST_ROUNDS);
        self.machine.asm.bind(few);
        self.counted(None, |coder, _| {
            coder.machine.load(Size::DW, Reg::R1, first);
            coder.machine.alu(Alu::Add, Reg::R0, Reg::R1);
            coder.store_scalar(place, &ty);
            coder.block(body)
        })
    }

    /// As many rounds as R0 says. Each begins with its number in R0, from 0. A loop that was to end otherwise
    /// tells if it doesn't.
    fn counted(
        &mut self,
        unended: Option<Span>,
        round: impl FnOnce(&mut Self, Label) -> Result<()>,
    ) -> Result<()> {
        let kfuncs = [
            self.unit.kfunc("bpf_iter_num_new"),
            self.unit.kfunc("bpf_iter_num_next"),
            self.unit.kfunc("bpf_iter_num_destroy"),
        ];
        match kfuncs {
            [Some(new), Some(next), Some(destroy)] => {
                self.iterated([new, next, destroy], unended, round)
            }
            _ => self.bounded(round),
        }
    }

    fn iterated(
        &mut self,
        [new, advance, destroy]: [u32; 3],
        unended: Option<Span>,
        round: impl FnOnce(&mut Self, Label) -> Result<()>,
    ) -> Result<()> {
        let (next, over, end) =
            (self.machine.asm.label(), self.machine.asm.label(), self.machine.asm.label());
        let iterator = self.machine.slot();
        self.forget_numbers();
        self.machine.mov(Reg::R3, Reg::R0);
        self.machine.mov(Reg::R2, 0);
        self.machine.address(Reg::R1, iterator);
        self.machine.asm.call_kfunc(new);
        self.machine.asm.bind(next);
        self.machine.address(Reg::R1, iterator);
        self.machine.asm.call_kfunc(advance);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, over);
        // A number that the verifier doesn't know: one round is to it like another.
        self.machine.asm.load(Size::W, Reg::R0, Reg::R0, 0);
        self.within(Loop::Inline { next, end, iterator: Some(iterator) }, |coder| {
            round(coder, end)
        })?;
        self.machine.asm.jump(next);
        self.machine.asm.bind(over);
        if let Some(span) = unended {
            self.runtime_error(RuntimeError::LoopEnded, span);
        }
        self.machine.asm.bind(end);
        self.machine.address(Reg::R1, iterator);
        self.machine.asm.call_kfunc(destroy);
        Ok(())
    }

    /// Makes the verifier forget what integers variables hold. Otherwise it follows a counter that is compared
    /// through every round, and gives up after some thousands. R0 stays.
    fn forget_numbers(&mut self) {
        let zero = self.unit.parameter(Parameter::Zero);
        let probe = self.probe;
        let numbers = probe.locals.iter().zip(self.locals.clone());
        let numbers: Vec<_> = numbers.filter(|(local, _)| local.ty.is_int()).collect();
        if numbers.is_empty() {
            return;
        }
        self.machine.load(Size::DW, Reg::R2, zero);
        for (local, place) in numbers {
            if let Some(size) = size_of_word(self.size_of(&local.ty)) {
                self.machine.load(size, Reg::R1, place);
                self.machine.alu(Alu::Add, Reg::R1, Reg::R2);
                self.machine.store(size, place, Reg::R1);
            }
        }
    }

    /// Where the kernel has no iterators its verifier walks through all rounds, and refuses too many.
    fn bounded(&mut self, round: impl FnOnce(&mut Self, Label) -> Result<()>) -> Result<()> {
        let (begin, next, end) =
            (self.machine.asm.label(), self.machine.asm.label(), self.machine.asm.label());
        let (number, rounds) = (self.machine.slot(), self.machine.slot());
        self.machine.store(Size::DW, rounds, Reg::R0);
        self.machine.store(Size::DW, number, 0);
        self.machine.asm.bind(begin);
        self.machine.load(Size::DW, Reg::R0, number);
        self.machine.load(Size::DW, Reg::R1, rounds);
        self.machine.jump_if(Cond::Ge, Reg::R0, Reg::R1, end);
        self.within(Loop::Inline { next, end, iterator: None }, |coder| round(coder, end))?;
        self.machine.asm.bind(next);
        self.machine.load(Size::DW, Reg::R0, number);
        self.machine.alu(Alu::Add, Reg::R0, 1);
        self.machine.store(Size::DW, number, Reg::R0);
        self.machine.asm.jump(begin);
        self.machine.asm.bind(end);
        Ok(())
    }

    fn within(&mut self, of: Loop, body: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.loops.push(of);
        let written = body(self);
        self.loops.pop();
        written
    }

    /// `for ($kv : @map) { … }`: the kernel calls a function for each entry.
    pub(super) fn map_loop(
        &mut self,
        variable: &Variable,
        name: &Name,
        span: Span,
        body: &Block,
    ) -> Result<()> {
        let map = self.map_number(name, span)?;
        let callback = self.callback(variable, map, body)?;
        self.machine.store(Size::DW, ENDED, 0);
        self.machine.asm.load_map(Reg::R1, map as i32);
        self.machine.asm.load_function(Reg::R2, callback);
        self.machine.address(Reg::R3, Place { base: Base::Probe, offset: 0 });
        self.machine.mov(Reg::R4, 0);
        self.machine.asm.call(BPF_FUNC_for_each_map_elem);
        self.leave_if_ended()
    }

    /// The function of a loop over a map: `(map, key, value, frame of the probe)`.
    fn callback(&mut self, variable: &Variable, map: usize, body: &Block) -> Result<u32> {
        let inner = self.machine.callback();
        let outer = std::mem::replace(&mut self.machine, inner);
        let loops = std::mem::replace(&mut self.loops, vec![Loop::Callback]);
        let written = self.callback_body(variable, map, body);
        let inner = std::mem::replace(&mut self.machine, outer);
        self.loops = loops;
        written?;
        self.machine.scratch = self.machine.scratch.max(inner.scratch);
        self.machine.needs_context |= inner.needs_context;
        let code = assembled(inner, body.span)?;
        let number = self.unit.program.functions.len() as u32;
        let name = format!("each_{number}");
        self.unit.program.functions.push(Function { name, arguments: 4, code });
        Ok(number)
    }

    fn callback_body(&mut self, variable: &Variable, map: usize, body: &Block) -> Result<()> {
        let place = self.local(variable)?;
        let ty = self.probe.locals[variable.id.0 as usize].ty.clone();
        let Type::Tuple(parts) = &ty else {
            return Err(Refusal::new(variable.span, "a map's entry is a tuple of key and value"));
        };
        self.machine.line(body.span);
        self.machine.mov(Reg::R9, Reg::R4);
        let layout = self.unit.structs().layout(&ty);
        self.machine.mov(Reg::R0, Reg::R2);
        let key = Place { base: Base::Held(self.machine.hold()), offset: 0 };
        self.machine.mov(Reg::R0, Reg::R3);
        let value = Place { base: Base::Held(self.machine.hold()), offset: 0 };
        self.machine.zero(place, layout.size);
        self.machine.copy(place, key, self.size_of(&parts[0]));
        let into = place.at(layout.offsets[1]);
        match self.aggregate_of(map) {
            Some(aggregate) => {
                self.all_cpus(map, key, aggregate, variable.span)?;
                self.store_scalar(into, &parts[1]);
            }
            None => self.machine.copy(into, value, self.size_of(&parts[1])),
        }
        self.block(body)?;
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.exit();
        Ok(())
    }

    /// `break` or `continue`.
    pub(super) fn jump_of_loop(&mut self, span: Span, is_break: bool) -> Result<()> {
        match self.loops.last() {
            Some(&Loop::Inline { next, end, .. }) => {
                self.machine.asm.jump(if is_break { end } else { next });
            }
            Some(Loop::Callback) => {
                self.machine.mov(Reg::R0, i32::from(is_break));
                self.machine.asm.exit();
            }
            None => return Err(Refusal::new(span, "this is in no loop")),
        }
        Ok(())
    }

    /// Gives back the iterators of all loops around.
    pub(super) fn end_iterators(&mut self) {
        let destroy = self.unit.kfunc("bpf_iter_num_destroy");
        for of in self.loops.clone().into_iter().rev() {
            if let (Loop::Inline { iterator: Some(iterator), .. }, Some(destroy)) = (of, destroy) {
                self.machine.address(Reg::R1, iterator);
                self.machine.asm.call_kfunc(destroy);
            }
        }
    }
}

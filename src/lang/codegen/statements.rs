//! Statements: what is done, one after the other.

use super::loops::Loop;
use super::machine::{ENDED, Place};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Cond, Reg, Size};
use crate::lang::ast::{Block, Expr, ExprKind, Iterable, Statement, StatementKind, Variable};
use crate::lang::functions::Function;
use crate::lang::probe::Probe;

impl Coder<'_, '_> {
    /// A block whose value nobody wants.
    pub(super) fn block(&mut self, block: &Block) -> Result<()> {
        for statement in &block.statements {
            self.statement(statement)?;
        }
        match &block.value {
            Some(value) => self.discard(value),
            None => Ok(()),
        }
    }

    pub(super) fn statement(&mut self, statement: &Statement) -> Result<()> {
        let mark = self.machine.mark();
        self.machine.line(statement.span);
        match &statement.kind {
            StatementKind::Expr(expr) => self.effect(expr)?,
            StatementKind::Discard(expr) => self.discard(expr)?,
            StatementKind::Let { variable, value: Some(value), .. } => self.set(variable, value)?,
            StatementKind::Let { variable, value: None, .. } => self.set_zero(variable),
            StatementKind::Assign { target, value } => self.assign(target, value)?,
            StatementKind::While { condition, body } => self.while_loop(condition, body)?,
            StatementKind::For { variable, over: Iterable::Range(from, to), body } => {
                self.range_loop(variable, from, to, body)?;
            }
            StatementKind::For { variable, over: Iterable::Map(map, span), body } => {
                self.map_loop(variable, map, *span, body)?;
            }
            StatementKind::Break => self.jump_of_loop(statement.span, true)?,
            StatementKind::Continue => self.jump_of_loop(statement.span, false)?,
            StatementKind::Return(value) => self.leave(value.as_ref())?,
            StatementKind::Unroll { .. } | StatementKind::Import(_) => {
                return Err(Refusal::missing(statement.span, "this statement"));
            }
        }
        self.machine.release(mark);
        Ok(())
    }

    /// For its effect alone.
    fn effect(&mut self, expr: &Expr) -> Result<()> {
        match &expr.kind {
            ExprKind::Function { function: Function::Delete, arguments } => {
                self.delete(arguments, expr.span, true)
            }
            _ => self.discard(expr),
        }
    }

    pub(super) fn discard(&mut self, expr: &Expr) -> Result<()> {
        let mark = self.machine.mark();
        match &expr.kind {
            ExprKind::None | ExprKind::Int(_) | ExprKind::Bool(_) | ExprKind::Str(_) => {}
            ExprKind::Block(block) => self.block(block)?,
            ExprKind::If { condition, then, otherwise } => {
                self.choose(condition, then, otherwise, Self::discard)?;
            }
            ExprKind::Step { by, of, .. } => self.step_only(*by, of)?,
            _ if expr.ty.is_in_memory() => {
                let room = self.machine.room(self.size_of(&expr.ty));
                self.value_into(expr, room)?;
            }
            _ => self.scalar(expr)?,
        }
        self.machine.release(mark);
        Ok(())
    }

    /// Either of both, by the condition.
    pub(super) fn choose(
        &mut self,
        condition: &Expr,
        then: &Expr,
        otherwise: &Expr,
        mut each: impl FnMut(&mut Self, &Expr) -> Result<()>,
    ) -> Result<()> {
        let (other, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.branch(condition, other, false)?;
        each(self, then)?;
        if !otherwise.is_none() {
            self.machine.asm.jump(end);
        }
        self.machine.asm.bind(other);
        if !otherwise.is_none() {
            each(self, otherwise)?;
        }
        self.machine.asm.bind(end);
        Ok(())
    }

    pub(super) fn local(&self, variable: &Variable) -> Result<Place> {
        let place = self.locals.get(variable.id.0 as usize).copied();
        place.ok_or_else(|| {
            Refusal::new(
                variable.span,
                format!("Undefined or undeclared variable: {}", variable.name),
            )
        })
    }

    /// `$a = value`. What is evaluated may use the variable, so a value in memory goes there by a room.
    fn set(&mut self, variable: &Variable, value: &Expr) -> Result<()> {
        let place = self.local(variable)?;
        let ty = self.probe.locals[variable.id.0 as usize].ty.clone();
        if value.ty.is_none() && !matches!(value.kind, ExprKind::Function { .. }) {
            self.set_zero(variable);
            return Ok(());
        }
        if !value.ty.is_in_memory() {
            self.scalar(value)?;
            self.store_scalar(place, &ty);
            return Ok(());
        }
        if !self.mentions(value, variable) {
            return self.value_as_into(value, &ty, place);
        }
        let room = self.machine.room(self.size_of(&ty));
        self.value_as_into(value, &ty, room)?;
        self.machine.copy(place, room, self.size_of(&ty));
        Ok(())
    }

    fn set_zero(&mut self, variable: &Variable) {
        let index = variable.id.0 as usize;
        if let Some(place) = self.locals.get(index).copied() {
            let size = self.size_of(&self.probe.locals[index].ty);
            self.machine.zero(place, size.max(8));
        }
    }

    /// Whether a value may depend on the variable other than as a whole.
    fn mentions(&self, value: &Expr, variable: &Variable) -> bool {
        match &value.kind {
            ExprKind::Str(_) | ExprKind::Int(_) | ExprKind::Map { .. } => false,
            ExprKind::Variable(other) => other.id == variable.id,
            ExprKind::Cast { of, .. } => self.mentions(of, variable),
            ExprKind::Function { function, arguments } => {
                let by_parts =
                    matches!(function, Function::Str | Function::Buf | Function::StrConcat);
                by_parts && arguments.iter().any(|argument| self.mentions(argument, variable))
            }
            _ => true,
        }
    }

    fn assign(&mut self, target: &Expr, value: &Expr) -> Result<()> {
        match &target.kind {
            ExprKind::Variable(variable) => self.set(variable, value),
            ExprKind::Map { name, key } => {
                self.assign_map(name, key.as_deref(), value, target.span)
            }
            _ => Err(Refusal::missing(target.span, "an assignment to this")),
        }
    }

    /// Ends the probe, from wherever it is.
    pub(super) fn leave(&mut self, value: Option<&Expr>) -> Result<()> {
        let held = match value {
            Some(value) => {
                self.scalar(value)?;
                Some(self.machine.hold())
            }
            None => None,
        };
        self.end_iterators();
        if let Some(Loop::Callback) = self.loops.first() {
            self.machine.store(Size::DW, ENDED, 1);
            self.machine.mov(Reg::R0, 1);
            self.machine.asm.exit();
            return Ok(());
        }
        match held {
            Some(held) => self.machine.take(held, Reg::R0),
            // The kernel takes 0 of a tracepoint's program for "nobody else is to see it".
            None => {
                let of_perf = matches!(self.attach(), Some(Probe::Tracepoint { .. }));
                self.machine.mov(Reg::R0, i32::from(of_perf));
            }
        }
        self.machine.asm.exit();
        Ok(())
    }

    /// Ends the probe if a callback that was called just now wants it.
    pub(super) fn leave_if_ended(&mut self) -> Result<()> {
        let on = self.machine.asm.label();
        self.machine.load(Size::DW, Reg::R1, ENDED);
        self.machine.jump_if(Cond::Eq, Reg::R1, 0, on);
        self.leave(None)?;
        self.machine.asm.bind(on);
        Ok(())
    }
}

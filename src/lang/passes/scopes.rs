//! Which variable a name means, by the blocks around it. `unroll` is written out, and jumps are where they may be.

use std::collections::HashMap;
use std::mem;

use super::super::ast::*;
use super::super::functions::Function;
use super::super::source::Span;
use super::super::types::{Name, Type};
use super::super::walk::{self, Visit};
use super::Context;

/// How often a body may be repeated.
const MOST_UNROLLED: i128 = 100;

/// Numbers the variables of all probes and functions.
pub(super) fn run(script: &mut Script, context: &mut Context<'_>) {
    for function in &mut script.functions {
        let mut scopes = Scopes::new(context);
        for (variable, _) in &mut function.parameters {
            variable.id = scopes.add(variable, true);
        }
        scopes.block(&mut function.body);
        function.locals = scopes.finish();
    }
    for probe in &mut script.probes {
        let mut scopes = Scopes::new(context);
        scopes.block(&mut probe.body);
        probe.locals = scopes.finish();
    }
}

struct Scopes<'a, 'c> {
    context: &'a mut Context<'c>,
    /// Of each block around the current place, its variables.
    blocks: Vec<HashMap<Name, LocalId>>,
    locals: Vec<Local>,
    /// Of each variable, whether it got a value.
    is_set: Vec<bool>,
    /// How many loops are around the current place.
    loops: u32,
    /// Whether the value isn't asked for: in `typeof` and the like.
    only_type: u32,
}

impl<'a, 'c> Scopes<'a, 'c> {
    fn new(context: &'a mut Context<'c>) -> Scopes<'a, 'c> {
        Scopes {
            context,
            blocks: vec![HashMap::new()],
            locals: Vec::new(),
            is_set: Vec::new(),
            loops: 0,
            only_type: 0,
        }
    }

    fn finish(self) -> Vec<Local> {
        for (local, is_set) in self.locals.iter().zip(self.is_set) {
            // Those of macros have a sign in their names that scripts can't write.
            if !is_set && !local.name.contains('#') {
                let message = format!("Variable {} was never assigned to.", local.name);
                self.context.diagnostics.warn(local.span, message);
            }
        }
        self.locals
    }

    fn find(&self, name: &str) -> Option<LocalId> {
        self.blocks.iter().rev().find_map(|block| block.get(name)).copied()
    }

    fn add(&mut self, variable: &Variable, is_set: bool) -> LocalId {
        let id = LocalId(self.locals.len() as u32);
        let name = variable.name.clone();
        if let Some(block) = self.blocks.last_mut() {
            block.insert(name.clone(), id);
        }
        self.locals.push(Local { name, ty: Type::None, span: variable.span });
        self.is_set.push(is_set);
        id
    }

    fn set(&mut self, id: LocalId) {
        self.is_set[id.0 as usize] = true;
    }

    fn in_loop(&mut self, inside: impl FnOnce(&mut Self)) {
        self.loops += 1;
        inside(self);
        self.loops -= 1;
    }

    fn let_(&mut self, variable: &mut Variable, has_value: bool) {
        if let Some(other) = self.find(&variable.name) {
            let name = &variable.name;
            let message =
                format!("Variable {name} was already declared. Variable shadowing is not allowed.");
            let first = self.locals[other.0 as usize].span;
            let told = self.context.diagnostics.error(variable.span, message);
            told.note(first, "This is the initial declaration.");
        }
        variable.id = self.add(variable, has_value);
    }

    fn assigned(&mut self, target: &mut Expr) {
        let ExprKind::Variable(variable) = &mut target.kind else { return self.expr(target) };
        variable.id = match self.find(&variable.name) {
            Some(id) => id,
            None => self.add(variable, true),
        };
        self.set(variable.id);
    }

    fn for_(&mut self, variable: &mut Variable, over: &mut Iterable, body: &mut Block) {
        if let Iterable::Range(first, last) = over {
            self.expr(first);
            self.expr(last);
        }
        if self.find(&variable.name).is_some() {
            let message = format!("Loop declaration shadows existing variable: {}", variable.name);
            self.context.diagnostics.error(variable.span, message);
        }
        self.blocks.push(HashMap::new());
        variable.id = self.add(variable, true);
        self.in_loop(|scopes| scopes.block(body));
        self.blocks.pop();
    }

    /// The body so many times.
    fn unrolled(&mut self, count: &Expr, body: &Block) -> Vec<Statement> {
        let wrong = match count.as_int() {
            None => "invalid unroll value",
            Some(count) if count > MOST_UNROLLED => "unroll maximum value is 100",
            Some(count) if count < 1 => "unroll minimum value is 1",
            Some(count) => {
                let kind = StatementKind::Expr(Expr::new(ExprKind::Block(body.clone()), body.span));
                return vec![Statement { kind, span: body.span }; count as usize];
            }
        };
        self.context.diagnostics.error(count.span, wrong);
        Vec::new()
    }

    fn jump(&mut self, word: &str, span: Span) {
        if self.loops == 0 {
            let message = format!("'{word}' statement is not allowed outside of a loop");
            self.context.diagnostics.error(span, message);
        }
    }
}

/// Whether nothing comes behind a statement.
fn ends(statement: &Statement) -> bool {
    match &statement.kind {
        StatementKind::Break | StatementKind::Continue | StatementKind::Return(_) => true,
        StatementKind::Expr(expr) => {
            matches!(expr.kind, ExprKind::Function { function: Function::Exit, .. })
        }
        _ => false,
    }
}

impl Visit for Scopes<'_, '_> {
    fn block(&mut self, block: &mut Block) {
        self.blocks.push(HashMap::new());
        let mut is_over = false;
        for mut statement in mem::take(&mut block.statements) {
            if mem::replace(&mut is_over, ends(&statement)) {
                self.context.diagnostics.warn(statement.span, "Unreachable statement.");
                is_over = false;
            }
            match &statement.kind {
                StatementKind::Unroll { count, body } => {
                    for mut copy in self.unrolled(count, body) {
                        self.statement(&mut copy);
                        block.statements.push(copy);
                    }
                }
                _ => {
                    self.statement(&mut statement);
                    block.statements.push(statement);
                }
            }
        }
        if let Some(value) = &mut block.value {
            if is_over {
                self.context.diagnostics.warn(value.span, "Unreachable statement.");
            }
            self.expr(value);
        }
        self.blocks.pop();
    }

    fn statement(&mut self, statement: &mut Statement) {
        let span = statement.span;
        match &mut statement.kind {
            StatementKind::Let { variable, annotation, value } => {
                if let Some(value) = value {
                    self.expr(value);
                }
                if let Some(annotation) = annotation {
                    self.type_spec(annotation);
                }
                self.let_(variable, value.is_some());
            }
            StatementKind::Assign { target, value } => {
                self.expr(value);
                self.assigned(target);
            }
            StatementKind::For { variable, over, body } => self.for_(variable, over, body),
            StatementKind::While { condition, body } => {
                self.expr(condition);
                self.in_loop(|scopes| scopes.block(body));
            }
            StatementKind::Break => self.jump("break", span),
            StatementKind::Continue => self.jump("continue", span),
            _ => walk::walk_statement(self, statement),
        }
    }

    fn expr(&mut self, expr: &mut Expr) {
        // What an address is taken of may get its value by way of it.
        if let ExprKind::AddressOf(of) | ExprKind::Step { of, .. } = &expr.kind
            && let ExprKind::Variable(variable) = &of.kind
            && let Some(id) = self.find(&variable.name)
        {
            self.set(id);
        }
        walk::walk_expr(self, expr);
    }

    fn type_spec(&mut self, spec: &mut TypeSpec) {
        self.only_type += 1;
        walk::walk_type_spec(self, spec);
        self.only_type -= 1;
    }

    fn variable(&mut self, variable: &mut Variable) {
        match self.find(&variable.name) {
            Some(id) => {
                variable.id = id;
                if !self.is_set[id.0 as usize]
                    && self.only_type == 0
                    && !variable.name.contains('#')
                {
                    let message =
                        format!("Variable used before it was assigned: {}", variable.name);
                    self.context.diagnostics.warn(variable.span, message);
                }
            }
            None => {
                let message = format!("Undefined or undeclared variable: {}", variable.name);
                self.context.diagnostics.error(variable.span, message);
                // Told once.
                variable.id = self.add(variable, true);
            }
        }
    }
}

//! Statements and blocks.

use std::mem;

use super::super::super::ast::*;
use super::super::super::source::Span;
use super::super::super::types::{Name, Type};
use super::Typer;
use super::coerce::read_type;
use super::join::Known;

impl Typer<'_, '_> {
    /// A block. What it is worth is of this type, and flexible or not.
    pub(super) fn block(&mut self, block: &mut Block) -> Known {
        for statement in &mut block.statements {
            self.statement(statement);
        }
        match &mut block.value {
            Some(value) => self.expr(value),
            None => Known::default(),
        }
    }

    fn statement(&mut self, statement: &mut Statement) {
        assign_inside(statement);
        let span = statement.span;
        match &mut statement.kind {
            StatementKind::Expr(expr) => {
                self.expr(expr);
                if is_discarded(expr) {
                    self.warn(span, "Return value discarded.");
                }
            }
            StatementKind::Discard(expr) => {
                self.expr(expr);
            }
            StatementKind::Let { variable, annotation, value } => {
                if let Some(annotation) = annotation {
                    self.annotate(variable, annotation);
                }
                if let Some(value) = value {
                    let known = self.expr(value);
                    self.assign_variable(variable, value, known, span);
                }
            }
            StatementKind::Assign { target, value } => self.assign(target, value, span),
            StatementKind::While { condition, body } => {
                self.expr(condition);
                self.condition(condition);
                self.in_loop(body);
            }
            StatementKind::For { variable, over, body } => self.for_(variable, over, body),
            StatementKind::Return(value) => self.return_(value, span),
            StatementKind::Unroll { .. }
            | StatementKind::Break
            | StatementKind::Continue
            | StatementKind::Import(_) => {}
        }
    }

    fn in_loop(&mut self, body: &mut Block) {
        self.loops += 1;
        self.block(body);
        self.loops -= 1;
    }

    /// What decides must be something that can be true.
    pub(super) fn condition(&mut self, condition: &mut Expr) {
        self.read(condition);
        match &condition.ty {
            Type::None | Type::Int(_) | Type::Enum(..) | Type::Bool | Type::Pointer(_) => {}
            other => {
                let message = format!("Invalid condition: {}", other.kind());
                self.error(condition.span, message);
            }
        }
    }

    // Variables.

    /// `let $a : type`.
    fn annotate(&mut self, variable: &Variable, annotation: &mut TypeSpec) {
        let ty = self.spec(annotation);
        if matches!(ty, Type::Aggregate(_) | Type::Void) {
            let message = format!("Invalid variable declaration type: {}", self.shown(&ty));
            self.error(annotation.span, message);
        }
        // A type without a size gets that of what is assigned.
        let is_sized = !matches!(ty, Type::String(0) | Type::Buffer(0) | Type::Array(_, 0));
        if is_sized && !ty.is_none() {
            self.know(variable.id, Known::fixed(ty));
        } else if self.local(variable.id).ty.is_none() {
            self.know(variable.id, Known { ty, is_flexible: false, is_fixed: false });
        }
    }

    pub(super) fn local(&self, id: LocalId) -> &Known {
        &self.locals[id.0 as usize]
    }

    fn know(&mut self, id: LocalId, known: Known) {
        let local = &mut self.locals[id.0 as usize];
        if *local != known {
            *local = known;
            self.changed = true;
        }
    }

    fn assign_variable(&mut self, variable: &Variable, value: &mut Expr, known: Known, span: Span) {
        let mut known = known;
        if let Some(ty) = read_type(&known.ty) {
            known = Known { ty, ..Known::default() };
            self.read(value);
        }
        if matches!(known.ty, Type::Aggregate(_) | Type::Void) {
            let shown = self.shown(&known.ty);
            return self
                .error(span, format!("Value '{shown}' cannot be assigned to a scratch variable."));
        }
        let local = self.local(variable.id).clone();
        if !local.is_fixed
            && let Some(joined) = local.join(&known)
        {
            self.know(variable.id, joined);
        }
        let target = self.local(variable.id).ty.clone();
        if !self.coerce(value, &target) {
            let (value, target) = (self.shown(&value.ty), self.shown(&target));
            let name = shown_name(&variable.name);
            self.error(
                span,
                format!(
                    "Type mismatch for {name}: trying to assign value of type '{value}' when \
                     variable already has a type '{target}'"
                ),
            );
        }
        if known.ty.is_none() {
            self.consequence(span, "Invalid expression for assignment");
        }
    }

    /// `$a++` makes a value of it.
    pub(super) fn step_variable(&mut self, variable: &Variable, known: &Known) {
        let local = self.local(variable.id).clone();
        if !local.is_fixed
            && let Some(joined) = local.join(known)
        {
            self.know(variable.id, joined);
        }
    }

    fn assign(&mut self, target: &mut Expr, value: &mut Expr, span: Span) {
        if let ExprKind::Variable(variable) = &target.kind {
            let variable = variable.clone();
            let known = self.expr(value);
            self.assign_variable(&variable, value, known, span);
            target.ty = self.local(variable.id).ty.clone();
            return;
        }
        let ExprKind::Map { name, key } = &mut target.kind else { return };
        let name = name.clone();
        self.key(&name, key.as_deref_mut(), target.span);
        if let ExprKind::Function { function, arguments } = &mut value.kind
            && function.is_aggregation()
        {
            let function = *function;
            self.aggregate(&name, function, arguments, span);
            value.ty = Type::Void;
        } else {
            let known = self.expr(value);
            self.assign_map(&name, value, known, span);
        }
        target.ty = self.map(&name, span).value.ty.clone();
    }

    /// `@a = value`.
    fn assign_map(&mut self, name: &Name, value: &mut Expr, known: Known, span: Span) {
        let current = self.map(name, span).value.clone();
        let mut known = known;
        if let Type::Aggregate(of) = known.ty {
            let is_integer = current.ty.is_int() && known.ty.is_castable_aggregate();
            if !is_integer {
                self.map(name, span).is_refused = true;
                return self.not_from_map(name, of, value, span);
            }
            known = Known { ty: read_type(&known.ty).unwrap_or_default(), ..Known::default() };
            self.read(value);
        }
        if known.ty == Type::Void {
            return self.error(span, "Value 'void' cannot be assigned to a map.");
        }
        let is_aggregate = matches!(current.ty, Type::Aggregate(_));
        match current.join(&known).filter(|_| !is_aggregate) {
            Some(joined) => self.know_value(name, joined),
            None => {
                let (value, current) = (self.shown(&known.ty), self.shown(&current.ty));
                let message = format!(
                    "Type mismatch for {name}: trying to assign value of type '{value}' when map \
                     already has a type '{current}'"
                );
                return self.error(span, message);
            }
        }
        let target = self.map(name, span).value.ty.clone();
        if !self.coerce(value, &target) {
            let (value, target) = (self.shown(&value.ty), self.shown(&target));
            let message = format!(
                "Type mismatch for {name}: trying to assign value of type '{value}' when map \
                 already has a value type '{target}'"
            );
            self.error(span, message);
        }
        if known.ty.is_none() {
            self.consequence(span, "Invalid expression for assignment");
        }
    }

    // Loops and ends.

    fn for_(&mut self, variable: &mut Variable, over: &mut Iterable, body: &mut Block) {
        let known = match over {
            Iterable::Map(name, span) => {
                let (name, span) = (name.clone(), *span);
                Known::fixed(self.entries(&name, span))
            }
            Iterable::Range(first, last) => self.range(first, last),
        };
        if !known.ty.is_none() {
            self.know(variable.id, known);
        }
        self.in_loop(body);
    }

    /// Of a map that is iterated over: pairs of key and value.
    fn entries(&mut self, name: &Name, span: Span) -> Type {
        let facts = self.map(name, span);
        if facts.is_scalar == Some(true) {
            let message = format!(
                "{name} has no explicit keys (scalar map), and cannot be used for iteration"
            );
            self.error(span, message);
            return Type::None;
        }
        let (key, value) = (facts.key.ty.clone(), facts.value.ty.clone());
        if key.is_none() || value.is_none() {
            self.error(span, format!("Undefined map: {name}"));
            return Type::None;
        }
        if matches!(value, Type::Aggregate(_)) && !value.is_castable_aggregate() {
            let value = self.shown(&value);
            self.error(span, format!("Loop expression does not support type: {value}"));
        }
        Type::tuple([key, value])
    }

    fn range(&mut self, first: &mut Expr, last: &mut Expr) -> Known {
        let mut from = self.expr(first);
        let to = self.expr(last);
        for (bound, which) in [(&mut *first, "start"), (&mut *last, "end")] {
            self.read(bound);
            if !bound.ty.is_int() && !bound.ty.is_none() {
                let message = format!("Loop range requires an integer for the {which} value");
                self.error(bound.span, message);
            }
        }
        if let Some(joined) = from.join(&to) {
            from = joined;
        }
        let known = Known { is_fixed: true, is_flexible: false, ..from };
        self.coerce(first, &known.ty);
        self.coerce(last, &known.ty);
        known
    }

    fn return_(&mut self, value: &mut Option<Expr>, span: Span) {
        if let Some(value) = value {
            self.expr(value);
            self.read(value);
        }
        let given = value.as_ref().map_or(Type::Void, |value| value.ty.clone());
        match (self.returns.clone(), value) {
            (Some(wanted), Some(value)) if wanted != Type::Void => {
                if !self.coerce(value, &wanted) {
                    self.wrong_return(&wanted, &given, span);
                }
            }
            (Some(Type::Void), None) => {}
            (Some(wanted), _) => self.wrong_return(&wanted, &given, span),
            (None, Some(value)) if !value.ty.is_int() && !value.ty.is_none() => {
                let given = self.shown(&given);
                let message = format!("Probe return values can only be integers. Found {given}");
                self.error(span, message);
            }
            (None, Some(value)) => {
                self.coerce(value, &Type::I64);
            }
            (None, None) => {}
        }
    }

    fn wrong_return(&mut self, wanted: &Type, given: &Type, span: Span) {
        let (wanted, given) = (self.shown(wanted), self.shown(given));
        self.error(span, format!("Function is of type {wanted}, cannot return {given}"));
    }

    /// An `if` of which the condition is known now: the branch that isn't taken needs no sense.
    pub(super) fn comptime_if(&mut self, expr: &mut Expr) -> Known {
        let span = expr.span;
        let ExprKind::If { condition, then, otherwise } = &mut expr.kind else {
            return Known::default();
        };
        let ExprKind::Comptime(of) = &mut condition.kind else { return Known::default() };
        self.expr(of);
        let of = of.clone();
        let literal = self.literal(&of);
        let Some(is_true) = literal.as_ref().and_then(super::super::fold::truth) else {
            self.error(of.span, "Unable to evaluate at compile time.");
            return Known::default();
        };
        let taken = if is_true { then } else { otherwise };
        let known = self.expr(taken);
        expr.ty = known.ty.clone();
        if self.is_final {
            *expr = Expr { span, ..mem::take(taken) };
        }
        known
    }
}

/// Whether a statement's value is lost that may have been meant for something.
fn is_discarded(expr: &Expr) -> bool {
    use super::super::super::functions::Function;
    let has_effect = matches!(
        expr.kind,
        ExprKind::Step { .. }
            | ExprKind::If { .. }
            | ExprKind::Block(_)
            | ExprKind::Call { .. }
            | ExprKind::Function { function: Function::Delete | Function::Skboutput, .. }
    );
    !has_effect && !matches!(expr.ty, Type::None | Type::Void)
}

/// `@a = { …; count() }` is `{ …; @a = count() }`.
fn assign_inside(statement: &mut Statement) {
    let StatementKind::Assign { target, value } = &mut statement.kind else { return };
    let ExprKind::Block(block) = &mut value.kind else { return };
    let is_aggregation = block.value.as_deref().is_some_and(|value| {
        matches!(value.kind, ExprKind::Function { function, .. } if function.is_aggregation())
    });
    if !is_aggregation {
        return;
    }
    let mut block = mem::take(block);
    if let Some(value) = block.value.take() {
        let kind = StatementKind::Assign { target: mem::take(target), value: *value };
        block.statements.push(Statement { kind, span: statement.span });
    }
    statement.kind = StatementKind::Expr(Expr::new(ExprKind::Block(block), statement.span));
}

/// A variable's name as the script has it.
pub(super) fn shown_name(name: &str) -> &str {
    name.split('#').next().unwrap_or(name)
}

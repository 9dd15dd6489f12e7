//! A way through the tree: a pass overrides what it cares about, the rest is walked.

use super::ast::*;

/// Looks at nodes and may change them.
pub trait Visit {
    /// An expression; what is inside it comes by [`walk_expr`].
    fn expr(&mut self, expr: &mut Expr) {
        walk_expr(self, expr);
    }

    /// A statement; what is inside it comes by [`walk_statement`].
    fn statement(&mut self, statement: &mut Statement) {
        walk_statement(self, statement);
    }

    /// A block; what is inside it comes by [`walk_block`].
    fn block(&mut self, block: &mut Block) {
        walk_block(self, block);
    }

    /// A type as it is written.
    fn type_spec(&mut self, spec: &mut TypeSpec) {
        walk_type_spec(self, spec);
    }

    /// A variable, where it is used and where it is made.
    fn variable(&mut self, _variable: &mut Variable) {}

    /// A map by its name.
    fn map(&mut self, _name: &mut super::types::Name, _span: super::source::Span) {}

    /// All probes and functions.
    fn script(&mut self, script: &mut Script) {
        for function in &mut script.functions {
            for (variable, spec) in &mut function.parameters {
                self.variable(variable);
                self.type_spec(spec);
            }
            self.block(&mut function.body);
            self.type_spec(&mut function.returns);
        }
        for probe in &mut script.probes {
            self.block(&mut probe.body);
        }
    }
}

/// Visits what is in a block.
pub fn walk_block<V: Visit + ?Sized>(visit: &mut V, block: &mut Block) {
    for statement in &mut block.statements {
        visit.statement(statement);
    }
    if let Some(value) = &mut block.value {
        visit.expr(value);
    }
}

/// Visits what is in a statement. What an assignment gets comes before where it goes.
pub fn walk_statement<V: Visit + ?Sized>(visit: &mut V, statement: &mut Statement) {
    match &mut statement.kind {
        StatementKind::Expr(expr) | StatementKind::Discard(expr) => visit.expr(expr),
        StatementKind::Let { variable, annotation, value } => {
            if let Some(value) = value {
                visit.expr(value);
            }
            if let Some(annotation) = annotation {
                visit.type_spec(annotation);
            }
            visit.variable(variable);
        }
        StatementKind::Assign { target, value } => {
            visit.expr(value);
            visit.expr(target);
        }
        StatementKind::Unroll { count: condition, body }
        | StatementKind::While { condition, body } => {
            visit.expr(condition);
            visit.block(body);
        }
        StatementKind::For { variable, over, body } => {
            match over {
                Iterable::Map(name, span) => visit.map(name, *span),
                Iterable::Range(first, last) => {
                    visit.expr(first);
                    visit.expr(last);
                }
            }
            visit.variable(variable);
            visit.block(body);
        }
        StatementKind::Return(Some(value)) => visit.expr(value),
        StatementKind::Return(None)
        | StatementKind::Break
        | StatementKind::Continue
        | StatementKind::Import(_) => {}
    }
}

/// Visits what is in an expression.
pub fn walk_expr<V: Visit + ?Sized>(visit: &mut V, expr: &mut Expr) {
    let span = expr.span;
    match &mut expr.kind {
        ExprKind::None
        | ExprKind::Int(_)
        | ExprKind::Bool(_)
        | ExprKind::Str(_)
        | ExprKind::Parameter(_)
        | ExprKind::ParameterCount
        | ExprKind::Ident(_)
        | ExprKind::Argument(_) => {}
        ExprKind::Call { arguments: items, .. }
        | ExprKind::Function { arguments: items, .. }
        | ExprKind::Tuple(items) => items.iter_mut().for_each(|item| visit.expr(item)),
        ExprKind::Type(spec) | ExprKind::Sizeof(spec) | ExprKind::Typeinfo(spec) => {
            visit.type_spec(spec);
        }
        ExprKind::Offsetof { of, .. } => visit.type_spec(of),
        ExprKind::Map { name, key } => {
            if let Some(key) = key {
                visit.expr(key);
            }
            visit.map(name, span);
        }
        ExprKind::Variable(variable) => visit.variable(variable),
        ExprKind::Comptime(of)
        | ExprKind::AddressOf(of)
        | ExprKind::Unary { of, .. }
        | ExprKind::Step { of, .. }
        | ExprKind::Field { of, .. }
        | ExprKind::TupleItem { of, .. } => visit.expr(of),
        ExprKind::Binary { left, right, .. } | ExprKind::Index { of: left, index: right } => {
            visit.expr(left);
            visit.expr(right);
        }
        ExprKind::Cast { to, of } => {
            visit.type_spec(to);
            visit.expr(of);
        }
        ExprKind::Record(fields) => fields.iter_mut().for_each(|(_, value)| visit.expr(value)),
        ExprKind::If { condition, then, otherwise } => {
            visit.expr(condition);
            visit.expr(then);
            visit.expr(otherwise);
        }
        ExprKind::Block(block) => visit.block(block),
    }
}

/// Visits what is in a type as it is written.
pub fn walk_type_spec<V: Visit + ?Sized>(visit: &mut V, spec: &mut TypeSpec) {
    match &mut spec.kind {
        TypeSpecKind::Pointer(of) | TypeSpecKind::Array(of, _) => visit.type_spec(of),
        TypeSpecKind::Of(expr) => visit.expr(expr),
        TypeSpecKind::Known | TypeSpecKind::Named(_) | TypeSpecKind::Tagged(_) => {}
    }
}

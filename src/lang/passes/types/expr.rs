//! Expressions.

use super::super::super::ast::*;
use super::super::super::types::{AddressSpace, Int, Name, Type};
use super::Typer;
use super::coerce::{read_type, space_of_pointer};
use super::join::{Known, join};
use super::statement::shown_name;

impl Typer<'_, '_> {
    /// An expression: it gets its type.
    pub(super) fn expr(&mut self, expr: &mut Expr) -> Known {
        let span = expr.span;
        let known = match &mut expr.kind {
            ExprKind::None | ExprKind::Parameter(_) | ExprKind::ParameterCount => Known::default(),
            ExprKind::Int(value) => int(*value, &expr.ty),
            ExprKind::Bool(_) => of(Type::Bool),
            ExprKind::Str(bytes) => {
                let bytes = std::mem::take(bytes);
                let ty = self.string(&bytes, span);
                expr.kind = ExprKind::Str(bytes);
                of(ty)
            }
            ExprKind::Ident(name) => {
                let message = format!("Unknown identifier: '{name}'");
                self.error(span, message);
                Known::default()
            }
            ExprKind::Call { name, arguments } => {
                let name = name.clone();
                of(self.subprogram(&name, arguments, span))
            }
            ExprKind::Function { .. } => {
                let ty = self.function(expr);
                of(ty)
            }
            ExprKind::Argument(_) => of(self.argument(span)),
            ExprKind::Type(_) => Known::default(),
            ExprKind::Sizeof(_)
            | ExprKind::Offsetof { .. }
            | ExprKind::Typeinfo(_)
            | ExprKind::Comptime(_) => self.known_now(expr),
            ExprKind::Map { name, key } => {
                let name = name.clone();
                let known = self.key(&name, key.as_deref_mut(), span);
                self.map(&name, span);
                if known.ty.is_none() {
                    self.error(span, format!("Undefined map: {name}"));
                }
                known
            }
            ExprKind::Variable(variable) => {
                let variable = variable.clone();
                self.variable(&variable, span)
            }
            ExprKind::AddressOf(inner) => of(self.address_of(inner)),
            ExprKind::Binary { .. } => of(self.binary(expr)),
            ExprKind::Unary { .. } => of(self.unary(expr)),
            ExprKind::Step { .. } => of(self.step(expr)),
            ExprKind::Field { .. } => of(self.field(expr)),
            ExprKind::TupleItem { of: inner, index } => {
                let index = *index;
                self.expr(inner);
                of(self.tuple_item(inner, index, span))
            }
            ExprKind::Index { .. } => of(self.index(expr)),
            ExprKind::Cast { .. } => of(self.cast(expr)),
            ExprKind::Tuple(items) => of(self.tuple(items)),
            ExprKind::Record(fields) => of(self.record(fields)),
            ExprKind::If { condition, .. } if matches!(condition.kind, ExprKind::Comptime(_)) => {
                return self.comptime_if(expr);
            }
            ExprKind::If { .. } => self.if_(expr),
            ExprKind::Block(block) => self.block(block),
        };
        expr.ty = known.ty.clone();
        known
    }

    /// `sizeof` and the like become literals in the last walk.
    fn known_now(&mut self, expr: &mut Expr) -> Known {
        if let ExprKind::Comptime(of) = &mut expr.kind {
            self.expr(of);
        }
        let Some(literal) = self.literal(expr) else {
            if let ExprKind::Typeinfo(spec) = &mut expr.kind {
                let ty = self.spec(spec);
                if self.is_final {
                    expr.kind = self.typeinfo(&ty);
                }
                return of(Type::Record(
                    [
                        ("btf_id".into(), Type::U64),
                        ("base_type".into(), Type::String(ty.kind().len() as u32 + 1)),
                        ("full_type".into(), Type::String(self.shown(&ty).len() as u32 + 1)),
                    ]
                    .into(),
                ));
            }
            self.error(expr.span, "Unable to evaluate at compile time.");
            return Known::default();
        };
        let mut value = Expr { span: expr.span, ..literal };
        let known = self.expr(&mut value);
        if self.is_final {
            *expr = value;
        }
        known
    }

    fn string(&mut self, bytes: &[u8], span: super::Span) -> Type {
        let (size, most) = (bytes.len() as u64 + 1, self.context.config.max_strlen);
        if size > most.max(1) {
            let text = String::from_utf8_lossy(bytes);
            self.error(span, format!("String is too long (over {most} bytes): {text}"));
        }
        Type::String(size as u32)
    }

    fn variable(&mut self, variable: &Variable, span: super::Span) -> Known {
        let known = self.local(variable.id).clone();
        if known.ty.is_none() {
            let name = shown_name(&variable.name);
            let message = format!("Could not resolve the type of this variable: {name}");
            self.consequence(span, message);
        }
        Known { is_fixed: false, ..known }
    }

    fn tuple(&mut self, items: &mut [Expr]) -> Type {
        let types: Vec<Type> = items.iter_mut().map(|item| self.part(item, "tuple")).collect();
        if types.contains(&Type::None) { Type::None } else { Type::tuple(types) }
    }

    fn record(&mut self, fields: &mut [(Name, Expr)]) -> Type {
        let mut types = Vec::new();
        for (name, value) in fields {
            types.push((name.clone(), self.part(value, "record")));
        }
        let is_known = types.iter().all(|(_, ty)| !ty.is_none());
        if is_known { Type::Record(types.into()) } else { Type::None }
    }

    /// A part of a tuple or record.
    fn part(&mut self, item: &mut Expr, of: &str) -> Type {
        self.expr(item);
        self.read(item);
        if let Type::Aggregate(_) = item.ty {
            let ty = self.shown(&item.ty);
            self.error(item.span, format!("Map type {ty} cannot exist inside a {of}."));
        }
        if item.ty == Type::Void {
            self.error(item.span, format!("A value of type void cannot exist inside a {of}."));
        }
        item.ty.clone()
    }

    fn address_of(&mut self, inner: &mut Expr) -> Type {
        match &inner.kind {
            // The address of a map as a whole, which has no key.
            ExprKind::Map { name, key: None } => {
                let name = name.clone();
                let facts = self.map(&name, inner.span);
                inner.ty = facts.value.ty.clone();
            }
            _ => {
                self.expr(inner);
            }
        }
        match &inner.ty {
            Type::None => Type::None,
            ty => ty.clone().pointer(AddressSpace::Own),
        }
    }

    fn if_(&mut self, expr: &mut Expr) -> Known {
        let span = expr.span;
        let ExprKind::If { condition, then, otherwise } = &mut expr.kind else {
            return Known::default();
        };
        self.expr(condition);
        self.condition(condition);
        let mut left = self.expr(then);
        let mut right = self.expr(otherwise);
        if otherwise.is_none() {
            return Known::default();
        }
        for (known, branch) in [(&mut left, &mut *then), (&mut right, &mut *otherwise)] {
            if let Some(ty) = read_type(&known.ty) {
                *known = of(ty);
                self.read(branch);
            }
        }
        // Branches that are worth nothing make a statement of it.
        if matches!(left.ty, Type::None | Type::Void) || matches!(right.ty, Type::None | Type::Void)
        {
            let is_void = left.ty == Type::Void || right.ty == Type::Void;
            return of(if is_void { Type::Void } else { Type::None });
        }
        let Some(joined) = left.join(&right) else {
            let (left, right) = (self.shown(&left.ty), self.shown(&right.ty));
            let message = format!(
                "Branches must return the same type or compatible types: have '{left}' and '{right}'"
            );
            self.error(span, message);
            return Known::default();
        };
        self.coerce(then, &joined.ty);
        self.coerce(otherwise, &joined.ty);
        joined
    }

    // Operators.

    fn binary(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span;
        let ExprKind::Binary { op, left, right } = &mut expr.kind else { return Type::None };
        let op = *op;
        let a = self.expr(left);
        let b = self.expr(right);
        for (side, known) in [(&mut *left, &a), (&mut *right, &b)] {
            if known.ty.is_castable_aggregate() {
                self.read(side);
            }
        }
        if left.ty.is_none() || right.ty.is_none() {
            return Type::None;
        }
        let (left_type, right_type) = (left.ty.clone(), right.ty.clone());
        let is_number = |ty: &Type| ty.is_int() || *ty == Type::Bool;
        match (&left_type, &right_type) {
            (Type::Bool, Type::Bool) if op.is_comparison() || op.is_logical() => Type::Bool,
            (Type::Pointer(_), _) | (_, Type::Pointer(_)) => self.pointers(op, left, right, span),
            _ if op.is_logical() => {
                self.condition(left);
                self.condition(right);
                Type::Bool
            }
            _ if is_number(&left_type) && is_number(&right_type) => {
                self.numbers(op, left, &a, right, &b, span)
            }
            (Type::Array(of, a), Type::Array(other, b)) => {
                self.arrays(op, (of, *a), (other, *b), span);
                Type::Bool
            }
            _ => {
                self.others(op, left, right, span);
                if op.is_comparison() { Type::Bool } else { Type::I64 }
            }
        }
    }

    fn numbers(
        &mut self,
        op: BinaryOp,
        left: &mut Expr,
        a: &Known,
        right: &mut Expr,
        b: &Known,
        span: super::Span,
    ) -> Type {
        let sign = |known: &Known, ty: &Type, other: &Known, other_type: &Type| {
            let follows = known.is_flexible && !other.is_flexible && other_type.is_int();
            if follows { other_type.is_signed() } else { ty.is_signed() }
        };
        let left_signed = sign(a, &left.ty, b, &right.ty);
        let right_signed = sign(b, &right.ty, a, &left.ty);
        if op.is_comparison() {
            let joined = join(&left.ty, a.is_flexible, &right.ty, b.is_flexible);
            if let Some(joined) = joined {
                self.coerce(left, &joined);
                self.coerce(right, &joined);
            }
            return Type::Bool;
        }
        let signed = match op {
            BinaryOp::Shl | BinaryOp::Shr => left_signed,
            BinaryOp::Sub => true,
            _ => left_signed || right_signed,
        };
        let is_uneven = left.ty != right.ty && (left_signed || right_signed);
        if matches!(op, BinaryOp::Div | BinaryOp::Mod) && is_uneven {
            let message = format!(
                "signed operands for '{}' can lead to undefined behavior (cast to unsigned to \
                 silence warning)",
                op.symbol()
            );
            self.warn(span, message);
        }
        let result = Type::Int(Int { bits: 64, signed });
        for side in [left, right] {
            // A literal that only the other sign has is taken as its bits.
            let is_wide = matches!(side.kind, ExprKind::Int(value)
                if !Int { bits: 64, signed }.holds(value));
            if !is_wide && side.ty.is_int() {
                let same_width = side.ty.int().is_some_and(|int| int.bits == 64);
                if same_width && !matches!(side.kind, ExprKind::Int(_)) {
                    continue;
                }
                self.coerce(side, &result);
            }
        }
        result
    }

    fn pointers(
        &mut self,
        op: BinaryOp,
        left: &mut Expr,
        right: &mut Expr,
        span: super::Span,
    ) -> Type {
        let (a, b) = (left.ty.clone(), right.ty.clone());
        let is_number = |ty: &Type| ty.is_int() || *ty == Type::Bool;
        match (&a, &b) {
            (Type::Pointer(one), Type::Pointer(other)) => {
                if op.is_comparison() {
                    if one.to != other.to {
                        let (one, other) = (self.shown(&one.to), self.shown(&other.to));
                        let message =
                            format!("comparison of distinct pointer types: {one}, {other}");
                        self.warn(span, message);
                    }
                    return Type::Bool;
                }
                if op.is_logical() {
                    return Type::Bool;
                }
            }
            (Type::Pointer(_), other) if is_number(other) => match op {
                BinaryOp::Add | BinaryOp::Sub => return a,
                _ if op.is_comparison() || op.is_logical() => return Type::Bool,
                _ => {}
            },
            (other, Type::Pointer(_)) if is_number(other) => match op {
                BinaryOp::Add => return b,
                _ if op.is_comparison() || op.is_logical() => return Type::Bool,
                _ => {}
            },
            _ => {}
        }
        self.wrong_operands(op, &a, &b, span);
        Type::None
    }

    fn wrong_operands(&mut self, op: BinaryOp, a: &Type, b: &Type, span: super::Span) {
        let (a, b, op) = (self.shown(a), self.shown(b), op.symbol());
        let message = format!("The {op} operator can not be used on expressions of types {a}, {b}");
        self.error(span, message);
    }

    fn arrays(&mut self, op: BinaryOp, a: (&Type, u32), b: (&Type, u32), span: super::Span) {
        if !matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            let message = format!("The {} operator cannot be used on arrays.", op.symbol());
            self.error(span, message);
        }
        if a.1 != b.1 {
            self.error(span, "Only arrays of same size support comparison operators.");
        }
        if !a.0.is_int() || a.0 != b.0 {
            let message = "Only arrays of same sized integer support comparison operators.";
            self.error(span, message);
        }
    }

    /// Strings, tuples and the like: they are the same or not.
    fn others(&mut self, op: BinaryOp, left: &mut Expr, right: &mut Expr, span: super::Span) {
        let (a, b) = (left.ty.clone(), right.ty.clone());
        let Some(joined) = join(&a, false, &b, false) else {
            if self.is_final {
                let (a, b) = (self.shown(&a), self.shown(&b));
                let message =
                    format!("Type mismatch for '{}': comparing {a} with {b}", op.symbol());
                let told = self.context.diagnostics.error(span, message);
                told.note(left.span, format!("left ({a})"));
                told.note(right.span, format!("right ({b})"));
            }
            return;
        };
        if !matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            return self.wrong_operands(op, &a, &b, span);
        }
        if matches!(joined, Type::Tuple(_) | Type::Record(_)) {
            self.coerce(left, &joined);
            self.coerce(right, &joined);
        }
    }

    fn unary(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span;
        let ExprKind::Unary { op, of } = &mut expr.kind else { return Type::None };
        let op = *op;
        self.expr(of);
        self.read(of);
        let ty = of.ty.clone();
        match (op, &ty) {
            (_, Type::None) => Type::None,
            (UnaryOp::Not, Type::Int(_) | Type::Enum(..) | Type::Bool | Type::Pointer(_)) => {
                Type::Bool
            }
            (UnaryOp::Neg | UnaryOp::BitNot, Type::Int(_) | Type::Enum(..)) => {
                let result = Type::Int(Int { bits: 64, signed: ty.is_signed() });
                self.coerce(of, &result);
                result
            }
            (UnaryOp::Deref, Type::Pointer(pointer)) => {
                let to = (*pointer.to).clone();
                if to == Type::Void {
                    self.error(span, "Can not dereference type 'void *'.");
                }
                inherit(to, pointer.space)
            }
            // An address as it stands: what is there is a word.
            (UnaryOp::Deref, Type::Int(_)) => Type::U64,
            // `*args` was written once.
            (UnaryOp::Deref, Type::Struct(_)) if matches!(of.kind, ExprKind::Function { .. }) => ty,
            (UnaryOp::Deref, Type::Struct(_)) => {
                let shown = self.shown(&ty);
                let message = format!(
                    "Can not dereference struct/union of type '{shown}'. It is not a pointer."
                );
                self.error(span, message);
                Type::None
            }
            _ => {
                let (symbol, shown) = (op.symbol(), self.shown(&ty));
                let message = format!(
                    "The {symbol} operator can not be used on expressions of type '{shown}'"
                );
                self.error(span, message);
                Type::None
            }
        }
    }

    /// `a++` and the like: integers have 64 bits then.
    fn step(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span;
        let ExprKind::Step { by, of, .. } = &mut expr.kind else { return Type::None };
        let is_down = *by < 0;
        let counted = |current: &Type| match current {
            Type::None => Some(Type::None),
            Type::Pointer(_) => Some(current.clone()),
            Type::Int(int) => Some(Type::Int(Int { bits: 64, signed: int.signed || is_down })),
            _ => None,
        };
        let current = match &mut of.kind {
            ExprKind::Map { name, key } => {
                let name = name.clone();
                self.key(&name, key.as_deref_mut(), span).ty
            }
            ExprKind::Variable(variable) => self.local(variable.id).ty.clone(),
            _ => Type::None,
        };
        let Some(ty) = counted(&current) else {
            let symbol = if is_down { "--" } else { "++" };
            let shown = self.shown(&current);
            let message =
                format!("The {symbol} operator can not be used on expressions of type '{shown}'");
            self.error(span, message);
            return Type::None;
        };
        let known = Known { ty: ty.clone(), ..Known::default() };
        match &of.kind {
            ExprKind::Map { name, .. } => {
                let name = name.clone();
                if !ty.is_none() && ty.is_int() {
                    let joined = self.map(&name, span).value.join(&known);
                    if let Some(joined) = joined {
                        self.know_value(&name, joined);
                    }
                }
                of.ty = self.map(&name, span).value.ty.clone();
            }
            ExprKind::Variable(variable) => {
                let variable = variable.clone();
                if ty.is_int() {
                    self.step_variable(&variable, &known);
                }
                of.ty = self.local(variable.id).ty.clone();
                if self.local(variable.id).is_fixed {
                    return of.ty.clone();
                }
            }
            _ => {}
        }
        if ty.is_none() { Type::None } else { ty }
    }
}

/// A type that isn't flexible.
pub(super) fn of(ty: Type) -> Known {
    Known { ty, ..Known::default() }
}

/// A literal: the smallest type that has it, but for constants whose type is known.
fn int(value: i128, ty: &Type) -> Known {
    if !ty.is_none() {
        return Known { ty: ty.clone(), is_flexible: is_small(ty, value), is_fixed: false };
    }
    let smallest = Type::Int(Int::of_literal(value));
    Known { is_flexible: value >= 0 && smallest.is_signed(), ty: smallest, is_fixed: false }
}

/// Whether a type is the one that a literal has by itself.
fn is_small(ty: &Type, value: i128) -> bool {
    *ty == Type::Int(Int::of_literal(value)) && value >= 0 && ty.is_signed()
}

/// A pointer that was read from somewhere points to the same memory.
pub(super) fn inherit(ty: Type, space: AddressSpace) -> Type {
    match ty {
        Type::Pointer(mut pointer)
            if space_of_pointer(&Type::Pointer(pointer.clone())).is_none() =>
        {
            pointer.space = space;
            Type::Pointer(pointer)
        }
        other => other,
    }
}

//! Conversions that the language makes by itself.

use super::super::super::ast::*;
use super::super::super::types::{AddressSpace, Aggregate, Int, Name, Type};
use super::Typer;

impl Typer<'_, '_> {
    /// Makes a value of a type be of another one that holds it. Whether it can be.
    pub(super) fn coerce(&mut self, expr: &mut Expr, target: &Type) -> bool {
        if !self.is_final || expr.ty == *target || expr.ty.is_none() || target.is_none() {
            return true;
        }
        match (&expr.ty, target) {
            (Type::Int(_) | Type::Enum(..), Type::Int(to) | Type::Enum(_, to)) => {
                let to = *to;
                self.coerce_int(expr, to, target)
            }
            (Type::Aggregate(_), Type::Int(_)) if expr.ty.is_castable_aggregate() => {
                cast(expr, target)
            }
            (Type::String(from), Type::String(to)) => {
                if from > to {
                    return false;
                }
                if matches!(expr.kind, ExprKind::Str(_)) {
                    expr.ty = target.clone();
                    return true;
                }
                cast(expr, target)
            }
            (Type::Tuple(_), Type::Tuple(to)) => self.coerce_tuple(expr, to, target),
            (Type::Record(_), Type::Record(to)) => self.coerce_record(expr, to, target),
            (Type::Pointer(_), Type::Pointer(_)) => cast(expr, target),
            (Type::Array(from, count), Type::Array(to, room))
                if count == room
                    && matches!((&**from, &**to), (Type::Pointer(_), Type::Pointer(_))) =>
            {
                cast(expr, target)
            }
            (Type::Buffer(from), Type::Buffer(to)) if from <= to => cast(expr, target),
            _ => false,
        }
    }

    fn coerce_int(&mut self, expr: &mut Expr, to: Int, target: &Type) -> bool {
        if let ExprKind::Int(value) = expr.kind {
            let fits = to.holds(value);
            if fits {
                expr.ty = target.clone();
            }
            return fits;
        }
        let from = expr.ty.int().unwrap_or(to);
        if !(to.holds(from.least()) && to.holds(from.greatest())) {
            let (from, to) = (self.shown(&expr.ty), self.shown(target));
            let message = format!(
                "Expression of type: {from} being cast to type: {to}. This may cause unexpected \
                 results. Use an explicit cast to suppress this warning."
            );
            self.warn(expr.span, message);
        }
        cast(expr, target)
    }

    fn coerce_tuple(&mut self, expr: &mut Expr, to: &[Type], target: &Type) -> bool {
        if let Some(inner) = value_of(expr) {
            let is_ok = inner.into_iter().all(|inner| self.coerce(inner, target));
            expr.ty = target.clone();
            return is_ok;
        }
        let Type::Tuple(from) = expr.ty.clone() else { return false };
        if from.len() != to.len() {
            return false;
        }
        if !matches!(expr.kind, ExprKind::Tuple(_)) {
            let item = |(index, ty): (usize, &Type)| {
                let of = Box::new(expr.clone());
                Expr::typed(ExprKind::TupleItem { of, index }, ty.clone(), expr.span)
            };
            expr.kind = ExprKind::Tuple(from.iter().enumerate().map(item).collect());
        }
        expr.ty = target.clone();
        let ExprKind::Tuple(items) = &mut expr.kind else { return false };
        items.iter_mut().zip(to).all(|(item, to)| self.coerce(item, to))
    }

    fn coerce_record(&mut self, expr: &mut Expr, to: &[(Name, Type)], target: &Type) -> bool {
        if let Some(inner) = value_of(expr) {
            let is_ok = inner.into_iter().all(|inner| self.coerce(inner, target));
            expr.ty = target.clone();
            return is_ok;
        }
        let Type::Record(from) = expr.ty.clone() else { return false };
        if from.len() != to.len() {
            return false;
        }
        if !matches!(expr.kind, ExprKind::Record(_)) {
            let field = |(name, ty): &(Name, Type)| {
                let of = Box::new(expr.clone());
                let kind = ExprKind::Field { of, name: name.clone() };
                (name.clone(), Expr::typed(kind, ty.clone(), expr.span))
            };
            expr.kind = ExprKind::Record(from.iter().map(field).collect());
        }
        expr.ty = target.clone();
        let ExprKind::Record(fields) = &mut expr.kind else { return false };
        fields.iter_mut().all(|(name, value)| {
            to.iter().find(|(other, _)| other == name).is_some_and(|(_, to)| self.coerce(value, to))
        })
    }

    /// Makes an integer of what a map adds up, if it is that.
    pub(super) fn read(&mut self, expr: &mut Expr) {
        if let Some(ty) = read_type(&expr.ty) {
            if self.is_final {
                cast(expr, &ty);
            } else {
                expr.ty = ty;
            }
        }
    }
}

/// The integer that is read of what a map adds up.
pub(super) fn read_type(ty: &Type) -> Option<Type> {
    let aggregate = ty.aggregate().filter(|_| ty.is_castable_aggregate())?;
    let signed = match aggregate {
        Aggregate::Count => true,
        other => other.signed().unwrap_or(true),
    };
    Some(Type::Int(Int { bits: 64, signed }))
}

/// Puts a cast around.
pub(super) fn cast(expr: &mut Expr, target: &Type) -> bool {
    let of = Box::new(std::mem::take(expr));
    let span = of.span;
    *expr = Expr::typed(ExprKind::Cast { to: TypeSpec::default(), of }, target.clone(), span);
    true
}

/// What an expression is worth, where that is one inside it.
fn value_of(expr: &mut Expr) -> Option<Vec<&mut Expr>> {
    match &mut expr.kind {
        ExprKind::Block(block) => block.value.as_deref_mut().map(|value| vec![value]),
        ExprKind::If { then, otherwise, .. } => Some(vec![then, otherwise]),
        _ => None,
    }
}

/// A pointer's space, if it has one.
pub(super) fn space_of_pointer(ty: &Type) -> Option<AddressSpace> {
    match ty {
        Type::Pointer(pointer) if pointer.space != AddressSpace::Unknown => Some(pointer.space),
        _ => None,
    }
}

//! Entries of maps, fields, items and casts.

use std::sync::Arc;

use super::super::super::ast::*;
use super::super::super::functions::Function;
use super::super::super::source::Span;
use super::super::super::types::{AddressSpace, Int, Name, Origin, StructId, Type};
use super::super::probes::alike;
use super::coerce::{read_type, space_of_pointer};
use super::expr::inherit;
use super::join::Known;
use super::{Facts, Typer};
use crate::btf::Kind;

impl Typer<'_, '_> {
    /// What is known of a map, which is used here.
    pub(super) fn map(&mut self, name: &Name, span: Span) -> &mut Facts {
        let facts = self.maps.entry(name.clone()).or_default();
        if !facts.is_used && facts.declared.is_none() {
            facts.span = span;
        }
        facts.is_used = true;
        facts
    }

    pub(super) fn know_value(&mut self, name: &Name, known: Known) {
        if let Some(facts) = self.maps.get_mut(name)
            && facts.value != known
        {
            facts.value = known;
            self.changed = true;
        }
    }

    /// An entry's key, or none. Gives what is known of the value.
    pub(super) fn key(&mut self, name: &Name, key: Option<&mut Expr>, span: Span) -> Known {
        self.keyed(name, key.is_some(), span);
        if let Some(key) = key {
            let known = self.expr(key);
            self.key_of(name, key, known, span);
        }
        self.map(name, span).value.clone()
    }

    /// A map is used with keys, or without.
    fn keyed(&mut self, name: &Name, has_key: bool, span: Span) {
        let facts = self.map(name, span);
        match facts.is_scalar {
            None => {
                facts.is_scalar = Some(!has_key);
                self.changed = true;
            }
            Some(true) if has_key => self.error(
                span,
                format!(
                    "{name} used as a map with an explicit key (non-scalar map), previously used \
                     without an explicit key (scalar map)"
                ),
            ),
            Some(false) if !has_key => self.error(
                span,
                format!(
                    "{name} used as a map without an explicit key (scalar map), previously used \
                     with an explicit key (non-scalar map)"
                ),
            ),
            Some(_) => {}
        }
    }

    /// A value as a key of a map.
    pub(super) fn key_of(&mut self, name: &Name, key: &mut Expr, known: Known, span: Span) {
        let mut known = known;
        if let Some(ty) = read_type(&known.ty) {
            known = Known { ty, ..Known::default() };
            self.read(key);
        }
        if let Type::Aggregate(_) = known.ty {
            let shown = self.shown(&known.ty);
            return self.error(key.span, format!("{shown} cannot be part of a map key"));
        }
        if known.ty == Type::Void {
            return self.error(key.span, "Invalid map key type: void");
        }
        let current = self.map(name, span).key.clone();
        match current.join(&known) {
            Some(joined) => {
                let facts = self.map(name, span);
                if facts.key != joined {
                    facts.key = joined;
                    self.changed = true;
                }
            }
            None => {
                let (given, wanted) = (self.shown(&known.ty), self.shown(&current.ty));
                let message = format!(
                    "Argument mismatch for {name}: trying to access with arguments: '{given}' when \
                     map expects arguments: '{wanted}'"
                );
                return self.error(span, message);
            }
        }
        let target = self.map(name, span).key.ty.clone();
        if !self.coerce(key, &target) {
            let (given, wanted) = (self.shown(&key.ty), self.shown(&target));
            let message = format!(
                "Type mismatch for {name}: trying to assign key of type '{given}' when map already \
                 has a key type '{wanted}'"
            );
            self.error(span, message);
        }
    }

    // Fields.

    pub(super) fn field(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span;
        let ExprKind::Field { of, name } = &mut expr.kind else { return Type::None };
        let name = name.clone();
        self.expr(of);
        let space = self.space(of);
        let mut ty = of.ty.clone();
        while let Type::Pointer(pointer) = &ty {
            ty = (*pointer.to).clone();
        }
        match &ty {
            Type::None => Type::None,
            Type::Struct(id) => match self.field_of(*id, &name) {
                Some(field) => inherit(field, space),
                None => {
                    self.no_field(of, *id, &name, span);
                    Type::None
                }
            },
            Type::Record(fields) => {
                let found = fields.iter().find(|(other, _)| *other == name);
                found.map(|(_, ty)| ty.clone()).unwrap_or_else(|| {
                    let message = format!("Record does not contain a field named '{name}'");
                    self.error(span, message);
                    Type::None
                })
            }
            other => {
                let shown = self.shown(other);
                let message =
                    format!("Can not access field '{name}' on expression of type '{shown}'");
                self.error(span, message);
                Type::None
            }
        }
    }

    fn field_of(&mut self, id: StructId, name: &str) -> Option<Type> {
        let field = self.context.structs.field(id, name, self.context.kernel)?;
        Some(field.ty)
    }

    fn no_field(&mut self, of: &Expr, id: StructId, name: &str, span: Span) {
        if !self.is_final {
            return;
        }
        let def = self.context.structs.get(id);
        let is_arguments = matches!(def.origin, Origin::Arguments | Origin::UserArguments);
        let is_unknown = def.size == 0 && def.fields.as_ref().is_none_or(Vec::is_empty);
        let struct_name = def.name.clone();
        let message = if is_arguments {
            format!("Can't find function parameter {name}")
        } else if is_unknown {
            format!("Unknown struct/union: '{struct_name}'")
        } else {
            format!("Struct/union of type '{struct_name}' does not contain a field named '{name}'")
        };
        let fields = self.context.structs.fields(id, self.context.kernel).to_vec();
        let names = fields.iter().map(|field| &*field.name);
        let near = if is_unknown {
            self.near_struct(&struct_name)
        } else {
            crate::filter::nearest(name, names).map(str::to_owned)
        };
        let told = self.context.diagnostics.error(span.to(of.span).to(span), message);
        if let Some(near) = near {
            told.hint(format!("Did you mean '{near}'?"));
        }
    }

    /// The kernel's struct or union that is called nearly so.
    fn near_struct(&self, name: &str) -> Option<String> {
        let (kind, wanted) = name.split_once(' ')?;
        let btf = self.context.kernel.btf()?;
        let is_it = |id: &_| match btf.kind(*id) {
            Kind::Struct(_) => kind == "struct",
            Kind::Union(_) => kind == "union",
            _ => false,
        };
        let names = btf.ids().filter(is_it).map(|id| btf.name(id));
        Some(format!("{kind} {}", alike(wanted, names)?))
    }

    /// Which memory a value is in, or points to.
    pub(super) fn space(&self, of: &Expr) -> AddressSpace {
        if let Some(space) = space_of_pointer(&of.ty) {
            return space;
        }
        match &of.kind {
            ExprKind::Unary { op: UnaryOp::Deref, of }
            | ExprKind::Field { of, .. }
            | ExprKind::Index { of, .. } => self.space(of),
            ExprKind::Function { function: Function::Args, .. } => self.arguments_space(),
            _ => self.default_space(),
        }
    }

    /// `offsetof(of, a.b)`.
    pub(super) fn offset(&mut self, of: &mut TypeSpec, path: &[Name]) -> Option<u32> {
        let mut ty = self.spec(of);
        let mut offset = 0;
        for name in path {
            let Type::Struct(id) = ty else {
                if !ty.is_none() {
                    let shown = self.shown(&ty);
                    self.error(of.span, format!("'{shown}' is not a C type."));
                }
                return None;
            };
            let Some(field) = self.context.structs.field(id, name, self.context.kernel) else {
                let shown = self.shown(&Type::Struct(id));
                self.error(of.span, format!("'{shown}' has no field named '{name}'"));
                return None;
            };
            offset += field.offset;
            ty = field.ty;
        }
        Some(offset)
    }

    // Items.

    pub(super) fn tuple_item(&mut self, of: &Expr, index: usize, span: Span) -> Type {
        match &of.ty {
            Type::None => Type::None,
            Type::Tuple(items) => items.get(index).cloned().unwrap_or_else(|| {
                let count = items.len();
                let message =
                    format!("Invalid tuple index: {index}. Found {count} elements in tuple.");
                self.error(span, message);
                Type::None
            }),
            other => {
                let shown = self.shown(other);
                let message =
                    format!("Can not access index '{index}' on expression of type '{shown}'");
                self.error(span, message);
                Type::None
            }
        }
    }

    pub(super) fn index(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span;
        let ExprKind::Index { of, index } = &mut expr.kind else { return Type::None };
        self.expr(of);
        let known = self.expr(index);
        self.read(index);
        let (ty, space) = (of.ty.clone(), self.space(of));
        let length = match &ty {
            Type::None => return Type::None,
            Type::Tuple(_) => {
                let at = index.as_int().and_then(|at| usize::try_from(at).ok());
                let Some(at) = at else {
                    self.error(span, "A tuple's index must be a literal.");
                    return Type::None;
                };
                let item = self.tuple_item(of, at, span);
                if self.is_final {
                    let of = std::mem::take(of);
                    expr.kind = ExprKind::TupleItem { of, index: at };
                }
                return item;
            }
            Type::Array(_, length) | Type::String(length) => *length,
            _ => 0,
        };
        if let Some(at) = index.as_int()
            && length != 0
            && at >= i128::from(length)
        {
            let message = format!("the index {at} is out of bounds for array of size {length}");
            self.error(span, message);
        }
        let is_negative = index.as_int().is_some_and(|at| at < 0);
        let is_signed = index.ty.is_signed() && index.as_int().is_none() && !known.is_flexible;
        if !index.ty.is_none() && (!index.ty.is_int() || is_signed || is_negative) {
            let shown = self.shown(&index.ty);
            let message = format!(
                "The array index operator [] only accepts non-negative integer indices. Got: {shown}"
            );
            self.error(span, message);
        }
        self.element(&ty, space, span)
    }

    /// What an array and the like has so many of.
    fn element(&mut self, ty: &Type, space: AddressSpace, span: Span) -> Type {
        match ty {
            Type::Array(of, _) => inherit((**of).clone(), space),
            Type::Pointer(pointer) if *pointer.to == Type::Void => {
                self.error(
                    span,
                    "The array index operator [] cannot be used on a pointer to an unsized type \
                     (void *).",
                );
                Type::None
            }
            Type::Pointer(pointer) => inherit((*pointer.to).clone(), space),
            Type::String(_) | Type::Buffer(_) => Type::Int(Int { bits: 8, signed: true }),
            other => {
                let shown = self.shown(other);
                let message = format!(
                    "The array index operator [] can only be used on arrays, pointers, and tuples, \
                     found {shown}."
                );
                self.error(span, message);
                Type::None
            }
        }
    }

    // Casts.

    pub(super) fn cast(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span;
        let ExprKind::Cast { to, of } = &mut expr.kind else { return Type::None };
        self.expr(of);
        if matches!(to.kind, TypeSpecKind::Known) {
            return expr.ty.clone();
        }
        let mut target = self.spec(to);
        if of.ty.is_none() || target.is_none() {
            return Type::None;
        }
        if let Type::Array(element, 0) = &target {
            let (whole, part) = (self.size(&of.ty).unwrap_or(0), self.size(element).unwrap_or(0));
            if part == 0 || whole % part != 0 {
                self.error(
                    span,
                    "Cannot determine array size: the element size is incompatible with the cast \
                     integer size",
                );
                return Type::None;
            }
            target = Type::Array(Arc::clone(element), whole / part);
        }
        if let (Type::String(0), Type::String(size)) = (&target, &of.ty) {
            target = Type::String(*size);
        }
        if let Type::Pointer(_) = target {
            let space = space_of_pointer(&of.ty).unwrap_or_else(|| self.default_space());
            target = inherit(target, space);
            // A literal has no more bits than its type, so `(uint8*)-1` is 0xff.
            if let (ExprKind::Int(value), Some(int)) = (&mut of.kind, of.ty.int())
                && self.is_final
                && *value < 0
            {
                *value = Int { signed: false, ..int }.wrap(*value);
                of.ty = Type::Int(Int { signed: false, ..int });
            }
        }
        if !self.can_cast(of, &target) {
            let (from, to) = (self.shown(&of.ty), self.shown(&target));
            let message = match of.ty {
                Type::Struct(_) => format!("Cannot cast from C type \"{from}\""),
                _ => format!("Cannot cast from \"{from}\" to \"{to}\""),
            };
            self.error(span, message);
        }
        target
    }

    fn can_cast(&self, of: &Expr, to: &Type) -> bool {
        let sizes = (self.size(&of.ty).unwrap_or(0), self.size(to).unwrap_or(0));
        let is_number = |ty: &Type| ty.is_int() || *ty == Type::Bool;
        match (&of.ty, to) {
            (from, to) if from == to => true,
            (Type::String(from), Type::String(to)) => from <= to,
            (from, Type::Username) => from.is_int(),
            (from, Type::Pointer(_)) => {
                is_number(from)
                    || matches!(from, Type::Pointer(_) | Type::Array(..) | Type::KSym | Type::USym)
                    || self.is_context(of)
            }
            (from, Type::Array(element, _)) if is_number(element) => match from {
                from if from.is_int() => sizes.1 <= 8 && sizes.1 > sizes.0 || sizes.0 == sizes.1,
                Type::Bool | Type::String(_) => sizes.0 == sizes.1,
                _ => false,
            },
            (Type::Array(..), to) => to.is_int() && sizes.0 == sizes.1,
            (from, Type::Bool) => {
                is_number(from)
                    || from.is_castable_aggregate()
                    || matches!(from, Type::Pointer(_) | Type::String(_))
            }
            (from, to) if to.is_int() => {
                is_number(from)
                    || from.is_castable_aggregate()
                    || matches!(from, Type::Pointer(_))
                    || self.is_context(of)
            }
            _ => false,
        }
    }

    fn is_context(&self, of: &Expr) -> bool {
        matches!(of.kind, ExprKind::Function { function: Function::Ctx | Function::Args, .. })
    }
}

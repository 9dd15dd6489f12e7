//! Functions that take a map as a whole.

use super::*;

impl Typer<'_, '_> {
    /// The map that an argument is, without a key.
    fn map_argument(argument: Option<&Expr>) -> Option<(Name, Span)> {
        match argument {
            Some(Expr { kind: ExprKind::Map { name, key: None }, span, .. }) => {
                Some((name.clone(), *span))
            }
            _ => None,
        }
    }

    /// Gives a map that is an argument the type of its values.
    fn take_map(&mut self, argument: &mut Expr, name: &Name) {
        let facts = self.map(name, argument.span);
        let (ty, is_unknown) = (facts.value.ty.clone(), facts.is_scalar.is_none());
        if ty.is_none() && is_unknown {
            self.error(argument.span, format!("Undefined map: {name}"));
        }
        argument.ty = ty;
    }

    /// `clear(@a)`, `zero(@a)`.
    pub(super) fn whole_map(
        &mut self,
        function: Function,
        arguments: &mut [Expr],
        span: Span,
    ) -> Type {
        match Self::map_argument(arguments.first()) {
            Some((name, _)) => self.take_map(&mut arguments[0], &name),
            None => {
                let name = function.name();
                self.error(span, format!("{name}() expects a map argument"));
            }
        }
        Type::Void
    }

    /// `print(@a)`, `print(@a, 5)`, `print(@a, 5, 1000)`, `print(value)`.
    pub(super) fn print(&mut self, arguments: &mut [Expr], span: Span) -> Type {
        let count = arguments.len();
        let Some((first, rest)) = arguments.split_first_mut() else { return Type::Void };
        for number in rest.iter_mut() {
            self.expr(number);
            if self.is_final && number.as_int().is_none() {
                let kind = number.ty.kind();
                self.error(span, format!("print() expects a int literal ({kind} provided)"));
            }
        }
        if let Some((name, _)) = Self::map_argument(Some(first)) {
            self.take_map(first, &name);
            if self.loops > 0 {
                self.warn(
                    span,
                    "Due to it's asynchronous nature using 'print()' in a loop can lead to \
                     unexpected behavior. The map will likely be updated before the runtime can \
                     'print' it.",
                );
            }
            let is_stats = matches!(
                first.ty,
                Type::Aggregate(super::super::super::super::types::Aggregate::Stats { .. })
            );
            if is_stats && count > 1 {
                self.warn(
                    span,
                    "print()'s top and div arguments are ignored when used on stats() maps.",
                );
            }
            return Type::Void;
        }
        // An entry of what is added up is printed as such.
        self.expr(first);
        match &first.ty {
            Type::None if self.is_final && first.is_none() => {
                self.consequence(span, "none type passed to print() is not printable");
            }
            Type::None => {}
            Type::Void | Type::TimestampMode(_) => {
                let shown = self.shown(&first.ty);
                self.error(span, format!("{shown} type passed to print() is not printable"));
            }
            Type::Aggregate(_) if !first.ty.is_castable_aggregate() => {
                let shown = self.shown(&first.ty);
                self.error(
                    span,
                    format!(
                        "Map type {shown} cannot print the value of individual keys. You must \
                         print the whole map."
                    ),
                );
            }
            _ if count > 1 => {
                self.error(span, format!("Non-map print() only takes 1 argument, {count} found"));
            }
            _ => {}
        }
        Type::Void
    }

    /// `len(@a)`, `len(ustack)`.
    pub(super) fn len(&mut self, arguments: &mut [Expr], span: Span) -> Type {
        if let Some((name, at)) = Self::map_argument(arguments.first()) {
            self.take_map(&mut arguments[0], &name);
            if self.map(&name, at).is_scalar == Some(true) {
                self.error(span, "call to len() expects a map with explicit keys (non-scalar map)");
            }
            return Type::I64;
        }
        if let Some(stack) = arguments.first_mut() {
            self.expr(stack);
            if !matches!(stack.ty, Type::None | Type::KStack(_) | Type::UStack(_)) {
                self.error(span, "call to len() expects a map, ustack, or kstack");
            }
        }
        Type::I64
    }

    /// `delete(@a, key)`, `has_key(@a, key)`, `find(@a, key, $value)`.
    pub(super) fn map_function(
        &mut self,
        function: Function,
        arguments: &mut [Expr],
        span: Span,
    ) -> Type {
        let name = function.name();
        let Some((map, at)) = Self::map_argument(arguments.first()) else {
            self.error(span, format!("{name}() expects a map for the first argument"));
            return Type::Bool;
        };
        self.take_map(&mut arguments[0], &map);
        let is_scalar = self.map(&map, at).is_scalar;
        let [_, key, rest @ ..] = arguments else {
            if is_scalar == Some(false) {
                self.error(
                    span,
                    "call to delete() with a single argument expects a map without explicit keys \
                     (scalar map)",
                );
            }
            return Type::Bool;
        };
        if is_scalar == Some(true) {
            let what = match function {
                Function::Delete => "delete() with two arguments",
                Function::HasKey => "has_key()",
                _ => "find",
            };
            let message =
                format!("call to {what} expects a map with explicit keys (non-scalar map)");
            self.error(span, message);
            return Type::Bool;
        }
        let facts = self.map(&map, at);
        if facts.is_scalar.is_none() {
            facts.is_scalar = Some(false);
            self.changed = true;
        }
        let known = self.expr(key);
        self.key_of(&map, key, known, span);
        if let Some(result) = rest.first_mut() {
            self.found(&map, result, span);
        }
        Type::Bool
    }

    /// Where `find` puts the value.
    fn found(&mut self, map: &Name, result: &mut Expr, span: Span) {
        let ExprKind::Variable(variable) = &result.kind else {
            return self.error(result.span, "find() expects a variable for its third argument");
        };
        let variable = variable.clone();
        let value = self.map(map, span).value.clone();
        let ty = super::super::coerce::read_type(&value.ty).unwrap_or(value.ty);
        self.step_variable(&variable, &super::super::expr::of(ty));
        result.ty = self.local(variable.id).ty.clone();
    }
}

//! What is known when the program is compiled: `comptime`, `sizeof`, `offsetof`, `typeinfo`, and what is made of them.

use super::super::super::ast::*;
use super::super::super::functions::Function;
use super::super::super::types::{Name, Type};
use super::super::fold;
use super::Typer;

impl Typer<'_, '_> {
    /// The literal that an expression is worth now, if it is one.
    pub(super) fn literal(&mut self, expr: &Expr) -> Option<Expr> {
        let mut copy = expr.clone();
        self.reduce(&mut copy);
        copy.is_literal().then_some(copy)
    }

    /// Puts literals where they are known.
    fn reduce(&mut self, expr: &mut Expr) {
        let kind = match &mut expr.kind {
            ExprKind::Comptime(of) => {
                self.reduce(of);
                Some(std::mem::take(&mut of.kind))
            }
            ExprKind::Sizeof(spec) => {
                let ty = self.spec(spec);
                self.size(&ty).map(|size| ExprKind::Int(i128::from(size)))
            }
            ExprKind::Offsetof { of, path } => {
                let (mut of, path) = (of.clone(), path.clone());
                self.offset(&mut of, &path).map(|offset| ExprKind::Int(i128::from(offset)))
            }
            ExprKind::Typeinfo(spec) => {
                let ty = self.spec(spec);
                (!ty.is_none()).then(|| self.typeinfo(&ty))
            }
            ExprKind::Function { function, arguments } => {
                let (function, arguments) = (*function, arguments.clone());
                self.reduce_function(function, arguments)
            }
            ExprKind::Field { of, name } => {
                self.reduce(of);
                field(of, name)
            }
            ExprKind::Index { of, index } => {
                self.reduce(of);
                self.reduce(index);
                byte(of, index)
            }
            ExprKind::Binary { op, left, right } => {
                self.reduce(left);
                self.reduce(right);
                records(*op, left, right)
            }
            ExprKind::Unary { of, .. } => {
                self.reduce(of);
                None
            }
            ExprKind::If { condition, then, otherwise } => {
                self.reduce(condition);
                fold::truth(condition).map(|is_true| {
                    let taken = if is_true { then } else { otherwise };
                    self.reduce(taken);
                    std::mem::take(&mut taken.kind)
                })
            }
            ExprKind::Block(Block { statements, value: Some(value), .. })
                if statements.is_empty() =>
            {
                self.reduce(value);
                Some(std::mem::take(&mut value.kind))
            }
            _ => None,
        };
        if let Some(kind) = kind {
            expr.kind = kind;
        }
        if matches!(expr.kind, ExprKind::Binary { .. } | ExprKind::Unary { .. }) {
            fold::fold(expr, &mut self.context.diagnostics);
        }
    }

    fn reduce_function(
        &mut self,
        function: Function,
        mut arguments: Vec<Expr>,
    ) -> Option<ExprKind> {
        match function {
            Function::Probetype => {
                let kind = self.place.as_ref()?.kind();
                Some(ExprKind::Str(kind.as_bytes().to_vec()))
            }
            Function::IsLiteral => {
                let mut argument = arguments.pop()?;
                self.reduce(&mut argument);
                Some(ExprKind::Bool(argument.is_literal()))
            }
            Function::IsScalar => match &arguments.first()?.kind {
                ExprKind::Map { name, .. } => {
                    let is_scalar = self.maps.get(name)?.is_scalar?;
                    Some(ExprKind::Bool(is_scalar))
                }
                _ => None,
            },
            Function::KfuncExist | Function::KfuncAllowed => {
                let name = arguments.first()?.as_str()?;
                let function = self.context.kernel.function(None, name, &mut self.context.structs);
                Some(ExprKind::Bool(function.is_some()))
            }
            _ => None,
        }
    }

    /// How many bytes a value of a type has, if the type is known.
    pub(super) fn size(&self, ty: &Type) -> Option<u32> {
        (!ty.is_none()).then(|| self.context.structs.size_of(ty))
    }

    /// `(btf_id = 1, base_type = "int", full_type = "uint8")`.
    pub(super) fn typeinfo(&self, ty: &Type) -> ExprKind {
        let text = |text: &str| {
            let ty = Type::String(text.len() as u32 + 1);
            Expr::typed(ExprKind::Str(text.as_bytes().to_vec()), ty, Default::default())
        };
        let id = Expr::typed(ExprKind::Int(0), Type::U64, Default::default());
        ExprKind::Record(vec![
            ("btf_id".into(), id),
            ("base_type".into(), text(ty.kind())),
            ("full_type".into(), text(&self.shown(ty))),
        ])
    }
}

/// A field of a record of literals.
fn field(of: &Expr, name: &Name) -> Option<ExprKind> {
    let ExprKind::Record(fields) = &of.kind else { return None };
    let (_, value) = fields.iter().find(|(other, _)| other == name)?;
    value.is_literal().then(|| value.kind.clone())
}

/// A byte of a string.
fn byte(of: &Expr, index: &Expr) -> Option<ExprKind> {
    let ExprKind::Str(bytes) = &of.kind else { return None };
    let at = usize::try_from(index.as_int()?).ok()?;
    Some(ExprKind::Int(i128::from(bytes.get(at).copied().unwrap_or(0))))
}

/// Whether two records of literals are the same.
fn records(op: BinaryOp, left: &Expr, right: &Expr) -> Option<ExprKind> {
    let (ExprKind::Record(left), ExprKind::Record(right)) = (&left.kind, &right.kind) else {
        return None;
    };
    let is_same = left.len() == right.len()
        && left.iter().all(|(name, value)| {
            right.iter().any(|(other, other_value)| name == other && is_equal(value, other_value))
        });
    match op {
        BinaryOp::Eq => Some(ExprKind::Bool(is_same)),
        BinaryOp::Ne => Some(ExprKind::Bool(!is_same)),
        _ => None,
    }
}

fn is_equal(a: &Expr, b: &Expr) -> bool {
    match (&a.kind, &b.kind) {
        (ExprKind::Int(a), ExprKind::Int(b)) => a == b,
        (ExprKind::Bool(a), ExprKind::Bool(b)) => a == b,
        (ExprKind::Str(a), ExprKind::Str(b)) => a == b,
        _ => false,
    }
}

//! Operations on literals are done here: `1 << 4`, `-1`, `"a" == "b"`, `1 > 2 ? 3 : 4`.

use super::super::ast::*;
use super::super::diagnostics::Diagnostics;
use super::super::walk::{self, Visit};

/// What bpftrace says of a result that no integer can be.
const OVERFLOW: &str = "unable to fold literals due to overflow or underflow";

/// Folds a whole script.
pub fn run(script: &mut Script, diagnostics: &mut Diagnostics) {
    Fold { diagnostics }.script(script);
}

/// Folds one expression.
pub fn fold(expr: &mut Expr, diagnostics: &mut Diagnostics) {
    Fold { diagnostics }.expr(expr);
}

struct Fold<'a> {
    diagnostics: &'a mut Diagnostics,
}

impl Visit for Fold<'_> {
    fn expr(&mut self, expr: &mut Expr) {
        walk::walk_expr(self, expr);
        let folded = match &mut expr.kind {
            ExprKind::Unary { op, of } => unary(*op, of),
            ExprKind::Binary { op, left, right } => match binary(*op, left, right) {
                Ok(folded) => folded,
                Err(()) => {
                    self.diagnostics.error(expr.span, OVERFLOW);
                    None
                }
            },
            ExprKind::If { condition, then, otherwise } => {
                let is_true = truth(condition);
                match is_true {
                    Some(is_true) if then.is_literal() && otherwise.is_literal() => {
                        Some(branch(if is_true { then } else { otherwise }))
                    }
                    // What isn't taken may say what types variables have all the same.
                    Some(is_true) => {
                        condition.kind = ExprKind::Bool(is_true);
                        None
                    }
                    None => None,
                }
            }
            _ => None,
        };
        if let Some(kind) = folded {
            expr.kind = kind;
        }
    }
}

fn branch(taken: &mut Expr) -> ExprKind {
    std::mem::take(&mut taken.kind)
}

/// Whether a literal is true.
pub fn truth(literal: &Expr) -> Option<bool> {
    match &literal.kind {
        ExprKind::Int(value) => Some(*value != 0),
        ExprKind::Bool(value) => Some(*value),
        ExprKind::Str(bytes) => Some(!bytes.is_empty()),
        _ => None,
    }
}

fn unary(op: UnaryOp, of: &Expr) -> Option<ExprKind> {
    match (op, &of.kind) {
        (UnaryOp::Not, _) => Some(ExprKind::Bool(!truth(of)?)),
        (UnaryOp::Neg, ExprKind::Int(value)) if -value >= i128::from(i64::MIN) => {
            Some(ExprKind::Int(-value))
        }
        (UnaryOp::BitNot, ExprKind::Int(value)) => {
            let is_negative = *value < 0;
            let flipped = if is_negative { !value } else { i128::from(!(*value as u64)) };
            Some(ExprKind::Int(flipped))
        }
        _ => None,
    }
}

/// The result; nothing if both aren't literals, an error if no integer can be it.
fn binary(op: BinaryOp, left: &Expr, right: &Expr) -> Result<Option<ExprKind>, ()> {
    Ok(match (&left.kind, &right.kind) {
        (ExprKind::Int(a), ExprKind::Int(b)) => Some(ints(op, *a, *b)?),
        (ExprKind::Bool(a), ExprKind::Bool(b)) if op.is_comparison() || op.is_logical() => {
            Some(ints(op, i128::from(*a), i128::from(*b))?)
        }
        (ExprKind::Str(a), ExprKind::Str(b)) => match op {
            BinaryOp::Eq => Some(ExprKind::Bool(a == b)),
            BinaryOp::Ne => Some(ExprKind::Bool(a != b)),
            BinaryOp::Add => Some(ExprKind::Str([a.as_slice(), b].concat())),
            _ => None,
        },
        // The rest of a string, as `str($1 + 1)` wants it.
        (ExprKind::Str(text), ExprKind::Int(skip)) if op == BinaryOp::Add => {
            let skip = usize::try_from(*skip).map_err(|_| ())?;
            Some(ExprKind::Str(text.get(skip..).unwrap_or_default().to_vec()))
        }
        _ if op.is_logical() => logical(op, left, right),
        _ => None,
    })
}

/// Literals of different kinds, and a left side that decides alone.
fn logical(op: BinaryOp, left: &Expr, right: &Expr) -> Option<ExprKind> {
    let left = truth(left)?;
    match op {
        BinaryOp::And if !left => Some(ExprKind::Bool(false)),
        BinaryOp::Or if left => Some(ExprKind::Bool(true)),
        _ => Some(ExprKind::Bool(truth(right)?)),
    }
}

fn ints(op: BinaryOp, a: i128, b: i128) -> Result<ExprKind, ()> {
    let is_signed = a < 0 || b < 0;
    let shift = u32::try_from(b).ok().filter(|by| *by < 64);
    let value = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a.checked_mul(b).ok_or(())?,
        BinaryOp::Div => a.checked_div(b).ok_or(())?,
        BinaryOp::Mod => a.checked_rem(b).ok_or(())?,
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::BitXor => a ^ b,
        BinaryOp::Shl => (a << shift.ok_or(())?) & i128::from(u64::MAX),
        BinaryOp::Shr => a >> shift.ok_or(())?,
        BinaryOp::Eq => return Ok(ExprKind::Bool(a == b)),
        BinaryOp::Ne => return Ok(ExprKind::Bool(a != b)),
        BinaryOp::Lt => return Ok(ExprKind::Bool(a < b)),
        BinaryOp::Le => return Ok(ExprKind::Bool(a <= b)),
        BinaryOp::Gt => return Ok(ExprKind::Bool(a > b)),
        BinaryOp::Ge => return Ok(ExprKind::Bool(a >= b)),
        BinaryOp::And => return Ok(ExprKind::Bool(a != 0 && b != 0)),
        BinaryOp::Or => return Ok(ExprKind::Bool(a != 0 || b != 0)),
    };
    let most = if is_signed && value < 0 { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    let fits = (i128::from(i64::MIN)..=most).contains(&value);
    if fits { Ok(ExprKind::Int(value)) } else { Err(()) }
}

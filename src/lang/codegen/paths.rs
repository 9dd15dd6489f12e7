//! path(): pointers that stay what the verifier knows them to be.

use libbpf_sys::BPF_FUNC_d_path;

use super::machine::Place;
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Label, Reg, Size};
use crate::lang::ast::{Expr, ExprKind, UnaryOp};
use crate::lang::functions::Function;
use crate::lang::source::Span;
use crate::lang::types::Type;

impl Coder<'_, '_> {
    /// path(): by the kernel, where it lets this probe ask.
    pub(super) fn path_into(&mut self, of: &Expr, ty: &Type, span: Span, to: Place) -> Result<()> {
        let size = self.size_of(ty);
        self.machine.zero(to, size);
        let none = self.machine.asm.label();
        let offset = match &of.ty {
            Type::Pointer(_) => {
                self.typed_pointer(of, none)?;
                0
            }
            _ => self.typed_struct(of, none)?,
        };
        self.machine.alu(Alu::Add, Reg::R0, offset);
        self.machine.mov(Reg::R1, Reg::R0);
        self.machine.address(Reg::R2, to);
        self.machine.mov(Reg::R3, size as i32);
        self.machine.from(span, |machine| machine.asm.call(BPF_FUNC_d_path));
        self.machine.asm.bind(none);
        Ok(())
    }

    /// A pointer that the verifier knows the type of, from an argument on: by loads, since what helpers have read is
    /// a mere number to it. Null goes to `none`.
    fn typed_pointer(&mut self, pointer: &Expr, none: Label) -> Result<()> {
        match &pointer.kind {
            ExprKind::Field { of, .. } if !is_context(of) => {
                let offset = self.typed_struct(pointer, none)?;
                self.machine.asm.load(Size::DW, Reg::R0, Reg::R0, offset as i16);
            }
            _ => self.scalar(pointer)?,
        }
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, none);
        Ok(())
    }

    /// The same of what such a pointer points to: in R0, and so far from there.
    fn typed_struct(&mut self, of: &Expr, none: Label) -> Result<i32> {
        match &of.kind {
            ExprKind::Unary { op: UnaryOp::Deref, of } => {
                self.typed_pointer(of, none)?;
                Ok(0)
            }
            ExprKind::Field { of: outer, name } => {
                let (id, begin) = match &outer.ty {
                    Type::Struct(id) => (*id, self.typed_struct(outer, none)?),
                    Type::Pointer(pointer) => {
                        self.typed_pointer(outer, none)?;
                        let Type::Struct(id) = &*pointer.to else {
                            return Err(Refusal::new(
                                of.span,
                                "this pointer isn't one to a struct",
                            ));
                        };
                        (*id, 0)
                    }
                    _ => return Err(Refusal::missing(of.span, "path() of this")),
                };
                Ok(begin + self.field(id, name, of.span)?.offset as i32)
            }
            _ => Err(Refusal::missing(of.span, "path() of this")),
        }
    }
}

fn is_context(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Function { function: Function::Args | Function::Ctx, .. })
}

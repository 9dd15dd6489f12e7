//! Types as they are written.

use std::sync::Arc;

use super::super::super::ast::*;
use super::super::super::types::{
    AddressSpace, Aggregate, Int, Origin, Stack, StackMode, StructDef, StructKind, Type, TypeSource,
};
use super::Typer;
use super::coerce::read_type;

/// Frames of a stack, where the program doesn't say.
pub(super) const FRAMES: u16 = 127;

impl Typer<'_, '_> {
    /// What a written type is. Nothing if it isn't known (yet).
    pub(super) fn spec(&mut self, spec: &mut TypeSpec) -> Type {
        match &mut spec.kind {
            TypeSpecKind::Known => Type::None,
            TypeSpecKind::Named(name) => {
                let name = name.clone();
                self.named(&name).unwrap_or_else(|| {
                    self.error(spec.span, format!("Cannot resolve unknown type \"{name}\""));
                    Type::None
                })
            }
            TypeSpecKind::Tagged(name) => {
                let name = name.clone();
                self.tagged(&name).unwrap_or_else(|| {
                    self.error(spec.span, format!("Cannot resolve unknown type \"{name}\""));
                    Type::None
                })
            }
            TypeSpecKind::Pointer(of) => match self.pointee(of) {
                Type::None => Type::None,
                of => of.pointer(AddressSpace::Unknown),
            },
            TypeSpecKind::Array(of, length) => {
                let length = u32::try_from(*length).unwrap_or(u32::MAX);
                match self.spec(of) {
                    Type::None => Type::None,
                    Type::String(0) => Type::String(length),
                    Type::Buffer(0) => Type::Buffer(length),
                    Type::Inet => Type::Inet,
                    of => Type::Array(Arc::new(of), length),
                }
            }
            TypeSpecKind::Of(of) => {
                // Of a whole map it is the type of its keys.
                if let ExprKind::Map { name, key: None } = &of.kind
                    && self.maps.get(name).is_some_and(|facts| facts.is_scalar == Some(false))
                {
                    let name = name.clone();
                    return self.map(&name, of.span).key.ty.clone();
                }
                self.expr(of);
                read_type(&of.ty).unwrap_or_else(|| of.ty.clone())
            }
        }
    }

    /// What is pointed to may be unknown: its address can be had all the same.
    fn pointee(&mut self, spec: &mut TypeSpec) -> Type {
        let TypeSpecKind::Tagged(name) = &spec.kind else { return self.spec(spec) };
        let name = name.clone();
        self.tagged(&name).unwrap_or_else(|| {
            let kind = match name.starts_with("union ") {
                true => StructKind::Union,
                false => StructKind::Struct,
            };
            let origin = Origin::Program;
            let def = StructDef { name, kind, size: 0, align: 1, origin, fields: None };
            Type::Struct(self.context.structs.add(def))
        })
    }

    /// `struct sock`, `union u`, `enum e`.
    fn tagged(&mut self, name: &str) -> Option<Type> {
        if let Some(name) = name.strip_prefix("enum ") {
            if let Some(def) = self.context.structs.enums.get(name) {
                return Some(Type::Enum(name.into(), def.int));
            }
            let def = self.context.kernel.enumeration(name)?;
            let int = def.int;
            self.context.structs.enums.insert(name.into(), def);
            return Some(Type::Enum(name.into(), int));
        }
        let known = self.context.structs.named(name);
        let id = known
            .or_else(|| self.user_record(name))
            .or_else(|| self.context.kernel.record(name, &mut self.context.structs))?;
        Some(Type::Struct(id))
    }

    /// A name without `struct`: the language's own, or a `typedef`.
    fn named(&mut self, name: &str) -> Option<Type> {
        let own = own(name, self.context.config.stack_mode);
        if own.is_some() {
            return own;
        }
        if let Some(known) = self.context.structs.typedefs.get(name) {
            return Some(known.clone());
        }
        if let Some(known) = self.user_typedef(name) {
            return Some(known);
        }
        if let Some(known) = self.context.kernel.typedef(name, &mut self.context.structs) {
            return Some(known);
        }
        // Structs and enums may go without their word.
        let tags = ["struct", "union", "enum"];
        if let Some(tagged) = tags.iter().find_map(|tag| self.tagged(&format!("{tag} {name}"))) {
            return Some(tagged);
        }
        // It may be a value after all, of an enum.
        let (of, _, value) = self.context.kernel.enumerator(name)?;
        Some(Type::Enum(of, Int { bits: 64, signed: value < 0 }))
    }
}

/// The language's own types.
fn own(name: &str, mode: StackMode) -> Option<Type> {
    let stack = Stack { mode, limit: FRAMES };
    let int = |bits, signed| Type::Int(Int { bits, signed });
    let signed = !name.starts_with('u');
    Some(match name {
        "bool" => Type::Bool,
        "int8" | "char" => int(8, true),
        "uint8" => int(8, false),
        "int16" | "short" => int(16, true),
        "uint16" => int(16, false),
        "int32" | "int" => int(32, true),
        "uint32" => int(32, false),
        "int64" | "long" => int(64, true),
        "uint64" => int(64, false),
        "void" => Type::Void,
        "string" => Type::String(0),
        "buffer" => Type::Buffer(0),
        "inet" => Type::Inet,
        "kstack" => Type::KStack(stack),
        "ustack" => Type::UStack(stack),
        "ksym_t" => Type::KSym,
        "usym_t" => Type::USym,
        "username_t" => Type::Username,
        "macaddr_t" => Type::MacAddress,
        "cgroup_path_t" => Type::CgroupPath,
        "timestamp" => Type::Timestamp,
        "count_t" => Type::Aggregate(Aggregate::Count),
        "sum_t" | "usum_t" => Type::Aggregate(Aggregate::Sum { signed }),
        "min_t" | "umin_t" => Type::Aggregate(Aggregate::Min { signed }),
        "max_t" | "umax_t" => Type::Aggregate(Aggregate::Max { signed }),
        "avg_t" | "uavg_t" => Type::Aggregate(Aggregate::Avg { signed }),
        "stats_t" | "ustats_t" => Type::Aggregate(Aggregate::Stats { signed }),
        "hist_t" => Type::Aggregate(Aggregate::Hist { bits: 0 }),
        _ => return None,
    })
}

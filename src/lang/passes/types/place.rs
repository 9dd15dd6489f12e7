//! What depends on where a program is attached: its arguments, its context, what the traced function returns.

use std::path::Path;

use super::super::super::ast::Expr;
use super::super::super::elf;
use super::super::super::ktypes::{Signature, tracepoint_fields};
use super::super::super::probe::{Address, Probe as Place};
use super::super::super::source::Span;
use super::super::super::types::{
    AddressSpace, Field, Int, Name, Origin, StructDef, StructId, StructKind, Type, TypeSource,
};
use super::Typer;

impl Typer<'_, '_> {
    /// Which memory addresses are of, if nothing else says so.
    pub(super) fn default_space(&self) -> AddressSpace {
        match &self.place {
            Some(Place::Uprobe { .. } | Place::Usdt { .. }) => AddressSpace::User,
            Some(
                Place::Kprobe { .. }
                | Place::Fentry { .. }
                | Place::FentryBpf { .. }
                | Place::Tracepoint { .. }
                | Place::RawTracepoint { .. }
                | Place::Iter { .. },
            ) => AddressSpace::Kernel,
            _ => AddressSpace::Unknown,
        }
    }

    /// Which memory addresses in `args` are of: those of system calls are the process's.
    pub(super) fn arguments_space(&self) -> AddressSpace {
        match &self.place {
            Some(Place::Tracepoint { category, .. }) if &**category == "syscalls" => {
                AddressSpace::User
            }
            _ => self.default_space(),
        }
    }

    /// `arg0`.
    pub(super) fn argument(&mut self, span: Span) -> Type {
        let has_registers = match &self.place {
            Some(Place::Kprobe { at_return, .. } | Place::Uprobe { at_return, .. }) => !at_return,
            Some(Place::Usdt { .. } | Place::RawTracepoint { .. }) => true,
            _ => false,
        };
        if !has_registers {
            self.not_here(
                "The argN builtin can only be used with 'kprobes', 'uprobes', 'usdt' and \
                 'rawtracepoint' probes",
                span,
            );
        }
        Type::U64
    }

    /// What a symbol of the probed file points to: an integer of its size.
    pub(super) fn symbol_pointer(&self, name: Option<&Expr>) -> Type {
        let size = self.probed_file().zip(name.and_then(Expr::as_str)).and_then(|(file, name)| {
            let (_, size) = elf::File::open(Path::new(&*file)).ok()?.symbol(name).ok()??;
            Some(size)
        });
        let bits = match size {
            Some(1) => 8,
            Some(2) => 16,
            Some(4) => 32,
            _ => 64,
        };
        Type::Int(Int { bits, signed: false }).pointer(AddressSpace::User)
    }

    fn not_here(&mut self, message: &str, span: Span) {
        self.error(span, message);
    }

    /// `retval`.
    pub(super) fn retval(&mut self, span: Span) -> Type {
        match self.place.clone() {
            Some(Place::Kprobe { at_return: true, .. } | Place::Uprobe { at_return: true, .. }) => {
                Type::U64
            }
            Some(Place::Fentry { at_return: true, module, function }) => {
                let structs = &mut self.context.structs;
                match self.context.kernel.function(module.as_deref(), &function, structs) {
                    Some(signature) if signature.returns != Type::Void => signature.returns,
                    Some(_) => {
                        self.error(span, format!("{function} returns nothing"));
                        Type::None
                    }
                    None => Type::U64,
                }
            }
            Some(Place::FentryBpf { at_return: true, .. }) => Type::U64,
            _ => {
                self.not_here(
                    "The retval builtin can only be used with 'kretprobe' and 'uretprobe' and \
                     'fexit' probes",
                    span,
                );
                Type::None
            }
        }
    }

    /// `func`.
    pub(super) fn func(&mut self, span: Span) -> Type {
        match &self.place {
            Some(Place::Uprobe { .. }) => Type::USym,
            Some(Place::Kprobe { .. } | Place::Fentry { .. } | Place::FentryBpf { .. }) => {
                Type::KSym
            }
            _ => {
                self.not_here(
                    "The func builtin can not be used with this probe type: it needs kprobe, uprobe \
                     or fentry",
                    span,
                );
                Type::None
            }
        }
    }

    /// `ctx`.
    pub(super) fn ctx(&mut self) -> Type {
        let structs = &mut self.context.structs;
        let kernel = self.context.kernel;
        let found = match &self.place {
            Some(Place::Kprobe { .. } | Place::Uprobe { .. } | Place::Usdt { .. }) => {
                kernel.record("struct pt_regs", structs)
            }
            Some(
                Place::Profile(_)
                | Place::Interval(_)
                | Place::Software { .. }
                | Place::Hardware { .. },
            ) => kernel.record("struct bpf_perf_event_data", structs),
            Some(Place::Iter { object, .. }) => kernel.iterator(object, structs),
            _ => None,
        };
        match found {
            Some(id) => Type::Struct(id).pointer(AddressSpace::Kernel),
            None => Type::Void.pointer(AddressSpace::Kernel),
        }
    }

    /// `args`.
    pub(super) fn arguments(&mut self, span: Span) -> Type {
        let Some(place) = self.place.clone() else {
            self.error(span, "Builtin args not supported outside probe");
            return Type::None;
        };
        let name: Name = format!("{}_args", self.place_name).into();
        if let Some(id) = self.context.structs.named(&name) {
            return Type::Struct(id);
        }
        match self.arguments_of(&place, name) {
            Ok(id) => Type::Struct(id),
            Err(message) => {
                self.error(span, message);
                Type::None
            }
        }
    }

    fn arguments_of(&mut self, place: &Place, name: Name) -> Result<StructId, String> {
        let (kernel, structs) = (self.context.kernel, &mut self.context.structs);
        let signature = match place {
            Place::Fentry { module, function, .. } => {
                kernel.function(module.as_deref(), function, structs)
            }
            Place::RawTracepoint { module, event } => {
                kernel.raw_tracepoint(module.as_deref(), event, structs)
            }
            Place::Tracepoint { category, event } => {
                let found = tracepoint_fields(category, event, kernel, structs);
                let (fields, size) = found.map_err(|error| error.to_string())?;
                let origin = Origin::Tracepoint;
                return Ok(self.add(name, fields, size, origin));
            }
            Place::Uprobe { file, at: Address::Function { name: function, .. }, .. } => {
                let debug = self.context.debug.of(Path::new(&**file));
                let found = debug.and_then(|debug| debug.parameters(function, structs));
                let mut parameters = found.ok_or_else(|| {
                    format!("{file} has no debug information of {function}; use arg0 and so on")
                })?;
                // Those are in registers of their own, which programs don't see.
                parameters.retain(|(_, ty)| !matches!(ty, Type::Float(_)));
                let signature = Signature { parameters, returns: Type::Void };
                return Ok(self.add_words(name, signature, Origin::UserArguments));
            }
            _ => {
                return Err("The args builtin can only be used within the context of \
                            tracepoint, rawtracepoint, fentry and fexit probes"
                    .to_owned());
            }
        };
        let Some(signature) = signature else {
            return Err(format!("no types of the arguments of {}", self.place_name));
        };
        Ok(self.add_words(name, signature, Origin::Arguments))
    }

    /// A struct of arguments in words.
    fn add_words(&mut self, name: Name, of: Signature, origin: Origin) -> StructId {
        let (offsets, size) = of.offsets(&self.context.structs);
        let word = |((name, ty), offset): ((Name, Type), u32)| Field {
            name,
            ty,
            offset,
            bits: None,
            is_data_loc: false,
        };
        let fields = of.parameters.into_iter().zip(offsets).map(word).collect();
        self.add(name, fields, size, origin)
    }

    /// A struct or union of the probed file, by its name with its kind.
    pub(super) fn user_record(&mut self, name: &str) -> Option<StructId> {
        let file = self.probed_file()?;
        let debug = self.context.debug.of(Path::new(&*file))?;
        debug.record(name, &mut self.context.structs)
    }

    /// What a `typedef` of the probed file stands for.
    pub(super) fn user_typedef(&mut self, name: &str) -> Option<Type> {
        let file = self.probed_file()?;
        let debug = self.context.debug.of(Path::new(&*file))?;
        debug.typedef(name, &mut self.context.structs)
    }

    fn probed_file(&self) -> Option<Name> {
        match &self.place {
            Some(Place::Uprobe { file, .. } | Place::Usdt { file, .. }) => Some(file.clone()),
            _ => None,
        }
    }

    fn add(&mut self, name: Name, fields: Vec<Field>, size: u32, origin: Origin) -> StructId {
        let kind = StructKind::Struct;
        let fields = Some(fields);
        self.context.structs.add(StructDef { name, kind, size, align: 8, origin, fields })
    }
}

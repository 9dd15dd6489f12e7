//! The kernel's types, as the language sees them: from its BTF, and from tracefs for tracepoints. Nothing is
//! read before somebody asks for it, and of what is asked for no more than that.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::types::{
    AddressSpace, BitField, EnumDef, Field, Int, Name, Origin, StructDef, StructId, StructKind,
    Structs, Type, TypeSource,
};
use btf::{Btf, Id, Kind, Member};

pub mod btf;
mod functions;
mod tracepoint;

pub use functions::all_functions;
pub use tracepoint::tracepoint_fields;

/// This kernel's types.
#[derive(Debug, Default)]
pub struct KernelTypes {
    btf: OnceCell<Option<Btf>>,
    /// Structs that are known already, by their BTF ids.
    known: RefCell<HashMap<Id, StructId>>,
    /// What kprobes can be put on, as the kernel lists it: some megabytes, which take a while to read.
    functions: OnceCell<Option<String>>,
    /// A file that is read in place of the kernel's list.
    functions_file: Option<PathBuf>,
}

/// What a function takes and returns.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Names and types, in their order.
    pub parameters: Vec<(Name, Type)>,
    /// `Type::Void` of one that returns nothing.
    pub returns: Type,
}

impl Signature {
    /// Where each parameter is in a trampoline's context, in bytes, and where what is returned is, behind them. A struct
    /// that is passed as such takes as many words as it has.
    pub fn offsets(&self, structs: &Structs) -> (Vec<u32>, u32) {
        let mut end = 0;
        let begin = |(_, ty): &(Name, Type)| {
            let begin = end;
            end += structs.size_of(ty).next_multiple_of(8).max(8);
            begin
        };
        (self.parameters.iter().map(begin).collect(), end)
    }
}

impl KernelTypes {
    /// Types of this kernel, of which none is read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, but what kprobes can be put on is in a file.
    pub fn with_functions(file: Option<PathBuf>) -> Self {
        Self { functions_file: file, ..Self::default() }
    }

    /// BTF, if this kernel has it.
    pub fn btf(&self) -> Option<&Btf> {
        self.btf.get_or_init(|| Btf::vmlinux().ok()).as_ref()
    }

    /// Functions that a kprobe can be put on and whose module and name are meant by these words, in the order of their
    /// names. Nothing if no list of them can be read.
    pub fn functions(&self, module: Option<&str>, pattern: &str) -> Option<Vec<Name>> {
        let read = || match &self.functions_file {
            Some(file) => fs::read_to_string(file).ok(),
            None => functions::list(),
        };
        let list = self.functions.get_or_init(read).as_ref()?;
        Some(functions::functions(list, module, pattern))
    }

    /// A kernel function's, for fentry and fexit.
    pub fn function(&self, name: &str, structs: &mut Structs) -> Option<Signature> {
        let btf = self.btf()?;
        let id = btf.find_function(name)?;
        Some(self.signature(btf, id, 0, structs))
    }

    /// A raw tracepoint's.
    pub fn raw_tracepoint(&self, name: &str, structs: &mut Structs) -> Option<Signature> {
        let btf = self.btf()?;
        // The function that calls programs has names for its parameters, the typedef of programs hasn't.
        let caller = btf.find_function(&format!("__traceiter_{name}"));
        let prototype = || {
            let typedef = btf.find_typedef(&format!("btf_trace_{name}"))?;
            let Kind::Pointer(prototype) = btf.kind(btf.resolve(typedef)) else { return None };
            Some(prototype)
        };
        // The first is the kernel's own: data of who is attached.
        Some(self.signature(btf, caller.or_else(prototype)?, 1, structs))
    }

    /// The context of an iterator: `iter:task`.
    pub fn iterator(&self, name: &str, structs: &mut Structs) -> Option<StructId> {
        self.record(&format!("struct bpf_iter__{name}"), structs)
    }

    fn signature(&self, btf: &Btf, function: Id, skip: usize, structs: &mut Structs) -> Signature {
        let mut parameters = Vec::new();
        for parameter in btf.parameters(function).skip(skip) {
            parameters.push((parameter.name.into(), self.convert(btf, parameter.ty, structs)));
        }
        Signature { parameters, returns: self.convert(btf, btf.returns(function), structs) }
    }

    /// A type of BTF in the language's terms.
    fn convert(&self, btf: &Btf, id: Id, structs: &mut Structs) -> Type {
        match btf.kind(id) {
            Kind::Int { boolean: true, .. } => Type::Bool,
            Kind::Int { bits, signed, .. } => integer(bits, signed),
            Kind::Enum { size, signed } => {
                let int = Int { bits: size as u8 * 8, signed };
                match btf.name(id) {
                    "" => Type::Int(int),
                    name => Type::Enum(name.into(), int),
                }
            }
            Kind::Pointer(to) => {
                let space = if is_tagged(btf, to, "user") {
                    AddressSpace::User
                } else {
                    AddressSpace::Kernel
                };
                self.convert(btf, to, structs).pointer(space)
            }
            Kind::Array(element, len) if is_char(btf, element) => Type::String(len),
            Kind::Array(element, len) => {
                Type::Array(Arc::new(self.convert(btf, element, structs)), len)
            }
            Kind::Struct(_) | Kind::Union(_) | Kind::Forward => {
                Type::Struct(self.struct_of(btf, id, structs))
            }
            Kind::Typedef(to) | Kind::Qualified(to) | Kind::Tagged(to) => {
                self.convert(btf, to, structs)
            }
            Kind::Float(size) => integer(size * 8, false),
            _ => Type::Void,
        }
    }

    fn struct_of(&self, btf: &Btf, id: Id, structs: &mut Structs) -> StructId {
        if let Some(known) = self.known.borrow().get(&id) {
            return *known;
        }
        let is_union = matches!(btf.kind(id), Kind::Union(_));
        let name = btf.name(id);
        let full = format!("{} {name}", if is_union { "union" } else { "struct" });
        let of_program = structs.named(&full);
        if let Some(known) = of_program.filter(|_| !name.is_empty()) {
            return known;
        }
        let size = btf.size(id);
        let def = StructDef {
            name: full.into(),
            kind: if is_union { StructKind::Union } else { StructKind::Struct },
            size,
            // Not that of its members, which aren't looked at: what its size doesn't contradict.
            align: 1 << size.trailing_zeros().min(3),
            origin: Origin::Kernel(id),
            fields: None,
        };
        let added = if name.is_empty() { structs.add_unnamed(def) } else { structs.add(def) };
        self.known.borrow_mut().insert(id, added);
        added
    }

    fn field(&self, btf: &Btf, member: Member<'_>, structs: &mut Structs) -> Field {
        let ty = self.convert(btf, member.ty, structs);
        let (offset, bits) = match member.bits {
            0 => (member.bit_offset / 8, None),
            width => bit_field(member.bit_offset, width, btf.size(member.ty)),
        };
        Field { name: member.name.into(), ty, offset, bits, is_data_loc: false }
    }
}

impl TypeSource for KernelTypes {
    fn record(&self, name: &str, structs: &mut Structs) -> Option<StructId> {
        let btf = self.btf()?;
        let (kind, plain) = name.split_once(' ')?;
        let id = btf.find(plain, |of| match kind {
            "struct" => matches!(of, Kind::Struct(_)),
            _ => matches!(of, Kind::Union(_)),
        })?;
        Some(self.struct_of(btf, id, structs))
    }

    fn typedef(&self, name: &str, structs: &mut Structs) -> Option<Type> {
        let btf = self.btf()?;
        let id = btf.find(name, |kind| matches!(kind, Kind::Typedef(_) | Kind::Int { .. }))?;
        Some(self.convert(btf, id, structs))
    }

    fn enumeration(&self, name: &str) -> Option<EnumDef> {
        let btf = self.btf()?;
        let id = btf.find(name, |kind| matches!(kind, Kind::Enum { .. }))?;
        let values = btf.constants(id).map(|(name, value)| (name.into(), i128::from(value)));
        Some(EnumDef { int: enum_int(btf, id)?, values: values.collect() })
    }

    fn enumerator(&self, name: &str) -> Option<(Name, Int, i128)> {
        let btf = self.btf()?;
        let (id, value) = btf.find_constant(name)?;
        Some((btf.name(id).into(), enum_int(btf, id)?, i128::from(value)))
    }

    fn fields(&self, id: StructId, structs: &mut Structs) -> Vec<Field> {
        let (Origin::Kernel(of), Some(btf)) = (structs.get(id).origin, self.btf()) else {
            return Vec::new();
        };
        btf.members(of).map(|member| self.field(btf, member, structs)).collect()
    }
}

fn integer(bits: u32, signed: bool) -> Type {
    match bits {
        8 | 16 | 32 | 64 => Type::Int(Int { bits: bits as u8, signed }),
        // __int128 and long double: bytes that can be copied.
        _ => Type::Array(Arc::new(Type::Int(Int::U8)), bits.div_ceil(8)),
    }
}

fn enum_int(btf: &Btf, id: Id) -> Option<Int> {
    let Kind::Enum { size, signed } = btf.kind(id) else { return None };
    Some(Int { bits: size as u8 * 8, signed })
}

/// `char` alone: `u8` and `signed char` are numbers.
fn is_char(btf: &Btf, mut id: Id) -> bool {
    while let Kind::Qualified(to) = btf.kind(id) {
        id = to;
    }
    matches!(btf.kind(id), Kind::Int { .. }) && btf.name(id) == "char"
}

fn is_tagged(btf: &Btf, mut id: Id, tag: &str) -> bool {
    loop {
        match btf.kind(id) {
            Kind::Tagged(_) if btf.name(id) == tag => return true,
            Kind::Tagged(to) | Kind::Qualified(to) => id = to,
            _ => return false,
        }
    }
}

/// Where an integer of the field's own size lies that has the whole bit-field, if there is one: at a multiple of
/// its size, as compilers have it; else from the byte where the bits begin.
pub(super) fn bit_field(bit_offset: u32, width: u32, size: u32) -> (u32, Option<BitField>) {
    let unit = size.clamp(1, 8) * 8;
    let begin = bit_offset / unit * unit;
    let begin = if bit_offset + width <= begin + unit { begin } else { bit_offset / 8 * 8 };
    (begin / 8, Some(BitField { shift: bit_offset - begin, width }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn bit_fields_are_in_whole_integers() {
        assert_eq!(bit_field(35, 3, 4), (4, Some(BitField { shift: 3, width: 3 })));
        assert_eq!(bit_field(7, 1, 1), (0, Some(BitField { shift: 7, width: 1 })));
        assert_eq!(bit_field(28, 8, 4), (3, Some(BitField { shift: 4, width: 8 })));
    }

    #[test]
    fn structs_take_the_words_that_they_have() {
        let structs = Structs::default();
        let bytes = |size| Type::Array(Arc::new(Type::Int(Int::U8)), size);
        let parameters = [Type::Bool, bytes(16), bytes(3), Type::Int(Int::U64)];
        let parameters = parameters.map(|ty| ("".into(), ty)).to_vec();
        let signature = Signature { parameters, returns: Type::Void };
        assert_eq!(signature.offsets(&structs), (vec![0, 8, 24, 32], 40));
    }

    #[test]
    fn this_kernels_types() {
        let (types, mut structs) = (KernelTypes::new(), Structs::default());
        if types.btf().is_none() {
            return;
        }
        let task = types.record("struct task_struct", &mut structs).unwrap();
        assert!(structs.get(task).size > 1000);
        let comm = structs.field(task, "comm", &types).unwrap();
        assert_eq!(comm.ty, Type::String(16));
        let parent = structs.field(task, "real_parent", &types).unwrap();
        let Type::Pointer(pointer) = parent.ty else { panic!("no pointer: {parent:?}") };
        assert_eq!((&*pointer.to, pointer.space), (&Type::Struct(task), AddressSpace::Kernel));
        let flags = types.typedef("pid_t", &mut structs);
        assert_eq!(flags, Some(Type::Int(Int::I32)));
        let switch = types.raw_tracepoint("sched_switch", &mut structs).unwrap();
        assert_eq!(switch.parameters[0], ("preempt".into(), Type::Bool));
        assert!(types.record("struct no_such_thing", &mut structs).is_none());
    }
}

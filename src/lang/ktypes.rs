//! The kernel's types, as the language sees them: from its BTF, and from tracefs for tracepoints. Nothing is
//! read before somebody asks for it, and of what is asked for no more than that.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::programs::{self, ProgramFunction};
use super::types::{
    AddressSpace, BitField, EnumDef, Field, Int, Name, Origin, StructDef, StructId, StructKind,
    Structs, Type, TypeSource,
};
use crate::btf::{self, Btf, Id, Kind, Member};

mod functions;
mod tracepoint;

pub use functions::all_functions;
pub use tracepoint::tracepoint_fields;

/// This kernel's types.
#[derive(Debug, Default)]
pub struct KernelTypes {
    btf: OnceCell<Option<Rc<Btf>>>,
    modules: OnceCell<Vec<Module>>,
    /// Structs that are known already, by where their types are.
    known: RefCell<HashMap<Origin, StructId>>,
    /// What kprobes can be put on, as the kernel lists it: some megabytes, which take a while to read.
    functions: OnceCell<Option<String>>,
    /// A file that is read in place of the kernel's list.
    functions_file: Option<PathBuf>,
    /// Functions of BPF programs that are loaded.
    programs: OnceCell<Vec<ProgramFunction>>,
}

/// A module's types.
#[derive(Debug)]
pub struct Module {
    /// The module.
    pub name: Name,
    /// Its types, which go on from the kernel's.
    pub btf: Btf,
    number: u16,
}

/// Types of the kernel itself or of a module.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// None for the kernel itself.
    pub module: Option<&'a Module>,
    /// The types.
    pub btf: &'a Btf,
}

impl Object<'_> {
    /// `vmlinux`, or the module.
    pub fn name(&self) -> &str {
        self.module.map_or("vmlinux", |module| &module.name)
    }

    /// Where one of its types is.
    fn origin(&self, id: Id) -> Origin {
        match self.module {
            Some(module) if !self.btf.is_of_base(id) => Origin::Module(module.number, id),
            _ => Origin::Kernel(id),
        }
    }
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
        self.kernel_btf().map(Rc::as_ref)
    }

    fn kernel_btf(&self) -> Option<&Rc<Btf>> {
        self.btf.get_or_init(|| Btf::vmlinux().ok().map(Rc::new)).as_ref()
    }

    /// Types of all modules that are loaded, in the order of their names. Reading them takes a while.
    pub fn modules(&self) -> &[Module] {
        self.modules.get_or_init(|| {
            let Some(base) = self.kernel_btf() else { return Vec::new() };
            let read = |(name, number): (String, u16)| {
                // One that was unloaded meanwhile has none.
                let btf = Btf::module(&name, Rc::clone(base)).ok()?;
                Some(Module { name: name.into(), btf, number })
            };
            let mut modules: Vec<Module> =
                btf::modules().into_iter().zip(0..).filter_map(read).collect();
            (0..).zip(&mut modules).for_each(|(number, module)| module.number = number);
            modules
        })
    }

    /// The kernel's types, and those of each module.
    pub fn objects(&self) -> impl Iterator<Item = Object<'_>> {
        // Modules are looked at if the kernel itself hasn't what is wanted.
        let modules = std::iter::once_with(|| self.modules()).flatten();
        let modules = modules.map(|module| Object { module: Some(module), btf: &module.btf });
        self.btf().map(|btf| Object { module: None, btf }).into_iter().chain(modules)
    }

    /// A type by its name, of a module if one is named, and who has it: the kernel first.
    pub fn find(
        &self,
        module: Option<&str>,
        name: &str,
        wanted: impl Fn(Kind) -> bool,
    ) -> Option<(Object<'_>, Id)> {
        let is_meant = |object: &Object<'_>| module.is_none_or(|module| object.name() == module);
        let mut objects = self.objects().filter(is_meant);
        objects.find_map(|object| Some((object, object.btf.find(name, &wanted)?)))
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

    /// Functions of BPF programs that were loaded when this was first asked for.
    pub fn programs(&self) -> &[ProgramFunction] {
        self.programs.get_or_init(programs::functions)
    }

    /// A function of the program of that number.
    pub fn program_function(&self, program: u32, name: &str) -> Option<&ProgramFunction> {
        self.programs().iter().find(|of| of.program == program && &*of.name == name)
    }

    /// A kernel function's, for fentry and fexit.
    pub fn function(
        &self,
        module: Option<&str>,
        name: &str,
        structs: &mut Structs,
    ) -> Option<Signature> {
        let (of, id) = self.find(module, name, |kind| matches!(kind, Kind::Function(_)))?;
        Some(self.signature(of, id, 0, structs))
    }

    /// A raw tracepoint's.
    pub fn raw_tracepoint(
        &self,
        module: Option<&str>,
        name: &str,
        structs: &mut Structs,
    ) -> Option<Signature> {
        let typedef = format!("btf_trace_{name}");
        let (of, typedef) = self.find(module, &typedef, |kind| matches!(kind, Kind::Typedef(_)))?;
        // The function that calls programs has names for its parameters, the typedef of programs hasn't.
        let caller = of.btf.find_function(&format!("__traceiter_{name}"));
        let prototype = || match of.btf.kind(of.btf.resolve(typedef)) {
            Kind::Pointer(prototype) => Some(prototype),
            _ => None,
        };
        // The first is the kernel's own: data of who is attached.
        Some(self.signature(of, caller.or_else(prototype)?, 1, structs))
    }

    /// The context of an iterator: `iter:task`.
    pub fn iterator(&self, name: &str, structs: &mut Structs) -> Option<StructId> {
        self.record(&format!("struct bpf_iter__{name}"), structs)
    }

    fn signature(
        &self,
        of: Object<'_>,
        function: Id,
        skip: usize,
        structs: &mut Structs,
    ) -> Signature {
        let mut parameters = Vec::new();
        for parameter in of.btf.parameters(function).skip(skip) {
            parameters.push((parameter.name.into(), self.convert(of, parameter.ty, structs)));
        }
        Signature { parameters, returns: self.convert(of, of.btf.returns(function), structs) }
    }

    /// A type of BTF in the language's terms.
    fn convert(&self, of: Object<'_>, id: Id, structs: &mut Structs) -> Type {
        let btf = of.btf;
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
                self.convert(of, to, structs).pointer(space)
            }
            Kind::Array(element, len) if is_char(btf, element) => Type::String(len),
            Kind::Array(element, len) => {
                Type::Array(Arc::new(self.convert(of, element, structs)), len)
            }
            Kind::Struct(_) | Kind::Union(_) | Kind::Forward => {
                Type::Struct(self.struct_of(of, id, structs))
            }
            Kind::Typedef(to) | Kind::Qualified(to) | Kind::Tagged(to) => {
                self.convert(of, to, structs)
            }
            Kind::Float(size) if size <= 8 => Type::Float(size as u8),
            Kind::Float(size) => integer(size * 8, false),
            _ => Type::Void,
        }
    }

    fn struct_of(&self, of: Object<'_>, id: Id, structs: &mut Structs) -> StructId {
        let (btf, origin) = (of.btf, of.origin(id));
        if let Some(known) = self.known.borrow().get(&origin) {
            return *known;
        }
        let is_union = matches!(btf.kind(id), Kind::Union(_));
        let name = btf.name(id);
        let full = format!("{} {name}", if is_union { "union" } else { "struct" });
        let of_program = structs.named(&full);
        if let Some(known) = of_program.filter(|_| !name.is_empty()) {
            return known;
        }
        // Modules may have the kernel's types once more.
        if let (Origin::Module(..), Some(kernel)) = (origin, self.btf()) {
            let object = Object { module: None, btf: kernel };
            let same =
                |kind| std::mem::discriminant(&kind) == std::mem::discriminant(&btf.kind(id));
            if let Some(id) = kernel.find(name, same).filter(|_| !name.is_empty()) {
                return self.struct_of(object, id, structs);
            }
        }
        let size = btf.size(id);
        let def = StructDef {
            name: full.into(),
            kind: if is_union { StructKind::Union } else { StructKind::Struct },
            size,
            // Not that of its members, which aren't looked at: what its size doesn't contradict.
            align: 1 << size.trailing_zeros().min(3),
            origin,
            fields: None,
        };
        let added = if name.is_empty() { structs.add_unnamed(def) } else { structs.add(def) };
        self.known.borrow_mut().insert(origin, added);
        added
    }

    /// A struct or union by its name with its kind.
    fn find_record(&self, name: &str) -> Option<(Object<'_>, Id)> {
        let (kind, plain) = name.split_once(' ')?;
        self.find(None, plain, |of| match kind {
            "struct" => matches!(of, Kind::Struct(_)),
            _ => matches!(of, Kind::Union(_)),
        })
    }

    fn field(&self, of: Object<'_>, member: Member<'_>, structs: &mut Structs) -> Field {
        let ty = self.convert(of, member.ty, structs);
        let (offset, bits) = match member.bits {
            0 => (member.bit_offset / 8, None),
            width => bit_field(member.bit_offset, width, of.btf.size(member.ty)),
        };
        Field { name: member.name.into(), ty, offset, bits, is_data_loc: false }
    }
}

impl TypeSource for KernelTypes {
    fn record(&self, name: &str, structs: &mut Structs) -> Option<StructId> {
        let (of, id) = self.find_record(name)?;
        Some(self.struct_of(of, id, structs))
    }

    fn typedef(&self, name: &str, structs: &mut Structs) -> Option<Type> {
        let btf = self.btf()?;
        let id = btf.find(name, |kind| matches!(kind, Kind::Typedef(_) | Kind::Int { .. }))?;
        Some(self.convert(Object { module: None, btf }, id, structs))
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
        let (object, of) = match structs.get(id).origin {
            Origin::Kernel(of) => (self.btf().map(|btf| Object { module: None, btf }), of),
            Origin::Module(number, of) => {
                let module = self.modules().get(usize::from(number));
                (module.map(|module| Object { module: Some(module), btf: &module.btf }), of)
            }
            _ => return Vec::new(),
        };
        let Some(mut object) = object else { return Vec::new() };
        let mut of = of;
        // What the kernel only mentions, a module may define.
        if matches!(object.btf.kind(of), Kind::Forward)
            && let Some(found) = self.find_record(&structs.get(id).name)
        {
            (object, of) = found;
            structs.get_mut(id).size = object.btf.size(of);
        }
        object.btf.members(of).map(|member| self.field(object, member, structs)).collect()
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
        let switch = types.raw_tracepoint(None, "sched_switch", &mut structs).unwrap();
        assert_eq!(switch.parameters[0], ("preempt".into(), Type::Bool));
        assert!(types.record("struct no_such_thing", &mut structs).is_none());
    }
}

//! The structs, unions and enums that a program can name: its own, the kernel's, a probe's arguments.
//!
//! Fields are looked up when something asks for them, so that a pointer to `task_struct` doesn't bring half of the
//! kernel's types along.

use std::collections::HashMap;

use super::{Name, Type};

/// A struct or union by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StructId(pub u32);

/// Which of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StructKind {
    /// Fields one after the other.
    Struct,
    /// Fields in one place.
    Union,
}

/// Who says what its fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The program's own declaration.
    Program,
    /// The kernel's BTF, type of this number.
    Kernel(u32),
    /// The BTF of the module of the first number, type of the second.
    Module(u16, u32),
    /// The format of a tracepoint: fields are in the context, at these offsets.
    Tracepoint,
    /// The arguments of a function or raw tracepoint, eight bytes each in the context.
    Arguments,
    /// The arguments of a function of a process, in registers.
    UserArguments,
}

/// A struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructDef {
    /// With its kind: `struct sock`.
    pub name: Name,
    /// Which of both.
    pub kind: StructKind,
    /// Bytes; 0 as long as nothing is known of it.
    pub size: u32,
    /// What its address is a multiple of.
    pub align: u32,
    /// Who says what its fields are.
    pub origin: Origin,
    /// None until they are looked up.
    pub fields: Option<Vec<Field>>,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Empty if it is a struct or union without a name, whose fields count as the outer one's.
    pub name: Name,
    /// What it is.
    pub ty: Type,
    /// Where it begins, in bytes.
    pub offset: u32,
    /// If it is a part of the integer there.
    pub bits: Option<BitField>,
    /// `__data_loc` of a tracepoint: what is there says where the value is.
    pub is_data_loc: bool,
}

/// The part of an integer that a bit-field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitField {
    /// How many bits are below it, from the byte where the field begins.
    pub shift: u32,
    /// How many it has.
    pub width: u32,
}

/// An enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumDef {
    /// The integer it is kept in.
    pub int: super::Int,
    /// Names and values.
    pub values: Vec<(Name, i128)>,
}

/// Where types come from that the program doesn't declare: this kernel, or a test's own list.
pub trait TypeSource {
    /// A struct or union by its name with its kind: `struct sock`. It adds it to `structs`.
    fn record(&self, name: &str, structs: &mut Structs) -> Option<StructId>;
    /// What a `typedef` stands for.
    fn typedef(&self, name: &str, structs: &mut Structs) -> Option<Type>;
    /// An enum by its name, without `enum`.
    fn enumeration(&self, name: &str) -> Option<EnumDef>;
    /// The value that has a name in some enum, and that enum's name.
    fn enumerator(&self, name: &str) -> Option<(Name, super::Int, i128)>;
    /// The fields of a struct that came from here.
    fn fields(&self, id: StructId, structs: &mut Structs) -> Vec<Field>;
}

/// All structs, unions and enums of a program.
#[derive(Clone, Debug, Default)]
pub struct Structs {
    all: Vec<StructDef>,
    names: HashMap<Name, StructId>,
    /// Enums by their names, those that were looked up.
    pub enums: HashMap<Name, EnumDef>,
    /// What the program's own headers give another name.
    pub typedefs: HashMap<Name, Type>,
}

impl Structs {
    /// Takes a struct in, in place of one that has the same name.
    pub fn add(&mut self, def: StructDef) -> StructId {
        let name = def.name.clone();
        if let Some(id) = self.names.get(&name) {
            self.all[id.0 as usize] = def;
            return *id;
        }
        let id = self.add_unnamed(def);
        self.names.insert(name, id);
        id
    }

    /// Takes a struct in that can't be asked for by name: one inside another, or a probe's arguments.
    pub fn add_unnamed(&mut self, def: StructDef) -> StructId {
        let id = StructId(self.all.len() as u32);
        self.all.push(def);
        id
    }

    /// By its name with its kind.
    pub fn named(&self, name: &str) -> Option<StructId> {
        self.names.get(name).copied()
    }

    /// By its number, which must be one that this has given.
    pub fn get(&self, id: StructId) -> &StructDef {
        &self.all[id.0 as usize]
    }

    /// The same, to set its fields.
    pub fn get_mut(&mut self, id: StructId) -> &mut StructDef {
        &mut self.all[id.0 as usize]
    }

    /// A struct's fields, looked up if they weren't yet.
    pub fn fields(&mut self, id: StructId, types: &dyn TypeSource) -> &[Field] {
        if self.get(id).fields.is_none() {
            let fields = types.fields(id, self);
            self.get_mut(id).fields = Some(fields);
        }
        self.known_fields(id)
    }

    /// Looks up all that a value of the type has within it, for whoever shows it.
    pub fn complete(&mut self, of: &Type, types: &dyn TypeSource) {
        match of {
            Type::Array(of, _) => self.complete(of, types),
            Type::Tuple(of) => of.iter().for_each(|of| self.complete(of, types)),
            Type::Record(of) => of.iter().for_each(|(_, of)| self.complete(of, types)),
            Type::Struct(id) => {
                for field in self.fields(*id, types).to_vec() {
                    self.complete(&field.ty, types);
                }
            }
            _ => {}
        }
    }

    /// A struct's fields, if they were looked up.
    pub fn known_fields(&self, id: StructId) -> &[Field] {
        self.get(id).fields.as_deref().unwrap_or_default()
    }

    /// A field by its name, also in structs without a name inside this one; its offset is from this one.
    pub fn field(&mut self, id: StructId, name: &str, types: &dyn TypeSource) -> Option<Field> {
        let fields = self.fields(id, types).to_vec();
        if let Some(field) = fields.iter().find(|field| &*field.name == name) {
            return Some(field.clone());
        }
        fields.iter().filter(|field| field.name.is_empty()).find_map(|outer| {
            let Type::Struct(inner) = outer.ty else { return None };
            let mut field = self.field(inner, name, types)?;
            field.offset += outer.offset;
            Some(field)
        })
    }
}

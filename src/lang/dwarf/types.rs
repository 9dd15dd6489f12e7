//! DWARF's types in the language's terms.

use std::sync::Arc;

use gimli::constants as dw;

use super::super::ktypes::bit_field;
use super::super::types::{
    AddressSpace, Field, Int, Origin, StructDef, StructId, StructKind, Structs, Type,
};
use super::{Entry, Offset, Part};

/// Types within types beyond which nobody looks: something refers to itself.
const DEEPEST: u32 = 64;

impl Part {
    /// A type. What can't be expressed is bytes that can be copied, or nothing.
    pub(super) fn convert(&self, at: Offset, structs: &mut Structs, depth: u32) -> Type {
        let Some(entry) = self.unit.entry(at).ok().filter(|_| depth < DEEPEST) else {
            return Type::Void;
        };
        let size = Self::number(&entry, dw::DW_AT_byte_size).unwrap_or(0) as u32;
        let behind = |structs: &mut Structs| match self.type_of(&entry) {
            Some(of) => self.convert(of, structs, depth + 1),
            None => Type::Void,
        };
        match entry.tag() {
            dw::DW_TAG_base_type => base(&entry, size),
            dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type => {
                behind(structs).pointer(AddressSpace::User)
            }
            dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type => {
                Type::Struct(self.struct_of(at, &entry, size, structs, depth))
            }
            dw::DW_TAG_enumeration_type => {
                let int = Int { bits: (size.clamp(1, 8) * 8) as u8, signed: false };
                self.name(&entry).map_or(Type::Int(int), |name| Type::Enum(name.into(), int))
            }
            dw::DW_TAG_array_type => self.array(at, behind(structs), &entry),
            dw::DW_TAG_subroutine_type => Type::Void,
            _ => behind(structs),
        }
    }

    fn array(&self, at: Offset, element: Type, entry: &Entry) -> Type {
        let mut element = element;
        let is_text = self.type_of(entry).is_some_and(|of| self.is_char(of));
        let counts = self.children(at, dw::DW_TAG_subrange_type, |range| {
            let above = || Self::number(range, dw::DW_AT_upper_bound).map(|last| last + 1);
            Self::number(range, dw::DW_AT_count).or_else(above).unwrap_or(0) as u32
        });
        for (place, count) in counts.iter().enumerate().rev() {
            element = match is_text && place + 1 == counts.len() {
                true => Type::String(*count),
                false => Type::Array(Arc::new(element), *count),
            };
        }
        element
    }

    /// `char` alone: `unsigned char` is a number.
    fn is_char(&self, at: Offset) -> bool {
        let Ok(entry) = self.unit.entry(at) else { return false };
        match entry.tag() {
            dw::DW_TAG_base_type => self.name(&entry).is_some_and(|name| name == "char"),
            dw::DW_TAG_const_type | dw::DW_TAG_volatile_type => {
                self.type_of(&entry).is_some_and(|of| self.is_char(of))
            }
            _ => false,
        }
    }

    /// What is made of each child with that tag.
    fn children<T>(&self, at: Offset, tag: gimli::DwTag, make: impl Fn(&Entry) -> T) -> Vec<T> {
        let mut made = Vec::new();
        let Ok(mut cursor) = self.unit.entries_at_offset(at) else { return made };
        let depth = match cursor.next_dfs() {
            Ok(Some(entry)) => entry.depth(),
            _ => return made,
        };
        while let Ok(Some(entry)) = cursor.next_dfs() {
            if entry.depth() <= depth {
                break;
            }
            if entry.depth() == depth + 1 && entry.tag() == tag {
                made.push(make(entry));
            }
        }
        made
    }

    fn struct_of(
        &self,
        at: Offset,
        entry: &Entry,
        size: u32,
        structs: &mut Structs,
        depth: u32,
    ) -> StructId {
        let is_union = entry.tag() == dw::DW_TAG_union_type;
        let (word, kind) = match is_union {
            true => ("union", StructKind::Union),
            false => ("struct", StructKind::Struct),
        };
        let name = self.name(entry);
        let full = format!("{word} {}", name.as_deref().unwrap_or_default());
        // The program's own declaration goes first; so does what is being looked at.
        let known = name.as_ref().and_then(|_| structs.named(&full));
        if let Some(known) = known.filter(|known| structs.get(*known).size > 0) {
            return known;
        }
        let align = 1 << size.trailing_zeros().min(3);
        let (origin, fields) = (Origin::Program, Some(Vec::new()));
        let def = StructDef { name: full.into(), kind, size, align, origin, fields };
        let id = if name.is_some() { structs.add(def) } else { structs.add_unnamed(def) };
        let members = self.children(at, dw::DW_TAG_member, |member| Member {
            name: self.name(member).unwrap_or_default(),
            ty: self.type_of(member),
            byte: Self::number(member, dw::DW_AT_data_member_location).unwrap_or(0) as u32,
            bit: Self::number(member, dw::DW_AT_data_bit_offset).map(|bit| bit as u32),
            bits: Self::number(member, dw::DW_AT_bit_size).unwrap_or(0) as u32,
        });
        let field = |member: Member| {
            let ty = member.ty.map_or(Type::Void, |ty| self.convert(ty, structs, depth + 1));
            let (offset, bits) = match (member.bits, member.bit) {
                (0, _) => (member.byte, None),
                (width, bit) => {
                    let bit = bit.unwrap_or(member.byte * 8);
                    bit_field(bit, width, structs.size_of(&ty))
                }
            };
            Field { name: member.name.into(), ty, offset, bits, is_data_loc: false }
        };
        let fields = members.into_iter().map(field).collect();
        structs.get_mut(id).fields = Some(fields);
        id
    }
}

/// A member as it is written.
struct Member {
    name: String,
    ty: Option<Offset>,
    byte: u32,
    bit: Option<u32>,
    bits: u32,
}

fn base(entry: &Entry, size: u32) -> Type {
    let encoding = match entry.attr_value(dw::DW_AT_encoding) {
        Some(gimli::AttributeValue::Encoding(encoding)) => encoding,
        _ => dw::DW_ATE_unsigned,
    };
    let signed = matches!(encoding, dw::DW_ATE_signed | dw::DW_ATE_signed_char);
    match (encoding, size) {
        (dw::DW_ATE_boolean, _) => Type::Bool,
        (dw::DW_ATE_float, 4 | 8) => Type::Float(size as u8),
        (_, 1 | 2 | 4 | 8) => Type::Int(Int { bits: size as u8 * 8, signed }),
        _ => Type::Array(Arc::new(Type::Int(Int::U8)), size),
    }
}

//! Tracepoints' arguments, by the format that tracefs has of each.

use std::fs;
use std::io;
use std::sync::Arc;

use crate::lang::types::{AddressSpace, Field, Int, Structs, Type, TypeSource};
use crate::tracefs::Tracefs;

/// The fields of a tracepoint's context, and how many bytes of it they need.
///
/// # Errors
/// Where there is no such tracepoint, or tracefs can't be had.
pub fn tracepoint_fields(
    group: &str,
    name: &str,
    types: &dyn TypeSource,
    structs: &mut Structs,
) -> io::Result<(Vec<Field>, u32)> {
    let tracefs = Tracefs::open()?;
    let format = fs::read_to_string(tracefs.event(group, name).join("format"))?;
    // What system calls are given is their caller's.
    let space = if group == "syscalls" { AddressSpace::User } else { AddressSpace::Kernel };
    let lines: Vec<Line<'_>> = format.lines().filter_map(Line::parse).collect();
    let size = lines.iter().map(|line| line.offset + line.size).max().unwrap_or(0);
    Ok((lines.iter().map(|line| line.field(space, types, structs)).collect(), size))
}

/// `field:const char * filename; offset:16; size:8; signed:0;`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line<'a> {
    of: &'a str,
    name: &'a str,
    /// `[16]`, `[]` of a `__data_loc`.
    is_array: bool,
    offset: u32,
    size: u32,
    signed: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.trim().split(';').map(str::trim);
        let declaration = parts.next()?.strip_prefix("field:")?;
        let mut number = |key| parts.next()?.strip_prefix(key)?.parse().ok();
        let (offset, size, signed) = (number("offset:")?, number("size:")?, number("signed:")?);
        let (of, name) = declaration.rsplit_once([' ', '\t'])?;
        let plain = name.split('[').next()?;
        let is_array = plain != name || of.contains('[');
        Some(Self { of, name: plain, is_array, offset, size, signed: signed == 1u32 })
    }

    fn field(&self, space: AddressSpace, types: &dyn TypeSource, structs: &mut Structs) -> Field {
        let is_data_loc = self.of.starts_with("__data_loc") || self.of.starts_with("__rel_loc");
        // What is there is an offset; what the field is, the address that comes of it.
        let ty = if is_data_loc { Type::I64 } else { self.ty(space, types, structs) };
        Field { name: self.name.into(), ty, offset: self.offset, bits: None, is_data_loc }
    }

    fn ty(&self, space: AddressSpace, types: &dyn TypeSource, structs: &mut Structs) -> Type {
        let words: Vec<&str> = self.of.split_whitespace().filter(|word| *word != "const").collect();
        if let Some(to) = self.of.trim_end().strip_suffix('*') {
            return pointee(to, types, structs).pointer(space);
        }
        match words[..] {
            ["char"] if self.is_array => return Type::String(self.size),
            ["struct" | "union", _] => {
                let record = types.record(&words.join(" "), structs);
                return record.map_or(bytes(self.size), Type::Struct);
            }
            ["bool"] => return Type::Bool,
            _ => {}
        }
        let element = if self.is_array { c_integer(&words, types, structs) } else { None };
        let whole = |int: Int| int.bytes() > 0 && self.size.is_multiple_of(int.bytes());
        match (element.filter(|int| whole(*int)), self.size) {
            (Some(int), size) => Type::Array(Arc::new(Type::Int(int)), size / int.bytes()),
            (None, 1 | 2 | 4 | 8) if !self.is_array => {
                Type::Int(Int { bits: self.size as u8 * 8, signed: self.signed })
            }
            (None, size) => bytes(size),
        }
    }
}

fn bytes(size: u32) -> Type {
    Type::Array(Arc::new(Type::Int(Int::U8)), size)
}

/// What `const char *`, `struct sock *` point to; void where it isn't known, as of `char **`.
fn pointee(of: &str, types: &dyn TypeSource, structs: &mut Structs) -> Type {
    let words: Vec<&str> = of
        .split_whitespace()
        .filter(|word| !matches!(*word, "const" | "volatile" | "__user"))
        .collect();
    match words[..] {
        ["struct" | "union", _] => {
            types.record(&words.join(" "), structs).map_or(Type::Void, Type::Struct)
        }
        _ if of.contains('*') => {
            let outer = of.trim_end().trim_end_matches("const").trim_end();
            let inner = outer.strip_suffix('*').unwrap_or_default();
            pointee(inner, types, structs).pointer(AddressSpace::Unknown)
        }
        _ => c_integer(&words, types, structs).map_or(Type::Void, Type::Int),
    }
}

/// C's integers on 64-bit machines, and the kernel's names for some.
fn c_integer(words: &[&str], types: &dyn TypeSource, structs: &mut Structs) -> Option<Int> {
    let signed = !words.contains(&"unsigned");
    let bits = match words
        .iter()
        .filter(|word| !matches!(**word, "unsigned" | "signed"))
        .copied()
        .collect::<Vec<_>>()[..]
    {
        ["char"] => 8,
        ["short"] | ["short", "int"] => 16,
        ["int"] | [] => 32,
        ["long"] | ["long", "int"] | ["long", "long"] | ["long", "long", "int"] => 64,
        [name] => return types.typedef(name, structs)?.int(),
        _ => return None,
    };
    Some(Int { bits, signed })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::lang::types::{EnumDef, Name, StructId};

    struct NoTypes;

    impl TypeSource for NoTypes {
        fn record(&self, _: &str, _: &mut Structs) -> Option<StructId> {
            None
        }
        fn typedef(&self, name: &str, _: &mut Structs) -> Option<Type> {
            (name == "u32").then_some(Type::U32)
        }
        fn enumeration(&self, _: &str) -> Option<EnumDef> {
            None
        }
        fn enumerator(&self, _: &str) -> Option<(Name, Int, i128)> {
            None
        }
        fn fields(&self, _: StructId, _: &mut Structs) -> Vec<Field> {
            Vec::new()
        }
    }

    fn field(line: &str) -> Field {
        Line::parse(line).unwrap().field(AddressSpace::User, &NoTypes, &mut Structs::default())
    }

    #[test]
    fn formats_of_tracefs() {
        let name = field("\tfield:const char * filename;\toffset:16;\tsize:8;\tsigned:0;");
        let int8 = Type::Int(Int { bits: 8, signed: true });
        assert_eq!(
            (&*name.name, name.ty, name.offset),
            ("filename", int8.pointer(AddressSpace::User), 16)
        );
        let comm = field("\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;");
        assert_eq!((&*comm.name, comm.ty), ("prev_comm", Type::String(16)));
        let number = field("\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;");
        assert_eq!(number.ty, Type::I64);
        let args = field("\tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;");
        assert_eq!(args.ty, Type::Array(Arc::new(Type::U64), 6));
        let words = field("\tfield:u32 words[3];\toffset:16;\tsize:12;\tsigned:0;");
        assert_eq!(words.ty, Type::Array(Arc::new(Type::U32), 3));
        let path = field("\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;");
        assert!(path.is_data_loc && path.ty == Type::I64);
        let argv = field("\tfield:const char *const * argv;\toffset:24;\tsize:8;\tsigned:0;");
        let Type::Pointer(outer) = argv.ty else { panic!("{:?}", argv.ty) };
        assert!(matches!(&*outer.to, Type::Pointer(_)), "{outer:?}");
    }

    #[test]
    fn other_lines_are_none() {
        assert_eq!(Line::parse("name: sys_enter_openat"), None);
        assert_eq!(Line::parse("print fmt: \"dfd: 0x%08lx\", ((unsigned long)(REC->dfd))"), None);
    }
}

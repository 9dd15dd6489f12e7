//! Types of C, and what is declared to have them.

use std::sync::Arc;

use super::super::types::{AddressSpace, tuple_layout};
use super::*;

/// The struct or union that a nested one without a name is in, which names it.
type Outer<'a> = Option<&'a str>;

impl Reader<'_> {
    /// A type up to where its declarators begin.
    pub(super) fn type_(&mut self, outer: Outer<'_>) -> Read<Type> {
        self.qualifiers();
        match self.word() {
            "struct" => self.record(StructKind::Struct, outer).map(Type::Struct),
            "union" => self.record(StructKind::Union, outer).map(Type::Struct),
            "enum" => {
                self.advance();
                self.enum_()
            }
            _ => self.plain(),
        }
    }

    fn qualifiers(&mut self) {
        while matches!(self.word(), "const" | "volatile" | "static" | "extern" | "restrict") {
            self.advance();
        }
    }

    /// Integers, `void`, and what `typedef` names.
    fn plain(&mut self) -> Read<Type> {
        let (mut sign, mut bits, mut longs, mut is_any) = (None, 32, 0, false);
        while self.token == Token::Word {
            match self.word() {
                "unsigned" => sign = Some(false),
                "signed" => sign = Some(true),
                "char" => bits = 8,
                "short" => bits = 16,
                "long" => longs += 1,
                "int" | "const" | "volatile" => {}
                _ if is_any => break,
                word => {
                    let word = word.to_owned();
                    let known = named(&word).or_else(|| self.structs.typedefs.get(&*word).cloned());
                    let Some(named) = known.or_else(|| self.kernel.typedef(&word, self.structs))
                    else {
                        return self.wrong(format!("unknown type name '{word}'"));
                    };
                    self.advance();
                    self.qualifiers();
                    return Ok(named);
                }
            }
            is_any = true;
            self.advance();
        }
        if !is_any {
            return self.wrong("expected a type");
        }
        let bits = if longs > 0 { 64 } else { bits };
        Ok(Type::Int(Int { bits, signed: sign.unwrap_or(true) }))
    }

    /// `struct NAME { … }`, `struct NAME`, `struct { … }`.
    fn record(&mut self, kind: StructKind, outer: Outer<'_>) -> Read<StructId> {
        let word = if kind == StructKind::Struct { "struct" } else { "union" };
        self.advance();
        let mut is_packed = self.attributes();
        let tag = self.name();
        is_packed |= self.attributes();
        let name: Name = match (&tag, outer) {
            (Some(tag), _) => format!("{word} {tag}").into(),
            (None, Some(outer)) => format!("{outer}::(anonymous)").into(),
            (None, None) => return self.wrong("expected a name"),
        };
        if self.token != Token::OpenBrace {
            return Ok(self.mentioned(name, kind));
        }
        // First by itself, so that its fields can point to it.
        let mut def = StructDef {
            name: name.clone(),
            kind,
            size: 0,
            align: 1,
            origin: Origin::Program,
            fields: Some(Vec::new()),
        };
        let is_named = tag.is_some();
        let id = if is_named {
            self.structs.add(def.clone())
        } else {
            self.structs.add_unnamed(def.clone())
        };
        let fields = self.fields(&name)?;
        is_packed |= self.attributes();
        self.lay_out(&mut def, fields, is_packed);
        *self.structs.get_mut(id) = def;
        Ok(id)
    }

    /// A struct that is named only: known already, the kernel's, or of which nothing is known.
    fn mentioned(&mut self, name: Name, kind: StructKind) -> StructId {
        let known = self.structs.named(&name);
        known.or_else(|| self.kernel.record(&name, self.structs)).unwrap_or_else(|| {
            let fields = None;
            let origin = Origin::Program;
            self.structs.add(StructDef { name, kind, size: 0, align: 1, origin, fields })
        })
    }

    /// `__attribute__((packed))` and others, which are passed over.
    fn attributes(&mut self) -> bool {
        let mut is_packed = false;
        while self.word() == "__attribute__" {
            self.advance();
            let mut open = 0;
            loop {
                match self.token {
                    Token::OpenParen => open += 1,
                    Token::CloseParen => open -= 1,
                    Token::Word => is_packed |= matches!(self.word(), "packed" | "__packed__"),
                    Token::End => break,
                    _ => {}
                }
                self.advance();
                if open == 0 {
                    break;
                }
            }
        }
        is_packed
    }

    /// `{ type a, *b[4]; … }`: the fields and, of bit-fields, how many bits.
    fn fields(&mut self, outer: &str) -> Read<Vec<(Name, Type, Option<u32>)>> {
        self.expect(Token::OpenBrace, "{")?;
        let mut fields = Vec::new();
        while !self.accept(Token::CloseBrace) {
            let base = self.type_(Some(outer))?;
            if self.accept(Token::Semicolon) {
                fields.push(("".into(), base, None));
                continue;
            }
            loop {
                let (name, ty) = self.declarator(base.clone())?;
                let bits = if self.accept(Token::Colon) {
                    let bits = self.constant(&[])?;
                    Some(u32::try_from(bits).unwrap_or(0).min(64))
                } else {
                    None
                };
                self.attributes();
                fields.push((name, ty, bits));
                if !self.accept(Token::Comma) {
                    break;
                }
            }
            // The last one may do without.
            if self.token != Token::CloseBrace {
                self.expect(Token::Semicolon, ";")?;
            }
        }
        Ok(fields)
    }

    /// `*a[4]`, `(*f)(int)`.
    pub(super) fn declarator(&mut self, mut ty: Type) -> Read<(Name, Type)> {
        while self.accept(Token::Star) {
            ty = ty.pointer(AddressSpace::Unknown);
            self.qualifiers();
        }
        if self.accept(Token::OpenParen) {
            self.expect(Token::Star, "*")?;
            let name = self.name().unwrap_or_else(|| "".into());
            self.expect(Token::CloseParen, ")")?;
            self.expect(Token::OpenParen, "(")?;
            let mut open = 1;
            while open > 0 && self.token != Token::End {
                match self.token {
                    Token::OpenParen => open += 1,
                    Token::CloseParen => open -= 1,
                    _ => {}
                }
                self.advance();
            }
            return Ok((name, Type::Void.pointer(AddressSpace::Unknown)));
        }
        // Bit-fields may have no name: they are padding.
        let name = self.name().unwrap_or_else(|| "".into());
        let mut lengths = Vec::new();
        while self.accept(Token::OpenBracket) {
            let length = if self.token == Token::CloseBracket { 0 } else { self.constant(&[])? };
            lengths.push(u32::try_from(length).unwrap_or(0));
            self.expect(Token::CloseBracket, "]")?;
        }
        Ok((name, lengths.into_iter().rev().fold(ty, array)))
    }

    /// Offsets, size and alignment, as C has them.
    fn lay_out(
        &self,
        def: &mut StructDef,
        fields: Vec<(Name, Type, Option<u32>)>,
        is_packed: bool,
    ) {
        let (mut laid_out, mut at_bits, mut size, mut align) = (Vec::new(), 0_u32, 0, 1);
        for (name, ty, bits) in fields {
            let bytes = self.structs.size_of(&ty);
            let own_align = if is_packed { 1 } else { c_align(self.structs, &ty) };
            if def.kind == StructKind::Union {
                at_bits = 0;
            }
            let (offset, bit_field) = match bits {
                None => {
                    let offset = tuple_layout([(at_bits.div_ceil(8), 1), (bytes, own_align)]);
                    (offset.offsets[1], None)
                }
                Some(0) => {
                    at_bits = at_bits.next_multiple_of((bytes * 8).max(1));
                    continue;
                }
                Some(width) => {
                    let unit = (bytes * 8).max(1);
                    if at_bits / unit != (at_bits + width - 1) / unit && !is_packed {
                        at_bits = at_bits.next_multiple_of(unit);
                    }
                    let offset = at_bits / unit * bytes;
                    (offset, Some(BitField { shift: at_bits - offset * 8, width }))
                }
            };
            at_bits = match bits {
                None => (offset + bytes) * 8,
                Some(width) => at_bits + width,
            };
            size = size.max(at_bits.div_ceil(8));
            align = align.max(own_align);
            let is_padding = bit_field.is_some() && name.is_empty();
            if !is_padding {
                laid_out.push(Field { name, ty, offset, bits: bit_field, is_data_loc: false });
            }
        }
        def.size = size.next_multiple_of(align);
        def.align = align;
        def.fields = Some(laid_out);
    }
}

/// An array; of `char`, a string.
fn array(of: Type, length: u32) -> Type {
    match of {
        Type::Int(Int { bits: 8, signed: true }) if length > 0 => Type::String(length),
        _ => Type::Array(Arc::new(of), length),
    }
}

/// What a field's address is a multiple of: as in a tuple, but for integers, whose size it is.
fn c_align(structs: &Structs, ty: &Type) -> u32 {
    match ty {
        Type::Array(of, _) => c_align(structs, of),
        other => structs.align_of(other),
    }
}

/// Types that need no kernel to be known.
fn named(word: &str) -> Option<Type> {
    let (bits, signed) = match word {
        "void" => return Some(Type::Void),
        "bool" | "_Bool" => return Some(Type::Bool),
        "u8" | "__u8" | "uint8_t" => (8, false),
        "u16" | "__u16" | "uint16_t" | "__be16" | "__le16" => (16, false),
        "u32" | "__u32" | "uint32_t" | "__be32" | "__le32" => (32, false),
        "u64" | "__u64" | "uint64_t" | "size_t" | "uintptr_t" | "__be64" | "__le64" => (64, false),
        "s8" | "__s8" | "int8_t" => (8, true),
        "s16" | "__s16" | "int16_t" => (16, true),
        "s32" | "__s32" | "int32_t" => (32, true),
        "float" => return Some(Type::Float(4)),
        "double" => return Some(Type::Float(8)),
        "s64" | "__s64" | "int64_t" | "ssize_t" | "intptr_t" => (64, true),
        _ => return None,
    };
    Some(Type::Int(Int { bits, signed }))
}

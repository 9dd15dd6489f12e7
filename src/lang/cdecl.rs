//! The C of a program: `struct`, `union` and `enum` of its own, and `#define`.
//!
//! Headers aren't read. `#include` says where types come from, and here they come from the kernel's BTF.

use std::collections::HashMap;
use std::path::Path;

use super::ast::CText;
use super::diagnostics::Diagnostics;
use super::lexer::{self, Token};
use super::source::{Source, Sources, Span};
use super::types::{
    BitField, EnumDef, Field, Int, Name, Origin, StructDef, StructId, StructKind, Structs, Type,
    TypeSource,
};

mod declarator;

#[cfg(test)]
mod tests;

/// What is defined without a program's doing: `BPFTRACE_HAVE_BTF`, of which types are taken from BTF.
const PREDEFINED: &[&str] = &["BPFTRACE_HAVE_BTF"];

/// What C says.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    /// What a `#define` without parameters stands for.
    pub defines: HashMap<Name, Span>,
    /// Constants of enums: the enum and the value.
    pub constants: HashMap<Name, (Name, i128)>,
}

impl Declarations {
    /// Reads all texts of C, in their order.
    pub fn read(
        texts: &[CText],
        sources: &Sources,
        structs: &mut Structs,
        kernel: &dyn TypeSource,
        diagnostics: &mut Diagnostics,
    ) -> Declarations {
        let mut declarations = Declarations::default();
        // Of each `#if` that is open, whether its lines count.
        let mut counts = Vec::new();
        for text in texts {
            let Some(source) = sources.of(text.span) else { continue };
            let body = sources.text(text.span);
            if let Some(directive) = body.strip_prefix('#') {
                if counts.iter().all(|counts| *counts)
                    && let Some(missing) = missing_include(directive)
                {
                    // Where it would be in the C that bpftrace hands to its compiler.
                    let line = source.position(text.span.start).line + 1;
                    let message = format!(
                        "a header is missing\ndefinitions.h:{line}:10: fatal error: '{missing}' file \
                         not found"
                    );
                    diagnostics.error(text.span, message);
                }
                declarations.directive(directive, text.span, &mut counts);
            } else if counts.iter().all(|counts| *counts) {
                let mut reader = Reader {
                    source,
                    end: text.span.end,
                    token: Token::End,
                    span: text.span,
                    declarations: &mut declarations,
                    structs,
                    kernel,
                };
                reader.go_to(text.span.start);
                if let Err((span, message)) = reader.definition() {
                    diagnostics.error(span, message);
                }
            }
        }
        declarations
    }

    fn directive(&mut self, directive: &str, span: Span, counts: &mut Vec<bool>) {
        let directive = directive.trim_start();
        let (word, rest) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
        let rest = rest.trim();
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        match word {
            "ifdef" => counts.push(self.is_defined(name)),
            "ifndef" => counts.push(!self.is_defined(name)),
            "if" => counts.push(rest != "0"),
            "elif" | "else" => {
                if let Some(last) = counts.last_mut() {
                    *last = !*last;
                }
            }
            "endif" => {
                counts.pop();
            }
            "define" if counts.iter().all(|counts| *counts) => self.define(rest, name, span),
            "undef" if counts.iter().all(|counts| *counts) => {
                self.defines.remove(name);
            }
            _ => {}
        }
    }

    fn is_defined(&self, name: &str) -> bool {
        PREDEFINED.contains(&name) || self.defines.contains_key(name)
    }

    /// Takes a definition in, unless it has parameters.
    fn define(&mut self, rest: &str, name: &str, span: Span) {
        let value = &rest[name.len()..];
        if name.is_empty() || value.starts_with('(') {
            return;
        }
        // `rest` ends where the directive does, but for spaces.
        let value = value.split("//").next().unwrap_or_default();
        let start = span.end - (rest.len() - name.len()) as u32;
        self.defines.insert(name.into(), Span { start, end: start + value.len() as u32 });
    }
}

/// The header that a directive wants, if it is one of the system's that isn't there. What there is isn't read; the
/// kernel's own headers may be missing, since its types are had from itself.
fn missing_include(directive: &str) -> Option<&str> {
    let path = directive.trim_start().strip_prefix("include")?.trim_start();
    let path = path.strip_prefix('<')?.split_once('>')?.0;
    let is_kernel_s = ["linux/", "net/", "uapi/", "asm/", "asm-generic/", "trace/", "kernel/"]
        .iter()
        .chain(&[
            "bpf/", "bcc/", "fs/", "mm/", "block/", "drivers/", "sound/", "crypto/", "rdma/",
            "scsi/",
        ])
        .any(|folder| path.starts_with(folder));
    let is_there = || {
        let folders = ["/usr/include", "/usr/local/include"];
        folders.iter().any(|folder| Path::new(folder).join(path).exists())
    };
    // Without a folder it may be the compiler's: `stdint.h`.
    (!is_kernel_s && path.contains('/') && !is_there()).then_some(path)
}

/// What is wrong with a declaration, and where.
type Read<T> = Result<T, (Span, String)>;

/// Reads one `struct`, `union` or `enum`.
struct Reader<'a> {
    source: &'a Source,
    /// Where the text ends.
    end: u32,
    token: Token,
    span: Span,
    declarations: &'a mut Declarations,
    structs: &'a mut Structs,
    kernel: &'a dyn TypeSource,
}

impl Reader<'_> {
    fn go_to(&mut self, offset: u32) {
        let base = self.source.span().start;
        let text = &self.source.text[..(self.end - base) as usize];
        let (token, span) = lexer::token_at(text, (offset - base) as usize);
        self.token = token;
        self.span = Span { start: span.start + base, end: span.end + base };
    }

    fn advance(&mut self) {
        self.go_to(self.span.end);
    }

    fn word(&self) -> &str {
        &self.source.text[self.source.range(self.span)]
    }

    fn accept(&mut self, token: Token) -> bool {
        let is_there = self.token == token;
        if is_there {
            self.advance();
        }
        is_there
    }

    fn expect(&mut self, token: Token, sign: &str) -> Read<()> {
        if self.accept(token) { Ok(()) } else { self.wrong(format!("expected '{sign}'")) }
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Read<T> {
        Err((self.span, message.into()))
    }

    /// A name, if one is there.
    fn name(&mut self) -> Option<Name> {
        let name = (self.token == Token::Word).then(|| Name::from(self.word()))?;
        self.advance();
        Some(name)
    }

    fn definition(&mut self) -> Read<()> {
        self.type_(None).map(|_| ())
    }

    /// `enum NAME { A, B = 2 }`, from behind the word.
    fn enum_(&mut self) -> Read<Type> {
        let name = self.name().unwrap_or_else(|| "".into());
        let mut values: Vec<(Name, i128)> = Vec::new();
        if self.accept(Token::OpenBrace) {
            let mut next = 0;
            while self.token != Token::CloseBrace {
                let Some(constant) = self.name() else { return self.wrong("expected a name") };
                if self.accept(Token::Assign) {
                    next = self.constant(&values)?;
                }
                values.push((constant.clone(), next));
                self.declarations.constants.insert(constant, (name.clone(), next));
                next += 1;
                if !self.accept(Token::Comma) {
                    break;
                }
            }
            self.expect(Token::CloseBrace, "}")?;
        }
        let is_signed = values.iter().any(|(_, value)| *value < 0);
        let is_wide = values.iter().any(|(_, value)| !Int::U32.holds(*value) && *value > 0);
        let int = Int { bits: if is_wide { 64 } else { 32 }, signed: is_signed };
        if values.is_empty() {
            let known = self.kernel.enumeration(&name);
            let int = known.as_ref().map_or(Int::U32, |def| def.int);
            return Ok(Type::Enum(name, int));
        }
        self.structs.enums.insert(name.clone(), EnumDef { int, values });
        Ok(Type::Enum(name, int))
    }

    /// A number, with a sign perhaps, or another constant's name.
    fn constant(&mut self, values: &[(Name, i128)]) -> Read<i128> {
        let is_negative = self.accept(Token::Minus);
        let value = match self.token {
            Token::Int => match lexer::int(self.word()) {
                Ok(value) => i128::from(value),
                Err(bad) => return self.wrong(bad.to_string()),
            },
            Token::Word => {
                let named = values.iter().find(|(name, _)| **name == *self.word());
                match named.map(|(_, value)| *value).or_else(|| self.defined()) {
                    Some(value) => value,
                    None => return self.wrong(format!("unknown constant '{}'", self.word())),
                }
            }
            _ => return self.wrong("expected a number"),
        };
        self.advance();
        if self.accept(Token::Shl) {
            let by = self.constant(values)?;
            return Ok(value << by.clamp(0, 64));
        }
        Ok(if is_negative { -value } else { value })
    }

    /// The number that a `#define` or another enum says the next word is.
    fn defined(&self) -> Option<i128> {
        let word = self.word();
        if let Some((_, value)) = self.declarations.constants.get(word) {
            return Some(*value);
        }
        let text = &self.source.text[self.source.range(*self.declarations.defines.get(word)?)];
        lexer::int(text.trim()).ok().map(i128::from)
    }
}

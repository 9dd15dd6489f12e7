//! The C of a program: `struct`, `union` and `enum` of its own, and `#define`.
//!
//! The system's headers aren't read. `#include` says where types come from, and here they come from the kernel's BTF.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::ast::CText;
use super::diagnostics::Diagnostics;
use super::lexer::{self, Token};
use super::source::{Source, Sources, Span};
use super::types::{
    BitField, EnumDef, Field, Int, Name, Origin, StructDef, StructId, StructKind, Structs, Type,
    TypeSource,
};

pub use headers::Headers;
use headers::Wanted;

mod declarator;
mod headers;

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
    /// Reads all texts of C, in their order, and the headers that they include.
    pub fn read(
        texts: &[CText],
        headers: &Headers,
        sources: &mut Sources,
        structs: &mut Structs,
        kernel: &dyn TypeSource,
        diagnostics: &mut Diagnostics,
    ) -> Declarations {
        let declarations = Declarations::default();
        let (counts, seen) = (Vec::new(), HashSet::new());
        let mut unit =
            Unit { declarations, headers, sources, structs, kernel, diagnostics, counts, seen };
        for path in &headers.first {
            let name = path.to_string_lossy();
            match headers.find(Wanted::Quoted(&name), Path::new("")) {
                Some(found) => unit.header(&found, Span::NOWHERE),
                // The system's aren't read.
                None if missing(Wanted::Angled(&name)).is_none() => {}
                None => {
                    let message = format!("--include: there is no file {name}");
                    unit.diagnostics.error(Span::NOWHERE, message);
                }
            }
        }
        texts.iter().for_each(|text| unit.text(text.span, false));
        unit.declarations
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
        // It may be in the next line, and ends where the directive does, but for spaces.
        let value = value.trim_start_matches([' ', '\t', '\r', '\n', '\\']);
        let start = span.end - value.len() as u32;
        let value = value.split("//").next().unwrap_or_default();
        self.defines.insert(name.into(), Span { start, end: start + value.len() as u32 });
    }
}

/// C that is being read, and all that it changes.
struct Unit<'a> {
    declarations: Declarations,
    headers: &'a Headers,
    sources: &'a mut Sources,
    structs: &'a mut Structs,
    kernel: &'a dyn TypeSource,
    diagnostics: &'a mut Diagnostics,
    /// Of each `#if` that is open, whether its lines count.
    counts: Vec<bool>,
    /// Headers that were read: each is once.
    seen: HashSet<PathBuf>,
}

impl Unit<'_> {
    fn text(&mut self, span: Span, is_header: bool) {
        let Some(source) = self.sources.of(span) else { return };
        let body = self.sources.text(span);
        let counts = self.counts.iter().all(|counts| *counts);
        if let Some(directive) = body.strip_prefix('#') {
            if let Some(wanted) = headers::wanted(directive).filter(|_| counts) {
                let from = PathBuf::from(&source.name);
                // Where it would be in the C that bpftrace hands to its compiler.
                let line = source.position(span.start).line + 1;
                let found = self.headers.find(wanted, &from).filter(|_| !is_of_kernel(wanted));
                let missing = missing(wanted).filter(|_| found.is_none() && !is_header);
                if let Some(path) = missing {
                    let message = format!(
                        "a header is missing\ndefinitions.h:{line}:10: fatal error: '{path}' file \
                         not found"
                    );
                    self.diagnostics.error(span, message);
                } else if let Some(found) = found {
                    self.header(&found, span);
                }
                return;
            }
            self.declarations.directive(directive, span, &mut self.counts);
        } else if counts {
            let mut reader = Reader {
                source,
                sources: self.sources,
                end: span.end,
                token: Token::End,
                span,
                declarations: &mut self.declarations,
                structs: self.structs,
                kernel: self.kernel,
            };
            reader.go_to(span.start);
            match reader.definition() {
                // Headers have much that no program needs.
                Err((span, message)) if is_header => {
                    let message = format!("this definition is left out: {message}");
                    self.diagnostics.warn(span, message);
                }
                Err((span, message)) => {
                    self.diagnostics.error(span, message);
                }
                Ok(()) => {}
            }
        }
    }

    /// Reads a header that is there.
    fn header(&mut self, path: &Path, span: Span) {
        if !self.seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned())) {
            return;
        }
        let name = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.diagnostics.error(span, format!("{name}: {error}"));
                return;
            }
        };
        let span = self.sources.add(name, text);
        let parts = self.sources.of(span).map(headers::split).unwrap_or_default();
        parts.into_iter().for_each(|part| self.text(part, true));
    }
}

/// The header that is wanted, if nobody can do without. What there is of the system's isn't read; the kernel's own may be
/// missing.
fn missing(wanted: Wanted<'_>) -> Option<&str> {
    let is_there = |path| {
        let folders = ["/usr/include", "/usr/local/include"];
        folders.iter().any(|folder| Path::new(folder).join(path).exists())
    };
    match wanted {
        _ if is_of_kernel(wanted) => None,
        Wanted::Quoted(path) => Some(path),
        // Without a folder it may be the compiler's: `stdint.h`.
        Wanted::Angled(path) => (path.contains('/') && !is_there(path)).then_some(path),
    }
}

/// Whether it is one of the kernel's headers, whose types are had from the kernel itself.
fn is_of_kernel(wanted: Wanted<'_>) -> bool {
    let (Wanted::Quoted(path) | Wanted::Angled(path)) = wanted;
    let folders = [
        "linux/",
        "net/",
        "uapi/",
        "asm/",
        "asm-generic/",
        "trace/",
        "kernel/",
        "bpf/",
        "bcc/",
        "fs/",
        "mm/",
        "block/",
        "drivers/",
        "sound/",
        "crypto/",
        "rdma/",
        "scsi/",
    ];
    folders.iter().any(|folder| path.starts_with(folder))
}

/// What is wrong with a declaration, and where.
type Read<T> = Result<T, (Span, String)>;

/// Reads one `struct`, `union` or `enum`.
struct Reader<'a> {
    source: &'a Source,
    sources: &'a Sources,
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
        if self.word() != "typedef" {
            return self.type_(None).map(|_| ());
        }
        self.advance();
        let base = self.type_(Some("typedef"))?;
        loop {
            let (name, mut ty) = self.declarator(base.clone())?;
            if self.token == Token::OpenParen {
                // A function, which has no size.
                ty = Type::Void;
            }
            if let Type::Struct(id) = ty
                && &*self.structs.get(id).name == "typedef::(anonymous)"
            {
                self.structs.get_mut(id).name = name.clone();
            }
            self.structs.typedefs.insert(name, ty);
            if !self.accept(Token::Comma) {
                return Ok(());
            }
        }
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
        let text = self.sources.text(*self.declarations.defines.get(word)?);
        lexer::int(text.trim()).ok().map(i128::from)
    }
}

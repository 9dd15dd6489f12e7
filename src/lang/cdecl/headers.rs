//! Headers that a program includes: those of `-I` and beside the program, whose definitions are read as if they stood in
//! the program. The system's aren't read, since types come from the kernel's BTF.

use std::path::{Path, PathBuf};

use super::super::lexer::{self, Token};
use super::super::source::{Source, Span};

/// What the command line says of headers.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// Folders of `-I`.
    pub folders: Vec<PathBuf>,
    /// Headers of `--include`, which come before all else.
    pub first: Vec<PathBuf>,
}

/// What an `#include` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// `"file.h"`: beside the file that includes it, or in a folder of `-I`.
    Quoted(&'a str),
    /// `<file.h>`: in a folder of `-I`.
    Angled(&'a str),
}

/// What a directive, without its `#`, wants to include.
pub(super) fn wanted(directive: &str) -> Option<Wanted<'_>> {
    let path = directive.trim_start().strip_prefix("include")?.trim_start();
    if let Some(rest) = path.strip_prefix('"') {
        return rest.split_once('"').map(|(path, _)| Wanted::Quoted(path));
    }
    path.strip_prefix('<')?.split_once('>').map(|(path, _)| Wanted::Angled(path))
}

impl Headers {
    /// Where a header is that a file includes.
    pub(super) fn find(&self, wanted: Wanted<'_>, from: &Path) -> Option<PathBuf> {
        let (beside, name) = match wanted {
            Wanted::Quoted(name) => (from.parent(), name),
            Wanted::Angled(name) => (None, name),
        };
        let folders = beside.into_iter().chain(self.folders.iter().map(PathBuf::as_path));
        folders.map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// What of a header counts, in its order: directives, definitions of structs, unions and enums, and typedefs. Functions
/// and variables are passed over.
pub(super) fn split(source: &Source) -> Vec<Span> {
    let (text, base) = (source.text.as_str(), source.span().start);
    let (mut parts, mut at) = (Vec::new(), 0);
    loop {
        let (token, span) = lexer::token_at(text, at);
        let start = span.start as usize;
        let (end, counts) = match token {
            Token::End => return parts,
            // What `extern "C" {` has open.
            Token::CloseBrace => (span.end as usize, false),
            _ if text[start..].starts_with('#') => (directive_end(text, start), true),
            _ => item(text, start),
        };
        if counts {
            parts.push(Span { start: base + start as u32, end: base + end as u32 });
        }
        at = end.max(span.end as usize);
    }
}

/// The end of a directive's line, and of those that it goes on in.
fn directive_end(text: &str, start: usize) -> usize {
    let mut end = start;
    for line in text[start..].split_inclusive('\n') {
        let written = line.trim_end();
        if !written.ends_with('\\') {
            return end + written.len();
        }
        end += line.len();
    }
    end
}

/// Where what begins there ends, its semicolon included, and whether it is a type's definition.
fn item(text: &str, start: usize) -> (usize, bool) {
    let word = |span: Span| &text[span.start as usize..span.end as usize];
    let (mut token, mut span) = lexer::token_at(text, start);
    let first = word(span);
    let (mut open, mut has_body, mut before) = (0, false, Token::End);
    loop {
        match token {
            Token::End => return (span.end as usize, false),
            Token::OpenBrace if open == 0 && first == "extern" && before == Token::Str => {
                return (span.end as usize, false);
            }
            Token::OpenBrace => {
                let is_function = open == 0 && before == Token::CloseParen;
                if is_function {
                    return (body_end(text, span.start as usize), false);
                }
                (open, has_body) = (open + 1, true);
            }
            Token::CloseBrace => open -= 1,
            Token::Semicolon if open <= 0 => {
                let is_type = matches!(first, "struct" | "union" | "enum") && has_body;
                return (span.end as usize, is_type || first == "typedef");
            }
            _ => {}
        }
        before = token;
        (token, span) = lexer::token_at(text, span.end as usize);
    }
}

/// The end of a function's body.
fn body_end(text: &str, start: usize) -> usize {
    let (mut at, mut open) = (start, 0);
    loop {
        let (token, span) = lexer::token_at(text, at);
        match token {
            Token::OpenBrace => open += 1,
            Token::CloseBrace => open -= 1,
            _ => {}
        }
        at = span.end as usize;
        if open == 0 || token == Token::End {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::lang::source::Sources;

    #[test]
    fn types_and_directives_count() {
        let text = "// a header\n#pragma once\n#define A \\\n  1\nextern \"C\" {\nint f(struct s *of);\n\
                    struct s { int a; };\nstatic inline struct s *g(void) { return 0; }\n\
                    struct s *h(void) { if (1) { } return 0; }\ntypedef struct { int b; } t;\n\
                    enum e { X };\nextern struct s global;\nstruct later;\n}\nunion u { int c; };";
        let mut sources = Sources::default();
        sources.add("before", "x");
        let span = sources.add("a.h", text);
        let source = sources.of(span).unwrap();
        let parts: Vec<&str> = split(source).iter().map(|part| sources.text(*part)).collect();
        assert_eq!(
            parts,
            [
                "#pragma once",
                "#define A \\\n  1",
                "struct s { int a; };",
                "typedef struct { int b; } t;",
                "enum e { X };",
                "union u { int c; };",
            ]
        );
    }

    #[test]
    fn what_is_wanted() {
        assert_eq!(wanted("include \"a.h\" // own"), Some(Wanted::Quoted("a.h")));
        assert_eq!(wanted(" include<b/c.h>"), Some(Wanted::Angled("b/c.h")));
        assert_eq!(wanted("define include <a>"), None);
    }

    #[test]
    fn cut_off_headers_end() {
        let mut sources = Sources::default();
        for text in
            ["struct s {", "int f(void) {", "#define A \\", "typedef", "}", "extern \"C\" {"]
        {
            let span = sources.add("a.h", text);
            split(sources.of(span).unwrap());
        }
    }
}

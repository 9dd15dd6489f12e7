//! Words → tree: a parser by recursive descent, one method for each rule of the language.
//!
//! After an error it goes on with the next statement or probe, so that all errors are told at once. It never fails:
//! what couldn't be parsed is missing from the tree, and an error is among the diagnostics.

use super::ast::*;
use super::diagnostics::{Diagnostic, Diagnostics};
use super::lexer::{self, Token};
use super::source::{Source, Span};
use super::types::Name;

mod expr;
mod root;
mod statement;
mod type_spec;

#[cfg(test)]
mod tests;

/// How deep expressions and blocks may be inside each other.
const DEEPEST: u32 = 200;

/// What a rule gives: nothing after an error, which is told already.
type Parsed<T> = Option<T>;

/// Parses a whole text.
pub fn parse(source: &Source, diagnostics: &mut Diagnostics) -> Script {
    Parser::new(source, source.span(), diagnostics).script()
}

/// Parses an expression that a part of a text is: what a `#define` stands for.
pub fn parse_expr(source: &Source, part: Span, diagnostics: &mut Diagnostics) -> Option<Expr> {
    let mut parser = Parser::new(source, part, diagnostics);
    let expr = parser.expr()?;
    if parser.token != Token::End {
        parser.error_here("unexpected input");
        return None;
    }
    Some(expr)
}

struct Parser<'a> {
    /// The text up to where parsing ends.
    text: &'a str,
    /// Where the text is among the program's.
    base: u32,
    /// The token that comes next.
    token: Token,
    /// Where it is.
    span: Span,
    /// The token before it.
    before: Span,
    /// How deep the current place is.
    depth: u32,
    diagnostics: &'a mut Diagnostics,
}

/// A place to return to.
#[derive(Clone, Copy)]
struct Mark {
    token: Token,
    span: Span,
    before: Span,
}

impl<'a> Parser<'a> {
    fn new(source: &'a Source, part: Span, diagnostics: &'a mut Diagnostics) -> Parser<'a> {
        let range = source.range(part);
        let text = &source.text[..range.end];
        let base = source.span().start;
        let mut parser = Parser {
            text,
            base,
            token: Token::End,
            span: Span::default(),
            before: Span { start: part.start, end: part.start },
            depth: 0,
            diagnostics,
        };
        parser.go_to(part.start);
        parser
    }

    // Tokens.

    /// Makes the token at a place the next one.
    fn go_to(&mut self, offset: u32) {
        let (token, span) = lexer::token_at(self.text, (offset - self.base) as usize);
        self.token = token;
        self.span = Span { start: span.start + self.base, end: span.end + self.base };
    }

    fn advance(&mut self) {
        self.before = self.span;
        self.go_to(self.span.end);
    }

    fn mark(&self) -> Mark {
        Mark { token: self.token, span: self.span, before: self.before }
    }

    fn back_to(&mut self, mark: Mark) {
        (self.token, self.span, self.before) = (mark.token, mark.span, mark.before);
    }

    /// The token behind the next one.
    fn second(&self) -> Token {
        lexer::token_at(self.text, (self.span.end - self.base) as usize).0
    }

    fn text(&self, span: Span) -> &'a str {
        let text: &'a str = self.text;
        let at = |offset: u32| (offset - self.base) as usize;
        text.get(at(span.start)..at(span.end)).unwrap_or_default()
    }

    /// The text of the next token.
    fn word(&self) -> &'a str {
        self.text(self.span)
    }

    fn at_word(&self, word: &str) -> bool {
        self.token == Token::Word && self.word() == word
    }

    fn accept(&mut self, token: Token) -> bool {
        let is_there = self.token == token;
        if is_there {
            self.advance();
        }
        is_there
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let is_there = self.at_word(word);
        if is_there {
            self.advance();
        }
        is_there
    }

    fn expect(&mut self, token: Token, sign: &str) -> Parsed<()> {
        if self.accept(token) {
            return Some(());
        }
        self.error_here(format!("expected '{sign}'"));
        None
    }

    fn name(&mut self, what: &str) -> Parsed<Name> {
        if self.token != Token::Word {
            self.error_here(what);
            return None;
        }
        let name = self.word().into();
        self.advance();
        Some(name)
    }

    /// From where something began up to the last token.
    fn since(&self, start: Span) -> Span {
        start.to(self.before)
    }

    // Errors.

    fn error(&mut self, span: Span, message: impl std::fmt::Display) -> &mut Diagnostic {
        self.diagnostics.error(span, format!("syntax: {message}"))
    }

    fn error_here(&mut self, message: impl std::fmt::Display) -> &mut Diagnostic {
        self.error(self.span, message)
    }

    /// Runs a rule one level deeper. Programs that people write are nowhere near the limit.
    fn deeper<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEEPEST {
            self.error_here("too many levels of nesting");
            return None;
        }
        self.depth += 1;
        let parsed = rule(self);
        self.depth -= 1;
        parsed
    }

    /// Goes on behind the next `;` or before the `}` of the block that this is in.
    fn skip_statement(&mut self) {
        let mut open = 0;
        loop {
            match self.token {
                Token::End => return,
                Token::OpenBrace => open += 1,
                Token::CloseBrace if open == 0 => return,
                Token::CloseBrace => open -= 1,
                Token::Semicolon if open == 0 => return self.advance(),
                _ => {}
            }
            let closes = self.token == Token::CloseBrace;
            self.advance();
            if closes && open == 0 {
                return;
            }
        }
    }
}

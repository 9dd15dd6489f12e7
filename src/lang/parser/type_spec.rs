//! Types, and where one may be meant instead of an expression.

use super::root::is_builtin;
use super::*;

/// The types that the language knows by name.
const NAMED: &[&str] = &[
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "void",
    "count_t",
    "sum_t",
    "min_t",
    "max_t",
    "avg_t",
    "stats_t",
    "umin_t",
    "umax_t",
    "usum_t",
    "uavg_t",
    "ustats_t",
    "hist_t",
    "lhist_t",
    "tseries_t",
    "kstack",
    "ustack",
    "ksym_t",
    "usym_t",
    "timestamp",
    "macaddr_t",
    "cgroup_path_t",
    "string",
    "buffer",
    "inet",
    "username_t",
];

impl Parser<'_> {
    /// A type where only one can be: `uint32`, `struct sock *`, `typeof(…)`.
    pub(super) fn type_annotation(&mut self) -> Parsed<TypeSpec> {
        if self.at_word("typeof") { self.typeof_() } else { self.type_spec(true) }
    }

    fn typeof_(&mut self) -> Parsed<TypeSpec> {
        let start = self.span;
        self.advance();
        self.expect(Token::OpenParen, "(")?;
        let mut spec = self.type_or_expr()?;
        self.expect(Token::CloseParen, ")")?;
        spec.span = self.since(start);
        Some(spec)
    }

    /// What `sizeof` and the like take: a type if it looks like one, else an expression.
    pub(super) fn type_or_expr(&mut self) -> Parsed<TypeSpec> {
        if self.at_word("typeof") {
            return self.typeof_();
        }
        if self.looks_like_type() {
            return self.type_spec(true);
        }
        let expr = self.expr()?;
        let span = expr.span;
        Some(TypeSpec { kind: TypeSpecKind::Of(Box::new(expr)), span })
    }

    /// Whether a known type follows, or a word with `*` or `[…]` behind it, and then the end.
    fn looks_like_type(&mut self) -> bool {
        if self.token != Token::Word || is_builtin(self.word()) {
            return false;
        }
        let mark = self.mark();
        let is_tagged = matches!(self.word(), "struct" | "union" | "enum");
        let is_known = is_tagged || NAMED.contains(&self.word());
        self.advance();
        let has_tag_name = !is_tagged || self.accept(Token::Word);
        let mut has_suffix = false;
        while matches!(self.token, Token::Star | Token::OpenBracket) {
            has_suffix = true;
            let is_array = self.token == Token::OpenBracket;
            self.advance();
            while is_array && !matches!(self.token, Token::CloseBracket | Token::End) {
                self.advance();
            }
            if is_array {
                self.advance();
            }
        }
        let is_end = matches!(
            self.token,
            Token::CloseParen
                | Token::Comma
                | Token::Semicolon
                | Token::Assign
                | Token::OpenBrace
                | Token::CloseBrace
        );
        // A word alone may be a typedef or an expression; the passes know which.
        self.back_to(mark);
        has_tag_name && is_end && (is_known || has_suffix)
    }

    /// A name, and `*` and `[4]` behind it.
    fn type_spec(&mut self, tell: bool) -> Parsed<TypeSpec> {
        let start = self.span;
        if !tell && self.token != Token::Word {
            return None;
        }
        let word = self.name("expected type name")?;
        let kind = if matches!(&*word, "struct" | "union" | "enum") {
            if !tell && self.token != Token::Word {
                return None;
            }
            let name = self.name("expected identifier")?;
            TypeSpecKind::Tagged(format!("{word} {name}").into())
        } else {
            TypeSpecKind::Named(word)
        };
        let mut spec = TypeSpec { kind, span: self.since(start) };
        loop {
            let inner = Box::new(spec.clone());
            let kind = match self.token {
                Token::Star => {
                    self.advance();
                    TypeSpecKind::Pointer(inner)
                }
                Token::OpenBracket => {
                    let length = self.array_length(tell)?;
                    TypeSpecKind::Array(inner, length)
                }
                _ => return Some(spec),
            };
            spec = TypeSpec { kind, span: self.since(start) };
        }
    }

    fn array_length(&mut self, tell: bool) -> Parsed<u64> {
        self.advance();
        let length = match self.token {
            Token::Int => lexer::int(self.word()).unwrap_or(0),
            _ => 0,
        };
        self.accept(Token::Int);
        if !tell && self.token != Token::CloseBracket {
            return None;
        }
        self.expect(Token::CloseBracket, "]")?;
        Some(length)
    }

    /// The rest of `(type)a`, if it is one; else nothing is taken.
    pub(super) fn cast(&mut self, start: Span) -> Option<Parsed<Expr>> {
        let mark = self.mark();
        if self.at_word("typeof") {
            return Some(self.cast_to_typeof(start));
        }
        let to = if self.token == Token::Word && !is_builtin(self.word()) {
            match self.type_spec(false) {
                Some(to) => to,
                None => {
                    self.back_to(mark);
                    return None;
                }
            }
        } else {
            return None;
        };
        if !self.accept(Token::CloseParen) || !self.begins_operand() {
            self.back_to(mark);
            return None;
        }
        Some(self.cast_operand(start, to))
    }

    /// What begins with `(typeof` can't be anything else than a cast.
    fn cast_to_typeof(&mut self, start: Span) -> Parsed<Expr> {
        let to = self.typeof_()?;
        self.expect(Token::CloseParen, ")")?;
        self.cast_operand(start, to)
    }

    fn cast_operand(&mut self, start: Span, to: TypeSpec) -> Parsed<Expr> {
        let span = self.since(start);
        let of = Box::new(self.unary()?);
        Some(Expr::new(ExprKind::Cast { to, of }, span))
    }

    /// Whether what a cast applies to begins here.
    fn begins_operand(&self) -> bool {
        matches!(
            self.token,
            Token::Int
                | Token::Variable
                | Token::Parameter
                | Token::ParameterCount
                | Token::Map
                | Token::Str
                | Token::OpenParen
                | Token::Minus
                | Token::Decrement
                | Token::Not
                | Token::Tilde
                | Token::Star
                | Token::And
                | Token::Word
        )
    }
}

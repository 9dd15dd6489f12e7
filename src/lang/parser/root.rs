//! What is outside of all blocks: C, settings, imports, maps, macros, functions and probes.

use super::*;

/// Directives of C begin with this, scripts with `#!`.
const DIRECTIVE: char = '#';

impl Parser<'_> {
    pub(super) fn script(mut self) -> Script {
        let mut script = Script::default();
        self.shebang();
        while self.token != Token::End {
            let start = self.span.start;
            if self.item(&mut script).is_none() {
                self.skip_item();
            }
            if self.span.start == start && self.token != Token::End {
                self.error_here("unexpected input");
                self.advance();
            }
        }
        script
    }

    fn shebang(&mut self) {
        if self.text[(self.span.start - self.base) as usize..].starts_with("#!") {
            self.go_to(self.line_end());
        }
    }

    fn item(&mut self, script: &mut Script) -> Parsed<()> {
        let is_body = !(script.probes.is_empty()
            && script.macros.is_empty()
            && script.functions.is_empty()
            && script.maps.is_empty());
        let start = self.span;
        if self.rest().starts_with(DIRECTIVE) {
            let span = self.directive();
            self.must_come_first(is_body, span, "C definitions");
            script.c.push(CText { span });
            return Some(());
        }
        match self.word() {
            "struct" | "union" | "enum" if self.is_c_definition() => {
                let span = self.c_definition();
                self.must_come_first(is_body, span, "C definitions");
                script.c.push(CText { span });
            }
            "config" if self.second() == Token::Assign => {
                if is_body {
                    self.must_come_first(true, start, "config");
                } else if !script.config.is_empty() {
                    self.error(start, "duplicate config block");
                }
                script.config.extend(self.config()?);
            }
            "import" if self.second() == Token::Str => {
                self.must_come_first(is_body, start, "root imports");
                script.imports.push(self.import()?);
            }
            "macro" if self.second() == Token::Word => script.macros.push(self.macro_()?),
            "fn" if self.second() == Token::Word => script.functions.push(self.subprogram()?),
            "let" => script.maps.push(self.map_decl()?),
            _ => script.probes.push(self.probe()?),
        }
        Some(())
    }

    fn must_come_first(&mut self, is_late: bool, span: Span, what: &str) {
        if is_late {
            self.error(span, format!("{what} must appear before probes and functions"));
        }
    }

    /// Goes on behind the block that begins next.
    fn skip_item(&mut self) {
        while !matches!(self.token, Token::End | Token::OpenBrace | Token::Semicolon) {
            self.advance();
        }
        let mut open = 0;
        while self.token != Token::End {
            match self.token {
                Token::OpenBrace => open += 1,
                Token::CloseBrace => open -= 1,
                _ => {}
            }
            self.advance();
            if open <= 0 {
                return;
            }
        }
    }

    // C.

    /// What is left of the text.
    fn rest(&self) -> &str {
        &self.text[(self.span.start - self.base) as usize..]
    }

    fn line_end(&self) -> u32 {
        self.span.start + self.rest().find('\n').unwrap_or(self.rest().len()) as u32
    }

    fn directive(&mut self) -> Span {
        let span = Span { start: self.span.start, end: self.line_end() };
        self.before = span;
        self.go_to(span.end);
        span
    }

    /// Whether this is `struct NAME {` and not an attach point.
    fn is_c_definition(&mut self) -> bool {
        let mark = self.mark();
        self.advance();
        let mut parens = 0;
        while self.token == Token::Word || self.token == Token::OpenParen || parens > 0 {
            match self.token {
                Token::OpenParen => parens += 1,
                Token::CloseParen => parens -= 1,
                Token::End => break,
                _ => {}
            }
            self.advance();
        }
        let is_definition = self.token == Token::OpenBrace;
        self.back_to(mark);
        is_definition
    }

    fn c_definition(&mut self) -> Span {
        let start = self.span;
        let mut open = 0;
        while self.token != Token::End {
            match self.token {
                Token::OpenBrace => open += 1,
                Token::CloseBrace => open -= 1,
                _ => {}
            }
            let is_end = self.token == Token::CloseBrace && open <= 0;
            self.advance();
            if is_end {
                break;
            }
        }
        while self.accept_word("__attribute__") {
            let mut parens = 0;
            loop {
                match self.token {
                    Token::OpenParen => parens += 1,
                    Token::CloseParen => parens -= 1,
                    Token::End => break,
                    _ => {}
                }
                self.advance();
                if parens <= 0 {
                    break;
                }
            }
        }
        let span = self.since(start);
        self.accept(Token::Semicolon);
        span
    }

    // Settings and imports.

    fn config(&mut self) -> Parsed<Vec<Setting>> {
        self.advance();
        self.expect(Token::Assign, "=")?;
        self.expect(Token::OpenBrace, "{")?;
        let mut settings = Vec::new();
        while self.token != Token::CloseBrace && self.token != Token::End {
            let start = self.span;
            let name = self.name("expected config key")?;
            self.expect(Token::Assign, "=")?;
            let value = self.setting_value()?;
            settings.push(Setting { name, value, span: self.since(start) });
            if self.token != Token::CloseBrace {
                self.expect(Token::Semicolon, ";")?;
            }
        }
        self.expect(Token::CloseBrace, "}")?;
        Some(settings)
    }

    fn setting_value(&mut self) -> Parsed<SettingValue> {
        let value = match self.token {
            Token::Str => {
                let bytes = self.string();
                return Some(SettingValue::Text(String::from_utf8_lossy(&bytes).into_owned()));
            }
            Token::Int => SettingValue::Int(self.int()?),
            Token::Word if self.word() == "true" => SettingValue::Bool(true),
            Token::Word if self.word() == "false" => SettingValue::Bool(false),
            Token::Word => SettingValue::Text(self.word().to_owned()),
            _ => {
                self.error_here("expected string, int, boolean, or ident");
                return None;
            }
        };
        if self.token != Token::Int && !matches!(value, SettingValue::Int(_)) {
            self.advance();
        }
        Some(value)
    }

    pub(super) fn import(&mut self) -> Parsed<Import> {
        let start = self.span;
        self.advance();
        if self.token != Token::Str {
            self.error_here("expected string after 'import'");
            return None;
        }
        let path = String::from_utf8_lossy(&self.string()).into_owned();
        let span = self.since(start);
        if !self.accept(Token::Semicolon) {
            self.error_here("expected ';' after import");
            return None;
        }
        Some(Import { path, span })
    }

    // Maps, macros and functions.

    fn map_decl(&mut self) -> Parsed<MapDecl> {
        let start = self.span;
        self.advance();
        if self.token != Token::Map {
            self.error_here(
                "root-level let statements need to be map declarations, e.g. let @a = hash(2);",
            );
            return None;
        }
        let name = self.word().into();
        self.advance();
        self.expect(Token::Assign, "=")?;
        let kind = self.name("expected map type name")?;
        self.expect(Token::OpenParen, "(")?;
        if self.token != Token::Int {
            self.error_here("expected positive integer for map declaration max entries");
            return None;
        }
        let entries = self.int()?;
        self.expect(Token::CloseParen, ")")?;
        self.accept(Token::Semicolon);
        Some(MapDecl { name, kind, entries, span: self.since(start) })
    }

    fn macro_(&mut self) -> Parsed<Macro> {
        let start = self.span;
        self.advance();
        let name = self.name("expected macro name")?;
        let span = self.since(start);
        self.expect(Token::OpenParen, "(")?;
        let mut parameters = Vec::new();
        while self.token != Token::CloseParen {
            parameters.push(self.macro_parameter()?);
            if !self.accept(Token::Comma) {
                break;
            }
        }
        self.expect(Token::CloseParen, ")")?;
        let body = self.block()?;
        Some(Macro { name, parameters, body, span })
    }

    fn macro_parameter(&mut self) -> Parsed<Parameter> {
        let kind = match self.token {
            Token::Variable => ParameterKind::Variable,
            Token::Map => ParameterKind::Map,
            Token::Word => ParameterKind::Expression,
            _ => {
                self.error_here("expected macro argument ($var, @map, or identifier)");
                return None;
            }
        };
        let (name, span) = (Name::from(self.word()), self.span);
        if kind == ParameterKind::Expression && is_builtin(&name) {
            self.error_here(format!("builtin '{name}' can't be used as a macro argument"));
            return None;
        }
        self.advance();
        Some(Parameter { name, kind, span })
    }

    fn subprogram(&mut self) -> Parsed<Subprogram> {
        let start = self.span;
        self.advance();
        let name = self.name("expected function name")?;
        let span = self.since(start);
        self.expect(Token::OpenParen, "(")?;
        let mut parameters = Vec::new();
        while self.token != Token::CloseParen {
            let Some(variable) = self.variable() else {
                self.error_here("expected variable in function argument");
                return None;
            };
            self.expect(Token::Colon, ":")?;
            parameters.push((variable, self.type_annotation()?));
            if !self.accept(Token::Comma) {
                break;
            }
        }
        self.expect(Token::CloseParen, ")")?;
        self.expect(Token::Colon, ":")?;
        let returns = self.type_annotation()?;
        let mut body = self.block()?;
        body.value_to_statement();
        Some(Subprogram { name, parameters, returns, body, locals: Vec::new(), span })
    }

    // Probes.

    fn probe(&mut self) -> Parsed<Probe> {
        let start = self.span;
        let mut attach_points = vec![self.attach_point()?];
        while self.accept(Token::Comma) {
            if matches!(self.token, Token::Slash | Token::OpenBrace) {
                break;
            }
            attach_points.push(self.attach_point()?);
        }
        let span = attach_points.iter().fold(start, |span, point| span.to(point.span));
        let predicate_start = self.span;
        let predicate = self.predicate()?;
        let predicate_span = self.since(predicate_start);
        let mut body = self.block()?;
        body.value_to_statement();
        if let Some(condition) = predicate {
            body = body.guarded(condition, predicate_span);
        }
        Some(Probe { attach_points, body, locals: Vec::new(), span })
    }

    /// Up to a space, `{`, `,`, or the `/` of a predicate: one before any `:`, which is no path's.
    fn attach_point(&mut self) -> Parsed<AttachPoint> {
        let rest = self.rest();
        let (mut has_colon, mut in_quotes, mut is_escaped) = (false, false, false);
        let end = rest.char_indices().find(|(at, c)| {
            if in_quotes {
                in_quotes = *c != '"' || is_escaped;
                is_escaped = *c == '\\' && !is_escaped;
                return false;
            }
            has_colon |= *c == ':';
            in_quotes = *c == '"';
            let next = rest[at + c.len_utf8()..].chars().next();
            let is_comment = *c == '/' && matches!(next, Some('/' | '*'));
            let is_predicate = *c == '/' && !has_colon && !is_comment;
            matches!(c, '{' | ',') || c.is_ascii_whitespace() || is_predicate
        });
        let length = end.map_or(rest.len(), |(at, _)| at) as u32;
        if length == 0 {
            self.error_here("expected attach point");
            return None;
        }
        let span = Span { start: self.span.start, end: self.span.start + length };
        let name = self.text(span).into();
        self.before = span;
        self.go_to(span.end);
        Some(AttachPoint { name, probe: None, span })
    }

    fn predicate(&mut self) -> Parsed<Option<Expr>> {
        if !self.accept(Token::Slash) {
            return Some(None);
        }
        let condition = self.expr()?;
        if !self.accept(Token::Slash) {
            self.error_here("expected '/' to close predicate");
            return None;
        }
        Some(Some(condition))
    }
}

/// Whether a word is a variable of the language itself, which no macro's argument can be called.
pub(super) fn is_builtin(word: &str) -> bool {
    matches!(word, "args" | "ctx" | "kstack" | "nsecs" | "pid" | "tid" | "ustack")
        || argument(word).is_some()
}

/// The number in `arg0` and so on.
pub(super) fn argument(word: &str) -> Option<u8> {
    let digits = word.strip_prefix("arg")?;
    let is_plain = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|_| is_plain)
}

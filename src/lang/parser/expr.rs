//! Expressions, from what binds least to what binds most.

use super::root::argument;
use super::*;

impl Parser<'_> {
    /// `a ? b : c`, `a ?: c`, or what binds more.
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.deeper(|parser| {
            let condition = parser.binary(0)?;
            if !parser.accept(Token::Question) {
                return Some(condition);
            }
            let start = condition.span;
            let then =
                if parser.token == Token::Colon { condition.clone() } else { parser.expr()? };
            parser.expect(Token::Colon, ":")?;
            let otherwise = parser.expr()?;
            Some(parser.if_(start, condition, then, otherwise))
        })
    }

    fn if_(&self, start: Span, condition: Expr, then: Expr, otherwise: Expr) -> Expr {
        let kind = ExprKind::If {
            condition: Box::new(condition),
            then: Box::new(then),
            otherwise: Box::new(otherwise),
        };
        Expr::new(kind, self.since(start))
    }

    /// Operators that bind at least so much, by climbing their precedence.
    fn binary(&mut self, least: u8) -> Parsed<Expr> {
        let mut left = self.unary()?;
        while let Some((op, precedence)) = self.operator().filter(|(_, binds)| *binds >= least) {
            self.advance();
            let right = self.binary(precedence + 1)?;
            let start = left.span;
            let kind = ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) };
            left = Expr::new(kind, self.since(start));
        }
        Some(left)
    }

    /// The operator that comes next and how much it binds.
    fn operator(&self) -> Option<(BinaryOp, u8)> {
        Some(match self.token {
            Token::OrOr => (BinaryOp::Or, 1),
            Token::AndAnd => (BinaryOp::And, 2),
            Token::Or => (BinaryOp::BitOr, 3),
            Token::Caret => (BinaryOp::BitXor, 4),
            Token::And => (BinaryOp::BitAnd, 5),
            Token::Eq => (BinaryOp::Eq, 6),
            Token::Ne => (BinaryOp::Ne, 6),
            Token::Lt => (BinaryOp::Lt, 7),
            Token::Le => (BinaryOp::Le, 7),
            Token::Gt => (BinaryOp::Gt, 7),
            Token::Ge => (BinaryOp::Ge, 7),
            Token::Shl => (BinaryOp::Shl, 8),
            Token::Shr => (BinaryOp::Shr, 8),
            Token::Plus => (BinaryOp::Add, 9),
            Token::Minus => (BinaryOp::Sub, 9),
            Token::Star => (BinaryOp::Mul, 10),
            Token::Percent => (BinaryOp::Mod, 10),
            // Before a block it is the end of a predicate.
            Token::Slash if self.second() != Token::OpenBrace => (BinaryOp::Div, 10),
            _ => return None,
        })
    }

    /// `-a`, `*a`, `&$a`, `++$a` and so on, or what binds more.
    pub(super) fn unary(&mut self) -> Parsed<Expr> {
        self.deeper(|parser| {
            let start = parser.span;
            let op = match parser.token {
                Token::Minus => UnaryOp::Neg,
                Token::Not => UnaryOp::Not,
                Token::Tilde => UnaryOp::BitNot,
                Token::Star => UnaryOp::Deref,
                Token::Increment => return parser.prefix_step(1),
                Token::Decrement => return parser.prefix_step(-1),
                Token::And => return parser.address_of(),
                _ => {
                    let primary = parser.primary()?;
                    return parser.postfix(primary);
                }
            };
            parser.advance();
            let of = Box::new(parser.unary()?);
            Some(Expr::new(ExprKind::Unary { op, of }, parser.since(start)))
        })
    }

    fn prefix_step(&mut self, by: i8) -> Parsed<Expr> {
        let start = self.span;
        self.advance();
        let of = self.unary()?;
        if !is_place(&of) {
            self.error(of.span, "increment/decrement requires a variable or map");
            return None;
        }
        let kind = ExprKind::Step { by, is_postfix: false, of: Box::new(of) };
        Some(Expr::new(kind, self.since(start)))
    }

    fn address_of(&mut self) -> Parsed<Expr> {
        let start = self.span;
        self.advance();
        if !matches!(self.token, Token::Variable | Token::Map) {
            self.error_here("address-of operator (&) can only be used on a map or variable");
            return None;
        }
        let (kind, span) = match self.variable() {
            Some(variable) => {
                let span = variable.span;
                (ExprKind::Variable(variable), span)
            }
            None => {
                let (name, span) = (self.word().into(), self.span);
                self.advance();
                (ExprKind::Map { name, key: None }, span)
            }
        };
        let of = Box::new(Expr::new(kind, span));
        Some(Expr::new(ExprKind::AddressOf(of), self.since(start)))
    }

    /// `.a`, `->a`, `.0`, `[a]`, `++` behind an expression, any number of them.
    fn postfix(&mut self, mut of: Expr) -> Parsed<Expr> {
        loop {
            let start = of.span;
            let kind = match self.token {
                Token::Dot if self.second() == Token::Int => {
                    self.advance();
                    let index = usize::try_from(self.int()?).unwrap_or(usize::MAX);
                    ExprKind::TupleItem { of: Box::new(of), index }
                }
                Token::Dot | Token::Arrow => {
                    let sign = self.word();
                    self.advance();
                    let name = self.name(&format!("expected field name after '{sign}'"))?;
                    ExprKind::Field { of: Box::new(of), name }
                }
                Token::OpenBracket => {
                    self.advance();
                    let index = Box::new(self.expr()?);
                    self.expect(Token::CloseBracket, "]")?;
                    ExprKind::Index { of: Box::new(of), index }
                }
                Token::Increment | Token::Decrement => {
                    if !is_place(&of) {
                        self.error_here("increment/decrement requires a variable or map");
                        return None;
                    }
                    let by = if self.token == Token::Increment { 1 } else { -1 };
                    self.advance();
                    ExprKind::Step { by, is_postfix: true, of: Box::new(of) }
                }
                _ => return Some(of),
            };
            of = Expr::new(kind, self.since(start));
        }
    }

    /// What stands by itself.
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        let start = self.span;
        let kind = match self.token {
            Token::OpenParen => return self.deeper(Self::parenthesized),
            Token::OpenBrace => ExprKind::Block(self.block()?),
            Token::Word => return self.word_expr(),
            Token::Map => self.map()?,
            Token::Int => ExprKind::Int(i128::from(self.int()?)),
            Token::Str => ExprKind::Str(self.string()),
            Token::Parameter => self.parameter()?,
            Token::ParameterCount => {
                self.advance();
                ExprKind::ParameterCount
            }
            Token::OpenStr => {
                self.error_here("unterminated string");
                return None;
            }
            _ => match self.variable() {
                Some(variable) => ExprKind::Variable(variable),
                None => {
                    self.error_here("expected expression");
                    return None;
                }
            },
        };
        Some(Expr::new(kind, self.since(start)))
    }

    /// What begins with a word: `if`, `sizeof` and the like, a call, or the word alone.
    fn word_expr(&mut self) -> Parsed<Expr> {
        let start = self.span;
        let kind = match self.word() {
            "if" => return self.if_expr(),
            "sizeof" => {
                self.advance();
                self.expect(Token::OpenParen, "(")?;
                let of = self.type_or_expr()?;
                self.expect(Token::CloseParen, ")")?;
                ExprKind::Sizeof(of)
            }
            "offsetof" => {
                self.advance();
                self.offsetof()?
            }
            "typeinfo" => {
                self.advance();
                self.expect(Token::OpenParen, "(")?;
                let of = self.type_or_expr()?;
                self.expect(Token::CloseParen, ")")?;
                ExprKind::Typeinfo(of)
            }
            "comptime" => {
                self.advance();
                ExprKind::Comptime(Box::new(self.unary()?))
            }
            word @ ("true" | "false") => {
                self.advance();
                ExprKind::Bool(word == "true")
            }
            word => {
                self.advance();
                if self.token == Token::OpenParen {
                    let arguments = self.arguments()?;
                    ExprKind::Call { name: word.into(), arguments }
                } else if let Some(number) = argument(word) {
                    ExprKind::Argument(number)
                } else {
                    ExprKind::Ident(word.into())
                }
            }
        };
        Some(Expr::new(kind, self.since(start)))
    }

    fn if_expr(&mut self) -> Parsed<Expr> {
        let start = self.span;
        self.advance();
        let condition = self.condition()?;
        let block_start = self.span;
        let then = self.block()?;
        let then = Expr::new(ExprKind::Block(then), self.since(block_start));
        let mut otherwise = Expr::new(ExprKind::None, self.before.after());
        if self.accept_word("else") {
            let else_start = self.span;
            otherwise = if self.at_word("if") {
                self.deeper(Self::if_expr)?
            } else if self.token == Token::OpenBrace {
                let block = self.block()?;
                Expr::new(ExprKind::Block(block), self.since(else_start))
            } else {
                self.error_here("expected '{' or 'if' after 'else'");
                return None;
            };
        }
        Some(self.if_(start, condition, then, otherwise))
    }

    fn offsetof(&mut self) -> Parsed<ExprKind> {
        self.expect(Token::OpenParen, "(")?;
        let of = self.type_or_expr()?;
        self.expect(Token::Comma, ",")?;
        let mut path = vec![self.name("expected field name")?];
        while self.accept(Token::Dot) {
            path.push(self.name("expected field name after '.'")?);
        }
        self.expect(Token::CloseParen, ")")?;
        Some(ExprKind::Offsetof { of, path })
    }

    /// `(a, b)` of a call; an argument may be `typeof(…)`.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(Token::OpenParen, "(")?;
        let mut arguments = Vec::new();
        while self.token != Token::CloseParen || !arguments.is_empty() {
            let start = self.span;
            arguments.push(if self.at_word("typeof") {
                let spec = self.type_annotation()?;
                Expr::new(ExprKind::Type(spec), self.since(start))
            } else {
                self.expr()?
            });
            if !self.accept(Token::Comma) {
                break;
            }
        }
        self.expect(Token::CloseParen, ")")?;
        Some(arguments)
    }

    /// `@a`, `@a[b]`, `@a[b, c]`, whose key is a tuple.
    fn map(&mut self) -> Parsed<ExprKind> {
        let start = self.span;
        let name = self.word().into();
        self.advance();
        if !self.accept(Token::OpenBracket) {
            return Some(ExprKind::Map { name, key: None });
        }
        let first = self.expr()?;
        let mut keys = vec![first];
        while self.accept(Token::Comma) {
            keys.push(self.expr()?);
        }
        self.expect(Token::CloseBracket, "]")?;
        let key = match keys.len() {
            1 => keys.pop()?,
            _ => Expr::new(ExprKind::Tuple(keys), self.since(start)),
        };
        Some(ExprKind::Map { name, key: Some(Box::new(key)) })
    }

    fn parameter(&mut self) -> Parsed<ExprKind> {
        let digits = &self.word()[1..];
        let number = digits.parse().ok().filter(|number| (1..=i64::MAX as u64).contains(number));
        let Some(number) = number else {
            let most = i64::MAX;
            self.error_here(format!("param ${digits} is out of integer range [1, {most}]"));
            return None;
        };
        self.advance();
        Some(ExprKind::Parameter(number))
    }

    pub(super) fn int(&mut self) -> Parsed<u64> {
        match lexer::int(self.word()) {
            Ok(number) => {
                self.advance();
                Some(number)
            }
            Err(bad) => {
                self.error_here(bad);
                None
            }
        }
    }

    /// A string's bytes. What is wrong with its escapes is told.
    pub(super) fn string(&mut self) -> Vec<u8> {
        let (bytes, bad) = lexer::unescape(self.word());
        let start = self.span.start;
        for (range, message) in bad {
            let span = Span { start: start + range.start as u32, end: start + range.end as u32 };
            self.error(span, message);
        }
        self.advance();
        bytes
    }

    /// What begins with `(`: a cast, a record, a tuple, or an expression in parentheses.
    fn parenthesized(&mut self) -> Parsed<Expr> {
        let start = self.span;
        self.advance();
        if self.accept(Token::CloseParen) {
            return Some(Expr::new(ExprKind::Tuple(Vec::new()), self.since(start)));
        }
        if self.token == Token::Word
            && self.second() == Token::Assign
            && !super::root::is_builtin(self.word())
        {
            return self.record(start);
        }
        if let Some(cast) = self.cast(start) {
            return cast;
        }
        let first = self.expr()?;
        if self.accept(Token::CloseParen) {
            return Some(first);
        }
        if self.token != Token::Comma {
            self.expect(Token::CloseParen, ")")?;
        }
        let mut items = vec![first];
        while self.accept(Token::Comma) {
            if self.token == Token::CloseParen {
                break;
            }
            items.push(self.expr()?);
        }
        self.expect(Token::CloseParen, ")")?;
        Some(Expr::new(ExprKind::Tuple(items), self.since(start)))
    }

    fn record(&mut self, start: Span) -> Parsed<Expr> {
        let mut fields: Vec<(Name, Expr)> = Vec::new();
        loop {
            let field_start = self.span;
            let name = self.name("expected identifier")?;
            self.expect(Token::Assign, "=")?;
            let value = self.expr()?;
            if fields.iter().any(|(other, _)| *other == name) {
                let span = self.since(field_start);
                self.error(span, format!("Named argument list already contains name: {name}"));
            }
            fields.push((name, value));
            if !self.accept(Token::Comma) {
                break;
            }
        }
        self.expect(Token::CloseParen, ")")?;
        Some(Expr::new(ExprKind::Record(fields), self.since(start)))
    }
}

/// Whether it can be counted up.
fn is_place(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Variable(_) | ExprKind::Map { .. })
}

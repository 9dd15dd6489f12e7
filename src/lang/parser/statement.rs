//! Blocks and statements.

use super::*;

impl Block {
    /// Makes a statement of what the block would be worth, for blocks whose worth nobody asks for.
    pub(super) fn value_to_statement(&mut self) {
        if let Some(value) = self.value.take() {
            let span = value.span;
            self.statements.push(Statement { kind: StatementKind::Expr(*value), span });
        }
    }
}

impl Parser<'_> {
    /// `{ … }`.
    pub(super) fn block(&mut self) -> Parsed<Block> {
        self.deeper(|parser| {
            let start = parser.span;
            parser.expect(Token::OpenBrace, "{")?;
            let mut block = Block::default();
            while parser.token != Token::CloseBrace {
                if parser.token == Token::End {
                    parser.expect(Token::CloseBrace, "}")?;
                }
                if parser.statement(&mut block).is_none() {
                    parser.skip_statement();
                }
            }
            parser.advance();
            block.span = parser.since(start);
            Some(block)
        })
    }

    /// A block of which the worth isn't asked.
    fn body(&mut self) -> Parsed<Block> {
        let mut body = self.block()?;
        body.value_to_statement();
        Some(body)
    }

    fn statement(&mut self, block: &mut Block) -> Parsed<()> {
        let start = self.span;
        let kind = match self.word() {
            "import" if self.second() == Token::Str => StatementKind::Import(self.import()?.path),
            "while" => self.while_()?,
            "unroll" => self.unroll()?,
            "for" => self.for_()?,
            "break" => self.jump(StatementKind::Break)?,
            "continue" => self.jump(StatementKind::Continue)?,
            "return" => self.return_()?,
            "let" => self.let_()?,
            "_" if self.second() == Token::Assign => {
                self.advance();
                self.advance();
                let value = self.expr()?;
                self.end_of_statement()?;
                StatementKind::Discard(value)
            }
            _ => return self.expr_or_assignment(block),
        };
        block.statements.push(Statement { kind, span: self.since(start) });
        Some(())
    }

    /// `;`, which the last statement of a block needs not.
    fn end_of_statement(&mut self) -> Parsed<()> {
        if self.token == Token::CloseBrace {
            return Some(());
        }
        self.expect(Token::Semicolon, ";")
    }

    fn jump(&mut self, kind: StatementKind) -> Parsed<StatementKind> {
        self.advance();
        self.end_of_statement()?;
        Some(kind)
    }

    fn return_(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let is_bare = matches!(self.token, Token::Semicolon | Token::CloseBrace);
        let value = if is_bare { None } else { Some(self.expr()?) };
        self.end_of_statement()?;
        Some(StatementKind::Return(value))
    }

    fn let_(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let Some(variable) = self.variable() else {
            self.error_here("expected variable after 'let'");
            return None;
        };
        let annotation =
            if self.accept(Token::Colon) { Some(self.type_annotation()?) } else { None };
        let value = if self.accept(Token::Assign) { Some(self.expr()?) } else { None };
        self.end_of_statement()?;
        Some(StatementKind::Let { variable, annotation, value })
    }

    pub(super) fn variable(&mut self) -> Option<Variable> {
        if self.token != Token::Variable {
            return None;
        }
        let variable =
            Variable { name: self.word().into(), id: LocalId::default(), span: self.span };
        self.advance();
        Some(variable)
    }

    /// `(a)`, or `a` up to the `{` of what follows it.
    pub(super) fn condition(&mut self) -> Parsed<Expr> {
        if !self.accept(Token::OpenParen) {
            return self.unary();
        }
        let condition = self.expr()?;
        self.expect(Token::CloseParen, ")")?;
        Some(condition)
    }

    fn while_(&mut self) -> Parsed<StatementKind> {
        self.advance();
        Some(StatementKind::While { condition: self.condition()?, body: self.body()? })
    }

    fn unroll(&mut self) -> Parsed<StatementKind> {
        self.advance();
        Some(StatementKind::Unroll { count: self.condition()?, body: self.body()? })
    }

    fn for_(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let is_in_parens = self.accept(Token::OpenParen);
        let Some(variable) = self.variable() else {
            self.error_here("expected variable in for loop");
            return None;
        };
        self.expect(Token::Colon, ":")?;
        let first = self.primary()?;
        let over = if self.accept(Token::DotDot) {
            Iterable::Range(first, self.primary()?)
        } else if let ExprKind::Map { name, key: None } = first.kind {
            Iterable::Map(name, first.span)
        } else {
            self.error_here("expected map or range in for loop");
            return None;
        };
        if is_in_parens {
            self.expect(Token::CloseParen, ")")?;
        }
        Some(StatementKind::For { variable, over, body: self.body()? })
    }

    /// `a = b;`, `a += b;`, `a;`, or `a` that the block is worth.
    fn expr_or_assignment(&mut self, block: &mut Block) -> Parsed<()> {
        let start = self.span;
        let expr = self.expr()?;
        let kind = match self.token {
            Token::Semicolon | Token::CloseBrace => StatementKind::Expr(expr),
            Token::Assign => self.assignment(start, expr)?,
            token => match compound(token) {
                Some(op) => self.compound_assignment(start, expr, op)?,
                None if ends_with_block(&expr) => StatementKind::Expr(expr),
                None => {
                    self.error_here("expected ';'");
                    return None;
                }
            },
        };
        let span = self.since(start);
        let has_semicolon = self.accept(Token::Semicolon);
        match kind {
            StatementKind::Expr(value) if !has_semicolon && self.token == Token::CloseBrace => {
                block.value = Some(Box::new(value));
            }
            _ if !has_semicolon && self.token != Token::CloseBrace => {
                if !matches!(&kind, StatementKind::Expr(expr) if ends_with_block(expr)) {
                    self.error_here("expected ';'");
                    return None;
                }
                block.statements.push(Statement { kind, span });
            }
            _ => block.statements.push(Statement { kind, span }),
        }
        Some(())
    }

    fn assignment(&mut self, start: Span, target: Expr) -> Parsed<StatementKind> {
        self.advance();
        let value = self.expr()?;
        self.check_target(start, &target)?;
        Some(StatementKind::Assign { target, value })
    }

    /// `a += b` is `a = a + b`; the sum is where the operator is.
    fn compound_assignment(
        &mut self,
        start: Span,
        target: Expr,
        op: BinaryOp,
    ) -> Parsed<StatementKind> {
        let operator = self.span;
        self.advance();
        let right = Box::new(self.expr()?);
        self.check_target(start, &target)?;
        let kind = ExprKind::Binary { op, left: Box::new(target.clone()), right };
        let value = Expr::new(kind, self.since(operator));
        Some(StatementKind::Assign { target, value })
    }

    fn check_target(&mut self, start: Span, target: &Expr) -> Parsed<()> {
        let span = self.since(start);
        match target.kind {
            ExprKind::Variable(_) | ExprKind::Map { .. } => return Some(()),
            ExprKind::Field { .. } | ExprKind::TupleItem { .. } => self.error(
                span,
                "Tuples and records are immutable once created. Consider creating a new value and \
                 assigning it instead.",
            ),
            _ => self.error(span, "invalid assignment target"),
        };
        None
    }
}

/// Whether a statement that is this needs no `;`.
fn ends_with_block(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::If { .. } | ExprKind::Block(_))
}

/// The operator in `+=` and the like.
fn compound(token: Token) -> Option<BinaryOp> {
    Some(match token {
        Token::PlusAssign => BinaryOp::Add,
        Token::MinusAssign => BinaryOp::Sub,
        Token::StarAssign => BinaryOp::Mul,
        Token::SlashAssign => BinaryOp::Div,
        Token::PercentAssign => BinaryOp::Mod,
        Token::AndAssign => BinaryOp::BitAnd,
        Token::OrAssign => BinaryOp::BitOr,
        Token::CaretAssign => BinaryOp::BitXor,
        Token::ShlAssign => BinaryOp::Shl,
        Token::ShrAssign => BinaryOp::Shr,
        _ => return None,
    })
}

//! Macros: which one a call means, and its body with the arguments in it.
//!
//! They are hygienic. A body's own variables get names that nobody else can have, and it sees no other variables and
//! maps than it is given.

use std::collections::HashMap;

use super::super::super::ast::*;
use super::super::super::parser;
use super::super::super::source::Span;
use super::super::super::types::Name;
use super::super::super::walk::{self, Visit};
use super::super::Context;

/// The prelude, whose place in messages is that of the library that other tools have it from.
const PRELUDE: (&str, &str) = ("stdlib/base.bt", include_str!("../../prelude.bt"));

/// All macros, several of a name, which differ in what they take.
#[derive(Default)]
pub(super) struct Macros {
    own: HashMap<Name, Vec<Macro>>,
    /// None until something asks for it.
    prelude: Option<HashMap<Name, Vec<Macro>>>,
}

/// Why a call means none of the macros of its name.
pub(super) enum NoMatch {
    /// So many arguments were expected, and so many are there.
    Count(usize, usize),
    /// An argument is of another kind than the macro takes.
    Kind(Span, String),
}

impl Macros {
    /// Takes a script's macros.
    pub(super) fn new(macros: Vec<Macro>, context: &mut Context<'_>) -> Macros {
        let mut own: HashMap<Name, Vec<Macro>> = HashMap::new();
        for new in macros {
            check_parameters(&new, context);
            let same = own.entry(new.name.clone()).or_default();
            if let Some(first) = same.iter().find(|other| is_same(other, &new)) {
                let message = format!("Redefinition of macro: {}", new.name);
                let told = context.diagnostics.error(new.span, message);
                told.note(first.span, "This is the original definition.");
                continue;
            }
            same.push(new);
        }
        Macros { own, prelude: None }
    }

    /// Reads the prelude if it wasn't yet.
    pub(super) fn read_prelude(&mut self, context: &mut Context<'_>) {
        if self.prelude.is_some() {
            return;
        }
        let span = context.sources.add(PRELUDE.0, PRELUDE.1);
        let mut macros: HashMap<Name, Vec<Macro>> = HashMap::new();
        if let Some(source) = context.sources.of(span) {
            for new in parser::parse(source, &mut context.diagnostics).macros {
                macros.entry(new.name.clone()).or_default().push(new);
            }
        }
        self.prelude = Some(macros);
    }

    /// Whether the script has one of that name.
    pub(super) fn has_own(&self, name: &str) -> bool {
        self.own.contains_key(name)
    }

    /// Whether there is one of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Names of all macros that were read.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.own.keys().chain(self.prelude.iter().flat_map(HashMap::keys)).map(|name| &**name)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Macro> {
        let prelude = self.prelude.as_ref().and_then(|macros| macros.get(name));
        self.own.get(name).into_iter().chain(prelude).flatten()
    }

    /// The script's macro that takes these arguments.
    pub(super) fn own(&self, name: &str, arguments: &[Expr]) -> Option<Macro> {
        best(self.own.get(name)?, arguments)
    }

    /// The prelude's.
    pub(super) fn prelude(&self, name: &str, arguments: &[Expr]) -> Option<Macro> {
        best(self.prelude.as_ref()?.get(name)?, arguments)
    }

    /// What is wrong with these arguments.
    pub(super) fn why_not(&self, name: &str, arguments: &[Expr]) -> NoMatch {
        let mut expected = 0;
        for candidate in self.all(name) {
            expected = candidate.parameters.len();
            if expected != arguments.len() {
                continue;
            }
            for (parameter, argument) in candidate.parameters.iter().zip(arguments) {
                if fits(parameter.kind, argument).is_none() {
                    let message = format!(
                        "expects a {} for arg {} but got {}.",
                        if parameter.kind == ParameterKind::Map { "map" } else { "variable" },
                        parameter.name,
                        match argument.kind {
                            ExprKind::Map { key: None, .. } => "a map",
                            ExprKind::Variable(_) => "a variable",
                            _ => "an expression",
                        }
                    );
                    return NoMatch::Kind(argument.span, message);
                }
            }
        }
        NoMatch::Count(expected, arguments.len())
    }
}

fn check_parameters(new: &Macro, context: &mut Context<'_>) {
    for (at, parameter) in new.parameters.iter().enumerate() {
        if new.parameters[..at].iter().any(|other| other.name == parameter.name) {
            let what = match parameter.kind {
                ParameterKind::Variable => "Variable",
                ParameterKind::Map => "Map",
                ParameterKind::Expression => "Ident",
            };
            let message =
                format!("{what} for macro argument has already been used: {}", parameter.name);
            context.diagnostics.error(parameter.span, message);
        }
    }
}

fn is_same(a: &Macro, b: &Macro) -> bool {
    let kinds = |of: &Macro| of.parameters.iter().map(|one| one.kind).collect::<Vec<_>>();
    kinds(a) == kinds(b)
}

/// How well an argument fits: the kind that is asked for better than one that anything is.
fn fits(kind: ParameterKind, argument: &Expr) -> Option<u32> {
    match (kind, &argument.kind) {
        (ParameterKind::Variable, ExprKind::Variable(_))
        | (ParameterKind::Map, ExprKind::Map { key: None, .. }) => Some(2),
        (ParameterKind::Expression, _) => Some(1),
        _ => None,
    }
}

fn best(candidates: &[Macro], arguments: &[Expr]) -> Option<Macro> {
    let quality = |candidate: &&Macro| -> Option<u32> {
        if candidate.parameters.len() != arguments.len() {
            return None;
        }
        let pairs = candidate.parameters.iter().zip(arguments);
        pairs.map(|(parameter, argument)| fits(parameter.kind, argument)).sum()
    };
    let fitting = candidates.iter().filter(|one| quality(one).is_some());
    fitting.max_by_key(|one| quality(one)).cloned()
}

/// A macro's body with the arguments in it, for a call that has a number of its own.
pub(super) fn body(
    of: &Macro,
    arguments: &[Expr],
    (call, number): (Span, u32),
    context: &mut Context<'_>,
) -> Block {
    let mut body = of.body.clone();
    let base = context.sources.expand(body.span, call);
    let parameters = of.parameters.iter().map(|parameter| parameter.name.clone());
    let arguments = parameters.zip(arguments.iter().cloned()).collect();
    let written = body.span;
    Substitute { arguments, number, written, base, context }.block(&mut body);
    body
}

struct Substitute<'a, 'c> {
    arguments: HashMap<Name, Expr>,
    /// Makes names of the body's variables its own.
    number: u32,
    /// The body as it is written.
    written: Span,
    /// Where it begins for this call.
    base: u32,
    context: &'a mut Context<'c>,
}

impl Substitute<'_, '_> {
    /// Makes the place of a part of the body one of this call.
    fn place(&self, span: &mut Span) {
        let moved = |offset: u32| offset.saturating_sub(self.written.start) + self.base;
        *span = Span { start: moved(span.start), end: moved(span.end) };
    }
}

impl Visit for Substitute<'_, '_> {
    fn block(&mut self, block: &mut Block) {
        self.place(&mut block.span);
        walk::walk_block(self, block);
    }

    fn expr(&mut self, expr: &mut Expr) {
        self.place(&mut expr.span);
        walk::walk_expr(self, expr);
        match &mut expr.kind {
            ExprKind::Ident(name) => {
                if let Some(argument) = self.arguments.get(name) {
                    *expr = argument.clone();
                }
            }
            ExprKind::Offsetof { path, .. } => {
                for name in path {
                    if let Some(Expr { kind: ExprKind::Ident(field), .. }) =
                        self.arguments.get(name)
                    {
                        *name = field.clone();
                    }
                }
            }
            _ => {}
        }
    }

    fn statement(&mut self, statement: &mut Statement) {
        if let StatementKind::Let { variable, .. } = &statement.kind
            && self.arguments.contains_key(&variable.name)
        {
            let message = format!("Variable declaration shadows macro arg {}", variable.name);
            self.context.diagnostics.error(statement.span, message);
        }
        self.place(&mut statement.span);
        walk::walk_statement(self, statement);
    }

    fn variable(&mut self, variable: &mut Variable) {
        self.place(&mut variable.span);
        match self.arguments.get(&variable.name) {
            Some(Expr { kind: ExprKind::Variable(argument), .. }) => {
                variable.name = argument.name.clone();
            }
            _ => variable.name = format!("{}#{}", variable.name, self.number).into(),
        }
    }

    fn map(&mut self, name: &mut Name, span: Span) {
        match self.arguments.get(name) {
            Some(Expr { kind: ExprKind::Map { name: argument, .. }, .. }) => {
                *name = argument.clone();
            }
            _ => {
                let message = format!(
                    "Unhygienic access to map: {name}. Maps must be passed into the macro as \
                     arguments."
                );
                self.context.diagnostics.error(span, message);
            }
        }
    }

    fn type_spec(&mut self, spec: &mut TypeSpec) {
        self.place(&mut spec.span);
        walk::walk_type_spec(self, spec);
        match &spec.kind {
            TypeSpecKind::Named(name) => {
                if let Some(argument) = self.arguments.get(name) {
                    spec.kind = spec_of(argument.clone());
                }
            }
            TypeSpecKind::Of(of) => {
                if let ExprKind::Type(inner) = &of.kind {
                    spec.kind = inner.kind.clone();
                }
            }
            _ => {}
        }
    }
}

/// The type that an argument is, or that its value has.
fn spec_of(argument: Expr) -> TypeSpecKind {
    match argument.kind {
        ExprKind::Type(spec) => spec.kind,
        _ => TypeSpecKind::Of(Box::new(argument)),
    }
}

//! Words → what they stand for: bodies of macros, functions of the language, `#define`s, constants of enums, and what
//! the command line says of `$1` and `getopt`.

use std::collections::BTreeMap;

use super::super::ast::*;
use super::super::config;
use super::super::functions::Function;
use super::super::parser;
use super::super::source::Span;
use super::super::types::{Int, Name, Type, TypeSource};
use super::super::walk::{self, Visit};
use super::{Context, fold};
use crate::filter::nearest;
use crate::names::syscalls::errno_name;
use macros::{Macros, NoMatch};

mod macros;
mod parameters;

/// How many macros and `#define`s may be inside each other.
const DEEPEST: usize = 64;

/// The greatest error number.
const MOST_ERRNO: u32 = 133;

/// Words that some functions take as they are.
const WORDS: &[&str] = &[
    "bpftrace",
    "perf",
    "raw",
    "build_id",
    "boot",
    "monotonic",
    "tai",
    "sw_tai",
    "curr_ns",
    "init",
];

/// Resolves all words of a script. Its macros are gone then.
pub(super) fn run(script: &mut Script, context: &mut Context<'_>) {
    let macros = Macros::new(std::mem::take(&mut script.macros), context);
    let subprograms = script.functions.iter().map(|function| function.name.clone()).collect();
    let known = BTreeMap::new();
    let mut names =
        Names { context, macros, subprograms, inside: Vec::new(), expansions: 0, known };
    names.script(script);
    names.unknown_options();
}

struct Names<'a, 'c> {
    context: &'a mut Context<'c>,
    macros: Macros,
    subprograms: Vec<Name>,
    /// The macros and `#define`s that the current place is in, and whether they are the prelude's.
    inside: Vec<(Name, bool)>,
    /// How many macros were expanded.
    expansions: u32,
    /// Options of the command line that the script asks for, and what for.
    known: BTreeMap<String, Option<String>>,
}

impl Visit for Names<'_, '_> {
    fn expr(&mut self, expr: &mut Expr) {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Ident(name) => {
                let name = name.clone();
                self.word(expr, &name);
            }
            ExprKind::Call { name, arguments } => {
                let (name, mut arguments) = (name.clone(), std::mem::take(arguments));
                self.call(expr, &name, &mut arguments);
            }
            ExprKind::Parameter(number) => {
                let number = *number;
                expr.kind = self.parameter(number, span);
            }
            ExprKind::ParameterCount => {
                expr.kind = ExprKind::Int(self.context.options.parameters.len() as i128);
            }
            ExprKind::Type(_) => {
                let message = "When used as a call argument, `typeof` builtin only valid for macro \
                               calls.";
                self.context.diagnostics.error(span, message);
            }
            ExprKind::Field { of, name } => {
                self.expr(of);
                let is_config =
                    matches!(of.kind, ExprKind::Function { function: Function::Config, .. });
                if is_config {
                    let name = name.clone();
                    self.setting(expr, &name);
                }
            }
            _ => walk::walk_expr(self, expr),
        }
    }

    fn statement(&mut self, statement: &mut Statement) {
        if let StatementKind::Import(path) = &statement.kind {
            let message = format!("statements can't import here: \"{path}\"");
            self.context.diagnostics.error(statement.span, message);
            return;
        }
        walk::walk_statement(self, statement);
    }

    fn type_spec(&mut self, spec: &mut TypeSpec) {
        // A word alone is a type, whatever macro has its name.
        if let TypeSpecKind::Of(of) = &spec.kind
            && let ExprKind::Ident(name) = &of.kind
            && Function::named(name).is_none()
        {
            spec.kind = TypeSpecKind::Named(name.clone());
        }
        walk::walk_type_spec(self, spec);
    }
}

impl Names<'_, '_> {
    /// Whether the current place is in a macro of the prelude.
    fn in_prelude(&self) -> bool {
        self.inside.last().is_some_and(|(_, is_prelude)| *is_prelude)
    }

    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.context.diagnostics.error(span, message);
    }

    /// A word alone.
    fn word(&mut self, expr: &mut Expr, name: &Name) {
        let has_own = !self.in_prelude() && self.macros.has_own(name);
        if has_own && self.expand(expr, name, &[]) {
            return;
        }
        if let Some(text) = self.context.c.defines.get(name).copied() {
            return self.define(expr, name, text);
        }
        if let Some((of, value)) = self.context.c.constants.get(name) {
            expr.kind = ExprKind::Int(*value);
            expr.ty = Type::Enum(of.clone(), of_constant(*value));
            return;
        }
        if let Some(function) = function(name).filter(|function| function.arity().0 == 0) {
            self.function(expr, function, Vec::new());
            return;
        }
        if self.expand_prelude(expr, name, &[]) || WORDS.contains(&&**name) {
            return;
        }
        if let Some((of, _, value)) = self.context.kernel.enumerator(name) {
            if let Some(def) = self.context.kernel.enumeration(&of) {
                self.context.structs.enums.entry(of.clone()).or_insert(def);
            }
            expr.kind = ExprKind::Int(value);
            let int = of_constant(value);
            expr.ty = if of.is_empty() { Type::Int(int) } else { Type::Enum(of, int) };
            return;
        }
        if let Some(value) = constant(name) {
            expr.kind = ExprKind::Int(value);
            return;
        }
        let names = Function::ALL.iter().map(|function| function.name());
        let near = nearest(name, names).map(str::to_owned);
        // Nothing is there, so that other errors can be found.
        expr.kind = ExprKind::None;
        let told =
            self.context.diagnostics.error(expr.span, format!("Unknown identifier: '{name}'"));
        if let Some(near) = near {
            told.hint(format!("Did you mean '{near}'?"));
        }
    }

    /// Whether a call may be of a macro.
    fn is_macro(&mut self, name: &str) -> bool {
        self.macros.read_prelude(self.context);
        self.macros.has(name)
    }

    /// Whether an argument is a word that stands for nothing.
    fn is_unknown(&self, argument: &Expr) -> bool {
        let ExprKind::Ident(name) = &argument.kind else { return false };
        !self.macros.has(name)
            && function(name).is_none()
            && !self.context.c.defines.contains_key(name)
            && !self.context.c.constants.contains_key(name)
            && constant(name).is_none()
            && self.context.kernel.enumerator(name).is_none()
    }

    /// `name(…)`.
    fn call(&mut self, expr: &mut Expr, name: &Name, arguments: &mut Vec<Expr>) {
        expr.kind = ExprKind::None;
        let is_str = function(name) == Some(Function::Str);
        for argument in arguments.iter_mut() {
            match &mut argument.kind {
                ExprKind::Type(spec) => self.type_spec(spec),
                _ => {
                    if is_str {
                        self.text_parameters(argument);
                    }
                    // A macro may take a word as it is: the name of a field.
                    if !self.is_macro(name) || !self.is_unknown(argument) {
                        self.expr(argument);
                    }
                }
            }
        }
        if !self.in_prelude() && self.macros.has_own(name) && self.expand(expr, name, arguments) {
            return;
        }
        let arguments = std::mem::take(arguments);
        if let Some(function) = function(name) {
            return self.function(expr, function, arguments);
        }
        if self.subprograms.contains(name) {
            expr.kind = ExprKind::Call { name: name.clone(), arguments };
            return;
        }
        if self.expand_prelude(expr, name, &arguments) {
            return;
        }
        if self.macros.has(name) {
            let no_match = self.macros.why_not(name, &arguments);
            return self.mismatch(expr.span, name, no_match);
        }
        let names = Function::ALL.iter().map(|function| function.name());
        let near = nearest(name, names.chain(self.macros.names())).map(str::to_owned);
        let told = self.context.diagnostics.error(expr.span, format!("Unknown function: '{name}'"));
        if let Some(near) = near {
            told.hint(format!("Did you mean '{near}'?"));
        }
    }

    fn mismatch(&mut self, span: Span, name: &str, no_match: NoMatch) {
        match no_match {
            NoMatch::Count(expected, got) => self.error(
                span,
                format!(
                    "Call to {name}() has the wrong number of arguments. Expected: {expected} but \
                     got {got}."
                ),
            ),
            NoMatch::Kind(at, message) => {
                let message = format!("Mismatched arg. {name}() {message}");
                let whole =
                    format!("Call to {name}() has arguments that do not match any definition.");
                self.context.diagnostics.error(span, whole).note(at, message);
            }
        }
    }

    fn function(&mut self, expr: &mut Expr, function: Function, arguments: Vec<Expr>) {
        if let Some(message) = wrong_count(function, arguments.len()) {
            return self.error(expr.span, message);
        }
        if function.is_unsafe() && !self.context.options.is_unsafe {
            let name = function.name();
            let message = match function {
                Function::System => {
                    format!("{name}() is an unsafe function being used in safe mode")
                }
                _ => format!("{name}() is unsafe. To use you need the --unsafe flag"),
            };
            self.context.diagnostics.error(expr.span, message).hint("run it with --unsafe");
            return;
        }
        expr.kind = match function {
            Function::Getopt => self.getopt(expr.span, arguments),
            Function::SafeMode => ExprKind::Bool(!self.context.options.is_unsafe),
            // `delete(@a[1])` is how it was written once.
            Function::Delete if arguments.len() == 1 => old_delete(arguments),
            Function::Str if arguments.len() == 1 => text(arguments),
            _ => ExprKind::Function { function, arguments },
        };
    }

    /// What a `#define` stands for.
    fn define(&mut self, expr: &mut Expr, name: &Name, text: Span) {
        let is_recursive = self.inside.iter().any(|(outer, _)| outer == name);
        if is_recursive || self.inside.len() >= DEEPEST {
            expr.kind = ExprKind::None;
            return self.error(expr.span, format!("'{name}' stands for itself"));
        }
        let Some(source) = self.context.sources.of(text) else { return };
        let Some(mut value) = parser::parse_expr(source, text, &mut self.context.diagnostics)
        else {
            return;
        };
        self.inside.push((name.clone(), false));
        self.expr(&mut value);
        self.inside.pop();
        expr.kind = value.kind;
        expr.ty = value.ty;
    }

    /// A macro of the script in a call's place. Whether one takes these arguments.
    fn expand(&mut self, expr: &mut Expr, name: &Name, arguments: &[Expr]) -> bool {
        let Some(matched) = self.macros.own(name, arguments) else { return false };
        self.put_body(expr, &matched, arguments, false);
        true
    }

    /// The same of the prelude, which is read when it is needed.
    fn expand_prelude(&mut self, expr: &mut Expr, name: &Name, arguments: &[Expr]) -> bool {
        self.macros.read_prelude(self.context);
        let Some(matched) = self.macros.prelude(name, arguments) else { return false };
        self.put_body(expr, &matched, arguments, true);
        true
    }

    fn put_body(&mut self, expr: &mut Expr, matched: &Macro, arguments: &[Expr], is_prelude: bool) {
        // Overloads may call each other, so it is depth that tells.
        let same = self.inside.iter().filter(|(outer, _)| *outer == matched.name).count();
        if same > 4 || self.inside.len() >= DEEPEST {
            let chain: Vec<&str> = self.inside.iter().map(|(name, _)| &**name).collect();
            let chain = format!("{} > {}", chain.join(" > "), matched.name);
            let message = format!("Recursive macro call detected. Call chain: {chain}");
            expr.kind = ExprKind::None;
            return self.error(expr.span, message);
        }
        self.expansions += 1;
        let mut body = macros::body(matched, arguments, (expr.span, self.expansions), self.context);
        self.inside.push((matched.name.clone(), is_prelude));
        self.block(&mut body);
        self.inside.pop();
        // In parentheses, so to speak: an expression alone needs no block.
        match body.value {
            Some(value) if body.statements.is_empty() => *expr = *value,
            _ => expr.kind = ExprKind::Block(body),
        }
    }

    /// `config().max_strlen`.
    fn setting(&mut self, expr: &mut Expr, name: &str) {
        expr.kind = match self.context.config.get(name) {
            Some(SettingValue::Int(value)) => ExprKind::Int(i128::from(value)),
            Some(SettingValue::Bool(value)) => ExprKind::Bool(value),
            Some(SettingValue::Text(text)) => ExprKind::Str(text.into_bytes()),
            None => {
                let near = nearest(name, config::NAMES.iter().copied());
                let message = format!("Record does not contain a field named '{name}'");
                let told = self.context.diagnostics.error(expr.span, message);
                if let Some(near) = near {
                    told.hint(format!("Did you mean '{near}'?"));
                }
                return;
            }
        };
    }
}

/// A function by its name, or by the name with which the macros of bpftrace's own library say it.
fn function(name: &str) -> Option<Function> {
    Function::named(name).or_else(|| Function::named(name.strip_prefix("__builtin_")?))
}

/// Constants of enums have 64 bits, however few their enum has.
fn of_constant(value: i128) -> Int {
    Int { bits: 64, signed: value < 0 }
}

/// `str("…")` is the string.
fn text(mut arguments: Vec<Expr>) -> ExprKind {
    match arguments.first_mut().map(|first| &mut first.kind) {
        Some(ExprKind::Str(bytes)) => ExprKind::Str(std::mem::take(bytes)),
        _ => ExprKind::Function { function: Function::Str, arguments },
    }
}

fn old_delete(mut arguments: Vec<Expr>) -> ExprKind {
    if let Some(Expr { kind: ExprKind::Map { name, key: key @ Some(_) }, span, .. }) =
        arguments.first_mut()
    {
        let map = ExprKind::Map { name: name.clone(), key: None };
        let (map, key) = (Expr::new(map, *span), key.take());
        arguments = vec![map];
        arguments.extend(key.map(|key| *key));
    }
    ExprKind::Function { function: Function::Delete, arguments }
}

/// What is wrong with so many arguments.
fn wrong_count(function: Function, count: usize) -> Option<String> {
    let ((least, most), name) = (function.arity(), function.name());
    let what = match (least, most) {
        _ if (least..=most).contains(&count) => return None,
        (_, 0) => "requires no arguments".to_owned(),
        (1, 1) => "requires one argument".to_owned(),
        _ if least == most => format!("requires {least} arguments"),
        (1, _) if count < least => "requires at least one argument".to_owned(),
        _ if count < least => format!("requires at least {least} arguments"),
        (_, 1) => "takes up to one argument".to_owned(),
        _ => format!("takes up to {most} arguments"),
    };
    Some(format!("{name}() {what} ({count} provided)"))
}

/// Constants of headers that programs include, and that no enum of the kernel has.
fn constant(name: &str) -> Option<i128> {
    if let Some(call) = name.strip_prefix("__NR_") {
        return call.parse::<syscalls::Sysno>().ok().map(|call| call.id().into());
    }
    if name.starts_with('E') {
        let errno = (1..=MOST_ERRNO).find(|errno| errno_name(*errno) == name);
        return errno.map(i128::from);
    }
    Some(match name {
        "AF_UNSPEC" => 0,
        "AF_UNIX" | "AF_LOCAL" => 1,
        "AF_INET" => 2,
        "AF_INET6" => 10,
        "AF_NETLINK" => 16,
        "AF_PACKET" => 17,
        "IPPROTO_ICMP" => 1,
        "IPPROTO_TCP" => 6,
        "IPPROTO_UDP" => 17,
        "IPPROTO_ICMPV6" => 58,
        "TASK_RUNNING" => 0,
        "TASK_INTERRUPTIBLE" => 1,
        "TASK_UNINTERRUPTIBLE" => 2,
        _ => return None,
    })
}

/// Whether a literal is one after what is around it was folded.
fn folded(mut expr: Expr, context: &mut Context<'_>) -> Expr {
    fold::fold(&mut expr, &mut context.diagnostics);
    expr
}

//! What the command line says: `$1`, and `--name=value` for `getopt`.

use super::super::super::lexer;
use super::*;

impl Names<'_, '_> {
    fn given(&self, number: u64) -> Option<&str> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.context.options.parameters.get(at).map(String::as_str)
    }

    /// `$1`: a number if it is one, else a string; 0 if it isn't given.
    pub(super) fn parameter(&mut self, number: u64, span: Span) -> ExprKind {
        let Some(text) = self.given(number).filter(|text| !text.is_empty()) else {
            let message = format!("Positional parameter ${number} is empty or not provided. ");
            self.context.diagnostics.warn(span, message);
            return ExprKind::Int(0);
        };
        match int(text) {
            Some(value) => ExprKind::Int(value),
            None => ExprKind::Str(text.as_bytes().to_vec()),
        }
    }

    /// In `str($1)` and `str($1 + 2)` it is a string, whatever it looks like.
    pub(super) fn text_parameters(&mut self, argument: &mut Expr) {
        match &mut argument.kind {
            ExprKind::Parameter(number) => {
                let text = self.given(*number).unwrap_or_default();
                argument.kind = ExprKind::Str(text.as_bytes().to_vec());
            }
            ExprKind::Binary { op: BinaryOp::Add, left, .. } => self.text_parameters(left),
            _ => {}
        }
    }

    /// `getopt("name", default, "what for")`.
    pub(super) fn getopt(&mut self, span: Span, arguments: Vec<Expr>) -> ExprKind {
        let mut arguments = arguments.into_iter().map(|one| folded(one, self.context));
        let (name, default, about) = (arguments.next(), arguments.next(), arguments.next());
        let Some(name) = name.as_ref().and_then(Expr::as_str) else {
            self.error(span, "First argument to 'getopt' must be a string literal.");
            return ExprKind::None;
        };
        let default = default.map_or(ExprKind::Bool(false), |default| default.kind);
        self.known
            .insert(name.to_owned(), about.as_ref().and_then(Expr::as_str).map(str::to_owned));
        let given = self.context.options.named.iter().find(|(given, _)| given == name);
        let Some((_, value)) = given else { return self.default(span, default) };
        let lower = value.as_deref().map(str::to_ascii_lowercase);
        let read = match (&default, value.as_deref(), lower.as_deref()) {
            (ExprKind::Bool(_), None, _) | (ExprKind::Bool(_), _, Some("true" | "1")) => {
                Some(ExprKind::Bool(true))
            }
            (ExprKind::Bool(_), _, Some("false" | "0")) => Some(ExprKind::Bool(false)),
            (ExprKind::Int(_), Some(text), _) => int(text).map(ExprKind::Int),
            (ExprKind::Str(_), Some(text), _) => Some(ExprKind::Str(text.as_bytes().to_vec())),
            _ => None,
        };
        read.unwrap_or_else(|| {
            let wanted = match default {
                ExprKind::Bool(_) => "boolean",
                ExprKind::Int(_) => "integer",
                _ => "string",
            };
            let got = value.as_deref().unwrap_or_default();
            let message =
                format!("program command line option --{name} invalid {wanted} (value: {got})");
            self.error(Span::NOWHERE, message);
            ExprKind::None
        })
    }

    /// Options of the command line that the script doesn't ask for.
    pub(super) fn unknown_options(&mut self) {
        let named = self.context.options.named.iter().map(|(name, _)| name);
        let unknown: Vec<String> = named
            .filter(|name| !self.known.contains_key(*name))
            .map(|name| format!("--{name}"))
            .collect();
        if unknown.is_empty() {
            return;
        }
        // Who asks what there is gets a line for each.
        let is_help = unknown.iter().any(|name| name == "--help");
        let known: Vec<String> = self
            .known
            .iter()
            .map(|(name, about)| match about {
                Some(about) if is_help => format!("--{name}: {about}"),
                _ => format!("--{name}"),
            })
            .collect();
        let message = format!("unexpected program command line options: {}", unknown.join(", "));
        let told = self.context.diagnostics.error(Span::NOWHERE, message);
        told.hint(match known.is_empty() {
            true => "no custom program options defined.".to_owned(),
            false if is_help => format!("expected program options:\n{}", known.join("\n")),
            false => format!("expected program options: {}", known.join(", ")),
        });
    }

    fn default(&mut self, span: Span, default: ExprKind) -> ExprKind {
        let is_literal = matches!(default, ExprKind::Int(_) | ExprKind::Bool(_) | ExprKind::Str(_));
        if is_literal {
            return default;
        }
        self.error(
            span,
            "Second argument to 'getopt' must be a string literal, integer literal, or a boolean \
             literal.",
        );
        ExprKind::None
    }
}

/// A number with a sign perhaps.
fn int(text: &str) -> Option<i128> {
    let (digits, is_negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit());
    let value = i128::from(lexer::int(digits).ok().filter(|_| is_number)?);
    Some(if is_negative { -value } else { value })
}

//! What is wrong with a program: all of it at once, each with its place underlined and what to do.
//!
//! The layout is bpftrace's, whose users and tests know it:
//!
//! ```text
//! stdin:1:9-14: ERROR: Unknown function: 'prnt'
//! begin { prnt(1); }
//!         ~~~~~
//! HINT: Did you mean 'print'?
//! ```

use std::collections::HashSet;
use std::fmt::Write;

use super::source::{Sources, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The program won't run.
    Error,
    /// It will, but perhaps not as meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
    /// Other places that have to do with it, and what.
    pub notes: Vec<(Span, String)>,
}

impl Diagnostic {
    /// Adds what to do about it.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Diagnostic {
        self.hints.push(hint.into());
        self
    }

    /// Adds another place that has to do with it.
    pub fn note(&mut self, span: Span, note: impl Into<String>) -> &mut Diagnostic {
        self.notes.push((span, note.into()));
        self
    }
}

/// All that was found so far.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    all: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Says that the program can't run.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, span, message.into())
    }

    /// Says that something was perhaps not meant.
    pub fn warn(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, span, message.into())
    }

    fn add(&mut self, severity: Severity, span: Span, message: String) -> &mut Diagnostic {
        let new = Diagnostic { severity, span, message, hints: Vec::new(), notes: Vec::new() };
        self.all.push(new);
        let last = self.all.len() - 1;
        &mut self.all[last]
    }

    /// What was found, in the order of finding.
    pub fn all(&self) -> &[Diagnostic] {
        &self.all
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.all.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// Forgets warnings, which the user doesn't want to see.
    pub fn without_warnings(mut self) -> Diagnostics {
        self.all.retain(|one| one.severity == Severity::Error);
        self
    }

    /// As it is shown, each once.
    pub fn render(&self, sources: &Sources) -> String {
        let mut seen = HashSet::new();
        let mut text = String::new();
        for one in self.all.iter().filter(|one| seen.insert(*one)) {
            render(one, sources, &mut text);
        }
        text
    }
}

fn render(diagnostic: &Diagnostic, sources: &Sources, text: &mut String) {
    let severity = match diagnostic.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
    };
    place(severity, diagnostic.span, &diagnostic.message, sources, text);
    for call in sources.calls(diagnostic.span) {
        place(severity, call, "expanded from", sources, text);
    }
    for (span, note) in &diagnostic.notes {
        place("NOTE", *span, note, sources, text);
    }
    for hint in &diagnostic.hints {
        // Writing to a String can't fail.
        let _ = writeln!(text, "HINT: {hint}");
    }
}

/// A message, the line it is about, and the place in it underlined.
pub(super) fn place(label: &str, span: Span, message: &str, sources: &Sources, text: &mut String) {
    let Some(source) = sources.of(span) else {
        let _ = writeln!(text, "{label}: {message}");
        return;
    };
    let _ = writeln!(text, "{}: {label}: {message}", sources.place(span));
    let span = sources.written(span);
    let (start, end) = (source.position(span.start), source.position(span.end));
    if start.line != end.line {
        return;
    }
    let line = source.line(start.line);
    let _ = writeln!(text, "{line}");
    // Tabs stay, so that the marks are below what they mean however wide a tab is.
    let before = line.chars().take(start.column as usize - 1);
    let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let marks = "~".repeat((end.column - start.column).max(1) as usize);
    let _ = writeln!(text, "{indent}{marks}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered() {
        let mut sources = Sources::default();
        sources.add("stdin", "begin {\n\tprnt(1);\n}");
        let mut diagnostics = Diagnostics::default();
        for _ in 0..2 {
            diagnostics
                .error(Span { start: 9, end: 13 }, "Unknown function: 'prnt'")
                .hint("Did you mean 'print'?");
        }
        diagnostics.warn(Span { start: 0, end: 19 }, "long").note(Span { start: 8, end: 8 }, "n");
        assert_eq!(
            diagnostics.render(&sources),
            "stdin:2:2-6: ERROR: Unknown function: 'prnt'\n\tprnt(1);\n\t~~~~\n\
             HINT: Did you mean 'print'?\n\
             stdin:1-3: WARNING: long\nstdin:2:1-1: NOTE: n\n\tprnt(1);\n~\n"
        );
        assert_eq!((diagnostics.errors(), diagnostics.without_warnings().all().len()), (2, 2));
    }
}

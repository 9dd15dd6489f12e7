//! The texts of a program: the script, what it imports, and the prelude.
//!
//! All texts share one space of offsets, so that a [`Span`] alone says which text it is in. A macro's body has offsets of its
//! own in each place where it is called, so that a span says this too.

use std::ops::Range;

/// From one byte of the program's texts up to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The one after the last.
    pub end: u32,
}

impl Span {
    /// In no text: of what the command line says.
    pub const NOWHERE: Span = Span { start: u32::MAX, end: u32::MAX };

    /// From the first byte of `self` to the last of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.start) }
    }

    /// The empty place right behind.
    pub fn after(self) -> Span {
        Span { start: self.end, end: self.end }
    }
}

/// One text.
#[derive(Clone, Debug)]
pub struct Source {
    /// As messages name it: a path, or `stdin` for a program of the command line.
    pub name: String,
    /// The text.
    pub text: String,
    /// The offset of its first byte.
    base: u32,
    /// Where lines begin, from `base`.
    lines: Vec<u32>,
}

/// A place as people count: from 1, columns in bytes, as bpftrace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Source {
    fn new(name: String, text: String, base: u32) -> Source {
        let after_newlines = text.bytes().zip(1..).filter(|(byte, _)| *byte == b'\n');
        let lines = std::iter::once(0).chain(after_newlines.map(|(_, at)| at)).collect();
        Source { name, text, base, lines }
    }

    /// The whole text.
    pub fn span(&self) -> Span {
        Span { start: self.base, end: self.base + self.text.len() as u32 }
    }

    /// The bytes of this text that a span covers.
    pub fn range(&self, span: Span) -> Range<usize> {
        let within = |offset: u32| (offset.saturating_sub(self.base) as usize).min(self.text.len());
        within(span.start)..within(span.end).max(within(span.start))
    }

    /// Where an offset of the program's texts is in this one.
    pub fn position(&self, offset: u32) -> Position {
        let offset = offset.saturating_sub(self.base);
        let line = self.lines.partition_point(|start| *start <= offset);
        Position { line: line as u32, column: offset - self.lines[line - 1] + 1 }
    }

    /// A line without its end, counted from 1.
    pub fn line(&self, line: u32) -> &str {
        self.text.lines().nth(line as usize - 1).unwrap_or_default()
    }
}

/// A macro's body where it is called.
#[derive(Clone, Copy, Debug)]
struct Expansion {
    /// The offset of its first byte there.
    base: u32,
    /// The body as it is written.
    body: Span,
    /// The call.
    call: Span,
}

/// All texts of a program.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    all: Vec<Source>,
    /// In the order of their offsets.
    expansions: Vec<Expansion>,
    /// The first offset that nothing has yet.
    free: u32,
}

impl Sources {
    /// Takes a text in, and says where it is. A program that has more than 4 GB is cut.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> Span {
        let base = self.free;
        let mut text = text.into();
        let room = (u32::MAX - base) as usize;
        if text.len() > room {
            let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        self.all.push(Source::new(name.into(), text, base));
        let span = self.all[self.all.len() - 1].span();
        self.reserve(span);
        span
    }

    /// A byte stays between two texts, so that the place behind one isn't the first of the next.
    fn reserve(&mut self, span: Span) {
        self.free = span.end.saturating_add(1);
    }

    /// Gives a macro's body offsets of its own for a call: the first of them.
    pub fn expand(&mut self, body: Span, call: Span) -> u32 {
        let base = self.free;
        self.reserve(Span { start: base, end: base.saturating_add(body.end - body.start) });
        self.expansions.push(Expansion { base, body, call });
        base
    }

    fn expansion(&self, span: Span) -> Option<&Expansion> {
        let behind = self.expansions.partition_point(|one| one.base <= span.start);
        let found = self.expansions.get(behind.checked_sub(1)?)?;
        (span.start - found.base <= found.body.end - found.body.start).then_some(found)
    }

    /// Where something is written: in a macro's body, if it comes from there.
    pub fn written(&self, span: Span) -> Span {
        let Some(expansion) = self.expansion(span) else { return span };
        let back = |offset: u32| {
            let within = offset.saturating_sub(expansion.base) + expansion.body.start;
            within.min(expansion.body.end)
        };
        Span { start: back(span.start), end: back(span.end) }
    }

    /// The calls that brought something where it is, the innermost first.
    pub fn calls(&self, span: Span) -> Vec<Span> {
        let next = |span: &Span| self.expansion(*span).map(|expansion| expansion.call);
        std::iter::successors(next(&span), next).collect()
    }

    /// The text that a span is in.
    pub fn of(&self, span: Span) -> Option<&Source> {
        if span == Span::NOWHERE {
            return None;
        }
        let span = self.written(span);
        let behind = self.all.partition_point(|source| source.base <= span.start);
        self.all.get(behind.checked_sub(1)?)
    }

    /// What a span covers.
    pub fn text(&self, span: Span) -> &str {
        let span = self.written(span);
        self.of(span).map_or("", |source| &source.text[source.range(span)])
    }

    /// The place in bpftrace's words: `stdin:1:9-62`, or `stdin:1-3` if it has several lines.
    pub fn place(&self, span: Span) -> String {
        let span = self.written(span);
        let Some(source) = self.of(span) else { return String::new() };
        let (start, end) = (source.position(span.start), source.position(span.end));
        if start.line == end.line {
            format!("{}:{}:{}-{}", source.name, start.line, start.column, end.column)
        } else {
            format!("{}:{}-{}", source.name, start.line, end.line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let mut sources = Sources::default();
        sources.add("a.bt", "one\ntwo\n");
        let second = sources.add("b.bt", "\nx = 1");
        let one = Span { start: 0, end: 3 };
        assert_eq!(sources.place(one), "a.bt:1:1-4");
        assert_eq!(sources.text(one), "one");
        assert_eq!(sources.place(Span { start: 2, end: 6 }), "a.bt:1-2");
        let x = Span { start: second.start + 1, end: second.start + 2 };
        assert_eq!((sources.place(x), sources.text(x)), ("b.bt:2:1-2".to_owned(), "x"));
        assert_eq!(sources.place(second.after()), "b.bt:2:6-6");
        assert_eq!(sources.text(Span { start: 900, end: 4 }), "");
    }

    #[test]
    fn expansions_know_where_they_are_written_and_called() {
        let mut sources = Sources::default();
        sources.add("a.bt", "body call outer");
        let span = |start, end| Span { start, end };
        let (body, call, outer) = (span(0, 4), span(5, 9), span(10, 15));
        let first = sources.expand(call, outer);
        let second = sources.expand(body, span(first, first + 4));
        let inner = span(second + 1, second + 3);
        assert_eq!((sources.text(inner), sources.place(inner)), ("od", "a.bt:1:2-4".to_owned()));
        assert_eq!(sources.calls(inner), [span(first, first + 4), outer]);
        assert_eq!(sources.text(sources.calls(inner)[0]), "call");
        let next = sources.add("b.bt", "x");
        assert_eq!((sources.place(next), sources.calls(next).len()), ("b.bt:1:1-2".to_owned(), 0));
    }
}

//! The texts of a program: the script, what it imports, and the prelude.
//!
//! All texts share one space of offsets, so that a [`Span`] alone says which text it is in.

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

/// All texts of a program.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    all: Vec<Source>,
}

impl Sources {
    /// Takes a text in, and says where it is. A program that has more than 4 GB is cut.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> Span {
        // A byte between two texts, so that the place behind one isn't the first of the next.
        let base = self.all.last().map_or(0, |last| last.span().end + 1);
        let mut text = text.into();
        let room = (u32::MAX - base) as usize;
        if text.len() > room {
            let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        self.all.push(Source::new(name.into(), text, base));
        self.all[self.all.len() - 1].span()
    }

    /// The text that a span is in.
    pub fn of(&self, span: Span) -> Option<&Source> {
        let behind = self.all.partition_point(|source| source.base <= span.start);
        self.all.get(behind.checked_sub(1)?)
    }

    /// What a span covers.
    pub fn text(&self, span: Span) -> &str {
        self.of(span).map_or("", |source| &source.text[source.range(span)])
    }

    /// The place in bpftrace's words: `stdin:1:9-62`, or `stdin:1-3` if it has several lines.
    pub fn place(&self, span: Span) -> String {
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
}

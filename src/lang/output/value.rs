//! Values as they are shown: all that is still known of where they came from is how they are written.

use std::io::Write;

use crate::lang::types::Name;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    /// Bytes that are text, whatever the encoding.
    Text(Vec<u8>),
    /// Bytes that aren't.
    Buffer(Vec<u8>),
    Array(Vec<Value>),
    Tuple(Vec<Value>),
    Record(Vec<(Name, Value)>),
    /// A number that people know by something else: an enum's, a pointer, an edge of a histogram.
    Named(Vec<u8>, i128),
}

impl Value {
    pub(super) fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn pointer(address: u64) -> Self {
        Self::Named(format!("{address:#x}").into_bytes(), address.into())
    }

    /// The number that it is.
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Self::Bool(is) => Some((*is).into()),
            Self::Signed(number) => Some((*number).into()),
            Self::Unsigned(number) => Some((*number).into()),
            Self::Named(_, number) => Some(*number),
            _ => None,
        }
    }

    /// As it is read, piece by piece: printf's width is that of the first.
    pub(super) fn pieces(&self, emit: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Null => emit(b"null"),
            Self::Bool(true) => emit(b"true"),
            Self::Bool(false) => emit(b"false"),
            Self::Signed(number) => emit(number.to_string().as_bytes()),
            Self::Unsigned(number) => emit(number.to_string().as_bytes()),
            Self::Text(text) | Self::Named(text, _) => emit(text),
            Self::Buffer(bytes) => emit(&escaped(bytes)),
            Self::Array(values) => listed(values, ["[", ",", "]"], emit),
            Self::Tuple(values) => listed(values, ["(", ", ", ")"], emit),
            Self::Record(fields) if fields.is_empty() => emit(b"{}"),
            Self::Record(fields) => {
                for (at, (name, value)) in fields.iter().enumerate() {
                    emit(if at == 0 { b"{ " } else { b", " });
                    emit(format!(".{name} = ").as_bytes());
                    value.pieces(emit);
                }
                emit(b" }");
            }
        }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        self.pieces(&mut |piece| to.extend_from_slice(piece));
    }

    pub(super) fn written(&self) -> Vec<u8> {
        let mut to = Vec::new();
        self.write(&mut to);
        to
    }

    /// As a map's key: a tuple without its parentheses.
    pub(super) fn written_as_key(&self) -> Vec<u8> {
        let text = self.written();
        match text.as_slice() {
            [b'(', inner @ .., b')'] => inner.to_vec(),
            _ => text,
        }
    }
}

fn listed(values: &[Value], [open, comma, close]: [&str; 3], emit: &mut dyn FnMut(&[u8])) {
    emit(open.as_bytes());
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            emit(comma.as_bytes());
        }
        value.pieces(emit);
    }
    emit(close.as_bytes());
}

/// What isn't ASCII's text as `\x0a`.
pub(super) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut to = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' => to.push(*byte),
            // Writing to a vector can't fail.
            _ => _ = write!(to, "\\x{byte:02x}"),
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> String {
        String::from_utf8(value.written()).unwrap()
    }

    #[test]
    fn values_are_written() {
        let pair = Value::Tuple(vec![Value::Signed(-1), Value::text("a b")]);
        for (value, expected) in [
            (Value::Bool(true), "true"),
            (Value::Unsigned(u64::MAX), "18446744073709551615"),
            (Value::pointer(0xff), "0xff"),
            (Value::Buffer(b"a\n\xff".to_vec()), "a\\x0a\\xff"),
            (Value::Array(vec![Value::Signed(1), Value::Signed(2)]), "[1,2]"),
            (pair.clone(), "(-1, a b)"),
            (Value::Record(vec![]), "{}"),
            (
                Value::Record(vec![("x".into(), Value::Null), ("y".into(), pair.clone())]),
                "{ .x = null, .y = (-1, a b) }",
            ),
        ] {
            assert_eq!(shown(&value), expected);
        }
        assert_eq!(pair.written_as_key(), b"-1, a b");
        assert_eq!(Value::text("()").written_as_key(), b"");
    }
}

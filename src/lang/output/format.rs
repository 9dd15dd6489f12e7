//! printf's formats. The conversions are C's, their details those of bpftrace: a conversion without a length takes
//! the lower 32 bits of a number, zeros go before a sign, a precision says nothing.

use std::io::Write;

use super::gfp;
use super::value::{Value, escaped};

/// A format, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Format {
    /// What is before each conversion.
    parts: Vec<(Vec<u8>, Spec)>,
    /// What is behind the last.
    rest: Vec<u8>,
}

/// One conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spec {
    is_left: bool,
    has_sign: bool,
    has_base: bool,
    has_zeros: bool,
    width: usize,
    /// Bits of the number that count.
    bits: u8,
    conversion: Conversion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Conversion {
    Signed,
    Unsigned,
    Octal,
    Hex,
    UpperHex,
    Char,
    Pointer,
    #[default]
    Text,
    Buffer,
    /// `%rx`
    BufferHex,
    /// `%rh`
    BufferPlain,
    GfpFlags,
}

impl Format {
    pub(super) fn new(format: &str) -> Self {
        let (mut parts, mut before) = (Vec::new(), Vec::new());
        let mut rest = format.as_bytes();
        while let Some(at) = memchr::memchr(b'%', rest) {
            before.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            match Spec::read(rest) {
                Some((None, length)) => {
                    before.push(b'%');
                    rest = &rest[length..];
                }
                Some((Some(spec), length)) => {
                    parts.push((std::mem::take(&mut before), spec));
                    rest = &rest[length..];
                }
                // No conversion: the sign stands for itself.
                None => before.push(b'%'),
            }
        }
        before.extend_from_slice(rest);
        Self { parts, rest: before }
    }

    /// As many values as there are conversions, which the type checker has made sure of.
    pub(super) fn write(&self, values: &[Value], to: &mut Vec<u8>) {
        for ((before, spec), value) in self.parts.iter().zip(values) {
            to.extend_from_slice(before);
            spec.write(value, to);
        }
        to.extend_from_slice(&self.rest);
    }
}

impl Spec {
    /// What is behind a `%`, and how many bytes of it there are; none is a `%` itself.
    fn read(text: &[u8]) -> Option<(Option<Self>, usize)> {
        let mut spec = Self { bits: 32, ..Self::default() };
        let mut at = 0;
        for (sign, flag) in [
            (b'-', &mut spec.is_left),
            (b'+', &mut spec.has_sign),
            (b' ', &mut false),
            (b'#', &mut spec.has_base),
            (b'0', &mut spec.has_zeros),
        ] {
            *flag = text.get(at) == Some(&sign);
            at += usize::from(*flag);
        }
        let (width, length) = number(&text[at..]);
        (spec.width, at) = (width, at + length);
        if text.get(at) == Some(&b'.') {
            let (_, length) = number(&text[at + 1..]);
            at += if length > 0 { length + 1 } else { 0 };
        }
        let lengths = text[at..].iter().take_while(|byte| b"hlLjzt".contains(byte)).count();
        spec.bits = match &text[at..at + lengths] {
            b"hh" => 8,
            b"h" => 16,
            b"l" | b"ll" | b"j" | b"z" | b"t" => 64,
            _ => 32,
        };
        at += lengths;
        let (conversion, length) = match &text[at..] {
            [b'%', ..] => return Some((None, at + 1)),
            [b'g', b'r', ..] => (Conversion::GfpFlags, 2),
            [b'r', b'x', ..] => (Conversion::BufferHex, 2),
            [b'r', b'h', ..] => (Conversion::BufferPlain, 2),
            [b'd' | b'i', ..] => (Conversion::Signed, 1),
            [b'u', ..] => (Conversion::Unsigned, 1),
            [b'o', ..] => (Conversion::Octal, 1),
            [b'x', ..] => (Conversion::Hex, 1),
            [b'X', ..] => (Conversion::UpperHex, 1),
            [b'c', ..] => (Conversion::Char, 1),
            [b'p', ..] => (Conversion::Pointer, 1),
            [b'r', ..] => (Conversion::Buffer, 1),
            [b's' | b'e' | b'E' | b'f' | b'F' | b'G' | b'a' | b'A' | b'n' | b'g', ..] => {
                (Conversion::Text, 1)
            }
            _ => return None,
        };
        spec.conversion = conversion;
        Some((Some(spec), at + length))
    }

    fn write(self, value: &Value, to: &mut Vec<u8>) {
        match (self.conversion, value) {
            (Conversion::Text, value) => self.padded_pieces(value, to),
            (Conversion::Buffer, Value::Buffer(bytes)) => self.padded(&escaped(bytes), to),
            (Conversion::BufferHex, Value::Buffer(bytes)) => {
                self.padded(&hex(bytes, "\\x", ""), to);
            }
            (Conversion::BufferPlain, Value::Buffer(bytes)) => {
                self.padded(&hex(bytes, "", " "), to);
            }
            (Conversion::Buffer | Conversion::BufferHex | Conversion::BufferPlain, value) => {
                self.padded_pieces(value, to);
            }
            (conversion, value) => match value.number() {
                Some(number) if conversion == Conversion::GfpFlags => {
                    self.padded(gfp::written(number as u64).as_bytes(), to);
                }
                Some(number) => self.number(number as u64, to),
                None => {
                    to.extend_from_slice(b"!{invalid integer conversion: ");
                    value.write(to);
                    to.push(b'}');
                }
            },
        }
    }

    fn number(self, number: u64, to: &mut Vec<u8>) {
        let shift = 64 - u32::from(self.bits);
        let unsigned = number << shift >> shift;
        let signed = (number << shift).cast_signed() >> shift;
        let text = match self.conversion {
            Conversion::Signed if self.has_sign => format!("{signed:+}"),
            Conversion::Signed => signed.to_string(),
            Conversion::Octal if self.has_base && unsigned != 0 => format!("0{unsigned:o}"),
            Conversion::Octal => format!("{unsigned:o}"),
            Conversion::Hex if self.has_base && unsigned != 0 => format!("{unsigned:#x}"),
            Conversion::Hex => format!("{unsigned:x}"),
            Conversion::UpperHex if self.has_base && unsigned != 0 => format!("0X{unsigned:X}"),
            Conversion::UpperHex => format!("{unsigned:X}"),
            Conversion::Char => return self.padded(&[unsigned as u8], to),
            Conversion::Pointer if number == 0 => "0".to_owned(),
            Conversion::Pointer => format!("{number:#x}"),
            _ => unsigned.to_string(),
        };
        self.padded(text.as_bytes(), to);
    }

    fn padded_pieces(self, value: &Value, to: &mut Vec<u8>) {
        let mut is_first = true;
        value.pieces(&mut |piece| {
            if std::mem::take(&mut is_first) {
                self.padded(piece, to);
            } else {
                to.extend_from_slice(piece);
            }
        });
    }

    fn padded(self, text: &[u8], to: &mut Vec<u8>) {
        let fill = if self.has_zeros { b'0' } else { b' ' };
        let missing = self.width.saturating_sub(text.len());
        if !self.is_left {
            to.resize(to.len() + missing, fill);
        }
        to.extend_from_slice(text);
        if self.is_left {
            to.resize(to.len() + missing, fill);
        }
    }
}

/// A width or precision and how many bytes say it. `*` says nothing.
fn number(text: &[u8]) -> (usize, usize) {
    /// Wider than any line, and no reason to run out of memory.
    const WIDEST: usize = 1 << 16;

    if text.first() == Some(&b'*') {
        return (0, 1);
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0_usize, |value, digit| {
        value.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    });
    (value.min(WIDEST), digits)
}

fn hex(bytes: &[u8], before: &str, between: &str) -> Vec<u8> {
    let mut to = Vec::with_capacity(bytes.len() * 4);
    for (at, byte) in bytes.iter().enumerate() {
        let between = if at == 0 { "" } else { between };
        // Writing to a vector can't fail.
        _ = write!(to, "{between}{before}{byte:02x}");
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(format: &str, values: &[Value]) -> String {
        let mut to = Vec::new();
        Format::new(format).write(values, &mut to);
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn conversions() {
        use Value::{Signed, Unsigned};

        let text = Value::text;
        for (format, value, expected) in [
            ("%d", Signed(-5), "-5"),
            ("[%5d]", Signed(42), "[   42]"),
            ("[%-5d]", Signed(42), "[42   ]"),
            ("%05d", Signed(-5), "000-5"),
            ("%+d", Signed(5), "+5"),
            ("%i", Signed(0x1_0000_0005), "5"),
            ("%lld", Signed(0x1_0000_0005), "4294967301"),
            ("%hhx", Signed(0x12_34ef), "ef"),
            ("%hd", Signed(0xffff), "-1"),
            ("%u", Signed(-1), "4294967295"),
            ("%lu", Signed(-1), "18446744073709551615"),
            ("%#x", Unsigned(255), "0xff"),
            ("%#x", Unsigned(0), "0"),
            ("%#X", Unsigned(255), "0XFF"),
            ("%04x", Unsigned(2), "0002"),
            ("%#o %%", Unsigned(8), "010 %"),
            ("%c", Unsigned(65), "A"),
            ("%p", Unsigned(0xffff_ffff_8100_0000), "0xffffffff81000000"),
            ("%p", Unsigned(0), "0"),
            ("%.3s", text("abcdef"), "abcdef"),
            ("%-6s.", text("ab"), "ab    ."),
            ("%6s", text("ab"), "    ab"),
            ("%s", Value::Bool(true), "true"),
            ("%d", Value::Bool(true), "1"),
            ("%d", text("a"), "!{invalid integer conversion: a}"),
            ("%r", Value::Buffer(b"a\x01".to_vec()), "a\\x01"),
            ("%rx", Value::Buffer(b"a\x01".to_vec()), "\\x61\\x01"),
            ("%rh", Value::Buffer(b"a\x01".to_vec()), "61 01"),
            ("%gr", Unsigned(0xcc0), "GFP_KERNEL"),
            ("%s%", Value::Named(b"ONE".to_vec(), 1), "ONE%"),
            ("%d", Value::Named(b"ONE".to_vec(), 1), "1"),
            ("%4s", Value::Tuple(vec![Signed(1), Signed(2)]), "   (1, 2)"),
            ("100%y %s", Signed(1), "100%y 1"),
        ] {
            assert_eq!(formatted(format, std::slice::from_ref(&value)), expected, "{format}");
        }
        assert_eq!(formatted("%d-%s", &[Signed(1), text("x")]), "1-x");
        assert_eq!(formatted("%%", &[]), "%");
    }
}

//! Text → words and signs.
//!
//! The parser asks for the token at a place, and doesn't where text isn't the language's: attach points, whose parts
//! are anything without spaces, and directives of C.

use logos::Logos;

use super::source::Span;

/// A word or sign.
#[allow(missing_docs)]
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r\n\f]+")]
// A line that goes on in the next one, as definitions of C may.
#[logos(skip r"\\\r?\n")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
#[logos(skip r"/\*([^*]|\*+[^*/])*\*+/")]
pub enum Token {
    #[regex(r"[a-zA-Z_][a-zA-Z0-9_]*")]
    Word,
    #[regex(r"\$[a-zA-Z_][a-zA-Z0-9_]*")]
    Variable,
    #[regex(r"\$[0-9]+")]
    Parameter,
    #[token("$#")]
    ParameterCount,
    #[regex(r"@([a-zA-Z_][a-zA-Z0-9_]*)?")]
    Map,
    #[regex(r"[0-9][0-9a-zA-Z_]*")]
    Int,
    #[regex(r#""([^"\\]|\\(.|\n))*""#)]
    Str,
    /// A string without its end.
    #[regex(r#""([^"\\\n]|\\(.|\n))*"#)]
    OpenStr,
    #[token("(")]
    OpenParen,
    #[token(")")]
    CloseParen,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token(",")]
    Comma,
    #[token(";")]
    Semicolon,
    #[token(":")]
    Colon,
    #[token("?")]
    Question,
    #[token(".")]
    Dot,
    #[token("..")]
    DotDot,
    #[token("->")]
    Arrow,
    #[token("=")]
    Assign,
    #[token("++")]
    Increment,
    #[token("--")]
    Decrement,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("&")]
    And,
    #[token("|")]
    Or,
    #[token("^")]
    Caret,
    #[token("~")]
    Tilde,
    #[token("!")]
    Not,
    #[token("<<")]
    Shl,
    #[token(">>")]
    Shr,
    #[token("==")]
    Eq,
    #[token("!=")]
    Ne,
    #[token("<")]
    Lt,
    #[token("<=")]
    Le,
    #[token(">")]
    Gt,
    #[token(">=")]
    Ge,
    #[token("&&")]
    AndAnd,
    #[token("||")]
    OrOr,
    #[token("+=")]
    PlusAssign,
    #[token("-=")]
    MinusAssign,
    #[token("*=")]
    StarAssign,
    #[token("/=")]
    SlashAssign,
    #[token("%=")]
    PercentAssign,
    #[token("&=")]
    AndAssign,
    #[token("|=")]
    OrAssign,
    #[token("^=")]
    CaretAssign,
    #[token("<<=")]
    ShlAssign,
    #[token(">>=")]
    ShrAssign,
    /// Something that no token begins with.
    Unknown,
    /// The end of the text.
    End,
}

/// The first token of a text from a byte on, and which bytes it has.
pub fn token_at(text: &str, from: usize) -> (Token, Span) {
    let rest = text.get(from..).unwrap_or_default();
    let mut lexer = Token::lexer(rest);
    let token = lexer.next();
    let at = |offset: usize| (from + offset) as u32;
    let span = Span { start: at(lexer.span().start), end: at(lexer.span().end) };
    match token {
        Some(Ok(token)) => (token, span),
        Some(Err(())) => (Token::Unknown, span),
        None => (Token::End, Span { start: text.len() as u32, end: text.len() as u32 }),
    }
}

/// Why digits are no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadInt {
    #[error("trailing underscore in integer literal")]
    Underscore,
    #[error("invalid integer suffix '{0}'")]
    Suffix(String),
    #[error("invalid integer: {0}")]
    Digits(String),
    #[error("coefficient part of scientific literal must be 1-9: {0}")]
    Coefficient(String),
    #[error("overflow error, maximum value is {most}: {text}")]
    Overflow { text: String, most: u64 },
}

/// What a number's suffix multiplies it by, and the greatest number that may have it.
fn suffix(text: &str) -> Option<(u64, u64)> {
    const SECOND: u64 = 1_000_000_000;
    Some(match text {
        "" | "ns" => (1, u64::MAX),
        "us" => (1_000, u64::MAX),
        "ms" => (1_000_000, u64::MAX),
        "s" => (SECOND, u64::MAX),
        "m" => (60 * SECOND, u64::MAX),
        "h" => (3_600 * SECOND, u64::MAX),
        "d" => (86_400 * SECOND, u64::MAX),
        _ => match text.to_ascii_lowercase().as_str() {
            "u" => (1, u64::from(u32::MAX)),
            "ul" | "ull" => (1, u64::MAX),
            "l" | "ll" => (1, i64::MAX as u64),
            _ => return None,
        },
    })
}

/// A number as programs write it: `0x10`, `010`, `1e6`, `1_000`, `10ms`, `8UL`.
pub fn int(text: &str) -> Result<u64, BadInt> {
    let is_hex = text.starts_with("0x") || text.starts_with("0X");
    let digits_end = |is_digit: fn(char) -> bool, from: usize| {
        let rest = &text[from..];
        from + rest.find(|c: char| !is_digit(c) && c != '_').unwrap_or(rest.len())
    };
    let (from, end) = if is_hex {
        (2, digits_end(|c| c.is_ascii_hexdigit(), 2))
    } else {
        (0, digits_end(|c| c.is_ascii_digit(), 0))
    };
    let clean = |part: &str| {
        if part.ends_with('_') {
            return Err(BadInt::Underscore);
        }
        Ok(part.replace('_', ""))
    };
    let digits = clean(&text[from..end])?;
    let overflow = |most| BadInt::Overflow { text: text.to_owned(), most };
    let radix = match digits.as_bytes() {
        _ if is_hex => 16,
        [b'0', b'0'..=b'7', ..] => 8,
        _ => 10,
    };
    let invalid = || BadInt::Digits(text.to_owned());
    let mut number = match u64::from_str_radix(&digits, radix) {
        Ok(number) => number,
        Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => {
            return Err(overflow(u64::MAX));
        }
        Err(_) => return Err(invalid()),
    };
    let mut rest = &text[end..];
    if !is_hex && rest.starts_with(['e', 'E']) {
        let exponent_end = digits_end(|c| c.is_ascii_digit(), end + 1);
        let exponent: u32 = clean(&text[end + 1..exponent_end])?.parse().map_err(|_| invalid())?;
        if !(1..10).contains(&number) {
            return Err(BadInt::Coefficient(text.to_owned()));
        }
        let power = 10_u64.checked_pow(exponent).and_then(|power| number.checked_mul(power));
        number = power.ok_or_else(|| overflow(u64::MAX))?;
        rest = &text[exponent_end..];
    }
    let (factor, most) = suffix(rest).ok_or_else(|| BadInt::Suffix(rest.to_owned()))?;
    if number > most / factor {
        return Err(overflow(most));
    }
    Ok(number * factor)
}

/// What is wrong with a string's escape, and which bytes of the token it has.
pub type BadEscape = (std::ops::Range<usize>, String);

/// The bytes of a string, without quotes and escapes.
pub fn unescape(token: &str) -> (Vec<u8>, Vec<BadEscape>) {
    let text = token.strip_prefix('"').unwrap_or(token);
    let text = text.strip_suffix('"').unwrap_or(text).as_bytes();
    let (mut bytes, mut bad, mut at) = (Vec::with_capacity(text.len()), Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let start = at;
        let escape = text.get(at).copied().unwrap_or_default();
        at += 1;
        let digits = |from: usize, most: usize, is_digit: fn(&u8) -> bool| {
            let some = text.get(from..).unwrap_or_default().iter().take(most);
            std::str::from_utf8(&text[from..from + some.take_while(|c| is_digit(c)).count()])
                .unwrap_or_default()
        };
        match escape {
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'"' | b'\\' => bytes.push(escape),
            b'0'..=b'7' => {
                let octal = digits(start, 3, |c| matches!(c, b'0'..=b'7'));
                at = start + octal.len();
                match u8::from_str_radix(octal, 8) {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => {
                        let message = format!("octal escape sequence out of range '\\{octal}'");
                        bad.push((start..at + 1, message));
                    }
                }
            }
            b'x' | b'X' => {
                let hex = digits(at, 2, u8::is_ascii_hexdigit);
                at += hex.len();
                match u8::from_str_radix(hex, 16) {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => bad.push((start..at + 1, "invalid hex escape sequence".to_owned())),
                }
            }
            _ => {
                let shown = char::from(escape);
                bad.push((start..at + 1, format!("invalid escape character '\\{shown}'")));
            }
        }
    }
    (bytes, bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Token, &str)> {
        let mut from = 0;
        let next = || {
            let (token, span) = token_at(text, from);
            from = span.end as usize;
            (token != Token::End).then(|| (token, &text[span.start as usize..from]))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn words_and_signs() {
        use Token::*;
        assert_eq!(
            tokens("$a.0..1e3 /* / ** */ @[pid]>>=-x--\"\\\"\" // end"),
            [
                (Variable, "$a"),
                (Dot, "."),
                (Int, "0"),
                (DotDot, ".."),
                (Int, "1e3"),
                (Map, "@"),
                (OpenBracket, "["),
                (Word, "pid"),
                (CloseBracket, "]"),
                (ShrAssign, ">>="),
                (Minus, "-"),
                (Word, "x"),
                (Decrement, "--"),
                (Str, "\"\\\"\""),
            ]
        );
        assert_eq!(
            tokens("$1 $# € \"open\n"),
            [(Parameter, "$1"), (ParameterCount, "$#"), (Unknown, "€"), (OpenStr, "\"open"),]
        );
    }

    #[test]
    fn numbers() {
        let good = ["0", "0x1F", "010", "1_000", "2e3", "5ms", "1h", "7UL", "3u", "09"];
        let values = [0, 31, 8, 1000, 2000, 5_000_000, 3_600_000_000_000, 7, 3];
        let read: Vec<Option<u64>> = good.iter().map(|text| int(text).ok()).collect();
        assert_eq!(read[..9], values.map(Some));
        assert_eq!(read[9], Some(9));
        let error = |text| int(text).unwrap_err().to_string();
        assert_eq!(error("1_"), "trailing underscore in integer literal");
        assert_eq!(error("12ab"), "invalid integer suffix 'ab'");
        assert_eq!(
            error("18446744073709551616"),
            "overflow error, maximum value is 18446744073709551615: 18446744073709551616"
        );
        assert_eq!(error("12e3"), "coefficient part of scientific literal must be 1-9: 12e3");
        assert!(int("0x").is_err() && int("5000000000u").is_err() && int("9e99").is_err());
    }

    #[test]
    fn strings() {
        assert_eq!(unescape(r#""a\n\x41\101\0z""#), (b"a\nAA\0z".to_vec(), vec![]));
        let (bytes, bad) = unescape(r#""\q\777\xg""#);
        assert_eq!((bytes.as_slice(), bad.len()), (b"g".as_slice(), 3));
        assert_eq!(unescape("\"\\").1.len(), 1);
    }
}

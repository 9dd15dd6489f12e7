//! A trailing filter where packets are meant: an expression of pcap-filter(7), for the kernel, and
//! terms of the views' grammar, for rows; both may stand in one line, one after the other.

use super::Usage;
use crate::caret::pointed;
use crate::filter::{self, Filter, Words};
use crate::packet::filter::{self as expressions, LinkType};

/// What a filter asks for.
#[derive(Debug, Default)]
pub struct Asked {
    /// The expression of packets; empty if there is none.
    pub expression: String,
    /// The same, compiled; none is all of them.
    pub packets: Option<expressions::Filter>,
    /// Of rows, in the views' grammar.
    pub rows: String,
}

/// Takes a filter apart.
///
/// # Errors
/// [`Usage`], pointing at what is wrong.
pub fn asked(text: &str) -> Result<Asked, Usage> {
    let Words { terms, others } =
        filter::split(text, is_term).map_err(|error| Usage(error.pointed(text)))?;
    let rows: Vec<&str> = terms.iter().map(|term| &text[term.clone()]).collect();
    let rows = rows.join(" ");
    let (Some(first), Some(last)) = (others.first(), others.last()) else {
        return Ok(Asked { rows, ..Asked::default() });
    };
    let expression = first.start..last.end;
    if let Some(term) = terms.iter().find(|term| expression.contains(&term.start)) {
        let words = "this term, which is of rows, stands within an expression, which is of packets; write one after the other";
        return Err(Usage(pointed(words, text, Some(term.clone()))));
    }
    for term in &terms {
        let is_right = Filter::parse(&text[term.clone()]);
        is_right.map_err(|error| Usage(pointed(&error.to_string(), text, Some(term.clone()))))?;
    }
    let expression = text[expression].to_owned();
    let packets = expressions::Filter::compile(&expression, LinkType::Ethernet);
    let packets = packets.map_err(|error| Usage(error.to_string()))?;
    Ok(Asked { expression, packets: Some(packets), rows })
}

/// Whether a word is the views' and not of an expression, which has colons in addresses and behind
/// brackets, and slashes in networks and to divide.
fn is_term(word: &str) -> bool {
    let body = word.strip_prefix('!').unwrap_or(word);
    let is_key = |key: &str| {
        let is_address = key.chars().all(|c| c.is_ascii_hexdigit());
        !is_address && key.chars().all(|c| c.is_ascii_alphabetic())
    };
    match body.strip_prefix('/') {
        Some(pattern) => !pattern.is_empty(),
        None => body.split_once(':').is_some_and(|(key, _)| is_key(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(text: &str) -> (bool, String) {
        let Asked { expression, packets, rows } = asked(text).unwrap();
        assert_eq!(packets.is_some(), !expression.is_empty());
        (packets.is_some(), rows)
    }

    #[test]
    fn expressions_and_terms_are_told_apart() {
        for (text, is_of_packets, rows) in [
            ("", false, ""),
            ("port:443 !src:10.0.0.0/8", false, "port:443 !src:10.0.0.0/8"),
            ("/a b/ !/c/", false, "/a b/ !/c/"),
            ("tcp port 443", true, ""),
            ("!tcp and not net 10.0.0.0/8", true, ""),
            ("ip[2:2] / 2 > 100 or host fd00::1", true, ""),
            ("ether host 02:00:00:00:00:01 or net dead::/16", true, ""),
            ("net ::/0", true, ""),
            ("tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", true, ""),
            ("udp dport:53 /in/", true, "dport:53 /in/"),
            ("proto:tcp tcp[13] & 2 != 0", true, "proto:tcp"),
        ] {
            assert_eq!(apart(text), (is_of_packets, rows.to_owned()), "{text}");
        }
    }

    #[test]
    fn each_error_points_at_its_place() {
        for (text, part, place) in [
            ("tcp prt 80", "syntax error", "    ^^^"),
            ("tcp port 80 prot:x", "did you mean proto:?", "            ^^^^^^"),
            ("tcp and port:80 and udp", "one after the other", "        ^^^^^^^"),
            ("tcp port:x", "no value for port:", "    ^^^^^^"),
            ("port:1 /x", "no closing /", "       ^^"),
            ("comm:", "needs a value", "^^^^^"),
        ] {
            // The last is for the views' own parser alone.
            let words = asked(text).map(|asked| Filter::parse(&asked.rows).unwrap_err());
            let words = words.map_or_else(|Usage(words)| words, |error| error.pointed(text));
            assert!(words.contains(part), "{words}");
            assert!(words.ends_with(&format!("\n    {text}\n    {place}")), "{words}");
        }
    }
}

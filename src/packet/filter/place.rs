//! Where in an expression its fault is. libpcap doesn't say, so beginnings of the expression are compiled.

use std::ops::Range;

use super::LinkType;
use super::libpcap::compile;

/// In libpcap's words for what doesn't follow its grammar. It says no more than that.
const SYNTAX: &str = "syntax error";

/// What may complete an expression. A beginning that none of these completes has a word too many.
const COMPLETIONS: [&str; 13] = [
    "",
    " 1",
    " ip",
    " host 1.2.3.4",
    " 1.2.3.4",
    " ::1",
    " 1:2:3:4:5:6",
    " port 1",
    "] = 1",
    " 1] = 1",
    " = 1",
    ":1] = 1",
    " dst 1.2.3.4",
];

/// Longer ones have no place found: each word is compiled a few times.
const MOST_WORDS: usize = 200;

/// The part of the expression that libpcap's words are about.
pub(super) fn place(expression: &str, link: LinkType, words: &str) -> Option<Range<usize>> {
    let tokens = tokens(expression);
    if tokens.len() > MOST_WORDS {
        return None;
    }
    if words.contains(SYNTAX) {
        let is_too_many = |token: &Range<usize>| !can_begin(&expression[..token.end], link);
        // Once a beginning can't be completed, a longer one can't.
        let first = tokens.partition_point(|token| !is_too_many(token));
        let end = expression.trim_end().len();
        return Some(tokens.get(first).cloned().unwrap_or(end..end));
    }
    let quoted = words
        .split('\'')
        .nth(1)
        .and_then(|word| tokens.iter().find(|&token| expression[token.clone()] == *word));
    let first_to_fail = || {
        let fails = |token: &&Range<usize>| {
            compile(&expression[..token.end], link).is_err_and(|error| error == words)
        };
        tokens.iter().find(fails)
    };
    quoted.or_else(first_to_fail).cloned()
}

/// Whether an expression that begins like this can follow the grammar.
fn can_begin(beginning: &str, link: LinkType) -> bool {
    let closing = open_brackets(beginning);
    COMPLETIONS.iter().any(|completion| {
        let mut brackets = closing.clone();
        if completion.contains(']') && brackets.last() == Some(&']') {
            brackets.pop();
        }
        let rest: String = brackets.iter().rev().collect();
        let whole = [
            format!("{beginning}{completion}{rest}"),
            format!("{beginning}{completion}{rest} = 1"),
        ];
        whole
            .iter()
            .any(|it| compile(it, link).map_or_else(|error| !error.contains(SYNTAX), |_| true))
    })
}

/// What closes the brackets that are open.
fn open_brackets(beginning: &str) -> Vec<char> {
    let mut closing = Vec::new();
    for c in beginning.chars() {
        match c {
            '(' => closing.push(')'),
            '[' => closing.push(']'),
            ')' | ']' => drop(closing.pop()),
            _ => {}
        }
    }
    closing
}

/// Words, numbers, addresses, and signs.
fn tokens(expression: &str) -> Vec<Range<usize>> {
    let is_word = |c: char| c.is_alphanumeric() || "._:\\-/".contains(c);
    let mut tokens: Vec<Range<usize>> = Vec::new();
    let mut before = ' ';
    for (at, c) in expression.char_indices() {
        let end = at + c.len_utf8();
        let goes_on = is_word(before) && is_word(c)
            || matches!((before, c), ('&', '&') | ('|', '|') | ('<', '<') | ('>', '>'))
            || "<>!=".contains(before) && c == '=';
        match tokens.last_mut() {
            Some(last) if goes_on => last.end = end,
            _ if c.is_whitespace() => {}
            _ => tokens.push(at..end),
        }
        before = c;
    }
    tokens
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The part of it that is pointed at.
    fn fault(expression: &str) -> Option<&str> {
        let words = compile(expression, LinkType::Ethernet).unwrap_err();
        Some(&expression[place(expression, LinkType::Ethernet, &words)?])
    }

    #[test]
    fn a_word_too_many_is_found() {
        for (expression, expected) in [
            ("tcp prt 80", "prt"),
            ("tcp port 80 an host 10.0.0.1", "an"),
            ("(tcp port 80) or udp)", ")"),
            ("host 10.0.0.1 and and tcp", "and"),
            ("tcp @ 3", "@"),
            ("ip[0] = = 4", "="),
            ("tcp[0 and udp", "and"),
            ("src or dst port port 5", "port"),
            ("not (vlan && (ip or ip6) tcp", "tcp"),
            ("net 10.0.0.0/8/8", "10.0.0.0/8/8"),
            ("ip[2:2] >= 100 xx", "xx"),
        ] {
            assert_eq!(fault(expression), Some(expected), "{expression}");
        }
        let second = compile("host 10.0.0.1 and and tcp", LinkType::Ethernet).unwrap_err();
        assert_eq!(place("host 10.0.0.1 and and tcp", LinkType::Ethernet, &second), Some(18..21));
    }

    #[test]
    fn what_is_missing_is_missing_at_the_end() {
        for expression in
            ["tcp port", "tcp[", "(tcp", "tcp and ", "ip[0] &", "net 10.0.0.0 mask", "(ip[0] + ("]
        {
            assert_eq!(fault(expression), Some(""), "{expression}");
        }
    }

    #[test]
    fn a_word_that_means_nothing_is_found() {
        for (expression, expected) in [
            ("tcp or port nosuch", "nosuch"),
            ("ip proto nosuch and udp", "nosuch"),
            ("host 1.2.3.400", "1.2.3.400"),
            ("net 10.0.0.0/33 or tcp", "10.0.0.0/33"),
            ("port 80 or port 99999 or tcp", "99999"),
            ("tcp and ether host 1.2.3.4 and udp", "1.2.3.4"),
            ("tcp[0:3] = 1", "]"),
            ("udp and wlan type mgt", "mgt"),
            ("ip broadcast", "broadcast"),
        ] {
            assert_eq!(fault(expression), Some(expected), "{expression}");
        }
    }
}

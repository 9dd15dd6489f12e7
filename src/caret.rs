//! Words about a part of a line, with the line and a mark below that part.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

/// What is wrong, the line, and carets below the place; one caret where something is missing.
pub fn pointed(words: &str, line: &str, place: Option<Range<usize>>) -> String {
    let marks = place.map(|place| {
        let indent = line[..place.start].width();
        let carets = line[place].width().max(1);
        format!("\n    {}{}", " ".repeat(indent), "^".repeat(carets))
    });
    format!("{words}\n    {line}{}", marks.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_are_below_the_place() {
        assert_eq!(pointed("no", "é ab c", Some(3..5)), "no\n    é ab c\n      ^^");
        assert_eq!(pointed("no", "ab", Some(2..2)), "no\n    ab\n      ^");
        assert_eq!(pointed("no", "ab", None), "no\n    ab");
    }
}

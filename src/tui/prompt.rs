//! A line that is typed: its text and where the cursor is in it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Longer than any filter; what is pasted beyond it is left out.
const LONGEST: usize = 1000;

/// A line and the cursor in it, by characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    text: Vec<char>,
    cursor: usize,
}

impl Line {
    /// A line with the cursor at its end.
    pub fn new(text: &str) -> Self {
        let text: Vec<char> = text.chars().collect();
        Line { cursor: text.len(), text }
    }

    /// What is typed.
    pub fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// What is before the cursor.
    pub fn before(&self) -> String {
        self.text[..self.cursor].iter().collect()
    }

    /// Puts a text in at the cursor, without its control characters.
    pub fn insert(&mut self, text: &str) {
        for c in text.chars().filter(|c| !c.is_control()) {
            if self.text.len() < LONGEST {
                self.text.insert(self.cursor, c);
                self.cursor += 1;
            }
        }
    }

    /// Takes a key; false if it isn't about the line.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if ctrl => {
                self.text.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char('w') if ctrl => self.delete_word(),
            KeyCode::Char('a') if ctrl => self.cursor = 0,
            KeyCode::Char('e') if ctrl => self.cursor = self.text.len(),
            KeyCode::Char(_) if ctrl => return false,
            KeyCode::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.text.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            KeyCode::Backspace | KeyCode::Delete => {}
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            _ => return false,
        }
        true
    }

    fn delete_word(&mut self) {
        let before = &self.text[..self.cursor];
        let end = before.iter().rposition(|c| *c != ' ').map_or(0, |at| at + 1);
        let start = before[..end].iter().rposition(|c| *c == ' ').map_or(0, |at| at + 1);
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &mut Line, code: KeyCode, held: KeyModifiers) {
        line.key(KeyEvent::new(code, held));
    }

    #[test]
    fn a_line_is_edited() {
        let mut line = Line::new("pid:1 comm:grün");
        typed(&mut line, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(line.text(), "pid:1 ");
        typed(&mut line, KeyCode::Home, KeyModifiers::NONE);
        line.insert("!\u{1b}\n");
        assert_eq!((line.text().as_str(), line.before().as_str()), ("!pid:1 ", "!"));
        typed(&mut line, KeyCode::Delete, KeyModifiers::NONE);
        typed(&mut line, KeyCode::Backspace, KeyModifiers::NONE);
        typed(&mut line, KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(line.text(), "id:1 ");
        typed(&mut line, KeyCode::End, KeyModifiers::NONE);
        typed(&mut line, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert_eq!(line, Line::default());
        line.insert(&"x".repeat(2 * LONGEST));
        assert_eq!(line.text().len(), LONGEST);
    }
}

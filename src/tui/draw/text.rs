//! What the parts of the screen are made of: pieces of text, and bars of eighths.

use crate::tui::theme::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A text at a place, cut at `width`; returns what it took.
pub(super) fn put(
    buffer: &mut Buffer,
    x: u16,
    y: u16,
    text: &str,
    width: u16,
    style: Style,
) -> u16 {
    if width == 0 || !buffer.area.contains((x, y).into()) {
        return 0;
    }
    let (end, _) = buffer.set_stringn(x, y, cut(text, width).as_ref(), width.into(), style);
    end - x
}

/// A text that ends at the right edge of a cell of such width.
pub(super) fn put_right(buffer: &mut Buffer, x: u16, y: u16, text: &str, width: u16, style: Style) {
    let blank = width.saturating_sub(columns(text));
    put(buffer, x + blank, y, text, width - blank, style);
}

/// A text in the middle of a line.
pub(super) fn centred(buffer: &mut Buffer, line: Rect, text: &str, style: Style) {
    let blank = line.width.saturating_sub(columns(text)) / 2;
    put(buffer, line.x + blank, line.y, text, line.width - blank, style);
}

/// The width of a text.
pub(super) fn columns(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// A text that is too wide ends in an ellipsis.
pub(super) fn cut(text: &str, width: u16) -> std::borrow::Cow<'_, str> {
    if text.width() <= width.into() {
        return text.into();
    }
    let mut room = usize::from(width.saturating_sub(1));
    let fits = |c: &char| {
        let needed = c.width().unwrap_or(0);
        let fits = needed <= room;
        room = room.saturating_sub(needed);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short.into()
}

/// ASCII that is too wide has an ellipsis in its middle.
pub(super) fn cut_middle(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if text.len() <= width || width < 3 {
        return text.to_owned();
    }
    let head = width / 2;
    let tail = text.len() - (width - 1 - head);
    format!("{}…{}", &text[..head], &text[tail..])
}

/// Pieces one after the other, as far as all of a piece has room; returns where the next would begin.
pub(super) fn pieces(buffer: &mut Buffer, line: Rect, pieces: &[(String, Style)]) -> u16 {
    let mut x = line.x;
    for (text, style) in pieces {
        if columns(text) > line.right().saturating_sub(x) {
            break;
        }
        x += put(buffer, x, line.y, text, line.right() - x, *style);
    }
    x
}

/// Words one after the other in as many lines as it takes.
pub(super) fn flow(words: &[String], width: u16) -> Vec<String> {
    const GAP: &str = "   ";

    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if columns(line) + columns(GAP) + columns(word) <= width => {
                line.push_str(GAP);
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

/// A text in lines of at most `width`, broken between words.
pub(super) fn wrap(text: &str, width: u16) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A box with a title, emptied.
pub(super) fn window(buffer: &mut Buffer, area: Rect, title: &str, theme: &Theme) {
    use ratatui::widgets::{Block, BorderType, Clear, Widget};

    Clear.render(area, buffer);
    let title = format!(" {title} ");
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(theme.muted);
    block.title(ratatui::text::Span::styled(title, theme.title)).render(area, buffer);
}

/// Bars from the bottom up, one a column, the last at the right edge; the least is one eighth, so that
/// little is told from nothing.
pub(super) fn bars(buffer: &mut Buffer, area: Rect, values: &[f64], most: f64, style: Style) {
    const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

    if area.is_empty() {
        return;
    }
    let shown = values.len().min(area.width.into());
    let first = area.right() - u16::try_from(shown).unwrap_or(area.width);
    for (x, value) in (first..area.right()).zip(&values[values.len() - shown..]) {
        let room = f64::from(area.height) * 8.0;
        let mut left = if *value > 0.0 && most > 0.0 {
            ((value / most * room).round() as usize).clamp(1, usize::from(area.height) * 8)
        } else {
            0
        };
        for y in (area.y..area.bottom()).rev() {
            let part = left.min(8);
            if part > 0 {
                buffer.set_string(x, y, EIGHTHS[part], style);
            }
            left -= part;
        }
    }
}

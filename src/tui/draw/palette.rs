//! The list of all commands, above the rest.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::{status, text};
use crate::tui::app::App;
use crate::tui::layout;
use crate::tui::palette::Palette;

const WIDTH: u16 = 64;
const HEIGHT: u16 = 18;
const NAME: u16 = 20;

pub(super) fn draw(buffer: &mut Buffer, screen: Rect, palette: &Palette, app: &App) -> Position {
    let theme = &app.settings.theme;
    let room = Rect::new(screen.x + 1, screen.y + 1, screen.width - 2, screen.height - 2);
    let area = layout::middle(WIDTH, HEIGHT, room);
    text::window(buffer, area, "commands", theme);
    let inner = Rect::new(area.x + 2, area.y + 1, area.width - 4, area.height - 2);
    let label = text::put(buffer, inner.x, inner.y, ": ", inner.width, theme.accent);
    let line = Rect::new(inner.x + label, inner.y, inner.width - label, 1);
    let cursor = status::typed(buffer, line, &palette.line, theme.text);

    let rows = Rect::new(inner.x, inner.y + 1, inner.width, inner.height - 1);
    if palette.fitting().len() == 0 {
        text::put(buffer, rows.x, rows.y, "no command is like that", rows.width, theme.muted);
    }
    let first = (palette.cursor + 1).saturating_sub(rows.height.into());
    for (number, item) in palette.fitting().enumerate().skip(first).take(rows.height.into()) {
        let y = rows.y + u16::try_from(number - first).unwrap_or(0);
        text::put(buffer, rows.x, y, &item.name, NAME, theme.text);
        let about = rows.width.saturating_sub(NAME + 1);
        text::put(buffer, rows.x + NAME + 1, y, &item.about, about, theme.muted);
        if number == palette.cursor {
            let line = Rect::new(rows.x - 1, y, rows.width + 2, 1);
            buffer.set_style(line, theme.selection);
        }
    }
    cursor
}

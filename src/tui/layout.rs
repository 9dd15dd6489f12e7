//! Where things are on the screen: asked for drawing, and to find what a click hits.

use ratatui::layout::Rect;

/// Below it, a message is all there is.
pub const LEAST_WIDTH: u16 = 40;
/// Below it, a message is all there is.
pub const LEAST_HEIGHT: u16 = 10;
/// From here on there is room for sparklines, and from there on for tall ones.
const WITH_SPARKLINES: u16 = 16;
const WITH_TALL_SPARKLINES: u16 = 40;
/// From here on two panes are side by side.
const SIDE_BY_SIDE: u16 = 120;
/// Of lines that stand free on both sides.
const PADDING: u16 = 1;

/// The parts of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Areas {
    /// The names of the views.
    pub tabs: Rect,
    /// Figures, and sparklines below them.
    pub totals: Rect,
    /// What the body is of.
    pub title: Rect,
    /// A table, or what a row was opened to.
    pub body: Rect,
    /// What is typed, and below it what is wrong with it.
    pub prompt: Rect,
    /// The last line.
    pub status: Rect,
}

/// The parts of a screen of that size; none if it is too small.
pub fn areas(width: u16, height: u16, is_prompting: bool) -> Option<Areas> {
    if width < LEAST_WIDTH || height < LEAST_HEIGHT {
        return None;
    }
    let totals = match height {
        WITH_TALL_SPARKLINES.. => 3,
        WITH_SPARKLINES.. => 2,
        _ => 1,
    };
    let prompt = if is_prompting { 2 } else { 0 };
    let mut y = 0;
    let mut lines = |count: u16, padding: u16| {
        let area = Rect::new(padding, y, width - 2 * padding, count);
        y += count;
        area
    };
    Some(Areas {
        tabs: lines(1, PADDING),
        totals: lines(totals, PADDING),
        title: lines(1, 0),
        body: lines(height - totals - prompt - 3, PADDING),
        prompt: lines(prompt, PADDING),
        status: lines(1, PADDING),
    })
}

/// A table's rows, below its header.
pub fn rows(table: Rect) -> Rect {
    let height = table.height.saturating_sub(1);
    Rect::new(table.x, table.y + table.height.min(1), table.width, height)
}

/// Two panes, each with its title, of the same body.
pub fn panes(body: Rect) -> [Rect; 2] {
    if body.width >= SIDE_BY_SIDE {
        let width = (body.width - 3) / 2;
        let right = Rect::new(body.x + width + 3, body.y, body.width - width - 3, body.height);
        return [Rect { width, ..body }, right];
    }
    let height = body.height.div_ceil(2);
    let below = Rect::new(body.x, body.y + height, body.width, body.height - height);
    [Rect { height, ..body }, below]
}

/// A pane's table, below its title.
pub fn pane_table(pane: Rect) -> Rect {
    rows(pane)
}

/// A box in the middle.
pub fn middle(width: u16, height: u16, of: Rect) -> Rect {
    let (width, height) = (width.min(of.width), height.min(of.height));
    let x = of.x + (of.width - width) / 2;
    let y = of.y + (of.height - height) / 2;
    Rect::new(x, y, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fill_the_screen() {
        for (width, height) in [(40, 10), (60, 15), (80, 24), (200, 50), (500, 300)] {
            for prompting in [false, true] {
                let areas = areas(width, height, prompting).unwrap();
                let Areas { tabs, totals, title, body, prompt, status } = areas;
                let heights: u16 = [tabs, totals, title, body, prompt, status]
                    .map(|area| area.height)
                    .iter()
                    .sum();
                assert_eq!((heights, status.y), (height, height - 1));
                assert!(body.height >= 4);
                let [first, second] = panes(body);
                assert!(second.right() == body.right() && second.bottom() == body.bottom());
                assert!(first.intersection(second).is_empty());
            }
        }
        assert_eq!(areas(39, 24, false), None);
        assert_eq!(areas(80, 9, false), None);
    }
}

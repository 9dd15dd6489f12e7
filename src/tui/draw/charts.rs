//! Charts of figures over time, several of them side by side and below each other.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text;
use crate::columns::{Unit, Value};
use crate::output::cell;
use crate::tui::app::App;
use crate::tui::history::History;
use crate::tui::theme::Theme;

/// A chart is not lower than this with its title.
const LEAST_HEIGHT: u16 = 3;
const MOST_HEIGHT: u16 = 12;
/// From here on three are side by side.
const THREE: u16 = 150;
const GAP: u16 = 2;

/// A chart: its title, its unit, its value in a point, and how it looks.
pub(super) struct Chart<P> {
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) of: fn(&P) -> Option<f64>,
    pub(super) style: fn(&Theme) -> Style,
}

/// Draws charts from the top of an area on, and leaves `below` lines if it can; returns the lines that
/// it took.
pub(super) fn draw<P>(
    buffer: &mut Buffer,
    area: Rect,
    charts: &[Chart<P>],
    points: &History<P>,
    below: u16,
    app: &App,
) -> u16 {
    let columns: u16 = if area.width >= THREE { 3 } else { 2 };
    let count = u16::try_from(charts.len()).unwrap_or(u16::MAX);
    let lines = count.div_ceil(columns);
    let height = (area.height.saturating_sub(below) / lines).clamp(LEAST_HEIGHT, MOST_HEIGHT);
    // What doesn't fit is left out, but what comes below has its first line.
    let lines = lines.min(area.height.saturating_sub(1) / height);
    for (number, chart) in (0..count).zip(charts) {
        let width = (area.width + GAP) / columns;
        let x = area.x + number % columns * width;
        let y = area.y + number / columns * height;
        if number / columns < lines {
            one(buffer, Rect::new(x, y, width - GAP, height), chart, points, app);
        }
    }
    lines * height
}

fn one<P>(buffer: &mut Buffer, area: Rect, chart: &Chart<P>, points: &History<P>, app: &App) {
    let theme = &app.settings.theme;
    let known: Vec<Option<f64>> = points.last(area.width.into()).map(chart.of).collect();
    let most = known.iter().flatten().copied().fold(0.0, f64::max);
    let show = |value: Option<f64>| {
        let value = match (value, chart.unit) {
            (None, _) => Value::None,
            (Some(x), Unit::Micros | Unit::Count) => Value::Int(x as u64),
            (Some(x), _) => Value::Real(x),
        };
        cell(&value, chart.unit, app.settings.units)
    };
    let now = show(known.last().copied().flatten());
    let pieces = [
        (chart.title.to_owned(), theme.muted),
        (format!("  {now}"), theme.title),
        (format!("  max {}", show(Some(most))), theme.muted),
    ];
    text::pieces(buffer, Rect { height: 1, ..area }, &pieces);
    // A line between charts, where there is room.
    let below = if area.height > LEAST_HEIGHT { 2 } else { 1 };
    let bars = Rect::new(area.x, area.y + 1, area.width, area.height.saturating_sub(below));
    let values: Vec<f64> = known.into_iter().map(|value| value.unwrap_or(0.0)).collect();
    text::bars(buffer, bars, &values, most, (chart.style)(theme));
}

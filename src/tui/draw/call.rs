//! One system call: its figures, how long calls took since the start, and beside it when.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::text;
use crate::columns::{Column, Row};
use crate::histogram::{self, OCTAVES};
use crate::model::SyscallRow;
use crate::output::cell;
use crate::tui::app::App;
use crate::tui::pages::call::CallPage;

/// Room for “128µs – 256µs” and a count.
const EDGES: u16 = 15;
const COUNT: u16 = 9;
const GAP: u16 = 2;
/// From little to much.
const SHADES: [&str; 5] = [" ", "░", "▒", "▓", "█"];

pub(super) fn draw(buffer: &mut Buffer, body: Rect, page: &CallPage, app: &App) {
    let theme = &app.settings.theme;
    let gone = page.is_gone.then(|| "gone".to_owned());
    let facts: Vec<String> = gone.into_iter().chain(facts(&page.row, app)).collect();
    let facts = text::flow(&facts, body.width);
    for (words, y) in facts.iter().zip(body.y..body.bottom()) {
        text::put(buffer, body.x, y, words, body.width, theme.text);
    }
    let used = u16::try_from(facts.len()).unwrap_or(1).min(body.height);
    let body = Rect { y: body.y + used - 1, height: body.height - used + 1, ..body };
    let octaves = page.row.sums.histogram.octaves();
    let counted = |count: &u64| *count > 0;
    let (Some(first), Some(last)) =
        (octaves.iter().position(counted), octaves.iter().rposition(counted))
    else {
        let line = Rect::new(body.x, body.y + 2, body.width, 1);
        text::centred(buffer, line, "no call was seen from begin to end yet", theme.muted);
        return;
    };
    let rows = Rect::new(body.x, body.y + 3, body.width, body.height.saturating_sub(3));
    // What took longest is what is looked for.
    let first = first.max((last + 1).saturating_sub(rows.height.into()));
    let left = EDGES + GAP + COUNT;
    let bar = (body.width - left - 2 * GAP) * 2 / 5;
    let heat = Rect::new(
        rows.x + left + bar + 2 * GAP,
        rows.y,
        body.width - left - bar - 2 * GAP,
        rows.height,
    );
    let titles = [
        ("duration", rows.x),
        ("calls", rows.x + left - 5),
        ("over time, now at the right", heat.x),
    ];
    for (words, x) in titles {
        text::put(buffer, x, rows.y - 1, words, rows.right() - x, theme.muted);
    }
    let most = octaves.iter().copied().max().unwrap_or(1);
    for (octave, y) in (first..=last).zip(rows.y..rows.bottom()) {
        let range = histogram::range_of_octave(octave);
        let from = histogram::duration(range.start);
        let to =
            if octave + 1 < OCTAVES { histogram::duration(range.end) } else { "…".to_owned() };
        text::put(buffer, rows.x, y, &format!("{from:>6} – {to:<6}"), EDGES, theme.text);
        let count = octaves[octave];
        let style = if count == 0 { theme.muted } else { theme.text };
        text::put_right(buffer, rows.x + EDGES + GAP, y, &count.to_string(), COUNT, style);
        let line = histogram::bar(count, most, bar.into());
        text::put(buffer, rows.x + left + GAP, y, &line, bar, theme.accent);
    }
    draw_heat(buffer, heat, page, first..=last, app);
}

fn draw_heat(
    buffer: &mut Buffer,
    area: Rect,
    page: &CallPage,
    octaves: std::ops::RangeInclusive<usize>,
    app: &App,
) {
    let shown: Vec<&[u64; OCTAVES]> = page.heat.last(area.width.into()).collect();
    let most = shown.iter().flat_map(|heat| heat.iter()).copied().max().unwrap_or(0);
    let first = area.right() - u16::try_from(shown.len()).unwrap_or(area.width);
    for (heat, x) in shown.into_iter().zip(first..area.right()) {
        for (octave, y) in octaves.clone().zip(area.y..area.bottom()) {
            buffer.set_string(x, y, shade(heat[octave], most), app.settings.theme.warning);
        }
    }
}

/// By powers, since a few slow calls matter among many fast ones.
fn shade(count: u64, most: u64) -> &'static str {
    if count == 0 {
        return SHADES[0];
    }
    let share = (count as f64).ln_1p() / (most as f64).ln_1p();
    SHADES[((share * 4.0).ceil() as usize).clamp(1, 4)]
}

fn facts(row: &SyscallRow, app: &App) -> Vec<String> {
    const KEYS: [&str; 8] = [
        "calls_per_second",
        "calls",
        "errors",
        "top_errno",
        "p50_ns",
        "p99_ns",
        "max_ns",
        "total_ns",
    ];
    let fact = |column: &&Column<SyscallRow>| {
        let value = cell(&(column.get)(row), column.unit, app.settings.units);
        format!("{} {value}", column.title)
    };
    let find = |key: &&str| SyscallRow::columns().iter().find(|column| column.key == *key);
    KEYS.iter().filter_map(find).map(|column| fact(&column)).collect()
}

//! What all that is counted comes to: a figure each, and how it was of late.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::text;
use crate::columns::{Unit, Value};
use crate::model::Totals;
use crate::output::{Units, cell};
use crate::tui::app::App;

const COUNT: u16 = 5;
const GAP: u16 = 2;

/// A figure: its name, how it is read, and where it is.
struct Figure {
    name: &'static str,
    short: &'static str,
    unit: Unit,
    of: fn(&Totals) -> Option<f64>,
}

const FIGURES: [Figure; COUNT as usize] = [
    Figure { name: "RX/s", short: "RX", unit: Unit::ByteRate, of: |t| Some(t.rx_rate) },
    Figure { name: "TX/s", short: "TX", unit: Unit::ByteRate, of: |t| Some(t.tx_rate) },
    Figure {
        name: "connections",
        short: "conns",
        unit: Unit::Count,
        of: |t| Some(t.connections as f64),
    },
    Figure {
        name: "retransmits",
        short: "retr",
        unit: Unit::Count,
        of: |t| Some(t.retransmits as f64),
    },
    Figure { name: "system calls/s", short: "calls/s", unit: Unit::Rate, of: |t| t.syscall_rate },
];

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = &app.settings.theme;
    let each = (area.width + GAP) / COUNT;
    for (number, figure) in FIGURES.iter().enumerate() {
        let x = area.x + each * u16::try_from(number).unwrap_or(0);
        let width = each - GAP;
        let now = app.totals.newest().and_then(figure.of);
        let value = shown(now, figure.unit, app.settings.units);
        let is_loud = figure.name == "retransmits" && now.is_some_and(|now| now > 0.0);
        let style: Style = if is_loud { theme.warning } else { theme.title };
        let fits = |name: &&str| text::columns(name) + 1 + text::columns(&value) <= width;
        let name = [figure.name, figure.short].into_iter().find(fits).unwrap_or("");
        text::put(buffer, x, area.y, name, width, theme.muted);
        text::put_right(buffer, x, area.y, &value, width, style);

        let values: Vec<f64> =
            app.totals.last(width.into()).map(|t| (figure.of)(t).unwrap_or(0.0)).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let below = Rect::new(x, area.y + 1, width, area.height - 1);
        let style = match number {
            0 => theme.rx,
            1 => theme.tx,
            _ if is_loud => theme.warning,
            _ => theme.muted,
        };
        text::bars(buffer, below, &values, most, style);
    }
}

fn shown(value: Option<f64>, unit: Unit, units: Units) -> String {
    let value = match (value, unit) {
        (None, _) => Value::None,
        (Some(value), Unit::Count) => Value::Int(value as u64),
        (Some(value), _) => Value::Real(value),
    };
    cell(&value, unit, units)
}

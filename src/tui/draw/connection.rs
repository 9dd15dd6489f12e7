//! One connection: what is known of it, its figures over time, what held it back, and what happened.

use std::time::SystemTime;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::charts::{self, Chart};
use super::text;
use crate::columns::{Unit, Value};
use crate::model::{EventRow, Limit};
use crate::output::{cell, event_detail};
use crate::tui::app::App;
use crate::tui::pages::connection::{ConnectionPage, Point};

/// Events that are shown at least.
const EVENTS: u16 = 3;

/// Those of TCP come last.
const CHARTS: [Chart<Point>; 6] = [
    Chart { title: "TX/s", unit: Unit::ByteRate, of: |p| Some(p.tx_rate), style: |t| t.tx },
    Chart { title: "RX/s", unit: Unit::ByteRate, of: |p| Some(p.rx_rate), style: |t| t.rx },
    Chart {
        title: "SRTT",
        unit: Unit::Micros,
        of: |p| p.srtt_us.map(f64::from),
        style: |t| t.accent,
    },
    Chart {
        title: "CWND, segments",
        unit: Unit::Count,
        of: |p| p.cwnd.map(f64::from),
        style: |t| t.accent,
    },
    Chart {
        title: "delivered, segments/s",
        unit: Unit::Rate,
        of: |p| p.delivery_rate,
        style: |t| t.accent,
    },
    Chart {
        title: "retransmits",
        unit: Unit::Count,
        of: |p| p.retransmits.map(f64::from),
        style: |t| t.warning,
    },
];
const WITHOUT_TCP: usize = 2;

pub(super) fn draw(buffer: &mut Buffer, body: Rect, page: &ConnectionPage, app: &App) {
    let mut y = body.y;
    for words in facts(page, body.width, app) {
        if y < body.bottom() {
            let style = app.settings.theme.text;
            text::put(buffer, body.x, y, &words, body.width, style);
            y += 1;
        }
    }
    let charts = if page.row.tcp.is_some() { &CHARTS[..] } else { &CHARTS[..WITHOUT_TCP] };
    // The strip and events with their title.
    let below = if page.row.tcp.is_some() { 2 + EVENTS } else { 1 + EVENTS };
    let area = Rect::new(body.x, y, body.width, body.bottom() - y);
    y += charts::draw(buffer, area, charts, &page.points, below, app);
    if page.row.tcp.is_some() && y < body.bottom() {
        draw_limits(buffer, Rect::new(body.x, y, body.width, 1), page, app);
        y += 1;
    }
    if y + 1 < body.bottom() {
        events(buffer, Rect::new(body.x, y, body.width, body.bottom() - y), page, app);
    }
}

fn facts(page: &ConnectionPage, width: u16, app: &App) -> Vec<String> {
    let row = &page.row;
    let show = |value: Value<'_>, unit| cell(&value, unit, app.settings.units);
    let mut who = vec![
        if page.is_gone { format!("{}, gone", row.state) } else { row.state.to_owned() },
        format!("{} {}", row.process.comm, row.process.pid),
        format!("user {}", row.process.user()),
    ];
    who.extend(row.process.container.as_ref().map(|container| container.name.clone()));
    who.push(format!("netns {}", row.netns));
    who.push(match row.age_s {
        Some(age) => format!("age {}", show(Value::Real(age), Unit::Seconds)),
        None => "older than nettrace".to_owned(),
    });
    let bytes = |total: Option<u64>, since| show(Value::Int(total.unwrap_or(since)), Unit::Bytes);
    let mut what = vec![
        format!("RX {}", bytes(row.rx_bytes_total, row.rx_bytes)),
        format!("TX {}", bytes(row.tx_bytes_total, row.tx_bytes)),
    ];
    if let Some(tcp) = &row.tcp {
        let micros = |us: Option<u32>| {
            show(us.map_or(Value::None, |us| Value::Int(us.into())), Unit::Micros)
        };
        what.push(format!("SRTT {} ± {}", micros(tcp.srtt_us), micros(tcp.rttvar_us)));
        what.push(format!("min {}", micros(tcp.min_rtt_us)));
        what.push(format!("RETR {} of {}", tcp.retransmits, tcp.segments_out));
        what.push(format!("lost {}", tcp.lost));
        what.push(format!("unacked {}", show(Value::Int(row.send_queue.into()), Unit::Bytes)));
        what.push(format!("unread {}", show(Value::Int(row.receive_queue.into()), Unit::Bytes)));
    }
    let mut lines = text::flow(&who, width);
    lines.extend(text::flow(&what, width));
    lines.push(String::new());
    lines
}

/// A letter an interval.
fn draw_limits(buffer: &mut Buffer, line: Rect, page: &ConnectionPage, app: &App) {
    const LEGEND: &str = "  a app  r receiver  c cwnd  b send buffer";

    let theme = &app.settings.theme;
    let label = text::put(buffer, line.x, line.y, "LIMIT ", line.width, theme.muted);
    let legend = if line.width >= 100 { text::columns(LEGEND) } else { 0 };
    let room = line.width.saturating_sub(label + legend);
    for (point, x) in page.points.last(room.into()).zip(line.x + label..) {
        let (letter, style) = limit(point.limit, app);
        buffer.set_string(x, line.y, letter, style);
    }
    if legend > 0 {
        text::put(buffer, line.right() - legend, line.y, LEGEND, legend, theme.muted);
    }
}

fn limit(limit: Option<Limit>, app: &App) -> (&'static str, Style) {
    let theme = &app.settings.theme;
    match limit {
        None => ("-", theme.muted),
        Some(Limit::App) => ("a", theme.muted),
        Some(Limit::ReceiverWindow) => ("r", theme.warning),
        Some(Limit::CongestionWindow) => ("c", theme.accent),
        Some(Limit::SendBuffer) => ("b", theme.warning),
    }
}

fn events(buffer: &mut Buffer, area: Rect, page: &ConnectionPage, app: &App) {
    let theme = &app.settings.theme;
    text::put(buffer, area.x, area.y, "events", area.width, theme.muted);
    let room = usize::from(area.height - 1);
    let events = in_order(page, app);
    if events.is_empty() {
        text::put(buffer, area.x, area.y + 1, "none yet", area.width, theme.muted);
    }
    let newest = &events[events.len().saturating_sub(room)..];
    for ((time, words), y) in newest.iter().zip(area.y + 1..area.bottom()) {
        let time = super::time_of_day(*time);
        let used = text::put(buffer, area.x, y, &time, area.width, theme.muted) + 2;
        let room = area.width.saturating_sub(used);
        text::put(buffer, area.x + used, y, words, room, theme.text);
    }
}

/// What the kernel told, and what differed between two pictures.
fn in_order(page: &ConnectionPage, app: &App) -> Vec<(SystemTime, String)> {
    let units = app.settings.units;
    let words = |row: &EventRow| format!("{}{}", row.kind(), event_detail(&row.detail, units));
    let told = page.singles.iter().map(|row| (row.time, words(row)));
    let seen = page.events.last(page.events.len()).map(|event| (event.time, event.words.clone()));
    let mut events: Vec<_> = told.chain(seen).collect();
    events.sort_by_key(|(time, _)| *time);
    events
}

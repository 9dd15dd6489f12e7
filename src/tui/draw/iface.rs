//! One interface: its counters, its figures over time, and the programs on it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::charts::{self, Chart};
use super::text;
use crate::columns::{Unit, Value};
use crate::output::cell;
use crate::sample::XdpMode;
use crate::tui::app::App;
use crate::tui::pages::iface::{IfacePage, Point};

const CHARTS: [Chart<Point>; 6] = [
    Chart { title: "RX/s", unit: Unit::ByteRate, of: |p| Some(p.rx_rate), style: |t| t.rx },
    Chart { title: "TX/s", unit: Unit::ByteRate, of: |p| Some(p.tx_rate), style: |t| t.tx },
    Chart {
        title: "RX packets/s",
        unit: Unit::Rate,
        of: |p| Some(p.rx_packet_rate),
        style: |t| t.rx,
    },
    Chart {
        title: "TX packets/s",
        unit: Unit::Rate,
        of: |p| Some(p.tx_packet_rate),
        style: |t| t.tx,
    },
    Chart {
        title: "errors",
        unit: Unit::Count,
        of: |p| p.errors.map(|n| n as f64),
        style: |t| t.error,
    },
    Chart {
        title: "drops",
        unit: Unit::Count,
        of: |p| p.drops.map(|n| n as f64),
        style: |t| t.warning,
    },
];

pub(super) fn draw(buffer: &mut Buffer, body: Rect, page: &IfacePage, app: &App) {
    let theme = &app.settings.theme;
    let mut y = body.y;
    let mut say = |buffer: &mut Buffer, words: &str, style| {
        if y < body.bottom() {
            text::put(buffer, body.x, y, words, body.width, style);
            y += 1;
        }
        y
    };
    for facts in [facts(page, app), before_the_stack(page, app)] {
        for words in text::flow(&facts, body.width) {
            say(buffer, &words, theme.text);
        }
    }
    let top = say(buffer, "", theme.text);
    let hooks = page.hooks();
    let below = 1 + u16::try_from(hooks.len().max(1)).unwrap_or(u16::MAX);
    let area = Rect::new(body.x, top, body.width, body.bottom() - top);
    let used = charts::draw(buffer, area, &CHARTS, &page.points, below, app);
    let lines = Rect { y: area.y + used, height: area.height - used, ..area };
    let title = [("programs on it".to_owned(), theme.muted)];
    let none = ["none that can be seen".to_owned()];
    let hooks = if hooks.is_empty() { &none[..] } else { &hooks };
    let hooks = hooks.iter().map(|words| (words.clone(), theme.text));
    for ((words, style), y) in title.into_iter().chain(hooks).zip(lines.y..lines.bottom()) {
        text::put(buffer, lines.x, y, &words, lines.width, style);
    }
}

/// Counters since the start.
fn facts(page: &IfacePage, app: &App) -> Vec<String> {
    let row = &page.row;
    let show = |count, unit| cell(&Value::Int(count), unit, app.settings.units);
    let gone = page.is_gone.then(|| "gone".to_owned());
    let counters = [
        format!("since the start: RX {}", show(row.rx_bytes, Unit::Bytes)),
        format!("TX {}", show(row.tx_bytes, Unit::Bytes)),
        format!("RX packets {}", show(row.rx_packets, Unit::Count)),
        format!("TX packets {}", show(row.tx_packets, Unit::Count)),
        format!("errors {}", show(row.errors, Unit::Count)),
        format!("drops {}", show(row.drops, Unit::Count)),
    ];
    gone.into_iter().chain(counters).collect()
}

/// Packets that XDP programs saw, nettrace's or others', and what of them the stack had.
fn before_the_stack(page: &IfacePage, app: &App) -> Vec<String> {
    let Some(xdp) = &page.row.xdp else { return Vec::new() };
    let show = |value: Value<'_>, unit| cell(&value, unit, app.settings.units);
    let count = |count| show(Value::Int(count), Unit::Count);
    let counts = |counts: Vec<_>| show(Value::Counts(counts), Unit::Counts);
    let mode = xdp.mode.map_or("not attached", XdpMode::name);
    let mut facts = vec![format!("XDP {}: {mode}", xdp.wanted.name())];
    if let Some(seen) = &xdp.seen {
        facts.push(format!("before the stack {}", count(seen.packets)));
    }
    if let Some(stack) = &xdp.stack {
        facts.push(format!("at the stack {}", count(stack.packets)));
    }
    facts.extend(xdp.missing.map(|missing| format!("missing {}", count(missing))));
    if let Some(seen) = xdp.seen.as_ref().filter(|seen| !seen.verdicts.is_empty()) {
        let verdicts = seen.verdicts.iter().map(|(name, n)| (name.as_str().into(), *n));
        facts.push(counts(verdicts.collect()));
    }
    if !xdp.events.is_empty() {
        facts.push(counts(xdp.events.iter().map(|(name, n)| ((*name).into(), *n)).collect()));
    }
    facts.extend(xdp.obstacle.clone());
    facts
}

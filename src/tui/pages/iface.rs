//! One interface since it was opened here: its figures over time, and the programs on it.

use super::News;
use crate::model::IfaceRow;
use crate::sample::XdpProgram;
use crate::tui::history::History;

/// What is kept of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// On the wire, bytes/s.
    pub rx_rate: f64,
    /// On the wire, bytes/s.
    pub tx_rate: f64,
    /// Packets/s.
    pub rx_packet_rate: f64,
    /// Packets/s.
    pub tx_packet_rate: f64,
    /// In the interval.
    pub errors: Option<u64>,
    /// In the interval.
    pub drops: Option<u64>,
}

/// An interface over time.
#[derive(Debug)]
pub struct IfacePage {
    /// As of the last picture.
    pub row: IfaceRow,
    /// One an interval.
    pub points: History<Point>,
    /// It isn't among the rows any more.
    pub is_gone: bool,
}

impl IfacePage {
    pub(super) fn new(row: &IfaceRow) -> Self {
        let mut page = IfacePage { row: row.clone(), points: History::default(), is_gone: false };
        page.points.push(Point::of(row, None));
        page
    }

    pub(super) fn take(&mut self, news: &News<'_>) {
        let row = news.ifaces.iter().find(|row| row.interface == self.row.interface);
        self.is_gone = row.is_none();
        if let Some(row) = row {
            self.points.push(Point::of(row, Some(&self.row)));
            self.row = row.clone();
        }
    }

    /// What is attached to it, in words.
    pub fn hooks(&self) -> Vec<String> {
        let hooks = self.row.hook.iter().flat_map(|hooks| hooks.split(' '));
        let xdp = self.row.xdp.as_ref();
        let others = xdp.map_or(&[][..], |xdp| &xdp.others);
        let has_ours = xdp.is_some_and(|xdp| xdp.mode.is_some());
        hooks.map(|hook| format!("{hook}  {}", about(hook, others, has_ours))).collect()
    }
}

impl Point {
    fn of(row: &IfaceRow, before: Option<&IfaceRow>) -> Self {
        let grown = |field: fn(&IfaceRow) -> u64| {
            before.map(|before| field(row).saturating_sub(field(before)))
        };
        Point {
            rx_rate: row.rx_rate,
            tx_rate: row.tx_rate,
            rx_packet_rate: row.rx_packet_rate,
            tx_packet_rate: row.tx_packet_rate,
            errors: grown(|row| row.errors),
            drops: grown(|row| row.drops),
        }
    }
}

/// What a hook is, by how the interfaces' probe writes it; an XDP program that is none of the others' is ours,
/// if we have one there.
fn about(hook: &str, others: &[XdpProgram], has_ours: bool) -> String {
    if let Some(rest) = hook.strip_prefix("xdp:") {
        let (mode, id) = rest.split_once('#').unwrap_or((rest, ""));
        let place = match mode {
            "native" => "in the driver",
            "skb" => "behind the driver, slower",
            _ => "on the card",
        };
        let other = others.iter().find(|other| other.id.to_string() == id);
        let whose = if has_ours && other.is_none() { "nettrace's " } else { "" };
        let name = other.and_then(|other| other.name.as_ref());
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        return format!("{whose}XDP program {id}{name}, {place}");
    }
    if let Some((direction, count)) = hook.strip_prefix("tcx:").and_then(|r| r.split_once('×')) {
        let programs = if count == "1" { "program" } else { "programs" };
        let whither = if direction == "in" { "comes in" } else { "goes out" };
        return format!("{count} tcx {programs} on what {whither}");
    }
    "qdisc that classifiers may hang on".to_owned()
}

#[cfg(test)]
mod tests {
    use crate::sample::{XdpMode, XdpProgram};

    #[test]
    fn hooks_are_told_in_words() {
        let name = Some("drop_scans".to_owned());
        let others = [XdpProgram { id: 12, name, mode: XdpMode::Native }];
        let about = |hook| super::about(hook, &others, true);
        assert_eq!(about("xdp:native#12"), "XDP program 12 drop_scans, in the driver");
        assert_eq!(about("xdp:native#11"), "nettrace's XDP program 11, in the driver");
        let about = |hook| super::about(hook, &[], false);
        assert_eq!(about("xdp:native#12"), "XDP program 12, in the driver");
        assert_eq!(about("xdp:skb#13"), "XDP program 13, behind the driver, slower");
        assert_eq!(about("tcx:in×1"), "1 tcx program on what comes in");
        assert_eq!(about("tcx:out×2"), "2 tcx programs on what goes out");
        assert_eq!(about("clsact"), "qdisc that classifiers may hang on");
    }
}

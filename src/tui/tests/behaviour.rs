//! What keys and clicks do to the state, and which effects they have.

use std::time::Duration;

use crossterm::event::MouseEventKind;

use super::fixtures::{Shown, connected, dropped, short_lived};
use crate::columns;
use crate::model::{EventKind, EventRow, Rows, View};
use crate::sample::DropKind;
use crate::tui::app::{Effect, TABS, tab};
use crate::tui::pages::Page;

fn comm(shown: &Shown) -> String {
    let table = shown.app.table();
    let column = columns::find(table.view, "comm").unwrap();
    table.cell(table.cursor, column, shown.app.settings.units)
}

#[test]
fn views_come_by_tab_and_by_number() {
    let mut shown = Shown::after(2);
    for view in TABS {
        assert_eq!(shown.app.view, view);
        assert_eq!(shown.press(&["tab"]), [Effect::Ask]);
    }
    assert_eq!(shown.app.view, View::Procs);
    shown.press(&["shift-tab"]);
    assert_eq!(shown.app.view, View::Flows);
    shown.press(&["3"]);
    assert_eq!((shown.app.view, shown.app.wanted().views), (View::Hosts, vec![View::Hosts]));
    shown.press(&["0"]);
    assert_eq!(shown.app.view, View::Hosts);
}

#[test]
fn what_ends_redraws_and_stops() {
    let mut shown = Shown::after(1);
    assert_eq!(shown.press(&["q"]), [Effect::Quit]);
    assert_eq!(shown.press(&["ctrl-l", "ctrl-z"]), [Effect::Redraw, Effect::Suspend]);
    for typed in ["/", ":", "?"] {
        shown.press(&["esc", typed]);
        assert_eq!(shown.press(&["ctrl-c"]), [Effect::Quit], "{typed}");
    }
}

#[test]
fn a_paused_picture_stands_still_and_keys_still_work() {
    let mut shown = Shown::after(3);
    shown.press(&[" "]);
    let before = shown.screen();
    shown.pass(3);
    assert_eq!(shown.screen(), before);
    shown.press(&["s"]);
    assert_ne!(shown.screen(), before);
    // What needs another picture says when it comes.
    for keys in [&["c"][..], &["a"], &["/", "x:", "backspace", "backspace", "enter"]] {
        assert_eq!(shown.press(keys), [Effect::Ask]);
        assert!(shown.app.note.as_deref().is_some_and(|note| note.starts_with("paused")));
    }
    shown.press(&[" "]);
    shown.pass(1);
    assert!(!shown.screen().contains("PAUSED"));
}

#[test]
fn intervals_go_down_to_50_ms() {
    let mut shown = Shown::after(1);
    for ms in [500, 200, 100, 50, 50] {
        assert_eq!(shown.press(&["-"]), [Effect::Ask]);
        assert_eq!(shown.app.wanted().interval, Duration::from_millis(ms));
    }
    shown.press(&["+", "="]);
    assert_eq!(shown.app.interval, Duration::from_millis(200));
}

#[test]
fn a_filter_is_asked_for_when_it_is_right() {
    let mut shown = Shown::after(2);
    assert_eq!(shown.press(&["/", "port:http", "enter"]), []);
    assert!(shown.screen().contains("“http” is no value for port:"));
    shown.press(&["backspace"; 4]);
    assert_eq!(shown.press(&["443", "enter"]), [Effect::Ask]);
    assert_eq!(shown.app.wanted().filter_text, "port:443");
    // Esc leaves it as it was.
    assert_eq!(shown.press(&["/", "x", "esc"]), []);
    assert_eq!(shown.app.wanted().filter_text, "port:443");
    shown.press(&["/"]);
    shown.press(&["backspace"; 8]);
    assert_eq!(shown.press(&["enter"]), [Effect::Ask]);
    assert!(shown.app.wanted().filter.is_empty());
}

#[test]
fn esc_closes_what_is_open_and_then_clears_the_filter() {
    let mut shown = Shown::after(2);
    shown.press(&["/", "comm:rsync", "enter"]);
    assert!(shown.screen().contains("filter comm:rsync (Esc clears)"));
    shown.press(&["enter"]);
    assert!(shown.screen().contains("filter comm:rsync ─"));
    assert_eq!(shown.press(&["esc"]), []);
    assert_eq!(shown.app.wanted().filter_text, "comm:rsync");
    assert_eq!(shown.press(&["esc"]), [Effect::Ask]);
    assert!(shown.app.wanted().filter.is_empty() && shown.app.wanted().filter_text.is_empty());
    assert_eq!(shown.press(&["esc"]), []);
}

#[test]
fn the_cursor_stays_on_its_row_while_others_pass_it() {
    let mut shown = Shown::after(1);
    shown.press(&["2", "j"]);
    let held = comm(&shown);
    for _ in 0..5 {
        shown.press(&["s"]);
        assert_eq!(comm(&shown), held);
        shown.pass(1);
        assert_eq!(comm(&shown), held);
    }
    shown.press(&["g"]);
    shown.pass(1);
    assert_eq!(shown.app.table().cursor, 0);
}

#[test]
fn a_row_is_opened_down_to_its_connection_and_back() {
    let mut shown = Shown::after(2);
    assert_eq!(shown.press(&["enter"]), [Effect::Ask]);
    assert_eq!(shown.app.wanted().views, [View::Procs, View::Conns, View::Syscalls]);
    assert!(matches!(&shown.app.trail[..], [Page::Group(page)] if page.conns.len() == 1));
    shown.press(&["enter"]);
    shown.pass(3);
    let Some(Page::Connection(page)) = shown.app.trail.last() else { panic!("a connection") };
    assert_eq!((page.title.as_str(), page.points.len()), ("tcp 10.0.0.1:40000 → 192.0.2.7:443", 4));
    assert!(page.events.last(9).any(|event| event.words == "3 segments retransmitted"));
    shown.press(&["esc"]);
    assert!(matches!(&shown.app.trail[..], [Page::Group(_)]));
    shown.press(&["right", "enter"]);
    shown.pass(1);
    assert!(matches!(&shown.app.trail[..], [_, Page::Call(page)] if page.heat.len() == 1));
    shown.press(&["esc", "esc"]);
    assert!(shown.app.trail.is_empty());
    // Another tab leaves what was open.
    shown.press(&["enter", "tab"]);
    assert!(shown.app.trail.is_empty());
}

#[test]
fn a_flow_is_opened_to_its_process() {
    let mut shown = Shown::after(2);
    shown.press(&[&tab(View::Flows).to_string()]);
    shown.pass(1);
    assert_eq!(shown.press(&["enter"]), []);
    assert!(shown.app.trail.is_empty() && shown.screen().contains("is known to own this flow"));
    let at = |view| View::ALL.iter().position(|other| *other == view).unwrap();
    let Rows::Procs(procs) = &shown.app.tables[at(View::Procs)].rows else {
        panic!("no processes")
    };
    let owner = procs[0].process.clone();
    let Rows::Flows(flows) = &mut shown.app.tables[at(View::Flows)].rows else {
        panic!("no flows")
    };
    flows.iter_mut().for_each(|flow| flow.owner = Some(owner.clone()));
    assert_eq!(shown.press(&["enter"]), [Effect::Ask]);
    let [Page::Group(page)] = &shown.app.trail[..] else { panic!("no process") };
    assert_eq!(page.group.title, format!("{} {}", owner.comm, owner.pid));
}

#[test]
fn an_interface_is_opened_to_its_rates() {
    let mut shown = Shown::after(2);
    shown.press(&["5", "enter"]);
    assert_eq!(shown.app.wanted().views, [View::Ifaces]);
    shown.pass(3);
    let Some(Page::Iface(page)) = shown.app.trail.last() else { panic!("an interface") };
    assert_eq!((page.row.interface.as_str(), page.points.len()), ("eth0", 4));
    assert!(page.points.newest().is_some_and(|point| point.drops == Some(0)));
    shown.server.is_idle = true;
    shown.pass(1);
    assert!(shown.screen().contains("gone"));
    shown.press(&["esc"]);
    assert!(shown.app.trail.is_empty());
}

#[test]
fn rates_are_smoothed_if_wanted_and_the_header_says_so() {
    let rate = |shown: &Shown| {
        let table = shown.app.table();
        let column = columns::find(table.view, "tx/s").unwrap();
        let total = columns::find(table.view, "tx_bytes").unwrap();
        (format!("{:?}", table.value(0, column)), format!("{:?}", table.value(0, total)))
    };
    let (mut plain, mut smooth) = (Shown::after(3), Shown::after(3));
    assert_eq!(smooth.press(&["a"]), [Effect::Ask]);
    assert!(smooth.app.wanted().smooth);
    for shown in [&mut plain, &mut smooth] {
        shown.pass(2);
    }
    assert_ne!(rate(&plain).0, rate(&smooth).0);
    assert_eq!(rate(&plain).1, rate(&smooth).1);
    assert_eq!(plain.app.totals.newest(), smooth.app.totals.newest());
    assert!(smooth.screen().contains(" rates smoothed "));
    smooth.press(&["a"]);
    smooth.pass(1);
    plain.pass(1);
    assert_eq!(rate(&plain), rate(&smooth));
    assert!(!smooth.screen().contains("smoothed"));
}

#[test]
fn rows_that_were_not_read_are_not_shown() {
    let mut shown = Shown::after(3);
    let mut picture = shown.server.picture();
    picture.frames.retain(|frame| frame.view == View::Procs);
    shown.take(picture);
    shown.press(&["2"]);
    assert!(shown.app.table().is_empty() && shown.screen().contains("reading"));
    shown.pass(1);
    assert!(!shown.app.table().is_empty() && !shown.screen().contains("reading"));
}

#[test]
fn another_tab_is_in_order_at_once() {
    let kinds = |shown: &Shown| -> Vec<String> {
        (0..4).map(|row| shown.app.table().cell(row, 2, shown.app.settings.units)).collect()
    };
    let (mut there, mut thence) = (Shown::after(3), Shown::after(2));
    there.press(&["7"]);
    thence.press(&["7"]);
    thence.pass(1);
    assert_eq!(kinds(&there), kinds(&thence));
}

#[test]
fn a_connection_that_closes_says_so_and_stays() {
    let mut shown = Shown::after(2);
    shown.press(&["enter", "enter"]);
    shown.server.is_idle = true;
    shown.pass(2);
    let screen = shown.screen();
    assert!(screen.contains("gone") && screen.contains("no longer there"), "{screen}");
}

#[test]
fn closed_connections_are_shown_if_wanted() {
    let mut shown = Shown::after(2);
    shown.press(&["2"]);
    let open = shown.app.table().len();
    shown.server.closed = vec![short_lived(1), short_lived(2)];
    shown.pass(1);
    assert_eq!(shown.app.table().len(), open);
    assert_eq!(shown.press(&["c"]), [Effect::Ask]);
    shown.pass(1);
    assert_eq!(shown.app.table().len(), open + 2);
    shown.pass(3);
    assert_eq!(shown.app.table().len(), open + 2);
    shown.press(&["c"]);
    shown.pass(1);
    assert_eq!(shown.app.table().len(), open);
}

#[test]
fn the_mouse_chooses_tabs_headers_and_rows() {
    let mut shown = Shown::after(2);
    shown.click(11, 0);
    assert_eq!(shown.app.view, View::Conns);
    let area = shown.app.areas().unwrap().body;
    let header = shown.app.table().placed(area.width)[2];
    shown.click(area.x + header.x, area.y);
    assert_eq!(shown.app.table().order.column, Some(header.column));
    shown.click(area.x + header.x, area.y);
    assert!(shown.app.table().order.reverse);
    shown.click(area.x, area.y + 2);
    assert_eq!(shown.app.table().cursor, 1);
    shown.mouse(MouseEventKind::ScrollDown, 5, 10);
    assert_eq!(shown.app.table().cursor, shown.app.table().len() - 1);
    shown.click(500, 500);
}

#[test]
fn a_row_is_copied() {
    let mut shown = Shown::after(2);
    let effects = shown.press(&["y"]);
    let [Effect::Copy(line)] = &effects[..] else { panic!("{effects:?}") };
    assert!(line.starts_with("4194305\trsync\t1000\t"), "{line}");
}

#[test]
fn the_palette_does_what_it_lists() {
    let mut shown = Shown::after(2);
    shown.press(&[":", "conns", "enter"]);
    assert_eq!(shown.app.view, View::Conns);
    shown.press(&[":", "theme mono", "enter"]);
    assert_eq!(shown.app.settings.theme, crate::tui::theme::Theme::mono());
    assert_eq!(shown.press(&[":", "quit", "enter"]), [Effect::Quit]);
}

#[test]
fn single_events_are_those_of_what_is_open() {
    let mut shown = Shown::after(3);
    shown.server.socket_events.push(connected(1));
    shown.server.drop_events.push(dropped(DropKind::Packet, 2));
    shown.server.drop_events.push(dropped(DropKind::ResetSent, 3));
    let mut elsewhere = dropped(DropKind::ResetSent, 4);
    elsewhere.flow.source_port += 1;
    shown.server.drop_events.push(elsewhere);
    shown.pass(1);
    shown.press(&["2", "/", "dport:443", "enter"]);
    shown.server.narrow("dport:443");
    shown.pass(1);
    assert_eq!(shown.press(&["enter"]), [Effect::Ask]);
    shown.pass(1);
    let kinds = |shown: &Shown| match shown.app.trail.last() {
        Some(Page::Connection(page)) => page.singles.iter().map(EventRow::kind).collect(),
        Some(Page::Drops(page)) => page.newest_first().map(EventRow::kind).collect(),
        _ => Vec::new(),
    };
    assert_eq!(kinds(&shown), [EventKind::Connect, EventKind::Drop, EventKind::Reset]);

    // What was prepared for another page isn't taken.
    let key = tab(View::Drops).to_string();
    shown.press(&["esc", "esc", &key]);
    let late = shown.server.picture();
    shown.press(&["G", "enter"]);
    assert!(kinds(&shown).is_empty());
    shown.take(late);
    shown.press(&["j", "G", "g"]);
    shown.pass(1);
    let Some(Page::Drops(page)) = shown.app.trail.last() else { panic!("no page") };
    assert!(page.singles.is_some() && page.offset == 0 && !page.is_gone);
}

//! Every view at every size, and all that can lie over or below it.

use super::fixtures::{Shown, connected, dropped};
use crate::cli::{DashboardArgs, ProcessArgs, SocketArgs};
use crate::model::{Detail, DropEventRow, View};
use crate::sample::{DropKind, Losses};
use crate::tui::app::{Message, TABS, tab, update};
use crate::tui::pages::Page;
use crate::tui::scope::Scope;

const SIZES: [(u16, u16); 4] = [(80, 24), (200, 50), (60, 15), (30, 8)];

fn at(view: View) -> Shown {
    let mut shown = Shown::after(12);
    let key = tab(view).to_string();
    shown.press(&[&key]);
    shown
}

/// The same at several sizes.
fn screens(sizes: &[(u16, u16)], shown: impl Fn() -> Shown) -> String {
    let screen = |size: &(u16, u16)| {
        let screen = shown().resized(*size).screen();
        format!("{}×{}\n{screen}\n{}", size.0, size.1, "=".repeat(size.0.into()))
    };
    sizes.iter().map(screen).collect::<Vec<_>>().join("\n")
}

macro_rules! views {
    ($($name:ident: $view:expr,)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(screens(&SIZES, || at($view)));
            }
        )*
    };
}

views! {
    procs: View::Procs,
    conns: View::Conns,
    hosts: View::Hosts,
    containers: View::Containers,
    ifaces: View::Ifaces,
    listeners: View::Listeners,
    syscalls: View::Syscalls,
    drops: View::Drops,
    flows: View::Flows,
}

#[test]
fn before_the_first_picture() {
    insta::assert_snapshot!(Shown::after(0).screen());
}

#[test]
fn empty() {
    let all = TABS.map(|view| {
        let mut shown = Shown::after(0);
        shown.server.is_idle = true;
        shown.pass(3);
        shown.press(&[&tab(view).to_string()]);
        shown.resized((60, 15)).screen()
    });
    insta::assert_snapshot!(all.join("\n============\n"));
}

#[test]
fn losses_and_missing_hooks() {
    insta::assert_snapshot!(screens(&[(80, 24), (200, 20)], || {
        let mut shown = Shown::after(2);
        shown.server.losses = Losses(vec![("close_ring", 3), ("usage_table", 120), ("x", 0)]);
        shown.app.missing = vec!["bytes of UDP".to_owned()];
        shown.pass(1);
        shown
    }));
}

#[test]
fn losses_are_explained() {
    let mut shown = Shown::after(2);
    shown.press(&["L"]);
    let nothing = shown.screen();
    shown.server.losses =
        Losses(vec![("close_ring", 3), ("hook_reentered", 120), ("closed_unlisted", 7), ("x", 0)]);
    shown.pass(1);
    let some = shown.screen();
    shown.press(&["G", "esc", "?", "G"]);
    let in_help = shown.screen();
    let narrow = shown.resized((40, 10)).screen();
    insta::assert_snapshot!([nothing, some, in_help, narrow].join("\n============\n"));
}

#[test]
fn paused_and_filtered() {
    insta::assert_snapshot!(screens(&[(80, 24), (40, 10)], || {
        let mut shown = Shown::after(3);
        shown.press(&["2", "/", "comm:rsync", "enter"]);
        shown.server.narrow("comm:rsync");
        shown.pass(2);
        shown.press(&[" "]);
        shown.pass(2);
        shown
    }));
}

#[test]
fn a_filter_that_does_not_apply() {
    let mut shown = Shown::after(3);
    shown.press(&["7", "/", "port:443", "enter"]);
    insta::assert_snapshot!(shown.screen());
}

#[test]
fn typing_a_filter() {
    let mut shown = Shown::after(3);
    shown.press(&["/"]);
    let empty = shown.screen();
    shown.press(&["prot:tcp"]);
    let wrong = shown.screen();
    shown.press(&["backspace"; 8]);
    shown.press(&[
        "comm:a_very_long_name_that_goes_on_and_on_and_on_and_on_and_on_and_on_to_the_end",
    ]);
    let right = shown.screen();
    insta::assert_snapshot!([empty, wrong, right].join("\n============\n"));
}

#[test]
fn the_palette() {
    let mut shown = Shown::after(3);
    shown.press(&[":"]);
    let all = shown.screen();
    shown.press(&["sort"]);
    let some = shown.screen();
    shown.press(&["zzz"]);
    let none = shown.resized((40, 10)).screen();
    insta::assert_snapshot!([all, some, none].join("\n============\n"));
}

#[test]
fn help() {
    let all = TABS.map(|view| {
        let mut shown = at(view);
        shown.press(&["?"]);
        shown.resized((80, 40)).screen()
    });
    insta::assert_snapshot!(all.join("\n============\n"));
}

#[test]
fn help_is_scrolled() {
    let mut shown = Shown::after(3);
    shown.press(&["?", "G"]);
    insta::assert_snapshot!(shown.screen());
}

#[test]
fn a_process() {
    insta::assert_snapshot!(screens(&SIZES[..3], || {
        let mut shown = Shown::after(3);
        shown.press(&["enter"]);
        shown.pass(2);
        shown
    }));
}

#[test]
fn a_host() {
    let mut shown = Shown::after(3);
    shown.press(&["3", "enter"]);
    insta::assert_snapshot!(shown.screen());
}

#[test]
fn a_connection() {
    insta::assert_snapshot!(screens(&SIZES[..3], || {
        let mut shown = Shown::after(3);
        shown.press(&["enter", "enter"]);
        shown.pass(19);
        shown.server.socket_events.push(connected(20));
        shown.server.drop_events.push(dropped(DropKind::Retransmit, 21));
        shown.pass(1);
        shown
    }));
}

#[test]
fn drops_of_a_reason() {
    insta::assert_snapshot!(screens(&SIZES[..3], || {
        let mut shown = Shown::after(3);
        let key = tab(View::Drops).to_string();
        shown.press(&[&key]);
        shown.pass(1);
        shown.press(&["j", "j", "enter"]);
        shown.server.drop_events.extend([1, 2].map(|at| dropped(DropKind::Retransmit, at)));
        shown.pass(1);
        let Some(Page::Drops(page)) = shown.app.trail.last_mut() else { panic!("no page") };
        let singles = page.singles.as_mut().unwrap();
        assert_eq!(singles.len(), 2);
        let stack = ["tcp_v4_rcv+0x91", "ip_protocol_deliver_rcu+0x33", "ip_local_deliver+0x12"];
        singles[1].detail = Detail::Drop(Box::new(DropEventRow {
            time: singles[1].time,
            reason: None,
            function: None,
            offset: 0,
            proto: None,
            flow: None,
            length: Some(60),
            interface: Some("eth0".to_owned()),
            netns: None,
            context: None,
            process: None,
            stack: stack.map(str::to_owned).to_vec(),
        }));
        shown
    }));
}

#[test]
fn a_connection_without_figures_of_tcp() {
    let mut shown = Shown::after(3);
    shown.press(&["2", "j", "enter"]);
    shown.pass(5);
    insta::assert_snapshot!(shown.screen());
}

#[test]
fn an_interface() {
    insta::assert_snapshot!(screens(&SIZES[..3], || {
        let mut shown = Shown::after(3);
        shown.press(&["5", "enter"]);
        shown.pass(20);
        shown
    }));
}

#[test]
fn a_scope() {
    let of = |view: View| {
        let mut shown = at(view);
        let args = DashboardArgs {
            processes: ProcessArgs { pids: vec![4_194_305], ..ProcessArgs::default() },
            sockets: SocketArgs { netns: Some("blue".to_owned()), ..SocketArgs::default() },
            ..DashboardArgs::default()
        };
        shown.app.settings.scope = Scope::of(&args, "");
        shown
    };
    let all = [View::Procs, View::Ifaces, View::Syscalls, View::Drops];
    let mut all: Vec<String> = all.map(|view| of(view).resized((80, 10)).screen()).to_vec();
    let mut ended = of(View::Hosts);
    ended.server.is_idle = true;
    ended.app.scope_ended = true;
    ended.pass(2);
    ended.press(&["a"]);
    all.extend([(100, 12), (40, 10)].map(|size| {
        update(&mut ended.app, Message::Resize(size.0, size.1));
        ended.screen()
    }));
    insta::assert_snapshot!(all.join("\n============\n"));
}

#[test]
fn a_system_call() {
    insta::assert_snapshot!(screens(&SIZES[..3], || {
        let mut shown = Shown::after(3);
        shown.press(&["enter", "right", "enter"]);
        shown.pass(20);
        shown
    }));
}

#[test]
fn nothing_panics_at_any_size() {
    let paths: [&[&str]; 11] = [
        &[],
        &["enter"],
        &["enter", "enter"],
        &["enter", "right", "enter"],
        &["4"],
        &["?"],
        &["L"],
        &["5", "enter"],
        &[":"],
        &["/", "prot:x"],
        &["2", "c", "G"],
    ];
    for path in paths {
        let mut shown = Shown::after(2);
        shown.press(path);
        shown.pass(2);
        for width in (1..130).step_by(13) {
            for height in (1..14).chain([16, 24, 40]) {
                shown = shown.resized((width, height));
                shown.screen();
            }
        }
    }
}

//! The dashboard as a user has it: the real binary in a pseudo-terminal, as root, and the screen read back
//! by a terminal emulator.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pty;
mod screenshot;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod transfer;

use pty::Program;
use support::B4;
use transfer::Transfer;

const TITLES: [&str; 9] =
    ["procs", "conns", "hosts", "containers", "ifaces", "listeners", "syscalls", "drops", "flows"];

#[test]
fn from_the_tabs_down_to_a_connection_and_its_process() {
    let transfer = Transfer::start();
    let mut program = Program::start((100, 30));
    program.wait_for(&["─ procs  ", "RX/s", "every 1s"]);
    for (number, title) in TITLES.iter().enumerate() {
        program.press(&(number + 1).to_string());
        program.wait_for(&[&format!("─ {title}  ")]);
    }
    program.press("\t");
    program.wait_for(&["─ procs  "]);

    program.press(&format!("2/netns:{}\r", transfer.pair.a));
    program.wait_for(&["─ conns  1 row,", "filter netns:", B4, "MiB"]);
    program.press("\r");
    let title = format!("conns › tcp {} → {}", transfer.client, transfer.server);
    program.wait_for(&[&title, "ESTAB", "SRTT", "CWND", "delivered", "LIMIT", "TX/s"]);

    program.press("\x1b");
    program.wait_for(&["─ conns  1 row,"]);
    program.press("1\r");
    let pid = std::process::id().to_string();
    program.wait_for(&["─ procs › ", &pid, "connections 1", "system calls", B4]);
    // Into the calls, of which there are those that send and receive.
    program.press("l\r");
    program.wait_for(&["calls", "over time", "P99"]);
    program.press("q");
    assert_eq!(program.wait().code(), Some(0));
    program.assert_given_back();
}

#[test]
fn a_scope_narrows_what_is_looked_at_and_is_shown() {
    let transfer = Transfer::start();
    let pid = std::process::id().to_string();
    let netns = transfer.pair.a.as_str();
    let mut program = Program::start_with((120, 30), |command| {
        command.args(["conns", "0.2", "-p", &pid, "--netns", netns, "host:203.0.113.1"])
    });
    let only = format!("only -p {pid} --netns");
    program.wait_for(&["─ conns  0 rows", &only, "filter host:203.0.113.1", "every 200ms"]);
    // The filter goes, the scope stays.
    program.press("\x1b");
    program.wait_for(&["─ conns  1 row,", &only, B4]);
    // Of the interfaces it is those of the namespace.
    program.press("5");
    program.wait_for(&["only --netns", &format!("-p {pid}"), "doesn't apply here", "lo "]);
    assert!(!program.screen().contains("eth0"));
    program.press("\r");
    program.wait_for(&["ifaces › ", "RX packets/s", "drops", "programs on it"]);
    program.press("a");
    program.wait_for(&["rates smoothed"]);
    program.press("q");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn the_end_of_a_scope_is_told() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = child.id().to_string();
    let mut program = Program::start_with((100, 24), |command| command.args(["0.1", "-p", &pid]));
    program.wait_for(&["nothing here is in the scope", &format!("only -p {pid} ")]);
    child.kill().unwrap();
    child.wait().unwrap();
    program.wait_for(&["all processes of -p have ended"]);
    program.press("q");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_scope_that_is_not_there_is_refused_at_once() {
    for (args, message) in [
        (&["-p", "4194305"][..], "there is no process 4194305"),
        (&["-i", "nonesuch0"], "there is no interface nonesuch0; there are"),
        (&["conns", "-i", "lo"], "-i goes with the views ifaces"),
        (&["conns", "1", "5"], "takes COUNT"),
        (&["syscals"], "did you mean syscalls?"),
        (&["-p", "1", "top"], "write a command's flags after it"),
    ] {
        let mut program = Program::start_with((200, 24), |command| command.args(args));
        assert_eq!(program.wait().code(), Some(2), "{args:?}");
        program.wait_for(&[message]);
    }
}

#[test]
fn help_and_palette_come_and_go() {
    let mut program = Program::start((80, 24));
    program.wait_for(&["─ procs  "]);
    program.press("?");
    program.wait_for(&["Processes: who sends and receives", "Esc closes"]);
    program.press("\x1b");
    program.wait_until("table", |screen| !screen.contents().contains("Esc closes"));
    program.press(":theme mono\r");
    program.wait_until("colourless screen", |screen| !screen.contents().contains("╭"));
    program.press(":quit\r");
    assert_eq!(program.wait().code(), Some(0));
}

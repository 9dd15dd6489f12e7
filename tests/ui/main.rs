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

const TITLES: [&str; 7] =
    ["procs", "conns", "hosts", "containers", "ifaces", "listeners", "syscalls"];

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

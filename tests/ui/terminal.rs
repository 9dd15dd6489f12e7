//! The terminal: given back at every end, and what becomes of one that won't do.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::pty::Program;

fn shown() -> Program {
    let program = Program::start((80, 24));
    program.wait_for(&["─ procs  ", "every 1s"]);
    program
}

#[test]
fn it_comes_back_whatever_key_ends_it() {
    for key in ["q", "\x03", "?\x03", "/abc\x03"] {
        let mut program = shown();
        program.press(key);
        assert_eq!(program.wait().code(), Some(0), "{key:?}");
        program.assert_given_back();
    }
}

#[test]
fn no_file_of_packets_is_written_to_it() {
    for source in [&["-i", "lo"][..], &["-r", "/dev/null"]] {
        let mut program = Program::start_with((100, 24), |command| {
            command.args(["capture", "-w", "-"]).args(source)
        });
        assert_eq!(program.wait().code(), Some(2), "{source:?}");
        program.wait_for(&["nettrace: stdout is a terminal"]);
    }
}

#[test]
fn it_comes_back_after_signals() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut program = shown();
        program.signal(signal);
        assert_eq!(program.wait().code(), Some(0), "{signal}");
        program.assert_given_back();
    }
}

#[cfg(debug_assertions)]
#[test]
fn it_comes_back_after_a_panic_which_is_told() {
    for thread in ["drawing", "collector"] {
        let mut program =
            Program::start_with((80, 24), |command| command.env("NETTRACE_TEST_PANIC", thread));
        assert!(program.wait().code().is_some_and(|code| code != 0), "{thread}");
        program.assert_given_back();
        program.wait_for(&["told to panic"]);
    }
}

#[test]
fn it_comes_back_around_ctrl_z_and_fg() {
    let mut program = shown();
    for _ in 0..2 {
        program.press("\x1a");
        let stopped = waitpid(program.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
        program.assert_given_back();
        program.signal(Signal::SIGCONT);
        program.wait_until("screen", vt100::Screen::alternate_screen);
        program.wait_for(&["─ procs  ", "every 1s"]);
    }
    program.press("q");
    assert_eq!(program.wait().code(), Some(0));
    program.assert_given_back();
}

#[test]
fn any_size_will_do() {
    let mut program = shown();
    program.resize((30, 8));
    program.wait_for(&["nettrace needs more room", "30×8, wants 40×10"]);
    program.resize((160, 45));
    program.wait_for(&["─ procs  ", "every 1s", "nettrace on"]);
    program.resize((60, 15));
    program.wait_for(&["─ procs  ", "every 1s"]);
    program.press("q");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn without_colour_there_is_none() {
    let is_coloured = |program: Program| {
        program.wait_for(&["─ procs  ", "every 1s"]);
        program.is_coloured()
    };
    assert!(is_coloured(Program::start((80, 24))));
    assert!(!is_coloured(Program::start_with((80, 24), |command| command.env("NO_COLOR", "1"))));
    assert!(!is_coloured(Program::start_with((80, 24), |command| command.arg("--no-color"))));
}

#[test]
fn a_terminal_that_cannot_place_a_cursor_is_refused() {
    let mut program = Program::start_with((80, 24), |command| command.env("TERM", "dumb"));
    assert_eq!(program.wait().code(), Some(2));
    program.wait_for(&["TERM=dumb", "nettrace top"]);
}

#[test]
fn a_wrong_configuration_is_refused_by_line_and_key() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("nettrace")).unwrap();
    let file = home.path().join("nettrace/config.toml");
    fs::write(&file, "view = \"conns\"\n[keys]\nquit = \"longword\"\n").unwrap();
    let start =
        || Program::start_with((200, 24), |command| command.env("XDG_CONFIG_HOME", home.path()));
    let mut program = start();
    assert_eq!(program.wait().code(), Some(2));
    program.wait_for(&["config.toml:3: keys.quit: “longword” is no key"]);

    fs::write(&file, "view = \"conns\"\ninterval = 0.5\n[keys]\nquit = \"x\"\n").unwrap();
    let mut program = start();
    program.wait_for(&["─ conns  ", "every 500ms", "x quit"]);
    program.press("q");
    std::thread::sleep(Duration::from_millis(100));
    program.press("x");
    assert_eq!(program.wait().code(), Some(0));
}

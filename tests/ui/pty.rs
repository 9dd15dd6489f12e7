//! The program in a pseudo-terminal, and the screen that a user would see.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::support::nettrace;

/// Loading may take its time on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// nettrace in a terminal of its own.
pub(crate) struct Program {
    child: Child,
    master: File,
    slave: OwnedFd,
    parser: Arc<Mutex<vt100::Parser>>,
    before: Termios,
}

impl Program {
    /// In that many columns and lines.
    pub(crate) fn start(size: (u16, u16)) -> Self {
        Program::start_with(size, |command| command)
    }

    /// The same, started as `change` says.
    pub(crate) fn start_with(
        size: (u16, u16),
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let window = winsize(size);
        let pty = openpty(&window, None).expect("a pseudo-terminal");
        let before = tcgetattr(&pty.slave).expect("its modes");
        let stdio = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        let home = std::env::temp_dir().join("nettrace-ui-without-configuration");
        let mut command = nettrace();
        command
            .env("TERM", "xterm-256color")
            .env("XDG_CONFIG_HOME", home)
            .env("RUST_BACKTRACE", "0");
        command.env_remove("COLORFGBG");
        change(&mut command);
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        // SAFETY: setsid() and ioctl() are safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("start nettrace");
        let master = File::from(pty.master);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(some(size.1), some(size.0), 0)));
        let screen = Arc::clone(&parser);
        let mut output = master.try_clone().expect("a descriptor");
        // Ends when all descriptors of the other side are closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                screen.lock().unwrap().process(&bytes[..read]);
            }
        });
        Program { child, master, slave: pty.slave, parser, before }
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("type");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signal nettrace");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn resize(&self, size: (u16, u16)) {
        self.parser.lock().unwrap().screen_mut().set_size(some(size.1), some(size.0));
        // SAFETY: TIOCSWINSZ reads a winsize.
        let done = unsafe { libc::ioctl(self.slave.as_raw_fd(), libc::TIOCSWINSZ, &winsize(size)) };
        assert_eq!(done, 0, "resize the terminal");
    }

    pub(crate) fn with_screen<T>(&self, look: impl Fn(&vt100::Screen) -> T) -> T {
        look(self.parser.lock().unwrap().screen())
    }

    pub(crate) fn screen(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until the screen has all of these.
    pub(crate) fn wait_for(&self, words: &[&str]) {
        self.wait_until(&format!("{words:?}"), |screen| {
            let contents = screen.contents();
            words.iter().all(|word| contents.contains(word))
        });
    }

    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self.parser.lock().unwrap().screen()) {
            assert!(Instant::now() < deadline, "no {what} on\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether any cell has a colour.
    pub(crate) fn is_coloured(&self) -> bool {
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        let (lines, columns) = screen.size();
        let (lines, columns) = (lines.get(), columns.get());
        let cells = (0..lines).flat_map(|line| (0..columns).map(move |column| (line, column)));
        cells.filter_map(|(line, column)| screen.cell(line, column)).any(|cell| {
            cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default
        })
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for nettrace") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on, with\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything is as it was before the program came.
    pub(crate) fn assert_given_back(&self) {
        self.wait_until("screen of before", |screen| {
            !screen.alternate_screen()
                && !screen.hide_cursor()
                && !screen.bracketed_paste()
                && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
        });
        assert_eq!(tcgetattr(self.slave.as_fd()).expect("its modes"), self.before);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn some(size: u16) -> NonZero<u16> {
    NonZero::new(size).expect("a size")
}

fn winsize((columns, lines): (u16, u16)) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

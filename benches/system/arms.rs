//! What watches while the load runs: nothing, nettrace, or a peer.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::empty::Empty;
use crate::machine::{OBSERVER_CPU, pin};
use crate::support::{Pair, nettrace};

/// The slowest peer needs this long until it captures.
pub(crate) const SETTLE: Duration = Duration::from_millis(800);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    Nothing,
    /// The same once more: their difference is the noise.
    NothingAgain,
    /// Programs that do nothing on nettrace's per-call hooks.
    Empty,
    Nettrace,
    /// Programs that do nothing at the interface's ingress and egress.
    EmptyTcx,
    Flows,
    Nethogs,
    Iftop,
    Bandwhich,
    Tcpdump,
}

impl Arm {
    pub(crate) const COUNT: usize = Arm::Tcpdump as usize + 1;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Arm::Nothing => "nothing",
            Arm::NothingAgain => "nothing again",
            Arm::Empty => "empty programs",
            Arm::Nettrace => "nettrace top procs",
            Arm::EmptyTcx => "empty tcx programs",
            Arm::Flows => "nettrace top flows",
            Arm::Nethogs => "nethogs",
            Arm::Iftop => "iftop",
            Arm::Bandwhich => "bandwhich",
            Arm::Tcpdump => "tcpdump",
        }
    }

    /// The command, or none where nothing runs.
    fn command(self, pair: &Pair) -> Option<Command> {
        let inside = |program: PathBuf| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &pair.b]).arg(program);
            command
        };
        Some(match self {
            Arm::Nothing | Arm::NothingAgain | Arm::Empty | Arm::EmptyTcx => return None,
            Arm::Nettrace => {
                let mut command = nettrace();
                let pid = std::process::id().to_string();
                command.args(["top", "procs", "1", "0", "-O", "ndjson", "-p", &pid]);
                command
            }
            Arm::Flows => {
                let mut command = nettrace();
                command.args(["top", "flows", "1", "0", "-i", "v1", "--netns", &pair.b]);
                command.args(["-O", "ndjson"]);
                command
            }
            Arm::Nethogs => {
                let mut command = inside(find("nethogs")?);
                command.args(["-t", "-C", "v1"]);
                command
            }
            Arm::Iftop => {
                let mut command = inside(find("iftop")?);
                command.args(["-t", "-n", "-N", "-P", "-i", "v1"]);
                command
            }
            Arm::Bandwhich => {
                let mut command = inside(find("bandwhich")?);
                command.args(["--raw", "--no-resolve", "--interface", "v1"]);
                command
            }
            Arm::Tcpdump => {
                let mut command = inside(find("tcpdump")?);
                command.args(["-i", "v1", "-n", "-w", "/dev/null"]);
                command
            }
        })
    }

    fn is_peer(self) -> bool {
        matches!(self, Arm::Nethogs | Arm::Iftop | Arm::Bandwhich | Arm::Tcpdump)
    }

    pub(crate) fn is_missing(self) -> bool {
        self.is_peer() && find(self.name()).is_none()
    }

    /// Starts it and waits until it watches.
    pub(crate) fn start(self, pair: &Pair) -> Running {
        let observer = self
            .command(pair)
            .map(|command| Observer::start(command, Stdio::null(), Stdio::null()));
        let empty = match self {
            Arm::Empty => Some(Empty::attach(&["sock_send_length", "sock_recv_length"])),
            Arm::EmptyTcx => Some(Empty::attach_tcx(&pair.b, "v1")),
            _ => None,
        };
        thread::sleep(SETTLE);
        Running { arm: self, observer, _empty: empty }
    }
}

/// What watches, for as long as its scope.
pub(crate) struct Running {
    arm: Arm,
    observer: Option<Observer>,
    _empty: Option<Empty>,
}

impl Running {
    /// Ends it. False if it had given up by itself, as nethogs does now and then; what was measured beside it is of
    /// nothing then.
    pub(crate) fn end(mut self) -> bool {
        let gave_up = |observer: &mut Observer| self.arm.is_peer() && observer.has_ended();
        if !self.observer.as_mut().is_some_and(gave_up) {
            return true;
        }
        println!("  {} gave up, and is measured again", self.arm.name());
        std::mem::forget(self.observer.take());
        false
    }
}

/// A process on the observers' CPU that ends with its scope, by Ctrl-C.
pub(crate) struct Observer {
    pub(crate) child: Child,
    /// Its words, to name it by.
    words: String,
}

impl Observer {
    pub(crate) fn start(mut command: Command, stdout: Stdio, stderr: Stdio) -> Self {
        // SAFETY: sched_setaffinity is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                pin(0, OBSERVER_CPU);
                Ok(())
            });
        }
        let command = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Observer {
            child: command.spawn().expect("start an observer"),
            words: format!("{command:?}"),
        }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        assert!(!self.has_ended(), "ended too early: {}", self.words);
        let child = &mut self.child;
        let pid = Pid::from_raw(child.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("end the observer");
        for _ in 0..400 {
            if child.try_wait().expect("wait").is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        child.kill().expect("kill the observer");
        child.wait().expect("wait");
    }
}

/// A peer on the PATH, or built by `make bench` into target/peers.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([built, PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

//! A command that is held before its first instruction until everything is attached.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

/// What a shell says of a command that can't be executed, and of one that isn't there.
const CANNOT_EXECUTE: i32 = 126;
const NOT_FOUND: i32 = 127;
/// What a shell adds to the signal that ended a command.
const BY_SIGNAL: i32 = 128;

/// A forked child that waits to become the command.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    gate: Option<File>,
    failure: File,
    name: String,
    reaped: bool,
}

/// The command couldn't be executed; the status is what a shell would exit with.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct NotExecuted {
    name: String,
    error: std::io::Error,
    /// 126 or 127.
    pub status: i32,
}

impl Child {
    /// Forks. Has to be called while the process has one thread.
    ///
    /// # Errors
    /// Where the operating system has no more processes or descriptors.
    pub(crate) fn hold(command: &[OsString]) -> Result<Self> {
        let name = command.first().map(|name| name.to_string_lossy().into_owned());
        let name = name.context("no command")?;
        let argv: Vec<CString> = command
            .iter()
            .map(|arg| CString::new(arg.as_bytes()).context("a NUL byte in the command"))
            .collect::<Result<_>>()?;
        let (gate_out, gate_in) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        let (failure_out, failure_in) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        // SAFETY: one thread, so the child may run what it likes; it only waits and executes.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Child => {
                drop((gate_in, failure_out));
                become_command(File::from(gate_out), File::from(failure_in), &argv)
            }
            ForkResult::Parent { child } => {
                drop((gate_out, failure_in));
                Ok(Child {
                    pid: child,
                    pidfd: open_pidfd(child.as_raw().cast_unsigned())
                        .context("watch the command (pidfd_open)")?,
                    gate: Some(File::from(gate_in)),
                    failure: File::from(failure_out),
                    name,
                    reaped: false,
                })
            }
        }
    }

    /// Its process id, which is the command's.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Readable when the command ended.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Lets it execute.
    ///
    /// # Errors
    /// [`NotExecuted`] where the command isn't there or may not be executed.
    pub(crate) fn release(&mut self) -> Result<()> {
        if let Some(mut gate) = self.gate.take() {
            gate.write_all(&[1]).context("start the command")?;
        }
        let mut errno = [0; 4];
        if self.failure.read(&mut errno).context("start the command")? == errno.len() {
            let errno = i32::from_ne_bytes(errno);
            let status = if errno == libc::ENOENT { NOT_FOUND } else { CANNOT_EXECUTE };
            let error = std::io::Error::from_raw_os_error(errno);
            return Err(NotExecuted { name: self.name.clone(), error, status }.into());
        }
        Ok(())
    }

    /// Passes a signal on.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended; that shows on its own.
        let _ = signal::kill(self.pid, signal);
    }

    /// Waits for its end and returns what a shell would return.
    ///
    /// # Errors
    /// Where somebody else waited for it.
    pub(super) fn wait(&mut self) -> Result<i32> {
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::empty())) {
                Ok(WaitStatus::Exited(_, status)) => {
                    self.reaped = true;
                    return Ok(status);
                }
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    self.reaped = true;
                    return Ok(BY_SIGNAL + signal as i32);
                }
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error).context("wait for the command"),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Held back still: the closed gate ends it. One that runs is not ours to end.
        let was_held = self.gate.take().is_some();
        if was_held && !self.reaped {
            let _ = self.wait();
        }
    }
}

fn become_command(mut gate: File, mut failure: File, argv: &[CString]) -> ! {
    let mut go = [0];
    if gate.read(&mut go).is_ok_and(|read| read == 1) {
        // Rust ignores SIGPIPE; commands expect it.
        // SAFETY: the default disposition runs no handler.
        let _ = unsafe { signal::signal(Signal::SIGPIPE, signal::SigHandler::SigDfl) };
        if let Some(program) = argv.first()
            && let Err(errno) = nix::unistd::execvp(program, argv)
        {
            let _ = failure.write_all(&(errno as i32).to_ne_bytes());
        }
    }
    // SAFETY: ends the child at once, without the parent's clean-up.
    unsafe { libc::_exit(NOT_FOUND) }
}

/// A descriptor that is readable when the process ends.
pub(crate) fn open_pidfd(pid: u32) -> nix::Result<OwnedFd> {
    // SAFETY: pidfd_open(pid, 0) returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(i32::try_from(fd).unwrap_or(-1))?;
    // SAFETY: a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

//! What `system` and `cat` bring.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// What a shell and its commands write, errors among it.
///
/// # Errors
/// If there is no shell, or it ends with another status than 0.
pub(super) fn system(command: &[u8]) -> io::Result<Vec<u8>> {
    let (mut output, input) = io::pipe()?;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(OsStr::from_bytes(command)).stdout(input.try_clone()?).stderr(input);
    let mut child = shell.spawn()?;
    // It has the pipe's other ends, and would keep them open.
    drop(shell);
    let mut text = Vec::new();
    output.read_to_end(&mut text)?;
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(text),
        Some(code) => Err(io::Error::other(format!("command exited with code {code}"))),
        None => Err(io::Error::other("child process did not exit normally")),
    }
}

/// A file's beginning.
///
/// # Errors
/// If it can't be read.
pub(super) fn cat(path: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read =
        File::open(OsStr::from_bytes(path)).and_then(|file| file.take(most).read_to_end(&mut text));
    read.map(|_| text).map_err(|error| {
        let path = String::from_utf8_lossy(path);
        let why = super::errors::errno_text(-i64::from(error.raw_os_error().unwrap_or_default()));
        io::Error::other(format!("failed to open file '{path}' ({why})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_run() {
        assert_eq!(system(b"echo a; echo b >&2").unwrap(), b"a\nb\n");
        assert_eq!(system(b"exit 3").unwrap_err().to_string(), "command exited with code 3");
        assert!(system(b"kill -9 $$").is_err());
    }

    #[test]
    fn files_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "abcdef").unwrap();
        assert_eq!(cat(path.as_os_str().as_bytes(), 4).unwrap(), b"abcd");
        let error = cat(b"/nonexistent/x", 4).unwrap_err();
        let why = "failed to open file '/nonexistent/x' (No such file or directory)";
        assert_eq!(error.to_string(), why);
    }
}

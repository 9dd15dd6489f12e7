//! Where output goes: stdout, a file that is made anew, or something that is there and is no file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Bytes on their way to one place.
pub struct Sink {
    out: BufWriter<Box<dyn Write>>,
    /// A file that gets its name only when it is whole.
    partial: Option<Partial>,
}

struct Partial {
    path: PathBuf,
    becomes: PathBuf,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already if it was finished.
        let _ = fs::remove_file(&self.path);
    }
}

impl Sink {
    /// Standard output.
    pub fn stdout() -> Self {
        Sink::of(Box::new(io::stdout()), None)
    }

    /// A new file of mode 0600. With `whole` it has its name only from [`Sink::finish`] on, so that
    /// half a document is never taken for one.
    ///
    /// # Errors
    /// Where there is a file already (unless `force`), or it can't be made.
    pub fn file(path: &Path, force: bool, whole: bool) -> Result<Self> {
        let doing = || format!("write to {}", path.display());
        if let Ok(meta) = fs::metadata(path) {
            let kind = meta.file_type();
            if kind.is_char_device() || kind.is_fifo() {
                let device = OpenOptions::new().write(true).open(path).with_context(doing)?;
                return Ok(Sink::of(Box::new(device), None));
            }
            if !force {
                bail!("{} exists; --force overwrites it", path.display());
            }
        }
        if !whole {
            let file = create(path, force).with_context(doing)?;
            return Ok(Sink::of(Box::new(file), None));
        }
        let name = path.file_name().with_context(doing)?.to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let file = create(&partial, true).with_context(doing)?;
        let partial = Partial { path: partial, becomes: path.to_owned() };
        Ok(Sink::of(Box::new(file), Some(partial)))
    }

    fn of(out: Box<dyn Write>, partial: Option<Partial>) -> Self {
        Sink { out: BufWriter::new(out), partial }
    }

    /// Flushes, and gives a whole file its name.
    ///
    /// # Errors
    /// What the operating system says, a full disk among it.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        match &self.partial {
            Some(partial) => fs::rename(&partial.path, &partial.becomes),
            None => Ok(()),
        }
    }
}

fn create(path: &Path, force: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_whole_file_has_its_name_only_when_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        let mut sink = Sink::file(&path, false, true).unwrap();
        sink.write_all(b"{}").unwrap();
        sink.flush().unwrap();
        assert!(!path.exists());
        sink.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_one_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::file(&dir.path().join("out.json"), false, true).unwrap();
        sink.write_all(b"{").unwrap();
        drop(sink);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_file_is_kept_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        fs::write(&path, "old").unwrap();
        let error = Sink::file(&path, false, false).err().unwrap();
        assert!(error.to_string().ends_with("out.csv exists; --force overwrites it"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        Sink::file(&path, true, false).unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}

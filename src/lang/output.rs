//! Messages and maps → what the user reads: bpftrace's text to the byte, or JSON lines.
//!
//! Where maps are, and when messages come, is the runtime's affair ([`Maps`]).

use std::io::{self, Write};

use super::config::Config;
use super::program::{Action, Program};
use super::source::Sources;

/// Where maps' entries are had from, and changed: the kernel; in tests a table.
pub trait Maps {
    /// All entries, keys and values. A per-CPU map's value is one CPU's behind the other's, each rounded up to 8
    /// bytes. `map` is the place in [`Program::maps`].
    ///
    /// # Errors
    /// What the kernel says.
    fn entries(&self, map: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// The value of a key, if there is one.
    ///
    /// # Errors
    /// What the kernel says.
    fn value(&self, map: usize, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// All entries go; of an array, all values become 0.
    ///
    /// # Errors
    /// What the kernel says.
    fn clear(&self, map: usize) -> io::Result<()>;

    /// All values become 0.
    ///
    /// # Errors
    /// What the kernel says.
    fn zero(&self, map: usize) -> io::Result<()>;
}

/// What a message asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To go on.
    Nothing,
    /// To run the end probes, and to leave with this status.
    Exit(u64),
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object on each line.
    Json,
}

/// What the command line says about output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// How it is written.
    pub format: Format,
    /// How many probes were attached isn't told (`-q`).
    pub is_quiet: bool,
    /// Neither warnf's nor the runtime's warnings are told.
    pub without_warnings: bool,
    /// `system` may run.
    pub is_unsafe: bool,
}

/// Writes what a program says.
pub struct Output<'p> {
    program: &'p Program,
    config: &'p Config,
    options: OutputOptions,
    to: Box<dyn Write + 'p>,
    errors: Box<dyn Write + 'p>,
}

impl<'p> Output<'p> {
    /// Errors and warnings go to stderr.
    pub fn new(
        program: &'p Program,
        config: &'p Config,
        _sources: &'p Sources,
        options: OutputOptions,
        to: Box<dyn Write + 'p>,
    ) -> Self {
        Self { program, config, options, to, errors: Box::new(io::stderr()) }
    }

    /// Where errors, warnings and what is told about the program go in text.
    #[must_use]
    pub fn with_errors(mut self, errors: Box<dyn Write + 'p>) -> Self {
        self.errors = errors;
        self
    }

    /// So many probes are attached.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn attached(&mut self, probes: usize) -> io::Result<()> {
        if self.options.is_quiet {
            return Ok(());
        }
        let s = if probes == 1 { "" } else { "s" };
        writeln!(self.errors, "Attached {probes} probe{s}")
    }

    /// A message of the ring.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn message(&mut self, message: &[u8], _maps: &dyn Maps) -> io::Result<Asked> {
        let word = |at: usize| {
            message.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes)
        };
        let action = word(0).and_then(|place| self.program.actions.get(place as usize));
        match action {
            Some(Action::Exit) => Ok(Asked::Exit(word(8).unwrap_or_default())),
            _ => Ok(Asked::Nothing),
        }
    }

    /// So many messages found no room.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn lost(&mut self, events: u64) -> io::Result<()> {
        writeln!(self.errors, "Lost {events} events")
    }

    /// All maps, unless the program doesn't want them.
    ///
    /// # Errors
    /// If it can't be written, or a map can't be read.
    pub fn at_end(&mut self, _maps: &dyn Maps) -> io::Result<()> {
        if !self.config.print_maps_on_exit {
            return Ok(());
        }
        self.flush()
    }

    /// What is buffered is written.
    ///
    /// # Errors
    /// If it can't be.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()?;
        self.errors.flush()
    }
}

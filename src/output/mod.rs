//! Frames as text: tables for people, JSON, NDJSON and CSV for programs. All are made from the
//! columns; where the bytes go is [`Sink`]'s affair.

mod csv;
mod drops;
mod events;
mod human;
mod json;
mod objects;
mod path;
mod schema;
mod sink;
mod slow;
mod table;

use std::io::{self, Write};

pub use events::EventWriter;
pub(crate) use events::{detail as event_detail, ends as event_ends};
pub use human::{Units, cell};
#[cfg(test)]
pub(crate) use objects::assert_fits;
pub use path::{write_losses, write_path_lines, write_path_object};
pub use sink::Sink;

use crate::columns::{self, Column, Row};
use crate::model::{Events, Frame, View};

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One document at the end of the run.
    Json,
    /// One object a line, as it happens.
    Ndjson,
    /// A header and one line a row.
    Csv,
}

/// How frames are written.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// The form.
    pub format: Format,
    /// Units of byte columns in tables.
    pub units: Units,
    /// Indices of the columns, in order; none takes what suits the format.
    pub columns: Option<Vec<usize>>,
    /// Whether headers of tables are bold.
    pub colour: bool,
    /// Width that tables have; columns that don't fit are left out. None takes what they need.
    pub width: Option<usize>,
    /// Whether each table says when it was read.
    pub times: bool,
    /// Whether tables of system calls end with their sum.
    pub totals: bool,
}

/// Writes frames in one style to one sink.
pub struct Writer {
    sink: Sink,
    style: Style,
    frames: u64,
}

impl Writer {
    /// A writer of nothing yet.
    pub fn new(sink: Sink, style: Style) -> Self {
        Writer { sink, style, frames: 0 }
    }

    /// Writes one frame and flushes it.
    ///
    /// # Errors
    /// What the sink says; a closed pipe among it.
    pub fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        let Writer { sink, style, frames } = self;
        write_frame(sink, frame, style, *frames == 0)?;
        *frames += 1;
        sink.flush()
    }

    /// Writes what is shown one by one as it comes. A document has that in its frames, CSV has none.
    ///
    /// # Errors
    /// What the sink says; a closed pipe among it.
    pub fn events(&mut self, events: &Events) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        write_events(&mut self.sink, events, self.style.format)?;
        self.sink.flush()
    }

    /// Completes the output: a JSON document without this isn't one.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish(mut self) -> io::Result<()> {
        if self.style.format == Format::Json {
            json::end_document(&mut self.sink, self.frames == 0)?;
        }
        self.sink.finish()
    }
}

fn write_frame(
    out: &mut impl Write,
    frame: &Frame,
    style: &Style,
    is_first: bool,
) -> io::Result<()> {
    write_events(out, &frame.events, style.format)?;
    match style.format {
        Format::Table => table::write(out, frame, style, is_first),
        Format::Json => json::write_in_document(out, frame, style, is_first),
        Format::Ndjson => json::write_lines(out, frame, style),
        Format::Csv => csv::write(out, frame, style, is_first),
    }
}

fn write_events(out: &mut impl Write, events: &Events, format: Format) -> io::Result<()> {
    match format {
        Format::Table => {
            slow::write_lines(out, &events.slow)?;
            drops::write_lines(out, &events.drops)
        }
        Format::Ndjson => {
            slow::write_objects(out, &events.slow)?;
            drops::write_objects(out, &events.drops)
        }
        Format::Json | Format::Csv => Ok(()),
    }
}

impl Style {
    fn selected<R: Row>(&self) -> Vec<&'static Column<R>> {
        let all = R::columns();
        match &self.columns {
            Some(indices) => indices.iter().filter_map(|index| all.get(*index)).collect(),
            None if self.format == Format::Table => all.iter().filter(|c| c.shown).collect(),
            None => all.iter().collect(),
        }
    }
}

/// Finds the columns that were asked for by key or title.
///
/// # Errors
/// The message for the user.
pub fn select(view: View, words: &[String]) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    for word in words {
        let column = columns::find(view, word)?;
        if found.contains(&column) {
            return Err(format!("column {word} is there twice"));
        }
        found.push(column);
    }
    Ok(found)
}

/// Serializes one frame as [`Writer::frame`] would, into memory: for tests and the dashboard's copy.
///
/// # Errors
/// None but those of serializing.
pub fn to_string(frame: &Frame, style: &Style) -> io::Result<String> {
    let mut text = Vec::new();
    write_frame(&mut text, frame, style, true)?;
    if style.format == Format::Json {
        json::end_document(&mut text, false)?;
    }
    String::from_utf8(text).map_err(io::Error::other)
}

/// RFC 3339 with milliseconds, UTC.
fn rfc3339(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

/// Prints the JSON Schema of [`Format::Json`].
///
/// # Errors
/// What stdout says; a closed pipe is none.
pub fn print_schema() -> anyhow::Result<i32> {
    match writeln!(io::stdout().lock(), "{:#}", schema::schema()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

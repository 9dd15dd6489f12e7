//! Messages and maps → what the user reads: bpftrace's text to the byte, or JSON lines.
//!
//! Where maps are, and when messages come, is the runtime's affair ([`Maps`]).
//!
//! | file | what |
//! | --- | --- |
//! | `read`, `value` | bytes → values, by their types |
//! | `maps`, `tables` | entries → [`shown`], in their order |
//! | `text`, `json` | how that is written |
//! | `format`, `gfp` | printf |
//! | `stacks`, `cgroups`, `times` | what is looked up outside of the program |
//! | `commands`, `packets` | system, cat, skboutput |
//! | `errors` | what fails at run time |

use std::collections::HashSet;
use std::io::{self, Write};

use super::config::Config;
use super::diagnostics;
use super::program::{Action, Field, Program, Role, Sink};
use super::source::{Sources, Span};
use errors::Repeated;
use format::Format as PrintfFormat;
use maps::Cut;
use packets::Packets;
use read::{Known, Reader, half, word};
use shown::{Shown, ShownMap};

mod cgroups;
mod commands;
mod errors;
mod format;
mod gfp;
mod json;
mod maps;
mod packets;
mod read;
mod shown;
mod stacks;
mod tables;
mod text;
mod times;
mod trials;
mod value;

#[cfg(test)]
mod tests;

pub use trials::{Trial, Trials};

/// The longest that `time` writes.
const LONGEST_TIME: usize = 64;

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
    /// JSON has percentiles of histograms, which bpftrace's doesn't.
    pub with_percentiles: bool,
}

/// Writes what a program says.
pub struct Output<'p> {
    program: &'p Program,
    config: &'p Config,
    sources: &'p Sources,
    options: OutputOptions,
    to: Box<dyn Write + 'p>,
    errors: Box<dyn Write + 'p>,
    /// Of actions that have one, by their places.
    formats: Vec<Option<PrintfFormat>>,
    known: Known,
    /// Arrays that were zeroed when there was something in them, which isn't the same as nothing.
    zeroed: HashSet<usize>,
    packets: Packets,
    repeated: Repeated,
    lost: u64,
    /// A line or more on its way.
    line: Vec<u8>,
}

impl<'p> Output<'p> {
    /// Errors and warnings go to stderr.
    pub fn new(
        program: &'p Program,
        config: &'p Config,
        sources: &'p Sources,
        options: OutputOptions,
        to: Box<dyn Write + 'p>,
    ) -> Self {
        let format = |action: &Action| match action {
            Action::Formatted { format, .. } => Some(PrintfFormat::new(format)),
            _ => None,
        };
        Self {
            program,
            config,
            sources,
            options,
            to,
            errors: Box::new(io::stderr()),
            formats: program.actions.iter().map(format).collect(),
            known: Known::new(config),
            zeroed: HashSet::new(),
            packets: Packets::default(),
            repeated: Repeated::default(),
            lost: 0,
            line: Vec::new(),
        }
    }

    /// Where errors, warnings and what is told about the program go in text.
    #[must_use]
    pub fn with_errors(mut self, errors: Box<dyn Write + 'p>) -> Self {
        self.errors = errors;
        self
    }

    /// What somebody else has put into words.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(text.as_bytes())
    }

    /// So many probes are attached.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn attached(&mut self, probes: usize) -> io::Result<()> {
        if self.options.is_quiet {
            return Ok(());
        }
        match self.options.format {
            Format::Text => {
                let s = if probes == 1 { "" } else { "s" };
                self.tell(&format!("Attached {probes} probe{s}\n"))
            }
            Format::Json => {
                json::count("attached_probes", "probes", probes as u64, &mut self.line);
                self.write_line()
            }
        }
    }

    /// A message of the ring. What can't be done is told, and doesn't end the program.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn message(&mut self, message: &[u8], maps: &dyn Maps) -> io::Result<Asked> {
        let place = usize::try_from(word(message, 0)).unwrap_or(usize::MAX);
        let program = self.program;
        let Some(action) = program.actions.get(place) else { return Ok(Asked::Nothing) };
        match action {
            Action::Formatted { sink, args, span, .. } => {
                self.formatted(place, *sink, args, *span, message, maps)?;
            }
            Action::PrintValue(field) => {
                let value = self.reader(maps).value(&field.ty, from(message, field.offset));
                self.print_value(&Shown::Value(value))?;
            }
            Action::PrintEntry { map, key } => {
                let size = program.structs.size_of(&key.ty) as usize;
                let key = from(message, key.offset);
                match self.reader(maps).entry(*map, &key[..key.len().min(size)]) {
                    Ok(shown) => self.print_value(&shown)?,
                    Err(error) => self.failed(&error.to_string())?,
                }
            }
            Action::PrintMap(map) => {
                let cut = Cut { top: word(message, 8), divisor: word(message, 16) };
                self.print_map(*map, cut, maps)?;
            }
            Action::ClearMap(map) => {
                self.zeroed.remove(map);
                self.done(maps.clear(*map))?;
            }
            Action::ZeroMap(map) => self.zero(*map, maps)?,
            Action::Time(format) => self.time(format)?,
            Action::Join { separator, max, size } => self.join(separator, *max, *size, message)?,
            Action::Exit => return Ok(Asked::Exit(word(message, 8))),
            Action::RuntimeError { error, span } => {
                self.runtime_error(place, *error, *span, word(message, 8).cast_signed())?;
            }
            Action::Packet { path, offset } => self.packet(path, *offset, message)?,
        }
        Ok(Asked::Nothing)
    }

    /// So many messages found no room.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn lost(&mut self, events: u64) -> io::Result<()> {
        self.lost = self.lost.saturating_add(events);
        match self.options.format {
            Format::Text => self.tell(&format!("Lost {events} events\n")),
            Format::Json => {
                json::count("lost_events", "events", events, &mut self.line);
                self.write_line()
            }
        }
    }

    /// All maps, unless the program doesn't want them.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn at_end(&mut self, maps: &dyn Maps) -> io::Result<()> {
        self.tell_repeated()?;
        if self.lost > 0 && !self.options.without_warnings {
            let lost = self.lost;
            self.tell(&format!("WARNING: Total lost event count: {lost}\n"))?;
        }
        if self.options.format == Format::Text {
            self.line.extend_from_slice(b"\n\n");
            self.write_line()?;
        }
        let is_user = |map: &usize| matches!(self.program.maps[*map].role, Role::User { .. });
        let places: Vec<usize> = (0..self.program.maps.len()).filter(is_user).collect();
        for place in places.into_iter().take_while(|_| self.config.print_maps_on_exit) {
            let zeroed = self.zeroed.contains(&place);
            match self.reader(maps).map(place, zeroed, Cut::default()) {
                Ok(Some(map)) => self.write_map(&map)?,
                Ok(None) => {}
                Err(error) => self.tell(&format!("Error printing map: {error}\n"))?,
            }
        }
        self.flush()
    }

    /// What is buffered is written.
    ///
    /// # Errors
    /// If it can't be.
    pub fn flush(&mut self) -> io::Result<()> {
        self.packets.flush()?;
        self.to.flush()?;
        self.errors.flush()
    }

    fn reader<'r>(&'r mut self, maps: &'r dyn Maps) -> Reader<'r> {
        Reader { program: self.program, config: self.config, maps, known: &mut self.known }
    }

    /// What is in `line`, and nothing is then.
    fn write_line(&mut self) -> io::Result<()> {
        let written = self.to.write_all(&self.line);
        self.line.clear();
        written
    }

    /// To where errors go, behind all that was said before.
    fn tell(&mut self, text: &str) -> io::Result<()> {
        self.to.flush()?;
        self.errors.write_all(text.as_bytes())
    }

    fn failed(&mut self, why: &str) -> io::Result<()> {
        self.tell(&format!("ERROR: {why}\n"))
    }

    fn done(&mut self, result: io::Result<()>) -> io::Result<()> {
        result.or_else(|error| self.failed(&error.to_string()))
    }

    fn formatted(
        &mut self,
        place: usize,
        sink: Sink,
        args: &[Field],
        span: Span,
        message: &[u8],
        maps: &dyn Maps,
    ) -> io::Result<()> {
        if sink == Sink::Warnf && self.options.without_warnings {
            return Ok(());
        }
        let mut reader = self.reader(maps);
        let values: Vec<_> =
            args.iter().map(|arg| reader.value(&arg.ty, from(message, arg.offset))).collect();
        let mut text = std::mem::take(&mut self.line);
        if let Some(Some(format)) = self.formats.get(place) {
            format.write(&values, &mut text);
        }
        match sink {
            Sink::Printf => match self.options.format {
                Format::Text => {
                    self.line = text;
                    self.write_line()
                }
                Format::Json => self.write_text("printf", &text),
            },
            Sink::Errorf => self.told("ERROR", "errorf", &text, span),
            Sink::Warnf => self.told("WARNING", "warnf", &text, span),
            Sink::System if !self.options.is_unsafe => {
                self.failed("syscall() not allowed in safe mode. Use '--unsafe'.")
            }
            Sink::System => {
                // What it writes comes behind what was written.
                self.flush()?;
                match commands::system(&text) {
                    Ok(output) => self.write_text_line("syscall", &output),
                    Err(error) => self.failed(&error.to_string()),
                }
            }
            Sink::Cat => match commands::cat(&text, self.config.max_cat_bytes) {
                Ok(content) => self.write_text("cat", &content),
                Err(error) => self.failed(&error.to_string()),
            },
        }
    }

    /// As it is, or as an object of that kind.
    fn write_text(&mut self, kind: &str, text: &[u8]) -> io::Result<()> {
        match self.options.format {
            Format::Text => self.line.extend_from_slice(text),
            Format::Json => json::text(kind, text, &mut self.line),
        }
        self.write_line()
    }

    /// The same on a line of its own.
    fn write_text_line(&mut self, kind: &str, text: &[u8]) -> io::Result<()> {
        self.write_text(kind, text)?;
        if self.options.format == Format::Text {
            self.line.push(b'\n');
        }
        self.write_line()
    }

    /// errorf and warnf: without the line of the source, which is the call.
    fn told(&mut self, label: &str, kind: &str, text: &[u8], span: Span) -> io::Result<()> {
        if self.options.format == Format::Json {
            return self.json_told(kind, &[("msg", text)], None, span);
        }
        let text = String::from_utf8_lossy(text);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut all = format!("{}: {label}: {text}\n", self.sources.place(span));
        self.add_calls(label, span, &mut all);
        self.tell(&all)
    }

    /// The calls of macros that brought something where it is.
    fn add_calls(&self, label: &str, span: Span, to: &mut String) {
        for call in self.sources.calls(span) {
            diagnostics::place(label, call, "expanded from", self.sources, to);
        }
    }

    /// An object with these texts, perhaps a code, and where it came from.
    fn json_told(
        &mut self,
        kind: &str,
        texts: &[(&str, &[u8])],
        code: Option<i64>,
        span: Span,
    ) -> io::Result<()> {
        let mut line = format!(r#"{{"type": "{kind}""#).into_bytes();
        for (name, text) in texts {
            line.extend_from_slice(format!(r#", "{name}": "#).as_bytes());
            json::string(text, &mut line);
        }
        if let Some(code) = code {
            line.extend_from_slice(format!(r#", "retcode": {code}"#).as_bytes());
        }
        if let Some(source) = self.sources.of(span) {
            let at = source.position(self.sources.written(span).start);
            line.extend_from_slice(br#", "filename": "#);
            json::string(source.name.as_bytes(), &mut line);
            let place = format!(r#", "line": {}, "col": {}"#, at.line, at.column);
            line.extend_from_slice(place.as_bytes());
        }
        line.extend_from_slice(b"}\n");
        self.line = line;
        self.write_line()
    }

    fn print_value(&mut self, shown: &Shown) -> io::Result<()> {
        match self.options.format {
            Format::Text => text::value(shown, &mut self.line),
            Format::Json => json::value(shown, &mut self.line),
        }
        self.write_line()
    }

    fn print_map(&mut self, place: usize, cut: Cut, maps: &dyn Maps) -> io::Result<()> {
        let zeroed = self.zeroed.contains(&place);
        let mut reader = self.reader(maps);
        match reader.map(place, zeroed, cut) {
            Ok(Some(map)) => self.write_map(&map),
            Ok(None) => match reader.empty(place) {
                Some(map) => self.write_map(&map),
                None => Ok(()),
            },
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn write_map(&mut self, map: &ShownMap) -> io::Result<()> {
        match self.options.format {
            Format::Text => text::map(map, &mut self.line),
            Format::Json => json::map(map, self.options.with_percentiles, &mut self.line),
        }
        self.write_line()
    }

    fn zero(&mut self, place: usize, maps: &dyn Maps) -> io::Result<()> {
        let map = &self.program.maps[place];
        let had_something = maps.entries(place).is_ok_and(|entries| !maps::is_empty(&entries, map));
        if had_something {
            self.zeroed.insert(place);
        }
        self.done(maps.zero(place))
    }

    fn time(&mut self, format: &str) -> io::Result<()> {
        let now = jiff::Timestamp::now().as_second();
        match times::strftime(format, now, times::Zone::Local, LONGEST_TIME) {
            Some(text) => self.write_text("time", &text),
            None => self.failed("strftime returned zero"),
        }
    }

    fn join(&mut self, separator: &str, max: u32, size: u32, message: &[u8]) -> io::Result<()> {
        let count = word(message, 8).min(max.into()) as usize;
        let rooms = from(message, 16).chunks(size.max(1) as usize).take(count);
        let text = |room| memchr::memchr(0, room).map_or(room, |end| &room[..end]);
        let texts: Vec<&[u8]> = rooms.map(text).take_while(|text| !text.is_empty()).collect();
        self.write_text_line("join", &texts.join(separator.as_bytes()))
    }

    fn packet(&mut self, path: &str, offset: u64, message: &[u8]) -> io::Result<()> {
        let time_ns = word(message, 8).wrapping_add(self.known.boot_time);
        let there = from(message, 20);
        let packet = &there[..there.len().min(half(message, 16) as usize)];
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let result = match packet.get(offset..) {
            Some(packet) if !packet.is_empty() => self.packets.write(path, time_ns, packet),
            _ => Ok(()),
        };
        self.done(result)
    }
}

fn from(bytes: &[u8], at: u32) -> &[u8] {
    bytes.get(at as usize..).unwrap_or_default()
}

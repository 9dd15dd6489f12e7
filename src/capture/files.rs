//! The files that packets go to, one after the other.

use std::collections::HashSet;
use std::io::{BufWriter, IntoInnerError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustc_hash::FxHashMap;

use super::{Shown, Usage};
use crate::output::Sink;
use crate::packet::filter::LinkType;
use crate::packet::pcapng::{Interface, Packet, PcapngWriter, Section, Statistics};
use crate::sample::CaptureCounts;

/// What is written at once.
const BUFFER: usize = 1 << 18;

/// Where to, and when to go on in another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Rotation {
    /// `-` is stdout. It may have fields of strftime(3) where files have an age.
    pub(super) path: PathBuf,
    /// The size that a file may reach.
    pub(super) bytes: Option<u64>,
    /// Its age.
    pub(super) seconds: Option<u64>,
    /// So many files.
    pub(super) files: Option<u64>,
    /// Over those that are there.
    pub(super) force: bool,
}

impl Rotation {
    /// # Errors
    /// [`Usage`] for what doesn't go together.
    pub(super) fn check(&self) -> Result<(), Usage> {
        let rotates = self.bytes.is_some() || self.seconds.is_some();
        if rotates && self.path.as_os_str() == "-" {
            return Err(Usage("-C and -G make several files, and stdout is one".to_owned()));
        }
        if self.files.is_some() && !rotates {
            return Err(Usage("-W goes with -C or -G".to_owned()));
        }
        self.name(0, 0).map(drop)
    }

    /// Files replace each other, the oldest first.
    fn is_ring(&self) -> bool {
        self.bytes.is_some() && self.files.is_some()
    }

    /// The name of a file by its number, from 0, and the time of its first packet.
    fn name(&self, number: u64, time_ns: u64) -> Result<PathBuf, Usage> {
        let path = self.path.to_string_lossy();
        let is_timed = self.seconds.is_some() && path.contains('%');
        let path = if is_timed { timed(&path, time_ns)?.into() } else { self.path.clone() };
        Ok(match self.files {
            // As wide as the last one, so that names are in order.
            Some(files) if self.is_ring() => {
                let width = (files - 1).to_string().len();
                numbered(&path, &format!("{:0width$}", number % files))
            }
            _ if number == 0 || is_timed => path,
            _ => numbered(&path, &number.to_string()),
        })
    }
}

/// Before the extension, so that it stays one.
fn numbered(path: &Path, number: &str) -> PathBuf {
    match (path.file_stem(), path.extension()) {
        (Some(stem), Some(extension)) => {
            let (stem, extension) = (stem.to_string_lossy(), extension.to_string_lossy());
            path.with_file_name(format!("{stem}.{number}.{extension}"))
        }
        _ => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!("{name}.{number}"))
        }
    }
}

fn timed(format: &str, time_ns: u64) -> Result<String, Usage> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    let text = jiff::fmt::strtime::format(format, time);
    text.map_err(|error| Usage(format!("-w {format}: {error}")))
}

/// What all files say.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) section: Section,
    pub(super) snaplen: u32,
    pub(super) expression: String,
    /// When capturing began, ns since 1970; none where packets are of a file.
    pub(super) began_ns: Option<u64>,
}

/// The files of a run.
pub(super) struct Files {
    rotation: Rotation,
    about: About,
    file: Option<File>,
    number: u64,
    /// Names of a ring, which are used again.
    own: HashSet<PathBuf>,
    /// The last one's name, before it got a number for being the same.
    last: PathBuf,
    counts: Vec<CaptureCounts>,
    delivered: FxHashMap<u32, u64>,
}

struct File {
    writer: PcapngWriter<BufWriter<Sink>>,
    began_ns: u64,
    last_ns: u64,
    /// By the interface's number.
    interfaces: FxHashMap<u32, u32>,
}

impl Files {
    /// Begins the first file, at the time of the first packet, or now.
    ///
    /// # Errors
    /// Where there is one already, or it can't be made.
    pub(super) fn new(rotation: Rotation, about: About, time_ns: u64) -> Result<Self> {
        let mut files = Files {
            rotation,
            about,
            file: None,
            number: 0,
            own: HashSet::new(),
            last: PathBuf::new(),
            counts: Vec::new(),
            delivered: FxHashMap::default(),
        };
        files.begin(time_ns)?;
        Ok(files)
    }

    fn begin(&mut self, time_ns: u64) -> Result<()> {
        let sink = if self.rotation.path.as_os_str() == "-" {
            Sink::stdout()
        } else {
            let path = self.free_name(time_ns)?;
            let is_own = self.own.contains(&path);
            let sink = Sink::file(&path, self.rotation.force || is_own, false)?;
            if self.rotation.is_ring() {
                self.own.insert(path);
            }
            sink
        };
        let out = BufWriter::with_capacity(BUFFER, sink);
        let writer = PcapngWriter::new(out, &self.about.section).context("write the file")?;
        let interfaces = FxHashMap::default();
        self.file = Some(File { writer, began_ns: time_ns, last_ns: time_ns, interfaces });
        Ok(())
    }

    /// A time that the last file had too gets a number.
    fn free_name(&mut self, time_ns: u64) -> Result<PathBuf> {
        let path = self.rotation.name(self.number, time_ns)?;
        if !self.rotation.is_ring() && path == self.last {
            return Ok(numbered(&path, &self.number.to_string()));
        }
        self.last.clone_from(&path);
        Ok(path)
    }

    /// What interfaces had so far.
    pub(super) fn note(&mut self, counts: &[CaptureCounts]) {
        self.counts.clear();
        self.counts.extend_from_slice(counts);
    }

    /// Writes a packet; false if there is no more file for it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn packet(&mut self, packet: &Shown<'_>) -> Result<bool> {
        if self.is_due(packet.time_ns) {
            self.end()?;
            self.number += 1;
            let is_last = self.rotation.files == Some(self.number) && !self.rotation.is_ring();
            if is_last {
                return Ok(false);
            }
            self.begin(packet.time_ns)?;
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        let interface = file.interface(&self.about, packet.index, packet.interface, packet.link)?;
        file.last_ns = packet.time_ns;
        *self.delivered.entry(packet.index).or_default() += 1;
        let packet = Packet {
            interface,
            time_ns: packet.time_ns,
            length: packet.length,
            bytes: packet.bytes,
            direction: packet.direction,
            comment: packet.comment,
        };
        file.writer.packet(&packet).context("write the file")?;
        Ok(true)
    }

    fn is_due(&self, time_ns: u64) -> bool {
        const NS_PER_S: u64 = 1_000_000_000;

        self.file.as_ref().is_some_and(|file| {
            let is_large = self.rotation.bytes.is_some_and(|bytes| file.writer.written() >= bytes);
            let age_ns = time_ns.saturating_sub(file.began_ns);
            is_large || self.rotation.seconds.is_some_and(|most| age_ns / NS_PER_S >= most)
        })
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        let flushed = self.file.as_mut().map_or(Ok(()), |file| file.writer.flush());
        flushed.context("write the file")
    }

    /// Completes the file with what interfaces had.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        if let Some(start_ns) = self.about.began_ns {
            for counts in &self.counts {
                let delivered = self.delivered.get(&counts.index).copied().unwrap_or(0);
                file.statistics(&self.about, counts, delivered, start_ns)?;
            }
        }
        let sink = file.writer.into_inner().into_inner().map_err(IntoInnerError::into_error);
        sink.and_then(Sink::finish).context("write the file")
    }
}

impl File {
    /// Its number in the file.
    fn interface(&mut self, about: &About, index: u32, name: &str, link: LinkType) -> Result<u32> {
        if let Some(number) = self.interfaces.get(&index) {
            return Ok(*number);
        }
        let number = self.interfaces.len() as u32;
        let interface = Interface { name, link, snaplen: about.snaplen, filter: &about.expression };
        self.writer.interface(&interface).context("write the file")?;
        self.interfaces.insert(index, number);
        Ok(number)
    }

    fn statistics(
        &mut self,
        about: &About,
        counts: &CaptureCounts,
        delivered: u64,
        start_ns: u64,
    ) -> Result<()> {
        let interface = self.interface(about, counts.index, &counts.interface, counts.link)?;
        let statistics = Statistics {
            interface,
            start_ns,
            end_ns: self.last_ns,
            received: counts.seen,
            accepted: counts.accepted,
            lost: counts.lost,
            delivered,
        };
        self.writer.statistics(&statistics).context("write the file")
    }
}

#[cfg(test)]
mod tests;

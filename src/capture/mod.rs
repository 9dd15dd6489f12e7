//! `nettrace capture`: packets, with the process that each belongs to; shown, or into files.

mod files;
mod live;
mod owners;
mod replay;
mod shown;

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Result;

use crate::cli::{CaptureArgs, CaptureFormat, DirectionArg};
use crate::kernel;
use crate::packet::comment::Owner;
use crate::packet::filter::{Filter, LinkType};
use crate::packet::pcapng::Section;
use crate::probes::capture::SNAPLEN_LIMIT;
use crate::run::Usage;
use crate::sample::{CaptureCounts, PacketDirection};
use files::{About, Files, Rotation};
use shown::{Lines, Objects};

/// Runs `capture` and returns the exit status.
///
/// # Errors
/// [`Usage`], [`crate::kernel::Unsupported`], or what failed on the way.
pub fn run(args: &CaptureArgs) -> Result<i32> {
    match &args.read {
        Some(path) => replay::run(args, path),
        None => live::run(args),
    }
}

/// A packet on its way out.
#[derive(Clone, Copy, Debug)]
struct Shown<'a> {
    /// Since 1970, ns.
    time_ns: u64,
    /// On the wire.
    length: u32,
    bytes: &'a [u8],
    link: LinkType,
    /// Its interface's number.
    index: u32,
    /// Its interface's name; empty if it isn't known.
    interface: &'a str,
    direction: Option<PacketDirection>,
    owner: Option<&'a Owner>,
    /// What is said of it in a file.
    comment: &'a str,
}

/// Where packets go.
enum Output {
    Lines(Lines),
    Objects(Objects),
    Files(Box<Files>),
}

impl Output {
    /// Of what was asked for. The first file begins with the packet of this time.
    fn new(args: &CaptureArgs, began_ns: Option<u64>, time_ns: u64) -> Result<Self> {
        let Some(path) = &args.write else {
            return Ok(match args.format {
                CaptureFormat::Table => Output::Lines(Lines::default()),
                CaptureFormat::Ndjson => Output::Objects(Objects::default()),
            });
        };
        let section = Section {
            os: format!("Linux {}", kernel::release()),
            application: concat!("nettrace ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let snaplen = args.snaplen.unwrap_or(SNAPLEN_LIMIT);
        let about = About { section, snaplen, expression: expression(args), began_ns };
        Ok(Output::Files(Box::new(Files::new(rotation(args, path), about, time_ns)?)))
    }

    /// What interfaces had so far.
    fn note(&mut self, counts: &[CaptureCounts]) {
        if let Output::Files(files) = self {
            files.note(counts);
        }
    }

    /// Takes a packet; false if there is no place for it any more.
    fn packet(&mut self, packet: &Shown<'_>) -> Result<bool> {
        match self {
            Output::Lines(lines) => lines.packet(packet).map(|()| true),
            Output::Objects(objects) => objects.packet(packet).map(|()| true),
            Output::Files(files) => files.packet(packet),
        }
    }

    /// Hands on what waits.
    fn flush(&mut self) -> Result<()> {
        match self {
            Output::Lines(lines) => lines.flush(),
            Output::Objects(objects) => objects.flush(),
            Output::Files(files) => files.flush(),
        }
    }

    fn end(mut self) -> Result<()> {
        match &mut self {
            Output::Files(files) => files.end(),
            _ => self.flush(),
        }
    }
}

fn rotation(args: &CaptureArgs, path: &Path) -> Rotation {
    Rotation {
        path: path.to_owned(),
        bytes: args.file_size,
        seconds: args.file_seconds,
        files: args.files,
        force: args.force,
    }
}

fn expression(args: &CaptureArgs) -> String {
    args.words.join(" ")
}

/// What is wrong with the arguments, before anything is opened.
fn check(args: &CaptureArgs) -> Result<(), Usage> {
    let Some(path) = &args.write else { return Ok(()) };
    // What strangers put into packets could steer it.
    if path.as_os_str() == "-" && io::stdout().is_terminal() {
        return Err(Usage(
            "stdout is a terminal, which can't show a file of packets; -w FILE writes one, \
             -w - | wireshark -k -i - shows it"
                .to_owned(),
        ));
    }
    rotation(args, path).check()
}

/// The filter, for packets that begin so; none takes all.
fn filter(args: &CaptureArgs, link: LinkType) -> Result<Option<Filter>, Usage> {
    let expression = expression(args);
    if expression.trim().is_empty() {
        return Ok(None);
    }
    Filter::compile(&expression, link).map(Some).map_err(|error| Usage(error.to_string()))
}

fn direction(args: &CaptureArgs) -> Option<PacketDirection> {
    match args.direction {
        DirectionArg::In => Some(PacketDirection::In),
        DirectionArg::Out => Some(PacketDirection::Out),
        DirectionArg::Inout => None,
    }
}

//! Arguments of `capture`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ProcessArgs, positive_seconds, ring_size};

/// Arguments of `capture`.
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "nettrace capture [OPTIONS] [FILTER]... [-- CMD...]",
    after_help = "FILTER is an expression as of tcpdump, see pcap-filter(7); the kernel judges by it which packets \
it hands over. Without -i it captures on all interfaces but the loopback.

A packet's process is that of the socket that sent it or that it is for. Packets that have none are \
left out if processes are chosen.

Examples:
  nettrace capture tcp port 443                   a line a packet, until Ctrl-C
  nettrace capture -i lo -c 10 udp                the first ten
  nettrace capture -w web.pcapng --comm nginx     into a file for Wireshark
  nettrace capture -w - | wireshark -k -i -       shown there as they come
  nettrace capture -w ring.pcapng -C 100 -W 10    the last ten files of 100 MB
  nettrace capture -r web.pcapng port 80          what a file has
  nettrace capture -w curl.pcapng -- curl URL     what a command sends and receives"
)]
pub struct CaptureArgs {
    /// Which packets: tcp port 443 and host 10.0.0.7
    #[arg(value_name = "FILTER")]
    pub words: Vec<String>,

    /// On this interface, or such ones: eth0, 'eth*', lo, any; may be given again
    #[arg(short, long = "interface", value_name = "IF", help_heading = "Packets")]
    pub interfaces: Vec<String>,
    /// In this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME", help_heading = "Packets")]
    pub netns: Option<String>,
    /// Only what is received, or sent
    #[arg(
        short = 'Q',
        long,
        value_enum,
        default_value_t,
        value_name = "DIRECTION",
        help_heading = "Packets"
    )]
    pub direction: DirectionArg,
    /// Copy at most so many bytes of each packet (262144; 0 is that too)
    #[arg(short, long, value_name = "BYTES", value_parser = snaplen, help_heading = "Packets")]
    pub snaplen: Option<u32>,
    /// End after so many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          help_heading = "Packets")]
    pub count: Option<u64>,

    /// Into a new file, as pcapng; - is stdout
    #[arg(short, long, value_name = "FILE", help_heading = "Files")]
    pub write: Option<PathBuf>,
    /// Go on in a new file after so many bytes: 100 is 100 MB, or with K, M or G
    #[arg(short = 'C', value_name = "SIZE", value_parser = file_size, requires = "write",
          help_heading = "Files")]
    pub file_size: Option<u64>,
    /// Go on in a new file after so many seconds; FILE may have fields of strftime(3), in UTC
    #[arg(short = 'G', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..),
          requires = "write", help_heading = "Files")]
    pub file_seconds: Option<u64>,
    /// At most so many files: with -C the oldest is replaced, with -G alone it ends
    #[arg(short = 'W', value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000),
          requires = "write", help_heading = "Files")]
    pub files: Option<u64>,
    /// Overwrite files that are there
    #[arg(long, requires = "write", help_heading = "Files")]
    pub force: bool,
    /// Read packets of this file, pcap or pcapng, in place of capturing; - is stdin
    #[arg(short, long, value_name = "FILE", help_heading = "Files",
          conflicts_with_all = ["interfaces", "netns", "pids", "comms", "users", "cgroup", "container", "pod",
                                "command", "ring_size", "duration"])]
    pub read: Option<PathBuf>,

    /// Run CMD, capture only its packets and those of its children, end with it and exit with its status
    #[arg(last = true, value_name = "CMD", conflicts_with = "pids")]
    pub command: Vec<OsString>,
    /// Whose they are to be.
    #[command(flatten)]
    pub processes: ProcessArgs,

    /// The form, of what is shown
    #[arg(
        short = 'O',
        long = "output",
        value_enum,
        default_value_t,
        value_name = "FORM",
        conflicts_with = "write",
        help_heading = "Output"
    )]
    pub format: CaptureFormat,
    /// Names aren't looked up anyway; taken for the fingers' sake
    #[arg(short = 'n', action = clap::ArgAction::Count, hide = true)]
    pub numeric: u8,

    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, help_heading = "Time")]
    pub duration: Option<f64>,

    /// Room for packets between two reads: bytes, K or M, a power of two (8M)
    #[arg(long, value_name = "BYTES", value_parser = ring_size, help_heading = "Hooks")]
    pub ring_size: Option<u32>,
}

/// Which packets of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DirectionArg {
    /// Received
    In,
    /// Sent
    Out,
    /// Both
    #[default]
    Inout,
}

/// Forms of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CaptureFormat {
    /// Lines as tcpdump writes them
    #[default]
    Table,
    /// One object a line
    Ndjson,
}

fn snaplen(text: &str) -> Result<u32, String> {
    use crate::probes::capture::{SNAPLEN_LEAST, SNAPLEN_LIMIT};

    match text.parse::<u32>() {
        Ok(0) => Ok(SNAPLEN_LIMIT),
        Ok(bytes) if (SNAPLEN_LEAST..=SNAPLEN_LIMIT).contains(&bytes) => Ok(bytes),
        _ => Err(format!("write a number from {SNAPLEN_LEAST} to {SNAPLEN_LIMIT}, or 0 for all")),
    }
}

fn file_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let factor = match &text[digits.len()..] {
        "K" | "k" => 1_000,
        "" | "M" | "m" => 1_000_000,
        "G" | "g" => 1_000_000_000,
        _ => 0,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "write a number of millions of bytes, as 100, or 500K, 100M, 2G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_files() {
        assert_eq!(file_size("100"), Ok(100_000_000));
        assert_eq!(file_size("500K"), Ok(500_000));
        assert_eq!(file_size("2g"), Ok(2_000_000_000));
        for wrong in ["", "0", "K", "-1", "1T", "1.5", "99999999999G"] {
            assert!(file_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_shorter_than_headers() {
        assert_eq!((snaplen("0"), snaplen("96")), (Ok(262_144), Ok(96)));
        for wrong in ["", "31", "262145", "-1", "1K"] {
            assert!(snaplen(wrong).is_err(), "{wrong}");
        }
    }
}

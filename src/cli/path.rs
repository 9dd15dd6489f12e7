//! Arguments of `path`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{positive_seconds, ring_size};

/// Arguments of `path`.
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "nettrace path [OPTIONS] FILTER",
    after_help = "It follows each packet that FILTER (pcap-filter(7)) takes, from the first of the kernel's functions \
that sees it so to its end: over interfaces, network namespaces, NAT and copies. All functions that take \
a packet are watched where the kernel lets many be attached to at once (kprobe_multi); elsewhere \
some of them, or the networking tracepoints. What it got is said on stderr.

A packet is shown when it has ended, or nothing has happened to it for a second.

Examples:
  nettrace path -c 1 udp port 53          one packet to or from a name server
  nettrace path icmp --netns web          those that begin in a namespace
  nettrace path host 10.0.0.7 and tcp --functions 'nf_*,nft_*,ip_*'
                                          the firewall's part of the way
  nettrace path --stack -c 1 tcp port 80  with the kernel's stack at each step"
)]
pub struct PathArgs {
    /// Which packets: pcap-filter(7), as udp port 53
    #[arg(value_name = "FILTER")]
    pub words: Vec<String>,

    /// Only packets that are first seen in this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME", help_heading = "Scope")]
    pub netns: Option<String>,

    /// Only these functions or tracepoints: names, * for any part
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = "Hooks")]
    pub functions: Vec<String>,
    /// At most so many functions (where they are attached to one by one, 100)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Hooks")]
    pub max_probes: Option<u32>,
    /// Room for steps between two reads: bytes, K or M, a power of two (4M)
    #[arg(long, value_name = "BYTES", value_parser = ring_size, help_heading = "Hooks")]
    pub ring_size: Option<u32>,

    /// End after so many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Time")]
    pub count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, help_heading = "Time")]
    pub duration: Option<f64>,

    /// Show the kernel's stack at each step
    #[arg(long, help_heading = "Output")]
    pub stack: bool,
    /// The form
    #[arg(
        short = 'O',
        long = "output",
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = "Output"
    )]
    pub format: PathFormat,
    /// Into a new file in place of stdout
    #[arg(short, value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Overwrite the file of -o
    #[arg(long, requires = "out", help_heading = "Output")]
    pub force: bool,
}

/// Forms of `path`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PathFormat {
    /// A block of lines a packet
    #[default]
    Lines,
    /// An object a packet, with its steps
    Ndjson,
}

//! Arguments of `events`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::{OutputArgs, ProcessArgs, RunArgs, duration, positive_seconds, ring_size};

/// Arguments of `events`.
#[derive(Debug, Default, Args)]
#[command(
    mut_arg("format", |arg| arg
        .hide_possible_values(true)
        .help("The form: table, a line each, or ndjson, an object a line")),
    override_usage = "nettrace events [OPTIONS] [KIND]... [FILTER]... [-- CMD...]",
    after_help = "Kinds, all but the last if none is named:
  connect          a TCP connection was made, and how long that took, or failed, and how
  accept           a listener has a TCP connection; its process is the listener's
  close            a TCP connection ended: how long it lived, bytes both ways, retransmits
  retransmit       TCP sent a segment again
  reset            TCP sent or received a reset
  drop             the kernel dropped a packet (nettrace drops tells more)
  listen-overflow  a listener refused connections, as its queue was full; counted each second
  slow-syscall     a system call took as long as --slower-than says

Filters, all of which must hold: src: dst: host: sport: dport: port: proto: comm: pid: container: \
pod: netns:, /REGEX/ over the whole line, and !FILTER for what must not hold. src: is the socket's own \
address, and where a dropped packet came from.

With -p or -- CMD, packets count that belong to a socket of those processes. A connect() that fails before \
a SYN is sent, for want of a route, is no event. There are none of dns: nettrace reads no payload.

Examples:
  nettrace events                            until Ctrl-C
  nettrace events connect close comm:curl    what curl's connections took and moved
  nettrace events close dport:443 -O ndjson  objects for programs
  nettrace events --slower-than 50ms -p 812  with slow system calls
  nettrace events -- ./test.sh               of a command and its children"
)]
pub struct EventsArgs {
    /// Which kinds of events, and filters
    #[arg(value_name = "KIND FILTER")]
    pub words: Vec<String>,

    /// Show at most so many in a second; the others are counted
    #[arg(long, value_name = "N", default_value_t = 10_000, help_heading = "Events",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// End after so many events
    #[arg(short, long, value_name = "N", help_heading = "Events",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Show system calls that take at least so long: 500us, 10ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Events")]
    pub slower_than: Option<Duration>,

    /// Only in this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME", help_heading = "Scope")]
    pub netns: Option<String>,
    /// Only IPv4
    #[arg(short = '4', conflicts_with = "v6", help_heading = "Scope")]
    pub v4: bool,
    /// Only IPv6
    #[arg(short = '6', id = "v6", help_heading = "Scope")]
    pub v6: bool,

    /// Run CMD, show only it and its children, end with it and exit with its status
    #[arg(last = true, value_name = "CMD", conflicts_with = "pids")]
    pub command: Vec<OsString>,
    /// Whose it is to be.
    #[command(flatten)]
    pub processes: ProcessArgs,
    /// Where to and in which form.
    #[command(flatten)]
    pub output: OutputArgs,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, help_heading = "Time")]
    pub duration: Option<f64>,
    /// Room for events between two reads: bytes, K or M, a power of two
    #[arg(long, value_name = "BYTES", value_parser = ring_size, help_heading = "Hooks")]
    pub ring_size: Option<u32>,
}

impl EventsArgs {
    /// What every run takes; there are no tables, so nothing of their order.
    pub fn run(&self) -> RunArgs {
        RunArgs {
            command: self.command.clone(),
            processes: self.processes.clone(),
            output: self.output.clone(),
            duration: self.duration,
            ring_size: self.ring_size,
            ..RunArgs::default()
        }
    }
}

//! The command line as clap sees it, and nothing else.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod capture;
mod events;
mod list;
mod path;
mod run;

pub use capture::{CaptureArgs, CaptureFormat, DirectionArg};
pub use events::EventsArgs;
pub use list::ListArgs;
pub use path::{PathArgs, PathFormat};
pub use run::{Buffering, RunFormat, RunProgramArgs, Stage};

/// Who talks to whom on this Linux server, to the byte, and what is asked of its kernel.
#[derive(Debug, Parser)]
#[command(name = "nettrace", version, arg_required_else_help = false)]
#[command(override_usage = "nettrace [OPTIONS] [VIEW] [INTERVAL] [FILTER]...
       nettrace <COMMAND>")]
#[command(after_help = "Alone on a terminal it is the dashboard: nettrace conns 0.5 port:443, or \
nettrace -p 1234.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not possible on this \
kernel or with these privileges.")]
pub struct Cli {
    /// What to do; on a terminal the dashboard if nothing is said, else `top`
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Show what libbpf says, on stderr
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// How the dashboard is to be.
    #[command(flatten)]
    pub dashboard: DashboardArgs,
}

/// Arguments of the dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Dashboard")]
pub struct DashboardArgs {
    /// The dashboard's first view, seconds between two pictures (1), filters
    #[arg(value_name = "VIEW INTERVAL FILTER")]
    pub words: Vec<String>,
    /// How it looks: dark, light, contrast or mono
    #[arg(long, value_name = "NAME")]
    pub theme: Option<String>,
    /// No colour (NO_COLOR does the same)
    #[arg(long)]
    pub no_color: bool,
    /// No look-ups of names
    #[arg(short = 'n')]
    pub numeric: bool,
    /// Don't watch system calls
    #[arg(long)]
    pub no_syscalls: bool,
    /// Room for records between two reads: bytes, K or M, a power of two
    #[arg(long, value_name = "BYTES", value_parser = ring_size)]
    pub ring_size: Option<u32>,
    /// Whose it is to be.
    #[command(flatten)]
    pub processes: ProcessArgs,
    /// Which sockets to look at.
    #[command(flatten)]
    pub sockets: SocketArgs,
    /// What before the stack.
    #[command(flatten)]
    pub xdp: XdpArgs,
}

impl From<&DashboardArgs> for TopArgs {
    /// What `top` would be told for the same.
    fn from(args: &DashboardArgs) -> Self {
        let output =
            OutputArgs { numeric: args.numeric, no_color: args.no_color, ..OutputArgs::default() };
        let run = RunArgs {
            processes: args.processes.clone(),
            output,
            ring_size: args.ring_size,
            ..RunArgs::default()
        };
        TopArgs {
            words: args.words.clone(),
            run,
            sockets: args.sockets.clone(),
            xdp: args.xdp,
            ..TopArgs::default()
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tables: processes, connections, hosts, containers, interfaces, flows, listeners, …
    Top(Box<TopArgs>),
    /// System calls: how many, how long, how they fail; slow ones as they come
    Syscalls(Box<SyscallsArgs>),
    /// Dropped packets: why, and by which function of the kernel, as they are dropped
    Drops(Box<DropsArgs>),
    /// Events one by one: connections made, accepted and closed, retransmits, resets, drops, …
    Events(Box<EventsArgs>),
    /// Packets, with the process that each belongs to; shown, or into a file for Wireshark
    Capture(Box<CaptureArgs>),
    /// A packet's way through the kernel: functions, namespaces, NAT, to its end
    Path(Box<PathArgs>),
    /// A program of the bpftrace language: probes, maps, histograms
    Run(Box<RunProgramArgs>),
    /// Probes that there are for `run`, and the kernel's types
    List(ListArgs),
    /// What works here, what doesn't, why, and what to do about it
    Doctor(DoctorArgs),
    /// The JSON Schema of `-O json`
    Schema,
}

/// Arguments of `top`.
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "nettrace top [OPTIONS] [VIEW] [INTERVAL [COUNT]] [FILTER]... [-- CMD...]",
    after_help = "Views: procs (default) conns hosts containers ifaces flows listeners syscalls drops

Filters, all of which must hold: port: sport: dport: src: dst: host: comm: pid: state: proto: \
container: pod: netns: as in port:443,8000-8100 or host:10.0.0.0/8, /REGEX/ over the whole line, \
and !FILTER for what must not hold. Of flows and drops also an expression of pcap-filter(7), as \
tcp port 443 and net 10.0.0.0/8, which the kernel's side asks first; it may stand before or behind those.

A packet of flows is what the interface counts, so that sums are those of ip -s link: of a large TCP segment, one \
where the card splits it (TSO), as many as it is split into where the stack does, and as many as arrived where \
the stack has merged them (GRO). ethtool -k shows which.

Examples:
  nettrace top                        processes, over one second
  nettrace top conns 2 0 dport:443    connections to port 443, every 2 s until Ctrl-C
  nettrace top hosts 10 -O json       who was talked to in 10 s, as JSON
  nettrace top flows 2 0 -i eth0      packets by flow on an interface, every 2 s
  nettrace top flows 5 udp port 53    flows of DNS, over 5 s
  nettrace top ifaces 1 0 -i eth0 --xdp-mode auto
                                      packets before the stack, and what XDP programs drop
  nettrace top -- curl -sO URL        what a command sends and receives"
)]
pub struct TopArgs {
    /// VIEW, seconds between two tables (1), how many tables (1; 0 until Ctrl-C), filters
    #[arg(value_name = "VIEW INTERVAL COUNT FILTER")]
    pub words: Vec<String>,

    /// What every run takes.
    #[command(flatten)]
    pub run: RunArgs,

    /// Which sockets to look at.
    #[command(flatten)]
    pub sockets: SocketArgs,

    /// What of flows.
    #[command(flatten)]
    pub flows: FlowArgs,

    /// What before the stack.
    #[command(flatten)]
    pub xdp: XdpArgs,

    /// So many tables; 0 goes on until Ctrl-C
    #[arg(long, value_name = "N", help_heading = "Time")]
    pub count: Option<u64>,
}

/// Arguments of `syscalls`.
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "nettrace syscalls [OPTIONS] [FILTER]... [-- CMD...]",
    after_help = "It counts until the command ends, the time is over, all processes of -p are gone, or \
Ctrl-C. -- CMD takes children along, -p doesn't. Calls that never return, as exit_group, have no \
duration.

Filters, all of which must hold: comm: pid: container: pod: as in comm:nginx, /REGEX/ over pid, name \
and container, and !FILTER for what must not hold.

Calls (--syscall): names, /REGEX/ over names, and strace's classes: %file %process %net %signal %ipc \
%desc %memory %creds %clock %stat %lstat %fstat %statfs %fstatfs %pure; !CALL takes away. Those of \
32-bit programs are called as read.32.

Examples:
  nettrace syscalls -- ls -lR /usr          what a command calls, as strace -cf
  nettrace syscalls --duration 10           the whole server, for 10 s
  nettrace syscalls -p 1234 --errors        what fails in a process
  nettrace syscalls --by process --syscall %file
                                            who uses files
  nettrace syscalls --slower-than 10ms --stack --syscall %file
                                            file accesses of 10 ms or more"
)]
pub struct SyscallsArgs {
    /// Which processes count
    #[arg(value_name = "FILTER")]
    pub words: Vec<String>,

    /// What a row sums up (syscall)
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Calls")]
    pub by: Option<ByArg>,
    /// One row a thread and system call
    #[arg(short, long, conflicts_with = "by", help_heading = "Calls")]
    pub threads: bool,
    /// Only these calls: read,write %file /^epoll/ !futex
    #[arg(long, value_name = "CALL", help_heading = "Calls")]
    pub syscall: Vec<String>,
    /// Only calls that fail
    #[arg(long, help_heading = "Calls")]
    pub errors: bool,
    /// Only counts and errors, no durations: costs less
    #[arg(long, conflicts_with_all = ["slower_than", "histogram"], help_heading = "Calls")]
    pub count_only: bool,
    /// Show also each call that takes at least so long, as it returns: 500us, 10ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Calls")]
    pub slower_than: Option<Duration>,
    /// Show where it slept longest in the kernel, and where the program called it from
    #[arg(long, requires = "slower_than", help_heading = "Calls")]
    pub stack: bool,
    /// Draw below the table how each row's durations are distributed
    #[arg(long, help_heading = "Calls")]
    pub histogram: bool,

    /// What every run takes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `drops`.
#[derive(Debug, Default, Args)]
#[command(
    mut_arg("format", |arg| arg.hide_possible_values(true).help(
        "The form: table, lines and then a table; json, one document; ndjson, an object a line"
    )),
    override_usage = "nettrace drops [OPTIONS] [FILTER]... [-- CMD...]",
    after_help = "It shows each packet that the kernel drops until the command ends, the time is over or Ctrl-C, \
and then a table of all. Beside drops it shows TCP's retransmit, reset-sent and reset-received, \
and in the table listen-overflow.

Most packets are dropped in no process's time, so -- CMD shows the whole server's drops while CMD runs. \
-p, --comm and the like leave those that the kernel dropped while it did what the process asked for.

Filters, all of which must hold: src: dst: host: sport: dport: port: proto: netns: comm: pid: \
container: pod:, /REGEX/ over the whole line with reason and function, and !FILTER for what must not \
hold. src: is where the packet came from. With such a filter the table counts what was shown. \
Or an expression of pcap-filter(7), as tcp dst port 443, which is asked in the kernel; both may stand in \
one line, one after the other.

Examples:
  nettrace drops                         what is dropped, until Ctrl-C
  nettrace drops --reason NETFILTER_DROP what the firewall drops
  nettrace drops --stack dst:10.0.0.7    with the kernel's stack
  nettrace drops tcp dst port 443        of packets to a port
  nettrace drops -O ndjson /tcp_v4/      objects for programs
  nettrace top drops 1 0                 counts alone, every second"
)]
pub struct DropsArgs {
    /// Which drops to show
    #[arg(value_name = "FILTER")]
    pub words: Vec<String>,

    /// Only these reasons, as NO_SOCKET,TCP_CSUM or retransmit
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Drops")]
    pub reason: Vec<String>,
    /// Show the kernel's functions that led there
    #[arg(long, help_heading = "Drops")]
    pub stack: bool,
    /// Show at most so many in a second; all are counted
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Drops",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,

    /// Only in this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME", help_heading = "Scope")]
    pub netns: Option<String>,
    /// Only what is on this interface
    #[arg(short, long, value_name = "IF", help_heading = "Scope")]
    pub interface: Option<String>,
    /// Only IPv4
    #[arg(short = '4', conflicts_with = "v6", help_heading = "Scope")]
    pub v4: bool,
    /// Only IPv6
    #[arg(short = '6', id = "v6", help_heading = "Scope")]
    pub v6: bool,

    /// What every run takes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What a row of `syscalls` sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    /// All calls of one kind
    Syscall,
    /// All calls of one process
    Process,
    /// All calls of one container or systemd unit
    Container,
}

/// What every run takes.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Run CMD, show only it and its children, end with it and exit with its status
    #[arg(last = true, value_name = "CMD", conflicts_with = "pids")]
    pub command: Vec<OsString>,

    /// Whose it is to be.
    #[command(flatten)]
    pub processes: ProcessArgs,

    /// In which order, and how much of it.
    #[command(flatten)]
    pub order: OrderArgs,

    /// Where to and in which form.
    #[command(flatten)]
    pub output: OutputArgs,

    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, help_heading = "Time")]
    pub duration: Option<f64>,

    /// Room for records between two reads: bytes, K or M, a power of two
    #[arg(long, value_name = "BYTES", value_parser = ring_size, help_heading = "Hooks")]
    pub ring_size: Option<u32>,
}

/// Whose it is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Scope")]
pub struct ProcessArgs {
    /// Only these processes
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    /// Only processes of exactly this name
    #[arg(long = "comm", value_name = "NAME")]
    pub comms: Vec<String>,
    /// Only processes of this user, by name or number
    #[arg(long = "uid", value_name = "USER")]
    pub users: Vec<String>,
    /// Only processes in this cgroup, or below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Only this container or systemd unit, by a part of its name
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Only this Kubernetes pod, by a part of its uid
    #[arg(long, value_name = "UID")]
    pub pod: Option<String>,
}

/// Which sockets or interfaces to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Scope")]
pub struct SocketArgs {
    /// Only this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// Only this interface (views ifaces, flows and drops); ifaces and flows take several, as -i 'eth*' -i lo
    #[arg(short, long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Only IPv4
    #[arg(short = '4', conflicts_with = "v6")]
    pub v4: bool,
    /// Only IPv6
    #[arg(short = '6', id = "v6")]
    pub v6: bool,
    /// Count unix sockets too: rows in conns, columns unix_rx_bytes and unix_tx_bytes in procs
    #[arg(long)]
    pub unix: bool,
}

/// What of flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Flows")]
pub struct FlowArgs {
    /// Room for so many flows (65536); what has none counts as “other”
    #[arg(long = "flows", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub entries: Option<u32>,
    /// Count what is within VXLAN, GRE and IP in IP in place of the tunnel
    #[arg(long)]
    pub inner: bool,
}

/// What before the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Hooks")]
pub struct XdpArgs {
    /// Count packets of interfaces before the stack sees them, and what XDP programs do with them; auto is
    /// native, else skb. A driver may start its queues anew for it
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub xdp_mode: XdpModeArg,
}

/// Where nettrace's XDP program is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpModeArg {
    /// Nowhere
    #[default]
    Off,
    /// In the driver, or behind it if the driver can't
    Auto,
    /// In the driver
    Native,
    /// Behind the driver
    Skb,
    /// On the card
    Hw,
}

/// In which order, and how much of it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Order")]
pub struct OrderArgs {
    /// Sort by this column: large numbers first, text from A to Z
    #[arg(short, long, value_name = "KEY")]
    pub sort: Option<String>,
    /// The other way round
    #[arg(short, long)]
    pub reverse: bool,
    /// At most so many rows; 0 is all (on a terminal, what fits)
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    /// These columns, by key or title (`nettrace schema` has them all); of the usual ones, a narrow
    /// terminal has those that matter most
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// Where to and in which form.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// The form
    #[arg(short = 'O', long = "output", value_enum, default_value_t, value_name = "FORM")]
    pub format: FormatArg,
    /// Into a new file in place of stdout
    #[arg(short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite the file of -o
    #[arg(long, requires = "out")]
    pub force: bool,
    /// No colour (NO_COLOR does the same)
    #[arg(long)]
    pub no_color: bool,
    /// No look-ups of names
    #[arg(short = 'n')]
    pub numeric: bool,
    /// Units in tables
    #[arg(short, long, value_enum, default_value_t)]
    pub units: UnitsArg,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The form
    #[arg(short = 'O', long = "output", value_enum, default_value_t, value_name = "FORM")]
    pub format: DoctorFormat,
}

/// Forms of `doctor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Forms of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Aligned columns
    #[default]
    Table,
    /// One document
    Json,
    /// One object a line
    Ndjson,
    /// With a header
    Csv,
}

/// Units of bytes in tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum UnitsArg {
    /// 1.5KiB
    #[default]
    BinBytes,
    /// 12.0Kib
    BinBits,
    /// 1.5kB
    SiBytes,
    /// 12.3kb
    SiBits,
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(seconds),
        _ => Err("write a number of seconds above 0, as 10 or 0.5".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 5] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];

    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
    match (digits.parse::<f64>(), unit) {
        (Ok(number), Some((_, seconds))) if number > 0.0 && number * seconds <= 1e6 => {
            Ok(Duration::from_secs_f64(number * seconds))
        }
        _ => Err("write a number and ns, us, ms or s, as 500us or 10ms".to_owned()),
    }
}

fn ring_size(text: &str) -> Result<u32, String> {
    const LEAST: u32 = 4096;

    let (digits, factor) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| n.is_power_of_two() && (LEAST..=1 << 30).contains(n))
        .ok_or_else(|| "write a power of two from 4K to 1024M, as 256K or 4M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250µs"), Ok(Duration::from_micros(250)));
        for wrong in ["", "10", "ms", "-1ms", "0s", "10min", "1e9s", "NaNs", "infs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_size("256K"), Ok(256 << 10));
        assert_eq!(ring_size("4m"), Ok(4 << 20));
        assert_eq!(ring_size("8192"), Ok(8192));
        for wrong in ["", "K", "3M", "2048", "2000M", "99999999999", "-1", "é"] {
            assert!(ring_size(wrong).is_err(), "{wrong}");
        }
    }
}

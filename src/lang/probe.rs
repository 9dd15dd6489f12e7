//! Where a program is attached: the parts of `kprobe:tcp_*` and the like.

use std::fmt;

use super::types::Name;

/// Providers by their names and short names.
pub const PROVIDERS: &[(&str, &str)] = &[
    ("begin", "BEGIN"),
    ("end", "END"),
    ("self", ""),
    ("test", ""),
    ("bench", ""),
    ("kprobe", "k"),
    ("kretprobe", "kr"),
    ("uprobe", "u"),
    ("uretprobe", "ur"),
    ("usdt", "U"),
    ("tracepoint", "t"),
    ("rawtracepoint", "rt"),
    ("profile", "p"),
    ("interval", "i"),
    ("software", "s"),
    ("hardware", "h"),
    ("watchpoint", "w"),
    ("fentry", "f"),
    ("fexit", "fr"),
    ("fentry", "kfunc"),
    ("fexit", "kretfunc"),
    ("iter", "it"),
];

/// Signals that nettrace takes for a program.
pub const SIGNALS: &[&str] = &["SIGUSR1"];

/// Events of the kernel: the names in perf_event_open(2), and other names for them.
pub const SOFTWARE: &[(&str, &str)] = &[
    ("alignment-faults", ""),
    ("bpf-output", ""),
    ("context-switches", "cs"),
    ("cpu-clock", "cpu"),
    ("cpu-migrations", ""),
    ("dummy", ""),
    ("emulation-faults", ""),
    ("major-faults", ""),
    ("minor-faults", ""),
    ("page-faults", "faults"),
    ("task-clock", ""),
];

/// Events of the CPU.
pub const HARDWARE: &[(&str, &str)] = &[
    ("backend-stalls", ""),
    ("branch-instructions", "branches"),
    ("branch-misses", ""),
    ("bus-cycles", ""),
    ("cache-misses", ""),
    ("cache-references", ""),
    ("cpu-cycles", "cycles"),
    ("frontend-stalls", ""),
    ("instructions", ""),
    ("ref-cycles", ""),
];

/// What an attach point says, once its words are taken apart. Wildcards may remain where `list` or
/// `kprobe.multi` take them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Before all others are attached.
    Begin,
    /// After all others are detached.
    End,
    /// With `--test`.
    Test(Name),
    /// With `--bench`.
    Bench(Name),
    /// When nettrace gets a signal.
    SelfSignal(Name),
    /// From time to time, on one CPU.
    Interval(Period),
    /// From time to time, on every CPU.
    Profile(Period),
    /// A counter of the kernel that overflows.
    Software {
        /// Its name in perf_event_open(2), lower case: `cpu-clock`.
        event: Name,
        /// How much it counts between two events; 0 if the program doesn't say.
        count: u64,
    },
    /// A counter of the CPU that overflows.
    Hardware {
        /// Its name: `cache-misses`.
        event: Name,
        /// How much it counts between two events; 0 if the program doesn't say.
        count: u64,
    },
    /// A tracepoint by its category and name.
    Tracepoint {
        /// `syscalls`.
        category: Name,
        /// `sys_enter_openat`.
        event: Name,
    },
    /// A tracepoint with its arguments as they are.
    RawTracepoint {
        /// `vmlinux` or a module.
        module: Option<Name>,
        /// `kfree_skb`.
        event: Name,
    },
    /// A kernel function, by trampoline.
    Fentry {
        /// At its return (`fexit`).
        at_return: bool,
        /// `vmlinux` or a module.
        module: Option<Name>,
        /// Its name.
        function: Name,
    },
    /// A running BPF program, by trampoline.
    FentryBpf {
        /// At its return (`fexit`).
        at_return: bool,
        /// Its number.
        id: Option<u32>,
        /// Its name.
        function: Name,
    },
    /// A kernel function or instruction.
    Kprobe {
        /// At its return (`kretprobe`).
        at_return: bool,
        /// A module.
        module: Option<Name>,
        /// Where.
        at: Address,
    },
    /// A function or instruction of a file.
    Uprobe {
        /// At its return (`uretprobe`).
        at_return: bool,
        /// The file as it is written: a path, or a library's name.
        file: Name,
        /// Whether names are those of C++ (`cpp`).
        is_cpp: bool,
        /// Where.
        at: Address,
    },
    /// A static tracepoint of a file.
    Usdt {
        /// The file as it is written, or `*`.
        file: Name,
        /// Its provider.
        provider: Option<Name>,
        /// Its name.
        event: Name,
    },
    /// A walk over objects of the kernel.
    Iter {
        /// `task`.
        object: Name,
        /// Where to pin it.
        pin: Option<Name>,
    },
    /// Memory that is read, written or executed.
    Watchpoint {
        /// Where.
        address: u64,
        /// How many bytes: 1, 2, 4 or 8.
        length: u64,
        /// `r`, `w` and `x`, in this order.
        mode: Name,
    },
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// Every so many nanoseconds.
    Nanoseconds(u64),
    /// So often in a second.
    Hertz(u64),
}

/// A place in code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// So many bytes behind where a function begins.
    Function {
        /// Its name.
        name: Name,
        /// Bytes.
        offset: u64,
    },
    /// A number: an address of the kernel, an offset of a file's code.
    Absolute(u64),
    /// A line of source.
    Line {
        /// Its file.
        file: Name,
        /// Which line.
        line: u32,
        /// Which column; 0 for any.
        column: u32,
    },
}

impl Probe {
    /// What `probetype` says: the provider, but for those of the runtime itself.
    pub fn kind(&self) -> &'static str {
        match self {
            Probe::Begin | Probe::End | Probe::SelfSignal(_) => "special",
            Probe::Bench(_) => "benchmark",
            other => other.provider(),
        }
    }

    /// The name of its provider in full.
    pub fn provider(&self) -> &'static str {
        match self {
            Probe::Begin => "begin",
            Probe::End => "end",
            Probe::Test(_) => "test",
            Probe::Bench(_) => "bench",
            Probe::SelfSignal(_) => "self",
            Probe::Interval(_) => "interval",
            Probe::Profile(_) => "profile",
            Probe::Software { .. } => "software",
            Probe::Hardware { .. } => "hardware",
            Probe::Tracepoint { .. } => "tracepoint",
            Probe::RawTracepoint { .. } => "rawtracepoint",
            Probe::Fentry { at_return, .. } | Probe::FentryBpf { at_return, .. } => {
                if *at_return {
                    "fexit"
                } else {
                    "fentry"
                }
            }
            Probe::Kprobe { at_return, .. } => {
                if *at_return {
                    "kretprobe"
                } else {
                    "kprobe"
                }
            }
            Probe::Uprobe { at_return, .. } => {
                if *at_return {
                    "uretprobe"
                } else {
                    "uprobe"
                }
            }
            Probe::Usdt { .. } => "usdt",
            Probe::Iter { .. } => "iter",
            Probe::Watchpoint { .. } => "watchpoint",
        }
    }
}

impl Period {
    /// The unit and how many of it, as programs write it: the greatest unit that it is a multiple of.
    pub fn words(self) -> (&'static str, u64) {
        match self {
            Period::Hertz(count) => ("hz", count),
            Period::Nanoseconds(ns) if ns % 1_000_000_000 == 0 => ("s", ns / 1_000_000_000),
            Period::Nanoseconds(ns) if ns % 1_000_000 == 0 => ("ms", ns / 1_000_000),
            Period::Nanoseconds(ns) => ("us", ns / 1_000),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Function { name, offset: 0 } => f.write_str(name),
            Address::Function { name, offset } => write!(f, "{name}+{offset}"),
            Address::Absolute(address) => write!(f, "{address}"),
            Address::Line { file, line, column: 0 } => write!(f, "{file}:{line}"),
            Address::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
        }
    }
}

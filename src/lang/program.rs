//! A compiled program: what the compiler hands to the runtime, and all that the runtime needs to know. The
//! compiler knows no file descriptors, the runtime no syntax.
//!
//! # Instructions
//! They name maps and functions by their places in [`Program`], in the immediate of a wide load or of a call:
//!
//! | instruction | register field | immediate | stands for |
//! | --- | --- | --- | --- |
//! | `lddw` | `BPF_PSEUDO_MAP_FD` | place in `maps` | a map, as calls take it |
//! | `lddw` | `BPF_PSEUDO_MAP_VALUE` | place in `maps`; offset in the next | an address in a map's only value |
//! | `lddw` | `BPF_PSEUDO_FUNC` | place in `functions` | a callback |
//! | `call` | `BPF_PSEUDO_CALL` | place in `functions` | a function |
//! | `call` | `BPF_PSEUDO_KFUNC_CALL` | BTF id in vmlinux | ready for the kernel |
//!
//! # Messages
//! What goes through the ring begins with a `u64`, the place of an [`Action`] in `actions`. Its fields follow
//! at the offsets that the action tells, counted from the message's beginning.
//!
//! # Values
//! In keys, values and messages:
//!
//! | type | layout |
//! | --- | --- |
//! | integer, bool, enum, pointer | its size, native order |
//! | string, `N` | `N` bytes with a NUL, nothing is said of what is behind it |
//! | buffer, `N` | `u32` length, then `N` bytes of room |
//! | tuple, record | fields at offsets aligned as in C, padding is zero |
//! | struct, union, array | as in memory |
//! | kernel stack | [`STACK_SIZE`] bytes: `u64` hash, `u64` frames: the key in the map of its [`StackMap`] |
//! | user stack | the same, then `u32` process, `u32` place in `probes` |
//! | ksym | `u64` address |
//! | usym | `u64` address, `u32` process, `u32` place in `probes`, and [`PROBED`] if the address is the probed one |
//! | inet | `u64` family (`AF_INET`, `AF_INET6`), 4 or 16 bytes in 16 |
//! | MAC address | 6 bytes |
//! | username | `u64` uid |
//! | timestamp (strftime) | `u32` place in `formats`, `u32` clock (its place in [`Clock`](super::types::Clock)), `u64` ns |
//! | cgroup path | `u64` place in `formats` (the pattern), `u64` cgroup id |
//!
//! # Aggregates
//! One for each CPU, which user space sums. A scalar one is an array's entry, which is all zero if there is nothing,
//! but for sum, whose 0 is a value: that one is a hash's.
//!
//! | type | layout |
//! | --- | --- |
//! | count, sum | `u64` |
//! | min, max | `u64` value, `u64` 1 if there is one |
//! | avg, stats | `u64` total, `u64` count |
//! | hist, lhist | an entry for each bucket: `u64` |
//! | tseries | an entry for each interval: `u64` its number by CLOCK_TAI, `u64` value, `u64` count |
//!
//! The last two are tables. A scalar map is an array of all its entries; a keyed one has the number of the entry,
//! a `u64`, behind the program's key, at a multiple of 8 ([`Map::table_key`]). Those that nothing fell into are
//! missing, or 0. The entry of a tseries' interval is its number modulo the number of intervals.
//!
//! hist's entries: 0 is of what is negative, then come the first `1 << bits` values, then for each power of two from
//! there on `1 << bits` equal parts of it. lhist's: 0 is of what is below, the last of what is above.

use libbpf_sys::bpf_insn;

use super::source::Span;
use super::types::{Structs, Type};

/// The bit in a usym's place that says that its address is where its probe is, so that its name is known when the process
/// is gone.
pub const PROBED: u32 = 1 << 31;

/// The most rounds of a loop that the kernel allows (`BPF_MAX_LOOPS`).
pub const MOST_ROUNDS: i32 = 1 << 23;

/// A compiled program.
#[derive(Debug, Default)]
pub struct Program {
    /// Of the program, in the kernel's words (`GPL`).
    pub license: String,
    /// The program's own and the compiler's.
    pub maps: Vec<Map>,
    /// Callbacks of loops, and what several probes call.
    pub functions: Vec<Function>,
    /// In the program's order. A probe with a wildcard is one, with many places to attach.
    pub probes: Vec<Probe>,
    /// What messages ask of user space.
    pub actions: Vec<Action>,
    /// strftime's formats and cgroup_path's patterns, which values name by their place.
    pub formats: Vec<String>,
    /// What structs of values are.
    pub structs: Structs,
}

/// A map.
#[derive(Clone, Debug)]
pub struct Map {
    /// `@x`; `@` of the nameless. The compiler's own have names without an `@`.
    pub name: String,
    /// How the kernel keeps it.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value, on each CPU where it is per CPU.
    pub value_size: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// What for.
    pub role: Role,
}

impl Program {
    /// Types of what is printed: arguments of functions, keys and values of maps.
    pub fn shown(&self) -> Vec<Type> {
        let mut types = Vec::new();
        for action in &self.actions {
            match action {
                Action::Formatted { args, .. } => {
                    types.extend(args.iter().map(|arg| arg.ty.clone()));
                }
                Action::PrintValue(field) => types.push(field.ty.clone()),
                _ => {}
            }
        }
        for map in &self.maps {
            if let Role::User { key, value } = &map.role {
                types.extend(key.iter().cloned());
                types.push(value.clone());
            }
        }
        types
    }
}

impl Map {
    /// Of a keyed map that is a table: where the number of the entry is in its key.
    pub fn table_key(structs: &Structs, key: &Type) -> u32 {
        structs.size_of(key).next_multiple_of(8)
    }
}

/// What a map is for.
#[derive(Clone, Debug)]
pub enum Role {
    /// One of the program's, which can be printed.
    User {
        /// None of a scalar one. Its only entry has the key 0, four or eight bytes long as `key_size` says.
        key: Option<Type>,
        /// May be an aggregate.
        value: Type,
    },
    /// Messages to user space; its size in bytes is `max_entries`, which user space may set.
    Ring,
    /// How many messages found no room: a `u64` on each CPU.
    Lost,
    /// Frames of stacks.
    Stacks(StackMap),
    /// Rooms for values that the stack is too small for.
    Scratch,
    /// Constants: strings and the like, read only. Its value is this.
    Constants(Vec<u8>),
    /// What user space writes before anything runs: a word for each [`Parameter`].
    Parameters,
    /// Some other of the compiler's own.
    Internal,
}

/// What user space tells the program, in the order of its words in the only value of that map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// When the program starts, ns since boot.
    Start,
    /// How far CLOCK_TAI is ahead of the time since boot, ns.
    TaiOffset,
    /// The process of `-c`; 0 for none.
    Child,
    /// Always 0, which the verifier doesn't know: what is added to it is unknown too.
    Zero,
}

impl Parameter {
    /// How many there are.
    pub const COUNT: u32 = 4;

    /// Where its word is.
    pub fn offset(self) -> u32 {
        self as u32 * 8
    }
}

/// Of which stacks a map has the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackMap {
    /// Frames at most. The map's value is as many `u64`.
    pub frames: u32,
}

/// Bytes of a kernel stack's value, and of its key in the map of stacks; a user stack has 8 more.
pub const STACK_SIZE: u32 = 16;

/// Kinds of maps.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    Hash,
    LruHash,
    PercpuHash,
    PercpuLruHash,
    Array,
    PercpuArray,
    Ringbuf,
}

impl MapKind {
    /// Whether there is a value for each CPU.
    pub fn is_per_cpu(self) -> bool {
        matches!(self, Self::PercpuHash | Self::PercpuLruHash | Self::PercpuArray)
    }
}

/// A function of a program's own: a static one, so that the verifier looks at it from where it is called.
#[derive(Clone, Debug)]
pub struct Function {
    /// For the verifier's log.
    pub name: String,
    /// How many arguments it takes, all of them words.
    pub arguments: u32,
    /// Its code.
    pub code: Code,
}

/// Instructions and where they come from.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// In the form that the module describes.
    pub insns: Vec<bpf_insn>,
    /// The first instruction that belongs to each place of the source, in rising order.
    pub lines: Vec<(u32, Span)>,
}

/// What is run at an event.
#[derive(Clone, Debug)]
pub struct Probe {
    /// As the program has it, wildcards expanded: what `probe` says.
    pub name: String,
    /// Where it attaches: the parser's attach point with its wildcard expanded to one place, or to all that
    /// share this code.
    pub attach: Vec<super::ast::AttachPoint>,
    /// Where it is in the source.
    pub span: Span,
    /// What runs.
    pub code: Code,
    /// Whether it may sleep (`uprobe.s` and the like).
    pub sleepable: bool,
}

/// A value in a message.
#[derive(Clone, Debug)]
pub struct Field {
    /// From the message's beginning.
    pub offset: u32,
    /// Says its size too.
    pub ty: Type,
}

/// What a message asks of user space. Numbers of which nothing is said are `u64` at offset 8.
#[derive(Clone, Debug)]
pub enum Action {
    /// printf, errorf, warnf, system, cat.
    Formatted {
        /// What becomes of the text.
        sink: Sink,
        /// The format, escapes resolved.
        format: String,
        /// What it formats.
        args: Vec<Field>,
        /// Of the call: errorf and warnf tell it.
        span: Span,
    },
    /// print of a value.
    PrintValue(Field),
    /// print of a map's entry: `@x[key]`; the value is an aggregate, summed over all CPUs.
    PrintEntry {
        /// Place in `maps`.
        map: usize,
        /// Its key, in the message.
        key: Field,
    },
    /// print of a map: `u64` how many entries, 0 for all; `u64` divisor, 0 for none.
    PrintMap(usize),
    /// All entries go.
    ClearMap(usize),
    /// All values become 0.
    ZeroMap(usize),
    /// time: the format.
    Time(String),
    /// join: `u64` how many there are, then `max` rooms of `size` bytes, each with a NUL.
    Join {
        /// Between two.
        separator: String,
        /// Rooms.
        max: u32,
        /// Bytes of each.
        size: u32,
    },
    /// The program ends: `u64` status.
    Exit,
    /// Something failed at run time: `i64` what the helper returned.
    RuntimeError {
        /// What.
        error: RuntimeError,
        /// Where.
        span: Span,
    },
    /// skboutput: `u64` ns since boot, then `u32` bytes there are, then the packet.
    Packet {
        /// The file.
        path: String,
        /// Bytes to leave out at the beginning.
        offset: u64,
    },
}

/// What becomes of formatted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Printed.
    Printf,
    /// Told as an error.
    Errorf,
    /// Told as a warning.
    Warnf,
    /// Run by a shell.
    System,
    /// The file of that name is printed.
    Cat,
}

/// What can fail at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeError {
    /// Divided by zero; 1 was taken.
    DivideByZero,
    /// Beyond an array's end.
    OutOfBounds,
    /// The helper of that number (`BPF_FUNC_…`) returned an error.
    Helper(u32),
    /// No stack of the kernel could be had.
    KernelStack,
    /// None of the program.
    UserStack,
    /// A loop had as many rounds as the kernel allows.
    LoopEnded,
}

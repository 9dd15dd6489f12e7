//! What values are: integers with sign and width, strings, tuples, kernel structs, aggregates of maps …
//!
//! Also how they lie in memory, which the generated code and the formatter of its output must agree on.

use std::fmt;
use std::sync::Arc;

mod layout;
mod structs;

pub use layout::{Layout, tuple_layout};
pub use structs::{
    BitField, EnumDef, Field, Origin, StructDef, StructId, StructKind, Structs, TypeSource,
};

/// A name that many nodes share.
pub type Name = Arc<str>;

/// A type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Type {
    /// Nothing: of a statement, or of what no pass has looked at yet.
    #[default]
    None,
    /// What a `void *` points to.
    Void,
    /// `true` or `false`.
    Bool,
    /// An integer.
    Int(Int),
    /// An integer whose values have names.
    Enum(Name, Int),
    /// A floating-point number of so many bytes, which programs can't calculate with.
    Float(u8),
    /// Up to so many bytes, with the NUL that ends it.
    String(u32),
    /// Up to so many bytes, and how many they are.
    Buffer(u32),
    /// An address.
    Pointer(Pointer),
    /// So many of one type.
    Array(Arc<Type>, u32),
    /// A struct or union of C.
    Struct(StructId),
    /// Values in an order.
    Tuple(Arc<[Type]>),
    /// Values with names.
    Record(Arc<[(Name, Type)]>),
    /// A kernel stack.
    KStack(Stack),
    /// A stack of a process.
    UStack(Stack),
    /// The address of a kernel symbol.
    KSym,
    /// The address of a process's symbol.
    USym,
    /// A user by id.
    Username,
    /// An IP address.
    Inet,
    /// A hardware address.
    MacAddress,
    /// A cgroup by id.
    CgroupPath,
    /// A time and how to write it.
    Timestamp,
    /// A word that says which clock.
    TimestampMode(Clock),
    /// What a map adds up.
    Aggregate(Aggregate),
}

/// An integer's width and sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Int {
    /// 8, 16, 32 or 64.
    pub bits: u8,
    /// Whether it can be less than 0.
    pub signed: bool,
}

/// Which memory an address is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddressSpace {
    /// Not known: the kernel's, if it is read.
    #[default]
    Unknown,
    /// The kernel's.
    Kernel,
    /// The current process's.
    User,
    /// The program's own: its variables and map values, which the verifier lets be read directly.
    Own,
}

/// An address and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// What is there.
    pub to: Arc<Type>,
    /// Which memory.
    pub space: AddressSpace,
}

/// How a stack is taken and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// How it is written.
    pub mode: StackMode,
    /// How many frames at most.
    pub limit: u16,
}

/// How a stack is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StackMode {
    /// Symbol and offset.
    #[default]
    Bpftrace,
    /// As perf does: address, symbol, offset and file.
    Perf,
    /// The addresses.
    Raw,
    /// The build id and the offset in the file.
    BuildId,
}

impl StackMode {
    /// By its name.
    pub fn named(name: &str) -> Option<StackMode> {
        match name {
            "bpftrace" => Some(StackMode::Bpftrace),
            "perf" => Some(StackMode::Perf),
            "raw" => Some(StackMode::Raw),
            "build_id" => Some(StackMode::BuildId),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            StackMode::Bpftrace => "bpftrace",
            StackMode::Perf => "perf",
            StackMode::Raw => "raw",
            StackMode::BuildId => "build_id",
        }
    }
}

/// A clock of `nsecs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clock {
    /// CLOCK_BOOTTIME.
    #[default]
    Boot,
    /// CLOCK_MONOTONIC.
    Monotonic,
    /// CLOCK_TAI.
    Tai,
    /// CLOCK_TAI by way of the difference that was measured at the start.
    SoftwareTai,
}

/// What a map adds up, per CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// How often.
    Count,
    /// The sum.
    Sum {
        /// Of signed integers.
        signed: bool,
    },
    /// The least.
    Min {
        /// Of signed integers.
        signed: bool,
    },
    /// The greatest.
    Max {
        /// Of signed integers.
        signed: bool,
    },
    /// The mean.
    Avg {
        /// Of signed integers.
        signed: bool,
    },
    /// Count, mean and sum.
    Stats {
        /// Of signed integers.
        signed: bool,
    },
    /// Powers of two, each in 2^`bits` parts.
    Hist {
        /// 0 to 5.
        bits: u8,
    },
    /// Steps of equal width.
    Lhist {
        /// The lower end of the first.
        min: i64,
        /// The upper end of the last.
        max: i64,
        /// How wide each is.
        step: i64,
    },
    /// Values by time.
    Tseries {
        /// What is kept of an interval's values.
        of: Series,
        /// How long an interval is, ns.
        interval: u64,
        /// How many of them are kept.
        intervals: u32,
        /// Of signed integers.
        signed: bool,
    },
}

/// What a time series keeps of an interval's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Series {
    /// The last one.
    #[default]
    Last,
    /// Their mean.
    Avg,
    /// The greatest.
    Max,
    /// The least.
    Min,
    /// Their sum.
    Sum,
}

impl Int {
    /// uint8.
    pub const U8: Int = Int { bits: 8, signed: false };
    /// uint32.
    pub const U32: Int = Int { bits: 32, signed: false };
    /// int32.
    pub const I32: Int = Int { bits: 32, signed: true };
    /// uint64.
    pub const U64: Int = Int { bits: 64, signed: false };
    /// int64.
    pub const I64: Int = Int { bits: 64, signed: true };

    /// How many bytes it has.
    pub fn bytes(self) -> u32 {
        u32::from(self.bits) / 8
    }

    /// The least value that it can have.
    pub fn least(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// The greatest value that it can have.
    pub fn greatest(self) -> i128 {
        (1 << (self.bits - u8::from(self.signed))) - 1
    }

    /// Whether a value is one of its.
    pub fn holds(self, value: i128) -> bool {
        (self.least()..=self.greatest()).contains(&value)
    }

    /// What is left of a value in so many bits.
    pub fn wrap(self, value: i128) -> i128 {
        let unsigned = value & ((1 << self.bits) - 1);
        let is_negative = self.signed && unsigned > self.greatest();
        if is_negative { unsigned - (1 << self.bits) } else { unsigned }
    }

    /// The smallest type for a literal: signed, but for those above the greatest int64.
    pub fn of_literal(value: i128) -> Int {
        let signed = [8, 16, 32, 64].map(|bits| Int { bits, signed: true });
        signed.into_iter().find(|int| int.holds(value)).unwrap_or(Int::U64)
    }
}

impl Type {
    /// int64.
    pub const I64: Type = Type::Int(Int::I64);
    /// uint64.
    pub const U64: Type = Type::Int(Int::U64);
    /// uint32.
    pub const U32: Type = Type::Int(Int::U32);

    /// A pointer to this.
    pub fn pointer(self, space: AddressSpace) -> Type {
        Type::Pointer(Pointer { to: Arc::new(self), space })
    }

    /// A tuple of these.
    pub fn tuple(of: impl IntoIterator<Item = Type>) -> Type {
        Type::Tuple(of.into_iter().collect())
    }

    /// The integer that it is, by name or not.
    pub fn int(&self) -> Option<Int> {
        match self {
            Type::Int(int) | Type::Enum(_, int) => Some(*int),
            _ => None,
        }
    }

    /// Whether it is an integer.
    pub fn is_int(&self) -> bool {
        self.int().is_some()
    }

    /// Whether it is nothing.
    pub fn is_none(&self) -> bool {
        *self == Type::None
    }

    /// Whether it holds values below 0.
    pub fn is_signed(&self) -> bool {
        self.int().is_some_and(|int| int.signed)
    }

    /// What a map adds up.
    pub fn aggregate(&self) -> Option<Aggregate> {
        if let Type::Aggregate(aggregate) = self { Some(*aggregate) } else { None }
    }

    /// Whether values of it can be read as an integer by a cast: sums and the like of all CPUs.
    pub fn is_castable_aggregate(&self) -> bool {
        use Aggregate::{Avg, Count, Max, Min, Stats, Sum};
        let castable = |of| {
            matches!(of, Count | Sum { .. } | Min { .. } | Max { .. } | Avg { .. } | Stats { .. })
        };
        self.aggregate().is_some_and(castable)
    }

    /// Whether it is kept in memory and handed on by address: it doesn't fit a register.
    pub fn is_in_memory(&self) -> bool {
        !matches!(
            self,
            Type::None
                | Type::Void
                | Type::Bool
                | Type::Int(_)
                | Type::Enum(..)
                | Type::Pointer(_)
                | Type::KSym
                | Type::Username
                | Type::TimestampMode(_)
        )
    }

    /// The kind alone, as messages say it: `int`, `string`, `pointer`.
    pub fn kind(&self) -> &'static str {
        match self {
            Type::None => "none",
            Type::Void => "void",
            Type::Bool => "bool",
            Type::Int(_) | Type::Enum(..) => "int",
            Type::Float(_) => "float",
            Type::String(_) => "string",
            Type::Buffer(_) => "buffer",
            Type::Pointer(_) => "pointer",
            Type::Array(..) => "array",
            Type::Struct(_) => "c_type",
            Type::Tuple(_) => "tuple",
            Type::Record(_) => "record",
            Type::KStack(_) => "kstack",
            Type::UStack(_) => "ustack",
            Type::KSym => "ksym_t",
            Type::USym => "usym_t",
            Type::Username => "username_t",
            Type::Inet => "inet",
            Type::MacAddress => "macaddr_t",
            Type::CgroupPath => "cgroup_path_t",
            Type::Timestamp => "timestamp",
            Type::TimestampMode(_) => "timestamp_mode",
            Type::Aggregate(aggregate) => aggregate.kind(),
        }
    }

    /// The type in full, as messages and `typeinfo` say it: `uint32`, `string[16]`, `struct sock *`.
    pub fn display<'a>(&'a self, structs: &'a Structs) -> Display<'a> {
        Display { of: self, structs }
    }
}

impl Aggregate {
    /// Its name.
    pub fn kind(self) -> &'static str {
        match self {
            Aggregate::Count => "count_t",
            Aggregate::Sum { .. } => "sum_t",
            Aggregate::Min { .. } => "min_t",
            Aggregate::Max { .. } => "max_t",
            Aggregate::Avg { .. } => "avg_t",
            Aggregate::Stats { .. } => "stats_t",
            Aggregate::Hist { .. } => "hist_t",
            Aggregate::Lhist { .. } => "lhist_t",
            Aggregate::Tseries { .. } => "tseries_t",
        }
    }

    /// Whether it is of signed integers, if that makes a difference.
    pub fn signed(self) -> Option<bool> {
        match self {
            Aggregate::Sum { signed }
            | Aggregate::Min { signed }
            | Aggregate::Max { signed }
            | Aggregate::Avg { signed }
            | Aggregate::Stats { signed } => Some(signed),
            Aggregate::Tseries { signed, .. } => Some(signed),
            Aggregate::Count | Aggregate::Hist { .. } | Aggregate::Lhist { .. } => None,
        }
    }
}

/// Writes a type in full.
pub struct Display<'a> {
    of: &'a Type,
    structs: &'a Structs,
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.signed { "int" } else { "uint" }, self.bits)
    }
}

impl fmt::Display for Display<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = |of| Display { of, structs: self.structs };
        match self.of {
            Type::Int(int) => write!(f, "{int}"),
            Type::Enum(name, _) => write!(f, "enum {name}"),
            Type::String(0) | Type::Inet => f.write_str(self.of.kind()),
            Type::String(size) | Type::Buffer(size) => write!(f, "{}[{size}]", self.of.kind()),
            Type::Pointer(pointer) => write!(f, "{} *", inner(&pointer.to)),
            Type::Array(of, count) => write!(f, "{}[{count}]", inner(of)),
            Type::Struct(id) => f.write_str(&self.structs.get(*id).name),
            Type::Tuple(of) => {
                let of: Vec<String> = of.iter().map(|of| inner(of).to_string()).collect();
                write!(f, "({})", of.join(","))
            }
            Type::Record(fields) => {
                let field = |(name, of)| format!(".{name} = {}", inner(of));
                let fields: Vec<String> =
                    fields.iter().map(|(name, of)| field((name, of))).collect();
                write!(f, "record {{ {} }}", fields.join(", "))
            }
            Type::KStack(stack) => write!(f, "kstack_{}_{}", stack.mode.name(), stack.limit),
            Type::UStack(stack) => write!(f, "ustack_{}_{}", stack.mode.name(), stack.limit),
            Type::Aggregate(aggregate) => {
                let is_unsigned = aggregate.signed() == Some(false);
                let is_series = matches!(aggregate, Aggregate::Tseries { .. });
                let sign = if is_unsigned && !is_series { "u" } else { "" };
                write!(f, "{sign}{}", aggregate.kind())
            }
            other => f.write_str(other.kind()),
        }
    }
}

#[cfg(test)]
mod tests;

//! How values lie in memory: in variables, map keys and values, and events.

use super::{Aggregate, Structs, Type};

/// By what a stack is found: its id and how many frames it has.
const STACK_KEY: u32 = 16;

/// Where the parts of a tuple, record or struct are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// How many bytes the whole has, padding at its end included.
    pub size: u32,
    /// What its address is a multiple of.
    pub align: u32,
    /// Where each part begins.
    pub offsets: Vec<u32>,
}

impl Structs {
    /// How many bytes a value has.
    pub fn size_of(&self, of: &Type) -> u32 {
        match of {
            Type::None | Type::Void | Type::TimestampMode(_) => 0,
            Type::Bool => 1,
            Type::Int(int) | Type::Enum(_, int) => int.bytes(),
            Type::Float(size) => u32::from(*size),
            Type::String(size) => *size,
            // The length goes before the bytes.
            Type::Buffer(size) => size.saturating_add(4),
            Type::Pointer(_) | Type::KSym | Type::Username => 8,
            Type::Array(of, count) => self.size_of(of).saturating_mul(*count),
            Type::Struct(id) => self.get(*id).size,
            Type::Tuple(_) | Type::Record(_) => self.layout(of).size,
            Type::KStack(_) => STACK_KEY,
            // Whose it is, too.
            Type::UStack(_) => STACK_KEY + 8,
            // The address and whose it is.
            Type::USym => 16,
            // The family, then 4 or 16 bytes.
            Type::Inet => 24,
            Type::MacAddress => 6,
            // An id, and the number of a filter or format.
            Type::CgroupPath | Type::Timestamp => 16,
            Type::Aggregate(aggregate) => aggregate.size(),
        }
    }

    /// What a value's address is a multiple of, in a tuple.
    pub fn align_of(&self, of: &Type) -> u32 {
        match of {
            Type::String(_) | Type::MacAddress => 1,
            Type::Buffer(_) => 4,
            Type::Array(of, _) => self.align_of(of),
            Type::Struct(id) => self.get(*id).align.max(1),
            Type::Tuple(_) | Type::Record(_) => self.layout(of).align,
            other => match self.size_of(other) {
                0 | 1 => 1,
                2 => 2,
                3 | 4 => 4,
                _ => 8,
            },
        }
    }

    /// Where the parts of a tuple or record are; of anything else, that it is one part.
    pub fn layout(&self, of: &Type) -> Layout {
        let part = |of: &Type| (self.size_of(of), self.align_of(of));
        match of {
            Type::Tuple(of) => tuple_layout(of.iter().map(part)),
            Type::Record(fields) => tuple_layout(fields.iter().map(|(_, of)| part(of))),
            one => tuple_layout([part(one)]),
        }
    }
}

impl Aggregate {
    /// How many bytes a value has on one CPU, but for those that are tables of several entries.
    pub fn size(self) -> u32 {
        match self {
            Aggregate::Count | Aggregate::Sum { .. } => 8,
            // The value, and whether there is one; or the sum and the count.
            Aggregate::Min { .. }
            | Aggregate::Max { .. }
            | Aggregate::Avg { .. }
            | Aggregate::Stats { .. } => 16,
            Aggregate::Hist { .. } | Aggregate::Lhist { .. } => self.buckets() * 8,
            // The number of the interval, the value, and how many values it is of.
            Aggregate::Tseries { .. } => self.buckets() * 24,
        }
    }

    /// Whether it is kept as a table of several entries, each of them one of the map's.
    pub fn is_table(self) -> bool {
        matches!(self, Aggregate::Hist { .. } | Aggregate::Lhist { .. } | Aggregate::Tseries { .. })
    }

    /// How many bytes one of its entries has on one CPU.
    pub fn entry_size(self) -> u32 {
        match self {
            Aggregate::Hist { .. } | Aggregate::Lhist { .. } => 8,
            Aggregate::Tseries { .. } => 24,
            other => other.size(),
        }
    }

    /// How many entries its table has; 1 if it is none.
    pub fn buckets(self) -> u32 {
        match self {
            // Below 0, 0, the first 2^bits values by themselves, then 2^bits for each power of two.
            Aggregate::Hist { bits } => ((65 - u32::from(bits)) << bits) + 1,
            // What is below, what is above, and the steps between.
            Aggregate::Lhist { min, max, step } => {
                let steps = (i128::from(max) - i128::from(min)) / i128::from(step.max(1));
                u32::try_from(steps).unwrap_or(u32::MAX - 2).saturating_add(2)
            }
            Aggregate::Tseries { intervals, .. } => intervals,
            _ => 1,
        }
    }
}

/// One part after the other, each at a multiple of its alignment, as C does it. Parts are (size, align).
pub fn tuple_layout(parts: impl IntoIterator<Item = (u32, u32)>) -> Layout {
    let mut layout = Layout { size: 0, align: 1, offsets: Vec::new() };
    let up = |size: u32, align: u32| size.checked_next_multiple_of(align).unwrap_or(u32::MAX);
    for (size, align) in parts {
        let offset = up(layout.size, align);
        layout.offsets.push(offset);
        layout.size = offset.saturating_add(size);
        layout.align = layout.align.max(align);
    }
    layout.size = up(layout.size, layout.align);
    layout
}

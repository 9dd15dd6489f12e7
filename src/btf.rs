//! BTF, read where it lies. Opening it walks over the types once, to know where each begins; a name is
//! looked up in the strings first, so that no table of names is made.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::rc::Rc;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

mod layout;
mod slice;
#[cfg(test)]
mod tests;
mod write;

use layout::{TYPE, extra};
pub use write::Writer;

/// The kernel's own types, if it shows them. Those of its modules are beside.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const FOLDER: &str = "/sys/kernel/btf";
const OF_KERNEL: &str = "vmlinux";

const MAGIC: u16 = 0xeb9f;
/// `struct btf_header` without what newer versions append.
const HEADER: usize = 24;

/// Why BTF can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// No such file, mostly.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Cut off, or of another byte order.
    #[error("it isn't BTF")]
    Malformed,
}

/// A type's number. 0 is void.
pub type Id = u32;

/// All types of one file.
#[derive(Debug)]
pub struct Btf {
    bytes: Bytes,
    types: usize,
    strings: usize,
    strings_len: usize,
    /// Where each type begins, from the beginning of the types; void has no place.
    offsets: OnceCell<Vec<u32>>,
    types_len: usize,
    /// What a module's types go on from: they count on from its types, and their strings from its strings.
    base: Option<Rc<Btf>>,
}

/// What a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// void, or what has no layout.
    Void,
    /// An integer of so many bits.
    Int {
        /// Its bits; `_Bool` has 8.
        bits: u32,
        /// Whether it has a sign.
        signed: bool,
        /// `_Bool`.
        boolean: bool,
    },
    /// Points to.
    Pointer(Id),
    /// Elements and how many.
    Array(Id, u32),
    /// A struct of so many bytes.
    Struct(u32),
    /// A union of so many bytes.
    Union(u32),
    /// An enum of so many bytes.
    Enum {
        /// Its bytes.
        size: u32,
        /// Whether it has a sign.
        signed: bool,
    },
    /// Declared only.
    Forward,
    /// Another name of.
    Typedef(Id),
    /// const, volatile, restrict, type tags.
    Qualified(Id),
    /// A type tag on a pointee: `user`, `percpu`, `rcu`.
    Tagged(Id),
    /// A function of that prototype.
    Function(Id),
    /// Returns.
    Prototype(Id),
    /// A variable of that type.
    Variable(Id),
    /// Of so many bytes.
    Float(u32),
    /// Sections, declaration tags.
    Other,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Empty for what is anonymous.
    pub name: &'a str,
    /// Its type.
    pub ty: Id,
    /// From the struct's beginning.
    pub bit_offset: u32,
    /// 0 where it is no bit-field.
    pub bits: u32,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub ty: Id,
}

impl Btf {
    /// This kernel's.
    ///
    /// # Errors
    /// Where the kernel has none.
    pub fn vmlinux() -> Result<Self, BtfError> {
        Self::open(Path::new(VMLINUX))
    }

    /// The file's: of BTF and nothing else.
    ///
    /// # Errors
    /// Where it can't be read, or isn't BTF.
    pub fn open(path: &Path) -> Result<Self, BtfError> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len() as usize;
        // Linux can map it since 6.16; before, it is read.
        let bytes = match Bytes::map(&file, len) {
            Some(mapped) => mapped,
            None => {
                let mut read = Vec::with_capacity(len);
                file.read_to_end(&mut read)?;
                Bytes::Read(read)
            }
        };
        Self::parse(bytes)
    }

    /// A loaded module's, which has those types that the kernel itself hasn't.
    ///
    /// # Errors
    /// As of [`Btf::open`].
    pub fn module(name: &str, base: Rc<Btf>) -> Result<Self, BtfError> {
        Ok(Self { base: Some(base), ..Self::open(&Path::new(FOLDER).join(name))? })
    }

    fn parse(bytes: Bytes) -> Result<Self, BtfError> {
        let at = |at| u32_at(&bytes, at).map(|value| value as usize);
        let layout = || {
            (bytes.len() >= HEADER && u16::from_ne_bytes([bytes[0], bytes[1]]) == MAGIC)
                .then_some(())?;
            let header = at(4)?;
            let types = header.checked_add(at(8)?)?;
            let strings = header.checked_add(at(16)?)?;
            let (types_len, strings_len) = (at(12)?, at(20)?);
            bytes.get(types..types.checked_add(types_len)?)?;
            bytes.get(strings..strings.checked_add(strings_len)?)?;
            Some((types, types_len, strings, strings_len))
        };
        let (types, types_len, strings, strings_len) = layout().ok_or(BtfError::Malformed)?;
        Ok(Self {
            bytes,
            types,
            types_len,
            strings,
            strings_len,
            offsets: OnceCell::new(),
            base: None,
        })
    }

    /// The type of that name and of a kind that is wanted.
    pub fn find(&self, name: &str, wanted: impl Fn(Kind) -> bool) -> Option<Id> {
        let names = self.string_offsets(name);
        self.ids().find(|&id| {
            self.word(id, 0).is_some_and(|of| names.contains(&Some(of))) && wanted(self.kind(id))
        })
    }

    /// The struct or union of that name.
    pub fn find_struct(&self, name: &str) -> Option<Id> {
        self.find(name, |kind| matches!(kind, Kind::Struct(_) | Kind::Union(_)))
    }

    /// The function of that name.
    pub fn find_function(&self, name: &str) -> Option<Id> {
        self.find(name, |kind| matches!(kind, Kind::Function(_)))
    }

    /// The typedef of that name.
    pub fn find_typedef(&self, name: &str) -> Option<Id> {
        self.find(name, |kind| matches!(kind, Kind::Typedef(_)))
    }

    /// The value of an enum's constant, and the enum.
    pub fn find_constant(&self, name: &str) -> Option<(Id, i64)> {
        let wanted = self.string_offsets(name);
        self.ids().filter(|&id| matches!(self.kind(id), Kind::Enum { .. })).find_map(|id| {
            let mut constants = self.raw_constants(id);
            constants.find(|&(name, _)| wanted.contains(&Some(name))).map(|(_, value)| (id, value))
        })
    }

    /// Its name, empty where it has none.
    pub fn name(&self, id: Id) -> &str {
        self.word(id, 0).map_or("", |offset| self.string(offset))
    }

    /// What it is.
    pub fn kind(&self, id: Id) -> Kind {
        let (Some(info), Some(size_or_type)) = (self.word(id, 4), self.word(id, 8)) else {
            return Kind::Void;
        };
        let flag = info >> 31 != 0;
        match info >> 24 & 0x1f {
            1 => {
                let detail = self.word(id, TYPE).unwrap_or(0);
                let encoding = detail >> 24 & 0xf;
                Kind::Int {
                    bits: detail & 0xff,
                    signed: encoding & 1 != 0,
                    boolean: encoding & 4 != 0,
                }
            }
            2 => Kind::Pointer(size_or_type),
            3 => {
                let (element, len) = (self.word(id, TYPE), self.word(id, TYPE + 8));
                Kind::Array(element.unwrap_or(0), len.unwrap_or(0))
            }
            4 => Kind::Struct(size_or_type),
            5 => Kind::Union(size_or_type),
            6 | 19 => Kind::Enum { size: size_or_type, signed: flag },
            7 => Kind::Forward,
            8 => Kind::Typedef(size_or_type),
            9..=11 => Kind::Qualified(size_or_type),
            12 => Kind::Function(size_or_type),
            13 => Kind::Prototype(size_or_type),
            14 => Kind::Variable(size_or_type),
            16 => Kind::Float(size_or_type),
            18 => Kind::Tagged(size_or_type),
            _ => Kind::Other,
        }
    }

    /// The word for a [`Kind::Qualified`].
    pub fn qualifier(&self, id: Id) -> &'static str {
        match self.word(id, 4).map(|info| info >> 24 & 0x1f) {
            Some(9) => "volatile",
            Some(11) => "restrict",
            _ => "const",
        }
    }

    /// What is behind names, qualifiers and tags.
    pub fn resolve(&self, mut id: Id) -> Id {
        loop {
            match self.kind(id) {
                Kind::Typedef(to) | Kind::Qualified(to) | Kind::Tagged(to) => id = to,
                _ => return id,
            }
        }
    }

    /// Its bytes; 0 of what has no layout.
    pub fn size(&self, id: Id) -> u32 {
        match self.kind(self.resolve(id)) {
            Kind::Int { bits, .. } => bits.div_ceil(8),
            Kind::Pointer(_) => 8,
            Kind::Array(element, len) => self.size(element) * len,
            Kind::Struct(size) | Kind::Union(size) | Kind::Float(size) => size,
            Kind::Enum { size, .. } => size,
            _ => 0,
        }
    }

    /// Of a struct or union; the anonymous ones' members are in them.
    pub fn members(&self, id: Id) -> impl Iterator<Item = Member<'_>> {
        let has_bits = self.word(id, 4).is_some_and(|info| info >> 31 != 0);
        let count = matches!(self.kind(id), Kind::Struct(_) | Kind::Union(_))
            .then(|| self.len(id))
            .unwrap_or(0);
        (0..count).map(move |index| {
            let at = TYPE + index * 12;
            let offset = self.word(id, at + 8).unwrap_or(0);
            let (bits, bit_offset) =
                if has_bits { (offset >> 24, offset & 0xff_ffff) } else { (0, offset) };
            Member {
                name: self.string(self.word(id, at).unwrap_or(0)),
                ty: self.word(id, at + 4).unwrap_or(0),
                bit_offset,
                bits,
            }
        })
    }

    /// Of an enum.
    pub fn constants(&self, id: Id) -> impl Iterator<Item = (&str, i64)> {
        self.raw_constants(id).map(|(name, value)| (self.string(name), value))
    }

    fn raw_constants(&self, id: Id) -> impl Iterator<Item = (u32, i64)> {
        let signed = self.word(id, 4).is_some_and(|info| info >> 31 != 0);
        let values = self.enum_values(id);
        let word = move |at| self.word(id, at).unwrap_or(0);
        (0..self.len(id)).map(move |index| {
            let at = TYPE + index * 4 * (1 + values);
            let low = word(at + 4);
            let value = match (values == 2, signed) {
                (true, _) => i64::from(word(at + 8)) << 32 | i64::from(low),
                (false, true) => i64::from(low.cast_signed()),
                (false, false) => i64::from(low),
            };
            (word(at), value)
        })
    }

    /// How many words each of an enum's values takes.
    fn enum_values(&self, id: Id) -> usize {
        1 + usize::from(self.word(id, 4).is_some_and(|info| info >> 24 & 0x1f == 19))
    }

    /// Of a function or its prototype.
    pub fn parameters(&self, id: Id) -> impl Iterator<Item = Parameter<'_>> {
        let id = match self.kind(id) {
            Kind::Function(prototype) => prototype,
            _ => id,
        };
        let count = if matches!(self.kind(id), Kind::Prototype(_)) { self.len(id) } else { 0 };
        (0..count).map(move |index| Parameter {
            name: self.string(self.word(id, TYPE + index * 8).unwrap_or(0)),
            ty: self.word(id, TYPE + index * 8 + 4).unwrap_or(0),
        })
    }

    /// What a function returns.
    pub fn returns(&self, id: Id) -> Id {
        match self.kind(id) {
            Kind::Function(prototype) => self.returns(prototype),
            Kind::Prototype(to) => to,
            _ => 0,
        }
    }

    /// All its types, but for those of the kernel itself that a module's go on from.
    pub fn ids(&self) -> std::ops::Range<Id> {
        let first = self.first();
        first.max(1)..first + self.offsets().len() as Id
    }

    /// The first of its own types.
    fn first(&self) -> Id {
        self.base.as_ref().map_or(0, |base| base.ids().end)
    }

    /// Whether a type is one of those that a module's types go on from.
    pub fn is_of_base(&self, id: Id) -> bool {
        id < self.first()
    }

    fn len(&self, id: Id) -> usize {
        self.word(id, 4).map_or(0, |info| (info & 0xffff) as usize)
    }

    /// A word of a type, counted from its beginning.
    fn word(&self, id: Id, at: usize) -> Option<u32> {
        if id == 0 {
            return None;
        }
        if let Some(base) = self.base.as_ref().filter(|_| self.is_of_base(id)) {
            return base.word(id, at);
        }
        let begin = *self.offsets().get((id - self.first()) as usize)? as usize;
        u32_at(&self.bytes, self.types + begin + at)
    }

    fn string(&self, offset: u32) -> &str {
        let of_base = self.base_strings();
        if let Some(base) = self.base.as_ref().filter(|_| offset < of_base) {
            return base.string(offset);
        }
        let offset = offset - of_base;
        let strings = &self.bytes[self.strings..self.strings + self.strings_len];
        let rest = strings.get(offset as usize..).unwrap_or(&[]);
        let end = memchr::memchr(0, rest).unwrap_or(0);
        std::str::from_utf8(&rest[..end]).unwrap_or("")
    }

    fn base_strings(&self) -> u32 {
        self.base.as_ref().map_or(0, |base| base.strings_len as u32)
    }

    /// Where a name is: once in its own strings, and once in those that they go on from.
    fn string_offsets(&self, name: &str) -> [Option<u32>; 2] {
        let whole = [b"\0", name.as_bytes(), b"\0"].concat();
        let find = |of: &Btf| {
            let strings = &of.bytes[of.strings..of.strings + of.strings_len];
            memchr::memmem::find(strings, &whole).map(|at| at as u32 + 1)
        };
        [find(self).map(|at| at + self.base_strings()), self.base.as_deref().and_then(find)]
    }

    fn offsets(&self) -> &[u32] {
        self.offsets.get_or_init(|| {
            let types = &self.bytes[self.types..self.types + self.types_len];
            let mut offsets = Vec::with_capacity(types.len() / 20);
            if self.base.is_none() {
                offsets.push(0);
            }
            let mut at = 0;
            while let Some(info) = u32_at(types, at + 4) {
                offsets.push(at as u32);
                at += TYPE + extra(info);
            }
            offsets
        })
    }
}

/// The modules that are loaded and have types, by name.
pub fn modules() -> Vec<String> {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name != OF_KERNEL).collect();
    names.sort();
    names
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

/// A file in memory.
#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(NonNull<libc::c_void>, usize),
}

impl Bytes {
    fn map(file: &File, len: usize) -> Option<Self> {
        let size = NonZeroUsize::new(len)?;
        // SAFETY: a new mapping, which nobody else has; the kernel's file doesn't change.
        let at = unsafe { mmap(None, size, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, file, 0) };
        at.ok().map(|at| Self::Mapped(at, len))
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            // SAFETY: mapped with that length until it is dropped.
            Self::Mapped(at, len) => unsafe {
                std::slice::from_raw_parts(at.as_ptr().cast::<u8>(), *len)
            },
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Self::Mapped(at, len) = *self {
            // SAFETY: ours, and nobody borrows it any more.
            _ = unsafe { munmap(at, len) };
        }
    }
}

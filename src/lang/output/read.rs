//! Bytes of maps and messages → values, by their types.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::unistd::{Uid, User};

use super::Maps;
use super::cgroups::Cgroups;
use super::stacks::{Functions, Space};
use super::times::{self, Zone};
use super::value::Value;
use crate::lang::config::Config;
use crate::lang::elf;
use crate::lang::probe::Probe;
use crate::lang::program::{PROBED, Program, Role};
use crate::lang::types::{BitField, Clock, Int, Stack, StructId, Type};

/// What is looked up outside of the program, and remembered.
#[derive(Debug)]
pub(super) struct Known {
    functions: Functions,
    cgroups: Cgroups,
    users: HashMap<u64, Vec<u8>>,
    /// Of probes: the file that they are in, if it is one.
    files: HashMap<u32, Option<Rc<Path>>>,
    /// Of probes: where they are in files, by the addresses as these are linked.
    linked: HashMap<u32, Vec<(PathBuf, u64)>>,
    /// How far the time of day is ahead of the time since boot, ns.
    pub(super) boot_time: u64,
}

impl Known {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            functions: Functions::new(config),
            cgroups: Cgroups::default(),
            users: HashMap::new(),
            files: HashMap::new(),
            linked: HashMap::new(),
            boot_time: times::boot_time(),
        }
    }

    fn file(&mut self, program: &Program, probe: u32) -> Option<Rc<Path>> {
        let find = || {
            let [point] = program.probes.get(probe as usize)?.attach.as_slice() else {
                return None;
            };
            let Some(Probe::Uprobe { file, .. } | Probe::Usdt { file, .. }) = &point.probe else {
                return None;
            };
            elf::resolve(file, None).map(Rc::from)
        };
        self.files.entry(probe).or_insert_with(find).clone()
    }

    /// The function at an address of a process. One that is gone can't be asked; then, if the address is the probe's own, it
    /// is the only one of its places that is as far into a page.
    fn user_function(&mut self, program: &Program, bytes: &[u8]) -> String {
        let (address, pid, probe) = (word(bytes, 0), half(bytes, 8), half(bytes, 12) & !PROBED);
        let file = self.file(program, probe);
        let mut name = self.functions.known_name(Space::Process(pid, file.as_deref()), address);
        if name.is_none() && half(bytes, 12) & PROBED != 0 {
            let linked = self.linked.entry(probe).or_insert_with(|| linked(program, probe));
            let is_it = |(_, at): &&(_, u64)| address.wrapping_sub(*at).is_multiple_of(PAGE);
            let mut fitting = linked.iter().filter(is_it);
            if let (Some((file, at)), None) = (fitting.next(), fitting.next()) {
                name = self.functions.linked_name(file, *at);
            }
        }
        name.unwrap_or_else(|| format!("{address:#x}"))
    }

    fn user(&mut self, uid: u64) -> Vec<u8> {
        let name = |uid| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        let look_up = || u32::try_from(uid).ok().and_then(name).unwrap_or_default().into_bytes();
        self.users.entry(uid).or_insert_with(look_up).clone()
    }
}

/// Files are mapped at multiples of it, whatever the size of a page.
const PAGE: u64 = 4096;

/// The places of a probe in files, each once.
fn linked(program: &Program, probe: u32) -> Vec<(PathBuf, u64)> {
    let points = program.probes.get(probe as usize).map_or(&[][..], |probe| &probe.attach);
    let places = points.iter().filter_map(|point| {
        let Some(Probe::Uprobe { file, at, .. }) = &point.probe else { return None };
        let path = elf::resolve(file, None)?;
        let address = elf::File::open(&path).ok()?.address(at).ok()?;
        Some((path, address))
    });
    let mut places: Vec<(PathBuf, u64)> = places.collect();
    places.sort();
    places.dedup();
    places
}

/// Reads values.
pub(super) struct Reader<'r> {
    pub(super) program: &'r Program,
    pub(super) config: &'r Config,
    pub(super) maps: &'r dyn Maps,
    pub(super) known: &'r mut Known,
}

/// As many bytes from there on as there are, up to `N`; the others are 0.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    let there = bytes.get(at..).unwrap_or_default();
    let length = there.len().min(N);
    part[..length].copy_from_slice(&there[..length]);
    part
}

pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(part(bytes, at))
}

pub(super) fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(part(bytes, at))
}

/// An integer in its 64 bits.
pub(super) fn int(int: Int, bytes: &[u8]) -> i128 {
    let value = match int.bits {
        8 => i128::from(part::<1>(bytes, 0)[0]),
        16 => i128::from(u16::from_ne_bytes(part(bytes, 0))),
        32 => i128::from(half(bytes, 0)),
        _ => i128::from(word(bytes, 0)),
    };
    int.wrap(value)
}

/// As it is kept: signed or not.
pub(super) fn number(value: i128, signed: bool) -> Value {
    if signed { Value::Signed(value as i64) } else { Value::Unsigned(value as u64) }
}

impl Reader<'_> {
    /// A value of this type; what is missing of its bytes is 0.
    pub(super) fn value(&mut self, ty: &Type, bytes: &[u8]) -> Value {
        let size = self.program.structs.size_of(ty) as usize;
        let bytes = &bytes[..bytes.len().min(size)];
        match ty {
            Type::None | Type::Void | Type::Float(_) | Type::TimestampMode(_) => Value::Null,
            // In an entry that a loop is over: what the program summed.
            Type::Aggregate(of) if !of.is_table() => {
                let sign = Int { signed: of.signed() == Some(true), ..Int::U64 };
                number(int(sign, bytes), sign.signed)
            }
            Type::Aggregate(_) => Value::Null,
            Type::Bool => Value::Bool(bytes.first().is_some_and(|byte| *byte != 0)),
            Type::Int(of) => number(int(*of, bytes), of.signed),
            Type::Enum(name, of) => self.enumerator(name, int(*of, bytes)),
            Type::String(_) => self.string(bytes, size),
            Type::Buffer(_) => {
                let there = bytes.get(4..).unwrap_or_default();
                Value::Buffer(there[..there.len().min(half(bytes, 0) as usize)].to_vec())
            }
            Type::Pointer(_) => Value::pointer(word(bytes, 0)),
            Type::Array(of, count) => self.array(of, *count, bytes),
            Type::Struct(id) => {
                let mut fields = Vec::new();
                self.fields(*id, bytes, &mut fields);
                Value::Record(fields)
            }
            Type::Tuple(of) => {
                let offsets = self.program.structs.layout(ty).offsets;
                let parts = of.iter().zip(offsets);
                let value = |(of, at)| self.value(of, from(bytes, at));
                Value::Tuple(parts.map(value).collect())
            }
            Type::Record(of) => {
                let offsets = self.program.structs.layout(ty).offsets;
                let parts = of.iter().zip(offsets);
                let field = |((name, of), at): (&(_, _), _)| {
                    (std::clone::Clone::clone(name), self.value(of, from(bytes, at)))
                };
                Value::Record(parts.map(field).collect())
            }
            Type::KStack(stack) => self.stack(*stack, None, bytes),
            Type::UStack(stack) => {
                let process = (half(bytes, 16), half(bytes, 20));
                self.stack(*stack, Some(process), bytes)
            }
            Type::KSym => Value::text(self.known.functions.name(Space::Kernel, word(bytes, 0))),
            Type::USym => Value::text(self.known.user_function(self.program, bytes)),
            Type::Username => Value::Text(self.known.user(word(bytes, 0))),
            Type::Inet => inet(bytes),
            Type::MacAddress => mac(part(bytes, 0)),
            Type::CgroupPath => {
                let pattern = self.format(word(bytes, 0) as usize);
                Value::text(self.known.cgroups.paths(word(bytes, 8), &pattern))
            }
            Type::Timestamp => self.timestamp(bytes),
        }
    }

    fn string(&self, bytes: &[u8], size: usize) -> Value {
        match memchr::memchr(0, bytes) {
            Some(end) => Value::text(&bytes[..end]),
            None if bytes.len() < size => Value::text(bytes),
            // One that fills its room was cut.
            None => Value::Text([bytes, self.config.str_trunc_trailer.as_bytes()].concat()),
        }
    }

    fn enumerator(&self, name: &str, value: i128) -> Value {
        let def = self.program.structs.enums.get(name);
        let named = def.and_then(|def| def.values.iter().find(|(_, of)| *of == value));
        let text = named.map_or_else(|| value.to_string(), |(name, _)| name.to_string());
        Value::Named(text.into_bytes(), value)
    }

    fn array(&mut self, of: &Type, count: u32, bytes: &[u8]) -> Value {
        let size = self.program.structs.size_of(of);
        Value::Array((0..count).map(|at| self.value(of, from(bytes, at * size))).collect())
    }

    /// A struct's fields; those of one without a name inside it are its own.
    fn fields(
        &mut self,
        id: StructId,
        bytes: &[u8],
        to: &mut Vec<(crate::lang::types::Name, Value)>,
    ) {
        let program = self.program;
        for field in program.structs.known_fields(id) {
            let there = from(bytes, field.offset);
            match (&field.ty, field.bits) {
                (Type::Struct(inner), _) if field.name.is_empty() => self.fields(*inner, there, to),
                (ty, Some(bits)) => {
                    let value = number(bit_field(bits, there), ty.is_signed());
                    to.push((field.name.clone(), value));
                }
                (ty, None) => {
                    let value = self.value(ty, there);
                    to.push((field.name.clone(), value));
                }
            }
        }
    }

    /// Of the kernel, or of a process that a probe was in.
    fn stack(&mut self, stack: Stack, process: Option<(u32, u32)>, bytes: &[u8]) -> Value {
        let limit = u32::from(stack.limit).max(1);
        let map = self
            .program
            .maps
            .iter()
            .position(|map| matches!(map.role, Role::Stacks(of) if of.frames == limit));
        let key = bytes.get(..16).unwrap_or_default();
        let frames = map.and_then(|map| self.maps.value(map, key).ok().flatten());
        let frames = frames.unwrap_or_default();
        let (frames, _) = frames.as_chunks::<8>();
        let count = (word(bytes, 8) as usize).min(frames.len());
        let frames: Vec<u64> =
            frames[..count].iter().map(|frame| u64::from_ne_bytes(*frame)).collect();
        let file = process.and_then(|(_, probe)| self.known.file(self.program, probe));
        let space = match process {
            Some((pid, _)) => Space::Process(pid, file.as_deref()),
            None => Space::Kernel,
        };
        Value::text(self.known.functions.stack(stack, space, &frames))
    }

    fn format(&self, place: usize) -> String {
        self.program.formats.get(place).cloned().unwrap_or_default()
    }

    fn timestamp(&self, bytes: &[u8]) -> Value {
        let format = self.format(half(bytes, 0) as usize);
        let mut ns = word(bytes, 8);
        if half(bytes, 4) == Clock::Boot as u32 {
            ns = ns.wrapping_add(self.known.boot_time);
        }
        let room = self.config.max_strlen as usize;
        Value::Text(times::timestamp(&format, ns, Zone::Local, room))
    }
}

fn from(bytes: &[u8], at: u32) -> &[u8] {
    bytes.get(at as usize..).unwrap_or_default()
}

/// Never below 0, as bpftrace has it.
fn bit_field(bits: BitField, bytes: &[u8]) -> i128 {
    let value = u128::from_ne_bytes(part(bytes, 0)) >> bits.shift;
    (value & ((1 << bits.width) - 1)).cast_signed()
}

fn inet(bytes: &[u8]) -> Value {
    match i32::try_from(word(bytes, 0)) {
        Ok(libc::AF_INET) => Value::text(Ipv4Addr::from(part::<4>(bytes, 8)).to_string()),
        Ok(libc::AF_INET6) => Value::text(Ipv6Addr::from(part::<16>(bytes, 8)).to_string()),
        _ => Value::text(""),
    }
}

fn mac(bytes: [u8; 6]) -> Value {
    Value::text(bytes.map(|byte| format!("{byte:02X}")).join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::ast::AttachPoint;
    use crate::lang::probe::Address;
    use crate::lang::program;

    #[test]
    fn functions_of_processes_that_are_gone() {
        let exe = std::env::current_exe().unwrap();
        let at = Address::Function { name: "main".into(), offset: 0 };
        let main = elf::File::open(&exe).unwrap().address(&at).unwrap();
        let file = exe.to_string_lossy().into();
        let place = Probe::Uprobe { at_return: false, file, is_cpp: false, at };
        let point =
            AttachPoint { name: "uprobe".into(), probe: Some(place), span: Default::default() };
        let probe = program::Probe {
            name: "uprobe".to_owned(),
            attach: vec![point],
            span: Default::default(),
            code: Default::default(),
            sleepable: false,
        };
        let program = Program { probes: vec![probe], ..Program::default() };
        let mut known = Known::new(&Config::default());
        let mut name = |address: u64, place: u32| {
            let (nobody, place) = (i32::MAX.to_ne_bytes(), place.to_ne_bytes());
            known.user_function(&program, &[&address.to_ne_bytes()[..], &nobody, &place].concat())
        };
        let there = 0x7f00_0000_0000 + main;
        assert_eq!(name(there, PROBED), "main");
        assert_eq!(name(there, 0), format!("{there:#x}"));
        assert_eq!(name(there + 1, PROBED), format!("{:#x}", there + 1));
    }
}

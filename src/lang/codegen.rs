//! From the typed tree to instructions.
//!
//! Each probe is written in one pass over its tree. A value that fits a register is computed in R0, the others
//! are written where they are wanted: into a map's key, a message, a variable ([`machine`] has the rules).
//!
//! | file | what |
//! | --- | --- |
//! | `machine` | registers, stack, scratch |
//! | `statements`, `loops` | what is done |
//! | `scalars`, `arithmetic`, `compare` | values in R0 |
//! | `memory`, `strings` | values in memory |
//! | `access` | fields, elements, what pointers point to |
//! | `maps`, `aggregates`, `tables` | maps |
//! | `context` | arguments, registers, what is returned |
//! | `calls`, `paths`, `stacks` | functions |
//! | `markers` | arguments of usdt, symbols of files |
//! | `messages` | what goes to user space |

use std::collections::HashMap;

use super::ast::{self, AttachPoint};
use super::diagnostics::Diagnostics;
use super::functions::Function;
use super::ktypes::KernelTypes;
use super::program::{Action, Code, Map, MapKind, Parameter, Probe, Program, Role, StackMap};
use super::source::Span;
use super::typed::{self, Typed};
use super::types::{Name, Structs, Type};
use crate::bytecode::{AssemblyError, Cond, Reg, Size};
use machine::{Base, Machine, Place};

mod access;
mod aggregates;
mod arithmetic;
mod calls;
mod compare;
mod context;
mod known;
mod loops;
mod machine;
mod maps;
mod markers;
mod memory;
mod messages;
mod paths;
mod scalars;
mod stacks;
mod statements;
mod strings;
mod tables;

/// A per-CPU map's value can't be larger.
const LARGEST_SCRATCH: u32 = 32 << 10;

/// What the command line says about code.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Failed reads of memory are told too (`-k`).
    pub tells_failed_reads: bool,
    /// The device and inode of a PID namespace in which `pid` and `tid` are to count.
    pub pid_namespace: Option<(u64, u64)>,
    /// A scalar map that is the clock of `tseries`, for tests.
    pub series_clock: Option<Name>,
}

/// Why there is no code.
#[derive(Debug)]
struct Refusal {
    span: Span,
    message: String,
    hint: Option<String>,
}

type Result<T> = std::result::Result<T, Refusal>;

impl Refusal {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    /// Of what is known to the language, but isn't written yet.
    fn missing(span: Span, what: impl std::fmt::Display) -> Self {
        Self::new(span, format!("{what} isn't supported yet"))
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The instructions of a program, and all that the runtime needs with them.
///
/// # Errors
/// Where something can't be expressed, or not on this kernel: one for each probe.
pub fn generate(
    typed: &Typed,
    kernel: &KernelTypes,
    options: &Options,
) -> std::result::Result<Program, Diagnostics> {
    let mut unit = Unit::new(typed, kernel, options);
    let mut diagnostics = Diagnostics::default();
    for probe in &typed.script.probes {
        if let Err(refusal) = unit.probe(probe) {
            let told = diagnostics.error(refusal.span, refusal.message);
            if let Some(hint) = refusal.hint {
                told.hint(hint);
            }
        }
    }
    if diagnostics.errors() > 0 { Err(diagnostics) } else { Ok(unit.finish()) }
}

/// The program as far as it is written.
struct Unit<'a> {
    typed: &'a Typed,
    kernel: &'a KernelTypes,
    options: &'a Options,
    program: Program,
    /// The program's maps, by their names.
    maps: HashMap<Name, usize>,
    /// The compiler's own, by theirs.
    own: HashMap<&'static str, usize>,
    constants: Vec<u8>,
    /// BTF ids of the kernel's functions that were looked for.
    kfuncs: HashMap<&'static str, Option<u32>>,
}

impl<'a> Unit<'a> {
    fn new(typed: &'a Typed, kernel: &'a KernelTypes, options: &'a Options) -> Self {
        let program = Program {
            license: typed.config.license.clone(),
            structs: typed.structs.clone(),
            ..Program::default()
        };
        let (maps, own) = (HashMap::new(), HashMap::new());
        let (constants, kfuncs) = (Vec::new(), HashMap::new());
        let mut unit = Self { typed, kernel, options, program, maps, own, constants, kfuncs };
        for map in &typed.maps {
            let made = user_map(map, &unit.program.structs);
            unit.maps.insert(map.name.clone(), unit.program.maps.len());
            unit.program.maps.push(made);
        }
        unit
    }

    fn finish(mut self) -> Program {
        for ty in self.program.shown() {
            self.program.structs.complete(&ty, self.kernel);
        }
        if let Some(&map) = self.own.get("constants") {
            let value = std::mem::take(&mut self.constants);
            self.program.maps[map].value_size = value.len() as u32;
            self.program.maps[map].role = Role::Constants(value);
        }
        self.program
    }

    fn probe(&mut self, probe: &ast::Probe) -> Result<()> {
        let place = self.program.probes.len();
        let mut coder = Coder::new(self, probe, place);
        coder.body()?;
        let code = coder.finish()?;
        let name = probe.attach_points.first().map(|at| at.name.to_string()).unwrap_or_default();
        self.program.probes.push(Probe {
            name,
            attach: probe.attach_points.clone(),
            span: probe.span,
            code,
            sleepable: false,
        });
        Ok(())
    }

    fn structs(&self) -> &Structs {
        &self.program.structs
    }

    fn size_of(&self, of: &Type) -> u32 {
        self.program.structs.size_of(of)
    }

    /// One of the compiler's own maps, which is made when it is first asked for.
    fn own_map(&mut self, name: &'static str, make: impl FnOnce() -> Map) -> usize {
        let maps = &mut self.program.maps;
        *self.own.entry(name).or_insert_with(|| {
            maps.push(make());
            maps.len() - 1
        })
    }

    fn ring(&mut self) -> usize {
        self.own_map("ring", || own("ring", MapKind::Ringbuf, 0, 0, 256 << 10, Role::Ring))
    }

    fn lost(&mut self) -> usize {
        self.own_map("lost", || own("lost", MapKind::PercpuArray, 4, 8, 1, Role::Lost))
    }

    fn parameter(&mut self, parameter: Parameter) -> Place {
        let size = Parameter::COUNT * 8;
        let make = || own("parameters", MapKind::Array, 4, size, 1, Role::Parameters);
        let map = self.own_map("parameters", make);
        Place { base: Base::Map(map), offset: parameter.offset() as i32 }
    }

    /// Where known bytes are, at a multiple of 8.
    fn constant(&mut self, bytes: &[u8]) -> Place {
        let make = || own("constants", MapKind::Array, 4, 0, 1, Role::Constants(Vec::new()));
        let map = self.own_map("constants", make);
        let known = (0..self.constants.len())
            .step_by(8)
            .find(|&at| self.constants[at..].starts_with(bytes));
        let offset = known.unwrap_or(self.constants.len());
        if known.is_none() {
            self.constants.extend_from_slice(bytes);
            self.constants.resize(self.constants.len().next_multiple_of(8), 0);
        }
        Place { base: Base::Map(map), offset: offset as i32 }
    }

    /// Rooms of all probes, one entry each.
    fn scratch(&mut self, probe: usize, size: u32) -> usize {
        let make = || own("scratch", MapKind::PercpuArray, 4, 8, 1, Role::Scratch);
        let map = self.own_map("scratch", make);
        let scratch = &mut self.program.maps[map];
        scratch.value_size = scratch.value_size.max(size);
        scratch.max_entries = scratch.max_entries.max(probe as u32 + 1);
        map
    }

    /// Where frames of stacks are, by how many there may be.
    fn stacks(&mut self, frames: u32) -> usize {
        let is_it = |map: &Map| matches!(map.role, Role::Stacks(of) if of.frames == frames);
        if let Some(known) = self.program.maps.iter().position(is_it) {
            return known;
        }
        let entries = self.typed.config.max_map_keys as u32;
        let role = Role::Stacks(StackMap { frames });
        let map =
            own("stacks", MapKind::LruHash, super::program::STACK_SIZE, frames * 8, entries, role);
        self.program.maps.push(map);
        self.program.maps.len() - 1
    }

    fn action(&mut self, action: Action) -> u64 {
        self.program.actions.push(action);
        self.program.actions.len() as u64 - 1
    }

    fn format(&mut self, format: &str) -> u64 {
        let formats = &mut self.program.formats;
        let known = formats.iter().position(|one| one == format);
        known.unwrap_or_else(|| {
            formats.push(format.to_owned());
            formats.len() - 1
        }) as u64
    }

    /// A function of the kernel's that programs may call.
    fn kfunc(&mut self, name: &'static str) -> Option<u32> {
        let kernel = self.kernel;
        let find = || kernel.btf().and_then(|btf| btf.find_function(name));
        *self.kfuncs.entry(name).or_insert_with(find)
    }
}

fn own(name: &str, kind: MapKind, key_size: u32, value_size: u32, entries: u32, role: Role) -> Map {
    Map { name: name.to_owned(), kind, key_size, value_size, max_entries: entries, role }
}

/// How the kernel keeps a map of the program's.
fn user_map(map: &typed::Map, structs: &Structs) -> Map {
    let aggregate = map.value.aggregate();
    let table = aggregate.filter(|of| of.is_table());
    let is_array = map.key.is_none()
        && aggregate.is_some_and(|of| !matches!(of, super::types::Aggregate::Sum { .. }));
    let kind = match map.kind {
        _ if is_array => MapKind::PercpuArray,
        Some(typed::MapKind::LruHash) if aggregate.is_some() => MapKind::PercpuLruHash,
        Some(typed::MapKind::LruHash) => MapKind::LruHash,
        Some(typed::MapKind::PercpuHash) => MapKind::PercpuHash,
        Some(typed::MapKind::PercpuLruHash) => MapKind::PercpuLruHash,
        _ if aggregate.is_some() => MapKind::PercpuHash,
        _ => MapKind::Hash,
    };
    let key_size = match &map.key {
        None if is_array => 4,
        None => 8,
        Some(key) if table.is_some() => Map::table_key(structs, key) + 8,
        Some(key) => structs.size_of(key),
    };
    let max_entries = match (&map.key, table) {
        (None, Some(of)) => of.buckets(),
        (None, None) => 1,
        (Some(_), _) => u32::try_from(map.entries).unwrap_or(u32::MAX),
    };
    let value_size = table
        .map_or_else(|| structs.size_of(&map.value), super::types::Aggregate::entry_size)
        .max(1);
    let role = Role::User { key: map.key.clone(), value: map.value.clone() };
    Map {
        name: map.name.to_string(),
        kind,
        key_size: key_size.max(1),
        value_size,
        max_entries,
        role,
    }
}

/// Writes one probe.
struct Coder<'u, 'a> {
    unit: &'u mut Unit<'a>,
    probe: &'u ast::Probe,
    /// Its place in the program.
    place: usize,
    machine: Machine,
    /// Where each variable is.
    locals: Vec<Place>,
    /// Loops around what is being written, of this function.
    loops: Vec<loops::Loop>,
}

impl<'u, 'a> Coder<'u, 'a> {
    fn new(unit: &'u mut Unit<'a>, probe: &'u ast::Probe, place: usize) -> Self {
        let mut machine = Machine::probe();
        let rooms = probe.locals.iter().map(|local| unit.size_of(&local.ty));
        let locals = rooms.map(|size| machine.shared_room(size.max(8))).collect();
        Self { unit, probe, place, machine, locals, loops: Vec::new() }
    }

    /// The whole probe's code.
    fn body(&mut self) -> Result<()> {
        let probe = self.probe;
        self.machine.line(probe.span);
        self.block(&probe.body)?;
        self.leave(None)
    }

    /// What must be there before the body, and then the body.
    fn finish(mut self) -> Result<Code> {
        let span = self.probe.span;
        let (needs_context, scratch) = (self.machine.needs_context, self.machine.scratch);
        let mut before = Machine::probe();
        before.line(span);
        if needs_context {
            before.store(Size::DW, machine::CONTEXT, Reg::R1);
        }
        if scratch > LARGEST_SCRATCH {
            let message = format!(
                "the probe needs {scratch} bytes for large values; {LARGEST_SCRATCH} is the most"
            );
            return Err(Refusal::new(span, message)
                .hint("a smaller max_strlen, or fewer strings at a time"));
        }
        if scratch > 0 {
            let map = self.unit.scratch(self.place, scratch);
            let found = before.asm.label();
            let key = before.slot();
            before.store(Size::W, key, self.place as i32);
            before.address(Reg::R2, key);
            before.asm.load_map(Reg::R1, map as i32);
            before.asm.call(libbpf_sys::BPF_FUNC_map_lookup_elem);
            before.jump_if(Cond::Ne, Reg::R0, 0, found);
            before.asm.exit();
            before.asm.bind(found);
            before.store(Size::DW, machine::SCRATCH, Reg::R0);
        }
        let body = std::mem::replace(&mut self.machine, before);
        let (before, body) = (self.assembled()?, assembled(body, span)?);
        Ok(joined(before, body))
    }

    /// The instructions of this function.
    fn assembled(&mut self) -> Result<Code> {
        let machine = std::mem::replace(&mut self.machine, Machine::probe());
        assembled(machine, self.probe.span)
    }

    fn size_of(&self, of: &Type) -> u32 {
        self.unit.size_of(of)
    }

    /// Where the probe is attached, the first of several.
    fn attach(&self) -> Option<&'u super::probe::Probe> {
        let first: Option<&'u AttachPoint> = self.probe.attach_points.first();
        first.and_then(|at| at.probe.as_ref())
    }

    /// The map of that name.
    fn map_number(&self, name: &Name, span: Span) -> Result<usize> {
        let known = self.unit.maps.get(name).copied();
        known.ok_or_else(|| Refusal::new(span, format!("Undefined map: {name}")))
    }

    fn unknown(&self, function: Function, span: Span) -> Refusal {
        Refusal::missing(span, format_args!("{}()", function.name()))
    }
}

fn assembled(machine: Machine, span: Span) -> Result<Code> {
    machine.finish().map_err(|error| {
        let hint = "shorter, or several probes";
        match error {
            AssemblyError::TooFar(_) => Refusal::new(span, "the probe is too long").hint(hint),
            AssemblyError::Unbound => Refusal::new(span, error.to_string()),
        }
    })
}

/// One after the other. Jumps are relative, and none leads from one to the other.
fn joined(mut first: Code, second: Code) -> Code {
    let base = first.insns.len() as u32;
    first.insns.extend(second.insns);
    first.lines.extend(second.lines.into_iter().map(|(at, span)| (at + base, span)));
    first
}

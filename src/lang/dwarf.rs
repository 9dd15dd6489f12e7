//! DWARF of programs and libraries: what their functions take, their structs, where lines of their source are.
//!
//! It is in the file itself, in one beside it that was stripped off, or in split units. Units are looked through in
//! their order; nothing is read before somebody asks.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::constants as dw;
use gimli::{AttributeValue, DebuggingInformationEntry, NativeEndian, Reader as _, UnitOffset};

use super::types::{Name, StructId, Structs, Type};

mod files;
mod names;
mod types;

#[cfg(test)]
mod tests;

/// What sections are read through.
type Reader = gimli::EndianRcSlice<NativeEndian>;
type Dwarf = gimli::Dwarf<Reader>;
type Unit = gimli::Unit<Reader>;
type Entry = DebuggingInformationEntry<Reader>;
type Offset = UnitOffset<usize>;

/// Names and types of what a function takes; no type is void.
type Parameters = Vec<(Name, Option<Offset>)>;

/// Where an address is that a line of source begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// As the file is linked.
    pub address: u64,
}

/// A unit, which may be split: then its lines are in the one that stands for it.
#[derive(Debug)]
struct Part {
    dwarf: Rc<Dwarf>,
    unit: Unit,
    lines: Option<(Rc<Dwarf>, Unit)>,
}

/// All that is known of a file.
#[derive(Debug)]
pub struct Debug {
    parts: Vec<Part>,
}

/// Files that were asked for.
#[derive(Debug, Default)]
pub struct Cache {
    folders: Vec<PathBuf>,
    known: RefCell<HashMap<PathBuf, Option<Rc<Debug>>>>,
}

impl Cache {
    /// Nothing is known yet; what was stripped off is looked for in these folders too.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, known: RefCell::default() }
    }

    /// What is known of a file, if anything is.
    pub fn of(&self, path: &Path) -> Option<Rc<Debug>> {
        if let Some(known) = self.known.borrow().get(path) {
            return known.clone();
        }
        let found = Debug::open(path, &self.folders).map(Rc::new);
        self.known.borrow_mut().insert(path.to_owned(), found.clone());
        found
    }
}

impl Debug {
    /// A file's, or what was stripped off it and lies beside it or in one of the folders.
    pub fn open(path: &Path, folders: &[PathBuf]) -> Option<Self> {
        let parts = files::parts(path, folders)?;
        Some(Self { parts })
    }

    /// What a function takes: names and types, in their order.
    pub fn parameters(&self, function: &str, structs: &mut Structs) -> Option<Vec<(Name, Type)>> {
        let (part, parameters) = self.function(function)?;
        let typed = |(name, ty): (Name, Option<Offset>)| {
            let ty = ty.map_or(Type::Void, |ty| part.convert(ty, structs, 0));
            (name, ty)
        };
        Some(parameters.into_iter().map(typed).collect())
    }

    /// The same as C has it: `int argc`.
    pub fn declarations(&self, function: &str) -> Option<Vec<String>> {
        let (part, parameters) = self.function(function)?;
        let declared = |(name, ty): (Name, Option<Offset>)| {
            let ty = ty.map_or_else(|| "void".to_owned(), |ty| part.c_name(ty, 0));
            format!("{ty} {name}")
        };
        Some(parameters.into_iter().map(declared).collect())
    }

    /// A struct or union by its name with its kind: `struct sock`. It adds it to `structs`.
    pub fn record(&self, name: &str, structs: &mut Structs) -> Option<StructId> {
        let (kind, plain) = name.split_once(' ')?;
        let tags: &[gimli::DwTag] = match kind {
            "struct" => &[dw::DW_TAG_structure_type, dw::DW_TAG_class_type],
            "union" => &[dw::DW_TAG_union_type],
            _ => return None,
        };
        self.parts.iter().find_map(|part| {
            let entry = part.named(plain, tags)?;
            match part.convert(entry, structs, 0) {
                Type::Struct(id) => Some(id),
                _ => None,
            }
        })
    }

    /// What a `typedef` stands for.
    pub fn typedef(&self, name: &str, structs: &mut Structs) -> Option<Type> {
        let tags = [dw::DW_TAG_typedef];
        self.parts.iter().find_map(|part| {
            let entry = part.named(name, &tags)?;
            Some(part.convert(entry, structs, 0))
        })
    }

    /// Where the code of a line begins: the lowest address, of a file whose path ends so. No column is any.
    pub fn line(&self, file: &str, line: u32, column: u32) -> Option<Line> {
        let found = self.parts.iter().filter_map(|part| part.line(file, line, column));
        found.min().map(|address| Line { address })
    }

    fn function(&self, name: &str) -> Option<(&Part, Parameters)> {
        self.parts.iter().find_map(|part| {
            let function = part.named(name, &[dw::DW_TAG_subprogram])?;
            Some((part, part.parameters(function).ok()?))
        })
    }
}

impl Part {
    /// The definition of that name, of one of these tags.
    fn named(&self, name: &str, tags: &[gimli::DwTag]) -> Option<Offset> {
        let mut cursor = self.unit.entries();
        while let Ok(Some(entry)) = cursor.next_dfs() {
            let is_it = tags.contains(&entry.tag())
                && entry.attr(dw::DW_AT_declaration).is_none()
                && self.name(entry).is_some_and(|found| *found == *name);
            if is_it {
                return Some(entry.offset());
            }
        }
        None
    }

    fn parameters(&self, function: Offset) -> gimli::Result<Parameters> {
        let mut cursor = self.unit.entries_at_offset(function)?;
        let depth = cursor.next_dfs()?.map_or(0, Entry::depth);
        let mut parameters = Vec::new();
        while let Some(entry) = cursor.next_dfs()? {
            if entry.depth() <= depth {
                break;
            }
            if entry.depth() == depth + 1 && entry.tag() == dw::DW_TAG_formal_parameter {
                let name = self.name(entry).unwrap_or_default();
                parameters.push((name.as_str().into(), self.type_of(entry)));
            }
        }
        Ok(parameters)
    }

    fn name(&self, entry: &Entry) -> Option<String> {
        let value = entry.attr_value(dw::DW_AT_name)?;
        let text = self.dwarf.attr_string(&self.unit, value).ok()?;
        text.to_string_lossy().ok().map(Cow::into_owned)
    }

    fn type_of(&self, entry: &Entry) -> Option<Offset> {
        match entry.attr_value(dw::DW_AT_type)? {
            AttributeValue::UnitRef(offset) => Some(offset),
            AttributeValue::DebugInfoRef(offset) => offset.to_unit_offset(&self.unit.header),
            _ => None,
        }
    }

    fn number(entry: &Entry, attribute: gimli::DwAt) -> Option<u64> {
        let attribute = entry.attr(attribute)?;
        attribute.udata_value().or_else(|| attribute.sdata_value().map(i64::cast_unsigned))
    }

    /// The lowest address of a line that begins a statement.
    fn line(&self, file: &str, line: u32, column: u32) -> Option<u64> {
        let (dwarf, unit) = match &self.lines {
            Some((dwarf, unit)) => (dwarf, unit),
            None => (&self.dwarf, &self.unit),
        };
        let mut rows = unit.line_program.clone()?.rows();
        let mut lowest = None;
        let mut known: HashMap<u64, bool> = HashMap::new();
        while let Ok(Some((header, row))) = rows.next_row() {
            let is_line = row.line().is_some_and(|found| found.get() == u64::from(line));
            let is_column = match row.column() {
                _ if column == 0 => true,
                gimli::ColumnType::LeftEdge => false,
                gimli::ColumnType::Column(found) => found.get() == u64::from(column),
            };
            if row.end_sequence() || !row.is_stmt() || !is_line || !is_column {
                continue;
            }
            let is_of_file = *known.entry(row.file_index()).or_insert_with(|| {
                let path = row.file(header).map(gimli::FileEntry::path_name);
                let path = path.and_then(|path| dwarf.attr_string(unit, path).ok());
                let path = path.and_then(|path| Some(path.to_string_lossy().ok()?.into_owned()));
                path.is_some_and(|path| {
                    Path::new(&path).ends_with(file) || Path::new(file).ends_with(&path)
                })
            });
            if is_of_file {
                lowest = Some(lowest.map_or(row.address(), |known: u64| known.min(row.address())));
            }
        }
        lowest
    }
}

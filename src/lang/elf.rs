//! Programs and libraries: where their functions are.
//!
//! A file is read where somebody asks, and no more of it than that.

use std::io;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Object, ObjectKind, ObjectSegment, ObjectSymbol, SymbolKind};

use super::dwarf::Debug;
use super::probe::Address;

pub use markers::{Argument, Marker, Operand, places_of};
pub use paths::{mapped_files, resolve, running_files, shown};

mod markers;
mod paths;

/// Why a file has no such place.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It can't be read.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// It isn't ELF.
    #[error("{0} is no program or library: {1}")]
    Malformed(PathBuf, object::Error),
    /// It has no such function.
    #[error("{0} has no function {1}")]
    NoFunction(PathBuf, String),
    /// Beyond the function's end.
    #[error("Offset outside the function bounds ('{0}' size is {1})")]
    Outside(String, u64),
    /// Beyond what is loaded of it.
    #[error("{0} has no code at {1:#x}")]
    NoCode(PathBuf, u64),
    /// No function is there, so that it may be amid an instruction.
    #[error("Could not resolve address: {0}:{1:#x}")]
    NoFunctionAt(PathBuf, u64),
    /// Where the function ends isn't known.
    #[error(
        "Could not determine boundary for {0} (symbol has size 0).\n\
             Use --unsafe to force attachment. WARNING: This option could lead to data corruption \
             in the target process."
    )]
    NoSize(String),
    /// No code is of that line, as far as its debug information says.
    #[error("{0} has no debug information of code at {1}")]
    Line(PathBuf, String),
}

/// A function of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// As the file has it, mangled or not.
    pub name: String,
    /// As the file is linked.
    pub address: u64,
    /// Bytes; 0 if the file doesn't say.
    pub size: u64,
}

impl Function {
    /// Its name as it was written in C++, with its parameters; none of what isn't mangled.
    pub fn demangled(&self) -> Option<String> {
        cpp_demangle::Symbol::new(&self.name).ok()?.demangle().ok()
    }
}

/// A program or library.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    debug_folders: Vec<PathBuf>,
    contents: ReadCache<std::fs::File>,
}

impl File {
    /// A file that can be read; whether it is ELF shows when something is asked for.
    ///
    /// # Errors
    /// Where it can't be opened.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let file = std::fs::File::open(path);
        let file = file.map_err(|error| ElfError::Io(path.to_owned(), error))?;
        let contents = ReadCache::new(file);
        Ok(Self { path: path.to_owned(), debug_folders: Vec::new(), contents })
    }

    /// Folders to look for stripped-off debug information in.
    #[must_use]
    pub fn with_debug_folders(self, folders: &[PathBuf]) -> Self {
        Self { debug_folders: folders.to_vec(), ..self }
    }

    /// All that it says, with what is asked for read.
    fn object(&self) -> Result<object::File<'_, &ReadCache<std::fs::File>>, ElfError> {
        let parsed = object::File::parse(&self.contents);
        parsed.map_err(|error| ElfError::Malformed(self.path.clone(), error))
    }

    /// Its functions, in the order of their names, each once.
    ///
    /// # Errors
    /// Where it isn't ELF.
    pub fn functions(&self) -> Result<Vec<Function>, ElfError> {
        let object = self.object()?;
        let all = object.symbols().chain(object.dynamic_symbols());
        let code = all.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
        let mut functions: Vec<Function> = code
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| !name.is_empty())?.to_owned();
                Some(Function { name, address: symbol.address(), size: symbol.size() })
            })
            .collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name).then(b.size.cmp(&a.size)));
        functions.dedup_by(|b, a| a.name == b.name);
        Ok(functions)
    }

    /// Where a place of its code is in the file, as uprobes count.
    ///
    /// # Errors
    /// Where it has no such place.
    pub fn place(&self, at: &Address) -> Result<u64, ElfError> {
        self.offset(self.address(at)?)
    }

    /// The same where a probe can do no harm, as far as that can be seen: within a function whose end is known.
    ///
    /// # Errors
    /// Where it has no such place.
    pub fn safe_place(&self, at: &Address) -> Result<u64, ElfError> {
        match at {
            Address::Function { name, .. } if self.function(name)?.size == 0 => {
                return Err(ElfError::NoSize(name.to_string()));
            }
            Address::Absolute(address) => {
                let is_in = |function: &Function| {
                    let into = address.checked_sub(function.address);
                    into.is_some_and(|into| into < function.size)
                };
                if !self.functions()?.iter().any(is_in) {
                    return Err(ElfError::NoFunctionAt(self.path.clone(), *address));
                }
            }
            _ => {}
        }
        self.place(at)
    }

    /// Where a number is in a file that a user vouches for: as it is, if it isn't ELF.
    ///
    /// # Errors
    /// Where it has no such place.
    pub fn forced_place(&self, at: &Address) -> Result<u64, ElfError> {
        match (self.place(at), at) {
            (Err(ElfError::Malformed(..)), Address::Absolute(offset)) => Ok(*offset),
            (place, _) => place,
        }
    }

    /// The address of a place of its code, as the file is linked.
    ///
    /// # Errors
    /// Where it has no such place.
    pub fn address(&self, at: &Address) -> Result<u64, ElfError> {
        match at {
            Address::Function { name, offset } => {
                let function = self.function(name)?;
                if *offset > 0 && function.size > 0 && *offset >= function.size {
                    return Err(ElfError::Outside(name.to_string(), function.size));
                }
                Ok(function.address + offset)
            }
            Address::Absolute(address) => Ok(*address),
            Address::Line { file, line, column } => {
                let debug = Debug::open(&self.path, &self.debug_folders);
                let found = debug.and_then(|debug| debug.line(file, *line, *column));
                let missing = || ElfError::Line(self.path.clone(), format!("{file}:{line}"));
                found.map(|line| line.address).ok_or_else(missing)
            }
        }
    }

    /// A function by its name.
    ///
    /// # Errors
    /// Where it has none.
    pub fn function(&self, name: &str) -> Result<Function, ElfError> {
        let object = self.object()?;
        let found = object
            .symbols()
            .chain(object.dynamic_symbols())
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .find(|symbol| symbol.name() == Ok(name));
        let function = found.map(|symbol| Function {
            name: name.to_owned(),
            address: symbol.address(),
            size: symbol.size(),
        });
        function.ok_or_else(|| ElfError::NoFunction(self.path.clone(), name.to_owned()))
    }

    /// The address of anything that has a name, as the file is linked, and its bytes.
    ///
    /// # Errors
    /// Where it isn't ELF.
    pub fn symbol(&self, name: &str) -> Result<Option<(u64, u64)>, ElfError> {
        let object = self.object()?;
        let all = object.symbols().chain(object.dynamic_symbols());
        let mut known = all.filter(ObjectSymbol::is_definition);
        let found = known.find(|symbol| symbol.name() == Ok(name));
        Ok(found.map(|symbol| (symbol.address(), symbol.size())))
    }

    /// Whether it is loaded at another address than it is linked for.
    ///
    /// # Errors
    /// Where it isn't ELF.
    pub fn is_movable(&self) -> Result<bool, ElfError> {
        Ok(self.object()?.kind() == ObjectKind::Dynamic)
    }

    /// Where an address of its code is in the file.
    fn offset(&self, address: u64) -> Result<u64, ElfError> {
        let object = self.object()?;
        let within = object.segments().find_map(|segment| {
            let into = address.checked_sub(segment.address())?;
            let (begin, len) = segment.file_range();
            (into < len).then_some(begin + into)
        });
        within.ok_or_else(|| ElfError::NoCode(self.path.clone(), address))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What a test looks for in its own file.
    #[unsafe(no_mangle)]
    extern "C" fn nettrace_test_place(value: u64) -> u64 {
        value.wrapping_mul(3)
    }

    fn own() -> File {
        assert_eq!(nettrace_test_place(2), 6);
        File::open(&std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn own_functions_are_where_they_are_in_the_file() {
        let own = own();
        let at = |offset| Address::Function { name: "nettrace_test_place".into(), offset };
        let place = own.place(&at(0)).unwrap();
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // SAFETY: the function's own code, of which the first bytes are there to be read.
        let code =
            unsafe { std::slice::from_raw_parts(nettrace_test_place as *const () as *const u8, 4) };
        assert_eq!(&bytes[place as usize..][..4], code);
        assert_eq!(own.place(&at(1)).unwrap(), place + 1);
        assert!(matches!(own.place(&at(100_000)), Err(ElfError::Outside(..))));
        let function = own.function("nettrace_test_place").unwrap();
        assert_eq!(own.place(&Address::Absolute(function.address)).unwrap(), place);
        assert!(own.functions().unwrap().contains(&function));
        assert_eq!(own.safe_place(&Address::Absolute(function.address + 1)).unwrap(), place + 1);
        let nowhere = own.safe_place(&Address::Absolute(10));
        assert!(matches!(nowhere, Err(ElfError::NoFunctionAt(_, 10))));
    }

    #[test]
    fn what_isnt_there_is_said() {
        let missing = Address::Function { name: "no_such_function".into(), offset: 0 };
        assert!(matches!(own().place(&missing), Err(ElfError::NoFunction(..))));
        assert!(matches!(own().place(&Address::Absolute(u64::MAX)), Err(ElfError::NoCode(..))));
        let text = File::open(Path::new("/proc/self/status")).unwrap();
        assert!(matches!(text.functions(), Err(ElfError::Malformed(..))));
        assert_eq!(text.forced_place(&Address::Absolute(7)).unwrap(), 7);
    }
}

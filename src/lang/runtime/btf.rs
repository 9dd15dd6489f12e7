//! A program's own BTF: its functions' names, and the lines of its source.
//!
//! Types say no more than the kernel wants to know: each function takes and returns words.

use std::collections::HashMap;

use crate::btf::Writer;

const INT: u32 = 1 << 24;
const FUNC: u32 = 12 << 24;
const FUNC_PROTO: u32 = 13 << 24;
/// The type of all arguments and results.
const WORD: u32 = 1;

/// BTF that is being written.
#[derive(Debug)]
pub(super) struct FunctionTypes {
    writer: Writer,
    /// Prototypes by how many arguments they have.
    prototypes: HashMap<u32, u32>,
}

impl FunctionTypes {
    pub(super) fn new() -> Self {
        let mut writer = Writer::default();
        let name = writer.string("u64");
        writer.add(&[name, INT, 8, 64]);
        Self { writer, prototypes: HashMap::new() }
    }

    /// A static function's type. Signs that the kernel doesn't take in a name are `_`.
    pub(super) fn function(&mut self, name: &str, arguments: u32) -> u32 {
        let prototype = self.prototype(arguments);
        let name = self.writer.string(&identifier(name));
        self.writer.add(&[name, FUNC, prototype])
    }

    fn prototype(&mut self, arguments: u32) -> u32 {
        if let Some(&known) = self.prototypes.get(&arguments) {
            return known;
        }
        let name = self.writer.string("word");
        let mut words = vec![0, FUNC_PROTO | arguments, WORD];
        words.extend((0..arguments).flat_map(|_| [name, WORD]));
        let id = self.writer.add(&words);
        self.prototypes.insert(arguments, id);
        id
    }

    /// Where a string is; each is there once.
    pub(super) fn string(&mut self, text: &str) -> u32 {
        self.writer.string(text)
    }

    /// As the kernel loads it.
    pub(super) fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}

/// A name of C that is like another, at most 100 signs long, so that something fits behind it.
pub(super) fn identifier(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(letter).take(100).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("_{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::btf::{Btf, Kind};

    #[test]
    fn what_is_written_can_be_read() {
        let mut writer = FunctionTypes::new();
        let line = writer.string("begin { @ = 1; }");
        assert_eq!((writer.string("begin { @ = 1; }"), writer.string("")), (line, 0));
        let first = writer.function("tracepoint:syscalls:sys_enter_read", 1);
        let second = writer.function("1st", 4);
        let third = writer.function("begin", 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), writer.finish()).unwrap();
        let btf = Btf::open(file.path()).unwrap();
        assert_eq!(btf.name(first), "tracepoint_syscalls_sys_enter_read");
        assert_eq!((btf.name(second), btf.name(third)), ("_1st", "begin"));
        assert_eq!(btf.kind(first), btf.kind(third));
        assert_eq!(btf.parameters(second).count(), 4);
        let Kind::Function(prototype) = btf.kind(second) else { panic!("no function") };
        assert_eq!(btf.size(btf.returns(prototype)), 8);
    }
}

//! BTF that is being written.

use std::collections::HashMap;

use super::{HEADER, Id, MAGIC};

/// Types and strings, one after the other.
#[derive(Debug)]
pub struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: HashMap<String, u32>,
    next: Id,
}

impl Default for Writer {
    fn default() -> Self {
        let known = HashMap::from([(String::new(), 0)]);
        Self { types: Vec::new(), strings: vec![0], known, next: 1 }
    }
}

impl Writer {
    /// A type, word by word as BTF has it; its number.
    pub fn add(&mut self, words: &[u32]) -> Id {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self.next += 1;
        self.next - 1
    }

    /// Where a string is; each is there once.
    pub fn string(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.known.get(text) {
            return known;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes().filter(|byte| *byte != 0));
        self.strings.push(0);
        self.known.insert(text.to_owned(), at);
        at
    }

    /// As the kernel and libbpf take it.
    pub fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [HEADER as u32, 0, types, types, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}

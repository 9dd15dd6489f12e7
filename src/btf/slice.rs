//! Some types cut out of all, with what lies in them.

use std::collections::{HashMap, HashSet};

use super::{Btf, Id, Kind, TYPE, Writer};

const POINTER: u32 = 2 << 24;

impl Btf {
    /// BTF of the structs, unions, enums and typedefs of these names and of all that lies in them. What they
    /// point to isn't in there: pointers are to void.
    pub fn slice(&self, names: &HashSet<&str>) -> Vec<u8> {
        let is_named = |id: &Id| {
            let kind = self.kind(*id);
            let has_name = matches!(
                kind,
                Kind::Struct(_) | Kind::Union(_) | Kind::Enum { .. } | Kind::Typedef(_)
            );
            has_name && names.contains(self.name(*id))
        };
        let mut slice = Slice { of: self, writer: Writer::default(), copied: HashMap::new() };
        for id in self.ids().filter(is_named) {
            slice.copy(id);
        }
        slice.writer.finish()
    }
}

struct Slice<'a> {
    of: &'a Btf,
    writer: Writer,
    copied: HashMap<Id, Id>,
}

impl Slice<'_> {
    /// Its number in the slice; 0 of what has no layout.
    fn copy(&mut self, id: Id) -> Id {
        if let Some(&copied) = self.copied.get(&id) {
            return copied;
        }
        // No type lies in itself, but in BTF that is wrong.
        self.copied.insert(id, 0);
        let copied = self.words(id).map_or(0, |words| self.writer.add(&words));
        self.copied.insert(id, copied);
        copied
    }

    fn words(&mut self, id: Id) -> Option<Vec<u32>> {
        let of = self.of;
        let word = |at| of.word(id, at);
        let (info, size_or_type) = (word(4)?, word(8)?);
        let name = self.writer.string(of.name(id));
        Some(match of.kind(id) {
            Kind::Int { .. } => vec![name, info, size_or_type, word(TYPE)?],
            Kind::Float(_) | Kind::Forward => vec![name, info, size_or_type],
            Kind::Pointer(_) => vec![0, POINTER, 0],
            Kind::Array(element, len) => {
                let index = word(TYPE + 4)?;
                vec![name, info, 0, self.copy(element), self.copy(index), len]
            }
            Kind::Typedef(to) | Kind::Qualified(to) | Kind::Tagged(to) => {
                vec![name, info, self.copy(to)]
            }
            Kind::Struct(_) | Kind::Union(_) => {
                let mut words = vec![name, info, size_or_type];
                for at in (0..of.len(id)).map(|index| TYPE + index * 12) {
                    words.push(self.writer.string(of.string(word(at)?)));
                    words.push(self.copy(word(at + 4)?));
                    words.push(word(at + 8)?);
                }
                words
            }
            Kind::Enum { .. } => {
                let mut words = vec![name, info, size_or_type];
                let values = of.enum_values(id);
                for at in (0..of.len(id)).map(|index| TYPE + index * 4 * (1 + values)) {
                    words.push(self.writer.string(of.string(word(at)?)));
                    for value in 1..=values {
                        words.push(word(at + 4 * value)?);
                    }
                }
                words
            }
            _ => return None,
        })
    }
}

//! Static tracepoints (USDT): places that a program's author marked, and where their arguments are found there.

use std::path::Path;

use object::{Object, ObjectSection, ObjectSegment};

use super::{ElfError, File};

/// A marked place. A probe may have several, each with arguments elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Its provider.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Where it is in the file.
    pub offset: u64,
    /// Where in the file the count of those who watch is; 0 if there is none.
    pub semaphore: u64,
    /// Its arguments in their order; none for what can't be read from outside.
    pub arguments: Vec<Option<Argument>>,
}

/// Where an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u32,
    /// Whether it has a sign.
    pub signed: bool,
    /// In what.
    pub operand: Operand,
}

/// What holds an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Nothing: it is known.
    Constant(i64),
    /// A register by its name in the context (`ax`, `r8`).
    Register(String),
    /// Memory at a register, with another one added so many times if there is one, and a distance.
    Memory {
        /// Counted from there.
        base: String,
        /// This times that.
        index: Option<(String, u32)>,
        /// Bytes.
        distance: i64,
    },
}

impl File {
    /// Its marked places, in the file's order.
    ///
    /// # Errors
    /// Where it isn't ELF.
    pub fn markers(&self) -> Result<Vec<Marker>, ElfError> {
        let object = self.object()?;
        let Some(notes) = object.section_by_name(".note.stapsdt") else { return Ok(Vec::new()) };
        let malformed = |error| ElfError::Malformed(self.path.clone(), error);
        let notes = notes.data().map_err(malformed)?;
        // The file may have been moved since its notes were written; then this section tells by how much.
        let base = object.section_by_name(".stapsdt.base").map(|base| base.address());
        let place = |address: u64| {
            object.segments().find_map(|segment| {
                let into = address.checked_sub(segment.address())?;
                (into < segment.size()).then(|| segment.file_range().0 + into)
            })
        };
        let marker = |note: Note<'_>| {
            let moved = base.map_or(0, |base| base.wrapping_sub(note.base));
            let semaphore = match note.semaphore {
                0 => 0,
                address => place(address.wrapping_add(moved))?,
            };
            Some(Marker {
                provider: note.provider.to_owned(),
                name: note.name.to_owned(),
                offset: place(note.address.wrapping_add(moved))?,
                semaphore,
                arguments: arguments(note.arguments),
            })
        };
        Ok(Notes(notes).filter_map(marker).collect())
    }
}

/// The places of a marked probe in a file, in the file's order.
///
/// # Errors
/// Where there is no such file, or it isn't ELF.
pub fn places_of(file: &str, provider: Option<&str>, event: &str) -> Result<Vec<Marker>, ElfError> {
    let mut markers = File::open(Path::new(file))?.markers()?;
    markers.retain(|marker| {
        provider.is_none_or(|provider| provider == marker.provider) && event == marker.name
    });
    Ok(markers)
}

/// A note as the file has it.
struct Note<'a> {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: &'a str,
    name: &'a str,
    arguments: &'a str,
}

/// Notes one behind the other.
struct Notes<'a>(&'a [u8]);

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        const STAPSDT: u32 = 3;
        loop {
            let word =
                |at: usize| self.0.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
            let (name_len, len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
            let begin = 12 + name_len.next_multiple_of(4);
            let name = self.0.get(12..12 + name_len)?;
            let content = self.0.get(begin..begin.checked_add(len)?)?;
            self.0 = self.0.get(begin + len.next_multiple_of(4)..).unwrap_or(&[]);
            if kind == STAPSDT
                && name == b"stapsdt\0"
                && let Some(note) = note(content)
            {
                return Some(note);
            }
        }
    }
}

fn note(content: &[u8]) -> Option<Note<'_>> {
    let word = |at: usize| content.get(at..)?.first_chunk().map(|word| u64::from_ne_bytes(*word));
    let mut strings =
        content.get(24..)?.split(|byte| *byte == 0).map(|text| std::str::from_utf8(text).ok());
    Some(Note {
        address: word(0)?,
        base: word(8)?,
        semaphore: word(16)?,
        provider: strings.next()??,
        name: strings.next()??,
        arguments: strings.next().flatten().unwrap_or_default(),
    })
}

/// `-4@%edi 8@-16(%rbp)`, one behind the other.
fn arguments(text: &str) -> Vec<Option<Argument>> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match found.last_mut() {
            // aarch64 has blanks within: `4@[sp, 12]`.
            Some(last) if !word.contains('@') => {
                last.push(' ');
                last.push_str(word);
            }
            _ => found.push(word.to_owned()),
        }
    }
    found.iter().map(|word| argument(word)).collect()
}

fn argument(text: &str) -> Option<Argument> {
    let (size, operand) = text.split_once('@')?;
    let size: i32 = size.parse().ok()?;
    matches!(size.abs(), 1 | 2 | 4 | 8).then_some(())?;
    Some(Argument { size: size.unsigned_abs(), signed: size < 0, operand: operand_of(operand)? })
}

#[cfg(target_arch = "x86_64")]
fn operand_of(text: &str) -> Option<Operand> {
    if let Some(number) = text.strip_prefix('$') {
        return number_of(number).map(Operand::Constant);
    }
    if let Some(register) = text.strip_prefix('%') {
        return Some(Operand::Register(register_of(register)?));
    }
    let (distance, rest) = text.split_once('(')?;
    let distance = if distance.is_empty() { 0 } else { number_of(distance)? };
    let mut parts = rest.strip_suffix(')')?.split(',');
    let mut register = || register_of(parts.next()?.trim().strip_prefix('%')?);
    let base = register()?;
    let index = register();
    let scale = parts.next().map_or(Some(1), |scale| scale.trim().parse().ok())?;
    Some(Operand::Memory { base, index: index.map(|index| (index, scale)), distance })
}

#[cfg(target_arch = "aarch64")]
fn operand_of(text: &str) -> Option<Operand> {
    let Some(inner) = text.strip_prefix('[') else {
        return number_of(text)
            .map(Operand::Constant)
            .or_else(|| register_of(text).map(Operand::Register));
    };
    let mut parts = inner.strip_suffix(']')?.split(',').map(str::trim);
    let base = register_of(parts.next()?)?;
    let Some(second) = parts.next() else {
        return Some(Operand::Memory { base, index: None, distance: 0 });
    };
    match number_of(second) {
        Some(distance) => Some(Operand::Memory { base, index: None, distance }),
        None => Some(Operand::Memory { base, index: Some((register_of(second)?, 1)), distance: 0 }),
    }
}

fn number_of(text: &str) -> Option<i64> {
    let text = text.trim_start_matches('#');
    // Some constants are written as they are without a sign.
    text.parse().ok().or_else(|| text.parse::<u64>().ok().map(u64::cast_signed))
}

/// The register as the context has it, whatever part of it is meant.
#[cfg(target_arch = "x86_64")]
fn register_of(name: &str) -> Option<String> {
    let numbered = name.strip_prefix('r').map(|rest| rest.trim_end_matches(['b', 'w', 'd']));
    if let Some(number) = numbered.and_then(|rest| rest.parse::<u8>().ok()) {
        return (8..16).contains(&number).then(|| format!("r{number}"));
    }
    let whole = match name {
        "al" => "ax",
        "bl" => "bx",
        "cl" => "cx",
        "dl" => "dx",
        "sil" => "si",
        "dil" => "di",
        "bpl" => "bp",
        "spl" => "sp",
        _ => name.strip_prefix(['r', 'e']).unwrap_or(name),
    };
    let known = ["ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip"];
    known.contains(&whole).then(|| whole.to_owned())
}

#[cfg(target_arch = "aarch64")]
fn register_of(name: &str) -> Option<String> {
    if name == "sp" {
        return Some(name.to_owned());
    }
    let number: u8 = name.strip_prefix(['x', 'w'])?.parse().ok()?;
    (number < 31).then(|| format!("r{number}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn desc(words: [u64; 3], strings: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(strings);
        bytes
    }

    fn note_bytes(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [8, content.len() as u32, kind].iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(b"stapsdt\0");
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn notes_are_read_one_behind_the_other() {
        let mut bytes = note_bytes(9, b"x");
        bytes.extend(note_bytes(3, &desc([16, 32, 0], b"mine\0first\0\0")));
        bytes.extend(note_bytes(3, &desc([17, 32, 64], b"mine\0second\0-4@%edi\0")));
        bytes.extend([1, 2, 3]);
        let notes: Vec<Note<'_>> = Notes(&bytes).collect();
        let names: Vec<&str> = notes.iter().map(|note| note.name).collect();
        assert_eq!(names, ["first", "second"]);
        assert_eq!((notes[1].address, notes[1].semaphore), (17, 64));
        assert_eq!((notes[0].arguments, notes[1].arguments), ("", "-4@%edi"));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn arguments_are_where_the_note_says() {
        let of = |size, signed, operand| Some(Argument { size, signed, operand });
        let memory = |base: &str, index: Option<(&str, u32)>, distance| Operand::Memory {
            base: base.to_owned(),
            index: index.map(|(name, scale)| (name.to_owned(), scale)),
            distance,
        };
        let register = |name: &str| Operand::Register(name.to_owned());
        assert_eq!(
            arguments(
                "-4@%edi 8@-16(%rbp) 1@$7 -8@(%rax,%rdx,8) 2@%r10w 8@(%rsp) 8@name(%rip) 8f@%xmm0"
            ),
            [
                of(4, true, register("di")),
                of(8, false, memory("bp", None, -16)),
                of(1, false, Operand::Constant(7)),
                of(8, true, memory("ax", Some(("dx", 8)), 0)),
                of(2, false, register("r10")),
                of(8, false, memory("sp", None, 0)),
                None,
                None,
            ]
        );
        assert_eq!(number_of("18446744073709551615"), Some(-1));
    }
}

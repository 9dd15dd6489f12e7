#![allow(clippy::unwrap_used)]

use std::process::Command;

use super::*;
use crate::lang::types::{AddressSpace, BitField, Int};

const SOURCE: &str = "struct inner { int a; char text[6]; unsigned few : 3, more : 5; };
struct list { struct list *next; struct inner inner; long counts[2]; };
typedef struct list list_t;
int
walk(const list_t *first, unsigned char kind)
{
    return first->inner.a + kind;
}
";

/// A library that is made of the source, with these flags.
fn library(flags: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (source, file) = (dir.path().join("list.c"), dir.path().join("liblist.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("clang")
        .args(["-g", "-O0", "-fPIC", "-shared", "-nostdlib"])
        .args(flags)
        .arg("-o")
        .args([&file, &source])
        .current_dir(dir.path())
        .status();
    assert!(built.unwrap().success());
    (dir, file)
}

#[test]
fn functions_structs_and_lines() {
    let (_dir, file) = library(&[]);
    let (cache, mut structs) = (Cache::default(), Structs::default());
    let debug = cache.of(&file).unwrap();
    let parameters = debug.parameters("walk", &mut structs).unwrap();
    let list = structs.named("struct list").unwrap();
    assert_eq!(parameters[0], ("first".into(), Type::Struct(list).pointer(AddressSpace::User)));
    assert_eq!(parameters[1], ("kind".into(), Type::Int(Int::U8)));
    let fields = structs.known_fields(list).to_vec();
    assert_eq!(fields[0].ty, Type::Struct(list).pointer(AddressSpace::User));
    assert_eq!((fields[2].offset, structs.get(list).size), (24, 40));
    let Type::Struct(inner) = fields[1].ty else { panic!("{fields:?}") };
    let inner = structs.known_fields(inner);
    assert_eq!((&inner[1].ty, inner[1].offset), (&Type::String(6), 4));
    assert_eq!(inner[3].bits.map(|bits| bits.width), Some(5));
    assert!(matches!(inner[2].bits, Some(BitField { width: 3, .. })));
    let declared = debug.declarations("walk").unwrap();
    assert_eq!(declared, ["const list_t* first", "unsigned char kind"]);
    assert_eq!(debug.typedef("list_t", &mut structs), Some(Type::Struct(list)));
    assert!(debug.record("struct other", &mut structs).is_none());
    assert!(debug.parameters("run", &mut structs).is_none());

    let elf = crate::lang::elf::File::open(&file).unwrap();
    let function = elf.function("walk").unwrap();
    let within = |line| debug.line("list.c", line, 0).unwrap().address - function.address;
    assert_eq!(within(6), 0);
    assert!((1..function.size).contains(&within(7)));
    assert_eq!(debug.line("list.c", 100, 0), None);
    assert_eq!(debug.line("other.c", 5, 0), None);
}

#[test]
fn split_units_have_the_same() {
    let (_dir, file) = library(&["-gsplit-dwarf"]);
    let debug = Debug::open(&file, &[]).unwrap();
    assert_eq!(debug.declarations("walk").unwrap().len(), 2);
    assert!(debug.line("list.c", 7, 0).is_some());
}

#[test]
fn what_has_none_has_none() {
    assert!(Debug::open(Path::new("/proc/self/status"), &[]).is_none());
    assert!(Debug::open(Path::new("/no/such/file"), &[]).is_none());
}

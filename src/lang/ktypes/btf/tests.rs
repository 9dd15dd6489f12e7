#![allow(clippy::unwrap_used)]

use super::*;

/// Strings, types with their heads in place, as a file has them.
fn btf(types: &[u32], strings: &[u8]) -> Result<Btf, BtfError> {
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let header = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
    let mut bytes = MAGIC.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    bytes.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
    bytes.extend(types);
    bytes.extend(strings);
    Btf::parse(Bytes::Read(bytes))
}

fn example() -> Btf {
    let strings = b"\0int\0pair\0first\0rest\0color\0red\0blue\0paint\0with\0";
    let types = [
        1,
        1 << 24,
        4,
        1 << 24 | 32, // 1: int
        5,
        4 << 24 | 1 << 31 | 2,
        8, // 2: struct pair
        10,
        1,
        0, // int first
        16,
        1,
        3 << 24 | 32, // int rest : 3
        21,
        6 << 24 | 1 << 31 | 2,
        4, // 3: enum color
        27,
        0,
        31,
        u32::MAX, // red, blue = -1
        0,
        2 << 24,
        2, // 4: struct pair *
        0,
        13 << 24 | 1,
        3,
        42,
        4, // 5: enum color (struct pair *with)
        36,
        12 << 24,
        5, // 6: paint
        0,
        10 << 24,
        3, // 7: const enum color
        0,
        3 << 24,
        0,
        1,
        1,
        5, // 8: int[5]
    ];
    btf(&types, strings).unwrap()
}

#[test]
fn structs_have_members_and_bit_fields() {
    let btf = example();
    let pair = btf.find_struct("pair").unwrap();
    assert_eq!((pair, btf.size(pair)), (2, 8));
    let members: Vec<_> = btf.members(pair).collect();
    assert_eq!(members[0], Member { name: "first", ty: 1, bit_offset: 0, bits: 0 });
    assert_eq!(members[1], Member { name: "rest", ty: 1, bit_offset: 32, bits: 3 });
    assert_eq!(btf.kind(1), Kind::Int { bits: 32, signed: true, boolean: false });
    assert_eq!(btf.size(8), 20);
}

#[test]
fn enums_and_functions() {
    let btf = example();
    assert_eq!(btf.find_constant("blue"), Some((3, -1)));
    assert_eq!(btf.find_constant("green"), None);
    let paint = btf.find_function("paint").unwrap();
    assert_eq!(btf.parameters(paint).collect::<Vec<_>>(), [Parameter { name: "with", ty: 4 }]);
    assert_eq!(btf.name(btf.returns(paint)), "color");
    assert_eq!(btf.resolve(7), 3);
}

#[test]
fn names_are_whole_and_of_a_kind() {
    let btf = example();
    assert_eq!(btf.find_struct("pai"), None);
    assert_eq!(btf.find_struct("paint"), None);
    assert_eq!(btf.find_function("paint"), Some(6));
}

#[test]
fn a_modules_types_go_on_from_the_kernels() {
    let base = Rc::new(example());
    let (ids, strings) = (base.ids().end, base.strings_len as u32);
    let types = [
        strings + 1,
        4 << 24 | 2,
        12, // struct own
        10,
        2,
        0, // struct pair first
        strings + 5,
        1,
        64, // int more
        36,
        12 << 24,
        5, // a function of a name that the kernel has too
    ];
    let module = Btf { base: Some(base), ..btf(&types, b"\0own\0more\0").unwrap() };
    assert_eq!(module.find_struct("own"), Some(ids));
    assert_eq!(module.find_function("paint"), Some(ids + 1));
    assert_eq!((module.find_struct("pair"), module.name(2)), (None, "pair"));
    assert!(module.is_of_base(2) && !module.is_of_base(ids));
    let members: Vec<_> = module.members(ids).map(|of| (of.name, of.ty)).collect();
    assert_eq!(members, [("first", 2), ("more", 1)]);
    assert_eq!(module.size(2), 8);
}

#[test]
fn what_is_cut_off_is_no_btf() {
    assert!(matches!(Btf::parse(Bytes::Read(vec![0x9f, 0xeb, 1, 0])), Err(BtfError::Malformed)));
    assert!(btf(&[], b"\0").unwrap().find_struct("pair").is_none());
    // A type whose head says more than there is: what is missing is void, not a panic.
    let cut = btf(&[1, 4 << 24 | 2, 8], b"\0pair\0").unwrap();
    assert_eq!(cut.members(1).map(|member| member.ty).collect::<Vec<_>>().len(), 2);
}

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

#[test]
fn a_slice_has_what_lies_in_its_types_and_no_more() {
    let all = example();
    let names = ["pair", "color"].into_iter().collect();
    let slice = Btf::parse(Bytes::Read(all.slice(&names))).unwrap();
    let [pair, color] = ["pair", "color"].map(|name| {
        slice.find(name, |kind| matches!(kind, Kind::Struct(_) | Kind::Enum { .. })).unwrap()
    });
    let members: Vec<_> = slice
        .members(pair)
        .map(|of| (of.name, of.bit_offset, of.bits, slice.kind(of.ty)))
        .collect();
    let int = all.kind(1);
    assert_eq!(members, [("first", 0, 0, int), ("rest", 32, 3, int)]);
    assert_eq!(slice.constants(color).collect::<Vec<_>>(), [("red", 0), ("blue", -1)]);
    assert_eq!((slice.find_function("paint"), slice.ids().count()), (None, 3));
}

/// Members of a struct, and of those in it, by their names and places.
fn layout(btf: &Btf, id: Id, at: u32, into: &mut Vec<(String, u32, u32, u32)>) {
    for member in btf.members(id) {
        let (ty, at) = (btf.resolve(member.ty), at + member.bit_offset);
        into.push((member.name.to_owned(), at, member.bits, btf.size(ty)));
        layout(btf, ty, at, into);
    }
}

#[test]
fn a_slice_of_the_kernel_s_types_lays_them_out_as_the_kernel_does() {
    let all = Btf::vmlinux().unwrap();
    let names = ["task_struct", "tcp_sock", "sk_buff", "bpf_func_id"];
    let slice = Btf::parse(Bytes::Read(all.slice(&names.into_iter().collect()))).unwrap();
    for name in &names[..3] {
        let [of_all, of_slice] = [&all, &slice].map(|btf| {
            let mut members = Vec::new();
            let id = btf.find_struct(name).unwrap();
            layout(btf, id, 0, &mut members);
            (btf.size(id), members)
        });
        assert!(of_all.1.len() > 50, "{name}");
        assert_eq!(of_all, of_slice, "{name}");
    }
    let helper = |btf: &Btf| btf.find_constant("BPF_FUNC_map_lookup_elem").unwrap().1;
    assert_eq!((helper(&all), helper(&slice)), (1, 1));
    assert!(slice.ids().len() < all.ids().len() / 10);
}

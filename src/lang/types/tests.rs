use super::*;

fn shown(of: &Type) -> String {
    of.display(&Structs::default()).to_string()
}

#[test]
fn literals_have_the_smallest_signed_type() {
    let types = [0, 127, 128, -129, 1 << 31, -(1 << 63), (1 << 63) - 1, 1 << 63]
        .map(|value| Int::of_literal(value).to_string());
    assert_eq!(types, ["int8", "int8", "int16", "int16", "int64", "int64", "int64", "uint64"]);
}

#[test]
fn integers_wrap() {
    assert_eq!(Int::U8.wrap(-1), 255);
    assert_eq!(Int { bits: 8, signed: true }.wrap(200), -56);
    assert_eq!(Int::U64.wrap(-1), i128::from(u64::MAX));
    assert!(Int::I64.holds(i128::from(i64::MIN)) && !Int::I64.holds(1 << 63));
}

#[test]
fn names() {
    let int8 = Type::Int(Int { bits: 8, signed: true });
    let pair = Type::tuple([int8.clone(), Type::String(6)]);
    assert_eq!(shown(&pair), "(int8,string[6])");
    let record = Type::Record([("a".into(), Type::U32), ("b".into(), Type::Bool)].into());
    assert_eq!(shown(&record), "record { .a = uint32, .b = bool }");
    let pointer = Type::Array(Arc::new(int8), 4).pointer(AddressSpace::User);
    assert_eq!(shown(&pointer), "int8[4] *");
    assert_eq!(shown(&Type::Aggregate(Aggregate::Sum { signed: false })), "usum_t");
    let stack = Stack { mode: StackMode::Perf, limit: 3 };
    assert_eq!(shown(&Type::KStack(stack)), "kstack_perf_3");
}

#[test]
fn tuples_are_laid_out_as_c_does() {
    let structs = Structs::default();
    let tuple = Type::tuple([Type::Bool, Type::U32, Type::String(3), Type::U64, Type::Bool]);
    let layout = structs.layout(&tuple);
    assert_eq!(layout, Layout { size: 32, align: 8, offsets: vec![0, 4, 8, 16, 24] });
    let outer = Type::tuple([Type::Bool, tuple]);
    assert_eq!(structs.layout(&outer).offsets, [0, 8]);
    assert_eq!(structs.size_of(&Type::tuple([])), 0);
}

#[test]
fn tables() {
    assert_eq!(Aggregate::Hist { bits: 0 }.buckets(), 66);
    assert_eq!(Aggregate::Lhist { min: 0, max: 100, step: 10 }.buckets(), 12);
}

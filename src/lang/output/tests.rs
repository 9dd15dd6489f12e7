//! Programs of one map or message, and what is written of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::*;
use crate::lang::program::{Map, MapKind, RuntimeError, StackMap};
use crate::lang::types::{
    Aggregate, EnumDef, Int, Origin, Stack, StackMode, StructDef, StructKind, Type,
};

mod errors;

type Table = BTreeMap<Vec<u8>, Vec<u8>>;

/// Maps in memory.
#[derive(Default)]
struct Tables(RefCell<BTreeMap<usize, Table>>);

impl Tables {
    fn with(self, map: usize, entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        self.0.borrow_mut().entry(map).or_default().extend(entries);
        self
    }
}

impl Maps for Tables {
    fn entries(&self, map: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let table = self.0.borrow().get(&map).cloned().unwrap_or_default();
        Ok(table.into_iter().collect())
    }

    fn value(&self, map: usize, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.borrow().get(&map).and_then(|table| table.get(key).cloned()))
    }

    fn clear(&self, map: usize) -> io::Result<()> {
        self.0.borrow_mut().remove(&map);
        Ok(())
    }

    fn zero(&self, map: usize) -> io::Result<()> {
        let mut tables = self.0.borrow_mut();
        for value in tables.entry(map).or_default().values_mut() {
            value.fill(0);
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Written(Rc<RefCell<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

const JSON: OutputOptions = OutputOptions {
    format: Format::Json,
    is_quiet: false,
    without_warnings: false,
    is_unsafe: true,
    with_percentiles: false,
};
const TEXT: OutputOptions = OutputOptions { format: Format::Text, ..JSON };

/// What is written, stdout and stderr in their order.
fn run(
    program: &Program,
    options: OutputOptions,
    act: impl FnOnce(&mut Output<'_>) -> io::Result<()>,
) -> String {
    let (config, mut sources) = (Config::default(), Sources::default());
    sources.add("stdin", "begin { f(1); }");
    let written = Written::default();
    let mut output = Output::new(program, &config, &sources, options, Box::new(written.clone()))
        .with_errors(Box::new(written.clone()));
    act(&mut output).unwrap();
    drop(output);
    written.text()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn map(key: Option<Type>, value: Type, program: &Program) -> Map {
    let of = value.aggregate();
    let kind = match of {
        Some(Aggregate::Sum { .. }) | None if key.is_none() => MapKind::Hash,
        Some(_) if key.is_none() => MapKind::PercpuArray,
        Some(_) => MapKind::PercpuHash,
        None => MapKind::Hash,
    };
    let value_size = of.map_or_else(|| program.structs.size_of(&value), Aggregate::entry_size);
    Map {
        name: "@".to_owned(),
        kind,
        key_size: 8,
        value_size,
        max_entries: 16,
        role: Role::User { key, value },
    }
}

/// A map of these entries, as it is at the end.
fn at_end(
    program: &mut Program,
    key: Option<Type>,
    value: Type,
    entries: &[(Vec<u8>, Vec<u8>)],
    options: OutputOptions,
) -> String {
    program.maps.insert(0, map(key, value, program));
    let tables = Tables::default().with(0, entries.to_vec());
    let text = run(program, options, |output| output.at_end(&tables));
    program.maps.remove(0);
    text
}

/// A value that is printed.
fn printed(program: &mut Program, ty: &Type, value: &[u8], options: OutputOptions) -> String {
    program.actions = vec![Action::PrintValue(Field { offset: 8, ty: ty.clone() })];
    let message = [&words(&[0])[..], value].concat();
    run(program, options, |output| {
        assert_eq!(output.message(&message, &Tables::default())?, Asked::Nothing);
        Ok(())
    })
}

fn shown(ty: &Type, value: &[u8]) -> String {
    printed(&mut Program::default(), ty, value, TEXT)
}

#[test]
fn values_of_every_type_are_printed() {
    let int = |bits, signed| Type::Int(Int { bits, signed });
    let address = |family: u64, bytes: &[u8]| [&words(&[family])[..], bytes].concat();
    let tuple = Type::tuple([int(8, true), Type::I64, Type::String(4)]);
    for (ty, value, expected) in [
        (Type::Bool, vec![1], "true"),
        (int(8, true), vec![0xff], "-1"),
        (int(16, false), vec![0xff, 0xff], "65535"),
        (Type::I64, words(&[u64::MAX]), "-1"),
        (Type::U64, words(&[u64::MAX]), "18446744073709551615"),
        (Type::String(8), b"abc\0xyz\0".to_vec(), "abc"),
        (Type::String(3), b"abc".to_vec(), "abc.."),
        (Type::Buffer(8), [&2_u32.to_ne_bytes()[..], b"a\0zzzzzz"].concat(), "a\\x00"),
        (Type::Void.pointer(Default::default()), words(&[0xffff]), "0xffff"),
        (Type::Array(int(8, false).into(), 3), vec![1, 2, 3], "[1,2,3]"),
        (tuple, [&words(&[0xff, 7])[..], b"ab\0\0\0\0\0\0"].concat(), "(-1, 7, ab)"),
        (Type::MacAddress, vec![1, 0xab, 3, 4, 5, 6], "01:AB:03:04:05:06"),
        (Type::Inet, address(2, &[127, 0, 0, 1]), "127.0.0.1"),
        (Type::Inet, address(10, &[0; 16]), "::"),
        (Type::Username, words(&[0]), "root"),
        (Type::Username, words(&[0xffff_ff00]), ""),
        (Type::KSym, words(&[1]), "0x1"),
        (Type::Float(4), 1.5_f32.to_ne_bytes().to_vec(), "null"),
        (Type::USym, words(&[1, u64::from(std::process::id())]), "0x1"),
    ] {
        assert_eq!(shown(&ty, &value), format!("{expected}\n"), "{ty:?}");
    }
    let record = Type::Record([("a".into(), Type::Bool), ("b".into(), Type::I64)].into());
    assert_eq!(shown(&record, &words(&[1, 2])), "{ .a = true, .b = 2 }\n");
}

#[test]
fn structs_and_enums_have_names() {
    use crate::lang::types::{BitField, Field};

    let mut program = Program::default();
    let values = vec![("ONE".into(), 1), ("TWO".into(), 2)];
    program.structs.enums.insert("E".into(), EnumDef { int: Int::U32, values });
    let of = Type::Enum("E".into(), Int::U32);
    assert_eq!(printed(&mut program, &of, &[2, 0, 0, 0], TEXT), "TWO\n");
    assert_eq!(printed(&mut program, &of, &[9, 0, 0, 0], TEXT), "9\n");
    let json = printed(&mut program, &of, &[2, 0, 0, 0], JSON);
    assert_eq!(json, "{\"type\": \"value\", \"data\": 2}\n");
    let field = |name: &str, ty, offset, bits| Field {
        name: name.into(),
        ty,
        offset,
        bits,
        is_data_loc: false,
    };
    let mut def = |name: &str, fields| {
        program.structs.add(StructDef {
            name: name.into(),
            kind: StructKind::Struct,
            size: 8,
            align: 4,
            origin: Origin::Program,
            fields: Some(fields),
        })
    };
    let inner = def("struct in", vec![field("c", of, 0, None)]);
    let bits = |shift, width| Some(BitField { shift, width });
    let outer = def(
        "struct out",
        vec![
            field("a", Type::Int(Int::I32), 0, bits(0, 4)),
            field("b", Type::U32, 0, bits(4, 3)),
            field("", Type::Struct(inner), 4, None),
        ],
    );
    let text = printed(&mut program, &Type::Struct(outer), &[0x3f, 0, 0, 0, 1, 0, 0, 0], TEXT);
    assert_eq!(text, "{ .a = 15, .b = 3, .c = ONE }\n");
}

#[test]
fn times_and_stacks_are_looked_up() {
    let mut program =
        Program { formats: vec!["%Y %f".to_owned(), "none".to_owned()], ..Program::default() };
    let text = printed(&mut program, &Type::Timestamp, &words(&[0, 1_000_000]), TEXT);
    let year: i32 = text.split(' ').next().unwrap().parse().unwrap();
    assert!(year >= 2020, "{text}");
    let tai = [&words(&[2 << 32])[..], &words(&[86_400_000_000_000 * 366])].concat();
    assert_eq!(printed(&mut program, &Type::Timestamp, &tai, TEXT), "1971 000000\n");
    assert_eq!(printed(&mut program, &Type::CgroupPath, &words(&[1, 1]), TEXT), "\n");

    let role = Role::Stacks(StackMap { frames: 3 });
    program.maps.push(Map { role, ..map(None, Type::I64, &program) });
    let stack = Type::KStack(Stack { mode: StackMode::Raw, limit: 3 });
    program.actions = vec![Action::PrintValue(Field { offset: 8, ty: stack })];
    let tables = Tables::default().with(0, [(words(&[77, 2]), words(&[0xabc, 0xdef, 0]))]);
    let text =
        run(&program, TEXT, |output| output.message(&words(&[0, 77, 2]), &tables).map(|_| ()));
    assert_eq!(text, "\nabc\ndef\n\n");
}

#[test]
fn maps_are_sorted() {
    let program = &mut Program::default();
    let entry = |key: u64, value: u64| (words(&[key]), words(&[value]));
    let by_value = [entry(1, 30), entry(2, 10), entry(3, u64::MAX)];
    let key = Some(Type::I64);
    let text = at_end(program, key.clone(), Type::I64, &by_value, TEXT);
    assert_eq!(text, "\n\n@[3]: -1\n@[2]: 10\n@[1]: 30\n");
    let text = at_end(program, key, Type::String(8), &[entry(5, 97), entry(u64::MAX, 98)], TEXT);
    assert_eq!(text, "\n\n@[-1]: b\n@[5]: a\n");
    let pair = Some(Type::tuple([Type::String(8), Type::I64]));
    let entry = |name: u8, second| (words(&[name.into(), second]), words(&[1]));
    let pairs = [entry(b'b', 1), entry(b'a', 2), entry(b'a', 1)];
    let text = at_end(program, pair.clone(), Type::I64, &pairs, TEXT);
    assert_eq!(text, "\n\n@[a, 1]: 1\n@[a, 2]: 1\n@[b, 1]: 1\n");
    let json = at_end(program, pair, Type::I64, &pairs[..1], JSON);
    assert_eq!(json, "{\"type\": \"map\", \"data\": {\"@\": {\"b,1\": 1}}}\n");
    assert_eq!(at_end(program, None, Type::I64, &[], TEXT), "\n\n");
    assert_eq!(at_end(program, None, Type::I64, &[], JSON), "");
}

#[test]
fn aggregates_are_of_all_cpus() {
    let program = &mut Program::default();
    let cpus = |cpus: &[u64]| vec![(vec![0; 4], words(cpus))];
    let minus = u64::MAX;
    for (of, value, expected) in [
        (Aggregate::Count, &[3, 4][..], "7"),
        (Aggregate::Sum { signed: true }, &[minus, 0], "-1"),
        (Aggregate::Sum { signed: false }, &[0, 0], "0"),
        (Aggregate::Min { signed: true }, &[5, 1, minus, 1], "-1"),
        (Aggregate::Min { signed: false }, &[5, 1, minus, 1], "5"),
        (Aggregate::Max { signed: true }, &[0, 0, minus, 1], "-1"),
        (Aggregate::Avg { signed: true }, &[10, 2, 5, 1], "5"),
        (
            Aggregate::Stats { signed: true },
            &[10, 2, 5, 1],
            "{ .count = 3, .average = 5, .total = 15 }",
        ),
    ] {
        let text = at_end(program, None, Type::Aggregate(of), &cpus(value), TEXT);
        assert_eq!(text, format!("\n\n@: {expected}\n"), "{of:?}");
    }
    let stats = Type::Aggregate(Aggregate::Stats { signed: true });
    let json = at_end(program, None, stats, &cpus(&[12, 2]), JSON);
    assert_eq!(
        json,
        "{\"type\": \"stats\", \"data\": {\"@\": {\"count\": 2, \"average\": 6, \"total\": 12}}}\n"
    );
    let nothing = cpus(&[0, 0]);
    assert_eq!(at_end(program, None, Type::Aggregate(Aggregate::Count), &nothing, TEXT), "\n\n");
}

/// Buckets of a scalar table on one CPU.
fn table(counts: &[(u32, u64)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    counts.iter().map(|(at, count)| (at.to_ne_bytes().to_vec(), words(&[*count]))).collect()
}

#[test]
fn histograms_are_drawn() {
    let program = &mut Program::default();
    let hist = |bits| Type::Aggregate(Aggregate::Hist { bits });
    let text = at_end(program, None, hist(0), &table(&[(0, 1), (2, 2), (4, 1)]), TEXT);
    insta::assert_snapshot!(text.trim_start(), @r"
    @:
    (..., 0)               1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |
    [0]                    0 |                                                    |
    [1]                    2 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
    [2, 4)                 0 |                                                    |
    [4, 8)                 1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |
    ");
    let text = at_end(program, None, hist(2), &table(&[(48, 1), (49, 3)]), TEXT);
    assert!(text.contains("[7K, 8K)") && text.contains("[8K, 10K)"), "{text}");
    let lhist = Type::Aggregate(Aggregate::Lhist { min: 0, max: 10, step: 2 });
    let text = at_end(program, None, lhist.clone(), &table(&[(0, 1), (2, 2), (6, 1)]), TEXT);
    insta::assert_snapshot!(text.trim_start(), @r"
    @:
    (..., 0)               1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |
    [0, 2)                 0 |                                                    |
    [2, 4)                 2 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
    [4, 6)                 0 |                                                    |
    [6, 8)                 0 |                                                    |
    [8, 10)                0 |                                                    |
    [10, ...)              1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |
    ");
    let json = at_end(program, None, lhist, &table(&[(0, 1), (1, 2), (6, 1)]), JSON);
    assert!(
        json.starts_with(
            "{\"type\": \"hist\", \"data\": {\"@\": [{\"max\": -1, \"count\": 1},\
         {\"min\": 0, \"max\": 1, \"count\": 2},"
        ),
        "{json}"
    );
    assert!(json.ends_with("{\"min\": 10, \"count\": 1}]}}\n"), "{json}");
    let kilo = Type::Aggregate(Aggregate::Lhist { min: 0, max: 2 << 20, step: 1 << 20 });
    let text = at_end(program, None, kilo, &table(&[(2, 1)]), TEXT);
    assert!(text.contains("[1M, 2M)"), "{text}");
}

#[test]
fn histograms_of_keys_are_sorted_by_count() {
    let program = &mut Program::default();
    let hist = Type::Aggregate(Aggregate::Hist { bits: 0 });
    let entry = |key: u64, bucket: u64, count: u64| (words(&[key, bucket]), words(&[count, 0]));
    let entries = [entry(1, 3, 5), entry(1, 4, 1), entry(2, 3, 1)];
    let key = Some(Type::I64);
    let text = at_end(program, key.clone(), hist.clone(), &entries, TEXT);
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with('@')).collect();
    assert_eq!(heads, ["@[2]:", "@[1]:"]);
    assert!(text.ends_with("|\n\n"), "{text:?}");
    let ours = OutputOptions { with_percentiles: true, ..JSON };
    let json = at_end(program, key, hist, &entries, ours);
    assert!(
        json.ends_with(
            "\"percentiles\": {\"@\": {\"2\": {\"p50\": 2, \"p90\": 2, \"p99\": 2, \"p99.9\": 2}, \
         \"1\": {\"p50\": 2, \"p90\": 5, \"p99\": 5, \"p99.9\": 5}}}}\n"
        ),
        "{json}"
    );
}

#[test]
fn series_are_drawn() {
    use crate::lang::types::Series;

    let program = &mut Program::default();
    let of = |of| {
        let interval = 100_000_000;
        Type::Aggregate(Aggregate::Tseries { of, interval, intervals: 3, signed: true })
    };
    let minus_two = (-2_i64).cast_unsigned();
    let entries: Vec<_> = [(0_u32, [15, 4, 1]), (1, [13, minus_two, 1]), (2, [12, 9, 1])]
        .iter()
        .map(|(at, value)| (at.to_ne_bytes().to_vec(), words(value)))
        .collect();
    let text = at_end(program, None, of(Series::Last), &entries, TEXT);
    // Hours and minutes are the machine's.
    let lines: Vec<&str> =
        text.trim_start().lines().map(|line| line.get(6..).unwrap_or(line)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    @:
           -2                                                  4
    ss.ms  |___________________________________________________|
    01.300 *                .                                  | -2
    01.400 |                .                                  | -
    01.500 |                .                                  * 4
           v___________________________________________________v
           -2                                                  4
    ");
    let json = at_end(program, None, of(Series::Last), &entries, JSON);
    assert_eq!(
        json,
        "{\"type\": \"tseries\", \"data\": {\"@\": [{\"interval_start\":\"1970-01-01 \
         00:00:01.300000000\",\"value\":-2},{\"interval_start\":\"1970-01-01 \
         00:00:01.500000000\",\"value\":4}]}}\n"
    );
    let two_cpus = |series| {
        let entry = vec![(vec![0; 4], words(&[15, 10, 2, 15, 2, 1]))];
        at_end(&mut Program::default(), None, of(series), &entry, JSON)
    };
    for (series, value) in [
        (Series::Min, 2),
        (Series::Max, 10),
        (Series::Sum, 12),
        (Series::Avg, 4),
        (Series::Last, 10),
    ] {
        assert!(two_cpus(series).contains(&format!("\"value\":{value}}}")), "{series:?}");
    }
}

/// A program of one scalar count, and the actions on it.
fn counting(actions: Vec<Action>) -> Program {
    let mut program = Program { actions, ..Program::default() };
    program.maps.push(map(None, Type::Aggregate(Aggregate::Count), &program));
    program
}

#[test]
fn what_was_zeroed_is_there_what_was_cleared_is_not() {
    let program = counting(vec![Action::ZeroMap(0), Action::ClearMap(0), Action::PrintMap(0)]);
    let tables = || Tables::default().with(0, [(vec![0; 4], words(&[3]))]);
    let text = |actions: &[u64]| {
        let tables = tables();
        run(&program, TEXT, |output| {
            for action in actions {
                output.message(&words(&[*action, 0, 0]), &tables)?;
            }
            output.at_end(&tables)
        })
    };
    assert_eq!(text(&[]), "\n\n@: 3\n");
    assert_eq!(text(&[0]), "\n\n@: 0\n");
    assert_eq!(text(&[1]), "\n\n");
    assert_eq!(text(&[1, 2]), "@: 0\n\n\n");
    assert_eq!(text(&[0, 1]), "\n\n");
}

#[test]
fn the_last_entries_of_a_map_are_its_top() {
    let actions = vec![
        Action::PrintMap(0),
        Action::PrintEntry { map: 0, key: Field { offset: 8, ty: Type::I64 } },
    ];
    let mut program = Program { actions, ..Program::default() };
    let count = Type::Aggregate(Aggregate::Count);
    program.maps.push(map(Some(Type::I64), count, &program));
    let entries = [(7, 10), (8, 30), (9, 20)].map(|(key, count)| (words(&[key]), words(&[count])));
    let tables = Tables::default().with(0, entries);
    let text = run(&program, TEXT, |output| {
        output.message(&words(&[0, 2, 10]), &tables)?;
        output.message(&words(&[0, 0, 0]), &tables)?;
        output.message(&words(&[1, 9]), &tables)?;
        output.message(&words(&[1, 5]), &tables).map(|_| ())
    });
    assert_eq!(text, "@[9]: 2\n@[8]: 3\n@[7]: 10\n@[9]: 20\n@[8]: 30\n20\n0\n");
}

fn formatted(sink: Sink, format: &str) -> Program {
    let args = vec![Field { offset: 8, ty: Type::I64 }];
    let span = Span { start: 8, end: 12 };
    let action = Action::Formatted { sink, format: format.to_owned(), args, span };
    Program { actions: vec![action], ..Program::default() }
}

#[test]
fn formatted_text_goes_where_it_is_meant_to() {
    let text = |sink, format: &str, options| {
        run(&formatted(sink, format), options, |output| {
            output.message(&words(&[0, 5]), &Tables::default()).map(|_| ())
        })
    };
    assert_eq!(text(Sink::Printf, "a %d\n", TEXT), "a 5\n");
    assert_eq!(
        text(Sink::Printf, "a %d\n", JSON),
        "{\"type\": \"printf\", \"data\": \"a 5\\n\"}\n"
    );
    assert_eq!(text(Sink::Errorf, "bad %d", TEXT), "stdin:1:9-13: ERROR: bad 5\n");
    assert_eq!(
        text(Sink::Warnf, "bad %d", JSON),
        "{\"type\": \"warnf\", \"msg\": \"bad 5\", \"filename\": \"stdin\", \"line\": 1, \"col\": 9}\n"
    );
    let quiet = OutputOptions { without_warnings: true, ..TEXT };
    assert_eq!(text(Sink::Warnf, "bad %d", quiet), "");
    assert_eq!(text(Sink::System, "echo %d", TEXT), "5\n\n");
    assert_eq!(
        text(Sink::System, "echo %d", JSON),
        "{\"type\": \"syscall\", \"data\": \"5\\n\"}\n"
    );
    let safe = OutputOptions { is_unsafe: false, ..TEXT };
    assert!(text(Sink::System, "echo %d", safe).starts_with("ERROR: syscall() not allowed"));
    assert_eq!(
        text(Sink::Cat, "/nonexistent%d", TEXT),
        "ERROR: failed to open file '/nonexistent5' (No such file or directory)\n"
    );
}

#[test]
fn messages_of_all_kinds() {
    let span = Span { start: 8, end: 12 };
    let error = |error| Action::RuntimeError { error, span };
    let program = Program {
        actions: vec![
            Action::Exit,
            Action::Time("%H".to_owned()),
            Action::Join { separator: ",".to_owned(), max: 4, size: 4 },
            error(RuntimeError::DivideByZero),
            error(RuntimeError::Helper(libbpf_sys::BPF_FUNC_map_update_elem)),
        ],
        ..Program::default()
    };
    let tables = Tables::default();
    let said = |message: &[u8], options| {
        run(&program, options, |output| output.message(message, &tables).map(|_| ()))
    };
    run(&program, TEXT, |output| {
        assert_eq!(output.message(&words(&[0, 3]), &tables)?, Asked::Exit(3));
        // One that no program sends.
        assert_eq!(output.message(&[9], &tables)?, Asked::Nothing);
        Ok(())
    });
    assert_eq!(said(&words(&[1]), TEXT).len(), 2);
    let join = [&words(&[2, 2])[..], b"ab\0\0cd\0\0xx\0\0"].concat();
    assert_eq!(said(&join, TEXT), "ab,cd\n");
    assert_eq!(said(&join, JSON), "{\"type\": \"join\", \"data\": \"ab,cd\"}\n");
    let text = said(&words(&[3, 0]), TEXT);
    assert!(text.starts_with("stdin:1:9-13: WARNING: Divide or modulo by 0 detected."), "{text}");
    assert!(text.ends_with("used as the result.\nbegin { f(1); }\n        ~~~~\n"), "{text}");
    let code = (-i64::from(libc::ENOMEM)).cast_unsigned();
    let text = said(&words(&[4, code]), TEXT);
    assert!(text.contains("\nAdditional Info - helper: map_update_elem, retcode: -12\n"), "{text}");
    let json = said(&words(&[4, code]), JSON);
    assert!(
        json.starts_with("{\"type\": \"helper_error\", \"msg\": \"Cannot allocate memory\", "),
        "{json}"
    );
    assert!(
        json.contains("\"retcode\": -12, \"filename\": \"stdin\", \"line\": 1, \"col\": 9}"),
        "{json}"
    );
}

#[test]
fn counts_of_probes_and_losses() {
    let program = Program::default();
    let all = |output: &mut Output<'_>| {
        output.attached(1)?;
        output.attached(2)?;
        output.lost(5)?;
        output.at_end(&Tables::default())
    };
    assert_eq!(
        run(&program, TEXT, all),
        "Attached 1 probe\nAttached 2 probes\nLost 5 events\nWARNING: Total lost event count: 5\n\n\n"
    );
    let json = run(&program, JSON, all);
    assert!(
        json.contains("{\"type\": \"attached_probes\", \"count\": 2, \"data\": {\"probes\": 2}}\n")
    );
    assert!(
        json.contains("{\"type\": \"lost_events\", \"count\": 5, \"data\": {\"events\": 5}}\n")
    );
}

#[test]
fn json_says_what_it_can() {
    let json = |ty: &Type, value: &[u8]| {
        let line = printed(&mut Program::default(), ty, value, JSON);
        let _: serde_json::Value = serde_json::from_str(&line).unwrap();
        let inner = line.strip_prefix("{\"type\": \"value\", \"data\": ");
        inner.and_then(|rest| rest.strip_suffix("}\n")).unwrap().to_owned()
    };
    assert_eq!(json(&Type::String(16), b"a\"b\\\n\x01\xff\0"), "\"a\\\"b\\\\\\n\\u0001\u{fffd}\"");
    assert_eq!(json(&Type::U64, &words(&[u64::MAX])), "\"18446744073709551615\"");
    assert_eq!(json(&Type::U64, &words(&[1 << 60])), "1152921504606846976");
    assert_eq!(json(&Type::Void.pointer(Default::default()), &words(&[255])), "255");
    assert_eq!(json(&Type::tuple([Type::I64, Type::Bool]), &words(&[1, 1])), "[1,true]");
    assert_eq!(json(&Type::Buffer(4), &[2, 0, 0, 0, 1, 0xff, 0, 0]), "[1,-1]");
    let record = Type::Record([("a".into(), Type::I64), ("b".into(), Type::I64)].into());
    assert_eq!(json(&record, &words(&[1, 2])), "{\"a\": 1, \"b\": 2}");
}

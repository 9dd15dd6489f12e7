use super::*;
use crate::lang::parser;

/// Types that aren't there.
struct Nothing;

impl TypeSource for Nothing {
    fn record(&self, _: &str, _: &mut Structs) -> Option<StructId> {
        None
    }
    fn typedef(&self, _: &str, _: &mut Structs) -> Option<Type> {
        None
    }
    fn enumeration(&self, _: &str) -> Option<EnumDef> {
        None
    }
    fn enumerator(&self, _: &str) -> Option<(Name, Int, i128)> {
        None
    }
    fn fields(&self, _: StructId, _: &mut Structs) -> Vec<Field> {
        Vec::new()
    }
}

fn read(text: &str) -> (Declarations, Structs, Sources, Diagnostics) {
    let (mut sources, mut structs) = (Sources::default(), Structs::default());
    let mut diagnostics = Diagnostics::default();
    let span = sources.add("stdin", format!("{text}\nbegin {{}}"));
    let script = parser::parse(sources.of(span).unwrap(), &mut diagnostics);
    let declarations = Declarations::read(
        &script.c,
        &Headers::default(),
        &mut sources,
        &mut structs,
        &Nothing,
        &mut diagnostics,
    );
    (declarations, structs, sources, diagnostics)
}

/// Fields of a struct as `name type @offset`, and its size.
fn fields(text: &str, name: &str) -> (Vec<String>, u32) {
    let (_, structs, sources, diagnostics) = read(text);
    assert_eq!(diagnostics.errors(), 0, "{}", diagnostics.render(&sources));
    let id = structs.named(name).unwrap();
    let field = |field: &Field| {
        let bits =
            field.bits.map_or(String::new(), |bits| format!(":{}+{}", bits.shift, bits.width));
        format!("{} {} @{}{bits}", field.name, field.ty.display(&structs), field.offset)
    };
    (structs.known_fields(id).iter().map(field).collect(), structs.get(id).size)
}

#[test]
fn fields_lie_as_c_has_them() {
    let text = "struct S { char a; unsigned int b[2][3], *c; const char *name; char comm[16]; \
                struct S *next; struct { short x; } in; union { int u; long v; }; void (*f)(int); };";
    let (fields, size) = fields(text, "struct S");
    assert_eq!(
        fields,
        [
            "a int8 @0",
            "b uint32[3][2] @4",
            "c uint32 * @32",
            "name int8 * @40",
            "comm string[16] @48",
            "next struct S * @64",
            "in struct S::(anonymous) @72",
            " struct S::(anonymous) @80",
            "f void * @88",
        ]
    );
    assert_eq!(size, 96);
}

#[test]
fn packed_and_bits() {
    let text = "struct __attribute__((packed)) P { char a; int b; }\n\
                struct Q { char a; int b; } __attribute__((packed));\n\
                struct B { int a : 3; int b : 30; int : 0; char c; };";
    assert_eq!(fields(text, "struct P"), (vec!["a int8 @0".into(), "b int32 @1".into()], 5));
    assert_eq!(fields(text, "struct Q").1, 5);
    let (bits, size) = fields(text, "struct B");
    assert_eq!(bits, ["a int32 @0:0+3", "b int32 @4:0+30", "c int8 @8"]);
    assert_eq!(size, 12);
}

#[test]
fn constants_and_conditions() {
    let (declarations, structs, sources, _) = read(
        "#ifndef BPFTRACE_HAVE_BTF\n#include <net/sock.h>\nstruct no { int a; };\n#else\n\
         #define AF_INET 2 // v4\n#endif\n#define F(x) x\nenum E { A, B = 5, C, D = -1, G = 1 << 4 };",
    );
    assert!(structs.named("struct no").is_none());
    assert_eq!(sources.text(declarations.defines["AF_INET"]).trim(), "2");
    assert!(!declarations.defines.contains_key("F"));
    let value = |name: &str| declarations.constants[name].1;
    assert_eq!([value("A"), value("B"), value("C"), value("D"), value("G")], [0, 5, 6, -1, 16]);
    assert!(structs.enums["E"].int.signed);
}

#[test]
fn wrong_declarations_are_told() {
    let errors =
        |text| read(text).3.all().iter().map(|one| one.message.clone()).collect::<Vec<_>>();
    assert_eq!(errors("struct S { nonsense a; };"), ["unknown type name 'nonsense'"]);
    assert_eq!(errors("struct S { int a int b; };"), ["expected ';'"]);
    assert!(!errors("enum E { 1 };").is_empty());
}

//! Whole programs, and what the passes make of them. What each pass does by itself is tested beside it.

use super::*;
use crate::lang::ast::{Expr, ExprKind, StatementKind};
use crate::lang::types::Type;
use crate::lang::walk::{self, Visit};

mod fold;
mod names;
mod probes;
mod scopes;

fn checked_with(text: &str, options: &Options) -> Checked {
    check("stdin", text, options, &KernelTypes::new())
}

fn typed(text: &str) -> Typed {
    let checked = checked_with(text, &Options::default());
    let told = checked.diagnostics.render(&checked.sources);
    checked.typed.unwrap_or_else(|| panic!("{text}: {told}"))
}

/// Errors and warnings, without their places.
fn told(text: &str) -> Vec<String> {
    let checked = checked_with(text, &Options::default());
    checked.diagnostics.all().iter().map(|one| one.message.clone()).collect()
}

/// The type of a variable of a program that begins with something.
fn local(text: &str, name: &str, before: &str) -> String {
    let typed = typed(&format!("{before}\nbegin {{ {text} }}"));
    let local = typed.script.probes[0].locals.iter().find(|local| &*local.name == name);
    local.unwrap().ty.display(&typed.structs).to_string()
}

/// Key and value of a map.
fn map(text: &str, name: &str) -> (String, String) {
    let typed = typed(&format!("begin {{ {text} }}"));
    let map = typed.map(name).unwrap();
    let shown = |ty: &Type| ty.display(&typed.structs).to_string();
    (map.key.as_ref().map_or("scalar".to_owned(), shown), shown(&map.value))
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn variables_have_the_smallest_type_that_holds_all() {
    assert_eq!(local("$a = 1; $a = (uint64)2", "$a", ""), "uint64");
    assert_eq!(local("$a = 1; $b = -1000; $a = $b", "$a", ""), "int16");
    assert_eq!(local("$c = (uint64)1; $d = (int64)-1; $c = $d", "$c", ""), "int64");
    assert_eq!(local("$a = \"ab\"; $a = \"abcd\"", "$a", ""), "string[5]");
    assert_eq!(local("$a = (1, \"a\"); $a = (100000, \"bcd\")", "$a", ""), "(int32,string[4])");
    assert_eq!(local("$i = 0; $i++", "$i", ""), "int64");
    assert_eq!(local("let $a : uint8 = 1; $a = 2", "$a", ""), "uint8");
    assert_eq!(local("for ($i : 0..ncpus) { print($i) }", "$i", ""), "uint64");
    assert_eq!(local("$a = 1 < 2 ? \"x\" : \"yz\"", "$a", ""), "string[2]");
}

#[test]
fn maps_have_keys_and_values() {
    assert_eq!(map("@ = count()", "@"), pair("scalar", "count_t"));
    assert_eq!(map("@[pid, comm]++", "@"), pair("(uint32,string[16])", "int64"));
    assert_eq!(map("@a[1] = sum((uint8)5); @a[300] = sum(-1)", "@a"), pair("int16", "sum_t"));
    assert_eq!(map("@x = hist(5, 2); print(@x)", "@x"), pair("scalar", "hist_t"));
    assert_eq!(map("@c = count(); $x = @c; @b = 1; @b = @c", "@b"), pair("scalar", "int64"));
    assert_eq!(map("@[kstack(3)] = 1", "@"), pair("kstack_bpftrace_3", "int8"));
}

#[test]
fn what_is_wrong_is_said_in_known_words() {
    for (text, message) in [
        (
            "begin { @ = 0; print(len(@)) }",
            "call to len() expects a map with explicit keys (non-scalar map)",
        ),
        (
            "begin { @g[1, \"hi\"] = 2; if (has_key(@g, (1, 2))) { } }",
            "Argument mismatch for @g: trying to access with arguments: '(int8,int8)' when map \
             expects arguments: '(int8,string[3])'",
        ),
        ("begin { unroll (101) { print(1) } }", "unroll maximum value is 100"),
        ("begin { printf(\"%d\", \"x\") }", "unsupported format specifier for type 'string[2]': d"),
        (
            "begin { printf(\"%d\") }",
            "not enough arguments for format string (0 supplied, 1 expected)",
        ),
        (
            "begin { $a = 1; $a = \"x\" }",
            "Type mismatch for $a: trying to assign value of type 'string[2]' when variable already has a type 'int8'",
        ),
        ("begin { print($nope) }", "Undefined or undeclared variable: $nope"),
        ("begin { prnt(1) }", "Unknown function: 'prnt'"),
        ("begin { break; }", "'break' statement is not allowed outside of a loop"),
        (
            "begin { @a = count(); @b = @a }",
            "Map value 'count_t' cannot be assigned from one map to another. The function that returns this type must be called directly e.g. `@b = count();`.",
        ),
        ("nope:x { }", "Invalid probe type: nope"),
        ("begin { (1, 2).2 }", "Invalid tuple index: 2. Found 2 elements in tuple."),
        (
            "struct A { int x[4]; } begin { $a = (struct A *)0; print($a.x[5]) }",
            "the index 5 is out of bounds for array of size 4",
        ),
        ("begin { system(\"ls\") }", "system() is an unsafe function being used in safe mode"),
        (
            "macro m() { @x = 1 } begin { m() }",
            "Unhygienic access to map: @x. Maps must be passed into the macro as arguments.",
        ),
        (
            "begin { @a[1] = 1; @a = 2 }",
            "@a used as a map without an explicit key (scalar map), previously used with an explicit key (non-scalar map)",
        ),
    ] {
        let told = told(text);
        assert!(told.iter().any(|one| one == message), "{text}: {told:?}");
    }
}

#[test]
fn several_errors_are_told_at_once() {
    let told_all =
        told("begin { prnt(1); $a = pidd; print($a); printf(\"%d\"); break; } nope:x { }");
    assert_eq!(told_all.len(), 5, "{told_all:?}");
    assert_eq!(told("begin { $a = 1; $a = \"x\"; printf(\"%d\") }").len(), 2);
    let text = "begin { $task = (struct task_stuct *)curtask; print($task.pid) }";
    let checked = checked_with(text, &Options::default());
    let [one] = checked.diagnostics.all() else { panic!("{text}") };
    assert_eq!(one.message, "Unknown struct/union: 'struct task_stuct'");
    assert_eq!(one.hints, ["Did you mean 'struct task_struct'?"]);
}

/// Kinds of nodes that must be gone.
#[derive(Default)]
struct Leftovers(Vec<String>);

impl Visit for Leftovers {
    fn expr(&mut self, expr: &mut Expr) {
        let is_gone = matches!(
            expr.kind,
            ExprKind::Sizeof(_)
                | ExprKind::Typeinfo(_)
                | ExprKind::Offsetof { .. }
                | ExprKind::Comptime(_)
                | ExprKind::Parameter(_)
                | ExprKind::ParameterCount
                | ExprKind::Type(_)
        );
        if is_gone {
            self.0.push(format!("{:?}", expr.kind));
        }
        walk::walk_expr(self, expr);
    }
}

#[test]
fn syntax_is_gone() {
    let mut typed = typed(
        "struct A { int a; long b; } macro add(x) { let $y : typeof(x) = 1; x + $y }\n\
         begin { print(sizeof(struct A)); print(offsetof(struct A, b)); print(add(2)); print($1); \
         if comptime (is_str(\"a\")) { print($#) } else { print(1 + \"a\") } unroll(2) { print(1) } }",
    );
    let mut leftovers = Leftovers::default();
    leftovers.script(&mut typed.script);
    assert!(leftovers.0.is_empty(), "{:?}", leftovers.0);
}

#[test]
fn parameters_and_options() {
    let options = Options {
        parameters: vec!["5".into(), "word".into()],
        named: vec![("count".into(), Some("7".into())), ("on".into(), None)],
        ..Options::default()
    };
    let text = "begin { print($1 + 1); print($2); print(str($1)); print(getopt(\"count\", 1)); \
                print(getopt(\"on\")); print(getopt(\"off\", \"x\")); }";
    let checked = checked_with(text, &options);
    let typed = checked.typed.unwrap();
    let printed = |at: usize| match &typed.script.probes[0].body.statements[at].kind {
        StatementKind::Expr(Expr { kind: ExprKind::Function { arguments, .. }, .. }) => {
            format!("{:?}", arguments[0].kind)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(printed(0), "Int(6)");
    assert_eq!(printed(1), format!("Str({:?})", b"word"));
    assert_eq!(printed(2), format!("Str({:?})", b"5"));
    assert_eq!(printed(3), "Int(7)");
    assert_eq!(printed(4), "Bool(true)");
    assert_eq!(printed(5), format!("Str({:?})", b"x"));
}

proptest::proptest! {
    #[test]
    fn no_program_makes_it_panic(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "$a", "@m", "@m[1]", "1", "-1", "\"s\"", "(1, 2)", "(", ")", "{", "}", "=", ";", "+", "++", ".0",
            "[0]", ",", "count()", "hist(1)", "print(", "printf(\"%d\",", "pid", "comm", "args", "(uint8)",
            "typeof(", "sizeof(", "if", "else", "for ($i : 0..2)", "let", "return", "*", "&", "==", "? 1 : 2",
            "str(", "len(", "kstack", "nsecs(tai)", "comptime", "18446744073709551615", "/", "%", "<<",
        ]), 0..14),
    ) {
        checked_with(&format!("begin {{ {} }}", words.join(" ")), &Options::default());
    }
}

use super::*;

#[test]
fn blocks_have_variables_of_their_own() {
    let typed = typed("begin { if (1 == pid) { $a = 1 } else { $a = \"x\" } $b = 2 }");
    let types: Vec<String> = typed.script.probes[0]
        .locals
        .iter()
        .map(|local| format!("{} {}", local.name, local.ty.display(&typed.structs)))
        .collect();
    assert_eq!(types, ["$a int8", "$a string[2]", "$b int8"]);
}

#[test]
fn what_is_never_run_says_types_too() {
    let typed = typed("begin { let $x; if 0 { $x = 300; } print($x) }");
    assert_eq!(typed.script.probes[0].locals[0].ty.display(&typed.structs).to_string(), "int16");
}

#[test]
fn unroll_is_written_out() {
    let typed = typed("begin { $a = 1; unroll(3) { $a = $a + 2; let $b = $a; } }");
    assert_eq!(typed.script.probes[0].body.statements.len(), 4);
    assert_eq!(typed.script.probes[0].locals.len(), 4);
}

#[test]
fn wrong_uses() {
    for (text, message) in [
        ("print($a)", "Undefined or undeclared variable: $a"),
        ("if (pid) { $a = 1 } print($a)", "Undefined or undeclared variable: $a"),
        (
            "$a = 1; let $a = 2",
            "Variable $a was already declared. Variable shadowing is not allowed.",
        ),
        ("$a = 1; for ($a : 0..2) { }", "Loop declaration shadows existing variable: $a"),
        ("continue", "'continue' statement is not allowed outside of a loop"),
        ("unroll(0) { }", "unroll minimum value is 1"),
        ("unroll(pid) { }", "invalid unroll value"),
        ("let $a", "Variable $a was never assigned to."),
    ] {
        let told = told(&format!("begin {{ {text} }}"));
        assert!(told.contains(&message.to_owned()), "{text}: {told:?}");
    }
}

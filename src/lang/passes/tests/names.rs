use super::*;

#[test]
fn macros_are_hygienic() {
    // The macro's own $y isn't the script's.
    assert_eq!(local("$y = \"s\"; $z = inc(5)", "$z", "macro inc(x) { $y = x + 1; $y }"), "int8");
    // A variable that is passed is.
    let text = "macro inc($x) { $x += 1; }";
    assert_eq!(local("$a = 1; inc($a)", "$a", text), "int64");
    assert_eq!(local("$a = one; $b = one()", "$b", "macro one() { 1 }"), "int8");
}

#[test]
fn overloads_are_chosen_by_kind() {
    let text = "macro f($x) { \"variable\" } macro f(@x) { \"of a map\" } macro f(x) { \"any\" }\n\
                begin { @m = 1; $v = 1; $a = f($v); $b = f(@m); $c = f(1 + 1); }";
    let typed = typed(text);
    let sizes = ["$a", "$b", "$c"].map(|name| {
        let locals = &typed.script.probes[0].locals;
        locals.iter().find(|local| &*local.name == name).unwrap().ty.clone()
    });
    assert_eq!(sizes, [Type::String(9), Type::String(9), Type::String(4)]);
}

#[test]
fn wrong_calls_of_macros() {
    for (text, message) in [
        (
            "macro f($x) { $x } begin { f(1) }",
            "Call to f() has arguments that do not match any definition.",
        ),
        (
            "macro f(x) { x } begin { f() }",
            "Call to f() has the wrong number of arguments. Expected: 1 but got 0.",
        ),
        ("macro f() { 1 } macro f() { 2 } begin { f() }", "Redefinition of macro: f"),
        (
            "macro f($a, $a) { 1 } begin { }",
            "Variable for macro argument has already been used: $a",
        ),
        (
            "macro f($a) { let $a; } begin { $b = 1; f($b) }",
            "Variable declaration shadows macro arg $a",
        ),
    ] {
        assert!(told(text).contains(&message.to_owned()), "{text}: {:?}", told(text));
    }
    let recursive = told("macro f(x) { g(x) } macro g(x) { f(x) } begin { f(1) }");
    assert!(recursive[0].starts_with("Recursive macro call detected."), "{recursive:?}");
}

#[test]
fn a_script_has_its_way_but_not_inside_the_prelude() {
    assert_eq!(local("$a = cpu()", "$a", "macro cpu() { \"hi\" }"), "string[3]");
    assert_eq!(local("$a = cpu()", "$a", "macro cpu(x) { x }"), "uint64");
    assert_eq!(told("macro ppid(x) { nope() } begin { print(ppid) }"), Vec::<String>::new());
}

#[test]
fn defines_and_constants() {
    assert_eq!(local("$a = X", "$a", "#define X (1 + Y)\n#define Y 500"), "int16");
    assert_eq!(local("$a = B", "$a", "enum E { A, B };"), "enum E");
    assert_eq!(local("$a = AF_INET6", "$a", ""), "int8");
    assert_eq!(local("$a = __NR_read", "$a", ""), "int8");
    assert_eq!(local("$a = EPERM", "$a", ""), "int8");
    let told = told("#define X X\nbegin { print(X) }");
    assert_eq!(told, ["'X' stands for itself"]);
}

#[test]
fn types_go_into_macros() {
    let size = "macro size(a, b) { sizeof(a[2]) + sizeof(b*) + sizeof(b) }";
    let text = format!(
        "struct F {{ char c; }} {size} begin {{ $n = size(typeof(uint64*), typeof(struct F)); \
         if comptime (size(typeof(uint64*), typeof(struct F)) != 25) {{ fail(\"no\") }} }}"
    );
    assert_eq!(told(&text), Vec::<String>::new());
}

#[test]
fn errors_in_a_macro_say_where_it_was_called() {
    let text = "macro bad(x) { x + \"a\" }\nbegin { print(bad(1)) }";
    let checked = checked_with(text, &Options::default());
    let told = checked.diagnostics.render(&checked.sources);
    let places: Vec<&str> =
        told.lines().filter(|line| line.contains("ERROR")).map(|line| &line[..14]).collect();
    assert_eq!(places, ["stdin:1:16-23:", "stdin:2:15-21:"], "{told}");
    assert!(told.contains("expanded from"));
}

#[test]
fn unknown_names_get_a_hint() {
    let checked = checked_with("begin { prnt(1) }", &Options::default());
    assert_eq!(checked.diagnostics.all()[0].hints, ["Did you mean 'print'?"]);
}

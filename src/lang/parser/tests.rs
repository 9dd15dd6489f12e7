use super::*;
use crate::lang::source::Sources;

/// A tree in a short form that shows what binds what, or the errors.
fn parsed(text: &str) -> (Script, Vec<String>) {
    let mut sources = Sources::default();
    let span = sources.add("stdin", text);
    let mut diagnostics = Diagnostics::default();
    let script = parse(sources.of(span).unwrap(), &mut diagnostics);
    let told = diagnostics.all().iter();
    let errors = told.map(|one| format!("{}: {}", sources.place(one.span), one.message));
    (script, errors.collect())
}

fn errors(text: &str) -> Vec<String> {
    parsed(text).1
}

/// The last statement of the first probe.
fn statement(text: &str) -> StatementKind {
    let (mut script, errors) = parsed(&format!("begin {{ {text} }}"));
    assert!(errors.is_empty(), "{text}: {errors:?}");
    script.probes[0].body.statements.pop().unwrap().kind
}

fn expr(text: &str) -> String {
    match statement(text) {
        StatementKind::Expr(expr) => short(&expr),
        other => panic!("{other:?}"),
    }
}

fn short(expr: &Expr) -> String {
    let list = |items: &[Expr]| items.iter().map(short).collect::<Vec<_>>().join(" ");
    match &expr.kind {
        ExprKind::None => "none".to_owned(),
        ExprKind::Int(value) => value.to_string(),
        ExprKind::Str(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        ExprKind::Ident(name) => name.to_string(),
        ExprKind::Argument(number) => format!("arg{number}"),
        ExprKind::Variable(variable) => variable.name.to_string(),
        ExprKind::Map { name, key: None } => name.to_string(),
        ExprKind::Map { name, key: Some(key) } => format!("{name}[{}]", short(key)),
        ExprKind::Call { name, arguments } => format!("{name}({})", list(arguments)),
        ExprKind::Binary { op, left, right } => {
            format!("({} {} {})", short(left), op.symbol(), short(right))
        }
        ExprKind::Unary { op, of } => format!("{}{}", op.symbol(), short(of)),
        ExprKind::Step { by, is_postfix, of } => format!("step({by} {is_postfix} {})", short(of)),
        ExprKind::AddressOf(of) => format!("&{}", short(of)),
        ExprKind::Field { of, name } => format!("{}.{name}", short(of)),
        ExprKind::TupleItem { of, index } => format!("{}.{index}", short(of)),
        ExprKind::Index { of, index } => format!("{}[{}]", short(of), short(index)),
        ExprKind::Cast { to, of } => format!("cast({} {})", short_type(to), short(of)),
        ExprKind::Sizeof(of) => format!("sizeof({})", short_type(of)),
        ExprKind::Tuple(items) => format!("({})", list(items)),
        ExprKind::Record(fields) => {
            let fields = fields.iter().map(|(name, of)| format!("{name}={}", short(of)));
            format!("({})", fields.collect::<Vec<_>>().join(" "))
        }
        ExprKind::If { condition, then, otherwise } => {
            format!("if {} {} {}", short(condition), short(then), short(otherwise))
        }
        ExprKind::Block(block) => {
            let value = block.value.as_deref().map_or(String::new(), short);
            format!("{{{} {value}}}", block.statements.len())
        }
        other => format!("{other:?}"),
    }
}

fn short_type(spec: &TypeSpec) -> String {
    match &spec.kind {
        TypeSpecKind::Known => "?".to_owned(),
        TypeSpecKind::Named(name) | TypeSpecKind::Tagged(name) => name.to_string(),
        TypeSpecKind::Pointer(of) => format!("{}*", short_type(of)),
        TypeSpecKind::Array(of, length) => format!("{}[{length}]", short_type(of)),
        TypeSpecKind::Of(expr) => format!("of {}", short(expr)),
    }
}

#[test]
fn operators_bind_as_in_c() {
    assert_eq!(
        expr("$a + $b * 2 << 1 == 3 && !$c | 4"),
        "(((($a + ($b * 2)) << 1) == 3) && (!$c | 4))"
    );
    assert_eq!(expr("-$a.b[1]->c"), "-$a.b[1].c");
    assert_eq!(expr("1 - 2 - 3 / 4"), "((1 - 2) - (3 / 4))");
    assert_eq!(expr("$a ? 1 : $b ? 2 : 3"), "if $a 1 if $b 2 3");
    assert_eq!(expr("$a ?: 3"), "if $a $a 3");
    assert_eq!(expr("$kv.0.1 - 1"), "($kv.0.1 - 1)");
}

#[test]
fn parentheses_are_casts_where_a_type_can_be() {
    assert_eq!(expr("(uint8)$a + 1"), "(cast(uint8 $a) + 1)");
    assert_eq!(expr("(struct sock *)arg0"), "cast(struct sock* arg0)");
    assert_eq!(expr("(pid)*tid"), "(pid * tid)");
    assert_eq!(expr("(myident)*arg0"), "cast(myident *arg0)");
    assert_eq!(expr("(myident)"), "myident");
    assert_eq!(expr("(int8[8])$x"), "cast(int8[8] $x)");
    assert_eq!(expr("(typeof($b))2"), "cast(of $b 2)");
    assert_eq!(expr("(1, \"a\", (2,))"), "(1 \"a\" (2))");
    assert_eq!(expr("(a = 1, b = ())"), "(a=1 b=())");
    assert_eq!(expr("sizeof(ident[1])"), "sizeof(ident[1])");
    assert_eq!(expr("sizeof((ident)[1])"), "sizeof(of ident[1])");
}

#[test]
fn maps_and_calls() {
    assert_eq!(expr("print(@a[pid, comm], @)"), "print(@a[(pid comm)] @)");
    assert_eq!(expr("++@x[1]"), "step(1 false @x[1])");
    assert_eq!(expr("@--"), "step(-1 true @)");
    let StatementKind::Assign { target, value } = statement("@a[1] += 2;") else { panic!() };
    assert_eq!((short(&target), short(&value)), ("@a[1]".into(), "(@a[1] + 2)".into()));
}

#[test]
fn probes() {
    let (script, errors) = parsed(
        "#!/usr/bin/env bpftrace\n#define X 1\nstruct a { int b; };\nconfig = { stack_mode=perf; \
         max_strlen = 64 }\nimport \"x.bt\";\nlet @a = lruhash(10);\nmacro m($a, @b, c) { c }\n\
         uprobe:/bin/sh:\"a{b\", kprobe:f+3 /pid == 1/ { @a = 4 / 2 }\nend{}",
    );
    assert!(errors.is_empty(), "{errors:?}");
    let names: Vec<&str> = script.probes[0].attach_points.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["uprobe:/bin/sh:\"a{b\"", "kprobe:f+3"]);
    assert!(matches!(
        &script.probes[0].body.statements[0].kind,
        StatementKind::Expr(Expr { kind: ExprKind::If { .. }, .. })
    ));
    assert_eq!((script.c.len(), script.config.len(), script.imports.len()), (2, 2, 1));
    assert_eq!((script.maps[0].entries, script.macros[0].parameters.len()), (10, 3));
    assert_eq!(script.probes.len(), 2);
}

#[test]
fn blocks_are_worth_their_last_expression() {
    assert_eq!(
        expr("if $a { 1 } else if ($b) { 2 } else { $c = 1; 3 }"),
        "if $a {0 1} if $b {0 2} {1 3}"
    );
    let StatementKind::Let { value: Some(value), .. } = statement("let $a : uint8 = { 1; 2 };")
    else {
        panic!()
    };
    assert_eq!(short(&value), "{1 2}");
}

#[test]
fn all_errors_are_told() {
    assert_eq!(
        errors("begin { $a = ; $b = 1 +; print(1) }\nend { 12ab; }"),
        [
            "stdin:1:14-15: syntax: expected expression",
            "stdin:1:24-25: syntax: expected expression",
            "stdin:2:7-11: syntax: invalid integer suffix 'ab'",
        ]
    );
    assert_eq!(errors("begin { $a.b = 1 }").len(), 1);
    assert_eq!(
        errors("begin { \"open }"),
        ["stdin:1:9-16: syntax: unterminated string", "stdin:1:16-16: syntax: expected '}'",]
    );
    assert_eq!(
        errors("begin { for (@a) { } print(1); }"),
        ["stdin:1:14-16: syntax: expected variable in for loop"]
    );
    assert_eq!(errors("struct:x { }"), Vec::<String>::new());
}

#[test]
fn depth_is_bounded() {
    for text in ["(", "{", "-", "if 1 { 1 } else ", "(uint8)", "sizeof(", "(typeof("] {
        let told = errors(&format!("begin {{ {} }}", text.repeat(5_000)));
        assert!(told[0].contains("nesting"), "{text}: {}", told[0]);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"(begin|\{|\}|[ $@a-z0-9"\\;:,.()\[\]*/&+<>=!?#-]|\PC|if |let |for |typeof|struct |\n){0,60}"#) {
        parsed(&text);
        parsed(&format!("begin {{ {text} }}"));
    }
}

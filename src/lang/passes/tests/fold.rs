use super::*;

/// What an expression is once it is folded.
fn folded(text: &str) -> String {
    let typed = typed(&format!("begin {{ $x = {text}; }}"));
    match &typed.script.probes[0].body.statements[0].kind {
        StatementKind::Assign { value, .. } => match &value.kind {
            ExprKind::Int(value) => value.to_string(),
            ExprKind::Bool(value) => value.to_string(),
            ExprKind::Str(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "not folded".to_owned(),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn operations_on_literals_are_done() {
    for (text, value) in [
        ("1 + 2 * 3", "7"),
        ("1 << 16", "65536"),
        ("-5 / 2", "-2"),
        ("7 % 4", "3"),
        ("0xff & 0x0f ^ 1", "14"),
        ("1 - 2", "-1"),
        ("-(1)", "-1"),
        ("~0", "18446744073709551615"),
        ("!5", "false"),
        ("1 < 2 && 2 >= 2", "true"),
        ("\"a\" == \"a\"", "true"),
        ("\"a\" != \"b\" ? 3 : 4", "3"),
        ("18446744073709551615 - 1", "18446744073709551614"),
        ("pid + 1", "not folded"),
    ] {
        assert_eq!(folded(text), value, "{text}");
    }
}

#[test]
fn what_no_integer_can_be_is_an_error() {
    let message = "unable to fold literals due to overflow or underflow";
    for text in
        ["18446744073709551615 + 1", "1 / 0", "1 % 0", "1 << 64", "-9223372036854775808 - 1"]
    {
        assert_eq!(told(&format!("begin {{ print({text}) }}")), [message], "{text}");
    }
}

proptest::proptest! {
    /// Whatever is folded is what the same operation on 64 bits gives.
    #[test]
    fn as_at_run_time(a in 0_u32.., b in 1_u32..) {
        let (wide_a, wide_b) = (u64::from(a), u64::from(b));
        assert_eq!(folded(&format!("{a} * {b}")), (wide_a * wide_b).to_string());
        assert_eq!(folded(&format!("{a} / {b}")), (a / b).to_string());
        assert_eq!(folded(&format!("{a} % {b}")), (a % b).to_string());
        assert_eq!(folded(&format!("{a} | {b}")), (a | b).to_string());
        assert_eq!(folded(&format!("{a} - {b}")), (i64::from(a) - i64::from(b)).to_string());
    }
}

use super::*;

#[test]
fn what_fails_again_is_counted() {
    let error = Action::RuntimeError {
        error: RuntimeError::DivideByZero,
        span: Span { start: 8, end: 12 },
    };
    let program = Program { actions: vec![error], ..Program::default() };
    let said = |options| {
        run(&program, options, |output| {
            for code in [0, 0, 0, 1] {
                output.message(&words(&[0, code]), &Tables::default())?;
            }
            output.at_end(&Tables::default())
        })
    };
    let text = said(TEXT);
    assert_eq!(text.matches("begin { f(1); }").count(), 2, "{text}");
    assert!(text.contains("\nstdin:1:9-13: WARNING: 2 more times: Divide or "), "{text}");
    assert_eq!(text.matches("more time").count(), 1, "{text}");
    // Who reads JSON counts.
    assert_eq!(said(JSON).lines().count(), 4);
}

use super::*;
use crate::lang::probe::{Address, Period, Probe};

/// The first attach point's name and probe.
fn parsed(text: &str) -> (String, Probe) {
    let options = Options { is_unsafe: true, parameters: vec!["5".into()], ..Options::default() };
    let checked = checked_with(&format!("{text} {{ exit() }}"), &options);
    let told = checked.diagnostics.render(&checked.sources);
    let typed = checked.typed.unwrap_or_else(|| panic!("{text}: {told}"));
    let point = &typed.script.probes[0].attach_points[0];
    (point.name.to_string(), point.probe.clone().unwrap())
}

fn wrong(text: &str) -> String {
    told(&format!("{text} {{ }}")).swap_remove(0)
}

#[test]
fn providers_and_their_words() {
    let function = |name: &str, offset| Address::Function { name: name.into(), offset };
    for (text, name, probe) in [
        ("BEGIN", "begin", Probe::Begin),
        ("i:ms:$1", "interval:ms:5", Probe::Interval(Period::Nanoseconds(5_000_000))),
        ("interval:1s", "interval:1s", Probe::Interval(Period::Nanoseconds(1_000_000_000))),
        ("p:hz:99", "profile:hz:99", Probe::Profile(Period::Hertz(99))),
        (
            "s:faults:100",
            "software:faults:100",
            Probe::Software { event: "page-faults".into(), count: 100 },
        ),
        (
            "uretprobe:/proc/self/exe:\"nettrace_test_place\"",
            "uretprobe:/proc/self/exe:nettrace_test_place",
            Probe::Uprobe {
                at_return: true,
                file: "/proc/self/exe".into(),
                is_cpp: false,
                at: function("nettrace_test_place", 0),
            },
        ),
        (
            "u:/proc/self/exe:nettrace_test_place+0x1",
            "uprobe:/proc/self/exe:nettrace_test_place+1",
            Probe::Uprobe {
                at_return: false,
                file: "/proc/self/exe".into(),
                is_cpp: false,
                at: function("nettrace_test_place", 1),
            },
        ),
        (
            "w:0x1000:8:wr",
            "watchpoint:0x1000:8:rw",
            Probe::Watchpoint { address: 0x1000, length: 8, mode: "rw".into() },
        ),
        ("iter:task", "iter:task", Probe::Iter { object: "task".into(), pin: None }),
    ] {
        assert_eq!(parsed(text), (name.to_owned(), probe), "{text}");
    }
}

#[test]
fn wrong_attach_points() {
    for (text, message) in [
        ("nope:x", "Invalid probe type: nope"),
        ("begin:x", "begin probe type requires 0 arguments, found 1"),
        ("interval:x:1", "x is not an accepted unit of time"),
        ("interval:s:0", "interval frequency should be a positive integer"),
        ("software:nope", "nope is not a software probe"),
        ("kprobe:1", "Probing by address requires --unsafe"),
        ("kretprobe:f+1", "Offset not allowed"),
        ("watchpoint:0x10:3:w", "watchpoint length must be one of (1,2,4,8)"),
        ("self:signal:SIGTERM", "SIGTERM is not a supported signal"),
        ("tracepoint:syscalls:nonsense", "No matches for tracepoint syscalls:nonsense."),
    ] {
        assert_eq!(wrong(text), message);
    }
}

#[test]
fn places_share_code_that_says_nothing_of_them() {
    let bodies = |body: &str| {
        let text = format!(
            "s:faults:1,i:s:1,t:raw_syscalls:sys_enter,t:raw_syscalls:sys_exit {{ {body} }}"
        );
        let points = typed(&text).script.probes;
        points.iter().map(|probe| probe.attach_points.len()).collect::<Vec<_>>()
    };
    assert_eq!(bodies("@ = count()"), [1, 1, 2]);
    assert_eq!(bodies("@[probe] = count()"), [1, 1, 1, 1]);
}

#[test]
fn missing_probes_as_the_program_wants_it() {
    let text =
        |how| format!("config = {{ missing_probes={how} }} begin {{ }} t:syscalls:nonsense {{ }}");
    assert!(typed(&text("ignore")).script.probes.len() == 1);
    let warned = told(&text("warn"));
    assert_eq!(warned[0], "No matches for tracepoint syscalls:nonsense. Skipping.");
    assert_eq!(warned.len(), 2);
    let of_file = |how| text(how).replace("t:syscalls:nonsense", "uprobe:/no/such:main");
    assert!(typed(&of_file("ignore")).script.probes.len() == 1);
    let file = "uprobe target file '/no/such' does not exist or is not executable";
    assert_eq!(told(&of_file("warn"))[0], format!("{file}. Skipping."));
    assert_eq!(wrong("uprobe:/no/such:main"), file);
}

#[test]
fn what_a_missing_probe_would_have_set_is_no_further_error() {
    let text = "t:syscalls:nonsense { @x[1] = 1; } end { clear(@x); }";
    assert_eq!(told(text), ["No matches for tracepoint syscalls:nonsense."]);
    let checked = checked_with("rawtracepoint:sys_entre { }", &Options::default());
    let told = &checked.diagnostics.all()[0];
    assert_eq!(told.message, "Probe has no valid attach points.");
    assert_eq!(told.hints, ["Did you mean 'rawtracepoint:sys_enter'?"]);
}

#[test]
fn the_process_of_p_is_looked_for_where_the_kernel_does_not() {
    let options = Options { pid: Some(7), ..Options::default() };
    let body = |text: &str| {
        let checked = checked_with(text, &options);
        format!("{:?}", checked.typed.unwrap().script.probes[0].body)
    };
    assert!(body("t:raw_syscalls:sys_enter { exit() }").contains("function: Pid"));
    assert!(!body("i:s:1 { exit() }").contains("function: Pid"));
}

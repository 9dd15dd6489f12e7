//! Programs of the bpftrace language, from their text to the end: what they count is compared with what the watched
//! program did, and nothing of them stays behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nettrace::bytecode::{Assembler, Reg, Size};
use nettrace::lang::config::Config;
use nettrace::lang::ktypes::KernelTypes;
use nettrace::lang::output::{Format, Output, OutputOptions};
use nettrace::lang::passes;
use nettrace::lang::program::{Code, Probe, Program};
use nettrace::lang::runtime::{self, LoadOptions, RunError};
use nettrace::lang::source::{Sources, Span};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::behaviour::assert_nothing_is_left;
use crate::support::{example, nettrace, text};

/// What a program said, and how it ended.
struct Ran {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

fn run(args: &[&str]) -> Ran {
    ended(nettrace().arg("run").args(args))
}

impl Ran {
    fn of(output: &process::Output) -> Self {
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ran { status: output.status, stdout, stderr }
    }
}

fn ended(command: &mut Command) -> Ran {
    Ran::of(&command.output().unwrap())
}

/// A program that is attached by now; its stdout goes on from there.
fn attached(args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    const NOTICE: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

    let mut child = nettrace()
        .arg("run")
        .args(args)
        .env(NOTICE, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), NOTICE);
    (child, stdout)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// A program that makes a getppid() for each line that it reads.
fn caller() -> Child {
    let mut calls = Command::new(example("calls"))
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(calls.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    calls
}

/// A program that watches five such calls from the first on.
fn over_five_calls(options: &[&str], program: &str) -> Ran {
    let mut child = nettrace()
        .arg("run")
        .args(options)
        .args(["-c", &format!("{} hold", example("calls").display()), "-e", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"\n\n\n\n\n").unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn begin_and_end_and_the_status() {
    let ran = run(&["-e", "begin { printf(\"hello\\n\"); @x = 7; exit(3); } end { @x++; }"]);
    assert_eq!(ran.status.code(), Some(3), "{}", ran.stderr);
    assert_eq!(ran.stdout, "hello\n\n\n@x: 8\n");
    assert_eq!(ran.stderr, "Attached 2 probes\n");
}

#[test]
fn a_process_is_counted_exactly_until_it_ends() {
    const CALLS: usize = 1000;

    let mut calls = caller();
    let pid = calls.id().to_string();
    let program = "tracepoint:syscalls:sys_enter_getppid { @perf = count(); } \
                   rawtracepoint:sys_enter /args.id == SYS/ { @raw[pid, comm] = count(); }";
    let program = program.replace("SYS", &libc::SYS_getppid.to_string());
    let (child, stdout) = attached(&["-q", "-p", &pid, "-e", &program]);
    calls.stdin.take().unwrap().write_all("\n".repeat(CALLS).as_bytes()).unwrap();
    assert!(calls.wait().unwrap().success());
    let lines: Vec<String> = stdout.lines().map_while(Result::ok).collect();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(lines.join("\n").trim(), format!("@perf: {CALLS}\n@raw[{pid}, calls]: {CALLS}"));
}

#[test]
fn a_command_is_watched_from_its_first_call() {
    let program = "uprobe:libc:getppid { @function = count(); } \
                   rawtracepoint:sys_enter /pid == cpid && args.id == SYS/ { @call = count(); }";
    let program = program.replace("SYS", &libc::SYS_getppid.to_string());
    let Ran { status, stdout, stderr } = over_five_calls(&["-q"], &program);
    assert!(status.success(), "{stderr}");
    assert!(stdout.contains("@call: 5\n"), "{stdout}");
    assert!(stdout.starts_with("ready\n"), "{stdout}");
}

#[test]
fn messages_come_while_it_runs_and_signals_end_it() {
    let program = "interval:ms:20 { printf(\"tick\\n\"); @ticks = count(); } \
                   self:signal:SIGUSR1 { printf(\"called\\n\"); } end { printf(\"end\\n\"); }";
    let (mut child, mut stdout) = attached(&["-e", program]);
    let mut line = String::new();
    let begin = Instant::now();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "tick\n");
    assert!(begin.elapsed() < Duration::from_secs(5));
    signal(&child, Signal::SIGUSR1);
    while line != "called\n" {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
    }
    signal(&child, Signal::SIGINT);
    let rest: Vec<String> = stdout.lines().map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success());
    assert!(rest.contains(&"end".to_owned()), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("@ticks: ")), "{rest:?}");
}

#[test]
fn a_reader_that_is_gone_ends_it() {
    let (mut child, stdout) = attached(&["-e", "interval:ms:10 { printf(\"tick\\n\"); }"]);
    drop(stdout);
    assert!(child.wait().unwrap().success());
}

#[test]
fn nothing_is_left_of_one_that_is_killed() {
    let program =
        "rawtracepoint:sys_enter /pid == 1 && pid == 2/ { @ = count(); } interval:s:1 { }";
    let (mut child, _stdout) = attached(&["-e", program]);
    assert_nothing_is_left(&mut child);
}

#[test]
fn an_iterator_is_read_to_its_end() {
    let own = std::process::id();
    let program = format!(
        "iter:task /ctx.task && ctx.task.pid == {own}/ {{ printf(\"%d\\n\", ctx.task.tgid); }}"
    );
    let ran = run(&["-q", "-e", &program]);
    assert!(ran.status.success(), "{}", ran.stderr);
    assert_eq!(ran.stdout.trim(), own.to_string());
}

#[test]
fn structs_of_the_kernel_are_shown_with_their_fields() {
    let program = "begin { print(curtask->se.load); @load[1] = curtask->se.load; exit(); }";
    let ran = run(&["-q", "-e", program]);
    assert!(ran.status.success(), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("{ .weight = "), "{}", ran.stdout);
    assert!(ran.stdout.contains("@load[1]: { .weight = "), "{}", ran.stdout);
}

/// The kernel takes a pointer for a path only while the verifier knows its type.
#[test]
fn arguments_of_functions_keep_their_types() {
    let program = "fentry:security_file_open /pid == cpid/ {
        printf(\"opens %s, %d\\n\", path(args.file.f_path), usermode);
    }";
    let ran = run(&["-q", "-c", "cat /etc/hosts", "-e", program]);
    if nettrace::kernel::has_kprobes() {
        assert!(ran.status.success(), "{}", ran.stderr);
        assert!(ran.stdout.contains("opens /etc/hosts, 0\n"), "{}", ran.stdout);
    } else {
        assert_eq!(ran.status.code(), Some(1), "{}", ran.stdout);
    }
}

/// A kprobe and the kretprobe of its function are one program where the kernel runs it at both.
#[test]
fn a_function_is_told_of_at_its_entry_and_its_return() {
    if !nettrace::kernel::has_kprobes() {
        return;
    }
    let btf = nettrace::kernel::btf().unwrap();
    let has = |function| nettrace::kernel::has_function(&btf, function);
    let is_one = has("bpf_session_is_return") && has("register_fprobe_ips");
    let program = "kprobe:ksys_read /pid == cpid/ { @entered = count(); }
        kretprobe:ksys_read /pid == cpid/ { @returned = count(); @most = max(retval); }";
    let Ran { status, stdout, stderr } = over_five_calls(&[], program);
    assert!(status.success(), "{stderr}");
    let probes = if is_one { "Attached 1 probe\n" } else { "Attached 2 probes\n" };
    assert_eq!(stderr, probes);
    let count = |name: &str| {
        let line = stdout.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.parse::<u64>().unwrap()
    };
    assert!(count("@most: ") >= 5, "{stdout}");
    assert!(count("@entered: ") > 0, "{stdout}");
    assert_eq!(count("@entered: "), count("@returned: "), "{stdout}");
}

/// A BPF program can be watched by another one.
#[test]
fn programs_are_attached_to_functions_of_programs() {
    if !nettrace::kernel::has_kprobes() {
        return;
    }
    const FUNCTION: &str = "interval_us_20000_1";
    let (mut watched, _stdout) = attached(&["-q", "-e", "interval:ms:20 { @ = count(); }"]);
    let listed = nettrace().args(["list", "fentry:bpf:*"]).output().unwrap();
    // Linux has it since 5.17.
    let btf = nettrace::kernel::btf().unwrap();
    let has_retval = nettrace::kernel::has_function(&btf, "bpf_get_func_ret");
    let retval = if has_retval { "retval" } else { "0" };
    let program =
        format!("fexit:bpf:{FUNCTION} {{ printf(\"%s %d\\n\", probe, {retval}); exit(); }}");
    let ran = run(&["-q", "-e", &program]);
    signal(&watched, Signal::SIGINT);
    assert!(watched.wait().unwrap().success());
    assert!(ran.status.success(), "{}", ran.stderr);
    let mut words = ran.stdout.trim().split([':', ' ']);
    assert_eq!([words.next(), words.next()], [Some("fexit"), Some("bpf")], "{}", ran.stdout);
    let number = words.next().unwrap();
    assert_eq!([words.next(), words.next()], [Some(FUNCTION), Some("0")], "{}", ran.stdout);
    let listed = text(&listed.stdout);
    assert!(listed.contains(&format!("fentry:bpf:{number}:{FUNCTION}\n")), "{listed}");
}

#[test]
fn what_cant_be_attached_says_why() {
    let ran = run(&["-e", "kprobe:vfs_read { } begin { exit(); }"]);
    if nettrace::kernel::has_kprobes() {
        assert!(ran.status.success(), "{}", ran.stderr);
        return;
    }
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stderr.contains("ERROR: this kernel has no kprobes\n"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("ERROR: Unable to attach probe: kprobe:vfs_read."),
        "{}",
        ran.stderr
    );
    let program = "config = { missing_probes = warn } kprobe:vfs_read { } begin { exit(); }";
    let ran = run(&["-e", program]);
    assert!(ran.status.success(), "{}", ran.stderr);
    assert!(ran.stderr.contains("Unable to attach probe: kprobe:vfs_read. Skipping.\n"));
}

/// The verifier's complaint is told at the line of the source.
#[test]
fn the_verifiers_refusal_is_shown_at_its_line() {
    let mut sources = Sources::default();
    let source = sources.add("test.bt", "begin {\n  fine();\n  broken();\n}\n");
    let span = |start: u32, len: u32| Span {
        start: source.start + start,
        end: source.start + start + len,
    };
    let mut asm = Assembler::new();
    asm.load_imm64(Reg::R0, 0);
    asm.load(Size::DW, Reg::R0, Reg::R1, 4096);
    asm.exit();
    let lines = vec![(0, span(10, 6)), (2, span(20, 8))];
    let typed =
        passes::check("begin", "begin { }", &passes::Options::default(), &KernelTypes::new());
    let attach = typed.typed.unwrap().script.probes[0].attach_points.clone();
    let code = Code { insns: asm.finish().unwrap(), lines };
    let probe = Probe { name: "begin".into(), attach, span: span(0, 5), code, sleepable: false };
    let program = Program { license: "GPL".into(), probes: vec![probe], ..Program::default() };
    let config = Config::default();
    let to = Box::new(std::io::sink());
    let mut output = Output::new(&program, &config, &sources, OutputOptions::default(), to);
    let options = runtime::Options {
        pid: None,
        command: Vec::new(),
        is_unsafe: false,
        debug_folders: Vec::new(),
        mode: runtime::Mode::Run,
        format: Format::Text,
        is_dry: false,
        load: LoadOptions { log_size: 1 << 20, ..LoadOptions::default() },
        ring_size: None,
        with_warnings: true,
        notice: None,
        to_stdout: false,
    };
    let refused =
        runtime::run(&program, &config, &sources, &KernelTypes::new(), &options, &mut output);
    let Err(RunError::Refused(diagnostics)) = refused else { panic!("{refused:?}") };
    let said = diagnostics.render(&sources);
    assert!(
        said.starts_with("test.bt:3:3-11: ERROR: the kernel's verifier refuses this: "),
        "{said}"
    );
    assert!(said.contains("context access off=4096 size=8"), "{said}");
    assert!(said.contains("\n  broken();\n  ~~~~~~~~\n"), "{said}");
}

//! Programs of the bpftrace language and what they print: `cases/NAME.bt` and beside it `NAME.out`, and `NAME.err` where
//! something is wrong with it. Options stand in the first line, behind `// run:`. They attach nothing, so that all is as
//! told. Needs root.
//!
//! `NETTRACE_RENEW=1` writes what is printed, to be read before it is committed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lang/cases");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut programs: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "bt")).collect();
    programs.sort();
    programs
}

/// What a program writes to stdout and stderr, and its status.
fn run(program: &Path) -> (String, String, i32) {
    let text = fs::read_to_string(program).unwrap();
    let first = text.lines().next().unwrap_or_default();
    let options = first.strip_prefix("// run:").unwrap_or_default();
    let (before, behind) = options.split_once(" FILE ").unwrap_or((options, ""));
    let run = Command::new(env!("CARGO_BIN_EXE_nettrace"))
        .current_dir(program.parent().unwrap())
        .args(["run", "-q"])
        .args(before.split_whitespace())
        .arg(program.file_name().unwrap())
        .args(behind.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(run.stdout), text(run.stderr), run.status.code().unwrap_or(-1))
}

fn compare(path: &Path, found: &str, wrong: &mut Vec<String>) {
    let expected = fs::read_to_string(path).unwrap_or_default();
    if std::env::var_os("NETTRACE_RENEW").is_some() {
        match found.is_empty() {
            true => _ = fs::remove_file(path),
            false => fs::write(path, found).unwrap(),
        }
    } else if found != expected {
        wrong.push(format!("{}\nexpected:\n{expected}\nfound:\n{found}", path.display()));
    }
}

#[test]
fn programs_print_what_they_are_meant_to() {
    assert!(nix::unistd::geteuid().is_root(), "programs run in the kernel, which needs root");
    let programs = cases();
    assert!(programs.len() >= 20, "the cases are in tests/lang/cases");
    let mut wrong = Vec::new();
    for program in programs {
        let (out, err, status) = run(&program);
        compare(&program.with_extension("out"), &out, &mut wrong);
        compare(&program.with_extension("err"), &err, &mut wrong);
        // What is refused prints nothing.
        let is_refused = out.is_empty() && err.contains("ERROR");
        if is_refused != (status == 1) {
            wrong.push(format!("{}: status {status}", program.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn arguments_are_known_by_debug_information() {
    const SOURCE: &str = "struct pair { int a, b; };
        __attribute__((noinline)) long sum(struct pair *of, double share, char sign)
            { return of->a + of->b + sign + (long)share; }
        int main(void) { struct pair pair = { 40, 2 }; return sum(&pair, 0.5, 'x') == 0; }";
    let dir = tempfile::tempdir().unwrap();
    let (source, file) = (dir.path().join("sum.c"), dir.path().join("sum"));
    fs::write(&source, SOURCE).unwrap();
    let built = Command::new("clang").args(["-g", "-O0", "-o"]).args([&file, &source]).status();
    assert!(built.unwrap().success());
    let program = format!(
        "uprobe:{}:sum {{ printf(\"%d %d %c\\n\", args.of->a, args.of->b, args.sign);
            @whole = args; print(@whole.sign); print((args, 1)); clear(@whole); exit(); }}",
        file.display()
    );
    let ran = Command::new(env!("CARGO_BIN_EXE_nettrace"))
        .current_dir(dir.path())
        .args(["run", "-q", "-c", "./sum", "-e", &program])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let out = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["40 2 x", "120"], "{out}");
    let (begin, end) = ("({ .of = 0x", ", .sign = 120 }, 1)");
    assert!(lines[2].starts_with(begin) && lines[2].ends_with(end), "{out}");
}

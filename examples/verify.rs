//! What the verifier says of each program of BPF objects, loaded alone on the running kernel.
//!
//!     verify OBJECT.o… [PROGRAM=no]…     a line per program; `no` is for one that need not load
//!
//! Verdicts: `ok`, with the instructions that the verifier walked; `no hook`, where the kernel lacks what
//! the program attaches to; `refused`, with libbpf's and the verifier's last words. Exit status 1 if a
//! program is refused that isn't named.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::ExitCode;
use std::sync::Mutex;

use libbpf_rs::{ObjectBuilder, PrintLevel};

/// Have the verifier print its statistics and nothing else (the kernel's BPF_LOG_STATS).
const LOG_STATS: u32 = 4;
/// Lines of libbpf's that say why a program is refused.
const REASON_LINES: usize = 6;

/// What libbpf printed during the last load, which has the verifier's log in it.
static LOG: Mutex<String> = Mutex::new(String::new());

enum Verdict {
    Loads { instructions: Option<u64> },
    NoHook,
    Refused { reason: String },
}

fn main() -> ExitCode {
    let (optional, objects): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|word| word.ends_with("=no"));
    assert!(!objects.is_empty(), "usage: verify OBJECT.o… [PROGRAM=no]…");
    libbpf_rs::set_print(Some((PrintLevel::Debug, |_, text| {
        LOG.lock().unwrap().push_str(&text);
    })));
    let mut status = ExitCode::SUCCESS;
    for object in &objects {
        for (program, section) in programs(object) {
            let line = match verify(object, &program) {
                Verdict::Loads { instructions } => {
                    let count = instructions.map_or("-".to_owned(), |count| count.to_string());
                    format!("{count:>8}  ok")
                }
                Verdict::NoHook => format!("{:>8}  no hook", "-"),
                Verdict::Refused { .. } if optional.contains(&format!("{program}=no")) => {
                    format!("{:>8}  refused, as it may be", "-")
                }
                Verdict::Refused { reason } => {
                    status = ExitCode::FAILURE;
                    format!("{:>8}  refused\n{reason}", "-")
                }
            };
            println!("{program:<24} {section:<32} {line}");
        }
    }
    status
}

/// The programs of an object, and their sections.
fn programs(object: &str) -> Vec<(String, String)> {
    let open = ObjectBuilder::default().open_file(object).expect(object);
    let name = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
    open.progs().map(|program| (name(program.name()), name(program.section()))).collect()
}

fn verify(object: &str, program: &str) -> Verdict {
    if load(object, program, LOG_STATS) {
        return Verdict::Loads { instructions: instructions(&LOG.lock().unwrap()) };
    }
    // Once more for the reason: libbpf asks for a full log if it was told of no level.
    load(object, program, 0);
    let log = LOG.lock().unwrap();
    if log.contains("failed to find kernel BTF type ID") {
        return Verdict::NoHook;
    }
    let told: Vec<_> = log
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("libbpf: failed to load object"))
        .collect();
    let last = told.len().saturating_sub(REASON_LINES);
    Verdict::Refused { reason: format!("    {}", told[last..].join("\n    ")) }
}

/// Whether the program loads, without the others of its object.
fn load(object: &str, program: &str, log_level: u32) -> bool {
    let mut open = ObjectBuilder::default().open_file(object).expect(object);
    for mut other in open.progs_mut() {
        let wanted = other.name() == program;
        other.set_autoload(wanted);
        other.set_log_level(log_level);
    }
    LOG.lock().unwrap().clear();
    open.load().is_ok()
}

/// From the verifier's “processed 123 insns (limit …”.
fn instructions(log: &str) -> Option<u64> {
    let (count, _) = log.split_once("processed ")?.1.split_once(" insns")?;
    count.parse().ok()
}

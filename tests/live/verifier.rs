//! Every BPF program passes this kernel's verifier, each alone and with everything switched on.

use nettrace::probes::verify::{Verdict, verify};

use crate::support::{keep_result, use_libbpf};

/// So much of a complaint is shown: its cause is at its end.
const SHOWN_LINES: usize = 60;

#[test]
fn every_program_is_verified() {
    let _libbpf = use_libbpf();
    let all = verify().unwrap();
    let lines = all.iter().map(|one| {
        let verdict = match &one.verdict {
            Verdict::Loaded { instructions } => format!("loaded,{instructions}"),
            Verdict::Absent => "absent,".to_owned(),
            Verdict::Refused => "refused,".to_owned(),
            Verdict::Failed { .. } => "failed,".to_owned(),
        };
        format!("{},{},{},{verdict}\n", one.object, one.arrangement, one.program)
    });
    keep_result("verifier.csv", &lines.collect::<String>());

    let complaints = all.iter().filter_map(|one| match &one.verdict {
        Verdict::Failed { log } => {
            Some(format!("{} by {}: {}\n", one.program, one.arrangement, end_of(log)))
        }
        _ => None,
    });
    let complaints: String = complaints.collect();
    assert!(complaints.is_empty(), "{complaints}");
    assert!(all.iter().any(|one| matches!(one.verdict, Verdict::Loaded { .. })));
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

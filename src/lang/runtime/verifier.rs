//! What the verifier says of a program that it refuses, and of which of its instructions.

/// The end of the verifier's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The instruction that it was at, if it got so far.
    pub(super) insn: Option<u32>,
    /// What it said of it, in its own words.
    pub(super) message: String,
    /// The helper that such a program can't call, if it is that.
    pub(super) helper: Option<String>,
}

/// Finds the reason in a log.
pub(super) fn read(log: &str) -> Refusal {
    let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !is_noise(line)).collect();
    let at = lines.iter().rposition(|line| instruction(line).is_some());
    let insn = at.and_then(|at| instruction(lines[at]));
    let behind = at.map_or(0, |at| at + 1);
    // Some reasons stand in front of their instruction, or without one.
    let message = match &lines[behind..] {
        [] => lines.get(behind.wrapping_sub(1)).copied().unwrap_or_default().to_owned(),
        reasons => reasons.join("; "),
    };
    let is_call = NO_SUCH_CALL.iter().any(|words| message.starts_with(words));
    let helper = at.filter(|_| is_call).and_then(|at| helper(lines[at])).map(str::to_owned);
    Refusal { insn, message, helper }
}

/// What kernels say of a helper that a program of its kind, or at its place, may not call.
const NO_SUCH_CALL: &[&str] = &[
    "helper call is not allowed in probe",
    "program of this type cannot use helper",
    "unknown func ",
];

/// The helper that a line's instruction calls: `12: (85) call bpf_d_path#147`.
fn helper(line: &str) -> Option<&str> {
    line.split_once(" call ")?.1.split('#').next()
}

/// Lines that are no reasons: lines of source, states of registers, what came of it all.
fn is_noise(line: &str) -> bool {
    let starts = |begin: &str| line.starts_with(begin);
    let is_state = line.split_once(": ").is_some_and(|(at, state)| {
        at.bytes().all(|byte| byte.is_ascii_digit())
            && (state.starts_with('R') || state.starts_with("frame") || state.starts_with("safe"))
    });
    line.is_empty()
        || starts(";")
        || starts("processed ")
        || starts("verification time")
        || starts("stack depth")
        || starts("mark_precise")
        || starts("from ")
        || starts("func#")
        || starts("Live regs before insn")
        || starts("last_idx")
        || starts("regs=")
        || starts("parent ")
        || is_state
}

/// The number of the instruction that a line shows: `12: (79) r1 = *(u64 *)(r6 +8)`.
fn instruction(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once(": (")?;
    rest.as_bytes().get(2).filter(|byte| **byte == b')')?;
    number.trim_start().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_instruction_is_to_blame() {
        let log = "func#0 @0\n0: R1=ctx() R10=fp0\n; begin { } @ stdin:1\n0: (b7) r0 = 1\n\
                   1: R0=1\n1: (79) r2 = *(u64 *)(r1 +4096)\n\
                   invalid bpf_context access off=4096 size=8\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 \
                   peak_states 0 mark_read 0\n";
        let message = "invalid bpf_context access off=4096 size=8".to_owned();
        assert_eq!(read(log), Refusal { insn: Some(1), message, helper: None });
    }

    #[test]
    fn helpers_that_a_program_lacks() {
        for reason in ["helper call is not allowed in probe", "unknown func bpf_d_path#147"] {
            let log = format!("3: (b7) r3 = 64\n4: (85) call bpf_d_path#147\n{reason}\n");
            let found = read(&log);
            assert_eq!((found.insn, found.helper.as_deref()), (Some(4), Some("bpf_d_path")));
        }
        let log = "4: (85) call bpf_d_path#147\nR1 type=scalar expected=ptr_\n";
        assert_eq!(read(log).helper, None);
    }

    #[test]
    fn reasons_without_an_instruction() {
        let message = "missing bpf_line_info for func#1".to_owned();
        assert_eq!(
            read("missing bpf_line_info for func#1\n"),
            Refusal { insn: None, message, helper: None }
        );
        assert_eq!(read(""), Refusal { insn: None, message: String::new(), helper: None });
    }
}

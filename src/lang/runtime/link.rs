//! A probe and the functions that it calls become one program: numbers of maps become descriptors, numbers of
//! functions distances.

use std::collections::HashMap;
use std::os::fd::RawFd;

use libbpf_sys::{
    BPF_CALL, BPF_DW, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE,
    bpf_insn,
};

use crate::lang::program::{Code, Function, Probe, Program};
use crate::lang::source::Span;

const WIDE_LOAD: u8 = BPF_DW as u8;
const CALL: u8 = 0x05 | BPF_CALL as u8;

/// A program as the kernel takes it.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) insns: Vec<bpf_insn>,
    /// The first instruction of each place of the source; the first of each function has one.
    pub(super) lines: Vec<(u32, Span)>,
    /// Where functions begin, and their numbers: the probe itself has none.
    pub(super) functions: Vec<(u32, Option<usize>)>,
}

impl Linked {
    /// Where an instruction comes from.
    pub(super) fn span_at(&self, insn: u32) -> Option<Span> {
        let behind = self.lines.partition_point(|(at, _)| *at <= insn);
        Some(self.lines.get(behind.checked_sub(1)?)?.1)
    }
}

/// Puts a probe of the program together. `maps` are the descriptors of the program's maps.
pub(super) fn link(program: &Program, probe: &Probe, maps: &[RawFd]) -> Linked {
    let mut linked = Linked { insns: Vec::new(), lines: Vec::new(), functions: Vec::new() };
    linked.append(&probe.code, probe.span, None);
    let mut begins: HashMap<usize, u32> = HashMap::new();
    let mut at = 0;
    // What is appended may call more, and is looked at in its turn.
    while at < linked.insns.len() {
        let insn = linked.insns[at];
        match (insn.code, u32::from(insn.src_reg())) {
            (WIDE_LOAD, BPF_PSEUDO_MAP_FD | BPF_PSEUDO_MAP_VALUE) => {
                linked.insns[at].imm = maps.get(insn.imm as usize).copied().unwrap_or(-1);
            }
            (WIDE_LOAD, BPF_PSEUDO_FUNC) | (CALL, BPF_PSEUDO_CALL) => {
                let number = insn.imm as usize;
                let begin = match begins.get(&number) {
                    Some(begin) => *begin,
                    None => {
                        let begin = linked.insns.len() as u32;
                        begins.insert(number, begin);
                        if let Some(Function { code, .. }) = program.functions.get(number) {
                            linked.append(code, probe.span, Some(number));
                        }
                        begin
                    }
                };
                linked.insns[at].imm = begin as i32 - at as i32 - 1;
            }
            _ => {}
        }
        at += if insn.code == WIDE_LOAD { 2 } else { 1 };
    }
    linked
}

impl Linked {
    fn append(&mut self, code: &Code, span: Span, function: Option<usize>) {
        let begin = self.insns.len() as u32;
        self.functions.push((begin, function));
        if code.lines.first().is_none_or(|(at, _)| *at > 0) {
            self.lines.push((begin, span));
        }
        self.lines.extend(code.lines.iter().map(|(at, span)| (begin + at, *span)));
        self.insns.extend_from_slice(&code.insns);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::bytecode::{Assembler, Reg, Width};

    fn code(lines: &[(u32, Span)], write: impl FnOnce(&mut Assembler)) -> Code {
        let mut asm = Assembler::new();
        write(&mut asm);
        asm.exit();
        Code { insns: asm.finish().unwrap(), lines: lines.to_vec() }
    }

    fn span(start: u32) -> Span {
        Span { start, end: start + 1 }
    }

    #[test]
    fn maps_and_functions_are_put_in_their_places() {
        let callback = code(&[(0, span(20))], |asm| {
            asm.load_map_value(Reg::R1, 0, 16);
            asm.call_function(0);
        });
        let helper = code(&[], |asm| asm.alu(Width::W64, crate::bytecode::Alu::Mov, Reg::R0, 0));
        let probe = Probe {
            name: "begin".to_owned(),
            attach: Vec::new(),
            span: span(1),
            code: code(&[(0, span(2)), (2, span(5))], |asm| {
                asm.load_map(Reg::R1, 1);
                asm.load_function(Reg::R2, 1);
                asm.load_function(Reg::R3, 1);
            }),
            sleepable: false,
        };
        let function = |name: &str, code| Function { name: name.to_owned(), arguments: 1, code };
        let program = Program {
            functions: vec![function("helper", helper), function("callback", callback)],
            ..Program::default()
        };
        let linked = link(&program, &probe, &[40, 41]);
        // The probe has 7 instructions, the callback 4 behind it, the helper comes last.
        assert_eq!(linked.functions, [(0, None), (7, Some(1)), (11, Some(0))]);
        assert_eq!(linked.insns[0].imm, 41);
        assert_eq!((linked.insns[2].imm, linked.insns[4].imm), (7 - 3, 7 - 5));
        assert_eq!((linked.insns[7].imm, linked.insns[8].imm), (40, 16));
        assert_eq!(linked.insns[9].imm, 11 - 10);
        assert_eq!(linked.lines, [(0, span(2)), (2, span(5)), (7, span(20)), (11, span(1))]);
        assert_eq!(linked.span_at(3), Some(span(5)));
        assert_eq!(linked.span_at(12), Some(span(1)));
    }
}

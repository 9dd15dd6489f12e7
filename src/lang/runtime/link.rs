//! A probe and the functions that it calls become one program: numbers of maps become descriptors, numbers of
//! functions distances.

use std::collections::HashMap;
use std::os::fd::RawFd;

use libbpf_sys::{
    BPF_CALL, BPF_DW, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE,
    bpf_insn,
};

use crate::bytecode::{Alu, Assembler, Cond, Reg, Width};
use crate::lang::program::{Code, Function, Probe, Program};
use crate::lang::source::Span;

const WIDE_LOAD: u8 = BPF_DW as u8;
const CALL: u8 = 0x05 | BPF_CALL as u8;

/// A program as the kernel takes it.
#[derive(Debug, Default)]
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
    let mut linked = Linked::default();
    linked.begin(probe.span, None);
    linked.append(&probe.code);
    linked.resolve(program, probe.span, maps)
}

/// Puts two probes together, one of which runs when a function is entered, the other when it returns: the kernel's function
/// `is_return` knows which is meant. Nothing if the first is too long to be jumped over.
pub(super) fn link_session(
    program: &Program,
    entry: &Probe,
    exit: &Probe,
    is_return: u32,
    maps: &[RawFd],
) -> Option<Linked> {
    let behind = i16::try_from(entry.code.insns.len()).ok()?;
    let mut asm = Assembler::new();
    // Older kernels' function takes nothing, newer ones' the context.
    asm.alu(Width::W64, Alu::Mov, Reg::R6, Reg::R1);
    asm.call_kfunc(is_return);
    asm.alu(Width::W64, Alu::Mov, Reg::R1, Reg::R6);
    // Of what it returns, a bool's upper bits may be anything.
    asm.alu(Width::W64, Alu::And, Reg::R0, 1);
    let body = asm.label();
    asm.jump_if(Width::W64, Cond::Ne, Reg::R0, 0, body);
    asm.bind(body);
    let mut choice = asm.finish().ok()?;
    choice.last_mut()?.off = behind;
    let mut linked = Linked::default();
    linked.begin(entry.span, None);
    linked.insns = choice;
    linked.append(&entry.code);
    linked.append(&exit.code);
    Some(linked.resolve(program, entry.span, maps))
}

impl Linked {
    /// Puts what is called behind, and descriptors and distances in the places of numbers.
    fn resolve(mut self, program: &Program, span: Span, maps: &[RawFd]) -> Self {
        let mut begins: HashMap<usize, u32> = HashMap::new();
        let mut at = 0;
        // What is appended may call more, and is looked at in its turn.
        while at < self.insns.len() {
            let insn = self.insns[at];
            match (insn.code, u32::from(insn.src_reg())) {
                (WIDE_LOAD, BPF_PSEUDO_MAP_FD | BPF_PSEUDO_MAP_VALUE) => {
                    self.insns[at].imm = maps.get(insn.imm as usize).copied().unwrap_or(-1);
                }
                (WIDE_LOAD, BPF_PSEUDO_FUNC) | (CALL, BPF_PSEUDO_CALL) => {
                    let number = insn.imm as usize;
                    let begin = match begins.get(&number) {
                        Some(begin) => *begin,
                        None => {
                            let begin = self.insns.len() as u32;
                            begins.insert(number, begin);
                            if let Some(Function { code, .. }) = program.functions.get(number) {
                                self.begin(span, Some(number));
                                self.append(code);
                            }
                            begin
                        }
                    };
                    self.insns[at].imm = begin as i32 - at as i32 - 1;
                }
                _ => {}
            }
            at += if insn.code == WIDE_LOAD { 2 } else { 1 };
        }
        self
    }

    /// A function begins, of which nothing else is known.
    fn begin(&mut self, span: Span, function: Option<usize>) {
        let begin = self.insns.len() as u32;
        self.functions.push((begin, function));
        self.lines.push((begin, span));
    }

    fn append(&mut self, code: &Code) {
        let begin = self.insns.len() as u32;
        if code.lines.first().is_some_and(|(at, _)| *at == 0) {
            self.lines.pop_if(|(at, _)| *at == begin);
        }
        self.lines.extend(code.lines.iter().map(|(at, span)| (begin + at, *span)));
        self.insns.extend_from_slice(&code.insns);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn code(lines: &[(u32, Span)], write: impl FnOnce(&mut Assembler)) -> Code {
        let mut asm = Assembler::new();
        write(&mut asm);
        asm.exit();
        Code { insns: asm.finish().unwrap(), lines: lines.to_vec() }
    }

    fn span(start: u32) -> Span {
        Span { start, end: start + 1 }
    }

    fn probe(at: u32, code: Code) -> Probe {
        let (name, attach) = ("begin".to_owned(), Vec::new());
        Probe { name, attach, span: span(at), code, sleepable: false }
    }

    #[test]
    fn a_session_runs_one_of_two() {
        let entry = probe(1, code(&[(0, span(2))], |asm| asm.load_map(Reg::R1, 0)));
        let exit = probe(7, code(&[(0, span(8))], |asm| asm.load_map(Reg::R2, 0)));
        let linked = link_session(&Program::default(), &entry, &exit, 1234, &[40]).unwrap();
        // Five that choose, then three of the entry: the last one before it jumps over these.
        assert_eq!(linked.insns[1].imm, 1234);
        assert_eq!((linked.insns[4].off, linked.insns.len()), (3, 11));
        assert_eq!((linked.insns[5].dst_reg(), linked.insns[8].dst_reg()), (1, 2));
        assert_eq!((linked.insns[5].imm, linked.insns[8].imm), (40, 40));
        assert_eq!(linked.functions, [(0, None)]);
        assert_eq!(linked.lines, [(0, span(1)), (5, span(2)), (8, span(8))]);
        let long = code(&[], |asm| (0..40_000).for_each(|_| asm.load_map(Reg::R1, 0)));
        assert!(link_session(&Program::default(), &probe(1, long), &exit, 1, &[40]).is_none());
    }

    #[test]
    fn maps_and_functions_are_put_in_their_places() {
        let callback = code(&[(0, span(20))], |asm| {
            asm.load_map_value(Reg::R1, 0, 16);
            asm.call_function(0);
        });
        let helper = code(&[], |asm| asm.alu(Width::W64, Alu::Mov, Reg::R0, 0));
        let probe = probe(
            1,
            code(&[(0, span(2)), (2, span(5))], |asm| {
                asm.load_map(Reg::R1, 1);
                asm.load_function(Reg::R2, 1);
                asm.load_function(Reg::R3, 1);
            }),
        );
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

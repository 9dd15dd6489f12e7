//! Unrolled classic BPF to eBPF that is put in the place of a call `filter(packet, caplen, len, interface,
//! packet type)` (see `filter.bpf.h`). It calls nothing, needs no stack, and changes no register that
//! a call wouldn't.

use libbpf_sys::bpf_insn;

use super::classic::{Fact, Op, Source, WORDS};
use super::{REACH_LIMIT, classic};
use crate::bytecode::{Alu, Assembler, AssemblyError, Cond, Label, Reg, Size, Width};

/// The arguments ...
const PACKET: Reg = Reg::R1;
const CAPLEN: Reg = Reg::R2;
const LEN: Reg = Reg::R3;
const INTERFACE: Reg = Reg::R4;
const PACKET_TYPE: Reg = Reg::R5;

/// ... and what takes the place of those that are in memory or not needed.
const A: Reg = Reg::R0;
const SPARE: Reg = Reg::R3;
const END: Reg = Reg::R4;
const X: Reg = Reg::R5;

/// Where in the packet's struct the words of the classic program are, behind the bytes, and then facts.
const MEMORY: i16 = REACH_LIMIT as i16;
const FACTS: [(Fact, Reg); 3] =
    [(Fact::Len, LEN), (Fact::Interface, INTERFACE), (Fact::PacketType, PACKET_TYPE)];

/// The size of `struct filter_packet`.
pub(super) const PACKET_SIZE: usize = REACH_LIMIT as usize + (WORDS + FACTS.len()) * 4;

/// The instructions. R0 is what the classic program returns.
pub(super) fn translate(ops: &[Op]) -> Result<Vec<bpf_insn>, AssemblyError> {
    let mut asm = Assembler::new();
    let mut labels = Vec::with_capacity(ops.len());
    labels.resize_with(ops.len(), || asm.label());
    let (reject, done) = (asm.label(), asm.label());
    let (before, _) = classic::reach(ops);

    for (number, (fact, reg)) in FACTS.iter().enumerate() {
        if ops.iter().any(|op| matches!(op, Op::Get(it) | Op::GetX(it) if it == fact)) {
            asm.store(Size::W, PACKET, word(WORDS + number), *reg);
        }
    }
    asm.alu(Width::W32, Alu::Mov, A, 0);
    asm.alu(Width::W32, Alu::Mov, X, 0);
    let mut writer = Writer { asm, labels, reject, rejects: false, done };
    for (at, (op, has)) in ops.iter().zip(before).enumerate() {
        writer.asm.bind(writer.labels[at]);
        writer.write(at, *op, has);
    }
    let mut asm = writer.asm;
    // The verifier has no unreachable instructions.
    if writer.rejects {
        asm.bind(reject);
        asm.alu(Width::W32, Alu::Mov, A, 0);
    }
    asm.bind(done);
    asm.finish()
}

fn word(number: usize) -> i16 {
    MEMORY + number as i16 * 4
}

struct Writer {
    asm: Assembler,
    /// Of each classic instruction.
    labels: Vec<Label>,
    reject: Label,
    /// Whether anything jumps there.
    rejects: bool,
    done: Label,
}

impl Writer {
    /// Writes the instruction `at`, before which the packet surely has so many bytes.
    fn write(&mut self, at: usize, op: Op, has: u32) {
        let asm = &mut self.asm;
        match op {
            Op::LoadAt(size, offset) => {
                if self.check(offset, size.bytes(), has) {
                    self.asm.load(size, A, PACKET, offset as i16);
                    self.in_our_order(size);
                }
            }
            Op::LoadBehind(size, offset) => self.load_behind(size, offset),
            Op::LoadHeaderLen(offset) => {
                if self.check(offset, 1, has) {
                    self.asm.load(Size::B, X, PACKET, offset as i16);
                    self.asm.alu(Width::W32, Alu::And, X, 0xf);
                    self.asm.alu(Width::W32, Alu::Lsh, X, 2);
                }
            }
            Op::Set(k) => asm.alu(Width::W32, Alu::Mov, A, k as i32),
            Op::SetX(k) => asm.alu(Width::W32, Alu::Mov, X, k as i32),
            Op::Get(fact) => asm.load(Size::W, A, PACKET, word(WORDS + fact as usize)),
            Op::GetX(fact) => asm.load(Size::W, X, PACKET, word(WORDS + fact as usize)),
            Op::Recall(number) => asm.load(Size::W, A, PACKET, word(number)),
            Op::RecallX(number) => asm.load(Size::W, X, PACKET, word(number)),
            Op::Store(number) => asm.store(Size::W, PACKET, word(number), A),
            Op::StoreX(number) => asm.store(Size::W, PACKET, word(number), X),
            Op::Alu(alu, source) => self.alu(alu, source),
            Op::Neg => asm.neg(Width::W32, A),
            Op::ToX => asm.alu(Width::W32, Alu::Mov, X, A),
            Op::FromX => asm.alu(Width::W32, Alu::Mov, A, X),
            Op::Jump(to) => self.go(at, to),
            Op::Branch { cond, source, then, or } => self.branch(at, cond, source, then, or),
            Op::Return(0) => {
                let reject = self.reject();
                self.asm.jump(reject);
            }
            Op::Return(k) => {
                asm.alu(Width::W32, Alu::Mov, A, k as i32);
                asm.jump(self.done);
            }
            Op::ReturnA => asm.jump(self.done),
        }
    }

    /// Rejects a packet that is too short; says whether there can be others.
    fn check(&mut self, offset: u32, bytes: u32, has: u32) -> bool {
        let end = offset.saturating_add(bytes);
        if end > REACH_LIMIT {
            self.reject_all();
            return false;
        }
        if end > has {
            let reject = self.reject();
            self.asm.jump_if(Width::W32, Cond::Lt, CAPLEN, end as i32, reject);
        }
        true
    }

    /// X and the offset aren't added in 32 bits, where the sum could wrap around.
    fn load_behind(&mut self, size: Size, offset: u32) {
        let Some(most) = REACH_LIMIT.checked_sub(offset.saturating_add(size.bytes())) else {
            self.reject_all();
            return;
        };
        let reject = self.reject();
        let asm = &mut self.asm;
        asm.alu(Width::W32, Alu::Mov, SPARE, X);
        // The verifier wants to see a number.
        asm.jump_if(Width::W64, Cond::Gt, SPARE, most as i32, reject);
        asm.alu(Width::W64, Alu::Mov, END, SPARE);
        asm.alu(Width::W64, Alu::Add, END, (offset + size.bytes()) as i32);
        asm.jump_if(Width::W32, Cond::Gt, END, CAPLEN, reject);
        asm.alu(Width::W64, Alu::Add, SPARE, PACKET);
        asm.load(size, A, SPARE, offset as i16);
        self.in_our_order(size);
    }

    fn reject(&mut self) -> Label {
        self.rejects = true;
        self.reject
    }

    /// By a condition that always holds, so that what follows isn't unreachable.
    fn reject_all(&mut self) {
        let reject = self.reject();
        self.asm.jump_if(Width::W32, Cond::Ge, CAPLEN, 0, reject);
    }

    fn in_our_order(&mut self, size: Size) {
        if size != Size::B {
            self.asm.swap_be(size, A);
        }
    }

    fn alu(&mut self, alu: Alu, source: Source) {
        let asm = &mut self.asm;
        match (alu, source) {
            (Alu::Div | Alu::Mod, Source::K(0)) => self.reject_all(),
            (Alu::Lsh | Alu::Rsh, Source::K(32..)) => asm.alu(Width::W32, Alu::Mov, A, 0),
            (_, Source::K(k)) => asm.alu(Width::W32, alu, A, k as i32),
            (Alu::Div | Alu::Mod, Source::X) => {
                let reject = self.reject();
                self.asm.jump_if(Width::W32, Cond::Eq, X, 0, reject);
                self.asm.alu(Width::W32, alu, A, X);
            }
            // eBPF looks at the lowest five bits of X alone.
            (Alu::Lsh | Alu::Rsh, Source::X) => {
                let shifted = asm.label();
                asm.alu(Width::W32, Alu::Mov, SPARE, A);
                asm.alu(Width::W32, Alu::Mov, A, 0);
                asm.jump_if(Width::W32, Cond::Gt, X, 31, shifted);
                asm.alu(Width::W32, Alu::Mov, A, SPARE);
                asm.alu(Width::W32, alu, A, X);
                asm.bind(shifted);
            }
            (_, Source::X) => asm.alu(Width::W32, alu, A, X),
        }
    }

    fn branch(&mut self, at: usize, cond: Cond, source: Source, then: usize, or: usize) {
        let (cond, to, other) = match opposite(cond) {
            Some(opposite) if then == at + 1 => (opposite, or, then),
            _ => (cond, then, or),
        };
        let to = self.labels[to];
        match source {
            Source::K(k) => self.asm.jump_if(Width::W32, cond, A, k as i32, to),
            Source::X => self.asm.jump_if(Width::W32, cond, A, X, to),
        }
        self.go(at, other);
    }

    fn go(&mut self, at: usize, to: usize) {
        if to != at + 1 {
            self.asm.jump(self.labels[to]);
        }
    }
}

fn opposite(cond: Cond) -> Option<Cond> {
    match cond {
        Cond::Eq => Some(Cond::Ne),
        Cond::Gt => Some(Cond::Le),
        Cond::Ge => Some(Cond::Lt),
        _ => None,
    }
}

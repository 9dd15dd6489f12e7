//! Classic BPF as libpcap's interpreter understands it: decoded, its loops unrolled, and how far it reads.

use libbpf_sys::{BPF_IND, BPF_LEN, BPF_MSH};

use super::libpcap::Insn;
use crate::bytecode::{Alu, Cond, Size};

const BPF_LD: u16 = 0x00;
const BPF_LDX: u16 = 0x01;
const BPF_ST: u16 = 0x02;
const BPF_STX: u16 = 0x03;
const BPF_ALU: u16 = 0x04;
const BPF_JMP: u16 = 0x05;
const BPF_RET: u16 = 0x06;
const BPF_MISC: u16 = 0x07;

/// Words of scratch memory.
pub(super) const WORDS: usize = 16;

/// Offsets from here on are of what the kernel knows about a packet (`SKF_AD_OFF`).
const ANCILLARY: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = ANCILLARY + 4;
const INTERFACE: u32 = ANCILLARY + 8;

/// `protochain` is the only primitive with a loop: so many headers of a chain are looked at.
const ROUNDS: usize = 16;

/// The second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    K(u32),
    X,
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Len,
    Interface,
    PacketType,
}

/// An instruction; A is the accumulator, X the index register, targets are absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    LoadAt(Size, u32),
    /// Behind X.
    LoadBehind(Size, u32),
    /// X is the length of the IP header that begins there.
    LoadHeaderLen(u32),
    Set(u32),
    SetX(u32),
    Get(Fact),
    GetX(Fact),
    Recall(usize),
    RecallX(usize),
    Store(usize),
    StoreX(usize),
    Alu(Alu, Source),
    Neg,
    ToX,
    FromX,
    Jump(usize),
    Branch {
        cond: Cond,
        source: Source,
        then: usize,
        or: usize,
    },
    Return(u32),
    ReturnA,
}

impl Op {
    /// It depends on where the packet was seen.
    pub(super) fn asks_more_than_bytes(&self) -> bool {
        matches!(self, Op::Get(Fact::Interface | Fact::PacketType))
    }

    fn targets(&self, at: usize) -> [Option<usize>; 2] {
        match *self {
            Op::Jump(to) => [Some(to), None],
            Op::Branch { then, or, .. } => [Some(then), Some(or)],
            Op::Return(_) | Op::ReturnA => [None, None],
            _ => [Some(at + 1), None],
        }
    }

    fn redirected(self, position: impl Fn(usize) -> usize) -> Self {
        match self {
            Op::Jump(to) => Op::Jump(position(to)),
            Op::Branch { cond, source, then, or } => {
                Op::Branch { cond, source, then: position(then), or: position(or) }
            }
            other => other,
        }
    }
}

/// Decodes all; none where there is an instruction that filters of packets don't have.
pub(super) fn decode(insns: &[Insn]) -> Option<Vec<Op>> {
    let ops: Option<Vec<Op>> =
        insns.iter().enumerate().map(|(at, it)| decode_one(at, it)).collect();
    let ops = ops?;
    let is_inside =
        |(at, op): (usize, &Op)| op.targets(at).iter().flatten().all(|&to| to < ops.len());
    ops.iter().enumerate().all(is_inside).then_some(ops)
}

fn decode_one(at: usize, insn: &Insn) -> Option<Op> {
    let &Insn { code, jt, jf, k } = insn;
    let word = || (k < WORDS as u32).then_some(k as usize);
    let source = if code & 0x08 == 0 { Source::K(k) } else { Source::X };
    let mode = u32::from(code & 0xe0);
    Some(match code & 0x07 {
        BPF_LD => match mode {
            0x00 => Op::Set(k),
            0x20 => match k {
                PACKET_TYPE => Op::Get(Fact::PacketType),
                INTERFACE => Op::Get(Fact::Interface),
                ANCILLARY.. => return None,
                _ => Op::LoadAt(size(code)?, k),
            },
            BPF_IND => Op::LoadBehind(size(code)?, k),
            0x60 => Op::Recall(word()?),
            BPF_LEN => Op::Get(Fact::Len),
            _ => return None,
        },
        BPF_LDX => match mode {
            0x00 => Op::SetX(k),
            0x60 => Op::RecallX(word()?),
            BPF_LEN => Op::GetX(Fact::Len),
            BPF_MSH => Op::LoadHeaderLen(k),
            _ => return None,
        },
        BPF_ST => Op::Store(word()?),
        BPF_STX => Op::StoreX(word()?),
        BPF_ALU => match code & 0xf0 {
            0x80 => Op::Neg,
            op => Op::Alu(alu(op)?, source),
        },
        BPF_JMP => match code & 0xf0 {
            0x00 => Op::Jump((at as u32 + 1).wrapping_add(k) as usize),
            op => {
                let cond = cond(op)?;
                let (then, or) = (at + 1 + usize::from(jt), at + 1 + usize::from(jf));
                Op::Branch { cond, source, then, or }
            }
        },
        BPF_RET => match code & 0x18 {
            0x00 => Op::Return(k),
            0x10 => Op::ReturnA,
            _ => return None,
        },
        BPF_MISC if code & 0xf8 == 0 => Op::ToX,
        BPF_MISC if code & 0xf8 == 0x80 => Op::FromX,
        _ => return None,
    })
}

fn size(code: u16) -> Option<Size> {
    match code & 0x18 {
        0x00 => Some(Size::W),
        0x08 => Some(Size::H),
        0x10 => Some(Size::B),
        _ => None,
    }
}

fn alu(op: u16) -> Option<Alu> {
    let all = [
        Alu::Add,
        Alu::Sub,
        Alu::Mul,
        Alu::Div,
        Alu::Or,
        Alu::And,
        Alu::Lsh,
        Alu::Rsh,
        Alu::Mod,
        Alu::Xor,
    ];
    all.into_iter().find(|&alu| alu as u16 == op)
}

fn cond(op: u16) -> Option<Cond> {
    [Cond::Eq, Cond::Gt, Cond::Ge, Cond::Set].into_iter().find(|&cond| cond as u16 == op)
}

/// Without jumps back: what is jumped back to follows once more, and the last time a jump back rejects.
/// Unreachable instructions are dropped. Says also whether there were jumps back.
pub(super) fn unroll(ops: &[Op]) -> (Vec<Op>, bool) {
    let has_loop =
        ops.iter().enumerate().any(|(at, op)| op.targets(at).iter().flatten().any(|&to| to <= at));
    let len = ops.len();
    // The instruction `at` of round `r` is node r * len + at; the last node rejects.
    let rounds = if has_loop { ROUNDS } else { 1 };
    let reject = rounds * len;
    let next = |node: usize, to: usize| {
        let (round, at) = (node / len, node % len);
        let round = if to <= at { round + 1 } else { round };
        if round < rounds { round * len + to } else { reject }
    };
    let mut is_reached = vec![false; reject + 1];
    is_reached[0] = true;
    for node in 0..reject {
        if is_reached[node] {
            let targets = ops[node % len].targets(node % len);
            targets.iter().flatten().for_each(|&to| is_reached[next(node, to)] = true);
        }
    }
    let mut positions = vec![0; reject + 1];
    let mut count = 0;
    for node in 0..=reject {
        positions[node] = count;
        count += usize::from(is_reached[node]);
    }
    let op = |node: usize| {
        let Some(op) = (node < reject).then(|| ops[node % len]) else { return Op::Return(0) };
        op.redirected(|to| positions[next(node, to)])
    };
    ((0..=reject).filter(|&node| is_reached[node]).map(op).collect(), has_loop)
}

/// What holds before an instruction, whatever the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bounds {
    /// A, X and the scratch memory are at most so large.
    a: u32,
    x: u32,
    memory: [u32; WORDS],
    /// The packet has so many bytes at least.
    has: u32,
}

impl Bounds {
    fn join(&mut self, other: &Self) {
        self.a = self.a.max(other.a);
        self.x = self.x.max(other.x);
        for (ours, theirs) in self.memory.iter_mut().zip(other.memory) {
            *ours = theirs.max(*ours);
        }
        self.has = self.has.min(other.has);
    }

    /// What holds after the instruction; and where it reads, the bytes that the packet then has at least,
    /// and those that are looked at, at most.
    fn apply(&mut self, op: &Op) -> Option<(u64, u64)> {
        let end = |offset: u32, bytes: u32| u64::from(offset) + u64::from(bytes);
        match *op {
            Op::LoadAt(size, offset) => {
                self.a = largest(size);
                let end = end(offset, size.bytes());
                Some((end, end))
            }
            Op::LoadBehind(size, offset) => {
                self.a = largest(size);
                let least = end(offset, size.bytes());
                Some((least, least + u64::from(self.x)))
            }
            Op::LoadHeaderLen(offset) => {
                self.x = 15 * 4;
                let end = end(offset, 1);
                Some((end, end))
            }
            _ => {
                self.apply_in_registers(op);
                None
            }
        }
    }

    fn apply_in_registers(&mut self, op: &Op) {
        match *op {
            Op::Set(k) => self.a = k,
            Op::SetX(k) => self.x = k,
            Op::Get(_) => self.a = u32::MAX,
            Op::GetX(_) => self.x = u32::MAX,
            Op::Recall(word) => self.a = self.memory[word],
            Op::RecallX(word) => self.x = self.memory[word],
            Op::Store(word) => self.memory[word] = self.a,
            Op::StoreX(word) => self.memory[word] = self.x,
            Op::ToX => self.x = self.a,
            Op::FromX => self.a = self.x,
            Op::Neg => self.a = u32::MAX,
            Op::Alu(alu, source) => self.a = largest_result(alu, self.a, source, self.x),
            _ => {}
        }
    }
}

fn largest(size: Size) -> u32 {
    match size {
        Size::B => u8::MAX.into(),
        Size::H => u16::MAX.into(),
        _ => u32::MAX,
    }
}

/// The largest result for `a` and X up to these.
fn largest_result(alu: Alu, a: u32, source: Source, x: u32) -> u32 {
    let most = if let Source::K(k) = source { k } else { x };
    let ones = |n: u32| u32::MAX.checked_shr(n.leading_zeros()).unwrap_or(0);
    match (alu, source) {
        (Alu::Add, _) => a.saturating_add(most),
        (Alu::Mul, _) => a.saturating_mul(most),
        (Alu::And, _) => a.min(most),
        (Alu::Or | Alu::Xor, _) => ones(a | most),
        (Alu::Div, Source::K(k)) => a.checked_div(k).unwrap_or(0),
        (Alu::Rsh, Source::K(k)) => a.checked_shr(k).unwrap_or(0),
        (Alu::Div | Alu::Rsh, Source::X) => a,
        (Alu::Mod, _) => a.min(most.saturating_sub(1)),
        (Alu::Lsh, Source::K(k)) if a.leading_zeros() >= k => a.checked_shl(k).unwrap_or(0),
        _ => u32::MAX,
    }
}

/// Of each instruction of an unrolled program: what the packet surely has before it, in bytes. And how
/// many bytes from its beginning all of them look at.
pub(super) fn reach(ops: &[Op]) -> (Vec<u32>, u64) {
    let mut before: Vec<Option<Bounds>> = vec![None; ops.len()];
    before[0] = Some(Bounds { a: 0, x: 0, memory: [0; WORDS], has: 0 });
    let mut reach = 0;
    for (at, op) in ops.iter().enumerate() {
        let Some(mut bounds) = before[at].clone() else { continue };
        if let Some((least, most)) = bounds.apply(op) {
            bounds.has = bounds.has.max(u32::try_from(least).unwrap_or(u32::MAX));
            reach = reach.max(most);
        }
        for &to in op.targets(at).iter().flatten() {
            match &mut before[to] {
                Some(joined) => joined.join(&bounds),
                none => *none = Some(bounds.clone()),
            }
        }
    }
    (before.into_iter().map(|bounds| bounds.map_or(0, |bounds| bounds.has)).collect(), reach)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn decoded(insns: &[(u16, u8, u8, u32)]) -> Option<Vec<Op>> {
        let insn = |&(code, jt, jf, k): &(u16, u8, u8, u32)| Insn { code, jt, jf, k };
        decode(&insns.iter().map(insn).collect::<Vec<_>>())
    }

    #[test]
    fn what_filters_do_not_have_is_not_decoded() {
        let reject = (0x06, 0, 0, 0);
        for (insn, is_known) in [
            ((0x28, 0, 0, 12), true),
            ((0x28, 0, 0, ANCILLARY + 4), true),
            ((0x28, 0, 0, ANCILLARY + 44), false),
            ((0x38, 0, 0, 12), false),
            ((0x60, 0, 0, 15), true),
            ((0x60, 0, 0, 16), false),
            ((0x15, 0, 1, 5), false),
            ((0x05, 0, 0, u32::MAX - 1), false),
            ((0xb4, 0, 0, 5), false),
        ] {
            assert_eq!(decoded(&[insn, reject]).is_some(), is_known, "{insn:x?}");
        }
        assert!(decoded(&[(0x28, 0, 0, 12)]).is_none());
    }

    #[test]
    fn a_loop_ends() {
        // A += 1; if A > 3 return A; go back.
        let ops = decoded(&[(0x04, 0, 0, 1), (0x25, 0, 1, 3), (0x16, 0, 0, 0), (0x05, 0, 0, !3)]);
        let (unrolled, has_loop) = unroll(&ops.unwrap());
        assert!(has_loop);
        assert_eq!(unrolled.len(), 4 * ROUNDS + 1);
        assert_eq!(unrolled[3], Op::Jump(4));
        assert_eq!(unrolled[4 * ROUNDS - 1..], [Op::Jump(4 * ROUNDS), Op::Return(0)]);
        let ahead = |(at, op): (usize, &Op)| op.targets(at).iter().flatten().all(|&to| to > at);
        assert!(unrolled.iter().enumerate().all(ahead));
    }

    #[test]
    fn unreachable_instructions_are_dropped() {
        let ops = [Op::Jump(2), Op::Set(7), Op::Return(1)];
        assert_eq!(unroll(&ops), (vec![Op::Jump(1), Op::Return(1)], false));
    }
}

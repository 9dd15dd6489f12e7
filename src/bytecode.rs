//! An assembler for eBPF: writes instructions one by one, with labels for where jumps go. It knows how
//! they are encoded, not what they are for, nor what the verifier makes of them.

use std::collections::HashMap;

use libbpf_sys::{
    BPF_ALU64, BPF_ATOMIC, BPF_CALL, BPF_DW, BPF_END, BPF_EXIT, BPF_JMP32, BPF_LDX,
    BPF_PSEUDO_BTF_ID, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC, BPF_PSEUDO_KFUNC_CALL, BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE, BPF_TO_BE, bpf_insn,
};

// What eBPF has in common with classic BPF is in another header, which libbpf-sys leaves out.
const BPF_LD: u32 = 0x00;
const BPF_ST: u32 = 0x02;
const BPF_STX: u32 = 0x03;
const BPF_ALU: u32 = 0x04;
const BPF_JMP: u32 = 0x05;
const BPF_IMM: u32 = 0x00;
const BPF_MEM: u32 = 0x60;
const BPF_JA: u32 = 0x00;
const BPF_NEG: u32 = 0x80;
const BPF_K: u32 = 0x00;
const BPF_X: u32 = 0x08;

/// A register. A call takes its arguments from R1 to R5, forgets them, and returns in R0; R10 points to
/// the end of the stack frame.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// What an operation works with: the lower half of registers, whose upper half it clears or doesn't look
/// at, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// So much is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One byte.
    B = 0x10,
    /// Two.
    H = 0x08,
    /// Four.
    W = 0x00,
    /// Eight.
    DW = 0x18,
}

impl Size {
    /// In bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::DW => 8,
        }
    }
}

/// `dst = dst OP src`, unsigned.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
    /// Shifts the sign in.
    Arsh = 0xc0,
}

/// When to jump: `dst COND src`; signed where the name begins with an S.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    Eq = 0x10,
    Gt = 0x20,
    Ge = 0x30,
    /// `dst & src` isn't 0.
    Set = 0x40,
    Ne = 0x50,
    Sgt = 0x60,
    Sge = 0x70,
    Lt = 0xa0,
    Le = 0xb0,
    Slt = 0xc0,
    Sle = 0xd0,
}

/// The right side of an operation. A number is extended with its sign to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register's value.
    Reg(Reg),
    /// A number.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Operand::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(imm: i32) -> Self {
        Operand::Imm(imm)
    }
}

impl Operand {
    /// The bit of the code that says which it is, the register, the number.
    fn parts(self) -> (u32, Reg, i32) {
        match self {
            Operand::Reg(reg) => (BPF_X, reg, 0),
            Operand::Imm(imm) => (BPF_K, Reg::R0, imm),
        }
    }
}

/// A place to jump to, of the assembler that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Why there are no instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// A jump's distance has 16 bits.
    #[error("a jump over {0} instructions is too far")]
    TooFar(usize),
    /// A jump to a label that was never bound.
    #[error("a jump leads nowhere")]
    Unbound,
}

/// Takes instructions in their order.
#[derive(Debug, Default)]
pub struct Assembler {
    insns: Vec<bpf_insn>,
    /// The position of each label.
    labels: Vec<Option<usize>>,
    /// Jumps, and where they go.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// Without instructions.
    pub fn new() -> Self {
        Self::default()
    }

    /// A label, to be bound before the end.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// How many instructions there are.
    pub fn position(&self) -> usize {
        self.insns.len()
    }

    /// The label is what comes next.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.insns.len());
    }

    /// `dst = dst OP src`.
    pub fn alu(&mut self, width: Width, op: Alu, dst: Reg, src: impl Into<Operand>) {
        let (kind, src, imm) = src.into().parts();
        self.push(class_of_alu(width) | op as u32 | kind, dst, src, 0, imm);
    }

    /// `dst = -dst`.
    pub fn neg(&mut self, width: Width, dst: Reg) {
        self.push(class_of_alu(width) | BPF_NEG, dst, Reg::R0, 0, 0);
    }

    /// Turns the lower `size` of the register from network order into the machine's, or back; the rest
    /// is cleared.
    pub fn swap_be(&mut self, size: Size, dst: Reg) {
        let bits = size.bytes() as i32 * 8;
        self.push(BPF_ALU | BPF_END | BPF_TO_BE, dst, Reg::R0, 0, bits);
    }

    /// `dst = *(src + off)`, extended by zeros.
    pub fn load(&mut self, size: Size, dst: Reg, src: Reg, off: i16) {
        self.push(BPF_LDX | BPF_MEM | size as u32, dst, src, off, 0);
    }

    /// `*(dst + off) = src`.
    pub fn store(&mut self, size: Size, dst: Reg, off: i16, src: impl Into<Operand>) {
        let (kind, src, imm) = src.into().parts();
        let class = if kind == BPF_X { BPF_STX } else { BPF_ST };
        self.push(class | BPF_MEM | size as u32, dst, src, off, imm);
    }

    /// `*(dst + off) += src`, atomically.
    pub fn atomic_add(&mut self, width: Width, dst: Reg, off: i16, src: Reg) {
        let size = if width == Width::W64 { Size::DW } else { Size::W };
        self.push(BPF_STX | BPF_ATOMIC | size as u32, dst, src, off, Alu::Add as i32);
    }

    /// `dst = imm`, all 64 bits; two instructions.
    pub fn load_imm64(&mut self, dst: Reg, imm: u64) {
        self.push_wide(dst, Reg::R0, imm);
    }

    /// The map of that file descriptor, as calls take it; two instructions.
    pub fn load_map(&mut self, dst: Reg, fd: i32) {
        self.push_wide(dst, PSEUDO_MAP, u64::from(fd as u32));
    }

    /// The address `offset` bytes into the only value of the map of that file descriptor; two
    /// instructions.
    pub fn load_map_value(&mut self, dst: Reg, fd: i32, offset: u32) {
        self.push_wide(dst, PSEUDO_MAP_VALUE, u64::from(offset) << 32 | u64::from(fd as u32));
    }

    /// The function of that number, as helpers take a callback; two instructions.
    pub fn load_function(&mut self, dst: Reg, function: u32) {
        self.push_wide(dst, PSEUDO_FUNC, u64::from(function));
    }

    /// The address of the kernel's variable of that BTF id in vmlinux; two instructions.
    pub fn load_variable(&mut self, dst: Reg, id: u32) {
        self.push_wide(dst, PSEUDO_BTF_ID, u64::from(id));
    }

    /// Calls the function of that number.
    pub fn call_function(&mut self, function: u32) {
        self.push(BPF_JMP | BPF_CALL, Reg::R0, PSEUDO_CALL, 0, function as i32);
    }

    /// Calls the kernel's function of that BTF id in vmlinux.
    pub fn call_kfunc(&mut self, id: u32) {
        self.push(BPF_JMP | BPF_CALL, Reg::R0, PSEUDO_KFUNC_CALL, 0, id as i32);
    }

    /// Calls the helper of that number (`BPF_FUNC_…`).
    pub fn call(&mut self, helper: u32) {
        self.push(BPF_JMP | BPF_CALL, Reg::R0, Reg::R0, 0, helper as i32);
    }

    /// Goes on at the label.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(BPF_JMP | BPF_JA, Reg::R0, Reg::R0, 0, 0);
    }

    /// Goes on at the label if `dst COND src`.
    pub fn jump_if(
        &mut self,
        width: Width,
        cond: Cond,
        dst: Reg,
        src: impl Into<Operand>,
        to: Label,
    ) {
        let (kind, src, imm) = src.into().parts();
        let class = if width == Width::W64 { BPF_JMP } else { BPF_JMP32 };
        self.jumps.push((self.insns.len(), to));
        self.push(class | cond as u32 | kind, dst, src, 0, imm);
    }

    /// Returns R0.
    pub fn exit(&mut self) {
        self.push(BPF_JMP | BPF_EXIT, Reg::R0, Reg::R0, 0, 0);
    }

    /// Leaves out what can't be reached from the first instruction, which the kernel refuses. Says where
    /// each instruction is now, or the next one that is left.
    ///
    /// # Errors
    /// Where a jump leads nowhere.
    pub fn prune(&mut self) -> Result<Vec<usize>, AssemblyError> {
        let reached = self.reached()?;
        let mut now = Vec::with_capacity(self.insns.len() + 1);
        let mut kept = 0;
        for &is_kept in &reached {
            now.push(kept);
            kept += usize::from(is_kept);
        }
        now.push(kept);
        let mut reached_insns = reached.iter();
        self.insns.retain(|_| reached_insns.next() == Some(&true));
        self.jumps.retain(|(at, _)| reached[*at]);
        self.jumps.iter_mut().for_each(|(at, _)| *at = now[*at]);
        self.labels.iter_mut().flatten().for_each(|at| *at = now[*at]);
        Ok(now)
    }

    fn reached(&self) -> Result<Vec<bool>, AssemblyError> {
        let targets: HashMap<usize, Label> = self.jumps.iter().copied().collect();
        let mut reached = vec![false; self.insns.len()];
        let mut begins = vec![0];
        while let Some(mut at) = begins.pop() {
            while at < reached.len() && !reached[at] {
                reached[at] = true;
                if let Some(label) = targets.get(&at) {
                    begins.push(self.labels[label.0].ok_or(AssemblyError::Unbound)?);
                }
                let code = u32::from(self.insns[at].code);
                if code == BPF_JMP | BPF_EXIT || code == BPF_JMP | BPF_JA {
                    break;
                }
                at += 1;
            }
        }
        Ok(reached)
    }

    /// The instructions.
    ///
    /// # Errors
    /// Where a jump can't be encoded.
    pub fn finish(mut self) -> Result<Vec<bpf_insn>, AssemblyError> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0].ok_or(AssemblyError::Unbound)?;
            self.insns[at].off = distance(at, to)?;
        }
        Ok(self.insns)
    }

    fn push_wide(&mut self, dst: Reg, src: Reg, imm: u64) {
        self.push(BPF_LD | BPF_IMM | BPF_DW, dst, src, 0, imm as i32);
        self.push(0, Reg::R0, Reg::R0, 0, (imm >> 32) as i32);
    }

    fn push(&mut self, code: u32, dst: Reg, src: Reg, off: i16, imm: i32) {
        self.insns.push(insn(code, dst, src, off, imm));
    }
}

/// The kinds of a wide load's number are in the field of its source register.
const PSEUDO_MAP: Reg = Reg::R1;
const PSEUDO_MAP_VALUE: Reg = Reg::R2;
const PSEUDO_BTF_ID: Reg = Reg::R3;
const PSEUDO_FUNC: Reg = Reg::R4;
/// And of a call's.
const PSEUDO_CALL: Reg = Reg::R1;
const PSEUDO_KFUNC_CALL: Reg = Reg::R2;
const _: () = assert!(
    PSEUDO_MAP as u32 == BPF_PSEUDO_MAP_FD
        && PSEUDO_MAP_VALUE as u32 == BPF_PSEUDO_MAP_VALUE
        && PSEUDO_BTF_ID as u32 == BPF_PSEUDO_BTF_ID
        && PSEUDO_FUNC as u32 == BPF_PSEUDO_FUNC
        && PSEUDO_CALL as u32 == BPF_PSEUDO_CALL
        && PSEUDO_KFUNC_CALL as u32 == BPF_PSEUDO_KFUNC_CALL
);

fn class_of_alu(width: Width) -> u32 {
    if width == Width::W64 { BPF_ALU64 } else { BPF_ALU }
}

fn insn(code: u32, dst: Reg, src: Reg, off: i16, imm: i32) -> bpf_insn {
    let mut insn = bpf_insn { code: code as u8, off, imm, ..Default::default() };
    insn.set_dst_reg(dst as u8);
    insn.set_src_reg(src as u8);
    insn
}

/// A jump from one position to another.
fn distance(at: usize, to: usize) -> Result<i16, AssemblyError> {
    let distance = to as isize - at as isize - 1;
    i16::try_from(distance).map_err(|_| AssemblyError::TooFar(distance.unsigned_abs()))
}

/// Replaces each call of the helper `number` by the instructions of `inline`, which must run to their
/// end and keep to the registers that a call may change. They come behind the others, so that no
/// position changes.
///
/// # Errors
/// Where a jump there or back can't be encoded.
pub fn inline_calls(
    insns: &mut Vec<bpf_insn>,
    number: u32,
    inline: &[bpf_insn],
) -> Result<usize, AssemblyError> {
    let is_call = |insn: &bpf_insn| {
        u32::from(insn.code) == BPF_JMP | BPF_CALL
            && insn.src_reg() == 0
            && insn.imm == number as i32
    };
    let calls: Vec<usize> = (0..insns.len()).filter(|&at| is_call(&insns[at])).collect();
    let jump = |at, to| Ok(insn(BPF_JMP | BPF_JA, Reg::R0, Reg::R0, distance(at, to)?, 0));
    for &call in &calls {
        insns[call] = jump(call, insns.len())?;
        insns.extend_from_slice(inline);
        insns.push(jump(insns.len(), call + 1)?);
    }
    Ok(calls.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// As `llvm-objdump -d` shows them: code, registers (source first), offset, number.
    fn bytes(insns: &[bpf_insn]) -> Vec<String> {
        let hex = |insn: &bpf_insn| {
            let registers = insn.src_reg() << 4 | insn.dst_reg();
            format!("{:02x} {registers:02x} {:04x} {:08x}", insn.code, insn.off, insn.imm)
        };
        insns.iter().map(hex).collect()
    }

    fn assembled(write: impl FnOnce(&mut Assembler)) -> Vec<String> {
        let mut asm = Assembler::new();
        write(&mut asm);
        bytes(&asm.finish().unwrap())
    }

    // The right sides are what clang -mcpu=v3 makes of the assembly in the comments.
    #[test]
    fn arithmetic() {
        let insns = assembled(|asm| {
            asm.alu(Width::W64, Alu::Mov, Reg::R1, 5); // r1 = 5
            asm.alu(Width::W32, Alu::Mov, Reg::R2, Reg::R9); // w2 = w9
            asm.alu(Width::W64, Alu::Add, Reg::R1, Reg::R10); // r1 += r10
            asm.alu(Width::W32, Alu::Sub, Reg::R3, 7); // w3 -= 7
            asm.alu(Width::W64, Alu::Mul, Reg::R4, -1); // r4 *= -1
            asm.alu(Width::W32, Alu::Div, Reg::R4, Reg::R5); // w4 /= w5
            asm.alu(Width::W32, Alu::Mod, Reg::R4, 3); // w4 %= 3
            asm.alu(Width::W64, Alu::Or, Reg::R4, 1); // r4 |= 1
            asm.alu(Width::W64, Alu::And, Reg::R4, 0xf); // r4 &= 15
            asm.alu(Width::W64, Alu::Xor, Reg::R4, Reg::R6); // r4 ^= r6
            asm.alu(Width::W64, Alu::Lsh, Reg::R4, 32); // r4 <<= 32
            asm.alu(Width::W64, Alu::Rsh, Reg::R4, 32); // r4 >>= 32
            asm.alu(Width::W64, Alu::Arsh, Reg::R4, 32); // r4 s>>= 32
            asm.neg(Width::W64, Reg::R8); // r8 = -r8
            asm.neg(Width::W32, Reg::R8); // w8 = -w8
            asm.swap_be(Size::H, Reg::R1); // r1 = be16 r1
            asm.swap_be(Size::W, Reg::R1); // r1 = be32 r1
            asm.swap_be(Size::DW, Reg::R1); // r1 = be64 r1
        });
        assert_eq!(
            insns,
            [
                "b7 01 0000 00000005",
                "bc 92 0000 00000000",
                "0f a1 0000 00000000",
                "14 03 0000 00000007",
                "27 04 0000 ffffffff",
                "3c 54 0000 00000000",
                "94 04 0000 00000003",
                "47 04 0000 00000001",
                "57 04 0000 0000000f",
                "af 64 0000 00000000",
                "67 04 0000 00000020",
                "77 04 0000 00000020",
                "c7 04 0000 00000020",
                "87 08 0000 00000000",
                "84 08 0000 00000000",
                "dc 01 0000 00000010",
                "dc 01 0000 00000020",
                "dc 01 0000 00000040",
            ]
        );
    }

    #[test]
    fn memory() {
        let insns = assembled(|asm| {
            asm.load(Size::B, Reg::R0, Reg::R1, 0); // r0 = *(u8 *)(r1 + 0)
            asm.load(Size::H, Reg::R0, Reg::R1, 12); // r0 = *(u16 *)(r1 + 12)
            asm.load(Size::W, Reg::R0, Reg::R10, -4); // r0 = *(u32 *)(r10 - 4)
            asm.load(Size::DW, Reg::R7, Reg::R6, 8); // r7 = *(u64 *)(r6 + 8)
            asm.store(Size::DW, Reg::R10, -8, Reg::R0); // *(u64 *)(r10 - 8) = r0
            asm.store(Size::B, Reg::R1, 1, Reg::R2); // *(u8 *)(r1 + 1) = r2
            asm.store(Size::W, Reg::R1, 4, -1); // *(u32 *)(r1 + 4) = -1
            asm.atomic_add(Width::W64, Reg::R0, 0, Reg::R1); // lock *(u64 *)(r0 + 0) += r1
            asm.atomic_add(Width::W32, Reg::R0, 4, Reg::R1); // lock *(u32 *)(r0 + 4) += w1
            asm.load_imm64(Reg::R2, 0x1122_3344_8899_aabb); // r2 = 0x112233448899aabb ll
            asm.load_map(Reg::R1, 3);
            asm.load_map_value(Reg::R1, 3, 16);
            asm.load_variable(Reg::R1, 0x77);
            asm.load_function(Reg::R2, 7);
            asm.call_function(7);
            asm.call_kfunc(0x1234);
        });
        assert_eq!(
            insns,
            [
                "71 10 0000 00000000",
                "69 10 000c 00000000",
                "61 a0 fffc 00000000",
                "79 67 0008 00000000",
                "7b 0a fff8 00000000",
                "73 21 0001 00000000",
                "62 01 0004 ffffffff",
                "db 10 0000 00000000",
                "c3 10 0004 00000000",
                "18 02 0000 8899aabb",
                "00 00 0000 11223344",
                "18 11 0000 00000003",
                "00 00 0000 00000000",
                "18 21 0000 00000003",
                "00 00 0000 00000010",
                "18 31 0000 00000077",
                "00 00 0000 00000000",
                "18 42 0000 00000007",
                "00 00 0000 00000000",
                "85 10 0000 00000007",
                "85 20 0000 00001234",
            ]
        );
    }

    #[test]
    fn jumps_go_forth_and_back() {
        let insns = assembled(|asm| {
            let (begin, end) = (asm.label(), asm.label());
            asm.bind(begin);
            asm.jump_if(Width::W64, Cond::Eq, Reg::R1, 0, end); // if r1 == 0 goto +5
            asm.jump_if(Width::W32, Cond::Gt, Reg::R1, Reg::R2, end); // if w1 > w2 goto +4
            asm.jump_if(Width::W64, Cond::Set, Reg::R3, 8, begin); // if r3 & 8 goto -3
            asm.jump_if(Width::W64, Cond::Slt, Reg::R1, -1, begin); // if r1 s< -1 goto -4
            asm.jump(begin); // goto -5
            asm.call(libbpf_sys::BPF_FUNC_skb_load_bytes); // call 26
            asm.bind(end);
            asm.exit(); // exit
        });
        assert_eq!(
            insns,
            [
                "15 01 0005 00000000",
                "2e 21 0004 00000000",
                "45 03 fffd 00000008",
                "c5 01 fffc ffffffff",
                "05 00 fffb 00000000",
                "85 00 0000 0000001a",
                "95 00 0000 00000000",
            ]
        );
        let codes = |cond| {
            assembled(|asm| {
                let here = asm.label();
                asm.bind(here);
                asm.jump_if(Width::W64, cond, Reg::R0, 0, here);
            })[0][..2]
                .to_owned()
        };
        let conditions = [Cond::Ge, Cond::Ne, Cond::Sgt, Cond::Sge, Cond::Lt, Cond::Le, Cond::Sle];
        assert_eq!(conditions.map(codes), ["35", "55", "65", "75", "a5", "b5", "d5"]);
    }

    #[test]
    fn jumps_that_cannot_be_encoded() {
        let mut asm = Assembler::new();
        let label = asm.label();
        asm.jump(label);
        assert_eq!(asm.finish().unwrap_err(), AssemblyError::Unbound);

        for (between, is_near) in [(32_767, true), (32_768, false)] {
            let mut asm = Assembler::new();
            let label = asm.label();
            asm.jump(label);
            (0..between).for_each(|_| asm.exit());
            asm.bind(label);
            assert_eq!(asm.finish().is_ok(), is_near);
        }
    }

    #[test]
    fn what_cannot_be_reached_is_left_out() {
        let mut asm = Assembler::new();
        let (end, never) = (asm.label(), asm.label());
        asm.jump_if(Width::W64, Cond::Eq, Reg::R1, 0, end);
        asm.exit();
        asm.bind(never);
        asm.load_imm64(Reg::R0, 1);
        asm.jump(never);
        asm.bind(end);
        asm.alu(Width::W64, Alu::Mov, Reg::R0, 0);
        asm.exit();
        asm.exit();
        assert_eq!(asm.prune().unwrap(), [0, 1, 2, 2, 2, 2, 3, 4, 4]);
        assert_eq!(
            bytes(&asm.finish().unwrap()),
            [
                "15 01 0001 00000000",
                "95 00 0000 00000000",
                "b7 00 0000 00000000",
                "95 00 0000 00000000",
            ]
        );
    }

    #[test]
    fn calls_are_replaced_where_they_are() {
        let mut asm = Assembler::new();
        asm.call(77);
        asm.call(1);
        asm.call(77);
        asm.exit();
        let mut insns = asm.finish().unwrap();
        let mut inline = Assembler::new();
        inline.alu(Width::W32, Alu::Mov, Reg::R0, 1);

        let replaced = inline_calls(&mut insns, 77, &inline.finish().unwrap()).unwrap();
        assert_eq!(replaced, 2);
        assert_eq!(
            bytes(&insns),
            [
                "05 00 0003 00000000",
                "85 00 0000 00000001",
                "05 00 0003 00000000",
                "95 00 0000 00000000",
                "b4 00 0000 00000001",
                "05 00 fffb 00000000",
                "b4 00 0000 00000001",
                "05 00 fffb 00000000",
            ]
        );
    }
}

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
mod tests;

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

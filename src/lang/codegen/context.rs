//! What a probe's context holds: arguments, registers, what is returned.

use super::{Coder, Refusal, Result};
use crate::bytecode::{Reg, Size};
use crate::lang::ast::Expr;
use crate::lang::probe::Probe;
use crate::lang::source::Span;

/// Where registers are in the context of kprobes, uprobes and profiles (`struct pt_regs`).
#[cfg(target_arch = "x86_64")]
mod registers {
    pub(super) const ARGUMENTS: &[i16] = &[112, 104, 96, 88, 72, 64];
    pub(super) const RETURNED: i16 = 80;
    pub(super) const NAMES: &[(&str, i16)] = &[
        ("r15", 0),
        ("r14", 8),
        ("r13", 16),
        ("r12", 24),
        ("bp", 32),
        ("bx", 40),
        ("r11", 48),
        ("r10", 56),
        ("r9", 64),
        ("r8", 72),
        ("ax", 80),
        ("cx", 88),
        ("dx", 96),
        ("si", 104),
        ("di", 112),
        ("orig_ax", 120),
        ("ip", 128),
        ("pc", 128),
        ("cs", 136),
        ("flags", 144),
        ("sp", 152),
        ("ss", 160),
    ];
    /// The code segment's lowest bits: 3 in user mode.
    pub(super) const MODE: (i16, i32, i32) = (136, 3, 3);
    pub(super) const INSTRUCTION: i16 = 128;
}

/// `struct user_pt_regs`.
#[cfg(target_arch = "aarch64")]
mod registers {
    pub(super) const ARGUMENTS: &[i16] = &[0, 8, 16, 24, 32, 40, 48, 56];
    pub(super) const RETURNED: i16 = 0;
    pub(super) const NAMES: &[(&str, i16)] = &[
        ("r0", 0),
        ("r1", 8),
        ("r2", 16),
        ("r3", 24),
        ("r4", 32),
        ("r5", 40),
        ("r6", 48),
        ("r7", 56),
        ("r8", 64),
        ("r29", 232),
        ("r30", 240),
        ("sp", 248),
        ("pc", 256),
        ("pstate", 264),
    ];
    /// The exception level: 0 in user mode.
    pub(super) const MODE: (i16, i32, i32) = (264, 15, 0);
    pub(super) const INSTRUCTION: i16 = 256;
}

impl Coder<'_, '_> {
    /// `arg0` and so on.
    pub(super) fn argument(&mut self, number: u8, expr: &Expr) -> Result<()> {
        match self.attach() {
            Some(Probe::RawTracepoint { .. } | Probe::Fentry { .. } | Probe::FentryBpf { .. }) => {
                self.word_of_context(i16::from(number) * 8);
            }
            Some(
                Probe::Kprobe { at_return: false, .. } | Probe::Uprobe { at_return: false, .. },
            ) => {
                self.register_argument(number, expr.span)?;
            }
            Some(Probe::Usdt { .. }) => self.marked_argument(number, expr.span)?,
            _ => return Err(Refusal::new(expr.span, "this probe has no numbered arguments")),
        }
        Ok(())
    }

    /// An argument in a register, or on the stack behind the return address.
    pub(super) fn register_argument(&mut self, number: u8, span: Span) -> Result<()> {
        match registers::ARGUMENTS.get(usize::from(number)) {
            Some(&offset) => {
                self.word_of_context(offset);
                Ok(())
            }
            None => {
                let most = registers::ARGUMENTS.len();
                Err(Refusal::new(span, format!("arg{number} isn't in a register")).hint(format!(
                    "the first {most} arguments are; others lie on the stack: reg(\"sp\")"
                )))
            }
        }
    }

    /// `retval`.
    pub(super) fn returned(&mut self, expr: &Expr) -> Result<()> {
        match self.attach() {
            Some(Probe::Kprobe { at_return: true, .. } | Probe::Uprobe { at_return: true, .. }) => {
                self.word_of_context(registers::RETURNED);
            }
            Some(Probe::Fentry { at_return: true, module, function }) => {
                let kernel = self.unit.kernel;
                let structs = &mut self.unit.program.structs;
                let signature = kernel.function(module.as_deref(), function, structs);
                let behind = signature.map_or(0, |of| of.offsets(structs).1);
                self.word_of_context(behind as i16);
            }
            Some(Probe::FentryBpf { at_return: true, .. }) => {
                // How many arguments the kernel takes a program's function to have isn't known.
                let mark = self.machine.mark();
                let returned = self.machine.slot();
                self.machine.store(Size::DW, returned, 0);
                self.machine.context(Reg::R1);
                self.machine.address(Reg::R2, returned);
                self.machine.asm.call(libbpf_sys::BPF_FUNC_get_func_ret);
                self.machine.load(Size::DW, Reg::R0, returned);
                self.machine.release(mark);
            }
            _ => return Err(Refusal::new(expr.span, "this probe has no retval")),
        }
        if let Some(int) = expr.ty.int() {
            self.machine.extend(Reg::R0, int);
        }
        Ok(())
    }

    /// `reg("ip")`.
    pub(super) fn register(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let name = arguments.first().and_then(Expr::as_str).unwrap_or_default();
        self.register_named(name, span)
    }

    /// A register by its name in the context.
    pub(super) fn register_named(&mut self, name: &str, span: Span) -> Result<()> {
        let found = registers::NAMES.iter().find(|(known, _)| *known == name);
        match found {
            Some(&(_, offset)) => self.word_of_context(offset),
            None => {
                let names: Vec<&str> = registers::NAMES.iter().map(|(known, _)| *known).collect();
                let error = format!("'{name}' is not a valid register on this architecture");
                return Err(Refusal::new(span, error).hint(format!("one of {}", names.join(", "))));
            }
        }
        Ok(())
    }

    /// `usermode`: whether the process's own code was interrupted.
    pub(super) fn user_mode(&mut self) {
        if !self.has_registers() {
            // Nettrace itself runs these; the kernel's own code the others.
            let is_ours = matches!(
                self.attach(),
                Some(
                    Probe::Begin
                        | Probe::End
                        | Probe::SelfSignal(_)
                        | Probe::Test(_)
                        | Probe::Bench(_)
                )
            );
            self.machine.mov(Reg::R0, i32::from(is_ours));
            return;
        }
        let (offset, mask, user) = registers::MODE;
        self.word_of_context(offset);
        self.machine.alu(crate::bytecode::Alu::And, Reg::R0, mask);
        let (yes, end) = (self.machine.asm.label(), self.machine.asm.label());
        self.machine.jump_if(crate::bytecode::Cond::Eq, Reg::R0, user, yes);
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.jump(end);
        self.machine.asm.bind(yes);
        self.machine.mov(Reg::R0, 1);
        self.machine.asm.bind(end);
    }

    /// Whether the context is what registers were in.
    fn has_registers(&self) -> bool {
        matches!(
            self.attach(),
            Some(
                Probe::Kprobe { .. }
                    | Probe::Uprobe { .. }
                    | Probe::Usdt { .. }
                    | Probe::Interval(_)
                    | Probe::Profile(_)
                    | Probe::Software { .. }
                    | Probe::Hardware { .. }
                    | Probe::Watchpoint { .. }
            )
        )
    }

    /// Where the traced code is.
    pub(super) fn instruction_pointer(&mut self) {
        self.word_of_context(registers::INSTRUCTION);
    }

    fn word_of_context(&mut self, offset: i16) {
        self.machine.context(Reg::R1);
        self.machine.asm.load(Size::DW, Reg::R0, Reg::R1, offset);
    }
}

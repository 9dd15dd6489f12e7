//! Arguments of static tracepoints, which are elsewhere at each place of a probe; addresses of a file's symbols.

use libbpf_sys::{BPF_FUNC_get_attach_cookie, BPF_FUNC_probe_read_user};

use super::machine::size_of_word;
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Reg, Size};
use crate::lang::ast::Expr;
use crate::lang::elf::{self, Argument, Marker, Operand};
use crate::lang::probe::{Address, Probe};
use crate::lang::source::Span;
use crate::lang::types::Int;

impl Coder<'_, '_> {
    /// An argument of a marked place. Which of a probe's places was hit is said by the link's cookie.
    pub(super) fn marked_argument(&mut self, number: u8, span: Span) -> Result<()> {
        let markers = self.markers(span)?;
        let arguments: Vec<Option<&Argument>> = markers
            .iter()
            .map(|marker| marker.arguments.get(usize::from(number))?.as_ref())
            .collect();
        let Some(first) = arguments.first() else {
            return Err(Refusal::new(span, "the file has no such place any more"));
        };
        if arguments.iter().any(Option::is_none) {
            let most = markers.iter().map(|marker| marker.arguments.len()).min().unwrap_or(0);
            let refusal =
                Refusal::new(span, format!("this probe has no arg{number} that can be read"));
            return Err(refusal.hint(format!("it has {most} arguments")));
        }
        if arguments.iter().all(|argument| argument == first) {
            return first.map_or(Ok(()), |argument| self.operand(argument, span));
        }
        let end = self.machine.asm.label();
        self.machine.context(Reg::R1);
        self.machine.asm.call(BPF_FUNC_get_attach_cookie);
        let mark = self.machine.mark();
        let place = self.machine.hold();
        for (number, argument) in arguments.into_iter().flatten().enumerate() {
            let other = self.machine.asm.label();
            self.machine.take(place, Reg::R1);
            self.machine.jump_if(Cond::Ne, Reg::R1, number as i32, other);
            self.operand(argument, span)?;
            self.machine.asm.jump(end);
            self.machine.asm.bind(other);
        }
        self.machine.mov(Reg::R0, 0);
        self.machine.asm.bind(end);
        self.machine.release(mark);
        Ok(())
    }

    /// The places that the probe is at.
    fn markers(&self, span: Span) -> Result<Vec<Marker>> {
        let Some(Probe::Usdt { file, provider, event }) = self.attach() else {
            return Err(Refusal::new(span, "this probe isn't of a marked place"));
        };
        let found = elf::places_of(file, provider.as_deref(), event);
        found.map_err(|error| Refusal::new(span, error.to_string()))
    }

    /// An argument where it is, extended to 64 bits.
    fn operand(&mut self, argument: &Argument, span: Span) -> Result<()> {
        let int = Int { bits: argument.size as u8 * 8, signed: argument.signed };
        match &argument.operand {
            Operand::Constant(number) => self.machine.number(Reg::R0, number.cast_unsigned()),
            Operand::Register(name) => self.register_named(name, span)?,
            Operand::Memory { base, index, distance } => {
                let mark = self.machine.mark();
                if let Some((index, scale)) = index {
                    self.register_named(index, span)?;
                    self.machine.alu(Alu::Mul, Reg::R0, *scale as i32);
                    let added = self.machine.hold();
                    self.register_named(base, span)?;
                    self.machine.take(added, Reg::R1);
                    self.machine.alu(Alu::Add, Reg::R0, Reg::R1);
                } else {
                    self.register_named(base, span)?;
                }
                self.machine.mov(Reg::R3, Reg::R0);
                self.machine.number(Reg::R1, distance.cast_unsigned());
                self.machine.alu(Alu::Add, Reg::R3, Reg::R1);
                let room = self.machine.slot();
                self.machine.store(Size::DW, room, 0);
                self.machine.address(Reg::R1, room);
                self.machine.mov(Reg::R2, argument.size as i32);
                self.machine.asm.call(BPF_FUNC_probe_read_user);
                let size = size_of_word(argument.size).unwrap_or(Size::DW);
                self.machine.load(size, Reg::R0, room);
                self.machine.release(mark);
            }
        }
        self.machine.extend(Reg::R0, int);
        Ok(())
    }

    /// `uaddr("name")`: where a symbol of the probed file is in this process's memory.
    ///
    /// How far the file was moved when it was loaded is seen by where the probe was hit.
    pub(super) fn file_symbol(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let name = arguments.first().and_then(Expr::as_str).unwrap_or_default();
        let (file, at_return, at) = match self.attach() {
            Some(Probe::Uprobe { file, at_return, at, .. }) => (file, *at_return, Some(at)),
            Some(Probe::Usdt { file, .. }) => (file, false, None),
            _ => return Err(Refusal::new(span, "uaddr() needs a probe of the symbol's file")),
        };
        let open = elf::File::open(std::path::Path::new(&**file));
        let refused = |error: elf::ElfError| Refusal::new(span, error.to_string());
        let elf = open.map_err(refused)?;
        let missing = || Refusal::new(span, format!("Could not resolve symbol: {file}:{name}"));
        let (symbol, _) = elf.symbol(name).map_err(refused)?.ok_or_else(missing)?;
        if !elf.is_movable().map_err(refused)? {
            self.machine.number(Reg::R0, symbol);
            return Ok(());
        }
        let own = match at {
            Some(at @ (Address::Function { .. } | Address::Absolute(_))) if !at_return => {
                elf.address(at).map_err(refused)?
            }
            _ => {
                let refusal = Refusal::new(span, "where the file was loaded isn't known here");
                return Err(refusal.hint("uaddr() of a position-independent file needs a uprobe"));
            }
        };
        self.instruction_pointer();
        self.machine.number(Reg::R1, symbol.wrapping_sub(own));
        self.machine.alu(Alu::Add, Reg::R0, Reg::R1);
        Ok(())
    }
}

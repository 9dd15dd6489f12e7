//! Messages to user space: written where the ring has room for them, so that nothing is copied twice.

use std::borrow::Cow;

use libbpf_sys::{
    BPF_FUNC_ktime_get_boot_ns, BPF_FUNC_probe_read_kernel, BPF_FUNC_probe_read_user,
    BPF_FUNC_probe_read_user_str, BPF_FUNC_ringbuf_reserve, BPF_FUNC_ringbuf_submit,
};

use super::machine::{Held, Place};
use super::{Coder, Refusal, Result};
use crate::bytecode::{Alu, Cond, Operand, Reg, Size};
use crate::lang::ast::{Expr, ExprKind};
use crate::lang::functions::Function;
use crate::lang::program::{Action, Field, RuntimeError, Sink};
use crate::lang::source::Span;
use crate::lang::types::{Type, TypeSource};

/// Strings that join() takes at most.
const MOST_JOINED: u32 = 16;
/// Bytes of each.
const JOINED_SIZE: u32 = 1024;

impl Coder<'_, '_> {
    /// Sends so many bytes behind the action's number, which `fill` writes. One that finds no room is counted.
    pub(super) fn message(
        &mut self,
        action: u64,
        size: u32,
        fill: impl FnOnce(&mut Self, Place) -> Result<()>,
    ) -> Result<()> {
        let mark = self.machine.mark();
        let (full, end) = (self.machine.asm.label(), self.machine.asm.label());
        let ring = self.unit.ring();
        self.machine.asm.load_map(Reg::R1, ring as i32);
        self.machine.mov(Reg::R2, (8 + size) as i32);
        self.machine.mov(Reg::R3, 0);
        self.machine.asm.call(BPF_FUNC_ringbuf_reserve);
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, full);
        let message = self.held_place();
        self.machine.store(Size::DW, message, action as i32);
        fill(self, message)?;
        self.machine.address(Reg::R1, message);
        self.machine.mov(Reg::R2, 0);
        self.machine.asm.call(BPF_FUNC_ringbuf_submit);
        self.machine.asm.jump(end);
        self.machine.asm.bind(full);
        self.count_lost();
        self.machine.asm.bind(end);
        self.machine.release(mark);
        Ok(())
    }

    fn count_lost(&mut self) {
        let lost = self.unit.lost();
        let mark = self.machine.mark();
        let key = self.machine.slot();
        self.machine.store(Size::DW, key, 0);
        self.count_in_array(lost, key);
        self.machine.release(mark);
    }

    /// Tells that something failed; R0 is what the kernel said.
    pub(super) fn runtime_error(&mut self, error: RuntimeError, span: Span) {
        let mark = self.machine.mark();
        let code = self.machine.hold();
        let action = self.unit.action(Action::RuntimeError { error, span });
        let told = self.message(action, 8, |coder, message| {
            coder.machine.take(code, Reg::R1);
            coder.machine.store(Size::DW, message.at(8), Reg::R1);
            Ok(())
        });
        // Nothing in there can be refused.
        debug_assert!(told.is_ok());
        self.machine.release(mark);
    }

    /// printf() and its like.
    pub(super) fn formatted(
        &mut self,
        function: Function,
        arguments: &[Expr],
        span: Span,
    ) -> Result<()> {
        let sink = match function {
            Function::Printf => Sink::Printf,
            Function::Errorf => Sink::Errorf,
            Function::Warnf => Sink::Warnf,
            Function::System => Sink::System,
            Function::Cat => Sink::Cat,
            _ => return Err(self.unknown(function, span)),
        };
        let [Expr { kind: ExprKind::Str(format), .. }, values @ ..] = arguments else {
            return Err(Refusal::new(span, format!("{}() expects a format", function.name())));
        };
        let mut args = Vec::with_capacity(values.len());
        let mut size = 8;
        for value in values {
            let ty = printed_type(value).into_owned();
            let whole = self.size_of(&ty).next_multiple_of(8);
            args.push(Field { offset: size, ty });
            size += whole;
        }
        let offsets: Vec<u32> = args.iter().map(|field| field.offset).collect();
        let format = String::from_utf8_lossy(format).into_owned();
        let action = self.unit.action(Action::Formatted { sink, format, args, span });
        self.message(action, size - 8, |coder, message| {
            for (value, offset) in values.iter().zip(offsets) {
                coder.printed_into(value, message.at(offset))?;
            }
            Ok(())
        })
    }

    /// A value in a message; an aggregate as a number.
    fn printed_into(&mut self, value: &Expr, to: Place) -> Result<()> {
        if value.ty.aggregate().is_some() {
            self.scalar(value)?;
            self.machine.store(Size::DW, to, Reg::R0);
            return Ok(());
        }
        self.value_into(value, to)
    }

    /// print() of a map, an entry or a value.
    pub(super) fn print(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let value =
            arguments.first().ok_or_else(|| Refusal::new(span, "print() expects a value"))?;
        match &value.kind {
            ExprKind::Map { name, key: None } => {
                let map = self.map_number(name, value.span)?;
                let action = self.unit.action(Action::PrintMap(map));
                self.message(action, 16, |coder, message| {
                    for (index, offset) in [(1, 8), (2, 16)] {
                        match arguments.get(index) {
                            Some(number) => coder.scalar(number)?,
                            None => coder.machine.mov(Reg::R0, 0),
                        }
                        coder.machine.store(Size::DW, message.at(offset), Reg::R0);
                    }
                    Ok(())
                })
            }
            ExprKind::Map { name, key: Some(key) } if value.ty.aggregate().is_some() => {
                let map = self.map_number(name, value.span)?;
                let ty = self.key_type(map).unwrap_or_else(|| key.ty.clone());
                let size = self.size_of(&ty).next_multiple_of(8);
                let field = Field { offset: 8, ty: ty.clone() };
                let action = self.unit.action(Action::PrintEntry { map, key: field });
                self.message(action, size, |coder, message| {
                    coder.value_as_into(key, &ty, message.at(8))
                })
            }
            _ => {
                let size = self.size_of(&value.ty).next_multiple_of(8);
                let field = Field { offset: 8, ty: value.ty.clone() };
                let action = self.unit.action(Action::PrintValue(field));
                self.message(action, size, |coder, message| coder.value_into(value, message.at(8)))
            }
        }
    }

    fn key_type(&self, map: usize) -> Option<Type> {
        match &self.unit.program.maps[map].role {
            crate::lang::program::Role::User { key, .. } => key.clone(),
            _ => None,
        }
    }

    /// time(format).
    pub(super) fn time(&mut self, arguments: &[Expr]) -> Result<()> {
        let format = arguments.first().and_then(Expr::as_str).unwrap_or("%H:%M:%S\n").to_owned();
        let action = self.unit.action(Action::Time(format));
        self.message(action, 0, |_, _| Ok(()))
    }

    /// exit(code), which ends the probe too.
    pub(super) fn exit(&mut self, arguments: &[Expr]) -> Result<()> {
        let action = self.unit.action(Action::Exit);
        let mark = self.machine.mark();
        match arguments.first() {
            Some(code) => self.scalar(code)?,
            None => self.machine.mov(Reg::R0, 0),
        }
        let code = self.machine.hold();
        self.message(action, 8, |coder, message| {
            coder.machine.take(code, Reg::R1);
            coder.machine.store(Size::DW, message.at(8), Reg::R1);
            Ok(())
        })?;
        self.machine.release(mark);
        self.leave(None)
    }

    /// join(strings, separator): as many strings of an array as there are, up to a null.
    pub(super) fn join(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let [strings, rest @ ..] = arguments else {
            return Err(Refusal::new(span, "join() expects an array of strings"));
        };
        let separator = rest.first().and_then(Expr::as_str).unwrap_or(" ").to_owned();
        let action = Action::Join { separator, max: MOST_JOINED, size: JOINED_SIZE };
        let action = self.unit.action(action);
        let mark = self.machine.mark();
        self.scalar(strings)?;
        let array = self.machine.hold();
        let pointer = self.machine.slot();
        self.message(action, 8 + MOST_JOINED * JOINED_SIZE, |coder, message| {
            let end = coder.machine.asm.label();
            coder.machine.store(Size::DW, message.at(8), 0);
            for index in 0..MOST_JOINED {
                coder.machine.address(Reg::R1, pointer);
                coder.machine.mov(Reg::R2, 8);
                coder.machine.take(array, Reg::R3);
                coder.machine.alu(Alu::Add, Reg::R3, 8 * index as i32);
                coder.machine.asm.call(BPF_FUNC_probe_read_user);
                coder.machine.load(Size::DW, Reg::R3, pointer);
                coder.machine.jump_if(Cond::Eq, Reg::R3, 0, end);
                coder.machine.address(Reg::R1, message.at(16 + index * JOINED_SIZE));
                coder.machine.mov(Reg::R2, JOINED_SIZE as i32);
                coder.machine.asm.call(BPF_FUNC_probe_read_user_str);
                coder.machine.jump_if(Cond::Slt, Reg::R0, 0, end);
                coder.machine.store(Size::DW, message.at(8), index as i32 + 1);
            }
            coder.machine.asm.bind(end);
            Ok(())
        })?;
        self.machine.release(mark);
        Ok(())
    }
}

/// Bytes of a packet that skboutput() takes at most.
const LARGEST_PACKET: u32 = 4096;

impl Coder<'_, '_> {
    /// `skboutput(file, skb, length, offset)`: of the packet's beginning what isn't in fragments. Returns 0.
    pub(super) fn packet(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let [path, skb, length, offset] = arguments else {
            return Err(self.unknown(Function::Skboutput, span));
        };
        let (Some(path), Some(offset)) = (path.as_str(), offset.as_int()) else {
            return Err(Refusal::new(span, "skboutput() expects a file and an offset known now"));
        };
        let offset = u64::try_from(offset).unwrap_or_default();
        let action = self.unit.action(Action::Packet { path: path.to_owned(), offset });
        let mark = self.machine.mark();
        self.scalar(skb)?;
        let skb = self.machine.hold();
        let data = self.skb_field(skb, "data", span)?;
        let fragments = self.skb_field(skb, "data_len", span)?;
        let whole = self.skb_field(skb, "len", span)?;
        self.scalar(length)?;
        self.machine.load(Size::DW, Reg::R1, whole);
        self.machine.load(Size::DW, Reg::R2, fragments);
        self.machine.alu(Alu::Sub, Reg::R1, Reg::R2);
        for bound in [Operand::Reg(Reg::R1), Operand::Imm(LARGEST_PACKET as i32)] {
            let fits = self.machine.asm.label();
            self.machine.jump_if(Cond::Le, Reg::R0, bound, fits);
            self.machine.mov(Reg::R0, bound);
            self.machine.asm.bind(fits);
        }
        let length = self.machine.hold();
        self.message(action, 12 + LARGEST_PACKET, |coder, message| {
            coder.machine.asm.call(BPF_FUNC_ktime_get_boot_ns);
            coder.machine.store(Size::DW, message.at(8), Reg::R0);
            coder.machine.take(length, Reg::R2);
            coder.machine.store(Size::W, message.at(16), Reg::R2);
            coder.machine.load(Size::DW, Reg::R3, data);
            coder.machine.address(Reg::R1, message.at(20));
            coder.machine.asm.call(BPF_FUNC_probe_read_kernel);
            Ok(())
        })?;
        self.machine.mov(Reg::R0, 0);
        self.machine.release(mark);
        Ok(())
    }

    /// A field of a packet's head, read into a room of 8 bytes.
    fn skb_field(&mut self, skb: Held, name: &str, span: Span) -> Result<Place> {
        let kernel = self.unit.kernel;
        let structs = &mut self.unit.program.structs;
        let id = kernel.record("struct sk_buff", structs);
        let field = id.and_then(|id| structs.field(id, name, kernel));
        let Some(field) = field else { return Err(self.unknown(Function::Skboutput, span)) };
        let room = self.machine.slot();
        self.machine.store(Size::DW, room, 0);
        self.machine.take(skb, Reg::R3);
        self.machine.alu(Alu::Add, Reg::R3, field.offset as i32);
        self.machine.address(Reg::R1, room);
        self.machine.mov(Reg::R2, self.size_of(&field.ty) as i32);
        self.machine.asm.call(BPF_FUNC_probe_read_kernel);
        Ok(room)
    }
}

/// What user space reads an argument as.
fn printed_type(value: &Expr) -> Cow<'_, Type> {
    match value.ty.aggregate() {
        Some(aggregate) => {
            Cow::Owned(if aggregate.signed() == Some(true) { Type::I64 } else { Type::U64 })
        }
        None => Cow::Borrowed(&value.ty),
    }
}

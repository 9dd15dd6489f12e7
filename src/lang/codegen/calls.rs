//! Functions of the language, by whether their values fit a register.

use libbpf_sys::{
    BPF_FUNC_get_current_cgroup_id, BPF_FUNC_get_current_comm, BPF_FUNC_get_current_pid_tgid,
    BPF_FUNC_get_current_task, BPF_FUNC_get_current_uid_gid, BPF_FUNC_get_func_ip,
    BPF_FUNC_get_ns_current_pid_tgid, BPF_FUNC_get_numa_node_id, BPF_FUNC_get_prandom_u32,
    BPF_FUNC_get_smp_processor_id, BPF_FUNC_get_socket_cookie, BPF_FUNC_jiffies64,
    BPF_FUNC_ktime_get_boot_ns, BPF_FUNC_ktime_get_ns, BPF_FUNC_ktime_get_tai_ns,
    BPF_FUNC_override_return, BPF_FUNC_per_cpu_ptr, BPF_FUNC_probe_write_user,
    BPF_FUNC_send_signal, BPF_FUNC_send_signal_thread, BPF_FUNC_this_cpu_ptr,
    BPF_FUNC_trace_printk,
};

use super::access::Where;
use super::machine::Place;
use super::{Coder, Refusal, Result, known};
use crate::btf;
use crate::bytecode::{Alu, Cond, Reg, Size, Width};
use crate::lang::ast::{Expr, ExprKind};
use crate::lang::functions::Function;
use crate::lang::probe::Probe;
use crate::lang::program::{PROBED, Parameter};
use crate::lang::source::Span;
use crate::lang::types::{Clock, Type, TypeSource};

/// Address families as the socket calls number them.
const AF_INET: i32 = libc::AF_INET;
const AF_INET6: i32 = libc::AF_INET6;

impl Coder<'_, '_> {
    /// A function whose value, if any, fits R0.
    pub(super) fn function_scalar(
        &mut self,
        function: Function,
        arguments: &[Expr],
        expr: &Expr,
    ) -> Result<()> {
        use Function as F;
        let span = expr.span;
        match function {
            F::Pid | F::Tid => {
                let is_process = function == F::Pid;
                let of_first = |argument: &Expr| matches!(&argument.kind, ExprKind::Ident(word) if &**word == "init");
                if arguments.first().is_some_and(of_first) {
                    self.first_process(is_process);
                } else {
                    self.process(is_process);
                }
            }
            F::Uid => self.lower_half(BPF_FUNC_get_current_uid_gid),
            F::Username => self.lower_half(BPF_FUNC_get_current_uid_gid),
            F::Gid => self.upper_half(BPF_FUNC_get_current_uid_gid),
            F::Nsecs => self.nanoseconds(arguments),
            F::Elapsed => {
                self.machine.asm.call(BPF_FUNC_ktime_get_boot_ns);
                let start = self.unit.parameter(Parameter::Start);
                self.machine.load(Size::DW, Reg::R1, start);
                self.machine.alu(Alu::Sub, Reg::R0, Reg::R1);
            }
            F::Cpu => self.machine.asm.call(BPF_FUNC_get_smp_processor_id),
            F::Ncpus => {
                let cpus = self.unit.cpus();
                self.machine.mov(Reg::R0, cpus as i32);
            }
            F::Numaid => self.machine.asm.call(BPF_FUNC_get_numa_node_id),
            F::Cpid | F::HasCpid => {
                let child = self.unit.parameter(Parameter::Child);
                self.machine.load(Size::DW, Reg::R0, child);
                if function == F::HasCpid {
                    self.convert(&Type::U64, &Type::Bool);
                }
            }
            F::Cgroup => self.machine.asm.call(BPF_FUNC_get_current_cgroup_id),
            F::Curtask => self.machine.asm.call(BPF_FUNC_get_current_task),
            F::Rand => self.machine.asm.call(BPF_FUNC_get_prandom_u32),
            F::Jiffies => self.machine.asm.call(BPF_FUNC_jiffies64),
            F::Retval => self.returned(expr)?,
            F::Usermode => self.user_mode(),
            F::Func => self.traced_function(),
            F::Skboutput => self.packet(arguments, span)?,
            F::Ctx | F::Args => self.machine.context(Reg::R0),
            F::Reg => self.register(arguments, span)?,
            F::Kptr | F::Uptr | F::Ksym => self.scalar(first(arguments, span)?)?,
            F::Kaddr => {
                let address = known::kernel_symbol(first(arguments, span)?, span)?;
                self.machine.number(Reg::R0, address);
            }
            F::Uaddr => self.file_symbol(arguments, span)?,
            F::PercpuKaddr => self.per_cpu_address(arguments, span)?,
            F::Debugf => self.trace_pipe(arguments, span)?,
            F::Cgroupid => {
                let id = known::cgroup(first(arguments, span)?)?;
                self.machine.number(Reg::R0, id);
            }
            F::Bswap => self.swap(first(arguments, span)?)?,
            F::Signal => self.signal(BPF_FUNC_send_signal, arguments, span)?,
            F::SignalThread => self.signal(BPF_FUNC_send_signal_thread, arguments, span)?,
            F::Override => self.override_return(arguments, span)?,
            F::WriteUser => self.write_user(arguments, span)?,
            F::SocketCookie => {
                self.scalar(first(arguments, span)?)?;
                self.machine.mov(Reg::R1, Reg::R0);
                self.machine.asm.call(BPF_FUNC_get_socket_cookie);
            }
            F::Delete => self.delete(arguments, span, false)?,
            F::HasKey => self.has_key(arguments, span)?,
            F::Find => self.find(arguments, span)?,
            F::Clear | F::Zero => self.map_action(function, arguments, span)?,
            F::Len => self.len(arguments, span)?,
            F::Printf | F::Errorf | F::Warnf | F::System | F::Cat => {
                self.formatted(function, arguments, span)?;
            }
            F::Print => self.print(arguments, span)?,
            F::Time => self.time(arguments)?,
            F::Exit => self.exit(arguments)?,
            F::Join => self.join(arguments, span)?,
            F::Strncmp | F::Memcmp => self.compare_first(function, arguments, span)?,
            F::Strlen => self.string_length(first(arguments, span)?)?,
            F::Strstr | F::Strcontains => self.search(function, arguments, span)?,
            _ => return Err(self.unknown(function, span)),
        }
        Ok(())
    }

    /// A function whose value is memory.
    pub(super) fn function_into(
        &mut self,
        function: Function,
        arguments: &[Expr],
        expr: &Expr,
        to: Place,
    ) -> Result<()> {
        use Function as F;
        let span = expr.span;
        match (function, &expr.ty) {
            (F::Comm, _) if arguments.is_empty() => {
                // Linux 6.1 leaves what is behind the name as it was, and keys would differ by it.
                self.machine.zero(to, 16);
                self.machine.address(Reg::R1, to);
                self.machine.mov(Reg::R2, 16);
                self.machine.asm.call(BPF_FUNC_get_current_comm);
            }
            (F::Comm, _) => self.comm_of(first(arguments, span)?, span, to)?,
            (F::Kstack | F::Ustack, Type::KStack(stack) | Type::UStack(stack)) => {
                self.stack_into(expr, *stack, to)?;
            }
            (F::Probe, _) => {
                let name = self.probe.attach_points.first().map(|at| at.name.to_string());
                self.text_into(&name.unwrap_or_default(), &expr.ty, to);
            }
            (F::Probetype, _) => {
                let name = self.attach().map_or("", Probe::provider);
                self.text_into(name, &expr.ty, to);
            }
            (F::Str, _) => {
                self.string_from(first(arguments, span)?, arguments.get(1), &expr.ty, to)?;
            }
            (F::Buf, _) => self.buffer_from(arguments, &expr.ty, span, to)?,
            (F::StrConcat, _) => self.concatenate(arguments, &expr.ty, span, to)?,
            (F::Pton, _) => {
                let bytes = known::address(first(arguments, span)?)?;
                self.machine.write(to, &bytes);
            }
            (F::Ntop, _) => {
                let (family, address) = match arguments {
                    [family, address] => (Some(family), address),
                    [address] => (None, address),
                    _ => return Err(self.unknown(function, span)),
                };
                self.address_into(family, address, to)?;
            }
            (F::Macaddr, _) => self.bytes_from(first(arguments, span)?, 6, to)?,
            (F::Usym, _) => {
                self.scalar(first(arguments, span)?)?;
                self.user_symbol(to, 0);
            }
            (F::Func, _) => {
                match self.attach() {
                    // The instruction is the one that is returned to.
                    Some(Probe::Uprobe { at_return: true, .. }) => self.traced_function(),
                    _ => self.instruction_pointer(),
                }
                self.user_symbol(to, PROBED);
            }
            (F::Strftime, _) => self.timestamp_into(arguments, span, to)?,
            (F::CgroupPath, _) => {
                let pattern =
                    arguments.get(1).and_then(Expr::as_str).unwrap_or_default().to_owned();
                self.scalar(first(arguments, span)?)?;
                self.machine.store(Size::DW, to.at(8), Reg::R0);
                let pattern = self.unit.format(&pattern);
                self.machine.store_number(Size::DW, to, pattern);
            }
            (F::Path, _) => self.path_into(first(arguments, span)?, &expr.ty, span, to)?,
            (F::Strerror | F::SignalName | F::SyscallName, _) => {
                self.name_into(function, first(arguments, span)?, &expr.ty, to)?;
            }
            _ => return Err(self.unknown(function, span)),
        }
        Ok(())
    }

    fn text_into(&mut self, text: &str, ty: &Type, to: Place) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(self.size_of(ty) as usize, 0);
        if bytes.len() > 64 {
            let from = self.unit.constant(&bytes);
            self.machine.copy(to, from, bytes.len() as u32);
        } else {
            self.machine.write(to, &bytes);
        }
    }

    fn lower_half(&mut self, helper: u32) {
        self.machine.asm.call(helper);
        self.machine.asm.alu(Width::W32, Alu::Mov, Reg::R0, Reg::R0);
    }

    fn upper_half(&mut self, helper: u32) {
        self.machine.asm.call(helper);
        self.machine.alu(Alu::Rsh, Reg::R0, 32);
    }

    /// `pid`, or `tid`: in the namespace of who asks, if that isn't the first one.
    pub(super) fn process(&mut self, is_process: bool) {
        let Some((device, inode)) = self.unit.options.pid_namespace else {
            return self.first_process(is_process);
        };
        let mark = self.machine.mark();
        let ids = self.machine.room(8);
        self.machine.number(Reg::R1, device);
        self.machine.number(Reg::R2, inode);
        self.machine.store(Size::DW, ids, 0);
        self.machine.address(Reg::R3, ids);
        self.machine.mov(Reg::R4, 8);
        self.machine.asm.call(BPF_FUNC_get_ns_current_pid_tgid);
        // struct bpf_pidns_info: the thread, then the process.
        self.machine.load(Size::W, Reg::R0, ids.at(if is_process { 4 } else { 0 }));
        self.machine.release(mark);
    }

    /// The same in the first namespace.
    fn first_process(&mut self, is_process: bool) {
        if is_process {
            self.upper_half(BPF_FUNC_get_current_pid_tgid);
        } else {
            self.lower_half(BPF_FUNC_get_current_pid_tgid);
        }
    }

    fn nanoseconds(&mut self, arguments: &[Expr]) {
        let clock = match arguments.first().map(|argument| &argument.ty) {
            Some(Type::TimestampMode(clock)) => *clock,
            _ => Clock::Boot,
        };
        self.clock(clock);
    }

    fn clock(&mut self, clock: Clock) {
        match clock {
            Clock::Boot => self.machine.asm.call(BPF_FUNC_ktime_get_boot_ns),
            Clock::Monotonic => self.machine.asm.call(BPF_FUNC_ktime_get_ns),
            Clock::Tai => self.machine.asm.call(BPF_FUNC_ktime_get_tai_ns),
            Clock::SoftwareTai => self.tai_by_offset(),
        }
    }

    /// `comm(pid)`: empty if there is no such process.
    fn comm_of(&mut self, pid: &Expr, span: Span, to: Place) -> Result<()> {
        let kfuncs = (self.unit.kfunc("bpf_task_from_pid"), self.unit.kfunc("bpf_task_release"));
        let (Some(find), Some(release)) = kfuncs else {
            return Err(Refusal::missing(span, "comm() of another process, on this kernel,"));
        };
        let kernel = self.unit.kernel;
        let structs = &mut self.unit.program.structs;
        let task = kernel.record("struct task_struct", structs);
        let field = task.and_then(|task| structs.field(task, "comm", kernel));
        let Some(field) = field else { return Err(self.unknown(Function::Comm, span)) };
        self.machine.zero(to, 16);
        self.scalar(pid)?;
        self.machine.mov(Reg::R1, Reg::R0);
        self.machine.asm.call_kfunc(find);
        let none = self.machine.asm.label();
        self.machine.jump_if(Cond::Eq, Reg::R0, 0, none);
        let mark = self.machine.mark();
        let task = self.machine.hold();
        self.machine.address(Reg::R1, to);
        self.machine.mov(Reg::R2, 16);
        self.machine.take(task, Reg::R3);
        self.machine.alu(Alu::Add, Reg::R3, field.offset as i32);
        self.machine.asm.call(libbpf_sys::BPF_FUNC_probe_read_kernel_str);
        self.machine.take(task, Reg::R1);
        self.machine.asm.call_kfunc(release);
        self.machine.release(mark);
        self.machine.asm.bind(none);
        Ok(())
    }

    /// `func` of the kernel: where the probe is.
    fn traced_function(&mut self) {
        self.machine.context(Reg::R1);
        self.machine.asm.call(BPF_FUNC_get_func_ip);
    }

    /// R0 as an address of the current process, and which process that is.
    fn user_symbol(&mut self, to: Place, mark: u32) {
        self.machine.store(Size::DW, to, Reg::R0);
        self.process(true);
        self.machine.store(Size::W, to.at(8), Reg::R0);
        let place = (self.place as u32 | mark).cast_signed();
        self.machine.store(Size::W, to.at(12), place);
    }

    /// `percpu_kaddr("name", cpu)`: of a CPU that isn't there, 0.
    fn per_cpu_address(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let name = first(arguments, span)?;
        let wanted = name.as_str().unwrap_or_default();
        let is_variable = |kind| matches!(kind, btf::Kind::Variable(_));
        let variable = self.unit.kernel.btf().and_then(|btf| btf.find(wanted, is_variable));
        let variable = variable.ok_or_else(|| {
            Refusal::new(name.span, format!("the kernel's types have no variable {wanted}"))
        })?;
        match arguments.get(1) {
            Some(cpu) => {
                self.scalar(cpu)?;
                self.machine.mov(Reg::R2, Reg::R0);
                self.machine.asm.load_variable(Reg::R1, variable);
                self.machine.asm.call(BPF_FUNC_per_cpu_ptr);
                // Neither branch does anything, but behind them it is one or the other.
                let known = self.machine.asm.label();
                self.machine.jump_if(Cond::Eq, Reg::R0, 0, known);
                self.machine.asm.bind(known);
            }
            None => {
                self.machine.asm.load_variable(Reg::R1, variable);
                self.machine.asm.call(BPF_FUNC_this_cpu_ptr);
            }
        }
        Ok(())
    }

    /// `debugf()`: up to three values, into the kernel's trace_pipe.
    fn trace_pipe(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let [Expr { kind: ExprKind::Str(format), .. }, values @ ..] = arguments else {
            return Err(Refusal::new(span, "debugf() expects a format"));
        };
        let registers = [Reg::R3, Reg::R4, Reg::R5];
        if values.len() > registers.len() {
            return Err(Refusal::new(span, "debugf() takes three values at most"));
        }
        let mut held = Vec::with_capacity(values.len());
        for value in values {
            if value.ty.is_in_memory() {
                let place = self.place_of(value)?;
                self.machine.address(Reg::R0, place);
            } else {
                self.scalar(value)?;
            }
            held.push(self.machine.hold());
        }
        let mut text = format.clone();
        text.push(0);
        let place = self.unit.constant(&text);
        self.machine.address(Reg::R1, place);
        self.machine.mov(Reg::R2, text.len() as i32);
        for (value, register) in held.into_iter().zip(registers) {
            self.machine.take(value, register);
        }
        self.machine.asm.call(BPF_FUNC_trace_printk);
        Ok(())
    }

    fn swap(&mut self, value: &Expr) -> Result<()> {
        self.scalar(value)?;
        let size = match self.size_of(&value.ty) {
            1 => return Ok(()),
            2 => Size::H,
            4 => Size::W,
            _ => Size::DW,
        };
        // The machine's order is little endian on all that nettrace runs on.
        self.machine.asm.swap_be(size, Reg::R0);
        Ok(())
    }

    fn signal(&mut self, helper: u32, arguments: &[Expr], span: Span) -> Result<()> {
        let signal = first(arguments, span)?;
        match signal.as_str() {
            Some(name) => {
                let number = known::signal(name).ok_or_else(|| {
                    Refusal::new(signal.span, format!("{name} is not a valid signal"))
                })?;
                self.machine.mov(Reg::R1, number);
            }
            None => {
                self.scalar(signal)?;
                self.machine.mov(Reg::R1, Reg::R0);
            }
        }
        self.machine.asm.call(helper);
        Ok(())
    }

    fn override_return(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        self.scalar(first(arguments, span)?)?;
        self.machine.mov(Reg::R2, Reg::R0);
        self.machine.context(Reg::R1);
        self.machine.asm.call(BPF_FUNC_override_return);
        Ok(())
    }

    /// `write_user(address, bytes, length)`.
    fn write_user(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let [address, value, length] = arguments else {
            return Err(self.unknown(Function::WriteUser, span));
        };
        let Some(length) = length.as_int() else {
            return Err(Refusal::missing(length.span, "a length that isn't known now"));
        };
        self.scalar(address)?;
        let held = self.machine.hold();
        let from = self.place_of(value)?;
        self.machine.take(held, Reg::R1);
        self.machine.address(Reg::R2, from);
        self.machine.mov(Reg::R3, length as i32);
        self.machine.asm.call(BPF_FUNC_probe_write_user);
        Ok(())
    }

    fn len(&mut self, arguments: &[Expr], span: Span) -> Result<()> {
        let of = first(arguments, span)?;
        match (&of.kind, &of.ty) {
            (_, Type::KStack(_) | Type::UStack(_)) => {
                let place = self.place_of(of)?;
                self.machine.load(Size::DW, Reg::R0, place.at(8));
                Ok(())
            }
            (ExprKind::Map { name, key: None }, _) => self.map_len(name, span),
            _ => Err(Refusal::missing(span, format_args!("len() of {}", of.ty.kind()))),
        }
    }

    /// Memory of a known length: an array, or what an address points to.
    pub(super) fn bytes_from(&mut self, of: &Expr, size: u32, to: Place) -> Result<()> {
        let from = match &of.ty {
            Type::Pointer(pointer) => {
                let space = pointer.space;
                self.scalar(of)?;
                Where::Memory(space, 0)
            }
            ty if ty.is_in_memory() => self.locate(of)?,
            _ => {
                self.scalar(of)?;
                Where::Memory(self.space(&of.ty), 0)
            }
        };
        self.read_into(from, to, size, of.span)
    }

    /// ntop(): the family, and the address's bytes.
    pub(super) fn address_into(
        &mut self,
        family: Option<&Expr>,
        address: &Expr,
        to: Place,
    ) -> Result<()> {
        let in_memory = matches!(address.ty, Type::Array(..) | Type::String(_) | Type::Struct(_));
        self.machine.zero(to, 24);
        match family {
            Some(family) => {
                self.scalar(family)?;
                self.machine.store(Size::DW, to, Reg::R0);
            }
            None => {
                let is_six = in_memory && self.size_of(&address.ty) == 16;
                self.machine.store(Size::DW, to, if is_six { AF_INET6 } else { AF_INET });
            }
        }
        if in_memory {
            let size = self.size_of(&address.ty).min(16);
            return self.bytes_from(address, size, to.at(8));
        }
        self.scalar(address)?;
        self.machine.store(Size::W, to.at(8), Reg::R0);
        Ok(())
    }

    /// strftime(format, time).
    fn timestamp_into(&mut self, arguments: &[Expr], span: Span, to: Place) -> Result<()> {
        let [format, time] = arguments else {
            return Err(self.unknown(Function::Strftime, span));
        };
        let clock = clock_of(time);
        let format = self.unit.format(format.as_str().unwrap_or_default());
        self.scalar(time)?;
        self.machine.store(Size::DW, to.at(8), Reg::R0);
        self.machine.store(Size::W, to, format as i32);
        self.machine.store(Size::W, to.at(4), clock as i32);
        Ok(())
    }

    /// The text for a number: an error, a signal, a system call.
    fn name_into(&mut self, function: Function, number: &Expr, ty: &Type, to: Place) -> Result<()> {
        let size = self.size_of(ty);
        let names = known::names(function);
        let width = names.iter().map(|name| name.len() as u32 + 1).max().unwrap_or(1).min(size);
        let width = width.next_multiple_of(8);
        let mut table = Vec::with_capacity(names.len() * width as usize);
        for name in &names {
            let mut entry = name.as_bytes().to_vec();
            entry.truncate(width as usize - 1);
            entry.resize(width as usize, 0);
            table.extend(entry);
        }
        let table = self.unit.constant(&table);
        self.machine.zero(to, size);
        self.scalar(number)?;
        let (known, end) = (self.machine.asm.label(), self.machine.asm.label());
        if function == Function::Strerror {
            // What a system call returns will do too.
            let is_positive = self.machine.asm.label();
            self.machine.jump_if(Cond::Sge, Reg::R0, 0, is_positive);
            self.machine.asm.neg(Width::W64, Reg::R0);
            self.machine.asm.bind(is_positive);
        }
        self.machine.jump_if(Cond::Lt, Reg::R0, names.len() as i32, known);
        self.machine.write(to, known::unknown(function).as_bytes());
        self.machine.asm.jump(end);
        self.machine.asm.bind(known);
        self.machine.alu(Alu::Mul, Reg::R0, width as i32);
        self.machine.address(Reg::R1, table);
        self.machine.alu(Alu::Add, Reg::R0, Reg::R1);
        let from = self.held_place();
        self.machine.copy(to, from, width.min(size));
        self.machine.asm.bind(end);
        Ok(())
    }
}

fn first(arguments: &[Expr], span: Span) -> Result<&Expr> {
    arguments.first().ok_or_else(|| Refusal::new(span, "an argument is missing"))
}

/// The clock that a time was read by.
fn clock_of(time: &Expr) -> Clock {
    match &time.kind {
        ExprKind::Function { function: Function::Nsecs, arguments } => {
            match arguments.first().map(|argument| &argument.ty) {
                Some(Type::TimestampMode(clock)) => *clock,
                _ => Clock::Boot,
            }
        }
        ExprKind::Cast { of, .. } => clock_of(of),
        _ => Clock::Boot,
    }
}

//! Functions of the language: what they take and what they give.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::super::ast::*;
use super::super::super::config::Unstable;
use super::super::super::functions::Function;
use super::super::super::source::Span;
use super::super::super::types::{
    AddressSpace, Clock, Int, Name, Stack, StackMode, Type, TypeSource,
};
use super::spec::FRAMES;
use super::{Place, Typer};

mod check;
mod maps;

/// The length of a process's name, with its NUL.
const COMM: u32 = 16;

/// The length of names and texts of errors, signals and system calls.
const TEXT: u32 = 64;

/// The length of what `str_concat` makes.
const CONCATENATED: u32 = 1024;

/// The most frames of a stack.
const MOST_FRAMES: i128 = 127;

impl Typer<'_, '_> {
    /// A call of a function of the language, or one of its variables.
    pub(super) fn function(&mut self, expr: &mut Expr) -> Type {
        let span = expr.span;
        let ExprKind::Function { function, arguments } = &mut expr.kind else { return Type::None };
        let function = *function;
        if function.is_aggregation() {
            let name = function.name();
            self.error(span, format!("{name}() must be assigned directly to a map"));
            return Type::None;
        }
        match function {
            Function::Probe | Function::Probetype => {
                return self.place_text(expr, function);
            }
            Function::IsLiteral
            | Function::IsScalar
            | Function::KfuncExist
            | Function::KfuncAllowed => {
                return self.known_function(expr);
            }
            Function::Kstack | Function::Ustack | Function::DwUstack => {
                return self.stack(function, arguments, span);
            }
            Function::Nsecs => return self.nsecs(arguments, span),
            Function::Pid | Function::Tid => return self.id(function, arguments),
            Function::Print => return self.print(arguments, span),
            Function::Clear | Function::Zero => return self.whole_map(function, arguments, span),
            Function::Len => return self.len(arguments, span),
            Function::Delete | Function::HasKey | Function::Find => {
                return self.map_function(function, arguments, span);
            }
            _ => {}
        }
        for (at, argument) in arguments.iter_mut().enumerate() {
            // A format isn't a value, and may be as long as it likes.
            if let (ExprKind::Str(format), 0, true) = (&argument.kind, at, function.is_formatted())
            {
                argument.ty = Type::String(format.len() as u32 + 1);
                continue;
            }
            self.expr(argument);
            if function != Function::Strftime {
                self.read(argument);
            }
        }
        let is_known = arguments.iter().all(|argument| !argument.ty.is_none());
        if is_known && let Err(message) = self.check(function, arguments) {
            self.error(span, message);
        }
        self.result(function, arguments, span)
    }

    /// What a function gives.
    fn result(&mut self, function: Function, arguments: &mut [Expr], span: Span) -> Type {
        let max_strlen = u32::try_from(self.context.config.max_strlen).unwrap_or(u32::MAX);
        let first = arguments.first().map(|argument| argument.ty.clone()).unwrap_or_default();
        match function {
            Function::Args => self.arguments(span),
            Function::Ctx => self.ctx(),
            Function::Retval => self.retval(span),
            Function::Func => self.func(span),
            Function::Curtask => {
                let structs = &mut self.context.structs;
                let task = self.context.kernel.record("struct task_struct", structs);
                let task = task.map_or(Type::Void, Type::Struct);
                task.pointer(AddressSpace::Kernel)
            }
            Function::Uid
            | Function::Gid
            | Function::Elapsed
            | Function::Cpu
            | Function::Ncpus
            | Function::Cpid
            | Function::Cgroup
            | Function::Cgroupid
            | Function::Jiffies
            | Function::Numaid
            | Function::Reg
            | Function::Kaddr
            | Function::PercpuKaddr
            | Function::SocketCookie
            | Function::Strncmp
            | Function::Strlen => Type::U64,
            Function::Rand | Function::Skboutput => Type::U32,
            Function::Memcmp => Type::Int(Int::I32),
            Function::Usermode => Type::Int(Int::U8),
            Function::HasCpid
            | Function::Strcontains
            | Function::ElfIsExe
            | Function::WriteUser => Type::Bool,
            Function::Strstr => Type::I64,
            Function::Comm => Type::String(COMM),
            Function::Strerror | Function::SignalName | Function::SyscallName => Type::String(TEXT),
            Function::StrConcat => Type::String(CONCATENATED.min(max_strlen)),
            Function::Str => self.str(arguments, max_strlen, span),
            Function::Buf => buffer(arguments, self.size(&first), max_strlen),
            Function::Path => {
                let size = arguments.get(1).and_then(Expr::as_int);
                Type::String(size.and_then(|size| u32::try_from(size).ok()).unwrap_or(max_strlen))
            }
            Function::Bswap => match first.int() {
                Some(int) => Type::Int(Int { signed: false, ..int }),
                None => Type::None,
            },
            Function::Kptr => in_space(first, AddressSpace::Kernel),
            Function::Uptr => in_space(first, AddressSpace::User),
            Function::Uaddr => self.symbol_pointer(arguments.first()),
            Function::UsdtArg => Type::U64.pointer(AddressSpace::User),
            Function::Ksym => Type::KSym,
            Function::Usym => Type::USym,
            Function::Username => Type::Username,
            Function::Macaddr => Type::MacAddress,
            Function::Ntop => Type::Inet,
            Function::Pton => pton(arguments).unwrap_or_default(),
            Function::CgroupPath => Type::CgroupPath,
            Function::Strftime => Type::Timestamp,
            _ => Type::Void,
        }
    }

    fn str(&mut self, arguments: &[Expr], max_strlen: u32, span: Span) -> Type {
        let Some(length) = arguments.get(1).and_then(Expr::as_int) else {
            return Type::String(max_strlen);
        };
        if length < 0 {
            self.error(span, format!("str cannot use negative length ({length})"));
        }
        let size = u32::try_from(length.saturating_add(1)).unwrap_or(u32::MAX);
        if size > max_strlen {
            let message = format!(
                "length param ({length}) is too long and will be shortened to {max_strlen} bytes \
                 (see BPFTRACE_MAX_STRLEN)"
            );
            self.warn(span, message);
        }
        Type::String(size.min(max_strlen))
    }

    /// `kstack`, `kstack(perf)`, `kstack(3)`, `kstack(perf, 3)`.
    fn stack(&mut self, function: Function, arguments: &[Expr], span: Span) -> Type {
        let mut stack = Stack { mode: self.context.config.stack_mode, limit: FRAMES };
        let name = function.name();
        for argument in arguments {
            match &argument.kind {
                ExprKind::Ident(word) => match StackMode::named(word) {
                    Some(mode) => stack.mode = mode,
                    None => {
                        let message = format!("Invalid value for stack_mode: {word}");
                        self.error(argument.span, message);
                    }
                },
                ExprKind::Int(limit) if *limit > MOST_FRAMES => {
                    let message = format!(
                        "{name}([int limit]): limit shouldn't exceed {MOST_FRAMES}, {limit} given"
                    );
                    self.error(span, message);
                }
                ExprKind::Int(limit) if *limit > 0 => stack.limit = *limit as u16,
                _ => {
                    let message = format!("{name}: invalid limit value");
                    self.error(argument.span, message);
                }
            }
        }
        if function == Function::DwUstack
            && self.context.config.unstable_dw_ustack != Unstable::Enable
        {
            self.warn(
                Span::NOWHERE,
                "dw_ustack is an unstable feature. Set the config flag to suppress this \
                             warning: unstable_dw_ustack=enable",
            );
        }
        if function != Function::Kstack {
            return Type::UStack(stack);
        }
        if stack.mode == StackMode::BuildId {
            self.warn(
                span,
                "'build_id' stack mode can only be used for ustack. Falling back to 'raw' mode.",
            );
            stack.mode = StackMode::Raw;
        }
        Type::KStack(stack)
    }

    fn nsecs(&mut self, arguments: &mut [Expr], span: Span) -> Type {
        if let Some(argument) = arguments.first_mut() {
            let clock = match &argument.kind {
                ExprKind::Ident(word) => clock(word),
                _ => None,
            };
            match clock {
                Some(clock) => argument.ty = Type::TimestampMode(clock),
                None => {
                    let word = self.context.sources.text(argument.span).to_owned();
                    self.error(span, format!("Invalid timestamp mode: {word}"));
                }
            }
        }
        Type::U64
    }

    fn id(&mut self, function: Function, arguments: &[Expr]) -> Type {
        if let Some(argument) = arguments.first() {
            let is_word = matches!(&argument.kind,
                ExprKind::Ident(word) if matches!(&**word, "init" | "curr_ns"));
            if !is_word {
                let name = function.name();
                let message = format!("{name}() only supports curr_ns and init as the argument");
                self.error(argument.span, message);
            }
        }
        Type::U32
    }

    /// `probe` and `probetype` are strings of the place.
    fn place_text(&mut self, expr: &mut Expr, function: Function) -> Type {
        let text: Name = match function {
            Function::Probe => self.place_name.clone(),
            _ => self.place.as_ref().map_or("", Place::kind).into(),
        };
        let ty = Type::String(text.len() as u32 + 1);
        // Where one program is attached to many places, each says its own.
        if self.is_final && !text.contains('*') {
            expr.kind = ExprKind::Str(text.as_bytes().to_vec());
        }
        ty
    }

    fn known_function(&mut self, expr: &mut Expr) -> Type {
        if let ExprKind::Function { arguments, .. } = &mut expr.kind {
            for argument in arguments.iter_mut() {
                if !matches!(argument.kind, ExprKind::Map { key: None, .. }) {
                    self.expr(argument);
                }
            }
        }
        let literal = self.literal(expr);
        match literal {
            Some(literal) if self.is_final => *expr = Expr { span: expr.span, ..literal },
            Some(_) => {}
            None => self.error(expr.span, "Unable to evaluate at compile time."),
        }
        Type::Bool
    }

    /// A call of one of the script's functions.
    pub(super) fn subprogram(&mut self, name: &Name, arguments: &mut [Expr], span: Span) -> Type {
        for argument in arguments.iter_mut() {
            self.expr(argument);
            self.read(argument);
        }
        let Some((returns, takes)) = self.functions.get(name).cloned() else {
            self.error(span, format!("Unknown function: '{name}'"));
            return Type::None;
        };
        if takes.len() != arguments.len() {
            let (wanted, given) = (takes.len(), arguments.len());
            let message =
                format!("Function `{name}` requires {wanted} arguments, got only {given}");
            self.error(span, message);
        }
        for (argument, wanted) in arguments.iter_mut().zip(&takes) {
            if !self.coerce(argument, wanted) {
                let (wanted, given) = (self.shown(wanted), self.shown(&argument.ty));
                self.error(argument.span, format!("Expected {wanted} got {given}"));
            }
        }
        returns
    }
}

fn buffer(arguments: &[Expr], array: Option<u32>, max_strlen: u32) -> Type {
    let most = max_strlen.saturating_sub(4);
    let wanted = match arguments {
        [Expr { ty: Type::Array(..), .. }] => array,
        [_, length] => length.as_int().and_then(|length| u32::try_from(length).ok()),
        _ => None,
    };
    Type::Buffer(wanted.unwrap_or(most).min(most))
}

/// The bytes of an address in text.
fn pton(arguments: &[Expr]) -> Result<Type, String> {
    let Some(text) = arguments.first().and_then(Expr::as_str) else {
        return Err("pton() expects an string literal at the first argument".to_owned());
    };
    let length = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 4,
        Ok(IpAddr::V6(_)) => 16,
        Err(_) if text.contains(['.', ':']) => {
            return Err(format!("pton() expects a valid IPv4/IPv6 address, got {text}"));
        }
        Err(_) => {
            return Err(format!(
                "pton() expects an string argument of an IPv4/IPv6 address, got {text}"
            ));
        }
    };
    Ok(Type::Array(Arc::new(Type::Int(Int::U8)), length))
}

/// A pointer in another space; an integer becomes one to a word.
fn in_space(ty: Type, space: AddressSpace) -> Type {
    match ty {
        Type::None => Type::None,
        Type::Pointer(mut pointer) => {
            pointer.space = space;
            Type::Pointer(pointer)
        }
        _ => Type::U64.pointer(space),
    }
}

fn clock(word: &str) -> Option<Clock> {
    Some(match word {
        "boot" => Clock::Boot,
        "monotonic" => Clock::Monotonic,
        "tai" => Clock::Tai,
        "sw_tai" => Clock::SoftwareTai,
        _ => return None,
    })
}

/// The clock of `nsecs(…)`, if an expression is that.
pub(super) fn clock_of(time: &Expr) -> Option<Clock> {
    match &time.kind {
        ExprKind::Function { function: Function::Nsecs, arguments } => {
            match arguments.first().map(|argument| &argument.ty) {
                Some(Type::TimestampMode(clock)) => Some(*clock),
                _ => Some(Clock::Boot),
            }
        }
        ExprKind::Cast { of, .. } => clock_of(of),
        _ => None,
    }
}

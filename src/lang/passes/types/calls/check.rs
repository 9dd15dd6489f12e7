//! What functions take.

use super::*;

impl Typer<'_, '_> {
    /// What is wrong with a function's arguments.
    pub(super) fn check(
        &mut self,
        function: Function,
        arguments: &mut [Expr],
    ) -> Result<(), String> {
        let name = function.name();
        let given =
            |at: usize| arguments.get(at).map(|argument| argument.ty.clone()).unwrap_or_default();
        let kind = |at: usize| given(at).kind();
        match function {
            _ if function.is_formatted() => return self.formatted(function, arguments),
            Function::Str
                if !matches!(
                    given(0),
                    Type::String(_)
                        | Type::Int(_)
                        | Type::Enum(..)
                        | Type::Pointer(_)
                        | Type::Array(..)
                ) =>
            {
                let shown = self.shown(&given(0));
                return Err(format!(
                    "{name}() expects a string, integer or a pointer type as first argument \
                     ({shown} provided)"
                ));
            }
            Function::Buf => return check_buf(arguments),
            Function::Ksym | Function::Usym
                if !given(0).is_int() && !matches!(given(0), Type::Pointer(_)) =>
            {
                return Err(format!("{name}() expects an integer or pointer argument"));
            }
            Function::Ntop => {
                let at = arguments.len() - 1;
                let ty = given(at);
                if !ty.is_int() && !matches!(ty, Type::String(_) | Type::Array(..)) {
                    return Err(format!(
                        "{name}() expects an integer or array argument, got {}",
                        kind(at)
                    ));
                }
                if !ty.is_int() && !matches!(self.size(&ty), Some(4 | 16)) {
                    return Err(format!("{name}() argument must be 4 or 16 bytes in size"));
                }
            }
            Function::Pton => return pton(arguments).map(|_| ()),
            Function::Join
                if !given(0).is_int()
                    && !matches!(given(0), Type::Pointer(_) | Type::Array(..)) =>
            {
                return Err(format!(
                    "() only supports int or pointer arguments ({} provided)",
                    kind(0)
                ));
            }
            Function::Kptr | Function::Uptr
                if !given(0).is_int() && !matches!(given(0), Type::Pointer(_)) =>
            {
                return Err(format!(
                    "{name}() only supports integer or pointer arguments ({} provided)",
                    kind(0)
                ));
            }
            Function::Bswap if !given(0).is_int() => {
                return Err(format!(
                    "{name}() only supports integer arguments ({} provided)",
                    kind(0)
                ));
            }
            Function::Macaddr => {
                if matches!(arguments.first(), Some(Expr { kind: ExprKind::Str(_), .. })) {
                    return Err(format!("{name}() does not support literal string arguments"));
                }
                let is_short = matches!(given(0), Type::Array(..) | Type::String(_))
                    && self.size(&given(0)).is_some_and(|size| size < 6);
                if is_short {
                    return Err(format!("{name}() argument must be at least 6 bytes in size"));
                }
            }
            Function::Strftime => return self.check_strftime(arguments),
            Function::Cgroupid
            | Function::Kaddr
            | Function::Uaddr
            | Function::Reg
            | Function::Time
            | Function::PercpuKaddr
                if arguments.first().is_some_and(|argument| argument.as_str().is_none()) =>
            {
                return Err(format!("{name}() expects a string literal ({} provided)", kind(0)));
            }
            Function::Strncmp => {
                if arguments.get(2).and_then(Expr::as_int).is_none_or(|count| count < 0) {
                    return Err("Builtin strncmp requires a non-negative literal".to_owned());
                }
                strings(name, &[given(0), given(1)])?;
            }
            Function::Strstr | Function::Strcontains | Function::StrConcat => {
                strings(name, &[given(0), given(1)])?;
            }
            Function::Strlen => strings(name, &[given(0)])?,
            Function::Signal | Function::SignalThread => return self.check_signal(name, arguments),
            Function::Exit
            | Function::Unwatch
            | Function::Strerror
            | Function::SignalName
            | Function::SyscallName
            | Function::CgroupPath
            | Function::Override
                if arguments.first().is_some_and(|argument| !argument.ty.is_int()) =>
            {
                let shown = self.shown(&given(0));
                return Err(format!("{name}() only supports int arguments ({shown} provided)"));
            }
            Function::Path if !matches!(given(0), Type::Struct(_) | Type::Pointer(_)) => {
                return Err(format!(
                    "path() only supports pointer or C type argument ({} provided)",
                    kind(0)
                ));
            }
            Function::SocketCookie => {
                let shown = self.shown(&given(0));
                if shown != "struct sock *" {
                    let shown = if matches!(given(0), Type::Pointer(_)) {
                        format!("'{shown}'")
                    } else {
                        kind(0).to_owned()
                    };
                    return Err(format!(
                        "{name}() only supports 'struct sock *' as the argument ({shown} provided)"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// printf and the like: a literal format, and values that fit it.
    fn formatted(&mut self, function: Function, arguments: &[Expr]) -> Result<(), String> {
        let name = function.name();
        let Some(format) = arguments.first().and_then(Expr::as_str) else {
            let kind = arguments.first().map_or("none", |format| format.ty.kind());
            return Err(format!("{name}() expects a string literal ({kind} provided)"));
        };
        if function == Function::Fail {
            return self.fail(format, &arguments[1..]);
        }
        let types: Vec<Type> = arguments[1..].iter().map(|argument| argument.ty.clone()).collect();
        self.check_format(format, &types)
    }

    /// `fail()`: the program says itself that it can't be.
    fn fail(&mut self, format: &str, arguments: &[Expr]) -> Result<(), String> {
        let mut texts = Vec::new();
        for argument in arguments {
            let Some(literal) = self.literal(argument) else {
                return Err("fail() arguments need to be literals".to_owned());
            };
            texts.push(match literal.kind {
                ExprKind::Int(value) => value.to_string(),
                ExprKind::Bool(value) => value.to_string(),
                ExprKind::Str(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            });
        }
        let mut message = String::new();
        let mut texts = texts.into_iter();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            message.push_str(&rest[..at]);
            let conversion = rest[at + 1..].find(|c: char| c.is_ascii_alphabetic() || c == '%');
            let Some(end) = conversion else { break };
            if rest[at + 1..].starts_with('%') {
                message.push('%');
            } else {
                message.push_str(&texts.next().unwrap_or_default());
            }
            rest = &rest[at + 1 + end + 1..];
        }
        message.push_str(rest);
        Err(message)
    }

    fn check_strftime(&mut self, arguments: &[Expr]) -> Result<(), String> {
        if arguments.first().is_none_or(|format| format.as_str().is_none()) {
            return Err("strftime() expects a string literal as its first argument".to_owned());
        }
        let Some(time) = arguments.get(1) else { return Ok(()) };
        if !time.ty.is_int() {
            let shown = self.shown(&time.ty);
            return Err(format!("strftime() only supports int arguments ({shown} provided)"));
        }
        if time.as_int().is_some_and(|time| time < 0) {
            return Err("strftime() does not accept negative timestamps".to_owned());
        }
        if clock_of(time) == Some(Clock::Monotonic) {
            return Err("strftime() can not take a monotonic timestamp".to_owned());
        }
        Ok(())
    }

    fn check_signal(&mut self, name: &str, arguments: &[Expr]) -> Result<(), String> {
        let Some(signal) = arguments.first() else { return Ok(()) };
        match &signal.kind {
            ExprKind::Int(number) if !(1..=64).contains(number) => Err(format!(
                "{name}() accepts a string literal or an integer between 1 and 64 (inclusive)"
            )),
            ExprKind::Int(_) | ExprKind::Str(_) => Ok(()),
            _ if signal.ty.is_int() => Ok(()),
            _ => Err(format!("{name}() accepts a string literal or an integer")),
        }
    }
}

/// Strings, or addresses of characters.
fn strings(name: &str, types: &[Type]) -> Result<(), String> {
    let is_text = |ty: &Type| match ty {
        Type::String(_) | Type::Pointer(_) => true,
        Type::Array(of, _) => matches!(**of, Type::Int(Int { bits: 8, .. })),
        _ => false,
    };
    if types.iter().all(is_text) {
        return Ok(());
    }
    Err(format!("{name}(): string-like values must be either strings, arrays or pointers"))
}

fn check_buf(arguments: &[Expr]) -> Result<(), String> {
    let Some(of) = arguments.first() else { return Ok(()) };
    let kind = of.ty.kind();
    if !of.ty.is_int() && !matches!(of.ty, Type::String(_) | Type::Pointer(_) | Type::Array(..)) {
        return Err(format!("buf() expects an integer, string, or array argument but saw {kind}"));
    }
    match arguments.get(1) {
        None if !matches!(of.ty, Type::Array(..)) => {
            Err(format!("buf() expects a length argument for non-array type {kind}"))
        }
        Some(length) if length.as_int().is_some_and(|length| length < 0) => {
            let length = length.as_int().unwrap_or_default();
            Err(format!("buf cannot use negative length ({length})"))
        }
        Some(length) if !length.ty.is_int() => {
            Err(format!("buf() only supports int arguments ({} provided)", length.ty.kind()))
        }
        _ => Ok(()),
    }
}

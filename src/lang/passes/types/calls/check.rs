//! What functions take.

use super::*;

impl Typer<'_, '_> {
    /// What is wrong with a function's arguments.
    pub(super) fn check(&mut self, function: Function, arguments: &[Expr]) -> Result<(), String> {
        let (name, types) = (function.name(), types(arguments));
        self.check_first(function, arguments)?;
        match function {
            _ if function.is_formatted() => self.formatted(function, arguments),
            Function::Buf => check_buf(arguments),
            Function::Ntop => self.check_ntop(&types),
            Function::Pton => pton(arguments).map(|_| ()),
            Function::Macaddr => self.check_macaddr(arguments),
            Function::Strftime => self.check_strftime(arguments),
            Function::Strncmp => {
                if arguments.get(2).and_then(Expr::as_int).is_none_or(|count| count < 0) {
                    return Err("Builtin strncmp requires a non-negative literal".to_owned());
                }
                strings(name, &types[..2])
            }
            Function::Strlen | Function::Strstr | Function::Strcontains | Function::StrConcat => {
                strings(name, &types)
            }
            Function::Signal | Function::SignalThread => self.check_signal(name, arguments),
            Function::SocketCookie => self.check_socket(&types),
            _ => Ok(()),
        }
    }

    /// The first argument is of one of some kinds, or a literal string.
    fn check_first(&mut self, function: Function, arguments: &[Expr]) -> Result<(), String> {
        let (Some(first), name) = (arguments.first(), function.name()) else { return Ok(()) };
        if let Some((kinds, what)) = kinds(function)
            && !kinds.contains(&first.ty.kind())
        {
            let shown = self.shown(&first.ty);
            return Err(format!("{name}() {what} ({shown} provided)"));
        }
        if takes_literal(function) && first.as_str().is_none() {
            let kind = first.ty.kind();
            return Err(format!("{name}() expects a string literal ({kind} provided)"));
        }
        Ok(())
    }

    /// 4 or 16 bytes, or a number.
    fn check_ntop(&self, types: &[Type]) -> Result<(), String> {
        let Some(address) = types.last() else { return Ok(()) };
        match address {
            address if address.is_int() => Ok(()),
            Type::String(_) | Type::Array(..) => match self.size(address) {
                Some(4 | 16) => Ok(()),
                _ => Err("ntop() argument must be 4 or 16 bytes in size".to_owned()),
            },
            other => {
                Err(format!("ntop() expects an integer or array argument, got {}", other.kind()))
            }
        }
    }

    fn check_macaddr(&self, arguments: &[Expr]) -> Result<(), String> {
        let Some(address) = arguments.first() else { return Ok(()) };
        if matches!(address.kind, ExprKind::Str(_)) {
            return Err("macaddr() does not support literal string arguments".to_owned());
        }
        let is_short = matches!(address.ty, Type::Array(..) | Type::String(_))
            && self.size(&address.ty).is_some_and(|size| size < 6);
        if is_short {
            return Err("macaddr() argument must be at least 6 bytes in size".to_owned());
        }
        Ok(())
    }

    fn check_socket(&self, types: &[Type]) -> Result<(), String> {
        let Some(socket) = types.first() else { return Ok(()) };
        let shown = self.shown(socket);
        if shown == "struct sock *" {
            return Ok(());
        }
        let is_pointer = matches!(socket, Type::Pointer(_));
        let shown = if is_pointer { format!("'{shown}'") } else { socket.kind().to_owned() };
        Err(format!(
            "socket_cookie() only supports 'struct sock *' as the argument ({shown} provided)"
        ))
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
        self.check_format(format, &types(&arguments[1..]))
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

fn types(arguments: &[Expr]) -> Vec<Type> {
    arguments.iter().map(|argument| argument.ty.clone()).collect()
}

/// The kinds that a function's first argument may be of, and what is said of others.
fn kinds(function: Function) -> Option<(&'static [&'static str], &'static str)> {
    Some(match function {
        Function::Str => (
            &["string", "int", "pointer", "array"],
            "expects a string, integer or a pointer type as first argument",
        ),
        Function::Ksym | Function::Usym => {
            (&["int", "pointer"], "expects an integer or pointer argument")
        }
        Function::Join => (&["int", "pointer", "array"], "only supports int or pointer arguments"),
        Function::Kptr | Function::Uptr => {
            (&["int", "pointer"], "only supports integer or pointer arguments")
        }
        Function::Bswap => (&["int"], "only supports integer arguments"),
        Function::Path => (&["c_type", "pointer"], "only supports pointer or C type argument"),
        Function::Exit
        | Function::Unwatch
        | Function::Strerror
        | Function::SignalName
        | Function::SyscallName
        | Function::CgroupPath
        | Function::Override => (&["int"], "only supports int arguments"),
        _ => return None,
    })
}

/// Whether the first argument must be a string as it stands.
fn takes_literal(function: Function) -> bool {
    matches!(
        function,
        Function::Cgroupid
            | Function::Kaddr
            | Function::Uaddr
            | Function::Reg
            | Function::Time
            | Function::PercpuKaddr
    )
}

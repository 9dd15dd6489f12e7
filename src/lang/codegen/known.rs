//! What is known when a program is compiled: addresses of symbols, ids, names of numbers.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::{Refusal, Result};
use crate::lang::ast::Expr;
use crate::lang::functions::Function;
use crate::lang::source::Span;

fn text(of: &Expr) -> Result<&str> {
    of.as_str().ok_or_else(|| Refusal::new(of.span, "this must be a string that is known now"))
}

/// The address of a symbol of the kernel, `kaddr("name")`.
pub(super) fn kernel_symbol(name: &Expr, call: Span) -> Result<u64> {
    let wanted = text(name)?;
    let missing = || Refusal::new(call, format!("Failed to resolve kernel symbol: {wanted}"));
    let symbols = File::open("/proc/kallsyms").map_err(|_| missing())?;
    let mut has_variables = false;
    for line in BufReader::new(symbols).lines().map_while(std::io::Result::ok) {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(symbol)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // Those of a linker script are global, and always there.
        has_variables |= matches!(kind, "b" | "d");
        if symbol == wanted {
            let address = u64::from_str_radix(address, 16).ok().filter(|address| *address != 0);
            return address.ok_or_else(|| missing().hint("kernel.kptr_restrict hides addresses"));
        }
    }
    Err(if has_variables {
        missing()
    } else {
        missing().hint(
            "this kernel knows no variables by name, only functions: it was built without \
             CONFIG_KALLSYMS_ALL",
        )
    })
}

/// The id of a cgroup by its folder: the folder's inode.
pub(super) fn cgroup(path: &Expr) -> Result<u64> {
    let folder = text(path)?;
    let found = fs::metadata(folder).map(|folder| folder.ino());
    found.map_err(|error| {
        Refusal::new(path.span, format!("Failed to get cgroup id: {folder}: {error}"))
    })
}

/// The bytes of an IP address.
pub(super) fn address(of: &Expr) -> Result<Vec<u8>> {
    let address = text(of)?;
    match address.parse() {
        Ok(IpAddr::V4(address)) => Ok(address.octets().to_vec()),
        Ok(IpAddr::V6(address)) => Ok(address.octets().to_vec()),
        Err(_) => {
            Err(Refusal::new(of.span, format!("pton() expects an IP address, got {address}")))
        }
    }
}

/// The number of a signal, by its name with or without `SIG`.
pub(super) fn signal(name: &str) -> Option<i32> {
    let name = name.to_ascii_uppercase();
    let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    full.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// What a signal says, as the C library has it.
fn described(signal: i32) -> String {
    // SAFETY: the text is the library's own, or in a buffer of this thread, and is copied at once.
    let text = unsafe { std::ffi::CStr::from_ptr(libc::strsignal(signal)) };
    text.to_string_lossy().into_owned()
}

/// What an error says.
fn error(number: i32) -> &'static str {
    match Errno::from_raw(number) {
        _ if number == 0 => "Success",
        Errno::UnknownErrno => unknown(Function::Strerror),
        // As the kernel's header has these, and so bpftrace; nix has the C library's words, or none.
        Errno::EAGAIN => "Try again (operation would block)",
        Errno::ENOSYS => "Invalid system call number",
        Errno::ENOSTR => "Device not a stream",
        Errno::ENODATA => "No data available",
        Errno::ETIME => "Timer expired",
        Errno::ENOSR => "Out of streams resources",
        Errno::EREMOTE => "Object is remote",
        Errno::ENOLINK => "Link has been severed",
        Errno::EMULTIHOP => "Multihop attempted",
        Errno::EBADMSG => "Not a data message",
        Errno::EOVERFLOW => "Value too large for defined data type",
        Errno::EOPNOTSUPP => "Operation not supported on transport endpoint",
        Errno::ESTALE => "Stale file handle",
        Errno::EDQUOT => "Quota exceeded",
        Errno::ECANCELED => "Operation Canceled",
        Errno::EOWNERDEAD => "Owner died",
        known => known.desc(),
    }
}

/// The texts of errors, signals or system calls by their numbers, from 0.
pub(super) fn names(function: Function) -> Vec<String> {
    match function {
        Function::Strerror => (0..134).map(|number| error(number).to_owned()).collect(),
        Function::SignalName => (0..65).map(described).collect(),
        _ => {
            let unknown = || unknown(function).to_owned();
            let name = |call| syscalls::Sysno::new(call).map_or_else(unknown, |of| of.to_string());
            (0..512).map(name).collect()
        }
    }
}

/// What a number is called that [`names`] doesn't have.
pub(super) fn unknown(function: Function) -> &'static str {
    match function {
        Function::Strerror => "Unknown error",
        Function::SignalName => "N/A",
        _ => "Unknown syscall",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::lang::ast::ExprKind;

    #[test]
    fn signals_and_addresses() {
        assert_eq!([signal("KILL"), signal("sigint"), signal("NOPE")], [Some(9), Some(2), None]);
        let literal = |text: &str| Expr::new(ExprKind::Str(text.into()), Span::default());
        assert_eq!(address(&literal("127.0.0.1")).unwrap(), [127, 0, 0, 1]);
        assert_eq!(address(&literal("::1")).unwrap()[15], 1);
        assert!(address(&literal("localhost")).is_err());
    }

    #[test]
    fn numbers_have_names() {
        let errors = names(Function::Strerror);
        assert_eq!([&*errors[0], &errors[41]], ["Success", "Unknown error"]);
        let signals = names(Function::SignalName);
        assert_eq!([&*signals[0], &signals[64]], ["Unknown signal 0", "Real-time signal 30"]);
        assert!(names(Function::SyscallName).contains(&"openat".to_owned()));
    }
}

//! The names that the language knows: its functions, and its variables, which are functions without arguments.
//!
//! `pid` and `pid()` are the same. What can be written in the language itself is a macro of the prelude instead.

/// Makes [`Function`] and its table of names.
macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident $name:literal $least:literal ..= $most:literal,)*) => {
        /// A function of the language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Function {
            $($(#[$doc])* $variant,)*
        }

        impl Function {
            /// All of them.
            pub const ALL: &[Function] = &[$(Function::$variant,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Function::$variant => $name,)* }
            }

            /// How many arguments it takes, at least and at most.
            pub fn arity(self) -> (usize, usize) {
                match self { $(Function::$variant => ($least, $most),)* }
            }

            /// By its name.
            pub fn named(name: &str) -> Option<Function> {
                match name { $($name => Some(Function::$variant),)* _ => None }
            }
        }
    };
}

/// The most arguments of a function that prints.
pub const MOST_ARGUMENTS: usize = 128;

functions! {
    // What is known without arguments.
    /// The probe's arguments by name.
    Args "args" 0..=0,
    /// The probe's context.
    Ctx "ctx" 0..=0,
    /// The process.
    Pid "pid" 0..=1,
    /// The thread.
    Tid "tid" 0..=1,
    /// The user.
    Uid "uid" 0..=0,
    /// The group.
    Gid "gid" 0..=0,
    /// Nanoseconds by a clock.
    Nsecs "nsecs" 0..=1,
    /// Nanoseconds since the start of the program.
    Elapsed "elapsed" 0..=0,
    /// The CPU.
    Cpu "cpu" 0..=0,
    /// How many CPUs there are.
    Ncpus "ncpus" 0..=0,
    /// The NUMA node.
    Numaid "numaid" 0..=0,
    /// The name of the current thread, or of another one.
    Comm "comm" 0..=1,
    /// The process of `-c`.
    Cpid "cpid" 0..=0,
    /// Whether there is one.
    HasCpid "has_cpid" 0..=0,
    /// The cgroup of the current process.
    Cgroup "cgroup" 0..=0,
    /// The current `task_struct`.
    Curtask "curtask" 0..=0,
    /// The function that is traced.
    Func "func" 0..=0,
    /// The probe's full name.
    Probe "probe" 0..=0,
    /// The probe's provider.
    Probetype "probetype" 0..=0,
    /// A random number.
    Rand "rand" 0..=0,
    /// The kernel's ticks.
    Jiffies "jiffies" 0..=0,
    /// What the traced function returns.
    Retval "retval" 0..=0,
    /// Whether the process runs its own code.
    Usermode "usermode" 0..=0,
    /// The settings of the program.
    Config "config" 0..=0,
    /// The kernel's stack.
    Kstack "kstack" 0..=2,
    /// The process's stack.
    Ustack "ustack" 0..=2,
    /// The process's stack, by DWARF.
    DwUstack "dw_ustack" 0..=2,
    /// Whether the traced program is no PIE.
    ElfIsExe "elf_is_exe" 0..=0,
    /// Whether functions that change the system are refused.
    SafeMode "__builtin_safe_mode" 0..=0,

    // What maps add up.
    /// How often.
    Count "count" 0..=0,
    /// The sum.
    Sum "sum" 1..=1,
    /// The mean.
    Avg "avg" 1..=1,
    /// The least.
    Min "min" 1..=1,
    /// The greatest.
    Max "max" 1..=1,
    /// Count, mean and sum.
    Stats "stats" 1..=1,
    /// By powers of two.
    Hist "hist" 1..=2,
    /// By equal steps.
    Lhist "lhist" 4..=4,
    /// By time.
    Tseries "tseries" 3..=4,

    // Maps.
    /// Removes all entries.
    Clear "clear" 1..=1,
    /// Sets all values to zero.
    Zero "zero" 1..=1,
    /// Removes an entry.
    Delete "delete" 1..=2,
    /// Whether there is an entry.
    HasKey "has_key" 2..=2,
    /// Whether there is an entry, and its value.
    Find "find" 3..=3,
    /// How many entries a map or frames a stack has.
    Len "len" 1..=1,

    // What is written.
    /// Writes by a format.
    Printf "printf" 1..=128,
    /// Writes a value or map.
    Print "print" 1..=3,
    /// Writes an error by a format.
    Errorf "errorf" 1..=128,
    /// Writes a warning by a format.
    Warnf "warnf" 1..=128,
    /// Writes by a format, for whoever develops a program.
    Debugf "debugf" 1..=128,
    /// Writes what a file holds.
    Cat "cat" 1..=128,
    /// Writes strings with something between them.
    Join "join" 1..=2,
    /// Writes the time.
    Time "time" 0..=1,
    /// Runs a command.
    System "system" 1..=128,
    /// Ends the program.
    Exit "exit" 0..=1,
    /// Stops the compilation.
    Fail "fail" 1..=128,
    /// Writes a packet to a file.
    Skboutput "skboutput" 4..=4,

    // Values.
    /// A string by its address.
    Str "str" 1..=2,
    /// Bytes by their address.
    Buf "buf" 1..=2,
    /// The other order of bytes.
    Bswap "bswap" 1..=1,
    /// A cgroup's path by its id.
    CgroupPath "cgroup_path" 1..=2,
    /// A cgroup's id by its path.
    Cgroupid "cgroupid" 1..=1,
    /// An argument of the command line by its name.
    Getopt "getopt" 1..=3,
    /// The address of a symbol of the kernel.
    Kaddr "kaddr" 1..=1,
    /// The address of a variable that each CPU has.
    PercpuKaddr "percpu_kaddr" 1..=2,
    /// The address of a symbol of the traced program.
    Uaddr "uaddr" 1..=1,
    /// That an address is the kernel's.
    Kptr "kptr" 1..=1,
    /// That an address is the process's.
    Uptr "uptr" 1..=1,
    /// An address as the kernel's symbol.
    Ksym "ksym" 1..=1,
    /// An address as the process's symbol.
    Usym "usym" 1..=1,
    /// A hardware address.
    Macaddr "macaddr" 1..=1,
    /// An IP address, to be written.
    Ntop "ntop" 1..=2,
    /// An IP address by its text.
    Pton "pton" 1..=1,
    /// The path of a `struct path`.
    Path "path" 1..=2,
    /// A register.
    Reg "reg" 1..=1,
    /// A socket's id.
    SocketCookie "socket_cookie" 1..=1,
    /// A time, to be written.
    Strftime "strftime" 2..=2,
    /// Compares strings.
    Strncmp "strncmp" 3..=3,
    /// Compares memory.
    Memcmp "memcmp" 3..=3,
    /// The length of a string.
    Strlen "strlen" 1..=1,
    /// Where one string is in another.
    Strstr "strstr" 2..=2,
    /// Whether one string is in another.
    Strcontains "strcontains" 2..=2,
    /// One string and then another.
    StrConcat "str_concat" 2..=2,
    /// The text of an error number.
    Strerror "strerror" 1..=1,
    /// The name of a signal.
    SignalName "signal_name" 1..=1,
    /// The name of a system call.
    SyscallName "syscall_name" 1..=1,
    /// The name of a user.
    Username "username" 0..=0,
    /// An argument of a user-level static tracepoint.
    UsdtArg "usdt_arg" 1..=1,

    // What changes the system.
    /// Sends a signal to the process.
    Signal "signal" 1..=1,
    /// Sends a signal to the thread.
    SignalThread "signal_thread" 1..=1,
    /// Has the traced function return something else.
    Override "override" 1..=1,
    /// Writes into the process's memory.
    WriteUser "write_user" 3..=3,
    /// Removes a watchpoint.
    Unwatch "unwatch" 1..=1,

    // What is known when the program is compiled.
    /// Whether an expression is a literal.
    IsLiteral "is_literal" 1..=1,
    /// Whether a map has no keys.
    IsScalar "is_scalar" 1..=1,
    /// Whether the kernel has a function for BPF.
    KfuncExist "kfunc_exist" 1..=1,
    /// Whether the probe may call it.
    KfuncAllowed "kfunc_allowed" 1..=1,
}

impl Function {
    /// Whether it makes a value that only a map can take: `count()` and the like.
    pub fn is_aggregation(self) -> bool {
        use Function::{Avg, Count, Hist, Lhist, Max, Min, Stats, Sum, Tseries};
        matches!(self, Count | Sum | Avg | Min | Max | Stats | Hist | Lhist | Tseries)
    }

    /// Whether its first argument is a format for those that follow.
    pub fn is_formatted(self) -> bool {
        use Function::{Cat, Debugf, Errorf, Fail, Printf, System, Warnf};
        matches!(self, Printf | Errorf | Warnf | Debugf | Cat | System | Fail)
    }

    /// Whether it needs `--unsafe`.
    pub fn is_unsafe(self) -> bool {
        use Function::{Override, Signal, SignalThread, System, WriteUser};
        matches!(self, System | Signal | SignalThread | Override | WriteUser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for function in Function::ALL {
            assert_eq!(Function::named(function.name()), Some(*function));
            let (least, most) = function.arity();
            assert!(least <= most && most <= MOST_ARGUMENTS);
        }
    }
}

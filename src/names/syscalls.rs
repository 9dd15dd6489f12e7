//! Names of system calls and errnos, and choosing calls by name, class or expression.
//! The numbers are those of the `syscalls` crate; which calls a class holds is said here, after the
//! classes' descriptions in strace(1).

use std::borrow::Cow;
use std::collections::BTreeSet;

use regex::Regex;

use crate::filter::nearest;

/// One above the highest number that [`select`] chooses.
pub const NUMBERS: u32 = 512;

/// Which of the kernel's two tables a number belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abi {
    /// The 64-bit calls; on x86_64 also x32's, whose numbers have bit 30 set.
    Native,
    /// Calls of 32-bit programs: i386's on x86_64, ARM EABI's on aarch64.
    Compat,
}

/// A system call, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The table of the number.
    pub abi: Abi,
    /// As the program passed it.
    pub number: u32,
}

impl Call {
    /// The call's name as the kernel's tables have it, `syscall_N` for an unknown number. A 32-bit
    /// call ends in `.32`, an x32 one in `.x32`; no name has a dot otherwise.
    pub fn name(self) -> Cow<'static, str> {
        if let Some(number) = self.x32() {
            return Cow::Owned(format!("{}.x32", or_number(x32_name(number), number)));
        }
        let name = or_number(self.bare(), self.number);
        match self.abi {
            Abi::Native => name,
            Abi::Compat => Cow::Owned(format!("{name}.32")),
        }
    }

    fn bare(self) -> Option<&'static str> {
        let arch = match self.abi {
            Abi::Native => NATIVE,
            Abi::Compat => COMPAT,
        };
        arch.name(self.number)
    }

    /// The number without its bit, of an x32 call.
    fn x32(self) -> Option<u32> {
        const BIT: u32 = 0x4000_0000;

        let number = self.number.checked_sub(BIT).filter(|number| *number < BIT)?;
        (self.abi == Abi::Native && NATIVE == Arch::X86_64).then_some(number)
    }
}

fn or_number(name: Option<&'static str>, number: u32) -> Cow<'static, str> {
    name.map_or_else(|| Cow::Owned(format!("syscall_{number}")), Cow::Borrowed)
}

/// The name of an error, the kernel's internal ones too (`ERESTARTSYS`): a probe sees them before
/// the program would. `errno_N` for an unknown one.
pub fn errno_name(errno: u32) -> Cow<'static, str> {
    let name = i32::try_from(errno).ok().and_then(|n| syscalls::Errno::new(n).name());
    name.map_or_else(|| Cow::Owned(format!("errno_{errno}")), Cow::Borrowed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arch {
    X86_64,
    X86,
    Aarch64,
    Arm,
}

const NATIVE: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };
const COMPAT: Arch = if cfg!(target_arch = "aarch64") { Arch::Arm } else { Arch::X86 };

/// Calls that the crate's tables, of Linux 6.18, lack. New calls have one number everywhere.
const NEWER: [(u32, &str); 2] = [(470, "listns"), (471, "rseq_slice_yield")];

impl Arch {
    const ALL: [Arch; 4] = [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm];

    fn title(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::X86 => "i386",
            Arch::Aarch64 => "aarch64",
            Arch::Arm => "arm",
        }
    }

    fn name(self, number: u32) -> Option<&'static str> {
        let newer = || NEWER.iter().find(|(n, _)| *n == number).map(|(_, name)| *name);
        // `break` is a keyword of Rust.
        self.old_name(number).map(|name| name.trim_start_matches("r#")).or_else(newer)
    }

    fn old_name(self, number: u32) -> Option<&'static str> {
        let id = number as usize;
        match (self, number) {
            // The crate has the name without its prefix, and calls that only 32 bits have.
            (Arch::Aarch64, 79) => Some("newfstatat"),
            (Arch::Aarch64, 403..=423) => None,
            // ARM's private calls.
            (Arch::Arm, 0xf_0001) => Some("breakpoint"),
            (Arch::Arm, 0xf_0002) => Some("cacheflush"),
            (Arch::Arm, 0xf_0005) => Some("set_tls"),
            (Arch::X86_64, _) => syscalls::x86_64::Sysno::new(id).map(|call| call.name()),
            (Arch::X86, _) => syscalls::x86::Sysno::new(id).map(|call| call.name()),
            (Arch::Aarch64, _) => syscalls::aarch64::Sysno::new(id).map(|call| call.name()),
            (Arch::Arm, _) => syscalls::arm::Sysno::new(id).map(|call| call.name()),
        }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        (0..NUMBERS).filter_map(move |number| self.name(number))
    }
}

/// The x32 calls from 512 on differ from those of 64 bits; all others are shared.
fn x32_name(number: u32) -> Option<&'static str> {
    const FIRST: u32 = 512;
    const OWN: [&str; 36] = [
        "rt_sigaction",
        "rt_sigreturn",
        "ioctl",
        "readv",
        "writev",
        "recvfrom",
        "sendmsg",
        "recvmsg",
        "execve",
        "ptrace",
        "rt_sigpending",
        "rt_sigtimedwait",
        "rt_sigqueueinfo",
        "sigaltstack",
        "timer_create",
        "mq_notify",
        "kexec_load",
        "waitid",
        "set_robust_list",
        "get_robust_list",
        "vmsplice",
        "move_pages",
        "preadv",
        "pwritev",
        "rt_tgsigqueueinfo",
        "recvmmsg",
        "sendmmsg",
        "process_vm_readv",
        "process_vm_writev",
        "setsockopt",
        "getsockopt",
        "io_setup",
        "io_submit",
        "execveat",
        "preadv2",
        "pwritev2",
    ];

    match number.checked_sub(FIRST) {
        Some(at) => OWN.get(at as usize).copied(),
        None => Arch::X86_64.name(number),
    }
}

/// The classes, and the calls of each on any of the architectures.
const CLASSES: [(&str, &str); 16] = [
    // Takes the name of a file.
    (
        "%file",
        "access acct chdir chmod chown chown32 chroot creat execve execveat faccessat faccessat2 \
         fanotify_mark fchmodat fchmodat2 fchownat file_getattr file_setattr fsconfig fspick \
         fstatat64 futimesat getcwd getxattr getxattrat inotify_add_watch lchown lchown32 \
         lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lsetxattr lstat \
         lstat64 mkdir mkdirat mknod mknodat mount mount_setattr move_mount name_to_handle_at \
         newfstatat oldlstat oldstat open open_tree open_tree_attr openat openat2 pivot_root \
         quotactl readlink readlinkat removexattr removexattrat rename renameat renameat2 rmdir \
         setxattr setxattrat stat stat64 statfs statfs64 statx swapoff swapon symlink symlinkat \
         truncate truncate64 umount umount2 unlink unlinkat uselib utime utimensat \
         utimensat_time64 utimes",
    ),
    // Begins, changes, ends or awaits the end of a process.
    (
        "%process",
        "clone clone3 execve execveat exit exit_group fork kill pidfd_send_signal \
         rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill vfork wait4 waitid waitpid",
    ),
    ("%net", NETWORK),
    ("%network", NETWORK),
    (
        "%signal",
        "kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
         rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
         sgetmask sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask \
         sigreturn sigsuspend ssetmask tgkill tkill",
    ),
    // System V's.
    (
        "%ipc",
        "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat \
         shmctl shmdt shmget",
    ),
    // Takes or returns a file descriptor, a socket's too.
    (
        "%desc",
        "accept accept4 arm_fadvise64_64 arm_sync_file_range bind bpf cachestat close \
         close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 \
         epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd \
         eventfd2 execveat faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_init \
         fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 \
         fdatasync fgetxattr file_getattr file_setattr finit_module flistxattr flock \
         fremovexattr fsconfig fsetxattr fsmount fsopen fspick fstat fstat64 fstatat64 fstatfs \
         fstatfs64 fsync ftruncate ftruncate64 futimesat getdents getdents64 getpeername \
         getsockname getsockopt getxattrat inotify_add_watch inotify_init inotify_init1 \
         inotify_rm_watch io_uring_enter io_uring_register io_uring_setup ioctl kexec_file_load \
         landlock_add_rule landlock_create_ruleset landlock_restrict_self linkat listen \
         listxattrat _llseek lseek memfd_create memfd_secret mkdirat mknodat mmap mmap2 \
         mount_setattr move_mount mq_getsetattr mq_notify mq_open mq_timedreceive \
         mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 name_to_handle_at newfstatat \
         _newselect oldfstat open open_by_handle_at open_tree open_tree_attr openat openat2 \
         perf_event_open pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 poll ppoll \
         ppoll_time64 pread64 preadv preadv2 process_madvise process_mrelease pselect6 \
         pselect6_time64 pwrite64 pwritev pwritev2 quotactl_fd read readahead readdir readlinkat \
         readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg removexattrat renameat renameat2 \
         select send sendfile sendfile64 sendmmsg sendmsg sendto setns setsockopt setxattrat \
         shutdown signalfd signalfd4 socket socketcall socketpair splice statx symlinkat \
         sync_file_range syncfs tee timerfd_create timerfd_gettime timerfd_gettime64 \
         timerfd_settime timerfd_settime64 unlinkat userfaultfd utimensat utimensat_time64 \
         vmsplice write writev",
    ),
    // Changes or asks for what is mapped, and where it lies.
    (
        "%memory",
        "brk get_mempolicy io_destroy io_setup madvise map_shadow_stack mbind migrate_pages \
         mincore mlock mlock2 mlockall mmap mmap2 move_pages mprotect mremap mseal msync munlock \
         munlockall munmap pkey_mprotect process_madvise remap_file_pages set_mempolicy \
         set_mempolicy_home_node shmat shmdt",
    ),
    // User and group ids, capabilities.
    (
        "%creds",
        "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 \
         getresgid getresgid32 getresuid getresuid32 getuid getuid32 prctl setfsgid setfsgid32 \
         setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid \
         setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    ),
    // Reads or sets a clock.
    (
        "%clock",
        "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
         clock_gettime64 clock_settime clock_settime64 gettimeofday settimeofday stime time",
    ),
    ("%stat", "oldstat stat stat64"),
    ("%lstat", "lstat lstat64 oldlstat"),
    ("%fstat", "fstat fstat64 fstatat64 newfstatat oldfstat statx"),
    ("%statfs", "statfs statfs64"),
    ("%fstatfs", "fstatfs fstatfs64"),
    // Takes nothing and never fails.
    (
        "%pure",
        "getegid getegid32 geteuid geteuid32 getgid getgid32 getpgrp getpid getppid gettid \
         getuid getuid32",
    ),
];

const NETWORK: &str = "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg \
     recvmmsg_time64 recvmsg send sendfile sendfile64 sendmmsg sendmsg sendto setsockopt \
     shutdown socket socketcall socketpair";

/// Chooses calls by words as `strace -e trace=` takes them, each perhaps a list with commas: names
/// (`read` is the 32-bit call too, `read.32` only that), classes (`%file`), and regular expressions
/// over names (`/^read/`). A word behind `!` takes calls away, and so do all of its list; if the
/// first does, it takes them from all calls. x32's calls and ARM's private ones can't be chosen.
///
/// The calls are sorted and their numbers below [`NUMBERS`].
///
/// # Errors
/// For a word that no call is called by, with the nearest that there is, a broken regular
/// expression, and if no call is left.
pub fn select(words: &[String]) -> Result<Vec<Call>, String> {
    let all = all();
    let mut chosen = BTreeSet::new();
    let mut first = true;
    for word in words {
        let (list_negated, list) = negation(word);
        for item in items(list)? {
            let (item_negated, item) = negation(item);
            let negated = list_negated || item_negated;
            if first && negated {
                chosen.extend(all.iter().map(|(call, _)| *call));
            }
            first = false;
            for call in matching(item, &all)? {
                if negated {
                    chosen.remove(&call);
                } else {
                    chosen.insert(call);
                }
            }
        }
    }
    if chosen.is_empty() {
        return Err(format!("“{}” leaves no system call", words.join(" ")));
    }
    Ok(chosen.into_iter().collect())
}

fn all() -> Vec<(Call, &'static str)> {
    let calls = [Abi::Native, Abi::Compat]
        .into_iter()
        .flat_map(|abi| (0..NUMBERS).map(move |number| Call { abi, number }));
    calls.filter_map(|call| call.bare().map(|name| (call, name))).collect()
}

fn negation(word: &str) -> (bool, &str) {
    match word.strip_prefix('!') {
        Some(body) => (true, body),
        None => (false, word),
    }
}

/// What is between commas; a regular expression between slashes may hold commas.
fn items(list: &str) -> Result<Vec<&str>, String> {
    let mut items = Vec::new();
    let mut rest = list;
    loop {
        let (_, body) = negation(rest);
        let mark = rest.len() - body.len();
        let end = match body.strip_prefix('/') {
            Some(pattern) => {
                let closing =
                    pattern.find("/,").or_else(|| pattern.strip_suffix('/').map(str::len));
                let closing = closing.ok_or_else(|| format!("“{rest}” has no closing /"))?;
                mark + closing + 2
            }
            None => rest.find(',').unwrap_or(rest.len()),
        };
        let (item, tail) = rest.split_at(end);
        items.push(item);
        match tail.strip_prefix(',') {
            Some(tail) => rest = tail,
            None => return Ok(items),
        }
    }
}

fn matching(item: &str, all: &[(Call, &'static str)]) -> Result<Vec<Call>, String> {
    let those = |test: &dyn Fn(Call, &str) -> bool| -> Vec<Call> {
        all.iter().filter(|(call, name)| test(*call, name)).map(|(call, _)| *call).collect()
    };
    if let Some(pattern) = item.strip_prefix('/').and_then(|p| p.strip_suffix('/')) {
        let regex = Regex::new(pattern)
            .map_err(|error| format!("“{item}” is no regular expression: {error}"))?;
        let found = those(&|_, name| regex.is_match(name));
        return if found.is_empty() {
            Err(format!("no system call matches {item}"))
        } else {
            Ok(found)
        };
    }
    if let Some((_, members)) = CLASSES.iter().find(|(class, _)| *class == item) {
        let members: Vec<&str> = members.split_whitespace().collect();
        return Ok(those(&|_, name| members.contains(&name)));
    }
    let found = match item.strip_suffix(".32") {
        Some(wanted) => those(&|call, name| call.abi == Abi::Compat && name == wanted),
        None => those(&|_, name| name == item),
    };
    if found.is_empty() { Err(unknown(item)) } else { Ok(found) }
}

fn unknown(item: &str) -> String {
    if item.is_empty() {
        return "the name of a system call is missing".to_owned();
    }
    let elsewhere: Vec<&str> = Arch::ALL
        .into_iter()
        .filter(|arch| arch.names().any(|name| name == item))
        .map(Arch::title)
        .collect();
    if !elsewhere.is_empty() {
        let (native, elsewhere) = (NATIVE.title(), elsewhere.join(" and "));
        return format!("{native} has no system call {item}, only {elsewhere} has");
    }
    let kind = if item.starts_with('%') { "class of system calls" } else { "system call" };
    let classes = CLASSES.iter().map(|(class, _)| *class);
    match nearest(item, NATIVE.names().chain(COMPAT.names()).chain(classes.clone())) {
        Some(near) => format!("no {kind} {item}; did you mean {near}?"),
        None => {
            let classes = classes.collect::<Vec<_>>().join(" ");
            format!("no {kind} {item}; there are names as in syscalls(2), {classes} and /regex/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn chosen(text: &str) -> Vec<String> {
        select(&words(text)).unwrap().into_iter().map(|call| call.name().into_owned()).collect()
    }

    fn refused(text: &str) -> String {
        select(&words(text)).unwrap_err()
    }

    fn number(arch: Arch, name: &str) -> Option<u32> {
        (0..NUMBERS).find(|number| arch.name(*number) == Some(name))
    }

    #[test]
    fn names_on_each_architecture() {
        for (name, numbers) in [
            ("read", [Some(0), Some(3), Some(63), Some(3)]),
            ("open", [Some(2), Some(5), None, Some(5)]),
            ("break", [None, Some(17), None, None]),
            ("newfstatat", [Some(262), None, Some(79), None]),
            ("clock_gettime64", [None, Some(403), None, Some(403)]),
            ("futex_wait", [Some(455); 4]),
            ("mseal", [Some(462); 4]),
            ("file_setattr", [Some(469); 4]),
            ("listns", [Some(470); 4]),
        ] {
            assert_eq!(Arch::ALL.map(|arch| number(arch, name)), numbers, "{name}");
        }
        assert_eq!(Arch::Arm.name(0xf_0005), Some("set_tls"));
    }

    #[test]
    fn what_is_added_here_the_crate_still_lacks() {
        for arch in Arch::ALL {
            for (number, name) in NEWER {
                assert_eq!(arch.old_name(number), None, "{name} on {}", arch.title());
            }
        }
    }

    #[test]
    fn the_abi_is_in_the_name() {
        let name = |abi, number| Call { abi, number }.name();
        let read = |arch| number(arch, "read").unwrap();
        assert_eq!(name(Abi::Native, read(NATIVE)), "read");
        assert_eq!(name(Abi::Compat, read(COMPAT)), "read.32");
        assert_eq!(name(Abi::Native, 9_999), "syscall_9999");
        assert_eq!(name(Abi::Compat, 9_999), "syscall_9999.32");
        assert_eq!(name(Abi::Native, u32::MAX), "syscall_4294967295");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn x32_is_in_the_name() {
        let name = |number: u32| Call { abi: Abi::Native, number: 0x4000_0000 | number }.name();
        assert_eq!(name(0), "read.x32");
        assert_eq!(name(512), "rt_sigaction.x32");
        assert_eq!(name(520), "execve.x32");
        assert_eq!(name(547), "pwritev2.x32");
        assert_eq!(name(548), "syscall_548.x32");
        assert_eq!(Call { abi: Abi::Compat, number: 0x4000_0000 }.name(), "syscall_1073741824.32");
    }

    #[test]
    fn errnos() {
        for (errno, name) in [
            (2, "ENOENT"),
            (11, "EAGAIN"),
            (95, "EOPNOTSUPP"),
            (512, "ERESTARTSYS"),
            (513, "ERESTARTNOINTR"),
            (514, "ERESTARTNOHAND"),
            (515, "ENOIOCTLCMD"),
            (516, "ERESTART_RESTARTBLOCK"),
            (529, "EIOCBQUEUED"),
            (0, "errno_0"),
            (4_000, "errno_4000"),
            (u32::MAX, "errno_4294967295"),
        ] {
            assert_eq!(errno_name(errno), name);
        }
    }

    #[test]
    fn classes_hold_calls_that_exist_once_and_in_order() {
        for (class, members) in CLASSES {
            let members: Vec<&str> = members.split_whitespace().collect();
            let key = |name: &str| name.trim_start_matches('_').to_owned();
            assert!(members.is_sorted_by(|a, b| key(a) < key(b)), "{class}");
            for name in members {
                let exists = Arch::ALL.iter().any(|arch| number(*arch, name).is_some());
                assert!(exists, "{class}: {name}");
            }
        }
    }

    #[test]
    fn what_classes_hold_and_do_not() {
        for (class, inside, outside) in [
            ("%file", "openat execve unlinkat statx getcwd", "read fstat close umask"),
            ("%process", "clone execve exit_group waitid kill", "getpid ptrace sched_yield"),
            ("%network", "socket connect recvmsg accept4", "read pipe2 poll"),
            ("%signal", "rt_sigaction kill signalfd4", "exit ptrace"),
            ("%ipc", "shmat msgsnd semop", "mq_open pipe2 futex"),
            ("%desc", "read openat dup close epoll_ctl mmap sendto", "unlink getpid munmap"),
            ("%memory", "mmap brk munmap mprotect shmat", "read memfd_create"),
            ("%creds", "getuid setresgid capset", "getpid setpriority"),
            ("%clock", "clock_gettime adjtimex", "nanosleep timer_create"),
            ("%fstat", "fstat newfstatat statx", "fstatfs"),
            ("%statfs", "statfs", "fstatfs statx"),
            ("%fstatfs", "fstatfs", "statfs"),
            ("%pure", "getpid gettid getuid", "getpgid getresuid"),
        ] {
            let names = chosen(class);
            for name in inside.split_whitespace() {
                assert!(names.iter().any(|n| n == name), "{class} holds {name}");
            }
            for name in outside.split_whitespace() {
                assert!(!names.iter().any(|n| n == name), "{class} doesn't hold {name}");
            }
        }
        // Calls that aarch64 has for 32 bits only.
        assert!(chosen("%stat").contains(&"stat64.32".to_owned()));
        assert!(chosen("%lstat").contains(&"lstat64.32".to_owned()));
        assert_eq!(chosen("%net"), chosen("%network"));
    }

    #[test]
    fn a_name_is_of_both_abis_unless_it_says() {
        assert_eq!(chosen("close"), ["close", "close.32"]);
        assert_eq!(chosen("close.32"), ["close.32"]);
        assert_eq!(chosen("close !close.32"), ["close"]);
        assert_eq!(chosen("getpid,close close"), chosen("close getpid"));
    }

    #[test]
    fn words_take_away() {
        let every = chosen("/./");
        assert!(every.len() > 600);
        assert_eq!(chosen("!close,read").len(), every.len() - 4);
        assert_eq!(chosen("!close !read"), chosen("!close,read"));
        assert_eq!(chosen("!/./ close"), ["close", "close.32"]);
        assert_eq!(chosen("/^pread/,!preadv,!/2$/"), ["pread64", "pread64.32"]);
        assert!(!chosen("%file !%desc").contains(&"openat".to_owned()));
    }

    #[test]
    fn chosen_calls_are_sorted_and_low() {
        let calls = select(&words("/./")).unwrap();
        assert!(calls.is_sorted());
        assert!(calls.iter().all(|call| call.number < NUMBERS));
        // The last call of the crate's tables is among them.
        let last = number(NATIVE, "file_setattr").unwrap();
        assert!(calls.contains(&Call { abi: Abi::Native, number: last }));
    }

    #[test]
    fn expressions() {
        assert_eq!(chosen("/^dup3?$/"), ["dup", "dup3", "dup.32", "dup3.32"]);
        assert_eq!(chosen("/^ge{1,2}tpid$/,close"), chosen("close getpid"));
    }

    #[test]
    fn errors_say_what_would_be_right() {
        assert_eq!(refused("raed"), "no system call raed; did you mean read?");
        assert_eq!(refused("close,!opennat"), "no system call opennat; did you mean openat?");
        assert_eq!(refused("%fiel"), "no class of system calls %fiel; did you mean %file?");
        assert_eq!(refused("memory"), "no system call memory; did you mean %memory?");
        assert_eq!(refused("close,"), "the name of a system call is missing");
        assert_eq!(refused("/clos"), "“/clos” has no closing /");
        assert_eq!(refused("/clos$/"), "no system call matches /clos$/");
        assert!(refused("/(/").starts_with("“/(/” is no regular expression: "));
        assert_eq!(refused("close !close"), "“close !close” leaves no system call");
        assert!(refused("§").contains(" there are names as in syscalls(2), %file "));
        if NATIVE == Arch::X86_64 {
            assert_eq!(
                refused("pciconfig_read"),
                "x86_64 has no system call pciconfig_read, only arm has"
            );
        } else {
            assert_eq!(refused("uprobe"), "aarch64 has no system call uprobe, only x86_64 has");
        }
    }
}

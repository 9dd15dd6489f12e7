//! System calls of known number, and the truth about them: the live tests' and the benchmarks' ground
//! truth, from outside of nettrace.
//!
//!     calls count [procs=N] [threads=N] [calls=N]   lines PID CALL CALLS|- ERRNO=COUNT…
//!     calls kinds [procs=N]                         each process makes all calls that fail at once
//!     calls errnos                                  a read() that fails in five ways
//!     calls become [uid=N] [calls=N]                getppid() as another user and by another name
//!     calls unknown [kinds=N]                       calls that there aren't, each once, and -1
//!     calls fork [procs=N]                          children that only exit
//!     calls sleep [calls=N] [us=N]                  what nanosleep() took, ns, a line each
//!     calls interrupted                             a read() that is restarted, one that isn't, a pause()
//!                                                   that is killed
//!     calls compat [calls=N]                        32-bit getppid() on x86_64; exit status 3 without
//!     calls hold                                    says `ready`, makes a getppid() for each line read

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};

const NO_SUCH_FD: libc::c_long = -1;
const NO_SUCH_COMMAND: libc::c_long = 0x7fff;

struct Args(HashMap<String, usize>);

impl Args {
    fn get(&self, key: &str, default: usize) -> usize {
        self.0.get(key).copied().unwrap_or(default)
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mode = words.next().expect("a mode");
    let args = words.map(|word| {
        let (key, value) = word.split_once('=').expect("KEY=VALUE");
        (key.to_owned(), value.parse().expect("a number"))
    });
    let args = Args(args.collect());
    match mode.as_str() {
        "count" => in_processes(args.get("procs", 1), || count(&args)),
        "kinds" => in_processes(args.get("procs", 1), kinds),
        "errnos" => errnos(),
        "become" => become_user(&args),
        "unknown" => in_processes(args.get("procs", 1), || unknown(&args)),
        "fork" => forks(&args),
        "sleep" => sleep(&args),
        "interrupted" => interrupted(),
        "compat" => compat(&args),
        "hold" => hold(),
        other => panic!("no mode {other}"),
    }
}

/// Runs it in so many processes at once, and waits for them.
fn in_processes(count: usize, work: impl Fn()) {
    let children: Vec<Pid> = (0..count)
        // SAFETY: this program has one thread.
        .map(|_| match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                work();
                // SAFETY: ends the child without its parent's clean-up.
                unsafe { libc::_exit(0) }
            }
        })
        .collect();
    for child in children {
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
    }
}

/// One call by its number. No argument is an address.
fn call(number: libc::c_long, first: libc::c_long, second: libc::c_long) -> libc::c_long {
    // SAFETY: calls that take no pointer, or fail before they look at one.
    unsafe { libc::syscall(number, first, second, 0, 0, 0, 0) }
}

fn print(lines: &str) {
    std::io::stdout().lock().write_all(lines.as_bytes()).expect("stdout");
}

fn count(args: &Args) {
    let (threads, calls) = (args.get("threads", 1), args.get("calls", 1000));
    let work = move || {
        for number in 0..calls {
            assert!(call(libc::SYS_getppid, 0, 0) > 0);
            if number % 2 == 0 {
                assert_eq!(call(libc::SYS_fsync, NO_SUCH_FD, 0), -1);
            }
            if number % 5 == 0 {
                assert_eq!(call(libc::SYS_fcntl, 0, NO_SUCH_COMMAND), -1);
                assert_eq!(call(libc::SYS_fcntl, NO_SUCH_FD, 0), -1);
            }
        }
    };
    let others: Vec<_> = (1..threads).map(|_| thread::spawn(work)).collect();
    work();
    others.into_iter().for_each(|other| other.join().expect("a thread"));
    let pid = std::process::id();
    let (all, half, fifth) =
        (calls * threads, calls.div_ceil(2) * threads, calls.div_ceil(5) * threads);
    print(&format!(
        "{pid} getppid {all}\n{pid} fsync {half} EBADF={half}\n\
         {pid} fcntl {} EBADF={fifth} EINVAL={fifth}\n",
        2 * fifth,
    ));
}

/// More calls than a thread's own table has places, each of them three times.
fn kinds() {
    let pid = std::process::id();
    let mut lines = String::new();
    for (number, name) in KINDS {
        let failed = (0..3).filter(|_| call(number, NO_SUCH_FD, 0) == -1).count();
        let errno = Errno::last();
        let errnos = if failed == 0 { String::new() } else { format!(" {errno:?}={failed}") };
        lines += &format!("{pid} {name} 3{errnos}\n");
    }
    print(&lines);
}

/// More errnos of one call than its counters have places.
fn errnos() {
    let dir = std::fs::File::open("/").expect("open /");
    let zero = std::fs::File::open("/dev/zero").expect("open /dev/zero");
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("an eventfd");
    let mut buffer = [0; 8];
    let mut read = |fd: i32, len, errno| {
        // SAFETY: a buffer of that many bytes.
        assert_eq!(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), len) }, -1);
        assert_eq!(Errno::last(), errno);
    };
    for _ in 0..3 {
        read(-1, 8, Errno::EBADF);
        read(dir.as_raw_fd(), 8, Errno::EISDIR);
        read(event.as_raw_fd(), 1, Errno::EINVAL);
        read(event.as_raw_fd(), 8, Errno::EAGAIN);
        // SAFETY: the kernel refuses the address.
        let status =
            unsafe { libc::syscall(libc::SYS_read, zero.as_raw_fd(), 1 as libc::c_long, 8) };
        assert_eq!((status, Errno::last()), (-1, Errno::EFAULT));
    }
    let pid = std::process::id();
    print(&format!("{pid} read - EBADF=3 EISDIR=3 EINVAL=3 EAGAIN=3 EFAULT=3\n"));
}

fn become_user(args: &Args) {
    let calls = args.get("calls", 1000);
    call(libc::SYS_getppid, 0, 0);
    assert_eq!(call(libc::SYS_setuid, args.get("uid", 4242) as libc::c_long, 0), 0);
    // SAFETY: a name with its end.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NAME, c"renamed".as_ptr()) }, 0);
    for _ in 0..calls {
        call(libc::SYS_getppid, 0, 0);
    }
    println!("{} getppid {calls}", std::process::id());
}

fn unknown(args: &Args) {
    const FIRST: usize = 10_000;

    let pid = std::process::id();
    let kinds = args.get("kinds", 100);
    for number in FIRST..FIRST + kinds {
        assert_eq!(call(number as libc::c_long, 0, 0), -1);
    }
    for _ in 0..7 {
        assert_eq!(call(-1, 0, 0), -1);
    }
    let lines = (FIRST..FIRST + kinds).map(|n| format!("{pid} syscall_{n} 1 ENOSYS=1\n"));
    print(&lines.collect::<String>());
}

fn forks(args: &Args) {
    let children = args.get("procs", 20);
    for _ in 0..children {
        // Not the library's fork, whose children call more than they are asked to.
        // SAFETY: the child, which has a stack of its own, does nothing but end.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child == 0 {
            // SAFETY: it returns to nobody.
            unsafe { libc::syscall(libc::SYS_exit_group, 0) };
        }
        assert!(waitpid(Pid::from_raw(child as i32), None).is_ok());
    }
    println!("{} exit_group {}", std::process::id(), children + 1);
}

fn sleep(args: &Args) {
    let pause = Duration::from_micros(args.get("us", 1000) as u64);
    let took: Vec<String> = (0..args.get("calls", 20))
        .map(|_| {
            let start = Instant::now();
            thread::sleep(pause);
            format!("{}\n", start.elapsed().as_nanos())
        })
        .collect();
    print(&took.concat());
}

extern "C" fn on_signal(_: libc::c_int) {}

/// Blocks in a read() until signalled, and returns whether it was restarted.
fn interrupted_read(flags: SaFlags) {
    let action = SigAction::new(SigHandler::Handler(on_signal), flags, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("a handler");
    let (from, to) = pipe().expect("a pipe");
    // SAFETY: the child only signals, writes and ends.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            let parent = Pid::parent();
            thread::sleep(Duration::from_millis(100));
            kill(parent, Signal::SIGUSR1).expect("signal");
            thread::sleep(Duration::from_millis(100));
            nix::unistd::write(&to, b"x").expect("write");
            // SAFETY: ends the child without its parent's clean-up.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            let result = nix::unistd::read(&from, &mut [0]);
            let is_restarted = flags.contains(SaFlags::SA_RESTART);
            assert_eq!(result, if is_restarted { Ok(1) } else { Err(Errno::EINTR) });
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
        }
    }
}

fn interrupted() {
    interrupted_read(SaFlags::SA_RESTART);
    interrupted_read(SaFlags::empty());
    // SAFETY: the child only waits.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => loop {
            nix::unistd::pause();
        },
        ForkResult::Parent { child } => {
            thread::sleep(Duration::from_millis(100));
            kill(child, Signal::SIGKILL).expect("kill");
            assert_eq!(
                waitpid(child, None),
                Ok(WaitStatus::Signaled(child, Signal::SIGKILL, false))
            );
            println!("{child} pause 1 ERESTARTNOHAND=1");
        }
    }
    let pid = std::process::id();
    println!("{pid} read - ERESTARTSYS=2");
}

#[cfg(target_arch = "x86_64")]
fn compat(args: &Args) {
    const GETPPID: i64 = 64;

    let calls = args.get("calls", 100);
    // A kernel without them ends who tries.
    // SAFETY: the child only makes calls and ends.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            for _ in 0..calls {
                let mut result = GETPPID;
                // SAFETY: getppid() takes nothing and changes no memory.
                unsafe { std::arch::asm!("int 0x80", inout("rax") result) };
                assert!(result > 0);
            }
            // SAFETY: ends the child without its parent's clean-up.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            if waitpid(child, None) != Ok(WaitStatus::Exited(child, 0)) {
                std::process::exit(3);
            }
            println!("{child} getppid.32 {calls}");
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn compat(_: &Args) {
    std::process::exit(3);
}

fn hold() {
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line.expect("stdin");
        call(libc::SYS_getppid, 0, 0);
    }
}

/// They fail at once, or only ask.
const KINDS: [(libc::c_long, &str); 73] = [
    (libc::SYS_read, "read"),
    (libc::SYS_close, "close"),
    (libc::SYS_fstat, "fstat"),
    (libc::SYS_lseek, "lseek"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_preadv, "preadv"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_dup, "dup"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_fchdir, "fchdir"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fadvise64, "fadvise64"),
    (libc::SYS_readahead, "readahead"),
    (libc::SYS_syncfs, "syncfs"),
    (libc::SYS_sync_file_range, "sync_file_range"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_splice, "splice"),
    (libc::SYS_tee, "tee"),
    (libc::SYS_vmsplice, "vmsplice"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_sendmmsg, "sendmmsg"),
    (libc::SYS_recvmmsg, "recvmmsg"),
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_listen, "listen"),
    (libc::SYS_bind, "bind"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_getsockname, "getsockname"),
    (libc::SYS_getpeername, "getpeername"),
    (libc::SYS_shutdown, "shutdown"),
    (libc::SYS_setsockopt, "setsockopt"),
    (libc::SYS_getsockopt, "getsockopt"),
    (libc::SYS_epoll_ctl, "epoll_ctl"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_inotify_add_watch, "inotify_add_watch"),
    (libc::SYS_inotify_rm_watch, "inotify_rm_watch"),
    (libc::SYS_timerfd_settime, "timerfd_settime"),
    (libc::SYS_timerfd_gettime, "timerfd_gettime"),
    (libc::SYS_fstatfs, "fstatfs"),
    (libc::SYS_fsetxattr, "fsetxattr"),
    (libc::SYS_fgetxattr, "fgetxattr"),
    (libc::SYS_flistxattr, "flistxattr"),
    (libc::SYS_fremovexattr, "fremovexattr"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_readlinkat, "readlinkat"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_faccessat, "faccessat"),
    (libc::SYS_utimensat, "utimensat"),
    (libc::SYS_mq_timedsend, "mq_timedsend"),
    (libc::SYS_mq_timedreceive, "mq_timedreceive"),
    (libc::SYS_mq_notify, "mq_notify"),
    (libc::SYS_mq_getsetattr, "mq_getsetattr"),
    (libc::SYS_getsid, "getsid"),
    (libc::SYS_getpgid, "getpgid"),
    (libc::SYS_sched_getscheduler, "sched_getscheduler"),
    (libc::SYS_sched_getparam, "sched_getparam"),
    (libc::SYS_getpriority, "getpriority"),
];

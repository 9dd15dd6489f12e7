//! System calls of known number: what the benchmarks watch.
//!
//!     load loop                    for each line of input `getppid|read CHUNKS CALLS` so many calls;
//!                                  prints ns per call, of the median chunk
//!     load crowd COMM PROCESSES    processes of this name that make 50 different calls at each line
//!                                  of input; prints `done` when all have

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getppid, read};

/// All take a descriptor first, and fail at once where there is none.
const CROWD_CALLS: [i64; 50] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_ioctl,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_sendfile,
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_epoll_ctl,
    libc::SYS_inotify_rm_watch,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_sync_file_range,
    libc::SYS_vmsplice,
    libc::SYS_fallocate,
    libc::SYS_timerfd_gettime,
    libc::SYS_accept4,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_preadv,
    libc::SYS_syncfs,
    libc::SYS_setns,
    libc::SYS_fgetxattr,
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["loop"] => loops(),
        ["crowd", name, processes] => crowd(name, processes.parse().expect("a number")),
        _ => panic!("loop, or crowd COMM PROCESSES"),
    }
}

fn loops() {
    let zero = File::open("/dev/zero").expect("open /dev/zero");
    for line in io::stdin().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        let [call, chunks, calls] = words[..] else { panic!("not CALL CHUNKS CALLS: {line}") };
        let (chunks, calls) = (chunks.parse().expect("a number"), calls.parse().expect("a number"));
        let ns = match call {
            "getppid" => ns_per_call(chunks, calls, || {
                getppid();
            }),
            "read" => ns_per_call(chunks, calls, || {
                read(&zero, &mut []).expect("read");
            }),
            _ => panic!("no loop of {call}"),
        };
        println!("{ns}");
    }
}

fn ns_per_call(chunks: usize, calls: u32, mut call: impl FnMut()) -> f64 {
    let chunk = |_| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed()
    };
    let mut times: Vec<Duration> = (0..chunks).map(chunk).collect();
    times.sort();
    times[chunks / 2].as_nanos() as f64 / f64::from(calls)
}

/// So long after each new process: about 2,000 a second, as a busy build makes them.
const PACE: Duration = Duration::from_micros(400);

/// They start at the first line, and end with the input.
fn crowd(name: &str, processes: usize) {
    prctl::set_name(&CString::new(name).expect("a name")).expect("set the name");
    let again = SigSet::from(Signal::SIGUSR1);
    again.thread_block().expect("block a signal");
    let (mut dones, mut done) = io::pipe().expect("a pipe");
    let mut children: Vec<Pid> = Vec::new();
    for _ in io::stdin().lines() {
        for child in &children {
            kill(*child, Signal::SIGUSR1).expect("tell a child");
        }
        while children.len() < processes {
            children.push(in_child(|| {
                loop {
                    for call in CROWD_CALLS {
                        // SAFETY: none of them does anything without a descriptor.
                        unsafe { libc::syscall(call, -1, -1, -1, -1, -1, -1) };
                    }
                    done.write_all(b"x").expect("tell");
                    again.wait().expect("wait for a signal");
                }
            }));
            thread::sleep(PACE);
        }
        dones.read_exact(&mut vec![0; processes]).expect("hear");
        println!("done");
    }
    for child in &children {
        kill(*child, Signal::SIGKILL).expect("end a child");
    }
    for child in children {
        waitpid(child, None).expect("wait");
    }
}

fn in_child(mut work: impl FnMut()) -> Pid {
    // SAFETY: there is one thread.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            prctl::set_pdeathsig(Signal::SIGKILL).expect("end with the parent");
            work();
            std::process::exit(0);
        }
        ForkResult::Parent { child } => child,
    }
}

//! Bytes by process equal what was sent and received, to the byte.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::support::{A4, A6, Pair, Truth, load, traced};

/// Lower rungs may miss calls, and count those: then what is told in all is no more than the truth, and
/// the test goes on with another run. Where programs can be preempted, each run may miss some. Where the
/// kernel doesn't count what kprobes miss, one run has to be exact: a missed end of a socket lets the next
/// one at that address pass for it.
const RUNS: usize = 5;

fn assert_exact(top: &[&str], traffic: &[&str]) {
    let traffic: Vec<String> = traffic.iter().map(|word| scaled(word)).collect();
    let traffic: Vec<&str> = traffic.iter().map(String::as_str).collect();
    let is_forced = std::env::var("NETTRACE_WITHOUT").is_ok_and(|words| !words.is_empty());
    for number in 1..=RUNS {
        let run = traced(top, &traffic);
        let mut truth = run.truth.clone();
        truth.retain(|t| t.rx + t.tx > 0);
        assert!(!truth.is_empty());
        let ours = run.by_process();
        let is_told = !run.stderr.is_empty();
        let always_misses = is_preemptible();
        if ours != truth && !is_told && number < RUNS && misses_silently() {
            continue;
        }
        // What the kernel's own kprobes miss, it doesn't tell.
        let is_untold = always_misses && number < RUNS && ours != truth;
        if is_forced && (is_told && (number < RUNS || always_misses) || is_untold) {
            assert!(!is_told || run.stderr.starts_with("nettrace: lost "), "{}", run.stderr);
            let all = |sums: &[Truth]| sums.iter().map(|sum| sum.rx + sum.tx).sum::<u64>();
            assert!(all(&ours) <= all(&truth), "{ours:?} {truth:?}");
            if always_misses && is_told {
                // A program that was preempted is missed by all on that CPU until it goes on.
                return;
            }
            assert!(all(&ours) * 2 >= all(&truth), "few may be missed: {ours:?} {truth:?}");
            continue;
        }
        run.assert_no_loss();
        assert_eq!(ours, truth);
        return;
    }
}

/// Large numbers are less of a load where it counts.
fn scaled(word: &str) -> String {
    let large = word.split_once('=').and_then(|(key, value)| Some((key, value.parse().ok()?)));
    match large {
        Some((key, value)) if value >= 2000 => format!("{key}={}", load(value)),
        _ => word.to_owned(),
    }
}

/// Whether sockets are watched by kprobes on a kernel that doesn't count those it misses, as since 6.7.
fn misses_silently() -> bool {
    let is_forced = std::env::var("NETTRACE_WITHOUT").is_ok_and(|words| words.contains("fentry"));
    let release = nettrace::kernel::release();
    let mut numbers = release.split('.').map_while(|word| word.parse::<u32>().ok());
    is_forced && (numbers.next(), numbers.next()) < (Some(6), Some(7))
}

/// Whether hooks may miss something here, told or not.
pub(crate) fn is_imprecise() -> bool {
    let is_forced = std::env::var("NETTRACE_WITHOUT").is_ok_and(|words| !words.is_empty());
    is_forced && (misses_silently() || is_preemptible())
}

/// Whether a task can lose its CPU within the kernel, and so within a program on a function.
fn is_preemptible() -> bool {
    let mode = fs::read_to_string("/sys/kernel/debug/sched/preempt").unwrap_or_default();
    mode.contains("(full)") || mode.contains("(lazy)")
}

#[test]
fn one_connection_over_loopback() {
    assert_exact(&[], &["tcp", "up=50000001", "down=12345"]);
    assert_exact(&[], &["tcp", "v6=1", "up=50000001", "down=12345"]);
}

#[test]
fn two_thousand_short_connections_over_loopback() {
    assert_exact(&[], &["tcp", "conns=2000", "up=1001", "down=77"]);
    assert_exact(&[], &["tcp", "conns=2000", "up=1", "down=0", "v6=1"]);
}

#[test]
fn two_thousand_short_connections_with_many_ticks() {
    assert_exact(&["procs", "0.05"], &["tcp", "conns=2000", "up=1001", "down=77"]);
}

#[test]
fn two_namespaces_over_veth() {
    let pair = Pair::new();
    let (server, client) = (format!("server_ns={}", pair.a), format!("client_ns={}", pair.b));
    for ip in [A4, A6] {
        let ip = format!("server_ip={ip}");
        let between = [server.as_str(), client.as_str(), ip.as_str()];
        let check = |args: &[&'static str]| assert_exact(&[], &[args, &between[..]].concat());
        check(&["tcp", "up=20000000", "down=5"]);
        check(&["tcp", "conns=2000", "up=500", "down=1000"]);
        check(&["udp", "conns=2000", "up=18", "down=1400"]);
    }
}

#[test]
fn udp_over_loopback() {
    assert_exact(&[], &["udp", "conns=1", "up=60000", "down=1"]);
    assert_exact(&[], &["udp", "conns=2000", "up=100", "down=333"]);
    assert_exact(&["procs", "0.05"], &["udp", "conns=2000", "up=100", "down=333", "v6=1"]);
}

#[test]
fn raw_sockets() {
    assert_exact(&["procs", "0.05"], &["raw", "conns=100", "up=70"]);
}

#[test]
fn peeked_bytes_count_once() {
    assert_exact(&[], &["udp", "conns=50", "peek=1"]);
    assert_exact(&[], &["tcp", "conns=50", "peek=1"]);
}

#[test]
fn empty_datagrams_and_connections_carry_nothing() {
    let run = traced(&[], &["tcp", "conns=3", "up=0", "down=0"]);
    assert_eq!(run.by_process(), []);
    let run = traced(&["conns"], &["udp", "conns=3", "up=0", "down=0"]);
    let sum: u64 = run.rows().iter().map(|row| row["rx_bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum, 0);
    assert_eq!(run.rows().len(), 4, "three clients and the server, though without a byte");
}

#[test]
fn a_socket_kept_over_fork_counts_for_who_uses_it() {
    assert_exact(&[], &["fork", "up=100001", "down=200003"]);
}

#[test]
fn a_passed_socket_counts_for_who_uses_it() {
    assert_exact(&[], &["pass", "up=100001", "down=200003"]);
}

#[test]
fn a_socket_used_by_two_at_once_is_split_exactly() {
    assert_exact(&["procs", "0.05"], &["both", "up=1000000", "down=2000000"]);
}

#[test]
fn a_long_call_of_another_process_is_its_own() {
    assert_exact(&["procs", "0.05"], &["fork", "up=10", "down=50000000"]);
}

#[test]
fn what_waits_to_be_read_is_of_who_reads_it() {
    assert_exact(&["procs", "0.05"], &["read", "up=10", "down=20000000"]);
    assert_exact(&[], &["read", "up=10", "down=500"]);
}

#[test]
fn what_arrived_before_the_worker_read_is_the_worker_s() {
    assert_exact(&["procs", "0.05"], &["prefork", "up=30000"]);
    assert_exact(&[], &["prefork", "up=30000"]);
}

#[test]
fn mptcp_counts_once_and_for_who_uses_it() {
    if let Err(error) = mptcp_socket() {
        // Such a kernel has nothing to count.
        assert_eq!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT));
        return;
    }
    assert_exact(&["procs", "0.05"], &["mptcp", "up=3000000", "down=77"]);
}

#[test]
fn a_shared_connection_is_listed_under_who_used_it_last() {
    let run = traced(&["conns"], &["fork", "up=1000", "down=2000"]);
    let child = run.truth.iter().find(|t| t.tx == 2000).unwrap();
    let rows = run.rows();
    let row = rows.iter().find(|row| row["tx_bytes"] == 3000).expect("the connection");
    assert_eq!(row["pid"], child.pid);
}

fn mptcp_socket() -> io::Result<OwnedFd> {
    // SAFETY: makes a descriptor or returns -1.
    let fd = unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_MPTCP)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

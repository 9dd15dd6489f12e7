//! How the program behaves: exits, pipes, signals, files, names.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{B4, Pair, nettrace, number, rows, text, traced, traffic};

fn run(args: &[&str]) -> Output {
    nettrace().args(args).output().unwrap()
}

fn status(args: &[&str]) -> i32 {
    run(args).status.code().unwrap()
}

/// Our own process, which is all that these runs need to look at.
fn own_pid() -> String {
    std::process::id().to_string()
}

#[test]
fn a_command_s_status_is_ours() {
    assert_eq!(status(&["top", "--", "true"]), 0);
    assert_eq!(status(&["top", "--", "sh", "-c", "exit 7"]), 7);
    assert_eq!(status(&["top", "--", "sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(status(&["top", "--", "/no/such/command"]), 127);
    assert_eq!(status(&["top", "--", "/etc/passwd"]), 126);
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let output = run(&["top", "--", "/no/such/command"]);
    assert!(text(&output.stderr).starts_with("nettrace: /no/such/command: No such file"));
    assert_eq!(text(&output.stdout), "", "no table of nothing");
}

#[test]
fn children_of_children_are_followed() {
    let run = traced(&[], &["tcp", "conns=1", "up=5000"]);
    assert_eq!(run.by_process().len(), 2);
    let output = run_under_shell("traffic=$1; sh -c \"sh -c '$traffic tcp up=5000'\"; true");
    let document: Value = serde_json::from_str(&output).unwrap();
    let moved: u64 = rows(&document).iter().map(|row| row["rx_bytes"].as_u64().unwrap()).sum();
    assert_eq!(moved, 5000);
}

fn run_under_shell(script: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.json");
    let status = nettrace()
        .args(["top", "-O", "json", "-o"])
        .arg(&file)
        .args(["--", "sh", "-c", script, "sh"])
        .arg(traffic())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    fs::read_to_string(file).unwrap()
}

#[test]
fn wrong_usage_is_2_and_says_what_to_type() {
    for (args, hint) in [
        (&["top", "conn"][..], "did you mean conns?"),
        (&["top", "procs", "0"], "write seconds from 0.05 up"),
        (&["top", "1", "x"], "is no filter; try comm:x"),
        (&["top", "1", "2.5"], "is no COUNT"),
        (&["top", "prot:tcp"], "did you mean proto:?"),
        (&["top", "-s", "pidd"], "did you mean pid?"),
        (&["top", "--columns", "pid,comn"], "did you mean comm?"),
        (&["top", "-p", "0"], "0 is not in"),
        (&["top", "-p", "4194304000"], "there is no process"),
        (&["top", "--uid", "no-such-user"], "there is no user no-such-user"),
        (&["top", "conns", "-i", "eth0"], "-i goes with the views ifaces"),
        (&["top", "ifaces", "-i", "nosuch0"], "there is no interface nosuch0; there are "),
        (&["top", "--columns", "pid,comm,PID"], "column PID is there twice"),
        (&["top", "--ring-size", "3000"], "a power of two"),
        (&["top", "--duration", "-1"], "unexpected argument"),
        (&["top", "-O", "xml"], "[possible values: table, json, ndjson, csv]"),
        (&["doctr"], "did you mean doctor?"),
        (&["top", "--force"], "-o <FILE>"),
        (&["top", "syscalls", "-4"], "are about sockets"),
        (&["top", "drops", "-p", "1"], "nettrace drops shows single ones"),
        (&["top", "drops", "port:80"], "port: is about single drops"),
        (&["drops", "NO_SOCKET"], "reasons are chosen by --reason NO_SOCKET"),
        (&["drops", "--reason", "reset-snt"], "did you mean reset-sent?"),
        (&["drops", "-O", "csv"], "-O ndjson has a line a drop"),
        (&["syscalls", "ls"], "a command goes behind --, as in nettrace syscalls -- ls"),
        (&["syscalls", "10"], "--duration 10 ends it after 10 s"),
        (&["syscalls", "%file"], "calls are chosen by --syscall %file"),
        (&["syscalls", "--syscall", "%fil"], "did you mean %file?"),
        (&["syscalls", "--syscall", "read,!read"], "leaves no system call"),
        (&["syscalls", "--stack"], "--slower-than <TIME>"),
        (&["syscalls", "--count-only", "--histogram"], "cannot be used with"),
        (&["syscalls", "--by", "thread"], "[possible values: syscall, process, container]"),
        (&["syscalls", "-O", "csv", "--slower-than", "1s"], "-O ndjson has a line a call"),
    ] {
        let output = run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(hint), "{args:?}: {stderr}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
}

#[test]
fn a_cgroup_that_isn_t_there_so_far_is_told() {
    let said = |cgroup| text(&run(&["top", "--cgroup", cgroup, "0.05", "1"]).stderr).to_owned();
    assert!(said("/no/such").contains("there is no cgroup /no/such so far"));
    assert!(!said("/").contains("no cgroup"));
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let output = run(&["top", "--netns", "no-such-namespace"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no network namespace no-such-namespace; "));
    for command in ["top", "events", "drops", "capture", "path"] {
        assert_eq!(status(&[command, "--netns", "/etc/passwd", "ip"]), 2, "{command}");
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    for format in ["table", "json", "ndjson", "csv"] {
        let mut child = nettrace()
            .args(["top", "listeners", "0.05", "0", "-O", format, "-p", &own_pid()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 1]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{format}");
        assert_eq!(text(&output.stderr), "", "{format}");
    }
}

#[test]
fn signals_end_it_with_a_last_frame_and_a_whole_document() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let child = nettrace()
            .args(["top", "procs", "60", "0", "-O", "json", "-p", &own_pid()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_attached(child.id());
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let begin = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "{signal}");
        assert_eq!(output.status.code(), Some(0), "{signal}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["frames"].as_array().unwrap().len(), 1, "{signal}");
    }
}

#[test]
fn a_thread_is_no_process() {
    let thread = thread::spawn(|| {
        let id = nix::unistd::gettid().to_string();
        let output = run(&["syscalls", "-p", &id]);
        (
            output.status.code(),
            text(&output.stderr)
                == format!("nettrace: {id} is a thread; write its process's number\n"),
        )
    });
    assert_eq!(thread.join().unwrap(), (Some(2), true));
}

#[test]
fn it_ends_with_the_last_process_that_it_watches() {
    for args in [&["syscalls"][..], &["top", "syscalls", "60", "0"], &["top", "procs", "60", "0"]] {
        let mut sleeps = [(); 2].map(|()| Command::new("sleep").arg("600").spawn().unwrap());
        let pids = sleeps.each_ref().map(|sleep| sleep.id().to_string());
        let mut child = nettrace()
            .args(args)
            .args(["-O", "json", "-p", &pids.join(",")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_attached(child.id());
        sleeps[0].kill().unwrap();
        sleeps[0].wait().unwrap();
        thread::sleep(Duration::from_millis(250));
        assert!(child.try_wait().unwrap().is_none(), "{args:?}: one of two still runs");
        // Nobody has waited for this one yet.
        sleeps[1].kill().unwrap();
        let output = child.wait_with_output().unwrap();
        sleeps[1].wait().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stderr).contains("no process left"), "{args:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["frames"].as_array().unwrap().len(), 1, "{args:?}");
    }
}

fn wait_until_attached(pid: u32) {
    wait_until("attached", || waits(pid) && !held("prog", pid).is_empty());
}

/// Whether it waits for its tick to end, which it does once everything is attached.
fn waits(pid: u32) -> bool {
    let poll = [
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll.to_string(),
        libc::SYS_ppoll.to_string(),
    ];
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    call.split(' ').next().is_some_and(|call| poll.iter().any(|poll| poll == call))
}

/// Long enough for an emulated CPU.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it isn't {what}");
        thread::sleep(Duration::from_millis(25));
    }
}

/// Ids of the BPF programs (`prog`) or links (`link`) that a process holds.
fn held(kind: &str, pid: u32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return Vec::new();
    };
    let infos = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let key = format!("{kind}_id:");
    let id = |info: String| {
        info.lines().find_map(|line| line.strip_prefix(key.as_str())?.trim().parse().ok())
    };
    let mut ids: Vec<u64> = infos.filter_map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Ids of all that there are.
fn all(kind: &str) -> Vec<u64> {
    let list = || {
        let output = Command::new("bpftool").args(["-j", kind, "list"]).output().unwrap();
        let list: Vec<Value> = serde_json::from_slice(&output.stdout).ok()?;
        // It stops with an error, which has no id, at one that goes away meanwhile.
        list.iter().map(|item| item["id"].as_u64()).collect()
    };
    (0..100).find_map(|_| list()).expect("a list from bpftool")
}

#[test]
fn kill_9_leaves_nothing_attached() {
    let mut child = nettrace()
        .args(["top", "procs", "60", "0", "-p", &own_pid()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until_attached(child.id());
    assert_nothing_is_left(&mut child);
}

/// Of a program that is killed: nothing of what it held is there any more.
pub(crate) fn assert_nothing_is_left(child: &mut Child) {
    let kinds = ["prog", "link"].map(|kind| (kind, held(kind, child.id())));
    for (kind, ids) in &kinds {
        let there = all(kind);
        assert!(!ids.is_empty() && ids.iter().all(|id| there.contains(id)), "{kind} {ids:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel frees them after an RCU grace period.
    let is_gone = |(kind, ids): &(&str, Vec<u64>)| {
        let left = all(kind);
        ids.iter().all(|id| !left.contains(id))
    };
    wait_until("gone", || kinds.iter().all(is_gone));
}

#[test]
fn a_full_disk_is_an_error() {
    for format in ["table", "json", "ndjson", "csv"] {
        let args = ["top", "ifaces", "0.05", "-O", format, "-o", "/dev/full"];
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1), "{format}");
        assert!(text(&output.stderr).contains("No space left on device"), "{format}");
    }
}

#[test]
fn a_document_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.json");
    let mut child = nettrace()
        .args(["top", "ifaces", "0.05", "0", "-O", "json", "-o"])
        .arg(&file)
        .spawn()
        .unwrap();
    wait_until("ticking", || waits(child.id()));
    thread::sleep(Duration::from_millis(500));
    assert!(!file.exists(), "no name before it is whole");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert!(child.wait().unwrap().success());
    let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(document["frames"].as_array().unwrap().len() > 1);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let file = file.to_str().unwrap();
    let output = run(&["top", "ifaces", "0.05", "-o", file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("exists; --force overwrites it"));
    assert_eq!(status(&["top", "ifaces", "0.05", "-o", file, "--force"]), 0);
    assert!(fs::read_to_string(file).unwrap().starts_with("IFACE"));
}

#[test]
fn a_table_that_grows_has_every_socket() {
    // More than the first table has room for, with few capabilities left.
    let pair = Pair::new();
    let mut traffic = Command::new("ip")
        .args(["netns", "exec", &pair.a])
        .arg(traffic())
        .args(["idle", "conns=5000", "seconds=60"])
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(traffic.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = run(&["top", "conns", "0.1", "-O", "json", "--netns", &pair.a]);
    killpg(Pid::from_raw(traffic.id().cast_signed()), Signal::SIGKILL).unwrap();
    traffic.wait().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows(&document).len(), 5000);
}

#[test]
fn doctor_names_every_hook_and_its_rung() {
    let output = run(&["doctor", "-O", "json"]);
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hooks = report["hooks"].as_array().unwrap();
    for datum in ["table", "owners", "states", "sent", "received", "forks", "exits", "counters"] {
        let found = hooks.iter().find(|hook| hook["datum"] == datum).unwrap();
        assert!(found["rung"].is_string(), "{found}");
        assert_eq!(found["reason"], Value::Null);
        assert!(!found["hooks"].as_array().unwrap().is_empty(), "{found}");
        for above in found["above"].as_array().unwrap() {
            assert!(!above["reason"].as_str().unwrap().is_empty(), "{above}");
        }
    }
    assert_eq!(report["failure"], Value::Null);
}

#[test]
fn without_a_hook_on_calls_their_bytes_are_unknown_and_it_says_why() {
    let run = |view: &str| {
        nettrace()
            .args(["top", view, "-O", "json", "--"])
            .arg(traffic())
            .args(["udp", "conns=2"])
            .env("NETTRACE_WITHOUT", "sock_send_length,sock_recv_length,inet_sendmsg,inet_recvmsg")
            .output()
            .unwrap()
    };
    for view in ["conns", "hosts"] {
        let output = run(view);
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("missing are bytes sent on UDP"), "{stderr}");
        assert!(stderr.contains("switched off by NETTRACE_WITHOUT"), "{stderr}");
        assert!(!stderr.contains("libbpf"), "{stderr}");
        let stdout = text(&output.stdout);
        let document: Value = serde_json::from_str(&stdout[stdout.find('{').unwrap()..]).unwrap();
        for row in rows(&document) {
            assert_eq!(row["rx_bytes_per_second"], Value::Null, "{row}");
        }
    }
}

#[test]
fn a_switch_that_switches_nothing_is_an_error() {
    let output =
        nettrace().args(["top", "procs", "0.05"]).env("NETTRACE_WITHOUT", "fentri").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no hook fentri"));
}

#[test]
fn hostile_names_cannot_touch_the_terminal() {
    for format in ["table", "json", "ndjson", "csv"] {
        let output = nettrace()
            .args(["top", "procs", "-O", format, "--"])
            .arg(traffic())
            .args(["tcp", "up=100", "name=ESC[2J"])
            .output()
            .unwrap();
        let stdout = text(&output.stdout);
        assert!(output.status.success());
        assert!(!stdout.contains('\x1b'), "{format}");
        assert!(stdout.contains("x1b[2J"), "{format}: {stdout}");
    }
}

#[test]
fn listeners_and_their_backlog() {
    let pair = Pair::new();
    let mut bound = Command::new(traffic())
        .args(["bind", "seconds=60", &format!("server_ns={}", pair.a)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(bound.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ports: Vec<u64> = line.split_whitespace().map(|p| p.parse().unwrap()).collect();
    let output = run(&["top", "listeners", "0.1", "-O", "json", "--netns", &pair.a]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = rows(&document);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (proto, port, backlog) in
        [("udp", ports[0], Value::Null), ("tcp", ports[1], Value::from(128))]
    {
        let row = rows.iter().find(|row| row["proto"] == proto).unwrap();
        assert_eq!(row["local_port"], port);
        assert_eq!(row["local_address"], "127.0.0.1");
        assert_eq!(row["pid"], bound.id());
        assert_eq!(row["netns"], pair.a);
        assert_eq!(row["overflows"], 0);
        if proto == "tcp" {
            assert!(row["backlog"].as_u64() >= backlog.as_u64(), "{row}");
        } else {
            assert_eq!(row["backlog"], Value::Null);
        }
    }
    bound.kill().unwrap();
    bound.wait().unwrap();
}

#[test]
fn interfaces_agree_with_ip() {
    let pair = Pair::new();
    let mut child = nettrace()
        .args(["top", "ifaces", "0.1", "0", "-O", "ndjson", "-i", "v0", "--netns", &pair.a])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut first = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(first()["interface"], "v0");
    let before = ip_bytes(&pair.a);
    let moved = Command::new(traffic())
        .args(["udp", "conns=20", &format!("server_ip={B4}")])
        .args([format!("server_ns={}", pair.b), format!("client_ns={}", pair.a)])
        .output()
        .unwrap();
    assert!(moved.status.success());
    // The last frame's figures are between those before the signal and those after the end.
    let during = ip_bytes(&pair.a);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let last = lines
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
        .filter(|line| line["view"] == "ifaces")
        .last()
        .unwrap();
    child.wait().unwrap();
    let after = ip_bytes(&pair.a);
    // Neighbour discovery may have come before, within the run.
    assert!(last["rx_packets"].as_u64().unwrap() >= 20);
    for (key, before, during, after) in
        [("rx_bytes", before.0, during.0, after.0), ("tx_bytes", before.1, during.1, after.1)]
    {
        let last = last[key].as_u64().unwrap();
        assert!(
            (during - before..=after).contains(&last),
            "{key}: {before} {during} {last} {after}"
        );
    }
}

fn ip_bytes(ns: &str) -> (u64, u64) {
    let output =
        Command::new("ip").args(["-n", ns, "-s", "-j", "link", "show", "v0"]).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stats = &links[0]["stats64"];
    (stats["rx"]["bytes"].as_u64().unwrap(), stats["tx"]["bytes"].as_u64().unwrap())
}

#[test]
fn ended_rows_come_once() {
    let mut child = nettrace()
        .args(["top", "procs", "0.2", "0", "-O", "ndjson", "--"])
        .args(["sh", "-c", "\"$0\" tcp conns=5 up=100 >&2; sleep 1"])
        .arg(traffic())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(child.wait().unwrap().success());
    let mut truth = String::new();
    child.stderr.take().unwrap().read_to_string(&mut truth).unwrap();
    for line in truth.lines() {
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let rows = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ended = rows.filter(|row| row["pid"] == numbers[0] && row["ended"] == true);
        let bytes = |row: Value| number(&row, "rx_bytes") + number(&row, "tx_bytes");
        let ended: Vec<u64> = ended.map(bytes).collect();
        // Another row only for what was done between a reading and the death that it found.
        assert!(ended.is_sorted_by(|before, after| before < after), "{numbers:?} in {stdout}");
        assert_eq!(ended.last(), Some(&(numbers[1] + numbers[2])), "{numbers:?} in {stdout}");
    }
}

#[test]
fn unix_sockets_count_only_when_asked_for() {
    let (mut here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
    let pid = own_pid();
    let watch = |flags: &[&str]| {
        let child = nettrace()
            .args(["top", "procs", "60", "-O", "json", "-p", &pid])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_attached(child.id());
        child
    };
    let mut exchange = || {
        here.write_all(&[1; 1234]).unwrap();
        there.read_exact(&mut [0; 1234]).unwrap();
    };
    for (flags, expected) in [(&["--unix"][..], 1234), (&[], 0)] {
        let child = watch(flags);
        exchange();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = rows(&document).into_iter().find(|row| row["pid"] == std::process::id());
        let bytes = row.as_ref().map_or(0, |row| row["unix_rx_bytes"].as_u64().unwrap());
        // Other tests of this process may use unix sockets meanwhile.
        if expected == 0 {
            assert_eq!(bytes, 0);
        } else {
            assert!(bytes >= expected, "{row:?}");
        }
    }
}

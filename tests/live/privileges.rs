//! What it takes to run without root, and what is given up once everything is attached.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nettrace::netns::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{B4, Pair, nettrace, rows, text};

#[test]
fn without_root_it_says_what_is_missing() {
    let output = as_nobody(&["top", "procs", "0.05"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("CAP_BPF, CAP_PERFMON"), "{stderr}");
    assert!(stderr.contains("sudo setcap cap_bpf,cap_perfmon"), "{stderr}");
    assert!(!stderr.contains("libbpf"), "{stderr}");

    let doctor = as_nobody(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(3));
    assert!(text(&doctor.stdout).contains("sudo setcap"));
    // What needs no privilege works without.
    assert_eq!(as_nobody(&["top", "ifaces", "0.05"]).status.code(), Some(0));
}

/// A copy that everybody may read: the build's folder may be closed to others. Made by a process of its
/// own, since one that another test forks here would hold it open for writing, and it couldn't be run.
fn public_copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = env!("CARGO_BIN_EXE_nettrace");
    assert!(Command::new("cp").arg(program).arg(dir.path()).status().unwrap().success());
    dir
}

const NOBODY: u32 = 65_534;

fn as_nobody(args: &[&str]) -> Output {
    let dir = public_copy();
    let mut command = Command::new(dir.path().join("nettrace"));
    command.args(args).uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap()
}

/// A lower `kernel.perf_event_paranoid` for a while.
struct Paranoia(Vec<u8>);

impl Paranoia {
    const FILE: &str = "/proc/sys/kernel/perf_event_paranoid";

    fn lower() -> Self {
        let level = fs::read(Self::FILE).unwrap();
        fs::write(Self::FILE, "2").unwrap();
        Paranoia(level)
    }
}

impl Drop for Paranoia {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, &self.0);
    }
}

#[test]
fn the_setcap_line_of_doctor_is_enough() {
    let dir = public_copy();
    let program = dir.path().join("nettrace");
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap()
    };
    let doctor = text(&run(&["doctor"]).stdout);
    let line = doctor.lines().find_map(|line| line.split_once("sudo setcap ")).unwrap().1;
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[1], program.to_str().unwrap());
    assert!(Command::new("setcap").args(&words).status().unwrap().success());

    let mut doctor = run(&["doctor"]);
    let mut lowered = None;
    if text(&doctor.stdout).contains("kernel.perf_event_paranoid") {
        // Debian's Linux 5.10 on aarch64, which needs kprobes: it takes more, and doctor says what.
        lowered = Some(Paranoia::lower());
        doctor = run(&["doctor"]);
    }
    assert!(doctor.status.success(), "{}", text(&doctor.stdout));
    // What this kernel has for nobody, it has not for root either, but that only root may look into programs
    // of others.
    let (for_root, lacking): (Vec<_>, Vec<_>) =
        lacks(&doctor).into_iter().partition(|(lacking, reason)| {
            reason.ends_with("no permission: CAP_SYS_ADMIN missing")
                && lacking.contains("XDP programs of others")
        });
    let mut of_root = lacks(&nettrace().arg("doctor").output().unwrap());
    of_root.retain(|(lacking, _)| for_root.iter().all(|(it, _)| it != lacking));
    let names =
        |all: Vec<(String, String)>| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(lacking), names(of_root));
    // Another user's sockets too.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("sport:{}", listener.local_addr().unwrap().port());
    let output = run(&["top", "listeners", "0.05", "-O", "json", &port]);
    drop(lowered);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows(&document)[0]["pid"], std::process::id());
    let output = run(&["syscalls", "--", "true"]);
    let stderr = text(&output.stderr);
    // A run that a preemptible kernel missed has nothing to do with privileges.
    let complaint = stderr.lines().find(|line| !line.contains(" by hook_reentered"));
    assert_eq!((output.status.code(), complaint), (Some(0), None));
    assert!(text(&output.stdout).contains("\nexecve "), "{}", text(&output.stdout));
    functions_that_drop_have_names(&run);
}

/// What doctor says can't be had, each with the first reason below it.
fn lacks(doctor: &Output) -> Vec<(String, String)> {
    let text = text(&doctor.stdout);
    let pairs = text.lines().zip(text.lines().skip(1));
    let lacks = pairs.filter(|(line, _)| line.starts_with("!!"));
    lacks.map(|(line, reason)| (line.to_owned(), reason.to_owned())).collect()
}

/// Also for who isn't root.
fn functions_that_drop_have_names(run: &(impl Fn(&[&str]) -> Output + Sync)) {
    let pair = Pair::new();
    let output = std::thread::scope(|scope| {
        let args = ["top", "drops", "0.5", "0", "-O", "ndjson", "--netns", &pair.b, "proto:udp"];
        let watching = scope.spawn(move || run(&[&args[..], &["--", "sleep", "2"]].concat()));
        let netns = Netns::open(&pair.a).unwrap();
        let send = || Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(b"test", (B4, 4101))?);
        while !watching.is_finished() {
            netns.run(send).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        watching.join().unwrap()
    });
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let rows = text(&output.stdout);
    let is_named = ["__udp4_lib_rcv", "udp4_lib_rcv", "udp_rcv"]
        .into_iter()
        .any(|name| rows.contains(&format!(r#""location":"{name}""#)));
    assert!(is_named, "{rows}");
}

/// `CapEff` and `CapPrm` of each of its threads.
fn capabilities(pid: u32) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).ok();
    let statuses = threads.flatten().filter_map(status).collect::<String>();
    let sets = statuses
        .lines()
        .filter_map(|line| line.strip_prefix("CapEff:").or_else(|| line.strip_prefix("CapPrm:")));
    sets.map(|set| u64::from_str_radix(set.trim(), 16).unwrap()).collect()
}

#[test]
fn once_attached_it_gives_up_what_it_no_longer_needs() {
    const NET_ADMIN: u64 = 1 << 12;
    const SYSLOG: u64 = 1 << 34;
    const BPF: u64 = 1 << 39;
    let kept = [("procs", BPF), ("syscalls", BPF), ("drops", BPF | SYSLOG), ("ifaces", NET_ADMIN)];
    for (view, kept) in kept {
        let mut child = nettrace()
            .args(["top", view, "0.1", "0", "-O", "ndjson"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        let sets = capabilities(child.id());
        assert!(!sets.is_empty() && sets.iter().all(|set| *set == kept), "{view}: {sets:x?}");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        assert_eq!(lines.map_while(Result::ok).count() > 0, child.wait().unwrap().success());
    }
}

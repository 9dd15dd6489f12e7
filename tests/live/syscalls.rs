//! System calls equal what a program says that it made, and what strace counts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nettrace::kernel;
use nettrace::probes::Probe;
use nettrace::probes::syscalls::{Options, SyscallProbe};
use serde_json::Value;

use crate::support::{example, nettrace, number, rows, text};

/// Without task storage, as on kernels before 5.12.
const BY_THREAD: (&str, &str) = ("NETTRACE_WITHOUT", "bpf_task_storage_get");

/// By perf's way to the tracepoints, as where their programs can be preempted.
const BY_PERF: (&str, &str) = ("NETTRACE_WITHOUT", "tp_btf:sys_exit");

/// Calls and errors by errno, by process and name.
type Counts = BTreeMap<(u64, String), (Option<u64>, BTreeMap<String, u64>)>;

struct Run {
    truth: String,
    document: Value,
    stderr: String,
}

/// Where tracepoints' programs can be preempted, perf's way isn't run while the kernel is preempted in the
/// middle of anybody's change to a map. That is told, and so many runs are tried for one without.
const RUNS: usize = 8;

/// `nettrace ARGS -O json -o FILE -- calls CALLS`.
fn run(args: &[&str], calls: &[&str], environment: &[(&str, &str)]) -> Run {
    for _ in 1..RUNS {
        let run = run_once(args, calls, environment);
        if !run.stderr.contains("hook_reentered") || !is_preempted() {
            return run;
        }
    }
    run_once(args, calls, environment)
}

fn is_preempted() -> bool {
    kernel::is_preemptible() && kernel::has_preemptible_tracepoints(&kernel::btf().unwrap())
}

fn run_once(args: &[&str], calls: &[&str], environment: &[(&str, &str)]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.json");
    let output = nettrace()
        .args(args)
        .args(["-O", "json", "-o"])
        .arg(&file)
        .arg("--")
        .arg(example("calls"))
        .args(calls)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let document = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    Run { truth: text(&output.stdout), document, stderr }
}

impl Run {
    fn assert_no_loss(&self) {
        assert_eq!(self.stderr, "", "losses or missing hooks");
        let frame = self.document["frames"].as_array().unwrap().last().unwrap();
        for (cause, count) in frame["loss"].as_object().unwrap() {
            assert_eq!(count, 0, "{cause}");
        }
    }

    fn truth(&self) -> Counts {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let pid = words.next().unwrap().parse().unwrap();
            let name = words.next().unwrap().to_owned();
            let calls = words.next().unwrap().parse().ok();
            let errnos = words.map(|word| word.split_once('=').unwrap());
            let errnos = errnos.map(|(name, count)| (name.to_owned(), count.parse().unwrap()));
            ((pid, name), (calls, errnos.collect()))
        };
        self.truth.lines().map(line).collect()
    }

    /// What nettrace found of what the truth knows.
    fn found(&self, truth: &Counts) -> Counts {
        let mut found = Counts::new();
        for row in rows(&self.document) {
            let key = (number(&row, "pid"), row["syscall"].as_str().unwrap().to_owned());
            let Some((calls, _)) = truth.get(&key) else { continue };
            let errnos = row["errnos"].as_object().unwrap().iter();
            let errnos: BTreeMap<_, _> =
                errnos.map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect();
            assert_eq!(number(&row, "errors"), errnos.values().sum::<u64>(), "{row}");
            found.insert(key, (calls.map(|_| number(&row, "calls")), errnos));
        }
        found
    }
}

fn assert_exact(args: &[&str], calls: &[&str], environment: &[(&str, &str)]) {
    let run = run(args, calls, environment);
    let truth = run.truth();
    assert!(!truth.is_empty());
    assert_eq!(run.found(&truth), truth);
    run.assert_no_loss();
}

#[test]
fn ten_processes_at_once_are_counted_to_the_call() {
    assert_exact(&["top", "syscalls"], &["count", "procs=10", "threads=3", "calls=2000"], &[]);
}

#[test]
fn ticks_and_ends_between_them_lose_nothing() {
    let run = run(&["top", "syscalls", "0.05", "0"], &["count", "procs=10", "calls=8000"], &[]);
    let truth = run.truth();
    let mut sums = Counts::new();
    for frame in run.document["frames"].as_array().unwrap() {
        for row in frame["rows"].as_array().unwrap() {
            let key = (number(row, "pid"), row["syscall"].as_str().unwrap().to_owned());
            if truth.contains_key(&key) {
                let errnos = row["errnos"].as_object().unwrap().iter();
                let errnos = errnos.map(|(name, count)| (name.clone(), count.as_u64().unwrap()));
                sums.insert(key, (Some(number(row, "calls")), errnos.collect()));
            }
        }
    }
    assert_eq!(sums, truth);
    run.assert_no_loss();
}

#[test]
fn counting_alone_is_as_exact() {
    let run = run(
        &["syscalls", "--count-only", "--threads", "--syscall", "getppid,fsync,fcntl"],
        &["count", "procs=3", "threads=2", "calls=2000"],
        &[],
    );
    let mut sums: BTreeMap<(u64, String), u64> = BTreeMap::new();
    for row in rows(&run.document) {
        let key = (number(&row, "pid"), row["syscall"].as_str().unwrap().to_owned());
        *sums.entry(key).or_default() += number(&row, "calls");
        assert_eq!(row["avg_ns"], Value::Null);
    }
    for (key, (calls, _)) in run.truth() {
        assert_eq!(sums.get(&key).copied(), calls, "{key:?}");
    }
    run.assert_no_loss();
}

#[test]
fn more_kinds_of_calls_than_a_thread_s_table_has_places() {
    assert_exact(&["top", "syscalls"], &["kinds", "procs=3"], &[]);
    assert_exact(&["top", "syscalls"], &["kinds", "procs=3"], &[BY_THREAD]);
}

#[test]
fn more_errnos_than_a_call_s_counters_have_places() {
    assert_exact(&["top", "syscalls"], &["errnos"], &[]);
}

#[test]
fn threads_are_known_without_task_storage() {
    let calls = ["count", "procs=10", "threads=3", "calls=1000"];
    assert_exact(&["top", "syscalls"], &calls, &[BY_THREAD]);
}

#[test]
fn calls_are_counted_by_perf_s_way_too() {
    let calls = ["count", "procs=10", "threads=3", "calls=1000"];
    assert_exact(&["top", "syscalls"], &calls, &[BY_PERF]);
    assert_exact(&["top", "syscalls"], &["interrupted"], &[BY_PERF]);
}

#[test]
fn interrupted_calls_have_the_kernel_s_errno() {
    assert_exact(&["top", "syscalls"], &["interrupted"], &[]);
}

#[test]
fn calls_of_32_bits_have_names_of_their_own() {
    let compat = ["compat", "calls=50"];
    let has_compat = Command::new(example("calls")).args(compat).output().unwrap().status.success();
    let output = nettrace()
        .args(["top", "syscalls", "-O", "json", "--"])
        .arg(example("calls"))
        .args(compat)
        .output()
        .unwrap();
    // The truth, then the document.
    let stdout = text(&output.stdout);
    if !has_compat {
        assert_eq!(output.status.code(), Some(3), "the program's own");
        assert!(stdout.contains("\"frames\"") && !stdout.contains("getppid.32"), "{stdout}");
        return;
    }
    let (truth, document) = stdout.split_once('\n').unwrap();
    let pid: u64 = truth.strip_suffix(" getppid.32 50").unwrap().parse().unwrap();
    let document: Value = serde_json::from_str(document).unwrap();
    let all = rows(&document);
    let is_it = |row: &&Value| row["pid"] == pid && row["syscall"] == "getppid.32";
    assert_eq!(number(all.iter().find(is_it).unwrap(), "calls"), 50);
}

/// Calls and errors by name, as strace counts them.
fn strace(command: &[&str]) -> BTreeMap<String, (u64, u64)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        .args(["-c", "-f", "-U", "name,calls,errors", "-o"])
        .arg(file.path())
        .args(command)
        // Some look at where their output goes.
        .stdout(Stdio::null())
        .output()
        .expect("run strace (install it)");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = std::fs::read_to_string(file.path()).unwrap();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let calls = words.next()?.parse().ok()?;
        let errors = words.next().map_or(Some(0), |word| word.parse().ok())?;
        (name != "total").then_some((name, (calls, errors)))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn counts_are_those_of_strace() {
    let calls = example("calls").to_str().unwrap().to_owned();
    for command in [
        vec![calls.as_str(), "count", "procs=10", "calls=40"],
        vec![calls.as_str(), "kinds", "procs=2"],
        vec!["ls", "-lR", "/etc"],
        vec!["sh", "-c", "for i in 1 2 3; do ls /nonexistent; done; true"],
    ] {
        let truth = strace(&command);
        let document = document_of(&command);
        let ours: BTreeMap<String, (u64, u64)> = rows(&document)
            .iter()
            .map(|row| {
                let name = row["syscall"].as_str().unwrap().to_owned();
                (name, (number(row, "calls"), number(row, "errors")))
            })
            // strace doesn't count calls that never return.
            .filter(|(name, _)| name != "exit_group" && name != "exit")
            .collect();
        let differ: Vec<_> = truth
            .keys()
            .chain(ours.keys())
            .filter(|name| !is_same(name, truth.get(*name), ours.get(*name)))
            .map(|name| {
                format!("{name}: strace {:?}, nettrace {:?}", truth.get(name), ours.get(name))
            })
            .collect();
        assert!(differ.is_empty(), "{command:?}: {differ:#?}");
        assert!(truth.values().map(|(calls, _)| calls).sum::<u64>() > 40, "{truth:?}");
    }
}

/// Whether both counted the same calls and errors, but for what depends on who was faster. A fork is
/// started again for a signal that comes meanwhile.
fn is_same(name: &str, truth: Option<&(u64, u64)>, ours: Option<&(u64, u64)>) -> bool {
    match name {
        "futex" | "wait4" | "rt_sigreturn" | "restart_syscall" => true,
        "clone" | "clone3" | "fork" | "vfork" => {
            let done = |counts: Option<&(u64, u64)>| counts.map(|(calls, errors)| calls - errors);
            done(truth) == done(ours)
        }
        _ => truth == ours,
    }
}

fn document_of(command: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.json");
    let mut nettrace = nettrace();
    nettrace.args(["syscalls", "-O", "json", "-o"]).arg(&file).arg("--").args(command);
    nettrace.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
}

#[test]
fn durations_are_those_that_the_caller_saw() {
    const SLEEP: u64 = 20_000_000;

    let run = run(&["top", "syscalls"], &["sleep", "calls=20", "us=20000"], &[]);
    let mut truth: Vec<u64> = run.truth.lines().map(|line| line.parse().unwrap()).collect();
    truth.sort_unstable();
    let all = rows(&run.document);
    let is_it = |row: &&Value| row["syscall"] == "clock_nanosleep";
    let row = all.iter().find(is_it).unwrap();
    assert_eq!((number(row, "calls"), number(row, "timed_calls")), (20, 20));
    let (total, max) = (number(row, "total_ns"), number(row, "max_ns"));
    assert!((20 * SLEEP..=truth.iter().sum()).contains(&total), "{row} {truth:?}");
    assert!((SLEEP..=truth[19]).contains(&max), "{row} {truth:?}");
    assert_eq!(number(row, "avg_ns"), total / 20);
    // What the caller saw is longer by what it takes to call.
    for (key, rank) in [("p50_ns", 10), ("p90_ns", 18), ("p99_ns", 20)] {
        let (ours, seen) = (number(row, key) as f64, truth[rank - 1] as f64);
        assert!(ours <= seen * 1.125 && ours >= SLEEP as f64 * 0.875, "{key} {row} {truth:?}");
    }
    run.assert_no_loss();
}

/// The program that makes a call for each line, once it is ready.
fn hold() -> Child {
    let mut child = Command::new(example("calls"))
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn a_call_that_began_before_counts_without_a_duration() {
    let mut child = hold();
    let pid = child.id().to_string();
    let mut nettrace = nettrace()
        .args(["top", "syscalls", "0.3", "5", "-O", "ndjson", "-p", &pid])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first table comes once everything is attached.
    let mut lines = BufReader::new(nettrace.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(r#""view":"nettrace""#), "a read() of before us is no row yet: {first}");
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let lines: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(child.wait().unwrap().success());
    assert!(nettrace.wait().unwrap().success());
    let last = |name: &str| {
        let row = lines.iter().rfind(|line| line["syscall"] == name).unwrap_or(&Value::Null);
        (row["calls"].clone(), row["timed_calls"].clone(), row["pid"].to_string())
    };
    assert_eq!(last("getppid"), (1.into(), 1.into(), pid.clone()));
    let (calls, timed, _) = last("read");
    assert_eq!(calls.as_u64().unwrap(), timed.as_u64().unwrap() + 1);
    assert_eq!(last("exit_group"), (1.into(), 0.into(), pid));
    let ended: Vec<_> = lines.iter().filter(|line| line["ended"] == true).collect();
    assert!(!ended.is_empty());
}

#[test]
fn five_frames() {
    let output = nettrace()
        .args(["top", "syscalls", "0.1", "5", "-O", "json", "comm:nettrace"])
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["frames"].as_array().unwrap().len(), 5);
    assert!(!rows(&document).is_empty(), "nettrace itself calls something");
}

#[test]
fn slow_calls_are_told_one_by_one() {
    let output = nettrace()
        .args(["syscalls", "--slower-than", "50ms", "--stack", "-O", "ndjson", "--syscall"])
        .args(["clock_nanosleep", "--"])
        .arg(example("calls"))
        .args(["sleep", "calls=3", "us=100000"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let lines = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let slow: Vec<Value> = lines.filter(|line| line["view"] == "slow-syscall").collect();
    assert_eq!(slow.len(), 3, "{stdout}");
    for call in &slow {
        assert_eq!((&call["syscall"], &call["comm"]), (&"clock_nanosleep".into(), &"calls".into()));
        let (duration, asleep) = (number(call, "duration_ns"), number(call, "asleep_ns"));
        assert!((100_000_000..5_000_000_000).contains(&duration), "{call}");
        assert!((90_000_000..=duration).contains(&asleep), "{call}");
        assert_eq!((&call["result"], &call["errno"]), (&0.into(), &Value::Null));
        assert_eq!(call["args"].as_array().unwrap().len(), 6);
        let kernel = call["kernel_stack"].to_string();
        assert!(kernel.contains("nanosleep"), "{kernel}");
        assert!(!call["user_stack"].as_array().unwrap().is_empty());
    }
}

#[test]
fn who_changes_user_or_name_is_in_scope_at_once() {
    for scope in [["--uid", "4242"], ["--comm", "renamed"]] {
        let run = run(&["top", "syscalls", scope[0], scope[1]], &["become"], &[]);
        let truth = run.truth();
        assert_eq!(run.found(&truth), truth, "{scope:?}");
    }
}

#[test]
fn calls_that_there_are_not_have_numbers() {
    assert_exact(&["top", "syscalls"], &["unknown", "kinds=100"], &[]);
    let run = run(&["syscalls", "--syscall", "rt_sigreturn"], &["unknown", "kinds=1"], &[]);
    assert!(rows(&run.document).is_empty(), "-1 isn't a sigreturn");
}

#[test]
fn a_thread_of_too_many_kinds_of_calls_loses_its_own() {
    let run = run(&["top", "syscalls"], &["unknown", "kinds=3000"], &[]);
    let truth = run.truth();
    let found = run.found(&truth).len() as u64;
    assert!(found > 500 && found < 1000, "{found}");
    let lost = number(&run.document["frames"][0]["loss"], "call_table");
    // The other calls of the program are few, but more than none.
    assert!((3000 - found..3100 - found).contains(&lost), "{lost} {found}");
}

#[test]
fn children_that_only_exit_are_counted() {
    for args in [&["--syscall", "exit_group"][..], &["--count-only", "--syscall", "exit_group"]] {
        let run = run(&[&["syscalls"], args].concat(), &["fork", "procs=20"], &[]);
        assert_eq!(number(&rows(&run.document)[0], "calls"), 21, "{args:?}");
        run.assert_no_loss();
    }
}

#[test]
fn a_burst_of_processes_finds_room() {
    let run = run(&["top", "syscalls"], &["kinds", "procs=150"], &[]);
    let truth = run.truth();
    let sum = |counts: &Counts| counts.values().filter_map(|(calls, _)| *calls).sum::<u64>();
    let (found, made) = (sum(&run.found(&truth)), sum(&truth));
    // Perf's programs aren't run while the kernel is in the middle of making room on that CPU.
    let told = number(&run.document["frames"][0]["loss"], "hook_reentered");
    assert!(found <= made && found + told >= made, "{found} {told} {made}");
    if told == 0 {
        run.assert_no_loss();
    }
}

#[test]
fn only_failed_calls() {
    let run = run(&["syscalls", "--errors"], &["count", "calls=1000"], &[]);
    let all = rows(&run.document);
    let of = |name: &str| all.iter().find(|row| row["syscall"] == name);
    assert!(of("getppid").is_none());
    assert_eq!(
        (number(of("fsync").unwrap(), "calls"), number(of("fsync").unwrap(), "errors")),
        (500, 500)
    );
    assert_eq!(number(of("fcntl").unwrap(), "calls"), 400);
    run.assert_no_loss();
}

#[test]
fn scopes_let_through_what_they_name() {
    let run_with = |args: &[&str]| {
        let args = [&["top", "syscalls"], args].concat();
        let run = run(&args, &["count", "procs=2", "calls=100"], &[]);
        rows(&run.document).iter().filter(|row| row["syscall"] == "getppid").count()
    };
    assert_eq!(run_with(&["--comm", "calls"]), 2);
    assert_eq!(run_with(&["--comm", "other"]), 0);
    assert_eq!(run_with(&["--uid", "0"]), 2);
    assert_eq!(run_with(&["--uid", "4242"]), 0);
    assert_eq!(run_with(&["comm:call"]), 2);
    assert_eq!(run_with(&["!comm:calls"]), 0);
}

/// A cgroup that is gone with the test.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let root = nettrace::kernel::cgroup2().expect("a unified hierarchy");
        let dir = root.join(format!("nettrace-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Cgroup(dir)
    }

    fn add(&self, child: &Child) {
        std::fs::write(self.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel needs a moment to let go of those that ended.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_cgroup_lets_through_what_is_in_it() {
    let cgroup = Cgroup::new("in");
    let (mut inside, mut outside) = (hold(), hold());
    cgroup.add(&inside);
    let path = format!("/{}", cgroup.0.file_name().unwrap().display());
    let mut nettrace = nettrace()
        .args(["top", "syscalls", "0.3", "3", "-O", "ndjson", "--cgroup", &path])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(nettrace.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    for child in [&mut inside, &mut outside] {
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    let rows: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    inside.wait().unwrap();
    outside.wait().unwrap();
    assert!(nettrace.wait().unwrap().success());
    let callers: std::collections::BTreeSet<u64> = rows
        .iter()
        .filter(|row| row["syscall"] == "getppid")
        .map(|row| number(row, "pid"))
        .collect();
    assert_eq!(callers, [u64::from(inside.id())].into());
}

/// Calls of a program and its children: those counted, those lost for want of room, and those for
/// which the kernel didn't run us.
fn counted_with_room(room: Option<usize>) -> [u64; 3] {
    let mut probe = SyscallProbe::open(&Options {
        pids: vec![std::process::id()],
        follow_forks: true,
        comms: vec!["calls".to_owned()],
        count_only: true,
        room,
        ..Options::default()
    })
    .unwrap();
    // 40 processes of 73 kinds need three times as much as the least room.
    let output = Command::new(example("calls")).args(["kinds", "procs=40"]).output().unwrap();
    assert!(output.status.success());
    probe.read().unwrap();
    let counted = probe.reading().calls.iter().map(|record| record.calls).sum();
    let losses = probe.losses();
    let lost = |cause: &str| losses.iter().find(|(name, _)| *name == cause).unwrap().1;
    [counted, lost("call_table"), lost("hook_reentered")]
}

#[test]
fn a_full_table_counts_what_it_has_no_room_for() {
    let [all, lost, missed] = counted_with_room(None);
    assert!(all + missed > 40 * 73 * 3, "{all} {missed}");
    assert_eq!(lost, 0);
    let [counted, lost, missed_again] = counted_with_room(Some(1));
    assert!(counted > 0 && lost > 0, "{counted} {lost}");
    let difference = (counted + lost).abs_diff(all);
    assert!(difference <= missed + missed_again, "{counted} {lost} {all} {missed} {missed_again}");
}

fn status_of(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = nettrace().args(args).output().unwrap();
    (status.code(), text(&stderr))
}

#[test]
fn what_is_wrong_is_told_at_once() {
    let (status, stderr) = status_of(&["syscalls", "--syscall", "raed"]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("did you mean read"), "{stderr}");
    let (status, stderr) = status_of(&["syscalls", "-p", "4194305"]);
    assert_eq!((status, stderr.as_str()), (Some(2), "nettrace: there is no process 4194305\n"));
    assert_eq!(status_of(&["syscalls", "--", "/nonexistent"]).0, Some(127));
    assert_eq!(status_of(&["syscalls", "--", "/etc/passwd"]).0, Some(126));
    assert_eq!(status_of(&["syscalls", "-o", "/dev/null", "--", "sh", "-c", "exit 7"]).0, Some(7));
    assert_eq!(status_of(&["syscalls", "--slower-than", "10"]).0, Some(2));
    assert_eq!(status_of(&["syscalls", "port:80"]).0, Some(2));
}

#[test]
fn a_run_ends_on_ctrl_c_with_its_summary() {
    let mut nettrace =
        nettrace().args(["syscalls", "--by", "process"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let pid = nix::unistd::Pid::from_raw(nettrace.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let mut stdout = String::new();
    nettrace.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(nettrace.wait().unwrap().success());
    assert!(stdout.starts_with("  PID  COMM") || stdout.contains("COMM"), "{stdout}");
    assert!(stdout.contains(" calls, "), "{stdout}");
}

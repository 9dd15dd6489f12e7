//! *syscall, table*: a crowd of processes that make 50 different system calls each. What a tick of
//! `nettrace top syscalls` costs with them, and whether all of them are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::arms::{Observer, SETTLE};
use crate::memory::{map_bytes, status_bytes};
use crate::support::{example, nettrace, number};

const NAME: &str = "nettrace-crowd";
const PROCESSES: usize = 10_000;
/// Of each; as `examples/load.rs` has it.
const CALLS: usize = 50;
const INTERVAL: &str = "2";
const IDLE_TICKS: usize = 3;
/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
const MB: f64 = 1e6;

struct Crowd {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Nobody yet.
    fn new() -> Self {
        let mut child = Command::new(example("load"))
            .args(["crowd", NAME, &PROCESSES.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the crowd");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        Crowd { child, orders, answers }
    }

    /// Has all of them call.
    fn call(&mut self) {
        let mut orders = self.orders.as_ref().expect("open until the end");
        writeln!(orders).expect("tell the crowd");
        assert_eq!(self.answers.next().expect("an answer").expect("a line"), "done");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It ends with its input, and its children with it.
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// What nettrace says of itself, tick by tick, with the tick's number.
struct Ticks(Receiver<(usize, Value)>);

impl Ticks {
    fn of(observer: &mut Observer) -> Self {
        let lines = BufReader::new(observer.child.stdout.take().expect("its stdout")).lines();
        let lines = lines.map_while(Result::ok);
        let own = lines.filter(|line| line.contains("\"view\":\"nettrace\""));
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for (tick, line) in own.enumerate() {
                let line = serde_json::from_str(&line).expect("JSON");
                if sender.send((tick, line)).is_err() {
                    break;
                }
            }
        });
        Ticks(receiver)
    }

    /// So many ticks after now.
    fn after(&self, ticks: usize) -> (usize, Value) {
        let _ = self.0.try_iter().count();
        let next = || self.0.recv_timeout(PATIENCE).expect("a tick");
        (1..ticks).for_each(|_| drop(next()));
        next()
    }

    /// CPU time, ms, that `work` costs beyond idle ticks, and the tick that has it all.
    fn cost(&self, idle_ms: f64, work: impl FnOnce()) -> (f64, Value) {
        let (first, before) = self.after(1);
        work();
        // A tick's figure is from before its rows are made.
        let (last, after) = self.after(2);
        let idle = idle_ms * (last - first) as f64;
        (cpu_ms(&after) - cpu_ms(&before) - idle, after)
    }

    /// CPU time, ms, of a tick in which nothing happens.
    fn idle_ms(&self) -> f64 {
        let before = self.after(1).1;
        let after = self.after(IDLE_TICKS).1;
        (cpu_ms(&after) - cpu_ms(&before)) / IDLE_TICKS as f64
    }
}

fn cpu_ms(tick: &Value) -> f64 {
    tick["self"]["cpu_s"].as_f64().expect("CPU time") * 1e3
}

fn losses(tick: &Value) -> u64 {
    let losses = tick["loss"].as_object().expect("losses").values();
    losses.map(|count| count.as_u64().expect("a count")).sum()
}

pub(crate) fn run() -> Vec<Value> {
    let figure = "syscall, table";
    println!("{figure}: {PROCESSES} processes × {CALLS} system calls");
    let mut crowd = Crowd::new();
    let (counted, lost_keys) = keys(&mut crowd);
    drop(crowd);
    let fits = counted >= PROCESSES * CALLS && lost_keys == 0;
    println!(
        "  nettrace syscalls -t: {counted} rows, lost {lost_keys}{}",
        if fits { "" } else { "  goal all rows: MISSED" }
    );
    let mut crowd = Crowd::new();
    let mut command = nettrace();
    command.args(["top", "syscalls", INTERVAL, "0", "--comm", NAME, "--rows", "1", "-O", "ndjson"]);
    let mut observer = Observer::start(command, Stdio::piped(), Stdio::null());
    let ticks = Ticks::of(&mut observer);
    let empty_ms = ticks.idle_ms();
    let (first_ms, _) = ticks.cost(empty_ms, || crowd.call());
    let idle_ms = ticks.idle_ms();
    let (busy_ms, tick) = ticks.cost(idle_ms, || crowd.call());
    let anonymous = status_bytes(observer.child.id(), "RssAnon:");
    let maps = map_bytes(observer.child.id());
    let (end_ms, _) = ticks.cost(empty_ms, || drop(crowd));
    let lost = losses(&tick);
    println!(
        "  CPU time: {first_ms:.0} ms for the first of each, {busy_ms:.0} ms for a tick in which all call again,"
    );
    println!("  {idle_ms:.1} ms for one in which none does, {end_ms:.0} ms for their end");
    println!(
        "  memory: {:.0} MB anonymous, {:.0} MB of maps; lost {lost}",
        anonymous / MB,
        maps / MB
    );
    vec![json!({
        "figure": figure, "processes": PROCESSES, "calls": CALLS, "rows": counted, "lost": lost_keys + lost, "met": fits && lost == 0,
        "first_cpu_ms": first_ms, "busy_cpu_ms": busy_ms, "idle_cpu_ms": idle_ms,
        "end_cpu_ms": end_ms, "anonymous_bytes": anonymous, "map_bytes": maps,
    })]
}

/// Pairs of a process and a call that a summary has, when all began and called while it ran, and
/// what it lost.
fn keys(crowd: &mut Crowd) -> (usize, u64) {
    let mut command = nettrace();
    command.args([
        "syscalls",
        "-t",
        "--comm",
        NAME,
        "-O",
        "ndjson",
        "--columns",
        "pid,syscall,calls",
    ]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let output = file.reopen().expect("the file");
    let observer = Observer::start(command, output.into(), Stdio::inherit());
    thread::sleep(SETTLE);
    crowd.call();
    drop(observer);
    let lines = BufReader::new(file).lines();
    let mut lost = 0;
    let mut calls: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for line in lines {
        let row: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        if row["view"] == "syscalls" {
            let call = row["syscall"].as_str().expect("a name").to_owned();
            calls.entry(number(&row, "pid")).or_default().insert(call);
        } else {
            lost = losses(&row);
        }
    }
    (calls.values().map(BTreeSet::len).sum(), lost)
}

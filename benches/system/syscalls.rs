//! *syscall, count only* and *syscall, latency*: loops of getppid() and of read() of no bytes, in a
//! process on the load's CPU, under each observer in turn.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arms::{Observer, SETTLE, find};
use crate::empty::Empty;
use crate::machine::{LOAD_CPU, pin};
use crate::stats::{Dice, NOISE, median, quartiles, ratios, verdict};
use crate::support::{example, nettrace, number, rows};

const ROUNDS: usize = 9;
/// One measurement is the median of so many chunks, so short that what else runs on the load's CPU
/// falls into few of them.
const CHUNKS: u64 = 301;
const CALLS: u64 = 2_000;
/// Under strace a call takes 100 times as long.
const STRACED_CALLS: u64 = 20;
const LOOPS: [&str; 2] = ["getppid", "read"];

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

const EXIT: &[&str] = &["sys_exit"];
const PAIR: &[&str] = &["sys_enter", "sys_exit"];
const COUNT: &str = "tracepoint:raw_syscalls:sys_exit { @[pid] = count(); }";
const LATENCY: &str = "tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /@start[tid]/ {
    @ns[args->id] = hist(nsecs - @start[tid]);
    delete(@start[tid]);
}
END { clear(@start); }";

/// What watches while the load runs.
#[derive(Clone, Copy, Debug)]
enum Watch {
    Nothing,
    Empty(&'static [&'static str]),
    Clock(&'static [&'static str]),
    Nettrace(&'static [&'static str]),
    /// It watches another process.
    Bystander,
    Bpftrace(&'static str),
    Strace,
    Syscount,
}

type Arm = (&'static str, Watch);

/// An arm that another one is measured by.
struct Floor {
    arm: &'static str,
    goal: Option<f64>,
}

struct Figure {
    name: &'static str,
    /// Nothing and nothing again come first.
    arms: &'static [Arm],
    /// The arm that has goals.
    ours: &'static str,
    floors: &'static [Floor],
}

const COUNT_ONLY: Figure = Figure {
    name: "syscall, count only",
    arms: &[
        ("nothing", Watch::Nothing),
        ("nothing again", Watch::Nothing),
        ("empty program", Watch::Empty(EXIT)),
        ("nettrace --count-only", Watch::Nettrace(&["--count-only"])),
        ("bpftrace count()", Watch::Bpftrace(COUNT)),
        ("strace -c", Watch::Strace),
    ],
    ours: "nettrace --count-only",
    floors: &[Floor { arm: "empty program", goal: Some(1.1) }],
};

const WITH_LATENCY: Figure = Figure {
    name: "syscall, latency",
    arms: &[
        ("nothing", Watch::Nothing),
        ("nothing again", Watch::Nothing),
        ("empty pair", Watch::Empty(PAIR)),
        ("pair with clock", Watch::Clock(PAIR)),
        ("nettrace", Watch::Nettrace(&[])),
        ("nettrace -p another", Watch::Bystander),
        ("bpftrace hist()", Watch::Bpftrace(LATENCY)),
        ("syscount -L", Watch::Syscount),
    ],
    ours: "nettrace",
    // Where reading the clock is slow, as in many guests, a latency can't be had below the pair
    // that reads it twice; the goal is by that one.
    floors: &[
        Floor { arm: "empty pair", goal: None },
        Floor { arm: "pair with clock", goal: Some(1.25) },
    ],
};

/// The process that calls.
pub(crate) struct Load {
    child: Child,
    orders: Option<ChildStdin>,
    times: Lines<BufReader<ChildStdout>>,
}

impl Load {
    pub(crate) fn new() -> Self {
        let mut command = Command::new(example("load"));
        // SAFETY: sched_setaffinity is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                pin(0, LOAD_CPU);
                Ok(())
            });
        }
        let command = command.arg("loop").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start the load");
        let orders = child.stdin.take();
        let times = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        Load { child, orders, times }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Nanoseconds per call.
    pub(crate) fn run(&mut self, call: &str, calls: u64) -> f64 {
        let mut orders = self.orders.as_ref().expect("open until the end");
        writeln!(orders, "{call} {CHUNKS} {calls}").expect("tell the load");
        let time = self.times.next().expect("a line").expect("its time");
        time.parse().expect("a number")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It ends with its input.
        self.orders = None;
        let _ = self.child.wait();
    }
}

impl Watch {
    fn is_missing(self) -> bool {
        match self {
            Watch::Bpftrace(_) => find("bpftrace").is_none(),
            Watch::Strace => find("strace").is_none(),
            Watch::Syscount => find("syscount").is_none(),
            _ => false,
        }
    }

    /// The command, or none where no process watches. `summary` is where strace writes.
    fn command(self, load: u32, summary: &Path) -> Option<Command> {
        Some(match self {
            Watch::Nothing | Watch::Empty(_) | Watch::Clock(_) => return None,
            Watch::Nettrace(args) => {
                let mut command = nettrace();
                command.args(["syscalls", "-O", "json"]).args(args);
                command
            }
            Watch::Bystander => {
                let mut command = nettrace();
                let own = std::process::id().to_string();
                command.args(["syscalls", "-O", "json", "-p", &own]);
                command
            }
            Watch::Bpftrace(program) => {
                let mut command = with_tracefs("bpftrace")?;
                command.args(["-e", program]);
                command
            }
            Watch::Strace => {
                let mut command = Command::new(find("strace")?);
                command.args(["-c", "-f", "-p", &load.to_string(), "-o"]).arg(summary);
                command
            }
            Watch::Syscount => {
                let mut command = with_tracefs("syscount")?;
                command.args(["-L", "-T", "1000"]);
                command
            }
        })
    }

    fn calls(self) -> u64 {
        if matches!(self, Watch::Strace) { STRACED_CALLS } else { CALLS }
    }

    /// Times per call of each loop. What says what it counted must have counted all of it.
    fn measure(self, load: &mut Load) -> [f64; LOOPS.len()] {
        let dir = tempfile::tempdir().expect("a directory");
        let (output, summary) = (dir.path().join("output"), dir.path().join("summary"));
        let observer = self.command(load.child.id(), &summary).map(|command| {
            let stdout = File::create(&output).expect("a file");
            Observer::start(command, stdout.into(), Stdio::null())
        });
        let empty = match self {
            Watch::Empty(hooks) => Some(Empty::attach(hooks)),
            Watch::Clock(hooks) => Some(Empty::attach_clock(hooks)),
            _ => None,
        };
        if let Some(observer) = &observer {
            wait_until_attached(observer.child.id(), load.child.id());
        }
        thread::sleep(SETTLE);
        let calls = self.calls();
        let times = LOOPS.map(|call| load.run(call, calls));
        drop((observer, empty));
        let output = if matches!(self, Watch::Strace) { summary } else { output };
        if let Some(counted) = self.counted(&output, load.child.id()) {
            let made = LOOPS.len() as u64 * CHUNKS * calls;
            let is_whole = if matches!(self, Watch::Bystander) {
                (1..made).contains(&counted)
            } else {
                counted >= made
            };
            assert!(is_whole, "{self:?}: of {made} calls {counted} were counted");
        }
        times
    }

    /// Calls that it counted, at least those of the loops.
    fn counted(self, output: &Path, load: u32) -> Option<u64> {
        let sum = |count: &dyn Fn(&[&str]) -> Option<u64>| {
            let words = |line: &str| count(&line.split_whitespace().collect::<Vec<_>>());
            text(output).lines().filter_map(words).sum()
        };
        let is_loop = |name: &str| LOOPS.contains(&name);
        Some(match self {
            Watch::Nothing | Watch::Empty(_) | Watch::Clock(_) => return None,
            Watch::Nettrace(_) | Watch::Bystander => {
                let document = serde_json::from_str(&text(output)).expect("a JSON document");
                let rows = rows(&document);
                let of_loops =
                    rows.iter().filter(|row| row["syscall"].as_str().is_some_and(is_loop));
                of_loops.map(|row| number(row, "calls")).sum()
            }
            Watch::Bpftrace(COUNT) => {
                let of_load = format!("@[{load}]:");
                sum(&|words| match words {
                    [key, count] if *key == of_load => count.parse().ok(),
                    _ => None,
                })
            }
            // Lines like `[256, 512)  1234 |@@@ |`.
            Watch::Bpftrace(_) => sum(&|words| match words {
                [low, _, count, ..] if low.starts_with('[') => count.parse().ok(),
                _ => None,
            }),
            // Lines like `99.0  0.1  12  6020  getppid`.
            Watch::Strace => sum(&|words| match words {
                [_, _, _, calls, name] if is_loop(name) => calls.parse().ok(),
                _ => None,
            }),
            Watch::Syscount => sum(&|words| match words {
                [name, count, _] if is_loop(name) => count.parse().ok(),
                _ => None,
            }),
        })
    }
}

/// Until it has a hook of BPF, or traces the load.
pub(crate) fn wait_until_attached(observer: u32, load: u32) {
    let is_hook = |target: &Path| {
        let target = target.to_string_lossy();
        ["bpf_link", "bpf-link", "perf_event"].iter().any(|kind| target.contains(kind))
    };
    let tracer = format!("TracerPid:\t{observer}\n");
    let is_attached = || {
        let files = fs::read_dir(format!("/proc/{observer}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| is_hook(&target))
            || text(Path::new(&format!("/proc/{load}/status"))).contains(&tracer)
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_attached() {
        assert!(Instant::now() < deadline, "an observer doesn't attach");
        thread::sleep(Duration::from_millis(20));
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("its output")
}

/// A peer that looks for tracepoints in tracefs, which isn't mounted everywhere.
pub(crate) fn with_tracefs(name: &str) -> Option<Command> {
    const MOUNT: &str =
        "[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
        exec \"$@\"";

    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MOUNT, "sh"]).arg(find(name)?);
    Some(command)
}

pub(crate) fn count() -> Vec<Value> {
    COUNT_ONLY.run()
}

pub(crate) fn latency() -> Vec<Value> {
    WITH_LATENCY.run()
}

impl Figure {
    fn run(&self) -> Vec<Value> {
        let mut load = Load::new();
        let present: Vec<usize> =
            (0..self.arms.len()).filter(|arm| !self.arms[*arm].1.is_missing()).collect();
        let mut times = vec![[const { Vec::new() }; LOOPS.len()]; self.arms.len()];
        let mut dice = Dice::new();
        Watch::Nothing.measure(&mut load);
        for _ in 0..ROUNDS {
            let mut order = present.clone();
            dice.shuffle(&mut order);
            for arm in order {
                let measured = self.arms[arm].1.measure(&mut load);
                for (times, time) in times[arm].iter_mut().zip(measured) {
                    times.push(time);
                }
            }
        }
        let results = LOOPS.iter().enumerate().flat_map(|(index, call)| {
            let times: Vec<&[f64]> = times.iter().map(|loops| &loops[index][..]).collect();
            self.report(call, &times)
        });
        results.collect()
    }

    /// Ratios to nothing attached, and ours to the floors.
    fn report(&self, call: &str, times: &[&[f64]]) -> Vec<Value> {
        let figure = format!("{}, {call}", self.name);
        println!("{figure}: nothing takes {:.0} ns a call", median(times[0]));
        let of = |name: &str| {
            let arm = self.arms.iter().position(|(arm, _)| *arm == name);
            times[arm.expect("an arm of this figure")]
        };
        let noise = median(&ratios(of("nothing again"), times[0]));
        let is_valid = (noise - 1.0).abs() <= NOISE;
        let mut results = Vec::new();
        for ((arm, _), times_of_arm) in self.arms.iter().zip(times).skip(1) {
            if times_of_arm.is_empty() {
                println!("  {arm:<22} missing");
                results.push(json!({ "figure": figure, "arm": arm, "missing": true }));
                continue;
            }
            let [low, middle, high] = quartiles(&ratios(times_of_arm, times[0]));
            println!("  {arm:<22} {middle:>7.3}× ({low:.3} to {high:.3})");
            results.push(json!({
                "figure": figure, "arm": arm, "ratio": middle, "quartiles": [low, high],
            }));
        }
        for Floor { arm, goal } in self.floors {
            let [low, middle, high] = quartiles(&ratios(of(self.ours), of(arm)));
            let met = goal.filter(|_| is_valid).map(|goal| middle <= goal);
            let verdict = goal
                .zip(met)
                .map_or(String::new(), |(goal, met)| verdict(&format!("{goal:.2}"), met));
            println!("  {}: {middle:.3}× the {arm} ({low:.3} to {high:.3}){verdict}", self.ours);
            results.push(json!({
                "figure": figure, "arm": self.ours, "of": arm, "ratio": middle,
                "quartiles": [low, high], "goal": goal, "met": met,
            }));
        }
        if !is_valid {
            println!("  thrown away: the two idle arms differ by more than {:.0} %", NOISE * 100.0);
        }
        results
    }
}

//! *run, start* and *run, event*: programs of the bpftrace language beside bpftrace itself, from exec to exit, and per
//! event. Programs that watch are attached to a call of the load's, in the load's process alone.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::arms::{Observer, SETTLE, find};
use crate::stats::{Dice, median, quartiles, verdict};
use crate::support::nettrace;
use crate::syscalls::{Load, wait_until_attached, with_tracefs};

const STARTS: usize = 21;
const ROUNDS: usize = 9;
const CALL: &str = "getppid";
const HOOK: &str = "tracepoint:syscalls:sys_enter_getppid";

/// What is started, and how long it may take, ms.
const PROGRAMS: [(&str, &str, f64); 2] = [
    ("begin alone", "BEGIN { printf(\"x\\n\"); exit(); }", 10.0),
    ("kernel types", "BEGIN { printf(\"%d\\n\", curtask->pid); exit(); }", 25.0),
];
const GOAL_KB: f64 = 15_000.0;

/// What is done at an event, and calls a chunk: so many messages as fit the ring. Ours may cost what theirs does.
const EVENTS: [(&str, &str, u64); 3] = [
    ("count()", "@ = count();", 2_000),
    ("hist()", "@ = hist(nsecs & 0xffff);", 2_000),
    ("printf()", "printf(\"%d %s\\n\", pid, comm);", 20),
];
const GOAL: f64 = 1.0;

/// Milliseconds from exec to exit, and the most memory meanwhile, kB.
struct Started {
    ms: Vec<f64>,
    kb: Vec<f64>,
}

/// Of bpftrace's kind, ours first.
fn both(program: &str) -> Vec<(&'static str, Command)> {
    let mut ours = nettrace();
    ours.args(["run", "-e", program]);
    let mut commands = vec![("nettrace run", ours)];
    if let Some(mut theirs) = with_tracefs("bpftrace") {
        theirs.args(["-e", program]);
        commands.push(("bpftrace", theirs));
    }
    commands
}

pub(crate) fn start() -> Vec<Value> {
    let mut results = Vec::new();
    for (name, program, goal) in PROGRAMS {
        let figure = format!("run, start, {name}");
        println!("{figure}: exec to exit, and the most memory");
        let mut ours = nettrace();
        ours.args(["run", "-e", program]);
        let mut commands = vec![("nettrace run", ours)];
        match find("bpftrace") {
            Some(path) => {
                let mut theirs = Command::new(path);
                theirs.args(["-e", program]);
                commands.push(("bpftrace", theirs));
            }
            None => println!("  {:<20} missing", "bpftrace"),
        }
        let mut started: Vec<Started> =
            commands.iter().map(|_| Started { ms: Vec::new(), kb: Vec::new() }).collect();
        let mut dice = Dice::new();
        for _ in 0..STARTS {
            let mut order: Vec<usize> = (0..commands.len()).collect();
            dice.shuffle(&mut order);
            for index in order {
                started[index].ms.push(run_once(&mut commands[index].1));
            }
        }
        for ((_, command), started) in commands.iter().zip(&mut started) {
            started.kb.push(peak_kb(command, program));
        }
        for ((arm, _), Started { ms, kb }) in commands.iter().zip(&started) {
            let ([low, middle, high], kb) = (quartiles(ms), median(kb));
            let is_ours = *arm == "nettrace run";
            let met = is_ours.then_some(middle <= goal && kb <= GOAL_KB);
            let goals = format!("{goal} ms, {:.0} MB", GOAL_KB / 1e3);
            let verdict = met.map_or(String::new(), |met| verdict(&goals, met));
            println!(
                "  {arm:<20} {middle:>6.1} ms ({low:.1} to {high:.1}) {:>6.1} MB{verdict}",
                kb / 1e3
            );
            results.push(json!({
                "figure": figure, "arm": arm, "ms": middle, "quartiles": [low, high], "kb": kb,
                "met": met,
            }));
        }
    }
    results
}

fn run_once(command: &mut Command) -> f64 {
    let begin = Instant::now();
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().expect("run it");
    assert!(status.success(), "{command:?}");
    begin.elapsed().as_secs_f64() * 1e3
}

/// The most memory that the program needs to get there, of one that stays. What the kernel tells of a child that has ended
/// has this process's own in it.
fn peak_kb(command: &Command, program: &str) -> f64 {
    let stays = program.replace("exit(); ", "") + " interval:s:1000 { }";
    let mut command = Command::new(command.get_program());
    if command.get_program() == nettrace().get_program() {
        command.arg("run");
    }
    command.args(["-e", &stays]);
    let observer = Observer::start(command, Stdio::null(), Stdio::null());
    thread::sleep(SETTLE * 4);
    let status = std::fs::read_to_string(format!("/proc/{}/status", observer.child.id()));
    let status = status.expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().next()).expect("its peak");
    kb.parse().expect("a number")
}

pub(crate) fn event() -> Vec<Value> {
    let mut load = Load::new();
    let mut results = Vec::new();
    for (name, action, calls) in EVENTS {
        let figure = format!("run, event, {name}");
        let program = format!("{HOOK} /pid == {}/ {{ {action} }}", load.pid());
        let arms = both(&program);
        let names: Vec<&str> = arms.iter().map(|(name, _)| *name).collect();
        drop(arms);
        // The first arm is nothing.
        let mut times = vec![Vec::new(); names.len() + 1];
        let mut dice = Dice::new();
        load.run(CALL, calls);
        for _ in 0..ROUNDS {
            let mut order: Vec<usize> = (0..times.len()).collect();
            dice.shuffle(&mut order);
            for arm in order {
                let observer = arm.checked_sub(1).map(|arm| {
                    let (_, command) = both(&program).swap_remove(arm);
                    Observer::start(command, Stdio::null(), Stdio::null())
                });
                if let Some(observer) = &observer {
                    wait_until_attached(observer.child.id(), load.pid());
                    thread::sleep(SETTLE);
                }
                times[arm].push(load.run(CALL, calls));
            }
        }
        let idle = median(&times[0]);
        println!("{figure}: ns beside a call's {idle:.0}");
        let added: Vec<Vec<f64>> =
            times[1..].iter().map(|times| times.iter().map(|time| time - idle).collect()).collect();
        for (arm, added_ns) in names.iter().zip(&added) {
            let [low, middle, high] = quartiles(added_ns);
            let theirs = added.get(1).map(|theirs| median(theirs)).filter(|_| *arm == names[0]);
            let met = theirs.map(|theirs| middle <= theirs * GOAL);
            let verdict = met.map_or(String::new(), |met| verdict("bpftrace's", met));
            println!("  {arm:<20} {middle:>7.0} ns ({low:.0} to {high:.0}){verdict}");
            results.push(json!({
                "figure": figure, "arm": arm, "ns": middle, "quartiles": [low, high], "met": met,
            }));
        }
        if names.len() == 1 {
            println!("  {:<20} missing", "bpftrace");
        }
    }
    results
}

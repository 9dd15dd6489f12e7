//! *tick* and *start*: reading and modelling tables of 100 to 100,000 sockets, and the time from exec
//! to the first rows.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nettrace::filter::Filter;
use nettrace::model::{Model, View};
use nettrace::names::Names;
use nettrace::netns::Netns;
use nettrace::probes::sockets;
use nettrace::session::{Options, Session};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::arms::find;

use crate::stats::{Dice, median, quartiles, verdict};
use crate::support::{Pair, nettrace, traffic};

const TICKS: usize = 11;
const STARTS: usize = 11;
const MANY: usize = 100_000;
/// Goals, of CPU time and of time beyond the interval.
const TICK_GOAL_MS: f64 = 100.0;
const START_GOAL_MS: f64 = 100.0;
/// The shortest interval that `top` takes.
const INTERVAL_MS: f64 = 50.0;

/// Idle connections in a namespace of their own.
pub(crate) struct Idle(Child);

impl Idle {
    pub(crate) fn new(pair: &Pair, sockets: usize) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &pair.a])
            .arg(traffic())
            .args(["idle", &format!("conns={sockets}"), "seconds=60"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the traffic");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its stdout");
        BufReader::new(stdout).read_line(&mut line).expect("hear of it");
        assert_eq!(line, "ready\n");
        Idle(child)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // Its children end with their time; those of a group would have to be found first.
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        for pid in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid"));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("the CPU time");
    Duration::from(time).as_secs_f64() * 1e3
}

pub(crate) fn tick() -> Vec<Value> {
    let figure = "tick";
    println!("{figure}: CPU time to read the table and model one frame");
    let pair = Pair::new();
    let mut results = Vec::new();
    for sockets in [100, 10_000, MANY] {
        let _idle = Idle::new(&pair, sockets);
        for view in [View::Procs, View::Conns] {
            let (reads, times) = ticks(&pair, view, sockets);
            let read = median(&reads);
            let [low, middle, high] = quartiles(&times);
            let met = (sockets == MANY && view == View::Procs).then_some(middle <= TICK_GOAL_MS);
            let verdict =
                met.map_or(String::new(), |met| verdict(&format!("{TICK_GOAL_MS} ms"), met));
            println!(
                "  {sockets:>7} sockets, {view:<6} {middle:>7.2} ms ({low:.2} to {high:.2}), {read:.2} of it to read, {:.3} µs a socket{verdict}",
                middle * 1e3 / sockets as f64
            );
            results.push(json!({
                "figure": figure, "sockets": sockets, "view": view.name(), "cpu_ms": middle, "read_cpu_ms": read,
                "quartiles": [low, high], "met": met,
            }));
        }
    }
    results
}

/// CPU times to read the table, and to read and model it.
fn ticks(pair: &Pair, view: View, sockets: usize) -> (Vec<f64>, Vec<f64>) {
    let netns = Netns::open(&pair.a).expect("namespace").inode();
    let options = sockets::Options { netns, ..sockets::Options::default() };
    let mut session =
        Session::open(Options { sockets: Some(options), ..Options::default() }).expect("attach");
    let mut model = Model::new(Names::new(true), Filter::default(), Vec::new());
    let mut one = || {
        let before = cpu_ms();
        let sample = session.sample().expect("a sample");
        let read = cpu_ms();
        assert!(sample.sockets.len() >= sockets, "{} of {sockets}", sample.sockets.len());
        let frame = model.advance(&sample, view);
        let after = cpu_ms();
        drop(frame);
        (read - before, after - before)
    };
    one();
    (0..TICKS).map(|_| one()).unzip()
}

pub(crate) fn start() -> Vec<Value> {
    let figure = "start";
    println!("{figure}: exec to the first rows, beyond the interval where there is one");
    let mut commands: Vec<(&str, Command, f64)> = Vec::new();
    let mut top = nettrace();
    let pid = std::process::id().to_string();
    top.args(["top", "procs", "0.05", "-p", &pid]);
    commands.push(("nettrace top", top, INTERVAL_MS));
    match find("bpftrace") {
        Some(path) => {
            let mut command = Command::new(path);
            command.args(["-e", "BEGIN { printf(\"x\\n\"); exit(); }"]);
            commands.push(("bpftrace", command, 0.0));
        }
        None => println!("  {:<20} missing", "bpftrace"),
    }
    match find("bandwhich") {
        Some(path) => {
            let mut command = Command::new(path);
            // It prints once a second; its first lines come at once.
            command.args(["--raw", "--no-resolve", "--interface", "lo"]);
            commands.push(("bandwhich", command, 0.0));
        }
        None => println!("  {:<20} missing", "bandwhich"),
    }
    let mut times = vec![Vec::new(); commands.len()];
    let mut dice = Dice::new();
    for _ in 0..STARTS {
        let mut order: Vec<usize> = (0..commands.len()).collect();
        dice.shuffle(&mut order);
        for index in order {
            let (_, command, interval) = &mut commands[index];
            times[index].push(first_byte_ms(command) - *interval);
        }
    }
    let ours = median(&times[0]);
    let mut results = Vec::new();
    for ((name, _, _), times) in commands.iter().zip(&times) {
        let [low, middle, high] = quartiles(times);
        let met = (*name == "nettrace top").then_some(middle <= START_GOAL_MS);
        let verdict = met.map_or(format!("  {:.1}× of ours", middle / ours), |met| {
            verdict(&format!("{START_GOAL_MS} ms"), met)
        });
        println!("  {name:<20} {middle:>6.1} ms ({low:.1} to {high:.1}){verdict}");
        results.push(json!({
            "figure": figure, "arm": name, "ms": middle, "quartiles": [low, high], "met": met,
        }));
    }
    results
}

fn first_byte_ms(command: &mut Command) -> f64 {
    let begin = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start a peer");
    let mut stdout = child.stdout.take().expect("its stdout");
    let read = stdout.read(&mut [0; 1]).expect("read");
    let elapsed = begin.elapsed().as_secs_f64() * 1e3;
    assert_eq!(read, 1, "{command:?} said nothing");
    let _ = child.kill();
    let _ = child.wait();
    elapsed
}

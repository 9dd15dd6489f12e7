//! *growth*: what one reading of flows and its frame take of this thread's CPU time, by how many flows there are, and
//! by how many packets a second come meanwhile: the slope of one's logarithm to the other's. The kernel runs the
//! program by itself on the load's CPU.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nettrace::filter::Filter;
use nettrace::model::{Model, Rows, View};
use nettrace::names::Names;
use nettrace::probes::flows::{FlowProbe, Options};
use nettrace::probes::{Probe, monotonic_ns};
use nettrace::sample::{Losses, OwnCost, Sample};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::load::{packet, run_program};
use crate::machine::{LOAD_CPU, OBSERVER_CPU, pin};
use crate::stats::{median, quartiles, slope, verdict};

const FLOWS: [u32; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];
/// Packets a second; the last one is as fast as it can.
const RATES: [Option<f64>; 5] = [Some(1e3), Some(1e4), Some(1e5), Some(1e6), None];
/// Flows of them.
const FEW: u32 = 1_000;
const ROUNDS: usize = 9;
/// Between two readings.
const INTERVAL: Duration = Duration::from_millis(100);
/// A producer produces so often.
const BEAT: Duration = Duration::from_millis(1);
/// Rows cost what they cost each, and no more where there are many; packets cost user space nothing.
const ROWS_GOAL: f64 = 1.1;
const RATE_GOAL: f64 = 0.1;

pub(crate) fn run() -> Vec<Value> {
    println!("growth: CPU time of user space to read flows and make a frame of them");
    // A thread of its own, since it stays on its CPU.
    let measure = || {
        pin(0, OBSERVER_CPU);
        vec![by_flows(), by_rate()]
    };
    std::thread::scope(|scope| scope.spawn(measure).join()).expect("measure")
}

/// A table with a reader.
struct Watched {
    probe: FlowProbe,
    model: Model,
}

impl Watched {
    /// Of so many flows, that there are already.
    fn new(flows: u32) -> Self {
        let options = Options { entries: Some(2 * flows), ..Options::default() };
        let probe = FlowProbe::open(options).expect("open the flow probe");
        let program = probe.ingress_program().as_raw_fd();
        for flow in 0..flows {
            run_program(program, &packet(flow), 1);
        }
        let model = Model::new(Names::new(true), Filter::default(), Vec::new());
        Watched { probe, model }
    }

    /// CPU time of one frame, ms.
    fn tick(&mut self, flows: u32) -> f64 {
        let before = cpu_ms();
        self.probe.read().expect("read the flows");
        let mut sample = empty_sample();
        self.probe.fill(&mut sample);
        let frame = self.model.advance(&sample, View::Flows);
        let took = cpu_ms() - before;
        let Rows::Flows(rows) = &frame.rows else { panic!("flows") };
        assert!(rows.len() >= flows as usize, "{} of {flows}", rows.len());
        took
    }
}

fn by_flows() -> Value {
    let points = FLOWS.map(|flows| {
        let mut watched = Watched::new(flows);
        watched.tick(flows);
        let times: Vec<f64> = (0..ROUNDS).map(|_| watched.tick(flows)).collect();
        let [low, middle, high] = quartiles(&times);
        println!("  {flows:>9} flows {middle:>9.3} ms ({low:.3} to {high:.3})");
        (f64::from(flows), middle)
    });
    report("growth, rows", &points, ROWS_GOAL)
}

fn by_rate() -> Value {
    let points = RATES.map(|rate| {
        let mut watched = Watched::new(FEW);
        let program = watched.probe.ingress_program().as_raw_fd();
        let (is_over, produced) = (AtomicBool::new(false), AtomicU64::new(0));
        let (mut times, mut took) = (Vec::new(), 0.0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(0, LOAD_CPU);
                produce(program, rate, &is_over, &produced);
            });
            watched.tick(FEW);
            let (start, before) = (Instant::now(), produced.load(Ordering::Relaxed));
            for _ in 0..ROUNDS {
                std::thread::sleep(INTERVAL);
                times.push(watched.tick(FEW));
            }
            let count = produced.load(Ordering::Relaxed) - before;
            took = count as f64 / start.elapsed().as_secs_f64();
            is_over.store(true, Ordering::Relaxed);
        });
        let [low, middle, high] = quartiles(&times);
        println!("  {took:>9.0} packets/s {middle:>5.3} ms ({low:.3} to {high:.3})");
        (took, median(&times))
    });
    report("growth, packets", &points, RATE_GOAL)
}

/// Packets of all flows in turn.
fn produce(program: i32, rate: Option<f64>, is_over: &AtomicBool, produced: &AtomicU64) {
    /// Of a producer that doesn't wait, of one flow.
    const AT_ONCE: u32 = 1_000;

    let beat = rate.map_or(AT_ONCE, |rate| (rate * BEAT.as_secs_f64()) as u32).max(1);
    let mut next = Instant::now();
    for flow in (0..FEW).cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        run_program(program, &packet(flow), beat);
        produced.fetch_add(beat.into(), Ordering::Relaxed);
        next += BEAT;
        while rate.is_some() && Instant::now() < next {
            std::hint::spin_loop();
        }
    }
}

fn report(figure: &str, points: &[(f64, f64)], goal: f64) -> Value {
    let slope = slope(points);
    let met = slope.abs() <= goal;
    println!("  {figure}: slope {slope:.2}{}", verdict(&goal.to_string(), met));
    json!({ "figure": figure, "points": points, "slope": slope, "goal": goal, "met": met })
}

fn empty_sample() -> Sample<'static> {
    Sample {
        time: SystemTime::now(),
        clock_ns: monotonic_ns(),
        sockets: &[],
        closed: &[],
        socket_events: &[],
        usage: &[],
        calls_counted: true,
        ifaces: &[],
        xdp: &[],
        syscalls: None,
        drops: None,
        flows: None,
        packets: None,
        losses: Losses::default(),
        own: OwnCost::default(),
    }
}

/// Of this thread.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the CPU time");
    Duration::from(time).as_secs_f64() * 1e3
}

//! *ring*: packets of 64 and of 256 bytes through the capture probe's ring into a file that goes nowhere. The
//! kernel runs the program by itself (BPF_PROG_TEST_RUN) on the load's CPU: at a rate that is bisected to where
//! nothing is lost, then as fast as it can, where received + lost has to be what was produced.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nettrace::packet::filter::LinkType;
use nettrace::packet::pcapng::{Interface, Packet, PcapngWriter, Section};
use nettrace::probes::Probe;
use nettrace::probes::capture::{CaptureProbe, Options};
use nettrace::sample::Backlog;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::load::run_program;
use crate::machine::{LOAD_CPU, OBSERVER_CPU, pin};

const SIZES: [usize; 2] = [64, 256];
const TRIAL: Duration = Duration::from_millis(500);
/// A producer at a rate produces so often.
const BEAT: Duration = Duration::from_millis(1);
const BISECTIONS: u32 = 7;
/// Above what a CPU can produce.
const MOST_PER_SECOND: f64 = 20e6;
const GOAL_PER_SECOND: f64 = 5e6;
/// As of the capture command, where nobody is woken.
const READ_AFTER_MS: u16 = 100;

/// What came of one trial.
#[derive(Clone, Copy, Debug)]
struct Trial {
    produced: u64,
    received: u64,
    lost: u64,
    seconds: f64,
}

impl Trial {
    fn per_second(&self) -> f64 {
        self.produced as f64 / self.seconds
    }
}

pub(crate) fn run() -> Vec<Value> {
    println!("ring, packets into a file; the producer on one CPU");
    SIZES.into_iter().map(measure).collect()
}

fn measure(size: usize) -> Value {
    let overload = trial(size, None);
    let (mut low, mut high) = (0.0, MOST_PER_SECOND);
    let mut best: Option<Trial> = None;
    // Where even the fastest producer loses nothing, there is nothing to bisect.
    if overload.lost == 0 {
        best = Some(overload);
    } else {
        high = overload.per_second().min(high);
        for _ in 0..BISECTIONS {
            let rate = (low + high) / 2.0;
            let found = trial(size, Some(rate));
            if found.lost == 0 {
                low = rate;
                best = Some(found);
            } else {
                high = rate;
            }
        }
    }
    let rate = best.map_or(0.0, |best| best.per_second());
    let met = rate >= GOAL_PER_SECOND;
    let verdict = if met { "met" } else { "MISSED" };
    println!(
        "  {size} bytes: {:.2} M/s without loss  goal ≥ {:.0} M/s: {verdict}",
        rate / 1e6,
        GOAL_PER_SECOND / 1e6
    );
    println!(
        "    as fast as it can, {:.2} M/s: {} received + {} lost = {} produced",
        overload.per_second() / 1e6,
        overload.received,
        overload.lost,
        overload.produced
    );
    json!({
        "figure": "ring", "bytes": size, "per_second_without_loss": rate, "goal": GOAL_PER_SECOND, "met": met,
        "overload_per_second": overload.per_second(), "produced": overload.produced,
        "received": overload.received, "lost": overload.lost,
    })
}

/// Produces for a while, at so many a second or as fast as it can, and receives all the time.
fn trial(size: usize, per_second: Option<f64>) -> Trial {
    // No interface: nothing but this producer's packets comes.
    let mut probe = CaptureProbe::open(Options::default()).expect("open the capture probe");
    let program = probe.ingress_program().as_raw_fd();
    let (produced, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut received, mut seconds) = (0, 0.0);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            pin(0, LOAD_CPU);
            let seconds = produce(program, size, per_second, &produced);
            is_over.store(true, Ordering::Release);
            seconds
        });
        pin(0, OBSERVER_CPU);
        received = receive(&mut probe, &is_over);
        seconds = producer.join().expect("produce");
    });
    let lost = probe.losses().into_iter().map(|(_, count)| count).sum();
    let trial = Trial { produced: produced.into_inner(), received, lost, seconds };
    assert_eq!(trial.received + trial.lost, trial.produced, "{trial:?}");
    trial
}

fn produce(program: i32, size: usize, per_second: Option<f64>, produced: &AtomicU64) -> f64 {
    /// Of a producer that doesn't wait, in one go.
    const AT_ONCE: u32 = 10_000;

    let packet = vec![0x45; size];
    let beat = per_second.map_or(AT_ONCE, |rate| (rate * BEAT.as_secs_f64()) as u32).max(1);
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < TRIAL {
        run_program(program, &packet, beat);
        produced.fetch_add(beat.into(), Ordering::Relaxed);
        next += BEAT;
        while per_second.is_some() && Instant::now() < next {
            std::hint::spin_loop();
        }
    }
    start.elapsed().as_secs_f64()
}

fn receive(probe: &mut CaptureProbe, is_over: &AtomicBool) -> u64 {
    let nowhere = File::create("/dev/null").expect("/dev/null");
    let out = BufWriter::with_capacity(1 << 18, nowhere);
    let mut writer = PcapngWriter::new(out, &Section::default()).expect("write");
    let interface = Interface { name: "x", link: LinkType::Ethernet, snaplen: 0, filter: "" };
    writer.interface(&interface).expect("write");
    let mut received = 0;
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        probe.read_backlog().expect("read");
        let mut backlog = Backlog::default();
        probe.hand_on(&mut backlog);
        let reading = backlog.packets.expect("packets");
        for record in &reading.batch.records {
            let packet = Packet {
                interface: 0,
                time_ns: record.time_ns,
                length: record.length,
                bytes: reading.batch.bytes_of(record),
                direction: Some(record.direction),
                comment: "process=curl[1234] direction=in",
            };
            writer.packet(&packet).expect("write");
        }
        received += reading.batch.records.len() as u64;
        if reading.has_more {
            continue;
        }
        if was_over && reading.batch.records.is_empty() {
            return received;
        }
        let ring = probe.ring_fd().expect("a ring");
        let mut fds = [PollFd::new(ring, PollFlags::POLLIN)];
        let after = if was_over { 0 } else { READ_AFTER_MS };
        poll(&mut fds, PollTimeout::from(after)).expect("wait");
    }
}

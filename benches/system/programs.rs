//! *program cost*: what each program that sees packets takes of a CPU for one of them. The kernel runs it by itself
//! (BPF_PROG_TEST_RUN) on packets of 1,000 to 1,000,000 flows in no order, so that tables are as cold as they are when
//! so many flows are under way; what an empty program takes in the same rounds is subtracted.

use std::os::fd::{AsRawFd, OwnedFd};

use nettrace::netns::Netns;
use nettrace::packet::filter::{Filter, LinkType};
use nettrace::probes::capture::{self, CaptureProbe};
use nettrace::probes::flows::{self, FlowProbe};
use nettrace::probes::xdp::{self, XdpProbe};
use serde_json::{Value, json};

use crate::empty::{self, Kind};
use crate::load::{packet, run_program};
use crate::machine::{LOAD_CPU, pin};
use crate::stats::{Dice, quartiles, verdict};
use crate::support::Pair;

const FLOWS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const ROUNDS: usize = 9;
/// Packets of one program in a round.
const PACKETS: usize = 20_000;
/// Goals, ns: up to 10,000 flows, and at 100,000.
const GOAL_NS: f64 = 60.0;
const MANY_GOAL_NS: f64 = 200.0;

/// One packet of a flow; how long the program took, ns.
fn one_packet(program: i32, flow: u32) -> f64 {
    run_program(program, &packet(flow), 1)
}

/// A program that is run.
struct Subject {
    name: &'static str,
    program: i32,
    /// What its own time is above.
    empty: i32,
    /// The table is what it is measured for.
    has_goal: bool,
}

pub(crate) fn run() -> Vec<Value> {
    println!("program cost: ns a packet above an empty program, of packets of so many flows");
    let pair = Pair::new();
    // The probes look at interfaces, and packets that are run come by the loopback of where they are run.
    Netns::open(&pair.b).and_then(|netns| netns.run(|| Ok(measure()))).expect("the namespace")
}

fn measure() -> Vec<Value> {
    pin(0, LOAD_CPU);
    let [tc, by_xdp] = [Kind::Tc, Kind::Xdp].map(empty::load_packet_program);
    let xdp = xdp::Options { interfaces: vec!["lo".to_owned()], ..xdp::Options::default() };
    let xdp = XdpProbe::open(xdp).expect("open the XDP probe");
    let filter = Filter::compile("udp port 53", LinkType::Ethernet).expect("a filter");
    let capture = capture::Options { filter: Some(filter), ..capture::Options::default() };
    let capture = CaptureProbe::open(capture).expect("open the capture probe");
    let mut results = Vec::new();
    for flows in FLOWS {
        let options = flows::Options { entries: Some(2 * flows), ..flows::Options::default() };
        let table = FlowProbe::open(options).expect("open the flow probe");
        let subject = |name, program: i32, empty: &OwnedFd, has_goal| Subject {
            name,
            program,
            empty: empty.as_raw_fd(),
            has_goal,
        };
        let subjects = [
            subject("flows", table.ingress_program().as_raw_fd(), &tc, true),
            subject("xdp", xdp.program().as_raw_fd(), &by_xdp, false),
            subject("at the stack", xdp.stack_program().as_raw_fd(), &tc, false),
            subject("capture, not taken", capture.ingress_program().as_raw_fd(), &tc, false),
        ];
        // Each flow once, so that it is in the table.
        for flow in 0..flows {
            one_packet(subjects[0].program, flow);
        }
        let mut dice = Dice::new();
        results.extend(subjects.iter().map(|subject| report(subject, flows, &mut dice)));
    }
    results
}

fn report(subject: &Subject, flows: u32, dice: &mut Dice) -> Value {
    let rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let order: Vec<u32> = (0..PACKETS).map(|_| dice.below(flows)).collect();
            let mean = |program| {
                let times = order.iter().map(|flow| one_packet(program, *flow));
                times.sum::<f64>() / order.len() as f64
            };
            let nothing = mean(subject.empty);
            mean(subject.program) - nothing
        })
        .collect();
    let [low, middle, high] = quartiles(&rounds);
    let goal =
        [(10_000, GOAL_NS), (100_000, MANY_GOAL_NS)].into_iter().find(|(most, _)| flows <= *most);
    let goal = goal.map(|(_, goal)| goal).filter(|_| subject.has_goal);
    let met = goal.map(|goal| middle <= goal);
    let words = goal.map(|goal| verdict(&format!("{goal:.0} ns"), middle <= goal));
    println!(
        "  {flows:>9} flows, {:<20} {middle:>6.1} ns ({low:.1} to {high:.1}){}",
        subject.name,
        words.unwrap_or_default()
    );
    json!({
        "figure": "program cost", "program": subject.name, "flows": flows, "ns": middle, "quartiles": [low, high],
        "goal": goal, "met": met,
    })
}

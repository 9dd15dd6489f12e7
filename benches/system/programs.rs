//! *program cost*: what each program that sees packets takes of a CPU for one of them. The kernel runs it by itself
//! (BPF_PROG_TEST_RUN), behind a program that makes each packet one of 1,000 to 1,000,000 flows, in no order; what an
//! empty program takes there in the same rounds is subtracted. At the XDP hook flows don't matter.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags};
use nettrace::netns::Netns;
use nettrace::packet::filter::{Filter, LinkType};
use nettrace::probes::Probe;
use nettrace::probes::capture::{self, CaptureProbe};
use nettrace::probes::flows::{self, FlowProbe};
use nettrace::probes::xdp::{self, XdpProbe};
use serde_json::{Value, json};

use crate::empty::{self, Kind};
use crate::load::{packet, run_program};
use crate::machine::{LOAD_CPU, pin};
use crate::stats::{quartiles, verdict};
use crate::support::Pair;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/shuffle.skel.rs"));
}
use skel::ShuffleSkelBuilder;

const FLOWS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const ROUNDS: usize = 9;
/// Packets of one program in a round.
const PACKETS: u32 = 200_000;
/// Goals, ns: up to 10,000 flows, and at 100,000.
const GOALS: [(u32, f64); 2] = [(10_000, 60.0), (100_000, 200.0)];

pub(crate) fn run() -> Vec<Value> {
    println!("program cost: ns a packet above an empty program, of packets of so many flows");
    let pair = Pair::new();
    // The probes look at interfaces, and packets that are run come by the loopback of where they are run.
    Netns::open(&pair.b).and_then(|netns| netns.run(|| Ok(measure()))).expect("the namespace")
}

fn measure() -> Vec<Value> {
    pin(0, LOAD_CPU);
    let options = xdp::Options { interfaces: vec!["lo".to_owned()], ..xdp::Options::default() };
    let xdp = XdpProbe::open(options).expect("open the XDP probe");
    for standing in xdp.standings() {
        if let Some(reason) = standing.reason() {
            println!("  not measured: {}: {reason}", standing.words);
        }
    }
    let filter = Filter::compile("udp port 53", LinkType::Ethernet).expect("a filter");
    let options = capture::Options { filter: Some(filter), ..capture::Options::default() };
    let capture = CaptureProbe::open(options).expect("open the capture probe");
    let mut results = vec![before_the_stack(&xdp)];
    for flows in FLOWS {
        let options = flows::Options { entries: Some(2 * flows), ..flows::Options::default() };
        let table = FlowProbe::open(options).expect("open the flow probe");
        // Each flow once, so that it is in the table.
        for flow in 0..flows {
            run_program(table.ingress_program().as_raw_fd(), &packet(flow), 1);
        }
        let goal = GOALS.into_iter().find(|(most, _)| flows <= *most).map(|(_, goal)| goal);
        for (name, program, goal) in [
            ("flows", table.ingress_program(), goal),
            ("at the stack", xdp.stack_program(), None),
            ("capture, not taken", capture.ingress_program(), None),
        ] {
            results.push(report(name, Some(flows), &behind_a_shuffle(program, flows), goal));
        }
    }
    results
}

fn before_the_stack(xdp: &XdpProbe) -> Value {
    let empty = empty::load_packet_program(Kind::Xdp);
    let packet = packet(0);
    let time = |program: i32| run_program(program, &packet, PACKETS);
    let rounds = (0..ROUNDS).map(|_| {
        let nothing = time(empty.as_raw_fd());
        time(xdp.program().as_raw_fd()) - nothing
    });
    report("xdp", None, &rounds.collect::<Vec<f64>>(), None)
}

/// Of each round, ns a packet above the empty program.
fn behind_a_shuffle(program: BorrowedFd<'_>, flows: u32) -> Vec<f64> {
    let empty = empty::load_packet_program(Kind::Tc);
    let mut storage = MaybeUninit::uninit();
    let mut open = ShuffleSkelBuilder::default().open(&mut storage).expect("open the shuffle");
    open.maps.rodata_data.as_mut().expect("its constants").flows = flows;
    let shuffle = open.load().expect("load the shuffle");
    let time = |program: BorrowedFd<'_>| {
        let (first, number) = (0u32.to_ne_bytes(), program.as_raw_fd().to_ne_bytes());
        shuffle.maps.measured.update(&first, &number, MapFlags::ANY).expect("put it behind");
        run_program(shuffle.progs.shuffle.as_fd().as_raw_fd(), &packet(0), PACKETS)
    };
    let rounds = (0..ROUNDS).map(|_| {
        let nothing = time(empty.as_fd());
        time(program) - nothing
    });
    rounds.collect()
}

fn report(name: &str, flows: Option<u32>, rounds: &[f64], goal: Option<f64>) -> Value {
    let [low, middle, high] = quartiles(rounds);
    let met = goal.map(|goal| middle <= goal);
    let words = goal.map(|goal| verdict(&format!("{goal:.0} ns"), middle <= goal));
    let of_flows = flows.map_or_else(String::new, |flows| format!("{flows} flows"));
    println!(
        "  {of_flows:>13} {name:<20} {middle:>6.1} ns ({low:.1} to {high:.1}){}",
        words.unwrap_or_default()
    );
    json!({
        "figure": "program cost", "program": name, "flows": flows, "ns": middle, "quartiles": [low, high],
        "goal": goal, "met": met,
    })
}

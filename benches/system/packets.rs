//! *packets, sockets view* and *packets, flows view*: 18-byte UDP datagrams and TCP segments over veth, one thread
//! that sends in one namespace and receives in the other, under each observer in turn.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Instant;

use nettrace::netns::Netns;
use serde_json::{Value, json};

use crate::arms::{Arm, Observer, SETTLE};
use crate::machine::{LOAD_CPU, pin};
use crate::stats::{Dice, NOISE, median, quartiles, ratios, verdict};
use crate::support::{B4, Pair, nettrace, number, rows};

const ROUNDS: usize = 9;
const PAYLOAD: usize = 18;
/// One measurement is the median of so many chunks of so many packets.
const CHUNKS: usize = 15;
const PACKETS: usize = 4_000;
/// Goals: UDP costs up to 3 % more than nothing; TCP nothing, which is what the noise allows.
const UDP_GOAL: f64 = 1.03;
/// Of the flows view, where each packet is seen.
const FLOWS_GOAL: f64 = 1.05;

/// What is compared.
struct Comparison {
    figure: &'static str,
    /// The first two are the baseline and its noise.
    arms: &'static [Arm],
    ours: Arm,
    /// What UDP and TCP may take of nothing; within noise of it if there is no goal.
    goals: [Option<f64>; 2],
}

pub(crate) fn sockets_view() -> Vec<Value> {
    measure(&Comparison {
        figure: "packets, sockets view",
        arms: &[
            Arm::Nothing,
            Arm::NothingAgain,
            Arm::Empty,
            Arm::Nettrace,
            Arm::Nethogs,
            Arm::Bandwhich,
            Arm::Tcpdump,
        ],
        ours: Arm::Nettrace,
        goals: [Some(UDP_GOAL), None],
    })
}

pub(crate) fn flows_view() -> Vec<Value> {
    let mut results = measure(&Comparison {
        figure: "packets, flows view",
        arms: &[
            Arm::Nothing,
            Arm::NothingAgain,
            Arm::EmptyTcx,
            Arm::Flows,
            Arm::Nethogs,
            Arm::Iftop,
            Arm::Bandwhich,
            Arm::Tcpdump,
        ],
        ours: Arm::Flows,
        goals: [Some(FLOWS_GOAL), Some(FLOWS_GOAL)],
    });
    results.push(totals());
    results
}

struct Load {
    udp: (UdpSocket, UdpSocket),
    tcp: (TcpStream, TcpStream),
}

impl Load {
    fn new(pair: &Pair) -> Self {
        let a = Netns::open(&pair.a).expect("namespace");
        let b = Netns::open(&pair.b).expect("namespace");
        let (receiver, listener) =
            b.run(|| Ok((UdpSocket::bind((B4, 0))?, TcpListener::bind((B4, 0))?))).expect("bind");
        let to_udp: SocketAddr = receiver.local_addr().expect("address");
        let to_tcp: SocketAddr = listener.local_addr().expect("address");
        let (sender, stream) = a
            .run(|| {
                let sender = UdpSocket::bind(("0.0.0.0", 0))?;
                sender.connect(to_udp)?;
                Ok((sender, TcpStream::connect(to_tcp)?))
            })
            .expect("connect");
        let (accepted, _) = listener.accept().expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        accepted.set_nodelay(true).expect("nodelay");
        Load { udp: (sender, receiver), tcp: (stream, accepted) }
    }

    /// Nanoseconds per datagram sent and received.
    fn udp(&self) -> f64 {
        let mut buffer = [0; 64];
        per_packet(|| {
            self.udp.0.send(&[1; PAYLOAD]).expect("send");
            assert_eq!(self.udp.1.recv(&mut buffer).expect("receive"), PAYLOAD);
        })
    }

    /// Nanoseconds per segment sent and received.
    fn tcp(&mut self) -> f64 {
        let mut buffer = [0; PAYLOAD];
        let (from, to) = &mut self.tcp;
        per_packet(|| {
            from.write_all(&[1; PAYLOAD]).expect("send");
            to.read_exact(&mut buffer).expect("receive");
        })
    }
}

fn per_packet(mut one: impl FnMut()) -> f64 {
    let mut chunks = [0.0; CHUNKS];
    for chunk in &mut chunks {
        let start = Instant::now();
        for _ in 0..PACKETS {
            one();
        }
        *chunk = start.elapsed().as_nanos() as f64 / PACKETS as f64;
    }
    median(&chunks)
}

fn measure(comparison: &Comparison) -> Vec<Value> {
    let pair = Pair::new();
    let arms: Vec<Arm> = comparison.arms.iter().copied().filter(|arm| !arm.is_missing()).collect();
    let (mut udp, mut tcp) = (vec![Vec::new(); Arm::COUNT], vec![Vec::new(); Arm::COUNT]);
    std::thread::scope(|scope| {
        // Its own thread, so that the observers don't inherit its CPU.
        scope.spawn(|| {
            pin(0, LOAD_CPU);
            let mut load = Load::new(&pair);
            let mut dice = Dice::new();
            load.udp();
            load.tcp();
            for _ in 0..ROUNDS {
                let mut order = arms.clone();
                dice.shuffle(&mut order);
                for arm in order {
                    let [of_udp, of_tcp] = beside(arm, &pair, &mut load);
                    udp[arm as usize].push(of_udp);
                    tcp[arm as usize].push(of_tcp);
                }
            }
        });
    });
    let [udp_goal, tcp_goal] = comparison.goals;
    let mut results = report(comparison, "udp", &udp, udp_goal);
    results.extend(report(comparison, "tcp", &tcp, tcp_goal));
    results
}

/// Times of datagrams and of segments while it watches.
fn beside(arm: Arm, pair: &Pair, load: &mut Load) -> [f64; 2] {
    const TRIES: usize = 5;

    for _ in 0..TRIES {
        let running = arm.start(pair);
        let times = [load.udp(), load.tcp()];
        if running.end() {
            return times;
        }
    }
    panic!("{} gave up {TRIES} times", arm.name());
}

/// Ratios to nothing attached, round by round.
fn report(
    comparison: &Comparison,
    protocol: &str,
    times: &[Vec<f64>],
    goal: Option<f64>,
) -> Vec<Value> {
    let figure = format!("{}, {protocol}", comparison.figure);
    let base = &times[Arm::Nothing as usize];
    println!("{figure}: nothing takes {:.0} ns a packet", median(base));
    let of = |arm: Arm| ratios(&times[arm as usize], base);
    let noise = quartiles(&of(Arm::NothingAgain));
    let is_valid = (noise[1] - 1.0).abs() <= NOISE;
    let mut results = Vec::new();
    for arm in comparison.arms.iter().copied().skip(1) {
        if arm.is_missing() {
            println!("  {:<20} missing", arm.name());
            results.push(json!({ "figure": figure, "arm": arm.name(), "missing": true }));
            continue;
        }
        let [low, middle, high] = quartiles(&of(arm));
        // Within noise: not above what doing nothing twice may differ by.
        let most = goal.unwrap_or(1.0 + (noise[2] - 1.0).max(1.0 - noise[0]).max(0.01));
        let is_ours = arm == comparison.ours;
        let met = (is_ours && is_valid).then_some(middle <= most);
        let verdict = met.map_or(String::new(), |met| verdict(&format!("{most:.3}"), met));
        println!("  {:<20} {middle:.3}× ({low:.3} to {high:.3}){verdict}", arm.name());
        results.push(json!({
            "figure": figure, "arm": arm.name(), "ratio": middle, "quartiles": [low, high],
            "goal": is_ours.then_some(most), "met": met,
        }));
    }
    if !is_valid {
        println!("  thrown away: the two idle arms differ by more than {:.0} %", NOISE * 100.0);
    }
    results
}

/// Whether the flows of all this load sum up to what the interface counted of it.
fn totals() -> Value {
    let pair = Pair::new();
    let mut load = Load::new(&pair);
    load.udp();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut command = nettrace();
    command.args(["top", "flows", "0.5", "0", "-i", "v1", "--netns", &pair.b, "-O", "json"]);
    command.arg("--force").arg("-o").arg(file.path());
    let observer = Observer::start(command, Stdio::null(), Stdio::null());
    std::thread::sleep(SETTLE);
    let before = interface_counters(&pair.b);
    load.udp();
    load.tcp();
    // The last acknowledgement too.
    std::thread::sleep(SETTLE);
    let after = interface_counters(&pair.b);
    drop(observer);
    let document = std::fs::read(file.path()).expect("its output");
    let rows = rows(&serde_json::from_slice(&document).expect("JSON"));
    let sum = |direction: &str, key: &str| -> u64 {
        rows.iter().filter(|row| row["direction"] == direction).map(|row| number(row, key)).sum()
    };
    let counted = [("in", "packets"), ("in", "bytes"), ("out", "packets"), ("out", "bytes")];
    let counted = counted.map(|(direction, key)| sum(direction, key));
    let truth: [u64; 4] = std::array::from_fn(|at| after[at] - before[at]);
    let met = counted == truth;
    println!("packets, flows view, totals of packets and bytes in and out");
    println!("  flows {counted:?}, interface {truth:?}: {}", if met { "equal" } else { "DIFFER" });
    json!({ "figure": "packets, flows view, totals", "flows": counted, "interface": truth, "met": met })
}

/// Packets and bytes in, and out.
fn interface_counters(netns: &str) -> [u64; 4] {
    let show = ["-n", netns, "-s", "-j", "link", "show", "dev", "v1"];
    let output = Command::new("ip").args(show).output().expect("run ip");
    let links: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |direction: &str, key: &str| number(&links[0]["stats64"][direction], key);
    [of("rx", "packets"), of("rx", "bytes"), of("tx", "packets"), of("tx", "bytes")]
}

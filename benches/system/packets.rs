//! *packets, sockets view*: 18-byte UDP datagrams and TCP segments over veth, one thread that sends
//! in one namespace and receives in the other, under each observer in turn.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use nettrace::netns::Netns;
use serde_json::{Value, json};

use crate::arms::Arm;
use crate::machine::{LOAD_CPU, pin};
use crate::stats::{Dice, NOISE, median, quartiles, ratios, verdict};
use crate::support::{B4, Pair};

const ROUNDS: usize = 9;
const PAYLOAD: usize = 18;
/// One measurement is the median of so many chunks of so many packets.
const CHUNKS: usize = 15;
const PACKETS: usize = 4_000;
/// Goals: UDP costs up to 3 % more than nothing; TCP nothing, which is what the noise allows.
const UDP_GOAL: f64 = 1.03;

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

pub(crate) fn run() -> Vec<Value> {
    let pair = Pair::new();
    let arms: Vec<Arm> = Arm::ALL.into_iter().filter(|arm| !arm.is_missing()).collect();
    let (mut udp, mut tcp) = (vec![Vec::new(); Arm::ALL.len()], vec![Vec::new(); Arm::ALL.len()]);
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
                    let running = arm.start(&pair);
                    udp[arm as usize].push(load.udp());
                    tcp[arm as usize].push(load.tcp());
                    drop(running);
                }
            }
        });
    });
    let mut results = report("packets, sockets view, udp", &udp, Some(UDP_GOAL));
    results.extend(report("packets, sockets view, tcp", &tcp, None));
    results
}

/// Ratios to nothing attached, round by round.
fn report(figure: &str, times: &[Vec<f64>], goal: Option<f64>) -> Vec<Value> {
    let base = &times[Arm::Nothing as usize];
    println!("{figure}: nothing takes {:.0} ns a packet", median(base));
    let of = |arm: Arm| ratios(&times[arm as usize], base);
    let noise = quartiles(&of(Arm::NothingAgain));
    let is_valid = (noise[1] - 1.0).abs() <= NOISE;
    let mut results = Vec::new();
    for arm in Arm::ALL.into_iter().skip(1) {
        if arm.is_missing() {
            println!("  {:<20} missing", arm.name());
            results.push(json!({ "figure": figure, "arm": arm.name(), "missing": true }));
            continue;
        }
        let [low, middle, high] = quartiles(&of(arm));
        // Within noise: not above what doing nothing twice may differ by.
        let most = goal.unwrap_or(1.0 + (noise[2] - 1.0).max(1.0 - noise[0]).max(0.01));
        let met = (arm == Arm::Nettrace && is_valid).then_some(middle <= most);
        let verdict = met.map_or(String::new(), |met| verdict(&format!("{most:.3}"), met));
        println!("  {:<20} {middle:.3}× ({low:.3} to {high:.3}){verdict}", arm.name());
        results.push(json!({
            "figure": figure, "arm": arm.name(), "ratio": middle, "quartiles": [low, high],
            "goal": (arm == Arm::Nettrace).then_some(most), "met": met,
        }));
    }
    if !is_valid {
        println!("  thrown away: the two idle arms differ by more than {:.0} %", NOISE * 100.0);
    }
    results
}

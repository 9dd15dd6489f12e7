//! Packets are followed to their end: one that the firewall drops, one that is translated into another
//! network namespace, those that reach a socket; by each rung that this kernel has.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nettrace::kernel;
use nettrace::names::reasons::Reasons;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::behaviour::assert_nothing_is_left;
use crate::drops::inside;
use crate::support::{ip, nettrace, number, text};

const CLIENT: &str = "10.101.0.1";
const ROUTER: &str = "10.101.0.254";
const OUTSIDE: &str = "10.102.0.254";
const SERVER: &str = "10.102.0.1";

/// Three namespaces: a client and a server, and between them a router that sends its own port 4242 to the
/// server's 5353 as if it asked itself, and drops what is for port 4343.
struct Routed {
    client: String,
    router: String,
    server: String,
}

impl Routed {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        let id = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let [client, router, server] = ["c", "r", "s"].map(|end| format!("np{id}{end}"));
        let routed = Routed { client, router, server };
        let Routed { client, router, server } = &routed;
        for netns in [client, router, server] {
            ip(&["netns", "add", netns]);
            ip(&["-n", netns, "link", "set", "lo", "up"]);
        }
        for (end, name, address, peer, gateway) in
            [(client, "c0", CLIENT, "r0", ROUTER), (server, "s0", SERVER, "r1", OUTSIDE)]
        {
            ip(&["-n", end, "link", "add", name, "type", "veth", "peer", peer, "netns", router]);
            for (netns, device, address) in [(end, name, address), (router, peer, gateway)] {
                ip(&["-n", netns, "addr", "add", &format!("{address}/24"), "dev", device]);
                ip(&["-n", netns, "link", "set", device, "up"]);
            }
            ip(&["-n", end, "route", "add", "default", "via", gateway]);
        }
        inside(router, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
        let rules = format!(
            "add table ip t
             add chain ip t before {{ type nat hook prerouting priority -100; }}
             add rule ip t before udp dport 4242 mark set 7 dnat to {SERVER}:5353
             add chain ip t after {{ type nat hook postrouting priority 100; }}
             add rule ip t after oifname r1 masquerade
             add chain ip t through {{ type filter hook forward priority 0; }}
             add rule ip t through udp dport 4343 drop"
        );
        let output = Command::new("ip")
            .args(["netns", "exec", router, "nft", &rules])
            .output()
            .expect("run nft (install nftables)");
        assert!(output.status.success(), "{}", text(&output.stderr));
        routed
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        for netns in [&self.client, &self.router, &self.server] {
            let _ = Command::new("ip").args(["netns", "del", netns]).status();
        }
    }
}

/// `nettrace path`, attached.
struct Follow {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What it said when it had attached.
    reach: String,
}

impl Follow {
    fn new(args: &[&str], without: &str) -> Self {
        let mut child = nettrace()
            .args(["path", "-O", "ndjson"])
            .args(args)
            .env("NETTRACE_WITHOUT", without)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (mut said, mut reach) = (String::new(), String::new());
        while !reach.contains("follows packets at") {
            said += &reach;
            reach.clear();
            assert!(stderr.read_line(&mut reach).unwrap() > 0, "{said}");
        }
        Follow { child, stderr, reach }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Ends it, or waits until it ends by itself; all packets that it has shown, and what it said.
    fn end(mut self, is_told: bool) -> (Vec<Value>, String) {
        if is_told {
            self.signal(Signal::SIGINT);
        }
        let mut lines = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        (objects.filter(|object| object["view"] == "path").collect(), rest)
    }
}

fn names<'a>(packet: &'a Value, key: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = steps(packet).iter().filter_map(|step| step[key].as_str()).collect();
    names.dedup();
    names
}

fn steps(packet: &Value) -> &Vec<Value> {
    packet["steps"].as_array().unwrap()
}

fn to(packets: &[Value], port: u64) -> &Value {
    let found = packets.iter().find(|packet| packet["destination_port"] == port);
    found.unwrap_or_else(|| panic!("none to {port} in {packets:#?}"))
}

/// Whether `names` come in this order, others between them.
fn are_in_order(names: &[&str], expected: &[&str]) -> bool {
    let mut names = names.iter();
    expected.iter().all(|expected| names.any(|name| name == expected))
}

/// The CPUs that this process may run on.
fn cpus() -> Vec<usize> {
    let cpus = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| cpus.is_set(*cpu).unwrap()).collect()
}

fn stay_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only).unwrap();
}

/// To the router's address that is another's, and to one that the router doesn't let through. What is read
/// where it was sent from is freed without a word, of which only functions tell.
fn send(routed: &Routed) {
    let cpus = cpus();
    let server = inside(&routed.server, || UdpSocket::bind((SERVER, 5353)).unwrap());
    server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    inside(&routed.client, || {
        stay_on(cpus[0]);
        let client = UdpSocket::bind((CLIENT, 4000)).unwrap();
        client.send_to(b"test", (ROUTER, 4242)).unwrap();
        client.send_to(b"test", (SERVER, 4343)).unwrap();
    });
    let (length, from) = inside(&routed.server, || {
        stay_on(cpus[cpus.len() - 1]);
        server.recv_from(&mut [0; 9]).unwrap()
    });
    assert_eq!((length, from.ip().to_string().as_str()), (4, OUTSIDE));
}

/// Else, the CPU that it was sent from frees it when it receives something next: so all do that until the
/// run has ended.
fn end_by_itself(follow: Follow) -> (Vec<Value>, String) {
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let own = socket.local_addr().unwrap();
            for cpu in cpus().into_iter().cycle() {
                if has_ended.load(Ordering::Relaxed) {
                    return;
                }
                stay_on(cpu);
                socket.send_to(b"test", own).unwrap();
                socket.recv_from(&mut [0; 9]).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let end = follow.end(false);
        has_ended.store(true, Ordering::Relaxed);
        end
    })
}

const FILTER: [&str; 3] = ["udp", "and", "host 10.101.0.1"];

/// By the rung that is left without some: what is said, and both packets.
fn followed(without: &str, args: &[&str]) -> (String, Vec<Value>) {
    let routed = Routed::new();
    let follow =
        Follow::new(&[&["-c", "2", "--netns", &routed.client], args, &FILTER].concat(), without);
    send(&routed);
    let reach = follow.reach.clone();
    let (packets, rest) = end_by_itself(follow);
    let context = format!("{reach}{rest}{packets:#?}");
    assert!(rest.contains("2 packets followed"), "{context}");
    assert!(!rest.contains("lost"), "{context}");

    let translated = to(&packets, 4242);
    let all = [&*routed.client, &*routed.router, &*routed.server];
    assert_eq!(names(translated, "netns"), all, "{context}");
    let interfaces = names(translated, "interface");
    assert!(are_in_order(&interfaces, &["c0", "r0", "r1", "s0"]), "{context}");
    let sources = names(translated, "source_address");
    assert!(are_in_order(&sources, &[CLIENT, OUTSIDE]), "{context}");
    let destinations = names(translated, "destination_address");
    assert!(are_in_order(&destinations, &[ROUTER, SERVER]), "{context}");
    assert!(steps(translated).iter().any(|step| step["mark"] == 7), "{context}");
    assert_eq!(translated["end"], "consumed", "{context}");
    assert!(steps(translated).iter().all(|step| number(step, "since_ns") < 60_000_000_000));

    let dropped = to(&packets, 4343);
    assert_eq!(names(dropped, "netns"), [&*routed.client, &*routed.router], "{context}");
    assert_eq!(dropped["end"], "dropped", "{context}");
    let last = steps(dropped).last().unwrap();
    let has_reasons = !Reasons::of_kernel(&kernel::btf().unwrap()).is_empty();
    let reason = if has_reasons { "NETFILTER_DROP".into() } else { Value::Null };
    assert_eq!((&last["event"], &last["reason"]), (&"dropped".into(), &reason), "{context}");
    let place = last["function"].as_str().unwrap();
    assert!(["nf_hook_slow", "nft_do_chain"].contains(&place), "{context}");
    (reach, packets)
}

/// Whether the rung was had; there, the functions that every kernel has are passed in order.
fn is_had(reach: &str, packets: &[Value], rung: &str) -> bool {
    if !reach.contains(&format!(" by {rung},")) {
        return false;
    }
    let expected: &[&str] = if rung == "raw_tp" {
        &["net_dev_queue", "netif_receive_skb", "net_dev_queue", "netif_receive_skb"]
    } else {
        &["ip_rcv", "ip_forward", "ip_output", "ip_rcv", "udp_rcv"]
    };
    let functions = names(to(packets, 4242), "function");
    assert!(are_in_order(&functions, expected), "{functions:?}");
    true
}

#[test]
fn packets_are_followed_by_the_best_rung() {
    let (reach, packets) = followed("", &[]);
    let is_one = |rung: &&str| is_had(&reach, &packets, rung);
    assert!(["kprobe_multi", "fentry", "kprobe", "raw_tp"].iter().any(is_one), "{reach}");
}

#[test]
fn packets_are_followed_by_each_lower_rung() {
    let few = ["--max-probes", "30"];
    let (reach, packets) = followed("kprobe_multi", &few);
    let by_fentry = is_had(&reach, &packets, "fentry");
    let (reach, packets) = followed("kprobe_multi,fentry", &few);
    let by_kprobe = is_had(&reach, &packets, "kprobe");
    if by_fentry || by_kprobe {
        assert!(by_fentry && by_kprobe, "{reach}");
    }
    let (reach, packets) = followed("kprobe_multi,fentry,kprobe", &[]);
    assert!(is_had(&reach, &packets, "raw_tp"), "{reach}");
}

/// A segment is sent as a copy of what TCP keeps, and its end is where the reader has it.
#[test]
fn a_segment_is_followed_to_its_socket() {
    let routed = Routed::new();
    let expression = "tcp port 4500 and tcp[tcpflags] & tcp-push != 0";
    let follow = Follow::new(&["-c", "1", expression], "");
    let listener = inside(&routed.server, || TcpListener::bind((SERVER, 4500)).unwrap());
    let mut client = inside(&routed.client, || {
        TcpStream::connect(SocketAddr::new(SERVER.parse().unwrap(), 4500)).unwrap()
    });
    client.write_all(b"test").unwrap();
    let mut received = [0; 4];
    listener.accept().unwrap().0.read_exact(&mut received).unwrap();
    let (packets, rest) = end_by_itself(follow);
    let packet = to(&packets, 4500);
    assert_eq!(
        names(packet, "netns")[..3],
        [&*routed.client, &*routed.router, &*routed.server],
        "{packet:#}"
    );
    assert!(!rest.contains("lost"), "{rest}");
}

/// What passes by while programs are attached one by one would have a way with gaps.
#[test]
fn nothing_is_followed_before_all_is_attached() {
    let routed = Routed::new();
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            inside(&routed.client, || {
                let client = UdpSocket::bind((CLIENT, 4000)).unwrap();
                for _ in 0..60_000 {
                    if has_ended.load(Ordering::Relaxed) {
                        return;
                    }
                    client.send_to(b"test", (SERVER, 4343)).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        });
        let args = ["-c", "20", "--netns", &routed.client];
        let follow = Follow::new(&[&args[..], &FILTER].concat(), "kprobe_multi,fentry,kprobe");
        let (packets, rest) = follow.end(false);
        has_ended.store(true, Ordering::Relaxed);
        assert!(packets.len() >= 20, "{rest}");
        let whole = ["net_dev_queue", "netif_receive_skb"];
        let is_whole = |packet: &&Value| are_in_order(&names(packet, "function"), &whole);
        // One may be under way when the last program is attached.
        let gaps = packets.iter().filter(|packet| !is_whole(packet)).count();
        assert!(gaps <= 1, "{gaps} of {packets:#?}");
    });
}

#[test]
fn functions_and_namespace_are_chosen_and_stacks_shown() {
    let routed = Routed::new();
    let args = ["--functions", "ip_rcv,netif_receive_skb", "--netns", &routed.router, "--stack"];
    let follow = Follow::new(&[&args[..], &FILTER].concat(), "");
    send(&routed);
    let (packets, _) = follow.end(true);
    for port in [4242, 4343] {
        let packet = to(&packets, port);
        let first = &steps(packet)[0];
        assert_eq!(first["netns"], routed.router, "{packet:#}");
        let known = ["ip_rcv", "netif_receive_skb"];
        assert!(known.contains(&first["function"].as_str().unwrap()), "{packet:#}");
        let stack = first["kernel_stack"].as_array().unwrap();
        assert!(
            stack.iter().any(|frame| frame.as_str().unwrap().starts_with("__napi_poll+")
                || frame.as_str().unwrap().contains("net_rx_action+")),
            "{packet:#}"
        );
    }
}

#[test]
fn what_the_ring_has_no_room_for_is_told() {
    let routed = Routed::new();
    let follow = Follow::new(&[&["--ring-size", "4K"][..], &FILTER].concat(), "");
    // It sleeps, and so its ring fills.
    follow.signal(Signal::SIGSTOP);
    inside(&routed.client, || {
        let client = UdpSocket::bind((CLIENT, 4000)).unwrap();
        for _ in 0..500 {
            client.send_to(b"test", (SERVER, 4343)).unwrap();
        }
    });
    follow.signal(Signal::SIGCONT);
    let (_, rest) = follow.end(true);
    assert!(rest.contains("by path_ring: steps came while the ring for them was full"), "{rest}");
}

#[test]
fn a_wrong_choice_of_functions_is_named() {
    let output = nettrace().args(["path", "--functions", "nothing*", "icmp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--functions nothing*: no "), "{}", text(&output.stderr));
}

#[test]
fn killed_it_leaves_nothing_attached() {
    let mut follow = Follow::new(&["udp and host 10.101.0.1 and port 4999"], "");
    assert_nothing_is_left(&mut follow.child);
}

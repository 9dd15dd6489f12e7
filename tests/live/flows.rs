//! The sums over all flows are what the interface itself counted, to the packet and the byte; and what is
//! attached goes again, and leaves what is others' alone.

use std::ffi::CString;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcHookBuilder};
use serde_json::Value;

use crate::drops::{Seen, Watch, inside};
use crate::frames::{self, Frame, UDP};
use crate::support::{A4, A6, B4, B6, Pair, ip, load, nettrace, number, text, use_libbpf};

mod kinds;
mod parser;
mod table;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/other.skel.rs"));
}
use skel::OtherSkelBuilder;

/// How often a run is made again because others sent packets while the counters were read.
const ATTEMPTS: usize = 10;
const ETHERNET: u64 = 14;
const TAG: u64 = 4;

/// Packets and bytes, received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters([u64; 4]);

impl Counters {
    /// What `ip -s link` says.
    fn of(netns: &str, interface: &str) -> Self {
        let output = Command::new("ip")
            .args(["-n", netns, "-s", "-j", "link", "show", "dev", interface])
            .output()
            .unwrap();
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = |direction: &str, what: &str| number(&all[0]["stats64"][direction], what);
        Counters([
            count("rx", "packets"),
            count("rx", "bytes"),
            count("tx", "packets"),
            count("tx", "bytes"),
        ])
    }

    fn of_rows(rows: &[Value], interface: &str) -> Self {
        let sum = |direction: &str, key: &str| {
            let of_it =
                |row: &&Value| row["interface"] == interface && row["direction"] == direction;
            rows.iter().filter(of_it).map(|row| number(row, key)).sum::<u64>()
        };
        Counters([
            sum("in", "packets"),
            sum("in", "bytes"),
            sum("out", "packets"),
            sum("out", "bytes"),
        ])
    }

    fn since(self, before: Self) -> Self {
        Counters(std::array::from_fn(|at| self.0[at] - before.0[at]))
    }

    /// Without the tags in the packets that the stack takes off before a program sees them.
    fn without_tags(self, rows: &[Value]) -> Self {
        let tagged = |row: &&Value| row["direction"] == "in" && row["vlan"] != Value::Null;
        let packets: u64 = rows.iter().filter(tagged).map(|row| number(row, "packets")).sum();
        let [rx, rx_bytes, tx, tx_bytes] = self.0;
        Counters([rx, rx_bytes - TAG * packets, tx, tx_bytes])
    }

    /// With the headers that veth leaves out of its count of bytes while it has NAPI, as GRO asks of it.
    fn with_headers(self) -> Self {
        let [rx, rx_bytes, tx, tx_bytes] = self.0;
        Counters([rx, rx_bytes + ETHERNET * rx, tx, tx_bytes])
    }
}

fn watch(netns: &str, args: &[&str], without: &str) -> Watch {
    let environment = [("NETTRACE_WITHOUT", without)];
    Watch::of(&["top", "flows", "--netns", netns], args, &environment)
}

/// The counters, once they stay as they are.
fn when_quiet(netns: &str, interface: &str) -> Counters {
    let mut counters = Counters::of(netns, interface);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = Counters::of(netns, interface);
        if std::mem::replace(&mut counters, now) == now {
            return now;
        }
    }
}

/// Runs nettrace around some traffic until nothing else was sent meanwhile, and compares.
fn compare(netns: &str, interface: &str, args: &[&str], without: &str, traffic: &dyn Fn()) -> Seen {
    let args = [&["-i", interface], args].concat();
    for _ in 0..ATTEMPTS {
        let before = when_quiet(netns, interface);
        let watch = watch(netns, &args, without);
        if Counters::of(netns, interface) != before {
            watch.end();
            continue;
        }
        traffic();
        // Until the last acknowledgement is there.
        let after = when_quiet(netns, interface);
        let seen = watch.end();
        if Counters::of(netns, interface) != after {
            continue;
        }
        let rows = seen.rows();
        let (counted, truth) = (Counters::of_rows(&rows, interface), after.since(before));
        assert!(
            [truth, truth.with_headers(), truth.without_tags(&rows)].contains(&counted),
            "{counted:?} of {truth:?} {rows:#?}"
        );
        return seen;
    }
    panic!("there was never a quiet moment");
}

fn send_tcp(pair: &Pair, to: &str, bytes: usize) {
    let listener = inside(&pair.b, || TcpListener::bind((to, 5001)).unwrap());
    let receiver = std::thread::spawn(move || {
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap()
    });
    inside(&pair.a, || {
        let mut stream = TcpStream::connect((to, 5001)).unwrap();
        stream.write_all(&vec![7; bytes]).unwrap();
    });
    assert_eq!(receiver.join().unwrap(), bytes);
}

/// From so many ports, some datagrams each.
fn send_udp(pair: &Pair, to: &str, flows: usize, datagrams: usize, bytes: usize) {
    let _receiver = inside(&pair.b, || UdpSocket::bind((to, 5002)).unwrap());
    let any = if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    inside(&pair.a, || {
        // Held, so that no port comes twice.
        let sockets: Vec<UdpSocket> = (0..flows).map(|_| UdpSocket::bind(any).unwrap()).collect();
        for socket in sockets.iter().cycle().take(flows * datagrams) {
            socket.send_to(&vec![7; bytes], (to, 5002)).unwrap();
        }
    });
}

/// `ETHTOOL_STSO` and `ETHTOOL_SGRO`.
const SET_TSO: u32 = 0x1f;
const SET_GRO: u32 = 0x2c;

fn ethtool(netns: &str, interface: &str, command: u32, value: u32) {
    let mut value = [command, value];
    inside(netns, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // SAFETY: plain integers and pointers, of which all zero is one.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as _;
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        // SAFETY: an ifreq whose data is an ethtool_value. SIOCETHTOOL.
        let status = unsafe { libc::ioctl(socket.as_raw_fd(), 0x8946, &raw mut request) };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    });
}

#[test]
fn flows_sum_up_to_the_interface_s_counters() {
    let pair = Pair::new();
    for without in ["", "tcx"] {
        let seen = compare(&pair.a, "v0", &[], without, &|| send_tcp(&pair, B4, load(20_000_000)));
        let rows = seen.rows();
        let out = |row: &&Value| row["proto"] == "tcp" && row["direction"] == "out";
        let row = rows.iter().find(out).unwrap();
        assert_eq!(
            (&row["destination_address"], &row["destination_port"]),
            (&B4.into(), &5001.into())
        );
        assert!(row["tcp_flags"].as_str().unwrap().starts_with("FS"), "{row}");
        assert!(number(row, "bytes") > load(20_000_000) as u64);
        let age = |key: &str| row[key].as_f64().unwrap();
        assert!(0.0 <= age("last_age_s") && age("last_age_s") < age("age_s"), "{row}");
        assert_eq!(seen.stderr, "");
    }
    compare(&pair.b, "v1", &[], "", &|| send_tcp(&pair, B6, load(20_000_000)));
}

#[test]
fn many_flows_and_many_protocols_sum_up() {
    let pair = Pair::new();
    let seen = compare(&pair.a, "v0", &[], "", &|| send_udp(&pair, B4, 2000, 3, 100));
    let udp = |row: &&Value| row["proto"] == "udp" && row["packets"] == 3;
    assert_eq!(seen.rows().iter().filter(udp).count(), 2000);
    let seen = compare(&pair.b, "v1", &[], "", &|| {
        send_tcp(&pair, B4, 1000);
        send_udp(&pair, B6, 3, 3, 1000);
        ip(&["-n", &pair.a, "neigh", "flush", "dev", "v0"]);
        // To a port that is closed.
        inside(&pair.a, || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"test", (B4, 4999)))
            .unwrap();
    });
    let rows = seen.rows();
    for proto in ["tcp", "udp", "icmp", "icmp6", "arp"] {
        assert!(rows.iter().any(|row| row["proto"] == proto), "{proto} {rows:#?}");
    }
    let unreachable = rows.iter().find(|row| row["proto"] == "icmp").unwrap();
    assert_eq!((&unreachable["icmp_type"], &unreachable["icmp_code"]), (&3.into(), &3.into()));
    let v6 = |row: &&Value| row["proto"] == "udp" && row["source_address"] == A6;
    assert_eq!(rows.iter().filter(v6).count(), 3);
}

#[test]
fn tagged_packets_have_their_vlans() {
    let pair = Pair::new();
    let udp = Frame::new(UDP, [A4, B4], 5003).bytes();
    let (addresses, packet) = udp.split_at(12);
    let tags = |tags: &[[u8; 4]]| [addresses, &tags.concat(), packet].concat();
    let (tag10, outer, tag20) = ([0x81, 0, 0, 10], [0x88, 0xa8, 0, 30], [0x81, 0, 0x60, 20]);
    for (netns, interface) in [(&pair.a, "v0"), (&pair.b, "v1")] {
        let seen = compare(netns, interface, &[], "", &|| {
            inside(&pair.a, || {
                for frame in [tags(&[]), tags(&[tag10]), tags(&[outer, tag20])] {
                    frames::send(&frame, "v0").unwrap();
                }
            });
        });
        let rows = seen.rows();
        let vlans = |row: &Value| (row["vlan"].as_u64(), row["inner_vlan"].as_u64());
        let of_it = rows.iter().filter(|row| row["destination_port"] == 5003);
        let mut found: Vec<_> = of_it.map(vlans).collect();
        found.sort_unstable();
        assert_eq!(found, [(None, None), (Some(10), None), (Some(30), Some(20))], "{rows:#?}");
    }
}

#[test]
fn a_vlan_s_packets_are_on_both_interfaces() {
    let pair = Pair::new();
    for (ns, dev, address) in [(&pair.a, "v0", "10.98.0.1/24"), (&pair.b, "v1", "10.98.0.2/24")] {
        let name = format!("{dev}.10");
        let vlan = ["link", "add", "link", dev, "name", &name, "type", "vlan", "id", "10"];
        let added = Command::new("ip").args(["-n", ns]).args(vlan).output().unwrap();
        if text(&added.stderr).contains("Unknown device type") {
            eprintln!("this kernel has no VLAN interfaces");
            return;
        }
        ip(&["-n", ns, "addr", "add", address, "dev", &name]);
        ip(&["-n", ns, "link", "set", &name, "up"]);
    }
    for (netns, interface) in [(&pair.a, "v0"), (&pair.b, "v1")] {
        let seen =
            compare(netns, interface, &[], "", &|| send_tcp(&pair, "10.98.0.2", load(1_000_000)));
        let tagged = |row: &&Value| row["proto"] == "tcp" && row["vlan"] == 10;
        assert_eq!(seen.rows().iter().filter(tagged).count(), 2, "{:#?}", seen.rows());
    }
    compare(&pair.a, "v0.10", &[], "", &|| send_tcp(&pair, "10.98.0.2", load(1_000_000)));
}

#[test]
fn packets_are_those_of_the_interface_whoever_splits_and_merges() {
    let pair = Pair::new();
    ethtool(&pair.a, "v0", SET_TSO, 0);
    for to in [B4, B6] {
        compare(&pair.a, "v0", &[], "", &|| send_tcp(&pair, to, load(5_000_000)));
    }
    ethtool(&pair.b, "v1", SET_GRO, 1);
    for to in [B4, B6] {
        compare(&pair.b, "v1", &[], "", &|| send_tcp(&pair, to, load(5_000_000)));
    }
}

#[test]
fn what_the_table_has_no_room_for_is_other() {
    let pair = Pair::new();
    let seen = compare(&pair.a, "v0", &["--flows", "16"], "", &|| send_udp(&pair, B4, 200, 2, 50));
    let rows = seen.rows();
    let other = rows.iter().find(|row| row["proto"] == "other" && row["direction"] == "out");
    assert!(number(other.unwrap(), "packets") >= 2 * (200 - 16), "{rows:#?}");
    assert!(seen.lost("flow_table") >= 2 * (200 - 16));
    assert!(seen.stderr.contains("--flows makes more room"), "{}", seen.stderr);
}

#[test]
fn fragments_stay_with_their_flow() {
    let pair = Pair::new();
    for to in [B4, B6] {
        let seen = compare(&pair.b, "v1", &[], "", &|| send_udp(&pair, to, 1, 5, 4000));
        let rows = seen.rows();
        let udp: Vec<_> = rows.iter().filter(|row| row["proto"] == "udp").collect();
        assert_eq!(udp.len(), 1, "{udp:#?}");
        assert_eq!((number(udp[0], "packets"), &udp[0]["destination_port"]), (15, &5002.into()));
        assert_eq!(udp[0]["fragment"], false);
    }
}

#[test]
fn an_interface_that_comes_later_is_watched_too() {
    let pair = Pair::new();
    let watch = watch(&pair.b, &["-i", "v*"], "");
    ip(&["-n", &pair.a, "link", "add", "v2", "type", "veth", "peer", "v3", "netns", &pair.b]);
    ip(&["-n", &pair.a, "addr", "add", "10.97.0.1/24", "dev", "v2"]);
    ip(&["-n", &pair.b, "addr", "add", "10.97.0.2/24", "dev", "v3"]);
    ip(&["-n", &pair.a, "link", "set", "v2", "up"]);
    ip(&["-n", &pair.b, "link", "set", "v3", "up"]);
    std::thread::sleep(Duration::from_secs(4));
    send_udp(&pair, "10.97.0.2", 1, 7, 10);
    let rows = watch.end().rows();
    let row = rows.iter().find(|row| row["interface"] == "v3" && row["proto"] == "udp").unwrap();
    assert_eq!(number(row, "packets"), 7);
}

fn filters(netns: &str, interface: &str) -> String {
    let show = |direction: &str| {
        let show = ["netns", "exec", netns, "tc", "-s", "filter", "show", "dev", interface];
        let output = Command::new("ip").args(show).arg(direction).output().unwrap();
        text(&output.stdout)
    };
    show("ingress") + &show("egress")
}

fn qdiscs(netns: &str) -> String {
    let output = Command::new("tc").args(["-n", netns, "qdisc", "show"]).output().unwrap();
    text(&output.stdout)
}

/// How many filters there are on an interface, and qdiscs for them in the namespace.
pub(crate) fn filters_and_qdiscs(netns: &str, interface: &str) -> (usize, usize) {
    let filters = filters(netns, interface).matches(" handle 0x").count();
    (filters, qdiscs(netns).matches("clsact").count())
}

/// Programs by tcx on an interface, as `top ifaces` has them.
pub(crate) fn hook(netns: &str, interface: &str) -> Value {
    let output = nettrace()
        .args(["top", "ifaces", "0.05", "--netns", netns, "-i", interface, "-O", "json"])
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    crate::support::rows(&document)[0]["hook"].clone()
}

#[test]
fn a_killed_one_leaves_nothing_or_the_next_one_removes_it() {
    let pair = Pair::new();
    let by_tcx = watch(&pair.b, &[], "");
    let had_tcx = hook(&pair.b, "v1").as_str().unwrap().contains("tcx:in×1 tcx:out×1");
    kill(by_tcx);
    if had_tcx {
        // The kernel takes links away a little later.
        let end = Instant::now() + Duration::from_secs(5);
        while hook(&pair.b, "v1") != Value::Null && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(hook(&pair.b, "v1"), Value::Null);
    }
    let there = || filters_and_qdiscs(&pair.b, "v1");
    let living = watch(&pair.b, &["-i", "v1"], "tcx");
    kill(watch(&pair.b, &["-i", "v1"], "tcx"));
    assert_eq!(there(), (4, 1), "{}", filters(&pair.b, "v1"));
    let next = watch(&pair.b, &["-i", "v1"], "tcx");
    assert_eq!(there(), (4, 1), "{}", filters(&pair.b, "v1"));
    send_udp(&pair, B4, 1, 9, 10);
    for one in [next, living] {
        let rows = one.end().rows();
        let udp = rows.iter().find(|row| row["proto"] == "udp").unwrap();
        assert_eq!(number(udp, "packets"), 9);
    }
    assert_eq!(there(), (0, 0));
    kill(watch(&pair.b, &["-i", "v1"], "tcx"));
    assert_eq!(there(), (2, 1));
    watch(&pair.b, &[], "").end();
    assert_eq!(there(), (0, 0));
    kill(watch(&pair.b, &["-i", "v1"], "tcx"));
    assert_eq!(there(), (2, 1));
    watch(&pair.b, &["-i", "lo"], "").end();
    assert_eq!(there(), (0, 0));
}

fn kill(watch: Watch) {
    let mut child = watch.child;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn programs_of_others_go_on() {
    let _libbpf = use_libbpf();
    let pair = Pair::new();
    let mut storage = MaybeUninit::uninit();
    let skel = OtherSkelBuilder::default().open(&mut storage).unwrap().load().unwrap();
    let program = skel.progs.other.as_fd();
    // They go with the namespace.
    inside(&pair.b, || {
        let index = index_of("v1");
        for point in [TC_INGRESS, TC_EGRESS] {
            let mut hook =
                TcHookBuilder::new(program).ifindex(index).handle(1).priority(1).hook(point);
            hook.create().unwrap().attach().unwrap();
        }
    });
    let passed = || {
        let bss = skel.maps.bss_data.as_ref().unwrap();
        // SAFETY: a valid reference; volatile because the program writes there.
        unsafe { (&raw const bss.passed).read_volatile() }
    };
    for without in ["", "tcx"] {
        let before = passed();
        let watch = watch(&pair.b, &[], without);
        send_udp(&pair, B4, 1, 5, 10);
        let rows = watch.end().rows();
        let udp = rows.iter().find(|row| row["proto"] == "udp").unwrap();
        assert_eq!(number(udp, "packets"), 5);
        assert!(passed() >= before + 5, "{without}");
        let left = filters(&pair.b, "v1");
        assert!(!left.contains("nettrace_"), "{left}");
        assert_eq!(left.matches(" handle 0x1 other").count(), 2, "{left}");
    }
}

/// In the namespace that the thread is in.
pub(crate) fn index_of(interface: &str) -> i32 {
    let name = CString::new(interface).unwrap();
    // SAFETY: a string with its end.
    unsafe { libc::if_nametoindex(name.as_ptr()) }.cast_signed()
}

#[test]
fn what_it_can_t_watch_is_refused() {
    let refused = |args: &[&str]| {
        let output = nettrace().args(["top", "flows"]).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(refused(&["-i", "nothere0"]).contains("there is no interface nothere0"));
    assert!(refused(&["state:listen"]).contains("is not of packets"));
    assert!(refused(&["tcp", "prt", "80"]).ends_with("    tcp prt 80\n        ^^^\n"));
    assert!(refused(&["--unix"]).contains("unix sockets have none"));
}

//! Packets before the stack are those that were sent; what programs of others do with them is seen, and these
//! are left where they are; nothing of ours stays.

use std::io::Write;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, Xdp, XdpFlags};
use serde_json::Value;

use crate::capture::tunnel;
use crate::drops::{Watch, inside, pair};
use crate::flows::{filters_and_qdiscs, index_of};
use crate::frames::{self, Frame, TCP, UDP};
use crate::support::{A4, B4, B6, Pair, ip, nettrace, number, rows, text, use_libbpf};

mod parser;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/verdicts.skel.rs"));
}
use skel::{VerdictsSkel, VerdictsSkelBuilder};

const PORT: u16 = 5004;

fn watch(netns: &str, args: &[&str]) -> Watch {
    Watch::of(&["top", "ifaces", "--netns", netns], args, &[])
}

/// The row of an interface of this name.
fn row(rows: &[Value], interface: &str) -> Value {
    rows.iter().find(|row| row["interface"] == interface).unwrap().clone()
}

fn count(row: &Value, key: &str, name: &str) -> u64 {
    row[key][name].as_u64().unwrap_or(0)
}

fn sum(row: &Value, key: &str) -> u64 {
    row[key].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// From `a` to `b`, where nobody listens; returns how many bytes each has on the wire.
fn send_udp(pair: &Pair, to: &str, datagrams: usize) -> u64 {
    const PAYLOAD: usize = 100;

    // Answers that the port is closed would be more than what was sent.
    let _receiver = inside(&pair.b, || UdpSocket::bind((to, PORT)).unwrap());
    let any = if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    inside(&pair.a, || {
        let socket = UdpSocket::bind(any).unwrap();
        for _ in 0..datagrams {
            socket.send_to(&[7; PAYLOAD], (to, PORT)).unwrap();
        }
    });
    let headers = if to.contains(':') { 14 + 40 + 8 } else { 14 + 20 + 8 };
    (PAYLOAD + headers) as u64
}

#[test]
fn packets_before_the_stack_are_those_that_were_sent() {
    let pair = pair();
    for (wanted, mode) in [("auto", "native"), ("native", "native"), ("skb", "skb")] {
        let watch = watch(&pair.b, &["-i", "v1", "--xdp-mode", wanted]);
        let bytes = 300 * send_udp(&pair, B4, 300) + 200 * send_udp(&pair, B6, 200);
        let tagged = |mut frame: Vec<u8>| {
            frame.splice(12..12, [0x81, 0, 0, 10]);
            frame
        };
        let tcp = tagged(Frame::new(TCP, [A4, B4], 1).bytes());
        inside(&pair.a, || frames::send_all(vec![&tcp[..]; 7], "v0")).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let row = row(&watch.end().rows(), "v1");
        assert_eq!((&row["xdp_requested"], &row["xdp_mode"]), (&wanted.into(), &mode.into()));
        assert_eq!(row["xdp_obstacle"], Value::Null, "{row}");
        assert_eq!(count(&row, "xdp_verdicts", "pass udp"), 500, "{row}");
        assert_eq!(count(&row, "xdp_verdicts", "pass tcp"), 7, "{row}");
        assert_eq!(count(&row, "stack_protocols", "udp"), 500, "{row}");
        assert_eq!(count(&row, "stack_protocols", "tcp"), 7, "{row}");
        assert_eq!(number(&row, "xdp_packets"), sum(&row, "xdp_verdicts"), "{row}");
        assert_eq!(number(&row, "stack_packets"), number(&row, "xdp_packets"), "{row}");
        assert_eq!(number(&row, "xdp_missing"), 0, "{row}");
        assert_eq!(number(&row, "rx_packets"), number(&row, "xdp_packets"), "{row}");
        if number(&row, "xdp_packets") == 507 {
            assert_eq!(number(&row, "xdp_bytes"), bytes + 7 * tcp.len() as u64, "{row}");
        }
    }
}

/// Somebody else's programs.
struct Others {
    skel: VerdictsSkel<'static>,
}

impl Others {
    fn load() -> Self {
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        Others { skel: VerdictsSkelBuilder::default().open(storage).unwrap().load().unwrap() }
    }

    fn program(&self, name: &str) -> BorrowedFd<'_> {
        let programs = &self.skel.progs;
        match name {
            "pass_all" => programs.pass_all.as_fd(),
            "drop_udp" => programs.drop_udp.as_fd(),
            "abort_udp" => programs.abort_udp.as_fd(),
            "bounce_udp" => programs.bounce_udp.as_fd(),
            "redirect_udp" => programs.redirect_udp.as_fd(),
            _ => programs.spread_udp.as_fd(),
        }
    }

    /// As `ip link set` does. It goes with the interface.
    fn attach(&self, netns: &str, interface: &str, program: &str, flags: XdpFlags) {
        let program = self.program(program);
        inside(netns, || Xdp::new(program).attach(index_of(interface), flags).unwrap());
    }

    fn detach(&self, netns: &str, interface: &str, flags: XdpFlags) {
        let program = self.program("pass_all");
        inside(netns, || Xdp::new(program).detach(index_of(interface), flags).unwrap());
    }
}

/// The id of the program on an interface.
fn on_it(netns: &str, interface: &str) -> Option<u64> {
    let show = ["-n", netns, "-j", "link", "show", "dev", interface];
    let output = std::process::Command::new("ip").args(show).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    links[0]["xdp"]["prog"]["id"].as_u64()
}

/// Whether this kernel lets nettrace watch programs of others.
fn watches_others() -> bool {
    let output = nettrace().args(["doctor", "-O", "json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hooks = document["hooks"].as_array().unwrap();
    let verdicts = hooks.iter().find(|hook| hook["datum"] == "xdp_verdicts").unwrap();
    verdicts["rung"] == "fexit"
}

#[test]
fn what_a_program_of_others_drops_is_missing_and_the_program_stays() {
    let is_watched = watches_others();
    let _libbpf = use_libbpf();
    let others = Others::load();
    for (mode, flags) in [("native", XdpFlags::DRV_MODE), ("skb", XdpFlags::SKB_MODE)] {
        let pair = pair();
        others.attach(&pair.b, "v1", "drop_udp", flags);
        let id = on_it(&pair.b, "v1").unwrap();
        let watch = watch(&pair.b, &["-i", "v1", "--xdp-mode", "auto"]);
        send_udp(&pair, B4, 250);
        send_udp(&pair, B6, 40);
        std::thread::sleep(Duration::from_millis(200));
        let seen = watch.end();
        let row = row(&seen.rows(), "v1");
        assert_eq!(row["xdp_mode"], Value::Null, "{row}");
        assert_eq!(row["xdp_programs"], format!("drop_udp#{id}:{mode}"), "{row}");
        assert_eq!(number(&row, "xdp_missing"), 250, "{row}");
        assert_eq!(count(&row, "stack_protocols", "udp"), 40, "{row}");
        if is_watched {
            assert_eq!(row["xdp_obstacle"], Value::Null, "{row}");
            assert_eq!(count(&row, "xdp_verdicts", "drop udp"), 250, "{row}");
            assert_eq!(count(&row, "xdp_verdicts", "pass udp"), 40, "{row}");
        } else {
            let obstacle = row["xdp_obstacle"].as_str().unwrap();
            assert!(obstacle.starts_with(&format!("drop_udp#{id}:{mode} can't be watched: ")));
            assert_eq!(row["xdp_verdicts"], Value::Null, "{row}");
            assert!(seen.stderr.contains("what XDP programs of others do with packets"));
        }
        assert_eq!(on_it(&pair.b, "v1"), Some(id));
    }
}

#[test]
fn ours_takes_the_place_that_another_one_leaves() {
    let _libbpf = use_libbpf();
    let others = Others::load();
    let pair = pair();
    others.attach(&pair.b, "v1", "drop_udp", XdpFlags::DRV_MODE);
    let watch = watch(&pair.b, &["-i", "v*", "--xdp-mode", "native"]);
    let id = on_it(&pair.b, "v1");
    others.detach(&pair.b, "v1", XdpFlags::DRV_MODE);
    wait_until(|| on_it(&pair.b, "v1").is_some_and(|now| Some(now) != id));
    send_udp(&pair, B4, 30);
    std::thread::sleep(Duration::from_millis(200));
    let row = row(&watch.end().rows(), "v1");
    assert_eq!((&row["xdp_mode"], &row["xdp_programs"]), (&"native".into(), &Value::Null));
    assert_eq!(count(&row, "xdp_verdicts", "pass udp"), 30, "{row}");
}

fn wait_until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn errors_and_bulks_of_others_are_told() {
    let _libbpf = use_libbpf();
    let others = Others::load();
    let cpu = [0u8; 4];
    // A queue of so many packets on the first CPU.
    others.skel.maps.cpus.update(&cpu, &192u32.to_ne_bytes(), MapFlags::ANY).unwrap();
    for (program, events) in [
        ("abort_udp", &["aborted"][..]),
        ("bounce_udp", &["tx-sent", "tx-dropped"]),
        ("redirect_udp", &["redirected", "redirect-refused"]),
        ("redirect_udp", &["devmap-sent", "devmap-dropped", "redirect-refused"]),
        ("spread_udp", &["redirected"]),
        ("spread_udp", &["cpumap-queued", "cpumap-dropped"]),
    ] {
        let pair = pair();
        // The other end takes what comes back.
        others.attach(&pair.a, "v0", "pass_all", XdpFlags::DRV_MODE);
        others.attach(&pair.b, "v1", program, XdpFlags::DRV_MODE);
        let watch = watch(&pair.b, &["-i", "v1", "--xdp-mode", "auto"]);
        send_udp(&pair, B4, 60);
        std::thread::sleep(Duration::from_millis(200));
        let row = row(&watch.end().rows(), "v1");
        let told: u64 = events.iter().map(|event| count(&row, "xdp_events", event)).sum();
        assert_eq!(told, 60, "{program} {row}");
    }
}

#[test]
fn what_can_t_be_attached_says_why() {
    let pair = pair();
    let of = |mode: &str| {
        let args = ["top", "ifaces", "0.05", "--netns", &pair.b, "-i", "lo", "-O", "json"];
        let output = nettrace().args(args).args(["--xdp-mode", mode]).output().unwrap();
        let document = serde_json::from_slice(&output.stdout).unwrap();
        row(&rows(&document), "lo")
    };
    let fallen_back = of("auto");
    assert_eq!(
        (&fallen_back["xdp_requested"], &fallen_back["xdp_mode"]),
        (&"auto".into(), &"skb".into())
    );
    for mode in ["native", "hw"] {
        let row = of(mode);
        assert_eq!(row["xdp_mode"], Value::Null, "{row}");
        let obstacle = row["xdp_obstacle"].as_str().unwrap();
        assert!(obstacle.starts_with(&format!("{mode}: ")), "{row}");
    }
    let refused = |args: &[&str]| {
        let output = nettrace().arg("top").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let netns = ["--netns", &pair.b, "--xdp-mode", "auto"];
    assert!(refused(&[&["procs"], &netns[..]].concat()).contains("goes with the view ifaces"));
    let nowhere = refused(&[&["ifaces", "-i", "nothere0"], &netns[..]].concat());
    assert!(nowhere.contains("there is no interface nothere0"), "{nowhere}");
}

/// Where nothing sees packets before the stack, what is missing is told by two counts, which are read one after
/// the other.
#[test]
fn nothing_is_missing_for_what_came_between_the_first_readings() {
    // So seldom that there is a moment without one.
    let is_emulated = std::env::var_os("NETTRACE_EMULATED").is_some();
    let between = Duration::from_micros(if is_emulated { 30_000 } else { 3_000 });
    let pair = pair();
    let _receiver = inside(&pair.b, || UdpSocket::bind((B4, PORT)).unwrap());
    for _ in 0..12 {
        let has_ended = AtomicBool::new(false);
        let watch = std::thread::scope(|scope| {
            scope.spawn(|| {
                inside(&pair.a, || {
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    let end = Instant::now() + Duration::from_secs(60);
                    while !has_ended.load(Ordering::Relaxed) && Instant::now() < end {
                        socket.send_to(&[7; 100], (B4, PORT)).unwrap();
                        std::thread::sleep(between);
                    }
                });
            });
            let watch = watch(&pair.b, &["-i", "v1", "--xdp-mode", "hw"]);
            std::thread::sleep(Duration::from_millis(50));
            has_ended.store(true, Ordering::Relaxed);
            watch
        });
        // The last one may be on its way.
        std::thread::sleep(Duration::from_millis(50));
        let row = row(&watch.end().rows(), "v1");
        assert!(number(&row, "stack_packets") > 0, "{row}");
        assert_eq!(number(&row, "xdp_missing"), 0, "{row}");
    }
}

#[test]
fn on_a_tunnel_packets_begin_with_ip() {
    let pair = pair();
    let dir = tempfile::tempdir().unwrap();
    let mut tunnel = inside(&pair.b, || tunnel(&dir));
    ip(&["-n", &pair.b, "link", "set", "tun0", "up"]);
    let packet = &Frame::new(UDP, ["10.97.0.1", "10.97.0.2"], PORT).bytes()[14..];
    for mode in ["auto", "skb"] {
        let watch = watch(&pair.b, &["-i", "tun*", "--xdp-mode", mode]);
        (0..20).for_each(|_| tunnel.write_all(packet).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let row = row(&watch.end().rows(), "tun0");
        assert_eq!(count(&row, "xdp_verdicts", "pass udp"), 20, "{row}");
        assert_eq!(count(&row, "stack_protocols", "udp"), 20, "{row}");
    }
}

#[test]
fn a_killed_one_leaves_nothing_or_the_next_one_removes_it() {
    let pair = pair();
    for mode in ["native", "skb"] {
        let mut child = watch(&pair.b, &["-i", "v1", "--xdp-mode", mode]).child;
        assert!(on_it(&pair.b, "v1").is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        // The kernel takes links away a little later.
        wait_until(|| on_it(&pair.b, "v1").is_none());
    }
    // Without tcx a filter stays until the next start.
    watch(&pair.b, &["-i", "v1", "--xdp-mode", "auto"]).end();
    assert_eq!(filters_and_qdiscs(&pair.b, "v1"), (0, 0));
}

#[test]
fn programs_behind_it_have_whole_packets() {
    let pair = pair();
    for mode in ["native", "skb"] {
        let before = watch(&pair.b, &["-i", "v1", "--xdp-mode", mode]);
        let behind = Watch::of(&["top", "flows", "--netns", &pair.b, "-i", "v1"], &[], &[]);
        let bytes = 25 * send_udp(&pair, B4, 25);
        std::thread::sleep(Duration::from_millis(200));
        let flows = behind.end().rows();
        let to = |row: &&Value| row["destination_port"] == PORT && row["proto"] == "udp";
        let sums =
            flows.iter().filter(to).map(|row| (number(row, "packets"), number(row, "bytes")));
        assert_eq!(sums.collect::<Vec<_>>(), [(25, bytes)], "{mode} {flows:#?}");
        before.end();
    }
}

#[test]
fn two_at_once_don_t_disturb_each_other() {
    let is_watched = watches_others();
    let pair = pair();
    let first = watch(&pair.b, &["-i", "v1", "--xdp-mode", "auto"]);
    let second = watch(&pair.b, &["-i", "v1", "--xdp-mode", "auto"]);
    send_udp(&pair, B4, 80);
    std::thread::sleep(Duration::from_millis(200));
    let row_of = |watch: Watch| row(&watch.end().rows(), "v1");
    let second = row_of(second);
    assert!(second["xdp_programs"].as_str().unwrap().starts_with("nettrace_xdp#"), "{second}");
    assert_eq!(count(&second, "stack_protocols", "udp"), 80, "{second}");
    if is_watched {
        assert_eq!(count(&second, "xdp_verdicts", "pass udp"), 80, "{second}");
    }
    let first = row_of(first);
    assert_eq!(count(&first, "xdp_verdicts", "pass udp"), 80, "{first}");
    assert_eq!(first["xdp_programs"], Value::Null, "{first}");
}

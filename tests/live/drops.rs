//! Drops of many reasons are provoked for real, and found under their own names and functions; what is
//! counted, shown and lost comes to what was dropped.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nettrace::kernel;
use nettrace::names::reasons::Reasons;
use nettrace::netns::Netns;
use nettrace::probes::Probe;
use nettrace::probes::drops::{DropProbe, Options};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde_json::Value;

use crate::frames::{BROADCAST, FIN, Frame, MAC_A, MAC_B, SYN, TCP, UDP, is_to};
use crate::support::{A4, A6, B4, B6, NOBODY, Pair, ip, nettrace, number, rows, text};

const ELSEWHERE: &str = "203.0.113.7";

/// `nettrace drops`, attached: it goes on as long as this lives, or until it is ended.
pub(crate) struct Watch {
    pub(crate) child: Child,
    file: tempfile::NamedTempFile,
}

impl Watch {
    fn new(netns: &str, args: &[&str]) -> Self {
        Watch::of(&["drops", "--netns", netns], args, &[])
    }

    pub(crate) fn of(command: &[&str], args: &[&str], environment: &[(&str, &str)]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        // The command begins when all is attached, and the run ends with it.
        let mut child = nettrace()
            .args(command)
            .args(args)
            .args(["-O", "json", "--force", "-o"])
            .arg(file.path())
            .args(["--", "cat"])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(b"attached\n").unwrap();
        let mut line = [0; 9];
        if child.stdout.as_mut().unwrap().read_exact(&mut line).is_err() {
            panic!("{}", text(&child.wait_with_output().unwrap().stderr));
        }
        Watch { child, file }
    }

    pub(crate) fn end(mut self) -> Seen {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let document = serde_json::from_slice(&std::fs::read(self.file.path()).unwrap()).unwrap();
        Seen { document, stderr }
    }
}

/// What it wrote.
pub(crate) struct Seen {
    document: Value,
    pub(crate) stderr: String,
}

impl Seen {
    fn drops(&self) -> &Vec<Value> {
        self.document["frames"][0]["drops"].as_array().unwrap()
    }

    pub(crate) fn rows(&self) -> Vec<Value> {
        rows(&self.document)
    }

    pub(crate) fn lost(&self, cause: &str) -> u64 {
        number(&self.document["frames"][0]["loss"], cause)
    }

    /// In all rows of UDP.
    fn udp(&self) -> u64 {
        let rows = self.rows();
        rows.iter().filter(|row| row["proto"] == "udp").map(|row| number(row, "count")).sum()
    }

    /// In all rows of this reason.
    fn count(&self, reason: &str) -> u64 {
        let rows = self.rows();
        let of_it = rows.iter().filter(|row| row["reason"] == reason);
        of_it.map(|row| number(row, "count")).sum()
    }
}

pub(crate) fn inside<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    Netns::open(netns).unwrap().run(|| Ok(work())).unwrap()
}

fn sysctl(netns: &str, settings: &[&str]) {
    for setting in settings {
        let (name, value) = setting.split_once('=').unwrap();
        let path = format!("/proc/sys/net/{name}");
        // Of the namespace that the thread is in.
        inside(netns, || std::fs::write(&path, value)).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}

fn nft(netns: &str, rules: &str) {
    let rules = format!("add table inet t; {rules}");
    let output = Command::new("ip")
        .args(["netns", "exec", netns, "nft", &rules])
        .output()
        .expect("run nft (install nftables)");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A pair whose ends' addresses on the wire are known, and which has learnt them.
pub(crate) fn pair() -> Pair {
    let pair = Pair::new();
    for (ns, dev, mac) in [(&pair.a, "v0", MAC_A), (&pair.b, "v1", MAC_B)] {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        ip(&["-n", ns, "link", "set", dev, "address", &mac]);
    }
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    for to in [B4, B6] {
        ip(&["-n", &pair.a, "neigh", "replace", to, "lladdr", &mac(MAC_B), "dev", "v0"]);
    }
    for to in [A4, A6] {
        ip(&["-n", &pair.b, "neigh", "replace", to, "lladdr", &mac(MAC_A), "dev", "v1"]);
    }
    pair
}

pub(crate) fn send_udp(netns: &str, to: &str, port: u16, count: usize) {
    let to = SocketAddr::new(to.parse().unwrap(), port);
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    inside(netns, || {
        let socket = UdpSocket::bind(any).unwrap();
        for _ in 0..count {
            socket.send_to(b"test", to).unwrap();
        }
    });
}

/// From a port of ours to one of the other end.
fn connect_from(port: u16, to: u16) -> TcpStream {
    let any = SockaddrIn::new(0, 0, 0, 0, port);
    let to = SockaddrIn::from(SocketAddrV4::new(B4.parse().unwrap(), to));
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &any).unwrap();
    connect(socket.as_raw_fd(), &to).unwrap();
    socket.into()
}

/// What is expected of a drop to an address and port: reasons, of which that counts which this kernel
/// has, and functions, of which it is one.
struct Expected {
    to: (&'static str, u16),
    reasons: &'static [&'static str],
    functions: &'static [&'static str],
    /// A kernel without the reason frees it without a word.
    is_untold: bool,
}

fn expected(
    to: (&'static str, u16),
    reasons: &'static [&'static str],
    functions: &'static [&'static str],
) -> Expected {
    Expected { to, reasons, functions, is_untold: false }
}

impl Expected {
    /// The reason's name on this kernel; none if it tells none.
    fn reason(&self, reasons: &Reasons) -> Value {
        let has = |name: &&&str| reasons.select(&[(**name).to_owned()]).is_ok();
        match self.reasons.iter().find(has) {
            _ if reasons.is_empty() => Value::Null,
            Some(name) => (*name).into(),
            None => "NOT_SPECIFIED".into(),
        }
    }

    fn check(&self, seen: &Seen, reasons: &Reasons) -> Result<(), String> {
        let (address, port) = self.to;
        let found: Vec<&Value> =
            seen.drops().iter().filter(|drop| is_to(drop, address, port)).collect();
        let reason = self.reason(reasons);
        let is_it = |drop: &&&Value| {
            let function = drop["location"].as_str().unwrap_or("-");
            drop["reason"] == reason && self.functions.contains(&function)
        };
        let is_unnamed = reason.is_null() || reason == "NOT_SPECIFIED";
        if self.is_untold && is_unnamed && found.is_empty() {
            return Ok(());
        }
        let Some(drop) = found.iter().find(is_it) else {
            let found: BTreeSet<String> = found
                .iter()
                .map(|drop| format!("{} {}", drop["reason"], drop["location"]))
                .collect();
            return Err(format!("to {address}:{port} {reason} {:?}: {found:?}\n", self.functions));
        };
        let is_row =
            |row: &&Value| ["reason", "location", "proto"].iter().all(|key| row[key] == drop[key]);
        match seen.rows().iter().find(is_row) {
            Some(_) => Ok(()),
            None => Err(format!("no row for {drop}\n")),
        }
    }
}

#[test]
fn a_filter_is_asked_in_the_kernel() {
    let pair = pair();
    let watch =
        Watch::new(&pair.b, &["udp", "dst", "port", "4201", "and", "src", "net", "10.99.0.0/24"]);
    let sums = Watch::of(&["top", "drops", "--netns", &pair.b], &["udp dst port 4202"], &[]);
    let resets = Watch::new(&pair.a, &["tcp[13] & 4 != 0 and src host 10.99.0.2"]);
    for (port, count) in [(4201, 3), (4202, 5)] {
        send_udp(&pair.a, B4, port, count);
        send_udp(&pair.a, B6, port, count);
    }
    let refused = inside(&pair.a, || TcpStream::connect((B4, 4203)));
    assert!(refused.is_err());
    let seen = watch.end();
    assert!(seen.drops().iter().all(|drop| is_to(drop, B4, 4201)), "{:#?}", seen.drops());
    assert_eq!((seen.drops().len(), seen.udp()), (3, 3));
    // Of both families.
    assert_eq!(sums.end().udp(), 10);
    let resets = resets.end();
    assert_eq!(resets.count("reset-received"), 1, "{:#?}", resets.rows());
    assert_eq!(resets.udp(), 0);
}

#[test]
fn drops_have_the_kernel_s_reason_and_function() {
    let pair = pair();
    let (a, b) = (&pair.a, &pair.b);
    sysctl(b, &["ipv4/conf/v1/drop_unicast_in_l2_multicast=1", "ipv4/conf/v1/rp_filter=0"]);
    sysctl(b, &["ipv4/conf/all/rp_filter=0"]);
    sysctl(b, &["ipv4/neigh/v1/mcast_solicit=1", "ipv4/neigh/v1/retrans_time_ms=50"]);
    nft(
        b,
        "add chain inet t in { type filter hook input priority 0; }; add rule inet t in udp dport 4105 drop",
    );
    let watch = Watch::new(b, &[]);

    send_udp(a, B4, 4101, 1);
    send_udp(a, B6, 4102, 1);
    send_udp(a, B4, 4105, 1);
    inside(a, || TcpStream::connect((B4, 4103)).unwrap_err());
    let sent = |change: &dyn Fn(&mut Frame), protocol, port| {
        let mut frame = Frame::new(protocol, [A4, B4], port);
        change(&mut frame);
        inside(a, || frame.clone().send("v0").unwrap());
    };
    sent(&|f| f.payload_error = 1, UDP, 4106);
    sent(&|f| f.payload_error = 1, TCP, 4107);
    sent(&|f| f.version_and_length = 0x44, UDP, 4108);
    sent(&|f| f.header_error = 1, UDP, 4109);
    sent(&|f| f.excess = 100, UDP, 4110);
    sent(&|f| f.mac = [2, 0, 0, 0, 0, 9], UDP, 4111);
    sent(&|f| f.mac = BROADCAST, UDP, 4112);
    sent(&|f| f.destination = ELSEWHERE.parse().unwrap(), UDP, 4113);
    // Not a transport protocol with ports: known by its source.
    sent(&|f| f.source = "10.99.0.14".parse().unwrap(), 253, 4114);
    sent(&|f| f.ethertype = 0x88b5, UDP, 4115);
    let listener = inside(b, || TcpListener::bind((B4, 4116)).unwrap());
    sent(&|f| f.tcp_flags = SYN | FIN, TCP, 4116);
    drop(listener);

    let overflowing = inside(b, || TcpListener::bind((B4, 4123)).unwrap());
    // SAFETY: no pointers; one connection may wait then.
    assert_eq!(unsafe { libc::listen(overflowing.as_raw_fd(), 0) }, 0);
    // The last packet of the first one's handshake is lost; as it is sent again, the second one waits.
    let rule = "add rule inet t out tcp sport 4600 tcp flags & (syn | ack) == ack drop";
    nft(a, &format!("add chain inet t out {{ type filter hook output priority 0; }}; {rule}"));
    let first = inside(a, || connect_from(4600, 4123));
    let second = inside(a, || TcpStream::connect((B4, 4123)).unwrap());
    nft(a, "delete table inet t");
    (&first).write_all(b"test").unwrap();

    let full = inside(b, || UdpSocket::bind((B4, 4117)).unwrap());
    set_option(&full, libc::SO_RCVBUF, &1i32);
    send_udp(a, B4, 4117, 30);
    let filtering = inside(b, || UdpSocket::bind((B4, 4118)).unwrap());
    // One instruction: return 0, take nothing.
    let mut nothing = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: nothing.as_mut_ptr() };
    set_option(&filtering, libc::SO_ATTACH_FILTER, &program);
    send_udp(a, B4, 4118, 1);

    send_udp(b, NOBODY, 4119, 1);
    send_udp(b, NOBODY, 4120, 400);

    sysctl(b, &["ipv4/conf/v1/rp_filter=1"]);
    sent(&|f| f.source = "198.51.100.9".parse().unwrap(), UDP, 4121);
    sysctl(b, &["ipv4/conf/v1/rp_filter=0", "ipv4/conf/v1/forwarding=1"]);
    ip(&["-n", b, "route", "add", ELSEWHERE, "via", A4]);
    sent(
        &|f| {
            f.destination = ELSEWHERE.parse().unwrap();
            f.ttl = 1;
        },
        UDP,
        4122,
    );
    // Until the address that nobody has was asked for in vain.
    std::thread::sleep(Duration::from_secs(1));
    drop((overflowing, first, second));
    let seen = watch.end();

    let btf = kernel::btf().unwrap();
    let reasons = Reasons::of_kernel(&btf);
    let mut wrong = String::new();
    for one in all_expected() {
        wrong += &one.check(&seen, &reasons).err().unwrap_or_default();
    }
    // The listener counted what it refused, whatever the kernel says of the packet.
    let refused = seen.rows().into_iter().find(|row| row["reason"] == "listen-overflow");
    let refused = refused.unwrap_or_else(|| panic!("{:?}", seen.rows()));
    assert_eq!(refused["last_flow"], format!("0.0.0.0 > {B4}:4123"));
    let unhandled = |drop: &&Value| drop["proto"] == "0x88b5";
    let no_protocol = |drop: &&Value| drop["proto"] == "ip-253";
    for (drop, name, functions) in [
        (
            seen.drops().iter().find(unhandled),
            "UNHANDLED_PROTO",
            &["__netif_receive_skb_core", "__netif_receive_skb_one_core"][..],
        ),
        (
            seen.drops().iter().find(no_protocol),
            "IP_NOPROTO",
            &["ip_protocol_deliver_rcu", "ip_local_deliver_finish"],
        ),
    ] {
        let drop = drop.unwrap_or_else(|| panic!("{name}: {wrong}"));
        let reason = if reasons.is_empty() { Value::Null } else { name.into() };
        if drop["reason"] != reason || !functions.contains(&drop["location"].as_str().unwrap()) {
            wrong += &format!("{name}: {drop}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(seen.stderr, "");
}

/// By port; kernels from 5.10 to 7 have these drops in these functions.
fn all_expected() -> Vec<Expected> {
    let udp = &["__udp4_lib_rcv", "udp_rcv"][..];
    let udp6 = &["__udp6_lib_rcv", "udpv6_rcv"][..];
    let header = &["ip_rcv_core"][..];
    let routing = &["ip_rcv_finish_core"][..];
    let queueing = &["__udp_queue_rcv_skb", "udp_queue_rcv_one_skb"][..];
    vec![
        expected((B4, 4101), &["NO_SOCKET"], udp),
        expected((B6, 4102), &["NO_SOCKET"], udp6),
        expected((B4, 4103), &["NO_SOCKET"], &["tcp_v4_rcv"]),
        expected((B4, 4105), &["NETFILTER_DROP"], &["nf_hook_slow", "nft_do_chain"]),
        expected((B4, 4106), &["UDP_CSUM"], udp),
        expected((B4, 4107), &["TCP_CSUM"], &["tcp_v4_rcv"]),
        // Its header is too short to tell where ports are.
        expected((B4, 0), &["IP_INHDR"], header),
        expected((B4, 4109), &["IP_CSUM"], header),
        expected((B4, 4110), &["PKT_TOO_SMALL"], header),
        expected((B4, 4111), &["OTHERHOST"], header),
        expected((B4, 4112), &["UNICAST_IN_L2_MULTICAST"], routing),
        expected((ELSEWHERE, 4113), &["IP_INADDRERRORS"], &["ip_error"]),
        Expected {
            is_untold: true,
            ..expected((B4, 4116), &["TCP_FLAGS"], &["tcp_rcv_state_process", "tcp_v4_do_rcv"])
        },
        Expected {
            is_untold: true,
            ..expected((B4, 4123), &["TCP_LISTEN_OVERFLOW"], &["tcp_check_req", "tcp_v4_rcv"])
        },
        expected((B4, 4117), &["SOCKET_RCVBUFF"], queueing),
        expected((B4, 4118), &["SOCKET_FILTER"], queueing),
        // The queue gives up the oldest.
        expected((NOBODY, 4119), &["NEIGH_QUEUEFULL"], &["__neigh_event_send"]),
        expected((NOBODY, 4120), &["NEIGH_FAILED"], &["neigh_invalidate", "arp_error_report"]),
        expected((B4, 4121), &["IP_RPFILTER"], routing),
        expected((ELSEWHERE, 4122), &["IP_INHDR"], &["ip_forward"]),
    ]
}

/// Packets to a closed port of the other end, which are dropped each.
#[test]
fn all_are_counted_and_what_is_over_the_limit_is_told() {
    let pair = pair();
    let watch = Watch::new(&pair.b, &["--limit", "3"]);
    send_udp(&pair.a, B4, 4101, 200);
    let seen = watch.end();
    assert_eq!(seen.udp(), 200);
    let shown = seen.drops().iter().filter(|drop| drop["proto"] == "udp").count() as u64;
    let others = seen.drops().len() as u64 - shown;
    let lost = seen.lost("drop_limit");
    // Some of what was over the limit may have been of IPv6's own.
    assert!((200..=200 + others.max(50)).contains(&(shown + lost)), "{shown} and {lost}");
    assert!(lost > 0 && shown > 0);
    assert!(seen.stderr.contains("were not shown one by one"), "{}", seen.stderr);
}

#[test]
fn what_arrives_is_no_drop() {
    let pair = pair();
    let receiver = inside(&pair.b, || UdpSocket::bind((B4, 4101)).unwrap());
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let watch = Watch::new(&pair.b, &[]);
    for _ in 0..50 {
        send_udp(&pair.a, B4, 4101, 20);
        for _ in 0..20 {
            receiver.recv(&mut [0; 8]).unwrap();
        }
    }
    let seen = watch.end();
    assert_eq!(seen.udp(), 0, "{:?}", seen.rows());
}

#[test]
fn a_drop_in_a_process_s_time_names_it_and_a_filter_counts_what_it_shows() {
    let pair = pair();
    let rule = "add chain inet t out { type filter hook output priority 0; }; \
                add rule inet t out udp dport 4201 drop";
    nft(&pair.b, rule);
    let pid = std::process::id();
    let watch = Watch::new(&pair.b, &[&format!("pid:{pid}"), "--stack"]);
    let to = SocketAddr::new(B4.parse().unwrap(), 4201);
    inside(&pair.b, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        (0..3).for_each(|_| drop(socket.send_to(b"test", to)));
    });
    send_udp(&pair.a, B4, 4101, 2);
    let seen = watch.end();
    let drops: Vec<_> = seen.drops().iter().filter(|drop| is_to(drop, B4, 4201)).collect();
    assert_eq!(drops.len(), 3, "{:?}", seen.drops());
    for drop in drops {
        assert_eq!((&drop["pid"], &drop["context"]), (&pid.into(), &"task".into()));
        let stack = drop["kernel_stack"].as_array().unwrap();
        let function = drop["location"].as_str().unwrap();
        assert!(stack[0].as_str().unwrap().starts_with(function), "{drop}");
        assert!(stack.iter().any(|frame| frame.as_str().unwrap().starts_with("udp_sendmsg")));
    }
    assert_eq!(seen.udp(), 3);
}

#[test]
fn retransmits_and_resets_are_rows_beside() {
    let pair = pair();
    let (a, b) = (&pair.a, &pair.b);
    let listener = inside(b, || TcpListener::bind((B4, 4301)).unwrap());
    let connect = || {
        let client = inside(a, || TcpStream::connect((B4, 4301)).unwrap());
        (client, listener.accept().unwrap().0)
    };
    let watch = Watch::new(b, &["--reason", "retransmit,reset-sent,reset-received"]);
    let before = retransmits(b);

    let (client, server) = connect();
    reset(client);
    // The reset is there once it is read.
    assert!((&server).read(&mut [0]).is_err());
    let (client, server) = connect();
    reset(server);
    assert!((&client).read(&mut [0]).is_err());
    let (client, server) = connect();
    let port = client.local_addr().unwrap().port();
    nft(
        a,
        &format!(
            "add chain inet t in {{ type filter hook input priority 0; }}; add rule inet t in tcp dport {port} drop"
        ),
    );
    (&server).write_all(b"test").unwrap();
    while retransmits(b) < before + 2 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let seen = watch.end();
    let after = retransmits(b);
    let count = seen.count("retransmit");
    assert!((before + 2..=after).contains(&(before + count)), "{count} of {before} to {after}");
    assert_eq!((seen.count("reset-sent"), seen.count("reset-received")), (1, 1));
    let row = |reason: &str| seen.rows().into_iter().find(|row| row["reason"] == reason).unwrap();
    assert_eq!(row("retransmit")["last_flow"], format!("{B4}:4301 > {A4}:{port}"));
    assert_eq!(row("retransmit")["location"], Value::Null);
    let flow = row("reset-received")["last_flow"].as_str().unwrap().to_owned();
    assert!(flow.ends_with(&format!("> {B4}:4301")), "{flow}");
    let flow = row("reset-sent")["last_flow"].as_str().unwrap().to_owned();
    assert!(flow.starts_with(&format!("{B4}:4301 >")), "{flow}");
    assert_eq!(seen.rows().len(), 3, "only what was asked for");
}

/// Closes a connection by a reset.
pub(crate) fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(&stream, libc::SO_LINGER, &linger);
}

/// Segments that TCP sent again in a namespace.
fn retransmits(netns: &str) -> u64 {
    let all = inside(netns, || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = all.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let both = names.split(' ').zip(values.split(' '));
    both.filter(|(name, _)| *name == "RetransSegs").map(|(_, n)| n.parse::<u64>().unwrap()).sum()
}

#[test]
fn an_interface_and_a_namespace_are_chosen() {
    let pair = pair();
    let on_lo = Watch::new(&pair.b, &["-i", "lo"]);
    let of_a = Watch::new(&pair.a, &[]);
    send_udp(&pair.a, B4, 4101, 5);
    // Each fails with what came back from the one before.
    inside(&pair.b, || {
        for _ in 0..3 {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"test", "127.0.0.1:4101").unwrap();
        }
    });
    let (on_lo, of_a) = (on_lo.end(), of_a.end());
    assert_eq!(on_lo.udp(), 3, "{:?}", on_lo.rows());
    assert!(on_lo.rows().iter().all(|row| row["last_interface"] == "lo"), "{:?}", on_lo.rows());
    assert_eq!(of_a.udp(), 0, "{:?}", of_a.rows());
}

#[test]
fn counts_alone_and_by_perf_s_way() {
    let pair = pair();
    for without in ["", "tp_btf:kfree_skb", "perf", "bpf_get_current_task_btf"] {
        let environment = [("NETTRACE_WITHOUT", without)];
        let watch = Watch::of(&["top", "drops", "--netns", &pair.b], &[], &environment);
        send_udp(&pair.a, B4, 4101, 7);
        let seen = watch.end();
        assert_eq!(seen.udp(), 7, "{without}: {:?}", seen.rows());
        assert!(seen.rows().iter().all(|row| row["last_netns"] == pair.b.as_str()));
    }
}

#[test]
fn what_the_table_has_no_room_for_is_counted() {
    let pair = pair();
    let netns = Netns::open(&pair.b).unwrap().inode();
    let options = Options { netns, entries: Some(1), ..Options::default() };
    let mut probe = DropProbe::open(&options).unwrap();
    send_udp(&pair.a, B4, 4101, 20);
    send_udp(&pair.a, B6, 4102, 20);
    inside(&pair.a, || TcpStream::connect((B4, 4103)).unwrap_err());
    // Some wait for the other end's address.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        probe.read().unwrap();
        let counted: u64 = probe.reading().counts.iter().map(|record| record.count).sum();
        let lost = probe.losses().iter().find(|(cause, _)| *cause == "drop_table").unwrap().1;
        assert_eq!(probe.reading().counts.len(), 1);
        if lost >= 21 && counted + lost >= 41 {
            break;
        }
        assert!(Instant::now() < deadline, "{counted} and {lost}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn set_option<T>(socket: &impl AsRawFd, option: i32, value: &T) {
    let length = size_of::<T>() as u32;
    // SAFETY: a value of that length, which outlives the call.
    let status = unsafe {
        let value = std::ptr::from_ref(value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
    };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

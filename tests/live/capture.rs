//! Captured packets are those that passed, each with the process that sent it or that it was for; what was lost
//! is told, to the packet; and others can read the files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nettrace::packet::filter::LinkType;
use nettrace::packet::reader::{ReadPacket, Reader};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use serde_json::Value;
use tempfile::TempDir;

use crate::drops::inside;
use crate::flows::{filters_and_qdiscs, hook};
use crate::frames::{self, Frame, UDP};
use crate::support::{A4, B4, Pair, Truth, ip, nettrace, number, text, traffic, truths};

/// Nobody listens there.
const MARKER: u16 = 9;
const PORT: u16 = 5002;

/// Sends datagrams of so many bytes from end `a` of the pair to a port of the other.
fn send(pair: &Pair, port: u16, datagrams: usize, bytes: usize) {
    inside(&pair.a, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..datagrams {
            // One that nobody takes is refused at the next one.
            let _ = socket.send_to(&vec![7; bytes], (B4, port));
        }
    });
}

/// A capture into a file that goes on until it is ended.
struct Running {
    child: Child,
    file: PathBuf,
}

impl Running {
    /// Captures at the pair's end `b`, and waits until markers come.
    fn start(pair: &Pair, dir: &TempDir, args: &[&str]) -> Self {
        let file = dir.path().join("x.pcapng");
        let child = nettrace()
            .args(["capture", "--netns", &pair.b, "-w"])
            .arg(&file)
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Running { child, file };
        let deadline = Instant::now() + Duration::from_secs(60);
        while packets(&running.file).is_empty() {
            if running.child.try_wait().unwrap().is_some() || Instant::now() > deadline {
                let _ = running.child.kill();
                panic!("{}", text(&running.child.wait_with_output().unwrap().stderr));
            }
            send(pair, MARKER, 1, 1);
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Ends it; its file, and what it said.
    fn end(self) -> (PathBuf, String) {
        self.signal(Signal::SIGINT);
        let output = self.child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        (self.file, stderr)
    }
}

/// Those that a file has by now, whole or not.
fn packets(path: &Path) -> Vec<ReadPacket> {
    let mut all = Vec::new();
    let Ok(mut reader) = File::open(path).map_err(Into::into).and_then(Reader::new) else {
        return all;
    };
    while let Ok(Some(packet)) = reader.next_packet() {
        all.push(packet.clone());
    }
    all
}

/// As the program itself reads the file.
fn objects(path: &Path, args: &[&str]) -> Vec<Value> {
    let output = nettrace().args(["capture", "-O", "ndjson", "-r"]).arg(path).args(args).output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of an interface: seen, accepted, lost and delivered.
fn statistics(path: &Path) -> Vec<[u64; 4]> {
    let mut reader = create_reader(1 << 20, File::open(path).unwrap()).unwrap();
    let mut found = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let PcapBlockOwned::NG(Block::InterfaceStatistics(it)) = block {
                    let counts = [
                        it.isb_ifrecv(),
                        it.isb_filteraccept(),
                        it.isb_osdrop(),
                        it.isb_usrdeliv(),
                    ];
                    found.push(counts.map(|count| count.unwrap().unwrap()));
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return found,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Others read the file without a word of complaint. Guests have no tshark; there our own reader has to do.
fn is_read_by_others(path: &Path, expected: usize) {
    assert_eq!(packets(path).len(), expected);
    if std::env::var_os("NETTRACE_RESULTS").is_some() {
        return;
    }
    let fields = ["-T", "fields", "-e", "frame.number"];
    let output = output_of(Command::new("tshark").arg("-nr").arg(path).args(fields));
    let complaints: Vec<&str> =
        output.1.lines().filter(|line| !line.starts_with("Running as user")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert_eq!(output.0.lines().count(), expected);
}

fn output_of(command: &mut Command) -> (String, String) {
    let output = command.output().expect("run tshark (scripts/deps.sh test)");
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// What each process received and sent, by the payload of its packets; what TCP sent twice counts once.
fn by_process(packets: &[Value]) -> Vec<Truth> {
    let mut sums: BTreeMap<u64, Truth> = BTreeMap::new();
    let mut seen: BTreeMap<(bool, u64, u64), u64> = BTreeMap::new();
    for packet in packets {
        let pid = number(packet, "pid");
        let sum = sums.entry(pid).or_insert(Truth { pid, rx: 0, tx: 0 });
        let is_received = packet["direction"] == "in";
        let bytes = match range(packet["text"].as_str().unwrap()) {
            Payload::Datagram(bytes) => bytes,
            Payload::Segment(begin, end) => {
                let [from, to] = ["source_port", "destination_port"].map(|key| number(packet, key));
                let seen = seen.entry((is_received, from, to)).or_insert(1);
                assert!(begin <= *seen, "a segment is missing before {packet}");
                let new = end.saturating_sub(*seen);
                *seen += new;
                new
            }
        };
        if is_received { sum.rx += bytes } else { sum.tx += bytes }
    }
    sums.into_values().collect()
}

enum Payload {
    Datagram(u64),
    /// From one number of the sequence to another.
    Segment(u64, u64),
}

fn range(text: &str) -> Payload {
    let (head, length) = text.rsplit_once("length ").unwrap();
    let Some((_, rest)) = head.split_once(", seq ") else {
        return match head.contains("Flags") {
            true => Payload::Segment(0, 0),
            false => Payload::Datagram(length.parse().unwrap()),
        };
    };
    let sequence = rest.split(',').next().unwrap();
    match sequence.split_once(':') {
        Some((begin, end)) => Payload::Segment(begin.parse().unwrap(), end.parse().unwrap()),
        None => Payload::Segment(0, 0),
    }
}

/// Two processes on one loopback: each packet is seen as it is sent and as it is received.
fn assert_owners(pair: &Pair, args: &[&str], environment: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.pcapng");
    let namespaces = [format!("server_ns={}", pair.b), format!("client_ns={}", pair.b)];
    let output = nettrace()
        .args(["capture", "--netns", &pair.b, "-i", "lo", "tcp or udp", "-w"])
        .arg(&file)
        .arg("--")
        .arg(traffic())
        .args(args)
        .args(namespaces)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "losses or missing hooks: {stderr}");
    let found = objects(&file, &[]);
    assert_eq!(
        by_process(&found),
        truths(&text(&output.stdout)),
        "{args:?} {environment:?} seen, accepted, lost, delivered {:?} {found:#?}",
        statistics(&file)
    );
    is_read_by_others(&file, found.len());
}

#[test]
fn packets_have_their_sender_s_process_and_their_receiver_s() {
    let pair = Pair::new();
    assert_owners(&pair, &["tcp", "up=200000", "down=100000", "conns=3"], &[]);
    assert_owners(&pair, &["udp", "up=100", "down=50", "conns=20", "v6=1"], &[]);
    assert_owners(&pair, &["tcp", "up=2000", "down=1000"], &[("NETTRACE_WITHOUT", "tcx")]);
}

#[test]
fn what_cannot_be_kept_up_with_is_counted_to_the_packet() {
    const SENT: usize = 3000;

    let pair = Pair::new();
    let dir = tempfile::tempdir().unwrap();
    let filter = format!("udp port {PORT} or udp port {MARKER}");
    let args = ["-i", "v1", "-Q", "in", "--ring-size", "64K", &filter];
    let running = Running::start(&pair, &dir, &args);
    // It sleeps, and so its ring fills.
    running.signal(Signal::SIGSTOP);
    send(&pair, PORT, SENT, 200);
    running.signal(Signal::SIGCONT);
    let (file, stderr) = running.end();
    let to = |port: u16| objects(&file, &[&format!("dst port {port}")]).len() as u64;
    let (received, markers) = (to(PORT), to(MARKER));
    let [seen, accepted, lost, delivered] = statistics(&file)[0];
    assert_eq!(received + lost, SENT as u64, "{stderr}");
    assert!(lost > 0 && received > 0, "{received} received, {lost} lost");
    assert_eq!((accepted, delivered), (SENT as u64 + markers, received + markers));
    assert!(seen >= accepted);
    assert!(stderr.contains(&format!("lost {lost} by packet_ring")), "{stderr}");
    is_read_by_others(&file, delivered as usize);
}

/// An interface that carries IP alone; what is written to the file is received by it.
pub(crate) fn tunnel(dir: &TempDir) -> File {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

    let mut node = PathBuf::from("/dev/net/tun");
    if !node.exists() {
        node = dir.path().join("tun");
        mknod(&node, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(10, 200)).unwrap();
    }
    let file = File::options().read(true).write(true).open(node).unwrap();
    // SAFETY: plain integers and pointers, of which all zero is one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"tun0") {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: an ifreq with a name and flags, as this command wants it.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    file
}

#[test]
fn frames_are_as_they_were_on_the_wire() {
    let pair = Pair::new();
    let dir = tempfile::tempdir().unwrap();
    let mut tunnel = inside(&pair.b, || tunnel(&dir));
    ip(&["-n", &pair.b, "addr", "add", "10.97.0.2/24", "dev", "tun0"]);
    ip(&["-n", &pair.b, "link", "set", "tun0", "up"]);
    let plain = Frame::new(UDP, [A4, B4], MARKER).bytes();
    let (addresses, packet) = plain.split_at(12);
    let tags = |tags: &[[u8; 4]]| [addresses, &tags.concat(), packet].concat();
    // The stack takes off one of them.
    let (tag, outer, inner) = ([0x81, 0, 0x60, 5], [0x88, 0xa8, 0, 30], [0x81, 0, 0, 20]);
    let sent = [plain.clone(), tags(&[tag]), tags(&[outer, inner])];
    let raw = &Frame::new(UDP, ["10.97.0.1", "10.97.0.2"], MARKER).bytes()[14..];
    let filter = format!("udp port {MARKER} or vlan");
    let args = ["-i", "v*", "-i", "tun*", "-s", "50", "-Q", "in", &filter];
    let running = Running::start(&pair, &dir, &args);
    // A marker may still be on its way.
    let is_marker = |packet: &ReadPacket| packet.length == 14 + 20 + 8 + 1;
    let others = |file: &Path| {
        packets(file).into_iter().filter(|packet| !is_marker(packet)).collect::<Vec<_>>()
    };
    inside(&pair.a, || sent.iter().for_each(|frame| frames::send(frame, "v0").unwrap()));
    tunnel.write_all(raw).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while others(&running.file).len() < 4 {
        assert!(Instant::now() < deadline, "{:#?}", objects(&running.file, &[]));
        std::thread::sleep(Duration::from_millis(50));
    }
    let (file, _) = running.end();
    let found = others(&file);
    assert_eq!(found.len(), 4);
    for (packet, frame) in found.iter().zip(&sent) {
        assert_eq!(packet.bytes, frame[..frame.len().min(50)]);
        assert_eq!(packet.length as usize, frame.len());
    }
    let last = &found[3];
    assert_eq!((last.link(), last.interface.as_deref()), (LinkType::Raw, Some("tun0")));
    assert_eq!((&last.bytes[..], last.length as usize), (raw, raw.len()));
    let all = objects(&file, &["vlan 30"]);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0]["text"], format!("vlan 30, vlan 20, IP {A4}.4000 > {B4}.9: UDP, length 4"));
    is_read_by_others(&file, packets(&file).len());
}

#[test]
fn it_ends_when_there_is_enough_and_shows_packets_soon() {
    let pair = Pair::new();
    let filter = format!("udp dst port {MARKER}");
    let mut child = nettrace()
        .args(["capture", "--netns", &pair.b, "-Q", "in", "-c", "3", &filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, deadline) =
        (child.stdout.take().unwrap(), Instant::now() + Duration::from_secs(60));
    let reader =
        std::thread::spawn(move || BufReader::new(stdout).lines().collect::<Result<Vec<_>, _>>());
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it goes on");
        send(&pair, MARKER, 1, 4);
        std::thread::sleep(Duration::from_millis(20));
    }
    let lines = reader.join().unwrap().unwrap();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        assert!(line.contains(&format!("> {B4}.{MARKER}: UDP, length 4")), "{line}");
    }
}

#[test]
fn files_follow_each_other_and_none_that_is_there_is_touched() {
    let pair = Pair::new();
    let dir = tempfile::tempdir().unwrap();
    let mine = dir.path().join("mine.pcapng");
    std::fs::write(&mine, "old").unwrap();
    let refused =
        nettrace().args(["capture", "--netns", &pair.b, "-w"]).arg(&mine).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("mine.pcapng exists; --force"), "{refused:?}");
    let filter = format!("dst port {PORT} or dst port {MARKER}");
    let running = Running::start(&pair, &dir, &["-i", "v1", "-Q", "in", "-C", "20K", &filter]);
    send(&pair, PORT, 100, 500);
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::read_dir(dir.path()).unwrap().count() < 4 {
        assert!(Instant::now() < deadline, "no third file");
        std::thread::sleep(Duration::from_millis(50));
    }
    running.end();
    let mut sent = 0;
    for name in ["x.pcapng", "x.1.pcapng", "x.2.pcapng"] {
        let file = dir.path().join(name);
        let found = objects(&file, &[&format!("dst port {PORT}")]).len();
        assert!(file.metadata().unwrap().len() < 25_000, "{name}");
        sent += found;
    }
    let left = dir.path().join("x.3.pcapng");
    sent += if left.exists() { objects(&left, &[&format!("dst port {PORT}")]).len() } else { 0 };
    assert_eq!(sent, 100);
    is_read_by_others(
        &dir.path().join("x.1.pcapng"),
        packets(&dir.path().join("x.1.pcapng")).len(),
    );
    assert_eq!(std::fs::read(&mine).unwrap(), b"old");
}

#[test]
fn a_killed_one_leaves_nothing_or_the_next_one_removes_it() {
    let pair = Pair::new();
    let start = || Running::start(&pair, &tempfile::tempdir().unwrap(), &["-i", "v1"]);
    let mut running = start();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    start().end();
    let is_clean = || filters_and_qdiscs(&pair.b, "v1") == (0, 0) && hook(&pair.b, "v1").is_null();
    let end = Instant::now() + Duration::from_secs(20);
    while !is_clean() {
        assert!(Instant::now() < end, "{}", hook(&pair.b, "v1"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_wrong_filter_has_libpcap_s_words_and_its_place() {
    let output = nettrace().args(["capture", "udp and prt 53"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let lines = ["nettrace: filter: syntax error", "    udp and prt 53", "            ^^^"];
    for (found, expected) in text(&output.stderr).lines().zip(lines) {
        assert!(found.starts_with(expected), "{found}");
    }
    let output = nettrace().args(["capture", "-i", "nosuch0", "udp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("there is no interface nosuch0; there are"),
        "{output:?}"
    );
}

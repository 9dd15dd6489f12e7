//! Packets in tunnels, on interfaces without Ethernet headers, and in ten thousand flows; and whose they are.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;

use serde_json::Value;

use super::{compare, send_tcp, send_udp, watch};
use crate::drops::{Seen, inside};
use crate::frames::{self, Frame, UDP};
use crate::support::{A4, A6, B4, B6, Pair, ip, number};

const GRE: u8 = 47;
const IPIP: u8 = 4;
const VXLAN_PORT: u16 = 4789;
const TUNNEL: u32 = 42;
/// Addresses and ports in the tunnel.
const INNER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const INNER_PORT: u16 = 5353;

/// A frame from a to b with an IP packet of such a protocol and payload.
fn carrier(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let frame = Frame::new(protocol, [A4, B4], 0).bytes();
    let mut bytes = [&frame[..14 + 20], payload].concat();
    let length = (20 + payload.len()) as u16;
    bytes[16..18].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The same datagram within VXLAN, GRE and IP in IP.
fn tunnelled() -> [Vec<u8>; 3] {
    let inner = Frame::new(UDP, INNER, INNER_PORT).bytes();
    let packet = &inner[14..];
    let udp = |payload: &[u8]| {
        let length = (8 + payload.len()) as u16;
        let port = VXLAN_PORT.to_be_bytes();
        [&[0x9c, 0x40], &port[..], &length.to_be_bytes(), &[0, 0], payload].concat()
    };
    let vxlan = [&[8, 0, 0, 0], &(TUNNEL << 8).to_be_bytes()[..], &inner].concat();
    let gre = [&[0x20, 0, 8, 0], &TUNNEL.to_be_bytes()[..], packet].concat();
    [carrier(UDP, &udp(&vxlan)), carrier(GRE, &gre), carrier(IPIP, packet)]
}

#[test]
fn what_is_in_a_tunnel_counts_in_its_place_if_that_is_wanted() {
    let pair = Pair::new();
    let send = || {
        inside(&pair.a, || {
            tunnelled().iter().for_each(|frame| frames::send(frame, "v0").unwrap());
        });
    };
    let rows = |seen: Seen, port: u16| -> Vec<Value> {
        let is_it = |row: &Value| row["destination_port"] == port;
        seen.rows().into_iter().filter(is_it).collect()
    };
    let outer = compare(&pair.a, "v0", &[], "", &send).rows();
    let protos: Vec<_> = outer
        .iter()
        .filter(|row| row["destination_address"] == B4)
        .map(|row| &row["proto"])
        .collect();
    for proto in ["udp", "gre", "ipip"] {
        assert!(protos.contains(&&proto.into()), "{outer:#?}");
    }
    for (netns, interface) in [(&pair.a, "v0"), (&pair.b, "v1")] {
        let inner = rows(compare(netns, interface, &["--inner"], "", &send), INNER_PORT);
        let mut tunnels: Vec<_> = inner.iter().map(|row| row["tunnel"].as_u64()).collect();
        tunnels.sort_unstable();
        // VXLAN and GRE make one flow, if they have the same number.
        assert_eq!(tunnels, [None, Some(TUNNEL.into())], "{inner:#?}");
        for row in &inner {
            assert_eq!((&row["source_address"], &row["proto"]), (&INNER[0].into(), &"udp".into()));
        }
        let packets: u64 = inner.iter().map(|row| number(row, "packets")).sum();
        assert_eq!(packets, 3, "{inner:#?}");
    }
    // An expression is about what is on the wire.
    let watch = watch(&pair.b, &["-i", "v1", "--inner", "udp", "port", "4789"], "");
    send();
    let inner = watch.end().rows();
    assert_eq!(inner.len(), 1, "{inner:#?}");
    assert_eq!(inner[0]["destination_port"], INNER_PORT);
}

/// An interface of the namespace that the thread is in, whose packets come and go by this file.
fn tun(name: &str) -> File {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const TUN_WITHOUT_INFO: i16 = 0x1001;

    let path = Path::new("/dev/net/tun");
    if !path.exists() {
        fs::create_dir_all("/dev/net").unwrap();
        let device = libc::makedev(10, 200);
        // SAFETY: a string with its end.
        let made = unsafe { libc::mknod(c"/dev/net/tun".as_ptr(), libc::S_IFCHR | 0o600, device) };
        assert_eq!(made, 0);
    }
    let file = File::options().read(true).write(true).open(path).unwrap();
    // SAFETY: plain integers and pointers, of which all zero is one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as _;
    }
    request.ifr_ifru.ifru_flags = TUN_WITHOUT_INFO;
    // SAFETY: an ifreq with flags, as the command wants it.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    file
}

#[test]
fn packets_without_an_ethernet_header_have_their_flows_too() {
    let pair = Pair::new();
    let mut device = inside(&pair.a, || tun("t0"));
    ip(&["-n", &pair.a, "addr", "add", "10.96.0.1/24", "dev", "t0"]);
    ip(&["-n", &pair.a, "addr", "add", "fd96::1/64", "dev", "t0", "nodad"]);
    ip(&["-n", &pair.a, "link", "set", "t0", "up"]);
    for without in ["", "tcx"] {
        let mut exchange = |filter: &[&str]| {
            let watch = watch(&pair.a, &[&["-i", "t0"], filter].concat(), without);
            inside(&pair.a, || {
                UdpSocket::bind("10.96.0.1:0").unwrap().send_to(b"test", "10.96.0.2:4301").unwrap();
                UdpSocket::bind("[fd96::1]:0").unwrap().send_to(b"test", "[fd96::2]:4302").unwrap();
            });
            let received = Frame::new(UDP, ["10.96.0.2", "10.96.0.1"], 4303).bytes();
            device.write_all(&received[14..]).unwrap();
            watch.end().rows()
        };
        let rows = exchange(&[]);
        for (direction, to, port, bytes) in [
            ("out", "10.96.0.2", 4301, 32),
            ("out", "fd96::2", 4302, 52),
            ("in", "10.96.0.1", 4303, 32),
        ] {
            let is_it =
                |row: &&Value| row["destination_port"] == port && row["direction"] == direction;
            let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("{port} {rows:#?}"));
            assert_eq!((&row["proto"], &row["destination_address"]), (&"udp".into(), &to.into()));
            assert_eq!((number(row, "packets"), number(row, "bytes")), (1, bytes), "{row}");
        }
        let rows = exchange(&["ip", "and", "udp", "port", "4303"]);
        assert_eq!(rows.len(), 1, "{rows:#?}");
    }
    // What was sent is read, so that the device isn't full.
    assert!(device.read(&mut [0; 2048]).unwrap() > 0);
}

#[test]
fn ten_thousand_flows_sum_up() {
    let pair = Pair::new();
    let to = |port| Frame::new(UDP, [A4, B4], port).bytes();
    let all: Vec<Vec<u8>> = (10_000..20_000).map(to).collect();
    let send = || {
        let twice = all.iter().chain(&all).map(Vec::as_slice);
        inside(&pair.a, || frames::send_all(twice, "v0").unwrap());
    };
    for without in ["", "tcx"] {
        let seen = compare(&pair.b, "v1", &[], without, &send);
        let udp = |row: &&Value| row["proto"] == "udp" && row["packets"] == 2;
        assert_eq!(seen.rows().iter().filter(udp).count(), 10_000);
        assert_eq!(seen.lost("flow_table"), 0);
    }
}

/// Datagrams that somebody takes: whose a socket is that nobody uses is found out late.
fn exchange_udp(pair: &Pair, to: &str) {
    let receiver = inside(&pair.b, || UdpSocket::bind((to, 5004)).unwrap());
    let any = if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let sender = inside(&pair.a, || UdpSocket::bind(any).unwrap());
    for _ in 0..3 {
        sender.send_to(b"test", (to, 5004)).unwrap();
        receiver.recv(&mut [0; 8]).unwrap();
    }
}

#[test]
fn flows_have_the_processes_whose_sockets_have_their_ends_here() {
    let pair = Pair::new();
    let own = u64::from(std::process::id());
    let comm = fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned();
    for (netns, interface) in [(&pair.a, "v0"), (&pair.b, "v1")] {
        let watch = watch(netns, &["-i", interface], "");
        for to in [B4, B6] {
            send_tcp(&pair, to, 10_000);
            exchange_udp(&pair, to);
        }
        let seen = watch.end();
        let rows = seen.rows();
        let of_sockets: Vec<_> =
            rows.iter().filter(|row| row["proto"] == "tcp" || row["proto"] == "udp").collect();
        assert_eq!(of_sockets.len(), 6, "{rows:#?}");
        for row in of_sockets {
            assert_eq!(number(row, "pid"), own, "{row}");
            assert_eq!(row["comm"], comm.as_str(), "{row}");
        }
        assert!(rows.iter().all(|row| row["proto"] != "arp" || row["pid"] == Value::Null));
    }
    // Filters and flags of processes are about owners.
    let of = |args: &[&str]| {
        let watch = watch(&pair.a, &[&["-i", "v0"], args].concat(), "");
        exchange_udp(&pair, B4);
        watch.end().rows()
    };
    assert_eq!(of(&["--comm", &comm]).len(), 1);
    assert_eq!(of(&[&format!("comm:{comm}"), "udp and src host 10.99.0.1"]).len(), 1);
    assert_eq!(of(&[&format!("!comm:{comm}"), "udp"]).len(), 0);
}

#[test]
fn a_filter_is_asked_in_the_kernel_before_anything_else() {
    let pair = Pair::new();
    // Until the neighbour is known.
    exchange_udp(&pair, B6);
    for without in ["", "tcx"] {
        let run = |filter: &[&str]| {
            let watch = watch(&pair.b, &[&["-i", "v1", "--flows", "64"], filter].concat(), without);
            send_udp(&pair, B4, 300, 2, 100);
            send_udp(&pair, B6, 1, 4, 100);
            send_tcp(&pair, B4, 1000);
            watch.end()
        };
        let seen = run(&["tcp", "dst", "port", "5001"]);
        let [row] = &seen.rows()[..] else { panic!("{:#?}", seen.rows()) };
        assert_eq!((&row["proto"], &row["direction"]), (&"tcp".into(), &"in".into()));
        // What isn't asked for takes no room.
        assert_eq!(seen.lost("flow_table"), 0);
        let rows = run(&["ip6 and udp and inbound", "dport:5002"]).rows();
        let [row] = &rows[..] else { panic!("{rows:#?}") };
        assert_eq!((number(row, "packets"), &row["source_address"]), (4, &A6.into()));
    }
}

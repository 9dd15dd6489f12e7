//! Filters in programs written in C, at each kind of hook.

use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{
    OpenObject, ProgramInput, ProgramMut, TC_EGRESS, TC_INGRESS, TcAttachPoint, TcHook,
    TcHookBuilder,
};
use nettrace::netns::Netns;
use nettrace::packet::filter::{Filter, LinkType, PACKET_SIZE};

use super::corpus::corpus;
use crate::support::{A4, B4, Pair, use_libbpf};

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/filter.skel.rs"));
}
use skel::{FilterSkel, FilterSkelBuilder};

/// Programs that need no kernel function to be attached to.
const VERDICTS: [&str; 3] = ["tc_verdict", "tc_without_header", "xdp_verdict"];

/// All programs with a filter, or none.
fn load<'a>(
    storage: &'a mut MaybeUninit<OpenObject>,
    filter: Option<&Filter>,
    namespaces: Option<[u32; 2]>,
) -> FilterSkel<'a> {
    let mut open = FilterSkelBuilder::default().open(storage).unwrap();
    let rodata = open.maps.rodata_data.as_mut().unwrap();
    if let Some([sender, receiver]) = namespaces {
        (rodata.sender, rodata.receiver) = (sender, receiver);
    }
    if let Some(filter) = filter {
        rodata.filter_on = true;
        rodata.filter_raw = filter.link() == LinkType::Raw;
        rodata.filter_reach = filter.reach();
        assert_eq!(filter.install(open.open_object_mut()).unwrap(), 7);
    }
    for mut program in open.open_object_mut().progs_mut() {
        let is_alone = VERDICTS.iter().any(|name| program.name() == *name);
        program.set_autoload(is_alone == namespaces.is_none());
    }
    open.load().unwrap()
}

fn run(program: &ProgramMut<'_>, packet: &[u8]) -> u32 {
    let input = ProgramInput { data_in: Some(packet), ..Default::default() };
    program.test_run(input).unwrap().return_value
}

#[test]
fn programs_in_c_agree_with_libpcap() {
    let _libbpf = use_libbpf();
    assert_eq!(size_of::<skel::types::filter_packet>(), PACKET_SIZE);
    // The kernel refuses short ones.
    let packets: Vec<_> = corpus().into_iter().filter(|it| it.bytes.len() >= 60).collect();
    for expression in [
        "",
        "tcp port 80",
        "vlan 100 and ip",
        "greater 200",
        "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
        "udp[1000:4] = 0xabababab",
        "ether[4090:4] = 1 or ip",
    ] {
        let filter = Filter::compile(expression, LinkType::Ethernet).unwrap();
        let mut storage = MaybeUninit::uninit();
        let skel = load(&mut storage, Some(&filter), None);
        for packet in &packets {
            let bytes = &packet.bytes;
            let expected = u32::from(filter.matches(bytes, bytes.len() as u32));
            assert_eq!(run(&skel.progs.tc_verdict, bytes), expected, "{expression}: {bytes:02x?}");
            assert_eq!(run(&skel.progs.xdp_verdict, bytes), expected, "{expression}: {bytes:02x?}");
        }
    }
}

#[test]
fn without_a_filter_every_packet_is_wanted() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = load(&mut storage, None, None);
    let packet = &corpus()[0].bytes;
    for program in [&skel.progs.tc_verdict, &skel.progs.xdp_verdict] {
        assert_eq!(run(program, packet), 1);
    }
}

#[test]
fn an_ethernet_header_is_made_up_or_not_needed() {
    let _libbpf = use_libbpf();
    // A test run takes bytes 12 and 13 for the protocol, which are the source address here: 8.0.0.1.
    let mut packet = [0x45, 0, 0, 64, 0, 0, 0, 0, 64, 17, 0, 0, 8, 0, 0, 1, 10, 0, 0, 2].to_vec();
    packet.extend([0x9c, 0x40, 0, 53, 0, 44, 0, 0]);
    packet.resize(64, 0);
    for (expression, expected) in [
        ("udp port 53 and src 8.0.0.1 and ip[9] = 17 and udp[3] = 53 and len = 64", 1),
        ("tcp or ip6", 0),
    ] {
        for link in [LinkType::Ethernet, LinkType::Raw] {
            let filter = Filter::compile(expression, link).unwrap();
            let mut storage = MaybeUninit::uninit();
            let skel = load(&mut storage, Some(&filter), None);
            let verdict = run(&skel.progs.tc_without_header, &packet);
            assert_eq!(verdict, expected, "{expression} {link:?}");
        }
    }
}

const PACKETS: u64 = 7;
const PORT: u16 = 4242;

/// What the filters took of datagrams that are given a VLAN tag: before they leave, by tc and by a tracing
/// program, and where they arrive.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    egress: u64,
    sent: u64,
    ingress: u64,
    received: u64,
}

#[test]
fn a_vlan_tag_that_the_kernel_keeps_beside_the_packet_is_seen() {
    let _libbpf = use_libbpf();
    let pair = Pair::new();
    let (a, b) = (Netns::open(&pair.a).unwrap(), Netns::open(&pair.b).unwrap());
    let mut storage = MaybeUninit::uninit();
    let skel = load(&mut storage, None, Some([a.inode(), b.inode()]));
    hook(&a, "v0", &skel.progs.tc_tag, TC_EGRESS, 1, TcHook::create);
    hook(&b, "v1", &skel.progs.tc_ingress, TC_INGRESS, 1, TcHook::create);
    attach(&a, "v0", &skel.progs.tc_tag, TC_EGRESS, 1);

    let all = Taken { egress: PACKETS, sent: PACKETS, ingress: PACKETS, received: PACKETS };
    let none = Taken { egress: 0, sent: 0, ingress: 0, received: 0 };
    let outgoing = Taken { egress: PACKETS, ..none };
    let incoming = Taken { egress: 0, ..all };
    for (expression, expected) in [
        ("vlan 100 and udp dst port 4242", &all),
        ("vlan and dst 10.99.0.2 and not arp", &all),
        ("vlan 101 and udp", &none),
        // Two addresses, type, tag, headers of IP and UDP, and four bytes.
        ("len = 50 and vlan and udp[8:4] = 0x61626364", &all),
        ("udp dst port 4242", &none),
        ("ether[12:4] = 0x81000064", &all),
        ("outbound and vlan and udp", &outgoing),
        ("inbound and vlan and udp", &incoming),
    ] {
        let filter = Filter::compile(expression, LinkType::Ethernet).unwrap();
        let mut storage = MaybeUninit::uninit();
        let skel = load(&mut storage, Some(&filter), Some([a.inode(), b.inode()]));
        let _sending = skel.progs.sending.attach_trace().unwrap();
        let _receiving = skel.progs.receiving.attach_trace().unwrap();
        attach(&a, "v0", &skel.progs.tc_egress, TC_EGRESS, 2);
        attach(&b, "v1", &skel.progs.tc_ingress, TC_INGRESS, 1);
        a.run(|| {
            let socket = UdpSocket::bind((A4, 0))?;
            for _ in 0..PACKETS {
                socket.send_to(b"abcd", (B4, PORT))?;
            }
            Ok(())
        })
        .unwrap();
        let counts = skel.maps.bss_data.as_ref().unwrap();
        let hooks =
            [counts.egress.seen, counts.sent.seen, counts.ingress.seen, counts.received.seen];
        assert!(hooks.iter().all(|&seen| seen >= PACKETS), "{hooks:?}");
        let taken = Taken {
            egress: counts.egress.taken,
            sent: counts.sent.taken,
            ingress: counts.ingress.taken,
            received: counts.received.taken,
        };
        assert_eq!(taken, *expected, "{expression}");
    }
}

/// Attached until the namespace goes, or another one takes the place.
fn attach(
    netns: &Netns,
    interface: &str,
    program: &ProgramMut<'_>,
    point: TcAttachPoint,
    priority: u32,
) {
    hook(netns, interface, program, point, priority, TcHook::attach);
}

fn hook(
    netns: &Netns,
    interface: &str,
    program: &ProgramMut<'_>,
    point: TcAttachPoint,
    priority: u32,
    act: impl FnOnce(&mut TcHook) -> libbpf_rs::Result<TcHook> + Send,
) {
    let fd = program.as_fd();
    let inside = || {
        let index = nix::net::if_::if_nametoindex(interface)? as i32;
        let mut builder = TcHookBuilder::new(fd);
        builder.ifindex(index).replace(true).handle(1).priority(priority);
        act(&mut builder.hook(point))?;
        Ok(())
    };
    netns.run(inside).unwrap();
}

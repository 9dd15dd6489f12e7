#![allow(clippy::unwrap_used)]

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder, VlanId};

use super::*;
use crate::packet::filter::LinkType;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const A6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const B6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn line(lines: &mut Lines, bytes: &[u8]) -> String {
    let mut text = String::new();
    let decoded = Decoded::of(LinkType::Ethernet, bytes);
    lines.write(&mut text, &decoded, bytes.len() as u32);
    text
}

fn alone(bytes: &[u8]) -> String {
    line(&mut Lines::default(), bytes)
}

fn v4() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(A, B, 64)
}

fn v6() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(MAC_A, MAC_B).ipv6(A6, B6, 64)
}

/// What it makes, with this payload.
macro_rules! bytes {
    ($builder:expr, $payload:expr) => {{
        let mut bytes = Vec::new();
        $builder.write(&mut bytes, $payload).unwrap();
        bytes
    }};
}

#[test]
fn a_connection_s_numbers_begin_with_its_first_segments() {
    let back = || PacketBuilder::ethernet2(MAC_B, MAC_A).ipv4(B, A, 64);
    let mut lines = Lines::default();
    let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 10];
    let syn = v4().tcp(4000, 80, 1000, 64240).syn().options_raw(&options).unwrap();
    assert_eq!(
        line(&mut lines, &bytes!(syn, &[])),
        "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [S], seq 1000, win 64240, options [mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 10], length 0"
    );
    let syn_ack = back().tcp(80, 4000, 5000, 65160).syn().ack(1001);
    assert_eq!(
        line(&mut lines, &bytes!(syn_ack, &[])),
        "IP 10.0.0.2.80 > 10.0.0.1.4000: Flags [S.], seq 5000, ack 1001, win 65160, length 0"
    );
    let push = v4().tcp(4000, 80, 1001, 63).ack(5001).psh();
    assert_eq!(
        line(&mut lines, &bytes!(push, b"hello")),
        "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [P.], seq 1:6, ack 1, win 63, length 5"
    );
    let sack = [1, 1, 5, 10, 0, 0, 0x13, 0x8b, 0, 0, 0x13, 0x95];
    let ack = v4().tcp(4000, 80, 1006, 63).ack(5001).options_raw(&sack).unwrap();
    assert_eq!(
        line(&mut lines, &bytes!(ack, &[])),
        "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [.], ack 1, win 63, options [nop,nop,sack 1 {3:13}], length 0"
    );
    let fin = back().tcp(80, 4000, 5001, 64).fin().ack(1006);
    assert_eq!(
        line(&mut lines, &bytes!(fin, &[])),
        "IP 10.0.0.2.80 > 10.0.0.1.4000: Flags [F.], seq 1, ack 6, win 64, length 0"
    );
    let reset = v4().tcp(4000, 80, 9, 0).rst();
    assert_eq!(
        line(&mut lines, &bytes!(reset, &[])),
        "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [R], seq 9, win 0, length 0"
    );
}

#[test]
fn udp_vlans_and_ipv6() {
    let builder = PacketBuilder::ethernet2(MAC_A, MAC_B)
        .single_vlan(VlanId::try_new(5).unwrap())
        .ipv6(A6, B6, 64)
        .udp(53, 4000);
    assert_eq!(
        alone(&bytes!(builder, b"abc")),
        "vlan 5, IP6 fd00::1.53 > fd00::2.4000: UDP, length 3"
    );
    let mut padded = bytes!(v4().udp(53, 4000), b"abc");
    padded.resize(60, 0);
    assert_eq!(alone(&padded), "IP 10.0.0.1.53 > 10.0.0.2.4000: UDP, length 3");
}

#[test]
fn what_is_cut_off_says_so() {
    let udp = bytes!(v4().udp(53, 4000), &[7; 100]);
    assert_eq!(alone(&udp[..50]), "IP 10.0.0.1.53 > 10.0.0.2.4000: UDP, length 100");
    let tcp = bytes!(v4().tcp(4000, 80, 1, 64), &[7; 100]);
    assert_eq!(alone(&tcp[..60]).split("length").nth(1), Some(" 100"));
    assert_eq!(alone(&tcp[..40]), "IP 10.0.0.1.4000 > 10.0.0.2.80: [|tcp]");
    assert_eq!(alone(&tcp[..36]), "IP 10.0.0.1 > 10.0.0.2: [|tcp]");
    let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let syn = v4().tcp(4000, 80, 7, 64).syn().options_raw(&options).unwrap();
    let syn = bytes!(syn, b"abc");
    let begin = "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [S], seq 7:10, win 64, options";
    assert_eq!(alone(&syn[..66]), format!("{begin} [mss 1460,sackOK,[|tcp]], length 3"));
    assert_eq!(alone(&syn[..59]), format!("{begin} [mss 1460,[|tcp]], length 3"));
    assert_eq!(alone(&syn[..54]), format!("{begin} [[|tcp]], length 3"));
    assert_eq!(alone(&tcp[..17]), "[|ip]");
    assert_eq!(alone(&tcp[..13]), "[|ether]");
    for end in 0..tcp.len() {
        alone(&tcp[..end]);
    }
}

#[test]
fn icmp_names_what_it_is_about() {
    let echo = v4().icmpv4_echo_request(3, 1);
    assert_eq!(
        alone(&bytes!(echo, &[0; 56])),
        "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 3, seq 1, length 64"
    );
    let about = &bytes!(v4().udp(53, 4000), b"abc")[14..];
    let port = v4().icmpv4_raw(3, 3, [0; 4]);
    assert_eq!(
        alone(&bytes!(port, about)),
        "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.2 udp port 4000 unreachable, length 39"
    );
    let exceeded = v4().icmpv4_raw(11, 0, [0; 4]);
    assert_eq!(
        alone(&bytes!(exceeded, about)),
        "IP 10.0.0.1 > 10.0.0.2: ICMP time exceeded in-transit, length 39"
    );
    let solicitation = v6().icmpv6_raw(135, 0, [0; 4]);
    assert_eq!(
        alone(&bytes!(solicitation, &B6)),
        "IP6 fd00::1 > fd00::2: ICMP6, neighbor solicitation, who has fd00::2, length 24"
    );
}

#[test]
fn arp_asks_and_answers() {
    let arp = |operation, target_hw: [u8; 6]| {
        let packet = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            operation,
            &MAC_A,
            &A,
            &target_hw,
            &B,
        );
        let mut bytes = [&MAC_B[..], &MAC_A, &[8, 6]].concat();
        bytes.extend_from_slice(&packet.unwrap().to_bytes());
        bytes
    };
    assert_eq!(
        alone(&arp(ArpOperation::REQUEST, [0; 6])),
        "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"
    );
    assert_eq!(
        alone(&arp(ArpOperation::REPLY, MAC_B)),
        "ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28"
    );
}

#[test]
fn tunnels_are_looked_into_and_have_an_end() {
    let inner = bytes!(v4().udp(53, 4000), b"abc");
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 42, 0];
    vxlan.extend_from_slice(&inner);
    assert_eq!(
        alone(&bytes!(v4().udp(9999, 4789), &vxlan)),
        "IP 10.0.0.1.9999 > 10.0.0.2.4789: VXLAN, vni 42: IP 10.0.0.1.53 > 10.0.0.2.4000: UDP, length 3"
    );
    let mut bytes = inner[14..].to_vec();
    for _ in 0..10 {
        let mut outer = Vec::new();
        v4().write(&mut outer, etherparse::IpNumber::IPV4, &bytes).unwrap();
        bytes = outer[14..].to_vec();
    }
    let frame = [&MAC_B[..], &MAC_A, &[8, 0], &bytes].concat();
    let text = alone(&frame);
    assert!(text.starts_with("IP 10.0.0.1 > 10.0.0.2: IP 10.0.0.1"), "{text}");
    assert!(text.ends_with("[|ip]"), "{text}");
}

#[test]
fn what_isn_t_known_is_told_by_number() {
    let mut sctp = Vec::new();
    v4().write(&mut sctp, etherparse::IpNumber(253), &[0; 12]).unwrap();
    assert_eq!(alone(&sctp), "IP 10.0.0.1 > 10.0.0.2: ip-proto-253 12");
    let other = [&MAC_B[..], &MAC_A, &[0x88, 0xb5], &[0; 46]].concat();
    assert_eq!(
        alone(&other),
        "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype Unknown (0x88b5), length 60"
    );
    let stp = [&MAC_B[..], &MAC_A, &[0, 38], &[0; 46]].concat();
    assert_eq!(alone(&stp), "802.3, length 60");
}

#[test]
fn later_fragments_have_no_ports() {
    let mut bytes = bytes!(v4().udp(53, 4000), &[0; 64]);
    bytes[14 + 6] = 0x20;
    assert_eq!(alone(&bytes), "IP 10.0.0.1.53 > 10.0.0.2.4000: UDP, length 64");
    bytes[14 + 7] = 10;
    assert_eq!(alone(&bytes), "IP 10.0.0.1 > 10.0.0.2: udp");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_line(bytes: Vec<u8>) {
        alone(&bytes);
        let ip = [&MAC_B[..], &MAC_A, &[8, 0, 0x45], &bytes].concat();
        proptest::prop_assert!(!alone(&ip).contains('\n'));
    }
}

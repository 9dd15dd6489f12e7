//! Packets that were made up, whole and cut off at each length, are put through the programs themselves.

use std::mem::{MaybeUninit, size_of};

use etherparse::{PacketBuilder, TcpHeader};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{ErrorKind, MapCore, MapFlags, ProgramInput, ProgramMut};
use nettrace::probes::xdp::types::xdp_counts;
use nettrace::sample::xdp::{PROTOCOLS, VERDICTS};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::use_libbpf;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/xdp.skel.rs"));
}
use skel::{XdpSkel, XdpSkelBuilder};

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod card {
    include!(concat!(env!("OUT_DIR"), "/xdp_card.skel.rs"));
}
use card::XdpCardSkelBuilder as CardSkelBuilder;

/// No less than an Ethernet header.
const LEAST: usize = 14;
const XDP_PASS: u32 = 2;
/// Packets that are run have come by it.
const LOOPBACK: u32 = 1;

fn load(storage: &mut MaybeUninit<libbpf_rs::OpenObject>) -> XdpSkel<'_> {
    let mut open = XdpSkelBuilder::default().open(storage).unwrap();
    for mut program in open.open_object_mut().progs_mut() {
        program.set_autoload(program.name().to_string_lossy().starts_with("nettrace_"));
    }
    let skel = open.load().unwrap();
    let number = 1u32.to_ne_bytes();
    skel.maps.slots.update(&LOOPBACK.to_ne_bytes(), &number, MapFlags::ANY).unwrap();
    skel
}

/// What was counted, and not any more.
fn take(skel: &XdpSkel<'_>) -> xdp_counts {
    let key = 0u32.to_ne_bytes();
    let mut sum = xdp_counts::default();
    let cpus = skel.maps.counts.lookup_percpu(&key, MapFlags::ANY).unwrap().unwrap();
    for bytes in &cpus {
        assert_eq!(bytes.len(), size_of::<xdp_counts>());
        // SAFETY: integers and arrays of them, of which all bytes are some.
        sum.add(&unsafe { bytes.as_ptr().cast::<xdp_counts>().read_unaligned() });
    }
    let zeros = vec![vec![0; size_of::<xdp_counts>()]; cpus.len()];
    skel.maps.counts.update_percpu(&key, &zeros, MapFlags::ANY).unwrap();
    sum
}

/// None if the kernel makes no packet of it.
fn run(program: &ProgramMut<'_>, packet: &[u8]) -> Option<u32> {
    let input = ProgramInput { data_in: Some(packet), ..ProgramInput::default() };
    match program.test_run(input) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => None,
        output => Some(output.unwrap().return_value),
    }
}

/// The verdict and protocol of the one packet before the stack, and its bytes.
fn before(skel: &XdpSkel<'_>, packet: &[u8]) -> (&'static str, &'static str, u64) {
    assert_eq!(run(&skel.progs.nettrace_xdp, packet), Some(XDP_PASS));
    let counts = take(skel);
    let mut found = Vec::new();
    for (verdict, protocols) in VERDICTS.iter().zip(&counts.verdicts) {
        for (protocol, count) in PROTOCOLS.iter().zip(protocols) {
            if count.packets > 0 {
                found.push((*verdict, *protocol, count.packets, count.bytes));
            }
        }
    }
    let [(verdict, protocol, 1, bytes)] = found[..] else { panic!("{found:?}") };
    (verdict, protocol, bytes)
}

/// The protocol of the one packet at the stack.
fn at(skel: &XdpSkel<'_>, packet: &[u8]) -> Option<&'static str> {
    assert_eq!(run(&skel.progs.nettrace_stack, packet)?.cast_signed(), -1);
    let counts = take(skel);
    let seen = PROTOCOLS.iter().zip(&counts.stack).filter(|(_, count)| count.pieces > 0);
    let seen: Vec<_> = seen.map(|(name, count)| (*name, count.pieces, count.segments)).collect();
    let [(protocol, 1, 1)] = seen[..] else { panic!("{seen:?}") };
    Some(protocol)
}

#[derive(Clone, Debug)]
struct Made {
    v6: bool,
    tags: usize,
    protocol: usize,
    payload: usize,
}

const KINDS: [&str; 4] = ["tcp", "udp", "icmp", "sctp"];

impl Made {
    fn packet(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if self.v6 {
            builder.ipv6([1; 16], [2; 16], 9)
        } else {
            builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
        };
        let (mut packet, payload) = (Vec::new(), vec![0; self.payload]);
        match KINDS[self.protocol] {
            "tcp" => builder.tcp_header(TcpHeader::new(1, 2, 3, 4)).write(&mut packet, &payload),
            "udp" => builder.udp(1, 2).write(&mut packet, &payload),
            "icmp" if self.v6 => builder.icmpv6_echo_request(1, 2).write(&mut packet, &payload),
            "icmp" => builder.icmpv4_echo_request(1, 2).write(&mut packet, &payload),
            _ => builder.write(&mut packet, etherparse::IpNumber::SCTP, &payload),
        }
        .unwrap();
        for _ in 0..self.tags {
            packet.splice(12..12, [0x81, 0, 0, 10]);
        }
        packet
    }

    fn expected(&self) -> &'static str {
        match KINDS[self.protocol] {
            "icmp" if self.v6 => "icmp6",
            name => name,
        }
    }

    /// Up to where the protocol is known.
    fn needed(&self) -> usize {
        LEAST + 4 * self.tags + if self.v6 { 7 } else { 10 }
    }
}

fn made() -> impl Strategy<Value = Made> {
    (any::<bool>(), 0..3usize, 0..KINDS.len(), 0..200usize)
        .prop_map(|(v6, tags, protocol, payload)| Made { v6, tags, protocol, payload })
}

#[test]
fn a_packet_s_protocol_is_what_was_put_in() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = load(&mut storage);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&made(), |made| {
        let packet = made.packet();
        let length = packet.len() as u64;
        prop_assert_eq!(before(&skel, &packet), ("pass", made.expected(), length));
        prop_assert_eq!(at(&skel, &packet), Some(made.expected()));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn what_is_cut_off_or_noise_counts_too() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = load(&mut storage);
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(30) });
    let noise = proptest::collection::vec(any::<u8>(), LEAST..200);
    let outcome = runner.run(&(made(), noise), |(made, noise)| {
        let packet = made.packet();
        for length in LEAST..packet.len() {
            let expected = if length < made.needed() { "other" } else { made.expected() };
            let cut = &packet[..length];
            prop_assert_eq!(before(&skel, cut), ("pass", expected, length as u64));
            if let Some(protocol) = at(&skel, cut) {
                prop_assert_eq!(protocol, expected);
            }
        }
        prop_assert_eq!(before(&skel, &noise).2, noise.len() as u64);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn the_card_s_program_counts_the_same() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = CardSkelBuilder::default().open(&mut storage).unwrap().load().unwrap();
    for (protocol, name) in KINDS.iter().enumerate() {
        let packet = Made { v6: false, tags: 1, protocol, payload: 9 }.packet();
        for _ in 0..3 {
            assert_eq!(run(&skel.progs.nettrace_xdp_hw, &packet), Some(XDP_PASS));
        }
        let number = PROTOCOLS.iter().position(|known| known == name).unwrap() as u32;
        let value = skel.maps.passed.lookup(&number.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
        let words: Vec<u64> =
            value.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words, [3, 3 * packet.len() as u64], "{name}");
    }
}

#[test]
fn a_third_tag_is_too_much_and_an_arp_is_one() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = load(&mut storage);
    let many = Made { v6: false, tags: 3, protocol: 1, payload: 9 }.packet();
    assert_eq!(before(&skel, &many).1, "other");
    let arp = [&[0; 12][..], &[8, 6], &[0; 28]].concat();
    assert_eq!(before(&skel, &arp).1, "arp");
}

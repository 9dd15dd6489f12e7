//! Packets that were made up, whole and cut off at each length, are put through the program itself.

use std::mem::{MaybeUninit, size_of};

use etherparse::{PacketBuilder, TcpHeader};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{ErrorKind, MapCore, MapFlags, ProgramInput};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::use_libbpf;

#[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, unused)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/flows.skel.rs"));
}
use skel::types::{flow, flow_key, flow_sums};
use skel::{FlowsSkel, FlowsSkelBuilder};

/// No less than an Ethernet header.
const LEAST: usize = 14;
/// Of IPv6's header in a VLAN.
const IP_ENDS: usize = 14 + 4 + 40;
const FLOW_TRUNCATED: u8 = 2;

/// The one flow that the packet made, and its packets and bytes; none if the kernel makes no packet of
/// it, as newer ones of what ends before IP's header does.
fn run(skel: &FlowsSkel<'_>, packet: &[u8]) -> Option<(flow_key, u64, u64)> {
    let input = ProgramInput { data_in: Some(packet), ..ProgramInput::default() };
    let output = match skel.progs.nettrace_in.test_run(input) {
        Err(error) if packet.len() < IP_ENDS && error.kind() == ErrorKind::InvalidInput => {
            return None;
        }
        output => output.unwrap(),
    };
    assert_eq!(output.return_value.cast_signed(), -1);
    let places: Vec<Vec<u8>> = skel.maps.places.keys().collect();
    assert_eq!(places.len(), 1);
    skel.maps.places.delete(&places[0]).unwrap();
    let first = 0u32.to_ne_bytes();
    let bytes = skel.maps.flows.lookup(&first, MapFlags::ANY).unwrap().unwrap();
    assert_eq!(bytes.len(), size_of::<flow>());
    // The next packet's has this number too.
    let numbers = vec![0; skel.maps.fresh_numbers.value_size() as usize];
    skel.maps.fresh_numbers.update(&first, &numbers, MapFlags::ANY).unwrap();
    skel.maps.flows.update(&first, &vec![0; bytes.len()], MapFlags::ANY).unwrap();
    // SAFETY: integers and arrays of them, of which all bytes are some.
    let flow = unsafe { bytes.as_ptr().cast::<flow>().read_unaligned() };
    assert_eq!(u64::from_ne_bytes(places[0][..].try_into().unwrap()), flow.place);
    let bits = flow_sums::FLOW_BYTES_BITS.0;
    Some((flow.key, flow.recent >> bits, flow.recent & ((1 << bits) - 1)))
}

#[derive(Clone, Debug)]
struct Made {
    v6: Option<[[u8; 16]; 2]>,
    v4: [[u8; 4]; 2],
    vlan: Option<u16>,
    ports: [u16; 2],
    tcp: bool,
    payload: usize,
}

impl Made {
    fn packet(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = match (self.vlan, self.v6) {
            (Some(id), Some([from, to])) => {
                builder.single_vlan(id.try_into().unwrap()).ipv6(from, to, 9)
            }
            (Some(id), None) => {
                builder.single_vlan(id.try_into().unwrap()).ipv4(self.v4[0], self.v4[1], 9)
            }
            (None, Some([from, to])) => builder.ipv6(from, to, 9),
            (None, None) => builder.ipv4(self.v4[0], self.v4[1], 9),
        };
        let (mut packet, payload) = (Vec::new(), vec![0; self.payload]);
        let [from, to] = self.ports;
        if self.tcp {
            let header = TcpHeader::new(from, to, 1, 1000);
            ip.tcp_header(header).write(&mut packet, &payload).unwrap();
        } else {
            ip.udp(from, to).write(&mut packet, &payload).unwrap();
        }
        packet
    }

    fn ends(&self) -> [[u8; 16]; 2] {
        let mapped = |v4: [u8; 4]| std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets();
        self.v6.unwrap_or(self.v4.map(mapped))
    }
}

fn made() -> impl Strategy<Value = Made> {
    (
        any::<Option<[[u8; 16]; 2]>>(),
        any::<[[u8; 4]; 2]>(),
        proptest::option::of(1..4095u16),
        any::<[u16; 2]>(),
        any::<bool>(),
        0..200usize,
    )
        .prop_map(|(v6, v4, vlan, ports, tcp, payload)| Made {
            v6,
            v4,
            vlan,
            ports,
            tcp,
            payload,
        })
}

#[test]
fn what_is_read_of_a_packet_is_what_was_put_in() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = FlowsSkelBuilder::default().open(&mut storage).unwrap().load().unwrap();
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&made(), |made| {
        let packet = made.packet();
        let (key, packets, bytes) = run(&skel, &packet).unwrap();
        prop_assert_eq!([key.source, key.destination], made.ends());
        prop_assert_eq!([key.source_port, key.destination_port], made.ports);
        prop_assert_eq!(key.vlan, made.vlan.unwrap_or(0));
        prop_assert_eq!(key.protocol, if made.tcp { 6 } else { 17 });
        prop_assert_eq!((key.marks, packets, bytes), (0, 1, packet.len() as u64));
        Ok(())
    });
    outcome.unwrap();
}

/// As it is after 32 million packets, or 128 GiB.
#[test]
fn a_word_that_is_half_full_moves_to_the_sums() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = FlowsSkelBuilder::default().open(&mut storage).unwrap().load().unwrap();
    let first = 0u32.to_ne_bytes();
    let send = || {
        let frame = [2; 60];
        let input = ProgramInput { data_in: Some(&frame), ..ProgramInput::default() };
        skel.progs.nettrace_in.test_run(input).unwrap();
        let bytes = skel.maps.flows.lookup(&first, MapFlags::ANY).unwrap().unwrap();
        // SAFETY: integers and arrays of them, of which all bytes are some.
        unsafe { bytes.as_ptr().cast::<flow>().read_unaligned() }
    };
    let bits = flow_sums::FLOW_BYTES_BITS.0;
    let word = |packets: u64, bytes: u64| packets << bits | bytes;
    let mut flow = send();
    assert_eq!((flow.recent, flow.packets, flow.bytes, flow.moves), (word(1, 60), 0, 0, 0));
    let mut sums = (0, 0);
    for (packets, bytes, moves) in
        [((1 << 25) - 1, (1 << 37) - 1, 0), (1 << 25, 5, 2), (3, 1 << 37, 4), ((1 << 26) - 1, 7, 6)]
    {
        flow.recent = word(packets, bytes);
        // SAFETY: integers and arrays of them, without padding.
        let whole = unsafe { plain::as_bytes(&flow) };
        skel.maps.flows.update(&first, whole, MapFlags::ANY).unwrap();
        flow = send();
        if moves > 0 {
            sums = (sums.0 + packets, sums.1 + bytes);
            assert_eq!(flow.recent, word(1, 60));
        }
        assert_eq!((flow.packets, flow.bytes, flow.moves), (sums.0, sums.1, moves));
    }
}

#[test]
fn what_is_cut_off_or_noise_counts_too() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = FlowsSkelBuilder::default().open(&mut storage).unwrap().load().unwrap();
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(50) });
    let noise = proptest::collection::vec(any::<u8>(), LEAST..200);
    let outcome = runner.run(&(made(), noise, any::<bool>()), |(made, mut noise, v6)| {
        let packet = made.packet();
        let headers = packet.len() - made.payload;
        for length in LEAST..packet.len() {
            let Some((key, packets, bytes)) = run(&skel, &packet[..length]) else { continue };
            prop_assert_eq!((packets, bytes), (1, length as u64));
            // UDP is known by its ports.
            let needed = if made.tcp { headers - 6 } else { headers - 4 };
            prop_assert_eq!(
                key.marks == FLOW_TRUNCATED,
                length < needed,
                "{} of {}",
                length,
                headers
            );
        }
        let ethertype = if v6 { [0x86, 0xdd] } else { [8, 0] };
        noise[12..14].copy_from_slice(&ethertype);
        if let Some((_, packets, bytes)) = run(&skel, &noise) {
            prop_assert_eq!((packets, bytes), (1, noise.len() as u64));
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn frames_with_a_length_for_a_type_are_of_one_flow() {
    let _libbpf = use_libbpf();
    let mut storage = MaybeUninit::uninit();
    let skel = FlowsSkelBuilder::default().open(&mut storage).unwrap().load().unwrap();
    let key_of = |payload: usize| {
        let mut frame = vec![2; 12];
        frame.extend((payload as u16).to_be_bytes());
        frame.resize(frame.len() + payload, 0x42);
        let (key, packets, bytes) = run(&skel, &frame).unwrap();
        assert_eq!((packets, bytes), (1, frame.len() as u64));
        (key.ethertype, key.marks)
    };
    assert_eq!([key_of(60), key_of(1500)], [(1, 0); 2]);
}

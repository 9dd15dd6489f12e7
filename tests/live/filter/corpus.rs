//! Packets of many kinds, the same ones each time.

use etherparse::PacketBuilder;
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, VlanId,
};

const MAC_A: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const MAC_B: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
const V4_A: [u8; 4] = [10, 99, 0, 1];
const V4_B: [u8; 4] = [10, 99, 0, 2];
const V6_A: [u8; 16] = [0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const V6_B: [u8; 16] = [0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// What is captured of a packet, and how long it is.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) len: u32,
}

/// All of them, as Ethernet frames.
pub(super) fn corpus() -> Vec<Packet> {
    let whole = [tcp(), udp(), of_ip(), tunnels(), links()].concat();
    let mut packets: Vec<Packet> = whole.iter().cloned().map(packet).collect();
    let mut random = Random(0x6e65_7474_7261_6365);
    // Cut within each header, and in the last byte.
    for frame in whole.iter().step_by(3) {
        let len = frame.len() as u32;
        for cut in [frame.len() - 1, random.below(frame.len()), 13 + random.below(30)] {
            let bytes = frame[..cut.min(frame.len())].to_vec();
            packets.push(Packet { bytes, len });
        }
    }
    packets.extend([0, 1, 12, 13, 14, 15, 33, 34].map(|cut| packet(whole[0][..cut].to_vec())));
    for _ in 0..12 {
        // Some header is right, and what follows isn't.
        let frame = &whole[random.below(whole.len())];
        let right = random.below(frame.len().min(60));
        let noise = (0..20 + random.below(200)).map(|_| random.next() as u8);
        packets.push(packet(frame[..right].iter().copied().chain(noise).collect()));
    }
    packets
}

fn packet(bytes: Vec<u8>) -> Packet {
    let len = bytes.len() as u32;
    Packet { bytes, len }
}

/// xorshift64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

macro_rules! written {
    ($builder:expr, $payload:expr) => {{
        let mut bytes = Vec::new();
        $builder.write(&mut bytes, $payload).unwrap();
        bytes
    }};
}

fn tcp() -> Vec<Vec<u8>> {
    let v4 = || PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(V4_A, V4_B, 64);
    let v6 = || PacketBuilder::ethernet2(MAC_B, MAC_A).ipv6(V6_B, V6_A, 64);
    let get = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let vlan = |id| VlanId::try_new(id).unwrap();
    let options = [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7];
    let tagged = || PacketBuilder::ethernet2(MAC_A, MAC_B).single_vlan(vlan(100));
    let twice = PacketBuilder::ethernet2(MAC_A, MAC_B).double_vlan(vlan(200), vlan(100));
    vec![
        written!(v4().tcp(40000, 80, 1, 64240).syn().options_raw(&options).unwrap(), &[]),
        written!(v4().tcp(80, 40000, 1, 64240).syn().ack(2), &[]),
        written!(v4().tcp(40000, 80, 2, 64240).ack(2).psh().options_raw(&options).unwrap(), get),
        written!(v4().tcp(40000, 443, 2, 0).rst(), &[]),
        written!(v4().tcp(22, 40000, 9, 512).fin().ack(2), &[7; 300]),
        written!(v6().tcp(443, 50000, 9, 512).ack(2).urg(3), &[1; 1400]),
        written!(v6().tcp(50000, 8080, 9, 512).syn().ece().cwr(), &[]),
        written!(tagged().ipv4(V4_A, V4_B, 64).tcp(40000, 80, 1, 64240).syn(), &[]),
        written!(tagged().ipv6(V6_A, V6_B, 64).tcp(40000, 443, 1, 64240).ack(1), get),
        written!(twice.ipv4(V4_B, V4_A, 1).tcp(53, 40000, 1, 64240).ack(1), get),
    ]
}

fn udp() -> Vec<Vec<u8>> {
    let v4 = |ttl| PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(V4_A, V4_B, ttl);
    let v6 = || PacketBuilder::ethernet2(MAC_A, MAC_B).ipv6(V6_A, V6_B, 3);
    let everyone = PacketBuilder::ethernet2(MAC_A, [0xff; 6]).ipv4([0; 4], [255; 4], 64);
    let group =
        PacketBuilder::ethernet2(MAC_A, [1, 0, 0x5e, 0, 0, 0xfb]).ipv4(V4_A, [224, 0, 0, 251], 1);
    let group6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb];
    let group6 = PacketBuilder::ethernet2(MAC_A, [0x33, 0x33, 0, 0, 0, 0xfb]).ipv6(V6_A, group6, 1);
    vec![
        written!(v4(64).udp(40000, 53), &[9; 40]),
        written!(v4(1).udp(53, 40000), &[9; 500]),
        written!(v4(64).udp(5000, 6000), &[]),
        written!(v6().udp(40000, 53), &[9; 40]),
        written!(v6().udp(123, 123), &[9; 48]),
        written!(everyone.udp(68, 67), &[0; 300]),
        written!(group.udp(5353, 5353), b"mdns"),
        written!(group6.udp(5353, 5353), b"mdns"),
        written!(v4(64).udp(1, 7), &[0xab; 1200]),
    ]
}

fn v4_frame(change: impl FnOnce(&mut Ipv4Header), payload: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new(payload.len() as u16, 64, IpNumber::UDP, V4_A, V4_B).unwrap();
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = ethernet(0x0800);
    header.write(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

fn v6_frame(next: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: payload.len() as u16,
        next_header: IpNumber(next),
        hop_limit: 255,
        source: V6_A,
        destination: V6_B,
        ..Default::default()
    };
    let mut bytes = ethernet(0x86dd);
    header.write(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

/// Source port 40000, destination port 53, and something.
const UDP: [u8; 12] = [0x9c, 0x40, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
/// From 40000 to 80, SYN.
const TCP: [u8; 20] = [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];

fn of_ip() -> Vec<Vec<u8>> {
    let icmp4 = || PacketBuilder::ethernet2(MAC_A, MAC_B).ipv4(V4_A, V4_B, 64);
    let icmp6 = || PacketBuilder::ethernet2(MAC_A, MAC_B).ipv6(V6_A, V6_B, 64);
    let fragment = |offset, more| {
        move |header: &mut Ipv4Header| {
            header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
            header.more_fragments = more;
        }
    };
    let with = |protocol: u8| move |header: &mut Ipv4Header| header.protocol = IpNumber(protocol);
    let options = |len: usize| {
        move |header: &mut Ipv4Header| {
            let mut options = [1; 40];
            options[0] = 7;
            header.options = Ipv4Options::try_from(&options[..len]).unwrap();
        }
    };
    let extended = |frame: &dyn Fn(&mut Ipv6Extensions), payload: &[u8]| {
        let mut extensions = Ipv6Extensions::default();
        frame(&mut extensions);
        let mut bytes = Vec::new();
        let first = extensions.set_next_headers(IpNumber::TCP);
        extensions.write(&mut bytes, first).unwrap();
        bytes.extend_from_slice(payload);
        v6_frame(first.0, &bytes)
    };
    let raw = |len: usize| Ipv6RawExtHeader::new_raw(IpNumber::TCP, &vec![0; len]).unwrap();
    let chain = |count: usize| {
        let mut bytes = [60, 0, 0, 0, 0, 0, 0, 0].repeat(count - 1);
        bytes.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(TCP);
        v6_frame(60, &bytes)
    };
    vec![
        written!(icmp4().icmpv4_echo_request(1, 2), &[0; 56]),
        written!(icmp4().icmpv4_echo_reply(1, 2), &[0; 56]),
        v4_frame(with(1), &[3, 1, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 28]),
        written!(icmp6().icmpv6_echo_request(1, 2), &[0; 56]),
        v6_frame(58, &[135, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80]),
        v4_frame(fragment(0, true), &UDP),
        v4_frame(fragment(185, true), &UDP),
        v4_frame(fragment(370, false), &UDP),
        v4_frame(options(4), &UDP),
        v4_frame(options(40), &UDP),
        v4_frame(|header| header.dont_fragment = true, &UDP),
        v4_frame(with(132), &[0x9c, 0x40, 0, 80, 0, 0, 0, 0, 1, 2, 3, 4]),
        v4_frame(with(2), &[0x16, 0, 0, 0, 224, 0, 0, 251]),
        v4_frame(with(50), &[0; 32]),
        v4_frame(with(51), &[[6, 4, 0, 0].as_slice(), &[0; 20], &TCP].concat()),
        v4_frame(with(89), &[2, 1, 0, 44]),
        v4_frame(with(112), &[0x21, 1, 100, 1]),
        v4_frame(with(103), &[0x20, 0, 0, 0]),
        extended(&|it| it.hop_by_hop_options = Some(raw(6)), &TCP),
        extended(&|it| it.destination_options = Some(raw(14)), &TCP),
        extended(
            &|it| {
                let offset = IpFragOffset::try_new(0).unwrap();
                it.hop_by_hop_options = Some(raw(6));
                it.fragment = Some(Ipv6FragmentHeader::new(IpNumber::TCP, offset, true, 7));
            },
            &TCP,
        ),
        extended(
            &|it| {
                let offset = IpFragOffset::try_new(100).unwrap();
                it.fragment = Some(Ipv6FragmentHeader::new(IpNumber::TCP, offset, false, 7));
            },
            &TCP,
        ),
        chain(6),
        chain(15),
        v6_frame(51, &[[6, 4, 0, 0].as_slice(), &[0; 20], &TCP].concat()),
        v6_frame(132, &[0x9c, 0x40, 0, 80, 0, 0, 0, 0, 1, 2, 3, 4]),
        v6_frame(59, &[]),
    ]
}

fn ethernet(kind: u16) -> Vec<u8> {
    [&MAC_B[..], &MAC_A, &kind.to_be_bytes()].concat()
}

/// An Ethernet frame with that after its type.
fn frame(kind: u16, rest: &[&[u8]]) -> Vec<u8> {
    [ethernet(kind), rest.concat()].concat()
}

fn tunnels() -> Vec<Vec<u8>> {
    let inner = tcp().swap_remove(0);
    let with = |protocol: u8| move |header: &mut Ipv4Header| header.protocol = IpNumber(protocol);
    let udp = |port: u16, payload: &[u8]| {
        let len = 8 + payload.len() as u16;
        let header = [0x9c40, port, len, 0].map(u16::to_be_bytes).concat();
        v4_frame(with(17), &[&header, payload].concat())
    };
    vec![
        udp(4789, &[&[8, 0, 0, 0, 0, 0, 42, 0][..], &inner].concat()),
        udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 42, 0][..], &inner].concat()),
        v4_frame(with(47), &[&[0, 0, 8, 0][..], &inner[14..]].concat()),
        v4_frame(with(47), &[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 1][..], &inner].concat()),
        v4_frame(with(4), &inner[14..]),
        v4_frame(with(41), &v6_frame(6, &TCP)[14..]),
        frame(0x8847, &[&[0, 0x06, 0x41, 64], &inner[14..]]),
        frame(0x8847, &[&[0, 0x06, 0x40, 64, 0, 0x07, 0x41, 64], &inner[14..]]),
        frame(0x8864, &[&[0x11, 0, 0, 7, 0, 42, 0, 0x21], &inner[14..]]),
        frame(0x8863, &[&[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0]]),
    ]
}

fn links() -> Vec<Vec<u8>> {
    let arp = |operation: u8| {
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        frame(0x0806, &[&head, &MAC_A, &V4_A, &[0; 6], &V4_B])
    };
    let inner = udp().swap_remove(0);
    let mut spanning_tree = [1, 0x80, 0xc2, 0, 0, 0].to_vec();
    spanning_tree.extend([&MAC_A[..], &[0, 38, 0x42, 0x42, 3], &[0; 35]].concat());
    let mut snap = [&MAC_B[..], &MAC_A, &[0, 40]].concat();
    snap.extend([&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &inner[14..46]].concat());
    vec![
        arp(1),
        arp(2),
        frame(0x8035, &[&[0, 1, 8, 0, 6, 4, 0, 3], &[0; 20]]),
        frame(0x88cc, &[&[2, 7, 4, 2, 0, 0, 0, 0, 0x0a]]),
        frame(0x88a8, &[&[0, 200, 0x81, 0, 0, 100, 8, 0], &inner[14..]]),
        frame(0x9100, &[&[0, 200, 8, 0], &inner[14..]]),
        frame(0x8100, &[&[0xe0, 100, 0x08, 0x06], &arp(1)[14..]]),
        frame(0x8100, &[&[0, 100, 0x88, 0x47, 0, 6, 0x41, 64], &inner[14..]]),
        frame(0x1234, &[&[0x5a; 64]]),
        // Neither version 4 nor 6.
        frame(0x0800, &[&[0x55], &inner[15..]]),
        frame(0x86dd, &[&[0xf5], &inner[15..]]),
        spanning_tree,
        snap,
    ]
}

//! Filters in the kernel say of each packet what libpcap's interpreter does.

mod corpus;
mod hooks;

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libbpf_sys::{BPF_FUNC_map_lookup_elem, BPF_MAP_TYPE_ARRAY, BPF_PROG_TYPE_SCHED_CLS, bpf_insn};
use nettrace::bytecode::{Alu, Assembler, Cond, Operand, Reg, Size, Width};
use nettrace::packet::filter::{Filter, LinkType, PACKET_SIZE, VERDICT};

use corpus::{Packet, corpus};

const EXPRESSIONS: &str = include_str!("filter/expressions");

/// What programs say of the packets.
const INTERFACE: i32 = 3;
const PACKET_OUTGOING: i32 = 4;

#[test]
fn the_kernel_s_verdict_is_libpcap_s() {
    let packets = corpus();
    assert!(packets.len() >= 120, "{}", packets.len());
    let taken = compare(LinkType::Ethernet, &packets);
    assert!(taken.len() >= 250, "{}", taken.len());
    // An expression that takes all, or none, would agree with much that is wrong.
    let is_telling = |&&count: &&usize| count > 0 && count < packets.len();
    let telling = taken.iter().filter(is_telling).count();
    assert!(telling * 10 >= taken.len() * 9, "{telling} of {}", taken.len());
}

#[test]
fn packets_without_a_link_layer_header_too() {
    let is_ip = |packet: &Packet| {
        packet.bytes.get(12..14).is_some_and(|it| it == [8, 0] || it == [0x86, 0xdd])
    };
    let without_header =
        |packet: Packet| Packet { bytes: packet.bytes[14..].to_vec(), len: packet.len - 14 };
    let packets: Vec<_> = corpus().into_iter().filter(is_ip).map(without_header).collect();
    let taken = compare(LinkType::Raw, &packets);
    assert!(taken.len() >= 180, "{}", taken.len());
}

/// Insists that all verdicts are the same; says how many packets each expression takes, of those that
/// there are for this link type.
fn compare(link: LinkType, packets: &[Packet]) -> Vec<usize> {
    let expressions = EXPRESSIONS.lines().filter(|it| !it.is_empty() && !it.starts_with('#'));
    let kept = Packets::new(packets);
    let mut taken = Vec::new();
    let mut complaints = String::new();
    for expression in expressions {
        let filter = match Filter::compile(expression, link) {
            Ok(filter) => filter,
            Err(error) if link == LinkType::Ethernet => panic!("{error}"),
            Err(_) => continue,
        };
        let mut count = 0;
        for (packet, verdict) in packets.iter().zip(kept.verdicts(&filter)) {
            let expected = filter.matches(&packet.bytes, packet.len);
            count += usize::from(expected);
            if verdict != expected {
                complaints += &format!("{expression}: {expected} {packet:02x?}\n");
            }
        }
        taken.push(count);
    }
    assert!(complaints.is_empty(), "{complaints}");
    taken
}

#[test]
fn direction_and_interface_are_those_of_the_call() {
    let kept = Packets::new(&corpus()[..1]);
    for (expression, expected) in [
        ("inbound", false),
        ("outbound", true),
        ("outbound and tcp", true),
        ("outbound and udp", false),
        ("ifindex 3", true),
        ("ifindex 4", false),
        ("not ifindex 4 and not inbound and greater 10", true),
    ] {
        let filter = Filter::compile(expression, LinkType::Ethernet).unwrap();
        assert_eq!(kept.verdicts(&filter), [expected], "{expression}");
    }
}

/// Packets in a map, as programs have them before they ask for a verdict. A test run for each would
/// take long in a guest; so a program takes one after the other, as often as it runs.
struct Packets {
    map: OwnedFd,
    count: usize,
}

/// Behind the packet: so much of it is there, and its length.
const CAPLEN: usize = PACKET_SIZE;
const LEN: usize = PACKET_SIZE + 4;
const KEPT_SIZE: usize = PACKET_SIZE + 8;

/// A program's own: the number of the next packet, and then its verdicts.
const MOST_PACKETS: usize = 1000;
const VERDICTS: usize = 4;
const OWN_SIZE: usize = VERDICTS + MOST_PACKETS;

/// In the place of a verdict where there is none.
const NONE: u8 = 2;

/// A test run takes no shorter packet.
const ANYTHING: [u8; 64] = [0; 64];

impl Packets {
    fn new(packets: &[Packet]) -> Self {
        let map = map(KEPT_SIZE, packets.len());
        for (number, packet) in packets.iter().enumerate() {
            let mut value = vec![0xee; KEPT_SIZE];
            value[..packet.bytes.len()].copy_from_slice(&packet.bytes);
            value[CAPLEN..LEN].copy_from_slice(&(packet.bytes.len() as u32).to_ne_bytes());
            value[LEN..].copy_from_slice(&packet.len.to_ne_bytes());
            set(&map, number as u32, &value);
        }
        Packets { map, count: packets.len() }
    }

    /// The filter's verdict on each packet.
    fn verdicts(&self, filter: &Filter) -> Vec<bool> {
        let own = map(OWN_SIZE, 1);
        let mut value = [NONE; OWN_SIZE];
        value[..VERDICTS].fill(0);
        set(&own, 0, &value);
        let program = load(&self.program(filter, own.as_raw_fd()));
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
            data_in: ANYTHING.as_ptr().cast(),
            data_size_in: ANYTHING.len() as u32,
            repeat: self.count as i32,
            ..Default::default()
        };
        // SAFETY: a program, and options whose pointers are valid during the call.
        let status =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
        assert_eq!(status, 0);
        // SAFETY: a key and room for a value, as long as the map has them.
        let status = unsafe {
            let key = 0_u32;
            let value = value.as_mut_ptr().cast();
            libbpf_sys::bpf_map_lookup_elem(own.as_raw_fd(), (&raw const key).cast(), value)
        };
        assert_eq!(status, 0);
        let verdicts = &value[VERDICTS..][..self.count];
        assert!(!verdicts.contains(&NONE));
        verdicts.iter().map(|&verdict| verdict == 1).collect()
    }

    /// Takes the next packet, and as much of it as the filter looks at.
    fn program(&self, filter: &Filter, own: RawFd) -> Vec<bpf_insn> {
        let (mine, number, verdict) = (Reg::R6, Reg::R7, Reg::R0);
        let mut asm = Assembler::new();
        let (end, fits, rejected) = (asm.label(), asm.label(), asm.label());
        let look_up = |asm: &mut Assembler, map, key: Operand| {
            asm.store(Size::W, Reg::R10, -4, key);
            asm.load_map(Reg::R1, map);
            asm.alu(Width::W64, Alu::Mov, Reg::R2, Reg::R10);
            asm.alu(Width::W64, Alu::Add, Reg::R2, -4);
            asm.call(BPF_FUNC_map_lookup_elem);
            asm.jump_if(Width::W64, Cond::Eq, Reg::R0, 0, end);
        };
        look_up(&mut asm, own, 0.into());
        asm.alu(Width::W64, Alu::Mov, mine, Reg::R0);
        asm.load(Size::W, number, mine, 0);
        asm.jump_if(Width::W64, Cond::Ge, number, MOST_PACKETS as i32, end);
        asm.alu(Width::W64, Alu::Mov, Reg::R1, number);
        asm.alu(Width::W64, Alu::Add, Reg::R1, 1);
        asm.store(Size::W, mine, 0, Reg::R1);
        look_up(&mut asm, self.map.as_raw_fd(), number.into());
        asm.alu(Width::W64, Alu::Mov, Reg::R1, Reg::R0);
        asm.load(Size::W, Reg::R2, Reg::R1, CAPLEN as i16);
        asm.jump_if(Width::W64, Cond::Le, Reg::R2, filter.reach() as i32, fits);
        asm.alu(Width::W64, Alu::Mov, Reg::R2, filter.reach() as i32);
        asm.bind(fits);
        asm.load(Size::W, Reg::R3, Reg::R1, LEN as i16);
        asm.alu(Width::W64, Alu::Mov, Reg::R4, INTERFACE);
        asm.alu(Width::W64, Alu::Mov, Reg::R5, PACKET_OUTGOING);
        asm.call(VERDICT);
        asm.alu(Width::W64, Alu::Add, mine, number);
        asm.jump_if(Width::W64, Cond::Eq, verdict, 0, rejected);
        asm.alu(Width::W64, Alu::Mov, verdict, 1);
        asm.bind(rejected);
        asm.store(Size::B, mine, VERDICTS as i16, verdict);
        asm.bind(end);
        asm.alu(Width::W64, Alu::Mov, Reg::R0, 0);
        asm.exit();
        let mut insns = asm.finish().unwrap();
        assert_eq!(filter.inline(&mut insns).unwrap(), 1);
        insns
    }
}

/// An array.
fn map(value_size: usize, entries: usize) -> OwnedFd {
    let (key, value) = (size_of::<u32>() as u32, value_size as u32);
    // SAFETY: neither a name nor options are needed.
    let fd = unsafe {
        let kind = BPF_MAP_TYPE_ARRAY;
        libbpf_sys::bpf_map_create(kind, ptr::null(), key, value, entries as u32, ptr::null())
    };
    assert!(fd >= 0, "{fd}");
    // SAFETY: a new file descriptor, which is nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn set(map: &OwnedFd, key: u32, value: &[u8]) {
    // SAFETY: a key and a value as long as the map has them, which are copied.
    let status = unsafe {
        let (key, value) = ((&raw const key).cast(), value.as_ptr().cast());
        libbpf_sys::bpf_map_update_elem(map.as_raw_fd(), key, value, 0)
    };
    assert_eq!(status, 0);
}

/// Loads a classifier.
fn load(insns: &[bpf_insn]) -> OwnedFd {
    let mut log = vec![0_u8; 1 << 20];
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
        log_buf: log.as_mut_ptr().cast(),
        log_size: log.len() as u32,
        ..Default::default()
    };
    let (name, license) = (CString::new("filter").unwrap(), CString::new("GPL").unwrap());
    // SAFETY: all pointers are valid during the call, and the lengths are theirs.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            BPF_PROG_TYPE_SCHED_CLS,
            name.as_ptr(),
            license.as_ptr(),
            insns.as_ptr(),
            insns.len() as _,
            &raw mut options,
        )
    };
    let log = String::from_utf8_lossy(&log);
    assert!(fd >= 0, "{fd}: {}", log.trim_end_matches('\0'));
    // SAFETY: a new file descriptor, which is nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

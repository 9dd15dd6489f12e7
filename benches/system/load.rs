//! Packets that the kernel puts through a program by itself (BPF_PROG_TEST_RUN).

use std::mem::size_of;

/// Without its checksums, which no program looks at.
pub(crate) const PACKET: usize = 64;

/// Of a flow of its own, up to 2²⁴: an Ethernet frame with a datagram.
pub(crate) fn packet(flow: u32) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[14..18].copy_from_slice(&[0x45, 0, 0, 50]);
    packet[22..24].copy_from_slice(&[64, 17]);
    packet[26..30].copy_from_slice(&(10 << 24 | flow).to_be_bytes());
    packet[30..34].copy_from_slice(&[10, 255, 255, 1]);
    packet[34..38].copy_from_slice(&[0x30, 0x39, 0x13, 0x88]);
    packet[38..40].copy_from_slice(&[0, 30]);
    packet
}

/// So many times the same; how long the program took each time, ns.
pub(crate) fn run_program(program: i32, packet: &[u8], times: u32) -> f64 {
    let mut opts = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
        data_in: packet.as_ptr().cast(),
        data_size_in: packet.len() as u32,
        repeat: times.cast_signed(),
        ..Default::default()
    };
    // SAFETY: opts says its own size and its packet's, which outlives the call.
    let status = unsafe { libbpf_sys::bpf_prog_test_run_opts(program, &raw mut opts) };
    assert_eq!(status, 0, "run the program");
    opts.duration.into()
}

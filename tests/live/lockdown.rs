//! Kernel lockdown's confidentiality mode, which one of the guests' runs is in: typed reads go on to
//! work, reads by address don't, and then it says so.

use nettrace::kernel;
use nettrace::netns::Netns;
use nettrace::probes::Probe;
use nettrace::probes::drops::{DropProbe, Options};
use nettrace::sample::DropPlace;

use crate::drops::send_udp;
use crate::support::{B4, Pair, nettrace, text, traced, traffic};

#[test]
fn typed_reads_are_allowed_and_others_are_refused_with_the_reason() {
    let btf = kernel::btf().unwrap();
    let has_storage = kernel::has_function(&btf, "bpf_sk_storage_get_tracing");
    for traffic_args in [&["tcp", "up=100001", "down=7"][..], &["udp", "conns=20"]] {
        if has_storage || !kernel::is_confidential() {
            let run = traced(&[], traffic_args);
            run.assert_no_loss();
            assert_eq!(run.by_process(), run.truth);
            continue;
        }
        let output =
            nettrace().args(["top", "--"]).arg(traffic()).args(traffic_args).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("kernel lockdown is in confidentiality mode"), "{stderr}");
        assert!(!stderr.contains("libbpf"), "{stderr}");
    }
}

/// Headers of packets are read by their address, so there is no telling UDP from TCP then.
#[test]
fn drops_are_counted_without_what_is_in_packets() {
    let btf = kernel::btf().unwrap();
    let has_typed_task = kernel::has_function(&btf, "bpf_get_current_task_btf");
    let pair = Pair::new();
    let netns = Netns::open(&pair.b).unwrap().inode();
    let options = Options { netns, ..Options::default() };
    if !has_typed_task && kernel::is_confidential() {
        // A single drop has the current process.
        let probe = DropProbe::open(&Options { events_per_second: Some(1), ..options.clone() });
        let error = probe.err().unwrap().to_string();
        assert!(error.contains("kernel lockdown is in confidentiality mode"), "{error}");
    }
    let mut probe = DropProbe::open(&options).unwrap();
    send_udp(&pair.a, B4, 4101, 3);
    probe.read().unwrap();
    let known = if kernel::is_confidential() { 0 } else { 17 };
    let is_it = |place: &DropPlace| (place.protocol, place.transport) == (0x0800, known);
    let records = probe.reading().counts.iter().filter(|record| is_it(&record.place));
    assert_eq!(records.map(|record| record.count).sum::<u64>(), 3);
}

//! Kernel lockdown's confidentiality mode, which one of the guests' runs is in: typed reads go on to
//! work, reads by address don't, and then it says so.

use nettrace::kernel;

use crate::support::{nettrace, text, traced, traffic};

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

//! `make bench`: what nettrace costs beside nothing and beside its peers, as ratios taken in the same
//! interleaved rounds. Prints a table and writes `target/bench.json`.
//!
//!     cargo bench --bench system [-- ROW…]     rows: packets packets-flows programs growth ring tick start
//!                                                memory draw dashboard syscalls-count syscalls-latency
//!                                                syscalls-table run-start run-event
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod arms;
mod crowd;
mod dashboard;
mod empty;
mod growth;
mod load;
mod machine;
mod memory;
mod packets;
mod programs;
mod ring;
mod run;
mod stats;
mod syscalls;
mod table;

use std::path::Path;

use serde_json::{Value, json};

fn main() {
    // cargo passes --bench; whatever else is a row's name, or how some begin.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |row: &str| wanted.is_empty() || wanted.iter().any(|w| row.starts_with(w));
    assert!(nix::unistd::geteuid().is_root(), "benchmarks need root: make bench with sudo");

    // What matters of it is told in a row's own words.
    nettrace::kernel::catch_libbpf(false);
    println!("load on CPU 1, observers on CPU 0; {}", machine::describe());
    println!("not measured: packets of a real NIC, more than 2 CPUs\n");
    let mut results = Vec::new();
    type Run = fn() -> Vec<Value>;
    let rows: [(&str, Run); 15] = [
        ("packets", packets::sockets_view),
        ("packets-flows", packets::flows_view),
        ("programs", programs::run),
        ("growth", growth::run),
        ("tick", table::tick),
        ("start", table::start),
        ("memory", memory::run),
        ("syscalls-count", syscalls::count),
        ("syscalls-latency", syscalls::latency),
        ("syscalls-table", crowd::run),
        ("ring", ring::run),
        ("run-start", run::start),
        ("run-event", run::event),
        ("draw", dashboard::draw),
        ("dashboard", dashboard::dashboard),
    ];
    for (name, run) in rows {
        if is_wanted(name) {
            results.extend(run());
            println!();
        }
    }
    let document = json!({ "machine": machine::describe(), "results": results });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
    std::fs::write(&path, format!("{document:#}\n")).expect("write target/bench.json");
    println!("wrote {}", path.display());
    let failed = results.iter().filter(|r| r["met"] == Value::Bool(false)).count();
    if failed > 0 {
        println!("{failed} goals missed");
    }
}

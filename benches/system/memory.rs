//! *memory*: what nettrace has resident, and the kernel for it, over many sockets and over many flows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;

use nettrace::netns::Netns;
use serde_json::{Value, json};

use crate::machine::{OBSERVER_CPU, pin};
use crate::stats::verdict;
use crate::support::{A4, B4, Pair, nettrace};
use crate::table::Idle;

const MANY: usize = 100_000;
const GOAL_MB: f64 = 50.0;
const MB: f64 = 1e6;

pub(crate) fn run() -> Vec<Value> {
    println!("memory: the most of nettrace top, over {MANY} sockets and over {MANY} flows");
    let pair = Pair::new();
    let room = MANY.to_string();
    let idle = Idle::new(&pair, MANY);
    let sockets = footprint("procs", &["--netns", &pair.a], || ());
    drop(idle);
    let options = ["-i", "v1", "--netns", &pair.b, "--flows", &room];
    let flows = footprint("flows", &options, || send_flows(&pair));
    [sockets, flows].map(Footprint::json).into()
}

/// Datagrams of as many flows, from one namespace to the other.
fn send_flows(pair: &Pair) {
    const PORTS: u16 = 50_000;
    let send = || {
        for _ in 0..MANY / usize::from(PORTS) {
            let socket = UdpSocket::bind((A4, 0))?;
            for port in 1..=PORTS {
                // What nobody receives is refused, and told at the next one.
                let _ = socket.send_to(&[], (B4, port));
            }
        }
        Ok(())
    };
    Netns::open(&pair.a).and_then(|netns| netns.run(send)).expect("send");
}

/// Bytes.
struct Footprint {
    view: &'static str,
    rss: f64,
    maps: f64,
    /// Of `maps`, what is resident too, since it is read in place.
    both: f64,
    /// Of the kernel's general caches, where a socket's tag lives; no map's figure has it.
    slab: f64,
}

impl Footprint {
    fn met(&self) -> bool {
        self.rss + self.maps - self.both <= GOAL_MB * MB
    }

    fn json(self) -> Value {
        json!({
            "figure": "memory", "view": self.view, "rows": MANY, "rss_bytes": self.rss, "map_bytes": self.maps,
            "both_bytes": self.both, "slab_bytes": self.slab, "met": self.met(),
        })
    }
}

/// At the third tick with all rows there, which `fill` makes once the first was seen.
fn footprint(view: &'static str, options: &[&str], fill: impl FnOnce()) -> Footprint {
    let slab_before = slab_bytes();
    let mut child = nettrace()
        .args(["top", view, "1", "0", "-O", "ndjson"])
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start nettrace");
    pin(child.id().cast_signed(), OBSERVER_CPU);
    let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
    let mut tick = || {
        let ticks = lines.by_ref().map(|line| line.expect("a line"));
        ticks.take_while(|line| !line.contains("\"view\":\"nettrace\"")).count()
    };
    tick();
    fill();
    for _ in 0..3 {
        tick();
    }
    let footprint = Footprint {
        view,
        rss: status_bytes(child.id(), "VmHWM:"),
        maps: map_bytes(child.id()),
        both: mapped_bytes(child.id()),
        slab: slab_bytes() - slab_before,
    };
    let _ = child.kill();
    let _ = child.wait();
    let Footprint { rss, maps, both, slab, .. } = &footprint;
    println!(
        "  {view:<6} peak RSS {:.1} MB + maps {:.1} MB - {:.1} MB that is both = {:.1} MB{}",
        rss / MB,
        maps / MB,
        both / MB,
        (rss + maps - both) / MB,
        verdict(&format!("{GOAL_MB} MB"), footprint.met())
    );
    println!("         slab, which no map's figure has: {:.1} MB", slab / MB);
    footprint
}

/// Of maps that are mapped, what is resident.
fn mapped_bytes(pid: u32) -> f64 {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("its mappings");
    let mut lines = smaps.lines();
    let mut sum = 0.0;
    while lines.any(|line| line.ends_with("anon_inode:bpf-map")) {
        let rss = lines.find_map(|line| line.strip_prefix("Rss:")).expect("its size");
        sum += from_kb(rss);
    }
    sum
}

pub(crate) fn status_bytes(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    from_kb(line)
}

/// Bytes of what the kernel writes as `12 kB`.
fn from_kb(text: &str) -> f64 {
    text.trim().trim_end_matches(" kB").parse::<f64>().expect("kB") * 1024.0
}

/// Of each map once, by its id.
pub(crate) fn map_bytes(pid: u32) -> f64 {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors").flatten() {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            info.lines()
                .find_map(|l| l.strip_prefix(name))
                .and_then(|v| v.trim().parse::<f64>().ok())
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id as u64, bytes);
        }
    }
    maps.values().sum()
}

fn slab_bytes() -> f64 {
    let info = fs::read_to_string("/proc/slabinfo").expect("slabinfo");
    let caches = info.lines().filter(|line| line.starts_with("kmalloc"));
    caches
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| fields[index].parse::<f64>().expect("a number");
            // All objects, used or not, times their size.
            number(2) * number(3)
        })
        .sum()
}

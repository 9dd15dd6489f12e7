//! What live tests and benchmarks share: network namespaces that vanish with the test, and runs of
//! nettrace and of the traffic program.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nettrace::netns::Netns;
use serde_json::Value;

/// Two namespaces with a veth between them: `a` has .1, `b` has .2.
pub(crate) struct Pair {
    pub(crate) a: String,
    pub(crate) b: String,
}

pub(crate) const A4: &str = "10.99.0.1";
pub(crate) const B4: &str = "10.99.0.2";
pub(crate) const A6: &str = "fd99::1";
pub(crate) const B6: &str = "fd99::2";
/// Not an address of the pair.
pub(crate) const NOBODY: &str = "10.99.0.77";

impl Pair {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        assert!(nix::unistd::geteuid().is_root(), "live tests need root: run them with sudo");
        let id = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let pair = Pair { a: format!("nt{id}a"), b: format!("nt{id}b") };
        let Pair { a, b } = &pair;
        ip_batch(&[], &format!("netns add {a}\nnetns add {b}\n"));
        for netns in [a, b] {
            calm(netns);
        }
        let veth = format!("link add v0 netns {a} type veth peer name v1 netns {b}\n");
        ip_batch(&[], &veth);
        for (ns, dev, v4, v6) in [(a, "v0", A4, A6), (b, "v1", B4, B6)] {
            let lines = format!(
                "addr add {v4}/24 dev {dev}\naddr add {v6}/64 dev {dev} nodad\n\
                 link set {dev} up\nlink set lo up\n"
            );
            ip_batch(&["-n", ns], &lines);
        }
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for ns in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", ns]).status();
        }
    }
}

/// Has interfaces that are made in a namespace say nothing of their own accord: packets are counted there.
fn calm(netns: &str) {
    let settings = [
        ("router_solicitations", "0"),
        ("mldv2_unsolicited_report_interval", "1"),
        // No addresses but those given, which nobody is asked about.
        ("addr_gen_mode", "1"),
        ("dad_transmits", "0"),
    ];
    let write = || {
        settings.iter().try_for_each(|(name, value)| {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/default/{name}"), value)
        })
    };
    Netns::open(netns).and_then(|netns| netns.run(|| Ok(write()?))).expect("settings of IPv6");
}

/// Runs several lines of `ip` in one process and insists.
fn ip_batch(args: &[&str], lines: &str) {
    let mut child = Command::new("ip")
        .args(args)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("run ip (install iproute2)");
    let written = child.stdin.take().expect("its input").write_all(lines.as_bytes());
    let status = child.wait().expect("wait for ip");
    assert!(written.is_ok() && status.success(), "ip {args:?}: {lines}");
}

/// Runs `ip` and insists.
pub(crate) fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("run ip (install iproute2)");
    assert!(output.status.success(), "ip {args:?}: {}", text(&output.stderr));
}

/// So many bytes or connections, or a tenth where the CPU is emulated: as exact, and ten times slower.
pub(crate) fn load(count: usize) -> usize {
    if std::env::var_os("NETTRACE_EMULATED").is_some() { count / 10 } else { count }
}

/// What libbpf says is kept for the whole process: one test at a time loads objects itself.
pub(crate) fn use_libbpf() -> MutexGuard<'static, ()> {
    static LIBBPF: Mutex<()> = Mutex::new(());
    LIBBPF.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The program under test.
pub(crate) fn nettrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nettrace"));
    command.env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// The traffic program.
pub(crate) fn traffic() -> PathBuf {
    example("traffic")
}

/// A program that is built as an example beside the program under test.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_nettrace"));
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(path.exists(), "{} isn't built: cargo build --examples", path.display());
    path
}

/// Keeps what a test found out about this kernel, for tests/vm/results, where that is wanted.
pub(crate) fn keep_result(file: &str, lines: &str) {
    if let Some(dir) = std::env::var_os("NETTRACE_RESULTS").map(PathBuf::from) {
        std::fs::create_dir_all(&dir).expect("the folder of results");
        std::fs::write(dir.join(file), lines).expect("write results");
    }
}

/// What a process really received and sent, as the traffic program printed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Truth {
    pub(crate) pid: u64,
    pub(crate) rx: u64,
    pub(crate) tx: u64,
}

pub(crate) fn truths(lines: &str) -> Vec<Truth> {
    let mut truths: Vec<Truth> = lines
        .lines()
        .map(|line| {
            let numbers: Vec<u64> =
                line.split(' ').map(|n| n.parse().expect("pid rx tx")).collect();
            Truth { pid: numbers[0], rx: numbers[1], tx: numbers[2] }
        })
        .collect();
    truths.sort();
    truths
}

/// One traced run of the traffic program: the truth, and the document that nettrace wrote.
pub(crate) struct Traced {
    pub(crate) truth: Vec<Truth>,
    pub(crate) document: Value,
    pub(crate) stderr: String,
}

/// `nettrace top VIEW… -O json -o FILE -- traffic …`.
pub(crate) fn traced(top: &[&str], traffic_args: &[&str]) -> Traced {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("out.json");
    let output = nettrace()
        .arg("top")
        .args(top)
        .args(["-O", "json", "-o"])
        .arg(&file)
        .arg("--")
        .arg(traffic())
        .args(traffic_args)
        .output()
        .expect("run nettrace");
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    let document = std::fs::read(&file).expect("its output");
    Traced {
        truth: truths(&text(&output.stdout)),
        document: serde_json::from_slice(&document).expect("a JSON document"),
        stderr,
    }
}

impl Traced {
    /// The rows of the last frame.
    pub(crate) fn rows(&self) -> Vec<Value> {
        rows(&self.document)
    }

    /// Sums by process: of each its last row, since one that ended has no more. If something of it is
    /// found out late, there is another with all of it.
    pub(crate) fn by_process(&self) -> Vec<Truth> {
        let frames = self.document["frames"].as_array().expect("frames");
        let rows = frames.iter().flat_map(|frame| frame["rows"].as_array().expect("rows"));
        let last: BTreeMap<u64, Truth> = rows
            .map(|row| Truth {
                pid: number(row, "pid"),
                rx: number(row, "rx_bytes"),
                tx: number(row, "tx_bytes"),
            })
            .map(|sum| (sum.pid, sum))
            .collect();
        last.into_values().filter(|sum| sum.rx + sum.tx > 0).collect()
    }

    pub(crate) fn assert_no_loss(&self) {
        assert_eq!(self.stderr, "", "losses or missing hooks");
        for frame in self.document["frames"].as_array().expect("frames") {
            for (cause, count) in frame["loss"].as_object().expect("loss") {
                assert_eq!(count, 0, "{cause}");
            }
        }
    }
}

pub(crate) fn rows(document: &Value) -> Vec<Value> {
    let frames = document["frames"].as_array().expect("frames");
    frames.last().expect("a frame")["rows"].as_array().expect("rows").clone()
}

pub(crate) fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} of {row}"))
}

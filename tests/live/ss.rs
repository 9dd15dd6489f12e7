//! `conns` agrees with `ss -tinp`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{A4, Pair, nettrace, text, traffic};

/// The kernel's longest wait before it acknowledges.
const DELAYED_ACK: Duration = Duration::from_millis(250);

/// What both tell of a connection.
#[derive(Debug, PartialEq)]
struct Figures {
    state: String,
    pid: u64,
    srtt_us: Option<u64>,
    cwnd: u64,
    retransmits: u64,
    bytes: (u64, u64),
}

type Key = (String, String);

#[test]
fn conns_agrees_with_ss_on_every_connection() {
    let pair = Pair::new();
    let mut traffic = Command::new(traffic())
        .args(["hold", "conns=40", "up=70001", "down=333", "seconds=60"])
        .args([format!("server_ns={}", pair.a), format!("client_ns={}", pair.b)])
        .arg(format!("server_ip={A4}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // At rest from then on, so that two tools that look one after the other see the same.
    let mut line = String::new();
    BufReader::new(traffic.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    thread::sleep(DELAYED_ACK);
    for ns in [&pair.a, &pair.b] {
        let ours = ours(ns);
        assert_eq!(ours.len(), 40, "{ours:?}");
        let theirs = theirs(ns);
        assert!(ours.keys().eq(theirs.keys()), "{:?} {:?}", ours.keys(), theirs.keys());
        for (key, figures) in &ours {
            assert_eq!(Some(figures), theirs.get(key), "{key:?}");
        }
    }
    traffic.kill().unwrap();
    traffic.wait().unwrap();
}

fn ours(ns: &str) -> BTreeMap<Key, Figures> {
    let output =
        nettrace().args(["top", "conns", "0.1", "-O", "json", "--netns", ns]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "losses or missing hooks");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let end = |row: &Value, side: &str| {
        let address = row[format!("{side}_address")].as_str().unwrap();
        format!("{address}:{}", row[format!("{side}_port")])
    };
    crate::support::rows(&document)
        .iter()
        .map(|row| {
            let figures = Figures {
                state: row["state"].as_str().unwrap().to_owned(),
                pid: row["pid"].as_u64().unwrap(),
                srtt_us: row["srtt_us"].as_u64(),
                cwnd: row["cwnd"].as_u64().unwrap(),
                retransmits: row["retransmits"].as_u64().unwrap(),
                bytes: (
                    row["rx_bytes_total"].as_u64().unwrap(),
                    row["tx_bytes_total"].as_u64().unwrap(),
                ),
            };
            ((end(row, "local"), end(row, "remote")), figures)
        })
        .collect()
}

fn theirs(ns: &str) -> BTreeMap<Key, Figures> {
    let output = Command::new("ss").args(["-N", ns, "-tinpOH"]).output().unwrap();
    let lines = text(&output.stdout);
    lines.lines().filter(|line| !line.starts_with("TIME-WAIT")).map(parse).collect()
}

fn parse(line: &str) -> (Key, Figures) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let field = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let number = |name: &str| field(name).map_or(0, |value| value.parse::<u64>().unwrap());
    let pid = line.split_once("pid=").unwrap().1;
    let pid = pid[..pid.find(',').unwrap()].parse().unwrap();
    let rtt = field("rtt:").and_then(|rtt| rtt.split_once('/'));
    let srtt = rtt.map(|(ms, _)| (ms.parse::<f64>().unwrap() * 1e3).round() as u64);
    let state = words[0];
    // It counts the peer's FIN as a byte received.
    let fin_received = u64::from(["CLOSE-WAIT", "LAST-ACK", "CLOSING"].contains(&state));
    // The payload sent for the first time is what ss says was sent, less what was sent again.
    let sent = number("bytes_sent:") - number("bytes_retrans:");
    let retransmits =
        field("retrans:").map_or(0, |r| r.split_once('/').unwrap().1.parse().unwrap());
    let figures = Figures {
        state: state.to_owned(),
        pid,
        srtt_us: srtt,
        cwnd: number("cwnd:"),
        retransmits,
        bytes: (number("bytes_received:").saturating_sub(fin_received), sent),
    };
    ((words[3].to_owned(), words[4].to_owned()), figures)
}

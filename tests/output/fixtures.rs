//! Samples of everything that a view can show, the frames that come of them, and how they are written.

use std::time::{Duration, SystemTime};

use nettrace::columns::{Order, arrange};
use nettrace::filter::Filter;
use nettrace::histogram::{BUCKETS, Histogram, bucket_of};
use nettrace::kernel;
use nettrace::model::{Events, Frame, Grouping, Model, Rows, View};
use nettrace::names::Names;
use nettrace::names::syscalls::{Call, select};
use nettrace::output::{self, Format, Style};
use nettrace::sample::{
    CallRecord, IfaceRecord, Losses, OwnCost, ProcessRecord, Sample, SlowCall, SocketRecord,
    SyscallReading, UsageRecord, tag,
};
use serde_json::Value;

use crate::rows::{self, PID, SECOND, START, drops, flows, iface, pod, process, xdp};

pub(super) const FORMATS: [Format; 4] = [Format::Table, Format::Json, Format::Ndjson, Format::Csv];

/// A socket of that protocol, tagged so many seconds after the start.
pub(super) fn socket(
    owner: ProcessRecord,
    protocol: u16,
    ends: [&str; 2],
    born_s: u64,
) -> SocketRecord {
    let born = ((START + born_s * SECOND) >> 6) << 12;
    rows::socket(born + u64::from(owner.tgid - PID), owner, protocol, ends)
}

/// An upload over IPv4 that lost some segments, held back by the congestion window.
fn upload(rx_bytes: u64, tx_bytes: u64) -> SocketRecord {
    SocketRecord {
        srtt_us: 8 * 12_345,
        rttvar_us: 4 * 678,
        min_rtt_us: 900,
        cwnd: 10,
        ssthresh: 7,
        retransmits: 3,
        lost: 2,
        delivered: 4000,
        segments_in: 2001,
        segments_out: 4003,
        send_queue: 14_600,
        pacing_rate: 2_500_000,
        jiffies: 500,
        busy: 400,
        rx_bytes,
        tx_bytes,
        ..socket(process(0, "rsync"), 6, ["10.0.0.1:40000", "192.0.2.7:443"], 1)
    }
}

/// A session over IPv6, older than nettrace, that is idle.
fn session() -> SocketRecord {
    SocketRecord {
        flags: tag::SEEDED,
        min_rtt_us: u32::MAX,
        ssthresh: u32::MAX >> 1,
        pacing_rate: u64::MAX,
        cwnd: 10,
        jiffies: 500,
        rx_bytes: 5_000_000_000,
        tx_bytes: 7_000,
        ..socket(process(1, "sshd"), 6, ["[2001:db8::1]:22", "[2001:db8:0:1::99]:51234"], 0)
    }
}

/// Wants to paint the terminal and to break lines of CSV.
const HOSTILE: &str = "\u{1b}[2J\",'a\n=";

fn hostile() -> SocketRecord {
    let process = process(2, HOSTILE);
    SocketRecord { flags: tag::USED, ..socket(process, 17, ["10.0.0.1:5353", "192.0.2.53:53"], 2) }
}

pub(super) fn listener(number: u32, protocol: u16, local: &str) -> SocketRecord {
    let any = if local.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    SocketRecord {
        state: if protocol == 6 { 10 } else { 7 },
        queue_max: 511,
        ..socket(process(number, "nginx"), protocol, [local, any], 0)
    }
}

fn calls(record: &SocketRecord, rx_bytes: u64, tx_bytes: u64) -> UsageRecord {
    let SocketRecord { id, owner, ends, .. } = *record;
    UsageRecord { id, socket: 0, user: owner, ends, rx_bytes, tx_bytes, ended: false }
}

pub(super) fn sample(number: u64) -> Sample<'static> {
    Sample {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123 + 2000 * number),
        clock_ns: START + 2 * SECOND * number,
        sockets: &[],
        closed: &[],
        socket_events: &[],
        calls_counted: true,
        usage: &[],
        ifaces: &[],
        xdp: &[],
        syscalls: None,
        drops: None,
        flows: None,
        packets: None,
        losses: Losses(vec![("close_ring", 3), ("usage_table", 0)]),
        own: OwnCost { cpu_s: 0.0421, rss_bytes: 9_000_000, bpf_ns: None },
    }
}

/// A call by its name, whose number differs between architectures.
fn call(name: &str) -> Call {
    select(&[name.to_owned()]).unwrap()[0]
}

/// What a thread called, with these durations, ns.
fn called(process: ProcessRecord, thread: u32, name: &str, durations: &[u64]) -> CallRecord {
    let mut buckets = [0; BUCKETS];
    durations.iter().for_each(|ns| buckets[bucket_of(*ns)] += 1);
    CallRecord {
        process,
        named_ns: 1,
        tid: process.tgid + thread,
        call: call(name),
        calls: durations.len() as u64,
        errors: 0,
        total_ns: durations.iter().sum(),
        max_ns: durations.iter().copied().max().unwrap_or(0),
        errnos: Vec::new(),
        histogram: Histogram::default().add_wrapped(&buckets),
    }
}

fn failed(record: CallRecord, errnos: &[(u32, u64)]) -> CallRecord {
    let errors = errnos.iter().map(|(_, count)| count).sum();
    CallRecord { errors, errnos: errnos.to_vec(), ..record }
}

/// What three processes called in two seconds; one of them ends.
fn system_calls() -> Vec<CallRecord> {
    const ENOENT: u32 = 2;
    const EACCES: u32 = 13;
    const ERESTARTSYS: u32 = 512;
    let (rsync, nginx) = (process(0, "rsync"), process(3, "nginx"));
    let reads: Vec<u64> = (1..=1000).map(|n| 400 + n * n / 10).collect();
    vec![
        called(rsync, 0, "read", &reads),
        called(rsync, 1, "read", &[150_000, 2_500_000]),
        failed(called(rsync, 0, "openat", &[2_300; 40]), &[(EACCES, 3), (ENOENT, 12)]),
        // One began before nettrace.
        CallRecord { calls: 2, ..called(rsync, 1, "futex", &[750_000_000]) },
        CallRecord { calls: 1, ..called(rsync, 0, "exit_group", &[]) },
        failed(called(nginx, 0, "epoll_pwait", &[999_700_000; 2]), &[(ERESTARTSYS, 1)]),
        called(nginx, 0, "set_robust_list", &[210]),
        called(process(2, HOSTILE), 0, "ioctl.32", &[12_345]),
    ]
}

fn slow(process: ProcessRecord, thread: u32, name: &str, result: i64) -> SlowCall {
    SlowCall {
        process,
        tid: process.tgid + thread,
        call: call(name),
        args: [3, 0x7fff_0000_1000, 8192, 0, u64::MAX, 0],
        began: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_001_500),
        duration_ns: 150_000_000,
        asleep_ns: None,
        result,
        user_stack: Vec::new(),
        kernel_stack: Vec::new(),
    }
}

/// A failure, an address in place of a number, a thread, stacks without names, a hostile name.
pub(super) fn slow_calls() -> Vec<SlowCall> {
    let rsync = process(0, "rsync");
    let slept = SlowCall {
        asleep_ns: Some(149_990_000),
        user_stack: vec![0x1234, 0x4_0000],
        kernel_stack: vec![0x10, 0x20],
        ..slow(rsync, 1, "read", 8192)
    };
    vec![
        slow(rsync, 0, "openat", -2),
        slow(rsync, 0, "mmap", 0x7f00_0000_0000),
        slept,
        slow(process(2, HOSTILE), 0, "ioctl.32", 0),
    ]
}

/// System calls, summed up so, in the order of weight.
pub(super) fn syscalls(grouping: Grouping, with_histograms: bool) -> Frame {
    let model = Model::new(Names::new(true), Filter::default(), Vec::new());
    let mut model = model.group_syscalls(grouping, with_histograms);
    model.advance(&sample(0), View::Syscalls);
    let (calls, slow) = (system_calls(), slow_calls());
    let reading = SyscallReading { calls: &calls, ended: &[], slow: &slow };
    let mut frame = model.advance(&Sample { syscalls: Some(reading), ..sample(1) }, View::Syscalls);
    arrange(&mut frame.rows, Order::default());
    frame
}

/// The second of two samples, two seconds apart, in the order of weight.
pub(super) fn frame(view: View) -> Frame {
    if view == View::Syscalls {
        return Frame { events: Events::default(), ..syscalls(Grouping::default(), false) };
    }
    let mut model = Model::new(Names::new(true), Filter::default(), Vec::new());
    let web = listener(3, 6, "[::]:443");
    model.advance(
        &Sample {
            sockets: &[session(), web, listener(4, 17, "0.0.0.0:68")],
            ifaces: &[iface(1, "lo", 1000), iface(2, "eth0", 50_000)],
            xdp: &[xdp(2, 50)],
            ..sample(0)
        },
        view,
    );
    let resolver = hostile();
    let gone = SocketRecord {
        rx_bytes: 1536,
        tx_bytes: 80,
        ..socket(process(3, "nginx"), 6, ["10.0.0.1:443", "192.0.2.8:50001"], 1)
    };
    let hook = vec!["xdp:native#12".to_owned(), "clsact".to_owned()];
    let mut frame = model.advance(
        &Sample {
            sockets: &[
                upload(2048, 5_000_000),
                session(),
                resolver,
                SocketRecord { receive_queue: 5, drops: 2, ..web },
                listener(4, 17, "0.0.0.0:68"),
            ],
            closed: &[gone],
            socket_events: &[],
            calls_counted: true,
            usage: &[calls(&resolver, 512, 64)],
            ifaces: &[
                iface(1, "lo", 1000),
                IfaceRecord { hooks: hook, ..iface(2, "eth0", 3_050_001) },
            ],
            xdp: &[xdp(2, 3050)],
            ..sample(1)
        },
        view,
    );
    if let Rows::Hosts(rows) = &mut frame.rows {
        let named = rows.iter_mut().find(|row| row.remote.to_string() == "192.0.2.7");
        named.unwrap().name = Some("backup.example".into());
    }
    if let Rows::Containers(rows) = &mut frame.rows {
        rows.push(pod());
    }
    if let Rows::Drops(rows) = &mut frame.rows {
        rows.extend(drops());
    }
    if let Rows::Flows(rows) = &mut frame.rows {
        rows.extend(flows());
    }
    arrange(&mut frame.rows, Order::default());
    frame
}

pub(super) fn empty(view: View) -> Frame {
    Model::new(Names::new(true), Filter::default(), Vec::new()).advance(&sample(0), view)
}

pub(super) fn style(format: Format) -> Style {
    Style { format, ..Style::default() }
}

pub(super) fn selected(format: Format, view: View, words: &[&str]) -> Style {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    Style { columns: Some(output::select(view, &words).unwrap()), ..style(format) }
}

/// What differs between hosts and releases is taken out.
pub(super) fn written(frame: &Frame, style: &Style) -> String {
    let text = output::to_string(frame, style).unwrap();
    [
        ("nettrace", env!("CARGO_PKG_VERSION").to_owned()),
        ("host", kernel::hostname()),
        ("kernel", kernel::release()),
    ]
    .into_iter()
    .fold(text, |text, (key, value)| {
        text.replacen(&format!("\"{key}\":\"{value}\""), &format!("\"{key}\":\"[{key}]\""), 1)
    })
}

/// One frame in all forms.
pub(super) fn forms(frame: &Frame) -> String {
    FORMATS.map(|format| format!("{format:?}\n{}", written(frame, &style(format)))).join("\n")
}

pub(super) fn json(frame: &Frame) -> Value {
    serde_json::from_str(&output::to_string(frame, &style(Format::Json)).unwrap()).unwrap()
}

pub(super) fn rows(document: &Value) -> &Vec<Value> {
    document["frames"][0]["rows"].as_array().unwrap()
}

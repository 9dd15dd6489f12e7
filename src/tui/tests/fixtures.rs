//! Samples, the pictures that the model makes of them, and a dashboard that shows them.

use std::time::{Duration, SystemTime};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::rows::{self, PID, SECOND, START, drops, flows, iface, pod, process};
use crate::filter::Filter;
use crate::histogram::{BUCKETS, Histogram, bucket_of};
use crate::model::{EventRow, Model, Picture, Rows, View};
use crate::names::Names;
use crate::names::syscalls::{Abi, Call};
use crate::sample::{
    CallRecord, DropEvent, DropFlow, DropKind, DropPlace, DropReading, IfaceRecord, Losses,
    OwnCost, ProcessRecord, Sample, SocketEvent, SocketEventKind, SocketRecord, SyscallReading,
    UsageRecord, born_ns, tag,
};
use crate::tui::app::{App, Effect, Message, Settings, update};
use crate::tui::draw;
use crate::tui::prepare::Preparer;
use crate::tui::singles;

fn socket(number: u64, owner: ProcessRecord, protocol: u16, ends: [&str; 2]) -> SocketRecord {
    rows::socket((((START + SECOND) >> 6) << 12) + number, owner, protocol, ends)
}

/// An upload over IPv4 that loses segments, held back by the congestion window.
pub(super) fn upload(second: u64) -> SocketRecord {
    let second_32 = u32::try_from(second).unwrap();
    SocketRecord {
        srtt_us: 8 * (12_345 + 800 * (second_32 % 5)),
        rttvar_us: 4 * 678,
        min_rtt_us: 900,
        cwnd: if second % 7 == 6 { 10 } else { 20 + second_32 % 7 * 4 },
        ssthresh: 7,
        retransmits: 3 * second_32,
        lost: 2 * second_32,
        delivered: 4000 * second_32,
        segments_in: 2001,
        segments_out: 4003 * second_32,
        send_queue: 14_600,
        pacing_rate: 2_500_000,
        jiffies: 250 * second_32,
        busy: 240 * second_32,
        rx_bytes: 2048 * second,
        tx_bytes: 5_000_000 * second + 300_000 * (second % 4),
        ..socket(1, process(0, "rsync"), 6, ["10.0.0.1:40000", "192.0.2.7:443"])
    }
}

/// The upload's connection is made.
pub(super) fn connected(second: u64) -> SocketEvent {
    let socket = upload(0);
    SocketEvent {
        time: at(second),
        clock_ns: born_ns(socket.id) + 12_345_000,
        kind: SocketEventKind::Connected,
        errno: 0,
        socket,
    }
}

/// A packet of the upload.
pub(super) fn dropped(kind: DropKind, second: u64) -> DropEvent {
    let ends = upload(0).ends;
    DropEvent {
        time: at(second),
        place: DropPlace {
            kind,
            reason: (kind == DropKind::Packet).then(|| "NO_SOCKET".into()),
            location: 0,
            netns: ends.netns,
            protocol: 0x0800,
            transport: 6,
            family: 0,
        },
        flow: DropFlow {
            source: ends.local,
            destination: ends.remote,
            source_port: ends.local_port,
            destination_port: ends.remote_port,
        },
        length: 1448,
        interface: [0; 16],
        process: ProcessRecord::default(),
        stack: Vec::new(),
    }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
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
        ..socket(2, process(1, "sshd"), 6, ["[2001:db8::1]:22", "[2001:db8:0:1::99]:51234"])
    }
}

/// A process whose name wants to paint the terminal.
fn hostile() -> SocketRecord {
    let process = process(2, "\u{1b}[2J\u{9b}31m\r\nx");
    SocketRecord { flags: tag::USED, ..socket(3, process, 17, ["10.0.0.1:5353", "192.0.2.53:53"]) }
}

fn listener(number: u64, protocol: u16, local: &str) -> SocketRecord {
    let any = if local.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    SocketRecord {
        state: if protocol == 6 { 10 } else { 7 },
        queue_max: 511,
        flags: tag::SEEDED,
        ..socket(number, process(3, "nginx"), protocol, [local, any])
    }
}

/// What comes and is gone within a second.
pub(super) fn short_lived(number: u64) -> SocketRecord {
    let ends = ["10.0.0.1:443", "192.0.2.8:50001"];
    SocketRecord {
        rx_bytes: 1536,
        tx_bytes: 80,
        ..socket(100 + number, process(3, "nginx"), 6, ends)
    }
}

fn calls(number: u32, name: &str, call: u32, latencies: &[u64], times: u64) -> CallRecord {
    let mut raw = [0; BUCKETS];
    for ns in latencies {
        raw[bucket_of(*ns)] += u32::try_from(times).unwrap();
    }
    let mut histogram = Histogram::default();
    histogram.add_wrapped(&raw);
    CallRecord {
        process: process(number, name),
        named_ns: 1,
        tid: PID + number,
        call: Call { abi: Abi::Native, number: call },
        calls: latencies.len() as u64 * times,
        errors: times / 4,
        total_ns: latencies.iter().sum::<u64>() * times,
        max_ns: latencies.iter().copied().max().unwrap_or(0),
        errnos: if times >= 4 { vec![(11, times / 4)] } else { Vec::new() },
        histogram,
    }
}

/// A server in a few seconds of its life.
pub(super) struct Server {
    model: Model,
    second: u64,
    pub(super) losses: Losses,
    pub(super) closed: Vec<SocketRecord>,
    /// What is told one by one in the next second, and what came of it.
    pub(super) socket_events: Vec<SocketEvent>,
    pub(super) drop_events: Vec<DropEvent>,
    singles: Vec<EventRow>,
    /// Nothing happens.
    pub(super) is_idle: bool,
}

impl Server {
    pub(super) fn new() -> Self {
        Server {
            model: Model::new(Names::new(true), Filter::default(), Vec::new())
                .with_events(singles::options()),
            second: 0,
            losses: Losses(vec![("close_ring", 0)]),
            closed: Vec::new(),
            socket_events: Vec::new(),
            drop_events: Vec::new(),
            singles: Vec::new(),
            is_idle: false,
        }
    }

    pub(super) fn narrow(&mut self, filter: &str) {
        self.model.narrow(Filter::parse(filter).unwrap());
    }

    /// The next second.
    pub(super) fn picture(&mut self) -> Picture {
        let second = self.second;
        self.second += 1;
        let resolver = hostile();
        let full = SocketRecord { receive_queue: 5, drops: 2, ..listener(4, 6, "[::]:443") };
        let sockets = [upload(second), session(), resolver, full, listener(5, 17, "0.0.0.0:68")];
        let usage = UsageRecord {
            id: resolver.id,
            socket: 0,
            user: resolver.owner,
            ends: resolver.ends,
            rx_bytes: 512 * second,
            tx_bytes: 64 * second,
            ended: false,
        };
        let calls = [
            calls(0, "rsync", 1, &[900, 1500, 20_000, 40_000, 3_000_000], 20 + second % 9),
            calls(0, "rsync", 0, &[300, 350, 700], 40),
            calls(1, "sshd", 7, &[1_000_000_000], 1),
            calls(2, "\u{1b}[2Jx", 35, &[50_000_000, 50_000_100], 2),
        ];
        let eth0 = iface(2, "eth0", 3_050_001 * (second + 1));
        let hooks = vec!["xdp:native#12".to_owned()];
        let ifaces = [iface(1, "lo", 1000), IfaceRecord { hooks, ..eth0 }];
        let xdp = [rows::xdp(2, 3050 * (second + 1))];
        let is_busy = !self.is_idle;
        let sample = Sample {
            time: at(second),
            clock_ns: START + SECOND * second,
            sockets: if is_busy { &sockets } else { &[] },
            closed: &self.closed,
            socket_events: &self.socket_events,
            calls_counted: true,
            usage: if is_busy { std::slice::from_ref(&usage) } else { &[] },
            ifaces: if is_busy { &ifaces } else { &[] },
            xdp: if is_busy { &xdp } else { &[] },
            drops: Some(DropReading { counts: &[], events: &self.drop_events }),
            flows: None,
            packets: None,
            syscalls: Some(SyscallReading {
                calls: if is_busy { &calls } else { &[] },
                ..SyscallReading::default()
            }),
            losses: self.losses.clone(),
            own: OwnCost {
                cpu_s: 0.004 * second as f64,
                rss_bytes: 12_000_000,
                bpf_ns: Some(2_000_000 * second),
            },
        };
        self.singles = self.model.follow_tick(&sample, true);
        let sample = Sample { drops: None, ..sample };
        let mut picture = self.model.advance_all(&sample, &View::ALL);
        self.closed.clear();
        self.socket_events.clear();
        self.drop_events.clear();
        for frame in &mut picture.frames {
            if let Rows::Containers(rows) = &mut frame.rows
                && is_busy
            {
                rows.push(pod());
            }
            if let Rows::Drops(rows) = &mut frame.rows
                && is_busy
            {
                rows.extend(drops());
            }
            if let Rows::Flows(rows) = &mut frame.rows
                && is_busy
            {
                rows.extend(flows());
            }
        }
        picture
    }
}

/// A dashboard and the server that it shows.
pub(super) struct Shown {
    pub(super) app: App,
    pub(super) server: Server,
    preparer: Preparer,
}

impl Shown {
    /// After so many seconds.
    pub(super) fn after(seconds: usize) -> Self {
        let settings = Settings { host: "web-1".to_owned(), ..Settings::default() };
        let app = App::new(settings, (80, 24), Vec::new());
        let mut shown = Shown { app, server: Server::new(), preparer: Preparer::default() };
        shown.pass(seconds);
        shown
    }

    pub(super) fn pass(&mut self, seconds: usize) {
        for _ in 0..seconds {
            let picture = self.server.picture();
            self.take(picture);
        }
    }

    pub(super) fn take(&mut self, picture: Picture) {
        self.preparer.keep(std::mem::take(&mut self.server.singles));
        let prepared = self.preparer.prepare(picture, &self.app.wanted());
        update(&mut self.app, Message::Picture(Box::new(prepared)));
    }

    pub(super) fn resized(mut self, size: (u16, u16)) -> Self {
        update(&mut self.app, Message::Resize(size.0, size.1));
        self
    }

    /// Keys by their names, or a text.
    pub(super) fn press(&mut self, keys: &[&str]) -> Vec<Effect> {
        keys.iter().flat_map(|key| self.key(key)).collect()
    }

    fn key(&mut self, key: &str) -> Vec<Effect> {
        let none = KeyModifiers::NONE;
        let (code, held) = match key {
            "enter" => (KeyCode::Enter, none),
            "esc" => (KeyCode::Esc, none),
            "tab" => (KeyCode::Tab, none),
            "shift-tab" => (KeyCode::BackTab, KeyModifiers::SHIFT),
            "right" => (KeyCode::Right, none),
            "backspace" => (KeyCode::Backspace, none),
            "ctrl-c" => (KeyCode::Char('c'), KeyModifiers::CONTROL),
            "ctrl-l" => (KeyCode::Char('l'), KeyModifiers::CONTROL),
            "ctrl-z" => (KeyCode::Char('z'), KeyModifiers::CONTROL),
            text => {
                let press = |c| Message::Key(KeyEvent::new(KeyCode::Char(c), none));
                return text.chars().flat_map(|c| update(&mut self.app, press(c))).collect();
            }
        };
        update(&mut self.app, Message::Key(KeyEvent::new(code, held)))
    }

    pub(super) fn click(&mut self, column: u16, row: u16) -> Vec<Effect> {
        self.mouse(MouseEventKind::Down(MouseButton::Left), column, row)
    }

    pub(super) fn mouse(&mut self, kind: MouseEventKind, column: u16, row: u16) -> Vec<Effect> {
        let modifiers = KeyModifiers::NONE;
        update(&mut self.app, Message::Mouse(MouseEvent { kind, column, row, modifiers }))
    }

    /// As text, without blanks at the ends of lines.
    pub(super) fn screen(&self) -> String {
        let (width, height) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw::draw(frame, &self.app)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }
}

//! *draw* and *dashboard*: how long a frame of a full screen takes, what the dashboard costs a second, and how
//! soon it answers keys while a large table is read.

use std::fs::File;
use std::io::{Read, Sink, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use nettrace::filter::Filter;
use nettrace::model::{Model, View};
use nettrace::names::Names;
use nettrace::sample::{
    Endpoints, Losses, OwnCost, ProcessRecord, Sample, SocketRecord, SyscallReading,
};
use nettrace::tui::app::{App, Message, Settings, update};
use nettrace::tui::draw;
use nettrace::tui::prepare::Preparer;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::time::{ClockId, clock_gettime};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use serde_json::{Value, json};

use crate::arms::find;
use crate::machine::{OBSERVER_CPU, pin};
use crate::memory::status_bytes;
use crate::stats::{median, quartiles, verdict};
use crate::support::{Pair, nettrace};
use crate::table::Idle;

const SCREEN: (u16, u16) = (200, 60);
const ROWS: u64 = 10_000;
const FRAMES: u64 = 101;
/// Of the large table, and presses of its keys.
const PICTURES: usize = 20;
const SECONDS: u64 = 10;
const SOCKETS: usize = 1000;
const MANY: usize = 100_000;
const KEYS: usize = 60;
/// Goals: of a frame, of CPU time a second, and of an answer to a key.
const DRAW_GOAL_MS: f64 = 5.0;
const CPU_GOAL_PERCENT: f64 = 1.0;
const KEY_GOAL_MS: f64 = 50.0;
const MB: f64 = 1e6;

/// A dashboard without a terminal, of connections each of which differs from one second to the next.
struct Screen {
    app: App,
    model: Model,
    preparer: Preparer,
    terminal: Terminal<CrosstermBackend<Sink>>,
    rows: u64,
    second: u64,
}

impl Screen {
    fn new(rows: u64) -> Self {
        let (width, height) = SCREEN;
        let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, width, height)) };
        let backend = CrosstermBackend::new(std::io::sink());
        let mut app = App::new(Settings::default(), SCREEN, Vec::new());
        app.show(View::Conns);
        Screen {
            app,
            model: Model::new(Names::new(true), Filter::default(), Vec::new()),
            preparer: Preparer::default(),
            terminal: Terminal::with_options(backend, options).expect("a terminal"),
            rows,
            second: 0,
        }
    }

    fn draw(&mut self) {
        self.terminal.draw(|frame| draw::draw(frame, &self.app)).expect("draw");
    }

    /// The next picture; returns the CPU time that the thread that draws needs to take it and to draw it, ms.
    fn picture(&mut self) -> (f64, f64) {
        let second = self.second;
        self.second += 1;
        let sockets: Vec<SocketRecord> =
            (0..self.rows).map(|number| socket(number, second)).collect();
        let wanted = self.app.wanted();
        let views = if self.rows > ROWS { &wanted.views[..] } else { &View::ALL };
        let picture = self.model.advance_all(&sample(&sockets, second), views);
        let prepared = Box::new(self.preparer.prepare(picture, &wanted));
        let begin = thread_ms();
        update(&mut self.app, Message::Picture(prepared));
        let taken = thread_ms();
        self.draw();
        let drawn = thread_ms();
        drop(self.app.take_spent());
        (taken - begin, drawn - taken)
    }

    /// Presses a key; returns the CPU time until it is drawn, ms.
    fn key(&mut self, code: KeyCode) -> f64 {
        let begin = thread_ms();
        update(&mut self.app, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        self.draw();
        thread_ms() - begin
    }
}

fn thread_ms() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the CPU time");
    Duration::from(time).as_secs_f64() * 1e3
}

pub(crate) fn draw() -> Vec<Value> {
    let mut results = vec![draw_some()];
    results.extend(draw_many());
    results
}

fn draw_some() -> Value {
    let figure = "draw";
    let (width, height) = SCREEN;
    println!(
        "{figure}: a frame of {ROWS} connections at {width}×{height}, each row different from before"
    );
    let mut screen = Screen::new(ROWS);
    let (updates, draws): (Vec<f64>, Vec<f64>) = (0..FRAMES).map(|_| screen.picture()).unzip();
    let [low, middle, high] = quartiles(&draws);
    let met = middle <= DRAW_GOAL_MS;
    let goal = verdict(&format!("{DRAW_GOAL_MS} ms"), met);
    println!("  draw   {middle:>6.2} ms ({low:.2} to {high:.2}){goal}");
    println!("  update {:>6.2} ms, once a picture", median(&updates));
    json!({
        "figure": figure, "rows": ROWS, "ms": middle, "quartiles": [low, high],
        "update_ms": median(&updates), "met": met,
    })
}

/// What a key may have to wait for: a picture that is being taken, and then its own.
fn draw_many() -> Vec<Value> {
    const OPEN: [KeyCode; 2] = [KeyCode::Enter, KeyCode::Esc];
    const KEYS: [(&str, [KeyCode; 2]); 6] = [
        ("j, k", [KeyCode::Char('j'), KeyCode::Char('k')]),
        ("G, g", [KeyCode::Char('G'), KeyCode::Char('g')]),
        ("s, S", [KeyCode::Char('s'), KeyCode::Char('S')]),
        ("c, c", [KeyCode::Char('c'), KeyCode::Char('c')]),
        ("?, Esc", [KeyCode::Char('?'), KeyCode::Esc]),
        ("Enter, Esc", OPEN),
    ];
    let most = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let mut results = Vec::new();
    let mut say = |what: &str, times: &[f64]| {
        let (middle, worst) = (median(times), most(times));
        let met = worst <= KEY_GOAL_MS;
        let goal = verdict(&format!("{KEY_GOAL_MS} ms"), met);
        println!("  {what:<48} {middle:>6.2} ms, {worst:>6.2} ms at worst{goal}");
        results.push(json!({
            "figure": "draw", "rows": MANY, "what": what, "ms": middle, "worst_ms": worst, "met": met,
        }));
    };
    println!("  of {MANY} connections, CPU time to update and draw:");
    let mut screen = Screen::new(MANY as u64);
    let pictures = |screen: &mut Screen| -> Vec<f64> {
        (0..PICTURES).map(|_| screen.picture()).map(|(update, draw)| update + draw).collect()
    };
    say("a picture", &pictures(&mut screen));
    screen.key(KeyCode::Char('G'));
    say("a picture, the cursor on the last row", &pictures(&mut screen));
    let mut turned = Vec::new();
    for _ in 0..PICTURES {
        screen.key(KeyCode::Char('S'));
        let (update, draw) = screen.picture();
        turned.push(update + draw);
    }
    say("a picture, the cursor's row now at the other end", &turned);
    for (name, keys) in KEYS {
        let times: Vec<f64> = (0..PICTURES).flat_map(|_| keys.map(|key| screen.key(key))).collect();
        say(&format!("keys {name}"), &times);
    }
    screen.key(KeyCode::Enter);
    say("a picture, a connection open", &pictures(&mut screen));
    screen.app.show(View::Procs);
    pictures(&mut screen);
    let opened: Vec<f64> = (0..PICTURES).flat_map(|_| OPEN.map(|key| screen.key(key))).collect();
    say("keys Enter, Esc on a process", &opened);
    screen.key(KeyCode::Enter);
    say("a picture, a process open", &pictures(&mut screen));
    results
}

fn socket(number: u64, second: u64) -> SocketRecord {
    let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number as u32);
    let small = number as u32;
    SocketRecord {
        id: ((100_000_000_000 >> 6) << 12) + number,
        owner: ProcessRecord {
            // Most of a large table is of one process.
            tgid: 4_194_305 + if number < ROWS { small % 300 } else { 0 },
            uid: 1000,
            ..ProcessRecord::default()
        },
        state: 1,
        srtt_us: 8 * (100 + small % 977 + second as u32),
        cwnd: 10 + small % 90,
        retransmits: small % 7 * second as u32,
        rx_bytes: number * 1000 * second * (1 + (number + second) % 5),
        tx_bytes: number * 10 * second,
        ends: Endpoints {
            local: std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets(),
            remote: address.to_ipv6_mapped().octets(),
            local_port: 443,
            remote_port: 1024 + (number % 60_000) as u16,
            netns: 7,
            family: 2,
            protocol: 6,
        },
        ..SocketRecord::default()
    }
}

fn sample(sockets: &[SocketRecord], second: u64) -> Sample<'_> {
    Sample {
        time: SystemTime::now(),
        clock_ns: 200_000_000_000 + second * 1_000_000_000,
        sockets,
        closed: &[],
        socket_events: &[],
        usage: &[],
        calls_counted: true,
        ifaces: &[],
        xdp: &[],
        syscalls: Some(SyscallReading::default()),
        drops: None,
        flows: None,
        packets: None,
        losses: Losses::default(),
        own: OwnCost::default(),
    }
}

/// A program in a terminal that nobody looks at.
struct Shown {
    child: Child,
    terminal: File,
}

impl Shown {
    fn start(mut command: Command) -> Self {
        let (columns, lines) = SCREEN;
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a pseudo-terminal");
        let stdio = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        let child = command
            .env("TERM", "xterm-256color")
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("start it");
        Shown { child, terminal: File::from(pty.master) }
    }

    /// Reads what is drawn for so long.
    fn look(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            self.next(left);
        }
    }

    /// Reads what is drawn next; false if nothing is within `patience`.
    fn next(&mut self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        let is_ready = poll(&mut fds, timeout).expect("poll") > 0;
        if is_ready {
            let read = self.terminal.read(&mut [0; 65_536]).expect("read the terminal");
            assert!(read > 0, "it ended");
        }
        is_ready
    }

    fn cpu_s(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).expect("its times");
        let fields: Vec<&str> =
            stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn dashboard() -> Vec<Value> {
    let figure = "dashboard";
    println!("{figure}: what it costs a second, and how soon it answers");
    let pair = Pair::new();
    let mut results = Vec::new();
    {
        let _idle = Idle::new(&pair, SOCKETS);
        println!("  {SOCKETS} connections at 1 Hz:");
        for (what, command) in contenders(&pair) {
            let Some(command) = command else {
                println!("    {what:<28} missing");
                continue;
            };
            let mut shown = Shown::start(command);
            pin(shown.child.id().cast_signed(), OBSERVER_CPU);
            shown.look(Duration::from_secs(3));
            let before = shown.cpu_s();
            shown.look(Duration::from_secs(SECONDS));
            let percent = (shown.cpu_s() - before) / SECONDS as f64 * 100.0;
            let rss = status_bytes(shown.child.id(), "VmRSS:") / MB;
            let met = what.starts_with("nettrace").then_some(percent <= CPU_GOAL_PERCENT);
            let goal = met.map(|met| verdict(&format!("{CPU_GOAL_PERCENT} %"), met));
            println!(
                "    {what:<28} {percent:>5.1} % of a CPU, {rss:>5.1} MB{}",
                goal.unwrap_or_default()
            );
            results.push(json!({
                "figure": figure, "sockets": SOCKETS, "arm": what,
                "cpu_percent": percent, "rss_mb": rss, "met": met,
            }));
        }
    }
    let _idle = Idle::new(&pair, MANY);
    let mut shown = Shown::start(nettrace());
    shown.look(Duration::from_secs(4));
    shown.terminal.write_all(b"2----").expect("type");
    shown.look(Duration::from_secs(2));
    let mut answers: Vec<f64> = (0..KEYS).map(|_| answer_ms(&mut shown)).collect();
    answers.sort_by(f64::total_cmp);
    let worst = answers[KEYS - 1];
    let met = worst <= KEY_GOAL_MS;
    println!(
        "  {MANY} sockets at 20 Hz: a key is answered in {:.1} ms, {worst:.1} ms at worst{}",
        median(&answers),
        verdict(&format!("{KEY_GOAL_MS} ms"), met)
    );
    results.push(json!({
        "figure": figure, "sockets": MANY, "key_ms": median(&answers), "worst_key_ms": worst, "met": met,
    }));
    results
}

/// What shows the connections; peers only see those of their namespace, and not without an interface.
fn contenders(pair: &Pair) -> [(&'static str, Option<Command>); 4] {
    let peer = |name, args: &[&str]| {
        find(name).map(|program| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &pair.a]).arg(program).args(args);
            command
        })
    };
    let mut without = nettrace();
    without.arg("--no-syscalls");
    [
        ("nettrace", Some(nettrace())),
        ("nettrace --no-syscalls", Some(without)),
        ("bandwhich", peer("bandwhich", &["--no-resolve", "--interface", "lo"])),
        ("nethogs", peer("nethogs", &["-a", "-C", "lo"])),
    ]
}

/// From a key that opens or closes the help to the next that is drawn. Pictures are drawn too; it is held
/// first, so that none is taken for an answer.
fn answer_ms(shown: &mut Shown) -> f64 {
    shown.terminal.write_all(b" ").expect("type");
    shown.look(Duration::from_millis(60));
    let begin = Instant::now();
    shown.terminal.write_all(b"?").expect("type");
    assert!(shown.next(Duration::from_secs(5)), "no answer");
    let answer = begin.elapsed().as_secs_f64() * 1e3;
    shown.look(Duration::from_millis(5));
    shown.terminal.write_all(b"? ").expect("type");
    shown.look(Duration::from_millis(37));
    answer
}

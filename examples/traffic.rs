//! Traffic of known size between two processes, and the truth about it: the live tests' and the
//! benchmarks' ground truth, from outside of nettrace.
//!
//!     traffic tcp|udp [KEY=VALUE]…     a server and a client; prints who moved how much
//!     traffic fork|pass|both [KEY=VALUE]…  one connection that two processes send on
//!     traffic read [KEY=VALUE]…    one connection that two processes read, one after the other
//!     traffic prefork [KEY=VALUE]… a worker accepts, and reads only when all has arrived
//!     traffic mptcp [KEY=VALUE]…   as tcp, with one connection of MPTCP
//!     traffic raw [KEY=VALUE]…     datagrams of a raw socket, with the kernel's IPv4 header
//!     traffic hold [KEY=VALUE]…    connections that carry `up` times their number, and stay
//!     traffic idle conns=N seconds=S   that many connections, doing nothing
//!     traffic bind [KEY=VALUE]…        a bound UDP socket and a listener, never used
//!
//! Keys: `v6=1`, `conns=N`, `up=BYTES`, `down=BYTES` (per connection or datagram), `peek=1`,
//! `server_ns=NAME`, `client_ns=NAME`, `server_ip=ADDR`, `seconds=S`, `name=COMM`, `gap_ms=MS`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nettrace::netns::Netns;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag,
    SockType, SockaddrIn, recvmsg, sendmsg, socketpair,
};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

struct Args(HashMap<String, String>);

impl Args {
    fn number(&self, key: &str, default: usize) -> usize {
        self.0.get(key).map_or(default, |value| value.parse().expect("a number"))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn is(&self, key: &str) -> bool {
        self.number(key, 0) != 0
    }

    fn server_ip(&self) -> IpAddr {
        match self.text("server_ip") {
            Some(ip) => ip.parse().expect("an address"),
            None if self.is("v6") => IpAddr::V6(Ipv6Addr::LOCALHOST),
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Makes sockets inside a namespace; they stay there.
    fn inside<T: Send>(&self, key: &str, make: impl FnOnce() -> T + Send) -> T {
        match self.text(key) {
            Some(name) => Netns::open(name).expect("namespace").run(|| Ok(make())).expect("enter"),
            None => make(),
        }
    }

    fn wildcard(&self) -> IpAddr {
        match self.server_ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let what = words.next().expect("what to do");
    let pairs = words.map(|word| {
        let (key, value) = word.split_once('=').expect("KEY=VALUE");
        (key.to_owned(), value.to_owned())
    });
    let args = Args(pairs.collect());
    match what.as_str() {
        "tcp" => tcp(&args),
        "udp" => udp(&args),
        "fork" => shared(&args, Sharing::AfterFork),
        "pass" => shared(&args, Sharing::Passed),
        "both" => shared(&args, Sharing::Both),
        "read" => shared_read(&args),
        "prefork" => prefork(&args),
        "mptcp" => mptcp(&args),
        "raw" => raw(&args),
        "hold" => hold(&args),
        "idle" => idle(&args),
        "bind" => bind(&args),
        _ => panic!("nothing called {what}"),
    }
}

/// One line of truth: `pid rx tx`.
fn truth(pid: u32, rx: usize, tx: usize) {
    println!("{pid} {rx} {tx}");
}

fn take_name(args: &Args) {
    if let Some(name) = args.text("name") {
        let name = std::ffi::CString::new(name.replace("ESC", "\x1b")).expect("a name");
        nix::sys::prctl::set_name(&name).expect("set the name");
    }
}

fn in_child(work: impl FnOnce()) -> Pid {
    std::io::stdout().flush().expect("flush");
    // SAFETY: one thread here; those of `inside` are joined.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("end with the parent");
            work();
            std::process::exit(0);
        }
        ForkResult::Parent { child } => child,
    }
}

fn join(child: Pid) {
    use nix::sys::wait::WaitStatus;
    let status = waitpid(child, None).expect("wait");
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
}

fn tcp(args: &Args) {
    take_name(args);
    let (conns, up, down) =
        (args.number("conns", 1), args.number("up", 1000), args.number("down", 0));
    let address = SocketAddr::new(args.wildcard(), 0);
    let listener = args.inside("server_ns", || TcpListener::bind(address).expect("bind"));
    let port = listener.local_addr().expect("address").port();
    let gap = Duration::from_millis(args.number("gap_ms", 0) as u64);
    let client = in_child(|| {
        let to = SocketAddr::new(args.server_ip(), port);
        args.inside("client_ns", || {
            for _ in 0..conns {
                let mut stream = TcpStream::connect(to).expect("connect");
                send(&mut stream, up);
                stream.shutdown(Shutdown::Write).expect("shutdown");
                assert_eq!(drain(&mut stream), down);
                thread::sleep(gap);
            }
        });
    });
    for _ in 0..conns {
        let (mut stream, _) = listener.accept().expect("accept");
        if args.is("peek") {
            stream.peek(&mut [0; 100]).expect("peek");
        }
        assert_eq!(drain(&mut stream), up);
        send(&mut stream, down);
    }
    join(client);
    truth(std::process::id(), conns * up, conns * down);
    truth(client.as_raw().cast_unsigned(), conns * down, conns * up);
}

fn udp(args: &Args) {
    take_name(args);
    let (conns, up, down) =
        (args.number("conns", 1), args.number("up", 100), args.number("down", 200));
    let address = SocketAddr::new(args.wildcard(), 0);
    let server = args.inside("server_ns", || UdpSocket::bind(address).expect("bind"));
    let port = server.local_addr().expect("address").port();
    let gap = Duration::from_millis(args.number("gap_ms", 0) as u64);
    let client = in_child(|| {
        let to = SocketAddr::new(args.server_ip(), port);
        args.inside("client_ns", || {
            for _ in 0..conns {
                let socket = UdpSocket::bind(SocketAddr::new(args.wildcard(), 0)).expect("bind");
                socket.connect(to).expect("connect");
                socket.send(&vec![1; up]).expect("send");
                assert_eq!(socket.recv(&mut vec![0; 65_536]).expect("receive"), down);
                thread::sleep(gap);
            }
        });
    });
    let mut buffer = vec![0; 65_536];
    for _ in 0..conns {
        if args.is("peek") {
            server.peek_from(&mut buffer).expect("peek");
        }
        let (len, from) = server.recv_from(&mut buffer).expect("receive");
        assert_eq!(len, up);
        server.send_to(&vec![2; down], from).expect("send");
    }
    join(client);
    truth(std::process::id(), conns * up, conns * down);
    truth(client.as_raw().cast_unsigned(), conns * down, conns * up);
}

/// Of a protocol that nobody else uses: a raw socket gets all of its protocol's datagrams.
fn raw(args: &Args) {
    const EXPERIMENT: i32 = 253;
    const IPV4_HEADER: usize = 20;

    let (conns, up) = (args.number("conns", 1), args.number("up", 100));
    let server = raw_socket(EXPERIMENT);
    // One at a time: what finds the receiver's buffer full is dropped.
    let (mut arrivals, mut arrived) = std::io::pipe().expect("a pipe");
    let client = in_child(|| {
        let socket = raw_socket(EXPERIMENT);
        for _ in 0..conns {
            socket.send_to(&vec![1; up], (Ipv4Addr::LOCALHOST, 0)).expect("send");
            arrivals.read_exact(&mut [0]).expect("an arrival");
        }
    });
    let mut buffer = vec![0; 65_536];
    for _ in 0..conns {
        assert_eq!(server.recv(&mut buffer).expect("receive"), IPV4_HEADER + up);
        arrived.write_all(&[1]).expect("tell");
    }
    join(client);
    truth(std::process::id(), conns * (IPV4_HEADER + up), 0);
    truth(client.as_raw().cast_unsigned(), 0, conns * up);
}

fn raw_socket(protocol: i32) -> UdpSocket {
    // SAFETY: makes a descriptor or returns -1.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, protocol) };
    assert!(fd >= 0, "no raw socket: {}", std::io::Error::last_os_error());
    // SAFETY: nobody else has it.
    UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn prefork(args: &Args) {
    let up = args.number("up", 1000);
    let listener = TcpListener::bind(SocketAddr::new(args.server_ip(), 0)).expect("bind");
    let to = listener.local_addr().expect("address");
    let worker = in_child(|| {
        let (mut stream, _) = listener.accept().expect("accept");
        thread::sleep(Duration::from_millis(400));
        assert_eq!(drain(&mut stream), up);
    });
    let client = in_child(|| send(&mut TcpStream::connect(to).expect("connect"), up));
    join(client);
    join(worker);
    truth(worker.as_raw().cast_unsigned(), up, 0);
    truth(client.as_raw().cast_unsigned(), 0, up);
}

fn mptcp(args: &Args) {
    let (up, down) = (args.number("up", 1000), args.number("down", 10));
    let server = mptcp_socket();
    socket::bind(server.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("bind");
    socket::listen(&server, Backlog::new(1).expect("a backlog")).expect("listen");
    let listener = TcpListener::from(server);
    let port = listener.local_addr().expect("address").port();
    let client = in_child(|| {
        let socket = mptcp_socket();
        let to = SockaddrIn::new(127, 0, 0, 1, port);
        socket::connect(socket.as_raw_fd(), &to).expect("connect");
        let mut stream = TcpStream::from(socket);
        send(&mut stream, up);
        stream.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(drain(&mut stream), down);
    });
    let (mut stream, _) = listener.accept().expect("accept");
    assert_eq!(drain(&mut stream), up);
    send(&mut stream, down);
    drop(stream);
    join(client);
    truth(std::process::id(), up, down);
    truth(client.as_raw().cast_unsigned(), down, up);
}

fn mptcp_socket() -> OwnedFd {
    // SAFETY: makes a descriptor or returns -1.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) };
    assert!(fd >= 0, "no MPTCP: {}", std::io::Error::last_os_error());
    // SAFETY: nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Says `ready` when all bytes are read, so that what looks from outside sees them at rest.
fn hold(args: &Args) {
    let (conns, up, down) =
        (args.number("conns", 1), args.number("up", 1000), args.number("down", 1000));
    let rest = Duration::from_secs(args.number("seconds", 5) as u64);
    let address = SocketAddr::new(args.wildcard(), 0);
    let listener = args.inside("server_ns", || TcpListener::bind(address).expect("bind"));
    let port = listener.local_addr().expect("address").port();
    let client = in_child(|| {
        let to = SocketAddr::new(args.server_ip(), port);
        let streams = args.inside("client_ns", || {
            let connect = |number| {
                let mut stream = TcpStream::connect(to).expect("connect");
                send(&mut stream, up * number);
                stream.read_exact(&mut vec![0; down]).expect("receive");
                stream
            };
            (1..=conns).map(connect).collect::<Vec<_>>()
        });
        thread::sleep(rest);
        drop(streams);
    });
    let serve = |number| {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_exact(&mut vec![0; up * number]).expect("receive");
        send(&mut stream, down);
        stream
    };
    let streams: Vec<_> = (1..=conns).map(serve).collect();
    println!("ready");
    std::io::stdout().flush().expect("flush");
    join(client);
    drop(streams);
}

enum Sharing {
    /// The parent connects and sends, then only its child does.
    AfterFork,
    /// The parent connects and sends, and passes the socket by SCM_RIGHTS.
    Passed,
    /// Both send at the same time.
    Both,
}

/// One connection to a third process that sends nothing; the truth says who sent what.
fn shared(args: &Args, sharing: Sharing) {
    let (first, second) = (args.number("up", 1000), args.number("down", 2000));
    let listener = TcpListener::bind(SocketAddr::new(args.server_ip(), 0)).expect("bind");
    let to = listener.local_addr().expect("address");
    let sink = in_child(|| {
        let (mut stream, _) = listener.accept().expect("accept");
        assert_eq!(drain(&mut stream), first + second);
    });
    drop(listener);
    let child = match sharing {
        Sharing::AfterFork => {
            let mut stream = TcpStream::connect(to).expect("connect");
            send(&mut stream, first);
            in_child(|| send(&mut stream, second))
        }
        Sharing::Both => {
            let mut stream = TcpStream::connect(to).expect("connect");
            let child = in_child(|| send_small(&mut stream, second));
            send_small(&mut stream, first);
            child
        }
        Sharing::Passed => {
            let flags = SockFlag::empty();
            let (here, there) =
                socketpair(AddressFamily::Unix, SockType::Stream, None, flags).expect("socketpair");
            let child = in_child(|| send(&mut receive_stream(&there), second));
            let mut stream = TcpStream::connect(to).expect("connect");
            send(&mut stream, first);
            pass_stream(&here, &stream);
            child
        }
    };
    join(child);
    join(sink);
    truth(std::process::id(), 0, first);
    truth(child.as_raw().cast_unsigned(), 0, second);
    truth(sink.as_raw().cast_unsigned(), first + second, 0);
}

/// The first reader leaves a full queue behind for the second one.
fn shared_read(args: &Args) {
    let (first, second) = (args.number("up", 10), args.number("down", 2000));
    let listener = TcpListener::bind(SocketAddr::new(args.server_ip(), 0)).expect("bind");
    let to = listener.local_addr().expect("address");
    let sender = in_child(|| {
        let mut stream = TcpStream::connect(to).expect("connect");
        send(&mut stream, first + second);
    });
    let (mut stream, _) = listener.accept().expect("accept");
    stream.read_exact(&mut vec![0; first]).expect("receive");
    thread::sleep(Duration::from_millis(300));
    let child = in_child(|| assert_eq!(drain(&mut stream), second));
    join(child);
    join(sender);
    truth(std::process::id(), first, 0);
    truth(child.as_raw().cast_unsigned(), second, 0);
    truth(sender.as_raw().cast_unsigned(), 0, first + second);
}

fn pass_stream(through: &OwnedFd, stream: &TcpStream) {
    let fds = [stream.as_raw_fd()];
    let message = [std::io::IoSlice::new(b"x")];
    sendmsg::<()>(
        through.as_raw_fd(),
        &message,
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .expect("pass the socket");
}

fn receive_stream(through: &OwnedFd) -> TcpStream {
    let mut byte = [0];
    let mut message = [std::io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let received =
        recvmsg::<()>(through.as_raw_fd(), &mut message, Some(&mut space), MsgFlags::empty())
            .expect("receive the socket");
    for control in received.cmsgs().expect("control messages") {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel just made this descriptor for us.
            return TcpStream::from(unsafe { OwnedFd::from_raw_fd(fds[0]) });
        }
    }
    panic!("no socket came");
}

/// Pairs of connected sockets, in processes of few enough descriptors each.
fn idle(args: &Args) {
    const PAIRS: usize = 4000;
    const FILES: u64 = 2 * PAIRS as u64 + 100;

    // Where that is more than allowed, and we aren't root, it shows soon enough.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES);
    let (mut left, seconds) = (args.number("conns", 100) / 2, args.number("seconds", 10));
    let mut children = Vec::new();
    let mut number = 1;
    while left > 0 {
        let pairs = left.min(PAIRS);
        left -= pairs;
        // One address each, for enough ports.
        let ip = IpAddr::V4(Ipv4Addr::new(127, 1, 0, number));
        number += 1;
        let (mut ready, mut done) = std::io::pipe().expect("pipe");
        children.push(in_child(|| {
            let listener = TcpListener::bind(SocketAddr::new(ip, 0)).expect("bind");
            let to = listener.local_addr().expect("address");
            let sockets: Vec<_> = (0..pairs)
                .map(|_| {
                    (TcpStream::connect(to).expect("connect"), listener.accept().expect("accept"))
                })
                .collect();
            done.write_all(b"x").expect("tell");
            thread::sleep(Duration::from_secs(seconds as u64));
            drop(sockets);
        }));
        ready.read_exact(&mut [0]).expect("hear");
    }
    println!("ready");
    std::io::stdout().flush().expect("flush");
    // Whoever has seen enough ends them.
    for child in children {
        waitpid(child, None).expect("wait");
    }
}

fn bind(args: &Args) {
    take_name(args);
    let address = SocketAddr::new(args.server_ip(), 0);
    let sockets = args.inside("server_ns", || {
        (UdpSocket::bind(address).expect("bind"), TcpListener::bind(address).expect("bind"))
    });
    let udp = sockets.0.local_addr().expect("address").port();
    let tcp = sockets.1.local_addr().expect("address").port();
    println!("{udp} {tcp}");
    std::io::stdout().flush().expect("flush");
    thread::sleep(Duration::from_secs(args.number("seconds", 2) as u64));
}

fn send(stream: &mut TcpStream, bytes: usize) {
    let chunk = vec![7; bytes.clamp(1, 1 << 20)];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(chunk.len());
        stream.write_all(&chunk[..now]).expect("send");
        left -= now;
    }
}

fn send_small(stream: &mut TcpStream, bytes: usize) {
    const CALL: usize = 100;

    for sent in (0..bytes).step_by(CALL) {
        stream.write_all(&[7; CALL][..CALL.min(bytes - sent)]).expect("send");
    }
}

fn drain(stream: &mut TcpStream) -> usize {
    let mut buffer = vec![0; 1 << 16];
    let mut all = 0;
    loop {
        match stream.read(&mut buffer).expect("receive") {
            0 => return all,
            some => all += some,
        }
    }
}

//! What rows say and which there are.

use super::*;

#[test]
fn connections_are_open_and_have_a_peer_or_moved_bytes() {
    let unconnected = used(open_udp(5, A));
    let tick = Tick {
        sockets: vec![
            tcp(1, A),
            SocketRecord { state: 2, ..tcp(2, A) },
            listener(3, A),
            udp(4, A),
            unconnected,
            open_udp(6, A),
            used(unix(7, A)),
        ],
        closed: vec![tcp(8, A)],
        usage: vec![calls(&unconnected, A, 1, 0), calls(&unix(7, A), A, 1, 0)],
        ..Tick::default()
    };
    assert_eq!(Run::new().procs(&tick)[&A].connections, 4);
    let rows = Run::new().conns(&tick);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5, 7, 8]);
    let states: Vec<_> = rows.values().map(|row| row.state).collect();
    assert_eq!(states, ["ESTAB", "SYN-SENT", "ESTAB", "UNCONN", "ESTAB", "CLOSED"]);
    assert_eq!(Run::new().listeners(&tick).len(), 3);
}

#[test]
fn a_connection_belongs_to_who_used_it_last() {
    let socket = SocketRecord { last_tgid: B, ..used(tcp(1, A)) };
    let tick = Tick::open(&[moved(socket, 9, 0)]).calls(&[calls(&socket, B, 4, 0)]);
    let rows = Run::new().procs(&tick);
    assert_eq!((rows[&A].connections, rows[&B].connections), (0, 1));

    let back = SocketRecord { last_tgid: A, ..socket };
    let rows = Run::new().procs(&Tick::open(&[back]).calls(&[calls(&back, B, 4, 0)]));
    assert_eq!((rows[&A].connections, rows[&B].connections), (1, 0));

    // Its calls moved nothing that was counted: the owner stands for it.
    let rows = Run::new().procs(&Tick::open(&[SocketRecord { last_tgid: C, ..tcp(1, A) }]));
    assert_eq!(rows[&A].connections, 1);
}

#[test]
fn unix_bytes_are_counted_apart() {
    let socket = used(unix(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(2, A), 10, 20)]));
    let tick = Tick::open(&[socket, moved(tcp(2, A), 10, 20)]).calls(&[calls(&socket, A, 70, 80)]);
    let rows = run.procs(&tick);
    assert_eq!(bytes_of(&rows[&A]), (10, 20));
    assert_eq!((rows[&A].unix_rx_bytes, rows[&A].unix_tx_bytes), (70, 80));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (0.0, 0.0));
    let row = &Run::new().conns(&tick)[&1];
    assert_eq!((row.proto, row.local, row.remote), ("unix", None, None));
    assert_eq!((row.rx_bytes, row.tx_bytes), (70, 80));
}

#[test]
fn addresses_come_out_as_what_they_are() {
    let mapped =
        SocketRecord { ends: Endpoints { family: AF_INET6, ..tcp(1, A).ends }, ..tcp(1, A) };
    let six = SocketRecord {
        ends: Endpoints {
            local: v6("2001:db8::1"),
            remote: v6("2001:db8::2"),
            family: AF_INET6,
            ..tcp(2, A).ends
        },
        ..tcp(2, A)
    };
    let rows = Run::new().conns(&Tick::open(&[mapped, six]));
    let end = |text: &str, port| Some((text.parse::<IpAddr>().unwrap(), port));
    assert_eq!((rows[&1].local, rows[&1].remote), (end("10.0.0.1", 5000), end("192.0.2.1", 443)));
    assert_eq!(rows[&2].local, end("2001:db8::1", 5000));
    assert_eq!(rows[&2].remote, end("2001:db8::2", 443));
}

#[test]
fn a_wildcard_stays_of_its_family() {
    let mut six = listener(1, A);
    six.ends.family = AF_INET6;
    six.ends.local = [0; 16];
    six.ends.remote = [0; 16];
    let mut four = listener(2, A);
    four.ends.local = v4([0; 4]);
    let rows = Run::new().listeners(&Tick::open(&[six, four]));
    let locals: Vec<_> = rows.iter().map(|row| row.local.unwrap().0.to_string()).collect();
    assert_eq!(locals, ["::", "0.0.0.0"]);
    for record in [six, four] {
        assert_eq!(remote(&record.ends), None);
    }
}

#[test]
fn a_raw_socket_has_no_ports() {
    for (protocol, name) in [(1, "icmp"), (58, "icmp6"), (89, "raw")] {
        let mut socket = used(tcp(1, A));
        socket.ends.protocol = protocol;
        socket.ends.local_port = protocol;
        socket.ends.remote_port = 0;
        let row = &Run::new().conns(&Tick::open(&[socket]))[&1];
        assert_eq!((row.proto, row.local.unwrap().1, row.remote.unwrap().1), (name, 0, 0));
    }
}

#[test]
fn a_filter_for_a_port_hides_other_sockets() {
    let other = SocketRecord { ends: Endpoints { remote_port: 80, ..tcp(2, A).ends }, ..tcp(2, A) };
    let tick = Tick::open(&[moved(tcp(1, A), 10, 0), moved(other, 7, 0), moved(other, 1, 0)]);
    let tick = Tick { closed: vec![SocketRecord { id: 4, ..moved(other, 50, 0) }], ..tick };
    let rows = Run::filtered("dport:443").procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), rows[&A].connections), ((10, 0), 1));
    let rows = Run::filtered("dport:443").conns(&tick);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1]);
    assert!(Run::filtered("dport:22").procs(&tick).is_empty());
}

#[test]
fn a_filter_for_a_process_takes_its_part_of_a_shared_socket() {
    let mut socket = SocketRecord { last_tgid: B, ..used(tcp(1, A)) };
    socket.owner = named(A, b"parent");
    let usage = UsageRecord { user: named(B, b"child"), ..calls(&socket, B, 300, 20) };
    let tick = Tick::open(&[moved(socket, 1000, 50)]).calls(&[usage]);
    for (filter, pid, bytes, connections) in [
        ("comm:parent", A, (700, 30), 0),
        ("comm:child", B, (300, 20), 1),
        ("pid:4194305", A, (700, 30), 0),
        ("!pid:4194305", B, (300, 20), 1),
    ] {
        let rows = Run::filtered(filter).procs(&tick);
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [pid], "{filter}");
        let row = &rows[&pid];
        assert_eq!((bytes_of(row), row.connections), (bytes, connections), "{filter}");
    }
    // The row of a socket is its last user's.
    assert!(Run::filtered("pid:4194305").conns(&tick).is_empty());
    assert_eq!(Run::filtered("pid:4194306").conns(&tick)[&1].rx_bytes, 1000);
}

#[test]
fn a_process_that_the_filter_hid_comes_with_its_first_match() {
    let mut run = Run::filtered("state:estab");
    let connecting = SocketRecord { state: 2, ..moved(tcp(1, A), 5, 0) };
    assert!(run.procs(&Tick::open(&[connecting])).is_empty());
    let rows = run.procs(&Tick::open(&[moved(tcp(1, A), 25, 0)]));
    assert_eq!((rows[&A].rx_bytes, rows[&A].rx_rate), (20, 10.0));
}

#[test]
fn a_hostile_name_comes_out_visible() {
    let mut socket = tcp(1, A);
    socket.owner = named(A, b"\x1b[31mred\n\xff");
    let rows = Run::new().procs(&Tick::open(&[socket]));
    assert_eq!(rows[&A].process.comm, "\\x1b[31mred\\x0a\\xff");
    socket.owner = named(A, b"sixteen letters!");
    let rows = Run::new().procs(&Tick::open(&[socket]));
    assert_eq!(rows[&A].process.comm, "sixteen letters!");
}

#[test]
fn a_hostile_cgroup_comes_out_visible() {
    let mut row = Run::new().procs(&Tick::open(&[tcp(1, A)])).remove(&A).unwrap();
    row.process = Arc::new(Process {
        pid: A,
        comm: "worker".to_owned(),
        uid: 0,
        user: OnceLock::new(),
        container: None,
        cgroup: Some("/\x1b[2J".into()),
    });
    let nothing = Run::new().frame(View::Procs, &Tick::default());
    let frame = Frame { rows: Rows::Procs(vec![row]), ..nothing };
    let columns = output::select(View::Procs, &["cgroup".to_owned()]).unwrap();
    let style = Style { columns: Some(columns), ..Style::default() };
    assert_eq!(output::to_string(&frame, &style).unwrap(), "CGROUP\n/\\x1b[2J\n");
}

#[test]
fn figures_of_tcp_are_in_its_units_and_unknown_where_unmeasured() {
    let measured = SocketRecord {
        srtt_us: 8 * 1500,
        rttvar_us: 4 * 200,
        min_rtt_us: 900,
        cwnd: 10,
        ssthresh: 7,
        pacing_rate: 5000,
        ..tcp(1, A)
    };
    let unmeasured = SocketRecord {
        min_rtt_us: u32::MAX,
        ssthresh: 0x7fff_ffff,
        pacing_rate: u64::MAX,
        ..tcp(2, A)
    };
    let rows = Run::new().conns(&Tick::open(&[measured, unmeasured]));
    let tcp = rows[&1].tcp.unwrap();
    assert_eq!((tcp.srtt_us, tcp.rttvar_us, tcp.min_rtt_us), (Some(1500), Some(200), Some(900)));
    assert_eq!((tcp.cwnd, tcp.ssthresh, tcp.pacing_rate), (10, Some(7), Some(5000)));
    let tcp = rows[&2].tcp.unwrap();
    assert_eq!((tcp.srtt_us, tcp.rttvar_us, tcp.min_rtt_us), (None, None, None));
    assert_eq!((tcp.ssthresh, tcp.pacing_rate), (None, None));
}

#[test]
fn what_limits_a_sender_is_measured_over_the_interval() {
    let at =
        |jiffies, busy, rwnd_limited| SocketRecord { jiffies, busy, rwnd_limited, ..tcp(1, A) };
    let limit = |rows: BTreeMap<u64, ConnRow>| rows[&1].tcp.unwrap().limit.name();
    let mut run = Run::new();
    run.conns(&Tick::open(&[at(u32::MAX - 99, 5000, 5000)]));
    // Each time 500 jiffies passed, here past the end of 32 bits.
    assert_eq!(limit(run.conns(&Tick::open(&[at(400, 5500, 5000)]))), "cwnd");
    assert_eq!(limit(run.conns(&Tick::open(&[at(900, 5800, 5200)]))), "rwnd");
    assert_eq!(limit(run.conns(&Tick::open(&[at(1400, 6000, 5400)]))), "app");
}

#[test]
fn a_process_has_the_name_that_its_youngest_socket_tells() {
    let mut socket = tcp(1, A);
    let mut run = Run::new();
    socket.owner = named(A, b"sh");
    run.procs(&Tick::open(&[socket]));
    socket.owner = named(A, b"nginx");
    assert_eq!(run.procs(&Tick::open(&[socket]))[&A].process.comm, "nginx");
}

#[test]
fn a_socket_found_in_mid_life_has_no_total() {
    let socket = flagged(used(tcp(1, A)), 8);
    let rows = Run::new().conns(&Tick::open(&[socket]).calls(&[calls(&socket, A, 300, 0)]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].rx_bytes_total), (300, None));
}

#[test]
fn what_arrived_before_the_first_use_goes_over_to_the_user() {
    let of = |owner: u32, flags: u32, rx: u64| {
        let mut record = moved(tcp(1, owner), rx, 0);
        record.flags = flags;
        record
    };
    let mut run = Run::new();
    run.procs(&Tick::default());
    let rows = run.procs(&Tick::open(&[of(A, tag::PROVISIONAL, 4000)]));
    assert_eq!(bytes_of(&rows[&A]), (4000, 0));
    let rows = run.procs(&Tick::open(&[of(B, 0, 4100)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (4100, 0)));
    assert_eq!(rows[&B].rx_rate, 50.0);
    let rows = run.procs(&Tick::closed(&[of(B, 0, 4200)]));
    assert_eq!(bytes_of(&rows[&B]), (4200, 0));

    let mut run = Run::new();
    run.procs(&Tick::default());
    run.procs(&Tick::open(&[of(A, tag::PROVISIONAL, 4000)]));
    let rows = run.procs(&Tick::closed(&[of(B, 0, 4000)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (4000, 0)));
}

//! Whose bytes they are, however sockets, calls and samples come.

use proptest::prelude::*;

use super::*;

#[test]
fn rates_are_differences_over_the_time_between_samples() {
    let mut run = Run::new();
    let first = run.frame(View::Conns, &Tick::open(&[moved(tcp(1, A), 1000, 10)]));
    let Rows::Conns(rows) = &first.rows else { panic!("conns") };
    assert_eq!((first.interval_s, rows[0].rx_rate, rows[0].tx_rate), (0.0, 0.0, 0.0));
    assert_eq!((rows[0].rx_bytes, rows[0].tx_bytes), (1000, 10));

    let second = run.frame(View::Conns, &Tick::open(&[moved(tcp(1, A), 5000, 16)]));
    let Rows::Conns(rows) = &second.rows else { panic!("conns") };
    assert_eq!((second.interval_s, rows[0].rx_rate, rows[0].tx_rate), (2.0, 2000.0, 3.0));
    assert_eq!((rows[0].rx_bytes, rows[0].tx_bytes), (5000, 16));
}

#[test]
fn a_process_sums_over_its_sockets() {
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 100, 0), moved(tcp(2, A), 10, 1)]));
    let rows = run.procs(&Tick::open(&[
        moved(tcp(1, A), 300, 0),
        moved(tcp(2, A), 10, 5),
        moved(tcp(3, B), 0, 8),
    ]));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (100.0, 2.0));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((310, 5), (0, 8)));
    assert_eq!(rows[&B].tx_rate, 4.0);
    let idle = run.procs(&Tick::open(&[moved(tcp(1, A), 300, 0), moved(tcp(2, A), 10, 5)]));
    assert_eq!((idle[&A].rx_rate, idle[&A].tx_rate), (0.0, 0.0));
    assert_eq!(bytes_of(&idle[&A]), (310, 5));
}

#[test]
fn a_seeded_socket_counts_only_what_came_since() {
    let old = SocketRecord { retransmits: 9, drops: 4, ..moved(seeded(tcp(1, A)), 1000, 100) };
    let new = SocketRecord { retransmits: 11, drops: 5, ..moved(old, 1500, 107) };
    let mut run = Run::new();
    let rows = run.conns(&Tick::open(&[old]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (0, 0));
    assert_eq!((rows[&1].rx_bytes_total, rows[&1].tx_bytes_total), (Some(1000), Some(100)));

    let rows = run.conns(&Tick::open(&[new]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (500, 7));
    assert_eq!((rows[&1].rx_bytes_total, rows[&1].tx_bytes_total), (Some(1500), Some(107)));
    assert_eq!((rows[&1].rx_rate, rows[&1].tx_rate), (250.0, 3.5));
    assert_eq!(rows[&1].tcp.map(|tcp| tcp.retransmits), Some(11));
    assert_eq!(rows[&1].age_s, None);

    let mut run = Run::new();
    run.procs(&Tick::open(&[old]));
    let rows = run.procs(&Tick::open(&[new]));
    assert_eq!((bytes_of(&rows[&A]), rows[&A].retransmits, rows[&A].drops), ((500, 7), 2, 1));
}

#[test]
fn a_socket_born_later_counts_everything() {
    let born = 2_500_000_000;
    let id = (born >> 6) << 12;
    let record = SocketRecord { retransmits: 2, drops: 1, ..moved(tcp(id, A), 70, 80) };
    let mut run = Run::new();
    run.conns(&Tick::default());
    let rows = run.conns(&Tick::open(&[record]));
    assert_eq!((rows[&id].rx_bytes, rows[&id].rx_bytes_total), (70, Some(70)));
    assert_eq!((rows[&id].rx_rate, rows[&id].tx_rate), (35.0, 40.0));
    assert_eq!(rows[&id].tcp.map(|tcp| tcp.retransmits), Some(2));
    // The second sample is at 5 s.
    assert_eq!(rows[&id].age_s, Some(2.5));
}

#[test]
fn the_owner_has_what_others_did_not_move() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 100, 0)]));
    let rows = run.procs(
        &Tick::open(&[moved(socket, 1000, 50)])
            .calls(&[calls(&socket, B, 300, 20), calls(&socket, C, 5, 0)]),
    );
    assert_eq!(bytes_of(&rows[&A]), (695, 30));
    assert_eq!(bytes_of(&rows[&B]), (300, 20));
    assert_eq!(bytes_of(&rows[&C]), (5, 0));
    assert_eq!((rows[&A].rx_rate, rows[&B].rx_rate, rows[&C].rx_rate), (297.5, 150.0, 2.5));
}

#[test]
fn a_shared_socket_s_row_has_the_bytes_of_all() {
    let socket = SocketRecord { last_tgid: B, ..used(tcp(1, A)) };
    let mut run = Run::new();
    run.conns(&Tick::open(&[moved(tcp(1, A), 100, 0)]));
    let rows =
        run.conns(&Tick::open(&[moved(socket, 1000, 50)]).calls(&[calls(&socket, B, 300, 20)]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (1000, 50));
    assert_eq!((rows[&1].rx_rate, rows[&1].tx_rate), (450.0, 25.0));
    assert_eq!(rows[&1].process.pid, B);
}

#[test]
fn an_owner_s_share_is_right_once_the_tables_agree() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 1000, 1000)]).calls(&[calls(&socket, B, 100, 100)]));
    // The other moved 300 more between the reads of the two tables.
    let ahead =
        run.procs(&Tick::open(&[moved(socket, 1000, 1000)]).calls(&[calls(&socket, B, 400, 400)]));
    assert_eq!(bytes_of(&ahead[&A]), (600, 600));
    assert_eq!((bytes_of(&ahead[&B]), ahead[&A].rx_rate), ((400, 400), 0.0));
    let level =
        run.procs(&Tick::open(&[moved(socket, 1350, 1300)]).calls(&[calls(&socket, B, 400, 400)]));
    assert_eq!(bytes_of(&level[&A]), (950, 900));
    assert_eq!((level[&A].rx_rate, level[&A].tx_rate), (175.0, 150.0));
}

#[test]
fn a_closed_socket_counts_to_the_byte_and_is_shown_once() {
    let mut run = Run::new();
    run.conns(&Tick::open(&[moved(tcp(1, A), 100, 10)]));
    let rows = run.conns(&Tick::closed(&[moved(tcp(1, A), 1123, 11)]));
    assert!(rows[&1].ended);
    assert_eq!(rows[&1].state, "CLOSED");
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (1123, 11));
    assert_eq!(rows[&1].rx_rate, 511.5);
    assert!(run.conns(&Tick::default()).is_empty());
}

#[test]
fn a_closed_shared_socket_counts_to_the_byte() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 100, 10)]).calls(&[calls(&socket, B, 40, 0)]));
    let rows = run
        .procs(&Tick::closed(&[moved(socket, 200, 30)]).calls(&[last_calls(&socket, B, 90, 20)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((110, 10), (90, 20)));
    assert!(rows[&A].ended && rows[&B].ended);
}

#[test]
fn a_socket_never_seen_open_counts_whole() {
    let mut run = Run::new();
    run.conns(&Tick::default());
    let rows = run.conns(&Tick::closed(&[moved(tcp(1, A), 77, 33)]));
    assert!(rows[&1].ended);
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (77, 33));
    assert!(run.conns(&Tick::default()).is_empty());

    let mut run = Run::new();
    run.procs(&Tick::default());
    let rows = run.procs(&Tick::closed(&[moved(tcp(1, A), 77, 33)]));
    assert_eq!((bytes_of(&rows[&A]), rows[&A].rx_rate), ((77, 33), 38.5));
}

#[test]
fn a_seeded_socket_that_closes_before_the_first_read_contributes_nothing() {
    let mut run = Run::new();
    let rows = run.procs(&Tick::closed(&[moved(seeded(tcp(1, A)), 1000, 2000)]));
    assert_eq!(bytes_of(&rows[&A]), (0, 0));
    let rows = run.conns(&Tick::closed(&[moved(seeded(tcp(2, A)), 1000, 2000)]));
    assert_eq!((rows[&2].rx_bytes, rows[&2].rx_bytes_total), (0, Some(1000)));
}

#[test]
fn a_socket_that_is_in_the_table_and_closed_is_counted_once() {
    // It closed between the read of the table and the read of the ring.
    let socket = SocketRecord { retransmits: 3, ..used(tcp(1, A)) };
    let tick = Tick {
        sockets: vec![moved(socket, 900, 0)],
        closed: vec![moved(socket, 1000, 0)],
        usage: vec![calls(&socket, B, 300, 0)],
        ..Tick::default()
    };
    let before = Tick::open(&[moved(socket, 500, 0)]).calls(&[calls(&socket, B, 100, 0)]);

    let mut run = Run::new();
    run.procs(&before);
    let rows = run.procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((700, 0), (300, 0)));
    assert_eq!((rows[&A].retransmits, rows[&A].connections), (3, 0));
    assert!(rows[&A].ended);

    let mut run = Run::new();
    run.conns(&before);
    let rows = run.conns(&tick);
    assert_eq!((rows[&1].rx_bytes, rows[&1].rx_rate, rows[&1].ended), (1000, 250.0, true));
    assert!(run.conns(&Tick::default()).is_empty());
}

#[test]
fn what_was_absorbed_counts_in_the_next_frame() {
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 100, 0), moved(tcp(2, B), 10, 0)]));
    run.absorb(&[moved(tcp(1, A), 150, 4)]);
    run.absorb(&[moved(tcp(3, A), 7, 0), moved(seeded(tcp(4, C)), 9, 9)]);
    let rows = run.procs(&Tick::open(&[moved(tcp(2, B), 20, 0)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((157, 4), (20, 0)));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate, rows[&B].rx_rate), (28.5, 2.0, 5.0));
    assert_eq!((rows[&A].ended, rows[&B].ended, bytes_of(&rows[&C])), (true, false, (0, 0)));
    let rows = run.procs(&Tick::open(&[moved(tcp(2, B), 20, 0)]));
    assert_eq!((rows.len(), rows[&B].rx_rate), (1, 0.0));
}

#[test]
fn what_was_absorbed_has_no_row_and_that_is_told() {
    let mut run = Run::new();
    let first = run.frame(View::Conns, &Tick::open(&[tcp(1, A), tcp(2, A)]));
    assert_eq!(first.losses.happened().count(), 0);
    run.absorb(&[tcp(1, A), tcp(3, A)]);
    let frame = run.frame(View::Conns, &Tick::open(&[tcp(2, A)]));
    assert_eq!(frame.losses.happened().collect::<Vec<_>>(), [("closed_unlisted", 2)]);
    let Rows::Conns(rows) = frame.rows else { panic!("conns") };
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [2]);
}

#[test]
fn without_calls_only_tcp_s_bytes_are_known() {
    let tick = Tick::open(&[tcp(1, A), udp(2, A)]);
    let rows = Run::new().conns(&Tick { uncounted: true, ..tick.clone() });
    assert_eq!((rows[&1].counted, rows[&2].counted), (true, false));
    let rows = Run::new().conns(&tick);
    assert_eq!((rows[&1].counted, rows[&2].counted), (true, true));
}

#[test]
fn a_udp_socket_that_dies_between_samples_is_shown_once() {
    let socket = used(udp(1, A));
    let open = Tick::open(&[socket]).calls(&[calls(&socket, A, 100, 10)]);
    let gone = Tick::default().calls(&[last_calls(&socket, A, 150, 30)]);

    let mut run = Run::new();
    assert!(!run.conns(&open)[&1].ended);
    let rows = run.conns(&gone);
    assert!(rows[&1].ended);
    assert_eq!((rows[&1].proto, rows[&1].state), ("udp", "CLOSED"));
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes), (150, 30));
    assert_eq!((rows[&1].rx_rate, rows[&1].tx_rate), (25.0, 10.0));
    assert_eq!((rows[&1].rx_bytes_total, rows[&1].tcp), (None, None));
    assert!(run.conns(&Tick::default()).is_empty());

    let mut run = Run::new();
    run.procs(&open);
    let rows = run.procs(&gone);
    assert_eq!((bytes_of(&rows[&A]), rows[&A].ended), ((150, 30), true));
}

#[test]
fn a_udp_socket_s_bytes_belong_to_who_made_the_calls() {
    let socket = used(udp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[udp(1, A)]));
    let tick = Tick::open(&[socket]).calls(&[calls(&socket, A, 100, 0), calls(&socket, B, 0, 40)]);
    let rows = run.procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((100, 0), (0, 40)));
    assert_eq!((rows[&A].rx_rate, rows[&B].tx_rate), (50.0, 20.0));
    let rows = run.conns(&tick);
    assert_eq!((rows[&1].rx_bytes, rows[&1].tx_bytes, rows[&1].rx_rate), (100, 40, 0.0));
}

#[test]
fn what_was_used_before_it_was_read_counts_once() {
    // Younger than the walk over the table: in this sample only its calls tell of it.
    let socket = used(udp(1, A));
    let mut run = Run::new();
    run.conns(&Tick::default());
    let rows = run.conns(&Tick::default().calls(&[calls(&socket, A, 10, 20)]));
    assert_eq!((rows[&1].rx_bytes, rows[&1].ended, rows[&1].state), (10, false, "ESTAB"));
    let rows = run.procs(&Tick::open(&[socket]).calls(&[calls(&socket, A, 10, 25)]));
    assert_eq!(bytes_of(&rows[&A]), (10, 25));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (0.0, 2.5));
}

#[test]
fn a_socket_first_used_after_it_was_read_counts_once() {
    // The record has no flag yet that tells of calls.
    let socket = moved(tcp(1, A), 100, 0);
    let tick = Tick::open(&[socket]).calls(&[calls(&socket, B, 40, 0)]);
    let rows = Run::new().procs(&tick);
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((60, 0), (40, 0)));
    let rows = Run::new().conns(&tick);
    assert_eq!((rows.len(), rows[&1].rx_bytes, rows[&1].ended), (1, 100, false));
}

#[test]
fn a_dead_process_is_shown_once_with_its_sums() {
    let mut run = Run::new();
    let rows = run.procs(&Tick::open(&[moved(tcp(1, A), 5, 6)]));
    assert!(!rows[&A].ended, "an open socket keeps it");
    let rows = run.procs(&Tick::default());
    assert_eq!((bytes_of(&rows[&A]), rows[&A].ended), ((5, 6), true));
    assert!(run.procs(&Tick::default()).is_empty());
}

#[test]
fn what_a_dead_process_did_and_is_told_late_joins_its_sums() {
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 5, 6)]));
    assert!(run.procs(&Tick::closed(&[moved(tcp(1, A), 7, 6)]))[&A].ended);
    let rows = run.procs(&Tick::closed(&[moved(tcp(2, A), 100, 200)]));
    assert_eq!((bytes_of(&rows[&A]), rows[&A].ended), ((107, 206), true));
    assert_eq!((rows[&A].rx_rate, rows[&A].tx_rate), (50.0, 100.0));
    assert!(run.procs(&Tick::default()).is_empty());
    let rows = run.procs(&Tick::closed(&[moved(tcp(3, A), 1, 1)]));
    assert_eq!(bytes_of(&rows[&A]), (1, 1), "nobody is remembered for ever");
}

#[test]
fn a_living_process_stays_when_its_sockets_are_gone() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    let pid = std::process::id();
    let mut record = moved(tcp(1, pid), 5, 6);
    record.owner.start = ticks.parse::<u64>().unwrap() * 10_000_000;
    let mut run = Run::new();
    run.procs(&Tick::open(&[record]));
    for _ in 0..2 {
        let rows = run.procs(&Tick::default());
        assert_eq!((bytes_of(&rows[&pid]), rows[&pid].ended), ((5, 6), false));
        assert_eq!((rows[&pid].rx_rate, rows[&pid].connections), (0.0, 0));
    }
}

#[test]
fn a_process_id_used_again_is_another_process() {
    let mut later = moved(tcp(2, A), 7, 0);
    later.owner.start = 60_000_000_000;
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(tcp(1, A), 5, 0)]));
    let Rows::Procs(mut rows) = run.frame(View::Procs, &Tick::open(&[later])).rows else {
        panic!("procs")
    };
    rows.sort_by_key(|row| row.rx_bytes);
    let seen: Vec<_> = rows.iter().map(|row| (row.rx_bytes, row.ended)).collect();
    assert_eq!(seen, [(5, true), (7, false)]);
}

#[test]
fn nothing_is_remembered_of_what_is_gone() {
    let (tcp, udp) = (used(tcp(1, A)), used(udp(2, B)));
    let mut run = Run::filtered("pid:4194305");
    run.procs(&Tick::open(&[tcp, udp]).calls(&[calls(&tcp, C, 1, 1), calls(&udp, B, 1, 1)]));
    run.procs(
        &Tick::closed(&[moved(tcp, 9, 9)])
            .calls(&[last_calls(&tcp, C, 1, 1), last_calls(&udp, B, 1, 1)]),
    );
    run.procs(&Tick::default());
    let table = &run.model.sockets;
    assert!(
        table.sockets.is_empty() && table.used.is_empty() && table.processes.iter().count() == 0
    );
}

/// Moves of one step: by the owner, by two others, and by these others between the read of the
/// socket table and of the usage table.
type Step = [[u64; 2]; 5];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let amount = prop_oneof![Just(0), 1..2000_u64];
    proptest::collection::vec(proptest::array::uniform5(proptest::array::uniform2(amount)), 1..9)
}

proptest! {
    #[test]
    fn sums_over_processes_equal_the_kernel_s_total(
        steps in steps(),
        seed in proptest::option::of([0..5000_u64, 0..5000_u64]),
        closes: bool,
    ) {
        let base = seed.unwrap_or_default();
        let mut socket = moved(tcp(1, A), base[0], base[1]);
        if seed.is_some() {
            socket.flags |= tag::SEEDED;
        }
        let mut run = Run::new();
        run.procs(&Tick::open(&[socket]));
        socket.flags |= tag::USED;

        let mut by_b = [0, 0];
        let mut by_c = [0, 0];
        let add = |sum: &mut [u64; 2], more: [u64; 2]| {
            sum[0] += more[0];
            sum[1] += more[1];
        };
        let mut total = base;
        // B's calls are at times read later than the table; C's at times return later.
        for [owner, b, c, late_b, early_c] in steps {
            for part in [owner, b, c, early_c] {
                add(&mut total, part);
            }
            for part in [b, late_b] {
                add(&mut by_b, part);
            }
            add(&mut by_c, c);
            let tick = Tick::open(&[moved(socket, total[0], total[1])]);
            let usage = [calls(&socket, B, by_b[0], by_b[1]), calls(&socket, C, by_c[0], by_c[1])];
            run.procs(&tick.calls(&usage));
            add(&mut total, late_b);
            add(&mut by_c, early_c);
        }

        let last = moved(socket, total[0], total[1]);
        let tick = if closes { Tick::closed(&[last]) } else { Tick::open(&[last]) };
        let usage = [calls(&socket, B, by_b[0], by_b[1]), calls(&socket, C, by_c[0], by_c[1])];
        let rows = run.procs(&tick.calls(&usage));
        let sum = rows.values().map(bytes_of).fold((0, 0), |s, r| (s.0 + r.0, s.1 + r.1));
        prop_assert_eq!(sum, if seed.is_some() {
            (total[0] - base[0], total[1] - base[1])
        } else {
            (total[0], total[1])
        });
        prop_assert_eq!(bytes_of(&rows[&B]), (by_b[0], by_b[1]));
        prop_assert_eq!(bytes_of(&rows[&C]), (by_c[0], by_c[1]));
    }
}

#[test]
fn hosts_count_what_was_absorbed() {
    let mut run = Run::new();
    run.hosts(&Tick::open(&[tcp(1, A)]));
    run.absorb(&[moved(tcp(1, A), 1000, 0)]);
    assert_eq!(run.hosts(&Tick::default()).get("192.0.2.1").map(|r| r.rx_rate), Some(500.0));
}

#[test]
fn calls_before_the_first_read_are_not_in_a_seeded_socket_s_base() {
    let socket = used(seeded(tcp(1, A)));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 1000, 0)]).calls(&[calls(&socket, B, 100, 0)]));
    let rows =
        run.procs(&Tick::open(&[moved(socket, 1050, 0)]).calls(&[calls(&socket, B, 100, 0)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((50, 0), (100, 0)));
}

#[test]
fn what_waits_in_a_shared_socket_is_nobody_s() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    let queued = SocketRecord { receive_queue: 100, ..moved(socket, 100, 0) };
    run.procs(&Tick::open(&[queued]).calls(&[calls(&socket, B, 0, 0)]));
    let rows = run.procs(&Tick::open(&[moved(socket, 100, 0)]).calls(&[calls(&socket, B, 100, 0)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (100, 0)));
}

#[test]
fn a_call_that_returns_takes_back_what_the_owner_was_given() {
    let socket = used(tcp(1, A));
    let mut run = Run::new();
    run.procs(&Tick::open(&[moved(socket, 0, 100)]).calls(&[calls(&socket, B, 0, 0)]));
    let rows = run.procs(&Tick::open(&[moved(socket, 0, 100)]).calls(&[calls(&socket, B, 0, 100)]));
    assert_eq!((bytes_of(&rows[&A]), bytes_of(&rows[&B])), ((0, 0), (0, 100)));
}

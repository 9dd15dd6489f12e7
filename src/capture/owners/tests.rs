use super::*;
use crate::packet::filter::LinkType;
use crate::sample::place::{ANY, ANY_V4, End};

const NETNS: u32 = 100;
const OTHER_NETNS: u32 = 200;

fn end(last: u8, port: u16) -> End {
    (mapped(IpAddr::from([10, 0, 0, last])), port)
}

fn process(tgid: u32) -> ProcessRecord {
    ProcessRecord { tgid, ..ProcessRecord::default() }
}

fn socket(netns: u32, protocol: u8, local: End, remote: End, tgid: u32) -> SocketRecord {
    let ends = Endpoints {
        local: local.0,
        local_port: local.1,
        remote: remote.0,
        remote_port: remote.1,
        netns,
        protocol: protocol.into(),
        ..Endpoints::default()
    };
    SocketRecord { ends, owner: process(tgid), ..SocketRecord::default() }
}

fn packet(
    direction: PacketDirection,
    protocol: u8,
    from: (u8, u16),
    to: (u8, u16),
) -> (PacketRecord, Vec<u8>) {
    let mut bytes = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = builder.ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 64);
    let written = match protocol {
        6 => builder.tcp(from.1, to.1, 1, 1).write(&mut bytes, &[]),
        _ => builder.udp(from.1, to.1).write(&mut bytes, &[]),
    };
    assert!(written.is_ok());
    let record = PacketRecord {
        time_ns: 0,
        index: 1,
        link: LinkType::Ethernet,
        direction,
        length: bytes.len() as u32,
        bytes: 0..bytes.len(),
        owner: None,
        cookie: 0,
    };
    (record, bytes)
}

fn owner(owners: &Owners, (record, bytes): &(PacketRecord, Vec<u8>)) -> Option<u32> {
    owners.look_up(record, bytes).map(|process| process.tgid)
}

fn owners(sockets: &[SocketRecord]) -> Owners {
    let mut owners = Owners::new(Filter::default(), NETNS, false);
    owners.absorb(sockets);
    owners
}

#[test]
fn both_directions_of_a_connection_are_its_process_s() {
    let owners = owners(&[socket(NETNS, 6, end(2, 80), end(1, 4000), 7)]);
    assert_eq!(owner(&owners, &packet(PacketDirection::In, 6, (1, 4000), (2, 80))), Some(7));
    assert_eq!(owner(&owners, &packet(PacketDirection::Out, 6, (2, 80), (1, 4000))), Some(7));
    assert_eq!(owner(&owners, &packet(PacketDirection::In, 6, (1, 4001), (2, 80))), None);
    assert_eq!(owner(&owners, &packet(PacketDirection::In, 17, (1, 4000), (2, 80))), None);
}

#[test]
fn of_two_ends_on_one_machine_the_direction_chooses() {
    let owners = owners(&[
        socket(NETNS, 6, end(2, 80), end(1, 4000), 7),
        socket(NETNS, 6, end(1, 4000), end(2, 80), 8),
    ]);
    assert_eq!(owner(&owners, &packet(PacketDirection::Out, 6, (1, 4000), (2, 80))), Some(8));
    assert_eq!(owner(&owners, &packet(PacketDirection::In, 6, (1, 4000), (2, 80))), Some(7));
}

#[test]
fn sockets_that_are_bound_to_any_address_count_in_their_namespace_alone() {
    let any = (ANY_V4, 0);
    let udp = socket(NETNS, 17, (ANY_V4, 53), any, 7);
    let own = owners(&[udp]);
    assert_eq!(owner(&own, &packet(PacketDirection::In, 17, (1, 4000), (2, 53))), Some(7));
    // Somebody else's server, of the same port.
    assert_eq!(owner(&own, &packet(PacketDirection::Out, 17, (2, 4000), (1, 53))), None);
    let other = owners(&[socket(OTHER_NETNS, 17, (ANY_V4, 53), any, 7)]);
    assert_eq!(owner(&other, &packet(PacketDirection::In, 17, (1, 4000), (2, 53))), None);
}

#[test]
fn connections_of_containers_are_known_by_both_ends() {
    let owners = owners(&[socket(OTHER_NETNS, 6, end(2, 80), end(1, 4000), 7)]);
    assert_eq!(owner(&owners, &packet(PacketDirection::Out, 6, (1, 4000), (2, 80))), Some(7));
    assert_eq!(owner(&owners, &packet(PacketDirection::In, 6, (2, 80), (1, 4000))), Some(7));
}

#[test]
fn a_sender_s_socket_comes_after_the_receiver_s_own() {
    let mut owners = owners(&[socket(NETNS, 17, end(2, 53), (ANY, 0), 7)]);
    owners.generations[0].cookies.insert(99, process(8));
    let with_cookie = |direction, from, to| {
        let (record, bytes) = packet(direction, 17, from, to);
        (PacketRecord { cookie: 99, ..record }, bytes)
    };
    let received = with_cookie(PacketDirection::In, (1, 4000), (2, 53));
    assert_eq!(owner(&owners, &received), Some(7));
    let elsewhere = with_cookie(PacketDirection::In, (1, 4000), (3, 53));
    assert_eq!(owner(&owners, &elsewhere), Some(8));
    let sent = with_cookie(PacketDirection::Out, (2, 53), (1, 4000));
    assert_eq!(owner(&owners, &sent), Some(8));
}

fn batch((record, bytes): (PacketRecord, Vec<u8>)) -> PacketBatch {
    PacketBatch { records: vec![record], bytes, ..PacketBatch::default() }
}

#[test]
fn the_tables_are_read_once_for_what_is_not_in_them() {
    let sent = |port| batch(packet(PacketDirection::Out, 6, (1, port), (2, 80)));
    for is_scoped in [false, true] {
        let mut owners = Owners::new(Filter::default(), NETNS, is_scoped);
        owners.absorb(&[socket(NETNS, 6, end(1, 4000), end(2, 80), 7)]);
        assert_eq!(owners.lack(&sent(4000)), None);
        assert_eq!(owners.lack(&sent(4001)), Some(SETTLED));
        assert_eq!(owners.lack(&sent(4001)), None);
        // What has no ends is nobody's.
        assert_eq!(
            owners.lack(&batch((packet(PacketDirection::In, 6, (1, 1), (2, 2)).0, vec![0; 60]))),
            None
        );
        owners.learn_at = Instant::now() + LEARN_AFTER;
        let wait = owners.lack(&sent(4002));
        // Only what would be left out waits.
        assert_eq!(wait.is_some_and(|wait| wait > SETTLED), is_scoped);
        owners.learn_soon();
        assert_eq!(owners.lack(&sent(4001)), Some(SETTLED));
    }
}

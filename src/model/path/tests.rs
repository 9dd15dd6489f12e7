use super::*;
use crate::sample::DropFlow;

const MS: u64 = 1_000_000;

fn address(last: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]
}

fn step(clock_ns: u64, packet: u64, skb: u64, kind: PathKind, place: &str) -> PathStep {
    PathStep {
        time: SystemTime::UNIX_EPOCH + Duration::from_nanos(clock_ns),
        clock_ns,
        packet,
        skb,
        kind,
        place: Some(place.into()),
        location: 0,
        reason: None,
        flow: DropFlow {
            source: address(1),
            destination: address(2),
            source_port: 4000,
            destination_port: 53,
        },
        proto: (0x0800, 17, 0),
        interface: [0; 16],
        netns: 0,
        mark: 0,
        length: 32,
        cpu: 0,
        stack: Vec::new(),
    }
}

fn finished(paths: &mut Paths, clock_ns: u64, all: bool) -> Vec<PathPacket> {
    let (symbols, mut netns) = (Symbols::default(), NetnsNames::read());
    paths.finished(clock_ns, all, &mut Lens { netns: &mut netns, symbols: &symbols })
}

fn functions(packet: &PathPacket) -> Vec<&str> {
    packet.steps.iter().map(|row| row.function.as_deref().unwrap_or("-")).collect()
}

#[test]
fn steps_of_packets_that_come_mixed_are_together_and_in_order() {
    let mut paths = Paths::new(None);
    paths.absorb(vec![
        step(1000, 70, 1, PathKind::Step, "a"),
        step(1500, 80, 2, PathKind::Step, "a"),
        step(3000, 70, 1, PathKind::Freed, "c"),
        step(2000, 70, 1, PathKind::Step, "b"),
        step(2500, 80, 2, PathKind::Freed, "b"),
    ]);
    assert!(finished(&mut paths, 3000, false).is_empty(), "copies may come yet");
    let packets = finished(&mut paths, 200 * MS, false);
    assert_eq!(packets.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(functions(&packets[0]), ["a", "b", "c"]);
    assert_eq!(
        packets[0].steps.iter().map(|row| row.since_ns).collect::<Vec<_>>(),
        [0, 1000, 1000]
    );
    assert_eq!((packets[0].end, packets[1].end), (PathEnd::Freed, PathEnd::Freed));
}

#[test]
fn a_packet_has_ended_when_all_its_copies_have() {
    let mut paths = Paths::new(None);
    paths.absorb(vec![
        step(1, 7, 1, PathKind::Step, "a"),
        step(2, 7, 2, PathKind::Copied, "skb_clone"),
        step(3, 7, 1, PathKind::Consumed, ""),
    ]);
    assert!(finished(&mut paths, 200 * MS, false).is_empty());
    paths.absorb(vec![step(201 * MS, 7, 2, PathKind::Dropped, "")]);
    let packets = finished(&mut paths, 400 * MS, false);
    assert_eq!(packets[0].steps.iter().map(|row| row.copy).collect::<Vec<_>>(), [1, 2, 1, 2]);
    assert_eq!(packets[0].end, PathEnd::Dropped);
}

#[test]
fn a_copy_at_the_address_of_one_that_is_gone_is_another() {
    let mut paths = Paths::new(None);
    let cloned = |at| {
        [step(at, 7, 2, PathKind::Copied, "skb_clone"), step(at + 1, 7, 2, PathKind::Consumed, "")]
    };
    paths.absorb(
        [vec![step(1, 7, 1, PathKind::Step, "a")], cloned(2).into(), cloned(4).into()].concat(),
    );
    let packets = finished(&mut paths, 6, true);
    assert_eq!(packets[0].steps.iter().map(|row| row.copy).collect::<Vec<_>>(), [1, 2, 2, 3, 3]);
}

#[test]
fn what_waits_is_shown_and_goes_on_when_it_goes_on() {
    let mut paths = Paths::new(Some(1));
    paths.absorb(vec![step(1, 7, 1, PathKind::Step, "a")]);
    let packets = finished(&mut paths, 1001 * MS, false);
    assert_eq!((packets[0].end, packets[0].is_continued), (PathEnd::Open, false));
    assert!(paths.is_enough());
    paths.absorb(vec![step(1500 * MS + 1, 7, 1, PathKind::Consumed, "")]);
    let packets = finished(&mut paths, 1700 * MS, false);
    assert_eq!((packets[0].end, packets[0].is_continued), (PathEnd::Consumed, true));
    assert_eq!(packets[0].steps[0].since_ns, 1500 * MS);
}

#[test]
fn changes_of_ends_and_of_the_mark_are_told_where_they_are_seen_first() {
    let mut paths = Paths::new(None);
    let translated = |clock_ns| {
        let mut step = step(clock_ns, 7, 1, PathKind::Step, "b");
        (step.flow.destination, step.mark) = (address(9), 5);
        step
    };
    paths.absorb(vec![step(1, 7, 1, PathKind::Step, "a"), translated(2), translated(3)]);
    let packets = finished(&mut paths, 4, true);
    let was: Vec<_> =
        packets[0].steps.iter().map(|row| row.was.map(|was| was.to_string())).collect();
    assert_eq!(was, [None, Some("10.0.0.1:4000 > 10.0.0.2:53".to_owned()), None]);
    let marked: Vec<bool> = packets[0].steps.iter().map(|row| row.is_marked).collect();
    assert_eq!(marked, [false, true, false]);
    assert_eq!(packets[0].flow.unwrap().to_string(), "10.0.0.1:4000 > 10.0.0.2:53");
}

#[test]
fn no_more_packets_are_taken_than_were_asked_for() {
    let mut paths = Paths::new(Some(2));
    paths.absorb((0..5).map(|id| step(id, 100 + id, id, PathKind::Freed, "a")).collect());
    assert_eq!(finished(&mut paths, 200 * MS, false).len(), 2);
    assert_eq!((paths.count(), paths.is_enough()), (2, true));
}

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::packet::reader::Reader;
use crate::sample::PacketDirection;

/// 2025-11-24T16:00:00Z, ns.
const NOON_NS: u64 = 1_764_000_000_000_000_000;
const NS_PER_S: u64 = 1_000_000_000;

fn name(rotation: &Rotation, number: u64) -> String {
    rotation.name(number, NOON_NS).unwrap().display().to_string()
}

#[test]
fn files_are_numbered_before_their_extension() {
    let rotation =
        |path: &str| Rotation { path: path.into(), bytes: Some(1), ..Rotation::default() };
    assert_eq!(name(&rotation("a/b.pcapng"), 0), "a/b.pcapng");
    assert_eq!(name(&rotation("a/b.pcapng"), 2), "a/b.2.pcapng");
    assert_eq!(name(&rotation("b"), 12), "b.12");
    let ring = Rotation { files: Some(12), ..rotation("b.pcapng") };
    assert_eq!(name(&ring, 3), "b.03.pcapng");
    assert_eq!(name(&ring, 15), "b.03.pcapng");
}

#[test]
fn names_may_have_the_time() {
    let path = "x-%Y%m%dT%H%M%S.pcapng".into();
    let timed = Rotation { path, seconds: Some(60), ..Rotation::default() };
    assert_eq!(name(&timed, 5), "x-20251124T160000.pcapng");
    let untimed = Rotation { seconds: None, bytes: Some(9), ..timed };
    assert_eq!(name(&untimed, 0), "x-%Y%m%dT%H%M%S.pcapng");
    let wrong = Rotation { path: "x-%!".into(), seconds: Some(1), ..Rotation::default() };
    assert!(wrong.check().unwrap_err().0.contains("x-%!"));
}

#[test]
fn what_does_not_go_together_is_told() {
    let stdout = Rotation { path: "-".into(), seconds: Some(1), ..Rotation::default() };
    assert!(stdout.check().unwrap_err().0.contains("stdout is one"));
    let count = Rotation { path: "x".into(), files: Some(1), ..Rotation::default() };
    assert!(count.check().unwrap_err().0.contains("-W goes with"));
}

fn packet(time_ns: u64) -> Shown<'static> {
    Shown {
        time_ns,
        length: 100,
        bytes: &[7; 100],
        link: LinkType::Ethernet,
        index: 3,
        interface: "eth0",
        direction: Some(PacketDirection::In),
        owner: None,
        comment: "direction=in",
    }
}

/// How many packets each file of a folder has, by name.
fn packets(dir: &Path) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut reader = Reader::new(fs::File::open(&path).unwrap()).unwrap();
        let mut count = 0;
        while reader.next_packet().unwrap().is_some() {
            count += 1;
        }
        all.push((path.file_name().unwrap().to_string_lossy().into_owned(), count));
    }
    all.sort();
    all
}

fn write(rotation: Rotation, times: impl Iterator<Item = u64>) -> Result<Vec<bool>> {
    let about = About { began_ns: Some(NOON_NS), ..About::default() };
    let mut files = Files::new(rotation, about, NOON_NS)?;
    let counts = CaptureCounts {
        index: 3,
        interface: "eth0".into(),
        link: LinkType::Ethernet,
        seen: 9,
        accepted: 8,
        lost: 1,
    };
    files.note(&[counts]);
    let taken = times.map(|time_ns| files.packet(&packet(time_ns))).collect();
    files.end()?;
    taken
}

#[test]
fn a_ring_keeps_the_last_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcapng");
    let rotation = Rotation { path, bytes: Some(600), files: Some(2), ..Rotation::default() };
    let taken = write(rotation, (0..9).map(|_| NOON_NS)).unwrap();
    assert!(taken.iter().all(|taken| *taken));
    // Four reach the size; of nine the last five are there.
    let expected = [("x.0.pcapng".to_owned(), 1), ("x.1.pcapng".to_owned(), 4)];
    assert_eq!(packets(dir.path()), expected);
}

#[test]
fn files_that_age_end_with_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcapng");
    let rotation = Rotation { path, seconds: Some(10), files: Some(2), ..Rotation::default() };
    let times = [0, 9, 10, 15, 25].map(|seconds| NOON_NS + seconds * NS_PER_S);
    assert_eq!(write(rotation, times.into_iter()).unwrap(), [true, true, true, true, false]);
    let expected = [("x.1.pcapng".to_owned(), 2), ("x.pcapng".to_owned(), 2)];
    assert_eq!(packets(dir.path()), expected);
}

#[test]
fn a_time_that_comes_twice_gets_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-%H.pcapng");
    let rotation = Rotation { path, seconds: Some(10), ..Rotation::default() };
    write(rotation, [0, 10, 20].map(|seconds| NOON_NS + seconds * NS_PER_S).into_iter()).unwrap();
    let names: Vec<String> = packets(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn an_existing_file_is_kept_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcapng");
    fs::write(&path, "old").unwrap();
    let rotation = Rotation { path: path.clone(), ..Rotation::default() };
    let error = write(rotation, [NOON_NS].into_iter()).unwrap_err();
    assert!(error.to_string().ends_with("exists; --force overwrites it"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#![allow(clippy::unwrap_used)]

use etherparse::PacketBuilder;

use super::*;
use crate::output::assert_fits;
use crate::packet::comment::Owner;
use crate::packet::filter::LinkType;

fn udp() -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.udp(53, 4000).write(&mut bytes, b"abc").unwrap();
    bytes
}

fn shown<'a>(bytes: &'a [u8], owner: Option<&'a Owner>) -> Shown<'a> {
    Shown {
        time_ns: 1_764_000_000_123_456_789,
        length: bytes.len() as u32,
        bytes,
        link: LinkType::Ethernet,
        index: 3,
        interface: "eth0",
        direction: Some(PacketDirection::In),
        owner,
        comment: "",
    }
}

fn owner() -> Owner {
    Owner { pid: 7, comm: "named".into(), container: Some("named.service".into()) }
}

#[test]
fn a_line_ends_with_whose_it_is() {
    let line = |packet: &Shown<'_>| {
        let mut text = String::new();
        write_line(&mut text, &mut line::Lines::default(), packet);
        text
    };
    let (bytes, owner) = (udp(), owner());
    assert_eq!(
        line(&shown(&bytes, Some(&owner))),
        "2025-11-24T16:00:00.123456Z eth0 In  IP 10.0.0.1.53 > 10.0.0.2.4000: UDP, length 3  named[7] named.service"
    );
    let bare = Shown { interface: "", direction: None, ..shown(&bytes, None) };
    assert_eq!(
        line(&bare),
        "2025-11-24T16:00:00.123456Z IP 10.0.0.1.53 > 10.0.0.2.4000: UDP, length 3"
    );
}

#[test]
fn an_object_has_what_is_known_and_null_for_the_rest() {
    let (bytes, owner) = (udp(), owner());
    let known = object(&mut line::Lines::default(), &shown(&bytes, Some(&owner)));
    for (key, value) in [
        ("time", json!("2025-11-24T16:00:00.123456Z")),
        ("view", json!("packet")),
        ("interface", json!("eth0")),
        ("direction", json!("in")),
        ("length_bytes", json!(45)),
        ("captured_bytes", json!(45)),
        ("source_address", json!("10.0.0.1")),
        ("destination_port", json!(4000)),
        ("pid", json!(7)),
        ("comm", json!("named")),
        ("container", json!("named.service")),
        ("vlan", Value::Null),
        ("text", json!("IP 10.0.0.1.53 > 10.0.0.2.4000: UDP, length 3")),
    ] {
        assert_eq!(known[key], value, "{key}");
    }
    let unknown = object(&mut line::Lines::default(), &shown(&[0; 5], None));
    for object in [&known, &unknown] {
        assert_fits("packet", object);
        assert_eq!(object.as_object().unwrap().len(), 17);
    }
    for key in ["source_address", "source_port", "ip_protocol", "pid", "comm", "container"] {
        assert_eq!(unknown[key], Value::Null, "{key}");
    }
}

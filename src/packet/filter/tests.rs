#![allow(clippy::unwrap_used)]

use super::*;

fn ethernet(expression: &str) -> Filter {
    Filter::compile(expression, LinkType::Ethernet).unwrap()
}

fn complaint(expression: &str) -> String {
    Filter::compile(expression, LinkType::Ethernet).unwrap_err().to_string()
}

#[test]
fn complaints_point_at_the_place() {
    assert_eq!(
        complaint("tcp prt 80"),
        "filter: can't parse filter expression: syntax error\n    tcp prt 80\n        ^^^"
    );
    assert_eq!(
        complaint("host 10.0.0.1 and port nosuch"),
        "filter: unknown port 'nosuch'\n    host 10.0.0.1 and port nosuch\n                           ^^^^^^"
    );
    assert_eq!(
        complaint("tcp port"),
        "filter: can't parse filter expression: syntax error\n    tcp port\n            ^"
    );
    assert!(complaint("tcp\0").starts_with("filter: "));
}

#[test]
fn what_a_file_doesn_t_tell_is_known() {
    let asks_more = |expression| ethernet(expression).asks_more_than_bytes();
    assert!(asks_more("inbound") && asks_more("tcp and outbound") && asks_more("ifindex 2"));
    assert!(!asks_more("") && !asks_more("tcp port 80 or len > 100 or vlan 5"));
}

#[test]
fn reach_is_as_far_as_the_expression_looks() {
    for (expression, reach) in [
        ("", 0),
        ("greater 100", 0),
        ("ip", 14),
        ("ether host 00:11:22:33:44:55", 12),
        ("udp port 53", 14 + 60 + 4),
        ("host 10.0.0.1 or host fd00::1", 14 + 40),
        ("tcp[13] & 2 != 0", 14 + 60 + 14),
        ("tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", 14 + 60 + 60 + 4),
        ("udp[1000:4] = 7", 14 + 60 + 1004),
        ("ip6 protochain 6", REACH_LIMIT),
    ] {
        let filter = ethernet(expression);
        assert!(filter.reach() <= reach, "{expression}: {}", filter.reach());
        assert!(filter.reach() + 46 >= reach, "{expression}: {}", filter.reach());
    }
}

#[test]
fn what_looks_too_far_is_refused() {
    let words = "filter: it may look beyond the first 4096 bytes of a packet\n    ";
    for expression in ["ip[ip[2:2] - 1] = 0", "ether[4095:2] = 1", "ether[5000] = 1"] {
        assert_eq!(complaint(expression), format!("{words}{expression}"));
    }
}

#[test]
fn libpcap_s_interpreter_is_asked() {
    let frame = [&[0; 12][..], &[8, 0], &[0x45; 20]].concat();
    assert!(ethernet("ip").matches(&frame, 34));
    assert!(!ethernet("ip").matches(&frame[..13], 34));
    assert!(!ethernet("ip6").matches(&frame, 34));
    assert!(ethernet("greater 1000").matches(&frame, 1000));
    assert!(Filter::compile("ip", LinkType::Raw).unwrap().matches(&[0x45; 20], 20));
}

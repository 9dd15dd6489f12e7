//! Drops: the view, and single ones.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nettrace::model::{DropContext, DropEventRow, Events, Flow, Frame, Grouping, Rows, View};
use nettrace::output::Format;
use serde_json::Value;

use super::fixtures::{forms, frame, json, style, syscalls, written};
use super::{check, schema};

/// One in an interrupt, one in a process's time with its stack, and one of which little is known.
fn single() -> Vec<DropEventRow> {
    let v4 = |last, port| (IpAddr::from([10, 0, 0, last]), port);
    let first = DropEventRow {
        time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        reason: Some("NO_SOCKET".into()),
        function: Some("__udp4_lib_rcv".into()),
        offset: 0x4bc,
        proto: Some("udp".into()),
        flow: Some(Flow { source: v4(1, 50_001), destination: v4(2, 4242) }),
        length: Some(33),
        interface: Some("eth0".to_owned()),
        netns: Some("blue".into()),
        context: Some(DropContext::Softirq),
        process: None,
        stack: Vec::new(),
    };
    let process = Arc::clone(&syscalls(Grouping::Call, false).events.slow[0].process);
    let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
    vec![
        first.clone(),
        DropEventRow {
            reason: Some("NETFILTER_DROP".into()),
            function: Some("nf_hook_slow".into()),
            proto: Some("icmp6".into()),
            flow: Some(Flow { source: (v6("fd00::1"), 0), destination: (v6("fd00::2"), 0) }),
            context: Some(DropContext::Task),
            process: Some(process),
            stack: ["nf_hook_slow+0x91", "__ip6_local_out+0x12"].map(str::to_owned).to_vec(),
            ..first.clone()
        },
        DropEventRow {
            reason: None,
            function: None,
            proto: None,
            flow: None,
            length: None,
            interface: None,
            netns: None,
            context: None,
            ..first
        },
    ]
}

fn with_single() -> Frame {
    let mut frame = frame(View::Drops);
    frame.events = Events { drops: single(), ..Events::default() };
    let Rows::Drops(rows) = &mut frame.rows else { panic!("drops") };
    rows.truncate(1);
    frame
}

#[test]
fn of_top() {
    insta::assert_snapshot!(forms(&frame(View::Drops)));
}

#[test]
fn single_drops() {
    let all = [Format::Table, Format::Ndjson, Format::Json]
        .map(|format| format!("{format:?}\n{}", written(&with_single(), &style(format))));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn single_drops_are_as_the_schema_says() {
    let schema = schema();
    let drop_schema = &schema["$defs"]["drop"];
    let known: BTreeSet<&String> = drop_schema["properties"].as_object().unwrap().keys().collect();
    let document = json(&with_single());
    let drops = document["frames"][0]["drops"].as_array().unwrap();
    assert_eq!(drops.len(), 3);
    for drop in drops {
        check(drop, drop_schema, "drop");
        assert_eq!(drop.as_object().unwrap().keys().collect::<BTreeSet<_>>(), known);
    }
    assert_eq!(drops[2]["offset"], Value::Null);
}

//! System calls: summaries, histograms, slow calls and their stacks.

use std::collections::BTreeSet;

use nettrace::columns::{self, Order, arrange};
use nettrace::model::{Events, Frame, Grouping, Rows, View};
use nettrace::output::{self, Format, Style};
use nettrace::syscalls::columns_of;
use serde_json::Value;

use super::fixtures::{empty, forms, frame, json, rows, style, syscalls, written};
use super::{check, schema};

const GROUPINGS: [Grouping; 4] =
    [Grouping::Call, Grouping::Process, Grouping::Container, Grouping::ThreadCall];

fn without_slow(frame: Frame) -> Frame {
    Frame { events: Events::default(), ..frame }
}

/// As `nettrace syscalls` writes it.
fn summary(grouping: Grouping) -> Style {
    Style { columns: Some(columns_of(grouping, false)), totals: true, ..style(Format::Table) }
}

#[test]
fn of_top() {
    insta::assert_snapshot!(forms(&frame(View::Syscalls)));
}

#[test]
fn summaries() {
    let all = GROUPINGS.map(|grouping| {
        let frame = without_slow(syscalls(grouping, false));
        format!("{grouping:?}\n{}", written(&frame, &summary(grouping)))
    });
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn summaries_on_a_terminal() {
    let all = GROUPINGS.map(|grouping| {
        let style = Style { width: Some(80), ..summary(grouping) };
        let frame = without_slow(syscalls(grouping, false));
        // The bar shows where a line ends.
        format!("{grouping:?}\n{}", written(&frame, &style).replace('\n', "|\n"))
    });
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn counts_alone_are_a_summary_too() {
    let style =
        Style { columns: Some(columns_of(Grouping::Call, true)), ..summary(Grouping::Call) };
    insta::assert_snapshot!(written(&without_slow(syscalls(Grouping::Call, false)), &style));
    let nothing = output::to_string(&empty(View::Syscalls), &style).unwrap();
    assert_eq!(nothing, "SYSCALL  CALLS  ERR  TOPERRNO\n0 calls, 0 errors\n");
}

#[test]
fn histograms() {
    let all = [Grouping::Call, Grouping::Container, Grouping::ThreadCall].map(|grouping| {
        let style = Style { width: Some(60), ..summary(grouping) };
        format!("{grouping:?}\n{}", written(&without_slow(syscalls(grouping, true)), &style))
    });
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn histograms_are_in_documents_where_they_were_asked_for() {
    let sums = |document: &Value| -> Vec<Option<u64>> {
        let buckets = rows(document).iter().map(|row| row["histogram"].as_array());
        let count = |bucket: &Value| bucket["count"].as_u64().unwrap();
        buckets.map(|buckets| Some(buckets?.iter().map(count).sum())).collect()
    };
    let with = json(&syscalls(Grouping::Call, true));
    let timed: Vec<_> = rows(&with).iter().map(|row| row["timed_calls"].as_u64()).collect();
    assert_eq!(sums(&with), timed);
    let without = json(&syscalls(Grouping::Call, false));
    assert!(sums(&without).iter().all(Option::is_none));
}

#[test]
fn slow_calls() {
    let mut frame = syscalls(Grouping::Call, false);
    let named = &mut frame.events.slow[2];
    named.kernel_stack = ["schedule+0x23", "vfs_read+0xb4"].map(str::to_owned).to_vec();
    named.user_stack[1] = "main+0x13 (rsync)".to_owned();
    let Rows::Syscalls(rows) = &mut frame.rows else { panic!("syscalls") };
    rows.truncate(1);
    let all = [Format::Table, Format::Ndjson, Format::Json]
        .map(|format| format!("{format:?}\n{}", written(&frame, &style(format))));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn no_form_of_slow_calls_passes_an_escape_sequence_on() {
    for format in [Format::Table, Format::Ndjson, Format::Json, Format::Csv] {
        let text = written(&syscalls(Grouping::Call, true), &style(format));
        let stray = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\r');
        assert_eq!(stray, None, "{format:?}");
    }
}

#[test]
fn slow_calls_are_as_the_schema_says() {
    let schema = schema();
    let slow_schema = &schema["$defs"]["slow_syscall"];
    let known: BTreeSet<&String> = slow_schema["properties"].as_object().unwrap().keys().collect();
    let document = json(&syscalls(Grouping::Call, false));
    let slow = document["frames"][0]["slow_syscalls"].as_array().unwrap();
    assert_eq!(slow.len(), 4);
    for call in slow {
        check(call, slow_schema, "slow call");
        assert_eq!(call.as_object().unwrap().keys().collect::<BTreeSet<_>>(), known);
    }
}

#[test]
fn rows_that_are_cut_off_count_in_the_sum() {
    let mut frame = without_slow(syscalls(Grouping::Call, false));
    let last = |frame: &Frame| {
        let text = output::to_string(frame, &summary(Grouping::Call)).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    let whole = last(&frame);
    assert_eq!(arrange(&mut frame.rows, Order { rows: 1, ..Order::default() }), 6);
    assert_eq!(last(&frame), whole);
    assert!(whole.starts_with("1049 calls, 16 errors, "), "{whole}");
}

#[test]
fn calls_without_a_duration_have_neither_times_nor_a_share() {
    let document = json(&syscalls(Grouping::Call, false));
    let row = |call: &str| rows(&document).iter().find(|row| row["syscall"] == call).unwrap();
    let keys = columns::of_view(View::Syscalls).into_iter().map(|column| column.key);
    for key in keys.filter(|key| key.ends_with("_ns") || *key == "share_percent") {
        assert_eq!(row("exit_group")[key], Value::Null, "{key}");
        assert!(row("read")[key].is_number(), "{key}");
    }
    assert_eq!((&row("futex")["calls"], &row("futex")["timed_calls"]), (&2.into(), &1.into()));
}

#[test]
fn the_most_frequent_errno_comes_first() {
    let document = json(&syscalls(Grouping::Call, false));
    let row = rows(&document).iter().find(|row| row["syscall"] == "openat").unwrap();
    assert_eq!(row["top_errno"], "ENOENT");
    assert_eq!(row["errnos"].to_string(), r#"{"ENOENT":12,"EACCES":3}"#);
}

//! What is written of each view in each form, and in which order: no kernel, no privileges.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drops;
mod events;
mod fixtures;
mod flows;
#[path = "../support/rows.rs"]
mod rows;
mod syscalls;

use std::collections::BTreeSet;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use fixtures::{FORMATS, empty, forms, frame, json, rows, selected, style, written};
use nettrace::columns::{self, Order, arrange};
use nettrace::model::{Frame, HostRow, Rows, View};
use nettrace::output::{self, Format, Sink, Style, Units, Writer};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

// Snapshots.

#[test]
fn procs() {
    insta::assert_snapshot!(forms(&frame(View::Procs)));
}

#[test]
fn conns() {
    insta::assert_snapshot!(forms(&frame(View::Conns)));
}

#[test]
fn hosts() {
    insta::assert_snapshot!(forms(&frame(View::Hosts)));
}

#[test]
fn containers() {
    insta::assert_snapshot!(forms(&frame(View::Containers)));
}

#[test]
fn ifaces() {
    insta::assert_snapshot!(forms(&frame(View::Ifaces)));
}

#[test]
fn listeners() {
    insta::assert_snapshot!(forms(&frame(View::Listeners)));
}

#[test]
fn empty_frames() {
    let all = View::ALL.map(|view| format!("{view}\n{}", forms(&empty(view))));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn units() {
    let units = [Units::BinBytes, Units::BinBits, Units::SiBytes, Units::SiBits];
    let words = ["comm", "rx/s", "tx/s", "rx", "tx"];
    let all = units.map(|units| {
        let style = Style { units, ..selected(Format::Table, View::Procs, &words) };
        format!("{units:?}\n{}", written(&frame(View::Procs), &style))
    });
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn selected_columns() {
    let frame = frame(View::Conns);
    let words = ["tx_bytes_total", "COMM", "age_s", "ended"];
    let all = FORMATS.map(|format| {
        let style = selected(format, View::Conns, &words);
        format!("{format:?}\n{}", written(&frame, &style))
    });
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn narrow_tables() {
    let all = View::ALL.map(|view| {
        let style = Style { width: Some(40), ..style(Format::Table) };
        // The bar shows where a line ends.
        format!("{view}\n{}", written(&frame(view), &style).replace('\n', "|\n"))
    });
    insta::assert_snapshot!(all.join("\n"));
}

// Tables.

#[test]
fn a_table_is_no_wider_than_the_terminal() {
    let mut frame = frame(View::Hosts);
    let Rows::Hosts(rows) = &mut frame.rows else { panic!("hosts") };
    rows[0].name = Some("例え.テスト".into());
    // The first column is always there, and whole.
    let first = "2001:db8:0:1::99".len();
    for width in 0..100 {
        let style = Style { width: Some(width), ..style(Format::Table) };
        let text = output::to_string(&frame, &style).unwrap();
        let most = width.max(first);
        assert!(text.lines().all(|line| line.width() <= most), "{width}:\n{text}");
        assert_eq!(text.lines().count(), 5, "{width}");
    }
}

#[test]
fn columns_are_aligned_under_wide_characters() {
    let mut frame = frame(View::Hosts);
    let Rows::Hosts(rows) = &mut frame.rows else { panic!("hosts") };
    rows[0].name = Some("例え.テスト".into());
    rows[1].name = Some("a.longer.name.example".into());
    let style = selected(Format::Table, View::Hosts, &["name", "connections"]);
    let text = output::to_string(&frame, &style).unwrap();
    let widths: BTreeSet<usize> = text.lines().map(UnicodeWidthStr::width).collect();
    assert_eq!(widths.len(), 1, "{text}");
}

#[test]
fn only_the_header_is_bold() {
    let style = Style { colour: true, ..style(Format::Table) };
    let text = output::to_string(&frame(View::Procs), &style).unwrap();
    let (header, rest) = text.split_once('\n').unwrap();
    assert!(header.starts_with("\x1b[1mPID") || header.starts_with("\x1b[1m "), "{header:?}");
    assert!(header.ends_with("\x1b[0m"), "{header:?}");
    assert!(!rest.contains('\x1b'));
}

#[test]
fn no_form_passes_an_escape_sequence_on() {
    for view in View::ALL {
        for format in FORMATS {
            let text = output::to_string(&frame(view), &style(format)).unwrap();
            let stray = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\r');
            assert_eq!(stray, None, "{view} {format:?}");
        }
    }
}

// CSV.

#[test]
fn csv_is_rfc_4180() {
    let frame = frame(View::Procs);
    let text = output::to_string(&frame, &style(Format::Csv)).unwrap();
    assert!(text.ends_with("\r\n"));
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    let records: Vec<Vec<String>> = text.lines().map(fields).collect();
    let document = json(&frame);
    assert_eq!(records.len(), 1 + rows(&document).len());
    for (record, row) in records[1..].iter().zip(rows(&document)) {
        assert_eq!(record[0], "2023-11-14T22:13:22.123Z");
        assert_eq!(record.len(), records[0].len());
        for (key, field) in records[0].iter().zip(record).skip(1) {
            let same = match &row[key] {
                Value::Null => field.is_empty(),
                Value::String(text) => text == field,
                Value::Number(number) => field.parse::<f64>().ok() == number.as_f64(),
                Value::Bool(yes) => field.parse() == Ok(*yes),
                Value::Array(_) | Value::Object(_) => false,
            };
            assert!(same, "{key}: {field} is {}", row[key]);
        }
    }
}

#[test]
fn csv_quotes_what_would_be_misread() {
    let mut frame = frame(View::Hosts);
    for (name, field) in [
        ("a b", "a b"),
        ("a,b", "\"a,b\""),
        ("a\"b", "\"a\"\"b\""),
        ("a\nb", "\"a\nb\""),
        ("a\rb", "\"a\rb\""),
    ] {
        let Rows::Hosts(rows) = &mut frame.rows else { panic!("hosts") };
        rows.truncate(1);
        rows[0].name = Some(name.into());
        let text = output::to_string(&frame, &selected(Format::Csv, View::Hosts, &["name"]));
        let line = format!("time,name\r\n2023-11-14T22:13:22.123Z,{field}\r\n");
        assert_eq!(text.unwrap(), line);
    }
}

/// The fields of a line of CSV in which no field holds a line break.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => {
                fields.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    assert!(!quoted, "{line}");
    fields
}

// JSON.

fn schema() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_nettrace")).arg("schema").assert().success();
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

/// Whether a value is of the type, or of one of the types, that a schema allows.
fn is_of(value: &Value, kind: &Value) -> bool {
    if let Value::Array(kinds) = kind {
        return kinds.iter().any(|kind| is_of(value, kind));
    }
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        kind => panic!("no type {kind}"),
    }
}

/// What is there is in the schema, of its type, and what it requires is there.
fn check(value: &Value, schema: &Value, what: &str) {
    let object = value.as_object().unwrap();
    for (key, value) in object {
        let property = &schema["properties"][key];
        assert!(property.is_object(), "{what}: {key} isn't in the schema");
        if let Some(kind) = property.get("type") {
            assert!(is_of(value, kind), "{what}: {key} is {value}, not {kind}");
        } else {
            assert_eq!(&property["const"], value, "{what}: {key}");
        }
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(key.as_str().unwrap()), "{what}: {key} is missing");
    }
}

#[test]
fn documents_are_as_the_schema_says() {
    let schema = schema();
    for view in View::ALL {
        let document = json(&frame(view));
        check(&document, &schema, "document");
        let frames = schema["properties"]["frames"]["items"]["oneOf"].as_array().unwrap();
        let mut of_view = frames
            .iter()
            .filter(|frame| frame["properties"]["view"]["const"].as_str() == Some(view.name()));
        let (frame_schema, others) = (of_view.next().unwrap(), of_view.next());
        assert_eq!(others, None, "{view}");
        check(&document["frames"][0], frame_schema, view.name());
        check(&document["frames"][0]["self"], &frame_schema["properties"]["self"], "self");
        let reference = frame_schema["properties"]["rows"]["items"]["$ref"].as_str().unwrap();
        let row_schema = schema.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        assert!(!rows(&document).is_empty(), "{view}");
        for row in rows(&document) {
            check(row, row_schema, view.name());
            let keys: BTreeSet<&String> = row.as_object().unwrap().keys().collect();
            let known: BTreeSet<&String> =
                row_schema["properties"].as_object().unwrap().keys().collect();
            assert_eq!(keys, known, "{view}");
        }
    }
}

#[test]
fn rows_have_the_columns_in_their_order() {
    for view in View::ALL {
        let document = json(&frame(view));
        let keys: Vec<&str> = columns::of_view(view).iter().map(|column| column.key).collect();
        for row in rows(&document) {
            assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), keys, "{view}");
        }
    }
}

#[test]
fn unknown_is_null_and_never_zero() {
    let document = json(&frame(View::Conns));
    let row = |comm: &str| rows(&document).iter().find(|row| row["comm"] == comm).unwrap();
    for key in ["srtt_us", "min_rtt_us", "ssthresh", "pacing_bytes_per_second", "age_s"] {
        assert_eq!(row("sshd")[key], Value::Null, "{key}");
        assert!(row("rsync")[key].is_number(), "{key}");
    }
    let udp = rows(&document).iter().find(|row| row["proto"] == "udp").unwrap();
    for key in ["cwnd", "retransmits", "limit", "send_queue_bytes"] {
        assert_eq!(udp[key], Value::Null, "{key}");
    }
    assert_eq!((&udp["rx_bytes"], &udp["container"]), (&Value::from(512), &Value::Null));
}

#[test]
fn bytes_that_the_kernel_does_not_tell_of_are_unknown() {
    let mut frame = frame(View::Conns);
    let Rows::Conns(conns) = &mut frame.rows else { panic!("conns") };
    conns.retain(|row| row.proto == "udp");
    conns[0].counted = false;
    let document = json(&frame);
    let row = &rows(&document)[0];
    let keys: Vec<String> = ["bytes_per_second", "bytes_total", "bytes"]
        .iter()
        .flat_map(|key| [format!("rx_{key}"), format!("tx_{key}")])
        .collect();
    for key in &keys {
        assert_eq!(row.get(key), Some(&Value::Null), "{key}");
    }
    let style = selected(Format::Table, View::Conns, &["proto", "rx/s", "rx"]);
    let text = output::to_string(&frame, &style).unwrap();
    assert_eq!(text, "PROTO  RX/s  RX\nudp       -   -\n");
}

#[test]
fn numbers_beyond_2_to_the_53_stay_exact() {
    let mut frame = frame(View::Conns);
    let Rows::Conns(conns) = &mut frame.rows else { panic!("conns") };
    conns[0].rx_bytes = u64::MAX;
    assert_eq!(rows(&json(&frame))[0]["rx_bytes"].as_u64(), Some(u64::MAX));
    let csv = output::to_string(&frame, &selected(Format::Csv, View::Conns, &["rx_bytes"]));
    assert!(csv.unwrap().contains(",18446744073709551615\r\n"));
}

#[test]
fn a_line_of_ndjson_is_a_row_or_the_tick() {
    for view in View::ALL {
        let frame = frame(view);
        let text = output::to_string(&frame, &style(Format::Ndjson)).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (tick, row_lines) = lines.split_last().unwrap();
        let document = json(&frame);
        assert_eq!(row_lines.len(), rows(&document).len(), "{view}");
        for (line, row) in row_lines.iter().zip(rows(&document)) {
            let mut line = line.as_object().unwrap().clone();
            assert_eq!(line.remove("time").unwrap(), document["frames"][0]["time"]);
            assert_eq!(line.remove("view").unwrap(), view.name());
            assert_eq!(&Value::Object(line), row, "{view}");
        }
        assert_eq!(tick["view"], "nettrace");
        for key in ["time", "interval_s", "loss", "self"] {
            assert_eq!(tick[key], document["frames"][0][key], "{key}");
        }
    }
}

// Several frames.

fn run(format: Format, frames: &[Frame]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut writer = Writer::new(Sink::file(&path, false, true).unwrap(), style(format));
    for frame in frames {
        writer.frame(frame).unwrap();
    }
    writer.finish().unwrap();
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_run_is_one_document_with_a_frame_a_tick() {
    let frames = [empty(View::Hosts), frame(View::Hosts), frame(View::Hosts)];
    let document: Value = serde_json::from_str(&run(Format::Json, &frames)).unwrap();
    let frames = document["frames"].as_array().unwrap();
    let counts: Vec<usize> =
        frames.iter().map(|frame| frame["rows"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [0, 4, 4]);
    check(&document, &schema(), "document");
}

#[test]
fn a_run_without_frames_is_a_document_too() {
    let document: Value = serde_json::from_str(&run(Format::Json, &[])).unwrap();
    assert_eq!(document["frames"], Value::Array(Vec::new()));
    check(&document, &schema(), "document");
    for format in [Format::Table, Format::Ndjson, Format::Csv] {
        assert_eq!(run(format, &[]), "", "{format:?}");
    }
}

#[test]
fn csv_has_one_header_and_tables_one_a_frame() {
    let frames = [empty(View::Hosts), frame(View::Hosts), frame(View::Hosts)];
    let csv = run(Format::Csv, &frames);
    assert_eq!((csv.matches("remote_address").count(), csv.lines().count()), (1, 9));
    let tables = run(Format::Table, &frames);
    let blocks: Vec<&str> = tables.split("\n\n").collect();
    assert_eq!(blocks.len(), 3);
    assert!(blocks.iter().all(|block| block.starts_with("REMOTE")), "{tables}");
}

// Order.

fn host(address: &str, name: Option<&str>, rx_rate: f64, srtt_us: Option<u64>) -> HostRow {
    HostRow {
        remote: address.parse().unwrap(),
        name: name.map(Into::into),
        connections: 1,
        rx_rate,
        tx_rate: 0.0,
        srtt_us,
        retransmits: 0,
        counted: true,
        ended: name.is_none(),
    }
}

fn four_hosts() -> Rows {
    Rows::Hosts(vec![
        host("192.0.2.1", Some("b"), 5.0, Some(300)),
        host("192.0.2.2", None, 900.0, None),
        host("192.0.2.3", Some("a"), 70.0, Some(20)),
        host("192.0.2.4", Some("B"), 70.0, Some(100)),
    ])
}

/// The last parts of the addresses, in the order that they come in, and how many were cut.
fn order(column: Option<&str>, reverse: bool, rows: usize) -> (String, usize) {
    let mut all = four_hosts();
    let column = column.map(|word| columns::find(View::Hosts, word).unwrap());
    let hidden = arrange(&mut all, Order { column, reverse, rows });
    let Rows::Hosts(rows) = all else { panic!("hosts") };
    let numbers = rows.iter().map(|row| row.remote.to_string().split_off(8));
    (numbers.collect::<Vec<_>>().join(" "), hidden)
}

#[test]
fn the_busiest_come_first_unasked() {
    assert_eq!(order(None, false, 0), ("2 3 4 1".to_owned(), 0));
    assert_eq!(order(None, true, 0), ("1 4 3 2".to_owned(), 0));
}

#[test]
fn each_kind_of_column_sorts() {
    for (column, expected) in [
        ("rx_bytes_per_second", "2 3 4 1"),
        // Unknown last.
        ("srtt_us", "1 4 3 2"),
        ("name", "4 3 1 2"),
        ("remote_address", "1 2 3 4"),
        ("ended", "2 3 4 1"),
        // All equal: by weight.
        ("connections", "2 3 4 1"),
    ] {
        assert_eq!(order(Some(column), false, 0).0, expected, "{column}");
    }
    assert_eq!(order(Some("remote_address"), true, 0).0, "4 3 2 1");
    assert_eq!(order(Some("rx/s"), true, 0).0, "1 4 3 2");
}

#[test]
fn rows_are_cut_after_sorting_and_the_hidden_counted() {
    assert_eq!(order(None, false, 1), ("2".to_owned(), 3));
    assert_eq!(order(Some("srtt_us"), false, 2), ("1 4".to_owned(), 2));
    assert_eq!(order(None, false, 4).1, 0);
    assert_eq!(order(None, false, 9), ("2 3 4 1".to_owned(), 0));
}

#[test]
fn each_view_has_its_own_order() {
    let first = |view, key: &str| {
        let document = json(&frame(view));
        let values = rows(&document).iter().map(|row| row[key].to_string());
        values.collect::<Vec<_>>().join(" ")
    };
    // rsync, who is hostile, nginx's process for its closed connection, then the idle by number.
    assert_eq!(first(View::Procs, "pid"), "4194305 4194308 4194307 4194306 4194309");
    assert_eq!(first(View::Conns, "remote_port"), "443 50001 53 51234");
    assert_eq!(first(View::Ifaces, "interface"), "\"eth0\" \"lo\"");
    assert_eq!(first(View::Containers, "container"), "null \"cri:0123456789ab\"");
    // Who waited longest, in calls that returned.
    assert_eq!(
        first(View::Syscalls, "syscall"),
        "\"epoll_pwait\" \"futex\" \"read\" \"openat\" \"ioctl.32\" \"set_robust_list\" \"exit_group\""
    );
    assert_eq!(first(View::Flows, "proto"), "\"other\" \"tcp\" \"icmp\"");
    assert_eq!(first(View::Drops, "count"), "1200 3 2 1");
    // The one that refused connections.
    assert_eq!(first(View::Listeners, "local_port"), "443 68");
}

#[test]
fn columns_that_are_not_there_are_refused() {
    let select = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        output::select(View::Conns, &words)
    };
    assert_eq!(select(&["proto", "STATE"]), Ok(vec![0, 5]));
    assert_eq!(
        select(&["proto", "rx_byte"]).unwrap_err(),
        "no column rx_byte in conns; did you mean rx_bytes?"
    );
}

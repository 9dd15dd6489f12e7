//! Packets on their way: a block of lines each for people, an object a line for programs.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::rfc3339;
use crate::histogram::duration;
use crate::model::{Flow, PathEnd, PathPacket, PathRow};
use crate::sample::PathKind;

/// `packet N`, what it is, and below it a line a step: time since the last one, function, where it is, and
/// what has changed.
pub fn write_path_lines(out: &mut impl Write, packet: &PathPacket) -> io::Result<()> {
    write!(out, "{} packet {}", rfc3339(packet.time), packet.number)?;
    if packet.is_continued {
        write!(out, " (continued)")?;
    }
    write!(out, " {}", packet.proto.as_deref().unwrap_or("-"))?;
    if let Some(flow) = packet.flow {
        write!(out, " {flow}")?;
    }
    writeln!(out, " {}B", packet.length)?;
    let steps: Vec<(String, String)> =
        packet.steps.iter().map(|row| (what(row), place(row))).collect();
    let width = |column: fn(&(String, String)) -> &String| {
        steps.iter().map(|step| column(step).chars().count()).max().unwrap_or(0)
    };
    let (whats, places) = (width(|step| &step.0), width(|step| &step.1));
    for (row, (what, place)) in packet.steps.iter().zip(&steps) {
        let since = format!("+{}", duration(row.since_ns));
        let line = format!("  {since:>8}  {what:<whats$}  {place:<places$}  {}", changes(row));
        writeln!(out, "{}", line.trim_end())?;
        for frame in &row.stack {
            writeln!(out, "              {frame}")?;
        }
    }
    if packet.end == PathEnd::Open {
        writeln!(out, "            its end wasn't seen")?;
    }
    writeln!(out)
}

fn what(row: &PathRow) -> String {
    let function = row.function.as_deref().unwrap_or("-");
    match row.kind {
        PathKind::Step | PathKind::Copied => function.to_owned(),
        PathKind::Dropped => match &row.reason {
            Some(reason) => format!("dropped by {function}: {reason}"),
            None => format!("dropped by {function}"),
        },
        PathKind::Consumed if row.function.is_none() => "used up".to_owned(),
        PathKind::Consumed => format!("used up by {function}"),
        PathKind::Freed => format!("freed by {function}"),
    }
}

fn place(row: &PathRow) -> String {
    match (row.netns.as_deref(), row.interface.as_deref()) {
        (Some(netns), Some(interface)) => format!("{netns} {interface}"),
        (Some(netns), None) => netns.to_owned(),
        (None, interface) => interface.unwrap_or("-").to_owned(),
    }
}

fn changes(row: &PathRow) -> String {
    let mut words = Vec::new();
    if row.kind == PathKind::Copied {
        words.push(format!("gives copy {}", row.copy));
    } else if row.copy > 1 {
        words.push(format!("copy {}", row.copy));
    }
    if let (Some(_), Some(flow)) = (row.was, row.flow) {
        words.push(format!("now {flow}"));
    }
    if row.is_marked {
        words.push(format!("mark {:#x}", row.mark));
    }
    words.join(", ")
}

/// The last line for programs: what was lost, per cause.
pub fn write_losses(out: &mut impl Write, losses: &[(&str, u64)]) -> io::Result<()> {
    let loss: Map<String, Value> =
        losses.iter().map(|(cause, count)| ((*cause).to_owned(), json!(count))).collect();
    let time = rfc3339(std::time::SystemTime::now());
    writeln!(out, "{}", json!({ "time": time, "view": "nettrace", "loss": loss }))
}

/// An object a line, with its steps.
pub fn write_path_object(out: &mut impl Write, packet: &PathPacket) -> io::Result<()> {
    let mut object = json!({
        "time": rfc3339(packet.time),
        "view": "path",
        "packet": packet.number,
        "continued": packet.is_continued,
        "proto": packet.proto,
        "length_bytes": packet.length,
        "end": match packet.end {
            PathEnd::Dropped => Some("dropped"),
            PathEnd::Consumed => Some("consumed"),
            PathEnd::Freed => Some("freed"),
            PathEnd::Open => None,
        },
        "steps": packet.steps.iter().map(step).collect::<Vec<_>>(),
    });
    add_ends(&mut object, packet.flow);
    writeln!(out, "{object}")
}

fn step(row: &PathRow) -> Value {
    let mut object = json!({
        "since_ns": row.since_ns,
        "event": match row.kind {
            PathKind::Step => "step",
            PathKind::Copied => "copied",
            PathKind::Dropped => "dropped",
            PathKind::Consumed => "consumed",
            PathKind::Freed => "freed",
        },
        "function": row.function.as_deref(),
        "offset": row.offset,
        "netns": row.netns.as_deref(),
        "interface": row.interface,
        "mark": row.mark,
        "reason": row.reason.as_deref(),
        "copy": row.copy,
        "cpu": row.cpu,
        "kernel_stack": row.stack,
    });
    add_ends(&mut object, row.flow);
    object
}

fn add_ends(object: &mut Value, flow: Option<Flow>) {
    let port = |port: u16| (port != 0).then_some(port);
    let ends =
        [("source", flow.map(|flow| flow.source)), ("destination", flow.map(|f| f.destination))];
    for (key, end) in ends {
        object[format!("{key}_address")] = json!(end.map(|(address, _)| address.to_string()));
        object[format!("{key}_port")] = json!(end.and_then(|(_, number)| port(number)));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::SystemTime;

    use super::*;
    use crate::output::assert_fits;

    fn flow(last: u8) -> Flow {
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        Flow { source: (address(1), 4000), destination: (address(last), 53) }
    }

    fn row(kind: PathKind, function: &str) -> PathRow {
        PathRow {
            since_ns: 1200,
            kind,
            function: (!function.is_empty()).then(|| function.into()),
            offset: None,
            netns: Some("web".into()),
            interface: Some("eth0".to_owned()),
            flow: Some(flow(2)),
            was: None,
            mark: 0,
            is_marked: false,
            reason: None,
            copy: 1,
            cpu: 1,
            stack: Vec::new(),
        }
    }

    fn packet() -> PathPacket {
        let translated = PathRow {
            was: Some(flow(2)),
            flow: Some(flow(9)),
            mark: 5,
            is_marked: true,
            ..row(PathKind::Step, "ip_forward")
        };
        let clone = PathRow { copy: 2, ..row(PathKind::Copied, "skb_clone") };
        let dropped = PathRow {
            reason: Some("NETFILTER_DROP".into()),
            offset: Some(16),
            stack: vec!["nft_do_chain+0x10".to_owned()],
            ..row(PathKind::Dropped, "nft_do_chain")
        };
        let steps = vec![
            PathRow { since_ns: 0, interface: None, ..row(PathKind::Step, "ip_local_out") },
            translated,
            clone,
            dropped,
            PathRow { copy: 2, ..row(PathKind::Consumed, "") },
        ];
        PathPacket {
            number: 3,
            is_continued: false,
            time: SystemTime::UNIX_EPOCH,
            proto: Some("udp".to_owned()),
            flow: Some(flow(2)),
            length: 33,
            steps,
            end: PathEnd::Consumed,
        }
    }

    #[test]
    fn lines_say_what_happened_and_what_changed() {
        let mut out = Vec::new();
        write_path_lines(&mut out, &packet()).unwrap();
        let open =
            PathPacket { end: PathEnd::Open, is_continued: true, steps: Vec::new(), ..packet() };
        write_path_lines(&mut out, &open).unwrap();
        let expected = "\
1970-01-01T00:00:00.000Z packet 3 udp 10.0.0.1:4000 > 10.0.0.2:53 33B
      +0ns  ip_local_out                             web
   +1.20us  ip_forward                               web eth0  now 10.0.0.1:4000 > 10.0.0.9:53, mark 0x5
   +1.20us  skb_clone                                web eth0  gives copy 2
   +1.20us  dropped by nft_do_chain: NETFILTER_DROP  web eth0
              nft_do_chain+0x10
   +1.20us  used up                                  web eth0  copy 2

1970-01-01T00:00:00.000Z packet 3 (continued) udp 10.0.0.1:4000 > 10.0.0.2:53 33B
            its end wasn't seen

";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn objects_have_the_steps() {
        let mut out = Vec::new();
        write_path_object(&mut out, &packet()).unwrap();
        let object: Value = serde_json::from_slice(&out).unwrap();
        assert_fits("path", &object);
        assert_eq!(object["view"], "path");
        assert_eq!((&object["end"], &object["destination_port"]), (&json!("consumed"), &json!(53)));
        let steps = object["steps"].as_array().unwrap();
        assert_eq!(steps[1]["destination_address"], "10.0.0.9");
        assert_eq!(
            (&steps[3]["event"], &steps[3]["reason"]),
            (&json!("dropped"), &json!("NETFILTER_DROP"))
        );
        assert_eq!(steps[4]["function"], Value::Null);
    }
}

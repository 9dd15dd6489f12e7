//! Single drops: a line each for people, an object each for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::rfc3339;
use crate::model::{DropContext, DropEventRow};

/// `TIME REASON FUNCTION PROTO FLOW LENGTH`, what else is known of it, and below it the stack if there
/// is one.
pub(super) fn write_lines(out: &mut impl Write, rows: &[DropEventRow]) -> io::Result<()> {
    for row in rows {
        let known = |text: Option<&str>| text.unwrap_or("-").to_owned();
        write!(
            out,
            "{} {} {} {} {}",
            rfc3339(row.time),
            known(row.reason.as_deref()),
            known(row.function.as_deref()),
            known(row.proto.as_deref()),
            row.flow.map_or_else(|| "-".to_owned(), |flow| flow.to_string()),
        )?;
        if let Some(length) = row.length {
            write!(out, " {length}B")?;
        }
        if let Some(interface) = &row.interface {
            write!(out, " on {interface}")?;
        }
        if let Some(netns) = &row.netns {
            write!(out, " in {netns}")?;
        }
        if let Some(process) = &row.process {
            write!(out, " by {}[{}]", process.comm, process.pid)?;
        }
        writeln!(out)?;
        for frame in &row.stack {
            writeln!(out, "    {frame}")?;
        }
    }
    Ok(())
}

/// An object a line, which says what it is.
pub(super) fn write_objects(out: &mut impl Write, rows: &[DropEventRow]) -> io::Result<()> {
    for row in rows {
        let mut line = json!({ "time": rfc3339(row.time), "view": "drop" });
        if let (Value::Object(line), Value::Object(object)) = (&mut line, object(row)) {
            line.extend(object);
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// A drop for programs.
pub(super) fn object(row: &DropEventRow) -> Value {
    let ends = row.flow.map(|flow| (flow.source, flow.destination));
    let port = |port: u16| (port != 0).then_some(port);
    json!({
        "time": rfc3339(row.time),
        "reason": row.reason.as_deref(),
        "location": row.function.as_deref(),
        "offset": row.function.as_ref().map(|_| row.offset),
        "proto": row.proto.as_deref(),
        "source_address": ends.map(|(source, _)| source.0.to_string()),
        "source_port": ends.and_then(|(source, _)| port(source.1)),
        "destination_address": ends.map(|(_, destination)| destination.0.to_string()),
        "destination_port": ends.and_then(|(_, destination)| port(destination.1)),
        "length_bytes": row.length,
        "interface": row.interface,
        "netns": row.netns.as_deref(),
        "context": row.context.map(context),
        "pid": row.process.as_ref().map(|process| process.pid),
        "comm": row.process.as_ref().map(|process| process.comm.as_str()),
        "kernel_stack": row.stack,
    })
}

fn context(context: DropContext) -> &'static str {
    match context {
        DropContext::Task => "task",
        DropContext::Softirq => "softirq",
        DropContext::Hardirq => "hardirq",
    }
}

/// The schema of [`object`].
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "time": { "type": "string", "format": "date-time" },
            "reason": { "type": ["string", "null"], "description": "as in a row" },
            "location": { "type": ["string", "null"], "description": "as in a row" },
            "offset": {
                "type": ["integer", "null"],
                "description": "of the place in the function, bytes",
            },
            "proto": { "type": ["string", "null"] },
            "source_address": { "type": ["string", "null"] },
            "source_port": { "type": ["integer", "null"] },
            "destination_address": { "type": ["string", "null"] },
            "destination_port": { "type": ["integer", "null"] },
            "length_bytes": {
                "type": ["integer", "null"],
                "description": "from the IP header on; of retransmit the payload; null of resets",
            },
            "interface": { "type": ["string", "null"] },
            "netns": { "type": ["string", "null"] },
            "context": {
                "type": ["string", "null"],
                "description": "whose time it was in: task, softirq or hardirq",
            },
            "pid": {
                "type": ["integer", "null"],
                "description": "context task: the process that asked the kernel for what came to it",
            },
            "comm": { "type": ["string", "null"] },
            "kernel_stack": {
                "type": "array",
                "items": { "type": "string" },
                "description": "with --stack, from the place of the drop on",
            },
        },
    })
}

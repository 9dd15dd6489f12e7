//! The JSON Schema of what `-O json` writes, made from the columns.

use serde_json::{Map, Value, json};

use super::{drops, objects};
use crate::columns::{self, ColumnInfo, Unit};
use crate::model::View;

/// Raised by every change that could break a reader.
pub(super) const VERSION: u32 = 1;

/// The schema of a document.
pub(super) fn schema() -> Value {
    let mut rows: Map<String, Value> =
        View::ALL.into_iter().map(|view| (format!("{view}_row"), row(view))).collect();
    rows.insert("slow_syscall".to_owned(), slow_syscall());
    rows.insert("drop".to_owned(), drops::schema());
    rows.extend(objects::schemas());
    let frames: Vec<Value> = View::ALL.into_iter().map(frame).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nettrace",
        "description": "What `nettrace -O json` writes. Unknown values are null, never 0. In $defs are also the objects that \
    `-O ndjson` alone writes, by their view: packet (nettrace capture), event (nettrace events), path (nettrace path).",
        "type": "object",
        "required": ["schema_version", "nettrace", "host", "kernel", "frames"],
        "properties": {
            "schema_version": { "const": VERSION },
            "nettrace": { "type": "string", "description": "nettrace's version" },
            "host": { "type": "string" },
            "kernel": { "type": "string", "description": "as uname -r prints it" },
            "frames": { "type": "array", "items": { "oneOf": frames } },
        },
        "$defs": rows,
    })
}

fn frame(view: View) -> Value {
    json!({
        "type": "object",
        "required": ["time", "interval_s", "view", "rows", "loss", "self"],
        "properties": {
            "time": { "type": "string", "format": "date-time" },
            "interval_s": { "type": "number", "minimum": 0 },
            "view": { "const": view.name() },
            "rows": { "type": "array", "items": { "$ref": format!("#/$defs/{view}_row") } },
            "slow_syscalls": {
                "type": "array",
                "description": "with --slower-than: each call that took so long",
                "items": { "$ref": "#/$defs/slow_syscall" },
            },
            "drops": {
                "type": "array",
                "description": "of nettrace drops: each drop",
                "items": { "$ref": "#/$defs/drop" },
            },
            "loss": {
                "type": "object",
                "description": "what could not be recorded since the start, by cause",
                "additionalProperties": { "type": "integer", "minimum": 0 },
            },
            "self": {
                "type": "object",
                "description": "what nettrace itself cost since its start",
                "required": ["cpu_s", "rss_bytes", "bpf_ns"],
                "properties": {
                    "cpu_s": { "type": "number" },
                    "rss_bytes": { "type": "integer" },
                    "bpf_ns": { "type": ["integer", "null"] },
                },
            },
        },
    })
}

fn slow_syscall() -> Value {
    let names = || json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "type": "object",
        "properties": {
            "time": { "type": "string", "format": "date-time", "description": "its begin" },
            "pid": { "type": "integer" },
            "tid": { "type": "integer" },
            "comm": { "type": "string" },
            "syscall": { "type": "string" },
            "args": { "type": "array", "items": { "type": "string" }, "description": "in hex" },
            "duration_ns": { "type": "integer" },
            "asleep_ns": {
                "type": ["integer", "null"],
                "description": "of it off the CPU (with --stack)",
            },
            "result": { "type": "integer" },
            "errno": { "type": ["string", "null"] },
            "user_stack": names(),
            "kernel_stack": names(),
        },
    })
}

fn row(view: View) -> Value {
    let columns = columns::of_view(view);
    let properties: Map<String, Value> =
        columns.iter().map(|column| (column.key.to_owned(), property(column))).collect();
    json!({ "type": "object", "properties": properties })
}

fn property(column: &ColumnInfo) -> Value {
    let kind = match column.unit {
        Unit::Text => "string",
        Unit::Number | Unit::Count | Unit::Bytes | Unit::Micros | Unit::Nanos => "integer",
        Unit::ByteRate | Unit::Rate | Unit::Seconds | Unit::Percent => "number",
        Unit::Flag => "boolean",
        Unit::Counts => "object",
        Unit::Buckets => "array",
    };
    json!({ "type": [kind, "null"], "description": column.about })
}

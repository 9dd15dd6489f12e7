//! The JSON Schema of the objects that `-O ndjson` alone writes: packets, events and packets' paths.

use serde_json::{Map, Value, json};

/// A key, its type (with `?` it may be null), and what it means, if that doesn't go without saying.
type Property = (&'static str, &'static str, &'static str);

const TIME: Property = ("time", "time", "");

/// Of a packet, where it came from and went to.
const ENDS: &[Property] = &[
    ("source_address", "string?", ""),
    ("source_port", "integer?", ""),
    ("destination_address", "string?", ""),
    ("destination_port", "integer?", ""),
];

/// `nettrace capture`.
const PACKET: &[Property] = &[
    TIME,
    ("view", "packet", ""),
    ("interface", "string?", ""),
    ("direction", "string?", "in: received there; out: sent"),
    ("length_bytes", "integer", "on the wire"),
    ("captured_bytes", "integer", "of them, at most -s"),
    ("vlan", "integer?", "the outermost VLAN's id"),
    ("ether_type", "integer?", "behind the VLANs"),
    ("ip_protocol", "integer?", ""),
    ("pid", "integer?", "of the process whose socket it belongs to"),
    ("comm", "string?", "its name"),
    ("container", "string?", "its container or systemd unit"),
    ("text", "string", "the packet as a line shows it"),
];

/// `nettrace events`; what one of them alone has is absent from the others.
const EVENT: &[Property] = &[
    TIME,
    ("view", "event", ""),
    ("event", "string", "its kind: connect, accept, close, …"),
    ("pid", "integer?", "of the process whose socket it was on"),
    ("comm", "string?", "its name"),
    ("user", "string?", "its user"),
    ("container", "string?", "its container or systemd unit"),
    ("pod", "string?", "its Kubernetes pod"),
    ("netns", "string?", "network namespace: its name, or [inode]"),
    ("proto", "string?", ""),
    ("local_address", "string?", "of all but drop"),
    ("local_port", "integer?", "of all but drop"),
    ("remote_address", "string?", "of all but drop"),
    ("remote_port", "integer?", "of all but drop"),
    ("established", "boolean", "of connect: it was made"),
    ("errno", "string?", "of connect, close and slow-syscall: how it failed"),
    ("latency_ns", "integer?", "of connect: from the SYN to the answer, or until it was given up"),
    ("srtt_us", "integer?", "of accept: the handshake's round trip"),
    ("lifetime_ns", "integer?", "of close"),
    ("rx_bytes", "integer", "of close: since its birth"),
    ("tx_bytes", "integer", "of close: since its birth"),
    ("retransmits", "integer", "of close"),
    ("length_bytes", "integer?", "of drop: from the IP header on; of retransmit: the payload"),
    ("direction", "string", "of reset: sent, received"),
    ("reason", "string?", "of drop: the kernel's"),
    ("location", "string?", "of drop: the kernel's function"),
    ("offset", "integer?", "of drop: of the place in it, bytes"),
    ("interface", "string?", "of drop"),
    ("count", "integer", "of listen-overflow: connections that were refused"),
    ("queued", "integer?", "of listen-overflow: those that wait"),
    ("backlog", "integer?", "of listen-overflow: those that may"),
    ("source_address", "string?", "of drop"),
    ("source_port", "integer?", "of drop"),
    ("destination_address", "string?", "of drop"),
    ("destination_port", "integer?", "of drop"),
    ("tid", "integer", "of slow-syscall: the thread"),
    ("syscall", "string", "of slow-syscall"),
    ("args", "strings", "of slow-syscall: in hex"),
    ("duration_ns", "integer", "of slow-syscall"),
    ("asleep_ns", "integer?", "of slow-syscall: off the CPU"),
    ("result", "integer", "of slow-syscall"),
    ("user_stack", "strings", "of slow-syscall"),
    ("kernel_stack", "strings", "of slow-syscall"),
];

/// `nettrace path`.
const PATH: &[Property] = &[
    TIME,
    ("view", "path", ""),
    ("packet", "integer", "its number"),
    ("continued", "boolean", "steps of it were shown before"),
    ("proto", "string?", ""),
    ("length_bytes", "integer", ""),
    ("end", "string?", "dropped, consumed, freed; null if it wasn't seen"),
    ("steps", "path_step", "in the order of time"),
];

const STEP: &[Property] = &[
    ("since_ns", "integer", "since the step before"),
    ("event", "string", "step, copied, dropped, consumed, freed"),
    ("function", "string?", "the kernel's function, or tracepoint"),
    ("offset", "integer?", "of a drop: of the place in it, bytes"),
    ("netns", "string?", "network namespace: its name, or [inode]"),
    ("interface", "string?", ""),
    ("mark", "integer", "the packet's mark"),
    ("reason", "string?", "of a drop: the kernel's"),
    ("copy", "integer", "which copy of the packet, from 1 on"),
    ("cpu", "integer", ""),
    ("kernel_stack", "strings", "with --stack"),
];

/// By their names in `$defs`.
pub(super) fn schemas() -> Map<String, Value> {
    let all: [(&str, Vec<Property>); 4] = [
        ("packet", [PACKET, ENDS].concat()),
        ("event", EVENT.to_vec()),
        ("path", [PATH, ENDS].concat()),
        ("path_step", [STEP, ENDS].concat()),
    ];
    all.into_iter().map(|(name, properties)| (name.to_owned(), object(&properties))).collect()
}

fn object(properties: &[Property]) -> Value {
    let properties: Map<String, Value> =
        properties.iter().map(|it| (it.0.to_owned(), property(it))).collect();
    json!({ "type": "object", "properties": properties })
}

fn property((_, kind, about): &Property) -> Value {
    let mut property = match *kind {
        "time" => json!({ "type": "string", "format": "date-time" }),
        "strings" => json!({ "type": "array", "items": { "type": "string" } }),
        "path_step" => json!({ "type": "array", "items": { "$ref": "#/$defs/path_step" } }),
        "string" | "integer" | "boolean" => json!({ "type": kind }),
        _ => match kind.strip_suffix('?') {
            Some(kind) => json!({ "type": [kind, "null"] }),
            None => json!({ "const": kind }),
        },
    };
    if !about.is_empty() {
        property["description"] = json!(about);
    }
    property
}

/// Insists that an object has nothing but what its schema knows, of the types that it says.
#[cfg(test)]
pub(crate) fn assert_fits(name: &str, value: &Value) {
    let schemas = schemas();
    let known = &schemas[name]["properties"];
    for (key, value) in value.as_object().unwrap_or(&Map::new()) {
        let property = &known[key];
        assert!(property.is_object(), "{name} has no {key}");
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is_of_it = match &property["type"] {
            Value::Array(kinds) => kinds.contains(&json!(kind)),
            Value::Null => property["const"] == *value,
            one => *one == kind,
        };
        assert!(is_of_it, "{name}: {key} is {value}");
        if let ("steps", Value::Array(steps)) = (key.as_str(), value) {
            steps.iter().for_each(|step| assert_fits("path_step", step));
        }
    }
}

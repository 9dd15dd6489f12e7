//! Slow calls: a line each for people, an object each for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::rfc3339;
use crate::histogram::duration;
use crate::model::SlowRow;
use crate::names::syscalls::errno_name;

/// `TIME COMM[PID/TID] DURATION call(ARGS) = RESULT`, and below it the stacks if there are some.
pub(super) fn write_lines(out: &mut impl Write, rows: &[SlowRow]) -> io::Result<()> {
    for row in rows {
        let thread =
            if row.tid == row.process.pid { String::new() } else { format!("/{}", row.tid) };
        let asleep = row.asleep_ns.map_or_else(String::new, |ns| {
            format!(" ({} asleep)", duration(ns.min(row.duration_ns)))
        });
        writeln!(
            out,
            "{} {}[{}{thread}] {}{asleep} {}",
            rfc3339(row.began),
            row.process.comm,
            row.process.pid,
            duration(row.duration_ns),
            call(row),
        )?;
        for (stack, whose) in [(&row.kernel_stack, "kernel"), (&row.user_stack, "user")] {
            for frame in stack {
                writeln!(out, "    {whose:<6}  {frame}")?;
            }
        }
    }
    Ok(())
}

/// `NAME(ARGS) = RESULT`.
pub(super) fn call(row: &SlowRow) -> String {
    format!("{}({}) = {}", row.call.name(), args(row).join(", "), result(row))
}

fn args(row: &SlowRow) -> Vec<String> {
    row.args.iter().map(|arg| format!("{arg:#x}")).collect()
}

fn result(row: &SlowRow) -> String {
    match row.errno() {
        Some(errno) => errno_name(errno).into_owned(),
        // An address, as mmap() returns.
        None if row.result < 0 || row.result > i64::from(u32::MAX) => format!("{:#x}", row.result),
        None => row.result.to_string(),
    }
}

/// An object a line, which says what it is.
pub(super) fn write_objects(out: &mut impl Write, rows: &[SlowRow]) -> io::Result<()> {
    for row in rows {
        let mut line = json!({ "time": rfc3339(row.began), "view": "slow-syscall" });
        if let (Value::Object(line), Value::Object(object)) = (&mut line, object(row)) {
            line.extend(object);
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// A slow call for programs.
pub(super) fn object(row: &SlowRow) -> Value {
    json!({
        "time": rfc3339(row.began),
        "pid": row.process.pid,
        "tid": row.tid,
        "comm": row.process.comm,
        "syscall": row.call.name(),
        "args": args(row),
        "duration_ns": row.duration_ns,
        "asleep_ns": row.asleep_ns,
        "result": row.result,
        "errno": row.errno().map(errno_name),
        "user_stack": row.user_stack,
        "kernel_stack": row.kernel_stack,
    })
}

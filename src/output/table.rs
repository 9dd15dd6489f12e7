//! Aligned columns under a header, one block a frame.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::{Style, human, rfc3339};
use crate::columns::{Column, Row, Unit, importance};
use crate::histogram::{self, duration};
use crate::model::{Frame, Rows, SyscallRow, SyscallTotals};
use crate::with_rows;

/// Where there is no terminal.
const HISTOGRAM_WIDTH: usize = 80;
/// Between two columns.
const GAP: &str = "  ";

pub(super) fn write(
    out: &mut impl Write,
    frame: &Frame,
    style: &Style,
    is_first: bool,
) -> io::Result<()> {
    if !is_first {
        writeln!(out)?;
    }
    if style.times {
        writeln!(out, "{}", rfc3339(frame.time))?;
    }
    with_rows!(&frame.rows, rows => write_rows(out, rows, style))?;
    if let Rows::Syscalls(rows) = &frame.rows {
        if style.totals {
            write_totals(out, frame.totals)?;
        }
        write_histograms(out, rows, style)?;
    }
    Ok(())
}

fn write_totals(out: &mut impl Write, totals: SyscallTotals) -> io::Result<()> {
    let SyscallTotals { calls, errors, total_ns } = totals;
    let plural = |count| if count == 1 { "" } else { "s" };
    write!(out, "{calls} call{}, {errors} error{}", plural(calls), plural(errors))?;
    if total_ns > 0 { writeln!(out, ", {}", duration(total_ns)) } else { writeln!(out) }
}

/// How durations are distributed, below the table.
fn write_histograms(out: &mut impl Write, rows: &[SyscallRow], style: &Style) -> io::Result<()> {
    for row in rows.iter().filter(|row| row.with_histogram && row.sums.timed() > 0) {
        let whose = row.process.as_ref().map(|p| format!("{}[{}]", p.comm, p.pid));
        let thread = row.tid.map(|tid| format!("thread {tid}"));
        let container = row.container.as_ref().map(|container| container.name.clone());
        let call = row.call.map(|call| call.name().into_owned());
        let title: Vec<String> =
            whose.or(container).into_iter().chain(thread).chain(call).collect();
        // In no container, as its row says.
        let title = if title.is_empty() { "-".to_owned() } else { title.join(" ") };
        writeln!(out, "\n{title}")?;
        for line in histogram::draw(&row.sums.histogram, style.width.unwrap_or(HISTOGRAM_WIDTH)) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn write_rows<R: Row>(out: &mut impl Write, rows: &[R], style: &Style) -> io::Result<()> {
    let columns = style.selected::<R>();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            columns.iter().map(|c| human::cell(&(c.get)(row), c.unit, style.units)).collect()
        })
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, c)| cells.iter().map(|row| row[i].width()).fold(c.title.width(), usize::max))
        .collect();
    let drawn: Vec<_> = fitting(&columns, &widths, style)
        .into_iter()
        .map(|index| Drawn { index, width: widths[index], unit: columns[index].unit })
        .collect();
    let header: Vec<String> = columns.iter().map(|c| c.title.to_owned()).collect();
    let (bold, plain) = if style.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    writeln!(out, "{bold}{}{plain}", line(&header, &drawn))?;
    for row in &cells {
        writeln!(out, "{}", line(row, &drawn))?;
    }
    Ok(())
}

/// A column that is drawn.
struct Drawn {
    /// Among those that were selected.
    index: usize,
    width: usize,
    unit: Unit,
}

/// Which columns fit; one is always shown. None is cut: a number would read as another one.
fn fitting<R: Row>(columns: &[&Column<R>], widths: &[usize], style: &Style) -> Vec<usize> {
    let Some(width) = style.width else {
        return (0..columns.len()).collect();
    };
    let groups: Vec<Vec<usize>> = match &style.columns {
        Some(_) => (0..columns.len()).map(|column| vec![column]).collect(),
        None => importance::groups(R::VIEW, |key| columns.iter().position(|it| it.key == key)),
    };
    let mut fitting = importance::fitting(groups, |column| widths[column], GAP.len(), width);
    fitting.sort_unstable();
    if fitting.is_empty() {
        fitting.push(0);
    }
    fitting
}

fn line(cells: &[String], drawn: &[Drawn]) -> String {
    let mut line = String::new();
    for Drawn { index, width, unit } in drawn {
        let cell = &cells[*index];
        if !line.is_empty() {
            line.push_str(GAP);
        }
        let blanks = " ".repeat(width.saturating_sub(cell.width()));
        match unit {
            Unit::Text => line.extend([cell, blanks.as_str()]),
            _ => line.extend([blanks.as_str(), cell]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

//! Aligned columns under a header, one block a frame.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Style, human};
use crate::columns::{Column, Row, Unit};
use crate::model::Frame;
use crate::with_rows;

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
    with_rows!(&frame.rows, rows => write_rows(out, rows, style))
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
    let header: Vec<String> = columns.iter().map(|c| c.title.to_owned()).collect();
    let (bold, plain) = if style.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    writeln!(out, "{bold}{}{plain}", line(&header, &columns, &widths, style.width))?;
    for row in &cells {
        writeln!(out, "{}", line(row, &columns, &widths, style.width))?;
    }
    Ok(())
}

fn line<R>(
    cells: &[String],
    columns: &[&Column<R>],
    widths: &[usize],
    cut: Option<usize>,
) -> String {
    let mut line = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if i > 0 {
            line.push_str(GAP);
        }
        let blanks = " ".repeat(width.saturating_sub(cell.width()));
        match columns[i].unit {
            Unit::Text => line.extend([cell, blanks.as_str()]),
            _ => line.extend([blanks.as_str(), cell]),
        }
    }
    line.truncate(line.trim_end().len());
    if let Some(cut) = cut {
        line.truncate(prefix_of_width(&line, cut));
    }
    line
}

fn prefix_of_width(line: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in line.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width {
            return at;
        }
    }
    line.len()
}

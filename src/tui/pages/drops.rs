//! One reason and function of drops: its counts, and the last of them with their stacks.

use super::News;
use crate::columns::identity;
use crate::model::{Detail, DropRow, EventRow};

/// What a row of drops is opened to.
#[derive(Debug)]
pub struct DropPage {
    /// As the breadcrumb has it.
    pub title: String,
    /// As of the last picture.
    pub row: DropRow,
    /// The newest last; none before the first picture with them.
    pub singles: Option<Vec<EventRow>>,
    /// Lines that are scrolled out at the top.
    pub offset: usize,
    /// It isn't among the rows any more.
    pub is_gone: bool,
}

impl DropPage {
    pub(super) fn new(row: &DropRow) -> Self {
        let words = [row.reason.as_deref(), row.function.as_deref(), row.proto.as_deref()];
        let title = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        DropPage { title, row: row.clone(), singles: None, offset: 0, is_gone: false }
    }

    pub(super) fn take(&mut self, news: &News<'_>) {
        let wanted = identity(&self.row);
        let row = news.drops.iter().find(|row| identity(*row) == wanted);
        self.is_gone = row.is_none();
        if let Some(row) = row {
            self.row = row.clone();
        }
    }

    /// Down by so many lines, or up.
    pub fn scroll(&mut self, by: isize) {
        let lines: usize = self.newest_first().map(|row| 1 + stack(row).len()).sum();
        self.offset = self.offset.saturating_add_signed(by).min(lines.saturating_sub(1));
    }

    /// The single ones.
    pub fn newest_first(&self) -> impl Iterator<Item = &EventRow> {
        self.singles.iter().flatten().rev()
    }
}

/// Where in the kernel it was.
pub fn stack(row: &EventRow) -> &[String] {
    match &row.detail {
        Detail::Drop(drop) => &drop.stack,
        _ => &[],
    }
}

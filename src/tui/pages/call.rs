//! One system call of one process since it was opened here: how long its calls took, and when.

use super::News;
use crate::columns::identity;
use crate::histogram::OCTAVES;
use crate::model::SyscallRow;
use crate::tui::history::History;

/// A system call over time.
#[derive(Debug)]
pub struct CallPage {
    /// As the breadcrumb has it.
    pub title: String,
    /// As of the last picture.
    pub row: SyscallRow,
    /// Calls by power of two of their duration, one an interval.
    pub heat: History<[u64; OCTAVES]>,
    /// Calls per second.
    pub rates: History<f64>,
    /// It isn't among the rows any more.
    pub is_gone: bool,
}

impl CallPage {
    pub(super) fn new(row: &SyscallRow) -> Self {
        let call = row.call.map_or_else(|| "calls".to_owned(), |call| call.name().into_owned());
        let whose =
            row.process.as_ref().map(|process| format!(" of {} {}", process.comm, process.pid));
        let title = format!("{call}{}", whose.unwrap_or_default());
        let (heat, rates) = (History::default(), History::default());
        CallPage { title, row: row.clone(), heat, rates, is_gone: row.ended }
    }

    pub(super) fn take(&mut self, news: &News<'_>) {
        if self.is_gone {
            return;
        }
        let wanted = identity(&self.row);
        let Some(row) = news.calls.iter().find(|row| identity(*row) == wanted) else {
            self.is_gone = true;
            return;
        };
        let mut heat = row.sums.histogram.octaves();
        for (count, before) in heat.iter_mut().zip(self.row.sums.histogram.octaves()) {
            *count = count.saturating_sub(before);
        }
        self.heat.push(heat);
        self.rates.push(row.rate);
        self.row = row.clone();
        self.is_gone = row.ended;
    }
}

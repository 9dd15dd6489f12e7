//! What the collector makes of a picture before it hands it over: all that looks at every row, so that
//! keys don't wait for it.

use super::app::{Wanted, number};
use super::history::History;
use super::pages::group::GroupRows;
use super::singles::{Singles, SinglesOf};
use crate::columns::{self, Order};
use crate::model::{ConnRow, EventRow, Picture, Rows, Smoother, View};

/// Closed connections that are shown, if they are asked for; the oldest go.
const CLOSED_KEPT: usize = 1000;

/// A picture as it goes on the screen.
#[derive(Debug)]
pub struct Prepared {
    /// Without the connections that ended, unless they are shown.
    pub picture: Picture,
    /// The order that the rows of a view are in, by the views' numbers; none where they are in none.
    pub arranged: [Option<Order>; View::ALL.len()],
    /// Connections that ended in this interval.
    pub ended: Vec<ConnRow>,
    /// Those of the group that is open.
    pub group: Option<GroupRows>,
    /// Single events of the page that is open.
    pub singles: Option<(SinglesOf, Vec<EventRow>)>,
}

/// What is kept from one picture to the next.
#[derive(Debug, Default)]
pub struct Preparer {
    filter_text: String,
    closed: History<ConnRow>,
    smoother: Option<Smoother>,
    singles: Singles,
}

impl Preparer {
    /// Keeps single events, which came in order.
    pub fn keep(&mut self, events: Vec<EventRow>) {
        self.singles.keep(events);
    }

    /// Makes of a picture what is wanted.
    pub fn prepare(&mut self, mut picture: Picture, wanted: &Wanted) -> Prepared {
        if self.filter_text != wanted.filter_text {
            self.filter_text.clone_from(&wanted.filter_text);
            self.closed = History::default();
        }
        if wanted.smooth {
            self.smoother.get_or_insert_default().smooth(&mut picture.frames);
        } else {
            self.smoother = None;
        }
        let mut arranged = [None; View::ALL.len()];
        let mut ended = Vec::new();
        for frame in &mut picture.frames {
            if let Rows::Conns(rows) = &mut frame.rows {
                ended = self.split_off_closed(rows, wanted.closed);
            }
            // The others are, when somebody looks at them.
            if wanted.views.first() == Some(&frame.view) {
                let order = wanted.orders[number(frame.view)];
                columns::arrange(&mut frame.rows, order);
                arranged[number(frame.view)] = Some(order);
            }
        }
        let group = wanted.group.as_ref().map(|(group, orders)| {
            let mut rows = GroupRows::new(group.clone());
            picture.frames.iter().for_each(|frame| rows.add(&frame.rows));
            rows.arrange(*orders);
            rows
        });
        let singles = wanted.singles.clone().map(|of| {
            let events = self.singles.of(&of);
            (of, events)
        });
        Prepared { picture, arranged, ended, group, singles }
    }

    /// Takes connections that ended out of the rows, and puts in those that ended of late, if wanted.
    fn split_off_closed(&mut self, rows: &mut Vec<ConnRow>, shows_closed: bool) -> Vec<ConnRow> {
        let ended: Vec<ConnRow> = rows.extract_if(.., |row| row.ended).collect();
        for row in &ended {
            self.closed.push(ConnRow { rx_rate: 0.0, tx_rate: 0.0, ..row.clone() });
        }
        if shows_closed {
            rows.extend(self.closed.last(CLOSED_KEPT).cloned());
        }
        ended
    }
}

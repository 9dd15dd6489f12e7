//! A filter that comes and goes while the model runs. What all sockets count goes on being counted;
//! a second table counts what the filter lets through, from the moment it is set.

use super::Model;
use super::sockets::SocketTable;
use crate::filter::Filter;

/// What a filter lets through.
#[derive(Debug)]
pub(super) struct Narrowed {
    /// With the scope.
    pub(super) filter: Filter,
    /// Without it.
    pub(super) added: Filter,
    pub(super) sockets: SocketTable,
}

impl Model {
    /// Shows only what matches `filter` as well, from the next frame on; everything if it is empty.
    /// Sums of processes then begin anew, and are as before once it is empty again.
    pub fn narrow(&mut self, filter: Filter) {
        self.narrowed = (!filter.is_empty()).then(|| {
            let mut both = self.filter.clone();
            both.and(filter.clone());
            Narrowed { filter: both, added: filter, sockets: self.sockets.begun_anew() }
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::Filter;
    use crate::model::sockets::tests::{A, B, Run, Tick, moved, tcp};

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    #[test]
    fn sums_begin_with_the_filter_and_come_back_without_it() {
        let mut run = Run::new();
        run.procs(&Tick::open(&[moved(tcp(1, A), 100, 0), moved(tcp(2, B), 10, 0)]));
        run.model.narrow(filter(&format!("pid:{A}")));
        let tick = Tick::open(&[moved(tcp(1, A), 150, 0), moved(tcp(2, B), 20, 0)]);
        let rows = run.procs(&tick);
        assert_eq!(rows.keys().collect::<Vec<_>>(), [&A]);
        assert_eq!((rows[&A].rx_bytes, rows[&A].rx_rate), (50, 25.0));

        run.model.narrow(Filter::default());
        let rows = run.procs(&tick);
        assert_eq!((rows[&A].rx_bytes, rows[&A].rx_rate), (150, 0.0));
        assert_eq!(rows[&B].rx_bytes, 20);
    }

    #[test]
    fn it_adds_to_the_scope() {
        let mut run = Run::filtered(&format!("pid:{A}"));
        run.model.narrow(filter(&format!("pid:{B}")));
        assert!(run.conns(&Tick::open(&[tcp(1, A), tcp(2, B)])).is_empty());
        run.model.narrow(Filter::default());
        assert_eq!(run.conns(&Tick::open(&[tcp(1, A), tcp(2, B)])).len(), 1);
    }
}

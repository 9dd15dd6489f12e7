//! What the dashboard shows at once: the frames of several views from one sample, and sums over all
//! that is counted, whatever the filter that narrows the rows.

use super::{Frame, Model, View};
use crate::sample::Sample;

/// Sums of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Payload received, bytes/s.
    pub rx_rate: f64,
    /// Payload sent, bytes/s.
    pub tx_rate: f64,
    /// Sockets open now that have a peer or moved bytes.
    pub connections: u64,
    /// TCP segments retransmitted in the interval.
    pub retransmits: u64,
    /// System calls per second, if they are watched.
    pub syscall_rate: Option<f64>,
}

/// One moment of several views.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// In the order in which they were asked for.
    pub frames: Vec<Frame>,
    /// Over all that is counted.
    pub totals: Totals,
}

impl Model {
    /// Takes in one sample and makes a frame of it for each view, and the sums.
    pub fn advance_all(&mut self, sample: &Sample<'_>, views: &[View]) -> Picture {
        let span = self.span(sample);
        let mut events = self.absorb_events(sample);
        let calls = self.syscalls.take_calls();
        let rows = self.rows(sample, views, span);
        let delta = self.sockets.processes.delta();
        let totals = Totals {
            rx_rate: span.rate_of(delta.rx),
            tx_rate: span.rate_of(delta.tx),
            connections: self.sockets.processes.iter().map(|entry| entry.connections).sum(),
            retransmits: if span.seconds > 0.0 { self.sockets.retransmits() } else { 0 },
            syscall_rate: sample.syscalls.map(|_| span.rate(calls)),
        };
        let frame = |rows| self.frame(sample, rows, std::mem::take(&mut events), span);
        Picture { frames: rows.into_iter().map(frame).collect(), totals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::model::sockets::tests::{A, B, Run, Tick, listener, moved, tcp, udp};
    use crate::sample::SocketRecord;

    #[test]
    fn every_view_of_a_sample_is_as_if_it_were_alone() {
        let before = Tick::open(&[moved(tcp(1, A), 10, 4), listener(2, B)]);
        let after = Tick {
            closed: vec![moved(tcp(1, A), 60, 14)],
            ..Tick::open(&[listener(2, B), udp(3, A)])
        };
        let mut all = Run::new();
        all.picture(&View::ALL, &before);
        let picture = all.picture(&View::ALL, &after);
        for (view, frame) in View::ALL.into_iter().zip(picture.frames) {
            let mut alone = Run::new();
            alone.frame(view, &before);
            assert_eq!(frame, alone.frame(view, &after), "{view}");
        }
    }

    #[test]
    fn totals_are_of_the_interval_and_of_all() {
        let lossy = |count, rx, tx| SocketRecord { retransmits: count, ..moved(tcp(1, A), rx, tx) };
        let mut run = Run::new();
        let totals = run.picture(&[], &Tick::open(&[lossy(3, 10, 4), tcp(2, B)])).totals;
        assert_eq!((totals.rx_rate, totals.connections, totals.retransmits), (0.0, 2, 0));
        run.model.narrow(Filter::parse(&format!("pid:{B}")).unwrap());
        let tick = Tick::open(&[lossy(5, 110, 24), moved(tcp(2, B), 6, 0), udp(3, B)]);
        assert_eq!(
            run.picture(&[View::Procs], &tick).totals,
            Totals {
                rx_rate: 53.0,
                tx_rate: 10.0,
                connections: 3,
                retransmits: 2,
                syscall_rate: None
            }
        );
        assert_eq!(run.picture(&[], &tick).totals.retransmits, 0);
    }
}

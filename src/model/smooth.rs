//! Rates that don't jump: exponential averages of the rates of rows, from one frame to the next. Counters
//! and totals are left as they are.

use rustc_hash::FxHashMap;

use super::{Frame, Rows, View};
use crate::columns::{Row, identity};

/// What was that long ago counts a third (1/e) of what is now, seconds.
pub const TIME_CONSTANT_S: f64 = 5.0;
/// A rate that is nothing, however it is shown.
const AT_REST: f64 = 0.01;
/// Rates that a row has at most.
const MOST: usize = 4;

/// The averages of the frame before, by view.
#[derive(Debug, Default)]
pub struct Smoother(FxHashMap<View, FxHashMap<u64, [f64; MOST]>>);

impl Smoother {
    /// Puts averages in place of the rates of all rows. The first frame of a view begins them; a row that
    /// comes later was at rest before.
    pub fn smooth(&mut self, frames: &mut [Frame]) {
        let mut before = std::mem::take(&mut self.0);
        for frame in frames {
            let averages = before.remove(&frame.view);
            let weight = 1.0 - (-frame.interval_s / TIME_CONSTANT_S).exp();
            let averages = match &mut frame.rows {
                Rows::Procs(rows) => smooth(rows, averages, weight, |r| {
                    [Some(&mut r.rx_rate), Some(&mut r.tx_rate), None, None]
                }),
                Rows::Conns(rows) => smooth(rows, averages, weight, |r| {
                    [Some(&mut r.rx_rate), Some(&mut r.tx_rate), None, None]
                }),
                Rows::Hosts(rows) => smooth(rows, averages, weight, |r| {
                    [Some(&mut r.rx_rate), Some(&mut r.tx_rate), None, None]
                }),
                Rows::Containers(rows) => smooth(rows, averages, weight, |r| {
                    let calls = r.syscall_rate.as_mut();
                    [Some(&mut r.rx_rate), Some(&mut r.tx_rate), calls, None]
                }),
                Rows::Ifaces(rows) => smooth(rows, averages, weight, |r| {
                    [&mut r.rx_rate, &mut r.tx_rate, &mut r.rx_packet_rate, &mut r.tx_packet_rate]
                        .map(Some)
                }),
                Rows::Syscalls(rows) => {
                    smooth(rows, averages, weight, |r| [Some(&mut r.rate), None, None, None])
                }
                Rows::Drops(rows) => {
                    smooth(rows, averages, weight, |r| [Some(&mut r.rate), None, None, None])
                }
                Rows::Flows(rows) => smooth(rows, averages, weight, |r| {
                    [Some(&mut r.packet_rate), Some(&mut r.byte_rate), None, None]
                }),
                Rows::Listeners(_) => continue,
            };
            self.0.insert(frame.view, averages);
        }
    }
}

fn smooth<R: Row>(
    rows: &mut [R],
    before: Option<FxHashMap<u64, [f64; MOST]>>,
    weight: f64,
    rates: impl Fn(&mut R) -> [Option<&mut f64>; MOST],
) -> FxHashMap<u64, [f64; MOST]> {
    let mut averages = FxHashMap::default();
    for row in rows {
        let key = identity(row);
        let mut kept = [0.0; MOST];
        let last = before.as_ref().map(|before| before.get(&key).copied().unwrap_or_default());
        for (at, rate) in rates(row).into_iter().enumerate() {
            let Some(rate) = rate else { continue };
            if let Some(last) = &last {
                *rate = last[at] + weight * (*rate - last[at]);
            }
            kept[at] = *rate;
        }
        // What is at rest needs no memory: of 100,000 sockets most are.
        if kept.iter().any(|rate| *rate > AT_REST) {
            averages.insert(key, kept);
        }
    }
    averages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sockets::tests::{A, B, Run, Tick, moved, tcp};

    /// Frames two seconds apart, smoothed.
    struct Smoothed(Run, Smoother);

    impl Smoothed {
        fn rates(&mut self, tick: &Tick) -> Vec<(u32, f64, u64)> {
            let mut frames = [self.0.frame(View::Procs, tick)];
            self.1.smooth(&mut frames);
            let [Frame { rows: Rows::Procs(rows), .. }] = frames else { panic!("procs") };
            let mut rates: Vec<_> =
                rows.iter().map(|row| (row.process.pid, row.rx_rate, row.rx_bytes)).collect();
            rates.sort_by_key(|(pid, ..)| *pid);
            rates
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn a_rate_nears_what_it_is_now_and_counters_stay_exact() {
        let mut run = Run::new();
        run.procs(&Tick::open(&[moved(tcp(1, A), 0, 0)]));
        let mut smoothed = Smoothed(run, Smoother::default());
        // The first is as it is.
        let rates = smoothed.rates(&Tick::open(&[moved(tcp(1, A), 2000, 0)]));
        assert_eq!(rates, [(A, 1000.0, 2000)]);
        let rates = smoothed.rates(&Tick::open(&[moved(tcp(1, A), 2000, 0)]));
        let kept = (-2.0 / TIME_CONSTANT_S).exp();
        assert!(near(rates[0].1, 1000.0 * kept), "{rates:?}");
        assert_eq!(rates[0].2, 2000);
        let rates = smoothed.rates(&Tick::open(&[moved(tcp(1, A), 4000, 0)]));
        assert!(near(rates[0].1, 1000.0 * (kept * kept + 1.0 - kept)), "{rates:?}");
    }

    #[test]
    fn what_comes_later_was_at_rest_before() {
        let mut smoothed = Smoothed(Run::new(), Smoother::default());
        smoothed.rates(&Tick::open(&[moved(tcp(1, A), 0, 0)]));
        let both = [moved(tcp(1, A), 0, 0), moved(tcp(2, B), 2000, 0)];
        let rates = smoothed.rates(&Tick::open(&both));
        let grown = 1.0 - (-2.0 / TIME_CONSTANT_S).exp();
        assert!(near(rates[1].1, 1000.0 * grown), "{rates:?}");
        // What is at rest is not remembered.
        assert_eq!(smoothed.1.0[&View::Procs].len(), 1);
    }

    #[test]
    fn a_view_that_was_not_looked_at_begins_anew() {
        let mut smoothed = Smoothed(Run::new(), Smoother::default());
        smoothed.rates(&Tick::open(&[moved(tcp(1, A), 0, 0)]));
        smoothed.1.smooth(&mut []);
        let rates = smoothed.rates(&Tick::open(&[moved(tcp(1, A), 2000, 0)]));
        assert!(near(rates[0].1, 1000.0), "{rates:?}");
    }
}

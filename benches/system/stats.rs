//! Medians, quartiles, and the order of rounds.

/// Lower quartile, median, upper quartile.
pub(crate) fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|share| sorted[((sorted.len() - 1) as f64 * share).round() as usize])
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quartiles(values)[1]
}

/// A run whose two idle arms differ by more is thrown away.
pub(crate) const NOISE: f64 = 0.05;

/// Round by round.
pub(crate) fn ratios(times: &[f64], base: &[f64]) -> Vec<f64> {
    times.iter().zip(base).map(|(time, base)| time / base).collect()
}

/// How much one grows with the other: the slope of a line through their logarithms.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let rise: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let run: f64 = logs.iter().map(|p| (p.0 - x).powi(2)).sum();
    rise / run
}

/// What is printed after a figure that has a goal.
pub(crate) fn verdict(goal: &str, met: bool) -> String {
    format!("  goal ≤ {goal}: {}", if met { "met" } else { "MISSED" })
}

/// Numbers for shuffling only: xorshift.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Dice(now.map_or(1, |d| d.as_nanos() as u64) | 1)
    }

    /// A number below that.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % u64::from(end)) as u32
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

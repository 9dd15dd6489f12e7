//! Histograms of latency: the layout of their buckets, which the kernel side counts in too, what can
//! be said of them, and how they are drawn. What is measured is the probes' affair.
//!
//! A latency in ns is counted in units of 16 ns, `u = ns >> 4`. The first four buckets are one unit
//! wide. From there each power of two is four buckets: with `m = floor(log2(u))`, the bucket is
//! `(m - 1) * 4 + ((u >> (m - 2)) & 3)`. The last one also has all that is longer. A bucket is a
//! quarter of its lower edge wide, so its middle is at most 12.5 % off from 64 ns on; below that,
//! 8 ns.

use std::fmt::Write;
use std::ops::Range;

/// Buckets of a histogram. The last begins at 962 s.
pub const BUCKETS: usize = 140;

/// The bucket of a latency.
pub fn bucket_of(ns: u64) -> usize {
    let units = ns >> 4;
    if units < 4 {
        return units as usize;
    }
    let m = units.ilog2();
    let bucket = (m as usize - 1) * 4 + ((units >> (m - 2)) & 3) as usize;
    bucket.min(BUCKETS - 1)
}

/// The latencies of a bucket in ns; the last has no end but the type's.
pub fn range_of(bucket: usize) -> Range<u64> {
    let end = if bucket + 1 < BUCKETS { lower_edge(bucket + 1) } else { u64::MAX };
    lower_edge(bucket)..end
}

/// Also of the bucket that would follow the last.
fn lower_edge(bucket: usize) -> u64 {
    let bucket = bucket.min(BUCKETS) as u64;
    if bucket < 4 { bucket << 4 } else { (4 + bucket % 4) << (bucket / 4 + 3) }
}

/// Counts per bucket. Empty buckets take no room: there is one of these for each row, and half a
/// million rows may exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket: the bucket in the upper 8 bits, its count in the lower 56.
    entries: Vec<u64>,
}

const COUNT_BITS: u32 = 56;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

fn unpack(entry: u64) -> (usize, u64) {
    ((entry >> COUNT_BITS) as usize, entry & COUNT_MAX)
}

impl Histogram {
    /// Takes over a source's own counters, which only grow and wrap at 32 bits, and returns what they
    /// grew by. It must be the only source of this histogram, and asked before a bucket grows by
    /// 2^32.
    pub fn add_wrapped(&mut self, raw: &[u32; BUCKETS]) -> Histogram {
        let mut grown = Histogram::default();
        let mut known = [0; BUCKETS];
        for (bucket, count) in self.counts() {
            known[bucket] = count as u32;
        }
        for (bucket, (raw, known)) in raw.iter().zip(known).enumerate() {
            grown.add(bucket, raw.wrapping_sub(known).into());
        }
        self.merge(&grown);
        grown
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in other.counts() {
            self.add(bucket, count);
        }
    }

    fn add(&mut self, bucket: usize, count: u64) {
        if count == 0 {
            return;
        }
        match self.entries.binary_search_by_key(&bucket, |entry| unpack(*entry).0) {
            Ok(at) => {
                let entry = &mut self.entries[at];
                *entry += count.min(COUNT_MAX - unpack(*entry).1);
            }
            Err(at) => {
                self.entries.reserve_exact(1);
                self.entries.insert(at, ((bucket as u64) << COUNT_BITS) | count.min(COUNT_MAX));
            }
        }
    }

    /// Counts per power of two; the first has all up to 64 ns.
    pub fn octaves(&self) -> [u64; OCTAVES] {
        let mut octaves = [0; OCTAVES];
        for (bucket, count) in self.counts() {
            octaves[bucket / 4] += count;
        }
        octaves
    }

    fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        self.entries.iter().map(|entry| unpack(*entry))
    }

    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.counts().map(|(_, count)| count).sum()
    }

    /// The latency in ns that `p` percent of all don't exceed, by nearest rank: the middle of its
    /// bucket, but never above `max_ns`, the longest latency that was seen; and that one itself for
    /// the last rank. Nothing of nothing.
    /// At most 12.5 % off from 64 ns to 2^40 ns; what is longer is said to be 1031 s.
    pub fn percentile(&self, p: f64, max_ns: u64) -> Option<u64> {
        let count = self.count();
        let rank = ((p * count as f64 / 100.0).ceil() as u64).clamp(1, count.max(1));
        if count > 0 && rank == count {
            return Some(max_ns);
        }
        let mut below = 0;
        let (bucket, _) = self.counts().find(|(_, count)| {
            below += count;
            below >= rank
        })?;
        Some(lower_edge(bucket).midpoint(lower_edge(bucket + 1)).min(max_ns))
    }

    /// The buckets that aren't empty, the shortest latencies first, and their counts.
    pub fn buckets(&self) -> impl Iterator<Item = (Range<u64>, u64)> {
        self.counts().map(|(bucket, count)| (range_of(bucket), count))
    }
}

/// Four buckets each: up to 64 ns, then a power of two.
pub const OCTAVES: usize = BUCKETS / 4;

/// The latencies of an octave in ns.
pub fn range_of_octave(octave: usize) -> Range<u64> {
    range_of(octave * 4).start..range_of(octave * 4 + 3).end
}

/// A line for each power of two, from the first that has a count to the last, `width` columns wide:
/// its edges, its count, and a bar if there is room for one.
pub fn draw(histogram: &Histogram, width: usize) -> Vec<String> {
    const LEAST_BAR: usize = 4;

    let octaves = histogram.octaves();
    let counted = |count: &u64| *count > 0;
    let (Some(first), Some(last)) =
        (octaves.iter().position(counted), octaves.iter().rposition(counted))
    else {
        return Vec::new();
    };
    let most = octaves.iter().copied().max().unwrap_or_default();
    let digits = most.to_string().len();
    (first..=last)
        .map(|octave| {
            let from = duration(lower_edge(octave * 4));
            let to = octave * 4 + 4;
            let to = if to < BUCKETS { duration(lower_edge(to)) } else { "…".to_owned() };
            let mut line = format!("{from:>6} – {to:<6} {:>digits$}", octaves[octave]);
            let used = line.chars().count();
            match width.checked_sub(used + " ||".len()) {
                Some(room) if room >= LEAST_BAR => {
                    // A write to a string can't fail.
                    let _ = write!(line, " |{:<room$}|", bar(octaves[octave], most, room));
                    line
                }
                _ => line.chars().take(width).collect::<String>().trim_end().to_owned(),
            }
        })
        .collect()
}

/// A bar that is `room` columns for `most`, in eighths of a column; the least is one eighth.
pub fn bar(count: u64, most: u64, room: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

    if count == 0 {
        return String::new();
    }
    let eighths = u128::from(count) * room as u128 * 8 / u128::from(most);
    let eighths = (eighths as usize).max(1);
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

/// A duration for people, in three digits.
pub fn duration(ns: u64) -> String {
    const UNITS: [&str; 4] = ["ns", "us", "ms", "s"];

    let mut amount = ns as f64;
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1_000.0;
        unit += 1;
    }
    let digits = match amount {
        _ if unit == 0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{amount:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HIGHEST: u64 = 1 << 40;

    fn raw(latencies: &[u64]) -> [u32; BUCKETS] {
        let mut raw = [0; BUCKETS];
        for ns in latencies {
            raw[bucket_of(*ns)] += 1;
        }
        raw
    }

    fn histogram(latencies: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add_wrapped(&raw(latencies));
        histogram
    }

    /// As many latencies of each power of two as of each other.
    fn latency() -> impl Strategy<Value = u64> {
        (6..40u32, any::<u64>()).prop_map(|(power, low)| (1 << power) | (low % (1 << power)))
    }

    fn is_near(estimate: u64, ns: u64) -> bool {
        estimate.abs_diff(ns) * 8 <= ns
    }

    #[test]
    fn ranges_tile_the_line() {
        assert_eq!(range_of(0).start, 0);
        for bucket in 1..BUCKETS {
            assert_eq!(range_of(bucket - 1).end, range_of(bucket).start);
        }
        assert_eq!(range_of(BUCKETS - 1).end, u64::MAX);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn ranges_agree_with_buckets_and_are_narrow() {
        for bucket in 0..BUCKETS {
            let Range { start, end } = range_of(bucket);
            assert_eq!((bucket_of(start), bucket_of(end - 1)), (bucket, bucket));
            let last = (end - 1).min(HIGHEST);
            for ns in [start, start.midpoint(last), last] {
                let estimate = histogram(&[ns, ns]).percentile(50.0, u64::MAX).unwrap();
                assert!(if ns < 64 { estimate.abs_diff(ns) <= 8 } else { is_near(estimate, ns) });
            }
        }
    }

    #[test]
    fn the_layout_is_what_the_kernel_side_counts_in() {
        for (ns, bucket) in [
            (0, 0),
            (15, 0),
            (16, 1),
            (63, 3),
            (64, 4),
            (80, 5),
            (127, 7),
            (128, 8),
            (1_000, 19),
            (1_000_000, 59),
            (1_000_000_000, 99),
            (HIGHEST - 1, 139),
            (HIGHEST, 139),
        ] {
            assert_eq!(bucket_of(ns), bucket, "{ns} ns");
        }
    }

    #[test]
    fn counters_wrap() {
        let mut histogram = Histogram::default();
        let mut raw = [0; BUCKETS];
        for (now, count) in [(u32::MAX - 1, 0xffff_fffe), (3, 0x1_0000_0003), (3, 0x1_0000_0003)] {
            raw[7] = now;
            histogram.add_wrapped(&raw);
            assert_eq!(histogram.count(), count);
        }
        raw[7] = 2;
        raw[139] = 1;
        histogram.add_wrapped(&raw);
        assert_eq!(
            histogram.buckets().collect::<Vec<_>>(),
            [(112..128, 0x2_0000_0002), (962_072_674_304..u64::MAX, 1)]
        );
    }

    #[test]
    fn counts_end_at_their_width() {
        let mut histogram = histogram(&[100]);
        for _ in 0..60 {
            histogram.merge(&histogram.clone());
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(96..112, COUNT_MAX)]);
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let histogram = histogram(&[100, 200, 400, 800]);
        let percentile = |p| histogram.percentile(p, 800).unwrap();
        assert_eq!([0.0, 25.0, 25.1, 50.0, 75.0].map(percentile), [104, 104, 208, 208, 416]);
        assert_eq!([75.1, 99.9, 100.0, 200.0].map(percentile), [800; 4]);
        assert_eq!(Histogram::default().percentile(50.0, 800), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_near(
            mut latencies in prop::collection::vec(latency(), 1..200),
            p in 1..=100usize,
        ) {
            let histogram = histogram(&latencies);
            latencies.sort_unstable();
            let count = latencies.len();
            let max = latencies[count - 1];
            let exact = latencies[(p * count).div_ceil(100) - 1];
            let estimate = histogram.percentile(p as f64, max).unwrap();
            prop_assert!(estimate <= max);
            prop_assert!(is_near(estimate, exact), "{estimate} for {exact}");
        }

        #[test]
        fn a_latency_is_in_its_bucket(ns in 0..u64::MAX, power in 0..64u32) {
            for ns in [ns, ns >> power] {
                prop_assert!(range_of(bucket_of(ns)).contains(&ns));
            }
        }

        #[test]
        fn merging_is_counting_together(
            a in prop::collection::vec(latency(), 0..50),
            b in prop::collection::vec(latency(), 0..50),
        ) {
            let mut merged = histogram(&a);
            merged.merge(&histogram(&b));
            prop_assert_eq!(merged.count(), (a.len() + b.len()) as u64);
            prop_assert_eq!(merged, histogram(&[a, b].concat()));
        }

        #[test]
        fn lines_fit(latencies in prop::collection::vec(latency(), 0..50), width in 0..100usize) {
            for line in draw(&histogram(&latencies), width) {
                prop_assert!(unicode_width::UnicodeWidthStr::width(line.as_str()) <= width);
            }
        }
    }

    #[test]
    fn durations() {
        for (ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_000, "1.00us"),
            (1_024, "1.02us"),
            (9_994, "9.99us"),
            (9_996, "10.0us"),
            (131_072, "131us"),
            (999_700, "1.00ms"),
            (1 << 24, "16.8ms"),
            (1 << 31, "2.15s"),
            (1 << 39, "550s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    fn spread() -> Histogram {
        let mut histogram = histogram(&[10, 70, 90, 100, 600, 1_000, 20_000, u64::MAX]);
        let mut many = [0; BUCKETS];
        many[bucket_of(300)] = 1_234;
        many[bucket_of(600)] = 617;
        many[bucket_of(1_500)] = 99;
        let mut other = Histogram::default();
        other.add_wrapped(&many);
        histogram.merge(&other);
        histogram
    }

    #[test]
    fn drawing() {
        let lines = draw(&spread(), 60);
        insta::assert_snapshot!(lines[..10].join("\n"), @r"
           0ns – 64ns      1 |▏                                    |
          64ns – 128ns     3 |▏                                    |
         128ns – 256ns     0 |                                     |
         256ns – 512ns  1234 |█████████████████████████████████████|
         512ns – 1.02us  619 |██████████████████▌                  |
        1.02us – 2.05us   99 |██▉                                  |
        2.05us – 4.10us    0 |                                     |
        4.10us – 8.19us    0 |                                     |
        8.19us – 16.4us    0 |                                     |
        16.4us – 32.8us    1 |▏                                    |
        ");
        insta::assert_snapshot!(lines[lines.len() - 2..].join("\n"), @r"
        275s – 550s      0 |                                     |
        550s – …         1 |▏                                    |
        ");
        assert_eq!(lines.len(), OCTAVES);
    }

    #[test]
    fn drawing_where_there_is_no_room_or_nothing_to_draw() {
        insta::assert_snapshot!(draw(&histogram(&[100, 100, 300]), 28).join("\n"), @r"
         64ns – 128ns  2 |████████|
        128ns – 256ns  0 |        |
        256ns – 512ns  1 |████    |
        ");
        insta::assert_snapshot!(draw(&histogram(&[100, 100, 300]), 23).join("\n"), @r"
         64ns – 128ns  2
        128ns – 256ns  0
        256ns – 512ns  1
        ");
        insta::assert_snapshot!(draw(&histogram(&[100, 100, 300]), 9).join("\n"), @r"
         64ns –
        128ns –
        256ns –
        ");
        assert!(draw(&Histogram::default(), 80).is_empty());
    }
}

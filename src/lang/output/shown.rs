//! What maps are shown as.

use super::value::Value;

/// A map, or a value of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Value(Value),
    Histogram(Histogram),
    Series(Series),
    /// In the order in which they are shown.
    Map(Vec<(Value, Shown)>),
}

/// A map or value and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownMap {
    pub(super) name: String,
    pub(super) shown: Shown,
    /// Of what JSON says it is.
    pub(super) kind: Kind,
}

/// What JSON calls a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    Stats,
    Hist,
    Series,
}

/// Counts of buckets, from the first that has one to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    pub(super) buckets: Vec<Bucket>,
}

/// So many values were from `from` up to `to`, `to` not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) from: Option<Value>,
    pub(super) to: Option<Value>,
    pub(super) count: u64,
}

/// Values by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series {
    /// When each interval began, ns, and its value, if it has one.
    pub(super) values: Vec<(u64, Option<Value>)>,
}

impl Shown {
    /// Whether it is shown on lines of its own.
    pub(super) fn has_lines(&self) -> bool {
        matches!(self, Self::Histogram(_) | Self::Series(_))
    }
}

impl Histogram {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The value that `percent` of all don't exceed, as far as buckets tell: their middle, or their edge where they
    /// have no other.
    pub(super) fn percentile(&self, percent: f64) -> Option<i128> {
        let count = self.count();
        let rank = ((percent * count as f64 / 100.0).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        let bucket = self.buckets.iter().find(|bucket| {
            below += bucket.count;
            below >= rank
        })?;
        let edge = |value: &Option<Value>| value.as_ref().and_then(Value::number);
        match (edge(&bucket.from), edge(&bucket.to)) {
            (Some(from), Some(to)) => Some(from + (to - 1 - from) / 2),
            (Some(from), None) => Some(from),
            (None, to) => to.map(|to| to - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let bucket = |from, to, count| Bucket {
            from: Some(Value::Signed(from)),
            to: Some(Value::Signed(to)),
            count,
        };
        let histogram =
            Histogram { buckets: vec![bucket(1, 2, 9), bucket(2, 4, 0), bucket(4, 8, 1)] };
        assert_eq!(
            [50.0, 90.0, 91.0, 99.0].map(|p| histogram.percentile(p)),
            [Some(1), Some(1), Some(5), Some(5)]
        );
        assert_eq!(Histogram::default().percentile(50.0), None);
    }
}

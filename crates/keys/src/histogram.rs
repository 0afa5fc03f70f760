//! A histogram of byte counts in fixed room. Read [`Histogram`] first.

use serde::{Serialize, Serializer};

/// Parts a doubling is cut into: a quantile is right within 1/8.
const PARTS: u64 = 4;
/// Up to 2^40 bytes; what is larger counts in the last bucket.
const BUCKETS: usize = 160;

/// Counts of values by size, four buckets a doubling, and the largest exactly.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), max: 0 }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.quantiles().fmt(f)
    }
}

/// What a histogram tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Quantiles {
    /// Half are not larger.
    pub p50: u64,
    /// 99 of 100 are not larger.
    pub p99: u64,
    /// The largest, exactly.
    pub max: u64,
}

impl Histogram {
    /// One more value.
    #[inline]
    pub fn add(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count += 1;
        }
        self.max = self.max.max(value);
    }

    /// Takes over another's counts.
    pub fn join(&mut self, other: &Self) {
        for (own, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *own += more;
        }
        self.max = self.max.max(other.max);
    }

    /// The value that `share` of all do not exceed, to the upper end of its bucket.
    pub fn quantile(&self, share: f64) -> u64 {
        let all: u64 = self.counts.iter().sum();
        let wanted = share * all as f64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return top(bucket).min(self.max);
            }
        }
        self.max
    }

    /// Median, 99th percentile, maximum.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles { p50: self.quantile(0.5), p99: self.quantile(0.99), max: self.max }
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.quantiles().serialize(serializer)
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    let value = value.max(1);
    let doubling = u64::from(value.ilog2());
    // The two bits after the first.
    let part =
        if doubling >= 2 { value >> (doubling - 2) & 3 } else { value << (2 - doubling) & 3 };
    usize::try_from(doubling * PARTS + part).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn top(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let (doubling, part) = (bucket / PARTS, bucket % PARTS);
    let next = (PARTS + part + 1) << doubling;
    (next.div_ceil(PARTS)).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_values(value in 1_u64..1 << 39) {
            let bucket = bucket(value);
            prop_assert!(top(bucket) >= value);
            prop_assert!(bucket == 0 || top(bucket - 1) < value || value < 4);
            prop_assert!(top(bucket) <= value + value / 4 + 1);
        }
    }

    #[test]
    fn quantiles_of_a_thousand() {
        let mut histogram = Histogram::default();
        for value in 1..=1000 {
            histogram.add(value);
        }
        let Quantiles { p50, p99, max } = histogram.quantiles();
        assert!((500..=576).contains(&p50), "{p50}");
        assert!((990..=1000).contains(&p99), "{p99}");
        assert_eq!(max, 1000);
    }
}

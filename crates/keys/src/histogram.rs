//! A histogram of byte counts in fixed room. Read [`Histogram`] first.

use serde::{Serialize, Serializer};

/// Parts a doubling is cut into: a quantile is at most a quarter too high, and exact where values are alike.
const PARTS: u64 = 4;
/// Up to 2^40 bytes; what is larger counts in the last bucket.
const BUCKETS: usize = 160;

/// Counts of values by size, four buckets a doubling, each with the largest value seen in it.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[Bucket; BUCKETS]>,
    max: u64,
}

/// In the room of one number: how many, and how far above the bucket's smallest value the largest was. Both stop where they
/// are full.
#[derive(Clone, Copy, Default)]
struct Bucket {
    count: u32,
    above: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([Bucket::default(); BUCKETS]), max: 0 }
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
        let at = bucket(value);
        if let Some(bucket) = self.buckets.get_mut(at) {
            bucket.count = bucket.count.saturating_add(1);
            let above = u32::try_from(value.saturating_sub(bottom(at))).unwrap_or(u32::MAX);
            bucket.above = bucket.above.max(above);
        }
        self.max = self.max.max(value);
    }

    /// Takes over another's counts.
    pub fn join(&mut self, other: &Self) {
        for (own, more) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            own.count = own.count.saturating_add(more.count);
            own.above = own.above.max(more.above);
        }
        self.max = self.max.max(other.max);
    }

    /// The value that `share` of all do not exceed: the largest one seen in its bucket.
    pub fn quantile(&self, share: f64) -> u64 {
        let all: u64 = self.buckets.iter().map(|b| u64::from(b.count)).sum();
        let wanted = share * all as f64;
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += u64::from(bucket.count);
            if bucket.count > 0 && seen as f64 >= wanted {
                return (bottom(at) + u64::from(bucket.above)).min(self.max);
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

/// The smallest value of a bucket; 0 and 1 share the first.
#[inline]
fn bottom(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let (doubling, part) = (bucket / PARTS, bucket % PARTS);
    if bucket == 0 { 0 } else { ((PARTS + part) << doubling).div_ceil(PARTS) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_values(value in 1_u64..1 << 39) {
            let at = bucket(value);
            prop_assert!(bottom(at) <= value);
            prop_assert!(bottom(at + 1) > value || value < 4);
            let mut histogram = Histogram::default();
            for v in [value, value, u64::MAX] {
                histogram.add(v);
            }
            // Above 16 GiB a bucket is wider than what is kept of its largest value.
            prop_assert!(histogram.quantile(0.5) == value || value >= 1 << 34);
        }
    }

    #[test]
    fn quantiles_of_a_thousand() {
        let mut histogram = Histogram::default();
        for value in 1..=1000 {
            histogram.add(value);
        }
        let Quantiles { p50, p99, max } = histogram.quantiles();
        // 448 to 511 and 896 to 1023 are a bucket each.
        assert_eq!((p50, p99, max), (511, 1000, 1000));
    }
}

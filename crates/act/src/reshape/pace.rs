//! [`Pace`]: how much is sent at once, so that other clients do not feel it.

use std::time::Duration;

/// Keys sent at once.
const KEYS: std::ops::RangeInclusive<usize> = 4..=1000;

/// Adapts the size of a batch to what batches took, and rests in proportion.
#[derive(Debug)]
pub(super) struct Pace {
    budget_us: u64,
    keys: usize,
    rest: f64,
}

impl Pace {
    pub(super) fn new(budget_us: u64) -> Self {
        Self { budget_us, keys: 32, rest: 0.5 }
    }

    /// Keys of the next batch.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// Bytes that one script may handle: it reads and writes them at some 400 a microsecond (measured: 1 MB in 2.2 ms),
    /// in half of the budget.
    pub(super) fn script_bytes(&self) -> u64 {
        self.budget_us / 2 * 400
    }

    /// Keys that one script may handle: a key takes some 5 microseconds (measured: 3 to 6).
    pub(super) fn script_keys(&self) -> usize {
        usize::try_from(self.budget_us / 8).unwrap_or(usize::MAX).clamp(64, 4000)
    }

    /// A batch of `keys` took this long: a batch may take a quarter of the budget.
    pub(super) fn took(&mut self, keys: usize, took: Duration) {
        // A few commands tell of the network, not of the server.
        if keys * 2 < self.keys {
            return rest(took.mul_f64(self.rest));
        }
        let wanted_us = (self.budget_us / 4).clamp(200, 2000) as f64;
        let per_key_us = (took.as_secs_f64() * 1e6 / keys.max(1) as f64).max(0.1);
        // A step at a time, because a single slow answer may be the machine's doing.
        let fit =
            (wanted_us / per_key_us).clamp(self.keys as f64 * 0.7, self.keys as f64 * 1.2 + 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let fit = fit.clamp(*KEYS.start() as f64, *KEYS.end() as f64) as usize;
        self.keys = fit;
        rest(took.mul_f64(self.rest));
    }

    /// Latency that a probe saw above the baseline: rests longer while other clients feel us, shorter while they do not.
    pub(super) fn felt(&mut self, added_us: u64) {
        if added_us > self.budget_us {
            self.rest = (self.rest * 2.0).min(16.0);
            self.keys = (self.keys / 2).max(*KEYS.start());
        } else if added_us <= self.budget_us / 2 {
            self.rest = (self.rest * 0.8).max(0.3);
        }
    }
}

/// Rests for less than tokio's timer can: nothing else runs on this thread meanwhile.
pub(super) fn rest(duration: Duration) {
    const MOST: Duration = Duration::from_millis(50);
    std::thread::sleep(duration.min(MOST));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_where_they_are_slow_and_grow_where_not() {
        let mut pace = Pace::new(5000);
        pace.took(32, Duration::from_millis(40));
        assert!(pace.keys() < 32);
        (0..20).for_each(|_| pace.took(pace.keys(), Duration::from_micros(10)));
        assert!(pace.keys() > 60);
        (0..100).for_each(|_| pace.felt(50_000));
        assert_eq!(pace.keys(), *KEYS.start());
    }
}

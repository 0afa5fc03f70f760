//! A few keys of each pattern, each as likely as any other. Read [`Reservoir`] first.

use unfrag_rdb::format::DataType;

/// Keys kept of a pattern: a mean over these is within a few per cent where values are alike.
pub const SAMPLES_MAX: usize = 48;
/// Bytes kept of a value. What is longer is compressed by its start.
pub const VALUE_BYTES_MAX: usize = 16 << 10;
/// Bytes kept of a name.
pub const NAME_BYTES_MAX: usize = 256;

/// A key that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its name, cut at [`NAME_BYTES_MAX`].
    pub name: Box<[u8]>,
    /// Bytes of its name, uncut.
    pub name_bytes: u64,
    /// Its value, cut at [`VALUE_BYTES_MAX`], if it is a string.
    pub value: Option<Box<[u8]>>,
    /// Elements; bytes of a string, uncut.
    pub elements: u64,
    /// Bytes it takes.
    pub bytes: u64,
    /// When it expires.
    pub expires_ms: Option<i64>,
    /// Type.
    pub data_type: DataType,
}

/// A random sample of a stream whose length is not known, with a jump to the next key that gets in: the hot path
/// compares one number.
#[derive(Debug, Clone)]
pub struct Reservoir {
    kept: Vec<Sample>,
    /// The key, counted from one, that is kept next.
    next: u64,
    state: u64,
}

impl Default for Reservoir {
    fn default() -> Self {
        Self { kept: Vec::new(), next: 1, state: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl Reservoir {
    /// True if the `nth` key, counted from one, is to be kept.
    #[inline]
    pub fn wants(&self, nth: u64) -> bool {
        nth == self.next
    }

    /// Keeps the `nth` key; gives back the one that makes room.
    pub fn keep(&mut self, nth: u64, sample: Sample) -> Option<Sample> {
        let random = self.random();
        if self.kept.len() < SAMPLES_MAX {
            self.kept.push(sample);
            self.next = nth + 1;
            if self.kept.len() == SAMPLES_MAX {
                self.jump(nth);
            }
            return None;
        }
        let place = usize::try_from(random % SAMPLES_MAX as u64).unwrap_or_default();
        self.jump(nth);
        self.kept.get_mut(place).map(|old| std::mem::replace(old, sample))
    }

    /// A key gets in with probability `SAMPLES_MAX / n`: the next one is at `n * u^(-1/SAMPLES_MAX)`.
    fn jump(&mut self, nth: u64) {
        let u = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        let next = nth as f64 * u.max(1e-12).powf(-1.0 / SAMPLES_MAX as f64);
        self.next = crate::stats::rounded(next).max(nth + 1);
    }

    fn random(&mut self) -> u64 {
        // xorshift64*: picks samples, nothing else.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// What was kept.
    pub fn samples(&self) -> &[Sample] {
        &self.kept
    }

    /// Takes over samples of `other_keys` keys beside those of `own_keys`, in proportion.
    pub fn join(&mut self, other: Self, own_keys: u64, other_keys: u64) {
        let all = own_keys + other_keys;
        self.jump(all.max(1));
        if self.kept.len() + other.kept.len() <= SAMPLES_MAX {
            self.kept.extend(other.kept);
            if self.kept.len() < SAMPLES_MAX {
                self.next = all + 1;
            }
            return;
        }
        let share = other_keys as f64 / all.max(1) as f64 * SAMPLES_MAX as f64;
        let wanted = usize::try_from(crate::stats::rounded(share)).unwrap_or_default();
        let fewest = SAMPLES_MAX.saturating_sub(self.kept.len());
        let take = wanted.max(fewest).min(other.kept.len());
        self.kept.truncate(SAMPLES_MAX - take.min(SAMPLES_MAX));
        self.kept.extend(other.kept.into_iter().take(take));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64) -> Sample {
        Sample {
            name: Box::from(number.to_le_bytes()),
            name_bytes: 8,
            value: None,
            elements: number,
            bytes: 0,
            expires_ms: None,
            data_type: DataType::String,
        }
    }

    #[test]
    fn every_part_of_a_long_stream_is_represented() {
        let mut tenths = [0_u32; 10];
        let mut reservoir = Reservoir::default();
        for round in 0..40 {
            reservoir = Reservoir { state: 77 + round, ..Reservoir::default() };
            for nth in 1..=10_000 {
                if reservoir.wants(nth) {
                    reservoir.keep(nth, sample(nth));
                }
            }
            for kept in reservoir.samples() {
                tenths[usize::try_from((kept.elements - 1) / 1000).unwrap()] += 1;
            }
        }
        assert_eq!(reservoir.samples().len(), SAMPLES_MAX);
        // 192 expected in each; a standard deviation is about 13.
        assert!(tenths.iter().all(|&n| (130..260).contains(&n)), "{tenths:?}");
    }

    #[test]
    fn joining_keeps_proportion() {
        let filled = |from: u64| {
            let mut reservoir = Reservoir::default();
            for nth in 1..=1000 {
                if reservoir.wants(nth) {
                    reservoir.keep(nth, sample(from + nth));
                }
            }
            reservoir
        };
        let mut own = filled(0);
        own.join(filled(100_000), 3000, 1000);
        let others = own.samples().iter().filter(|s| s.elements > 100_000).count();
        assert_eq!((own.samples().len(), others), (SAMPLES_MAX, SAMPLES_MAX / 4));
    }
}

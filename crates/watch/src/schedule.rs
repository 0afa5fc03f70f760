//! When a target is looked at next: a steady grid with a phase of its own, and patience with the dead. Pure.

use std::time::Duration;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// Between two cheap looks.
    pub interval: Duration,
    /// Between two whole samples, MALLOC-STATS among them.
    pub deep: Duration,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), deep: Duration::from_secs(600) }
    }
}

/// The longest pause between tries of a target that does not answer, in intervals.
const MAX_BACK_OFF: u32 = 6;

/// A number that spreads names evenly and is the same on every run.
pub(crate) fn hash(name: &str) -> u64 {
    // FNV-1a, then a mix: neighbours like :7000 and :7001 must not fall together.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

/// How long to wait at `now` (since some fixed start) for the next look at `name`. A late look does not push the
/// following ones: the grid stands. Failures stretch it.
pub fn wait(name: &str, cadence: &Cadence, now: Duration, failures: u32) -> Duration {
    let interval = cadence.interval.as_nanos().max(1_000_000);
    let step = interval * u128::from(back_off(failures));
    let seed = hash(name);
    // Jitter of a twentieth either way, so that looks that fell together do not stay together.
    let beat = now.as_nanos() / step;
    let jitter = interval / 20 * u128::from(hash(&format!("{seed}{beat}")) % 1000) / 1000;
    let phase = u128::from(seed) % step;
    let since = (now.as_nanos() + step - phase) % step;
    let wait = step - since + jitter;
    // At least half a step: what was just asked is not asked again at once.
    let wait = if wait < interval / 2 { wait + step } else { wait };
    Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
}

/// Failures before a target is asked less often: it may be a restart, whose end people want to see, and an alert that is due
/// after a minute must not wait for a look that comes after two.
const STEADY: u32 = 7;

/// 1 for a while, 2, 4, then [`MAX_BACK_OFF`].
fn back_off(failures: u32) -> u32 {
    let over = failures.saturating_sub(STEADY);
    1u32.checked_shl(over).unwrap_or(MAX_BACK_OFF).min(MAX_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_targets_spread_over_the_interval() {
        let cadence = Cadence::default();
        let mut tenths = [0; 10];
        for port in 0..1000 {
            let wait = wait(&format!("10.0.0.1:{}", 7000 + port), &cadence, Duration::ZERO, 0);
            let tenth = usize::try_from(wait.as_millis() % 10_000 / 1000).unwrap();
            tenths[tenth] += 1;
        }
        assert!(tenths.iter().all(|n| (60..=140).contains(n)), "{tenths:?}");
    }

    #[test]
    fn a_server_that_is_gone_for_a_minute_has_been_looked_at_by_then() {
        let cadence = Cadence::default();
        for name in (0..200).map(|n| format!("10.0.0.1:{n}")) {
            let (mut since, mut failures) = (Duration::ZERO, 1);
            while since < Duration::from_secs(60) {
                since += wait(&name, &cadence, Duration::from_secs(5) + since, failures);
                failures += 1;
            }
            assert!(since < Duration::from_secs(80), "{name}: {since:?}");
        }
    }

    #[test]
    fn the_grid_stands_and_failures_stretch_it() {
        let cadence = Cadence::default();
        let mut now = Duration::ZERO;
        for _ in 0..1000 {
            let wait = wait("a", &cadence, now, 0);
            assert!(wait >= cadence.interval / 2 && wait <= cadence.interval * 2, "{wait:?}");
            // The look itself takes a while.
            now += wait + Duration::from_millis(300);
        }
        let looks = now.as_secs_f64() / 10.0;
        assert!((990.0..1010.0).contains(&looks), "{looks}");
        let longest =
            (0..200).map(|n| wait("a", &cadence, Duration::from_secs(n), 50)).max().unwrap();
        assert!(longest <= cadence.interval * (MAX_BACK_OFF + 2), "{longest:?}");
        assert!(longest > cadence.interval * 3);
    }
}

//! Where a figure is going: [`Outlook`], from [`slope`] (Theil-Sen, with Sen's interval), [`until`] the limit, and [`onset`].
//!
//! The slope is the median of the slopes of all pairs: a third of the points may be spikes (forks, bursts, gaps) without
//! moving it. Its interval is Sen's (1968): the ranks of the sorted slopes by the variance of Kendall's S. Where that
//! interval holds zero there is no trend and none is said.

use crate::line::Line;
use crate::point::Column;
use serde::Serialize;

/// Where a server is going.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outlook {
    /// Bytes a second of RSS.
    pub rss: Option<Slope>,
    /// Bytes a second of `active - allocated`.
    pub fragmentation: Option<Slope>,
    /// Until RSS is at the limit; `None` when it is not going there.
    pub until_limit: Option<Until>,
    /// Until the data is at `maxmemory`; `None` when it is not going there, or there is none.
    pub until_maxmemory: Option<Until>,
    /// When the fragmentation that is there now began to rise, in seconds since 1970.
    pub fragmentation_since_s: Option<i64>,
    /// Seconds of history this rests on.
    pub span_s: i64,
}

/// Shorter pasts tell of a burst, not of a trend.
const MIN_SPAN_S: i64 = 600;

impl Outlook {
    /// What a past says; `maxmemory` as it is now.
    pub fn new(line: &Line, maxmemory: Option<u64>) -> Self {
        let rss = line.values(Column::Rss);
        let span_s = match (rss.first(), rss.last()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => 0,
        };
        if span_s < MIN_SPAN_S {
            return Self { span_s, ..Self::default() };
        }
        let headroom = line.values(Column::Headroom);
        let fragmentation = line.values(Column::Fragmentation);
        // Headroom falls as RSS rises, and also where the limit is lowered.
        let closing =
            slope(&headroom).map(|s| Slope { per_s: -s.per_s, low: -s.high, high: -s.low });
        let until_limit = headroom.last().zip(closing).and_then(|(room, s)| until(room.1, &s));
        let used = line.values(Column::Used);
        let maxmemory = maxmemory.filter(|m| *m > 0).map(|m| m as f64);
        let until_maxmemory = used
            .last()
            .zip(slope(&used))
            .zip(maxmemory)
            .and_then(|((now, s), max)| until(max - now.1, &s));
        Self {
            until_maxmemory,
            rss: slope(&rss),
            fragmentation: slope(&fragmentation),
            until_limit,
            fragmentation_since_s: onset(&fragmentation, ONSET_NOISE_BYTES),
            span_s,
        }
    }
}

/// A rise that nobody asks the reason of.
const ONSET_NOISE_BYTES: f64 = (8 << 20) as f64;

/// A slope with a 95 % interval, in units a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slope {
    /// Most likely.
    pub per_s: f64,
    /// Likely at least.
    pub low: f64,
    /// Likely at most.
    pub high: f64,
}

/// Fewer points say nothing about a trend.
const MIN_POINTS: usize = 12;
/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.96;

impl Slope {
    /// True when the interval does not hold zero.
    pub fn is_certain(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The slope through `(seconds, value)`; `None` with too few points.
pub fn slope(points: &[(i64, f64)]) -> Option<Slope> {
    let n = points.len();
    if n < MIN_POINTS {
        return None;
    }
    let mut slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points.iter().skip(i + 1).map(move |b| (a, b)))
        .filter(|(a, b)| b.0 > a.0)
        .map(|(a, b)| (b.1 - a.1) / (b.0 - a.0) as f64)
        .collect();
    slopes.sort_by(f64::total_cmp);
    let pairs = slopes.len() as f64;
    let n = n as f64;
    let half = Z * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    Some(Slope {
        per_s: at_rank(&slopes, (pairs - 1.0) / 2.0)?,
        low: at_rank(&slopes, (pairs - half) / 2.0 - 1.0)?,
        high: at_rank(&slopes, f64::midpoint(pairs, half))?,
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the list")]
fn at_rank(sorted: &[f64], rank: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = rank.clamp(0.0, last as f64);
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    Some(f64::midpoint(*sorted.get(below)?, *sorted.get(above)?))
}

/// Seconds until a limit is reached, with an interval; `None` for a bound that is never reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Until {
    /// Most likely.
    pub likely_s: f64,
    /// Not sooner than this.
    pub soonest_s: f64,
    /// Not later than this; `None` when it may never be.
    pub latest_s: Option<f64>,
}

/// Further ahead nothing is said: a day of history does not tell of the next season.
const HORIZON_S: f64 = 90.0 * 86400.0;

/// When `room` units of headroom are used up, if the slope is certain and upward and the time within reach.
pub fn until(room: f64, slope: &Slope) -> Option<Until> {
    if slope.low <= 0.0 || slope.per_s <= 0.0 {
        return None;
    }
    let room = room.max(0.0);
    let likely_s = room / slope.per_s;
    (likely_s <= HORIZON_S).then(|| Until {
        likely_s,
        soonest_s: room / slope.high.max(slope.per_s),
        latest_s: Some(room / slope.low).filter(|s| s.is_finite()),
    })
}

/// When the rise that is still there began: the last time the value was near what it had been lowest before. `None`
/// when there is no rise worth the name.
pub fn onset(points: &[(i64, f64)], noise: f64) -> Option<i64> {
    let (_, now) = points.last()?;
    let lowest = points.iter().map(|p| p.1).min_by(f64::total_cmp)?;
    let rise = now - lowest;
    if rise <= noise.max(lowest.abs() * 0.05) {
        return None;
    }
    let near = lowest + rise * 0.1;
    points.iter().rev().find(|p| p.1 <= near).map(|p| p.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: &mut u64) -> f64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 40) as f64 / f64::from(1 << 24) - 0.5
    }

    fn line(per_s: f64, spread: f64, spikes: bool, seed: u64) -> Vec<(i64, f64)> {
        let mut seed = seed;
        (0..96)
            .map(|n| {
                let spike = if spikes && n % 5 == 0 { 1e9 } else { 0.0 };
                (n * 900, 1e8 + per_s * (n * 900) as f64 + noise(&mut seed) * spread + spike)
            })
            .collect()
    }

    #[test]
    fn spikes_do_not_move_the_slope() {
        let found = slope(&line(1000.0, 1e6, true, 1)).unwrap();
        assert!((found.per_s - 1000.0).abs() < 20.0, "{found:?}");
        assert!(found.is_certain());
        // Least squares would be off by far: the same spikes late in the window are a trend to it.
    }

    #[test]
    fn the_interval_holds_the_truth_about_as_often_as_it_says() {
        let held = (0..400u64)
            .filter(|seed| {
                let found = slope(&line(50.0, 5e7, false, seed * 7919 + 3)).unwrap();
                (found.low..=found.high).contains(&50.0)
            })
            .count();
        assert!((370..=396).contains(&held), "{held} of 400");
    }

    #[test]
    fn noise_has_no_trend_and_no_time_to_the_limit() {
        let certain = (0..200u64)
            .filter(|seed| slope(&line(0.0, 1e7, false, seed * 31 + 1)).unwrap().is_certain())
            .count();
        assert!(certain <= 20, "{certain} of 200");
        let flat = Slope { per_s: 1.0, low: -1.0, high: 3.0 };
        assert_eq!(until(1e9, &flat), None);
    }

    #[test]
    fn time_to_the_limit_comes_with_an_interval() {
        let found = until(1000.0, &Slope { per_s: 1.0, low: 0.5, high: 2.0 }).unwrap();
        assert_eq!(
            (found.soonest_s, found.likely_s, found.latest_s),
            (500.0, 1000.0, Some(2000.0))
        );
    }

    #[test]
    fn the_onset_is_where_it_left_the_ground() {
        let points: Vec<(i64, f64)> = (0..100)
            .map(|n| (n * 60, if n < 40 { 10.0 } else { (n - 39) as f64 * 10.0 }))
            .collect();
        let found = onset(&points, 5.0).unwrap();
        assert!((39 * 60..=45 * 60).contains(&found), "{found}");
        assert_eq!(onset(&points[..40], 5.0), None);
    }
}

//! Times a key has left, and times since it was used, in a few buckets. Read [`TtlBucket`] first.

/// Kinds of [`TtlBucket`].
pub const TTL_BUCKETS: usize = 7;
/// Buckets of idle time.
pub const IDLE_BUCKETS: usize = 6;

/// How long a key still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TtlBucket {
    /// It does not expire.
    None,
    /// Its time had passed when the snapshot was taken.
    Expired,
    /// Under an hour.
    Hour,
    /// Under a day.
    Day,
    /// Under a week.
    Week,
    /// Under thirty days.
    Month,
    /// Longer.
    Longer,
}

/// Buckets in order, with their names in reports.
pub const TTL_NAMES: [(TtlBucket, &str); TTL_BUCKETS] = [
    (TtlBucket::None, "none"),
    (TtlBucket::Expired, "expired"),
    (TtlBucket::Hour, "<1h"),
    (TtlBucket::Day, "<1d"),
    (TtlBucket::Week, "<7d"),
    (TtlBucket::Month, "<30d"),
    (TtlBucket::Longer, ">=30d"),
];

/// Upper bounds of idle buckets in seconds, with names; the last has none.
pub const IDLE_NAMES: [(u64, &str); IDLE_BUCKETS] = [
    (HOUR_S, "<1h"),
    (DAY_S, "<1d"),
    (7 * DAY_S, "<7d"),
    (30 * DAY_S, "<30d"),
    (90 * DAY_S, "<90d"),
    (u64::MAX, ">=90d"),
];

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

impl TtlBucket {
    /// The bucket of a key that expires at `expires_ms`, seen at `now_ms`.
    #[inline]
    pub fn of(expires_ms: Option<i64>, now_ms: i64) -> Self {
        let Some(at) = expires_ms else { return Self::None };
        let Ok(left_ms) = u64::try_from(at.saturating_sub(now_ms)) else { return Self::Expired };
        match left_ms / 1000 {
            s if s < HOUR_S => Self::Hour,
            s if s < DAY_S => Self::Day,
            s if s < 7 * DAY_S => Self::Week,
            s if s < 30 * DAY_S => Self::Month,
            _ => Self::Longer,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        TTL_NAMES.iter().find(|(bucket, _)| *bucket == self).map_or("", |(_, name)| name)
    }
}

/// The bucket of a key not used for `idle_s` seconds.
#[inline]
pub fn idle_bucket(idle_s: u64) -> usize {
    IDLE_NAMES.iter().position(|(below, _)| idle_s < *below).unwrap_or(IDLE_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_where_their_names_say() {
        assert_eq!(TtlBucket::of(None, 5), TtlBucket::None);
        assert_eq!(TtlBucket::of(Some(4), 5), TtlBucket::Expired);
        assert_eq!(TtlBucket::of(Some(5 + 3_600_000), 5).name(), "<1d");
        assert_eq!(TtlBucket::of(Some(i64::MAX), -5).name(), ">=30d");
        assert_eq!(idle_bucket(0), 0);
        assert_eq!(idle_bucket(u64::MAX), IDLE_BUCKETS - 1);
    }
}

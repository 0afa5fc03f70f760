//! Figures that a cut paste lost and that others still hold: INFO prints most of them three times, as a level, as a
//! difference and as a ratio.

use unfrag_model::bytes::PLAUSIBLE_MAX;
use unfrag_model::{Info, Sample, Version};

/// A ratio has two decimals: from here on its rounding moves the result by 2 % at most.
const LEAST_RATIO: f64 = 1.25;

/// `used_memory`: from the peak and its percentage, from the dataset and its percentage, or from RSS's ratio and excess.
pub(super) fn used(info: &Info) -> Option<u64> {
    let share =
        |name: &str| info.ratio(name).filter(|p| (1.0..=100.5).contains(p)).map(|p| p / 100.0);
    let of_peak = || Some(info.count("used_memory_peak")? as f64 * share("used_memory_peak_perc")?);
    let of_dataset = || {
        let startup = info.count("used_memory_startup").unwrap_or(0);
        let data = info.count("used_memory_dataset")? as f64;
        Some(data / share("used_memory_dataset_perc")? + startup as f64)
    };
    let of_excess = || {
        let excess = u64::try_from(info.signed("mem_fragmentation_bytes")?).ok()?;
        let ratio = info.ratio("mem_fragmentation_ratio").filter(|r| *r >= LEAST_RATIO)?;
        Some(excess as f64 / (ratio - 1.0))
    };
    bytes(of_peak().or_else(of_dataset).or_else(of_excess)?)
}

/// `used_memory_rss`: what exceeds `used`, from INFO or MEMORY STATS, added to it.
pub(super) fn rss(sample: &Sample, used: u64) -> Option<u64> {
    let stats = sample.memory_stats.as_ref();
    let from_stats = || bytes_signed(stats?.number("fragmentation.bytes")?);
    let excess = sample.info.signed("mem_fragmentation_bytes").or_else(from_stats)?;
    plausible(used.checked_add_signed(excess)?)
}

/// Allocated, active and resident, from RSS down by the printed differences. From 7.4 and Valkey 8.0 on
/// `allocator_frag_bytes` is no difference of levels any more: `used` stands for what is allocated.
pub(super) fn levels(
    sample: &Sample,
    used: Option<u64>,
    rss: Option<u64>,
) -> Option<[Option<u64>; 3]> {
    let info = &sample.info;
    let less = |level: u64, name: &str| {
        plausible(level.checked_add_signed(info.signed(name)?.checked_neg()?)?)
    };
    let resident = less(rss?, "rss_overhead_bytes")?;
    let active = less(resident, "allocator_rss_bytes").filter(|&bytes| bytes > 0)?;
    let by_bins = info.engine().at_least(Version::new(7, 4, 0), Version::new(8, 0, 0))
        || info.text("allocator_muzzy").is_some();
    let printed = if by_bins { None } else { less(active, "allocator_frag_bytes") };
    // Where that is cut off, too: all that is live, but for what a module allocates for itself.
    Some([Some(printed.or(used)?), Some(active), Some(resident)])
}

fn bytes(value: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked")]
    (0.0..=PLAUSIBLE_MAX as f64).contains(&value).then_some(value as u64)
}

/// What INFO's own readers hold a figure to; beyond it a difference wrapped or was never one.
fn plausible(bytes: u64) -> Option<u64> {
    (bytes <= PLAUSIBLE_MAX).then_some(bytes)
}

fn bytes_signed(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "range checked")]
    (-9.0e18..9.0e18).contains(&value).then_some(value as i64)
}

//! # dataset-growth
//!
//! ## What it detects
//! Much data and no limit set: the memory is live, compact, and simply large for the machine; or few keys
//! that are gigantic.
//!
//! ## Why it matters
//! Without maxmemory the only limit is the kernel's, and it kills.
//!
//! ## Evidence
//! used_memory close to RSS and to its peak, maxmemory 0 or unknown, RSS against the machine's memory,
//! bytes a key.
//!
//! ## Remedy
//! Store less, split giant collections, shard; set maxmemory.
//!
//! ## Safety
//! Deleting a giant collection blocks: use UNLINK.
//!
//! ## References
//! redis issue 437: a suspected leak that was 5,600 keys of megabytes each.

use crate::figures::{Figures, share};
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

/// From here a server without a limit is on the way to the kernel's.
const MUCH_OF_MACHINE: f64 = 0.60;
/// A mean key of this size means giant collections.
const GIANT_KEY_BYTES: u64 = 1 << 20;
const LARGE_DATASET_BYTES: u64 = 1 << 30;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let used = f.used?;
    if f.maxmemory.unwrap_or(0) > 0 || f.ratio().is_some_and(|r| r > crate::floors::ALARMING_RATIO)
    {
        return None;
    }
    let growing = f.peak.is_none_or(|peak| share(used, peak) > 0.8);
    let of_machine = f.limit.map_or(0.0, |l| share(used, l.bytes));
    let bytes_a_key = used.checked_div(f.keys.unwrap_or(0)).unwrap_or(0);
    let giant = bytes_a_key >= GIANT_KEY_BYTES && used >= LARGE_DATASET_BYTES;
    let title = match f.limit {
        Some(limit) if growing && of_machine > MUCH_OF_MACHINE => format!(
            "{} of data, {:.0} % of the {} there are, and no maxmemory",
            human(used),
            of_machine * 100.0,
            human(limit.bytes)
        ),
        _ if giant => format!(
            "{} in {} keys: collections of {} on average",
            human(used),
            f.keys.unwrap_or(0),
            human(bytes_a_key)
        ),
        _ => return None,
    };
    Some(
        Finding::new(Cause::DatasetGrowth, Severity::Watch, title)
            .bytes(used)
            .meaning("the memory is live data, compactly stored: no remedy but less data or more memory")
            .evidence(f.cite("used_memory"))
            .evidence(f.cite("used_memory_rss"))
            .evidence(f.keys.map(|k| Evidence::new("keys", k.to_string(), "INFO keyspace")))
            .evidence(f.cite("maxmemory"))
            .remedy(RemedyKind::ReduceData, "find the largest keys: redis-cli --memkeys; split them, give them TTLs, delete with UNLINK")
            .remedy(RemedyKind::SetMaxmemory, "set the safe maxmemory shown below")
            .remedy(RemedyKind::Reshard, "or spread the keys over more servers"),
    )
}

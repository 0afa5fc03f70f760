//! # small-instance
//!
//! ## What it detects
//! An alarming ratio of two small numbers.
//!
//! ## Why it matters
//! It does not: the process itself (text, libraries, bookkeeping) is larger than the data.
//!
//! ## Evidence
//! used_memory_rss - used_memory in bytes, beside the ratio.
//!
//! ## Remedy
//! None needed; alert on bytes and on headroom, not on the ratio.
//!
//! ## Safety
//! Nothing is changed.
//!
//! ## References
//! redis issues 8463, 9256, 5338: ratios of 2 to 4626 on servers of a megabyte.

use crate::figures::Figures;
use crate::floors::{ALARMING_RATIO, GAP_BYTES};
use unfrag_model::{Cause, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let (gap, ratio) = (f.gap()?, f.ratio()?);
    (ratio >= ALARMING_RATIO && gap <= GAP_BYTES).then(|| {
        Finding::new(
            Cause::SmallInstanceFalseAlarm,
            Severity::Info,
            format!(
                "a ratio of {ratio:.2} on {} used is {}: the process itself",
                human(f.used.unwrap_or(0)),
                human(gap)
            ),
        )
        .bytes(gap)
        .meaning("text, libraries and bookkeeping of any server; there is nothing to give back")
        .evidence(f.cite("used_memory"))
        .evidence(f.cite("used_memory_rss"))
        .evidence(f.cite("mem_fragmentation_ratio"))
        .remedy(RemedyKind::NoneNeeded, "nothing; alert on bytes and headroom, not on the ratio")
        .folklore("mem_fragmentation_ratio > 1.5 means nothing on a server this small")
    })
}

//! # past-peak
//!
//! ## What it detects
//! RSS that follows an earlier, larger use of memory.
//!
//! ## Why it matters
//! It does not: the pages are reused when the data grows again. An alert on the ratio is a false one.
//!
//! ## Evidence
//! used_memory_peak close to or above used_memory_rss, both well above used_memory.
//!
//! ## Remedy
//! None needed. Where the memory is wanted back: purge, defrag, or a restart in a quiet hour.
//!
//! ## Safety
//! Plan for the peak: it came once.
//!
//! ## References
//! MEMORY DOCTOR's text on peaks; redis issue 3928.

use crate::figures::Figures;
use crate::floors::{ALARMING_RATIO, BASELINE_BYTES};
use crate::next;
use unfrag_model::{Cause, Finding, RemedyKind, Severity, human};

/// A ratio people ask about although the doctor would not.
const NOTICEABLE_RATIO: f64 = 1.25;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    // Where the allocator's own figures are there, the other rules split the gap exactly.
    if f.sees_allocator() {
        return None;
    }
    let (used, gap, peak, ratio) = (f.used?, f.gap()?, f.peak?, f.ratio()?);
    let from_peak = peak.checked_sub(used)?.min(gap);
    let noticeable = gap > BASELINE_BYTES && ratio > NOTICEABLE_RATIO;
    if !noticeable || from_peak < gap / 2 {
        return None;
    }
    let finding = Finding::new(
        Cause::PeakPast,
        Severity::Info,
        format!(
            "{} of RSS are left from a peak of {}, and will be reused",
            human(from_peak),
            human(peak)
        ),
    )
    .bytes(from_peak)
    .meaning(if ratio > ALARMING_RATIO {
        "the ratio alarms, but nothing is lost: the pages serve the next growth"
    } else {
        "nothing is lost: the pages serve the next growth"
    })
    .evidence(f.cite("used_memory_peak"))
    .evidence(f.cite("used_memory_rss"))
    .evidence(f.cite("used_memory"))
    .remedy(RemedyKind::NoneNeeded, "nothing; plan the machine for the peak")
    .folklore(
        "mem_fragmentation_ratio compares RSS with today's use, not with the peak that sized it",
    );
    Some(next::restart(f, finding))
}

//! # untouched-memory
//!
//! ## What it detects
//! RSS below used_memory although nothing is swapped: memory that was allocated and never written.
//!
//! ## Why it matters
//! It does not. A ratio under 1 is often read as "the server swaps".
//!
//! ## Evidence
//! used_memory above used_memory_rss; no swap in use, or a machine with plenty of memory.
//!
//! ## Remedy
//! None needed.
//!
//! ## Safety
//! The pages become real when they are written (a replication backlog filling up, for example).
//!
//! ## References
//! redis issues 946 and 10565.

use crate::figures::Figures;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

/// Below this, `rss < used` is timing.
const NOTICEABLE: f64 = 0.93;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let missing = f.used?.checked_sub(f.rss?)?;
    let swap = f.sample.host.as_ref().or(Some(&f.sample.log.host)).and_then(|h| h.swap_used);
    (f.ratio()? < NOTICEABLE).then(|| {
        Finding::new(
            Cause::RssBelowUsedBenign,
            Severity::Info,
            format!("{} were allocated and never touched, so they take no RAM", human(missing)),
        )
        .bytes(missing)
        .meaning("harmless: the kernel gives a page only when it is first written")
        .evidence(f.cite("used_memory"))
        .evidence(f.cite("used_memory_rss"))
        .evidence(f.cite("mem_replication_backlog"))
        .evidence(swap.map(|s| Evidence::new("swap in use", human(s), "host")))
        .remedy(RemedyKind::NoneNeeded, "nothing")
        .folklore("mem_fragmentation_ratio under 1 does not prove swapping")
    })
}

//! # defrag-ineffective
//!
//! ## What it detects
//! Active defrag runs, and fragmentation stays: mostly misses, or an old version's known stagnation.
//!
//! ## Why it matters
//! It burns the CPU share of its cycle and gives nothing back.
//!
//! ## Evidence
//! active_defrag_running, active_defrag_hits against active_defrag_misses, active - allocated,
//! total_active_defrag_time.
//!
//! ## Remedy
//! Turn it off, upgrade, or move to a fresh process; raise the lower threshold above what it cannot reach.
//!
//! ## Safety
//! On Redis 7.2.0-7.2.5 and Valkey up to 7.2.6 turning defrag off and on again in mid-run crashes.
//!
//! ## References
//! redis pull request 7289 (stagnation before 6.0.4), issues 9773 and 5603; large allocations are never moved.

use crate::figures::{Figures, share};
use crate::floors::{ACT_SHARE, GAP_BYTES};
use crate::next;
use unfrag_model::{Cause, Finding, RemedyKind, Severity, Version, human};

/// Pointers to look at before a hit rate says anything.
const ENOUGH_LOOKED_AT: u64 = 100_000;
/// Below one move in fifty, a scan is all cost.
const POOR_HIT_RATE: f64 = 0.02;

pub(crate) fn check(f: &Figures<'_>) -> Option<Finding> {
    let wasted = wasted(f).filter(|_| is_futile(f))?;
    let finding = Finding::new(
        Cause::DefragBugOrUndefraggableData,
        Severity::Act,
        format!("active defrag is running and {} stay fragmented", human(wasted)),
    )
    .bytes(wasted)
    .meaning("what is left cannot be moved by this version: it costs CPU and gives nothing back")
    .evidence(f.cite("active_defrag_running"))
    .evidence(f.cite("active_defrag_hits"))
    .evidence(f.cite("active_defrag_misses"))
    .evidence(f.computed("active - allocated", f.fragmentation()))
    .evidence(f.cite("mem_allocator"))
    .remedy(
        RemedyKind::Upgrade,
        "Redis 6.0.4 and later, and every Valkey, choose what to move by slab utilisation",
    );
    Some(next::restart(f, finding))
}

/// True when defrag runs and gives nothing more.
pub(crate) fn is_futile(f: &Figures<'_>) -> bool {
    let fragmented = wasted(f)
        .zip(f.allocated.or(f.used))
        .is_some_and(|(wasted, base)| wasted > GAP_BYTES && share(wasted, base) > ACT_SHARE);
    fragmented && f.count("active_defrag_running") > 0 && (stagnates(f) || misses(f))
}

fn wasted(f: &Figures<'_>) -> Option<u64> {
    f.fragmentation().or_else(|| f.gap())
}

/// Before 6.0.4 a slab was left alone when all were equally used; its jemalloc tells an unknown version.
fn stagnates(f: &Figures<'_>) -> bool {
    let old_jemalloc =
        f.sample.info.text("mem_allocator").is_some_and(|a| a.starts_with("jemalloc-4"));
    let old = f.engine.version.map_or(old_jemalloc, |v| v < Version::new(6, 0, 4));
    let hardest = f.sample.config.number("active-defrag-cycle-max").unwrap_or(75);
    old && f.count("active_defrag_running") >= hardest.min(75)
}

fn misses(f: &Figures<'_>) -> bool {
    let (hits, misses) = (f.count("active_defrag_hits"), f.count("active_defrag_misses"));
    hits + misses > ENOUGH_LOOKED_AT && share(hits, hits + misses) < POOR_HIT_RATE
}

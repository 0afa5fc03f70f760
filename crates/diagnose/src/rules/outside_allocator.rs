//! # outside-allocator
//!
//! ## What it detects
//! RSS well above what the allocator holds: huge pages that keep returned ranges resident, the libc heap of
//! libraries, mapped files, thread stacks.
//!
//! ## Why it matters
//! Neither purge nor defrag reaches it.
//!
//! ## Evidence
//! used_memory_rss - allocator_resident (less the Lua heap where that is outside), retained in MALLOC-STATS,
//! AnonHugePages, file-backed pages, THP mode. Where allocator_resident is missing: RSS beyond the active pages, less
//! what the heap can have freed since its peak.
//!
//! ## Remedy
//! Turn transparent huge pages off and restart; look for what the process maps (smaps).
//!
//! ## Safety
//! See the restart: SHUTDOWN SAVE, never BGSAVE and kill.
//!
//! ## References
//! redis issue 12011 (kernel 2.6.32 with THP), valkey issue 3517 (libc heap).

use crate::figures::{Figures, share};
use crate::floors::{ACT_SHARE, ALLOCATOR_SHARE, BASELINE_BYTES, GAP_BYTES};
use crate::next;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let (bytes, resident) = seen(f).or_else(|| above_any_peak(f))?;
    if bytes < GAP_BYTES || share(bytes, resident) < ALLOCATOR_SHARE {
        return None;
    }
    let severity =
        if share(bytes, resident) >= ACT_SHARE { Severity::Act } else { Severity::Watch };
    let host = f.sample.host.as_ref().unwrap_or(&f.sample.log.host);
    let from_host =
        |what: &str, bytes: Option<u64>| bytes.map(|b| Evidence::new(what, human(b), "procfs"));
    let retained = f.sample.malloc_stats.as_ref().and_then(|m| m.totals.retained);
    let finding = Finding::new(
        Cause::NonAllocatorOverhead,
        severity,
        format!("{} of RSS are outside the allocator", human(bytes)),
    )
    .bytes(bytes)
    .meaning(meaning(host.anon_huge_pages, retained, bytes))
    .evidence(f.computed("rss - resident", f.outside_allocator()))
    .evidence(from_host("AnonHugePages", host.anon_huge_pages))
    .evidence(from_host("file-backed", host.file_backed))
    .evidence(retained.map(|r| Evidence::new("retained", human(r), "MALLOC-STATS")))
    .evidence(
        host.thp_mode.as_ref().map(|m| Evidence::new("transparent_hugepage", m.clone(), "sysfs")),
    )
    .remedy(
        RemedyKind::DisableThp,
        "echo never > /sys/kernel/mm/transparent_hugepage/enabled   (before the restart)",
    );
    Some(next::restart(f, finding))
}

fn seen(f: &Figures<'_>) -> Option<(u64, u64)> {
    let lua = if f.lua_in_used { 0 } else { f.lua };
    let bytes = f.outside_allocator()?.saturating_sub(lua).saturating_sub(BASELINE_BYTES);
    Some((bytes, f.resident?))
}

/// Without allocator_resident: pages that the heap never needed, not even at its peak, are not the allocator's.
fn above_any_peak(f: &Figures<'_>) -> Option<(u64, u64)> {
    let beyond = f.beyond_active()?;
    let bytes = beyond.saturating_sub(f.freed_since_peak()?);
    (bytes > beyond / 2).then_some((bytes, f.active?))
}

fn meaning(huge: Option<u64>, retained: Option<u64>, bytes: u64) -> &'static str {
    if huge.is_some_and(|h| h > bytes / 2) || retained.is_some_and(|r| r > bytes / 2) {
        "the allocator gave these ranges back and the kernel still holds them, as huge pages do"
    } else {
        "a library's heap, mapped files or stacks: neither purge nor defrag reaches them"
    }
}

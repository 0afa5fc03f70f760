//! # retained-pages
//!
//! ## What it detects
//! Freed pages that the allocator keeps in RAM: dirty, or given back lazily (muzzy).
//!
//! ## Why it matters
//! They are free and yet count against the container. Normally they decay within seconds; on an idle server
//! without the background thread they stay until something is allocated.
//!
//! ## Evidence
//! allocator_resident - allocator_active, the dirty and muzzy pages of MALLOC-STATS, the background thread;
//! before 5.0, RSS beyond three times the highest use ever, which fragmentation cannot explain.
//!
//! ## Remedy
//! MEMORY PURGE; jemalloc-bg-thread yes.
//!
//! ## Safety
//! A purge runs on the main thread: milliseconds for tens of megabytes, longer for tens of gigabytes.
//!
//! ## References
//! jemalloc's decay (dirty_decay_ms, muzzy_decay_ms); redis source, zmalloc.c:jemalloc_purge.

use crate::figures::{AllocatorKind, Figures, share};
use crate::floors::{ACT_SHARE, ALLOCATOR_SHARE, GAP_BYTES};
use crate::next;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let (bytes, base, title) = seen(f).or_else(|| since_peak(f)).or_else(|| implied(f))?;
    let severity = if share(bytes, base) >= ACT_SHARE { Severity::Act } else { Severity::Watch };
    let off = f.sample.malloc_stats.as_ref().and_then(|m| m.background_thread) == Some(false)
        || f.sample.config.flag("jemalloc-bg-thread") == Some(false);
    let finding = Finding::new(Cause::AllocatorRetained, severity, title)
        .bytes(bytes)
        .meaning("the memory is free already; only the allocator has not given it back")
        .evidence(f.computed("resident - active", f.retained()))
        .evidence(dirty_pages(f))
        .evidence(f.cite("used_memory_rss"))
        .evidence(f.cite("used_memory_peak"))
        .evidence(f.cite("allocator_rss_ratio"));
    let finding = next::purge(f, finding);
    Some(if off {
        finding.remedy(
            RemedyKind::MemoryPurge,
            format!(
                "{} CONFIG SET jemalloc-bg-thread yes   (so that pages decay by themselves)",
                f.cli()
            ),
        )
    } else {
        finding
    })
}

fn seen(f: &Figures<'_>) -> Option<(u64, u64, String)> {
    let bytes = f.retained()?.saturating_sub(metadata(f));
    let base = f.active?;
    (bytes >= GAP_BYTES && share(bytes, base) >= ALLOCATOR_SHARE).then(|| {
        (bytes, base, format!("{} are free pages that the allocator keeps in RAM", human(bytes)))
    })
}

/// Without allocator_resident: RSS beyond the active pages, where the heap's peak explains it.
fn since_peak(f: &Figures<'_>) -> Option<(u64, u64, String)> {
    let (beyond, base) = (f.beyond_active()?.saturating_sub(metadata(f)), f.active?);
    let freed = f.freed_since_peak()?;
    (beyond >= GAP_BYTES && share(beyond, base) >= ALLOCATOR_SHARE && freed >= beyond / 2).then(
        || {
            (
                beyond.min(freed),
                base,
                format!(
                    "{} of RSS are pages freed since the peak, which the allocator keeps",
                    human(beyond.min(freed))
                ),
            )
        },
    )
}

/// jemalloc's own bookkeeping, which no purge frees: as printed, or else 2 % of the active bytes (measured
/// between 1 and 3 % on the bundled builds).
pub(crate) fn metadata(f: &Figures<'_>) -> u64 {
    let printed = f.sample.malloc_stats.as_ref().and_then(|m| m.totals.metadata);
    printed.unwrap_or_else(|| f.active.unwrap_or(0) / 50)
}

fn implied(f: &Figures<'_>) -> Option<(u64, u64, String)> {
    if f.sees_allocator() || f.allocator == AllocatorKind::Other {
        return None;
    }
    let (used, rss) = (f.used?, f.rss?);
    let peak = f.peak.unwrap_or(used).max(used);
    let lua = if f.lua_in_used { 0 } else { f.lua };
    let above = rss.saturating_sub(lua).saturating_sub(peak);
    (above >= GAP_BYTES && rss.saturating_sub(lua) > peak.saturating_mul(3)).then(|| {
        let of_what = if f.peak.is_some() { "the highest use ever" } else { "what is used" };
        (above, used, format!("RSS stands {} above {of_what}, more than three times it: pages that were freed and are still held", human(above)))
    })
}

fn dirty_pages(f: &Figures<'_>) -> Option<Evidence> {
    let stats = f.sample.malloc_stats.as_ref()?;
    let page = stats.page_bytes.unwrap_or(4096);
    let bytes =
        stats.dirty_pages?.saturating_add(stats.muzzy_pages.unwrap_or(0)).saturating_mul(page);
    Some(Evidence::new("dirty and muzzy pages", human(bytes), "MALLOC-STATS"))
}

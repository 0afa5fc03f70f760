//! `MEMORY PURGE`: the dirty and muzzy pages, exactly where MALLOC-STATS counts them.

use super::{given_back, impossible, percent};
use crate::figures::{AllocatorKind, Figures};
use crate::rules::retained_pages;
use unfrag_model::Estimate;

pub(super) fn estimate(f: &Figures<'_>) -> Estimate {
    if f.allocator == AllocatorKind::Other {
        return impossible("this allocator has no purge: MEMORY PURGE answers OK and does nothing");
    }
    if let Some(bytes) = counted_pages(f) {
        return given_back(
            f,
            percent(bytes, 90),
            bytes,
            bytes,
            "dirty and muzzy pages of MALLOC-STATS",
        );
    }
    match f.retained() {
        Some(retained) => {
            let bytes = retained.saturating_sub(retained_pages::metadata(f));
            given_back(
                f,
                percent(bytes, 50),
                bytes,
                retained,
                "resident - active - bookkeeping, from INFO",
            )
        }
        None => Estimate {
            basis: "this version does not tell pages apart".to_owned(),
            ..Estimate::default()
        },
    }
}

/// Pages a purge drops, as jemalloc counts them.
pub(super) fn counted_pages(f: &Figures<'_>) -> Option<u64> {
    let stats = f.sample.malloc_stats.as_ref()?;
    let pages = stats.dirty_pages?.saturating_add(stats.muzzy_pages.unwrap_or(0));
    let bytes = pages.saturating_mul(stats.page_bytes.unwrap_or(4096));
    // Freed pages that were never touched are counted, and are not in RAM.
    let in_ram = f.rss.zip(f.active).map_or(u64::MAX, |(rss, active)| rss.saturating_sub(active));
    Some(bytes.min(in_ram))
}

//! Client-driven compaction, then purge: works on any jemalloc, whether the build can defrag or not.

use super::{by_repack, given_back, impossible, percent, purge};
use crate::figures::{AllocatorKind, Figures};
use unfrag_model::Estimate;

pub(super) fn estimate(f: &Figures<'_>) -> Estimate {
    if f.sample.info.is_replica() {
        return impossible("a replica follows its primary; repack runs there");
    }
    if f.allocator == AllocatorKind::Other {
        return Estimate {
            basis: "not measured on this allocator".to_owned(),
            ..Estimate::default()
        };
    }
    let pages = purge::estimate(f).bytes.unwrap_or(0);
    let bins = f.bins();
    match bins
        .map(unfrag_model::MallocStats::small_reclaimable_bytes)
        .or_else(|| f.defragmentable().filter(|_| f.sees_allocator()))
    {
        Some(slabs) => given_back(
            f,
            percent(slabs, 60).saturating_add(pages),
            by_repack(slabs).saturating_add(pages),
            slabs.saturating_add(pages),
            "free slabs after packing; keys that cannot be copied stay",
        ),
        None => Estimate {
            basis: "this version does not tell fragmentation apart".to_owned(),
            ..Estimate::default()
        },
    }
}

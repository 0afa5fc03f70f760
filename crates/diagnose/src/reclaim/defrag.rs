//! Active defrag, then purge.

use super::{by_defrag, given_back, impossible, percent, purge};
use crate::figures::{AllocatorKind, Figures};
use crate::rules::defrag_ineffective;
use unfrag_model::{Estimate, Version};

pub(super) fn estimate(f: &Figures<'_>) -> Estimate {
    match f.allocator {
        AllocatorKind::Other => {
            return impossible("this build has no jemalloc, so it has no defrag");
        }
        AllocatorKind::ForeignJemalloc => {
            return impossible(
                "its jemalloc is not the bundled one: the server refuses activedefrag",
            );
        }
        _ => {}
    }
    if defrag_ineffective::is_futile(f) {
        return impossible("it is running already, without effect on what is left");
    }
    if f.engine.version.is_some_and(|v| v < Version::new(4, 0, 0)) {
        return impossible("this version has no defrag; it came with Redis 4.0");
    }
    let pages = purge::estimate(f).bytes.unwrap_or(0);
    if let Some(stats) = f.bins() {
        let slabs = stats.small_reclaimable_bytes();
        // Slabs up to an eighth above the mean fill are left alone, and what defrag never moves (buffers,
        // tables of modules) holds some.
        let expected = by_defrag(slabs).saturating_add(pages);
        return given_back(
            f,
            percent(slabs, 70).saturating_add(pages),
            expected,
            slabs.saturating_add(pages),
            "free slabs after packing, per bin of MALLOC-STATS",
        );
    }
    match f.defragmentable().filter(|_| f.sees_allocator()) {
        Some(waste) => given_back(
            f,
            percent(waste, 50).saturating_add(pages),
            percent(waste, 80).saturating_add(pages),
            waste.saturating_add(pages),
            "allocator figures of INFO; --malloc-stats narrows this",
        ),
        None => Estimate {
            basis: "this version does not tell fragmentation apart".to_owned(),
            ..Estimate::default()
        },
    }
}

//! # defrag-unsupported
//!
//! ## What it detects
//! RSS far above used_memory on a build without jemalloc: nothing can be seen inside the gap, and neither
//! defrag nor purge exists.
//!
//! ## Why it matters
//! `allocator_*` fields of such builds only repeat RSS, `allocator_frag_ratio:1.00` there means nothing,
//! and `MEMORY PURGE` answers OK without doing anything.
//!
//! ## Evidence
//! mem_allocator, used_memory_rss - used_memory, used_memory_peak.
//!
//! ## Remedy
//! A fresh process (restart without loss, or fail over), then a build with the bundled jemalloc.
//!
//! ## Safety
//! See the restart: SHUTDOWN SAVE, never BGSAVE and kill.
//!
//! ## References
//! redis source, zmalloc.c:zmalloc_get_allocator_info; measured on Valkey 8.1.8 and 9.1.2 with libc.

use crate::figures::{AllocatorKind, Figures};
use crate::floors::{ALARMING_RATIO, GAP_BYTES};
use crate::next;
use unfrag_model::{Cause, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let gap = f.gap()?.saturating_sub(if f.lua_in_used { 0 } else { f.lua });
    let alarming = f.ratio()? >= ALARMING_RATIO || gap > f.used? / 4;
    if f.allocator != AllocatorKind::Other || gap < f.noise_floor().max(GAP_BYTES) || !alarming {
        return None;
    }
    let allocator = f.sample.info.text("mem_allocator").unwrap_or("libc");
    let severity = if f.ratio()? >= ALARMING_RATIO { Severity::Act } else { Severity::Watch };
    let finding = Finding::new(
        Cause::DefragUnsupportedBuild,
        severity,
        format!(
            "{} of RSS hold no data, and this {allocator} build can neither show nor move them",
            human(gap)
        ),
    )
    .bytes(gap)
    .meaning("freed memory lies in holes between live values; only a fresh process packs them")
    .evidence(f.cite("mem_allocator"))
    .evidence(f.computed("rss - used", Some(gap)))
    .evidence(f.cite("used_memory_peak"))
    .folklore(
        "allocator_frag_ratio and MEMORY PURGE mean nothing on this allocator, whatever they print",
    );
    Some(next::restart(f, finding).remedy(
        RemedyKind::RebuildWithJemalloc,
        "run a build with the bundled jemalloc: it can show, purge and defragment",
    ))
}

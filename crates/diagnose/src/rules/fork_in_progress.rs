//! # fork-in-progress
//!
//! ## What it detects
//! A fork child is alive: a snapshot, an AOF rewrite, a replica's synchronisation.
//!
//! ## Why it matters
//! Figures read now include what copy-on-write doubles, and defrag stands still until it ends.
//!
//! ## Evidence
//! rdb_bgsave_in_progress, aof_rewrite_in_progress, current_cow_size.
//!
//! ## Remedy
//! Look again when it has ended.
//!
//! ## Safety
//! Nothing is changed.
//!
//! ## References
//! redis source, defrag.c: hasActiveChildProcess stops every slice.

use crate::figures::Figures;
use unfrag_model::{Cause, Finding, RemedyKind, Severity};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    super::cow_headroom::has_child(f).then(|| {
        Finding::new(
            Cause::CowForkSpike,
            Severity::Info,
            "a fork child is running: defrag waits for it, and memory is higher meanwhile",
        )
        .meaning("figures settle when it ends")
        .evidence(f.cite("rdb_bgsave_in_progress"))
        .evidence(f.cite("aof_rewrite_in_progress"))
        .evidence(f.cite("current_cow_size"))
        .remedy(RemedyKind::NoneNeeded, "look again when it has ended")
    })
}

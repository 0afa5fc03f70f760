//! # maxmemory-unset
//!
//! ## What it detects
//! No maxmemory on a server that uses a good part of the memory there is.
//!
//! ## Why it matters
//! Without it the first limit met is the kernel's, which kills the process instead of refusing one write.
//!
//! ## Evidence
//! maxmemory:0, used_memory_rss against the limit.
//!
//! ## Remedy
//! Set maxmemory to the safe value.
//!
//! ## Safety
//! With noeviction, writes are refused at the limit; with an eviction policy, keys go.
//!
//! ## References
//! redis.conf, maxmemory.

use crate::figures::{Figures, share};
use unfrag_model::{Cause, Finding, RemedyKind, Severity};

/// Where growth by half would meet the limit.
const MATTERS: f64 = 0.5;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let limit = f.limit?;
    let much = share(f.rss?, limit.bytes);
    (f.maxmemory == Some(0) && !f.sample.info.is_replica() && much > MATTERS).then(|| {
        Finding::new(
            Cause::DatasetGrowth,
            Severity::Watch,
            format!("no maxmemory is set, and RSS is {:.0} % of the memory there is", much * 100.0),
        )
        .meaning("the first limit this server meets is the kernel's, which kills instead of refusing a write")
        .evidence(f.cite("maxmemory"))
        .evidence(f.cite("used_memory_rss"))
        .remedy(RemedyKind::SetMaxmemory, format!("{} CONFIG SET maxmemory …   (see the safe value below)", f.cli()))
    })
}

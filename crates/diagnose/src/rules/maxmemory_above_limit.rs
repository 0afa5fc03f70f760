//! # maxmemory-above-limit
//!
//! ## What it detects
//! A maxmemory that the machine or container cannot hold.
//!
//! ## Why it matters
//! The server believes it may grow; the kernel kills it before it refuses or evicts anything.
//!
//! ## Evidence
//! maxmemory against the cgroup's limit or the host's memory.
//!
//! ## Remedy
//! Lower it to the safe value, or raise the limit.
//!
//! ## Safety
//! Lowering it under used_memory evicts keys or refuses writes at once.
//!
//! ## References
//! DESIGN: maxmemory limits used_memory; RSS, forks and buffers come on top.

use crate::figures::{Figures, share};
use crate::floors::LIMIT_NEAR;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let limit = f.limit?;
    let maxmemory = f.maxmemory.filter(|&m| m > 0)?;
    (share(maxmemory, limit.bytes) >= LIMIT_NEAR).then(|| {
        // Far from it in use, the setting can wait for working hours.
        let severity = if share(f.rss.unwrap_or(0), limit.bytes) > 0.5 {
            Severity::Act
        } else {
            Severity::Watch
        };
        let whose = if limit.is_cgroup { "container's limit" } else { "machine's memory" };
        Finding::new(
            Cause::KernelOomOrCgroupLimit,
            severity,
            format!(
                "maxmemory ({}) leaves no room in the {whose} ({})",
                human(maxmemory),
                human(limit.bytes)
            ),
        )
        .meaning("the kernel kills before the server refuses or evicts anything")
        .evidence(f.cite("maxmemory"))
        .evidence(Evidence::new(
            "limit",
            human(limit.bytes),
            if limit.is_cgroup { "cgroup" } else { "host memory" },
        ))
        .remedy(
            RemedyKind::LowerMaxmemory,
            format!("{} CONFIG SET maxmemory …   (see the safe value below)", f.cli()),
        )
        .folklore("maxmemory is not set \"from RSS\": it limits used_memory, and RSS comes on top")
    })
}

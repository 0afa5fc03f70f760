//! # oom-elsewhere
//!
//! ## What it detects
//! Clients were told `OOM command not allowed`, and this server is nowhere near its limit and never was.
//!
//! ## Why it matters
//! In a cluster the client talks to many nodes; tuning the wrong one changes nothing.
//!
//! ## Evidence
//! used_memory and used_memory_peak against maxmemory, the OOM count of errorstats, and a log that holds
//! the reply.
//!
//! ## Remedy
//! Look at the other nodes of the deployment; point unfrag at any one node with the cluster flag and it
//! reads them all.
//!
//! ## Safety
//! Nothing is changed.
//!
//! ## References
//! redis source, evict.c:getMaxmemoryState: only this node's own used_memory is compared.

use crate::figures::Figures;
use unfrag_model::{Cause, Finding, RemedyKind, Severity};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let maxmemory = f.maxmemory.filter(|&m| m > 0)?;
    let highest = f.peak.into_iter().chain(f.used).max()?;
    let never_near = highest < maxmemory / 2;
    let counted_none = f.sample.info.error_count("OOM").unwrap_or(0) == 0;
    (f.sample.log.oom_reply && never_near && counted_none).then(|| {
        Finding::new(
            Cause::OomNotFromThisInstance,
            Severity::Act,
            "the OOM reply in the log did not come from this server: it never passed half of its maxmemory",
        )
        .meaning("another node, or this one before its last restart, refused the command")
        .evidence(f.cite("used_memory"))
        .evidence(f.cite("used_memory_peak"))
        .evidence(f.cite("maxmemory"))
        .remedy(RemedyKind::CheckOtherNodes, "unfrag check -c -h ANY_NODE   (reads every node of the cluster)")
    })
}

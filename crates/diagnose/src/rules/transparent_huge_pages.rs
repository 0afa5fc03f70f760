//! # transparent-huge-pages
//!
//! ## What it detects
//! Transparent huge pages in `always` mode and in use by this process.
//!
//! ## Why it matters
//! Copy-on-write then copies 2 MiB for each byte written during a fork, and purged ranges stay resident.
//!
//! ## Evidence
//! transparent_hugepage/enabled, AnonHugePages of the process, the server's own warning in the log.
//!
//! ## Remedy
//! `madvise` or `never`, then a restart; Redis 6.2 on turns them off for itself (disable-thp yes).
//!
//! ## Safety
//! The switch itself disturbs nothing; pages already huge stay so until the restart.
//!
//! ## References
//! redis source, setproctitle/syscheck.c; `madvise` is fine.

use crate::figures::{Figures, share};
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let host = f.sample.host.as_ref();
    let huge = host.and_then(|h| h.anon_huge_pages).unwrap_or(0);
    let always = host.and_then(|h| h.thp_mode.as_deref()) == Some("always");
    let in_use = share(huge, f.rss.unwrap_or(0)) > 0.10;
    let warned = f.sample.log.thp_warning;
    ((always && in_use) || (host.is_none() && warned)).then(|| {
        Finding::new(
            Cause::CowForkSpike,
            Severity::Watch,
            "transparent huge pages are on for this process",
        )
        .meaning("each byte written during a fork copies 2 MiB, and purged ranges stay in RAM")
        .evidence(
            host.and_then(|h| h.thp_mode.clone())
                .map(|m| Evidence::new("transparent_hugepage", m, "sysfs")),
        )
        .evidence((huge > 0).then(|| Evidence::new("AnonHugePages", human(huge), "procfs")))
        .evidence(
            warned
                .then(|| Evidence::new("startup warning", "Transparent Huge Pages enabled", "log")),
        )
        .remedy(
            RemedyKind::DisableThp,
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, then restart without loss",
        )
    })
}

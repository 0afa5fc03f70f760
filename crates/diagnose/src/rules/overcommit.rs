//! # overcommit
//!
//! ## What it detects
//! vm.overcommit_memory at 2 (strict), or at 0 with less memory free than a fork may ask for.
//!
//! ## Why it matters
//! fork() may be refused: snapshots and replica synchronisations fail, and with
//! stop-writes-on-bgsave-error the server refuses writes (MISCONF).
//!
//! ## Evidence
//! vm.overcommit_memory, MemAvailable, used_memory_rss, save points and AOF.
//!
//! ## Remedy
//! `sysctl vm.overcommit_memory=1`.
//!
//! ## Safety
//! With 1 the kernel never refuses an allocation; the OOM killer decides instead. Keep headroom.
//!
//! ## References
//! redis.io administration page; the server's own startup warning.

use crate::figures::Figures;
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let host = f.sample.host.as_ref()?;
    let mode = host.overcommit_memory?;
    let rss = f.rss.filter(|&r| r > GAP_BYTES)?;
    // The heuristic refuses only what exceeds all of RAM and swap; half of RAM is where it begins to bite.
    let tight = mode == 0 && rss > host.memory_total.unwrap_or(u64::MAX) / 2;
    (mode == 2 || tight).then(|| {
        Finding::new(
            Cause::CowForkSpike,
            Severity::Watch,
            format!("vm.overcommit_memory is {mode}: the next fork may be refused"),
        )
        .meaning(
            "snapshots and replica synchronisations then fail, and writes may be refused (MISCONF)",
        )
        .evidence(Evidence::new("vm.overcommit_memory", mode.to_string(), "procfs"))
        .evidence(host.memory_available.map(|m| Evidence::new("MemAvailable", human(m), "procfs")))
        .evidence(f.cite("used_memory_rss"))
        .remedy(RemedyKind::HostMemory, "sysctl vm.overcommit_memory=1   (and in /etc/sysctl.d)")
    })
}

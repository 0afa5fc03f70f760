//! # cow-headroom
//!
//! ## What it detects
//! Too little room for the next fork: RSS plus what copy-on-write took the last time passes the limit; or
//! a fork that is taking that room now.
//!
//! ## Why it matters
//! While a child saves or rewrites, every page written exists twice. The kernel counts both, and kills.
//!
//! ## Evidence
//! rdb_last_cow_size, aof_last_cow_size, current_cow_peak or current_cow_size, used_memory_rss, the
//! cgroup's or host's limit; `Can't save in background: fork` in the log.
//!
//! ## Remedy
//! A higher limit or a smaller maxmemory; snapshots from a replica, or in quiet hours; no huge pages.
//!
//! ## Safety
//! Turning snapshots off also turns off what a restart would load.
//!
//! ## References
//! redis source, childinfo.c (Private_Dirty of the child); `total_system_memory` is not the container's.

use crate::figures::{Figures, share};
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let cow = largest_cow(f);
    let rss = f.rss?;
    let (severity, title) =
        failed(f).or_else(|| running(f, rss)).or_else(|| would_pass(f, cow, rss))?;
    Some(
        Finding::new(Cause::CowForkSpike, severity, title)
            .bytes(cow)
            .meaning("while a fork child lives, each page written exists twice, and the kernel counts both")
            .evidence(f.cite("used_memory_rss"))
            .evidence(f.cite("rdb_last_cow_size"))
            .evidence(f.cite("aof_last_cow_size"))
            .evidence(f.cite("current_cow_peak").or_else(|| f.cite("current_cow_size")))
            .evidence(f.limit.map(|l| Evidence::new("limit", human(l.bytes), if l.is_cgroup { "cgroup" } else { "host memory" })))
            .remedy(RemedyKind::ScheduleBgsave, "snapshot from a replica or in quiet hours; spread forks of several servers on one host")
            .remedy(RemedyKind::HostMemory, "raise the limit to the safe container limit below")
            .remedy(RemedyKind::LowerMaxmemory, "or lower maxmemory to the safe value below"),
    )
}

/// The most that a fork took, now or the last time.
pub(crate) fn largest_cow(f: &Figures<'_>) -> u64 {
    [
        "rdb_last_cow_size",
        "aof_last_cow_size",
        "module_fork_last_cow_size",
        "current_cow_peak",
        "current_cow_size",
    ]
    .into_iter()
    .map(|key| f.count(key))
    .chain(f.sample.log.cow)
    .max()
    .unwrap_or(0)
}

/// True while a child process exists.
pub(crate) fn has_child(f: &Figures<'_>) -> bool {
    [
        "rdb_bgsave_in_progress",
        "bgsave_in_progress",
        "aof_rewrite_in_progress",
        "bgrewriteaof_in_progress",
        "module_fork_in_progress",
    ]
    .into_iter()
    .any(|key| f.sample.info.flag(key) == Some(true))
}

fn failed(f: &Figures<'_>) -> Option<(Severity, String)> {
    f.sample.log.fork_failed.then(|| {
        (
            Severity::Urgent,
            "fork failed for want of memory: no snapshot is being written".to_owned(),
        )
    })
}

/// A child exists and copy-on-write has already taken a large share.
fn running(f: &Figures<'_>, rss: u64) -> Option<(Severity, String)> {
    let now = f.count("current_cow_peak").max(f.count("current_cow_size"));
    let large = now > GAP_BYTES && share(now, rss) > 0.20;
    (has_child(f) && large).then(|| {
        (
            Severity::Act,
            format!(
                "a fork child is running and {} of pages exist twice because of it",
                human(now)
            ),
        )
    })
}

/// The next fork against the limit; without a known limit, a fork that took a third of RSS.
fn would_pass(f: &Figures<'_>, cow: u64, rss: u64) -> Option<(Severity, String)> {
    if cow <= GAP_BYTES {
        return None;
    }
    let needed = rss.saturating_add(cow);
    let Some(limit) = f.limit else {
        return (share(cow, rss) > 0.33).then(|| {
            (
                Severity::Watch,
                format!(
                    "a fork takes {} on top of RSS: is there room for {}?",
                    human(cow),
                    human(needed)
                ),
            )
        });
    };
    let severity = match share(needed, limit.bytes) {
        over if over > 1.0 => Severity::Act,
        near if near > 0.85 && share(cow, rss) > 0.10 => Severity::Watch,
        _ => return None,
    };
    (rss <= limit.bytes).then(|| {
        (
            severity,
            format!(
                "the next fork needs {} (RSS plus the {} it last took) of {}",
                human(needed),
                human(cow),
                human(limit.bytes)
            ),
        )
    })
}

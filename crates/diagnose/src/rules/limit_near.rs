//! # limit-near
//!
//! ## What it detects
//! Resident memory near the limit that kills: the container's (cgroup) or the host's; a kernel kill or a
//! failed allocation in the log.
//!
//! ## Why it matters
//! The kernel counts pages, not used_memory: it kills at its limit whatever maxmemory says, and data since
//! the last save dies with the process.
//!
//! ## Evidence
//! used_memory_rss against memory.max / memory.limit_in_bytes up the cgroup tree, or against physical
//! memory; memory.events oom_kill; log lines of the kernel or of the server's own abort.
//!
//! ## Remedy
//! Give back what the other findings show; lower maxmemory to the safe value or raise the limit.
//!
//! ## Safety
//! Lowering maxmemory under used_memory evicts keys or refuses writes at once.
//!
//! ## References
//! redis source, zmalloc.c:zmalloc_get_memory_size: total_system_memory is the host's, not the container's.

use crate::figures::{Figures, share};
use crate::floors::{GAP_BYTES, LIMIT_NEAR};
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let (severity, title) = killed(f)
        .or_else(|| near(f))
        .map(|title| (Severity::Urgent, title))
        .or_else(|| unprotected(f).map(|title| (Severity::Act, title)))?;
    let finding = Finding::new(Cause::KernelOomOrCgroupLimit, severity, title)
        .meaning("the kernel counts resident pages, whatever maxmemory is; at the limit it kills the process")
        .evidence(f.cite("used_memory_rss"))
        .evidence(f.limit.map(|l| {
            let source = if l.is_cgroup { "cgroup" } else { "host memory" };
            Evidence::new("limit", human(l.bytes), source)
        }))
        .evidence(f.cite("maxmemory"))
        .remedy(RemedyKind::HostMemory, "raise the container's or machine's memory, or give back what the other findings show")
        .remedy(RemedyKind::SetMaxmemory, "set the safe maxmemory shown below");
    Some(match f.rss {
        Some(rss) => finding.bytes(rss),
        None => finding,
    })
}

fn killed(f: &Figures<'_>) -> Option<String> {
    let cgroup_kills =
        f.sample.host.as_ref().and_then(|h| h.cgroup.as_ref()?.oom_kills).unwrap_or(0);
    if f.sample.log.kernel_oom_kill {
        return Some("the kernel's OOM killer ended a process for memory, says the log".to_owned());
    }
    if f.sample.log.allocation_failed {
        return Some("the server aborted on a failed allocation, says the log".to_owned());
    }
    let close = f.limit.is_some_and(|l| share(f.rss.unwrap_or(0), l.bytes) > 0.75);
    (cgroup_kills > 0 && close)
        .then(|| format!("the kernel has killed {cgroup_kills} processes in this container, and RSS is close to its limit"))
}

fn near(f: &Figures<'_>) -> Option<String> {
    let limit = f.limit?;
    let rss = f.rss.filter(|&r| r > GAP_BYTES)?;
    (share(rss, limit.bytes) >= LIMIT_NEAR).then(|| {
        let whose = if limit.is_cgroup { "container's limit" } else { "machine's memory" };
        format!(
            "RSS is {} of the {whose} of {}: the kernel kills next",
            human(rss),
            human(limit.bytes)
        )
    })
}

/// Three quarters used, and a maxmemory beyond the limit: nothing of the server's own stops it before the
/// kernel does.
fn unprotected(f: &Figures<'_>) -> Option<String> {
    let limit = f.limit?;
    let maxmemory = f.maxmemory.filter(|&m| m > limit.bytes)?;
    (share(f.rss?, limit.bytes) > 0.75).then(|| {
        format!(
            "maxmemory ({}) is above the limit of {} and most of that is used",
            human(maxmemory),
            human(limit.bytes)
        )
    })
}

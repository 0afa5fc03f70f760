//! # container-limit-unknown
//!
//! ## What it detects
//! A large server inside a container whose limit could not be read, without maxmemory, and restarted lately
//! while busy.
//!
//! ## Why it matters
//! total_system_memory is the host's. The container's limit is what kills, and a kill looks like a restart.
//!
//! ## Evidence
//! The kernel's name or process id 1 (containers), uptime, connected_clients, maxmemory.
//!
//! ## Remedy
//! Look at the container's last exit reason; set a limit, and maxmemory to the safe value under it.
//!
//! ## Safety
//! Nothing is changed.
//!
//! ## References
//! KeyDB issue 271: aborted allocations under a container limit on a host of 2 TB.

use crate::figures::Figures;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

const LARGE_BYTES: u64 = 1 << 30;
const BUSY_CLIENTS: u64 = 100;
const LATELY_S: u64 = 2 * 3600;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let info = &f.sample.info;
    let limit_known = f.limit.is_some_and(|l| l.is_cgroup);
    let unlimited = f.maxmemory.unwrap_or(0) == 0;
    let used = f.used.filter(|&u| u > LARGE_BYTES)?;
    let lately = info.count("uptime_in_seconds").is_some_and(|up| up < LATELY_S);
    let busy = f.count("connected_clients") > BUSY_CLIENTS;
    (in_container(f) && !limit_known && unlimited && lately && busy).then(|| {
        Finding::new(
            Cause::KernelOomOrCgroupLimit,
            Severity::Watch,
            format!(
                "{} in a container of unknown limit, {}, restarted lately: was it killed?",
                human(used),
                match f.maxmemory {
                    Some(_) => "without maxmemory",
                    None => "maxmemory not given here",
                }
            ),
        )
        .meaning("total_system_memory is the host's; the container's own limit is what kills")
        .evidence(info.text("os").map(|os| Evidence::new("os", os, "INFO server")))
        .evidence(f.cite("uptime_in_seconds"))
        .evidence(f.cite("connected_clients"))
        .evidence(f.cite("total_system_memory"))
        .remedy(
            RemedyKind::HostMemory,
            "look at the container's last exit (OOMKilled, exit code 137) and at its memory limit",
        )
        .remedy(
            RemedyKind::SetMaxmemory,
            "set maxmemory under that limit; run unfrag check on the host to have it computed",
        )
    })
}

/// Process 1 of its namespace, or a kernel that only hosts containers for its users (Proxmox, OpenVZ,
/// Docker's virtual machine).
fn in_container(f: &Figures<'_>) -> bool {
    let os = f.sample.info.text("os").unwrap_or("");
    f.sample.info.text("process_id") == Some("1")
        || ["-pve", "-linuxkit", "stab"].iter().any(|mark| os.contains(mark))
}

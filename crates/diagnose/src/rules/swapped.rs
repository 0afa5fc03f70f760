//! # swapped
//!
//! ## What it detects
//! Pages of the server that are in swap.
//!
//! ## Why it matters
//! Redis touches its whole heap at random: each access to a swapped page stops every client for a disk
//! read. A fork reads them all back.
//!
//! ## Evidence
//! VmSwap of the process where it can be read, swap totals of the host, RSS below used_memory on a machine
//! under memory pressure.
//!
//! ## Remedy
//! More memory or a smaller maxmemory; then swapoff and swapon, or a restart, brings the pages back.
//!
//! ## Safety
//! swapoff with too little free memory invites the OOM killer.
//!
//! ## References
//! redis issue 3724 (used - rss equals what is swapped); mem_fragmentation_ratio below 1 alone proves nothing.

use crate::figures::{Figures, share};
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let (bytes, source) = measured(f).or_else(|| inferred(f))?;
    // An inference is not a measurement: it only asks for a look at the host.
    let severity = if share(bytes, f.used?) > 0.02 && measured(f).is_some() {
        Severity::Act
    } else {
        Severity::Watch
    };
    Some(
        Finding::new(
            Cause::Swapped,
            severity,
            if measured(f).is_some() {
                format!("{} of the server are in swap", human(bytes))
            } else {
                format!(
                    "{} of used_memory are not in RAM: in swap, unless never touched",
                    human(bytes)
                )
            },
        )
        .bytes(bytes)
        .meaning("each access to a swapped page stops all clients for a disk read")
        .evidence(Evidence::new("swapped", human(bytes), source))
        .evidence(f.cite("used_memory"))
        .evidence(f.cite("used_memory_rss"))
        .remedy(
            RemedyKind::HostMemory,
            "give the machine memory, or lower maxmemory to the safe value below",
        )
        .remedy(
            RemedyKind::FixSwap,
            "once there is room: swapoff -a && swapon -a; keep vm.swappiness at 1 or 0",
        ),
    )
}

fn measured(f: &Figures<'_>) -> Option<(u64, &'static str)> {
    let by_process = f.sample.host.as_ref().and_then(|h| h.swapped).or(f.sample.log.host.swapped);
    // Vendors' builds print it in INFO.
    let by_info =
        f.sample.info.count("swap_memory").or_else(|| f.sample.info.count("used_memory_swap"));
    let (bytes, source) = by_process.map(|b| (b, "procfs")).or(by_info.map(|b| (b, "INFO")))?;
    (bytes > GAP_BYTES / 4).then_some((bytes, source))
}

/// Without the host's word: RSS well below used on a machine whose memory this process nearly fills, or
/// so far below that no untouched allocation explains it while it is saving.
fn inferred(f: &Figures<'_>) -> Option<(u64, &'static str)> {
    let (used, rss) = (f.used?, f.rss?);
    let missing = used.checked_sub(rss).filter(|&m| m > GAP_BYTES)?;
    let told_not = [f.sample.host.as_ref(), Some(&f.sample.log.host)]
        .into_iter()
        .flatten()
        .any(|h| h.is_swapping() == Some(false) || little_swap(h, missing));
    let pressed = match f.limit {
        Some(limit) => share(rss, limit.bytes) > 0.7 || used > limit.bytes,
        None => share(rss, used) < 0.8,
    };
    (!told_not && pressed && share(missing, used) > 0.05)
        .then_some((missing, "used_memory - used_memory_rss"))
}

/// The host's swap in use is too little to hold what is missing.
fn little_swap(host: &unfrag_model::Host, missing: u64) -> bool {
    host.swap_used.is_some_and(|used| used < missing / 2)
}

//! # maxmemory-overhead
//!
//! ## What it detects
//! maxmemory is reached, or was overshot, because of buffers and other overhead rather than data.
//!
//! ## Why it matters
//! Evicting or deleting keys then costs data and frees almost nothing: the next large reply or replica
//! takes it again.
//!
//! ## Evidence
//! used_memory_overhead, used_memory_dataset, client and replica buffer fields, used_memory_peak against
//! maxmemory. maxmemory is checked before a command runs, so one command or one buffer may pass it.
//!
//! ## Remedy
//! Find the clients (`CLIENT LIST`, omem and qbuf), bound them: client-output-buffer-limit,
//! client-query-buffer-limit, maxmemory-clients (7.0 on).
//!
//! ## Safety
//! A bound closes the clients that pass it; replicas that are cut off resynchronise.
//!
//! ## References
//! redis source, server.c:processCommand and evict.c:freeMemoryGetNotCountedMemory; redis issues 4574, 2746.

use crate::figures::{Figures, share};
use crate::floors::{FULL, GAP_BYTES};
use unfrag_model::{Cause, Finding, RemedyKind, Severity, Version, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let maxmemory = f.maxmemory.filter(|&m| m > 0)?;
    let (severity, bytes, title) =
        overhead_fills(f, maxmemory).or_else(|| overshot(f, maxmemory))?;
    let bound = if f.engine.version.is_none_or(|v| v >= Version::new(7, 0, 0)) {
        format!(
            "{} CONFIG SET maxmemory-clients 5%   (7.0 on: closes the biggest clients first)",
            f.cli()
        )
    } else {
        format!("{} CONFIG SET client-output-buffer-limit \"normal 256mb 64mb 60\"", f.cli())
    };
    Some(
        Finding::new(Cause::MaxmemoryReachedOverhead, severity, title)
            .bytes(bytes)
            .meaning("deleting keys frees little: the memory is in buffers, and they fill again")
            .evidence(f.cite("used_memory"))
            .evidence(f.cite("used_memory_overhead"))
            .evidence(f.cite("used_memory_dataset"))
            .evidence(f.cite("used_memory_peak"))
            .evidence(f.cite("maxmemory").or_else(|| f.cite_config("maxmemory")))
            .evidence(f.cite("mem_clients_normal"))
            .evidence(f.cite("mem_clients_slaves"))
            .evidence(f.cite("client_recent_max_output_buffer"))
            .remedy(RemedyKind::FixClient, format!("{} CLIENT LIST   (look for the largest omem, qbuf, tot-mem)", f.cli()))
            .remedy(RemedyKind::LimitClientBuffers, bound)
            .folklore("RSS plays no part in the OOM reply: used_memory is compared with maxmemory, buffers included"),
    )
}

/// True when what reached maxmemory is overhead.
pub(super) fn fills(f: &Figures<'_>) -> bool {
    f.maxmemory.filter(|&m| m > 0).is_some_and(|m| overhead_fills(f, m).is_some())
}

/// At the limit, and most of what fills it is not data.
fn overhead_fills(f: &Figures<'_>, maxmemory: u64) -> Option<(Severity, u64, String)> {
    let overhead = f.overhead?.saturating_sub(f.startup.unwrap_or(0));
    let full = f.fullness()? >= FULL;
    let data = f.used?.saturating_sub(overhead);
    let mostly_overhead = share(overhead, f.used?) > 0.5 || data < maxmemory / 2;
    // Tables of very many small keys are overhead too, but they belong to the data.
    let tables = f.keys.map_or(0, |k| k.saturating_mul(super::dict_overhead::BYTES_PER_KEY));
    let buffers = overhead.saturating_sub(tables);
    (full && mostly_overhead && buffers > GAP_BYTES.min(maxmemory / 10)).then(|| {
        (
            Severity::Urgent,
            buffers,
            format!(
                "maxmemory ({}) is reached by {} of overhead; the data is {}",
                human(maxmemory),
                human(overhead),
                human(data)
            ),
        )
    })
}

/// The peak passed maxmemory by more than one ordinary command can: a huge command or buffers did it.
fn overshot(f: &Figures<'_>, maxmemory: u64) -> Option<(Severity, u64, String)> {
    let peak = f.peak?;
    let over = peak.checked_sub(maxmemory)?;
    let counted_now = f.counted()?;
    let replica = f.sample.info.is_replica();
    let evicts_or_refuses = f.policy.is_some() || !f.sample.config.is_empty();
    (over > maxmemory / 4 && counted_now < maxmemory && !replica && evicts_or_refuses).then(|| {
        (
            Severity::Watch,
            over,
            format!("used_memory once stood {} above maxmemory ({}): a burst of buffers or one huge command", human(over), human(maxmemory)),
        )
    })
}

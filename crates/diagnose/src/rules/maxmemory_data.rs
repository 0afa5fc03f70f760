//! # maxmemory-data
//!
//! ## What it detects
//! The data has reached maxmemory, or soon will, on a server that cannot evict.
//!
//! ## Why it matters
//! From there every command that may add memory is refused: `OOM command not allowed when used memory >
//! 'maxmemory'`. A cache that evicts runs at its limit by design and is not meant here.
//!
//! ## Evidence
//! used_memory - mem_not_counted_for_evict against maxmemory, maxmemory_policy, keys and keys with a TTL,
//! the OOM count of errorstats.
//!
//! ## Remedy
//! Raise maxmemory as far as the machine allows (see the safe value), give keys a TTL, store less.
//!
//! ## Safety
//! Raising maxmemory past the safe value trades refused writes for a killed process.
//!
//! ## References
//! redis source, evict.c:getMaxmemoryState and performEvictions.

use crate::figures::Figures;
use crate::floors::{FULL, NEARLY_FULL};
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

/// Where growth of keys that never leave becomes a matter of time: a quarter is left.
const EARLY: f64 = 0.70;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let fullness = f.fullness()?;
    if super::maxmemory_overhead::fills(f) {
        return None;
    }
    let severity = severity(f, fullness)?;
    let maxmemory = f.maxmemory?;
    let replies = f.sample.info.error_count("OOM").filter(|&n| n > 0);
    let title = match severity {
        Severity::Urgent => format!(
            "the data has reached maxmemory ({}): writes are refused with OOM",
            human(maxmemory)
        ),
        _ => format!(
            "{} of maxmemory ({}) are used and nothing can be evicted",
            percent(fullness),
            human(maxmemory)
        ),
    };
    Some(
        Finding::new(Cause::MaxmemoryReachedDataset, severity, title)
            .bytes(f.counted()?)
            .meaning("used_memory is what is compared with maxmemory; fragmentation and RSS play no part")
            .evidence(f.cite("used_memory"))
            .evidence(f.cite("maxmemory").or_else(|| f.cite_config("maxmemory")))
            .evidence(f.policy.map(|p| Evidence::new("maxmemory_policy", p, "INFO")))
            .evidence(f.keys.map(|k| Evidence::new("keys", format!("{k}, {} with a TTL", f.keys_with_ttl.unwrap_or(0)), "INFO keyspace")))
            .evidence(replies.map(|n| Evidence::new("OOM replies", n.to_string(), "INFO errorstats")))
            .remedy(RemedyKind::RaiseMaxmemory, format!("{} CONFIG SET maxmemory …   (see the safe value below)", f.cli()))
            .remedy(RemedyKind::AddTtl, "give keys that may go a TTL, or an eviction policy if this is a cache")
            .remedy(RemedyKind::ReduceData, "find the largest keys: redis-cli --memkeys")
            .folklore("RSS above maxmemory never causes the OOM reply, in any version"),
    )
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn severity(f: &Figures<'_>, fullness: f64) -> Option<Severity> {
    let unaffected_replica = f.sample.info.is_replica()
        && f.sample.config.flag("replica-ignore-maxmemory") != Some(false);
    // A policy that may evict and finds nothing is eviction-stuck, or a risk before the limit.
    let evicts = f.policy.is_some_and(|p| p != "noeviction");
    if evicts || unaffected_replica {
        return None;
    }
    let ever_growing = f.policy.is_some()
        && f.keys
            .zip(f.keys_with_ttl)
            .is_some_and(|(keys, ttl)| keys > 0 && ttl.saturating_mul(10) < keys);
    match fullness {
        full if full >= FULL => Some(Severity::Urgent),
        full if full >= NEARLY_FULL => Some(Severity::Act),
        full if full >= EARLY && ever_growing => Some(Severity::Watch),
        _ => None,
    }
}

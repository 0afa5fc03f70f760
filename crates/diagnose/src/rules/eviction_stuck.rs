//! # eviction-stuck
//!
//! ## What it detects
//! A server over its maxmemory whose eviction policy cannot bring it back: nothing carries a TTL under a
//! volatile policy, or the memory is not in keys.
//!
//! ## Why it matters
//! Every write is refused with OOM, or the whole keyspace is evicted in vain.
//!
//! ## Evidence
//! used_memory - mem_not_counted_for_evict against maxmemory, maxmemory_policy, keys with a TTL,
//! evicted_keys, current_eviction_exceeded_time, lazyfree_pending_objects.
//!
//! ## Remedy
//! An allkeys policy for a cache, TTLs for a store, and a look at what holds the memory instead of keys.
//!
//! ## Safety
//! allkeys-* policies delete data that has no TTL: right for a cache only.
//!
//! ## References
//! redis source, evict.c:performEvictions: nothing to evict gives EVICT_FAIL, and with it the OOM reply.

use crate::figures::Figures;
use unfrag_model::{Cause, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let policy = f.policy?;
    let maxmemory = f.maxmemory.filter(|&m| m > 0)?;
    let counted = f.counted()?;
    let ignores = f.sample.info.is_replica()
        && f.sample.config.flag("replica-ignore-maxmemory") != Some(false);
    if policy == "noeviction" || counted < maxmemory || ignores {
        return None;
    }
    let over = counted - maxmemory;
    let reason = reason(f, policy, over, maxmemory)?;
    Some(
        Finding::new(
            Cause::EvictionCannotFree,
            Severity::Urgent,
            format!("{} over maxmemory, and {policy} cannot bring it back: {reason}", human(over)),
        )
        .bytes(over)
        .meaning("writes are refused with OOM for as long as eviction finds nothing to free")
        .evidence(f.cite("used_memory"))
        .evidence(f.cite("maxmemory").or_else(|| f.cite_config("maxmemory")))
        .evidence(f.keys_with_ttl.map(|n| unfrag_model::Evidence::new("keys with a TTL", n.to_string(), "INFO keyspace")))
        .evidence(f.cite("evicted_keys"))
        .evidence(f.cite("current_eviction_exceeded_time"))
        .evidence(f.cite("lazyfree_pending_objects"))
        .remedy(RemedyKind::ChangeEvictionPolicy, format!("{} CONFIG SET maxmemory-policy allkeys-lru   (only if every key may be lost: a cache)", f.cli()))
        .remedy(RemedyKind::AddTtl, "give the keys that may go a TTL")
        .remedy(RemedyKind::RaiseMaxmemory, format!("{} CONFIG SET maxmemory …   (see the safe value below)", f.cli()))
        .folklore("RSS plays no part in this: the OOM reply compares used_memory with maxmemory"),
    )
}

fn reason(f: &Figures<'_>, policy: &str, over: u64, maxmemory: u64) -> Option<&'static str> {
    if f.cannot_evict() {
        return Some("no key has a TTL");
    }
    if f.count("lazyfree_pending_objects") > 0 && over > maxmemory / 100 {
        return Some("freed values still wait for the lazy-free thread");
    }
    let overhead = f.overhead.unwrap_or(0);
    if f.keys == Some(0) || overhead > maxmemory {
        return Some("the memory is not in keys");
    }
    // A cache runs at its limit; well above it, or for a measured time, eviction is losing.
    let losing = f.count("current_eviction_exceeded_time") > 0
        && f.sample.info.error_count("OOM").unwrap_or(0) > 0;
    let few_candidates = policy.starts_with("volatile")
        && f.keys_with_ttl
            .zip(f.keys)
            .is_some_and(|(ttl, keys)| keys > 0 && ttl.saturating_mul(50) < keys);
    match (over > maxmemory / 20, few_candidates, losing) {
        (_, true, _) => Some("almost no key has a TTL"),
        (true, _, _) => Some("it frees less than is added"),
        (_, _, true) => Some("it has been over the limit for a while"),
        _ => None,
    }
}

//! # no-ttl-to-evict
//!
//! ## What it detects
//! A volatile-* eviction policy on a server whose keys carry no TTL.
//!
//! ## Why it matters
//! At the limit it behaves exactly like noeviction: every write is refused.
//!
//! ## Evidence
//! maxmemory_policy, keys, keys with a TTL.
//!
//! ## Remedy
//! An allkeys policy for a cache; TTLs for a store.
//!
//! ## Safety
//! allkeys-* deletes data that has no TTL.
//!
//! ## References
//! redis source, evict.c: volatile policies sample the expires table only.

use crate::figures::Figures;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let policy = f.policy.filter(|p| p.starts_with("volatile"))?;
    let set = f.maxmemory.is_some_and(|m| m > 0);
    (set && f.cannot_evict() && f.fullness().is_some_and(|full| full > 0.5)).then(|| {
        Finding::new(
            Cause::EvictionCannotFree,
            Severity::Watch,
            format!("{policy} has nothing to evict: no key has a TTL"),
        )
        .meaning("at maxmemory every write will be refused, as with noeviction")
        .evidence(Evidence::new("maxmemory_policy", policy, "INFO"))
        .evidence(
            f.keys.map(|k| Evidence::new("keys", format!("{k}, none with a TTL"), "INFO keyspace")),
        )
        .remedy(RemedyKind::AddTtl, "give the keys that may go a TTL")
        .remedy(
            RemedyKind::ChangeEvictionPolicy,
            format!("{} CONFIG SET maxmemory-policy allkeys-lru   (for a cache)", f.cli()),
        )
    })
}

//! # dict-overhead
//!
//! ## What it detects
//! The tables that index keys and TTLs, or a rehash in progress, hold a large part of the memory.
//!
//! ## Why it matters
//! Very many tiny keys cost more in tables than in values; while a table grows, old and new exist together
//! and used_memory jumps, by gigabytes at hundreds of millions of keys.
//!
//! ## Evidence
//! overhead.hashtable.main and .expires of MEMORY STATS, mem_overhead_db_hashtable_rehashing, keys.
//!
//! ## Remedy
//! Fewer, larger values: hashes that stay listpack-encoded hold a hundred small items for one key's tables.
//!
//! ## Safety
//! A change of layout is a change of the application.
//!
//! ## References
//! redis source, dict.c; redis issues 2716, 4213 (rehash spikes).

use crate::figures::{Figures, share};
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

/// What a key costs in tables at most: a dict entry of 32 bytes in the main and one in the expires dict,
/// an object header of 16, and up to two 8-byte buckets each.
pub(super) const BYTES_PER_KEY: u64 = 112;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let used = f.used?;
    let rehashing = f.count("mem_overhead_db_hashtable_rehashing");
    let stats = f.sample.memory_stats.as_ref();
    let tables = stats.map_or(0, |s| {
        s.sum_databases("overhead.hashtable.main").unwrap_or(0)
            + s.sum_databases("overhead.hashtable.expires").unwrap_or(0)
    });
    let (bytes, title) = if rehashing > GAP_BYTES && share(rehashing, used) > 0.05 {
        (
            rehashing,
            format!("a table is being resized: {} exist twice until it is done", human(rehashing)),
        )
    } else if tables > GAP_BYTES && share(tables, used) > 0.40 {
        (
            tables,
            format!("{} of {} used are the tables that index keys", human(tables), human(used)),
        )
    } else {
        return None;
    };
    Some(
        Finding::new(Cause::BigExpiresOrDictOverhead, Severity::Watch, title)
            .bytes(bytes)
            .meaning("very many small keys: their index costs as much as they do")
            .evidence((tables > 0).then(|| Evidence::new("overhead.hashtable", human(tables), "MEMORY STATS")))
            .evidence(f.cite("mem_overhead_db_hashtable_rehashing"))
            .evidence(f.keys.map(|k| Evidence::new("keys", k.to_string(), "INFO keyspace")))
            .remedy(RemedyKind::ReduceData, "group small keys into hashes that stay listpack-encoded (hash-max-listpack-entries)"),
    )
}

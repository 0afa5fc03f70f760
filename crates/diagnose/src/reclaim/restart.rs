//! A fresh process that loads the same data: the floor.

use super::given_back;
use crate::figures::{AllocatorKind, Figures};
use unfrag_model::Estimate;

/// Text, libraries, stacks and the allocator's first arenas of a fresh process, measured between 5 and 8 MB.
const PROCESS_BYTES: u64 = 7 << 20;

pub(super) fn estimate(f: &Figures<'_>) -> Estimate {
    let (Some(used), Some(rss)) = (f.used, f.rss) else { return Estimate::default() };
    let data = used.saturating_sub(gone_after_restart(f));
    let floor = fresh_rss(f, data);
    let basis = "used_memory less connections and slack of tables, in fresh pages";
    // Collections that shrank load into smaller encodings, so the floor may lie lower; data that is loaded
    // in another order may round up to more pages.
    let low = rss.saturating_sub(floor / 100 * 110);
    let high = rss.saturating_sub(floor / 100 * 80);
    given_back(f, low, rss.saturating_sub(floor), high, basis)
}

/// Bytes of `used` that a fresh process does not have: connections' buffers, the backlog, the scripts.
fn gone_after_restart(f: &Figures<'_>) -> u64 {
    let clients = f.client_buffers().unwrap_or(0);
    let lua = if f.lua_in_used { f.lua } else { 0 };
    let rehashing = f.count("mem_overhead_db_hashtable_rehashing");
    clients.saturating_add(lua).saturating_add(rehashing).saturating_add(table_slack(f))
}

/// Bucket arrays that are larger than the keys need, because tables shrink late: what MEMORY STATS counts
/// for them, less one 8-byte bucket a key rounded up to a power of two and one entry a key.
fn table_slack(f: &Figures<'_>) -> u64 {
    let Some(stats) = f.sample.memory_stats.as_ref() else { return 0 };
    let (Some(tables), Some(keys)) = (stats.sum_databases("overhead.hashtable.main"), f.keys)
    else {
        return 0;
    };
    let entries = keys.saturating_mul(ENTRY_BYTES);
    let needed = keys.max(1).next_power_of_two().saturating_mul(8);
    tables.saturating_sub(entries).saturating_sub(needed)
}

/// What MEMORY STATS counts for a key beside its buckets: a dict entry of 24 bytes and an object header of 16.
const ENTRY_BYTES: u64 = 40;

/// RSS of a fresh process holding `data` bytes of allocations.
fn fresh_rss(f: &Figures<'_>, data: u64) -> u64 {
    let overhead = match f.allocator {
        // 8 bytes of header an allocation; small strings come to about a tenth.
        AllocatorKind::Other => data / 12,
        // Bookkeeping of about 1.5 % and slabs that are not yet full.
        _ => data / 40,
    };
    data.saturating_add(overhead).saturating_add(PROCESS_BYTES)
}

//! A fresh process that loads the same data: the floor.

use super::{given_back, percent};
use crate::figures::{AllocatorKind, Figures};
use crate::rules::dict_overhead;
use unfrag_model::sample::SnapshotSize;
use unfrag_model::{Estimate, Version};

/// What a fresh process occupies beyond its allocations, where its file-backed pages cannot be read: text,
/// libraries, stacks, the allocator's first arenas. Measured on the five servers, between 4 and 10 MB.
pub const PROCESS_BYTES: u64 = 6 << 20;
/// The anonymous part of that.
const STACKS_BYTES: u64 = 1 << 20;

pub(super) fn estimate(f: &Figures<'_>) -> Estimate {
    let (Some(used), Some(rss)) = (f.used, f.rss) else { return Estimate::default() };
    if let Some(snapshot) = &f.sample.snapshot {
        return of_snapshot(f, rss, snapshot);
    }
    let data =
        used.saturating_sub(gone(f)).saturating_sub(slack(f, used)).saturating_sub(untouched(f));
    let floor = data.saturating_add(bookkeeping(f, data)).saturating_add(process(f));
    let basis = "used_memory less connections and slack of tables, in fresh pages";
    let low = rss.saturating_sub(percent(floor, 110));
    let high = rss.saturating_sub(percent(floor, 85));
    given_back(f, low, rss.saturating_sub(floor), high, basis)
}

/// A snapshot says to the byte what is loaded: slack, buffers and tables of the past are not in it. Sizes of whole
/// snapshots were within 3 % of what real servers needed; pages and slabs not yet full are the rest of the interval.
fn of_snapshot(f: &Figures<'_>, rss: u64, snapshot: &SnapshotSize) -> Estimate {
    let data = snapshot.bytes.saturating_add(f.startup.unwrap_or(0));
    let floor = data.saturating_add(bookkeeping(f, data)).saturating_add(process(f));
    let low = rss.saturating_sub(percent(floor, 105));
    let high = rss.saturating_sub(percent(floor, 96));
    let stale = f.keys.filter(|keys| keys.abs_diff(snapshot.keys) > keys / 20);
    let stale = stale.map_or_else(String::new, |keys| {
        format!("; it has {} keys and the server {keys}: an older moment", snapshot.keys)
    });
    let basis =
        format!("the snapshot {}, sized for this server, in fresh pages{stale}", snapshot.file);
    given_back(f, low, rss.saturating_sub(floor), high, &basis)
}

/// Text and libraries stay as they are; they are told apart where the host was read.
fn process(f: &Figures<'_>) -> u64 {
    let file_backed = f.sample.host.as_ref().and_then(|h| h.file_backed);
    file_backed
        .map_or(PROCESS_BYTES, |bytes| bytes.saturating_add(STACKS_BYTES).max(PROCESS_BYTES / 2))
}

/// Bytes of `used` that a fresh process does not have: connections' buffers, scripts, a resize in progress.
fn gone(f: &Figures<'_>) -> u64 {
    let clients = f.client_buffers().or_else(|| unnamed_buffers(f)).unwrap_or(0);
    let lua = if f.lua_in_used { f.lua } else { 0 };
    clients.saturating_add(lua).saturating_add(f.count("mem_overhead_db_hashtable_rehashing"))
}

/// Before 5.0 buffers are in the overhead, unnamed: what start-up and the keys' tables do not explain.
fn unnamed_buffers(f: &Figures<'_>) -> Option<u64> {
    let mostly_overhead = f.overhead? > f.used? / 2;
    let keys = f.keys.or_else(|| mostly_overhead.then_some(0))?;
    let tables = keys.saturating_mul(dict_overhead::BYTES_PER_KEY);
    Some(f.overhead?.saturating_sub(f.startup.unwrap_or(0)).saturating_sub(tables))
}

/// Tables larger than their entries need, because they shrink late and are loaded to size.
fn slack(f: &Figures<'_>, used: u64) -> u64 {
    // No workload measured had more than a seventh of its memory in slack of collections.
    key_table_slack(f).saturating_add(collection_slack(f).min(used / 7))
}

/// The keyspace's: what MEMORY STATS counts, less one entry a key and 8 bytes a bucket, as many buckets as
/// the next power of two.
fn key_table_slack(f: &Figures<'_>) -> u64 {
    /// A dict entry of 24 bytes and an object header of 16.
    const ENTRY_BYTES: u64 = 40;
    let Some(stats) = f.sample.memory_stats.as_ref() else { return 0 };
    let (Some(tables), Some(keys)) = (stats.sum_databases("overhead.hashtable.main"), f.keys)
    else {
        return 0;
    };
    let needed = keys.checked_next_power_of_two().unwrap_or(u64::MAX).saturating_mul(8);
    tables.saturating_sub(keys.saturating_mul(ENTRY_BYTES)).saturating_sub(needed)
}

/// Those inside hashes, sets and sorted sets: each element removed left its bucket behind. commandstats
/// tells how many were; a call that removes several counts as one, so this is rather too little.
fn collection_slack(f: &Figures<'_>) -> u64 {
    const REMOVERS: [&str; 9] = [
        "hdel",
        "hgetdel",
        "srem",
        "spop",
        "zrem",
        "zpopmin",
        "zpopmax",
        "zremrangebyscore",
        "zremrangebyrank",
    ];
    // Redis: one to two 8-byte buckets an element. Valkey 8.1 on: 64-byte buckets of seven, half full.
    let bucket_bytes =
        if f.engine.at_least(Version::new(u32::MAX, 0, 0), Version::new(8, 1, 0)) { 14 } else { 6 };
    let removed: u64 = REMOVERS.iter().map(|name| calls(f, name)).fold(0, u64::saturating_add);
    removed.saturating_mul(bucket_bytes)
}

fn calls(f: &Figures<'_>, command: &str) -> u64 {
    let line = f.sample.info.text(&format!("cmdstat_{command}")).unwrap_or("");
    line.split(',').find_map(|p| p.strip_prefix("calls=")?.parse().ok()).unwrap_or(0)
}

/// Pages at the ends of large values that a fresh process never touches.
fn untouched(f: &Figures<'_>) -> u64 {
    f.sample.malloc_stats.as_ref().map_or(0, |stats| stats.tail_bytes(u64::MAX))
}

/// What the allocator adds to `data` bytes of fresh allocations.
fn bookkeeping(f: &Figures<'_>, data: u64) -> u64 {
    match f.allocator {
        // An 8-byte header an allocation: at least a key, its entry and its value.
        AllocatorKind::Other => f.keys.unwrap_or(0).saturating_mul(24),
        // jemalloc's extents and radix tree, and slabs that are not yet full.
        _ => data / 100,
    }
}

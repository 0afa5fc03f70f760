//! The fuzz bodies on their corpora, on every prefix of them, and on mutations of them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

#[path = "../../../fuzz/bodies/text.rs"]
mod text;

use proptest::prelude::*;
use std::fs;
use std::path::Path;

fn corpus(name: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| fs::read_to_string(e.unwrap().path()).unwrap())
        .collect();
    assert!(!files.is_empty());
    files
}

fn replay(name: &str, body: fn(&str)) {
    for seed in corpus(name) {
        for (end, _) in seed.char_indices() {
            body(&seed[..end]);
        }
        body(&seed);
    }
}

#[test]
fn corpora_and_all_their_prefixes() {
    replay("info", text::info);
    replay("malloc_stats", text::malloc_stats);
    replay("memory_stats", text::memory_stats);
    replay("config", text::config);
    replay("log", text::log);
}

/// Numbers where arithmetic goes wrong first.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        (0u64..1 << 34).prop_map(|n| n.to_string()),
        Just(u64::MAX.to_string()),
        Just(i64::MAX.to_string()),
        Just("0".to_owned()),
        Just("nan".to_owned()),
        Just("1.5G".to_owned()),
    ]
}

const FIELDS: [&str; 42] = [
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "used_memory_overhead",
    "used_memory_dataset",
    "used_memory_startup",
    "allocator_allocated",
    "allocator_active",
    "allocator_resident",
    "allocator_frag_bytes",
    "allocator_rss_bytes",
    "rss_overhead_bytes",
    "mem_fragmentation_bytes",
    "mem_fragmentation_ratio",
    "used_memory_peak_perc",
    "used_memory_dataset_perc",
    "total_system_memory",
    "maxmemory",
    "used_memory_lua",
    "used_memory_vm_total",
    "used_memory_scripts",
    "number_of_cached_scripts",
    "mem_clients_normal",
    "mem_clients_slaves",
    "mem_total_replication_buffers",
    "mem_replication_backlog",
    "mem_not_counted_for_evict",
    "mem_overhead_db_hashtable_rehashing",
    "rdb_last_cow_size",
    "current_cow_size",
    "rdb_bgsave_in_progress",
    "active_defrag_running",
    "active_defrag_hits",
    "active_defrag_misses",
    "client_longest_output_list",
    "client_biggest_input_buf",
    "client_recent_max_output_buffer",
    "connected_clients",
    "connected_slaves",
    "uptime_in_seconds",
    "evicted_keys",
    "lazyfree_pending_objects",
];

fn info_text() -> impl Strategy<Value = String> {
    let lines = proptest::collection::vec((proptest::sample::select(&FIELDS[..]), number()), 1..30);
    let keyspace = proptest::option::of((number(), number()));
    let policy = proptest::sample::select(&["noeviction", "allkeys-lru", "volatile-ttl"][..]);
    let allocator = proptest::sample::select(&["jemalloc-5.3.0", "jemalloc-4.0.3", "libc"][..]);
    let version = proptest::sample::select(&["2.8.0", "6.2.5", "7.2.5", "8.2.3"][..]);
    (lines, keyspace, policy, allocator, version).prop_map(|(lines, keyspace, policy, allocator, version)| {
        let mut text = format!("redis_version:{version}\nmem_allocator:{allocator}\nmaxmemory_policy:{policy}\n");
        for (key, value) in lines {
            text += &format!("{key}:{value}\n");
        }
        if let Some((keys, expires)) = keyspace {
            text += &format!("# Keyspace\ndb0:keys={keys},expires={expires}\ndb1:keys={keys},expires={expires}\n");
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_figures_make_a_diagnosis_panic(text in info_text()) {
        text::info(&text);
    }

    #[test]
    fn no_text_makes_a_parser_panic(noise in "[ -~\\r\\n:=,.\\-\"*>_é]{0,300}") {
        text::info(&noise);
        text::malloc_stats(&noise);
        text::memory_stats(&noise);
        text::config(&noise);
        text::log(&noise);
    }

    #[test]
    fn mutated_tables_are_read_or_refused(at in 0usize..400, with in "[0-9 :.\\n-]{0,12}") {
        for seed in corpus("malloc_stats") {
            let at = at.min(seed.len());
            if seed.is_char_boundary(at) {
                text::malloc_stats(&format!("{}{with}{}", &seed[..at], &seed[at..]));
            }
        }
    }
}

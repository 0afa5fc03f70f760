//! The rules, most specific first: of two findings equally severe and equally large, the earlier one is
//! the answer.

mod client_buffers;
mod container_limit_unknown;
pub(crate) mod cow_headroom;
mod dataset_growth;
mod defrag_idle;
mod defrag_ineffective;
mod defrag_unsupported;
mod dict_overhead;
mod eviction_stuck;
mod fork_in_progress;
mod fragmentation;
mod impossible_figures;
mod limit_near;
mod maxmemory_above_limit;
mod maxmemory_data;
mod maxmemory_overhead;
mod maxmemory_unset;
mod module_memory;
mod no_ttl_to_evict;
mod oom_elsewhere;
mod outside_allocator;
mod overcommit;
mod past_peak;
mod persistence_loss;
mod replica_maxmemory;
pub(crate) mod retained_pages;
mod script_memory;
mod small_instance;
mod stream_growth;
mod swapped;
mod transparent_huge_pages;
mod unexplained_memory;
mod untouched_memory;

use crate::rule::{Kind, Rule};

macro_rules! rule {
    ($module:ident, $id:literal, $kind:ident) => {
        Rule {
            id: $id,
            kind: Kind::$kind,
            source: include_str!(concat!("rules/", stringify!($module), ".rs")),
            check: $module::check,
        }
    };
}

/// All rules.
pub(crate) const ALL: &[Rule] = &[
    rule!(impossible_figures, "impossible-figures", Cause),
    rule!(oom_elsewhere, "oom-elsewhere", Cause),
    rule!(limit_near, "limit-near", Cause),
    rule!(module_memory, "module-memory", Cause),
    rule!(script_memory, "script-memory", Cause),
    rule!(eviction_stuck, "eviction-stuck", Cause),
    rule!(maxmemory_overhead, "maxmemory-overhead", Cause),
    rule!(client_buffers, "client-buffers", Cause),
    rule!(unexplained_memory, "unexplained-memory", Cause),
    rule!(maxmemory_data, "maxmemory-data", Cause),
    rule!(swapped, "swapped", Cause),
    rule!(cow_headroom, "cow-headroom", Cause),
    rule!(defrag_ineffective, "defrag-ineffective", Cause),
    rule!(defrag_idle, "defrag-idle", Cause),
    rule!(defrag_unsupported, "defrag-unsupported", Cause),
    rule!(fragmentation, "fragmentation", Cause),
    rule!(retained_pages, "retained-pages", Cause),
    rule!(outside_allocator, "outside-allocator", Cause),
    rule!(dict_overhead, "dict-overhead", Cause),
    rule!(stream_growth, "stream-growth", Cause),
    rule!(dataset_growth, "dataset-growth", Cause),
    rule!(container_limit_unknown, "container-limit-unknown", Cause),
    rule!(past_peak, "past-peak", Explanation),
    rule!(untouched_memory, "untouched-memory", Explanation),
    rule!(small_instance, "small-instance", Explanation),
    rule!(fork_in_progress, "fork-in-progress", Risk),
    rule!(maxmemory_unset, "maxmemory-unset", Risk),
    rule!(maxmemory_above_limit, "maxmemory-above-limit", Risk),
    rule!(no_ttl_to_evict, "no-ttl-to-evict", Risk),
    rule!(replica_maxmemory, "replica-maxmemory", Risk),
    rule!(persistence_loss, "persistence-loss", Risk),
    rule!(transparent_huge_pages, "transparent-huge-pages", Risk),
    rule!(overcommit, "overcommit", Risk),
];

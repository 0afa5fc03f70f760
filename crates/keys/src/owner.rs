//! Whose allocations stand in the fragmented bins. Read [`owners`] first.

use serde::Serialize;
use unfrag_model::MallocStats;

use crate::pattern::Pattern;

/// A bin with less waste than this is not worth a line.
const WASTE_BYTES_MIN: u64 = 64 << 10;
/// Owners named of a bin.
const OWNERS_MAX: usize = 5;
/// Bins listed.
const BINS_MAX: usize = 8;

/// A fragmented bin and the patterns that live in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BinOwners {
    /// Bytes of its regions.
    pub class_bytes: u64,
    /// Free regions in its slabs, in bytes.
    pub waste_bytes: u64,
    /// Live regions, in bytes.
    pub live_bytes: u64,
    /// Share of its regions that is live.
    pub utilization: f64,
    /// Patterns, the one with most bytes in it first.
    pub owners: Vec<Owner>,
    /// Live bytes that no pattern accounts for: tables, clients, scripts.
    pub unaccounted_bytes: u64,
}

/// A pattern with allocations in a bin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Owner {
    /// Pattern.
    pub pattern: String,
    /// Its bytes in this class.
    pub bytes: u64,
    /// Its share of what keys hold in this class.
    pub share: f64,
}

/// The bins with most waste, joined with the classes that each pattern allocates.
pub fn owners(stats: &MallocStats, patterns: &[Pattern<'_>]) -> Vec<BinOwners> {
    let mut bins: Vec<_> =
        stats.bins.iter().filter(|bin| bin.waste_bytes() >= WASTE_BYTES_MIN).collect();
    bins.sort_by_key(|bin| std::cmp::Reverse(bin.waste_bytes()));
    bins.truncate(BINS_MAX);
    let classes: Vec<(&str, Vec<(u64, u64)>)> =
        patterns.iter().map(|p| (p.text.as_str(), p.stats.class_bytes())).collect();
    bins.into_iter()
        .map(|bin| {
            let mut owners: Vec<(&str, u64)> = classes
                .iter()
                .filter_map(|(text, classes)| {
                    let found = classes.iter().find(|(class, _)| *class == bin.size_bytes)?;
                    Some((*text, found.1))
                })
                .collect();
            owners.sort_by_key(|(text, bytes)| (std::cmp::Reverse(*bytes), *text));
            let all: u64 = owners.iter().map(|(_, bytes)| bytes).sum();
            let live_bytes = bin.live_regions.saturating_mul(bin.size_bytes);
            owners.truncate(OWNERS_MAX);
            BinOwners {
                class_bytes: bin.size_bytes,
                waste_bytes: bin.waste_bytes(),
                live_bytes,
                utilization: bin.utilization(),
                owners: owners
                    .into_iter()
                    .map(|(text, bytes)| Owner {
                        pattern: text.to_owned(),
                        bytes,
                        share: bytes as f64 / all.max(1) as f64,
                    })
                    .collect(),
                unaccounted_bytes: live_bytes.saturating_sub(all),
            }
        })
        .collect()
}

//! What grew between two snapshots, by pattern. Read [`between`] first.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::{Report, Total};
use crate::stats::Sum;

/// Two snapshots compared.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// `unfrag.keys-diff/1`.
    pub schema: &'static str,
    /// The earlier one.
    pub before: String,
    /// The later one.
    pub after: String,
    /// Server that bytes are of.
    pub sized_for: &'static str,
    /// Sum before.
    pub total_before: Total,
    /// Sum after.
    pub total_after: Total,
    /// Patterns that differ, the most grown or shrunk first.
    pub patterns: Vec<Change>,
}

/// A pattern that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The pattern.
    pub pattern: String,
    /// Before.
    pub before: Sum,
    /// After.
    pub after: Sum,
    /// Keys that came or went.
    pub keys_change: i64,
    /// Bytes that came or went.
    pub bytes_change: i64,
}

/// What changed from `before` to `after`.
pub fn between(before: &Report, after: &Report) -> Diff {
    let mut found: BTreeMap<&str, (Sum, Sum)> = BTreeMap::new();
    for row in &before.patterns {
        found.entry(&row.pattern).or_default().0 = Sum { keys: row.keys, bytes: row.bytes };
    }
    for row in &after.patterns {
        found.entry(&row.pattern).or_default().1 = Sum { keys: row.keys, bytes: row.bytes };
    }
    let mut patterns: Vec<Change> = found
        .into_iter()
        .filter(|(_, (before, after))| before != after)
        .map(|(pattern, (before, after))| Change {
            pattern: pattern.to_owned(),
            before,
            after,
            keys_change: after.keys.cast_signed().wrapping_sub(before.keys.cast_signed()),
            bytes_change: after.bytes.cast_signed().wrapping_sub(before.bytes.cast_signed()),
        })
        .collect();
    patterns.sort_by_key(|c| (std::cmp::Reverse(c.bytes_change.unsigned_abs()), c.pattern.clone()));
    Diff {
        schema: "unfrag.keys-diff/1",
        before: before.source.clone(),
        after: after.source.clone(),
        sized_for: after.sized_for,
        total_before: before.total,
        total_after: after.total,
        patterns,
    }
}

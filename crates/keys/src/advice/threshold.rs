//! Hashes, sets and sorted sets just over a conversion threshold.

use super::{Advice, Confidence, Context};
use crate::pattern::Pattern;
use unfrag_rdb::format::DataType;
use unfrag_rdb::size::Server;

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    context.patterns.iter().filter_map(|pattern| one(context, pattern)).collect()
}

fn one(context: &Context<'_>, pattern: &Pattern<'_>) -> Option<Advice> {
    let near = pattern.stats.near;
    if near.keys == 0 || !context.is_worth(near.bytes_now) {
        return None;
    }
    let limits = &context.size_for.thresholds;
    let (name, entries, longest) = [
        (DataType::Hash, "hash", limits.hash_entries, limits.hash_value_bytes),
        (DataType::Zset, "zset", limits.zset_entries, limits.zset_value_bytes),
        (DataType::Set, "set", limits.set_entries, limits.set_value_bytes),
    ]
    .into_iter()
    .max_by_key(|(kind, ..)| pattern.stats.of_type(*kind).bytes)
    .map(|(_, name, entries, longest)| (name, entries, longest))?;
    let is_intset = name == "set" && near.intsets * 2 > near.keys;
    let (entries, longest) =
        if is_intset { (limits.set_intset_entries, u64::MAX) } else { (entries, longest) };
    let packed = match context.size_for.server {
        _ if is_intset => "intset",
        // The name that servers before 7.0 know; later ones know both.
        Server::Redis62 => "ziplist",
        _ => "listpack",
    };
    let settings: Vec<String> =
        [("entries", entries, near.elements_max), ("value", longest, near.longest_max)]
            .into_iter()
            .filter(|(_, limit, needed)| needed > limit)
            .map(|(what, _, needed)| format!("CONFIG SET {name}-max-{packed}-{what} {needed}"))
            .collect();
    let cost = if is_intset {
        format!("each command halves its way through up to {} integers", near.elements_max)
    } else {
        format!("each command scans up to {} elements", near.elements_max)
    };
    Some(Advice {
        kind: "threshold",
        pattern: pattern.text.clone(),
        keys: near.keys,
        bytes_now: near.bytes_now,
        bytes_after: near.bytes_after,
        confidence: Confidence::High,
        is_safe: true,
        why: format!(
            "they are at most twice the size up to which a {name} is packed{}; packed, {cost}. Keys that exist are packed \
             when they are next loaded (restart, replica, RESTORE). The setting is for all keys of the server",
            if is_intset { " as an intset" } else { "" }
        ),
        next: (!settings.is_empty()).then(|| settings.join("; ")),
        tried: Vec::new(),
        crosses_slots: false,
    })
}

//! Long text that every name of a pattern repeats.

use unfrag_rdb::text::Text;

use super::{Advice, Confidence, Context};
use crate::pattern::Pattern;
use crate::sample::Sample;
use crate::shape::Placeholder;

/// Repeated bytes from which a shorter spelling is worth a thought.
const REPEATED_MIN: u64 = 16;
/// What remains of them: room for a short name at each level.
const REMAINING: u64 = 4;
/// Fewer keys than this are renamed by hand if at all.
const KEYS_MIN: u64 = 1000;

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    context.patterns.iter().filter_map(|pattern| one(context, pattern)).collect()
}

fn one(context: &Context<'_>, pattern: &Pattern<'_>) -> Option<Advice> {
    let is_text = |byte: &&u8| Placeholder::from_byte(**byte).is_none();
    let repeated = pattern.shape.iter().filter(is_text).count() as u64;
    if repeated < REPEATED_MIN || pattern.stats.keys < KEYS_MIN {
        return None;
    }
    let saved = repeated - REMAINING;
    let samples: Vec<&Sample> = pattern.stats.reservoir.samples().iter().collect();
    let after = context.scaled(pattern.stats.bytes, &samples, |estimator, sample| {
        let expires = sample.expires_ms.is_some();
        let shorter = sample.name_bytes.saturating_sub(saved);
        if let Some(value) = sample.value.as_deref() {
            let text = Text::Bytes(value);
            let now = estimator.string(sample.name_bytes, expires, text).bytes;
            let then = estimator.string(shorter, expires, text).bytes;
            return Some((sample.bytes + then).saturating_sub(now));
        }
        // What a name takes does not depend on a value that stands apart.
        let apart = Text::Omitted { length: 1000 };
        let now = estimator.string(sample.name_bytes, expires, apart).bytes;
        let then = estimator.string(shorter, expires, apart).bytes;
        Some((sample.bytes + then).saturating_sub(now))
    });
    Some(Advice {
        kind: "prefix",
        pattern: pattern.text.clone(),
        keys: pattern.stats.keys,
        bytes_now: pattern.stats.bytes,
        bytes_after: after,
        confidence: Confidence::of_samples(samples.len()),
        is_safe: false,
        why: format!(
            "each name repeats {repeated} bytes of text; {REMAINING} would tell the patterns apart. Every reader and \
             writer has to change at once, and pattern-based ACLs and subscriptions with them"
        ),
        next: None,
        tried: Vec::new(),
        crosses_slots: false,
    })
}

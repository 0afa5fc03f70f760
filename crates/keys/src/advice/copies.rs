//! The same large value under many keys.

use unfrag_rdb::text::Text;

use super::{Advice, Confidence, Context};
use crate::duplicate::VALUE_BYTES_MIN;
use crate::shape::{self, Shape};

/// Bytes of a reference to the value that is kept once.
const REFERENCE_BYTES: u64 = 24;

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    let (found, factor) = context.tally.duplicates.found();
    let Some(most) = found.first() else { return Vec::new() };
    let estimator = context.estimator();
    let sum = |of: fn(&crate::duplicate::Copies) -> u64| {
        found.iter().map(|c| of(c)).sum::<u64>().saturating_mul(factor)
    };
    let keys = sum(|c| c.keys);
    let now = sum(|c| c.bytes);
    let kept = sum(|c| c.bytes / c.keys.max(1));
    let name = most.example.as_deref().unwrap_or_default();
    let text = Text::Omitted { length: REFERENCE_BYTES };
    let reference = estimator.string(name.len() as u64, false, text).bytes;
    let values = found.len() as u64 * factor;
    let mut of = Shape::default();
    of.of(name);
    let example = match context.tally.options.hash {
        Some(_) => String::new(),
        None => format!(", once as {}", unfrag_rdb::problem::key_text(name)),
    };
    vec![Advice {
        kind: "duplicates",
        pattern: shape::text(of.bytes()),
        keys,
        bytes_now: now,
        bytes_after: kept.saturating_add(keys.saturating_mul(reference)),
        confidence: if factor == 1 { Confidence::High } else { Confidence::Medium },
        is_safe: false,
        why: format!(
            "{} of {VALUE_BYTES_MIN} bytes or more under {keys} keys; the costliest one {} times{example}. Kept once \
             under a hash of the value and referred to by it, they take the rest; readers then read twice",
            if values == 1 { "one value".to_owned() } else { format!("{values} values") },
            most.keys
        ),
        next: None,
        tried: Vec::new(),
        crosses_slots: false,
    }]
}

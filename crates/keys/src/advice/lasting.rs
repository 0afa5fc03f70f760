//! Keys without expiry in a pattern where nearly all expire.

use super::{Advice, Confidence, Context};

/// Share of keys, in per cent, that expire where expiring is the rule.
const RULE_PERCENT: u64 = 60;

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    context
        .patterns
        .iter()
        .filter(|p| {
            let (lasting, expiring) = (p.stats.lasting(), p.stats.expiring());
            lasting.keys > 0
                && expiring.keys * 100 >= p.stats.keys * RULE_PERCENT
                && context.is_worth(lasting.bytes)
        })
        .map(|pattern| {
            let (lasting, expiring) = (pattern.stats.lasting(), pattern.stats.expiring());
            Advice {
                kind: "lasting",
                pattern: pattern.text.clone(),
                keys: lasting.keys,
                bytes_now: lasting.bytes,
                bytes_after: 0,
                confidence: Confidence::Low,
                is_safe: false,
                why: format!(
                    "{} keys of this pattern expire and these never do: often a SET that dropped the expiry, or an \
                     EXPIRE that was never reached. Only the application knows whether they may go",
                    expiring.keys
                ),
                next: None,
                tried: Vec::new(),
        crosses_slots: false,
            }
        })
        .collect()
}

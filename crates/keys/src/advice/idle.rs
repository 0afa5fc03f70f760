//! Dead weight: keys nobody has used for a long time.

use super::{Advice, Confidence, Context};
use crate::stats::Sum;

/// The first bucket that counts as long: thirty days and more.
const LONG: usize = 4;

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    context
        .patterns
        .iter()
        .filter_map(|pattern| {
            let mut idle = Sum::default();
            pattern.stats.idle.iter().skip(LONG).for_each(|more| idle.join(*more));
            (idle.keys > 0 && context.is_worth(idle.bytes)).then(|| Advice {
                kind: "idle",
                pattern: pattern.text.clone(),
                keys: idle.keys,
                bytes_now: idle.bytes,
                bytes_after: 0,
                confidence: Confidence::High,
                is_safe: false,
                why: "not read or written for thirty days or more by the server's own clock, which a restart or a \
                      resync resets. Whether they may go only the application knows"
                    .to_owned(),
                next: None,
                tried: Vec::new(),
        crosses_slots: false,
            })
        })
        .collect()
}

//! Integers stored as text that servers do not recognise: `007`, `+5`, `12.0`, ` 9`.

use unfrag_rdb::text::{Text, canonical_int};

use super::{Advice, Confidence, Context};
use crate::pattern::Pattern;
use crate::sample::Sample;

/// Share of samples, in per cent, from which a pattern counts as integers.
const SHARE_PERCENT: usize = 80;

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    context.patterns.iter().filter_map(|pattern| one(context, pattern)).collect()
}

fn one(context: &Context<'_>, pattern: &Pattern<'_>) -> Option<Advice> {
    if !pattern.stats.is_strings() || !context.is_worth(pattern.stats.bytes) {
        return None;
    }
    let samples: Vec<&Sample> =
        pattern.stats.reservoir.samples().iter().filter(|s| s.value.is_some()).collect();
    let hits: Vec<&&Sample> = samples.iter().filter(|s| hidden(s).is_some()).collect();
    let first = hits.first()?.value.as_deref().unwrap_or_default();
    let example = match context.tally.options.hash {
        Some(_) => String::new(),
        None => format!(", like \"{}\"", unfrag_rdb::problem::key_text(first)),
    };
    if hits.len() * 100 < samples.len() * SHARE_PERCENT {
        return None;
    }
    let after = context.scaled(pattern.stats.bytes, &samples, |estimator, sample| {
        let text = Text::Int(hidden(sample)?);
        Some(estimator.string(sample.name_bytes, sample.expires_ms.is_some(), text).bytes)
    });
    Some(Advice {
        kind: "integer",
        pattern: pattern.text.clone(),
        keys: pattern.stats.keys,
        bytes_now: pattern.stats.bytes,
        bytes_after: after,
        confidence: Confidence::of_samples(samples.len()),
        is_safe: false,
        why: format!(
            "values are integers in a spelling that is kept as text{example}; written plainly they take no \
             bytes of their own. Safe if no reader needs the padding, sign or decimals back"
        ),
        next: None,
        tried: Vec::new(),
        crosses_slots: false,
    })
}

/// The integer that a value means but does not spell as servers do.
fn hidden(sample: &Sample) -> Option<i64> {
    let value = sample.value.as_deref()?;
    if value.len() > 24 || canonical_int(value).is_some() {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?.trim().trim_matches('"');
    let text = text.strip_prefix('+').unwrap_or(text);
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let is_number =
        whole.bytes().skip(usize::from(whole.starts_with('-'))).all(|b| b.is_ascii_digit());
    if is_number { whole.parse().ok() } else { None }
}

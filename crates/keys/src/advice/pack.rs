//! Many small strings that would take less as fields of packed hashes.
//!
//! Two layouts: the fields of a thing (`user:{id}:name`, `user:{id}:mail` into the hash `user:{id}`), and things
//! with numbers (`seen:{id}` into `seen:{id / 100}`, field `id % 100`).

use std::collections::BTreeMap;

use unfrag_rdb::size::{Estimator, Server};
use unfrag_rdb::text::Text;

use super::{Advice, Confidence, Context};
use crate::pattern::{Pattern, varies};
use crate::sample::Sample;
use crate::shape::{self, Placeholder};
use crate::stats::{Sum, rounded};
use crate::typed;

/// Hashes built of samples to price one layout.
const TRIALS: usize = 12;
/// Fields a hash, tried for numbered things.
const FIELDS: [u64; 6] = [16, 32, 64, 100, 200, 500];
/// A packed hash longer than this makes each read slow (it is scanned).
const HASH_BYTES_MAX: u64 = 8 << 10;
/// Fewer keys than this are no scheme.
const KEYS_MIN: u64 = 100;

pub(super) fn advise(context: &Context<'_>) -> Vec<Advice> {
    let mut things: BTreeMap<Vec<&[u8]>, Vec<&Pattern<'_>>> = BTreeMap::new();
    let mut found = Vec::new();
    for pattern in context.patterns.iter().filter(|p| is_packable(context, p)) {
        let Some((last, stem)) = pattern.parts.split_last() else { continue };
        // What only separates says nothing: the end of a hash tag, `{user:7}:name`.
        let says = |part: &&&[u8]| part.iter().any(|byte| !byte.is_ascii_punctuation());
        let thing = stem.iter().rev().find(says);
        if thing.is_some_and(|part| varies(part)) && !varies(last) {
            things.entry(stem.to_vec()).or_default().push(pattern);
        } else if pattern.last_placeholder() == Some(Placeholder::Id)
            // Where more varies, how many numbers share a stem is not known.
            && !stem.iter().any(|part| varies(part))
        {
            found.extend(numbered(context, pattern));
        }
    }
    found.extend(things.into_values().filter_map(|fields| thing(context, &fields)));
    found
}

/// Strings that would fit packed hashes but for their expiry: fields would have to expire one by one, or all together.
pub(crate) fn left_out_for_ttl(context: &Context<'_>) -> Sum {
    let mut sum = Sum::default();
    if context.size_for.server.has_field_expiry() {
        return sum;
    }
    for stats in context.patterns.iter().filter(|p| fits(context, p)).map(|p| p.stats) {
        if stats.expiring().keys > 0 {
            sum.join(Sum { keys: stats.keys, bytes: stats.bytes });
        }
    }
    sum
}

/// Strings that fit a packed hash, and expire only where fields can, too.
fn is_packable(context: &Context<'_>, pattern: &Pattern<'_>) -> bool {
    let can_expire = context.size_for.server.has_field_expiry();
    (can_expire || pattern.stats.expiring().keys == 0) && fits(context, pattern)
}

/// Strings whose values fit a packed hash.
fn fits(context: &Context<'_>, pattern: &Pattern<'_>) -> bool {
    let samples = pattern.stats.reservoir.samples();
    let limit = context.size_for.thresholds.hash_value_bytes;
    pattern.stats.keys >= KEYS_MIN
        && pattern.stats.is_strings()
        && samples.iter().all(|s| s.elements <= limit && s.value.is_some())
}

/// The fields of things.
fn thing(context: &Context<'_>, fields: &[&Pattern<'_>]) -> Option<Advice> {
    let hashes = fields.iter().map(|p| p.stats.keys).max()?;
    let keys: u64 = fields.iter().map(|p| p.stats.keys).sum();
    if fields.len() < 2 || fields.len() as u64 > context.size_for.thresholds.hash_entries {
        return None;
    }
    let (_, stem) = fields.first()?.parts.split_last()?;
    let stem = stem.concat();
    let mut estimator = context.estimator();
    let sum: u64 = (0..TRIALS).map(|trial| one_hash(&mut estimator, fields, trial, hashes)).sum();
    let hash_bytes = sum as f64 / TRIALS as f64;
    let tables = table_bytes(&estimator, keys, hashes);
    let expiring = fields.iter().map(|p| p.stats.expiring().keys).sum();
    let has_tag = fields.iter().all(|p| p.has_hash_tag());
    let crosses = crosses_slots(context, has_tag);
    let next = typed::template(&stem).filter(|_| !crosses).map(|stem| {
        let into = stem.trim_end_matches(|c: char| c.is_ascii_punctuation() && c != '}');
        format!("unfrag reshape hash --match '{stem}{{field}}' --into '{into}'")
    });
    Some(Advice {
        kind: "pack",
        pattern: format!("{}{{field}}", shape::text(&stem)),
        keys,
        bytes_now: fields.iter().map(|p| p.stats.bytes).sum::<u64>() + tables,
        bytes_after: rounded(hash_bytes * hashes as f64),
        confidence: Confidence::of_samples(
            fields.iter().map(|p| p.stats.reservoir.samples().len()).min().unwrap_or(0),
        ),
        is_safe: expiring == 0 && !crosses,
        why: format!(
            "{} fields a thing, as fields of one packed hash each: {hashes} keys instead of {keys}. All values sampled are \
             within hash-max-listpack-value. {}",
            fields.len(),
            of_expiry(expiring)
        ),
        next,
        tried: Vec::new(),
        crosses_slots: crosses,
    })
}

/// What becomes of keys that expire.
fn of_expiry(expiring: u64) -> String {
    if expiring == 0 {
        return "None of them expires, so nothing is lost but a later EXPIRE of one alone"
            .to_owned();
    }
    format!(
        "{expiring} of the keys expire: their fields expire by themselves here, but each write has to say when again \
         (HSETEX, HPEXPIRE), because HSET lets a field live for ever"
    )
}

/// In a Cluster, keys that become one must be in one slot.
fn crosses_slots(context: &Context<'_>, has_tag: bool) -> bool {
    context.tally.options.by_slot && !has_tag
}

/// Bytes of one hash made of the samples: each field is in as many trials as things have it.
fn one_hash(estimator: &mut Estimator, fields: &[&Pattern<'_>], trial: usize, hashes: u64) -> u64 {
    let share = (trial as f64 + 0.5) / TRIALS as f64;
    let mut name = 0;
    let mut pairs: Vec<(&[u8], &Sample)> = Vec::new();
    for pattern in fields {
        let samples = pattern.stats.reservoir.samples();
        let is_in = pattern.stats.keys as f64 / hashes.max(1) as f64 >= share;
        let sample = samples.get(trial % samples.len().max(1)).filter(|_| is_in);
        let Some((sample, field)) = sample.zip(pattern.parts.last().copied()) else { continue };
        // What separates the field goes too.
        name = name.max(sample.name_bytes.saturating_sub(field.len() as u64 + 1));
        pairs.push((field, sample));
    }
    let fields: Vec<_> = pairs.into_iter().map(|(field, s)| (Text::Bytes(field), s)).collect();
    hash_bytes(estimator, name, &fields)
}

fn value(sample: &Sample) -> Text<'_> {
    Text::Bytes(sample.value.as_deref().unwrap_or_default())
}

/// Bytes of a hash with these fields, of which those expire whose keys do.
fn hash_bytes(estimator: &mut Estimator, name: u64, fields: &[(Text<'_>, &Sample)]) -> u64 {
    if fields.iter().all(|(_, sample)| sample.expires_ms.is_none()) {
        return estimator.hash(name, false, fields.iter().map(|(f, s)| (*f, value(s)))).bytes;
    }
    let expiry = |sample: &Sample| sample.expires_ms.and_then(|ms| u64::try_from(ms).ok());
    let fields = fields.iter().map(|(f, s)| (*f, value(s), expiry(s)));
    estimator.hash_of_expiring(name, fields).bytes
}

/// Things with numbers.
fn numbered(context: &Context<'_>, pattern: &Pattern<'_>) -> Option<Advice> {
    let samples = pattern.stats.reservoir.samples();
    let limit = context.size_for.thresholds.hash_entries;
    let mut estimator = context.estimator();
    let priced: Vec<(u64, u64)> = FIELDS
        .into_iter()
        .filter(|&fields| fields <= limit && fields <= pattern.stats.keys)
        .filter_map(|fields| {
            let bytes = bucket(&mut estimator, samples, fields)?;
            let hashes = pattern.stats.keys.div_ceil(fields);
            Some((fields, hashes.saturating_mul(bytes) + table_bytes(&estimator, hashes, 0)))
        })
        .collect();
    let now = pattern.stats.bytes + table_bytes(&estimator, pattern.stats.keys, 0);
    let best = priced.iter().map(|(_, bytes)| *bytes).min()?;
    // Fewer fields are faster to scan: take the fewest that save nearly as much.
    let saving = now.saturating_sub(best);
    let (fields, after) =
        priced.into_iter().find(|(_, after)| now.saturating_sub(*after) * 20 >= saving * 19)?;
    let expiring = pattern.stats.expiring().keys;
    let starts_alike = pattern.parts.len() > 1;
    // A tag that ends before the number is the same for all.
    let ends_with_id = pattern.shape.last() == Some(&Placeholder::Id.byte());
    let crosses = crosses_slots(context, pattern.has_hash_tag() && ends_with_id);
    let is_typed = starts_alike && !crosses;
    let next = typed::template(&pattern.shape).filter(|_| is_typed).map(|keys| {
        // Under a name of its own: `seen:{id/100}` would have the form of a key.
        let into = keys.replacen("{id}", &format!("{{id/{fields}}}"), 1);
        format!("unfrag reshape hash --match '{keys}' --into 'h:{into}'")
    });
    Some(Advice {
        kind: "pack",
        pattern: pattern.text.clone(),
        keys: pattern.stats.keys,
        bytes_now: now,
        bytes_after: after,
        confidence: Confidence::of_samples(samples.len()).min(Confidence::Medium),
        is_safe: expiring == 0 && !crosses,
        why: format!(
            "numbered strings, {fields} in one packed hash: key {{id / {fields}}}, field {{id % {fields}}}. \
             Bytes hold if the numbers are dense; where few of them exist, hash the id into as many buckets \
             instead. hash-max-listpack-entries must stay at {fields} or more. {}",
            of_expiry(expiring)
        ),
        next,
        tried: Vec::new(),
        crosses_slots: crosses,
    })
}

/// Bytes of a hash of `fields` numbered things; `None` if it would be too long to scan.
fn bucket(estimator: &mut Estimator, samples: &[Sample], fields: u64) -> Option<u64> {
    let name = samples.iter().map(|s| s.name_bytes).max()?;
    let values: u64 = samples.iter().map(|s| s.elements).sum();
    if values * fields / samples.len().max(1) as u64 > HASH_BYTES_MAX {
        return None;
    }
    let numbered = samples
        .iter()
        .cycle()
        .zip(0..fields)
        .map(|(sample, number)| (Text::Int(i64::try_from(number).unwrap_or_default()), sample));
    Some(hash_bytes(estimator, name, &numbered.collect::<Vec<_>>()))
}

/// What the database's table gives back when `keys` become `hashes`: its share a key, which steps by powers of two
/// only as a whole.
fn table_bytes(estimator: &Estimator, keys: u64, hashes: u64) -> u64 {
    let each = match estimator.size_for().server {
        // A slot of a bucket of seven, two thirds full on average.
        server if server >= Server::Valkey81 => 12,
        _ => 8,
    };
    keys.saturating_sub(hashes).saturating_mul(each)
}

//! The dry run of keys into hashes, and of hashes into keys.

use super::slots::{self as by_slot, Step, Steps, Way};
use super::{FETCHED_BYTES, Look, SAMPLE_BYTES, SAMPLE_KEYS, Turnover, suggest};
use crate::ActError;
use crate::reshape::guard;
use crate::reshape::hash::{TAKEN, too_many, ttl_differs};
use crate::reshape::layout::{Layout, Wording};
use crate::reshape::members::{MOST_HELD, Members};
use crate::reshape::outcome::{Fields, Suggestion};
use crate::reshape::sampling::{Scale, Thinned};
use crate::reshape::size::{Field, Image, Sizes};
use crate::reshape::skips::Skips;
use crate::reshape::spec::{Job, Name, Shape, shown};
use crate::reshape::walk::{Walk, bytes};
use crate::slots;
use redis::Value;
use std::collections::BTreeMap;
use unfrag_client::resp;
use unfrag_model::Info;
use unfrag_rdb::size::Server;

/// Jobs looked at in one go: some hundred keys.
const CHUNK_KEYS: usize = 200;
/// Fields of a hash that is read whole for the figures.
const READ_FIELDS: u64 = 5000;

/// A better layout is told of if it saves more by one part in this many.
const BETTER: i64 = 20;

/// Sums over the sample.
#[derive(Debug)]
struct Sums {
    now: Image,
    after: Image,
    hashes: u64,
    keys: u64,
    bytes: u64,
    merged: u64,
    merged_with_ttl: u64,
    new: u64,
    new_with_ttl: u64,
}

impl Sums {
    fn new(server: Server, way_back: bool) -> Self {
        let after = if way_back { Image::anew(server) } else { Image::new(server) };
        Self {
            now: Image::new(server),
            after,
            hashes: 0,
            keys: 0,
            bytes: 0,
            merged: 0,
            merged_with_ttl: 0,
            new: 0,
            new_with_ttl: 0,
        }
    }
}

/// One key of the sample.
struct Seen {
    key: Vec<u8>,
    field: Vec<u8>,
    value: Option<Vec<u8>>,
    bytes: u64,
    at: i64,
}

/// The hash it would go into.
struct There {
    kind: String,
    fields: Vec<FieldThere>,
    at: i64,
}

/// A field that is there.
struct FieldThere {
    name: Vec<u8>,
    value: Vec<u8>,
    /// When it expires by itself; negative for never.
    at: i64,
}

impl FieldThere {
    fn field(&self) -> Field<'_> {
        Field { name: &self.name, value: &self.value, expires: self.at >= 0 }
    }
}

/// A layout of all keys, sized by a sample.
struct Sized {
    now: u64,
    after: u64,
    tables_more: i64,
    /// Keys that would go into hashes.
    merged: u64,
    sampled: u64,
    keys_after: u64,
    hash_tables: u64,
}

impl Sized {
    fn saves(&self) -> i64 {
        self.now.cast_signed() - self.after.cast_signed() - self.tables_more
    }
}

pub(super) async fn forward(look: &mut Look<'_>, info: &Info) -> Result<(), ActError> {
    let Some(layout) = look.worker.layout else { return Ok(()) };
    let mut members = Members::share(MOST_HELD);
    let mut walk = Walk::of(info, &layout.keys.form().glob(), false);
    while let Some((db, keys)) = walk.next(look.worker.link).await? {
        for key in &keys {
            if !members.add(layout, db, key) {
                look.worker.skips.add(
                    db,
                    key,
                    "it has another form, or would not come back from its hash as it is",
                );
            }
        }
    }
    look.worker.forget_selection();
    let (matching, parts) = (members.matching, members.parts());
    look.preview.matching = matching;
    look.preview.halvings = members.halvings();
    let jobs = members.into_jobs();
    let crosses = names_are_sound(look, layout, &jobs);
    let held: u64 = jobs.iter().map(|(_, job)| job.fields.len() as u64).sum();
    if crosses {
        // Nothing of it can be done, so there is nothing to predict: of other nodes' hashes this one cannot tell.
        look.preview.keys_after = look.preview.keys_before;
        return Ok(());
    }
    let sized = size_up(look, layout, &jobs, matching).await?;
    look.preview.sampled = sized.sampled;
    look.preview.touched = sized.merged;
    look.preview.keys_after = sized.keys_after;
    look.conclude((sized.now, sized.after), sized.tables_more);
    let thresholds = look.size_for.thresholds;
    let fields = Fields {
        hashes: jobs.len() as u64 * parts,
        mean: held as f64 / (jobs.len() as f64).max(1.0),
        most: jobs.iter().map(|(_, job)| job.fields.len() as u64).max().unwrap_or(0),
        limit: thresholds.hash_entries,
        value_limit_bytes: thresholds.hash_value_bytes,
        tables: sized.hash_tables,
    };
    look.preview.suggestion = better(look, layout, &jobs, (&fields, parts), &sized).await?;
    look.preview.fields = Some(fields);
    Ok(())
}

/// Another layout, if it was sized, would be accepted as it is told, leaves no more keys alone and saves more.
async fn better(
    look: &mut Look<'_>,
    layout: &Layout,
    jobs: &[(u32, Job)],
    (fields, parts): (&Fields, u64),
    now: &Sized,
) -> Result<Option<Suggestion>, ActError> {
    let Shape::Hash(wording) = &look.worker.spec.shape else { return Ok(None) };
    // Of a share of the hashes it cannot be told how densely the ids lie.
    let may_be = now.merged > 0 && parts == 1;
    let Some(found) = suggest::buckets(layout, jobs, fields).filter(|_| may_be) else {
        return Ok(None);
    };
    let wording = Wording { into: found.into.clone(), ..wording.clone() };
    let Ok(other) = Layout::parse(&wording) else { return Ok(None) };
    let mut members = Members::share(usize::MAX);
    for (db, job) in jobs {
        for key in job.fields.iter().filter_map(|field| layout.key(&job.name.0, &field.0)) {
            if !members.add(&other, *db, &key) {
                return Ok(None);
            }
        }
    }
    let matching = members.matching;
    let jobs = members.into_jobs();
    let most = look.worker.pace.script_keys();
    let is_sound =
        jobs.iter().all(|(_, job)| job.fields.len() <= most && !other.is_ambiguous(&job.name.0))
            && !(look.worker.traits.clustered && crossing(&other, &jobs).is_some());
    if !is_sound {
        return Ok(None);
    }
    // What it would leave alone is not what the layout asked for does.
    let skips = std::mem::take(&mut look.worker.skips);
    let sized = size_up(look, &other, &jobs, matching).await;
    let _: Skips = std::mem::replace(&mut look.worker.skips, skips);
    let sized = sized?;
    let is_better = sized.saves() > 0
        && sized.merged >= now.merged
        && sized.saves() > now.saves() + now.saves().max(0) / BETTER;
    Ok(is_better.then(|| Suggestion {
        fields: matching / (jobs.len() as u64).max(1),
        saves_bytes: sized.saves().unsigned_abs(),
        ..found
    }))
}

/// Sizes a layout by a sample.
async fn size_up(
    look: &mut Look<'_>,
    layout: &Layout,
    jobs: &[(u32, Job)],
    matching: u64,
) -> Result<Sized, ActError> {
    let held: u64 = jobs.iter().map(|(_, job)| job.fields.len() as u64).sum();
    let sums = sample(look, layout, jobs, held).await?;
    let scale = Scale { part: sums.keys, whole: matching };
    let (now, after) = measured(look, &sums)?;
    let by_db = by_database(jobs);
    let (mut tables_more, keys_after) = look.tables(|db| {
        let share = Scale { part: held, whole: by_db.get(&db).copied().unwrap_or(0) };
        let of_db = |figure: u64| share.up(scale.up(figure));
        Turnover {
            gone: of_db(sums.merged),
            gone_with_ttl: of_db(sums.merged_with_ttl),
            new: of_db(sums.new),
            new_with_ttl: of_db(sums.new_with_ttl),
        }
    });
    if look.has_slot_tables() {
        let is_new = sums.new * 2 > sums.hashes;
        let mut steps = Steps::new();
        for (_, job) in jobs {
            let step = Step { new: u64::from(is_new), gone: job.fields.len() as u64 };
            steps.entry(slots::slot_of(&job.name.0)).or_default().push(step);
        }
        let share = ratio(sums.merged, sums.keys) * ratio(matching, held);
        let expiring =
            (ratio(sums.merged_with_ttl, sums.merged), ratio(sums.new_with_ttl, sums.new));
        tables_more += by_slot::tables(look, &steps, Way::Forth, share, expiring).await?;
    }
    Ok(Sized {
        now: scale.up(now.bytes),
        after: scale.up(after.bytes),
        tables_more,
        merged: scale.up(sums.merged),
        sampled: sums.keys,
        keys_after,
        hash_tables: scale.up(after.hash_tables),
    })
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn by_database(jobs: &[(u32, Job)]) -> BTreeMap<u32, u64> {
    let mut keys = BTreeMap::new();
    for (db, job) in jobs {
        *keys.entry(*db).or_default() += job.fields.len() as u64;
    }
    keys
}

/// Hashes must not look like keys, and in a Cluster must live where their keys do. True where they do not.
fn names_are_sound(look: &mut Look<'_>, layout: &Layout, jobs: &[(u32, Job)]) -> bool {
    if let Some((_, job)) = jobs.iter().find(|(_, job)| layout.is_ambiguous(&job.name.0)) {
        look.preview.hindrances.push(guard::Hindrance {
            why: format!(
                "the hash {} would have the form of a key to be merged itself",
                job.name.shown()
            ),
            hint: "give the hashes a name of their own, such as --into 'h:...'".to_owned(),
            overridable: false,
        });
    }
    if !look.worker.traits.clustered {
        return false;
    }
    let Some((key, job, to)) = crossing(layout, jobs) else { return false };
    let slots = (usize::from(slots::slot_of(&key)), usize::from(to));
    look.preview.hindrances.push(guard::crosses_slots(&shown(&key), &job.name.shown(), slots));
    true
}

/// A key that lives in another slot than its hash would, the hash, and its slot.
fn crossing<'j>(layout: &Layout, jobs: &'j [(u32, Job)]) -> Option<(Vec<u8>, &'j Job, u16)> {
    jobs.iter().find_map(|(_, job)| {
        let to = slots::slot_of(&job.name.0);
        let mut keys = job.fields.iter().filter_map(|field| layout.key(&job.name.0, &field.0));
        keys.find(|key| slots::slot_of(key) != to).map(|key| (key, job, to))
    })
}

/// Reads every so many a hash, until the sample is full.
async fn sample(
    look: &mut Look<'_>,
    layout: &Layout,
    jobs: &[(u32, Job)],
    held: u64,
) -> Result<Sums, ActError> {
    let every = usize::try_from(held.div_ceil(SAMPLE_KEYS)).unwrap_or(usize::MAX).max(1);
    let mut sums = Sums::new(look.size_for.server, false);
    let mut chunk: Vec<&(u32, Job)> = vec![];
    let mut keys = 0;
    for job in jobs.iter().step_by(every) {
        if sums.bytes > SAMPLE_BYTES {
            break;
        }
        if chunk.first().is_some_and(|(db, _)| *db != job.0) || keys > CHUNK_KEYS {
            read(look, layout, &chunk, &mut sums).await?;
            chunk.clear();
            keys = 0;
        }
        chunk.push(job);
        keys += job.1.fields.len();
    }
    read(look, layout, &chunk, &mut sums).await?;
    Ok(sums)
}

/// Hashes of one database: what is there, and what of it could be merged.
async fn read(
    look: &mut Look<'_>,
    layout: &Layout,
    jobs: &[&(u32, Job)],
    sums: &mut Sums,
) -> Result<(), ActError> {
    let Some((db, _)) = jobs.first() else { return Ok(()) };
    look.worker.select(*db).await?;
    let theres = hashes_there(look, jobs.iter().map(|(_, job)| job.name.0.as_slice())).await?;
    let keys: Vec<Asked<'_>> = jobs
        .iter()
        .flat_map(|(_, job)| {
            let key = |field: &Name| layout.key(&job.name.0, &field.0).unwrap_or_default();
            job.fields.iter().map(move |field| (key(field), field.0.as_slice()))
        })
        .collect();
    let mut seen = vec![];
    for some in keys.chunks(CHUNK_KEYS) {
        seen.extend(keys_there(look, *db, some).await?);
    }
    let mut seen = seen.into_iter();
    for ((_, job), there) in jobs.iter().zip(&theres) {
        let own: Vec<Seen> = seen.by_ref().take(job.fields.len()).collect();
        judge(look, *db, job, there, own, sums);
    }
    Ok(())
}

/// A key and the field it would be.
type Asked<'j> = (Vec<u8>, &'j [u8]);

/// What is under the hashes' names. Most of them are not there yet.
async fn hashes_there<'h>(
    look: &mut Look<'_>,
    hashes: impl Iterator<Item = &'h [u8]> + Clone,
) -> Result<Vec<There>, ActError> {
    let asked: Vec<Vec<&[u8]>> = hashes
        .clone()
        .flat_map(|hash| [vec![b"TYPE".as_slice(), hash], vec![b"HLEN", hash]])
        .collect();
    let answers = look.worker.read(&asked).await?;
    let mut theres = vec![];
    for (hash, answer) in hashes.zip(answers.chunks(2)) {
        let kind = answer.first().and_then(resp::text).unwrap_or_default();
        let length = answer.get(1).and_then(resp::count).unwrap_or(0);
        let mut there = There { kind, fields: vec![], at: -2 };
        if length > 0 {
            let at = look.worker.expiries(&[hash.to_vec()]).await?;
            there.at = at.first().copied().unwrap_or(-2);
        }
        if (1..=READ_FIELDS).contains(&length) {
            let all = look.worker.read(&[vec![b"HGETALL", hash]]).await?;
            there.fields = all.first().map(pairs).unwrap_or_default();
            field_expiries(look, hash, &mut there.fields).await?;
        }
        theres.push(there);
    }
    Ok(theres)
}

/// When fields expire by themselves, where they can; a user who may not ask is answered that they do not.
async fn field_expiries(
    look: &mut Look<'_>,
    hash: &[u8],
    fields: &mut [FieldThere],
) -> Result<(), ActError> {
    if !look.worker.traits.by_field {
        return Ok(());
    }
    for some in fields.chunks_mut(CHUNK_KEYS) {
        let count = some.len().to_string();
        let mut asked: Vec<&[u8]> = vec![b"HPEXPIRETIME", hash, b"FIELDS", count.as_bytes()];
        asked.extend(some.iter().map(|field| field.name.as_slice()));
        let answers = look.worker.read(&[asked]).await?;
        let times = answers.first().and_then(resp::elements).unwrap_or_default();
        for (field, time) in some.iter_mut().zip(times) {
            field.at = resp::text(time).and_then(|text| text.parse().ok()).unwrap_or(-1);
        }
    }
    Ok(())
}

async fn keys_there(
    look: &mut Look<'_>,
    db: u32,
    asked: &[Asked<'_>],
) -> Result<Vec<Seen>, ActError> {
    let keys: Vec<Vec<u8>> = asked.iter().map(|(key, _)| key.clone()).collect();
    let commands: Vec<Vec<&[u8]>> =
        keys.iter().map(|key| vec![b"STRLEN".as_slice(), key]).collect();
    let lengths = look.worker.read(&commands).await?;
    let expiries = look.worker.expiries(&keys).await?;
    let short = |answer: &Value| resp::count(answer).is_some_and(|n| n <= FETCHED_BYTES);
    let fetched: Vec<Vec<&[u8]>> = keys
        .iter()
        .zip(&lengths)
        .filter(|(_, length)| short(length))
        .map(|(key, _)| vec![b"GET".as_slice(), key])
        .collect();
    let mut values = look.worker.read(&fetched).await?.into_iter();
    let most = look.worker.pace.script_bytes();
    let mut seen = vec![];
    for (((key, field), length), at) in asked.iter().zip(&lengths).zip(expiries) {
        let bytes_there = resp::count(length).unwrap_or(0);
        let value = match resp::count(length) {
            None => {
                look.worker.skips.add(db, key, "it is no string");
                None
            }
            // Only its length matters: it is no number. One that is too long makes its hash be left alone.
            Some(long) if long > FETCHED_BYTES => {
                Some(vec![b'x'; usize::try_from(long.min(most)).unwrap_or(0)])
            }
            Some(_) => values.next().as_ref().and_then(bytes),
        };
        let (key, field) = (key.clone(), field.to_vec());
        seen.push(Seen { key, field, value, bytes: bytes_there, at });
    }
    Ok(seen)
}

/// As merge.lua will: which keys go into the hash, with which expiry.
fn judge(look: &mut Look<'_>, db: u32, job: &Job, there: &There, seen: Vec<Seen>, sums: &mut Sums) {
    sums.keys += seen.len() as u64;
    sums.hashes += 1;
    let name = &job.name.0;
    let most = look.worker.pace.script_keys();
    if seen.len() > most {
        look.worker.skips.add(db, name, too_many(most));
        return;
    }
    if !matches!(there.kind.as_str(), "none" | "hash") {
        look.worker.skips.add(db, name, "a key of this name is there and is no hash");
        return;
    }
    let bytes: u64 = seen.iter().map(|s| s.bytes).sum();
    if bytes > look.worker.pace.script_bytes() {
        look.worker.skips.add(db, name, "its values together would hold the server up");
        return;
    }
    sums.bytes += bytes;
    let exists = there.kind == "hash";
    let (mut merged, mut conflicts) = (vec![], vec![]);
    for key in seen.into_iter().filter(|s| s.value.is_some()) {
        let taken = there.fields.iter().any(|field| field.name == key.field);
        if taken { conflicts.push(key) } else { merged.push(key) }
    }
    for key in conflicts {
        look.worker.skips.add(db, &key.key, "its hash has such a field already: both are kept");
    }
    let Some(first) = merged.first().map(|key| key.at) else { return };
    let equal = merged.iter().all(|key| key.at == first);
    let whole = equal && (!exists || there.at == first);
    let by_field = look.worker.traits.by_field;
    if !whole && !(by_field && (!exists || there.at < 0)) {
        look.worker.skips.add(db, name, ttl_differs(by_field));
        return;
    }
    let expires = if exists { there.at >= 0 } else { whole && first >= 0 };
    let old = there.fields.iter().map(FieldThere::field);
    let new = merged.iter().map(|key| Field {
        name: &key.field,
        value: key.value.as_deref().unwrap_or_default(),
        expires: !whole && key.at >= 0,
    });
    let server = look.size_for.server;
    if exists {
        sums.now.hash(name, &old.clone().collect::<Vec<_>>(), expires, server);
    } else {
        sums.new += 1;
        sums.new_with_ttl += u64::from(expires);
    }
    sums.after.hash(name, &old.chain(new).collect::<Vec<_>>(), expires, server);
    for key in &merged {
        sums.now.string(&key.key, key.value.as_deref().unwrap_or_default(), key.at >= 0);
        sums.merged += 1;
        sums.merged_with_ttl += u64::from(key.at >= 0);
    }
}

/// Sizes both images.
fn measured(look: &Look<'_>, sums: &Sums) -> Result<(Sizes, Sizes), ActError> {
    let unread = || ActError::Unsafe("the sample could not be sized".to_owned());
    let now = sums.now.clone().measure(&look.size_for).ok_or_else(unread)?;
    let after = sums.after.clone().measure(&look.size_for).ok_or_else(unread)?;
    Ok((now, after))
}

pub(super) async fn reverse(look: &mut Look<'_>, info: &Info) -> Result<(), ActError> {
    let Some(layout) = look.worker.layout else { return Ok(()) };
    let mut hashes = Thinned::new(usize::try_from(SAMPLE_KEYS).unwrap_or(usize::MAX));
    let mut walk = Walk::of(info, &layout.hashes().form().glob(), true);
    while let Some((db, names)) = walk.next(look.worker.link).await? {
        let names = names.into_iter().filter(|name| layout.hashes().captures(name).is_some());
        let names: Vec<Vec<u8>> = names.collect();
        let asked: Vec<Vec<&[u8]>> =
            names.iter().map(|name| vec![b"HLEN".as_slice(), name]).collect();
        for (name, length) in names.iter().zip(look.worker.read(&asked).await?) {
            let length = resp::count(&length).unwrap_or(0);
            look.preview.matching += length;
            hashes.add((db, name.clone(), length));
        }
    }
    look.worker.forget_selection();
    let mut sums = Sums::new(look.size_for.server, true);
    let mut steps = Steps::new();
    for (_, hash, length) in &hashes.items {
        let step = Step { new: *length, gone: 1 };
        steps.entry(slots::slot_of(hash)).or_default().push(step);
    }
    for (db, hash, length) in &hashes.items {
        if sums.keys >= SAMPLE_KEYS {
            break;
        }
        if *length > READ_FIELDS {
            continue;
        }
        look.worker.select(*db).await?;
        let theres = hashes_there(look, std::iter::once(hash.as_slice())).await?;
        for there in &theres {
            let taken = taken(look, layout, hash, there).await?;
            unfold(look, layout, (*db, hash), (there, &taken), &mut sums);
        }
    }
    look.preview.sampled = sums.keys;
    let scale = Scale { part: sums.keys, whole: look.preview.matching };
    let (now, after) = measured(look, &sums)?;
    look.preview.touched = scale.up(sums.merged);
    let keys: u64 = look.databases.iter().map(|db| db.keys).sum();
    let of_db: BTreeMap<u32, u64> = look.databases.iter().map(|db| (db.index, db.keys)).collect();
    let (mut tables_more, keys_after) = look.tables(|db| {
        let share = Scale { part: keys, whole: of_db.get(&db).copied().unwrap_or(0) };
        let of_db = |figure: u64| share.up(scale.up(figure));
        Turnover {
            gone: of_db(sums.new),
            gone_with_ttl: of_db(sums.new_with_ttl),
            new: of_db(sums.merged),
            new_with_ttl: of_db(sums.merged_with_ttl),
        }
    });
    if look.has_slot_tables() {
        let listed = hashes.items.len() as u64;
        let share = ratio(sums.merged, sums.keys) * ratio(hashes.seen, listed);
        let expiring =
            (ratio(sums.new_with_ttl, sums.new), ratio(sums.merged_with_ttl, sums.merged));
        tables_more += by_slot::tables(look, &steps, Way::Back, share, expiring).await?;
    }
    look.preview.keys_after = keys_after;
    look.conclude((scale.up(now.bytes), scale.up(after.bytes)), tables_more);
    Ok(())
}

/// The fields of a hash whose keys are there already, by their place.
async fn taken(
    look: &mut Look<'_>,
    layout: &Layout,
    hash: &[u8],
    there: &There,
) -> Result<Vec<bool>, ActError> {
    let mut taken = vec![];
    for some in there.fields.chunks(CHUNK_KEYS) {
        let keys = some.iter().map(|field| layout.key(hash, &field.name).unwrap_or_default());
        let keys: Vec<Vec<u8>> = keys.collect();
        let asked: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![b"TYPE".as_slice(), key]).collect();
        let kinds = look.worker.read(&asked).await?;
        taken.extend(kinds.iter().map(|kind| resp::text(kind).is_some_and(|kind| kind != "none")));
    }
    Ok(taken)
}

/// One hash as it is and as keys; fields that were there before stay, and those whose keys are there.
fn unfold(
    look: &mut Look<'_>,
    layout: &Layout,
    (db, hash): (u32, &[u8]),
    (there, taken): (&There, &[bool]),
    sums: &mut Sums,
) {
    let server = look.size_for.server;
    let expires = there.at >= 0;
    let (mut stay, mut go) = (vec![], vec![]);
    for (field, &is_taken) in there.fields.iter().zip(taken) {
        let is_ours = !look.worker.record.has_field(db, hash, &field.name);
        match layout.key(hash, &field.name).filter(|_| is_ours) {
            Some(key) if is_taken => {
                look.worker.skips.add(db, &key, TAKEN);
                stay.push(field.field());
            }
            Some(key) => go.push((key, field)),
            None => stay.push(field.field()),
        }
    }
    sums.keys += there.fields.len() as u64;
    if go.is_empty() {
        return;
    }
    let all: Vec<Field<'_>> = there.fields.iter().map(FieldThere::field).collect();
    sums.now.hash(hash, &all, expires, server);
    if stay.is_empty() {
        sums.new += 1;
        sums.new_with_ttl += u64::from(expires);
    } else {
        sums.after.hash(hash, &stay, expires, server);
    }
    for (key, field) in &go {
        let expires = expires || field.at >= 0;
        sums.after.string(key, &field.value, expires);
        sums.merged += 1;
        sums.merged_with_ttl += u64::from(expires);
    }
}

/// Names and values of HGETALL, any bytes.
fn pairs(value: &Value) -> Vec<FieldThere> {
    let all = resp::elements(value).unwrap_or_default();
    let field = |pair: &[Value]| {
        let (name, value) = (bytes(pair.first()?)?, bytes(pair.last()?)?);
        Some(FieldThere { name, value, at: -1 })
    };
    all.chunks_exact(2).filter_map(field).collect()
}

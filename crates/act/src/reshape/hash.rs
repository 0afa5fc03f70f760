//! Keys into fields of hashes, and back: batches of whole hashes, each hash one atomic script.

use super::spec::{Job, Name, shown};
use super::walk::{Walk, bytes, names};
use super::worker::{Script, Worker, code, step};
use crate::ActError;
use redis::Value;
use unfrag_client::resp;

/// Fields of a hash that are asked for in one go; more than these come by HSCAN.
const FIELDS_AT_ONCE: u64 = 1000;
const HSCAN_COUNT: &[u8] = b"500";

/// Every way a hash's fields are read: all their names.
pub(super) async fn fields_of(
    worker: &mut Worker<'_>,
    hash: &[u8],
) -> Result<Vec<Vec<u8>>, ActError> {
    let length = worker.read(&[vec![b"HLEN", hash]]).await?;
    let length = length.first().and_then(resp::count).unwrap_or(0);
    if length <= FIELDS_AT_ONCE {
        let keys = worker.read(&[vec![b"HKEYS", hash]]).await?;
        return Ok(keys.first().map(names).unwrap_or_default());
    }
    let mut fields = vec![];
    let mut cursor = b"0".to_vec();
    loop {
        let page = worker.read(&[vec![b"HSCAN", hash, &cursor, b"COUNT", HSCAN_COUNT]]).await?;
        let parts = page.first().and_then(resp::elements).unwrap_or_default();
        let pairs = parts.get(1).and_then(resp::elements).unwrap_or_default();
        fields.extend(pairs.chunks(2).filter_map(|pair| bytes(pair.first()?)));
        match parts.first().and_then(bytes) {
            Some(next) if next != b"0" => cursor = next,
            _ => break,
        }
    }
    fields.sort_unstable();
    fields.dedup();
    Ok(fields)
}

/// Merges keys into hashes. Foreign fields and hashes that are too large for one script are left alone, and named.
pub(super) async fn merge(worker: &mut Worker<'_>, db: u32, jobs: &[Job]) -> Result<(), ActError> {
    let mut batch: Vec<Job> = vec![];
    let mut keys = 0;
    for job in jobs {
        let Some(job) = mergeable(worker, db, job) else { continue };
        keys += job.fields.len();
        batch.push(job);
        if keys >= worker.pace.keys() {
            send(worker, Script::Merge, db, &batch).await?;
            batch.clear();
            keys = 0;
        }
    }
    send(worker, Script::Merge, db, &batch).await
}

/// What of a job can be merged.
fn mergeable(worker: &mut Worker<'_>, db: u32, job: &Job) -> Option<Job> {
    let layout = worker.layout?;
    let hash = &job.name.0;
    let most = worker.pace.script_keys();
    if layout.is_ambiguous(hash) {
        worker.skips.add(db, hash, "a hash of this name has the form of a key to be merged");
        return None;
    }
    if job.fields.len() > most {
        worker.skips.add(db, hash, too_many(most));
        return None;
    }
    let (mine, foreign): (Vec<Name>, Vec<Name>) =
        job.fields.iter().cloned().partition(|field| !worker.record.has_field(db, hash, &field.0));
    for field in foreign {
        let key = layout.key(hash, &field.0).unwrap_or_default();
        let why = format!("{CONFLICT} before anything was merged");
        worker.skips.add(db, &key, why);
    }
    (!mine.is_empty()).then(|| Job { name: job.name.clone(), fields: mine })
}

const CONFLICT: &str = "its hash had such a field";
/// Why a field is not made a key again.
pub(super) const TAKEN: &str = "a key of this name is there already; both are kept";

/// Why a hash is left to smaller ones.
pub(super) fn too_many(most: usize) -> String {
    format!("a hash of more than {most} keys would hold the server up: smaller buckets help")
}

/// Splits fields off hashes, in parts that one script may take.
pub(super) async fn split(worker: &mut Worker<'_>, db: u32, jobs: &[Job]) -> Result<(), ActError> {
    let mut batch: Vec<Job> = vec![];
    let mut keys = 0;
    for job in jobs {
        for fields in job.fields.chunks(worker.pace.script_keys().max(1)) {
            keys += fields.len();
            batch.push(Job { name: job.name.clone(), fields: fields.to_vec() });
            if keys >= worker.pace.keys() {
                send(worker, Script::Split, db, &batch).await?;
                batch.clear();
                keys = 0;
            }
        }
    }
    send(worker, Script::Split, db, &batch).await
}

/// Fields of these hashes that are keys of the layout and were not there before.
pub(super) async fn own_fields(
    worker: &mut Worker<'_>,
    db: u32,
    hashes: Vec<Vec<u8>>,
) -> Result<Vec<Job>, ActError> {
    let Some(layout) = worker.layout else { return Ok(vec![]) };
    let mut jobs = vec![];
    for hash in hashes {
        let mut fields = vec![];
        for field in fields_of(worker, &hash).await? {
            if worker.record.has_field(db, &hash, &field) {
                continue;
            }
            if layout.key(&hash, &field).is_some() {
                fields.push(Name(field));
            } else {
                let why = format!("its field {} is none of this layout", shown(&field));
                worker.skips.add(db, &hash, why);
            }
        }
        if !fields.is_empty() {
            jobs.push(Job { name: Name(hash), fields });
        }
    }
    Ok(jobs)
}

/// One batch: announced, sent, and its answers counted.
async fn send(
    worker: &mut Worker<'_>,
    script: Script,
    db: u32,
    jobs: &[Job],
) -> Result<(), ActError> {
    let Some(layout) = worker.layout.filter(|_| !jobs.is_empty()) else { return Ok(()) };
    let keys: Vec<Vec<Vec<u8>>> = jobs
        .iter()
        .map(|job| {
            let fields = job.fields.iter();
            fields.map(|field| layout.key(&job.name.0, &field.0).unwrap_or_default()).collect()
        })
        .collect();
    worker.announce(db, jobs)?;
    worker.select(db).await?;
    let most = worker.pace.script_bytes().to_string();
    let how: &[u8] = if worker.traits.by_field { b"fields" } else { b"whole" };
    let mut calls = vec![];
    for (job, keys) in jobs.iter().zip(&keys) {
        let mut words: Vec<&[u8]> = vec![&job.name.0];
        words.extend(keys.iter().map(Vec::as_slice));
        let count = words.len();
        words.extend([how, most.as_bytes()]);
        words.extend(job.fields.iter().map(|field| field.0.as_slice()));
        calls.push((count, words));
    }
    let answers = worker.run(script, &calls).await?;
    step("sent");
    for ((job, keys), answer) in jobs.iter().zip(&keys).zip(&answers) {
        count(worker, script, db, job, keys, answer);
    }
    Ok(())
}

fn count(
    worker: &mut Worker<'_>,
    script: Script,
    db: u32,
    job: &Job,
    keys: &[Vec<u8>],
    answer: &Value,
) {
    let parts = resp::elements(answer).unwrap_or_default();
    let what = parts.first().and_then(resp::text);
    let why = match what.as_deref() {
        Some("ok") => None,
        Some("type") => Some("a key of this name is there and is no hash".to_owned()),
        Some("big") => Some("its values together would hold the server up".to_owned()),
        Some("ttl") => Some(ttl_differs(worker.traits.by_field)),
        _ => Some(format!("the server refused: {}", code(answer).unwrap_or("an unknown answer"))),
    };
    if let Some(why) = why {
        worker.skips.add(db, &job.name.0, why);
    }
    let listed = |at: usize| parts.get(at).and_then(resp::elements).unwrap_or_default();
    let done = listed(1).len() as u64;
    worker.counts.done += done;
    worker.counts.hashes += u64::from(done > 0);
    let conflict = match script {
        Script::Merge => {
            "its hash has such a field already (the key was written after a merge, perhaps); both are kept"
        }
        _ => TAKEN,
    };
    for (at, why) in [(2, conflict), (3, "it is no string")] {
        for position in listed(at).iter().filter_map(resp::count) {
            let index = usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX);
            if let Some(key) = keys.get(index) {
                worker.skips.add(db, key, why);
            }
        }
    }
}

/// Why keys whose expiry differs are left.
pub(super) fn ttl_differs(by_field: bool) -> String {
    if by_field {
        "its hash expires as a whole, at another time than these keys".to_owned()
    } else {
        "its keys expire at different times, and fields of this server's hashes cannot".to_owned()
    }
}

/// Hashes that have the names wanted before anything is merged, with their fields.
pub(super) async fn foreign(
    worker: &mut Worker<'_>,
    info: &unfrag_model::Info,
) -> Result<Vec<(u32, Vec<u8>, Vec<Vec<u8>>)>, ActError> {
    let Some(layout) = worker.layout else { return Ok(vec![]) };
    let mut walk = Walk::of(info, &layout.hashes().form().glob(), true);
    let mut found = vec![];
    while let Some((db, hashes)) = walk.next(worker.link).await? {
        for hash in hashes.into_iter().filter(|h| layout.hashes().captures(h).is_some()) {
            let fields = fields_of(worker, &hash).await?;
            found.push((db, hash, fields));
        }
    }
    Ok(found)
}

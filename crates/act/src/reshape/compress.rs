//! Values compressed, and back: read, packed here, and replaced only if they are still what was read.

use super::codec::{Codec, MAGIC_BYTES};
use super::spec::{Job, Name, Shape};
use super::walk::{Walk, bytes};
use super::worker::{Script, Usage, Worker, code, step};
use crate::ActError;
use unfrag_client::resp;
use unfrag_model::size_class::Allocator;

/// A value that was written while we packed it is read again, at most so often.
const TRIES: u32 = 3;

/// A value as it was read.
struct Fetched<'k> {
    key: &'k [u8],
    plain: Vec<u8>,
    /// Seconds idle, or accesses counted, before we read it.
    usage: Vec<u8>,
}

/// What becomes of a value.
pub(super) enum Packed {
    /// It is smaller by at least a size class.
    Smaller(Vec<u8>),
    /// Left alone, and why; `None` where that needs no word.
    Left(Option<&'static str>),
}

/// Compresses a value, if that is worth it.
pub(super) fn pack(codec: Codec, allocator: Allocator, value: &[u8]) -> Packed {
    if Codec::may_be_compressed(value) && Codec::of(value).is_some() {
        return Packed::Left(Some(COMPRESSED));
    }
    match codec.compress(value) {
        Some(packed)
            if string_bytes(allocator, packed.len()) < string_bytes(allocator, value.len()) =>
        {
            Packed::Smaller(packed)
        }
        Some(_) => Packed::Left(Some("compressed it would take as much memory (its size class)")),
        None => Packed::Left(Some("it could not be had back from its compressed form")),
    }
}

const COMPRESSED: &str = "it is compressed already";

/// The value in a packed one.
pub(super) fn unpack(codec: Codec, value: &[u8]) -> Packed {
    codec.decompress(value).map_or(Packed::Left(None), Packed::Smaller)
}

/// A string's allocation: its bytes, a header of at most 9, a terminator.
fn string_bytes(allocator: Allocator, length: usize) -> u64 {
    let header = if length < 252 {
        3
    } else if length < 65_530 {
        5
    } else {
        9
    };
    allocator.usable(length as u64 + header + 1)
}

/// Works on these keys: long enough, not there before, still the same when replaced.
pub(super) async fn values(
    worker: &mut Worker<'_>,
    allocator: Allocator,
    db: u32,
    keys: &[Vec<u8>],
) -> Result<(), ActError> {
    let Shape::Compress { codec, min_bytes, .. } = worker.spec.shape else { return Ok(()) };
    worker.select(db).await?;
    let mut todo = candidates(worker, db, keys, min_bytes).await?;
    for _ in 0..TRIES {
        let mut changed = vec![];
        for batch in in_batches(&todo, worker.pace.script_bytes()) {
            changed.extend(batch_of(worker, (codec, allocator), db, batch).await?);
        }
        todo = changed;
        if todo.is_empty() {
            return Ok(());
        }
    }
    for (key, _) in todo {
        worker.skips.add(
            db,
            &key,
            "it was written each time while it was being packed: it is as it was written",
        );
    }
    Ok(())
}

/// Keys with the length of their value.
type Sized = (Vec<u8>, u64);

/// Keys whose values are to be read.
async fn candidates(
    worker: &mut Worker<'_>,
    db: u32,
    keys: &[Vec<u8>],
    min_bytes: u64,
) -> Result<Vec<Sized>, ActError> {
    let most = worker.pace.script_bytes();
    let mut todo = vec![];
    for keys in keys.chunks(worker.pace.keys().max(1)) {
        let lengths: Vec<Vec<&[u8]>> = keys.iter().map(|k| vec![b"STRLEN".as_slice(), k]).collect();
        for (key, length) in keys.iter().zip(worker.read(&lengths).await?) {
            let Some(length) = resp::count(&length) else {
                worker.skips.add(db, key, unread(&length));
                continue;
            };
            if length == 0 || (!worker.spec.reverse && length < min_bytes) {
                continue;
            }
            if length > most {
                let why =
                    format!("a value over {} would hold the server up", unfrag_model::human(most));
                worker.skips.add(db, key, why);
            } else if worker.record.has_value(db, key) {
                worker.skips.add(db, key, "it was compressed before anything was reshaped");
            } else {
                todo.push((key.clone(), length));
            }
        }
    }
    Ok(todo)
}

/// Why a value has no length.
pub(super) fn unread(answer: &redis::Value) -> String {
    match code(answer) {
        Some("WRONGTYPE") | None => "it is no string".to_owned(),
        Some(code) => format!("the server refused: {code}"),
    }
}

/// Runs of keys whose values together are not over `most`.
fn in_batches(keys: &[Sized], most: u64) -> Vec<&[Sized]> {
    let mut batches = vec![];
    let mut rest = keys;
    while !rest.is_empty() {
        let mut sum = 0;
        let fitting = rest.iter().take_while(|(_, length)| {
            sum += length;
            sum <= most
        });
        let (batch, after) = rest.split_at(fitting.count().clamp(1, rest.len()));
        batches.push(batch);
        rest = after;
    }
    batches
}

/// One batch; returns the keys whose values changed meanwhile.
async fn batch_of(
    worker: &mut Worker<'_>,
    (codec, allocator): (Codec, Allocator),
    db: u32,
    keys: &[Sized],
) -> Result<Vec<Sized>, ActError> {
    let values = fetch(worker, keys).await?;
    let mut replacements = vec![];
    for value in &values {
        let packed = if worker.spec.reverse {
            unpack(codec, &value.plain)
        } else {
            pack(codec, allocator, &value.plain)
        };
        match packed {
            Packed::Smaller(packed) => replacements.push((value, packed)),
            Packed::Left(why) => {
                if let Some(why) = why.filter(|_| worker.journal.is_some()) {
                    worker.skips.add(db, value.key, why);
                }
            }
        }
    }
    if replacements.is_empty() {
        return Ok(vec![]);
    }
    let name = |key: &[u8]| Job { name: Name(key.to_vec()), fields: vec![] };
    let moving: Vec<Job> = replacements.iter().map(|r| name(r.0.key)).collect();
    worker.announce(db, &moving)?;
    let how: &[u8] = match worker.traits.usage {
        Usage::None => b"none",
        Usage::Idle => b"idle",
        Usage::Freq => b"freq",
    };
    let calls: Vec<(usize, Vec<&[u8]>)> = replacements
        .iter()
        .map(|(v, packed)| {
            (1, vec![v.key, v.plain.as_slice(), packed.as_slice(), how, v.usage.as_slice()])
        })
        .collect();
    let answers = worker.run(Script::Replace, &calls).await?;
    step("sent");
    let mut changed = vec![];
    for ((value, _), answer) in replacements.iter().zip(answers) {
        match resp::count(&answer) {
            Some(1) => worker.counts.done += 1,
            Some(_) => changed.push((value.key.to_vec(), value.plain.len() as u64)),
            None => {
                let why =
                    format!("the server refused: {}", code(&answer).unwrap_or("an unknown answer"));
                worker.skips.add(db, value.key, why);
            }
        }
    }
    Ok(changed)
}

/// Values with what the policy knows of them from before.
async fn fetch<'k>(
    worker: &mut Worker<'_>,
    keys: &'k [Sized],
) -> Result<Vec<Fetched<'k>>, ActError> {
    let word: &[u8] = match worker.traits.usage {
        Usage::Freq => b"FREQ",
        _ => b"IDLETIME",
    };
    let with_usage = worker.traits.usage != Usage::None;
    let mut commands: Vec<Vec<&[u8]>> = vec![];
    for (key, _) in keys {
        if with_usage {
            commands.push(vec![b"OBJECT", word, key]);
        }
        commands.push(vec![b"GET", key]);
    }
    let answers = worker.read(&commands).await?;
    let each = if with_usage { 2 } else { 1 };
    let values = keys.iter().zip(answers.chunks(each)).filter_map(|((key, _), answer)| {
        let usage = answer.first().filter(|_| with_usage).and_then(resp::count).unwrap_or(0);
        let plain = bytes(answer.last()?)?;
        Some(Fetched { key, plain, usage: usage.to_string().into_bytes() })
    });
    Ok(values.collect())
}

/// Values that are compressed before anything is reshaped.
pub(super) async fn foreign(
    worker: &mut Worker<'_>,
    info: &unfrag_model::Info,
) -> Result<Vec<(u32, Vec<u8>)>, ActError> {
    let Shape::Compress { keys, .. } = &worker.spec.shape else { return Ok(vec![]) };
    let mut walk = Walk::of(info, keys, false);
    let end = (MAGIC_BYTES - 1).to_string();
    let mut found = vec![];
    while let Some((db, keys)) = walk.next(worker.link).await? {
        let starts: Vec<Vec<&[u8]>> =
            keys.iter().map(|k| vec![b"GETRANGE".as_slice(), k, b"0", end.as_bytes()]).collect();
        let starts = worker.read(&starts).await?;
        for (key, start) in keys.iter().zip(&starts) {
            if !bytes(start).is_some_and(|start| Codec::may_be_compressed(&start)) {
                continue;
            }
            let length = worker.read(&[vec![b"STRLEN", key]]).await?;
            if length.first().and_then(resp::count).is_none_or(|l| l > worker.pace.script_bytes()) {
                continue;
            }
            let value = worker.read(&[vec![b"GET", key]]).await?;
            if value.first().and_then(bytes).is_some_and(|value| Codec::of(&value).is_some()) {
                found.push((db, key.clone()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_key_once() {
        let keys: Vec<Sized> = [3, 3, 9, 1, 1, 1].map(|length| (vec![], length)).to_vec();
        let batches = in_batches(&keys, 6);
        assert_eq!(batches.iter().map(|b| b.len()).collect::<Vec<_>>(), [2, 1, 3]);
    }

    #[test]
    fn only_a_smaller_class_is_worth_it() {
        let pack = |value: &[u8]| pack(Codec::Zlib, Allocator::Jemalloc8, value);
        assert!(matches!(pack(&[b'a'; 300]), Packed::Smaller(_)));
        // 255 bytes take 320 with their header; 250 of noise and a zlib header do, too.
        let noise: Vec<u8> =
            (0..300u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
        assert!(matches!(pack(&noise), Packed::Left(Some(_))));
        let packed = Codec::Zstd.compress(&[b'a'; 3000]).unwrap();
        assert!(matches!(pack(&packed), Packed::Left(Some(COMPRESSED))));
    }
}

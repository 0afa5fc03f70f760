//! The dry run of compression: a sample of values is really packed here.

use super::{Look, SAMPLE_BYTES, SAMPLE_VALUES, Turnover};
use crate::ActError;
use crate::reshape::codec::{Codec, MAGIC_BYTES};
use crate::reshape::compress::{Packed, pack, unpack, unread as no_length};
use crate::reshape::sampling::{Scale, Thinned};
use crate::reshape::size::Image;
use crate::reshape::spec::Shape;
use crate::reshape::walk::{Walk, bytes};
use unfrag_client::resp;
use unfrag_model::{Info, human};

/// Values held as candidates, by name.
const CANDIDATES: usize = 50_000;

type Candidate = (u32, Vec<u8>, u64);

pub(super) async fn look(look: &mut Look<'_>, info: &Info) -> Result<(), ActError> {
    let Shape::Compress { keys, codec, min_bytes } = &look.worker.spec.shape else { return Ok(()) };
    let (candidates, all_bytes) = candidates(look, info, (keys, *codec, *min_bytes)).await?;
    look.worker.forget_selection();
    look.preview.matching = candidates.seen;
    let every = candidates.items.len().div_ceil(SAMPLE_VALUES).max(1);
    let (mut now, mut after, mut read_bytes, mut touched) =
        (Image::new(look.size_for.server), Image::new(look.size_for.server), 0, 0);
    for (db, key, length) in candidates.items.iter().step_by(every) {
        if read_bytes > SAMPLE_BYTES {
            break;
        }
        look.worker.select(*db).await?;
        let answers = look.worker.read(&[vec![b"PTTL", key], vec![b"GET", key]]).await?;
        let Some(value) = answers.get(1).and_then(bytes) else { continue };
        let expires = answers.first().and_then(resp::count).is_some();
        look.preview.sampled += 1;
        read_bytes += length;
        let packed = if look.worker.spec.reverse {
            unpack(*codec, &value)
        } else {
            pack(*codec, look.size_for.allocator, &value)
        };
        match packed {
            Packed::Smaller(packed) => {
                touched += 1;
                now.string(key, &value, expires);
                after.string(key, &packed, expires);
            }
            Packed::Left(Some(why)) => look.worker.skips.add(*db, key, why),
            Packed::Left(None) => {}
        }
    }
    // Savings go with bytes, not with numbers of keys: their sum is known exactly.
    let scale = Scale { part: read_bytes, whole: all_bytes };
    let unread = || ActError::Unsafe("the sample could not be sized".to_owned());
    let now = scale.up(now.measure(&look.size_for).ok_or_else(unread)?.bytes);
    let after = scale.up(after.measure(&look.size_for).ok_or_else(unread)?.bytes);
    look.preview.touched = Scale { part: look.preview.sampled, whole: candidates.seen }.up(touched);
    (_, look.preview.keys_after) = look.tables(|_| Turnover::default());
    look.conclude((now, after), 0);
    Ok(())
}

/// All values that are long enough, and their bytes.
async fn candidates(
    look: &mut Look<'_>,
    info: &Info,
    (glob, codec, min_bytes): (&str, Codec, u64),
) -> Result<(Thinned<Candidate>, u64), ActError> {
    let reverse = look.worker.spec.reverse;
    let most = look.worker.pace.script_bytes();
    let mut found = Thinned::new(CANDIDATES);
    let mut all_bytes = 0;
    let mut walk = Walk::of(info, glob, false);
    let end = (MAGIC_BYTES - 1).to_string();
    while let Some((db, keys)) = walk.next(look.worker.link).await? {
        let asked: Vec<Vec<&[u8]>> =
            keys.iter().map(|key| vec![b"STRLEN".as_slice(), key]).collect();
        let lengths = look.worker.read(&asked).await?;
        let asked = keys.iter().map(|key| vec![b"GETRANGE".as_slice(), key, b"0", end.as_bytes()]);
        let starts =
            if reverse { look.worker.read(&asked.collect::<Vec<_>>()).await? } else { vec![] };
        for (index, (key, length)) in keys.iter().zip(lengths).enumerate() {
            let Some(length) = resp::count(&length) else {
                look.worker.skips.add(db, key, no_length(&length));
                continue;
            };
            let start = starts.get(index).and_then(bytes);
            let is_packed = start.is_some_and(|start| codec.may_have_made(&start));
            let is_wanted = if reverse { is_packed } else { length >= min_bytes && length > 0 };
            if !is_wanted {
                continue;
            }
            if length > most {
                look.worker.skips.add(
                    db,
                    key,
                    format!("a value over {} would hold the server up", human(most)),
                );
            } else if look.worker.record.has_value(db, key) {
                look.worker.skips.add(db, key, "it was compressed before anything was reshaped");
            } else {
                all_bytes += length;
                found.add((db, key.clone(), length));
            }
        }
    }
    Ok((found, all_bytes))
}

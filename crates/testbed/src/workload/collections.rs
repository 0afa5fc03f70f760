//! Hashes, lists, sets and sorted sets, grown element by element and then thinned.

use super::{Batch, Random, words};
use crate::Error;
use redis::Connection;

/// Elements a collection: past every conversion threshold, so that each element is its own allocation.
const ELEMENTS: u64 = 1000;
/// What an element takes on average, all four types together.
const ELEMENT_BYTES: u64 = 170;

pub(super) fn run(
    connection: &mut Connection,
    fill_bytes: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let collections = (fill_bytes / ELEMENT_BYTES / ELEMENTS).max(4);
    let mut batch = Batch::new(connection, "grow collections");
    // Element by element over all collections, so that neighbours in memory belong to different keys.
    for element in 0..ELEMENTS {
        for collection in 0..collections {
            grow(&mut batch, collection, element, random)?;
        }
    }
    for element in 0..ELEMENTS {
        for collection in 0..collections {
            if random.percent(70) {
                thin(&mut batch, collection, element)?;
            }
        }
    }
    batch.flush()
}

fn grow(
    batch: &mut Batch<'_>,
    collection: u64,
    element: u64,
    random: &mut Random,
) -> Result<(), Error> {
    #[expect(clippy::cast_possible_truncation, reason = "below 100")]
    let length = 72 + random.below(100) as usize;
    let value = random.bytes(length);
    let (name, field) = (format!("collection:{collection}"), format!("field:{element}"));
    let (key, item) = (name.as_bytes(), field.as_bytes());
    let member = [item, &value].concat();
    let cmd = match collection % 4 {
        0 => words("HSET", &[key, item, &value]),
        1 => words("RPUSH", &[key, &value]),
        2 => words("SADD", &[key, &member]),
        _ => words("ZADD", &[key, element.to_string().as_bytes(), &member]),
    };
    batch.push(cmd, value.len())
}

fn thin(batch: &mut Batch<'_>, collection: u64, element: u64) -> Result<(), Error> {
    let name = format!("collection:{collection}");
    let key = name.as_bytes();
    let score = element.to_string();
    let cmd = match collection % 4 {
        0 => words("HDEL", &[key, format!("field:{element}").as_bytes()]),
        1 => words("LPOP", &[key]),
        2 => words("SPOP", &[key]),
        _ => words("ZREMRANGEBYSCORE", &[key, score.as_bytes(), score.as_bytes()]),
    };
    batch.push(cmd, 32)
}

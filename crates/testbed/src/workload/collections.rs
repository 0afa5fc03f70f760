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
    let seed = random.next();
    let mut batch = Batch::new(connection, "grow collections");
    // Element by element over all collections, so that neighbours in memory belong to different keys.
    for element in 0..ELEMENTS {
        for collection in 0..collections {
            grow(&mut batch, collection, &Element::new(seed, collection, element))?;
        }
    }
    for element in 0..ELEMENTS {
        for collection in 0..collections {
            if random.percent(70) {
                thin(&mut batch, collection, &Element::new(seed, collection, element))?;
            }
        }
    }
    batch.flush()
}

/// One element; made again from the same numbers when it is to be removed.
struct Element {
    field: String,
    value: Vec<u8>,
    score: String,
}

impl Element {
    fn new(seed: u64, collection: u64, element: u64) -> Self {
        let mut random = Random::new(seed ^ (collection << 32) ^ element);
        #[expect(clippy::cast_possible_truncation, reason = "below 100")]
        let length = 72 + random.below(100) as usize;
        let value = random.bytes(length);
        Self { field: format!("field:{element}"), value, score: element.to_string() }
    }

    /// What it is in a set: unlike all others.
    fn member(&self) -> Vec<u8> {
        [self.field.as_bytes(), &self.value].concat()
    }
}

fn grow(batch: &mut Batch<'_>, collection: u64, element: &Element) -> Result<(), Error> {
    let name = format!("collection:{collection}");
    let (key, value) = (name.as_bytes(), element.value.as_slice());
    let cmd = match collection % 4 {
        0 => words("HSET", &[key, element.field.as_bytes(), value]),
        1 => words("RPUSH", &[key, value]),
        2 => words("SADD", &[key, &element.member()]),
        _ => words("ZADD", &[key, element.score.as_bytes(), &element.member()]),
    };
    batch.push(cmd, value.len())
}

fn thin(batch: &mut Batch<'_>, collection: u64, element: &Element) -> Result<(), Error> {
    let name = format!("collection:{collection}");
    let (key, score) = (name.as_bytes(), element.score.as_bytes());
    let cmd = match collection % 4 {
        0 => words("HDEL", &[key, element.field.as_bytes()]),
        // A list can only be thinned from its ends without a walk through it.
        1 => words("LPOP", &[key]),
        // By name: SPOP would take other members each time, and labs would differ.
        2 => words("SREM", &[key, &element.member()]),
        _ => words("ZREMRANGEBYSCORE", &[key, score, score]),
    };
    batch.push(cmd, 32)
}

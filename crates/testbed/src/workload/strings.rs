//! Strings of ten sizes, 70 % deleted at random: every slab keeps a few.

use super::{Batch, Random, words};
use crate::Error;
use redis::Connection;

const SIZES: [usize; 10] = [40, 80, 150, 250, 400, 600, 900, 1300, 1800, 2500];

pub(super) fn run(
    connection: &mut Connection,
    fill_bytes: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let mean: usize = SIZES.iter().sum::<usize>() / SIZES.len() + 80;
    let keys = fill_bytes / mean as u64;
    let mut batch = Batch::new(connection, "write strings");
    for key in 0..keys {
        #[expect(clippy::cast_possible_truncation, reason = "below ten")]
        let size = SIZES.get(random.below(10) as usize).copied().unwrap_or(40);
        batch
            .push(words("SET", &[format!("string:{key}").as_bytes(), &random.bytes(size)]), size)?;
    }
    for key in 0..keys {
        if random.percent(70) {
            batch.push(words("DEL", &[format!("string:{key}").as_bytes()]), 16)?;
        }
    }
    batch.flush()
}

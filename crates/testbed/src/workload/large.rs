//! Values of 15 to 160 KB, in large classes that have pages of their own; half are deleted.
//!
//! With jemalloc the freed pages are empty ones: they are resident until they decay or `MEMORY PURGE`, no defrag
//! moves anything. With libc they are holes that stay. A tool that calls both fragmentation is wrong once.

use super::{Batch, Random, words};
use crate::Error;
use redis::Connection;

pub(super) fn run(
    connection: &mut Connection,
    fill_bytes: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let keys = fill_bytes / 88_000;
    let mut batch = Batch::new(connection, "write large values");
    for key in 0..keys {
        #[expect(clippy::cast_possible_truncation, reason = "below 145,000")]
        let size = 15_000 + random.below(145_000) as usize;
        batch
            .push(words("SET", &[format!("large:{key}").as_bytes(), &random.bytes(size)]), size)?;
    }
    for key in 0..keys {
        if random.percent(50) {
            batch.push(words("DEL", &[format!("large:{key}").as_bytes()]), 16)?;
        }
    }
    batch.flush()
}

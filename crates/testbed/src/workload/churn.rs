//! Values whose size drifts over generations: each generation rewrites most keys a class larger, and the
//! slabs of the old class stay, held by those not yet rewritten.

use super::{Batch, Random, words};
use crate::Error;
use redis::Connection;

const GENERATIONS: [usize; 6] = [96, 160, 250, 380, 560, 800];

pub(super) fn run(
    connection: &mut Connection,
    fill_bytes: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let keys = fill_bytes / 1200;
    let mut batch = Batch::new(connection, "churn values");
    for (generation, size) in GENERATIONS.into_iter().enumerate() {
        for key in 0..keys {
            // The first generation writes all; each later one leaves a tenth behind in its old class.
            if generation == 0 || random.percent(90) {
                #[expect(clippy::cast_possible_truncation, reason = "below 64")]
                let length = size + random.below(64) as usize;
                batch.push(
                    words("SET", &[format!("churn:{key}").as_bytes(), &random.bytes(length)]),
                    length,
                )?;
            }
        }
    }
    // The data shrinks in the end, as caches do at night.
    for key in 0..keys {
        if random.percent(50) {
            batch.push(words("DEL", &[format!("churn:{key}").as_bytes()]), 16)?;
        }
    }
    batch.flush()
}

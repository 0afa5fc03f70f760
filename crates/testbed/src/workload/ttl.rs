//! Sessions: 65 % of the keys expire, the others stay.

use super::{Batch, Random, words};
use crate::{Error, measure};
use redis::Connection;

/// When those expire: late enough that all are written first.
const EXPIRES_MS: u64 = 1500;
/// The expire cycle takes keys away in slices; this many seconds are ample for a gigabyte.
const GONE_SECONDS: u64 = 60;

pub(super) fn run(
    connection: &mut Connection,
    fill_bytes: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let keys = fill_bytes / 520;
    let mut batch = Batch::new(connection, "write sessions");
    let mut staying = 0;
    for key in 0..keys {
        #[expect(clippy::cast_possible_truncation, reason = "below 640")]
        let length = 120 + random.below(640) as usize;
        let value = random.bytes(length);
        let name = format!("session:{key}");
        if random.percent(65) {
            let expires = EXPIRES_MS.to_string();
            batch.push(
                words("SET", &[name.as_bytes(), &value, b"PX", expires.as_bytes()]),
                value.len(),
            )?;
        } else {
            staying += 1;
            batch.push(words("SET", &[name.as_bytes(), &value]), value.len())?;
        }
    }
    batch.flush()?;
    measure::wait_until("the expiry of all sessions", GONE_SECONDS, || {
        Ok(measure::keys(connection)? <= staying)
    })
}

//! Sessions: 65 % of the keys expire, the others stay.

use super::{Batch, Random, words};
use crate::{Error, measure};
use redis::Connection;

/// Later than all are written, however slow the machine; brought forward then.
const LATER_MS: &str = "3600000";
/// From then on.
const SOON_MS: &str = "500";

pub(super) fn run(
    connection: &mut Connection,
    fill_bytes: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let keys = fill_bytes / 520;
    let mut batch = Batch::new(connection, "write sessions");
    let mut leaving = vec![];
    for key in 0..keys {
        #[expect(clippy::cast_possible_truncation, reason = "below 640")]
        let length = 120 + random.below(640) as usize;
        let value = random.bytes(length);
        let name = format!("session:{key}");
        if random.percent(65) {
            let words = words("SET", &[name.as_bytes(), &value, b"PX", LATER_MS.as_bytes()]);
            batch.push(words, value.len())?;
            leaving.push(name);
        } else {
            batch.push(words("SET", &[name.as_bytes(), &value]), value.len())?;
        }
    }
    for name in &leaving {
        batch.push(words("PEXPIRE", &[name.as_bytes(), SOON_MS.as_bytes()]), name.len())?;
    }
    batch.flush()?;
    let staying = keys - leaving.len() as u64;
    measure::wait_until("the expiry of all sessions", || Ok(measure::keys(connection)? <= staying))
}

//! [`refresh`]: INFO and the host's view anew, everything costlier kept from the sample before.
//!
//! It is for those who look every few seconds: one command, none that takes the allocator's locks. Whoever calls it
//! decides how old the kept readings may grow; a process that was restarted since needs a whole [`super::sample`].

use super::{Reader, SampleOptions, info};
use crate::{ClientError, Connection, host};

/// Statistics that plain INFO does not print and rules read.
const KEPT: &str = "cmdstat_";

/// Brings `sample` up to date with one INFO. On an error `sample` stays as it was.
pub async fn refresh(
    connection: &mut Connection,
    options: &SampleOptions,
    sample: &mut unfrag_model::Sample,
) -> Result<(), ClientError> {
    let mut reader = Reader::new(connection);
    let mut fresh = info::read_default(&mut reader, options).await?;
    fresh.adopt(&sample.info, KEPT);
    let local = reader.connection.is_local();
    sample.taken_at_unix_ms = reader.sample.taken_at_unix_ms;
    sample.commands = reader.sample.commands;
    sample.info = fresh;
    if options.host && sample.host.is_some() {
        sample.unread.retain(|unread| unread.what != host::WHAT);
        host::read(sample, local, &options.host_root, &[]);
    }
    Ok(())
}

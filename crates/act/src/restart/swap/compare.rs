//! Is the second process what the first one is? Asked while writes wait, so it has to be quick.

use super::COMPARED;
use super::pair::{Pair, state};
use crate::ActError;
use crate::link::Link;
use crate::restart::execute::Work;
use crate::restart::verify;
use std::time::Instant;

type Names = Vec<verify::Known>;

/// Keys to compare, chosen before the pause.
pub(super) async fn names(link: &mut Link) -> Result<Names, ActError> {
    let keys = verify::keys_of(&link.info().await?);
    let names = verify::pick(&mut link.connection, &keys, COMPARED).await?;
    verify::types(&mut link.connection, &names).await
}

/// Offsets, keys by database, a sample of values (or all of them): equal before the deadline, or an error.
pub(super) async fn same(
    work: &mut Work<'_>,
    pair: &mut Pair,
    names: &Names,
    deadline: Instant,
) -> Result<u64, ActError> {
    let (mut first, mut second) = (state(&mut pair.first).await?, state(&mut pair.second).await?);
    while first.count("master_repl_offset") != second.count("slave_repl_offset") {
        if Instant::now() > deadline {
            return Err(too_slow("the second process did not catch up"));
        }
        second = state(&mut pair.second).await?;
        first = state(&mut pair.first).await?;
    }
    work.verified.offsets_equal = Some(true);
    // FAILOVER goes by what the replica has acknowledged, which it does by itself once a second.
    pair.ask_for_acknowledgement().await?;
    let (keys, theirs) = (verify::keys_of(&first), verify::keys_of(&second));
    let count: u64 = keys.values().sum();
    work.verified.keys_before = Some(count);
    work.verified.databases_equal = Some(keys == theirs);
    if keys != theirs {
        return Err(ActError::Unsafe(format!(
            "the copies differ: {keys:?} keys by database and {theirs:?}"
        )));
    }
    let (ours, theirs) = tokio::try_join!(
        verify::prints(&mut pair.first.connection, names),
        verify::prints(&mut pair.second.connection, names)
    )?;
    work.verified.quiet = true;
    (work.verified.sampled, work.verified.sample_differs) = verify::differing(&ours, &theirs);
    if work.wish.digest {
        let (ours, theirs) = tokio::try_join!(
            verify::digest(&mut pair.first.connection),
            verify::digest(&mut pair.second.connection)
        )?;
        work.verified.digest_equal = ours.zip(theirs).map(|(a, b)| a == b);
    }
    if let Some(fault) = work.verified.fault() {
        return Err(ActError::Unsafe(format!("the copies differ: {fault}")));
    }
    if Instant::now() > deadline {
        return Err(too_slow("comparing took too long"));
    }
    Ok(count)
}

fn too_slow(what: &str) -> ActError {
    ActError::Unsafe(format!(
        "{what} while writes waited: nothing was changed (a larger --pause-max gives it more time)"
    ))
}

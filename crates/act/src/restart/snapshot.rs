//! A snapshot as a backup: made, waited for, verified by our own reader, copied.

use crate::ActError;
use crate::link::Link;
use crate::restart::facts::Facts;
use crate::restart::verify;
use std::path::Path;
use std::time::{Duration, Instant};

/// BGSAVE succeeded only when it is over, its status is ok, and the time or the count of saves has moved: a child that
/// was killed leaves both as they were (rdb.c: backgroundSaveDoneHandlerDisk).
pub(crate) async fn save(link: &mut Link, wait_max: Duration) -> Result<(), ActError> {
    let before = link.info().await?;
    if before.count("rdb_saves").is_none() {
        // Before 7.0 only the time tells, in whole seconds: a save within the same one would not show.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let deadline = Instant::now() + wait_max;
    loop {
        match link.connection.call(&["BGSAVE"]).await {
            Ok(_) => break,
            // Another child is at work.
            Err(error) if error.is_reply() && Instant::now() < deadline => {
                if !error.problem.to_string().contains("progress")
                    && !error.problem.to_string().contains("child")
                {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = link.info().await?;
        if now.flag("rdb_bgsave_in_progress") != Some(true) {
            let moved = |name: &str| now.count(name) > before.count(name);
            let is_new = moved("rdb_saves") || moved("rdb_last_save_time");
            if now.text("rdb_last_bgsave_status") == Some("ok") && is_new {
                return Ok(());
            }
            return Err(ActError::Unsafe(
                "the snapshot failed: the server's log says why".to_owned(),
            ));
        }
        if Instant::now() > deadline {
            return Err(ActError::Unsafe("the snapshot is not done in time".to_owned()));
        }
    }
}

/// A verified copy at `to`; the number of keys in it.
pub(crate) async fn backup(
    link: &mut Link,
    facts: &Facts,
    to: &Path,
    wait_max: Duration,
) -> Result<u64, ActError> {
    if facts.process.as_ref().is_ok_and(|p| !p.shares_namespaces) || facts.process.is_err() {
        let why = "the snapshot's file is not seen from here: `unfrag rdb fetch` takes one over the network";
        return Err(ActError::Unsafe(why.to_owned()));
    }
    save(link, wait_max).await?;
    let from = facts.disk.folder.join(facts.configuration.text("dbfilename"));
    let fail = |e: std::io::Error| {
        ActError::Unsafe(format!("cannot copy `{}` to `{}`: {e}", from.display(), to.display()))
    };
    // The server replaces its file by renaming: the copy is of one file or of the other, never of both.
    std::fs::copy(&from, to).map_err(fail)?;
    std::fs::File::open(to).and_then(|f| f.sync_all()).map_err(fail)?;
    match verify::file_keys(to.to_owned()).await {
        Some(Ok(keys)) => Ok(keys),
        Some(Err(why)) => {
            Err(ActError::Unsafe(format!("the snapshot `{}` is damaged: {why}", to.display())))
        }
        None => Err(ActError::Unsafe(format!("the snapshot `{}` cannot be read", to.display()))),
    }
}

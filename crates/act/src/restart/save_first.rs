//! A save that has ended before the server is told to end.
//!
//! A server that systemd hears (`Type=notify`) says `STOPPING=1` as its shutdown begins (server.c: prepareForShutdown). For
//! systemd that is a stop as if it had ordered it: after `TimeoutStopSec` it kills the server, and with it a `SHUTDOWN SAVE` that
//! takes longer; what was written since the snapshot before is lost then. Seen with systemd 252 and Redis 7.0.15
//! (`make test-systemd`). So here the snapshot is written by SAVE while writes are held back, which systemd does not hear of, and
//! the shutdown that follows saves nothing.

use crate::ActError;
use crate::link::Link;
use crate::restart::facts::Facts;
use crate::restart::plain::{SAVE_MAX, unpause};
use std::time::{Duration, Instant};

/// Held back at least so long.
const LEAST: Duration = Duration::from_secs(30);
/// Bytes of memory that are surely saved in a second.
const SAVES_PER_SECOND: u64 = 20_000_000;
/// Between the end of the save and that of the pause.
const MARGIN: Duration = Duration::from_secs(2);

impl Facts {
    /// Its supervisor would kill it in mid-save: it is saved before.
    pub(crate) fn is_saved_first(&self) -> bool {
        self.dies_saving() && !self.is_append_only() && self.at_least(6, 2)
    }

    /// It ends as quickly as it can: all is on disk by then, or will be with the last bytes of the append-only file.
    pub(crate) fn ends_without_saving(&self) -> bool {
        self.dies_saving() && (self.is_append_only() || self.at_least(6, 2))
    }

    /// A shutdown that saves may be killed. A replica has nothing of its own.
    pub(crate) fn dies_saving(&self) -> bool {
        self.hears_stop && self.stop_timeout_s.is_some() && !self.info.is_replica()
    }

    /// So long, at most, writes are held back for it: it ends by itself should unfrag die.
    fn save_pause(&self) -> Duration {
        let last_s = self.info.count("rdb_last_bgsave_time_sec").unwrap_or(0);
        let used_s = self.layers.used.unwrap_or(0) / SAVES_PER_SECOND;
        LEAST + Duration::from_secs(last_s.saturating_mul(2) + used_s)
    }
}

/// Everything is in the snapshot and writes are held back still, or the server goes on as if nothing had been.
pub(super) async fn save_first(facts: &Facts, link: &mut Link) -> Result<(), ActError> {
    let result = save(facts, link).await;
    if result.is_err() {
        unpause(&mut link.connection).await;
    }
    result
}

async fn save(facts: &Facts, link: &mut Link) -> Result<(), ActError> {
    let stays = |why: String| ActError::Unsafe(format!("{why}; nothing was stopped"));
    let limit = facts.save_pause();
    let begun = Instant::now();
    let milliseconds = limit.as_millis().to_string();
    link.connection.call(&["CLIENT", "PAUSE", &milliseconds, "WRITE"]).await?;
    link.connection.set_response_timeout(SAVE_MAX);
    loop {
        match link.connection.call(&["SAVE"]).await {
            Ok(_) => break,
            // Its own save, for a save point.
            Err(error)
                if error.to_string().contains("in progress") && begun.elapsed() < limit / 4 =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(stays(format!("it could not save ({error})"))),
        }
    }
    let unsaved = link.info().await?.count("rdb_changes_since_last_save");
    if begun.elapsed() + MARGIN > limit {
        let took_s = begun.elapsed().as_secs();
        return Err(stays(format!(
            "its save took {took_s} s, longer than writes are held back ({} s); with TimeoutStopSec=infinity in a drop-in of \
             its unit it can save as it ends",
            limit.as_secs()
        )));
    }
    match unsaved {
        Some(0) => Ok(()),
        _ => Err(stays("something was written while writes were held back".to_owned())),
    }
}

//! MEMORY PURGE, repeated until RSS stops falling.
//!
//! One purge is not enough: what a thread's cache flushes meanwhile becomes dirty after it, and RSS is the server's own
//! sample of up to 100 ms ago.

use crate::execute::{Ended, Work};
use crate::outcome::Status;
use crate::{ActError, RemedyName, Step};
use std::time::{Duration, Instant};
use unfrag_model::Info;

/// RSS that falls by less than this has stopped falling.
const STEP_BYTES: u64 = 512 << 10;
/// Pages that one purge drops without anyone feeling it: two to three milliseconds.
pub(crate) const PURGE_BYTES: u64 = 6 << 20;
/// Purges in one go; three or four are usual.
const MOST: u32 = 12;

pub(crate) async fn run(work: &mut Work<'_>, step: &Step) -> Result<Ended, ActError> {
    if let Err(error) = work.lend(&step.settings).await {
        return super::refused(error);
    }
    let (count, longest) = until_stable(work).await?;
    let note = format!("{count} purges, the longest took {:.1} ms", longest.as_secs_f64() * 1e3);
    Ok((Status::Done, note))
}

/// A purge holds the server for about half a millisecond a MiB. The allocator's own thread drops pages for nothing, ten
/// to twenty seconds after they were freed; while it does so, waiting costs nobody anything.
async fn wait_for_decay(work: &mut Work<'_>) -> Result<(), ActError> {
    /// 25 seconds: both decays of jemalloc 5.1, and some.
    const LOOKS: usize = 50;
    /// Over five seconds less than this much went: it is at rest. Shorter, and jemalloc 5.1 seems at rest while pages
    /// wait in their second decay.
    const REST_BYTES: u64 = 2 << 20;
    const REST_LOOKS: usize = 10;
    let mut seen: Vec<u64> = vec![];
    for _ in 0..LOOKS {
        let info = work.link.info().await?;
        let now = retained(&info);
        work.progress(RemedyName::Purge, &info, None);
        let earlier = seen.iter().rev().nth(REST_LOOKS - 1);
        let at_rest = earlier.is_some_and(|earlier| now + REST_BYTES > *earlier);
        if now <= PURGE_BYTES || at_rest || work.end(&info).is_some() {
            return Ok(());
        }
        seen.push(now);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Pages the allocator keeps beyond those that hold data, its bookkeeping included.
fn retained(info: &Info) -> u64 {
    let count = |name| info.count(name).unwrap_or(0);
    count("allocator_resident").saturating_sub(count("allocator_active"))
}

/// Purges once if so much has been freed since the last time that waiting longer would make a stall of it. Where the
/// allocator's own thread drops pages, that is left to it.
pub(crate) async fn drip(work: &mut Work<'_>, info: &Info) -> Result<(), ActError> {
    if work.has_purging_thread {
        return Ok(());
    }
    let now = retained(info);
    let floor = work.retained_floor.map_or(now, |floor| floor.min(now));
    work.retained_floor = Some(floor);
    if now > floor + PURGE_BYTES {
        work.link.call(&["MEMORY", "PURGE"]).await?;
    }
    Ok(())
}

/// Purges until RSS stops falling: how often, and how long the longest held the server.
pub(crate) async fn until_stable(work: &mut Work<'_>) -> Result<(u32, Duration), ActError> {
    wait_for_decay(work).await?;
    let mut longest = Duration::ZERO;
    let info = work.wait_out().await?;
    let mut before = info.count("used_memory_rss").unwrap_or(0);
    for count in 1..=MOST {
        let begun = Instant::now();
        work.link.call(&["MEMORY", "PURGE"]).await?;
        longest = longest.max(begun.elapsed());
        let info = work.link.settled_info().await?;
        let rss = info.count("used_memory_rss").unwrap_or(0);
        work.progress(RemedyName::Purge, &info, None);
        if rss + STEP_BYTES > before || work.stop.is_set() {
            return Ok((count, longest));
        }
        before = rss;
    }
    Ok((MOST, longest))
}

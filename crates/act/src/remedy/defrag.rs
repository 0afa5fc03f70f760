//! Active defrag as a closed loop: effort follows measured latency, and it ends when it no longer helps.
//!
//! The usual recipe leaves half behind because its gates (100 MB, 10 %) close early, and hurts because before Redis 8.0
//! a slice is a share of `1 / hz` seconds: at `hz` 10 and 75 % that is 75 ms. Here the gates open wide, `hz` 500 makes a
//! slice half a millisecond, and the share is driven up and down.
//!
//! It runs once more behind repack, which gathers the holes that are left in few pages: those it can empty. Without
//! it `make bench-reclaim RECLAIM="redis-8.2.3 collections 400 unfrag"` gives back .962 of what a restart gives, with it .977.

use super::purge;
use crate::execute::{Ended, Work};
use crate::link::waste;
use crate::outcome::Status;
use crate::plan::{CYCLE_FIRST, CYCLE_MOST, PURGING_THREAD};
use crate::{ActError, RemedyName, Step};
use std::time::Duration;
use unfrag_model::Info;

/// Between two looks at the server: what defrag frees in that time is purged at once, before it makes a stall.
const TICK: Duration = Duration::from_millis(125);
/// Looks after which effort and progress are judged.
const LOOKS: u32 = 4;
/// Percent of the server's thread added while there is room, and the least that still gets on.
const CYCLE_MORE: u32 = 5;
const CYCLE_LEAST: u32 = 2;

pub(crate) async fn run(work: &mut Work<'_>, step: &Step) -> Result<Ended, ActError> {
    let info = work.wait_out().await?;
    let used = info.count("used_memory").unwrap_or(0);
    if step.takes_the_rest() && waste(&info) < used / 100 {
        return Ok((Status::NotNeeded, "less than a hundredth of the data is waste".to_owned()));
    }
    if let Err(error) = work.lend(&step.settings).await {
        return super::refused(error);
    }
    let ended = drive(work).await;
    // Off before anything else goes back: with the old gates and `hz` it would still be running.
    work.put_back().await;
    let ended = ended?;
    // The allocator's thread is for the purge as well.
    if let Some(thread) = step.settings.iter().find(|s| s.name == PURGING_THREAD) {
        work.lend(std::slice::from_ref(thread)).await?;
    }
    purge::until_stable(work).await?;
    Ok(ended)
}

async fn drive(work: &mut Work<'_>) -> Result<Ended, ActError> {
    let mut cycle = CYCLE_FIRST;
    let mut mark: Option<Look> = None;
    let mut idle = 0;
    for look in 1u32.. {
        tokio::time::sleep(TICK).await;
        let info = work.wait_out().await?;
        purge::drip(work, &info).await?;
        if !look.is_multiple_of(LOOKS) {
            continue;
        }
        let window = work.progress(RemedyName::Defrag, &info, None);
        if let Some(ended) = work.end(&info) {
            return Ok(ended);
        }
        // It looks whether to start once a second: two seconds of rest mean that it sees nothing to do.
        idle = if info.count("active_defrag_running") == Some(0) { idle + 1 } else { 0 };
        if idle >= 4 {
            return Ok((Status::Done, "nothing is left that it would move".to_owned()));
        }
        let now = Look::at(&info);
        match judge(*mark.get_or_insert(now), now) {
            Verdict::TooEarly => {}
            Verdict::Gains => mark = Some(now),
            Verdict::Plateau => {
                return Ok((Status::Done, "it moves data and frees nothing more".to_owned()));
            }
        }
        let wanted = next_cycle(cycle, work.added_us(window), work.plan.bounds.latency_budget_us);
        if wanted != cycle {
            cycle = wanted;
            let value = cycle.to_string();
            for name in ["active-defrag-cycle-max", "active-defrag-cycle-min"] {
                work.settings.set(&mut work.link, &mut work.journal, name, &value).await?;
            }
        }
    }
    Ok((Status::Bounded, "the looks ran out".to_owned()))
}

/// More while at most half of the budget is used, half as much over it.
fn next_cycle(cycle: u32, added_us: u64, budget_us: u64) -> u32 {
    if added_us > budget_us {
        (cycle / 2).max(CYCLE_LEAST)
    } else if added_us <= budget_us / 2 {
        (cycle + CYCLE_MORE).min(CYCLE_MOST)
    } else {
        cycle
    }
}

/// One look at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    waste: u64,
    used: u64,
    /// Keys there are.
    keys: u64,
    /// Keys that defrag has looked at since the server started.
    looked_at: u64,
}

impl Look {
    fn at(info: &Info) -> Self {
        let count = |name| info.count(name).unwrap_or(0);
        Self {
            waste: waste(info),
            used: count("used_memory"),
            keys: info.keys().unwrap_or(0),
            looked_at: count("active_defrag_key_hits") + count("active_defrag_key_misses"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    TooEarly,
    Gains,
    Plateau,
}

/// Judged by work, not by time: on a starved machine nothing happens for seconds. Once every key was looked at and it
/// gave less than a five-hundredth of the data, it will not give more.
fn judge(mark: Look, now: Look) -> Verdict {
    if now.looked_at.saturating_sub(mark.looked_at) < now.keys.max(1) {
        Verdict::TooEarly
    } else if mark.waste.saturating_sub(now.waste) < now.used / 500 {
        Verdict::Plateau
    } else {
        Verdict::Gains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_rises_slowly_and_falls_fast() {
        assert_eq!(next_cycle(15, 0, 5000), 20);
        assert_eq!(next_cycle(15, 3000, 5000), 15);
        assert_eq!(next_cycle(40, 6000, 5000), 20);
        assert_eq!(next_cycle(2, 6000, 5000), CYCLE_LEAST);
        assert_eq!(next_cycle(50, 0, 5000), CYCLE_MOST);
    }

    #[test]
    fn a_plateau_is_a_whole_scan_without_gain() {
        let look = |waste, looked_at| Look { waste, used: 100 << 20, keys: 1000, looked_at };
        assert_eq!(judge(look(9 << 20, 0), look(9 << 20, 999)), Verdict::TooEarly);
        assert_eq!(judge(look(9 << 20, 0), look(9 << 20, 1000)), Verdict::Plateau);
        assert_eq!(judge(look(9 << 20, 0), look(8 << 20, 1000)), Verdict::Gains);
    }
}

//! What each remedy is expected to give back, before anything is done: bytes with a low and a high.
//!
//! From per-bin slab counts where MALLOC-STATS was read, else from INFO with a wider interval. One remedy a
//! file; [`estimate`] asks them all.

mod defrag;
mod purge;
mod repack;
mod restart;

pub use restart::PROCESS_BYTES;

use crate::figures::Figures;
use unfrag_model::{Estimate, Reclaim};

/// Percent of free slabs that defrag and repack really give back, measured over all workloads and servers of the testbed
/// with the gates as wide open as `fix` has them.
const GIVEN_BACK_PERCENT: u64 = 97;

/// A pass of repack leaves the holes of its last chunk, and a chunk sets aside this much at the least
/// (`CHUNK_LEAST_BYTES` of the remedy). `unfrag fix --only repack` on 7.0.15 and 8.2.3 with 8 to 21 MiB of free slabs left 3.1
/// to 3.9 MiB of what 97 percent would have been.
const LAST_CHUNK_BYTES: u64 = 3 << 20;

/// Bytes of so many free slabs that defrag gives back.
pub fn by_defrag(slabs: u64) -> u64 {
    percent(slabs, GIVEN_BACK_PERCENT)
}

/// Bytes of so many free slabs that repack gives back.
pub fn by_repack(slabs: u64) -> u64 {
    percent(slabs, GIVEN_BACK_PERCENT).saturating_sub(LAST_CHUNK_BYTES)
}

/// All four estimates.
pub fn estimate(f: &Figures<'_>) -> Reclaim {
    Reclaim {
        purge: purge::estimate(f),
        defrag: defrag::estimate(f),
        repack: repack::estimate(f),
        restart: restart::estimate(f),
    }
}

/// The restart's alone: what rules may ask for, while the other estimates ask the rules.
pub(crate) fn of_restart(f: &Figures<'_>) -> Estimate {
    restart::estimate(f)
}

/// An estimate of bytes given back from this RSS, with the floor that remains.
fn given_back(f: &Figures<'_>, low: u64, bytes: u64, high: u64, basis: &str) -> Estimate {
    let rss = f.rss.unwrap_or(0);
    let bound = |b: u64| if rss > 0 { b.min(rss) } else { b };
    let (bytes, high) = (bound(bytes), bound(high));
    Estimate {
        bytes: Some(bytes),
        low: Some(bound(low).min(bytes)),
        high: Some(high.max(bytes)),
        floor_rss_bytes: (rss > 0).then(|| rss - bytes),
        unavailable: None,
        basis: basis.to_owned(),
    }
}

/// No estimate, and why.
fn impossible(why: &str) -> Estimate {
    Estimate { unavailable: Some(why.to_owned()), ..Estimate::default() }
}

fn percent(bytes: u64, percent: u64) -> u64 {
    (bytes / 100).saturating_mul(percent)
}

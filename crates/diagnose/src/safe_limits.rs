//! A `maxmemory` for the memory there is, and a container limit for the data there is, with the sums.
//!
//! RSS budget = limit - room for a fork - buffers that maxmemory does not see - the process itself;
//! maxmemory = budget / (rss per byte used). The other way round for the container limit.

use crate::figures::Figures;
use crate::floors::BASELINE_BYTES;
use crate::rules::cow_headroom;
use unfrag_model::{SafeLimits, human};

/// The least RSS per used byte to plan with: jemalloc's bookkeeping and slab rounding alone cost about 3 %,
/// and fragmentation of a tenth comes and goes.
const LEAST_RATIO: f64 = 1.10;
/// Above this the ratio is a defect to repair, not a size to plan for.
const WORST_RATIO: f64 = 1.50;
/// Share of the data that a fork duplicates when no fork has been measured: a moderate write load.
const UNMEASURED_COW: f64 = 0.25;

pub(crate) fn compute(f: &Figures<'_>) -> Option<SafeLimits> {
    let used = f.used?;
    let ratio = f.ratio().unwrap_or(LEAST_RATIO).clamp(LEAST_RATIO, WORST_RATIO);
    let forks = forks(f);
    let measured = cow_headroom::largest_cow(f);
    let cow_share = cow_share(f, used);
    let uncounted = f.not_counted.max(f.count("mem_replication_backlog"));
    let fixed = uncounted.saturating_add(BASELINE_BYTES);
    let maxmemory_bytes =
        f.limit.map(|l| scale(l.bytes.saturating_sub(fixed), 1.0 / (ratio + cow_share)));
    let data = f.maxmemory.filter(|&m| m > 0).unwrap_or(used).max(used);
    let container_limit_bytes = Some(scale(data, ratio + cow_share).saturating_add(fixed));
    Some(SafeLimits {
        maxmemory_bytes,
        container_limit_bytes,
        arithmetic: arithmetic(
            f,
            &Terms {
                ratio,
                cow_share,
                forks,
                measured,
                fixed,
                data,
                maxmemory_bytes,
                container_limit_bytes,
            },
        ),
    })
}

/// Bytes that the next fork may copy while it is at work; 0 where nothing forks by itself.
pub fn fork_copies(f: &Figures<'_>) -> Option<u64> {
    f.used.map(|used| scale(used, cow_share(f, used)))
}

/// The same as a share of the data.
fn cow_share(f: &Figures<'_>, used: u64) -> f64 {
    match (forks(f), cow_headroom::largest_cow(f)) {
        (false, _) => 0.0,
        (true, 0) => UNMEASURED_COW,
        // The next fork may meet twice the writes of the last.
        (true, cow) => (2.0 * cow as f64 / used.max(1) as f64).min(1.0),
    }
}

struct Terms {
    ratio: f64,
    cow_share: f64,
    forks: bool,
    measured: u64,
    fixed: u64,
    data: u64,
    maxmemory_bytes: Option<u64>,
    container_limit_bytes: Option<u64>,
}

/// True when this server forks: it saves, rewrites an AOF, or has replicas to synchronise. Unknown is true.
fn forks(f: &Figures<'_>) -> bool {
    let config = &f.sample.config;
    let saves = config.text("save").is_none_or(|s| !s.is_empty());
    let rewrites =
        config.flag("appendonly").unwrap_or(f.sample.info.flag("aof_enabled") == Some(true));
    saves || rewrites || f.count("connected_slaves") > 0
}

fn arithmetic(f: &Figures<'_>, t: &Terms) -> Vec<String> {
    let fork = match (t.forks, t.measured) {
        (false, _) => "no fork: nothing saves and there is no replica".to_owned(),
        (true, 0) => format!(
            "+ {:.2} for a fork's copies (none measured yet; a moderate write load)",
            t.cow_share
        ),
        (true, cow) => {
            format!("+ {:.2} for a fork's copies (twice the {} measured)", t.cow_share, human(cow))
        }
    };
    let mut lines = vec![
        format!(
            "RSS per used byte: {:.2} (measured {}, planned between {LEAST_RATIO} and {WORST_RATIO})",
            t.ratio,
            f.ratio().map_or("unknown".to_owned(), |r| format!("{r:.2}"))
        ),
        fork,
        format!("fixed: {} (process, and buffers maxmemory does not count)", human(t.fixed)),
    ];
    if let (Some(limit), Some(maxmemory)) = (f.limit, t.maxmemory_bytes) {
        lines.push(format!(
            "maxmemory = ({} - {}) / {:.2} = {}",
            human(limit.bytes),
            human(t.fixed),
            t.ratio + t.cow_share,
            human(maxmemory)
        ));
    }
    if let Some(container) = t.container_limit_bytes {
        lines.push(format!(
            "container limit = {} x {:.2} + {} = {}",
            human(t.data),
            t.ratio + t.cow_share,
            human(t.fixed),
            human(container)
        ));
    }
    lines
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product of a byte count and a small positive factor"
)]
fn scale(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

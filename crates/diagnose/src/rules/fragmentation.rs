//! # fragmentation
//!
//! ## What it detects
//! External fragmentation: pages that hold some live data and much free space.
//!
//! ## Why it matters
//! One live value keeps its whole slab in RAM. It does not go away by itself.
//!
//! ## Evidence
//! allocator_active - allocator_allocated, the small bins of MALLOC-STATS; before 5.0, RSS far above both
//! used_memory and used_memory_peak.
//!
//! ## Remedy
//! Active defrag where the build has it, then MEMORY PURGE; a fresh process or a failover elsewhere.
//!
//! ## Safety
//! Defrag takes CPU from the main thread in slices; before Redis 8.0 and Valkey 8.1 one slice lasts up to
//! cycle-max / hz. It pauses while a fork child exists.
//!
//! ## References
//! redis source, defrag.c and zmalloc.c; INFO's mem_fragmentation_ratio mixes five different gaps.

use crate::figures::{AllocatorKind, Figures, share};
use crate::floors::{ACT_SHARE, ALARMING_RATIO, ALLOCATOR_SHARE, GAP_BYTES};
use crate::next;
use unfrag_model::{Cause, Evidence, Finding, Severity, human};

/// RSS beyond this multiple of the highest use ever is more than thinned-out slabs explain: each class
/// would have had to peak alone, one after the other.
const BEYOND_ANY_PEAK: u64 = 3;
/// Any busy heap is fragmented by a tenth; from here it is more than that.
const ORDINARY_SHARE: f64 = 0.15;
/// From here a tenth is worth a word, too.
const LARGE_WASTE_BYTES: u64 = 1 << 30;
/// Without the allocator's figures, what bookkeeping and dirty pages alone may bring.
const UNSPLIT_RATIO: f64 = 1.25;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    if f.allocator == AllocatorKind::Other {
        return None;
    }
    if f.sees_allocator() { seen(f) } else { implied(f) }
}

fn seen(f: &Figures<'_>) -> Option<Finding> {
    let wasted = f.fragmentation()?;
    let allocated = f.allocated?;
    let needed = if wasted >= LARGE_WASTE_BYTES { ALLOCATOR_SHARE } else { ORDINARY_SHARE };
    if wasted < GAP_BYTES || share(wasted, allocated) < needed {
        return None;
    }
    let severity =
        if share(wasted, allocated) >= ACT_SHARE { Severity::Act } else { Severity::Watch };
    let finding = Finding::new(
        Cause::ExternalFragmentation,
        severity,
        format!("{} are lost in pages that are only partly filled", human(wasted)),
    )
    .bytes(wasted)
    .meaning(meaning(f))
    .evidence(f.computed("active - allocated", Some(wasted)))
    .evidence(f.bins().map(worst_bins))
    .evidence(f.cite("allocator_frag_ratio"))
    .evidence(f.cite("mem_allocator"))
    .evidence(f.cite_config("activedefrag"))
    .folklore(folklore(f));
    Some(remedies(f, finding))
}

/// Before 5.0: what lies above both use and peak can only be fragmentation, or pages the allocator keeps.
fn implied(f: &Figures<'_>) -> Option<Finding> {
    let (used, rss) = (f.used?, f.rss?);
    let peak = f.peak.unwrap_or(used).max(used);
    let above_peak = rss.checked_sub(peak)?.saturating_sub(if f.lua_in_used { 0 } else { f.lua });
    let from_peak = peak - used;
    let mostly_fragmentation =
        above_peak > from_peak && rss <= peak.saturating_mul(BEYOND_ANY_PEAK);
    let noticeable = f.gap()? >= GAP_BYTES && f.ratio()? >= UNSPLIT_RATIO;
    if !noticeable || above_peak < GAP_BYTES || !mostly_fragmentation {
        return None;
    }
    let severity = if f.ratio()? >= ALARMING_RATIO { Severity::Act } else { Severity::Watch };
    let finding = Finding::new(
        Cause::ExternalFragmentation,
        severity,
        match f.peak {
            Some(_) => format!(
                "RSS stands {} above anything this server ever used: fragmentation",
                human(above_peak)
            ),
            None => format!(
                "RSS stands {} above use: fragmentation, or the remains of a peak not given here",
                human(above_peak)
            ),
        },
    )
    .bytes(above_peak)
    .meaning(if f.peak.is_some() {
        "these figures do not split the gap; RSS above the highest use cannot be a peak's remains"
    } else {
        "these figures do not split the gap: give used_memory_peak, too, or the whole INFO"
    })
    .evidence(f.cite("used_memory"))
    .evidence(f.cite("used_memory_peak"))
    .evidence(f.cite("used_memory_rss"))
    .evidence(f.cite("mem_allocator"));
    Some(remedies(f, finding))
}

fn remedies(f: &Figures<'_>, finding: Finding) -> Finding {
    next::restart(f, next::defrag(f, finding))
}

fn meaning(f: &Figures<'_>) -> String {
    let state = match (
        f.allocator,
        f.sample.config.flag("activedefrag"),
        f.count("active_defrag_running"),
    ) {
        (AllocatorKind::ForeignJemalloc, ..) => {
            "; this build cannot defragment: its jemalloc is the distribution's, without the hooks defrag needs"
        }
        (_, _, 1..) => "; active defrag is running on it now",
        (_, Some(false), _) => "; active defrag is off",
        _ => "",
    };
    format!("live values keep nearly empty slabs in RAM; waiting does not help{state}")
}

fn folklore(f: &Figures<'_>) -> String {
    match f.ratio() {
        Some(ratio) if ratio < 1.5 => {
            "mem_fragmentation_ratio is under 1.5 and hides this".to_owned()
        }
        _ => "the setting is activedefrag; active-defrag-enabled has never existed".to_owned(),
    }
}

/// The three bins that waste most.
fn worst_bins(stats: &unfrag_model::MallocStats) -> Evidence {
    let mut bins = stats.bins.clone();
    bins.sort_by_key(|b| std::cmp::Reverse(b.waste_bytes()));
    let worst: Vec<String> = bins
        .iter()
        .take(3)
        .map(|b| {
            format!(
                "{} B slabs {:.0} % full, {} free",
                b.size_bytes,
                b.utilization() * 100.0,
                human(b.waste_bytes())
            )
        })
        .collect();
    Evidence::new("worst bins", worst.join("; "), "MALLOC-STATS")
}

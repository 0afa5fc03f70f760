//! # defrag-idle
//!
//! ## What it detects
//! Active defrag is on and its settings defeat it: waste stays under active-defrag-ignore-bytes or the
//! lower threshold, or thresholds under what can be reached keep it scanning for ever.
//!
//! ## Why it matters
//! People see `activedefrag yes` and RSS that does not move, and restart a server that needed two settings.
//!
//! ## Evidence
//! activedefrag, active-defrag-ignore-bytes, active-defrag-threshold-lower, active_defrag_running,
//! hits and misses, the defragmentable bytes.
//!
//! ## Remedy
//! ignore-bytes of 1 MB and a lower threshold of 2 % while you want memory back; the defaults otherwise.
//!
//! ## Safety
//! Settings are undone with CONFIG SET and do not survive a restart unless CONFIG REWRITE is sent.
//!
//! ## References
//! redis source, defrag.c:computeDefragCycles: BOTH thresholds must be passed to start.

use crate::figures::{Figures, share};
use crate::floors::{ACT_SHARE, GAP_BYTES};
use crate::next;
use unfrag_model::{Cause, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    idle(f).or_else(|| scans_for_nothing(f))
}

fn idle(f: &Figures<'_>) -> Option<Finding> {
    let config = &f.sample.config;
    let wasted = f.defragmentable().or_else(|| f.gap())?;
    let percentage = share(wasted, f.allocated.or(f.used)?) * 100.0;
    let ignore = config.bytes("active-defrag-ignore-bytes").unwrap_or(100 << 20);
    let lower = config.number("active-defrag-threshold-lower").unwrap_or(10) as f64;
    let gated = wasted < ignore || percentage < lower;
    let worth_it = wasted > GAP_BYTES / 2 && percentage > 5.0;
    let on = config.flag("activedefrag") == Some(true) && f.count("active_defrag_running") == 0;
    if !(on && gated && worth_it) {
        return None;
    }
    let gate = if wasted < ignore {
        "active-defrag-ignore-bytes"
    } else {
        "active-defrag-threshold-lower"
    };
    let finding = Finding::new(
        Cause::DefragMisconfigured,
        if percentage >= ACT_SHARE * 100.0 { Severity::Act } else { Severity::Watch },
        format!("active defrag is on and idle: {} ({percentage:.0} %) are defragmentable and {gate} holds it back", human(wasted)),
    )
    .bytes(wasted)
    .meaning("both thresholds must be passed before a scan starts")
    .evidence(f.cite_config("active-defrag-ignore-bytes"))
    .evidence(f.cite_config("active-defrag-threshold-lower"))
    .evidence(f.cite("active_defrag_running"))
    .remedy(RemedyKind::TuneDefragThresholds, format!("{} CONFIG SET {gate} …   (1mb and 2 give nearly all of it back)", f.cli()))
    .folklore("active-defrag-threshold-upper 100 does not mean \"until 100 %\": it is where the effort is highest");
    Some(next::purge(f, finding))
}

/// The default lower threshold: below it a scan has no reason to be on.
const LITTLE_LEFT: f64 = 0.10;

/// Running although almost nothing is left to gain.
fn scans_for_nothing(f: &Figures<'_>) -> Option<Finding> {
    let wasted = f.defragmentable()?;
    let (hits, misses) = (f.count("active_defrag_hits"), f.count("active_defrag_misses"));
    let looked = hits.saturating_add(misses);
    let fruitful = looked > 100_000 && hits.saturating_mul(50) >= misses;
    let little = share(wasted, f.allocated?) < LITTLE_LEFT;
    (f.count("active_defrag_running") > 0 && little && !fruitful).then(|| {
        Finding::new(
            Cause::DefragMisconfigured,
            Severity::Watch,
            format!(
                "active defrag is busy for {}: its thresholds are below what it can reach",
                human(wasted)
            ),
        )
        .bytes(wasted)
        .meaning("it scans for ever and moves almost nothing")
        .evidence(f.cite("active_defrag_running"))
        .evidence(f.cite("active_defrag_hits"))
        .evidence(f.cite("active_defrag_misses"))
        .evidence(f.cite_config("active-defrag-threshold-lower"))
        .remedy(
            RemedyKind::TuneDefragThresholds,
            format!(
                "{} CONFIG SET active-defrag-threshold-lower 10 active-defrag-ignore-bytes 100mb",
                f.cli()
            ),
        )
    })
}

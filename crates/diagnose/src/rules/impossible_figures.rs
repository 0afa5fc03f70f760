//! # impossible-figures
//!
//! ## What it detects
//! Figures that cannot all be true: overhead above used_memory, used_memory above the machine's whole
//! memory while RSS is small, counters that wrapped around to 1.8e19.
//!
//! ## Why it matters
//! An alert, or a diagnosis, built on such a figure is about the figure and not about the server.
//!
//! ## Evidence
//! used_memory, used_memory_overhead, used_memory_dataset, used_memory_rss, total_system_memory in INFO.
//!
//! ## Remedy
//! Read INFO again; if it persists, upgrade: each known case is an accounting bug of the server or client.
//!
//! ## Safety
//! Nothing is changed. Remedies that rest on these figures should wait.
//!
//! ## References
//! valkey issues 1373 (torn overhead) and 2994 (overflow on NUMA); redis issue 4691 (sampled apart).

use crate::figures::Figures;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let contradiction = wrapped(f)
        .or_else(|| overhead_above_used(f))
        .or_else(|| used_above_everything(f))
        .or_else(|| peak_below_used(f))
        .or_else(|| no_rss(f))?;
    Some(
        Finding::new(Cause::MetricAccountingBug, Severity::Act, contradiction.0)
            .meaning("at least one of these figures is wrong, so nothing should be done on their strength")
            .evidence(contradiction.1)
            .evidence(f.cite("used_memory"))
            .evidence(f.cite("used_memory_rss"))
            .remedy(RemedyKind::Upgrade, "read INFO again; if it stays, look for the accounting fix in the release notes"),
    )
}

type Contradiction = (String, Option<Evidence>);

/// Torn readings cross by a few percent; only more than that is a bug.
const TORN: f64 = 1.05;

fn overhead_above_used(f: &Figures<'_>) -> Option<Contradiction> {
    let (overhead, used) =
        (f.sample.info.count("used_memory_overhead")?, f.sample.info.count("used_memory")?);
    (overhead as f64 > used as f64 * TORN && overhead > used + crate::floors::GAP_BYTES).then(
        || {
            (
                "used_memory_overhead is above used_memory, which contains it".to_owned(),
                f.cite("used_memory_overhead"),
            )
        },
    )
}

fn used_above_everything(f: &Figures<'_>) -> Option<Contradiction> {
    let total = f.sample.info.count("total_system_memory").filter(|&t| t > 0)?;
    let swap = f.sample.host.as_ref().and_then(|h| h.swap_total).unwrap_or(total);
    // Untouched reservations may exceed memory, but not many times over.
    (f.used? > total.saturating_add(swap).saturating_mul(4)).then(|| {
        (
            "used_memory is many times the machine's whole memory".to_owned(),
            f.cite("total_system_memory"),
        )
    })
}

fn wrapped(f: &Figures<'_>) -> Option<Contradiction> {
    [
        "used_memory",
        "used_memory_rss",
        "used_memory_overhead",
        "used_memory_dataset",
        "mem_clients_normal",
        "mem_clients_slaves",
    ]
    .into_iter()
    .find(|key| {
        let signed = f.sample.info.signed(key);
        signed.is_some_and(|v| v < 0)
    })
    .map(|key| {
        (
            format!("{key} wrapped below zero"),
            f.sample.info.text(key).map(|v| Evidence::new(key, v, "INFO")),
        )
    })
}

fn peak_below_used(f: &Figures<'_>) -> Option<Contradiction> {
    let (peak, used) =
        (f.sample.info.count("used_memory_peak")?, f.sample.info.count("used_memory")?);
    (used as f64 > peak as f64 * TORN && used > peak + crate::floors::GAP_BYTES)
        .then(|| ("used_memory is above its own peak".to_owned(), f.cite("used_memory_peak")))
}

/// The server could not read its own resident set (a locked-down procfs, an exotic platform).
fn no_rss(f: &Figures<'_>) -> Option<Contradiction> {
    // No sample has been taken yet: INFO of the first tenth of a second, as a crash at start-up logs it.
    let sampled = f.sample.info.count("allocator_allocated") != Some(0);
    (f.sample.info.count("used_memory_rss")? == 0 && f.used? > 0 && sampled).then(|| {
        (
            "used_memory_rss is 0: the server cannot read its own resident set".to_owned(),
            f.cite("used_memory_rss"),
        )
    })
}

//! # module-memory
//!
//! ## What it detects
//! Memory that belongs to a module: allocations outside used_memory's own sum, large memory with no keys
//! at all, or reservations that were never touched.
//!
//! ## Why it matters
//! Eviction, TTLs and defrag reach keys; a module's indexes and buffers are freed only by the module.
//!
//! ## Evidence
//! allocator_allocated - used_memory; the Keyspace section against used_memory; RSS far below used_memory;
//! the Modules section.
//!
//! ## Remedy
//! The module's own settings and release notes; drop unneeded indexes; upgrade it.
//!
//! ## Safety
//! Unloading a module that owns data types is refused by the server, rightly.
//!
//! ## References
//! redis issues of RediSearch 6302 and 1425; RM_Alloc is counted in used_memory, C++ containers are not.

use crate::figures::{Figures, share};
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let (bytes, title) = without_keys(f).or_else(|| never_touched(f)).or_else(|| beside_used(f))?;
    let modules = f.sample.info.modules();
    let names =
        (!modules.is_empty()).then(|| Evidence::new("modules", modules.join(", "), "INFO modules"));
    let severity = if f.fullness().is_some_and(|full| full >= crate::floors::NEARLY_FULL) {
        Severity::Urgent
    } else {
        Severity::Act
    };
    Some(
        Finding::new(Cause::ModuleMemory, severity, title)
            .bytes(bytes)
            .meaning("neither eviction nor TTLs nor defrag can reach memory that a module keeps for itself")
            .evidence(names)
            .evidence(f.cite("used_memory"))
            .evidence(f.cite("used_memory_rss"))
            .evidence(f.keys.map(|k| Evidence::new("keys", k.to_string(), "INFO keyspace")))
            .evidence(f.cite("maxmemory"))
            .remedy(RemedyKind::ReportToModule, format!("{} MODULE LIST, then the module's own memory report (FT.INFO, TS.INFO, …)", f.cli()))
            .remedy(RemedyKind::Upgrade, "check the module's release notes for memory fixes of this version"),
    )
}

/// False only when the server said that it has none.
fn may_have_modules(f: &Figures<'_>) -> bool {
    !f.sample.info.modules().is_empty() || !f.sample.info.has_section("modules")
}

fn known_overhead(f: &Figures<'_>) -> u64 {
    let lua = if f.lua_in_used { f.lua } else { 0 };
    f.overhead.unwrap_or(0).max(f.client_buffers().unwrap_or(0)).saturating_add(lua)
}

/// No keys, no buffers, no scripts, and yet memory.
fn without_keys(f: &Figures<'_>) -> Option<(u64, String)> {
    let unexplained = f.used?.saturating_sub(known_overhead(f));
    let explained_by_scripts = f.lua > f.used? / 4;
    (f.keys == Some(0)
        && unexplained > GAP_BYTES
        && may_have_modules(f)
        && !explained_by_scripts
        && f.count("lazyfree_pending_objects") == 0)
        .then(|| {
            (
                unexplained,
                format!(
                    "{} are in use and there is not one key: something other than keys holds them",
                    human(unexplained)
                ),
            )
        })
}

/// Data is written when it is allocated; only a reservation stays untouched for the greater part. Swap
/// would need a machine under pressure.
fn never_touched(f: &Figures<'_>) -> Option<(u64, String)> {
    let (used, rss) = (f.used?, f.rss?);
    let untouched = used.checked_sub(rss)?;
    let pressure = f.limit.is_some_and(|l| share(rss, l.bytes) > 0.5);
    let swapping = f.sample.host.as_ref().and_then(unfrag_model::Host::is_swapping) == Some(true);
    let backlog = f.count("mem_replication_backlog");
    (untouched > used / 2 && untouched.saturating_sub(backlog) > GAP_BYTES && f.limit.is_some() && !pressure && !swapping && may_have_modules(f))
        .then(|| (untouched, format!("{} of used_memory were reserved and never touched: no data is like that, a module's buffers are", human(untouched))))
}

/// Live allocations that used_memory does not count, on a server with modules.
fn beside_used(f: &Figures<'_>) -> Option<(u64, String)> {
    let beside = f.allocated?.checked_sub(f.used?)?;
    let lua = if f.lua_in_used { 0 } else { f.lua };
    let unexplained = beside.saturating_sub(lua);
    (unexplained > f.noise_floor() && may_have_modules(f))
        .then(|| (unexplained, format!("{} are allocated in the process outside used_memory: modules that allocate for themselves", human(unexplained))))
}

//! # unexplained-memory
//!
//! ## What it detects
//! Live memory that neither keys nor buffers nor scripts nor modules account for: the signature of a leak.
//!
//! ## Why it matters
//! It cannot be evicted, defragmented or purged, and it grows.
//!
//! ## Evidence
//! used_memory against the Keyspace and Modules sections, used_memory_overhead, lazyfree_pending_objects,
//! mem_aof_buffer.
//!
//! ## Remedy
//! Compare with what a snapshot of the same data needs; fail over or restart to get it back; upgrade.
//!
//! ## Safety
//! A restart without SHUTDOWN SAVE loses the writes since the last save.
//!
//! ## References
//! redis issues 8594 and 13370: a fresh load of the same snapshot needed a quarter.

use crate::figures::Figures;
use crate::floors::GAP_BYTES;
use crate::next;
use unfrag_model::{Cause, Finding, RemedyKind, Severity, human};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let info = &f.sample.info;
    let no_modules = info.has_section("modules") && info.modules().is_empty();
    let lua = if f.lua_in_used { f.lua } else { 0 };
    let explained =
        f.overhead.unwrap_or(0).saturating_add(lua).saturating_add(f.client_buffers().unwrap_or(0));
    let unexplained = f.used?.saturating_sub(explained);
    let idle = f.count("lazyfree_pending_objects") == 0 && f.count("loading") == 0;
    (f.keys? == 0 && no_modules && idle && unexplained > GAP_BYTES).then(|| {
        let finding = Finding::new(
            Cause::MemoryLeakBug,
            Severity::Act,
            format!("{} are in use without a key, a buffer, a script or a module to account for them", human(unexplained)),
        )
        .bytes(unexplained)
        .meaning("live allocations that nothing visible owns: leaked, or a structure that INFO does not count")
        .evidence(f.cite("used_memory"))
        .evidence(f.cite("used_memory_overhead"))
        .evidence(f.cite("number_of_cached_scripts"));
        next::restart(f, finding).remedy(RemedyKind::Upgrade, "look for leak fixes after this version in the release notes")
    })
}

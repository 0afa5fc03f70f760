//! # script-memory
//!
//! ## What it detects
//! The Lua engines, or the cache of script bodies, hold a large part of the memory.
//!
//! ## Why it matters
//! Scripts generated per call are each compiled and cached until the next SCRIPT FLUSH. Before Redis 7.4
//! the engine's heap is outside used_memory, so maxmemory does not see it and the kernel does.
//!
//! ## Evidence
//! used_memory_lua or used_memory_vm_total, used_memory_scripts, number_of_cached_scripts.
//!
//! ## Remedy
//! SCRIPT FLUSH now; pass values through KEYS and ARGV so that one script serves all calls.
//!
//! ## Safety
//! After SCRIPT FLUSH an EVALSHA answers NOSCRIPT once per script; clients that handle it reload.
//!
//! ## References
//! redis issue 5828; redis source, eval.c (script cache, limited for EVAL since 7.4 / Valkey 8.0).

use crate::figures::{Figures, share};
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Finding, RemedyKind, Severity, Version, human};

/// Nobody writes this many scripts by hand.
const GENERATED: u64 = 10_000;

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let cached = f.count("used_memory_scripts").max(f.count("used_memory_scripts_eval"));
    let bytes = f.lua.saturating_add(cached);
    let whole = f.rss.into_iter().chain(f.used).max()?;
    let scripts = f.count("number_of_cached_scripts");
    let many = scripts > 1000;
    let large = bytes >= GAP_BYTES && share(bytes, whole) >= 0.10;
    let generated = scripts > GENERATED && bytes >= GAP_BYTES / 4;
    if !(large || generated) {
        return None;
    }
    let severity =
        if large && share(bytes, whole) > 0.25 { Severity::Act } else { Severity::Watch };
    let outside = if f.lua_in_used { "inside" } else { "outside" };
    let flush = if f.engine.version.is_some_and(|v| v >= Version::new(6, 2, 0)) {
        "SCRIPT FLUSH ASYNC"
    } else {
        "SCRIPT FLUSH"
    };
    Some(
        Finding::new(
            Cause::LuaScriptsMemory,
            severity,
            format!("scripts hold {}, {outside} used_memory", human(bytes)),
        )
        .bytes(bytes)
        .meaning(if many {
            "scripts are generated per call: each text is compiled and kept until SCRIPT FLUSH"
        } else {
            "the script engine's heap has grown; its garbage is returned when scripts are flushed"
        })
        .evidence(f.cite("used_memory_lua"))
        .evidence(f.cite("used_memory_vm_total"))
        .evidence(f.cite("used_memory_scripts"))
        .evidence(f.cite("number_of_cached_scripts"))
        .remedy(RemedyKind::ScriptFlush, format!("{} {flush}", f.cli()))
        .remedy(
            RemedyKind::ParameterizeScripts,
            "pass values in KEYS and ARGV instead of building them into the script's text",
        ),
    )
}

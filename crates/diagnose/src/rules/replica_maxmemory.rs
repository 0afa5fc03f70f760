//! # replica-maxmemory
//!
//! ## What it detects
//! `replica-ignore-maxmemory no`.
//!
//! ## Why it matters
//! A replica over its maxmemory then refuses commands of its primary's stream and silently diverges, with
//! the link up and the offsets equal.
//!
//! ## Evidence
//! The setting, the role, used_memory against maxmemory.
//!
//! ## Remedy
//! Set it back to yes, then resynchronise the replica.
//!
//! ## Safety
//! A replica that has diverged must not be promoted.
//!
//! ## References
//! redis.conf, replica-ignore-maxmemory; reproduced on Redis 7.0.15, 8.2.3 and Valkey 9.1.2.

use crate::figures::Figures;
use unfrag_model::{Cause, Finding, RemedyKind, Severity};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let enforced = ["replica-ignore-maxmemory", "slave-ignore-maxmemory"]
        .into_iter()
        .any(|name| f.sample.config.flag(name) == Some(false));
    let replica = f.sample.info.is_replica();
    let over = f.fullness().is_some_and(|full| full >= 1.0);
    enforced.then(|| {
        let severity = match (replica, over) {
            (true, true) => Severity::Urgent,
            (true, false) => Severity::Act,
            _ => Severity::Watch,
        };
        Finding::new(Cause::EvictionCannotFree, severity, "replica-ignore-maxmemory is no: a full replica silently loses writes")
            .meaning("it refuses commands of its primary's stream and diverges while link and offsets look well")
            .evidence(f.cite_config("replica-ignore-maxmemory"))
            .evidence(f.cite("role"))
            .remedy(RemedyKind::RaiseMaxmemory, format!("{} CONFIG SET replica-ignore-maxmemory yes, then resynchronise this replica", f.cli()))
    })
}

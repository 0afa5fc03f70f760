//! # persistence-loss
//!
//! ## What it detects
//! Settings under which a restart would lose data: no save points and no AOF on a primary, a last snapshot
//! that failed, an AOF that cannot be written.
//!
//! ## Why it matters
//! Restarting is the folk remedy for fragmentation; a `systemctl restart` here empties the server, and a
//! primary that comes back empty empties its replicas.
//!
//! ## Evidence
//! save, appendonly, rdb_last_bgsave_status, aof_last_write_status, rdb_changes_since_last_save, keys.
//!
//! ## Remedy
//! SHUTDOWN SAVE before any restart; repair what makes snapshots fail.
//!
//! ## Safety
//! Never switch appendonly on in the file and restart: only the AOF is loaded then, and there is none.
//!
//! ## References
//! redis source, server.c:prepareForShutdown and loadDataFromDisk.

use crate::figures::Figures;
use unfrag_model::{Cause, Finding, RemedyKind, Severity};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let info = &f.sample.info;
    let failed = info.text("rdb_last_bgsave_status") == Some("err");
    let aof_failed = info.text("aof_last_write_status") == Some("err");
    let nothing_saves = f.sample.config.text("save") == Some("")
        && f.sample.config.flag("appendonly").or_else(|| info.flag("aof_enabled")) == Some(false);
    let unsaved = f.count("rdb_changes_since_last_save");
    let (severity, title) = if failed {
        (Severity::Act, "the last snapshot failed: a restart would load an older one")
    } else if aof_failed {
        (
            Severity::Act,
            "the append-only file cannot be written: a restart would lose what it lacks",
        )
    } else if nothing_saves && unsaved > 0 && f.keys.is_some_and(|k| k > 0) {
        (
            Severity::Info,
            "nothing is saved by itself here: a restart other than SHUTDOWN SAVE loses the data",
        )
    } else {
        return None;
    };
    Some(
        Finding::new(Cause::Healthy, severity, title)
            .meaning("memory remedies that restart the server must save first")
            .evidence(f.cite("rdb_last_bgsave_status"))
            .evidence(f.cite("aof_last_write_status"))
            .evidence(f.cite("rdb_changes_since_last_save"))
            .evidence(f.cite_config("save"))
            .evidence(f.cite_config("appendonly"))
            .remedy(
                RemedyKind::SetPersistence,
                format!("{} SHUTDOWN SAVE   (the one stop that loses nothing)", f.cli()),
            )
            .folklore("BGSAVE and then a restart loses every write since the fork"),
    )
}

//! # stream-growth
//!
//! ## What it detects
//! Streams that are appended to and never trimmed, or consumer groups that read and never acknowledge.
//!
//! ## Why it matters
//! A stream without MAXLEN, and a pending list without XACK, grow for ever.
//!
//! ## Evidence
//! commandstats: calls of XADD against XTRIM and XDEL, of XREADGROUP against XACK; used_memory near its peak.
//!
//! ## Remedy
//! XADD … MAXLEN ~ n, XTRIM; XACK what was handled, XAUTOCLAIM what was not.
//!
//! ## Safety
//! Trimming deletes entries, read or not.
//!
//! ## References
//! redis issues 8635, 10777. MAXLEN inside XADD does not show in commandstats, hence only a hint.

use crate::figures::{Figures, share};
use crate::floors::GAP_BYTES;
use unfrag_model::{Cause, Evidence, Finding, RemedyKind, Severity};

pub(super) fn check(f: &Figures<'_>) -> Option<Finding> {
    let calls = |command: &str| {
        let line = f.sample.info.text(&format!("cmdstat_{command}"))?;
        line.split(',').find_map(|p| p.strip_prefix("calls=")?.parse::<u64>().ok())
    };
    let added = calls("xadd").filter(|&n| n > 1_000_000)?;
    let removed = calls("xtrim").unwrap_or(0).saturating_add(calls("xdel").unwrap_or(0));
    let (read, acknowledged) = (calls("xreadgroup").unwrap_or(0), calls("xack").unwrap_or(0));
    let growing = f.used? > GAP_BYTES * 4 && share(f.used?, f.peak?) > 0.95;
    let unacknowledged = read > 1000 && acknowledged.saturating_mul(10) < read;
    (growing && removed == 0 && unacknowledged).then(|| {
        Finding::new(
            Cause::StreamOrPelGrowth,
            Severity::Watch,
            format!(
                "{added} stream entries were added, none trimmed, and groups hardly acknowledge"
            ),
        )
        .meaning("the stream and its pending lists grow for as long as this goes on")
        .evidence(Evidence::new(
            "XADD, XTRIM+XDEL calls",
            format!("{added}, {removed}"),
            "INFO commandstats",
        ))
        .evidence(Evidence::new(
            "XREADGROUP, XACK calls",
            format!("{read}, {acknowledged}"),
            "INFO commandstats",
        ))
        .remedy(RemedyKind::ReduceData, "XADD key MAXLEN ~ n …, or XTRIM; XACK what was handled")
    })
}

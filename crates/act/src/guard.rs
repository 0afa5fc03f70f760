//! Preconditions, checked on a report and a sample: what must not be done to this server, and why. Pure.

use crate::RemedyName;
use serde::Serialize;
use unfrag_model::{Info, Report, Sample};

/// One reason not to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The remedy that is left out.
    pub what: RemedyName,
    /// For people.
    pub why: String,
    /// `--allow` goes on all the same.
    pub overridable: bool,
}

/// All reasons not to use this remedy here; empty when there is none.
pub fn check(remedy: RemedyName, report: &Report, sample: &Sample) -> Vec<Refusal> {
    let reasons = match remedy {
        RemedyName::Purge => purge(report),
        RemedyName::Defrag => defrag(report, sample),
        RemedyName::Repack => repack(report, sample),
    };
    reasons
        .into_iter()
        .map(|(why, overridable)| Refusal { what: remedy, why, overridable })
        .collect()
}

/// A reason, and whether `--allow` may pass over it.
type Reason = (String, bool);

fn hard(why: impl Into<String>) -> Reason {
    (why.into(), false)
}

fn soft(why: impl Into<String>) -> Reason {
    (why.into(), true)
}

fn purge(report: &Report) -> Vec<Reason> {
    report.reclaim.purge.unavailable.iter().map(hard).collect()
}

fn defrag(report: &Report, sample: &Sample) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = report.reclaim.defrag.unavailable.iter().map(hard).collect();
    if !reasons.is_empty() {
        return reasons;
    }
    if sample.config.is_empty() {
        reasons.push(hard("CONFIG cannot be read here, so no setting could be put back"));
    }
    let already_on = sample.config.flag("activedefrag") == Some(true);
    for (id, summary) in advisories(report) {
        // Tuning a defrag that is on switches nothing off; it is the toggle that crashes.
        let harmless = id.ends_with("defrag-toggle") && already_on;
        if id.contains("defrag") && !harmless {
            reasons.push(soft(format!("{summary} (advisory {id})")));
        }
    }
    reasons
}

/// Ids and summaries of the known bugs that concern this server.
fn advisories(report: &Report) -> impl Iterator<Item = (&str, &str)> {
    report.findings.iter().filter(|f| f.id == "advisory").filter_map(|f| f.title.split_once(": "))
}

/// This many clients inside MULTI or WATCH at one glance are a way of life.
const TRANSACTIONS: u64 = 5;

fn repack(report: &Report, sample: &Sample) -> Vec<Reason> {
    let info = &sample.info;
    if info.is_replica() {
        return vec![hard("a replica follows its primary: repack runs there and is replicated")];
    }
    if !info.text("mem_allocator").is_none_or(|a| a.starts_with("jemalloc")) {
        return vec![hard(
            "libc's heap shrinks only from its end, which the newest allocations hold: copies land there too",
        )];
    }
    let mut reasons: Vec<Reason> = report.reclaim.repack.unavailable.iter().map(hard).collect();
    // It is looked at again before every batch; but nobody should be asked to agree to what is known to end at once. RSS
    // may have room by then: a purge comes first.
    if let Some(why) = crate::remedy::repack::no_room(info) {
        reasons.push(hard(why));
    }
    let clients = sample.clients.as_ref();
    let tracking = clients.map_or(0, |c| c.tracking).max(tracking(info));
    let events = sample.config.text("notify-keyspace-events").unwrap_or_default();
    reasons.extend(listeners(events, tracking).into_iter().map(soft));
    if sample.config.is_empty() {
        reasons.push(soft(
            "CONFIG cannot be read here: whether keyspace notifications are on is unknown",
        ));
    }
    if let Some(n) = clients.map(|c| c.transactions).filter(|&n| n >= TRANSACTIONS) {
        reasons.push(soft(format!(
            "{n} clients use WATCH or MULTI: those that watch a key being copied would have to retry"
        )));
    }
    reasons
}

/// Who would hear of every key that is copied. They may come while it is done, so that is looked at again.
pub(crate) fn listeners(events: &str, tracking: u64) -> Vec<String> {
    let mut all = vec![];
    if !events.is_empty() {
        all.push(format!(
            "keyspace notifications are on ({events}): subscribers would see every key renamed"
        ));
    }
    if tracking > 0 {
        let who = match tracking {
            1 => "a client caches on its side".to_owned(),
            n => format!("{n} clients cache on their side"),
        };
        all.push(format!("{who} (CLIENT TRACKING): each key would be invalidated"));
    }
    all
}

/// Clients that cache on their side, as INFO tells since 6.0.
pub(crate) fn tracking(info: &Info) -> u64 {
    info.count("tracking_clients").unwrap_or(0)
}

//! From findings to alerts: [`Tracker`] decides, for one server, what is worth waking somebody. Pure.
//!
//! A finding has to stand for a while before it fires (longer the less it matters), and has to be gone for a while before
//! it is over. While a server loads, has just been started, syncs or forks, its figures say little: time stands still for
//! everything but what is urgent. Gaps in the readings and jumps of the clock count as no time at all.

use serde::Serialize;
use std::collections::BTreeMap;
use unfrag_model::{Finding, Sample, Severity, human};

/// How long a finding has to stand, and to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// The least that fires at all.
    pub min: Severity,
    /// Seconds before an urgent finding fires.
    pub urgent_s: i64,
    /// Seconds before one to act on fires.
    pub act_s: i64,
    /// Seconds before one to watch fires.
    pub watch_s: i64,
    /// Seconds it has to be gone before it is over.
    pub hold_s: i64,
    /// Seconds without an answer before a server is called lost.
    pub lost_s: i64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            min: Severity::Act,
            urgent_s: 60,
            act_s: 600,
            watch_s: 1800,
            hold_s: 600,
            lost_s: 60,
        }
    }
}

/// Seconds a finding may be missing before a count that has not fired begins anew: two looks.
const GAP_S: i64 = 30;
/// A look counts for at most this: what happened in a longer gap nobody saw.
const MAX_STEP_S: i64 = 60;
/// After its start a server's ratios are those of an empty heap; replicas and caches fill.
pub(crate) const FRESH_S: u64 = 300;
/// The name of the alert for a server that does not answer.
pub const UNREACHABLE: &str = "unreachable";

/// An alert that stands, or has just ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// The rule: `retained-pages`, or `unreachable`.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// Since when the finding stands, in seconds since 1970.
    pub since_s: i64,
    /// When it fired, in seconds since 1970.
    pub fired_s: i64,
    /// The reason, in a sentence with bytes.
    pub reason: String,
    /// What that means.
    pub meaning: String,
    /// Bytes it is about.
    pub bytes: Option<u64>,
    /// What to do next, complete.
    pub next: String,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It fires, or became more severe.
    Fired(Alert),
    /// It is over.
    Resolved(Alert),
}

/// One look at a server.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Seconds since 1970.
    pub at_s: i64,
    /// What was found.
    pub findings: &'a [Finding],
    /// Why figures say little now, if so.
    pub quiet: Option<Quiet>,
    /// Why there is no answer, if so.
    pub lost: Option<&'a str>,
}

/// Why figures say little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// The data is being loaded.
    Loading,
    /// A child saves or rewrites.
    Fork,
    /// It was started a moment ago.
    Fresh,
    /// A replica takes its primary's data in.
    Syncing,
}

impl Quiet {
    /// What a sample says.
    pub fn of(sample: &Sample) -> Option<Self> {
        let is = |key| sample.info.flag(key) == Some(true);
        if is("loading") || is("async_loading") {
            return Some(Self::Loading);
        }
        if is("master_sync_in_progress") {
            return Some(Self::Syncing);
        }
        if crate::point::is_forking(sample) {
            return Some(Self::Fork);
        }
        let fresh = sample.info.count("uptime_in_seconds").is_some_and(|s| s < FRESH_S);
        fresh.then_some(Self::Fresh)
    }
}

/// Keeps count for one server.
#[derive(Debug, Default)]
pub struct Tracker {
    last_s: Option<i64>,
    counts: BTreeMap<String, Count>,
}

#[derive(Debug)]
struct Count {
    alert: Alert,
    present_s: i64,
    absent_s: i64,
    has_fired: bool,
}

impl Tracker {
    /// Takes a look in; says what changed.
    pub fn observe(&mut self, look: &Look<'_>, patience: &Patience) -> Vec<Change> {
        let step_s = self.last_s.map_or(0, |last| (look.at_s - last).clamp(0, MAX_STEP_S));
        self.last_s = Some(look.at_s);
        let seen = seen(look, patience);
        let mut changes = vec![];
        for (id, alert) in &seen {
            let step_s = if counts_now(look, alert.severity) { step_s } else { 0 };
            changes.extend(self.present(id, alert, step_s, patience));
        }
        // Nothing was read: what stood still stands.
        let blind = look.lost.is_some() || look.quiet.is_some();
        let step_s = if blind { 0 } else { step_s };
        self.counts.retain(|id, count| {
            let stands = seen.contains_key(id) || (blind && id != UNREACHABLE);
            if stands {
                return true;
            }
            count.absent_s += step_s.max(i64::from(id == UNREACHABLE));
            let hold_s = if id == UNREACHABLE { 0 } else { patience.hold_s };
            if count.has_fired && count.absent_s >= hold_s {
                changes.push(Change::Resolved(count.alert.clone()));
                return false;
            }
            count.has_fired || count.absent_s <= GAP_S
        });
        changes
    }

    fn present(
        &mut self,
        id: &str,
        alert: &Alert,
        step_s: i64,
        patience: &Patience,
    ) -> Option<Change> {
        // The first sight is the beginning: what was before it does not count.
        let is_new = !self.counts.contains_key(id);
        let count = self.counts.entry(id.to_owned()).or_insert_with(|| Count {
            alert: alert.clone(),
            present_s: 0,
            absent_s: 0,
            has_fired: false,
        });
        count.present_s += if is_new { 0 } else { step_s };
        count.absent_s = 0;
        let worse = alert.severity > count.alert.severity;
        let (since_s, fired_s) = (count.alert.since_s, count.alert.fired_s);
        count.alert = Alert { since_s, fired_s, ..alert.clone() };
        let due = count.present_s >= patience.of(id, alert.severity);
        if count.has_fired {
            return worse.then(|| Change::Fired(count.alert.clone()));
        }
        due.then(|| {
            count.has_fired = true;
            count.alert.fired_s = alert.fired_s;
            Change::Fired(count.alert.clone())
        })
    }

    /// Alerts that stand.
    pub fn firing(&self) -> Vec<Alert> {
        self.counts.values().filter(|c| c.has_fired).map(|c| c.alert.clone()).collect()
    }
}

impl Patience {
    fn of(&self, id: &str, severity: Severity) -> i64 {
        match severity {
            _ if id == UNREACHABLE => self.lost_s,
            Severity::Urgent => self.urgent_s,
            Severity::Act => self.act_s,
            Severity::Watch | Severity::Info => self.watch_s,
        }
    }
}

/// Whether time counts for a finding in this look.
fn counts_now(look: &Look<'_>, severity: Severity) -> bool {
    match look.quiet {
        None => true,
        Some(Quiet::Fork) => severity == Severity::Urgent,
        Some(_) => false,
    }
}

fn seen(look: &Look<'_>, patience: &Patience) -> BTreeMap<String, Alert> {
    let mut seen = BTreeMap::new();
    if let Some(why) = look.lost {
        let alert = Alert {
            id: UNREACHABLE.to_owned(),
            severity: Severity::Urgent,
            since_s: look.at_s,
            fired_s: look.at_s,
            reason: format!("the server does not answer: {why}"),
            meaning: "nothing is known of its memory until it does".to_owned(),
            bytes: None,
            next: "see whether the process runs, and its log; an OOM kill is in `dmesg`".to_owned(),
        };
        seen.insert(UNREACHABLE.to_owned(), alert);
    }
    for finding in look.findings.iter().filter(|f| f.severity >= patience.min) {
        seen.entry(finding.id.to_owned()).or_insert_with(|| of_finding(finding, look.at_s));
    }
    seen
}

fn of_finding(finding: &Finding, at_s: i64) -> Alert {
    let bytes = finding.bytes.filter(|b| *b > 0);
    // A title without a figure gets one: who is woken wants to know how much.
    let reason = match bytes {
        Some(bytes) if !finding.title.contains("iB") => {
            format!("{} ({})", finding.title, human(bytes))
        }
        _ => finding.title.clone(),
    };
    Alert {
        id: finding.id.to_owned(),
        severity: finding.severity,
        since_s: at_s,
        fired_s: at_s,
        reason,
        meaning: finding.meaning.clone(),
        bytes,
        next: finding
            .remedies
            .first()
            .map_or_else(|| format!("unfrag explain {}", finding.id), |r| r.next.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_model::Cause;

    fn finding(severity: Severity) -> Finding {
        let mut finding = Finding::new(Cause::ExternalFragmentation, severity, "much is wasted");
        finding.id = "fragmentation";
        finding.bytes(300 << 20)
    }

    /// Looks every ten seconds; `what` says what is seen at each.
    fn run(
        seconds: i64,
        what: impl Fn(i64) -> (Option<Severity>, Option<Quiet>, bool),
    ) -> Vec<(i64, &'static str)> {
        let mut tracker = Tracker::default();
        let mut log = vec![];
        for at_s in (0..seconds).step_by(10) {
            let (severity, quiet, lost) = what(at_s);
            let findings: Vec<Finding> = severity.map(finding).into_iter().collect();
            let look = Look { at_s, findings: &findings, quiet, lost: lost.then_some("gone") };
            for change in tracker.observe(&look, &Patience::default()) {
                log.push((at_s, if matches!(change, Change::Fired(_)) { "fired" } else { "over" }));
            }
        }
        log
    }

    #[test]
    fn it_fires_after_a_while_and_ends_after_a_while() {
        let log = run(4000, |t| ((100..2000).contains(&t).then_some(Severity::Act), None, false));
        assert_eq!(log, [(700, "fired"), (2590, "over")]);
    }

    #[test]
    fn flapping_is_one_alert() {
        let log =
            run(8000, |t| ((t < 5000 && t % 300 < 290).then_some(Severity::Act), None, false));
        assert_eq!(log.len(), 2, "{log:?}");
    }

    #[test]
    fn short_visits_do_not_fire() {
        assert_eq!(run(9000, |t| ((t % 900 < 500).then_some(Severity::Act), None, false)), []);
        assert_eq!(run(9000, |_| (Some(Severity::Watch), None, false)), []);
    }

    #[test]
    fn quiet_times_neither_count_nor_end_it() {
        let fork =
            |t| (Some(Severity::Act), ((300..3000).contains(&t)).then_some(Quiet::Fork), false);
        assert_eq!(run(4000, fork), [(3300, "fired")]);
        let fresh = |_| (Some(Severity::Urgent), Some(Quiet::Fresh), false);
        assert_eq!(run(4000, fresh), []);
        let fork = |_| (Some(Severity::Urgent), Some(Quiet::Fork), false);
        assert_eq!(run(4000, fork), [(60, "fired")]);
        let hidden =
            |t: i64| ((t < 700).then_some(Severity::Act), (t >= 700).then_some(Quiet::Fork), false);
        assert_eq!(run(9000, hidden), [(600, "fired")]);
    }

    #[test]
    fn a_lost_server_is_told_at_once_and_back_at_once() {
        let log = run(900, |t| (None, None, (300..600).contains(&t)));
        assert_eq!(log, [(360, "fired"), (600, "over")]);
        assert_eq!(run(900, |t| (None, None, t == 300)), []);
    }

    #[test]
    fn clock_jumps_and_gaps_are_no_time() {
        let mut tracker = Tracker::default();
        let findings = [finding(Severity::Act)];
        let mut fired = 0;
        for at_s in [0, 10, 90_000, 5, -50_000, 15] {
            let look = Look { at_s, findings: &findings, quiet: None, lost: None };
            fired += tracker.observe(&look, &Patience::default()).len();
        }
        assert_eq!(fired, 0);
    }

    #[test]
    fn worse_is_told_again_with_bytes_and_next_step() {
        let mut tracker = Tracker::default();
        let patience = Patience { act_s: 0, urgent_s: 0, ..Patience::default() };
        let mut all = vec![];
        for (at_s, severity) in [(0, Severity::Act), (10, Severity::Act), (20, Severity::Urgent)] {
            let findings = [finding(severity)];
            all.extend(
                tracker.observe(
                    &Look { at_s, findings: &findings, quiet: None, lost: None },
                    &patience,
                ),
            );
        }
        let [Change::Fired(_), Change::Fired(alert)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(alert.severity, Severity::Urgent);
        assert_eq!(alert.reason, "much is wasted (300 MiB)");
        assert_eq!(alert.next, "unfrag explain fragmentation");
    }
}

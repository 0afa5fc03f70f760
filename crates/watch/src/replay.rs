//! Replays a recorded history through the alerts, beside the rule that most people have: `ratio > 1.5 for 10m`.
//!
//! Pure. `examples/replay.rs` prints the comparison, `tests/replay.rs` holds it.

use crate::alert::{Change, Look, Patience, Quiet, Tracker};
use unfrag_diagnose::{Advisories, diagnose_with};
use unfrag_model::Sample;

/// One alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Seconds after the beginning.
    pub after_s: i64,
    /// Why, in a few words.
    pub reason: String,
}

/// Who raised the alarm over one history, and when first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Ours, each rule once.
    pub ours: Vec<Alarm>,
    /// The ratio's.
    pub ratio: Option<Alarm>,
}

/// What people alert on, as Prometheus would evaluate it: true without a break for ten minutes.
const RATIO: f64 = 1.5;
const RATIO_FOR_S: i64 = 600;

/// Replays `(seconds, sample)` in order of time.
pub fn replay<'a>(
    history: impl IntoIterator<Item = (i64, &'a Sample)>,
    patience: &Patience,
) -> Alarms {
    let advisories = Advisories::embedded();
    let mut tracker = Tracker::default();
    let mut alarms = Alarms::default();
    let mut above_since: Option<i64> = None;
    for (at_s, sample) in history {
        let report = diagnose_with(sample, &advisories);
        let look = Look { at_s, findings: &report.findings, quiet: Quiet::of(sample), lost: None };
        for change in tracker.observe(&look, patience) {
            if let Change::Fired(alert) = change
                && !alarms.ours.iter().any(|a| a.reason.starts_with(&alert.id))
            {
                let reason = format!("{}: {}", alert.id, alert.reason);
                alarms.ours.push(Alarm { after_s: at_s, reason });
            }
        }
        match ratio(sample).filter(|r| *r > RATIO) {
            None => above_since = None,
            Some(ratio) => {
                let since = *above_since.get_or_insert(at_s);
                if at_s - since >= RATIO_FOR_S && alarms.ratio.is_none() {
                    alarms.ratio =
                        Some(Alarm { after_s: at_s, reason: format!("ratio {ratio:.2}") });
                }
            }
        }
    }
    alarms
}

/// What INFO prints, or what exporters compute where it does not.
fn ratio(sample: &Sample) -> Option<f64> {
    let info = &sample.info;
    info.ratio("mem_fragmentation_ratio").or_else(|| {
        let used = info.count("used_memory").filter(|u| *u > 0)?;
        Some(info.count("used_memory_rss")? as f64 / used as f64)
    })
}

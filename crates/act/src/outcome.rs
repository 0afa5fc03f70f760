//! [`Outcome`]: what was done, what it gave back, and what was put back. Its JSON form is `unfrag.fix/1`.

use crate::plan::WORTHWHILE_BYTES;
use crate::probe::Percentiles;
use crate::settings::Restored;
use crate::{Plan, RemedyName};
use serde::{Deserialize, Serialize};
use unfrag_model::{Info, Layers, Report};

/// How a step or a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As planned.
    Done,
    /// There was nothing left for it to do.
    NotNeeded,
    /// Ended early by a bound of the plan: time, target reached.
    Bounded,
    /// Ended early by the user.
    Stopped,
    /// The server refuses this remedy.
    Refused,
    /// It failed.
    Failed,
}

/// Latency that a probe of our own saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Before anything was done.
    pub baseline: Percentiles,
    /// While it was done.
    pub during: Percentiles,
}

impl Latency {
    /// What the step added at the 99.9th percentile, in microseconds.
    pub fn added_p999_us(&self) -> u64 {
        self.during.p999.saturating_sub(self.baseline.p999)
    }
}

/// One step, done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepOutcome {
    /// What.
    pub remedy: RemedyName,
    /// How it ended.
    pub status: Status,
    /// More of that, for people.
    pub note: String,
    /// Bytes it was to give back.
    pub predicted_bytes: Option<u64>,
    /// Bytes of RSS that are gone; negative when RSS grew meanwhile.
    pub reclaimed_bytes: i64,
    /// How long it took.
    pub duration_ms: u64,
    /// Latency, before and during.
    pub latency_us: Latency,
}

/// What was not touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// A remedy, or a key.
    pub what: String,
    /// Why.
    pub why: String,
}

/// The whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The server.
    pub target: String,
    /// How it ended.
    pub status: Status,
    /// Why it ended early or failed.
    pub error: Option<String>,
    /// The ladder before.
    pub before: Layers,
    /// The ladder after.
    pub after: Layers,
    /// Bytes it was to give back.
    pub predicted_bytes: u64,
    /// Bytes of RSS given back; negative when RSS grew.
    pub reclaimed_bytes: i64,
    /// RSS of a fresh process with the same data.
    pub floor_rss_bytes: Option<u64>,
    /// The steps.
    pub steps: Vec<StepOutcome>,
    /// Settings that were changed.
    pub restored_config: Vec<Restored>,
    /// Copies of keys that were set aside could not be deleted: `unfrag undo` does, and they expire within a minute.
    pub left_aside: bool,
    /// What was not touched.
    pub skipped: Vec<Skipped>,
    /// A remedy was left out that `--allow` would use.
    pub held_back: bool,
}

impl Outcome {
    /// Of a plan without steps.
    pub fn nothing(plan: &Plan, report: &Report) -> Self {
        Self {
            target: plan.target.clone(),
            status: if plan.refused.is_empty() { Status::NotNeeded } else { Status::Refused },
            error: None,
            before: report.layers,
            after: report.layers,
            predicted_bytes: 0,
            reclaimed_bytes: 0,
            floor_rss_bytes: plan.floor_rss_bytes,
            steps: vec![],
            restored_config: vec![],
            left_aside: false,
            skipped: skipped(plan),
            held_back: held_back(plan),
        }
    }

    /// True when everything that was changed is as it was.
    pub fn is_restored(&self) -> bool {
        !self.left_aside && self.restored_config.iter().all(|r| r.restored)
    }

    /// True when a step that was tried was refused.
    pub fn has_refused(&self) -> bool {
        self.steps.iter().any(|s| s.status == Status::Refused)
    }

    /// True when every step that was tried was refused.
    pub fn is_refused(&self) -> bool {
        are_refused(&self.steps)
    }

    /// Bytes that are still to be had, by what was held back or by a restart.
    pub fn still_to_be_had(&self) -> Option<u64> {
        let left = self.after.rss?.saturating_sub(self.floor_rss_bytes?);
        // Nobody restarts a server for less, nor for nothing, where it came out below what was taken for the floor.
        Some(left).filter(|left| *left >= WORTHWHILE_BYTES)
    }
}

/// Steps were tried, and none would be taken.
pub(crate) fn are_refused(steps: &[StepOutcome]) -> bool {
    !steps.is_empty() && steps.iter().all(|s| s.status == Status::Refused)
}

/// What a plan leaves out.
pub(crate) fn skipped(plan: &Plan) -> Vec<Skipped> {
    let refused = plan.refused.iter();
    refused.map(|r| Skipped { what: r.what.name().to_owned(), why: r.why.clone() }).collect()
}

pub(crate) fn held_back(plan: &Plan) -> bool {
    plan.refused.iter().any(|r| r.overridable)
}

/// The ladder of a bare INFO, with limits taken over from the report.
pub(crate) fn layers(info: &Info, like: &Layers) -> Layers {
    let known = |like: Option<u64>, field: &str| like.and_then(|_| info.count(field));
    let mut layers = Layers {
        used: info.count("used_memory"),
        allocated: known(like.allocated, "allocator_allocated"),
        active: known(like.active, "allocator_active"),
        resident: known(like.resident, "allocator_resident"),
        rss: info.count("used_memory_rss"),
        // Another process has another one.
        peak: known(like.peak, "used_memory_peak"),
        remainder: 0,
        ..*like
    };
    let levels = layers.levels();
    if let (Some((_, first)), Some((_, last))) = (levels.first(), levels.last()) {
        let rises: u64 = levels
            .iter()
            .zip(levels.iter().skip(1))
            .map(|((_, lower), (_, upper))| upper.saturating_sub(*lower))
            .sum();
        layers.remainder = last.cast_signed() - first.cast_signed() - rises.cast_signed();
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies are tighter than what was written bit by bit: a run can end below what was taken for the floor.
    #[test]
    fn nobody_is_sent_to_restart_for_nothing() {
        let left = |rss: u64| {
            let outcome = Outcome {
                target: String::new(),
                status: Status::Done,
                error: None,
                before: Layers::default(),
                after: Layers { rss: Some(rss), ..Layers::default() },
                predicted_bytes: 0,
                reclaimed_bytes: 0,
                floor_rss_bytes: Some(80 << 20),
                steps: vec![],
                restored_config: vec![],
                left_aside: false,
                skipped: vec![],
                held_back: false,
            };
            outcome.still_to_be_had()
        };
        assert_eq!(left(79 << 20), None);
        assert_eq!(left(81 << 20), None);
        assert_eq!(left(90 << 20), Some(10 << 20));
    }
}

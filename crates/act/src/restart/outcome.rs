//! [`RestartOutcome`]: what was done and what came of it. Its JSON form is `unfrag.restart/1`.

use crate::restart::plan::{Mode, Objection, RestartPlan};
use crate::restart::verify::Verified;
use crate::settings::Restored;
use serde::Serialize;
use unfrag_model::Layers;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartStatus {
    /// As planned, and verified.
    Done,
    /// Nothing was done.
    Refused,
    /// It failed or was stopped, and everything is as it was.
    RolledBack,
    /// It failed half way: `unfrag undo` completes it.
    Failed,
}

/// One step, done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepDone {
    /// Its name.
    pub name: &'static str,
    /// The server.
    pub node: String,
    /// What came of it.
    pub note: String,
    /// False when it failed.
    pub ok: bool,
    /// How long it took.
    pub duration_ms: f64,
}

/// One server of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeOutcome {
    /// The server.
    pub node: String,
    /// RSS before.
    pub rss_before: Option<u64>,
    /// RSS after.
    pub rss_after: Option<u64>,
}

/// The whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestartOutcome {
    /// The server.
    pub target: String,
    /// How.
    pub mode: Mode,
    /// Why so.
    pub why: String,
    /// How it ended.
    pub status: RestartStatus,
    /// Why it failed. In a document it stands beside the outcome, with what to do about it.
    #[serde(skip)]
    pub error: Option<String>,
    /// `unfrag undo` has something to complete.
    pub needs_undo: bool,
    /// The ladder before.
    pub before: Layers,
    /// The ladder after.
    pub after: Layers,
    /// Bytes it was to give back.
    pub predicted_bytes: u64,
    /// Bytes of RSS given back; negative when RSS grew.
    pub reclaimed_bytes: i64,
    /// RSS that a fresh process was expected to have.
    pub floor_rss_bytes: Option<u64>,
    /// How long no write was taken, at most; for a rolling restart the longest hand-over.
    pub gap_ms: Option<f64>,
    /// What was compared.
    pub verified: Verified,
    /// Each server, where there are several.
    pub nodes: Vec<NodeOutcome>,
    /// What was done.
    pub steps: Vec<StepDone>,
    /// Settings that were changed for a while.
    pub restored_config: Vec<Restored>,
    /// Sentences worth reading.
    pub notes: Vec<String>,
    /// What stood against it.
    pub refused: Vec<Objection>,
}

impl RestartOutcome {
    /// Of a plan that is refused.
    pub fn refused(plan: &RestartPlan, before: Layers) -> Self {
        Self {
            target: plan.target.clone(),
            mode: plan.mode,
            why: plan.why.clone(),
            status: RestartStatus::Refused,
            error: Some(refusal(plan)),
            needs_undo: false,
            before,
            after: before,
            predicted_bytes: plan.predicted_bytes,
            reclaimed_bytes: 0,
            floor_rss_bytes: plan.floor_rss_bytes,
            gap_ms: None,
            verified: Verified::default(),
            nodes: vec![],
            steps: vec![],
            restored_config: vec![],
            notes: plan.warnings.clone(),
            refused: plan.refused.clone(),
        }
    }
}

/// What stands against the mode that was chosen, in one.
fn refusal(plan: &RestartPlan) -> String {
    let against = plan.refused.iter().filter(|o| o.mode == plan.mode);
    let mut all: Vec<&str> = against.map(|o| o.why.as_str()).collect();
    all.dedup();
    all.join("; ")
}

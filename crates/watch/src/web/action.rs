//! Acting from the page. That the caller may is the guard's business, which has been passed by now.

use super::App;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use unfrag_act::permit::Consent;
use unfrag_act::{Bounds, RemedyName};

/// What a fix may do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// `purge`, `defrag`, `repack`; none means all.
    #[serde(default)]
    only: Vec<String>,
    /// Milliseconds that may be added at the 99.9th percentile.
    #[serde(default = "default_budget_ms")]
    latency_budget_ms: u64,
    /// Seconds it may take.
    #[serde(default = "default_duration_s")]
    max_duration_s: u64,
}

fn default_budget_ms() -> u64 {
    5
}

fn default_duration_s() -> u64 {
    15 * 60
}

/// More is not given from a page.
const MAX_BUDGET_MS: u64 = 100;
const MAX_DURATION_S: u64 = 6 * 3600;

type Answer = Result<Json<serde_json::Value>, (StatusCode, String)>;

/// Begins a fix.
pub(super) async fn fix(
    State(app): State<Arc<App>>,
    Path(id): Path<i64>,
    Json(wish): Json<Wish>,
) -> Answer {
    let node = app
        .fleet
        .node(id)
        .ok_or((StatusCode::NOT_FOUND, "no such server is watched\n".to_owned()))?;
    let only = wish.only.iter().map(|name| remedy(name)).collect::<Option<Vec<_>>>();
    let only =
        only.ok_or((StatusCode::BAD_REQUEST, "remedies are purge, defrag, repack\n".to_owned()))?;
    let bounds = Bounds {
        only,
        max_duration: Duration::from_secs(wish.max_duration_s.clamp(10, MAX_DURATION_S)),
        latency_budget_us: wish.latency_budget_ms.clamp(1, MAX_BUDGET_MS) * 1000,
        ..Bounds::default()
    };
    match app.jobs.begin(&app.fleet, &node, bounds, Consent::Token) {
        Ok(job) => Ok(Json(serde_json::json!({ "job": job }))),
        Err(why) => Err((StatusCode::CONFLICT, format!("{why}\n"))),
    }
}

/// Ends a fix; it puts everything back.
pub(super) async fn stop(State(app): State<Arc<App>>, Path(id): Path<u64>) -> Answer {
    if app.jobs.stop(id) {
        return Ok(Json(serde_json::json!({ "stopping": id })));
    }
    Err((StatusCode::NOT_FOUND, "no such fix is running\n".to_owned()))
}

/// Says that the token is right.
pub(super) async fn check() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "ok": true }))
}

fn remedy(name: &str) -> Option<RemedyName> {
    [RemedyName::Purge, RemedyName::Defrag, RemedyName::Repack]
        .into_iter()
        .find(|r| r.name() == name)
}

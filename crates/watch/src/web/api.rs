//! The JSON behind the page, and the text for Prometheus.

use super::App;
use crate::history::HistoryError;
use crate::history::query::Reader;
use crate::line::Line;
use crate::node::{Node, View};
use crate::point::{Column, Point, headroom, waste};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use unfrag_client::{connect, sample};
use unfrag_diagnose::diagnose_with;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Failed = (StatusCode, String);
type Answer = Result<Json<Value>, Failed>;

/// Heavy work beside the tasks that watch.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Failed> {
    let text = aside(move || crate::metrics::render(&app.fleet)).await?;
    Ok(([("content-type", TEXT)], text).into_response())
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    target: String,
}

/// Looks at a server now. Only at one that is watched: anything else would send its password wherever a caller says.
pub(super) async fn probe(
    State(app): State<Arc<App>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let node = app.fleet.named(&asked.target).ok_or((
        StatusCode::NOT_FOUND,
        "this server is not watched: add it to the targets; /probe connects to nothing else\n"
            .to_owned(),
    ))?;
    let patience = headers
        .get("x-prometheus-scrape-timeout-seconds")
        .and_then(|v| v.to_str().ok()?.parse::<f64>().ok())
        .filter(|s| (0.1..=60.0).contains(s))
        .map_or(Duration::from_secs(8), |s| Duration::from_secs_f64(s * 0.9));
    let looked = tokio::time::timeout(patience, look(&app, &node)).await;
    let view = looked.ok().flatten();
    let success = u8::from(view.is_some());
    let mut text = crate::metrics::render_one(&node, view);
    text.push_str("# HELP unfrag_probe_success 1 when the server answered this probe.\n");
    text.push_str(&format!("# TYPE unfrag_probe_success gauge\nunfrag_probe_success {success}\n"));
    Ok(([("content-type", TEXT)], text).into_response())
}

/// A whole sample now; what the watch itself knows is left alone. `None` when the server does not answer.
async fn look(app: &App, node: &Arc<Node>) -> Option<View> {
    let mut connection = connect(&node.address, &node.options).await.ok()?;
    let what = app.fleet.settings().sample.clone();
    let sample = sample(&mut connection, &what).await.ok()?;
    let report = diagnose_with(&sample, &app.fleet.advisories);
    let at_ms = sample.taken_at_unix_ms.unwrap_or(0);
    let point = Point::new(i64::try_from(at_ms / 1000).unwrap_or(0), &sample, &report);
    Some(View::new(&sample, report, point, at_ms))
}

/// Every server's last report, in the form of `check`.
pub(super) async fn targets(State(app): State<Arc<App>>) -> Result<Response, Failed> {
    let text = aside(move || {
        let targets: Vec<Value> = app.fleet.nodes().iter().map(|n| report(n)).collect();
        let problems: Vec<Value> = app
            .fleet
            .problems()
            .into_iter()
            .map(|(what, why)| json!({ "what": what, "why": why }))
            .collect();
        json!({ "schema": "unfrag.check/1", "targets": targets, "problems": problems }).to_string()
    })
    .await?;
    Ok(([("content-type", "application/json")], text).into_response())
}

/// One server in the form of `check`.
fn report(node: &Node) -> Value {
    let state = node.state();
    match (&state.view, &state.failure) {
        (_, Some(failure)) => json!({
            "target": node.name,
            "error": { "message": failure.message, "hint": failure.hint },
        }),
        (None, None) => json!({
            "target": node.name,
            "error": { "message": "it has not been read yet", "hint": "" },
        }),
        (Some(view), None) => {
            let mut value = serde_json::to_value(&view.report).unwrap_or_default();
            if let Some(map) = value.as_object_mut() {
                map.insert("commands".to_owned(), json!(view.commands));
                map.insert("error".to_owned(), Value::Null);
            }
            value
        }
    }
}

fn find(app: &App, id: i64) -> Result<Arc<Node>, Failed> {
    app.fleet.node(id).ok_or((StatusCode::NOT_FOUND, "no such server is watched\n".to_owned()))
}

/// All that the page shows of one server, but its history.
pub(super) async fn target(State(app): State<Arc<App>>, Path(id): Path<i64>) -> Answer {
    let node = find(&app, id)?;
    let jobs = app.jobs.of(id);
    let reader = reader(&app);
    let kept = aside(move || {
        let Ok(Some(reader)) = reader else { return (vec![], vec![]) };
        (reader.outcomes(id, 20).unwrap_or_default(), reader.decisions(id, 20).unwrap_or_default())
    })
    .await?;
    let mut value = row(&node);
    let state = node.state();
    let bins: Vec<[u64; 4]> = state
        .view
        .iter()
        .flat_map(|v| v.bins.iter())
        .filter(|b| b.slabs > 0)
        .map(|b| [b.size_bytes, b.slabs, b.live_regions, b.waste_bytes()])
        .collect();
    let more = json!({
        "report": state.view.as_ref().map(|v| &v.report),
        "read_at_ms": state.view.as_ref().map(|v| v.at_ms),
        "deep_at_ms": state.view.as_ref().map(|v| v.deep_at_ms),
        "outlook": state.outlook,
        "alerts": state.alerts,
        "looks": state.looks,
        "bins": bins,
        "jobs": jobs,
        "outcomes": kept.0,
        "decisions": kept.1,
    });
    drop(state);
    if let (Some(map), Some(more)) = (value.as_object_mut(), more.as_object()) {
        map.extend(more.clone());
    }
    Ok(Json(value))
}

#[derive(Debug, Deserialize)]
pub(super) struct Span {
    /// Seconds since 1970.
    from: Option<i64>,
    until: Option<i64>,
}

impl Span {
    fn bounds(&self) -> (i64, i64) {
        /// Far from where sums of seconds overflow: the year 5138.
        const LAST_S: i64 = 100_000_000_000;
        let until = self.until.unwrap_or_else(crate::clock::now_s).clamp(0, LAST_S);
        (self.from.unwrap_or(until - 86400).clamp(0, until), until)
    }
}

fn reader(app: &App) -> Result<Option<Reader>, HistoryError> {
    app.fleet.history().map(|h| Reader::open(h.path())).transpose()
}

fn broken(error: &HistoryError) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

/// The columns that charts draw.
const CHARTED: [Column; 20] = [
    Column::Up,
    Column::Verdict,
    Column::Used,
    Column::Allocated,
    Column::Active,
    Column::Resident,
    Column::Rss,
    Column::Limit,
    Column::Maxmemory,
    Column::Fragmentation,
    Column::Retained,
    Column::Outside,
    Column::Waste,
    Column::Headroom,
    Column::Cow,
    Column::Keys,
    Column::Ops,
    Column::Forking,
    Column::Defragging,
    Column::RoundTrip,
];

pub(super) async fn history(
    State(app): State<Arc<App>>,
    Path(id): Path<i64>,
    Query(span): Query<Span>,
) -> Answer {
    let node = find(&app, id)?;
    let (from_s, until_s) = span.bounds();
    let recent = node.state().recent.clone();
    if let Some(store) = app.fleet.settings().prometheus.clone() {
        let read = store.series(&node.name, from_s, until_s).await;
        let series = read.map_err(|why| {
            (StatusCode::BAD_GATEWAY, format!("the store of figures cannot be read: {why}\n"))
        })?;
        return Ok(Json(charted(&series)));
    }
    let reader = reader(&app).map_err(|e| broken(&e))?;
    let series = aside(move || match reader {
        Some(reader) => reader.series(id, from_s, until_s, &recent),
        None => {
            Ok(crate::history::query::Series { step_s: 10, peaks: recent.clone(), means: recent })
        }
    })
    .await?
    .map_err(|e| broken(&e))?;
    Ok(Json(charted(&series)))
}

fn charted(series: &crate::history::query::Series) -> Value {
    let column = |points: &[Point], column: Column| -> Vec<Option<i64>> {
        points.iter().map(|p| p.get(column)).collect()
    };
    let mut means = serde_json::Map::new();
    for c in CHARTED {
        means.insert(c.name().to_owned(), json!(column(&series.means, c)));
    }
    let times: Vec<i64> = series.means.iter().map(|p| p.at_s).collect();
    json!({
        "step_s": series.step_s,
        "at_s": times,
        "means": means,
        "peaks": { "rss": column(&series.peaks, Column::Rss), "used": column(&series.peaks, Column::Used) },
    })
}

pub(super) async fn bins(
    State(app): State<Arc<App>>,
    Path(id): Path<i64>,
    Query(span): Query<Span>,
) -> Answer {
    find(&app, id)?;
    let (from_s, until_s) = span.bounds();
    let Some(reader) = reader(&app).map_err(|e| broken(&e))? else {
        return Ok(Json(json!({ "rows": [] })));
    };
    let bins = aside(move || reader.bins(id, from_s, until_s)).await?.map_err(|e| broken(&e))?;
    Ok(Json(json!(bins)))
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<i64>,
    Query(span): Query<Span>,
) -> Answer {
    /// Lines on a page.
    const MOST: u32 = 300;
    find(&app, id)?;
    let (from_s, _) = span.bounds();
    let Some(reader) = reader(&app).map_err(|e| broken(&e))? else {
        return Ok(Json(json!({ "events": [] })));
    };
    let events = aside(move || reader.events(id, from_s, MOST)).await?.map_err(|e| broken(&e))?;
    Ok(Json(json!({ "events": events })))
}

pub(super) async fn job(State(app): State<Arc<App>>, Path(id): Path<u64>) -> Answer {
    let job = app.jobs.get(id);
    job.map(|j| Json(json!(j))).ok_or((StatusCode::NOT_FOUND, "no such fix\n".to_owned()))
}

/// The fleet, a line a server.
pub(super) async fn overview(State(app): State<Arc<App>>) -> Result<Response, Failed> {
    let text = aside(move || {
        let policy = app.policy.borrow();
        let servers: Vec<Value> = app.fleet.nodes().iter().map(|n| row(n)).collect();
        let mut problems = app.fleet.problems();
        if let Some(text) = app.fleet.remote.trouble() {
            let text = format!("figures do not reach the store: {text}");
            problems.insert("remote_write".to_owned(), text);
        }
        json!({
            "at_s": crate::clock::now_s(),
            "version": env!("CARGO_PKG_VERSION"),
            "can_act": app.access.token.is_some(),
            "policy": match (policy.enabled, policy.dry_run) {
                (false, _) => "off",
                (true, true) => "dry run",
                (true, false) => "on",
            },
            "trouble": app.fleet.history().and_then(|h| h.health().trouble()),
            "problems": problems,
            "running": app.jobs.busy().servers,
            "servers": servers,
        })
        .to_string()
    })
    .await?;
    Ok(([("content-type", "application/json")], text).into_response())
}

fn row(node: &Node) -> Value {
    let state = node.state();
    let view = state.view.as_ref();
    let report = view.map(|v| &v.report);
    let alerts: Vec<&str> = state.alerts.iter().map(|a| a.id.as_str()).collect();
    json!({
        "id": node.id,
        "name": node.name,
        "group": node.group,
        "shard": state.primary,
        "failure": state.failure,
        "verdict": report.map(|r| r.verdict),
        "cause": report.map(|r| r.primary_cause),
        "summary": report.map(|r| &r.summary),
        "server": report.map(|r| &r.server),
        "used": report.and_then(|r| r.layers.used),
        "rss": report.and_then(|r| r.layers.rss),
        "limit": report.and_then(|r| r.layers.limit),
        "maxmemory": report.and_then(|r| r.layers.maxmemory),
        "headroom": report.and_then(headroom),
        "waste": report.and_then(waste),
        "until": state.outlook.until_limit,
        "until_maxmemory": state.outlook.until_maxmemory,
        "fragmentation_since_s": state.outlook.fragmentation_since_s,
        "alerts": alerts,
        "quiet": view.and_then(|v| v.quiet).map(|q| format!("{q:?}").to_lowercase()),
        "spark": spark(&state.line),
    })
}

/// RSS and used over the known day, in thousandths of the highest: small enough for a thousand servers.
fn spark(line: &Line) -> Value {
    let (rss, used) = (line.values(Column::Rss), line.values(Column::Used));
    let top = rss.iter().map(|p| p.1).fold(1.0, f64::max);
    #[expect(clippy::cast_possible_truncation, reason = "0 to 1000")]
    let scaled = |points: &[(i64, f64)]| -> Vec<i64> {
        points.iter().map(|p| (p.1 / top * 1000.0).round() as i64).collect()
    };
    let span_s = rss.first().zip(rss.last()).map_or(0, |(a, b)| b.0 - a.0);
    json!({ "span_s": span_s, "top": top, "rss": scaled(&rss), "used": scaled(&used) })
}

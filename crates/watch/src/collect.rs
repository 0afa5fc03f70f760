//! One task a server: looks, diagnoses, and hands on what came of it.
//!
//! Each has a connection and a schedule of its own, so that one that hangs costs nobody else anything.

use crate::alert::{Change, Look, Quiet};
use crate::event::{self, Event, Identity, Kind};
use crate::fleet::{Fleet, Settings};
use crate::history::Job;
use crate::line::{Line, SPAN_S};
use crate::node::{Failure, Node, View};
use crate::point::Point;
use crate::schedule;
use crate::trend::Outlook;
use std::sync::Arc;
use std::time::{Duration, Instant};
use unfrag_client::{ClientError, Connection, Problem, connect, refresh, sample};
use unfrag_diagnose::diagnose_with;
use unfrag_model::malloc_stats::Bin;
use unfrag_model::{Finding, Sample};

/// Seconds of points that wait in memory before they are packed.
pub(crate) const PACK_S: i64 = 300;
/// A whole sample is taken early when the allocator's live bytes moved by this share since the last,
const MOVED: f64 = 0.2;
/// or when what is lost between them moved by this share of its pages: what a remedy would give back is told from the bins.
const SHIFTED: f64 = 0.05;
/// Less than this is noise, in bytes: on small servers it made a tenth of a thousand servers' cost, for nothing to gain.
const LEAST_MOVED: u64 = 4 << 20;
/// But not more often than this, in milliseconds.
const MIN_DEEP_MS: u64 = 60_000;
/// Between two tries to read the past back.
const RECALL_AGAIN: Duration = Duration::from_secs(60);

/// The allocator's levels at some time.
#[derive(Debug, Clone, Copy, Default)]
struct Levels {
    allocated: u64,
    active: u64,
}

impl Levels {
    fn of(sample: &Sample) -> Self {
        let count = |key| sample.info.count(key).unwrap_or(0);
        Self { allocated: count("allocator_allocated"), active: count("allocator_active") }
    }

    /// Whether bins that were counted at `before` say little of now.
    fn have_moved(self, before: Self) -> bool {
        let lost = |l: Self| l.active.saturating_sub(l.allocated);
        let far = |bytes: u64, of: u64, share: f64| {
            bytes >= LEAST_MOVED && bytes as f64 > of as f64 * share
        };
        far(self.allocated.abs_diff(before.allocated), before.allocated, MOVED)
            || far(lost(self).abs_diff(lost(before)), self.active, SHIFTED)
    }
}

/// What a task keeps between looks.
#[derive(Default)]
struct Keep {
    connection: Option<Connection>,
    sample: Option<Sample>,
    identity: Option<Identity>,
    deep_at_ms: u64,
    deep: Levels,
    bins: Arc<[Bin]>,
    failures: u32,
    outlook_at_s: i64,
}

pub(crate) async fn run(node: Arc<Node>, fleet: Arc<Fleet>) {
    let mut keep = Keep::default();
    let mut recall_at = Some(Instant::now());
    loop {
        let cadence = fleet.settings().cadence;
        let now = fleet.begun.elapsed();
        let mut wait = schedule::wait(&node.name, &cadence, now, keep.failures);
        if keep.identity.is_none() && keep.failures == 0 {
            // The first look comes within half an interval: who has just started the watch is waiting for it.
            wait = wait.min(cadence.interval / 2);
            wait = wait.mul_f64((schedule::hash(&node.name) % 1000) as f64 / 1000.0);
        }
        tokio::time::sleep(wait).await;
        look(&node, &fleet, &mut keep).await;
        if recall_at.is_some_and(|at| at <= Instant::now()) {
            // A store that hangs must not cost the next look.
            let read = tokio::time::timeout(cadence.interval / 2, recall(&node, &fleet)).await;
            recall_at = (read != Ok(true)).then(|| Instant::now() + RECALL_AGAIN);
        }
    }
}

/// Takes the past day from the store that keeps it, where that is not our own history; false when it has to be tried again.
async fn recall(node: &Node, fleet: &Fleet) -> bool {
    let Some(store) = fleet.settings().prometheus.clone() else { return true };
    let now_s = crate::clock::now_s();
    match store.series(&node.name, now_s - SPAN_S, now_s).await {
        Ok(series) => {
            let mut past = Line::default();
            for point in &series.means {
                past.push(point);
            }
            let mut state = node.state();
            // What came in since is not in the store yet, or is there as well.
            state.line = std::mem::take(&mut state.line).behind(past);
            true
        }
        Err(error) => {
            tracing::warn!(target_name = node.name, error, "the past cannot be read back yet");
            false
        }
    }
}

/// One look, whatever comes of it.
async fn look(node: &Arc<Node>, fleet: &Arc<Fleet>, keep: &mut Keep) {
    let settings = fleet.settings();
    let begun = Instant::now();
    match read(node, &settings, keep).await {
        Ok(was_deep) => {
            keep.failures = 0;
            seen(node, fleet, &settings, keep, was_deep);
        }
        Err(error) => {
            keep.connection = None;
            keep.failures = keep.failures.saturating_add(1);
            lost(node, fleet, &settings, keep, &error);
        }
    }
    tracing::trace!(target_name = node.name, took_us = begun.elapsed().as_micros(), "look");
}

/// Brings the sample up to date: cheaply, or whole when that is due; true for whole.
async fn read(node: &Node, settings: &Settings, keep: &mut Keep) -> Result<bool, ClientError> {
    let now_ms = crate::clock::now_ms();
    let deep_ms = u64::try_from(settings.cadence.deep.as_millis()).unwrap_or(u64::MAX);
    // A tenth early or late, so that a fleet's whole samples do not come together.
    let deep_ms = deep_ms - deep_ms / 10 + deep_ms / 5 * (schedule::hash(&node.name) % 100) / 100;
    let age_ms = now_ms.abs_diff(keep.deep_at_ms);
    let mut deep = age_ms >= deep_ms;
    let kept = keep.connection.take();
    if let (Some(sample), false) = (&mut keep.sample, deep) {
        let run_id = sample.info.text("run_id").map(str::to_owned);
        let connection = again(node, settings, kept, sample).await?;
        let restarted = sample.info.text("run_id") != run_id.as_deref();
        let moved = Levels::of(sample).have_moved(keep.deep);
        let forgotten = !keep.bins.is_empty()
            && sample.malloc_stats.as_ref().is_some_and(|stats| stats.bins.is_empty());
        deep = restarted || (age_ms >= MIN_DEEP_MS && (moved || forgotten));
        // Old bins beside new figures promised all of a server's RSS once, right after a fix.
        if let Some(stats) = sample.malloc_stats.as_mut().filter(|_| moved && !deep) {
            stats.forget_counts();
        }
        keep.connection = Some(connection);
    } else {
        deep = true;
    }
    if deep {
        // Its buffers grow to the largest reply, MALLOC-STATS: for a thousand servers that is a hundred megabytes. A new
        // connection every ten minutes costs less.
        keep.connection = None;
        let mut connection = connect(&node.address, &node.options).await?;
        let whole = sample(&mut connection, &settings.sample).await?;
        keep.deep_at_ms = now_ms;
        keep.deep = Levels::of(&whole);
        keep.bins = whole.malloc_stats.iter().flat_map(|m| m.bins.iter().copied()).collect();
        keep.sample = Some(whole);
    }
    Ok(deep)
}

/// One INFO, on the connection of the last look where there is one. That may have been closed meanwhile, by the server's
/// `timeout`, CLIENT KILL or a failover, with the server as well as ever: only a new connection tells.
async fn again(
    node: &Node,
    settings: &Settings,
    kept: Option<Connection>,
    sample: &mut Sample,
) -> Result<Connection, ClientError> {
    if let Some(mut connection) = kept {
        match refresh(&mut connection, &settings.sample, sample).await {
            Ok(()) => return Ok(connection),
            Err(error)
                if matches!(
                    *error.problem,
                    Problem::Closed { .. } | Problem::ClosedHalfWay { .. }
                ) => {}
            Err(error) => return Err(error),
        }
    }
    let mut connection = connect(&node.address, &node.options).await?;
    refresh(&mut connection, &settings.sample, sample).await?;
    Ok(connection)
}

fn seen(
    node: &Arc<Node>,
    fleet: &Arc<Fleet>,
    settings: &Settings,
    keep: &mut Keep,
    was_deep: bool,
) {
    let Some(sample) = &mut keep.sample else { return };
    let at_ms = sample.taken_at_unix_ms.unwrap_or_else(crate::clock::now_ms);
    let at_s = i64::try_from(at_ms / 1000).unwrap_or(0);
    let report = diagnose_with(sample, &fleet.advisories);
    let point = Point::new(at_s, sample, &report);
    let identity = Identity::new(sample);
    let mut events = keep.identity.as_ref().map_or(vec![], |b| event::changes(at_s, b, &identity));
    let view = View {
        deep_at_ms: keep.deep_at_ms,
        bins: Arc::clone(&keep.bins),
        ..View::new(sample, report, point, at_ms)
    };
    let quiet = view.quiet;
    // Between looks only what the next cheap one cannot read is kept: a thousand samples are many megabytes.
    let run_id = view.run_id.clone();
    sample.info.keep_only("cmdstat_");
    sample.info.remember("run_id", &run_id);
    keep.identity = Some(identity);
    if was_deep && !view.bins.is_empty() {
        fleet.write(Job::Bins(node.id, at_s, Arc::clone(&view.bins)));
    }
    let changes = {
        let mut state = node.state();
        if let Some(failure) = state.failure.take() {
            let text = format!("it answers again, after {} s", (at_s - failure.since_s).max(0));
            events.push(Event { at_s, kind: Kind::Back, text });
        }
        let look = Look { at_s, findings: &view.report.findings, quiet, lost: None };
        let changes = state.tracker.observe(&look, &settings.patience);
        state.alerts = state.tracker.firing();
        state.looks[0] += 1;
        // Either way: a clock that was set back must not stop it.
        if at_s.abs_diff(keep.outlook_at_s) >= outlook_s(settings) {
            keep.outlook_at_s = at_s;
            state.outlook = Outlook::new(&state.line, view.report.layers.maxmemory);
        }
        state.view = Some(Arc::new(view));
        changes
    };
    hand_on(node, fleet, point, events, changes);
}

/// Trends move slowly: they are computed once in six looks.
fn outlook_s(settings: &Settings) -> u64 {
    settings.cadence.interval.as_secs() * 6
}

fn lost(
    node: &Arc<Node>,
    fleet: &Arc<Fleet>,
    settings: &Settings,
    keep: &Keep,
    error: &ClientError,
) {
    let at_s = crate::clock::now_s();
    let mut events = vec![];
    let changes = {
        let mut state = node.state();
        let since_s = state.failure.as_ref().map_or(at_s, |f| f.since_s);
        let failure = Failure::new(error, since_s);
        if state.failure.is_none() {
            let text = failure.message.clone();
            events.push(Event { at_s, kind: Kind::Lost, text });
        }
        let none: &[Finding] = &[];
        let look = if failure.is_loading {
            Look { at_s, findings: none, quiet: Some(Quiet::Loading), lost: None }
        } else {
            Look { at_s, findings: none, quiet: None, lost: Some(&failure.message) }
        };
        let changes = state.tracker.observe(&look, &settings.patience);
        state.alerts = state.tracker.firing();
        state.looks[1] += 1;
        tracing::debug!(
            target_name = node.name,
            failures = keep.failures,
            error = failure.message,
            "no answer"
        );
        state.failure = Some(failure);
        changes
    };
    hand_on(node, fleet, Point::down(at_s), events, changes);
}

fn hand_on(
    node: &Arc<Node>,
    fleet: &Arc<Fleet>,
    point: Point,
    mut events: Vec<Event>,
    changes: Vec<Change>,
) {
    fleet.write(Job::Point(node.id, Box::new(point)));
    let packed = {
        let mut state = node.state();
        state.line.push(&point);
        state.recent.push(point);
        due(&mut state.recent, node.id)
    };
    if !packed.is_empty() {
        fleet.write(Job::Pack(node.id, packed));
    }
    for change in changes {
        let (kind, alert) = match &change {
            Change::Fired(alert) => (Kind::Alert, alert),
            Change::Resolved(alert) => (Kind::Resolved, alert),
        };
        let text = format!("{}: {}", alert.id, alert.reason);
        events.push(Event { at_s: point.at_s, kind, text });
        fleet.notify(node, change);
    }
    for event in events {
        fleet.event(node, event);
    }
}

/// Takes out the points to pack: whole minutes, once there are [`PACK_S`] seconds of them. Servers take turns.
fn due(recent: &mut Vec<Point>, id: i64) -> Vec<Point> {
    let (Some(first), Some(last)) = (recent.first(), recent.last()) else { return vec![] };
    let turn_s = (id * 37).rem_euclid(PACK_S / 2);
    // A clock that was set back must not keep points here for ever.
    let span_s = (last.at_s - first.at_s).abs();
    if span_s < PACK_S / 2 + turn_s && recent.len() < 4096 {
        return vec![];
    }
    let minute_s = last.at_s - last.at_s.rem_euclid(60);
    let (old, kept) = recent.iter().partition(|p: &&Point| p.at_s < minute_s || p.at_s > last.at_s);
    *recent = kept;
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_believed_until_memory_has_moved() {
        let levels = |allocated: u64, active: u64| Levels {
            allocated: allocated << 20,
            active: active << 20,
        };
        let before = levels(100, 200);
        assert!(!before.have_moved(before));
        assert!(!levels(110, 212).have_moved(before), "grown a little");
        assert!(levels(130, 230).have_moved(before), "grown");
        assert!(levels(100, 110).have_moved(before), "packed");
        assert!(!levels(3, 5).have_moved(levels(1, 2)), "too small to matter");
        assert!(!Levels::default().have_moved(Levels::default()), "no jemalloc");
    }
}

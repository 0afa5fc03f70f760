//! Asks the policy about every server twice a minute, records what it says, and begins what it allows.

use super::{Candidate, Policy, decide};
use crate::alert::Quiet;
use crate::fleet::Fleet;
use crate::history::Job as Record;
use crate::job::Jobs;
use crate::node::Node;
use crate::point::{Column, usable};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use unfrag_act::permit::Consent;
use unfrag_act::{Bounds, RemedyName};

/// Figures older than this are no ground for an act, in milliseconds.
const STALE_MS: u64 = 120_000;

pub(crate) async fn run(fleet: Arc<Fleet>, jobs: Jobs, policy: watch::Receiver<Arc<Policy>>) {
    let mut said: HashMap<i64, String> = HashMap::new();
    let mut dry_runs: HashMap<i64, i64> = HashMap::new();
    loop {
        let round = policy.borrow().round;
        tokio::time::sleep(round).await;
        let policy = Arc::clone(&policy.borrow());
        if !policy.enabled {
            continue;
        }
        let now_s = crate::clock::now_s();
        for node in fleet.nodes() {
            let mut candidate = candidate(&node, &jobs, policy.fresh_s);
            // A dry run cools down as a real one would, or it would be said every half minute.
            let dry_run_s = dry_runs.get(&node.id).copied();
            candidate.was_dry = dry_run_s > candidate.last_run_s;
            candidate.last_run_s = candidate.last_run_s.max(dry_run_s);
            let decision = decide(&policy, &candidate, &jobs.busy(), now_s);
            let mut reason = decision.reason.clone();
            let mut acts = decision.acts();
            if acts && policy.dry_run {
                reason = format!("dry run, nothing is done: {reason}");
                dry_runs.insert(node.id, now_s);
                acts = false;
            } else if acts {
                let bounds = Bounds {
                    only: decision.remedies.clone(),
                    max_duration: decision.max_duration,
                    latency_budget_us: u64::try_from(decision.latency_budget.as_micros())
                        .unwrap_or(u64::MAX),
                    ..Bounds::default()
                };
                if let Err(why) = jobs.begin(&fleet, &node, bounds, Consent::Policy) {
                    (reason, acts) = (why, false);
                }
            }
            record(&fleet, &node, &decision.remedies, acts, &reason, &mut said, now_s);
        }
    }
}

/// Writes a decision down when it is another than the last one; figures in it may vary.
fn record(
    fleet: &Fleet,
    node: &Node,
    remedies: &[RemedyName],
    acts: bool,
    reason: &str,
    said: &mut HashMap<i64, String>,
    now_s: i64,
) {
    let key: String = reason.chars().filter(|c| !(c.is_ascii_digit() || *c == '.')).collect();
    if !acts && said.get(&node.id) == Some(&key) {
        return;
    }
    said.insert(node.id, key);
    let names: Vec<&str> = remedies.iter().map(|r| r.name()).collect();
    tracing::info!(target_name = node.name, acts, reason, "policy");
    fleet.write(Record::Decision(node.id, now_s, names.join(","), acts, reason.to_owned()));
}

fn candidate(node: &Node, jobs: &Jobs, fresh_s: u64) -> Candidate {
    let last_run_s = jobs.of(node.id).iter().filter_map(|j| j.ended_s).max();
    let shard = node.shard();
    let state = node.state();
    // Runs of before the start count as well.
    let last_run_s = last_run_s.max(state.last_run_s);
    let mut candidate = Candidate {
        name: node.name.clone(),
        group: node.group.clone(),
        shard,
        last_run_s,
        ..Candidate::default()
    };
    let Some(view) = &state.view else {
        candidate.unfit = Some("the server has not been read yet".to_owned());
        return candidate;
    };
    let age_ms = crate::clock::now_ms().abs_diff(view.at_ms);
    candidate.unfit = match &state.failure {
        Some(failure) => Some(format!("the server does not answer: {}", failure.message)),
        None if age_ms > STALE_MS => Some("the figures are too old to act on".to_owned()),
        None if view.point.get(Column::Forking) == Some(1) => {
            Some("a child saves or rewrites".to_owned())
        }
        None if view.report.server.uptime_s.is_some_and(|s| s < fresh_s) => {
            Some("the server was started a moment ago".to_owned())
        }
        None => match view.quiet {
            Some(Quiet::Loading) => Some("the server is loading its data".to_owned()),
            Some(Quiet::Syncing) => Some("the replica is synchronising".to_owned()),
            _ => None,
        },
    };
    let r = &view.report.reclaim;
    candidate.gains = vec![
        (RemedyName::Purge, usable(&r.purge)),
        (RemedyName::Defrag, usable(&r.defrag)),
        (RemedyName::Repack, usable(&r.repack)),
    ];
    candidate
}

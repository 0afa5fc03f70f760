//! [`Jobs`]: remedies that run, or ran, because the page or the policy asked for them.
//!
//! The work itself is `unfrag-act`'s, journal and permit and all: what is killed here is cleaned up by `unfrag undo`.

use crate::event::Kind;
use crate::fleet::Fleet;
use crate::history::Job as Record;
use crate::node::Node;
use crate::policy::Busy;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use unfrag_act::permit::Consent;
use unfrag_act::{
    Bounds, ChangePermit, Event, Journals, Outcome, Run, Stop, execute, history, plan,
};
use unfrag_client::{ConnectOptions, connect, sample};
use unfrag_diagnose::diagnose_with;

/// Jobs that are remembered.
const MAX_JOBS: usize = 200;
/// Lines of one job that are remembered.
const MAX_LINES: usize = 60;

/// A job, as the page shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its number since the watch began.
    pub id: u64,
    /// The server's key.
    pub node: i64,
    /// The server's name.
    pub target: String,
    /// `page` or `policy`.
    pub who: &'static str,
    /// `running`, `done`, `refused`, `failed`.
    pub status: &'static str,
    /// When it began, in seconds since 1970.
    pub begun_s: i64,
    /// When it ended.
    pub ended_s: Option<i64>,
    /// Share done, where that can be told.
    pub done: Option<f64>,
    /// RSS now, in bytes.
    pub rss: Option<u64>,
    /// What was said, the newest last.
    pub lines: VecDeque<String>,
    /// Its outcome (`unfrag.fix/1`), once it has one.
    pub outcome: Option<serde_json::Value>,
    #[serde(skip)]
    stop: Stop,
    #[serde(skip)]
    shard: String,
}

/// All jobs.
#[derive(Debug, Clone, Default)]
pub struct Jobs(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    last_id: u64,
    jobs: BTreeMap<u64, Job>,
}

impl Jobs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job.
    pub fn get(&self, id: u64) -> Option<Job> {
        self.table().jobs.get(&id).cloned()
    }

    /// The jobs of a server, the newest first.
    pub fn of(&self, node: i64) -> Vec<Job> {
        self.table().jobs.values().rev().filter(|j| j.node == node).cloned().collect()
    }

    /// What is being worked on.
    pub fn busy(&self) -> Busy {
        let table = self.table();
        let shards: Vec<String> = running(&table).map(|j| j.shard.clone()).collect();
        Busy { servers: shards.len(), shards }
    }

    /// Asks a job to put everything back and end.
    pub fn stop(&self, id: u64) -> bool {
        let table = self.table();
        let found = running(&table).find(|j| j.id == id);
        found.inspect(|j| j.stop.stop()).is_some()
    }

    /// Asks all of them; true when there were any.
    pub fn stop_all(&self) -> bool {
        let table = self.table();
        running(&table).map(|j| j.stop.stop()).count() > 0
    }

    /// Begins a job unless its shard is being worked on; the job's number, or why not.
    pub fn begin(
        &self,
        fleet: &Arc<Fleet>,
        node: &Arc<Node>,
        bounds: Bounds,
        consent: Consent,
    ) -> Result<u64, String> {
        let shard = node.shard();
        let who = if consent == Consent::Policy { "policy" } else { "page" };
        let stop = Stop::default();
        let id = {
            let mut table = self.table();
            if running(&table).any(|j| j.shard == shard) {
                return Err("a server of this shard is being worked on already".to_owned());
            }
            table.last_id += 1;
            let id = table.last_id;
            let job = Job {
                id,
                node: node.id,
                target: node.name.clone(),
                who,
                status: "running",
                begun_s: crate::clock::now_s(),
                ended_s: None,
                done: None,
                rss: None,
                lines: VecDeque::new(),
                outcome: None,
                stop: stop.clone(),
                shard,
            };
            table.jobs.insert(id, job);
            let over = table.jobs.len().saturating_sub(MAX_JOBS);
            let old: Vec<u64> = table
                .jobs
                .values()
                .filter(|j| j.status != "running")
                .map(|j| j.id)
                .take(over)
                .collect();
            for id in old {
                table.jobs.remove(&id);
            }
            id
        };
        fleet.record(node, Kind::Fix, format!("a fix begins, asked for by the {who}"));
        let (jobs, fleet, node) = (self.clone(), Arc::clone(fleet), Arc::clone(node));
        tokio::spawn(async move {
            let result = perform(&jobs, id, &fleet, &node, bounds, consent, stop).await;
            jobs.end(id, who, &fleet, &node, &result);
        });
        Ok(id)
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.table().jobs.get_mut(&id) {
            change(job);
        }
    }

    fn end(
        &self,
        id: u64,
        who: &str,
        fleet: &Fleet,
        node: &Node,
        result: &Result<Outcome, (&'static str, String)>,
    ) {
        let now_s = crate::clock::now_s();
        let text = match result {
            Ok(outcome) => said(outcome),
            Err((_, why)) => why.clone(),
        };
        if let Ok(outcome) = result {
            let json = serde_json::to_string(&document(outcome)).unwrap_or_default();
            fleet.write(Record::Outcome(node.id, now_s, who.to_owned(), json));
        }
        self.change(id, |job| {
            job.status = match result {
                Ok(outcome) if outcome.error.is_none() => "done",
                Ok(_) => "failed",
                Err((status, _)) => status,
            };
            job.ended_s = Some(now_s);
            job.outcome = result.as_ref().ok().map(document);
            say(job, text.clone());
        });
        fleet.record(node, Kind::Fix, text);
    }
}

fn running(table: &Table) -> impl Iterator<Item = &Job> {
    table.jobs.values().filter(|j| j.status == "running")
}

fn document(outcome: &Outcome) -> serde_json::Value {
    let mut value = serde_json::to_value(outcome).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("schema".to_owned(), "unfrag.fix/1".into());
    }
    value
}

fn said(outcome: &Outcome) -> String {
    let gone = unfrag_model::signed_human(outcome.reclaimed_bytes);
    let predicted = unfrag_model::human(outcome.predicted_bytes);
    match &outcome.error {
        Some(error) => format!("the fix ended early: {error}; {gone} came back"),
        None => format!("the fix gave back {gone}; {predicted} were predicted"),
    }
}

fn say(job: &mut Job, line: String) {
    job.lines.push_back(line);
    while job.lines.len() > MAX_LINES {
        job.lines.pop_front();
    }
}

/// Reads the server anew, plans, and carries the plan out.
async fn perform(
    jobs: &Jobs,
    id: u64,
    fleet: &Fleet,
    node: &Node,
    bounds: Bounds,
    consent: Consent,
    stop: Stop,
) -> Result<Outcome, (&'static str, String)> {
    // The acting connection begins in db 0, whatever the target's URI says.
    let options = ConnectOptions { db: 0, resp3: false, ..node.options.clone() };
    let failed = |error: unfrag_client::ClientError| ("failed", error.problem.to_string());
    let mut connection = connect(&node.address, &options).await.map_err(failed)?;
    // Unlike the watch itself, which shows a loading server, an act wants one that is all there.
    let mut what = fleet.settings().sample.clone();
    what.allow_loading = false;
    let sample = sample(&mut connection, &what).await.map_err(failed)?;
    drop(connection);
    let report = diagnose_with(&sample, &fleet.advisories);
    let plan = plan::make(&report, &sample, bounds);
    if plan.steps.is_empty() {
        let why: Vec<String> =
            plan.refused.iter().map(|r| serde_json::to_string(r).unwrap_or_default()).collect();
        return Err((
            "refused",
            format!("there is nothing to do, or it is refused: {}", why.join("; ")),
        ));
    }
    let permit = ChangePermit::mint(consent, &plan.run_id);
    let journals = Journals::of_user();
    let run = Run {
        plan: &plan,
        permit: &permit,
        before: report.layers,
        address: &node.address,
        options: &options,
        journals: &journals,
        stop,
    };
    let mut events = |event: Event| {
        jobs.change(id, |job| match event {
            Event::Begun { .. } => say(job, "measuring latency before anything is done".to_owned()),
            Event::Step(remedy) => say(job, format!("{} begins", remedy.name())),
            Event::Note(text) => say(job, text),
            Event::Progress(progress) => {
                job.done = progress.done;
                job.rss = Some(progress.rss);
            }
        });
    };
    let outcome =
        execute(run, &mut events).await.map_err(|error| ("refused", error.to_string()))?;
    // The same book that `unfrag fix` keeps: predictions are scored over all runs.
    let record = history::Record::of(&outcome, &plan.server, crate::clock::now_ms());
    if let Err(error) = history::History::of_user().append(&record) {
        tracing::warn!(%error, "the outcome is missing from the predictions' score");
    }
    Ok(outcome)
}

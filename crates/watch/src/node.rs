//! [`Node`]: one server that is watched, and what is known of it now.

use crate::alert::{self, Alert};
use crate::line::Line;
use crate::point::Point;
use crate::trend::Outlook;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use unfrag_client::{Address, ClientError, ConnectOptions};
use unfrag_diagnose::figures::Figures;
use unfrag_model::malloc_stats::Bin;
use unfrag_model::sample::CommandCost;
use unfrag_model::{Report, Sample};

/// One server.
#[derive(Debug)]
pub struct Node {
    /// Its key in the history, and in the page's addresses.
    pub id: i64,
    /// The name people and labels know it under: its address, without secrets.
    pub name: String,
    /// The target or the fleet's entry it came from.
    pub group: String,
    /// Where it is.
    pub address: Address,
    /// As whom to connect.
    pub options: ConnectOptions,
    state: Mutex<State>,
}

/// What is known of a server now.
#[derive(Debug, Default)]
pub struct State {
    /// The primary of its shard, itself when it is one; `None` when alone.
    pub primary: Option<String>,
    /// The last reading that succeeded.
    pub view: Option<Arc<View>>,
    /// Why the last one did not, if so.
    pub failure: Option<Failure>,
    /// Looks that succeeded, and looks that did not.
    pub looks: [u64; 2],
    /// The past day in few steps.
    pub line: Line,
    /// Points that are not in a pack yet.
    pub recent: Vec<Point>,
    /// Where it is going.
    pub outlook: Outlook,
    /// When a remedy ended last, as far as the history knew at the start: the policy's cool-down outlives the process.
    pub last_run_s: Option<i64>,
    /// Alerts that stand.
    pub alerts: Vec<Alert>,
    pub(crate) tracker: alert::Tracker,
}

/// One reading.
#[derive(Debug)]
pub struct View {
    /// What follows from it.
    pub report: Report,
    /// Its row.
    pub point: Point,
    /// What it cost.
    pub commands: Vec<CommandCost>,
    /// When INFO was read, in milliseconds since 1970.
    pub at_ms: u64,
    /// When everything was read, in milliseconds since 1970.
    pub deep_at_ms: u64,
    /// Why its figures say little, if so.
    pub quiet: Option<alert::Quiet>,
    /// The process.
    pub run_id: String,
    /// Figures that metrics show and the report does not.
    pub counters: Counters,
    /// jemalloc's bins, from the last whole sample.
    pub bins: Arc<[Bin]>,
}

/// Why there is no reading.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Since when, in seconds since 1970.
    pub since_s: i64,
    /// The server is loading its data: not a failure to be woken for.
    pub is_loading: bool,
}

/// What redis_exporter does not say, as far as it is no level of the ladder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields carry the names of the INFO fields they come from")]
pub struct Counters {
    pub total_active_defrag_time_ms: Option<u64>,
    pub current_active_defrag_time_ms: Option<u64>,
    pub active_defrag_hits: Option<u64>,
    pub active_defrag_misses: Option<u64>,
    pub active_defrag_key_hits: Option<u64>,
    pub active_defrag_key_misses: Option<u64>,
    pub allocator_muzzy: Option<u64>,
    pub rdb_last_cow_size: Option<u64>,
    pub aof_last_cow_size: Option<u64>,
    pub current_cow_size: Option<u64>,
    /// No field: what the next fork may copy.
    pub cow_estimate: Option<u64>,
    pub used_memory_scripts: Option<u64>,
    pub mem_not_counted_for_evict: Option<u64>,
    pub cgroup_limit: Option<u64>,
    pub cgroup_current: Option<u64>,
    pub cgroup_oom_kills: Option<u64>,
    pub anon_huge_pages: Option<u64>,
}

impl Counters {
    pub(crate) fn new(sample: &Sample) -> Self {
        let count = |key| sample.info.count(key);
        let cgroup = sample.host.as_ref().and_then(|h| h.cgroup.as_ref());
        Self {
            total_active_defrag_time_ms: count("total_active_defrag_time"),
            current_active_defrag_time_ms: count("current_active_defrag_time"),
            active_defrag_hits: count("active_defrag_hits"),
            active_defrag_misses: count("active_defrag_misses"),
            active_defrag_key_hits: count("active_defrag_key_hits"),
            active_defrag_key_misses: count("active_defrag_key_misses"),
            allocator_muzzy: count("allocator_muzzy"),
            rdb_last_cow_size: count("rdb_last_cow_size"),
            aof_last_cow_size: count("aof_last_cow_size"),
            current_cow_size: count("current_cow_size"),
            cow_estimate: unfrag_diagnose::fork_copies(&Figures::new(sample)),
            used_memory_scripts: count("used_memory_scripts"),
            mem_not_counted_for_evict: count("mem_not_counted_for_evict"),
            cgroup_limit: cgroup.map(|c| c.limit),
            cgroup_current: cgroup.and_then(|c| c.current),
            cgroup_oom_kills: cgroup.and_then(|c| c.oom_kills),
            anon_huge_pages: sample.host.as_ref().and_then(|h| h.anon_huge_pages),
        }
    }
}

impl View {
    /// A whole sample and what follows from it.
    pub(crate) fn new(sample: &Sample, report: Report, point: Point, at_ms: u64) -> Self {
        Self {
            point,
            commands: sample.commands.clone(),
            at_ms,
            deep_at_ms: at_ms,
            quiet: alert::Quiet::of(sample),
            run_id: sample.info.text("run_id").unwrap_or_default().to_owned(),
            counters: Counters::new(sample),
            bins: sample.malloc_stats.iter().flat_map(|m| m.bins.iter().copied()).collect(),
            report,
        }
    }
}

impl Failure {
    pub(crate) fn new(error: &ClientError, since_s: i64) -> Self {
        Self {
            message: error.problem.to_string(),
            hint: error.hint().unwrap_or_default().to_owned(),
            since_s,
            is_loading: matches!(*error.problem, unfrag_client::Problem::Loading { .. }),
        }
    }
}

impl Node {
    pub(crate) fn new(
        id: i64,
        group: &str,
        address: Address,
        options: ConnectOptions,
        state: State,
    ) -> Self {
        let name = address.to_string();
        Self { id, name, group: group.to_owned(), address, options, state: Mutex::new(state) }
    }

    /// What is known now. Hold it for moments only, and never over an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not blind the watch: what is there is still the last truth.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last reading.
    pub fn view(&self) -> Option<Arc<View>> {
        self.state().view.clone()
    }

    /// The shard it belongs to: the primary's name, or its own.
    pub fn shard(&self) -> String {
        self.state().primary.clone().unwrap_or_else(|| self.name.clone())
    }
}

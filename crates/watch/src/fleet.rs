//! [`Fleet`]: the servers that are watched, and everything their tasks share.

use crate::alert::{Change, Patience};
use crate::event::{Event, Kind};
use crate::follow::Seed;
use crate::history::prometheus::Prometheus;
use crate::history::query::Reader;
use crate::history::{History, Job};
use crate::line::{Line, SPAN_S};
use crate::node::{Node, State};
use crate::schedule::Cadence;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use unfrag_client::{Address, ConnectOptions, SampleOptions, Target, Uri};
use unfrag_diagnose::Advisories;

/// A change of an alert, with the server it is about.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The server.
    pub node: Arc<Node>,
    /// What changed.
    pub change: Change,
}

/// How to watch.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often.
    pub cadence: Cadence,
    /// When to alert.
    pub patience: Patience,
    /// What to read.
    pub sample: SampleOptions,
    /// Keep figures in our own history.
    pub keeps_points: bool,
    /// The store that charts and trends are read back from.
    pub prometheus: Option<Prometheus>,
}

impl Default for Settings {
    fn default() -> Self {
        // A server that loads is seen, and kept quiet about.
        let sample = SampleOptions { allow_loading: true, ..SampleOptions::default() };
        Self {
            cadence: Cadence::default(),
            patience: Patience::default(),
            sample,
            keeps_points: true,
            prometheus: None,
        }
    }
}

/// The servers, and what their tasks share.
#[derive(Debug)]
pub struct Fleet {
    nodes: RwLock<BTreeMap<Address, Watched>>,
    settings: RwLock<Arc<Settings>>,
    history: Option<History>,
    notices: UnboundedSender<Notice>,
    next_id: AtomicI64,
    pub(crate) advisories: Advisories,
    pub(crate) begun: Instant,
    problems: Mutex<BTreeMap<String, String>>,
    /// Messages that a sink did not take.
    pub(crate) undelivered: AtomicU64,
    /// How figures that are sent to a store fare.
    pub(crate) remote: crate::remote::Health,
}

/// What is known of a server's name before it is read.
struct Known {
    id: i64,
    line: Line,
    last_run_s: Option<i64>,
    is_new: bool,
}

/// The target that a server still belongs to. One that stands alone must be what its target says: that may have moved
/// elsewhere. Members of a deployment stay until that is asked and does not name them.
fn seed_of<'a>(seeds: &'a [Seed], node: &Node) -> Option<&'a Seed> {
    let mut named = seeds.iter().filter(|s| s.name == node.group);
    let says = |s: &&Seed| matches!(&s.target, Target::Server(address) if *address == node.address);
    let said = named.clone().find(says);
    said.or_else(|| named.next().filter(|_| node.state().primary.is_some()))
}

#[derive(Debug)]
struct Watched {
    node: Arc<Node>,
    task: JoinHandle<()>,
}

/// The heading under which it is said that one server is watched under several names.
const TWINS: &str = "watched twice";

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    /// An empty fleet.
    pub fn new(
        settings: Settings,
        history: Option<History>,
        notices: UnboundedSender<Notice>,
    ) -> Arc<Self> {
        Arc::new(Self {
            nodes: RwLock::default(),
            settings: RwLock::new(Arc::new(settings)),
            history,
            notices,
            next_id: AtomicI64::new(1),
            advisories: Advisories::embedded(),
            begun: Instant::now(),
            problems: Mutex::default(),
            undelivered: AtomicU64::new(0),
            remote: crate::remote::Health::default(),
        })
    }

    /// The servers, in the order of their addresses.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.values().map(|w| Arc::clone(&w.node)).collect()
    }

    /// The server with a key.
    pub fn node(&self, id: i64) -> Option<Arc<Node>> {
        self.nodes().into_iter().find(|n| n.id == id)
    }

    /// The server that a text names: its address, in any form that a target may have, or its target where that is one server.
    pub fn named(&self, text: &str) -> Option<Arc<Node>> {
        let nodes = self.nodes();
        if let Some(node) = nodes.iter().find(|n| n.name == text) {
            return Some(Arc::clone(node));
        }
        let mut of_target = nodes.iter().filter(|n| n.group == text);
        if let (Some(node), None) = (of_target.next(), of_target.next()) {
            return Some(Arc::clone(node));
        }
        let uri: Option<Uri> = text.parse().ok();
        let address = uri.and_then(|uri| match uri.target {
            Target::Server(address) => Some(address),
            Target::Sentinel { .. } => None,
        });
        address.and_then(|address| self.at(&address))
    }

    /// How to watch, now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From the next look on.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The history, when there is one.
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// Watches a server; nothing happens when it is watched already.
    pub(crate) fn add(
        self: &Arc<Self>,
        group: &str,
        address: &Address,
        options: &ConnectOptions,
        primary: Option<String>,
    ) {
        if let Some(node) = self.at(address) {
            node.state().primary = primary;
            return;
        }
        let Known { id, line, last_run_s, is_new } = self.known(&address.to_string());
        let state = State { primary, line, last_run_s, ..State::default() };
        let node = Arc::new(Node::new(id, group, address.clone(), options.clone(), state));
        if is_new {
            self.record(&node, Kind::Begun, format!("watched from now on, as part of {group}"));
        }
        self.start(node);
    }

    /// The server at an address.
    pub(crate) fn at(&self, address: &Address) -> Option<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(address).map(|w| Arc::clone(&w.node))
    }

    /// What is known of a name from before.
    fn known(&self, name: &str) -> Known {
        let fresh = || self.next_id.fetch_add(1, Ordering::Relaxed);
        let unknown = |id, is_new| Known { id, line: Line::default(), last_run_s: None, is_new };
        let Some(history) = &self.history else { return unknown(fresh(), true) };
        let (id, is_new) = match history.key(name) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!(%error, target = name, "no key for a server: its history is not kept");
                return unknown(-fresh(), false);
            }
        };
        let mut known = unknown(id, is_new);
        let Ok(reader) = Reader::open(history.path()) else { return known };
        let from_s = crate::clock::now_s() - SPAN_S;
        for point in reader.minutes(id, from_s).unwrap_or_default() {
            known.line.push(&point);
        }
        known.last_run_s = reader.last_outcome_s(id).ok().flatten();
        known
    }

    /// Watches a server no longer.
    pub(crate) fn remove(&self, address: &Address, why: &str) {
        let gone = self.nodes.write().unwrap_or_else(PoisonError::into_inner).remove(address);
        if let Some(watched) = gone {
            self.record(&watched.node, Kind::Left, why.to_owned());
            for alert in std::mem::take(&mut watched.node.state().alerts) {
                self.notify(&watched.node, Change::Resolved(alert));
            }
        }
    }

    /// Takes new seeds over: servers of targets that stay begin a new task with the new credentials and keep what is known
    /// of them, the others leave.
    pub(crate) fn renew(self: &Arc<Self>, seeds: &[Seed]) {
        let mut gone = vec![];
        {
            // In one hold: a scrape in between would see servers without their figures.
            let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
            for watched in nodes.values_mut() {
                let node = Arc::clone(&watched.node);
                let Some(seed) = seed_of(seeds, &node) else {
                    gone.push(node.address.clone());
                    continue;
                };
                let state = std::mem::take(&mut *node.state());
                let (address, options) = (node.address.clone(), seed.options.clone());
                *watched = self.watching(Arc::new(Node::new(
                    node.id,
                    &node.group,
                    address,
                    options,
                    state,
                )));
            }
        }
        for address in &gone {
            self.remove(address, "it is no longer in the configuration");
        }
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.retain(|group, _| seeds.iter().any(|s| s.name == *group));
    }

    /// Says so when one process is watched under several names: its bytes count twice, and its alerts come twice.
    pub(crate) fn note_twins(&self) {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for node in self.nodes() {
            let run_id = node.view().map(|v| v.run_id.clone()).filter(|id| !id.is_empty());
            if let Some(run_id) = run_id.filter(|_| node.state().failure.is_none()) {
                names.entry(run_id).or_default().push(node.name.clone());
            }
        }
        let twins: Vec<String> =
            names.into_values().filter(|n| n.len() > 1).map(|n| n.join(" and ")).collect();
        let problem = twins.first().map(|first| {
            let more = match twins.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more like this)"),
            };
            format!(
                "{first} are one process{more}: its bytes count twice here; watch it under one name"
            )
        });
        self.set_problem(TWINS, problem);
    }

    fn start(self: &Arc<Self>, node: Arc<Node>) {
        let watched = self.watching(node);
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(watched.node.address.clone(), watched);
    }

    fn watching(self: &Arc<Self>, node: Arc<Node>) -> Watched {
        let task = tokio::spawn(crate::collect::run(Arc::clone(&node), Arc::clone(self)));
        Watched { node, task }
    }

    /// Ends all tasks and hands what is not packed to the history.
    pub(crate) fn end(&self) {
        let nodes =
            std::mem::take(&mut *self.nodes.write().unwrap_or_else(PoisonError::into_inner));
        for watched in nodes.values() {
            let recent = std::mem::take(&mut watched.node.state().recent);
            self.write(Job::Pack(watched.node.id, recent));
        }
    }

    /// Writes an event down.
    pub fn record(&self, node: &Node, kind: Kind, text: String) {
        self.event(node, Event { at_s: crate::clock::now_s(), kind, text });
    }

    pub(crate) fn event(&self, node: &Node, event: Event) {
        tracing::info!(
            target_name = node.name,
            kind = event.kind.name(),
            text = event.text,
            "event"
        );
        self.write(Job::Event(node.id, event));
    }

    /// Writes something into the history, if there is one.
    pub fn write(&self, job: Job) {
        let is_figure = matches!(job, Job::Point(..) | Job::Pack(..) | Job::Bins(..));
        if let Some(history) =
            self.history.as_ref().filter(|_| !is_figure || self.settings().keeps_points)
        {
            history.write(job);
        }
    }

    pub(crate) fn notify(&self, node: &Arc<Node>, change: Change) {
        // Without anybody to listen there is nobody to tell.
        let _ = self.notices.send(Notice { node: Arc::clone(node), change });
    }

    /// What keeps a group from being found, for people; `None` clears it.
    pub(crate) fn set_problem(&self, group: &str, problem: Option<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(text) => {
                if problems.insert(group.to_owned(), text.clone()).as_ref() != Some(&text) {
                    tracing::warn!(group, problem = text, "cannot find all servers");
                }
            }
            None => {
                problems.remove(group);
            }
        }
    }

    /// What keeps groups from being found.
    pub fn problems(&self) -> BTreeMap<String, String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

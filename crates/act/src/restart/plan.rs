//! [`RestartPlan`]: how a server will be restarted, or why not. Pure: [`make`] takes [`Facts`] and returns values.

mod gates;
mod steps;

pub(in crate::restart) use steps::{rewrite as rewrite_step, step};

use crate::restart::facts::Facts;
use crate::restart::supervisor::Supervisor;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use unfrag_client::topology::DeploymentKind;

/// How a fresh process comes to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Stop it so that it saves everything, start it again.
    Plain,
    /// Replicas first, hand over, the old primary last.
    Rolling,
    /// A second process beside it takes its data and its port.
    Swap,
}

impl Mode {
    /// Its name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Rolling => "rolling",
            Self::Swap => "swap",
        }
    }
}

/// What the user wants.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the user's")]
pub struct Wish {
    /// Only this mode; `None` for the gentlest that works.
    pub mode: Option<Mode>,
    /// Who starts it, when the user says so.
    pub supervisor: Option<Supervisor>,
    /// A swap after which the process that remains is the supervisor's own child.
    pub supervised: bool,
    /// Settings that are not in the file may be written into it.
    pub rewrite_config: bool,
    /// Go on where an objection may be passed over.
    pub allow: bool,
    /// Compare the whole data, not a sample: takes about a second a million keys, writes held back.
    pub digest: bool,
    /// A verified copy of a snapshot goes there first.
    pub backup: Option<PathBuf>,
    /// Writes are held back no longer than this in a hand-over.
    pub pause_max: Duration,
    /// Waiting for data to load or to synchronise ends after this.
    pub wait_max: Duration,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            mode: None,
            supervisor: None,
            supervised: false,
            rewrite_config: false,
            allow: false,
            digest: false,
            backup: None,
            pause_max: Duration::from_secs(2),
            wait_max: Duration::from_secs(3600),
        }
    }
}

/// A reason not to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Objection {
    /// The mode it stands against.
    pub mode: Mode,
    /// For people.
    pub why: String,
    /// `--allow` goes on all the same.
    pub overridable: bool,
}

/// One step, as it will be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Its name, as in the journal: `stop`.
    pub name: &'static str,
    /// The server it is done to.
    pub node: String,
    /// What it does, in one sentence.
    pub what: String,
    /// Commands it sends or runs, what varies in capitals.
    pub commands: Vec<String>,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestartPlan {
    /// `unfrag.restart-plan/1`.
    pub schema: &'static str,
    /// The server, as people would name it.
    pub target: String,
    /// The process it was made for.
    pub run_id: String,
    /// `Redis 8.2.3`.
    pub server: String,
    /// How.
    pub mode: Mode,
    /// Why so.
    pub why: String,
    /// In order; empty when it is refused.
    pub steps: Vec<PlannedStep>,
    /// Reasons against it, those that were passed over among them.
    pub refused: Vec<Objection>,
    /// What is worth knowing before.
    pub warnings: Vec<String>,
    /// Who starts it.
    pub supervisor: Option<String>,
    /// RSS now.
    pub rss_bytes: Option<u64>,
    /// RSS of a fresh process with the same data.
    pub floor_rss_bytes: Option<u64>,
    /// What it gives back.
    pub predicted_bytes: u64,
    /// How long clients wait, in words.
    pub gap: String,
}

impl RestartPlan {
    /// Somebody other than us starts a process in it.
    pub fn names_supervisor(&self) -> bool {
        self.mode != Mode::Swap || self.steps.iter().any(|s| s.name == "start")
    }

    /// Nothing is done, for this reason; what else was seen may be a consequence of it.
    pub fn refuse(&mut self, why: String) {
        (self.steps, self.refused, self.warnings) = (vec![], vec![], vec![]);
        self.refused.push(Objection { mode: self.mode, why, overridable: false });
    }

    /// False when it is refused.
    pub fn may_run(&self) -> bool {
        !self.steps.is_empty()
    }
}

/// Plans for a server and what belongs with it.
pub fn make(facts: &Facts, wish: &Wish) -> RestartPlan {
    let (mode, why, refused) = choose(facts, wish);
    let blocked = refused.iter().any(|o| o.mode == mode && !(wish.allow && o.overridable));
    let members = if mode == Mode::Rolling { facts.members.as_slice() } else { &[] };
    let sum = |of: fn(&Facts) -> Option<u64>| {
        std::iter::once(facts).chain(members).map(of).sum::<Option<u64>>()
    };
    RestartPlan {
        schema: "unfrag.restart-plan/1",
        target: facts.target(),
        run_id: facts.run_id.clone(),
        server: facts.engine.to_string(),
        mode,
        why,
        steps: if blocked { vec![] } else { steps::of(mode, facts, wish) },
        refused,
        warnings: gates::warnings(mode, facts),
        supervisor: match mode {
            // It starts several.
            Mode::Rolling => facts.supervisor.as_ref().map(ToString::to_string),
            _ => facts.supervisor.as_ref().map(|s| s.typed_for(&facts.address)),
        },
        rss_bytes: sum(|f| f.layers.rss),
        floor_rss_bytes: sum(|f| f.floor_rss_bytes),
        predicted_bytes: sum(|f| Some(f.predicted_bytes)).unwrap_or(0),
        gap: steps::gap(mode, facts, wish),
    }
}

/// The mode, why, and what stands against it and against the gentler ones.
fn choose(facts: &Facts, wish: &Wish) -> (Mode, String, Vec<Objection>) {
    let against = |mode| gates::against(mode, facts, wish);
    if let Some(mode) = wish.mode {
        return (mode, "asked for".to_owned(), against(mode));
    }
    if facts.deployment.kind != DeploymentKind::Single {
        let count = facts.members.len();
        let why = format!(
            "{count} other server{} belong{} with it: they keep serving meanwhile",
            if count == 1 { "" } else { "s" },
            if count == 1 { "s" } else { "" }
        );
        return (Mode::Rolling, why, against(Mode::Rolling));
    }
    let swap = against(Mode::Swap);
    let blocks = |o: &Objection| !(wish.allow && o.overridable);
    if !swap.iter().any(blocks) {
        let why = "no replicas, and a second process fits beside it: clients wait milliseconds";
        return (Mode::Swap, why.to_owned(), swap);
    }
    let first = swap.iter().find(|o| blocks(o)).map(|o| o.why.clone()).unwrap_or_default();
    // It changes a file for a moment: only on the user's own word.
    let supervised = Wish { supervised: true, ..wish.clone() };
    let is_kept = facts.found_supervisor.is_some();
    let could = is_kept && !gates::against(Mode::Swap, facts, &supervised).iter().any(blocks);
    if could {
        let why = "a supervisor keeps it; --mode swap --supervised would keep serving meanwhile";
        return (Mode::Plain, why.to_owned(), against(Mode::Plain));
    }
    let mut refused = swap;
    refused.extend(against(Mode::Plain));
    (Mode::Plain, format!("swap does not work here: {first}"), refused)
}

//! [`execute`]: carries a restart out; whatever goes wrong, what can be put back is put back.

use crate::control::Stop;
use crate::journal::{Entry, Journal, Journals};
use crate::link::Link;
use crate::outcome::layers;
use crate::permit::ChangePermit;
use crate::restart::configuration::{Configuration, Difference};
use crate::restart::facts::Facts;
use crate::restart::outcome::{NodeOutcome, RestartOutcome, RestartStatus, StepDone};
use crate::restart::plan::{Mode, RestartPlan, Wish};
use crate::restart::record::RestartRecord;
use crate::restart::verify::Verified;
use crate::restart::{plain, rolling, swap};
use crate::settings::{Restored, Settings};
use crate::{ActError, control};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions};
use unfrag_model::{Info, Layers};

/// What happens, as it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum RestartEvent {
    /// The journal of this run.
    Begun {
        /// Its file.
        journal: PathBuf,
    },
    /// A step begins: it is in the journal, and nothing of it is done.
    Step {
        /// Its name.
        name: &'static str,
        /// The server.
        node: String,
    },
    /// A step is done.
    Done(StepDone),
    /// A step failed, or was broken off.
    Failed(StepDone),
    /// A sentence for people.
    Note(String),
}

/// Everything a run is given.
#[derive(Debug)]
pub struct RestartRun<'a> {
    /// What to do.
    pub plan: &'a RestartPlan,
    /// What it was made from.
    pub facts: &'a Facts,
    /// What the user wants.
    pub wish: &'a Wish,
    /// Leave to do it.
    pub permit: &'a ChangePermit,
    /// As whom to connect.
    pub options: &'a ConnectOptions,
    /// Where the journal goes.
    pub journals: &'a Journals,
    /// The wish to end it.
    pub stop: Stop,
}

/// What a mode works with.
pub(crate) struct Work<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) wish: &'a Wish,
    pub(crate) options: &'a ConnectOptions,
    pub(crate) link: Link,
    pub(crate) journal: Journal,
    pub(crate) settings: Settings,
    pub(crate) restored: Vec<Restored>,
    pub(crate) verified: Verified,
    pub(crate) gap: Option<Duration>,
    /// The primary that clients know does not take writes since then.
    pub(crate) handing_since: Option<Instant>,
    pub(crate) nodes: Vec<NodeOutcome>,
    pub(crate) notes: Vec<String>,
    /// Something was done that is not undone: the journal stays for `undo`.
    pub(crate) is_half_way: bool,
    pub(crate) stop: Stop,
    steps: Vec<StepDone>,
    began: Instant,
    events: &'a mut (dyn FnMut(RestartEvent) + Send),
}

/// Carries the plan out. An error means that nothing was changed; whatever came later is in the outcome.
pub async fn execute(
    run: RestartRun<'_>,
    events: &mut (dyn FnMut(RestartEvent) + Send),
) -> Result<RestartOutcome, ActError> {
    let plan = run.plan;
    if !plan.may_run() {
        return Ok(RestartOutcome::refused(plan, run.facts.layers));
    }
    let mut link = Link::open(&run.facts.address, run.options).await?;
    if run.permit.run_id() != plan.run_id || link.run_id != plan.run_id {
        let what = "it is another process now (its run_id differs)".to_owned();
        return Err(ActError::Changed { what });
    }
    link.claim().await?;
    run.facts.refuse_others(run.journals)?;
    let journal = run.journals.begin(&plan.target, &plan.run_id)?;
    events(RestartEvent::Begun { journal: journal.path().to_owned() });
    let stop = run.stop.clone().with_file(control::file_of(journal.path()));
    let mut work = Work {
        facts: run.facts,
        wish: run.wish,
        options: run.options,
        link,
        journal,
        settings: Settings::default(),
        restored: vec![],
        verified: Verified::default(),
        gap: None,
        handing_since: None,
        nodes: vec![],
        notes: plan.warnings.clone(),
        is_half_way: false,
        stop,
        steps: vec![],
        began: Instant::now(),
        events,
    };
    let result = match plan.mode {
        Mode::Plain => plain::run(&mut work).await,
        Mode::Swap => Box::pin(swap::run(&mut work)).await,
        Mode::Rolling => rolling::run(&mut work).await,
    };
    Ok(work.finish(plan, result).await)
}

impl Work<'_> {
    /// A step begins: the journal knows first. Between two steps is where a run can be stopped.
    pub(crate) fn begin(&mut self, name: &'static str, node: &str) -> Result<(), ActError> {
        if self.stop.is_set() {
            return Err(ActError::Unsafe(format!("stopped on request before the step `{name}`")));
        }
        self.begin_surely(name, node)
    }

    /// As [`Self::begin`]; once it is half way as [`Self::begin_surely`].
    pub(crate) fn begin_or_go_on(
        &mut self,
        name: &'static str,
        node: &str,
    ) -> Result<(), ActError> {
        if self.is_half_way { self.begin_surely(name, node) } else { self.begin(name, node) }
    }

    /// As [`Self::begin`], where stopping would leave it half way.
    pub(crate) fn begin_surely(&mut self, name: &'static str, node: &str) -> Result<(), ActError> {
        self.journal.write(&Entry::Step { name: name.to_owned(), node: node.to_owned() })?;
        self.announce(name, node);
        Ok(())
    }

    /// As [`Self::begin`], while clients wait: the journal's line survives us, not the machine, whose servers would be
    /// gone with it.
    pub(crate) fn begin_swiftly(&mut self, name: &'static str, node: &str) -> Result<(), ActError> {
        self.journal.note(&Entry::Step { name: name.to_owned(), node: node.to_owned() })?;
        self.announce(name, node);
        Ok(())
    }

    fn announce(&mut self, name: &'static str, node: &str) {
        self.began = Instant::now();
        self.steps.push(StepDone {
            name,
            node: node.to_owned(),
            note: String::new(),
            ok: false,
            duration_ms: 0.0,
        });
        (self.events)(RestartEvent::Step { name, node: node.to_owned() });
    }

    /// The step that began last is done.
    pub(crate) fn done(&mut self, note: impl Into<String>) {
        let took = self.began.elapsed();
        if let Some(step) = self.steps.last_mut() {
            step.note = note.into();
            step.ok = true;
            step.duration_ms = milliseconds(took);
            (self.events)(RestartEvent::Done(step.clone()));
        }
    }

    /// The step that began last did not get done; what was begun and done before stays done.
    fn failed(&mut self, why: &ActError) {
        let took = self.began.elapsed();
        if let Some(step) = self.steps.last_mut().filter(|step| !step.ok) {
            step.note = why.to_string();
            step.duration_ms = milliseconds(took);
            (self.events)(RestartEvent::Failed(step.clone()));
        }
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        (self.events)(RestartEvent::Note(text.clone()));
        self.notes.push(text);
    }

    /// Says something that is not worth keeping.
    pub(crate) fn say(&mut self, text: impl Into<String>) {
        (self.events)(RestartEvent::Note(text.into()));
    }

    pub(crate) fn record(&mut self, record: RestartRecord) -> Result<(), ActError> {
        self.journal.write(&Entry::Restart { record })
    }

    pub(crate) fn record_swiftly(&mut self, record: RestartRecord) -> Result<(), ActError> {
        self.journal.note(&Entry::Restart { record })
    }

    /// Writes were not taken for so long.
    pub(crate) fn add_gap(&mut self, gap: Duration) {
        self.gap = Some(self.gap.map_or(gap, |longest| longest.max(gap)));
    }

    /// Puts back the settings that were changed on the server behind `link`.
    pub(crate) async fn restore_settings(&mut self) {
        let restored = self.settings.restore(&mut self.link, &mut self.journal).await;
        self.restored.extend(restored);
    }

    async fn finish(mut self, plan: &RestartPlan, result: Result<(), ActError>) -> RestartOutcome {
        if let Err(error) = &result {
            self.failed(error);
        }
        if result.is_err() && !self.is_half_way {
            self.restore_settings().await;
        }
        let after = self.layers_after(&self.facts.address.clone()).await;
        let before = self.facts.layers;
        let fault = self.verified.fault();
        let error = result.err().map(|e| e.to_string()).or(fault);
        let is_clean = !self.is_half_way && self.restored.iter().all(|r| r.restored);
        let status = match (&error, is_clean) {
            (None, true) => RestartStatus::Done,
            (Some(_), true) if self.verified.fault().is_none() => RestartStatus::RolledBack,
            _ => RestartStatus::Failed,
        };
        if is_clean {
            // A journal that cannot be ended is found by the next run, which says so.
            let _ = self.journal.end();
        }
        let (rss_before, rss_after) = if self.nodes.len() > 1 {
            let sum = |of: fn(&NodeOutcome) -> Option<u64>| self.nodes.iter().filter_map(of).sum();
            (sum(|n| n.rss_before), sum(|n| n.rss_after))
        } else {
            (before.rss.unwrap_or(0), after.rss.unwrap_or(0))
        };
        let known = rss_after > 0;
        RestartOutcome {
            target: plan.target.clone(),
            mode: plan.mode,
            why: plan.why.clone(),
            status,
            error,
            needs_undo: !is_clean,
            before,
            after,
            predicted_bytes: plan.predicted_bytes,
            reclaimed_bytes: if known {
                rss_before.cast_signed() - rss_after.cast_signed()
            } else {
                0
            },
            floor_rss_bytes: plan.floor_rss_bytes,
            gap_ms: self.gap.map(milliseconds),
            verified: self.verified,
            nodes: self.nodes,
            steps: self.steps,
            restored_config: self.restored,
            notes: self.notes,
            refused: plan.refused.clone(),
        }
    }

    async fn layers_after(&self, address: &Address) -> Layers {
        let Ok(mut link) = Link::open(address, self.options).await else {
            return Layers::default();
        };
        match link.settled_info().await {
            Ok(info) => layers(&info, &self.facts.layers),
            Err(_) => Layers::default(),
        }
    }
}

pub(crate) fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e5).round() / 100.0
}

/// A server that is up, loaded, and not the process it was.
pub(crate) async fn up_again(
    address: &Address,
    options: &ConnectOptions,
    old_run_id: &str,
) -> Option<(Link, Info)> {
    let mut link = Link::open(address, options).await.ok()?;
    let info = link.info().await.ok()?;
    let is_ready = info.flag("loading") != Some(true) && link.run_id != old_run_id;
    (is_ready && !link.run_id.is_empty()).then_some((link, info))
}

/// The settings of the server behind a link; empty when they may not be read.
pub(crate) async fn configuration_of(link: &mut Link) -> Configuration {
    Configuration::read(&mut link.connection).await.unwrap_or_default()
}

/// Settings that differ, for people; unknown when one side may not be read.
pub(crate) fn differing(
    before: &Configuration,
    after: &Configuration,
    but: &[&str],
) -> Option<Vec<String>> {
    let is_known = !before.is_empty() && !after.is_empty();
    is_known
        .then(|| before.differences(after, but).iter().map(Difference::shown_afterwards).collect())
}

//! [`execute`]: carries a plan out, puts everything back whatever happens, and measures what came of it.

use crate::control::{self, Stop};
use crate::journal::{Journal, Journals};
use crate::link::{Link, is_forking, waste};
use crate::outcome::{self, Latency, Outcome, Skipped, Status, StepOutcome};
use crate::plan::{PURGING_THREAD, Setting};
use crate::probe::{Percentiles, Probe};
use crate::remedy::{defrag, purge, repack};
use crate::settings::{Restored, Settings};
use crate::{ActError, ChangePermit, Plan, RemedyName, Step};
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions};
use unfrag_model::{Info, Layers};

/// What happens, as it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The journal of this run, by which another terminal finds it.
    Begun {
        /// Its file.
        journal: std::path::PathBuf,
    },
    /// A step begins.
    Step(RemedyName),
    /// About once a second.
    Progress(Progress),
    /// A sentence for people.
    Note(String),
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The step.
    pub remedy: RemedyName,
    /// RSS now.
    pub rss: u64,
    /// Waste that is left, by the server's figures.
    pub waste: u64,
    /// Bytes of waste a second that went since the last report.
    pub waste_per_s: i64,
    /// Latency over the last second.
    pub latency: Percentiles,
    /// Latency before.
    pub baseline: Percentiles,
    /// Until the run ends at the latest.
    pub left: Duration,
    /// Share done, 0 to 1, when that can be told.
    pub done: Option<f64>,
}

/// Everything a run is given.
#[derive(Debug)]
pub struct Run<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// Leave to do it.
    pub permit: &'a ChangePermit,
    /// The ladder that was shown with the plan.
    pub before: Layers,
    /// Where the server is.
    pub address: &'a Address,
    /// As whom to connect.
    pub options: &'a ConnectOptions,
    /// Where the journal goes.
    pub journals: &'a Journals,
    /// The wish to end it.
    pub stop: Stop,
}

/// What a remedy works with.
pub(crate) struct Work<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) link: Link,
    pub(crate) journal: Journal,
    pub(crate) settings: Settings,
    pub(crate) probe: Probe,
    pub(crate) baseline: Percentiles,
    pub(crate) stop: Stop,
    pub(crate) deadline: Instant,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) restored: Vec<Restored>,
    /// Keys may be set aside under this run's prefix.
    pub(crate) left_aside: bool,
    /// The least that the allocator was seen to retain in this step: its bookkeeping.
    pub(crate) retained_floor: Option<u64>,
    /// jemalloc's background thread is on.
    pub(crate) has_purging_thread: bool,
    /// The tightest limit on RSS.
    pub(crate) limit: Option<u64>,
    events: &'a mut (dyn FnMut(Event) + Send),
    last: Option<(Instant, u64)>,
}

/// How a remedy ended, with a sentence.
pub(crate) type Ended = (Status, String);

/// Long enough for a percentile at 99.9.
const BASELINE: Duration = Duration::from_secs(3);

/// Carries the plan out. An error means that nothing was changed; whatever came later is in the outcome.
pub async fn execute(
    run: Run<'_>,
    events: &mut (dyn FnMut(Event) + Send),
) -> Result<Outcome, ActError> {
    let mut link = Link::open(run.address, run.options).await?.with_patience();
    confirm(&run, &link)?;
    link.claim().await?;
    let journal = run.journals.begin(&run.plan.target, &run.plan.run_id)?;
    events(Event::Begun { journal: journal.path().to_owned() });
    let probe = Probe::start(run.address, run.options);
    let deadline = Instant::now() + run.plan.bounds.max_duration;
    // A user who may not read settings has no such thread as far as we know.
    let purging = link.config_get(PURGING_THREAD).await.unwrap_or_default();
    let stop = run.stop.clone().with_file(control::file_of(journal.path()));
    let mut work = Work {
        plan: run.plan,
        link,
        journal,
        settings: Settings::default(),
        probe,
        baseline: Percentiles::default(),
        stop,
        deadline,
        skipped: vec![],
        restored: vec![],
        left_aside: false,
        retained_floor: None,
        has_purging_thread: purging.as_deref() == Some("yes"),
        limit: run.before.limit,
        events,
        last: None,
    };
    probe_baseline(&mut work).await;
    let (steps, error) = work.steps().await;
    // Judged against what the plan was made from, as its prediction is.
    Ok(work.finish(run.before, steps, error).await)
}

/// The plan, the permit and the server must speak of the same process.
fn confirm(run: &Run<'_>, link: &Link) -> Result<(), ActError> {
    if run.permit.run_id() != run.plan.run_id || link.run_id != run.plan.run_id {
        let what = "it is another process now (its run_id differs)".to_owned();
        return Err(ActError::Changed { what });
    }
    Ok(())
}

async fn probe_baseline(work: &mut Work<'_>) {
    work.probe.start_period();
    let end = Instant::now() + BASELINE.min(work.plan.bounds.max_duration / 4);
    while Instant::now() < end && !work.stop.is_set() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    work.baseline = work.probe.period();
}

/// What was refused once would be refused again; and defrag alone has nothing new to do where repack moved nothing.
fn is_in_vain(step: &Step, done: &[StepOutcome]) -> bool {
    let is_refused = |o: &StepOutcome| o.remedy == step.remedy && o.status == Status::Refused;
    let is_idle = |o: &StepOutcome| matches!(o.status, Status::NotNeeded | Status::Refused);
    let is_second = step.remedy == RemedyName::Defrag && step.takes_the_rest();
    done.iter().any(is_refused) || (is_second && done.last().is_some_and(is_idle))
}

impl Work<'_> {
    async fn steps(&mut self) -> (Vec<StepOutcome>, Option<String>) {
        let mut outcomes = vec![];
        let plan = self.plan;
        for step in &plan.steps {
            if self.stop.is_set() || Instant::now() >= self.deadline || self.is_at_target().await {
                break;
            }
            if is_in_vain(step, &outcomes) {
                continue;
            }
            (self.events)(Event::Step(step.remedy));
            let (outcome, error) = self.step(step).await;
            outcomes.push(outcome);
            // A server that cannot be put back is not worked on any further.
            if error.is_some() || !self.is_put_back() {
                return (outcomes, error);
            }
        }
        (outcomes, None)
    }

    /// What was asked for is reached, before anything is done or by what was.
    async fn is_at_target(&mut self) -> bool {
        self.plan.bounds.target_ratio.is_some()
            && self.link.info().await.is_ok_and(|info| self.end(&info).is_some())
    }

    async fn step(&mut self, step: &Step) -> (StepOutcome, Option<String>) {
        let begun = Instant::now();
        let rss_before = self.rss().await;
        self.probe.start_period();
        self.last = None;
        self.retained_floor = None;
        let had_thread = self.has_purging_thread;
        let result = match step.remedy {
            RemedyName::Purge => purge::run(self, step).await,
            RemedyName::Defrag => defrag::run(self, step).await,
            RemedyName::Repack => repack::run(self, step).await,
        };
        let ((status, note), error) = match result {
            Ok(ended) => (ended, None),
            Err(error) => ((Status::Failed, error.to_string()), Some(error.to_string())),
        };
        let during = self.probe.period();
        // Whatever the step changed goes back before the next one begins.
        self.put_back().await;
        self.has_purging_thread = had_thread;
        let reclaimed_bytes = match (rss_before, self.rss().await) {
            (Some(before), Some(after)) => before.cast_signed() - after.cast_signed(),
            _ => 0,
        };
        let outcome = StepOutcome {
            remedy: step.remedy,
            status,
            note,
            predicted_bytes: step.predicted_bytes,
            reclaimed_bytes,
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            latency_us: Latency { baseline: self.baseline, during },
        };
        (outcome, error)
    }

    /// Sets what the step may set, for as long as it lasts or until it is put back.
    pub(crate) async fn lend(&mut self, settings: &[Setting]) -> Result<(), ActError> {
        for setting in settings {
            self.settings.set(&mut self.link, &mut self.journal, setting.name, &setting.to).await?;
            self.has_purging_thread |= setting.name == PURGING_THREAD;
        }
        Ok(())
    }

    /// Puts all settings back. What could not be put back earlier and is now counts as put back.
    pub(crate) async fn put_back(&mut self) {
        for now in self.settings.restore(&mut self.link, &mut self.journal).await {
            self.restored.retain(|earlier| earlier.name != now.name);
            self.restored.push(now);
        }
    }

    pub(crate) fn is_put_back(&self) -> bool {
        self.restored.iter().all(|r| r.restored)
    }

    /// Of the process that the plan was made for.
    async fn rss(&mut self) -> Option<u64> {
        let rss = self.link.info().await.ok()?.count("used_memory_rss");
        rss.filter(|_| self.link.run_id == self.plan.run_id)
    }

    async fn finish(
        mut self,
        before: Layers,
        steps: Vec<StepOutcome>,
        error: Option<String>,
    ) -> Outcome {
        let after = match self.link.settled_info().await {
            // What another process holds is no merit of ours.
            Ok(info) if self.link.run_id == self.plan.run_id => outcome::layers(&info, &before),
            _ => Layers::default(),
        };
        let worst = steps.iter().map(|s| s.status).find(|s| *s == Status::Failed);
        let status = match worst {
            Some(failed) => failed,
            None if self.stop.is_set() => Status::Stopped,
            None if Instant::now() >= self.deadline => Status::Bounded,
            None if outcome::are_refused(&steps) => Status::Refused,
            None => Status::Done,
        };
        let mut skipped = outcome::skipped(self.plan);
        skipped.append(&mut self.skipped);
        let reclaimed =
            |after: u64| before.rss.unwrap_or(after).cast_signed() - after.cast_signed();
        let outcome = Outcome {
            target: self.plan.target.clone(),
            status,
            error,
            before,
            after,
            predicted_bytes: self.plan.predicted_bytes,
            reclaimed_bytes: after.rss.map_or(0, reclaimed),
            floor_rss_bytes: self.plan.floor_rss_bytes,
            steps,
            restored_config: self.restored,
            left_aside: self.left_aside,
            skipped,
            held_back: outcome::held_back(self.plan),
        };
        if outcome.is_restored() {
            // A journal that cannot be ended is found by the next run, which says so.
            let _ = self.journal.end();
        }
        outcome
    }

    /// Says where the step stands, at most about once a second; the window of latency ends here.
    pub(crate) fn progress(
        &mut self,
        remedy: RemedyName,
        info: &Info,
        done: Option<f64>,
    ) -> Percentiles {
        let (now, waste) = (Instant::now(), waste(info));
        let latency = self.probe.window();
        let waste_per_s = self.last.map_or(0.0, |(at, before)| {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            (before as f64 - waste as f64) / seconds
        });
        self.last = Some((now, waste));
        #[expect(clippy::cast_possible_truncation, reason = "bytes a second")]
        (self.events)(Event::Progress(Progress {
            remedy,
            rss: info.count("used_memory_rss").unwrap_or(0),
            waste,
            waste_per_s: waste_per_s as i64,
            latency,
            baseline: self.baseline,
            left: self.deadline.saturating_duration_since(now),
            done,
        }));
        latency
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        (self.events)(Event::Note(text.into()));
    }

    /// Why the remedy should end now, if it should.
    pub(crate) fn end(&self, info: &Info) -> Option<Ended> {
        if self.stop.is_set() {
            return Some((Status::Stopped, "stopped on request".to_owned()));
        }
        if Instant::now() >= self.deadline {
            return Some((Status::Bounded, "--max-duration is over".to_owned()));
        }
        let (Some(rss), Some(used)) = (info.count("used_memory_rss"), info.count("used_memory"))
        else {
            return None;
        };
        let ratio = rss as f64 / used.max(1) as f64;
        self.plan.bounds.target_ratio.filter(|target| ratio <= *target).map(|target| {
            (Status::Bounded, format!("RSS / used is {ratio:.2}, the target {target}"))
        })
    }

    /// Waits while the run is paused or a fork child is at work: pages touched now would exist twice. The server would go
    /// on by itself while we hold still: for a pause it gets its own settings back.
    pub(crate) async fn wait_out(&mut self) -> Result<Info, ActError> {
        let mut said = false;
        let mut lent: Vec<(String, String)> = vec![];
        loop {
            let info = self.link.info().await?;
            let paused = self.stop.is_paused();
            let ends = self.end(&info).is_some();
            if ends || !(paused || is_forking(&info)) {
                if !ends {
                    for (name, value) in lent {
                        self.settings.set(&mut self.link, &mut self.journal, &name, &value).await?;
                    }
                }
                return Ok(info);
            }
            if paused && lent.is_empty() {
                lent = self.settings.now();
                self.put_back().await;
                if !self.is_put_back() {
                    let what = "its settings could not be put back for the pause".to_owned();
                    return Err(ActError::Unsafe(what));
                }
            }
            if !said {
                self.note(if paused {
                    "paused"
                } else {
                    "a fork child is at work: waiting for its end"
                });
                said = true;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Microseconds by which a window exceeds what the server had before.
    pub(crate) fn added_us(&self, window: Percentiles) -> u64 {
        // A window of one second holds 500 samples: its 99th percentile is the highest that is no single accident.
        window.p99.saturating_sub(self.baseline.p99)
    }
}

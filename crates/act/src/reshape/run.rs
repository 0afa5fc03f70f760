//! [`apply`]: does what the dry run showed; `revert`: puts back what a killed run did.
//!
//! There is no moment at which the data is wrong: each hash, each value is one atomic step. So a run that ends early, by
//! whatever, leaves some of the keys in the new layout and the others in the old one. The journal knows which, and the
//! same command goes on from there.

use super::layout::Layout;
use super::members::Members;
use super::outcome::{Outcome, Preview};
use super::preview::{layout_of, no_touch};
use super::record::Record;
use super::spec::{Job, Shape, Spec};
use super::walk::Walk;
use super::worker::{Counts, Traits, Usage, Worker};
use super::{compress, hash};
use crate::control::{self, Stop};
use crate::journal::{Entry, Journal, Journals, Moved};
use crate::link::{Link, is_forking};
use crate::outcome::Skipped;
use crate::probe::{Percentiles, Probe};
use crate::{ActError, ChangePermit, Status};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions, resp};
use unfrag_model::size_class::Allocator;
use unfrag_model::{Info, Sample, Version};
use unfrag_rdb::SizeFor;

/// What happens, as it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The journal of this run, by which another terminal finds it.
    Begun {
        /// Its file.
        journal: PathBuf,
        /// An interrupted run of the same change goes on.
        resumed: bool,
    },
    /// About once a second.
    Progress(Progress),
    /// A sentence for people.
    Note(String),
}

/// Where the run stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Keys merged, fields split off, or values replaced.
    pub done: u64,
    /// Of about so many.
    pub of: u64,
    /// Latency over the last second.
    pub latency: Percentiles,
    /// Latency before.
    pub baseline: Percentiles,
}

/// How far a run may go.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Latency that may be added, in microseconds.
    pub latency_budget_us: u64,
    /// The run ends after this.
    pub max_duration: Duration,
    /// Looks again for keys written meanwhile, for so long.
    pub follow: Option<Duration>,
}

/// Everything a run is given.
#[derive(Debug)]
pub struct Run<'a> {
    /// The dry run that was shown.
    pub preview: &'a Preview,
    /// The sample it was made from.
    pub sample: &'a Sample,
    /// Leave to do it.
    pub permit: &'a ChangePermit,
    /// Where the server is.
    pub address: &'a Address,
    /// As whom to connect.
    pub options: &'a ConnectOptions,
    /// Where journal and record go.
    pub journals: &'a Journals,
    /// How far it may go.
    pub bounds: Bounds,
    /// The wish to end it.
    pub stop: Stop,
}

type Events<'e> = &'e mut (dyn FnMut(Event) + Send);

/// Long enough for a percentile at 99.
const BASELINE: Duration = Duration::from_secs(1);
/// Between two looks for late writers.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at the server inside a pass.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A replica may be behind by this much.
const LAG_MOST_BYTES: u64 = 16 << 20;

/// Does what the preview showed. An error means that nothing was changed; whatever came later is in the outcome.
pub async fn apply(run: Run<'_>, events: Events<'_>) -> Result<Outcome, ActError> {
    let preview = run.preview;
    let mut link = Link::open(run.address, run.options).await?;
    if run.permit.run_id() != preview.run_id || link.run_id != preview.run_id {
        let what = "it is another process now (its run_id differs)".to_owned();
        return Err(ActError::Changed { what });
    }
    link.claim().await?;
    let traits = Traits::of_sample(run.sample);
    no_touch(&mut link, traits).await;
    let layout = layout_of(&preview.spec)?;
    let mut record = Record::open(run.journals, &preview.target, &preview.spec.shape)?;
    let (mut journal, resumed) = begin(&run, !record.is_kept)?;
    events(Event::Begun { journal: journal.path().to_owned(), resumed });
    // Without the probe, as after: its connection has a query buffer or none, as the server's cron and a PING fall.
    let before = settled(&mut link).await?;
    let dirty = changes(&mut link).await;
    let probe = Probe::start(run.address, run.options);
    let baseline = baseline(&probe, &run.stop).await;
    let begun = Instant::now();
    let stop = run.stop.clone().with_file(control::file_of(journal.path()));
    let mut conduct = Conduct {
        run: &run,
        layout: layout.as_ref(),
        traits,
        allocator: SizeFor::like(run.sample).map_or(Allocator::Jemalloc8, |s| s.allocator),
        probe,
        baseline,
        stop,
        deadline: begun + run.bounds.max_duration,
        last_look: begun,
        events,
    };
    let mut tally = Tally::default();
    let result = conduct.all(&mut link, &mut journal, &mut record, &mut tally).await;
    let stopped = conduct.stop.is_set();
    drop(conduct);
    let (status, error) = match &result {
        Ok(()) if stopped => (Status::Stopped, None),
        Ok(()) if tally.is_cut => (Status::Bounded, None),
        Ok(()) => (Status::Done, None),
        Err(error) => (Status::Failed, Some(error.to_string())),
    };
    // The journal of a run that did not end well stays: the same command goes on, `unfrag undo` puts back.
    if status == Status::Done {
        if preview.spec.reverse && tally.skipped.is_empty() {
            record.forget();
        }
        // One that cannot be ended is found by the next run, which says so.
        let _ = journal.end();
    }
    let most = changes_at_most(&tally.counts, &preview.spec, traits, run.sample);
    let others_changes = others(most, dirty, changes(&mut link).await);
    // Over a new connection, as before: what the server had set up for the old one is no data.
    let after = match link.reopen().await {
        Ok(()) => settled(&mut link).await.unwrap_or_default(),
        Err(_) => Reading::default(),
    };
    Ok(Outcome {
        target: preview.target.clone(),
        spec: preview.spec.clone(),
        status,
        error,
        keys_before: before.keys,
        keys_after: after.keys,
        done: tally.counts.done,
        hashes: tally.counts.hashes,
        predicted_bytes: preview.predicted_bytes,
        measured_bytes: before.bytes.cast_signed() - after.bytes.cast_signed(),
        others_changes,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        skipped: tally.skipped,
    })
}

/// A fresh journal, or that of a killed run of the same change on the same server, to go on.
fn begin(run: &Run<'_>, is_first: bool) -> Result<(Journal, bool), ActError> {
    let preview = run.preview;
    let is_ours = |moved: &Option<Moved>| moved.as_ref().is_some_and(|m| m.spec == preview.spec);
    let earlier = run.journals.unfinished()?.into_iter().find(|r| {
        (r.run_id == preview.run_id || r.target == preview.target) && is_ours(&r.reshape)
    });
    if let Some(earlier) = earlier
        && let Some(journal) = Journal::reopen(&earlier.path)?
    {
        return Ok((journal, true));
    }
    let mut journal = run.journals.begin(&preview.target, &preview.run_id)?;
    journal.write(&Entry::Reshape { spec: preview.spec.clone(), is_first })?;
    Ok((journal, false))
}

async fn baseline(probe: &Probe, stop: &Stop) -> Percentiles {
    probe.start_period();
    let end = Instant::now() + BASELINE;
    while Instant::now() < end && !stop.is_set() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    probe.period()
}

/// What the data takes: `used_memory` without what clients, replicas, the AOF and scripts take at this moment.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    bytes: u64,
    keys: u64,
}

/// When the server last saved, and how many changes it counts since.
async fn changes(link: &mut Link) -> Option<(u64, u64)> {
    let info = link.info().await.ok()?;
    Some((info.count("rdb_last_save_time")?, info.count("rdb_changes_since_last_save")?))
}

/// What the server counts, at most, for ours: a key set and a field removed or the other way about, and an expiry where there
/// are any; a value replaced, by RESTORE as well where the policy's figure is kept.
fn changes_at_most(ours: &Counts, spec: &Spec, traits: Traits, sample: &Sample) -> u64 {
    let expiring: u64 = sample.info.databases().iter().map(|db| db.expires).sum();
    match spec.shape {
        Shape::Compress { .. } => ours.done * (1 + u64::from(traits.usage != Usage::None)),
        Shape::Hash(_) if !spec.reverse => {
            2 * ours.done + ours.done.min(expiring) + ours.hashes.min(expiring)
        }
        // How many fields a hash's expiry becomes that of, or that have their own, is not known.
        Shape::Hash(_) => ours.done * (2 + u64::from(traits.by_field || expiring > 0)),
    }
}

/// Changes that were not ours, about.
fn others(most: u64, before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> Option<u64> {
    let ((saved, first), (saved_later, last)) = before.zip(after)?;
    (saved == saved_later).then(|| last.saturating_sub(first).saturating_sub(most))
}

/// What a server from 7.0 on sets up for each command the first time it is called, to tell its latency: an HDR histogram of
/// 3072 counts (1 ns to 1 s, two digits) and its head. Our commands are no data.
const HISTOGRAM_BYTES: u64 = 3072 * 8 + 112;

async fn histograms(link: &mut Link) -> u64 {
    let text = link.connection.call(&["INFO", "latencystats"]).await;
    let text = text.ok().as_ref().and_then(resp::text).unwrap_or_default();
    let commands = text.lines().filter(|l| l.starts_with("latency_percentiles_usec_")).count();
    commands as u64 * HISTOGRAM_BYTES
}

fn reading(info: &Info) -> Reading {
    let beside = [
        "mem_clients_normal",
        "mem_clients_slaves",
        "mem_replication_backlog",
        "mem_aof_buffer",
        "mem_cluster_links",
        "used_memory_scripts_eval",
    ];
    // The Lua virtual machines allocate with everyone else from Redis 7.4 on (not in Valkey), and grow with each script.
    let counts_lua = info.engine().at_least(Version::new(7, 4, 0), Version::new(u32::MAX, 0, 0));
    let lua = counts_lua.then_some("used_memory_vm_total");
    let beside: u64 = beside.into_iter().chain(lua).filter_map(|field| info.count(field)).sum();
    let bytes = info.count("used_memory").unwrap_or(0).saturating_sub(beside);
    Reading { bytes, keys: info.keys().unwrap_or(0) }
}

/// Once the server's tables have been resized, which it does by and by: when nothing moves for a second.
async fn settled(link: &mut Link) -> Result<Reading, ActError> {
    const LOOKS: u32 = 60;
    const STILL: u32 = 3;
    let mut last = reading(&link.info().await?);
    let mut still = 0;
    for _ in 0..LOOKS {
        let now = reading(&link.settled_info().await?);
        // A thousandth: others write meanwhile.
        still = if now.bytes.abs_diff(last.bytes) <= last.bytes / 1000 { still + 1 } else { 0 };
        last = now;
        if still >= STILL {
            break;
        }
    }
    last.bytes = last.bytes.saturating_sub(histograms(link).await);
    Ok(last)
}

/// What came of all passes.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    skipped: Vec<Skipped>,
    is_cut: bool,
}

struct Conduct<'a, 'e> {
    run: &'a Run<'a>,
    layout: Option<&'a Layout>,
    traits: Traits,
    allocator: Allocator,
    probe: Probe,
    baseline: Percentiles,
    stop: Stop,
    deadline: Instant,
    last_look: Instant,
    events: Events<'e>,
}

impl Conduct<'_, '_> {
    /// All passes.
    async fn all(
        &mut self,
        link: &mut Link,
        journal: &mut Journal,
        record: &mut Record,
        tally: &mut Tally,
    ) -> Result<(), ActError> {
        if !record.is_kept && !self.run.preview.spec.reverse {
            self.keep_record(link, record).await?;
        }
        let until = self.run.bounds.follow.map(|follow| Instant::now() + follow);
        loop {
            tally.skipped = self.pass(link, journal, record, tally).await?;
            let Some(until) = until else { return Ok(()) };
            if self.is_over() || Instant::now() >= until {
                return Ok(());
            }
            let wait = Instant::now() + FOLLOW_EVERY;
            while Instant::now() < wait && !self.stop.is_set() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stop.is_set() || Instant::now() >= self.deadline
    }

    fn worker<'w>(
        &self,
        link: &'w mut Link,
        journal: Option<&'w mut Journal>,
        record: &'w Record,
    ) -> Worker<'w>
    where
        Self: 'w,
    {
        let spec: (&'w Spec, Option<&'w Layout>) = (&self.run.preview.spec, self.layout);
        let budget = self.run.bounds.latency_budget_us;
        Worker::new(link, journal, spec, record, self.traits, budget)
    }

    /// What has the new form already is written down before anything is changed.
    async fn keep_record(&mut self, link: &mut Link, record: &mut Record) -> Result<(), ActError> {
        let info = link.info().await?;
        let mut found = vec![];
        {
            let mut worker = self.worker(link, None, record);
            if matches!(worker.spec.shape, Shape::Hash(_)) {
                found.extend(hash::foreign(&mut worker, &info).await?);
            } else {
                let values = compress::foreign(&mut worker, &info).await?;
                found.extend(values.into_iter().map(|(db, key)| (db, key, vec![])));
            }
        }
        for (db, name, fields) in found {
            record.add(db, name, fields);
        }
        record.keep()?;
        super::worker::step("recorded");
        Ok(())
    }

    /// One pass over all keys; what was left alone in it.
    async fn pass(
        &mut self,
        link: &mut Link,
        journal: &mut Journal,
        record: &Record,
        tally: &mut Tally,
    ) -> Result<Vec<Skipped>, ActError> {
        let info = link.info().await?;
        let before = tally.counts;
        let mut worker = self.worker(link, Some(journal), record);
        let result = match (&self.run.preview.spec.shape, self.layout) {
            (Shape::Hash(_), Some(layout)) if !self.run.preview.spec.reverse => {
                self.merge(&mut worker, &info, layout).await
            }
            (Shape::Hash(_), Some(layout)) => self.split(&mut worker, &info, layout).await,
            (Shape::Compress { keys, .. }, _) => self.values(&mut worker, &info, keys).await,
            (Shape::Hash(_), None) => Ok(true),
        };
        // What was done before an error counts as well.
        tally.counts = Counts {
            done: before.done + worker.counts.done,
            hashes: before.hashes + worker.counts.hashes,
        };
        let skipped = worker.skips.list();
        tally.is_cut = !result?;
        Ok(skipped)
    }

    /// False when it ended early.
    async fn merge(
        &mut self,
        worker: &mut Worker<'_>,
        info: &Info,
        layout: &Layout,
    ) -> Result<bool, ActError> {
        let halvings = self.run.preview.halvings;
        for part in 0..1u64 << halvings {
            let mut members = Members::part(halvings, part);
            let mut walk = Walk::of(info, &layout.keys.form().glob(), false);
            while let Some((db, keys)) = walk.next(worker.link).await? {
                for key in &keys {
                    members.add(layout, db, key);
                }
                if self.is_over() {
                    return Ok(false);
                }
            }
            worker.forget_selection();
            for (db, jobs) in by_database(members.into_jobs()) {
                for some in jobs.chunks(64) {
                    if !self.may_go_on(worker).await? {
                        return Ok(false);
                    }
                    hash::merge(worker, db, some).await?;
                }
            }
        }
        Ok(true)
    }

    async fn split(
        &mut self,
        worker: &mut Worker<'_>,
        info: &Info,
        layout: &Layout,
    ) -> Result<bool, ActError> {
        let mut walk = Walk::of(info, &layout.hashes().form().glob(), true);
        while let Some((db, names)) = walk.next(worker.link).await? {
            worker.forget_selection();
            worker.select(db).await?;
            let names: Vec<Vec<u8>> =
                names.into_iter().filter(|name| layout.hashes().captures(name).is_some()).collect();
            for some in names.chunks(64) {
                if !self.may_go_on(worker).await? {
                    return Ok(false);
                }
                let jobs = hash::own_fields(worker, db, some.to_vec()).await?;
                hash::split(worker, db, &jobs).await?;
            }
        }
        Ok(true)
    }

    async fn values(
        &mut self,
        worker: &mut Worker<'_>,
        info: &Info,
        glob: &str,
    ) -> Result<bool, ActError> {
        let mut walk = Walk::of(info, glob, false);
        while let Some((db, keys)) = walk.next(worker.link).await? {
            worker.forget_selection();
            for some in keys.chunks(64) {
                if !self.may_go_on(worker).await? {
                    return Ok(false);
                }
                compress::values(worker, self.allocator, db, some).await?;
            }
        }
        Ok(true)
    }

    /// False when the run should end. Once a second: how do others feel, is anything the matter?
    async fn may_go_on(&mut self, worker: &mut Worker<'_>) -> Result<bool, ActError> {
        if self.is_over() {
            return Ok(false);
        }
        if self.last_look.elapsed() < LOOK_EVERY {
            return Ok(true);
        }
        self.last_look = Instant::now();
        let window = self.probe.window();
        if window.p50 > 0 {
            worker.pace.felt(window.p99.saturating_sub(self.baseline.p99));
        }
        let progress = Progress {
            done: worker.counts.done,
            of: self.run.preview.matching,
            latency: window,
            baseline: self.baseline,
        };
        (self.events)(Event::Progress(progress));
        let mut said = false;
        loop {
            let info = worker.link.info().await?;
            let why = if info.is_replica() {
                return Err(ActError::Changed { what: "it is a replica now".to_owned() });
            } else if self.stop.is_paused() {
                "paused"
            } else if is_forking(&info) {
                "a fork child is at work: waiting for its end"
            } else if replica_lag(&info) > LAG_MOST_BYTES {
                "a replica is behind: waiting for it"
            } else {
                return Ok(true);
            };
            if !std::mem::replace(&mut said, true) {
                (self.events)(Event::Note(why.to_owned()));
            }
            if self.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// Bytes the slowest replica in line is behind.
fn replica_lag(info: &Info) -> u64 {
    let here = info.count("master_repl_offset").unwrap_or(0);
    let online = info.replicas().into_iter().filter(|r| r.state == "online");
    online.filter_map(|r| r.offset).map(|o| here.saturating_sub(o)).max().unwrap_or(0)
}

fn by_database(jobs: Vec<(u32, Job)>) -> Vec<(u32, Vec<Job>)> {
    let mut all: Vec<(u32, Vec<Job>)> = vec![];
    for (db, job) in jobs {
        match all.last_mut() {
            Some((last, jobs)) if *last == db => jobs.push(job),
            _ => all.push((db, vec![job])),
        }
    }
    all
}

/// Puts back what a killed run moved. Keys that somebody wrote since are left as they are. Returns how many were put back
/// and what was left.
pub(crate) async fn revert(
    link: &mut Link,
    journals: &Journals,
    target: &str,
    moved: &Moved,
) -> Result<(u64, Vec<Skipped>), ActError> {
    const BUDGET_US: u64 = 5000;
    let info = link.info().await?;
    let policy = info.text("maxmemory_policy").map(str::to_owned);
    let traits = Traits::of(&info, policy.as_deref());
    no_touch(link, traits).await;
    let spec = moved.spec.inverse();
    let layout = layout_of(&spec)?;
    let mut record = Record::open(journals, target, &spec.shape)?;
    let mut worker = Worker::new(link, None, (&spec, layout.as_ref()), &record, traits, BUDGET_US);
    for (db, jobs) in by_database(moved.jobs.clone()) {
        match &spec.shape {
            Shape::Hash(_) if spec.reverse => hash::split(&mut worker, db, &jobs).await?,
            Shape::Hash(_) => hash::merge(&mut worker, db, &jobs).await?,
            Shape::Compress { .. } => {
                let keys: Vec<Vec<u8>> = jobs.into_iter().map(|job| job.name.0).collect();
                compress::values(&mut worker, Allocator::Jemalloc8, db, &keys).await?;
            }
        }
    }
    let (restored, left) = (worker.counts.done, worker.skips.list());
    // Nothing is in the new layout any more: the next run is a first one again.
    if spec.reverse && moved.is_first && left.is_empty() {
        record.forget();
    }
    Ok((restored, left))
}

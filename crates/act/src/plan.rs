//! [`Plan`]: what will be done, made from a report and a sample before anything is done. Pure.
//!
//! A plan is immutable, can be written down as JSON, and names every command that may be sent. The executor chooses
//! nothing that it does not allow.

use crate::guard::{self, Refusal};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use unfrag_diagnose::reclaim::{PROCESS_BYTES, by_defrag, by_repack};
use unfrag_model::{Config, Engine, Report, Sample, Version};

/// A remedy of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemedyName {
    /// MEMORY PURGE until RSS stops falling.
    Purge,
    /// The server's own active defrag, driven within the latency budget.
    Defrag,
    /// Compaction by copying keys and deferring the frees.
    Repack,
}

impl RemedyName {
    /// Its name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purge => "purge",
            Self::Defrag => "defrag",
            Self::Repack => "repack",
        }
    }
}

/// How far a run may go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bounds {
    /// Only these remedies; empty means all.
    pub only: Vec<RemedyName>,
    /// The whole run ends after this.
    pub max_duration: Duration,
    /// Latency that may be added at the 99.9th percentile, in microseconds.
    pub latency_budget_us: u64,
    /// Stop when RSS / used is at or below this.
    pub target_ratio: Option<f64>,
    /// Go on where a guard that can be overridden says no.
    pub allow: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            only: vec![],
            max_duration: Duration::from_secs(15 * 60),
            latency_budget_us: 5000,
            target_ratio: None,
            allow: false,
        }
    }
}

/// A setting that is changed for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it is now, as the sample has it.
    pub from: String,
    /// What it is set to; driven between this and `most` where that differs.
    pub to: String,
    /// The most it is driven to.
    pub most: String,
}

/// Pages at the ends of large values, which no value reaches. A fresh process never touches them; in one that has lived
/// they hold what was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tails {
    /// All of them, in bytes, touched or not; values are taken to be spread evenly over a size class.
    pub bytes: u64,
    /// RSS that is not the allocator's, in bytes.
    pub outside_bytes: u64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What.
    pub remedy: RemedyName,
    /// Why, and on what condition, in one sentence.
    pub why: String,
    /// Bytes of RSS it should give back; `None` when it only takes what the step before left.
    pub predicted_bytes: Option<u64>,
    /// For a repack of large values only: what it is about.
    pub tails: Option<Tails>,
    /// Settings it changes and puts back.
    pub settings: Vec<Setting>,
    /// Every command it may send, with what varies in capitals.
    pub commands: Vec<String>,
}

impl Step {
    /// It only takes what the step before left, if that is enough to be worth it.
    pub(crate) const fn takes_the_rest(&self) -> bool {
        self.predicted_bytes.is_none()
    }
}

/// What will be done to one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// `unfrag.plan/1`.
    pub schema: &'static str,
    /// The server, as people would name it.
    pub target: String,
    /// The process it was made for.
    pub run_id: String,
    /// `Redis 8.2.3`.
    pub server: String,
    /// How far it may go.
    pub bounds: Bounds,
    /// Commands of every run besides those of its steps: what the plan was made from, the guard, the latency probe.
    pub readings: Vec<String>,
    /// In order.
    pub steps: Vec<Step>,
    /// What is left out, and why.
    pub refused: Vec<Refusal>,
    /// Bytes of RSS that all of it should give back.
    pub predicted_bytes: u64,
    /// RSS that a fresh process would have.
    pub floor_rss_bytes: Option<u64>,
    /// What a restart would give back instead.
    pub restart_gives_bytes: Option<u64>,
    /// Nothing in place can help this build, a fresh process would.
    pub needs_restart: bool,
    /// How repack copies a key here.
    pub copying: Copying,
}

/// How a key is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Copying {
    /// COPY: encodings stay as they are, TTLs too (6.2 on). Where name and value share a region (8.2), a short value under
    /// a name shorter than ours may come out `raw` that was `embstr`.
    Copy,
    /// DUMP and RESTORE: where COPY is missing.
    Dump,
    /// DUMP and RESTORE with the idle time, for LRU policies.
    DumpIdle,
    /// DUMP and RESTORE with the access counter, for LFU policies.
    DumpFreq,
}

/// Less than this is not worth touching a server for.
pub(crate) const WORTHWHILE_BYTES: u64 = 2 << 20;

/// Plans for one server. Without steps there is nothing to do, or [`Plan::refused`] says why it cannot be done.
pub fn make(report: &Report, sample: &Sample, bounds: Bounds) -> Plan {
    let mut plan = Plan {
        schema: "unfrag.plan/1",
        target: sample.target.clone(),
        run_id: sample.info.text("run_id").unwrap_or_default().to_owned(),
        server: sample.info.engine().to_string(),
        floor_rss_bytes: report.reclaim.restart.floor_rss_bytes,
        restart_gives_bytes: report.reclaim.restart.bytes,
        needs_restart: only_a_restart_helps(report, sample),
        copying: copying(sample),
        bounds,
        readings: readings(sample),
        steps: vec![],
        refused: vec![],
        predicted_bytes: 0,
    };
    let pages = report.reclaim.purge.bytes.unwrap_or(0);
    let slabs = movable_bytes(report, sample);
    if pages >= WORTHWHILE_BYTES {
        offer(&mut plan, report, sample, purge_step(&sample.config, pages));
    }
    if slabs >= WORTHWHILE_BYTES {
        offer(&mut plan, report, sample, defrag_step(sample, slabs));
        let after_defrag = plan.steps.iter().any(|s| s.remedy == RemedyName::Defrag);
        // By itself it leaves the holes of its last chunk: of a little waste it would give nothing back.
        if after_defrag || by_repack(slabs) >= WORTHWHILE_BYTES {
            let repack = repack_step(&plan, slabs, after_defrag);
            offer(&mut plan, report, sample, repack);
        } else if is_asked_for(&plan, RemedyName::Repack)
            && is_allowed(&plan, &guard::check(RemedyName::Repack, report, sample))
        {
            // Repack could and need not: that the server cannot defrag by itself keeps nobody from anything.
            plan.refused.retain(|r| r.what != RemedyName::Defrag || r.overridable);
        }
        if after_defrag && plan.steps.last().is_some_and(|s| s.remedy == RemedyName::Repack) {
            plan.steps.push(defrag_again_step(sample));
        }
    }
    if let Some(tails) = tails(&plan, sample) {
        // Not worth a word where it is refused.
        if is_allowed(&plan, &guard::check(RemedyName::Repack, report, sample)) {
            let step = tails_step(&plan, tails);
            offer(&mut plan, report, sample, step);
        }
    }
    if let Some(first) = plan.steps.first_mut().filter(|s| s.remedy != RemedyName::Purge) {
        // Each remedy ends with a purge, of these pages, too, where none comes before.
        lend_thread(first, &sample.config, pages);
    }
    if plan.steps.is_empty() && plan.refused.is_empty() && plan.needs_restart {
        for remedy in [RemedyName::Purge, RemedyName::Defrag, RemedyName::Repack] {
            plan.refused.extend(guard::check(remedy, report, sample));
        }
    }
    let steps: u64 = plan.steps.iter().filter_map(|s| s.predicted_bytes).sum();
    // jemalloc 5.1 counts pages that the kernel has taken already; a fresh process is the most there is.
    plan.predicted_bytes = report.reclaim.restart.bytes.map_or(steps, |most| steps.min(most));
    plan
}

fn readings(sample: &Sample) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for cost in &sample.commands {
        if !all.contains(&cost.command) {
            all.push(cost.command.clone());
        }
    }
    let name = crate::link::ACTING_NAME;
    all.extend([
        format!("CLIENT SETNAME {name}, CLIENT LIST   (is another one at work?)"),
        format!("PING   (every {} ms, how long others wait)", crate::probe::INTERVAL.as_millis()),
    ]);
    all
}

/// A libc build tells nothing of its heap; that a fresh process would be smaller is all that is known.
fn only_a_restart_helps(report: &Report, sample: &Sample) -> bool {
    let is_libc = !sample.info.text("mem_allocator").is_none_or(|a| a.starts_with("jemalloc"));
    is_libc && report.reclaim.restart.bytes.is_some_and(|bytes| bytes >= WORTHWHILE_BYTES)
}

fn is_asked_for(plan: &Plan, remedy: RemedyName) -> bool {
    plan.bounds.only.is_empty() || plan.bounds.only.contains(&remedy)
}

fn offer(plan: &mut Plan, report: &Report, sample: &Sample, step: Step) {
    if !is_asked_for(plan, step.remedy) {
        return;
    }
    let refusals = guard::check(step.remedy, report, sample);
    if is_allowed(plan, &refusals) {
        plan.steps.push(step);
    } else {
        plan.refused.extend(refusals);
    }
}

fn is_allowed(plan: &Plan, refusals: &[Refusal]) -> bool {
    refusals.iter().all(|r| plan.bounds.allow && r.overridable)
}

/// Bytes of whole slabs that packing frees: what defrag and repack go after. Large classes have pages of their own.
fn movable_bytes(report: &Report, sample: &Sample) -> u64 {
    let bins = sample.malloc_stats.as_ref().filter(|m| !m.bins.is_empty());
    let estimate = |e: &unfrag_model::Estimate| {
        Some(e.bytes?.saturating_sub(report.reclaim.purge.bytes.unwrap_or(0)))
    };
    bins.map(unfrag_model::MallocStats::small_reclaimable_bytes)
        .or_else(|| estimate(&report.reclaim.defrag))
        .or_else(|| estimate(&report.reclaim.repack))
        .unwrap_or(0)
}

/// Worth a look only beside something else to do, and where a copy costs the server and its replicas next to nothing: by
/// COPY, which is sent on as a command of a few bytes. In a Cluster keys cannot be asked for by their type.
fn tails(plan: &Plan, sample: &Sample) -> Option<Tails> {
    let is_cheap =
        plan.copying == Copying::Copy && sample.info.flag("cluster_enabled") != Some(true);
    let most = crate::remedy::repack::largest_key_bytes(&plan.bounds);
    let bytes = sample.malloc_stats.as_ref()?.tail_bytes(most);
    let file_backed = sample.host.as_ref().and_then(|h| h.file_backed);
    let outside_bytes = file_backed.unwrap_or(PROCESS_BYTES);
    let is_worth_it = !plan.steps.is_empty() && is_cheap && bytes >= WORTHWHILE_BYTES;
    is_worth_it.then_some(Tails { bytes, outside_bytes })
}

fn tails_step(plan: &Plan, tails: Tails) -> Step {
    Step {
        why: "only if over a hundredth of the data is pages behind the ends of large values, touched once and held since: strings over 16 KiB are copied to fresh pages".to_owned(),
        predicted_bytes: None,
        tails: Some(tails),
        ..repack_step(plan, 0, true)
    }
}

/// The setting of the allocator's own thread.
pub(crate) const PURGING_THREAD: &str = "jemalloc-bg-thread";

/// Where that thread is off, it is put on for the step: it drops pages beside the server, and one purge of all of them
/// holds it (750 MiB on 6.2.5: 154 ms; with the thread on: 1.5 ms).
fn lend_thread(step: &mut Step, config: &Config, pages: u64) {
    if config.flag(PURGING_THREAD) == Some(false) && pages > crate::remedy::purge::PURGE_BYTES {
        let (from, on) = ("no".to_owned(), "yes".to_owned());
        let setting = Setting { name: PURGING_THREAD, from, to: on.clone(), most: on };
        step.commands.insert(0, set_command(&setting));
        step.settings.insert(0, setting);
    }
}

fn purge_step(config: &Config, pages: u64) -> Step {
    let mut step = Step {
        remedy: RemedyName::Purge,
        why: "pages that hold nothing are kept in RAM".to_owned(),
        predicted_bytes: Some(pages),
        tails: None,
        settings: vec![],
        commands: purge_commands(),
    };
    lend_thread(&mut step, config, pages);
    step
}

fn set_command(s: &Setting) -> String {
    let range = if s.to == s.most { s.to.clone() } else { format!("{}..{}", s.to, s.most) };
    format!("CONFIG SET {} {range}   (now {}; put back at the end)", s.name, s.from)
}

fn purge_commands() -> Vec<String> {
    vec!["MEMORY PURGE".to_owned(), "INFO".to_owned(), format!("CONFIG GET {PURGING_THREAD}")]
}

/// What it ends with, each command named once.
fn end_with_purge(commands: &mut Vec<String>) {
    let unnamed: Vec<String> =
        purge_commands().into_iter().filter(|c| !commands.contains(c)).collect();
    commands.extend(unnamed);
}

/// The shortest slices an old server can be made to take: `hz` is how often a second it takes one.
pub(crate) const HZ_SHORT: &str = "500";
/// Share of the server's thread that defrag may take, in percent: where it begins, and the most.
pub(crate) const CYCLE_FIRST: u32 = 15;
/// See [`CYCLE_FIRST`].
pub(crate) const CYCLE_MOST: u32 = 50;

/// Settings that make defrag look at everything, in short slices. `activedefrag` comes last.
fn defrag_settings(sample: &Sample) -> Vec<Setting> {
    let now = |name: &str| sample.config.text(name).unwrap_or_default().to_owned();
    let setting = |name: &'static str, to: &str, most: &str| Setting {
        name,
        from: now(name),
        to: to.to_owned(),
        most: most.to_owned(),
    };
    let (first, most) = (CYCLE_FIRST.to_string(), CYCLE_MOST.to_string());
    // The gates: with the defaults (100 MB, 10 %) it never looks again once it is half done.
    let mut all = vec![
        setting("active-defrag-ignore-bytes", "1048576", "1048576"),
        setting("active-defrag-threshold-lower", "1", "1"),
        setting("active-defrag-threshold-upper", "20", "20"),
        setting("active-defrag-cycle-max", &first, &most),
        setting("active-defrag-cycle-min", &first, &most),
    ];
    if !has_short_slices(sample.info.engine()) {
        all.push(setting("hz", HZ_SHORT, HZ_SHORT));
    }
    if sample.config.flag("activedefrag") != Some(true) {
        all.push(setting("activedefrag", "yes", "yes"));
    }
    all
}

/// Redis 8.0 and Valkey 8.1 run defrag in slices of half a millisecond; before, one slice per server tick.
pub(crate) fn has_short_slices(engine: Engine) -> bool {
    engine.at_least(Version::new(8, 0, 0), Version::new(8, 1, 0))
}

fn defrag_step(sample: &Sample, slabs: u64) -> Step {
    let settings = defrag_settings(sample);
    let mut commands: Vec<String> = settings.iter().map(set_command).collect();
    commands.extend(["CONFIG GET NAME".to_owned(), "INFO".to_owned(), "PING".to_owned()]);
    end_with_purge(&mut commands);
    Step {
        remedy: RemedyName::Defrag,
        why: "live data is spread over pages that are mostly empty, and this server can move it"
            .to_owned(),
        predicted_bytes: Some(by_defrag(slabs)),
        tails: None,
        settings,
        commands,
    }
}

/// Repack ends with the holes of its last chunk, in few pages: those defrag can empty, which it could not while the
/// holes were spread evenly.
fn defrag_again_step(sample: &Sample) -> Step {
    Step {
        why: "only if repack leaves more than a hundredth of the data as waste".to_owned(),
        predicted_bytes: None,
        ..defrag_step(sample, 0)
    }
}

fn repack_step(plan: &Plan, slabs: u64, after_defrag: bool) -> Step {
    let how = match plan.copying {
        Copying::Copy => "INFO, MEMORY USAGE, COPY, RENAME, PEXPIRE",
        Copying::Dump => {
            "INFO, MEMORY USAGE, PEXPIRETIME or PTTL and TIME, DUMP, RENAME, RESTORE, PEXPIRE, PEXPIREAT"
        }
        Copying::DumpIdle | Copying::DumpFreq => {
            "INFO, MEMORY USAGE, PEXPIRETIME or PTTL and TIME, OBJECT, DUMP, RENAME, RESTORE, PEXPIRE"
        }
    };
    let why = if after_defrag {
        "only if defrag leaves more than a fiftieth of the data as waste, or is refused: keys are copied into the holes"
    } else {
        "live data is spread over pages that are mostly empty: keys are copied into the holes, batch by batch"
    };
    let own = crate::remedy::repack::PREFIX;
    let mut commands = vec![
        format!("SET {own}NNNN:rehearsal x PX 60000, PEXPIRETIME and UNLINK of it   (the trial)"),
        format!("EVALSHA BATCH   (a script that calls {how}; each batch is atomic)"),
        "SCRIPT LOAD SCRIPT".to_owned(),
        "SCAN CURSOR COUNT 500 / CLUSTER GETKEYSINSLOT SLOT COUNT".to_owned(),
        "SELECT DB".to_owned(),
        format!("UNLINK {own}*   (only names this run made)"),
        "INFO".to_owned(),
        "CONFIG GET notify-keyspace-events".to_owned(),
        "PING".to_owned(),
    ];
    end_with_purge(&mut commands);
    Step {
        remedy: RemedyName::Repack,
        why: why.to_owned(),
        predicted_bytes: (!after_defrag).then_some(by_repack(slabs)),
        tails: None,
        settings: vec![],
        commands,
    }
}

fn copying(sample: &Sample) -> Copying {
    let policy =
        sample.info.text("maxmemory_policy").or_else(|| sample.config.text("maxmemory-policy"));
    let engine = sample.info.engine();
    match policy {
        Some(p) if p.ends_with("-lru") => Copying::DumpIdle,
        Some(p) if p.ends_with("-lfu") => Copying::DumpFreq,
        _ if engine.at_least(Version::new(6, 2, 0), Version::new(7, 2, 0)) => Copying::Copy,
        _ => Copying::Dump,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of Debian's 7.0.15, with so much in slabs that are not full.
    fn without_defrag(slabs_bytes: u64, only: &[RemedyName]) -> Plan {
        let info = "redis_version:7.0.15\nmem_allocator:jemalloc-5.3.0\nrole:master\nrun_id:a\nused_memory:20000000\n";
        let sample = Sample {
            info: unfrag_model::Info::parse(info),
            config: Config::from_pairs([
                ("activedefrag", "no"),
                ("maxmemory-policy", "noeviction"),
            ]),
            ..Sample::default()
        };
        let mut report = unfrag_diagnose::diagnose(&sample);
        let impossible = "the server refuses activedefrag".to_owned();
        report.reclaim.defrag.unavailable = Some(impossible);
        report.reclaim.repack.bytes = Some(slabs_bytes);
        report.reclaim.repack.unavailable = None;
        make(&report, &sample, Bounds { only: only.to_vec(), ..Bounds::default() })
    }

    /// A `fix` from cron that finds nothing worth doing has not been refused anything.
    #[test]
    fn a_server_without_defrag_on_which_repack_need_not_run_is_refused_nothing() {
        let (little, much) = (4 << 20, 40 << 20);
        let of = |plan: &Plan| (plan.steps.len(), plan.refused.len());
        assert_eq!(of(&without_defrag(much, &[])), (1, 1));
        assert_eq!(of(&without_defrag(little, &[])), (0, 0));
        assert_eq!(of(&without_defrag(little, &[RemedyName::Defrag])), (0, 1));
    }

    #[test]
    fn a_purge_that_would_hold_the_server_is_left_to_the_allocators_thread() {
        let names = |thread: &str, pages: u64| {
            let step = purge_step(&Config::from_pairs([("jemalloc-bg-thread", thread)]), pages);
            let commands = step.commands.iter().filter(|c| c.starts_with("CONFIG SET"));
            assert_eq!(commands.count(), step.settings.len());
            step.settings.iter().map(|s| format!("{} {}", s.name, s.to)).collect::<Vec<_>>()
        };
        assert_eq!(names("no", 700 << 20), ["jemalloc-bg-thread yes"]);
        assert!(names("yes", 700 << 20).is_empty());
        assert!(names("no", 3 << 20).is_empty());
    }
}

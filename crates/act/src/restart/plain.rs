//! `plain`: the stop that loses nothing, the start, the comparison.
//!
//! `SHUTDOWN SAVE` writes the snapshot after the last command that any client could have had an answer to. A BGSAVE and
//! a kill lose every write since the fork. Where a supervisor would kill it in mid-save: `save_first`.

use crate::ActError;
use crate::link::Link;
use crate::restart::configuration::Configuration;
use crate::restart::execute::{Work, configuration_of, differing, milliseconds, up_again};
use crate::restart::facts::Facts;
use crate::restart::outcome::NodeOutcome;
use crate::restart::record::RestartRecord;
use crate::restart::save_first::save_first;
use crate::restart::snapshot;
use crate::restart::supervisor::{Started, Supervisor};
use crate::restart::verify::{self, Recorded};
use std::time::{Duration, Instant};
use unfrag_client::{Address, Connection, ErrorKind};
use unfrag_model::text::{counted, grouped};
use unfrag_model::{Info, human};

/// A save of everything: at 100 MB/s, a terabyte takes three hours.
pub(super) const SAVE_MAX: Duration = Duration::from_secs(3 * 3600);
/// Until a process that was started answers at all, were it only that it is loading.
const APPEARS: Duration = Duration::from_secs(90);
/// Recording counts and a sample takes milliseconds; a digest of a large server takes longer.
const PAUSE_MS: u64 = 30_000;

pub(super) async fn run(work: &mut Work<'_>) -> Result<(), ActError> {
    let facts = work.facts;
    let node = facts.target();
    if let Some(path) = work.wish.backup.clone() {
        work.begin("backup", &node)?;
        let keys = snapshot::backup(&mut work.link, facts, &path, work.wish.wait_max).await?;
        work.done(format!("{} in {}, verified", counted(keys, "key"), path.display()));
    }
    rewrite(work, facts).await?;
    let before = configuration_of(&mut work.link).await;
    let begun = Instant::now();
    let recorded = match pause_and_record(work).await {
        Ok(recorded) => recorded,
        Err(error) => {
            unpause(&mut work.link.connection).await;
            return Err(error);
        }
    };
    let info = restart(work, facts, Some(&recorded), begun).await?;
    work.link = Link::open(&facts.address, work.options).await?;
    verify_all(work, &recorded, &before, &info).await?;
    measure(work, facts).await
}

/// With consent, what was set at run time is written into the configuration file.
pub(crate) async fn rewrite(work: &mut Work<'_>, facts: &Facts) -> Result<(), ActError> {
    let has_file = facts.next.as_ref().is_ok_and(|n| n.boot.file.is_some());
    if !(work.wish.rewrite_config && has_file) {
        return Ok(());
    }
    work.begin_or_go_on("rewrite", &facts.target())?;
    let mut link = Link::open(&facts.address, work.options).await?;
    link.connection.call(&["CONFIG", "REWRITE"]).await?;
    if !facts.configuration.text("aclfile").is_empty() {
        // Users are in a file of their own, which the other command leaves alone (config.c: rewriteConfigUserOption).
        link.connection.call(&["ACL", "SAVE"]).await?;
    }
    work.done("the file has the settings that are in force");
    Ok(())
}

async fn pause_and_record(work: &mut Work<'_>) -> Result<Recorded, ActError> {
    let (facts, node) = (work.facts, work.facts.target());
    if !facts.info.is_replica() && facts.at_least(6, 2) {
        work.begin("pause", &node)?;
        work.record(RestartRecord::Paused { node: node.clone() })?;
        let limit = PAUSE_MS.to_string();
        work.link.connection.call(&["CLIENT", "PAUSE", &limit, "WRITE"]).await?;
        work.done(format!("writes wait, {} s at most", PAUSE_MS / 1000));
    }
    work.begin("record", &node)?;
    let info = work.link.info().await?;
    // A digest walks everything; the pause must outlast it.
    work.link.connection.set_response_timeout(Duration::from_millis(PAUSE_MS / 2));
    let wants_digest = work.wish.digest;
    let recorded =
        verify::record(&mut work.link.connection, &info, wants_digest, verify::SAMPLED).await?;
    let keys: u64 = recorded.keys.values().sum();
    work.verified.keys_before = Some(keys);
    work.done(format!("{}, {} sampled", counted(keys, "key"), recorded.sample.len()));
    Ok(recorded)
}

pub(crate) async fn unpause(connection: &mut Connection) {
    // It ends by itself in any case.
    let _ = connection.call(&["CLIENT", "UNPAUSE"]).await;
}

/// Stop, start, load: one server, whatever its role. `recorded` is what a primary held.
pub(crate) async fn restart(
    work: &mut Work<'_>,
    facts: &Facts,
    recorded: Option<&Recorded>,
    begun: Instant,
) -> Result<Info, ActError> {
    let node = facts.target();
    stop(work, facts, recorded).await?;
    work.begin_surely("start", &node)?;
    let supervisor = supervisor_of(facts)?;
    let output = facts.process.as_ref().ok().and_then(|p| p.output.as_deref());
    let started = supervisor.start(&facts.address, output).await;
    let started = started.map_err(|e| left_stopped(facts, &e.to_string(), true))?;
    work.done(supervisor.typed_for(&facts.address));
    work.begin_surely("load", &node)?;
    let loading = Instant::now();
    let info = wait_until_up(work, facts, started, loading).await?;
    work.add_gap_of(recorded, begun);
    work.record(RestartRecord::Up { node: node.clone() })?;
    work.is_half_way = false;
    let keys = counted(info.keys().unwrap_or(0), "key");
    work.done(format!("{keys} after {:.1} s", loading.elapsed().as_secs_f64()));
    Ok(info)
}

/// The heap, measured again.
pub(crate) async fn measure(work: &mut Work<'_>, facts: &Facts) -> Result<(), ActError> {
    let mut link = Link::open(&facts.address, work.options).await?;
    let rss_after = link.settled_info().await?.count("used_memory_rss");
    let node = facts.target();
    work.nodes.push(NodeOutcome { node, rss_before: facts.layers.rss, rss_after });
    Ok(())
}

impl Work<'_> {
    fn add_gap_of(&mut self, recorded: Option<&Recorded>, begun: Instant) {
        if recorded.is_some() {
            self.add_gap(begun.elapsed());
        }
    }
}

fn supervisor_of(facts: &Facts) -> Result<Supervisor, ActError> {
    facts
        .supervisor
        .clone()
        .ok_or_else(|| ActError::Unsafe("nobody is known to start it".to_owned()))
}

/// The server is down, in order. What has just failed is not what to type next.
fn left_stopped(facts: &Facts, why: &str, has_failed: bool) -> ActError {
    let what = if has_failed {
        "Mend what that says or start it in another way, then run".to_owned()
    } else {
        "Look at its log; when it is up, run".to_owned()
    };
    ActError::Unsafe(format!(
        "{} is stopped, and its data is saved in {}; {why}. {what} `unfrag undo {}`",
        facts.target(),
        facts.configuration.text("dir"),
        facts.target()
    ))
}

/// What came of a start, in words.
pub(crate) fn not_started(supervisor: &Supervisor, address: &Address, why: &str) -> String {
    format!("the start failed (`{}`): {why}", supervisor.typed_for(address))
}

/// It saves and ends, or it stays.
async fn stop(
    work: &mut Work<'_>,
    facts: &Facts,
    recorded: Option<&Recorded>,
) -> Result<(), ActError> {
    let node = facts.target();
    let mut link = Link::open(&facts.address, work.options).await?;
    if link.run_id != facts.run_id {
        let what = format!("{node} is another process now (its run_id differs)");
        return Err(ActError::Changed { what });
    }
    work.begin("stop", &node)?;
    work.record(RestartRecord::Stopping {
        node: node.clone(),
        run_id: facts.run_id.clone(),
        process: facts.process.as_ref().ok().map(|p| p.id.clone()),
        supervisor: supervisor_of(facts)?,
        output: facts.process.as_ref().ok().and_then(|p| p.output.clone()),
        keys: recorded.map(|r| r.keys.values().sum()),
    })?;
    let begun = Instant::now();
    if facts.is_saved_first() {
        save_first(facts, &mut link).await?;
    }
    link.connection.set_response_timeout(SAVE_MAX);
    let words: &[&str] = if facts.ends_without_saving() {
        &["SHUTDOWN", "NOSAVE"]
    } else if saves(facts, recorded.is_some() || !link.info().await?.is_replica()) {
        &["SHUTDOWN", "SAVE"]
    } else {
        &["SHUTDOWN", "NOSAVE"]
    };
    match link.connection.call(words).await {
        Err(error) if error.is_reply() => {
            unpause(&mut link.connection).await;
            return Err(ActError::Unsafe(format!(
                "it could not save and stayed up ({}); its log says why",
                error.problem
            )));
        }
        // The server closes the connection instead of answering.
        _ => work.is_half_way = true,
    }
    gone(facts, &mut link).await?;
    let saved = if facts.is_saved_first() { "SAVE, " } else { "" };
    let seconds = begun.elapsed().as_secs_f64();
    work.done(format!("{saved}{} after {seconds:.1} s", words.join(" ")));
    Ok(())
}

/// A replica that keeps nothing on disk gets its data from its primary: no file is left behind where there was none.
fn saves(facts: &Facts, is_primary: bool) -> bool {
    let keeps = facts.is_append_only() || !facts.configuration.text("save").trim().is_empty();
    is_primary || keeps
}

async fn gone(facts: &Facts, link: &mut Link) -> Result<(), ActError> {
    /// Unmapping a large process takes the kernel about a second in 100 GB.
    const ENDS: Duration = Duration::from_secs(120);
    let ended = if let Ok(process) = &facts.process {
        process.id.gone(ENDS).await
    } else {
        let deadline = Instant::now() + ENDS;
        loop {
            let answers = Link::open(&facts.address, &link.options).await;
            if answers.map_or(true, |l| l.run_id != facts.run_id) {
                break true;
            }
            if Instant::now() > deadline {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if ended {
        Ok(())
    } else {
        Err(ActError::Unsafe("it closed its connections and does not end".to_owned()))
    }
}

async fn wait_until_up(
    work: &mut Work<'_>,
    facts: &Facts,
    mut started: Started,
    begun: Instant,
) -> Result<Info, ActError> {
    let mut seen = false;
    let mut said = Instant::now();
    loop {
        if let Some((_, info)) = up_again(&facts.address, work.options, &facts.run_id).await {
            return Ok(info);
        }
        let answer = Link::open(&facts.address, work.options).await;
        if let Some(why) = answer.as_ref().err().and_then(not_let_in) {
            return Err(shut_out(&facts.address, &why));
        }
        if let Ok(mut link) = answer
            && let Ok(info) = link.info().await
        {
            seen = true;
            if said.elapsed() > Duration::from_secs(3) {
                said = Instant::now();
                let eta = info.count("loading_eta_seconds").unwrap_or(0);
                let done = info.count("loading_loaded_bytes").unwrap_or(0);
                work.say(format!(
                    "{}: loading, {} done, about {eta} s left",
                    facts.target(),
                    human(done)
                ));
            }
        }
        if let Some(why) = started.failed() {
            let why = not_started(&supervisor_of(facts)?, &facts.address, &why);
            return Err(left_stopped(facts, &why, true));
        }
        if !seen && begun.elapsed() > APPEARS {
            let why = format!("it was started and does not answer in {} s", APPEARS.as_secs());
            return Err(left_stopped(facts, &why, false));
        }
        if begun.elapsed() > work.wish.wait_max {
            return Err(still_loading(facts));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The server is up and refuses our login.
pub(crate) fn not_let_in(error: &ActError) -> Option<String> {
    match error {
        ActError::Client(error) if error.kind() == ErrorKind::NotAllowed => {
            Some(error.problem.to_string())
        }
        _ => None,
    }
}

/// What that means, and what to do about it.
pub(crate) fn shut_out(address: &Address, why: &str) -> ActError {
    ActError::Unsafe(format!(
        "{address} is up again and does not let unfrag in ({why}): a user or a password that was set at run time went with \
         the old process. Set it again, then run `unfrag undo {address}`"
    ))
}

fn still_loading(facts: &Facts) -> ActError {
    ActError::Unsafe(format!(
        "{} is up and still loading its data: when it has ended, run `unfrag undo {}`",
        facts.target(),
        facts.target()
    ))
}

async fn verify_all(
    work: &mut Work<'_>,
    recorded: &Recorded,
    before: &Configuration,
    info: &Info,
) -> Result<(), ActError> {
    let facts = work.facts;
    work.begin_surely("verify", &facts.target())?;
    let folder = facts.disk.folder.clone();
    let file = folder.join(facts.configuration.text("dbfilename"));
    let from_snapshot =
        !facts.is_append_only() && facts.process.as_ref().is_ok_and(|p| p.shares_namespaces);
    let reading =
        tokio::spawn(
            async move { if from_snapshot { verify::file_keys(file).await } else { None } },
        );
    let counts = |name: &str| info.count(name);
    if facts.is_append_only() {
        let expiring = facts.info.keys_with_ttl().unwrap_or(0);
        work.verified.removable = counts("total_commands_processed").map(|sent| sent + expiring);
    } else {
        work.verified.loaded =
            counts("rdb_last_load_keys_loaded").zip(counts("rdb_last_load_keys_expired"));
    }
    work.verified.keys_after = info.keys();
    // The counts and the number of changes are of one moment: with none, nothing was written since it was loaded.
    if info.count("rdb_changes_since_last_save") == Some(0) {
        let had_ttl = facts.info.keys_with_ttl().unwrap_or(0) > 0;
        let equal = verify::keys_of(info) == recorded.keys;
        work.verified.databases_equal = (equal || !had_ttl).then_some(equal);
    }
    compare_values(work, recorded).await?;
    let after = configuration_of(&mut work.link).await;
    work.verified.config_differs = differing(before, &after, &[]);
    match reading.await.ok().flatten() {
        Some(Ok(keys)) => work.verified.file_keys = Some(keys),
        // The server replaces the file at its next save; that it loaded it is proof of its own.
        Some(Err(why)) => work.note(format!("our own reader finds fault with the snapshot: {why}")),
        None => {}
    }
    if let Some(fault) = work.verified.fault() {
        return Err(ActError::Unsafe(fault));
    }
    work.done(said(work, milliseconds(work.gap.unwrap_or_default())));
    Ok(())
}

async fn compare_values(work: &mut Work<'_>, recorded: &Recorded) -> Result<(), ActError> {
    let names = verify::names(&recorded.sample);
    let sample = verify::look(&mut work.link.connection, &names).await?;
    let digest = match &recorded.digest {
        Some(_) => verify::digest(&mut work.link.connection).await?,
        None => None,
    };
    // Read last: what was written before this could have changed what we looked at.
    let quiet = work.link.info().await?.count("rdb_changes_since_last_save") == Some(0);
    let expiring = work.facts.info.keys_with_ttl().unwrap_or(0) > 0;
    work.verified.quiet = quiet && !expiring;
    (work.verified.sampled, work.verified.sample_differs) =
        verify::differing(&recorded.sample, &sample);
    work.verified.digest_equal = recorded.digest.as_ref().zip(digest.as_ref()).map(|(a, b)| a == b);
    Ok(())
}

fn said(work: &Work<'_>, gap_ms: f64) -> String {
    let v = &work.verified;
    let keys = v.keys_before.unwrap_or(0);
    let keys = counted(keys, "key");
    let file = v.file_keys.map_or_else(String::new, |k| format!(", {} in the file", grouped(k)));
    let loaded = v.loaded.map_or_else(String::new, |(k, _)| format!(", {} loaded", grouped(k)));
    format!("{keys} saved{file}{loaded}; away for {:.1} s", gap_ms / 1000.0)
}

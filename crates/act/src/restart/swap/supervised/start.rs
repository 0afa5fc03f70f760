//! The first process ends, the supervisor starts its successor: a replica on the spare port.

use super::super::{launch, spare_path};
use super::Unit;
use crate::ActError;
use crate::link::Link;
use crate::restart::execute::Work;
use crate::restart::process::ProcessId;
use crate::restart::record::{Phase, RestartRecord, SecondRecord, SupervisedRecord};
use crate::restart::supervisor::Supervisor;
use crate::restart::swap::pair::Pair;
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions};

/// A process that is told to end, and holds nothing, is gone by then.
const ENDS: Duration = Duration::from_secs(20);
/// Until a process that was started answers. It loads nothing.
const APPEARS: Duration = Duration::from_secs(90);
/// Until a supervisor knows the process that it has started.
const KNOWS: Duration = Duration::from_secs(10);

/// From here on there is no way back to the first process.
pub(super) async fn stop(
    work: &mut Work<'_>,
    back: &mut Pair,
    unit: &mut Unit,
) -> Result<(), ActError> {
    work.begin_surely("stop", &work.facts.target())?;
    unit.note(work, Phase::Restarting)?;
    let snapshot = work.facts.disk.folder.join(work.facts.configuration.text("dbfilename"));
    if snapshot.exists() {
        let to = spare_path(&snapshot);
        work.record(RestartRecord::Aside { from: snapshot.clone(), to: to.clone() })?;
        std::fs::rename(&snapshot, &to).map_err(|e| {
            ActError::Unsafe(format!("cannot move `{}` aside: {e}", snapshot.display()))
        })?;
    }
    // It is a replica that is in step: it holds nothing that its primary does not hold.
    let _ = back.second.connection.call(&["SHUTDOWN", "NOSAVE"]).await;
    let first = back.record.second.clone();
    if let Some(first) = first
        && !first.gone(ENDS).await
    {
        first.kill();
        first.gone(ENDS).await;
    }
    work.done("the first process has ended");
    Ok(())
}

/// The supervisor's new child, found, proven, and the file put back.
pub(super) async fn successor(
    work: &mut Work<'_>,
    back: Pair,
    unit: &mut Unit,
    away: &SecondRecord,
) -> Result<Pair, ActError> {
    work.begin_surely("start", &work.facts.target())?;
    let limit = work.wish.wait_max;
    let (link, id) = start(&unit.record, &work.facts.address, away, &back.first, limit).await?;
    let snapshot = work.facts.disk.folder.join(work.facts.configuration.text("dbfilename"));
    launch::put_back(&snapshot, &spare_path(&snapshot));
    unit.put_back(work)?;
    unit.record.own = Some(id.clone());
    unit.note(work, Phase::Back)?;
    let pair = Pair::way_back_to(away, back.first, link, id.clone(), unit.record.settle.clone())?;
    work.record(RestartRecord::Second(Box::new(pair.record.clone())))?;
    // What was changed on the first process went with it; the successor has a list of its own.
    work.settings = crate::settings::Settings::default();
    work.done(format!("process {}; the file is what it was", id.pid));
    Ok(pair)
}

/// Has the supervisor start it, and waits until it answers where the file sends it, as `serving`'s replica.
pub(in crate::restart) async fn start(
    unit: &SupervisedRecord,
    address: &Address,
    away: &SecondRecord,
    serving: &Link,
    wait_max: Duration,
) -> Result<(Link, ProcessId), ActError> {
    let mut started = unit.supervisor.start(address, unit.output.as_deref()).await?;
    let begun = Instant::now();
    let port = super::super::port(away, 2).unwrap_or(0);
    let spare = Address::tcp(&away.host, port);
    let not_there = |why: &str| {
        let start = unit.supervisor.typed_for(address);
        ActError::Unsafe(format!(
            "its start was ordered (`{start}`), and {why}; the second process serves meanwhile"
        ))
    };
    let mut link = loop {
        if let Some(link) = answering(&spare, &serving.options, serving, away).await {
            break link;
        }
        if let Some(why) = started.failed() {
            return Err(not_there(&why));
        }
        if begun.elapsed() > APPEARS.min(wait_max) {
            return Err(not_there(&format!("nothing answers at {spare}")));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let info = link.info().await?;
    if !info.is_replica() {
        return Err(not_there("it came up as a primary, not as a replica"));
    }
    is_own(&unit.supervisor, &mut link).await?;
    let pid = info.count("process_id").and_then(|pid| u32::try_from(pid).ok());
    let id = pid.and_then(ProcessId::of).ok_or_else(|| not_there("its process is not seen"))?;
    Ok((link, id))
}

/// Up, loaded, and neither of the two others.
async fn answering(
    address: &Address,
    options: &ConnectOptions,
    serving: &Link,
    away: &SecondRecord,
) -> Option<Link> {
    let mut link = Link::open(address, options).await.ok()?;
    let info = link.info().await.ok()?;
    let is_new = link.run_id != serving.run_id && link.run_id != away.first_run_id;
    (is_new && info.flag("loading") != Some(true)).then_some(link)
}

/// The process behind the link is the one that the supervisor calls its own; in words.
pub(in crate::restart) async fn is_own(
    supervisor: &Supervisor,
    link: &mut Link,
) -> Result<String, ActError> {
    let pid = link.info().await?.count("process_id").unwrap_or(0);
    if !supervisor.keeps_a_process() {
        return Ok(format!("process {pid}, of the start command"));
    }
    let begun = Instant::now();
    loop {
        let theirs = supervisor.main_pid().await.map(u64::from);
        if theirs == Some(pid) {
            return Ok(format!("process {pid} is the supervisor's own"));
        }
        if begun.elapsed() > KNOWS {
            let theirs = theirs.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
            return Err(ActError::Unsafe(format!(
                "process {pid} answers, and the supervisor's own is {theirs}"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

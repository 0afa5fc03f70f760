//! `swap --supervised`: the process that remains is the supervisor's own child.
//!
//! A swap leaves a process that nobody keeps. So there are two of them: to a process of ours (below: the second), and
//! from that to the one that the supervisor itself starts (the successor). Between them the first process, a replica by
//! then, ends, and its configuration file says for one start that the server is a replica on a spare port; CONFIG REWRITE
//! writes that. As soon as the successor answers, the file is what it was, to the byte and the inode (`file`).
//!
//! What can happen meanwhile, and why no answered write is lost:
//!
//! - *All three share one folder on disk.* Whoever serves keeps the data there as the settings say, so that a start from
//!   that file after a power cut finds what the last server wrote. A folder of its own for the second process was
//!   rejected: the supervisor would then start from yesterday's snapshot, by itself, and take writes on top of it.
//! - *Only one of them writes there.* The first process stops saving (`save ""`, `appendonly no`) before it ends, and
//!   the successor starts like that: neither a save point nor a SIGTERM of the supervisor's puts a copy that is behind
//!   over a newer one. An append-only file changes hands while both processes have all data: the new owner's is
//!   complete before the old owner's is turned off.
//! - *The successor loads nothing*: the snapshot is out of its way for that moment, so that its heap is a fresh one, and
//!   as a replica it takes no writes. Were everything killed then, `undo` puts file and snapshot back first.
//! - *The supervisor starts the server by itself* (autorestart): with the file as it was, the port is taken by whoever
//!   serves, and a server that cannot listen ends before it reads or writes any data (server.c: initListeners comes
//!   before loadDataFromDisk); with the rewritten file it becomes the successor, as intended.
//! - *The second process dies* (killed for its memory) while the successor has not all data: what is on disk is what
//!   any crash would have left; `undo` starts the server from it.
//! - *The supervisor ends what belongs with its process* (a unit's control group): the second process is in none of it.
//! - *Replicas that take writes* (`replica-read-only no`): off for the while, or an old connection would be answered a
//!   write that its server alone gets.
//! - *Somebody edits the file*: before it is rewritten, that ends the run and the way is back; while it is another one,
//!   what they wrote is kept under a name of its own, and said.
//!
//! An error before the first process is told to end means the way back to it; later it means forward, by `undo`.

mod file;
mod start;

pub(in crate::restart) use file::{Written, kept_path, put_back as put_back_file};
pub(in crate::restart) use start::{is_own, start};

use super::pair::{Pair, write_append_only};
use super::{SWIFT, after, exchange, let_in, synced};
use crate::ActError;
use crate::link::Link;
use crate::restart::execute::Work;
use crate::restart::process::ProcessId;
use crate::restart::record::{Phase, RestartRecord, SecondRecord, SupervisedRecord};
use std::path::Path;
use std::time::{Duration, Instant};

/// Settings that the file has of its own for that one start: a command line must not set them.
pub(in crate::restart) const FOR_A_WHILE: [&str; 14] = [
    "port",
    "tls-port",
    "unixsocket",
    "replicaof",
    "slaveof",
    "save",
    "appendonly",
    "repl-diskless-load",
    "replica-ignore-maxmemory",
    "slave-ignore-maxmemory",
    "replica-serve-stale-data",
    "slave-serve-stale-data",
    "replica-read-only",
    "slave-read-only",
];

/// What the first process is given before it writes its file, and the successor starts with.
const AS_REPLICA: [(&str, &str); 4] = [
    ("save", ""),
    ("repl-diskless-load", "on-empty-db"),
    ("replica-ignore-maxmemory", "yes"),
    ("replica-serve-stale-data", "yes"),
];

/// A hand-over that the servers gave up, or that took too long, is tried so often.
const TRIES: usize = 3;

/// The server's file, and what the journal has of it.
pub(super) struct Unit {
    record: SupervisedRecord,
    original: Vec<u8>,
}

/// Tries, before anything is changed, that the file can be rewritten and put back.
pub(super) async fn keep(work: &mut Work<'_>) -> Result<Unit, ActError> {
    let (facts, node) = (work.facts, work.facts.target());
    let unknown = || ActError::Unsafe("its configuration file is not known".to_owned());
    let next = facts.next.as_ref().map_err(|_| unknown())?;
    let file = next.boot.file.clone().ok_or_else(unknown)?;
    work.begin("keep", &node)?;
    let record = SupervisedRecord {
        phase: Phase::Away,
        supervisor: facts.supervisor.clone().ok_or_else(unknown)?,
        kept: kept_path(&file),
        output: facts.process.as_ref().ok().and_then(|p| p.output.clone()),
        own: None,
        settle: vec![],
        written: None,
        file,
    };
    work.record(RestartRecord::Supervised(Box::new(record.clone())))?;
    let original = std::fs::read(&record.file)
        .map_err(|e| ActError::Unsafe(format!("cannot read `{}`: {e}", record.file.display())))?;
    let mut unit = Unit { record, original };
    let tried = unit.rewrite(&mut work.link).await;
    unit.put_back(work)?;
    tried?;
    work.done(format!("{} can be rewritten, and is what it was", unit.record.file.display()));
    Ok(unit)
}

impl Unit {
    async fn rewrite(&mut self, link: &mut Link) -> Result<(), ActError> {
        let SupervisedRecord { file, kept, .. } = &self.record;
        file::keep(file, kept, &self.original)?;
        link.connection.call(&["CONFIG", "REWRITE"]).await?;
        self.record.written = Some(file::rewritten(file, kept, &self.original)?);
        Ok(())
    }

    /// The file is what it was; what somebody else made of it meanwhile is kept and said.
    fn put_back(&mut self, work: &mut Work<'_>) -> Result<(), ActError> {
        let SupervisedRecord { file, kept, written, .. } = &self.record;
        if let Some(edited) = put_back_file(file, kept, written.as_ref())? {
            work.note(said_of_edit(file, &edited));
        }
        self.record.written = None;
        Ok(())
    }

    fn note(&mut self, work: &mut Work<'_>, phase: Phase) -> Result<(), ActError> {
        self.record.phase = phase;
        work.record(RestartRecord::Supervised(Box::new(self.record.clone())))
    }
}

/// What was edited, for people.
pub(in crate::restart) fn said_of_edit(file: &Path, edited: &Path) -> String {
    format!(
        "somebody changed {} while it was another one: what they wrote is in {}, and the file is what it was before; \
         merge it by hand",
        file.display(),
        edited.display()
    )
}

/// The second process serves: the supervisor gets its server back, and that one serves.
pub(super) async fn give_back(
    work: &mut Work<'_>,
    pair: Pair,
    mut unit: Unit,
) -> Result<(), ActError> {
    let away = pair.record.clone();
    let first = away.first.clone();
    let filled = pair.filled.clone();
    let mut back = Pair::way_back(&away, pair.second, pair.first, first)?;
    back.second.address = back.second_address()?;
    if let Err(error) = leave(work, &mut back, &mut unit, &filled).await {
        if unit.record.phase != Phase::Away {
            return Err(error);
        }
        return Err(return_to_first(work, back, &mut unit, &filled, error).await);
    }
    let mut back = start::successor(work, back, &mut unit, &away).await?;
    let begun = Instant::now();
    work.begin_surely("sync", &work.facts.target())?;
    synced(work, &mut back, begun).await?;
    work.done(format!("{:.1} s", begun.elapsed().as_secs_f64()));
    let next = work.facts.next.as_ref().ok();
    super::launch::carry(work, &mut back, next).await?;
    exchange_surely(work, &mut back).await?;
    after(work, &mut back).await?;
    prove(work, &mut unit).await
}

/// The first process gets ready to be followed by another one, and ends. An error means that it runs.
async fn leave(
    work: &mut Work<'_>,
    back: &mut Pair,
    unit: &mut Unit,
    filled: &[String],
) -> Result<(), ActError> {
    let node = work.facts.target();
    work.begin_surely("rewrite", &node)?;
    // Its own, and it goes in the end: nobody else is to be waited for, and nothing goes over the disk.
    for (name, value) in SWIFT {
        back.first.config_set(name, value).await?;
    }
    follow_anew(back).await?;
    synced(work, back, Instant::now()).await?;
    for (name, value) in AS_REPLICA {
        if work.facts.configuration.has(name) && work.facts.configuration.text(name) != value {
            work.settings.set(&mut back.second, &mut work.journal, name, value).await?;
        }
    }
    if work.stop.is_set() {
        return Err(ActError::Unsafe("stopped on request".to_owned()));
    }
    if back.record.append_only {
        // The successor is to find the list of files that it goes on with.
        back.first.config_set("auto-aof-rewrite-percentage", "0").await?;
        write_append_only(&mut back.first, work.wish.wait_max).await?;
        work.settings.set(&mut back.second, &mut work.journal, "appendonly", "no").await?;
    }
    unit.record.settle = work.settings.before();
    unit.record.settle.extend(filled.iter().map(|name| (name.clone(), String::new())));
    unit.note(work, Phase::Away)?;
    unit.rewrite(&mut back.second).await?;
    unit.note(work, Phase::Away)?;
    let primary = format!("{} {}", back.record.host, back.clients_port());
    let mut wanted = vec![("save", String::new()), ("appendonly", "no".to_owned())];
    wanted.push(("replicaof", primary));
    for (name, ports) in &back.record.ports {
        wanted.push((name, ports.get(1).copied().unwrap_or(0).to_string()));
    }
    file::says(&unit.record.file, &wanted)?;
    work.done(format!(
        "for one start {} says: a replica at {}",
        unit.record.file.display(),
        back.spare_address()
    ));
    back.caught_up(work.wish.wait_max).await?;
    start::stop(work, back, unit).await
}

/// It knows its primary, and its primary knows it, by the ports that they have now.
async fn follow_anew(back: &mut Pair) -> Result<(), ActError> {
    let port = back.clients_port().to_string();
    back.second.connection.call(&["REPLICAOF", &back.record.host, &port]).await?;
    Ok(())
}

/// The first process serves again; the second one ends, and everything is as it was. Gives the reason for all this.
async fn return_to_first(
    work: &mut Work<'_>,
    mut back: Pair,
    unit: &mut Unit,
    filled: &[String],
    why: ActError,
) -> ActError {
    work.note(format!("{why}: back to the first process"));
    let begun = Instant::now();
    let result = async {
        unit.put_back(work)?;
        follow_anew(&mut back).await?;
        synced(work, &mut back, begun).await?;
        exchange_surely(work, &mut back).await?;
        reclaim_append_only(&mut back, work.wish.wait_max).await?;
        work.begin_surely("retire", &work.facts.target())?;
        back.retire(work.wish.wait_max).await?;
        work.done("the second process has ended");
        for name in filled {
            back.second.config_set(name, "").await?;
        }
        work.link = Link::open(&work.facts.address, work.options).await?;
        Ok::<(), ActError>(())
    };
    match result.await {
        Ok(()) => {
            work.is_half_way = false;
            why
        }
        Err(error) => ActError::Unsafe(format!("{why}; and the way back failed: {error}")),
    }
}

/// The append-only file of a first process that serves again is its own. Both know the same files by now, so that the
/// other one lets go of them first.
pub(in crate::restart) async fn reclaim_append_only(
    back: &mut Pair,
    wait_max: Duration,
) -> Result<(), ActError> {
    if !back.record.append_only {
        return Ok(());
    }
    if back.first.info().await?.flag("aof_enabled") == Some(true) {
        back.first.config_set("appendonly", "no").await?;
        back.second.config_set("appendonly", "no").await?;
    }
    write_append_only(&mut back.second, wait_max).await
}

async fn exchange_surely(work: &mut Work<'_>, back: &mut Pair) -> Result<(), ActError> {
    for _ in 1..TRIES {
        match exchange(work, back).await {
            Ok(()) => return Ok(()),
            Err(error) if back.is_handed_over().await? => return Err(error),
            Err(error) => {
                let_in(&mut back.first).await;
                work.note(format!("{error}; once more"));
            }
        }
    }
    exchange(work, back).await
}

/// Who serves is the supervisor's own, and the file is what it was.
async fn prove(work: &mut Work<'_>, unit: &mut Unit) -> Result<(), ActError> {
    work.begin_surely("own", &work.facts.target())?;
    work.is_half_way = true;
    let own = is_own(&unit.record.supervisor, &mut work.link).await?;
    unit.put_back(work)?;
    work.is_half_way = false;
    let file = unit.record.file.display();
    let is_same = std::fs::read(&unit.record.file).is_ok_and(|now| now == unit.original);
    let what = if is_same { "is what it was" } else { "was changed by somebody meanwhile" };
    work.done(format!("{own}; {file} {what}"));
    Ok(())
}

impl Pair {
    fn second_address(&self) -> Result<unfrag_client::Address, ActError> {
        let port = super::port(&self.record, 1);
        let port = port.ok_or_else(|| ActError::Unsafe("no port".to_owned()))?;
        Ok(unfrag_client::Address::tcp(&self.record.host, port))
    }

    /// The port that clients know.
    pub(in crate::restart) fn clients_port(&self) -> u16 {
        super::port(&self.record, 0).unwrap_or(0)
    }

    /// Way back to a successor instead of the first process.
    pub(in crate::restart) fn way_back_to(
        away: &SecondRecord,
        serving: Link,
        successor: Link,
        id: ProcessId,
        settle: Vec<(String, String)>,
    ) -> Result<Self, ActError> {
        let pair = Self::way_back(away, serving, successor, id)?;
        Ok(Self { settle, ..pair })
    }
}

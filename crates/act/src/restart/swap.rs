//! `swap`: a second process beside the first takes over its data, its clients and its port.
//!
//! The roles are exchanged by the servers' own FAILOVER, which either completes or is given up by the servers
//! themselves: were unfrag stopped for an hour in the middle of it, there would still be one primary, and it would have
//! every write that was answered. A pause of ours around it only keeps clients from seeing the exchange.
//!
//! Read [`run`] first; `pair` is the part that `undo` shares.

mod compare;
mod launch;
pub(super) use launch::{put_back, the_same_settings};
pub(super) mod pair;
pub(in crate::restart) mod supervised;

use crate::ActError;
use crate::link::Link;
use crate::restart::execute::{Work, configuration_of, differing};
use crate::restart::outcome::NodeOutcome;
use crate::restart::plain::unpause;
use crate::restart::record::{RestartRecord, SecondRecord};
use crate::restart::snapshot;
use pair::Pair;
use std::time::{Duration, Instant};
use unfrag_model::human;
use unfrag_model::text::counted;

pub(super) async fn run(work: &mut Work<'_>) -> Result<(), ActError> {
    let facts = work.facts;
    if let Some(path) = work.wish.backup.clone() {
        work.begin("backup", &facts.target())?;
        let keys = snapshot::backup(&mut work.link, facts, &path, work.wish.wait_max).await?;
        work.done(format!("{} in {}, verified", counted(keys, "key"), path.display()));
    }
    let unit = if work.wish.supervised { Some(supervised::keep(work).await?) } else { None };
    let mut pair = launch::launch(work).await?;
    match until_handed_over(work, &mut pair).await {
        Ok(()) => {}
        Err(error) if !work.is_half_way => {
            pair.revert().await;
            return Err(error);
        }
        Err(error) => return Err(error),
    }
    match unit {
        Some(unit) => supervised::give_back(work, pair, unit).await,
        None => after(work, &mut pair).await,
    }
}

/// Everything up to the point where the second process is the primary: an error before it means to go back.
async fn until_handed_over(work: &mut Work<'_>, pair: &mut Pair) -> Result<(), ActError> {
    sync(work, pair).await?;
    exchange(work, pair).await
}

/// Places are exchanged: the second of a pair that is in step serves where the first one did.
async fn exchange(work: &mut Work<'_>, pair: &mut Pair) -> Result<(), ActError> {
    let node = work.facts.target();
    let who = if work.is_half_way { "the supervisor's own process" } else { "the second process" };
    let names = compare::names(&mut pair.first).await?;
    pair.get_ready_to_ask().await?;
    let limit = work.wish.pause_max;
    work.begin_or_go_on("pause", &node)?;
    work.record(RestartRecord::Paused { node: node.clone() })?;
    let begun = Instant::now();
    let milliseconds = limit.as_millis().to_string();
    pair.first.connection.call(&["CLIENT", "PAUSE", &milliseconds, "WRITE"]).await?;
    work.done(format!("writes wait, {milliseconds} ms at most"));
    work.begin_swiftly("compare", &node)?;
    let keys = compare::same(work, pair, &names, begun + limit / 2).await?;
    work.done(format!(
        "{} and the offset are equal, {} compared",
        counted(keys, "key"),
        counted(names.len() as u64, "value")
    ));
    work.begin_swiftly("hand-over", &node)?;
    let (from, to) = (pair.record.address.clone(), pair.spare_address());
    work.record_swiftly(RestartRecord::HandingOver {
        from,
        to: vec![to],
        back: false,
        sentinel: None,
    })?;
    pair.hand_over().await?;
    work.is_half_way = true;
    work.done(format!("{who} is the primary, the other one its replica"));
    work.begin_swiftly("ports", &node)?;
    pair.exchange_ports().await?;
    work.done(format!("{who} listens at {node}"));
    work.begin_swiftly("reconnect", &node)?;
    pair.send_clients_over().await?;
    pair.second = answering(work, &pair.second.run_id).await?;
    work.add_gap(begun.elapsed());
    work.done(format!("clients are served by {who}"));
    Ok(())
}

/// A new connection where clients look is answered by the second process.
async fn answering(work: &Work<'_>, run_id: &str) -> Result<Link, ActError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match Link::open(&work.facts.address, work.options).await {
            Ok(link) if link.run_id == run_id => return Ok(link),
            other if Instant::now() > deadline => {
                let why = other
                    .err()
                    .map_or_else(|| "another server answers".to_owned(), |e| e.to_string());
                return Err(ActError::Unsafe(format!("the second process is not reached: {why}")));
            }
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// The second process copies the data.
async fn sync(work: &mut Work<'_>, pair: &mut Pair) -> Result<(), ActError> {
    let node = work.facts.target();
    work.begin("sync", &node)?;
    // Without these the copy would wait five seconds for other replicas, and go over the disk.
    // And once it is a replica, a client that is still connected must not be answered a write that nobody else gets.
    for (name, value) in SWIFT.into_iter().chain([("replica-read-only", "yes")]) {
        if work.facts.configuration.text(name) != value {
            work.settings.set(&mut work.link, &mut work.journal, name, value).await?;
        }
    }
    let begun = Instant::now();
    if work.facts.configuration.text("masterauth").is_empty() && work.options.password.is_some() {
        // The first one is to follow the second in its turn: as whom, only we know.
        pair.filled = vec!["masterauth".to_owned(), "masteruser".to_owned()];
        work.record(RestartRecord::Filled { names: pair.filled.clone() })?;
    }
    pair.follow().await?;
    synced(work, pair, begun).await?;
    let used = pair.second.info().await?.count("used_memory").unwrap_or(0);
    work.done(format!("{} in {:.1} s", human(used), begun.elapsed().as_secs_f64()));
    Ok(())
}

/// Waits until the second one has everything, and what is sent is there a moment later.
async fn synced(work: &mut Work<'_>, pair: &mut Pair, begun: Instant) -> Result<(), ActError> {
    let mut said = Instant::now();
    loop {
        let info = pair.second.info().await?;
        if info.text("master_link_status") == Some("up")
            && info.flag("master_sync_in_progress") != Some(true)
            && info.flag("loading") != Some(true)
        {
            break;
        }
        if !pair.record.first.is_alive() {
            return Err(ActError::Unsafe("the process that it copies from has ended".to_owned()));
        }
        if said.elapsed() > Duration::from_secs(3) {
            said = Instant::now();
            let keys = counted(info.keys().unwrap_or(0), "key");
            let used = info.count("used_memory").unwrap_or(0);
            work.say(format!("the second process has {keys}, {}", human(used)));
        }
        if work.stop.is_set() && !work.is_half_way {
            return Err(ActError::Unsafe("stopped on request while it synchronised".to_owned()));
        }
        if begun.elapsed() > work.wish.wait_max {
            return Err(ActError::Unsafe(
                "the second process did not synchronise in time".to_owned(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The child that sent the data ends a moment later; a hand-over should not fall into its exit.
    while pair.first.info().await?.flag("rdb_bgsave_in_progress") == Some(true) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pair.caught_up(work.wish.wait_max).await
}

/// The second process is the server now: settle it, compare, let the first one go.
async fn after(work: &mut Work<'_>, pair: &mut Pair) -> Result<(), ActError> {
    let node = work.facts.target();
    pair.settle().await?;
    // The first process goes: what was changed on it for a while goes with it.
    work.settings = crate::settings::Settings::default();
    work.begin_surely("verify", &node)?;
    let info = pair.second.settled_info().await?;
    work.verified.keys_after = info.keys();
    let configuration = configuration_of(&mut pair.second).await;
    work.verified.config_differs =
        differing(&work.facts.configuration, &configuration, &["appendonly", "unixsocket"]);
    let rss = info.count("used_memory_rss");
    work.done(format!("it answers at {node}; rss {}", human(rss.unwrap_or(0))));
    if let Some((socket, spare)) = &pair.record.socket {
        work.note(format!(
            "its unix socket was made as {}, of which {} is another name; CONFIG GET unixsocket says so until its next start",
            spare.display(),
            socket.display()
        ));
    }
    work.begin_surely("retire", &node)?;
    pair.retire(work.wish.wait_max).await?;
    work.is_half_way = false;
    let changes = work.facts.info.count("rdb_changes_since_last_save").unwrap_or(0);
    let saved = if pair.record.saves && !pair.record.append_only && changes > 0 {
        // The snapshot on disk is older than what the first process held in memory only.
        snapshot::save(&mut pair.second, work.wish.wait_max).await?;
        "; its successor's snapshot is on disk"
    } else {
        ""
    };
    let which = if work.wish.supervised { "second" } else { "first" };
    work.done(format!("{}{saved}", pair.retired(which)));
    work.link = Link::open(&work.facts.address, work.options).await?;
    work.nodes.push(NodeOutcome { node, rss_before: work.facts.layers.rss, rss_after: rss });
    Ok(())
}

/// Writes are let in again on a server that stays.
async fn let_in(link: &mut Link) {
    unpause(&mut link.connection).await;
}

/// Fails when somebody else's file would be taken for ours.
fn spare_path(path: &std::path::Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfrag");
    name.into()
}

/// Ports of a record.
fn port(record: &SecondRecord, which: usize) -> Option<u16> {
    record.ports.first().and_then(|(_, ports)| ports.get(which).copied())
}

/// How a copy is sent at once, over the network.
const SWIFT: [(&str, &str); 2] = [("repl-diskless-sync-delay", "0"), ("repl-diskless-sync", "yes")];

/// Number of keys whose values are compared while writes wait.
const COMPARED: usize = 100;

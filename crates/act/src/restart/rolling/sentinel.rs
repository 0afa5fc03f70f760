//! Under Sentinels: SENTINEL FAILOVER, which does not hold writes back by itself, and leaves the old primary writable for
//! up to ten seconds after another one was promoted (sentinel.c: +convert-to-slave). So writes are held back around it,
//! the old primary is demoted by us the moment another one is there, and before all that it is told to refuse writes as
//! soon as one of its replicas leaves it (`min-replicas-to-write`): were we killed, it would refuse by itself.

use super::{Shard, keep_role, lagging};
use crate::ActError;
use crate::link::Link;
use crate::restart::execute::Work;
use crate::restart::plain::unpause;
use crate::restart::plan::{PlannedStep, Wish, step};
use crate::restart::record::RestartRecord;
use crate::settings::Settings;
use std::time::{Duration, Instant};
use unfrag_client::{Address, Connection, connect, resp};
use unfrag_model::text::counted;

/// Sentinels act once a second or so in a failover: two or three are usual.
const PAUSE: Duration = Duration::from_secs(10);
/// A Sentinel pings each second and reads INFO every ten: it knows that a replica is back by then.
const SEES: Duration = Duration::from_secs(60);

pub(super) async fn hand_over(work: &mut Work<'_>, shard: &Shard<'_>) -> Result<Address, ActError> {
    let node = shard.primary.target();
    let name = name_of(work, &shard.primary.address)?;
    let mut sentinel = any_sentinel(work).await?;
    work.begin("quorum", &node)?;
    is_ready(work, &mut sentinel, &name, shard.replicas.len()).await?;
    work.done("the Sentinels have their quorum and see every replica");
    let mut link = Link::open(&shard.primary.address, work.options).await?;
    let mut replicas = vec![];
    for replica in &shard.replicas {
        replicas.push(Link::open(&replica.address, work.options).await?);
    }
    work.begin("pause", &node)?;
    let mut settings = Settings::default();
    guard(work, &mut link, &mut settings, replicas.len()).await?;
    work.record(RestartRecord::Paused { node: node.clone() })?;
    let begun = Instant::now();
    let promoted = promote(work, &mut link, &mut replicas, &mut sentinel, &name, begun).await;
    let heir = match promoted {
        Ok(heir) => heir,
        Err(error) => {
            // A Sentinel that has begun may still promote somebody: the old primary goes on refusing until it has ended.
            let is_over = settle_down(&mut sentinel, &name, Duration::from_secs(30)).await;
            if let Some(heir) = promoted_by_now(&mut replicas).await {
                heir
            } else if !is_over {
                // The guard stays: were it taken away now, what is written until the promotion would be lost.
                work.is_half_way = true;
                return Err(ActError::Unsafe(format!(
                    "{error}, and the Sentinel is still at it; {node} takes writes, and refuses them by itself once a \
                     replica leaves it"
                )));
            } else {
                reopen_if_lost(&mut link).await?;
                unpause(&mut link.connection).await;
                let restored = settings.restore(&mut link, &mut work.journal).await;
                work.restored.extend(restored);
                return Err(error);
            }
        }
    };
    // Were anything of this to fail, the guard would stay: the journal is for `undo` then.
    work.is_half_way = true;
    reopen_if_lost(&mut link).await?;
    demote(&mut link, &heir).await?;
    work.add_gap(begun.elapsed());
    let restored = settings.restore(&mut link, &mut work.journal).await;
    work.restored.extend(restored);
    unpause(&mut link.connection).await;
    // What the guard left in its file, if a Sentinel rewrote that meanwhile, goes with this.
    keep_role(&mut link).await?;
    agreed(work, &mut sentinel, &name, &heir).await?;
    work.record(RestartRecord::HandedOver { to: heir.to_string() })?;
    work.is_half_way = false;
    work.done(format!("{heir} is the primary, and the Sentinels say so"));
    Ok(heir)
}

fn name_of(work: &Work<'_>, primary: &Address) -> Result<String, ActError> {
    let nodes = &work.facts.deployment.nodes;
    let node = nodes.iter().find(|n| n.address == *primary);
    node.and_then(|n| n.sentinel_name.clone())
        .ok_or_else(|| ActError::Unsafe(format!("no Sentinel knows {primary} by name")))
}

async fn any_sentinel(work: &Work<'_>) -> Result<Connection, ActError> {
    match &work.facts.quorum {
        Some(Ok(address)) => Ok(connect(address, &work.options.for_sentinel()).await?),
        _ => Err(ActError::Unsafe("no Sentinel has its quorum".to_owned())),
    }
}

/// The quorum is there, and every replica is in the Sentinel's eyes what it is in ours.
async fn is_ready(
    work: &mut Work<'_>,
    sentinel: &mut Connection,
    name: &str,
    replicas: usize,
) -> Result<(), ActError> {
    let deadline = Instant::now() + SEES;
    loop {
        let quorum = sentinel.call(&["SENTINEL", "CKQUORUM", name]).await;
        let seen = seen_replicas(sentinel, name).await?;
        let good = seen.iter().filter(|(flags, link)| flags == "slave" && link == "ok").count();
        match quorum {
            Ok(_) if good >= replicas => return Ok(()),
            _ if Instant::now() < deadline && !work.stop.is_set() => {}
            Ok(_) => {
                return Err(ActError::Unsafe(format!(
                    "the Sentinel sees {good} of {} in order",
                    counted(replicas as u64, "replica")
                )));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn seen_replicas(
    sentinel: &mut Connection,
    name: &str,
) -> Result<Vec<(String, String)>, ActError> {
    let value = sentinel.call(&["SENTINEL", "REPLICAS", name]).await?;
    let rows = resp::elements(&value).unwrap_or_default();
    Ok(rows
        .iter()
        .map(|row| {
            let pairs = resp::pairs(row);
            let get = |name: &str| {
                let found = pairs.iter().find(|(n, _)| n == name);
                found.and_then(|(_, v)| resp::text(v)).unwrap_or_default()
            };
            (get("flags"), get("master-link-status"))
        })
        .collect())
}

/// The old primary refuses writes from the moment on in which one of its replicas has left it.
async fn guard(
    work: &mut Work<'_>,
    link: &mut Link,
    settings: &mut Settings,
    replicas: usize,
) -> Result<(), ActError> {
    if link.config_get("min-replicas-max-lag").await?.as_deref() == Some("0") {
        settings.set(link, &mut work.journal, "min-replicas-max-lag", "10").await?;
    }
    let wanted = replicas.to_string();
    settings.set(link, &mut work.journal, "min-replicas-to-write", &wanted).await
}

/// Holds writes back, waits for equal offsets, and lets the Sentinels choose.
async fn promote(
    work: &mut Work<'_>,
    link: &mut Link,
    replicas: &mut [Link],
    sentinel: &mut Connection,
    name: &str,
    begun: Instant,
) -> Result<Address, ActError> {
    let node = link.address.to_string();
    let limit = PAUSE.as_millis().to_string();
    link.connection.call(&["CLIENT", "PAUSE", &limit, "WRITE"]).await?;
    let sent = link.info().await?.count("master_repl_offset").unwrap_or(0);
    for replica in replicas.iter_mut() {
        while let Some(why) = lagging(&replica.info().await?, sent) {
            if begun.elapsed() > PAUSE / 4 {
                return Err(ActError::Unsafe(format!(
                    "{}: {why} while writes waited",
                    replica.address
                )));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    work.done(format!(
        "writes wait, {limit} ms at most; {} in step",
        counted(replicas.len() as u64, "replica")
    ));
    work.begin_swiftly("hand-over", &node)?;
    let to = replicas.iter().map(|r| r.address.to_string()).collect();
    let asked = Some((sentinel.address().to_string(), name.to_owned()));
    work.record_swiftly(RestartRecord::HandingOver {
        from: node,
        to,
        back: false,
        sentinel: asked,
    })?;
    sentinel.call(&["SENTINEL", "FAILOVER", name]).await?;
    loop {
        if let Some(heir) = promoted_by_now(replicas).await {
            return Ok(heir);
        }
        if begun.elapsed() > PAUSE * 3 / 4 {
            return Err(ActError::Unsafe(
                "the Sentinels promoted nobody in time: the primary stays".to_owned(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The replica that is one no more. Sentinels close the connections of those whose role they change, ours among them.
async fn promoted_by_now(replicas: &mut [Link]) -> Option<Address> {
    for replica in replicas {
        if reopen_if_lost(replica).await.is_ok()
            && replica.info().await.is_ok_and(|info| !info.is_replica())
        {
            return Some(replica.address.clone());
        }
    }
    None
}

async fn reopen_if_lost(link: &mut Link) -> Result<(), ActError> {
    match link.connection.call(&["PING"]).await {
        Err(error) if !error.is_reply() => {
            *link = Link::open(&link.address.clone(), &link.options.clone()).await?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Waits until a failover that has begun is over; false when it is not by then.
pub(super) async fn settle_down(sentinel: &mut Connection, name: &str, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    while Instant::now() < deadline {
        let Ok(value) = sentinel.call(&["SENTINEL", "MASTER", name]).await else { return true };
        let pairs = resp::pairs(&value);
        let flags = pairs.iter().find(|(n, _)| n == "flags").and_then(|(_, v)| resp::text(v));
        if !flags.unwrap_or_default().contains("failover_in_progress") {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// The old primary follows the new one, and its clients are sent away.
pub(super) async fn demote(link: &mut Link, heir: &Address) -> Result<(), ActError> {
    if let Address::Tcp(host, port) = heir {
        link.connection.call(&["REPLICAOF", host, &port.to_string()]).await?;
        for kind in ["normal", "pubsub"] {
            link.connection.call(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await?;
        }
    }
    Ok(())
}

/// The Sentinels give the new address to those who ask, and have ended their failover.
async fn agreed(
    work: &mut Work<'_>,
    sentinel: &mut Connection,
    name: &str,
    heir: &Address,
) -> Result<(), ActError> {
    let deadline = Instant::now() + SEES;
    loop {
        let value = sentinel.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]).await?;
        let words: Vec<String> =
            resp::elements(&value).unwrap_or_default().iter().filter_map(resp::text).collect();
        if words.join(":") == heir.to_string() {
            settle_down(sentinel, name, Duration::from_secs(30)).await;
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(ActError::Unsafe(format!("the Sentinels do not agree on {heir}")));
        }
        if work.stop.is_set() {
            work.say("waiting for the Sentinels to agree before stopping");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) fn steps(shard: &Shard<'_>, _wish: &Wish) -> Vec<PlannedStep> {
    let node = shard.primary.target();
    let pause = format!("CLIENT PAUSE {} WRITE", PAUSE.as_millis());
    vec![
        step(
            "quorum",
            &node,
            "the Sentinels have their quorum and see every replica in order",
            &["SENTINEL CKQUORUM NAME", "SENTINEL REPLICAS NAME"],
        ),
        step(
            "pause",
            &node,
            "it is told to refuse writes once a replica leaves it (put back after), writes are held back, and every \
             replica has everything",
            &["CONFIG SET min-replicas-to-write REPLICAS   (put back)", &pause, "INFO"],
        ),
        step(
            "hand-over",
            &node,
            "the Sentinels promote a replica; this one follows it at once, its clients are sent to ask again",
            &[
                "SENTINEL FAILOVER NAME",
                "REPLICAOF HOST PORT",
                "CLIENT KILL TYPE normal",
                "CONFIG REWRITE",
            ],
        ),
    ]
}

//! `rolling`: replicas first, one node of a shard at a time, then the hand-over, the old primary last.
//!
//! A restarted node counts only when its link is up and it has what its primary had sent by then. How roles are handed
//! over differs by who is in charge: the servers themselves, Sentinels, a Cluster. Any gate that does not open ends it,
//! with the nodes that were done done and the others as they were.

mod cluster;
mod replicated;
mod sentinel;
mod undo;

pub(super) use undo::finish;

use crate::ActError;
use crate::link::Link;
use crate::restart::execute::Work;
use crate::restart::facts::Facts;
use crate::restart::plain;
use crate::restart::plan::{PlannedStep, Wish, rewrite_step, step};
use std::time::{Duration, Instant};
use unfrag_client::topology::DeploymentKind;
use unfrag_client::{Address, Role};
use unfrag_model::text::counted;
use unfrag_model::{Info, human};

/// One primary and its replicas.
#[derive(Debug, Clone)]
struct Shard<'a> {
    primary: &'a Facts,
    replicas: Vec<&'a Facts>,
}

/// The shards of a deployment, in its order.
fn shards(facts: &Facts) -> Vec<Shard<'_>> {
    let nodes: Vec<&Facts> = std::iter::once(facts).chain(&facts.members).collect();
    let of = |address: &Address| nodes.iter().find(|n| n.address == *address).copied();
    let listed = &facts.deployment.nodes;
    let primaries = listed.iter().filter(|n| n.role == Role::Primary);
    primaries
        .filter_map(|primary| {
            let name = primary.address.to_string();
            let is_its = |n: &&unfrag_client::Node| {
                n.role == Role::Replica && n.primary.as_ref() == Some(&name)
            };
            let replicas = listed.iter().filter(is_its).filter_map(|n| of(&n.address)).collect();
            Some(Shard { primary: of(&primary.address)?, replicas })
        })
        .collect()
}

pub(super) async fn run(work: &mut Work<'_>) -> Result<(), ActError> {
    let kind = work.facts.deployment.kind;
    for shard in shards(work.facts) {
        for replica in &shard.replicas {
            refresh(work, replica, &shard.primary.address).await?;
        }
        let primary = match kind {
            DeploymentKind::Cluster => cluster::hand_over(work, &shard).await?,
            DeploymentKind::Sentinel => sentinel::hand_over(work, &shard).await?,
            _ => replicated::hand_over(work, &shard).await?,
        };
        work.verified.offsets_equal = Some(true);
        if kind == DeploymentKind::Replicated {
            // Clients that know only this one's address wait: what can be done later is.
            let keys = come_back(work, shard.primary, &primary).await?;
            work.done(keys);
            replicated::hand_back(work, &shard, &primary).await?;
            plain::measure(work, shard.primary).await?;
        } else {
            refresh(work, shard.primary, &primary).await?;
        }
    }
    work.link = Link::open(&work.facts.address, work.options).await?;
    Ok(())
}

/// Restarts one node that takes no writes, waits until it has what its primary has, and measures its heap again.
async fn refresh(work: &mut Work<'_>, node: &Facts, primary: &Address) -> Result<(), ActError> {
    let keys = come_back(work, node, primary).await?;
    plain::measure(work, node).await?;
    let rss = work.nodes.last().and_then(|n| n.rss_after).unwrap_or(0);
    work.done(format!("{keys}; rss {}", human(rss)));
    Ok(())
}

/// Restarts one node and waits until it is in sync; in words, what it has.
async fn come_back(
    work: &mut Work<'_>,
    node: &Facts,
    primary: &Address,
) -> Result<String, ActError> {
    plain::rewrite(work, node).await?;
    plain::restart(work, node, None, Instant::now()).await?;
    follow(work, node, primary).await?;
    work.begin("synced", &node.target())?;
    let begun = Instant::now();
    let keys = in_sync(work, &node.address, primary).await?.keys().unwrap_or(0);
    let keys = counted(keys, "key");
    Ok(format!("{keys} after {:.1} s", begun.elapsed().as_secs_f64()))
}

/// A node that came up as a primary, for its start says so, is told at once what it is.
async fn follow(work: &Work<'_>, node: &Facts, primary: &Address) -> Result<(), ActError> {
    let mut link = Link::open(&node.address, work.options).await?;
    let is_clustered = node.info.flag("cluster_enabled") == Some(true);
    if let (false, false, Address::Tcp(host, port)) =
        (is_clustered, link.info().await?.is_replica(), primary)
    {
        link.connection.call(&["REPLICAOF", host, &port.to_string()]).await?;
    }
    Ok(())
}

/// Waits until the node's link is up, no synchronisation is under way, and it has what its primary had sent by then.
async fn in_sync(work: &mut Work<'_>, node: &Address, primary: &Address) -> Result<Info, ActError> {
    let deadline = Instant::now() + work.wish.wait_max;
    let mut said = Instant::now();
    loop {
        let mut why = "its primary does not answer".to_owned();
        if let Ok(mut from) = Link::open(primary, work.options).await
            && let Ok(mut link) = Link::open(node, work.options).await
        {
            let sent = from.info().await?.count("master_repl_offset").unwrap_or(0);
            let info = link.info().await?;
            match lagging(&info, sent) {
                None => return Ok(info),
                Some(reason) => why = reason,
            }
        }
        if Instant::now() > deadline || work.stop.is_set() {
            return Err(ActError::Unsafe(format!("{node} does not come into sync: {why}")));
        }
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            work.say(format!("{node}: {why}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Why a replica lacks something that was sent.
fn lagging(info: &Info, sent: u64) -> Option<String> {
    if !info.is_replica() {
        return Some("it is no replica yet".to_owned());
    }
    if info.text("master_link_status") != Some("up") {
        return Some("its link is down".to_owned());
    }
    if info.flag("master_sync_in_progress") == Some(true) || info.flag("loading") == Some(true) {
        return Some("it synchronises".to_owned());
    }
    let got = info.count("slave_repl_offset").unwrap_or(0);
    (got < sent).then(|| format!("it is {} behind", human(sent - got)))
}

/// The replica to hand over to: in sync, allowed to lead, and furthest.
async fn heir<'a>(work: &Work<'_>, shard: &Shard<'a>) -> Result<&'a Facts, ActError> {
    let mut best: Option<(u64, &Facts)> = None;
    for replica in &shard.replicas {
        let Ok(mut link) = Link::open(&replica.address, work.options).await else { continue };
        let info = link.info().await?;
        let offset = info.count("slave_repl_offset").unwrap_or(0);
        let may_lead = info.count("slave_priority").is_none_or(|p| p > 0);
        if may_lead && lagging(&info, 0).is_none() && best.is_none_or(|(most, _)| offset > most) {
            best = Some((offset, replica));
        }
    }
    best.map(|(_, facts)| facts).ok_or_else(|| {
        ActError::Unsafe(format!("{}: no replica may take over", shard.primary.target()))
    })
}

/// Roles are kept over the next start, where there is a file for it; Sentinels do the same after each failover.
async fn keep_role(link: &mut Link) -> Result<(), ActError> {
    match link.connection.call(&["CONFIG", "REWRITE"]).await {
        Ok(_) => Ok(()),
        Err(error) if error.problem.to_string().contains("without a config file") => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The steps in words.
pub(super) fn steps(facts: &Facts, wish: &Wish) -> Vec<PlannedStep> {
    let kind = facts.deployment.kind;
    let mut all = vec![];
    for shard in shards(facts) {
        for replica in &shard.replicas {
            all.extend(refresh_steps(replica, wish));
        }
        all.extend(match kind {
            DeploymentKind::Cluster => cluster::steps(&shard),
            DeploymentKind::Sentinel => sentinel::steps(&shard, wish),
            _ => replicated::steps(&shard),
        });
        all.extend(refresh_steps(shard.primary, wish));
        if kind == DeploymentKind::Replicated {
            all.push(step(
                "hand-back",
                &shard.primary.target(),
                "made the primary again, as clients know it; the others follow it",
                &["FAILOVER TO HOST PORT TIMEOUT 10000", "REPLICAOF HOST PORT", "CONFIG REWRITE"],
            ));
        }
    }
    all
}

fn refresh_steps(node: &Facts, wish: &Wish) -> Vec<PlannedStep> {
    let name = node.target();
    let start = node.start_line();
    let keeps = node.is_append_only() || !node.configuration.text("save").trim().is_empty();
    let stop = if keeps { "SHUTDOWN SAVE" } else { "SHUTDOWN NOSAVE" };
    let mut all: Vec<PlannedStep> = rewrite_step(node, wish).into_iter().collect();
    all.extend([
        step("stop", &name, "stopped and started again while others serve", &[stop, &start]),
        step(
            "synced",
            &name,
            "link up, nothing left to copy, offset caught up, heap measured",
            &["INFO"],
        ),
    ]);
    all
}

//! A Cluster's shard: CLUSTER FAILOVER, sent to the replica. The primary itself holds writes back until the replica has
//! everything (cluster.c: manual failover), and clients are told where to go.

use super::{Shard, heir, in_sync};
use crate::ActError;
use crate::link::Link;
use crate::restart::execute::Work;
use crate::restart::plan::{PlannedStep, step};
use crate::restart::record::RestartRecord;
use std::time::{Duration, Instant};
use unfrag_client::{Address, resp};

/// One manual failover is given up by the servers after five seconds; an election can fail for a colliding one.
const TRIES: u32 = 4;
const ONE_TRY: Duration = Duration::from_secs(7);
/// Gossip tells everybody within some seconds.
const AGREES: Duration = Duration::from_secs(60);

pub(super) async fn hand_over(work: &mut Work<'_>, shard: &Shard<'_>) -> Result<Address, ActError> {
    let node = shard.primary.target();
    for member in shard.replicas.iter().chain([&shard.primary]) {
        in_order(work, &member.address).await?;
    }
    let heir = heir(work, shard).await?.address.clone();
    in_sync(work, &heir, &shard.primary.address).await?;
    work.begin("hand-over", &node)?;
    let to = vec![heir.to_string()];
    work.record(RestartRecord::HandingOver {
        from: node.clone(),
        to,
        back: false,
        sentinel: None,
    })?;
    let mut link = Link::open(&heir, work.options).await?;
    let mut old = Link::open(&shard.primary.address, work.options).await?;
    let mut tries = 0;
    let begun = loop {
        tries += 1;
        let begun = Instant::now();
        link.connection.call(&["CLUSTER", "FAILOVER"]).await?;
        if is_over(&mut link, &mut old).await? {
            break begun;
        }
        if tries == TRIES {
            return Err(ActError::Unsafe(format!(
                "{node}: the Cluster did not let {heir} take over; its primary serves as before"
            )));
        }
    };
    work.add_gap(begun.elapsed());
    for member in shard.replicas.iter().chain([&shard.primary]) {
        in_order(work, &member.address).await?;
    }
    // The node that is stopped next must know that it is a replica: it asks itself, not the others.
    in_sync(work, &shard.primary.address, &heir).await?;
    work.record(RestartRecord::HandedOver { to: heir.to_string() })?;
    work.done(format!("{heir} is the primary"));
    Ok(heir)
}

async fn is_over(new: &mut Link, old: &mut Link) -> Result<bool, ActError> {
    let deadline = Instant::now() + ONE_TRY;
    while Instant::now() < deadline {
        if !new.info().await?.is_replica() && old.info().await?.is_replica() {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(false)
}

/// The node sees all slots served and no other node failing.
async fn in_order(work: &mut Work<'_>, node: &Address) -> Result<(), ActError> {
    let deadline = Instant::now() + AGREES;
    loop {
        let mut link = Link::open(node, work.options).await?;
        let text = |value: redis::Value| resp::text(&value).unwrap_or_default();
        let state = text(link.connection.call(&["CLUSTER", "INFO"]).await?);
        let nodes = text(link.connection.call(&["CLUSTER", "NODES"]).await?);
        let failing = nodes.lines().find(|l| {
            l.split(' ').nth(2).is_some_and(|flags| flags.split(',').any(|f| f.starts_with("fail")))
        });
        if state.contains("cluster_state:ok") && failing.is_none() {
            return Ok(());
        }
        if Instant::now() > deadline || work.stop.is_set() {
            let who =
                failing.and_then(|l| l.split(' ').nth(1)).unwrap_or("slots that nobody serves");
            return Err(ActError::Unsafe(format!(
                "{node} does not see the Cluster in order: {who}"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) fn steps(shard: &Shard<'_>) -> Vec<PlannedStep> {
    let what = "the Cluster exchanges it with its replica that has the highest offset; clients are redirected";
    let words = &["CLUSTER INFO", "CLUSTER NODES", "(replica) CLUSTER FAILOVER"];
    vec![step("hand-over", &shard.primary.target(), what, words)]
}

//! What a killed rolling restart left: one primary a shard, and no second one.

use super::replicated::failover;
use super::sentinel::{demote, settle_down};
use super::{keep_role, lagging};
use crate::ActError;
use crate::journal::Unfinished;
use crate::link::Link;
use crate::restart::record::RestartRecord;
use crate::restart::undo::address;
use std::time::{Duration, Instant};
use unfrag_client::{Address, ConnectOptions, connect};

/// Sentinels give a failover up after their `failover-timeout`, three minutes by default, and a half more.
const FAILS_OVER: Duration = Duration::from_secs(270);
/// A replica copies everything in this time, or a person looks.
const SYNCS: Duration = Duration::from_secs(1800);

/// Completes what was handed over half way.
pub(in crate::restart) async fn finish(
    run: &Unfinished,
    options: &ConnectOptions,
) -> Result<Vec<String>, ActError> {
    let mut said = vec![];
    for (index, record) in run.restart.iter().enumerate() {
        let RestartRecord::HandingOver { from, to, back, sentinel } = record else { continue };
        let later = run.restart.get(index + 1..).unwrap_or_default();
        if !later.iter().any(|r| matches!(r, RestartRecord::HandedOver { .. })) {
            if let Some((address, name)) = sentinel {
                has_ended(address, name, options).await?;
            }
            said.push(settle(from, to, *back, options).await?);
        }
    }
    Ok(said)
}

/// A Sentinel goes on with a failover that it has begun, whatever becomes of us: until it has ended, the old primary must
/// go on refusing writes once a replica has left it, for what it took would be lost when it is told to follow.
async fn has_ended(sentinel: &str, name: &str, options: &ConnectOptions) -> Result<(), ActError> {
    // One that is gone does nothing any more.
    let Ok(mut asked) = connect(&address(sentinel)?, &options.for_sentinel()).await else {
        return Ok(());
    };
    if settle_down(&mut asked, name, FAILS_OVER).await {
        return Ok(());
    }
    Err(ActError::Unsafe(format!(
        "the Sentinel at {sentinel} is still at the failover of {name} that it was asked for: nothing was done; run \
         `unfrag undo` again when it has ended"
    )))
}

/// A Cluster's servers complete a hand-over that was begun, or give it up after this (cluster.c: CLUSTER_MF_TIMEOUT).
const MANUAL_FAILOVER: Duration = Duration::from_millis(5500);

async fn settle(
    from: &str,
    to: &[String],
    back: bool,
    options: &ConnectOptions,
) -> Result<String, ActError> {
    let mut old = Link::open(&address(from)?, options).await?;
    ended(&mut old).await?;
    let is_clustered = old.info().await?.flag("cluster_enabled") == Some(true);
    let begun = Instant::now();
    let heir = loop {
        let heir = promoted(to, options).await?;
        if heir.is_some() || !is_clustered || begun.elapsed() > MANUAL_FAILOVER {
            break heir;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let Some(mut heir) = heir else {
        return Ok(format!("{from} was not handed over and is the primary"));
    };
    if !old.info().await?.is_replica() && !is_clustered {
        demote(&mut old, &heir.address.clone()).await?;
        keep_role(&mut old).await?;
    }
    if !back {
        return Ok(format!("{} is the primary, {from} its replica", heir.address));
    }
    hand_back(&mut old, &mut heir, options).await?;
    Ok(format!("{from} is the primary again"))
}

/// The one of them that is a primary.
async fn promoted(to: &[String], options: &ConnectOptions) -> Result<Option<Link>, ActError> {
    for candidate in to {
        if let Ok(mut link) = Link::open(&address(candidate)?, options).await
            && !link.info().await?.is_replica()
        {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// A server's own exchange of roles is completed or given up by itself.
async fn ended(link: &mut Link) -> Result<(), ActError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while link.info().await?.text("master_failover_state").is_some_and(|s| s != "no-failover") {
        if Instant::now() > deadline {
            return Err(ActError::Unsafe("an exchange of roles does not end".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Clients know the old primary by its address.
async fn hand_back(
    old: &mut Link,
    heir: &mut Link,
    options: &ConnectOptions,
) -> Result<(), ActError> {
    let deadline = Instant::now() + SYNCS;
    loop {
        let sent = heir.info().await?.count("master_repl_offset").unwrap_or(0);
        match lagging(&old.info().await?, sent) {
            None => break,
            Some(why) if Instant::now() > deadline => {
                return Err(ActError::Unsafe(format!("{}: {why}", old.address)));
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let followers = heir.info().await?.replicas();
    failover(heir, &old.address.clone()).await?;
    keep_role(heir).await?;
    for follower in followers {
        let at = address(&follower.address)?;
        if at != old.address
            && let (Ok(mut link), Address::Tcp(host, port)) =
                (Link::open(&at, options).await, &old.address)
        {
            link.connection.call(&["REPLICAOF", host, &port.to_string()]).await?;
            keep_role(&mut link).await?;
        }
    }
    keep_role(old).await
}

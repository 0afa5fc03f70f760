//! A primary with replicas and nobody above them: FAILOVER (6.2), by the servers themselves, and back again, for clients
//! know the primary by its address.

use super::{Shard, heir, in_sync, keep_role};
use crate::ActError;
use crate::link::Link;
use crate::restart::execute::Work;
use crate::restart::facts::Facts;
use crate::restart::plan::{PlannedStep, step};
use crate::restart::record::RestartRecord;
use std::time::{Duration, Instant};
use unfrag_client::Address;

/// The servers give an exchange up by themselves after this.
const EXCHANGE: Duration = Duration::from_secs(10);

pub(super) async fn hand_over(work: &mut Work<'_>, shard: &Shard<'_>) -> Result<Address, ActError> {
    let heir = heir(work, shard).await?.address.clone();
    let node = shard.primary.target();
    work.begin("hand-over", &node)?;
    let to = vec![heir.to_string()];
    work.record(RestartRecord::HandingOver { from: node, to, back: true, sentinel: None })?;
    let begun = Instant::now();
    let mut link = Link::open(&shard.primary.address, work.options).await?;
    failover(&mut link, &heir).await?;
    work.is_half_way = true;
    work.began_handing(begun);
    let others = shard.replicas.iter().filter(|r| r.address != heir);
    point_to(work, others.copied().collect(), &heir).await?;
    keep_role(&mut link).await?;
    work.done(format!("{heir} is the primary"));
    Ok(heir)
}

/// The primary that clients know is the primary again.
pub(super) async fn hand_back(
    work: &mut Work<'_>,
    shard: &Shard<'_>,
    from: &Address,
) -> Result<(), ActError> {
    let to = &shard.primary.address;
    in_sync(work, to, from).await?;
    work.begin_surely("hand-back", &to.to_string())?;
    let mut link = Link::open(from, work.options).await?;
    failover(&mut link, to).await?;
    work.end_handing();
    point_to(work, shard.replicas.clone(), to).await?;
    keep_role(&mut Link::open(to, work.options).await?).await?;
    work.record(RestartRecord::HandedOver { to: to.to_string() })?;
    work.is_half_way = false;
    work.done(format!("{to} is the primary again"));
    Ok(())
}

/// FAILOVER, and how it came out: the servers do it or give it up.
pub(super) async fn failover(link: &mut Link, to: &Address) -> Result<(), ActError> {
    let Address::Tcp(host, port) = to else {
        return Err(ActError::Unsafe("a replica is known by host and port".to_owned()));
    };
    let (port, limit) = (port.to_string(), EXCHANGE.as_millis().to_string());
    link.connection.call(&["FAILOVER", "TO", host, &port, "TIMEOUT", &limit]).await?;
    let (begun, deadline) = (Instant::now(), Instant::now() + EXCHANGE * 3);
    // Writes wait for the replica's word that it has everything: it is asked for it, later ones in case it had not.
    let mut asks = [0, 20, 100].map(Duration::from_millis).into_iter().peekable();
    loop {
        if asks.next_if(|after| begun.elapsed() >= *after).is_some() {
            let (to, options) = (to.clone(), link.options.clone());
            tokio::spawn(async move {
                if let Ok(replica) = Link::open(&to, &options).await {
                    replica.ask_for_acknowledgement();
                }
            });
        }
        let info = link.info().await?;
        if info.text("master_failover_state") == Some("no-failover") {
            return if info.is_replica() {
                Ok(())
            } else {
                Err(ActError::Unsafe(format!(
                    "the servers gave the hand-over to {to} up: nothing was changed"
                )))
            };
        }
        if Instant::now() > deadline {
            return Err(ActError::Unsafe("the hand-over does not end".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// FAILOVER leaves the other replicas with the old primary: they are told, and waited for.
async fn point_to(
    work: &mut Work<'_>,
    nodes: Vec<&Facts>,
    primary: &Address,
) -> Result<(), ActError> {
    let Address::Tcp(host, port) = primary else { return Ok(()) };
    for node in nodes {
        let mut link = Link::open(&node.address, work.options).await?;
        let info = link.info().await?;
        let follows = (info.text("master_host"), info.count("master_port"));
        if follows != (Some(host.as_str()), Some(u64::from(*port))) {
            link.connection.call(&["REPLICAOF", host, &port.to_string()]).await?;
            keep_role(&mut link).await?;
        }
        in_sync(work, &node.address, primary).await?;
    }
    Ok(())
}

impl Work<'_> {
    fn began_handing(&mut self, begun: Instant) {
        self.handing_since = Some(begun);
    }

    fn end_handing(&mut self) {
        if let Some(begun) = self.handing_since.take() {
            self.add_gap(begun.elapsed());
        }
    }
}

pub(super) fn steps(shard: &Shard<'_>) -> Vec<PlannedStep> {
    let what =
        "its replica with the highest offset becomes the primary; the others follow that one";
    let words = &["FAILOVER TO HOST PORT TIMEOUT 10000", "REPLICAOF HOST PORT", "CONFIG REWRITE"];
    vec![step("hand-over", &shard.primary.target(), what, words)]
}

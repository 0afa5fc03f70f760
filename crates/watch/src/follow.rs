//! One task a target: finds the servers that belong with it, and follows them as they come and go.
//!
//! A server that is no longer in its deployment is dropped only after `GONE_AFTER`: Sentinels and nodes disagree for a
//! while during a failover, and a dead node is what people want to see.

use crate::fleet::Fleet;
use crate::schedule;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use unfrag_client::topology::DeploymentKind;
use unfrag_client::{Address, ConnectOptions, Deployment, DiscoverOptions, Target, discover};

/// Something to watch.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Its name: the target as typed, or the fleet's entry.
    pub name: String,
    /// What it is.
    pub target: Target,
    /// How to reach it and all that belongs with it.
    pub options: ConnectOptions,
    /// Also its replicas, or its primary, where neither Sentinel nor Cluster is at work.
    pub replication: bool,
}

/// The `n`th of `count` parts of a fleet, by name: watches that are given the same targets and a part each do not overlap.
pub fn share(mut seeds: Vec<Seed>, part: Option<(u64, u64)>) -> Vec<Seed> {
    if let Some((n, count)) = part {
        seeds.retain(|seed| schedule::hash(&seed.name) % count.max(1) + 1 == n);
    }
    seeds
}

/// Between two looks at a deployment.
const FOLLOW: Duration = Duration::from_secs(30);
/// Between two looks at a server that was alone: it may have been put into a Cluster.
const ALONE: Duration = Duration::from_secs(600);
/// Until a server that left is dropped.
const GONE_AFTER: Duration = Duration::from_secs(600);
/// A deployment is asked this soon after the start, spread out, so that a thousand targets are no storm.
const SPREAD_MS: u64 = 3000;

pub(crate) async fn run(seed: Seed, fleet: Arc<Fleet>) {
    let mut missing: BTreeMap<Address, Instant> = BTreeMap::new();
    // After a reload there are servers already that may have to leave.
    let before = fleet.nodes().into_iter().filter(|n| n.group == seed.name);
    let mut ours: Vec<Address> = before.map(|n| n.address.clone()).collect();
    if let Target::Server(address) = &seed.target {
        // It is shown from the first moment, as lost if need be. A Sentinel leaves again below.
        // After a reload it is there, and its shard is known.
        if fleet.at(address).is_none() {
            fleet.add(&seed.name, address, &seed.options, None);
        }
        if !ours.contains(address) {
            ours.push(address.clone());
        }
    }
    let spread = schedule::hash(&seed.name) % SPREAD_MS;
    tokio::time::sleep(Duration::from_millis(spread)).await;
    loop {
        let options = DiscoverOptions { replication: seed.replication };
        let pause = match discover(&seed.target, &seed.options, options).await {
            Ok(deployment) => {
                let problem = deployment.problems.first().map(|p| format!("{}: {}", p.what, p.why));
                fleet.set_problem(&seed.name, problem);
                let alone = deployment.kind == DeploymentKind::Single;
                take(&seed, &fleet, &deployment, &mut ours, &mut missing);
                if alone { ALONE } else { FOLLOW }
            }
            Err(error) => {
                // A server that does not answer is shown as such by its own task.
                let sentinel = matches!(seed.target, Target::Sentinel { .. });
                fleet.set_problem(&seed.name, sentinel.then(|| error.problem.to_string()));
                FOLLOW
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn take(
    seed: &Seed,
    fleet: &Arc<Fleet>,
    deployment: &Deployment,
    ours: &mut Vec<Address>,
    missing: &mut BTreeMap<Address, Instant>,
) {
    let kind = deployment.kind;
    // A node that its Cluster has given up is part of it until that forgets it: it is shown, and told of, as lost.
    let members = || deployment.nodes.iter().chain(&deployment.failed);
    for node in members() {
        // A lone server's own name is no shard.
        let primary = node.primary.clone().filter(|_| kind != DeploymentKind::Single);
        fleet.add(&seed.name, &node.address, &seed.options, primary);
        missing.remove(&node.address);
        if !ours.contains(&node.address) {
            ours.push(node.address.clone());
        }
    }
    ours.retain(|address| {
        if members().any(|n| n.address == *address) {
            return true;
        }
        // The Sentinel that was asked is no server.
        let is_seed = matches!(&seed.target, Target::Server(a) if a == address);
        let asked = is_seed && kind == DeploymentKind::Sentinel;
        let since = missing.entry(address.clone()).or_insert_with(Instant::now);
        if asked || since.elapsed() >= GONE_AFTER {
            missing.remove(address);
            fleet.remove(address, "it is no longer part of its deployment");
            return false;
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_fleet_do_not_overlap_and_miss_nobody() {
        let seed = |n: u16| Seed {
            name: format!("10.0.0.1:{n}"),
            target: Target::Server(Address::Tcp("10.0.0.1".to_owned(), n)),
            options: ConnectOptions::default(),
            replication: false,
        };
        let all = || (0..300).map(seed).collect::<Vec<_>>();
        let mut found: Vec<String> = vec![];
        for n in 1..=3 {
            let part = share(all(), Some((n, 3)));
            assert!((60..140).contains(&part.len()), "{}", part.len());
            found.extend(part.into_iter().map(|s| s.name));
        }
        found.sort();
        let mut wanted: Vec<String> = all().into_iter().map(|s| s.name).collect();
        wanted.sort();
        assert_eq!(found, wanted);
        assert_eq!(share(all(), None).len(), 300);
    }
}

//! A primary and its replicas where neither Sentinel nor Cluster is at work, from INFO of either side.

use super::{Deployment, DeploymentKind, Node, Role};
use crate::error::ClientError;
use crate::target::Address;
use crate::{ConnectOptions, Connection, connect, resp};
use unfrag_model::Info;

/// The server behind `connection` and the others it replicates with.
pub(super) async fn ask(
    connection: &mut Connection,
    info: &Info,
    options: &ConnectOptions,
) -> Result<Deployment, ClientError> {
    let own = connection.address().clone();
    if !info.is_replica() {
        return Ok(of_primary(&own, info, &own));
    }
    let Some(primary) = primary_of(info) else { return Ok(Deployment::single(&own, info)) };
    match info_of(&primary, options).await {
        Ok(primary_info) => {
            let mut found = of_primary(&primary, &primary_info, &own);
            // The primary may know this replica by another address than the one we came by.
            if !found.nodes.iter().any(|node| node.is_seed) {
                let listed = same_port_replicas(&found, &own);
                match listed.as_slice() {
                    [only] => replace(&mut found, *only, own),
                    _ => found
                        .add(Node { is_seed: true, ..Node::new(own, Role::Replica).of(&primary) }),
                }
            }
            Ok(found)
        }
        Err(error) => {
            let mut found = Deployment::single(&own, info);
            found.problem(format!("{primary} (primary)"), error.problem.to_string());
            Ok(found)
        }
    }
}

fn of_primary(primary: &Address, info: &Info, seed: &Address) -> Deployment {
    let mut found = Deployment::new(DeploymentKind::Replicated);
    let mark = |node: Node| Node { is_seed: node.address == *seed, ..node };
    found.add(mark(Node::new(primary.clone(), Role::Primary).of(primary)));
    let mut replicas: Vec<Address> =
        info.replicas().iter().filter_map(|line| split(&line.address)).collect();
    replicas.sort();
    for replica in replicas {
        found.add(mark(Node::new(replica, Role::Replica).of(primary)));
    }
    if found.nodes.len() == 1 && primary == seed {
        found.kind = DeploymentKind::Single;
    }
    found
}

/// Replicas in the list that listen on the seed's port: one of them may be the seed under another name.
fn same_port_replicas(found: &Deployment, seed: &Address) -> Vec<usize> {
    let Address::Tcp(_, seed_port) = seed else { return vec![] };
    let same = |node: &Node| {
        node.role == Role::Replica
            && matches!(&node.address, Address::Tcp(_, port) if port == seed_port)
    };
    found.nodes.iter().enumerate().filter(|(_, node)| same(node)).map(|(n, _)| n).collect()
}

fn replace(found: &mut Deployment, index: usize, seed: Address) {
    if let Some(node) = found.nodes.get_mut(index) {
        node.address = seed;
        node.is_seed = true;
    }
}

fn primary_of(info: &Info) -> Option<Address> {
    let port = info.text("master_port")?.parse().ok().filter(|port| *port != 0)?;
    Some(Address::tcp(info.text("master_host")?, port))
}

async fn info_of(address: &Address, options: &ConnectOptions) -> Result<Info, ClientError> {
    let mut connection = connect(address, options).await?;
    let value = connection.call(&["INFO", "replication"]).await?;
    Ok(resp::text(&value).map(|text| Info::parse(&text)).unwrap_or_default())
}

/// `ip:port` as INFO prints it, IPv6 without brackets.
fn split(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some(Address::tcp(host, port.parse().ok().filter(|port| *port != 0)?))
}

//! What Sentinels watch: a primary by name with its replicas, or everything.

use super::{Deployment, DeploymentKind, Mode, Node, Role, mode};
use crate::error::{ClientError, Problem, one_line};
use crate::target::{Address, Target};
use crate::{ConnectOptions, Connection, connect, resp};
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Value;
use std::collections::BTreeMap;

/// Names and values that Sentinel prints of one server.
type Entry = BTreeMap<String, String>;

/// The primary `name` and its replicas, from the first Sentinel that answers and knows it. All are asked at once: a dead
/// one must not hold up the others.
pub(super) async fn by_name(
    name: &str,
    sentinels: &[Address],
    options: &ConnectOptions,
) -> Result<Deployment, ClientError> {
    let options = &options.for_sentinel();
    let ask = |address| async move { (address, ask_one(name, address, options).await) };
    let mut asked: FuturesUnordered<_> = sentinels.iter().map(ask).collect();
    let (mut known, mut failures) = (None, vec![]);
    while let Some((address, answer)) = asked.next().await {
        match answer {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(names)) => known = Some(names),
            Err(error) => failures.push((address, error)),
        }
    }
    let target = Target::Sentinel { name: name.to_owned(), sentinels: sentinels.to_vec() };
    if let Some(known) = known {
        let problem = Problem::UnknownSentinelName { name: name.to_owned(), known };
        return Err(ClientError::new(target.to_string(), problem));
    }
    failures.sort_by(|a, b| a.0.cmp(b.0));
    let reasons: Vec<String> = failures.iter().map(|(_, error)| error.to_string()).collect();
    Err(ClientError::new(
        target.to_string(),
        Problem::NoSentinelAnswers { reasons: reasons.join("; ") },
    ))
}

/// One Sentinel's answer: the deployment, or the names it knows instead.
async fn ask_one(
    name: &str,
    address: &Address,
    options: &ConnectOptions,
) -> Result<Result<Deployment, Vec<String>>, ClientError> {
    let mut connection = connect(address, options).await?;
    let primaries = primaries(&mut connection).await?;
    if !primaries.iter().any(|p| p.get("name").is_some_and(|n| n == name)) {
        let names = primaries.iter().filter_map(|p| p.get("name").map(|n| one_line(n)));
        return Ok(Err(names.collect()));
    }
    let mut found = Deployment::new(DeploymentKind::Sentinel);
    let wanted = primaries.iter().filter(|p| p.get("name").is_some_and(|n| n == name));
    for primary in wanted {
        add(&mut found, &mut connection, primary).await?;
    }
    Ok(Ok(found))
}

/// Everything that the Sentinel behind `connection` watches.
pub(super) async fn all(connection: &mut Connection) -> Result<Deployment, ClientError> {
    let mut found = Deployment::new(DeploymentKind::Sentinel);
    let mut primaries = primaries(connection).await?;
    primaries.sort_by(|a, b| a.get("name").cmp(&b.get("name")));
    if primaries.is_empty() {
        found.problem(connection.name(), "this Sentinel watches no primary");
    }
    for primary in &primaries {
        add(&mut found, connection, primary).await?;
    }
    Ok(found)
}

async fn primaries(connection: &mut Connection) -> Result<Vec<Entry>, ClientError> {
    match connection.call(&["SENTINEL", "MASTERS"]).await {
        Ok(value) => Ok(entries(&value)),
        Err(error) => Err(explain(connection, error).await),
    }
}

/// A server in place of a Sentinel does not know the command: say so.
async fn explain(connection: &mut Connection, error: ClientError) -> ClientError {
    if !matches!(*error.problem, Problem::UnknownCommand { .. }) {
        return error;
    }
    let info = connection.call(&["INFO", "server"]).await.ok().and_then(|v| resp::text(&v));
    let info = info.map(|text| unfrag_model::Info::parse(&text)).unwrap_or_default();
    if info.is_empty() || mode(&info) == Mode::Sentinel {
        return error;
    }
    ClientError::new(connection.name(), Problem::NotASentinel)
}

/// Adds a primary and the replicas that this Sentinel knows of it.
async fn add(
    found: &mut Deployment,
    connection: &mut Connection,
    primary: &Entry,
) -> Result<(), ClientError> {
    let name = primary.get("name").cloned().unwrap_or_default();
    let Some(address) = address(primary) else {
        found.problem(one_line(&name), "the Sentinel knows no address of this primary");
        return Ok(());
    };
    let node = |address: Address, role| Node {
        sentinel_name: Some(name.clone()),
        ..Node::new(address, role)
    };
    found.add(node(address.clone(), Role::Primary).of(&address));
    let replicas = match replicas(connection, &name).await {
        Ok(replicas) => replicas,
        Err(error) if error.is_reply() => {
            found.problem(format!("replicas of {}", one_line(&name)), error.problem.to_string());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut replicas: Vec<Address> = replicas.iter().filter_map(self::address).collect();
    replicas.sort();
    for replica in replicas {
        found.add(node(replica, Role::Replica).of(&address));
    }
    Ok(())
}

/// SENTINEL REPLICAS, which versions before 5.0 call SLAVES.
async fn replicas(connection: &mut Connection, name: &str) -> Result<Vec<Entry>, ClientError> {
    let value = match connection.call(&["SENTINEL", "REPLICAS", name]).await {
        Ok(value) => value,
        Err(error) if error.is_reply() => connection.call(&["SENTINEL", "SLAVES", name]).await?,
        Err(error) => return Err(error),
    };
    Ok(entries(&value))
}

fn entries(value: &Value) -> Vec<Entry> {
    let rows = resp::elements(value).unwrap_or_default().iter();
    rows.map(|row| {
        let pairs = resp::pairs(row).into_iter();
        pairs.filter_map(|(name, value)| Some((name, resp::text(value)?))).collect()
    })
    .collect()
}

fn address(entry: &Entry) -> Option<Address> {
    let port = entry.get("port")?.parse().ok().filter(|port| *port != 0)?;
    let host = entry.get("ip").filter(|ip| !ip.is_empty() && *ip != "?")?;
    Some(Address::tcp(host, port))
}

//! From one server, or a Sentinel name, to every primary and replica that belongs with it: [`discover`].
//!
//! Any one node of a Cluster is enough, any one Sentinel that answers, and, when asked, any one side of a replication.
//! What is known of but cannot be read (a failed node, a node without an address) is in [`Deployment::problems`].

mod cluster;
pub use cluster::may_hold_keys;
mod replication;
mod sentinel;

use crate::error::{ClientError, Problem};
use crate::target::{Address, Target};
use crate::{ConnectOptions, Connection, connect, resp};
use unfrag_model::Info;
use unfrag_model::sample::Unread;

/// Servers that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// How they belong together.
    pub kind: DeploymentKind,
    /// The servers, each primary followed by its replicas.
    pub nodes: Vec<Node>,
    /// Nodes that are known of and cannot be read, and why.
    pub problems: Vec<Unread>,
    /// Those of them that a Cluster has agreed are down: a watch keeps an eye on them all the same.
    pub failed: Vec<Node>,
}

/// How servers belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentKind {
    /// One server alone, as far as was asked.
    Single,
    /// A primary and its replicas.
    Replicated,
    /// Primaries and replicas that Sentinels watch.
    Sentinel,
    /// A Cluster.
    Cluster,
}

/// One server of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it is.
    pub address: Address,
    /// What it is said to be.
    pub role: Role,
    /// The primary it belongs to, itself if it is one, as `host:port`; `None` when alone.
    pub primary: Option<String>,
    /// The name Sentinels know the primary under.
    pub sentinel_name: Option<String>,
    /// True for the server that was asked.
    pub is_seed: bool,
}

/// What a server is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Follows a primary.
    Replica,
}

/// What to look for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiscoverOptions {
    /// Also the replicas of a primary, and the primary of a replica, where neither Sentinel nor Cluster is at work.
    pub replication: bool,
}

/// Finds every server that belongs with `target`.
pub async fn discover(
    target: &Target,
    connect_options: &ConnectOptions,
    options: DiscoverOptions,
) -> Result<Deployment, ClientError> {
    match target {
        Target::Sentinel { name, sentinels } => {
            sentinel::by_name(name, sentinels, connect_options).await
        }
        Target::Server(address) => {
            let mut connection = connect_any(address, connect_options).await?;
            let value = connection.call(&["INFO"]).await?;
            let info = resp::text(&value).map(|text| Info::parse(&text)).unwrap_or_default();
            if info.is_empty() {
                let (command, got) = ("INFO".to_owned(), resp::kind(&value).to_owned());
                return Err(ClientError::new(
                    connection.name(),
                    Problem::UnexpectedReply { command, got },
                ));
            }
            expand(&mut connection, &info, connect_options, options).await
        }
    }
}

/// Connects to a server, or to a Sentinel that has other credentials than the servers, or none.
pub(crate) async fn connect_any(
    address: &Address,
    options: &ConnectOptions,
) -> Result<Connection, ClientError> {
    let error = match connect(address, options).await {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    let refused = matches!(
        *error.problem,
        Problem::NoPasswordSet { .. } | Problem::AuthRequired | Problem::WrongPassword { .. }
    );
    let has_other = options.password != options.sentinel_password;
    if !(refused && has_other) {
        return Err(error);
    }
    let Ok(mut connection) = connect(address, &options.for_sentinel()).await else {
        return Err(error);
    };
    // A server that takes the Sentinels' credentials is still not to be read with them.
    match connection.call(&["INFO", "server"]).await {
        Ok(value)
            if mode(&Info::parse(&resp::text(&value).unwrap_or_default())) == Mode::Sentinel =>
        {
            Ok(connection)
        }
        _ => Err(error),
    }
}

/// What runs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Standalone,
    Cluster,
    Sentinel,
}

/// `redis_mode` (Redis) or `server_mode` (Valkey).
pub(crate) fn mode(info: &Info) -> Mode {
    match info.text("redis_mode").or_else(|| info.text("server_mode")) {
        Some("cluster") => Mode::Cluster,
        Some("sentinel") => Mode::Sentinel,
        _ => Mode::Standalone,
    }
}

/// The deployment of the server behind `connection`, whose INFO is at hand.
pub(crate) async fn expand(
    connection: &mut Connection,
    info: &Info,
    connect_options: &ConnectOptions,
    options: DiscoverOptions,
) -> Result<Deployment, ClientError> {
    match mode(info) {
        Mode::Cluster => cluster::ask(connection, info, connect_options.tls.is_some()).await,
        Mode::Sentinel => sentinel::all(connection).await,
        Mode::Standalone if options.replication => {
            replication::ask(connection, info, connect_options).await
        }
        Mode::Standalone => Ok(Deployment::single(connection.address(), info)),
    }
}

impl Deployment {
    /// A server by itself.
    pub(crate) fn single(address: &Address, info: &Info) -> Self {
        let node = Node { is_seed: true, ..Node::new(address.clone(), role(info)) };
        Self { kind: DeploymentKind::Single, nodes: vec![node], problems: vec![], failed: vec![] }
    }

    fn new(kind: DeploymentKind) -> Self {
        Self { kind, nodes: vec![], problems: vec![], failed: vec![] }
    }

    /// Adds a node unless its address is there already.
    fn add(&mut self, node: Node) {
        if !self.nodes.iter().any(|n| n.address == node.address) {
            self.nodes.push(node);
        }
    }

    fn problem(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.problems.push(Unread { what: what.into(), why: why.into() });
    }
}

impl Node {
    fn new(address: Address, role: Role) -> Self {
        Self { address, role, primary: None, sentinel_name: None, is_seed: false }
    }

    fn of(mut self, primary: &Address) -> Self {
        self.primary = Some(primary.to_string());
        self
    }
}

fn role(info: &Info) -> Role {
    if info.is_replica() { Role::Replica } else { Role::Primary }
}

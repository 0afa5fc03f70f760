//! Several servers that belong together: a primary with replicas, Sentinels over them, a Cluster.

use crate::measure::{command, info, wait_until};
use crate::{Error, Kind, Options, Server};

/// A primary and its replicas, in sync.
#[derive(Debug)]
pub struct Replicated {
    /// The primary.
    pub primary: Server,
    /// Its replicas.
    pub replicas: Vec<Server>,
}

impl Replicated {
    /// Starts them and waits until every link is up.
    pub fn start(kind: Kind, replicas: usize, options: &Options) -> Result<Self, Error> {
        let primary = Server::start(kind, options)?;
        let mut with_primary = options.clone();
        with_primary
            .args
            .extend(["--replicaof", "127.0.0.1", &primary.port().to_string()].map(str::to_owned));
        let replicas = (0..replicas)
            .map(|_| Server::start(kind, &with_primary))
            .collect::<Result<Vec<_>, _>>()?;
        for replica in &replicas {
            let mut connection = replica.connection()?;
            wait_until("the replica's synchronisation", || {
                Ok(info(&mut connection)?.get("master_link_status").is_some_and(|s| s == "up"))
            })?;
        }
        Ok(Self { primary, replicas })
    }
}

/// Three Sentinels that watch a primary under the name `main`.
#[derive(Debug)]
pub struct Watched {
    /// What they watch.
    pub servers: Replicated,
    /// The Sentinels.
    pub sentinels: Vec<Server>,
}

impl Watched {
    /// Starts all and waits until each Sentinel knows every replica.
    pub fn start(kind: Kind, replicas: usize, options: &Options) -> Result<Self, Error> {
        let servers = Replicated::start(kind, replicas, options)?;
        let auth = options
            .password
            .as_ref()
            .map(|p| format!("sentinel auth-pass main {p}\n"))
            .unwrap_or_default();
        let conf = format!("sentinel monitor main 127.0.0.1 {} 2\n{auth}", servers.primary.port());
        let sentinel_options = Options {
            sentinel: true,
            files: vec![("sentinel.conf".to_owned(), conf.into_bytes())],
            ..Options::default()
        };
        let sentinels = (0..3)
            .map(|_| Server::start(kind, &sentinel_options))
            .collect::<Result<Vec<_>, _>>()?;
        for sentinel in &sentinels {
            let mut connection = sentinel.connection()?;
            wait_until("the Sentinels' discovery", || {
                // Not `INFO everything`, which Sentinels before 7.0 answer with nothing.
                let cmd = redis::cmd("INFO").arg("sentinel").clone();
                let text: String = command(&mut connection, "read INFO", &cmd)?;
                let knows =
                    |l: &str| l.contains("status=ok") && l.contains(&format!("slaves={replicas}"));
                Ok(text.lines().any(knows))
            })?;
        }
        Ok(Self { servers, sentinels })
    }
}

/// A Cluster of three primaries, each with `replicas` replicas.
#[derive(Debug)]
pub struct Cluster {
    /// Primaries first, then replicas.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Starts it and waits until every node sees all slots served.
    pub fn start(kind: Kind, replicas: usize, options: &Options) -> Result<Self, Error> {
        let mut clustered = options.clone();
        clustered.args.extend(
            ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"].map(str::to_owned),
        );
        let nodes = (0..3 * (1 + replicas))
            .map(|_| Server::start(kind, &clustered))
            .collect::<Result<Vec<_>, _>>()?;
        let cluster = Self { nodes };
        cluster.assign_slots()?;
        cluster.introduce()?;
        cluster.attach_replicas()?;
        cluster.wait_until_ok()?;
        Ok(cluster)
    }

    fn assign_slots(&self) -> Result<(), Error> {
        for (index, node) in self.nodes.iter().take(3).enumerate() {
            let slots = (index * 16384 / 3)..((index + 1) * 16384 / 3);
            let mut cmd = redis::cmd("CLUSTER");
            cmd.arg("ADDSLOTS");
            for slot in slots {
                cmd.arg(slot);
            }
            command::<()>(&mut node.connection()?, "assign slots", &cmd)?;
        }
        Ok(())
    }

    fn introduce(&self) -> Result<(), Error> {
        let Some((first, others)) = self.nodes.split_first() else { return Ok(()) };
        let mut connection = first.connection()?;
        for node in others {
            command::<()>(
                &mut connection,
                "introduce a node",
                redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(node.port()),
            )?;
        }
        for node in &self.nodes {
            let mut connection = node.connection()?;
            wait_until("the nodes' meeting", || {
                let nodes: String =
                    command(&mut connection, "list nodes", redis::cmd("CLUSTER").arg("NODES"))?;
                Ok(nodes.lines().filter(|l| !l.contains("handshake")).count() == self.nodes.len())
            })?;
        }
        Ok(())
    }

    fn attach_replicas(&self) -> Result<(), Error> {
        for (index, replica) in self.nodes.iter().skip(3).enumerate() {
            let Some(primary) = self.nodes.get(index % 3) else { continue };
            let id: String = command(
                &mut primary.connection()?,
                "read a node's id",
                redis::cmd("CLUSTER").arg("MYID"),
            )?;
            command::<()>(
                &mut replica.connection()?,
                "attach a replica",
                redis::cmd("CLUSTER").arg("REPLICATE").arg(id),
            )?;
        }
        Ok(())
    }

    fn wait_until_ok(&self) -> Result<(), Error> {
        let replicas = self.nodes.len() - 3;
        for node in &self.nodes {
            let mut connection = node.connection()?;
            wait_until("the Cluster's agreement", || {
                let state: String = command(
                    &mut connection,
                    "read the cluster's state",
                    redis::cmd("CLUSTER").arg("INFO"),
                )?;
                let nodes: String =
                    command(&mut connection, "list nodes", redis::cmd("CLUSTER").arg("NODES"))?;
                Ok(state.contains("cluster_state:ok")
                    && nodes.lines().filter(|l| l.contains("slave ")).count() == replicas)
            })?;
        }
        Ok(())
    }
}

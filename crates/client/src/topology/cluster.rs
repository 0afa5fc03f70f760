//! A Cluster's nodes, from CLUSTER NODES of any one of them.
//!
//! CLUSTER NODES and not CLUSTER SHARDS: every version since 3.0 has it, and it prints the port that fits the
//! connection it is asked over, TLS or not.

use super::{Deployment, DeploymentKind, Node, Role, role};
use crate::error::{ClientError, Problem};
use crate::target::Address;
use crate::{Connection, resp};
use unfrag_model::Info;
use unfrag_model::sample::Unread;

/// Asks the node behind `connection`.
pub(super) async fn ask(
    connection: &mut Connection,
    info: &Info,
    tls: bool,
) -> Result<Deployment, ClientError> {
    let value = match connection.call(&["CLUSTER", "NODES"]).await {
        Ok(value) => value,
        // The node itself can still be read; the others stay unknown.
        Err(error) if error.is_reply() => {
            let mut alone = Deployment::single(connection.address(), info);
            alone.kind = DeploymentKind::Cluster;
            alone.problem("the other nodes of the cluster", error.problem.to_string());
            return Ok(alone);
        }
        Err(error) => return Err(error),
    };
    let text = resp::text(&value).unwrap_or_default();
    let deployment = parse(&text, connection.address(), role(info), tls);
    if deployment.nodes.is_empty() {
        let (command, got) = ("CLUSTER NODES".to_owned(), resp::kind(&value).to_owned());
        return Err(ClientError::new(connection.name(), Problem::UnexpectedReply { command, got }));
    }
    Ok(deployment)
}

/// One line of CLUSTER NODES.
struct Line<'a> {
    id: &'a str,
    flags: Vec<&'a str>,
    primary: Option<&'a str>,
    address: Option<Address>,
    /// `0-5460`, `5462`: what it serves.
    slots: Vec<&'a str>,
}

/// How a primary is called that serves nothing: one that was replaced, or has not been given slots.
const WITHOUT_SLOTS: &str = "(primary without slots)";

/// Whether a server that cannot be read, by its line in [`Deployment::problems`], may have keys that no other has.
pub fn may_hold_keys(lost: &Unread) -> bool {
    !(lost.what.ends_with("(replica)") || lost.what.ends_with(WITHOUT_SLOTS))
}

/// The nodes, each primary before its replicas. `seed` is the address we came by.
fn parse(text: &str, seed: &Address, seed_role: Role, tls: bool) -> Deployment {
    let mut lines: Vec<Line<'_>> = text.lines().filter_map(|l| Line::parse(l, seed, tls)).collect();
    // The server's own order is that of a hash table: not the same twice.
    lines.sort_by(|a, b| a.address.cmp(&b.address).then_with(|| a.id.cmp(b.id)));
    let mut found = Deployment::new(DeploymentKind::Cluster);
    let address_of = |id: &str| lines.iter().find(|l| l.id == id).and_then(|l| l.address.clone());
    for primary in lines.iter().filter(|l| l.primary.is_none()) {
        primary.add_to(&mut found, None, seed, seed_role);
        for replica in lines.iter().filter(|l| l.primary == Some(primary.id)) {
            replica.add_to(&mut found, address_of(primary.id), seed, seed_role);
        }
    }
    // A replica whose primary is forgotten.
    let known = |id: &str| lines.iter().any(|l| l.id == id && l.primary.is_none());
    for orphan in lines.iter().filter(|l| l.primary.is_some_and(|id| !known(id))) {
        orphan.add_to(&mut found, orphan.primary.and_then(address_of), seed, seed_role);
    }
    found
}

impl<'a> Line<'a> {
    /// `id ip:port@cport[,hostname[,aux=…]] flags primary|- ping pong epoch link slots…`
    fn parse(line: &'a str, seed: &Address, tls: bool) -> Option<Self> {
        let mut words = line.split(' ');
        let (id, endpoint) = (words.next()?, words.next()?);
        let flags: Vec<&str> = words.next()?.split(',').collect();
        let primary = words.next().filter(|p| *p != "-");
        let address = if flags.contains(&"myself") {
            Some(seed.clone())
        } else {
            endpoint_address(endpoint, seed, tls)
        };
        // Ping, pong, epoch, link.
        let slots = words.skip(4).filter(|w| !w.starts_with('[')).collect();
        Some(Self { id, flags, primary, address, slots })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    fn add_to(
        &self,
        found: &mut Deployment,
        primary: Option<Address>,
        seed: &Address,
        seed_role: Role,
    ) {
        let is_myself = self.is("myself");
        let role = match self.primary {
            _ if is_myself => seed_role,
            Some(_) => Role::Replica,
            None => Role::Primary,
        };
        let kind = match role {
            Role::Replica => "(replica)".to_owned(),
            Role::Primary if self.slots.is_empty() => WITHOUT_SLOTS.to_owned(),
            Role::Primary => format!("(primary of slots {})", self.slots.join(" ")),
        };
        let name = self.address.as_ref().map_or_else(|| self.id.to_owned(), ToString::to_string);
        let what = format!("{name} {kind}");
        let Some(address) = self.address.clone().filter(|_| is_myself || !self.is("noaddr")) else {
            return found.problem(what, "the cluster knows no address of this node");
        };
        let primary = primary.unwrap_or_else(|| address.clone());
        if self.is("fail") && !is_myself {
            found.failed.push(Node::new(address, role).of(&primary));
            return found.problem(what, "the cluster has agreed that this node is down");
        }
        if self.is("handshake") && !is_myself {
            return found.problem(what, "this node has not joined the cluster yet");
        }
        let is_seed = address == *seed;
        found.add(Node { is_seed, ..Node::new(address, role).of(&primary) });
    }
}

/// `10.0.0.5:7000@17000,redis-5.internal,shard-id=…`. Over TLS the host name is taken where there is one, because that
/// is what certificates are made out to.
fn endpoint_address(endpoint: &str, seed: &Address, tls: bool) -> Option<Address> {
    let mut parts = endpoint.split(',');
    let (address, _) = parts.next()?.split_once('@').unwrap_or((endpoint, ""));
    let (ip, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host_name = parts.next().filter(|name| !name.is_empty() && !name.contains('='));
    let host = match host_name {
        Some(name) if tls || ip.is_empty() => name,
        _ if !ip.is_empty() => ip,
        // A node that was never told its own address has the one we came by.
        _ => match seed {
            Address::Tcp(host, _) => host,
            Address::Unix(_) => return None,
        },
    };
    (host != "?").then(|| Address::tcp(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
        c3 10.0.0.3:7000@17000 master - 0 1 3 connected 10923-16383\n\
        a1 10.0.0.1:7000@17000,one.internal,shard-id=x myself,master - 0 0 1 connected 0-5460\n\
        b2 10.0.0.2:7000@17000,,tls-port=7001 master,fail - 1 1 2 disconnected 5461-10922\n\
        d4 10.0.0.4:7000@17000,four.internal slave a1 0 1 1 connected\n\
        e5 :0@0 slave,noaddr b2 0 1 2 disconnected\n\
        f6 fd00::6:7000@17000 slave,fail? c3 0 1 3 connected\n\
        g7 10.0.0.7:7000@17000 handshake - 0 0 0 disconnected\n\
        h8 10.0.0.8:7000@17000 slave gone 0 0 0 connected\n";

    fn names(found: &Deployment) -> Vec<(String, Role, Option<&str>)> {
        found.nodes.iter().map(|n| (n.address.to_string(), n.role, n.primary.as_deref())).collect()
    }

    #[test]
    fn primaries_come_before_their_replicas_and_lost_nodes_are_listed() {
        let seed = Address::tcp("localhost", 7000);
        let found = parse(NODES, &seed, Role::Primary, false);
        let (primary, replica) = (Role::Primary, Role::Replica);
        let want = [
            ("10.0.0.3:7000".into(), primary, Some("10.0.0.3:7000")),
            ("[fd00::6]:7000".into(), replica, Some("10.0.0.3:7000")),
            ("localhost:7000".into(), primary, Some("localhost:7000")),
            ("10.0.0.4:7000".into(), replica, Some("localhost:7000")),
            ("10.0.0.8:7000".into(), replica, Some("10.0.0.8:7000")),
        ];
        assert_eq!(names(&found), want);
        let seeds: Vec<bool> = found.nodes.iter().map(|n| n.is_seed).collect();
        assert_eq!(seeds, [false, false, true, false, false]);
        let lost: Vec<&str> = found.problems.iter().map(|p| p.what.as_str()).collect();
        assert_eq!(
            lost,
            [
                "10.0.0.2:7000 (primary of slots 5461-10922)",
                "e5 (replica)",
                "10.0.0.7:7000 (primary without slots)"
            ]
        );
        let failed: Vec<String> = found.failed.iter().map(|n| n.address.to_string()).collect();
        assert_eq!(failed, ["10.0.0.2:7000"]);
        let with_keys: Vec<bool> = found.problems.iter().map(may_hold_keys).collect();
        assert_eq!(with_keys, [true, false, false]);
    }

    #[test]
    fn over_tls_the_host_name_is_the_address() {
        let seed = Address::tcp("10.0.0.1", 7000);
        let found = parse(NODES, &seed, Role::Primary, true);
        let has = |name: &str| found.nodes.iter().any(|n| n.address.to_string() == name);
        assert!(has("four.internal:7000") && has("10.0.0.3:7000"));
    }

    #[test]
    fn a_node_without_its_own_address_has_the_one_we_came_by() {
        let seed = Address::tcp("10.0.0.1", 7000);
        let found = parse("a1 :7001@17001 master - 0 0 1 connected\n", &seed, Role::Primary, false);
        assert_eq!(names(&found)[0].0, "10.0.0.1:7001");
        assert!(parse("rubbish\n", &seed, Role::Primary, false).nodes.is_empty());
    }
}

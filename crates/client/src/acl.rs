//! The least rights a user needs for what this crate sends: [`acl_line`]. A test samples every real server as exactly
//! this user, and finds nothing unread.

use std::fmt;

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// One server: everything that a sample holds.
    Server,
    /// A Cluster's node: that, and the list of the other nodes.
    ClusterNode,
    /// A Sentinel: what it watches.
    Sentinel,
    /// A snapshot over the replication protocol. It holds every value, whatever the user's keys are.
    Snapshot,
    /// The names, types and sizes of keys, asked for one by one. No value is read.
    Scan,
    /// The same where CLIENT NO-TOUCH is: lengths too.
    ScanLengths,
}

/// CLIENT SETNAME is no reading; it is how operators see in CLIENT LIST who we are.
const SERVER: &[&str] = &[
    "+info",
    "+memory|stats",
    "+memory|malloc-stats",
    "+config|get",
    "+client|list",
    "+client|info",
    "+client|setname",
    "+latency|latest",
];
const CLUSTER: &[&str] = &["+cluster|nodes"];
const SENTINEL: &[&str] = &["+info", "+client|setname", "+sentinel|masters", "+sentinel|replicas"];

const SNAPSHOT: &[&str] = &["+psync", "+replconf"];
/// `~*`: whose memory is asked for may be any key.
const SCAN: &[&str] = &[
    "~*",
    "+select",
    "+scan",
    "+type",
    "+memory|usage",
    "+object|encoding",
    "+object|idletime",
    "+pttl",
    // How long others wait.
    "+ping",
];
const LENGTHS: &[&str] =
    &["+client|no-touch", "+strlen", "+llen", "+scard", "+zcard", "+hlen", "+xlen"];

impl Reading {
    /// The rules, without the user's name and password. AUTH and HELLO need none.
    pub fn rules(self) -> Vec<&'static str> {
        match self {
            Self::Server => SERVER.to_vec(),
            Self::ClusterNode => [SERVER, CLUSTER].concat(),
            Self::Sentinel => SENTINEL.to_vec(),
            Self::Snapshot => [SERVER, CLUSTER, SNAPSHOT].concat(),
            Self::Scan => [SERVER, CLUSTER, SCAN].concat(),
            Self::ScanLengths => [SERVER, CLUSTER, SCAN, LENGTHS].concat(),
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "a server",
            Self::ClusterNode => "a node of a Cluster",
            Self::Sentinel => "a Sentinel",
            Self::Snapshot => "a server whose snapshot is fetched: this user can read every value",
            Self::Scan => "--source scan: names, types and sizes, but no value",
            Self::ScanLengths => {
                "--source scan on Redis 7.2, Valkey and later: lengths too, as reading them can leave no trace"
            }
        })
    }
}

/// The command that makes the user, to paste into redis-cli. No key, no channel, nothing that changes data.
pub fn acl_line(reading: Reading, user: &str) -> String {
    line_of(&reading.rules(), user)
}

/// As [`acl_line`], of any rules: those of a reading and what a command needs beyond.
pub fn line_of(rules: &[&str], user: &str) -> String {
    format!("ACL SETUSER {user} reset on >PASSWORD {}", rules.join(" "))
}

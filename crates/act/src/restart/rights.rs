//! The least rights that a restart and its undo need beyond reading. A test runs both as exactly this user.

use crate::restart::plan::Mode;

/// Comparing values, pausing, stopping.
const PLAIN: &[&str] = &[
    "~*",
    "+ping",
    "+select",
    "+randomkey",
    "+type",
    "+exists",
    "+strlen",
    "+getrange",
    "+hlen",
    "+llen",
    "+lindex",
    "+scard",
    "+zcard",
    "+zrange",
    "+xlen",
    "+client|pause",
    "+client|unpause",
    "+module|list",
    "+bgsave",
    "+save",
    "+config|rewrite",
    "+acl|list",
    "+acl|save",
    "+shutdown",
];
/// A second process made equal: whoever may set every setting and user is an administrator.
const SWAP: &[&str] = &[
    "+config|set",
    "+acl|setuser",
    "+acl|deluser",
    "+client|kill",
    "+replicaof",
    "+replconf",
    "+psync",
    "+failover",
];
/// Roles handed over by the servers, by Sentinels, by a Cluster.
const ROLLING: &[&str] = &[
    "+config|set",
    "+client|kill",
    "+replicaof",
    "+replconf",
    "+failover",
    "+cluster|nodes",
    "+cluster|info",
    "+cluster|failover",
];
/// On Sentinels.
const SENTINEL: &[&str] = &[
    "+sentinel|master",
    "+sentinel|ckquorum",
    "+sentinel|failover",
    "+sentinel|get-master-addr-by-name",
];

/// The rules a mode adds to those of reading a server, and to those of reading a Sentinel.
pub fn rules(mode: Mode) -> (Vec<&'static str>, Vec<&'static str>) {
    match mode {
        Mode::Plain => (PLAIN.to_vec(), vec![]),
        Mode::Swap => ([PLAIN, SWAP].concat(), vec![]),
        Mode::Rolling => ([PLAIN, ROLLING].concat(), SENTINEL.to_vec()),
    }
}

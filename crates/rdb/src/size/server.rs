//! Servers that a snapshot can be sized for, and what of their configuration changes sizes. Read [`SizeFor`] first.

use std::fmt;
use std::str::FromStr;

use unfrag_model::size_class::Allocator;

/// A release line whose structures are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// Redis 6.2.
    Redis62,
    /// Redis 7.0.
    Redis70,
    /// Redis 7.2.
    Redis72,
    /// Redis 7.4.
    Redis74,
    /// Redis 8.0.
    Redis80,
    /// Redis 8.2.
    Redis82,
    /// Redis 8.4.
    Redis84,
    /// Redis 8.6.
    Redis86,
    /// Valkey 7.2: Redis 7.2 in all that matters here.
    Valkey72,
    /// Valkey 8.0.
    Valkey80,
    /// Valkey 8.1.
    Valkey81,
    /// Valkey 9.0.
    Valkey90,
    /// Valkey 9.1.
    Valkey91,
}

/// Every server with its name on the command line.
pub const SERVERS: [(Server, &str); 13] = [
    (Server::Redis62, "redis-6.2"),
    (Server::Redis70, "redis-7.0"),
    (Server::Redis72, "redis-7.2"),
    (Server::Redis74, "redis-7.4"),
    (Server::Redis80, "redis-8.0"),
    (Server::Redis82, "redis-8.2"),
    (Server::Redis84, "redis-8.4"),
    (Server::Redis86, "redis-8.6"),
    (Server::Valkey72, "valkey-7.2"),
    (Server::Valkey80, "valkey-8.0"),
    (Server::Valkey81, "valkey-8.1"),
    (Server::Valkey90, "valkey-9.0"),
    (Server::Valkey91, "valkey-9.1"),
];

/// Names of allocators on the command line.
pub const ALLOCATORS: [(Allocator, &str); 3] = [
    (Allocator::Jemalloc8, "jemalloc-8"),
    (Allocator::Jemalloc16, "jemalloc-16"),
    (Allocator::Libc, "libc"),
];

impl Server {
    /// Its name, as `--for` takes it.
    pub fn name(self) -> &'static str {
        SERVERS.iter().find(|(server, _)| *server == self).map_or("", |(_, name)| name)
    }

    /// Nodes of a Cluster have a table of keys for each slot.
    pub fn has_slot_tables(self) -> bool {
        self.is_redis_from(Self::Redis74) || self >= Self::Valkey80
    }

    /// A hash's fields can expire one by one.
    pub fn has_field_expiry(self) -> bool {
        self.is_redis_from(Self::Redis74) || self >= Self::Valkey90
    }

    pub(super) fn is_valkey(self) -> bool {
        self >= Self::Valkey72
    }

    /// Redis of this release or later.
    pub(super) fn is_redis_from(self, first: Self) -> bool {
        !self.is_valkey() && self >= first
    }

    /// Redis before 7.2, which has listpacks for less.
    pub(super) fn is_before_72(self) -> bool {
        self < Self::Redis72
    }

    /// A Cluster's node links the entries of each slot.
    pub(super) fn links_slots(self) -> bool {
        matches!(self, Self::Redis70 | Self::Redis72 | Self::Valkey72)
    }

    /// Objects carry their key: Redis from 8.2.
    pub(super) fn has_kvobj(self) -> bool {
        self.is_redis_from(Self::Redis82)
    }

    /// The cache-line hash table of Valkey from 8.1, objects carry their key.
    pub(super) fn has_hashtable(self) -> bool {
        self >= Self::Valkey81
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Server {
    type Err = UnknownServer;

    fn from_str(text: &str) -> Result<Self, UnknownServer> {
        SERVERS
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(server, _)| *server)
            .ok_or_else(|| UnknownServer(text.to_owned()))
    }
}

/// A name that is none of [`SERVERS`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown server '{0}'; known are {known}", known = SERVERS.map(|(_, name)| name).join(", "))]
pub struct UnknownServer(String);

/// Limits above which a packed encoding gives way, applied while loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// `hash-max-listpack-entries` (`ziplist` before 7.0).
    pub hash_entries: u64,
    /// `hash-max-listpack-value`.
    pub hash_value_bytes: u64,
    /// `zset-max-listpack-entries`.
    pub zset_entries: u64,
    /// `zset-max-listpack-value`.
    pub zset_value_bytes: u64,
    /// `set-max-intset-entries`.
    pub set_intset_entries: u64,
    /// `set-max-listpack-entries` (7.2 on).
    pub set_entries: u64,
    /// `set-max-listpack-value` (7.2 on).
    pub set_value_bytes: u64,
    /// `list-max-listpack-size`: entries where positive, -1 to -5 for 4 to 64 KiB.
    pub list_size: i32,
}

impl Default for Thresholds {
    /// What all servers at hand ship with.
    fn default() -> Self {
        Self {
            hash_entries: 512,
            hash_value_bytes: 64,
            zset_entries: 128,
            zset_value_bytes: 64,
            set_intset_entries: 512,
            set_entries: 128,
            set_value_bytes: 64,
            list_size: -2,
        }
    }
}

impl Thresholds {
    /// Sets the limit that a server's configuration calls `name`; false if it has no say here.
    pub fn set(&mut self, name: &str, value: i64) -> bool {
        let natural = u64::try_from(value).unwrap_or_default();
        // The old names still work in every server.
        match name.replace("ziplist", "listpack").as_str() {
            "hash-max-listpack-entries" => self.hash_entries = natural,
            "hash-max-listpack-value" => self.hash_value_bytes = natural,
            "zset-max-listpack-entries" => self.zset_entries = natural,
            "zset-max-listpack-value" => self.zset_value_bytes = natural,
            "set-max-intset-entries" => self.set_intset_entries = natural,
            "set-max-listpack-entries" => self.set_entries = natural,
            "set-max-listpack-value" => self.set_value_bytes = natural,
            "list-max-listpack-size" => match i32::try_from(value) {
                Ok(size) => self.list_size = size,
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }

    /// Bytes and entries that one list node may hold.
    pub(super) fn list_node(&self) -> (u64, u64) {
        match self.list_size {
            // Counted nodes are also bounded in bytes (SIZE_SAFETY_LIMIT).
            size @ 0.. => (8192, u64::try_from(size).unwrap_or_default()),
            size => {
                let class = size.unsigned_abs().clamp(1, 5);
                (4096 << (class - 1), u64::MAX)
            }
        }
    }
}

/// Whom a snapshot is sized for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeFor {
    /// Release line.
    pub server: Server,
    /// What rounds requests up.
    pub allocator: Allocator,
    /// Configured limits.
    pub thresholds: Thresholds,
    /// Small integers are not shared between keys: a memory limit with an LRU or LFU policy is set.
    pub has_eviction_clock: bool,
    /// It is a node of a Cluster, which finds the keys of a slot by structures of their own.
    pub is_cluster: bool,
    /// A primary drops keys that expired before this Unix time in milliseconds while it loads; `None` keeps all.
    pub now_ms: Option<i64>,
}

impl SizeFor {
    /// A server as it is built and configured by default.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            allocator: Allocator::Jemalloc8,
            thresholds: Thresholds::default(),
            has_eviction_clock: false,
            is_cluster: false,
            now_ms: None,
        }
    }

    /// Name of the allocator, as `--allocator` takes it.
    pub fn allocator_name(&self) -> &'static str {
        let named = ALLOCATORS.iter().find(|(allocator, _)| *allocator == self.allocator);
        named.map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (server, name) in SERVERS {
            assert_eq!(name.parse(), Ok(server));
            assert_eq!(server.to_string(), name);
        }
        assert!("redis-5.0".parse::<Server>().is_err());
    }

    #[test]
    fn thresholds_take_old_and_new_names() {
        let mut thresholds = Thresholds::default();
        assert!(thresholds.set("hash-max-ziplist-entries", 7));
        assert_eq!(thresholds.hash_entries, 7);
        assert!(thresholds.set("list-max-listpack-size", -3));
        assert_eq!(thresholds.list_node(), (16384, u64::MAX));
        assert!(!thresholds.set("maxmemory", 1));
    }
}

//! INFO text to [`Info`]: an ordered bag of fields with typed, version-neutral getters.
//!
//! It keeps every field, known or not, and judges nothing: whether a figure can be believed is for the
//! rules to say. Values a server printed wrapped (`1.8e19` for -4096) are readable through
//! [`Info::signed`].

mod fields;

use crate::bytes::{PLAUSIBLE_MAX, parse_count};
use crate::paste;
use crate::version::{Engine, Flavor, Version};
use fields::Fields;
use std::collections::BTreeSet;

/// One server's INFO, whole or part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    fields: Fields,
    sections: BTreeSet<String>,
    modules: Vec<String>,
}

/// A line of the Keyspace section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Database {
    /// Database number.
    pub index: u32,
    /// Keys in it.
    pub keys: u64,
    /// Keys with a TTL.
    pub expires: u64,
    /// Mean TTL in milliseconds; 0 when none.
    pub avg_ttl_ms: u64,
}

/// A `slaveN:` line of the Replication section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaLine {
    /// `ip:port` as the primary sees it.
    pub address: String,
    /// `online`, `wait_bgsave`, `send_bulk`.
    pub state: String,
    /// Acknowledged replication offset in bytes.
    pub offset: Option<u64>,
}

/// Fields that open INFO's sections: one of them twice means that a second server begins.
const ANCHORS: [&str; 7] = [
    "redis_version",
    "run_id",
    "uptime_in_seconds",
    "connected_clients",
    "used_memory",
    "used_memory_human",
    "used_memory_rss",
];

impl Info {
    /// Reads one server's INFO. Text that holds none gives an empty `Info`.
    pub fn parse(text: &str) -> Self {
        Self::parse_all(text).into_iter().next().unwrap_or_default()
    }

    /// Reads pasted INFO text of one or several servers, in order. Servers without a single field are
    /// dropped, so the result is empty when the text is not INFO at all.
    pub fn parse_all(text: &str) -> Vec<Self> {
        let mut servers = vec![];
        let mut current = Self { fields: Fields::with_room(text.len()), ..Self::default() };
        let mut anchors = vec![];
        let mut pending_section = None;
        for line in paste::lines(text) {
            if let Some(section) = section_name(&line) {
                pending_section = Some(section);
                continue;
            }
            let Some((key, value)) = field(&line) else { continue };
            if let Some(anchor) = ANCHORS.iter().find(|anchor| **anchor == key) {
                if anchors.contains(anchor) {
                    servers.push(std::mem::take(&mut current));
                    anchors.clear();
                }
                anchors.push(*anchor);
            }
            current.sections.extend(pending_section.take());
            if key == "module" {
                current.modules.push(value.to_owned());
            } else {
                current.fields.push(key, value);
            }
        }
        current.sections.extend(pending_section);
        servers.push(current);
        servers.retain(|s| !s.is_empty());
        for server in &mut servers {
            server.fields.settle();
        }
        servers
    }

    /// Takes over the fields of an older reading that begin with `prefix` and are missing here.
    pub fn adopt(&mut self, older: &Self, prefix: &str) {
        for (key, value) in older.fields.with_prefix(prefix) {
            if self.fields.get(key).is_none() {
                self.fields.set(key, value);
            }
        }
    }

    /// Forgets all fields but those that begin with `prefix`: what a watcher of many servers keeps between readings.
    pub fn keep_only(&mut self, prefix: &str) {
        self.fields = self.fields.only(prefix);
        self.modules.clear();
        self.sections.clear();
    }

    /// Puts one field back after [`Info::keep_only`].
    pub fn remember(&mut self, key: &str, value: &str) {
        self.fields.set(key, value);
    }

    /// True when no field was read.
    pub fn is_empty(&self) -> bool {
        self.fields.len() == 0
    }

    /// Number of fields read.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True when the text had this section's heading (`memory`, `keyspace`, any case), even an empty one.
    pub fn has_section(&self, name: &str) -> bool {
        self.sections.contains(&name.to_ascii_lowercase())
    }

    /// The field as printed.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)
    }

    /// All fields, sorted by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter()
    }

    /// A count; for byte fields the exact one, or else its `_human` twin (see [`Info::is_approximate`]).
    /// A value that wrapped below zero, or is no count, is `None`.
    pub fn count(&self, key: &str) -> Option<u64> {
        let exact = self.text(key).and_then(parse_count).filter(|&v| v <= PLAUSIBLE_MAX);
        exact.or_else(|| {
            if self.text(key).is_some() {
                return None;
            }
            self.text(&format!("{key}_human")).and_then(parse_count).filter(|&v| v <= PLAUSIBLE_MAX)
        })
    }

    /// A byte difference that may be negative, printed signed or wrapped to unsigned 64 bits.
    pub fn signed(&self, key: &str) -> Option<i64> {
        let text = self.text(key)?;
        text.parse::<i64>().ok().or_else(|| text.parse::<u64>().ok().map(u64::cast_signed))
    }

    /// True when only the rounded `_human` twin of `key` was there.
    pub fn is_approximate(&self, key: &str) -> bool {
        self.text(key).is_none() && self.text(&format!("{key}_human")).is_some()
    }

    /// A ratio or percentage (a trailing `%` is ignored).
    pub fn ratio(&self, key: &str) -> Option<f64> {
        self.text(key)?.trim_end_matches('%').parse::<f64>().ok().filter(|v| v.is_finite())
    }

    /// A 0/1 field as truth.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.text(key).map(|v| v != "0")
    }

    /// Which program this is. Valkey is told by its own fields, not by `redis_version`.
    pub fn engine(&self) -> Engine {
        let version = |key: &str| self.text(key).and_then(|t| t.parse::<Version>().ok());
        let redis = version("redis_version");
        let named =
            |name: &str| self.text("server_name").is_some_and(|n| n.eq_ignore_ascii_case(name));
        let executable = self.text("executable").unwrap_or("");
        if self.text("dragonfly_version").is_some() {
            return Engine { flavor: Flavor::Dragonfly, version: version("dragonfly_version") };
        }
        if let Some(valkey) = version("valkey_version") {
            return Engine { flavor: Flavor::Valkey, version: Some(valkey) };
        }
        if named("valkey") {
            return Engine { flavor: Flavor::Valkey, version: None };
        }
        if executable.contains("keydb") || self.text("mvcc_depth").is_some() {
            return Engine { flavor: Flavor::KeyDb, version: redis };
        }
        Engine { flavor: Flavor::Redis, version: redis }
    }

    /// The databases with keys, by number.
    pub fn databases(&self) -> Vec<Database> {
        let mut all: Vec<Database> = self
            .fields
            .with_prefix("db")
            .filter_map(|(key, value)| {
                let index = key.strip_prefix("db")?.parse().ok()?;
                let get = |name: &str| pair(value, name).and_then(parse_count);
                Some(Database {
                    index,
                    keys: get("keys")?,
                    expires: get("expires").unwrap_or(0),
                    avg_ttl_ms: get("avg_ttl").unwrap_or(0),
                })
            })
            .collect();
        all.sort_by_key(|d| d.index);
        all
    }

    /// Keys in all databases; `None` when neither the Keyspace section nor any of its lines was there.
    pub fn keys(&self) -> Option<u64> {
        let databases = self.databases();
        (self.has_section("keyspace") || !databases.is_empty())
            .then(|| databases.iter().fold(0, |sum: u64, d| sum.saturating_add(d.keys)))
    }

    /// Keys with a TTL in all databases; `None` as for [`Info::keys`].
    pub fn keys_with_ttl(&self) -> Option<u64> {
        self.keys()
            .map(|_| self.databases().iter().fold(0, |sum: u64, d| sum.saturating_add(d.expires)))
    }

    /// The replicas a primary knows.
    pub fn replicas(&self) -> Vec<ReplicaLine> {
        (0..u32::MAX)
            .map_while(|n| self.text(&format!("slave{n}")))
            .filter_map(|line| {
                Some(ReplicaLine {
                    address: format!("{}:{}", pair(line, "ip")?, pair(line, "port")?),
                    state: pair(line, "state")?.to_owned(),
                    offset: pair(line, "offset").and_then(parse_count),
                })
            })
            .collect()
    }

    /// Names of the loaded modules, from the Modules section.
    pub fn modules(&self) -> Vec<String> {
        self.modules.iter().filter_map(|m| pair(m, "name")).map(str::to_owned).collect()
    }

    /// How often the error `name` (`OOM`, `MISCONF`) was replied; Redis 6.2 and later.
    pub fn error_count(&self, name: &str) -> Option<u64> {
        self.text(&format!("errorstat_{name}")).and_then(|v| pair(v, "count")).and_then(parse_count)
    }

    /// True for a replica.
    pub fn is_replica(&self) -> bool {
        self.text("role") == Some("slave")
    }

    /// The maxmemory limit in bytes; `Some(0)` means that none is set, `None` that it was not printed.
    pub fn maxmemory(&self) -> Option<u64> {
        self.count("maxmemory")
    }
}

/// `name=value` inside a comma-separated list.
fn pair<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.split(',').find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='))
}

fn section_name(line: &str) -> Option<String> {
    let name = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let plain = !name.is_empty() && name.len() <= 32 && !name.contains(':');
    plain.then(|| name.to_ascii_lowercase())
}

/// `key:value` where the key could be an INFO field: letters, digits, `_`, `-`, `.`, starting with a
/// letter. Prompts (`127.0.0.1:6379> info`) and prose do not match.
fn field(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let key = key.trim();
    let known_shape = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.len() <= 64
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'|'));
    known_shape.then(|| (key, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_one_after_another() {
        let text = "# Server\nredis_version:7.0.1\n# Memory\nused_memory:1\n# Server\nredis_version:7.0.1\nused_memory:2\n";
        let all = Info::parse_all(text);
        let used: Vec<_> = all.iter().map(|i| i.count("used_memory")).collect();
        assert_eq!(used, [Some(1), Some(2)]);
        assert!(all[0].has_section("Memory"));
    }

    #[test]
    fn human_only_values_are_approximate() {
        let info = Info::parse("used_memory_human:24.69M\nused_memory_rss:5");
        assert_eq!(info.count("used_memory"), Some(25_889_341));
        assert!(info.is_approximate("used_memory"));
        assert!(!info.is_approximate("used_memory_rss"));
    }

    #[test]
    fn wrapped_counters_read_as_negative() {
        let info = Info::parse("allocator_frag_bytes:18446744073709547520");
        assert_eq!(info.count("allocator_frag_bytes"), None);
        assert_eq!(info.signed("allocator_frag_bytes"), Some(-4096));
    }

    #[test]
    fn an_empty_keyspace_is_zero_keys_and_a_missing_one_is_unknown() {
        assert_eq!(Info::parse("used_memory:1\n# Keyspace\n").keys(), Some(0));
        assert_eq!(Info::parse("used_memory:1\n").keys(), None);
        assert_eq!(
            Info::parse("db0:keys=3,expires=1,avg_ttl=9\ndb1:keys=2,expires=0").keys(),
            Some(5)
        );
    }

    #[test]
    fn valkey_is_not_redis_7_2_4() {
        let info = Info::parse("redis_version:7.2.4\nserver_name:valkey\nvalkey_version:8.1.3");
        assert_eq!(info.engine().to_string(), "Valkey 8.1.3");
    }

    #[test]
    fn a_prompt_and_prose_are_no_fields() {
        let info = Info::parse("127.0.0.1:6379> info memory\nHello: world is fine\nused_memory:7");
        assert_eq!(info.count("used_memory"), Some(7));
    }
}

//! CONFIG GET, and only what the rules use: no directive that can hold a secret is asked for where the server lets us
//! choose.

use super::Reader;
use crate::resp;
use redis::Value;
use unfrag_model::Config;
use unfrag_model::version::Version;

const WHAT: &str = "CONFIG GET";

/// Directives the rules use; a trailing `*` stands for any end. Unknown ones are left out by the server.
const NAMES: &[&str] = &[
    "maxmemory",
    "maxmemory-policy",
    "maxmemory-samples",
    "maxmemory-eviction-tenacity",
    "maxmemory-clients",
    "activedefrag",
    "active-defrag-*",
    "save",
    "appendonly",
    "dir",
    "dbfilename",
    "appenddirname",
    "rdbcompression",
    "stop-writes-on-bgsave-error",
    "repl-backlog-size",
    "client-output-buffer-limit",
    "client-query-buffer-limit",
    "replica-ignore-maxmemory",
    "slave-ignore-maxmemory",
    "lazyfree-*",
    "hash-max-*",
    "list-max-*",
    "set-max-*",
    "zset-max-*",
    "disable-thp",
    "jemalloc-bg-thread",
    "hz",
    "dynamic-hz",
    "oom-score-adj",
    "min-replicas-to-write",
    "notify-keyspace-events",
    "cluster-enabled",
    "shutdown-timeout",
    "shutdown-on-sigterm",
    "supervised",
    "latency-monitor-threshold",
    "databases",
    "proto-max-bulk-len",
    "maxclients",
];

pub(super) async fn read(reader: &mut Reader<'_>) {
    // CONFIG GET takes several names since Redis 7.0; Valkey began as 7.2.
    let several = Version::new(7, 0, 0);
    let value = if reader.sample.info.engine().at_least(several, several) {
        let words: Vec<&str> = ["CONFIG", "GET"].iter().chain(NAMES).copied().collect();
        reader.ask(WHAT, &words).await
    } else {
        reader.ask(WHAT, &["CONFIG", "GET", "*"]).await
    };
    let Some(value) = value else { return };
    let config = keep(&value);
    if config.is_empty() {
        reader.unread(WHAT, "the server names none of its settings");
    }
    reader.sample.config = config;
}

/// The directives we use. Older servers sent all of them, secrets too; those end here.
fn keep(value: &Value) -> Config {
    let pairs = resp::pairs(value).into_iter();
    Config::from_pairs(pairs.filter(|(name, _)| is_used(name)).filter_map(|(name, value)| {
        let text = resp::text(value)?;
        Some((name, text))
    }))
}

fn is_used(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|used| match used.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == *used,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_used_is_kept() {
        let pair = |name: &str, value: &str| {
            [name, value].map(|t| Value::BulkString(t.as_bytes().to_vec()))
        };
        let reply = [
            pair("requirepass", "canary"),
            pair("maxmemory", "10"),
            pair("tls-key-file-pass", "canary"),
            pair("hash-max-listpack-entries", "128"),
        ];
        let config = keep(&Value::Array(reply.concat()));
        let names: Vec<&str> = config.pairs().map(|(name, _)| name).collect();
        assert_eq!(names, ["hash-max-listpack-entries", "maxmemory"]);
    }

    #[test]
    fn no_name_we_ask_for_can_hold_a_secret() {
        for name in ["requirepass", "masterauth", "primaryauth", "tls-key-file-pass", "aclfile"] {
            assert!(!is_used(name), "{name}");
        }
    }
}

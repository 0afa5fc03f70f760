//! Sizing for a server that was read: its release line, its allocator, its conversion thresholds.

use super::server::{Server, SizeFor};
use unfrag_model::size_class::Allocator;
use unfrag_model::{Engine, Flavor, Sample, Version};

impl Server {
    /// The release line of a server that says this of itself; `None` where its structures are not known.
    pub fn of(engine: Engine) -> Option<Self> {
        release_line(engine)
    }
}

impl SizeFor {
    /// What a fresh process of this server, with its configuration, would need. `None` for a server whose
    /// structures are not known (a fork, or older than Redis 6.2).
    pub fn like(sample: &Sample) -> Option<Self> {
        let mut size_for = Self::new(release_line(sample.info.engine())?);
        size_for.allocator = allocator(sample);
        for (name, value) in sample.config.pairs() {
            if let Ok(value) = value.parse() {
                size_for.thresholds.set(name, value);
            }
        }
        let policy =
            sample.info.text("maxmemory_policy").or_else(|| sample.config.text("maxmemory-policy"));
        let limited = sample.info.maxmemory().is_some_and(|m| m > 0);
        size_for.has_eviction_clock =
            limited && policy.is_some_and(|p| p.contains("lru") || p.contains("lfu"));
        size_for.is_cluster = sample.info.flag("cluster_enabled") == Some(true);
        Some(size_for)
    }
}

/// The newest known line that is not newer than this version.
fn release_line(engine: Engine) -> Option<Server> {
    let version = engine.version?;
    let lines: &[(u32, u32, Server)] = match engine.flavor {
        Flavor::Redis => &[
            (8, 6, Server::Redis86),
            (8, 4, Server::Redis84),
            (8, 2, Server::Redis82),
            (8, 0, Server::Redis80),
            (7, 4, Server::Redis74),
            (7, 2, Server::Redis72),
            (7, 0, Server::Redis70),
            (6, 2, Server::Redis62),
        ],
        Flavor::Valkey => &[
            (9, 1, Server::Valkey91),
            (9, 0, Server::Valkey90),
            (8, 1, Server::Valkey81),
            (8, 0, Server::Valkey80),
            (7, 2, Server::Valkey72),
        ],
        Flavor::KeyDb | Flavor::Dragonfly => &[],
    };
    let at_least = |major, minor| version >= Version::new(major, minor, 0);
    lines.iter().find(|(major, minor, _)| at_least(*major, *minor)).map(|(.., server)| *server)
}

fn allocator(sample: &Sample) -> Allocator {
    let name = sample.info.text("mem_allocator").unwrap_or("jemalloc");
    let bundled = sample.malloc_stats.as_ref().and_then(unfrag_model::MallocStats::is_bundled);
    match (name.starts_with("jemalloc"), bundled) {
        (false, _) => Allocator::Libc,
        (true, Some(false)) => Allocator::Jemalloc16,
        (true, _) => Allocator::Jemalloc8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_model::{Config, Info};

    #[test]
    fn a_server_is_matched_to_its_line_and_its_limits() {
        let sample = Sample {
            info: Info::parse(
                "server_name:valkey\nvalkey_version:8.1.8\nmem_allocator:libc\nmaxmemory:5\nmaxmemory_policy:allkeys-lru\ncluster_enabled:1",
            ),
            config: Config::parse("hash-max-listpack-entries 7\nmaxmemory 5"),
            ..Sample::default()
        };
        let size_for = SizeFor::like(&sample).unwrap();
        assert_eq!((size_for.server, size_for.allocator), (Server::Valkey81, Allocator::Libc));
        assert_eq!(size_for.thresholds.hash_entries, 7);
        assert!(size_for.has_eviction_clock && size_for.is_cluster);
        let old = Sample { info: Info::parse("redis_version:5.0.7"), ..Sample::default() };
        assert_eq!(SizeFor::like(&old), None);
    }
}

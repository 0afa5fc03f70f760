//! [`Report`]: what follows from a sample. Its JSON form is the interface `unfrag.check/1`.

use crate::{Cause, Finding, Flavor, Severity, Version};
use serde::Serialize;

/// One server diagnosed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The server as people would name it.
    pub target: String,
    /// Who answered.
    pub server: Server,
    /// The walk down from data to limit.
    pub layers: Layers,
    /// How bad it is.
    pub verdict: Verdict,
    /// Why.
    pub primary_cause: Cause,
    /// The verdict in one sentence.
    pub summary: String,
    /// What the rules found, most important first.
    pub findings: Vec<Finding>,
    /// What each remedy is expected to give back.
    pub reclaim: Reclaim,
    /// A `maxmemory` and a container limit that are safe here; `None` without a figure to start from.
    pub safe_limits: Option<SafeLimits>,
    /// What could not be read, and why.
    pub unread: Vec<crate::sample::Unread>,
}

/// Identity of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Code base.
    pub flavor: Flavor,
    /// Its version.
    pub version: Option<Version>,
    /// `jemalloc-5.3.0`, `libc`.
    pub allocator: Option<String>,
    /// `primary` or `replica`.
    pub role: Option<&'static str>,
    /// `standalone`, `cluster`, `sentinel`.
    pub mode: Option<String>,
    /// Seconds since it started.
    pub uptime_s: Option<u64>,
    /// Keys in all databases.
    pub keys: Option<u64>,
}

/// The ladder: cumulative bytes at each level, `None` where unknown or where the server only fakes it.
/// The gaps between neighbours, plus [`Layers::remainder`], add up to `rss` exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Layers {
    /// What the server handed out: the figure compared with maxmemory.
    pub used: Option<u64>,
    /// Every live allocation of the process.
    pub allocated: Option<u64>,
    /// Pages holding at least one of them.
    pub active: Option<u64>,
    /// Pages the allocator keeps in RAM.
    pub resident: Option<u64>,
    /// Pages the process keeps in RAM.
    pub rss: Option<u64>,
    /// The tightest known limit on those pages: cgroup or host.
    pub limit: Option<u64>,
    /// `maxmemory`; `Some(0)` when none is set.
    pub maxmemory: Option<u64>,
    /// Highest `used` seen by the server.
    pub peak: Option<u64>,
    /// Bytes by which levels contradict their order (a lower level above a higher one, by sampling at
    /// different moments or by pages never touched): `rss - used - sum of the gaps drawn`.
    pub remainder: i64,
}

impl Layers {
    /// The known levels, in order from `used` to `rss`, with the names of the gaps that lead to them.
    pub fn levels(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("used", self.used),
            ("allocated", self.allocated),
            ("active", self.active),
            ("resident", self.resident),
            ("rss", self.rss),
        ];
        all.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))).collect()
    }
}

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Healthy,
    /// No harm yet; look again.
    Watch,
    /// Something to do in working hours.
    Act,
    /// Something to do now.
    Urgent,
}

impl From<Severity> for Verdict {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Healthy,
            Severity::Watch => Self::Watch,
            Severity::Act => Self::Act,
            Severity::Urgent => Self::Urgent,
        }
    }
}

/// What each remedy is expected to give back to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reclaim {
    /// `MEMORY PURGE`.
    pub purge: Estimate,
    /// Active defrag, then purge.
    pub defrag: Estimate,
    /// Client-driven compaction, then purge.
    pub repack: Estimate,
    /// A fresh process.
    pub restart: Estimate,
}

/// Bytes of RSS given back, with an interval; all `None` when it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Estimate {
    /// Most likely.
    pub bytes: Option<u64>,
    /// Likely at least.
    pub low: Option<u64>,
    /// Likely at most.
    pub high: Option<u64>,
    /// RSS that would remain.
    pub floor_rss_bytes: Option<u64>,
    /// Why the remedy is impossible or pointless here; `None` when it can be used.
    pub unavailable: Option<String>,
    /// What the figures come from.
    pub basis: String,
}

/// Limits that leave room for what really happens, with the arithmetic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SafeLimits {
    /// A `maxmemory` for the memory there is.
    pub maxmemory_bytes: Option<u64>,
    /// A container limit for the data there is.
    pub container_limit_bytes: Option<u64>,
    /// The sums, a step a line.
    pub arithmetic: Vec<String>,
}

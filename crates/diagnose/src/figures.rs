//! [`Figures`]: a sample's numbers made comparable across versions and allocators.
//!
//! Here, and only here, is decided which printed figure can be believed: what a libc build fakes, what
//! wrapped, what an old version did not print and another source did. Rules read Figures, never raw INFO
//! for these quantities.

mod rebuilt;

use unfrag_model::sample::Source;
use unfrag_model::{Engine, Evidence, Sample, Version, human};

/// What a server's memory comes from, as far as it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocatorKind {
    /// jemalloc with the servers' own patches: defrag works.
    BundledJemalloc,
    /// A distribution's or vendor's jemalloc: figures are real, defrag refuses.
    ForeignJemalloc,
    /// jemalloc, and nothing tells which build.
    Jemalloc,
    /// libc, tcmalloc, mimalloc, dlmalloc: no figures, no defrag, no purge.
    Other,
    /// Not printed.
    Unknown,
}

/// The quantities rules reason with. Bytes; `None` where unknown or faked by the server.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields carry the names of the INFO fields they come from")]
pub struct Figures<'a> {
    pub sample: &'a Sample,
    pub engine: Engine,
    pub allocator: AllocatorKind,
    pub used: Option<u64>,
    pub rss: Option<u64>,
    pub peak: Option<u64>,
    pub allocated: Option<u64>,
    pub active: Option<u64>,
    pub resident: Option<u64>,
    pub overhead: Option<u64>,
    pub startup: Option<u64>,
    /// Highest limit-like figure that binds: cgroup, or else the host's memory.
    pub limit: Option<Limit>,
    /// `Some(0)` when none is set.
    pub maxmemory: Option<u64>,
    pub policy: Option<&'a str>,
    /// Script engines' heap.
    pub lua: u64,
    /// True where that heap is part of `used` (Redis 7.4 on).
    pub lua_in_used: bool,
    pub keys: Option<u64>,
    pub keys_with_ttl: Option<u64>,
    /// Not compared with maxmemory: replication and AOF buffers in excess.
    pub not_counted: u64,
}

/// A limit on resident memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes.
    pub bytes: u64,
    /// True for a control group's, false for the host's memory.
    pub is_cgroup: bool,
    /// Bytes that count against it now, when known: the cgroup's charge.
    pub charged: Option<u64>,
}

/// The share of `part` in `whole`, 0 when `whole` is 0.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl<'a> Figures<'a> {
    /// Reads a sample.
    pub fn new(sample: &'a Sample) -> Self {
        let info = &sample.info;
        let engine = info.engine();
        let overhead = info.count("used_memory_overhead");
        let dataset = info.count("used_memory_dataset");
        // dataset is defined as used - overhead (object.c:getMemoryOverheadData), so a cut paste that
        // holds both still holds `used`.
        let used = info
            .count("used_memory")
            .or_else(|| Some(overhead?.saturating_add(dataset?)))
            .or_else(|| sample.memory_stats.as_ref()?.count("total.allocated"))
            .or_else(|| rebuilt::used(info));
        // 0 before the first sample is taken, a tenth of a second after the start.
        let rss = info
            .count("used_memory_rss")
            .filter(|&rss| rss > 0)
            .or_else(|| sample.host.as_ref()?.rss)
            .or_else(|| rebuilt::rss(sample, used?));
        let allocator = allocator_kind(sample);
        let [allocated, active, resident] = allocator_figures(sample, allocator, used, rss);
        let stats = sample.memory_stats.as_ref();
        let lua_in_used = engine.at_least(Version::new(7, 4, 0), Version::new(u32::MAX, 0, 0));
        let lua = info
            .count("used_memory_vm_total")
            .into_iter()
            .chain(info.count("used_memory_lua"))
            .max()
            .unwrap_or(0);
        Self {
            sample,
            engine,
            allocator,
            used,
            rss,
            peak: info
                .count("used_memory_peak")
                .or_else(|| stats?.count("peak.allocated"))
                .or_else(|| peak_of_percentage(used, info.ratio("used_memory_peak_perc"))),
            allocated,
            active,
            resident,
            overhead: overhead.or_else(|| stats?.count("overhead.total")),
            startup: info
                .count("used_memory_startup")
                .or_else(|| stats?.count("startup.allocated")),
            limit: limit(sample),
            maxmemory: info.maxmemory().or_else(|| sample.config.bytes("maxmemory")),
            policy: info
                .text("maxmemory_policy")
                .or_else(|| sample.config.text("maxmemory-policy")),
            lua,
            lua_in_used,
            keys: info.keys().or_else(|| stats?.count("keys.count")),
            keys_with_ttl: info.keys_with_ttl(),
            not_counted: info.count("mem_not_counted_for_evict").unwrap_or(0),
        }
    }

    /// A count of INFO, 0 when absent.
    pub fn count(&self, key: &str) -> u64 {
        self.sample.info.count(key).unwrap_or(0)
    }

    /// `rss - used`, when both are known and it is positive.
    pub fn gap(&self) -> Option<u64> {
        self.rss?.checked_sub(self.used?)
    }

    /// `rss / used`.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.rss? as f64 / self.used.filter(|&u| u > 0)? as f64)
    }

    /// True when the three allocator levels are known and mean something.
    pub fn sees_allocator(&self) -> bool {
        self.allocated.is_some() && self.active.is_some()
    }

    /// `active - allocated`: pages' bytes that hold no live allocation.
    pub fn fragmentation(&self) -> Option<u64> {
        Some(self.active?.saturating_sub(self.allocated?))
    }

    /// MALLOC-STATS, where its tables are whole.
    pub fn bins(&self) -> Option<&unfrag_model::MallocStats> {
        self.sample.malloc_stats.as_ref().filter(|m| m.is_complete())
    }

    /// Free regions in small slabs: what moving data can give back. From MALLOC-STATS, or else from
    /// `allocator_frag_bytes`, or (before 7.4 / Valkey 8.0) from `active - allocated`.
    pub fn defragmentable(&self) -> Option<u64> {
        if let Some(stats) = self.bins() {
            return Some(stats.small_waste_bytes());
        }
        let small_bins_metric = self.engine.at_least(Version::new(7, 4, 0), Version::new(8, 0, 0));
        if small_bins_metric
            && self.sees_allocator()
            && let Some(bytes) = self.sample.info.signed("allocator_frag_bytes")
        {
            return Some(u64::try_from(bytes).unwrap_or(0));
        }
        self.fragmentation()
    }

    /// `resident - active`: dirty and muzzy pages and jemalloc's own bookkeeping. jemalloc counts a freed
    /// page as resident although it was never touched, so what exceeds RSS is not in RAM.
    pub fn retained(&self) -> Option<u64> {
        let resident = self.resident?.min(self.rss.unwrap_or(u64::MAX));
        Some(resident.saturating_sub(self.active?))
    }

    /// `rss - resident`: pages of the process that the allocator does not hold.
    pub fn outside_allocator(&self) -> Option<u64> {
        Some(self.rss?.saturating_sub(self.resident?))
    }

    /// `rss - active` (less Lua, less a process without data), where a cut paste has lost `resident` between the two.
    pub fn beyond_active(&self) -> Option<u64> {
        let lua = if self.lua_in_used { 0 } else { self.lua };
        let beyond = self.rss?.checked_sub(self.active?).filter(|_| self.resident.is_none())?;
        Some(beyond.saturating_sub(lua).saturating_sub(crate::floors::BASELINE_BYTES))
    }

    /// The most of [`Figures::beyond_active`] that can be freed pages: what the heap needed at its peak and no more.
    pub fn freed_since_peak(&self) -> Option<u64> {
        let (active, allocated) = (self.active?, self.allocated.filter(|&a| a > 0)?);
        let peak_pages = self.peak? as f64 * (active as f64 / allocated as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        Some((peak_pages as u64).saturating_sub(active))
    }

    /// `used - not_counted`: what the server compares with maxmemory.
    pub fn counted(&self) -> Option<u64> {
        Some(self.used?.saturating_sub(self.not_counted))
    }

    /// `counted / maxmemory`, when a limit is set.
    pub fn fullness(&self) -> Option<f64> {
        Some(share(self.counted()?, self.maxmemory.filter(|&m| m > 0)?))
    }

    /// True when the policy never evicts, or (as far as is known) has nothing it may evict.
    pub fn cannot_evict(&self) -> bool {
        match self.policy {
            Some("noeviction") => true,
            Some(policy) if policy.starts_with("volatile") => {
                self.keys.is_some_and(|k| k > 0) && self.keys_with_ttl == Some(0)
            }
            _ => false,
        }
    }

    /// Client and replica buffers that INFO names (5.0 on), or CLIENT LIST where it was read.
    pub fn client_buffers(&self) -> Option<u64> {
        let named = self.sample.info.count("mem_clients_normal").map(|normal| {
            let replicas = self.count("mem_clients_slaves").max(
                self.count("mem_total_replication_buffers")
                    .saturating_sub(self.count("mem_replication_backlog")),
            );
            normal.saturating_add(replicas)
        });
        let stats = || {
            let stats = self.sample.memory_stats.as_ref()?;
            Some(stats.count("clients.normal")?.saturating_add(stats.count("clients.slaves")?))
        };
        let listed = self.sample.clients.as_ref().and_then(|c| c.total);
        named.or_else(stats).into_iter().chain(listed).max()
    }

    /// Bytes by which RSS may exceed what it is compared with before anyone should care: process text,
    /// libraries, jemalloc's bookkeeping, timing of the samples.
    pub fn noise_floor(&self) -> u64 {
        let tenth = self.used.unwrap_or(0) / 10;
        tenth.max(crate::floors::GAP_BYTES)
    }

    /// An evidence line for an INFO field, from wherever it was read. `None` when absent.
    pub fn cite(&self, key: &str) -> Option<Evidence> {
        let info = &self.sample.info;
        let bytes = info.count(key).filter(|_| is_byte_field(key));
        let value = bytes.map(human).or_else(|| info.text(key).map(str::to_owned))?;
        Some(Evidence::new(key, value, "INFO"))
    }

    /// An evidence line for a configuration value.
    pub fn cite_config(&self, name: &str) -> Option<Evidence> {
        let value = self.sample.config.text(name)?;
        Some(Evidence::new(name, if value.is_empty() { "\"\"" } else { value }, "CONFIG"))
    }

    /// An evidence line for a computed quantity.
    pub fn computed(&self, what: &str, bytes: Option<u64>) -> Option<Evidence> {
        Some(Evidence::new(what, human(bytes?), "arithmetic"))
    }

    /// How to reach this server with redis-cli, for commands that are printed.
    pub fn cli(&self) -> String {
        match (self.sample.source, self.sample.target.rsplit_once(':')) {
            (Source::Live, Some((host, port))) if port.bytes().all(|b| b.is_ascii_digit()) => {
                format!("redis-cli -h {host} -p {port}")
            }
            (Source::Live, None) => format!("redis-cli -s {}", self.sample.target),
            _ => "redis-cli".to_owned(),
        }
    }
}

fn is_byte_field(key: &str) -> bool {
    key.starts_with("used_memory") && !key.ends_with("_perc")
        || key.starts_with("mem_") && !key.ends_with("ratio") && key != "mem_allocator"
        || key.starts_with("allocator_") && !key.ends_with("ratio")
        || matches!(
            key,
            "maxmemory"
                | "total_system_memory"
                | "rss_overhead_bytes"
                | "rdb_last_cow_size"
                | "aof_last_cow_size"
                | "current_cow_size"
                | "current_cow_peak"
                | "client_recent_max_output_buffer"
                | "client_recent_max_input_buffer"
                | "client_biggest_input_buf"
        )
}

fn peak_of_percentage(used: Option<u64>, percentage: Option<f64>) -> Option<u64> {
    let percentage = percentage.filter(|p| *p > 0.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, below 2^63"
    )]
    Some((used? as f64 / percentage * 100.0) as u64)
}

fn allocator_kind(sample: &Sample) -> AllocatorKind {
    let info = &sample.info;
    let bundled = sample.malloc_stats.as_ref().and_then(unfrag_model::MallocStats::is_bundled);
    // Before 2.4 there was no jemalloc, and INFO said only whether it was tcmalloc.
    if info.text("mem_allocator").is_none() && info.text("use_tcmalloc").is_some() {
        return AllocatorKind::Other;
    }
    match (info.text("mem_allocator"), bundled) {
        (Some(name), _) if !name.starts_with("jemalloc") => AllocatorKind::Other,
        (_, Some(true)) => AllocatorKind::BundledJemalloc,
        (_, Some(false)) => AllocatorKind::ForeignJemalloc,
        (Some(name), None) if is_foreign_release(name, info.engine()) => {
            AllocatorKind::ForeignJemalloc
        }
        (Some(_), None) => AllocatorKind::Jemalloc,
        (None, None) if info.flag("active_defrag_running") == Some(true) => {
            AllocatorKind::BundledJemalloc
        }
        (None, None) if mirrors_rss(sample) => AllocatorKind::Other,
        (None, None) if info.count("allocator_active").is_some() => AllocatorKind::Jemalloc,
        (None, None) => AllocatorKind::Unknown,
    }
}

/// True when the server reports a jemalloc release that its own source never bundled: Redis 4 shipped
/// 4.0.3, 5.0 to 6.2 5.1.0, 7.0 5.2.1, 7.2 on (and every Valkey) 5.3.0.
fn is_foreign_release(name: &str, engine: Engine) -> bool {
    let Some(version) = engine.version else { return false };
    let Some(release) = name.strip_prefix("jemalloc-").and_then(|v| v.parse::<Version>().ok())
    else {
        return false;
    };
    let bundled = match (engine.flavor, version.major, version.minor) {
        (unfrag_model::Flavor::Redis, 4, _) => Version::new(4, 0, 3),
        (unfrag_model::Flavor::Redis, 5 | 6, _) => Version::new(5, 1, 0),
        (unfrag_model::Flavor::Redis, 7, 0) => Version::new(5, 2, 1),
        (unfrag_model::Flavor::Redis, 7.., _) | (unfrag_model::Flavor::Valkey, _, _) => {
            Version::new(5, 3, 0)
        }
        _ => return false,
    };
    release != bundled
}

/// libc builds print `active` = `resident` = RSS (less Lua). jemalloc's resident pages hold its own bookkeeping besides
/// the active ones, so that the two are never equal; `allocated` is an older sample of used, and may differ.
fn mirrors_rss(sample: &Sample) -> bool {
    let count = |key| sample.info.count(key).filter(|&bytes| bytes > 0);
    count("allocator_active").is_some_and(|active| count("allocator_resident") == Some(active))
}

/// Allocated, active, resident: from INFO, or else from MEMORY STATS, MALLOC-STATS' totals, or the server's
/// own defrag log line. All `None` where the build only mirrors RSS.
fn allocator_figures(
    sample: &Sample,
    kind: AllocatorKind,
    used: Option<u64>,
    rss: Option<u64>,
) -> [Option<u64>; 3] {
    if kind == AllocatorKind::Other {
        return [None; 3];
    }
    let info = |key| sample.info.count(key).filter(|&v| v > 0);
    let from_info =
        [info("allocator_allocated"), info("allocator_active"), info("allocator_resident")];
    if from_info[1].is_some() {
        return from_info;
    }
    if let Some(levels) = rebuilt::levels(sample, used, rss) {
        return levels;
    }
    let totals = sample.malloc_stats.as_ref().map(|m| m.totals).unwrap_or_default();
    let from_stats = [totals.allocated, totals.active, totals.resident];
    let from_log = sample
        .log
        .allocator
        .map_or([None; 3], |l| [Some(l.allocated), Some(l.active), Some(l.resident)]);
    // A line from another moment must not be mixed in: it has to agree with this used and RSS.
    let agrees = |levels: &[Option<u64>; 3]| {
        let near = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => a.abs_diff(b) <= b / 5,
            _ => true,
        };
        levels[1].is_some() && near(levels[0], used) && (near(levels[2], rss) || levels[2] < rss)
    };
    let from_memory_stats = sample.memory_stats.as_ref().map_or([None; 3], |stats| {
        ["allocator.allocated", "allocator.active", "allocator.resident"]
            .map(|name| stats.count(name).filter(|&bytes| bytes > 0))
    });
    [from_memory_stats, from_stats, from_log].into_iter().find(agrees).unwrap_or([None; 3])
}

fn limit(sample: &Sample) -> Option<Limit> {
    let host = sample.host.as_ref();
    let cgroup = host.and_then(|h| h.cgroup.as_ref()).map(|c| Limit {
        bytes: c.high.map_or(c.limit, |high| high.min(c.limit)),
        is_cgroup: true,
        charged: c.current,
    });
    let memory = host
        .and_then(|h| h.memory_total)
        .or_else(|| sample.info.count("total_system_memory"))
        .filter(|&total| total > 0)
        .map(|bytes| Limit { bytes, is_cgroup: false, charged: None });
    [cgroup, memory].into_iter().flatten().min_by_key(|l| l.bytes)
}

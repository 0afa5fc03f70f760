//! [`Point`]: what is kept of one reading, as a row of whole numbers.
//!
//! A column is added at the end of the list and never changes its place: stored history is read by position. Unknown is
//! `None`, never 0. Bytes are bytes; flags are 0 and 1.

use unfrag_diagnose::figures::Figures;
use unfrag_model::{Estimate, Report, Sample};

macro_rules! columns {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)+) => {
        /// What a point holds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Column { $($(#[doc = $doc])+ $variant,)+ }

        impl Column {
            /// All, in the order in which they are stored.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in the page's and the database's language.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

columns! {
    /// 1 when the server answered.
    Up "up",
    /// 0 healthy, 1 watch, 2 act, 3 urgent.
    Verdict "verdict",
    /// Bytes handed out.
    Used "used",
    /// Bytes of every live allocation.
    Allocated "allocated",
    /// Bytes of pages with a live allocation.
    Active "active",
    /// Bytes the allocator keeps in RAM.
    Resident "resident",
    /// Bytes the process keeps in RAM.
    Rss "rss",
    /// Bytes it may keep there.
    Limit "limit",
    /// `maxmemory`, 0 when none is set.
    Maxmemory "maxmemory",
    /// `active - allocated`.
    Fragmentation "fragmentation",
    /// `resident - active`.
    Retained "retained",
    /// `rss - resident`.
    Outside "outside",
    /// Most bytes that a remedy which can be used here would give back.
    Waste "waste",
    /// Bytes by a purge.
    ReclaimPurge "reclaim_purge",
    /// Bytes by defrag.
    ReclaimDefrag "reclaim_defrag",
    /// Bytes by repack.
    ReclaimRepack "reclaim_repack",
    /// Bytes by a restart.
    ReclaimRestart "reclaim_restart",
    /// `limit - rss`.
    Headroom "headroom",
    /// Bytes copied by the last fork, or by the one at work.
    Cow "cow",
    /// Bytes of client and replica buffers.
    Buffers "buffers",
    /// Keys in all databases.
    Keys "keys",
    /// Commands a second.
    Ops "ops",
    /// Keys evicted since the server started.
    Evicted "evicted",
    /// 1 while active defrag runs.
    Defragging "defragging",
    /// 1 while a fork child is at work.
    Forking "forking",
    /// Bytes of the process in swap.
    Swapped "swapped",
    /// Microseconds until INFO was here.
    RoundTrip "round_trip_us",
    /// Connected clients.
    Clients "clients",
    /// Highest bytes handed out since the server started.
    Peak "peak",
    /// 1 on a replica.
    IsReplica "is_replica",
}

/// Number of columns.
pub const COLUMNS: usize = 30;
const _: () = assert!(COLUMNS == Column::ALL.len());
/// A value that is not known. No byte count is that small.
pub(crate) const UNKNOWN: i64 = i64::MIN;

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Seconds since 1970.
    pub at_s: i64,
    pub(crate) values: [i64; COLUMNS],
}

impl Point {
    /// A row of unknowns.
    pub const fn unknown(at_s: i64) -> Self {
        Self { at_s, values: [UNKNOWN; COLUMNS] }
    }

    /// A server that did not answer.
    pub fn down(at_s: i64) -> Self {
        let mut point = Self::unknown(at_s);
        point.set(Column::Up, Some(0));
        point
    }

    /// What a reading says.
    pub fn new(at_s: i64, sample: &Sample, report: &Report) -> Self {
        let f = Figures::new(sample);
        let layers = &report.layers;
        let count = |key| sample.info.count(key);
        let flag = |key| sample.info.flag(key).map(u64::from);
        let mut p = Self::unknown(at_s);
        p.put(Column::Up, Some(1));
        p.put(Column::Verdict, Some(report.verdict as u64));
        p.put(Column::Used, layers.used);
        p.put(Column::Allocated, layers.allocated);
        p.put(Column::Active, layers.active);
        p.put(Column::Resident, layers.resident);
        p.put(Column::Rss, layers.rss);
        p.put(Column::Limit, layers.limit);
        p.put(Column::Maxmemory, layers.maxmemory);
        p.put(Column::Fragmentation, f.fragmentation());
        p.put(Column::Retained, f.retained());
        p.put(Column::Outside, f.outside_allocator());
        let reclaim = &report.reclaim;
        p.put(Column::Waste, waste(report));
        p.put(Column::ReclaimPurge, usable(&reclaim.purge));
        p.put(Column::ReclaimDefrag, usable(&reclaim.defrag));
        p.put(Column::ReclaimRepack, usable(&reclaim.repack));
        p.put(Column::ReclaimRestart, usable(&reclaim.restart));
        p.set(Column::Headroom, headroom(report));
        p.put(Column::Cow, cow(sample));
        p.put(Column::Buffers, f.client_buffers());
        p.put(Column::Keys, f.keys);
        p.put(Column::Ops, count("instantaneous_ops_per_sec"));
        p.put(Column::Evicted, count("evicted_keys"));
        p.put(Column::Defragging, count("active_defrag_running").map(|n| n.min(1)));
        p.put(Column::Forking, Some(u64::from(is_forking(sample))));
        p.put(Column::Swapped, sample.host.as_ref().and_then(|h| h.swapped));
        p.put(Column::RoundTrip, sample.commands.last().map(|c| c.round_trip_us));
        p.put(Column::Clients, count("connected_clients"));
        p.put(Column::Peak, layers.peak);
        p.put(Column::IsReplica, Some(u64::from(sample.info.is_replica())));
        if flag("loading") == Some(1) {
            p.put(Column::Verdict, None);
        }
        p
    }

    /// A value; `None` when it is not known.
    pub fn get(&self, column: Column) -> Option<i64> {
        self.values.get(column as usize).copied().filter(|v| *v != UNKNOWN)
    }

    /// Sets a value.
    pub fn set(&mut self, column: Column, value: Option<i64>) {
        if let Some(slot) = self.values.get_mut(column as usize) {
            *slot = value.unwrap_or(UNKNOWN);
        }
    }

    fn put(&mut self, column: Column, value: Option<u64>) {
        self.set(column, value.and_then(|v| i64::try_from(v).ok()));
    }
}

/// Bytes a remedy would give back, where it can be used at all.
pub fn usable(estimate: &Estimate) -> Option<u64> {
    estimate.bytes.filter(|_| estimate.unavailable.is_none())
}

/// Most bytes that a remedy which can be used would give back.
pub fn waste(report: &Report) -> Option<u64> {
    let r = &report.reclaim;
    [&r.purge, &r.defrag, &r.repack, &r.restart].into_iter().filter_map(usable).max()
}

/// Bytes until the limit; negative over it.
pub fn headroom(report: &Report) -> Option<i64> {
    let (limit, rss) = (report.layers.limit?, report.layers.rss?);
    i64::try_from(limit).ok()?.checked_sub(i64::try_from(rss).ok()?)
}

/// True while a child saves or rewrites.
pub fn is_forking(sample: &Sample) -> bool {
    ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "module_fork_in_progress"]
        .iter()
        .any(|key| sample.info.flag(key) == Some(true))
}

fn cow(sample: &Sample) -> Option<u64> {
    let count = |key| sample.info.count(key);
    if is_forking(sample) {
        return count("current_cow_size").into_iter().chain(count("current_cow_peak")).max();
    }
    let last = ["rdb_last_cow_size", "aof_last_cow_size", "module_fork_last_cow_size"];
    last.into_iter().filter_map(count).max()
}

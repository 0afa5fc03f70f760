//! `MEMORY MALLOC-STATS` (jemalloc's `malloc_stats_print`) to [`MallocStats`], for jemalloc 3.6 to 5.3.
//!
//! Tables are read by the names in their header line, never by position, because every release added
//! columns. A part that is missing or cut off leaves its figures absent.

use crate::paste;

/// What jemalloc says of itself. Bytes unless named otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MallocStats {
    /// `5.1.0-0-g0`, as printed.
    pub version: Option<String>,
    /// Process-wide totals.
    pub totals: Totals,
    /// Smallest spacing of size classes: 8 in the bundled builds, 16 in distributions'.
    pub quantum_bytes: Option<u64>,
    /// Bytes in a page.
    pub page_bytes: Option<u64>,
    /// Dirty pages waiting to be purged.
    pub dirty_pages: Option<u64>,
    /// Pages given back lazily (`MADV_FREE`), still resident.
    pub muzzy_pages: Option<u64>,
    /// Whether the purging thread runs (its runtime value, not the build's default).
    pub background_thread: Option<bool>,
    /// `opt.thp`: `default`, `always`, `never`, `not supported`.
    pub thp: Option<String>,
    /// Bytes cached per thread: free to the program, allocated to the arena.
    pub tcache_bytes: Option<u64>,
    /// Small classes with at least one slab.
    pub bins: Vec<Bin>,
    /// Large classes with at least one extent.
    pub large: Vec<LargeClass>,
}

/// The totals line (`Allocated: …, active: …`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes in live allocations.
    pub allocated: Option<u64>,
    /// Bytes in pages holding at least one of them.
    pub active: Option<u64>,
    /// jemalloc's own bookkeeping.
    pub metadata: Option<u64>,
    /// Bytes in pages mapped to RAM: active, dirty, muzzy, metadata.
    pub resident: Option<u64>,
    /// Address space in use.
    pub mapped: Option<u64>,
    /// Address space kept after its pages were given back; no RAM, unless the kernel kept it (huge pages).
    pub retained: Option<u64>,
}

/// A small class: slabs of equal regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// Bytes in a region.
    pub size_bytes: u64,
    /// Regions in a slab.
    pub regions_per_slab: u64,
    /// Pages in a slab.
    pub pages_per_slab: u64,
    /// Live regions.
    pub live_regions: u64,
    /// Slabs that exist.
    pub slabs: u64,
    /// Slabs with a free region; jemalloc 5.2 and later.
    pub nonfull_slabs: Option<u64>,
}

impl Bin {
    /// Free regions in existing slabs, in bytes: what perfect packing would let go, save rounding to slabs.
    pub fn waste_bytes(&self) -> u64 {
        let total = self.regions_per_slab.saturating_mul(self.slabs);
        total.saturating_sub(self.live_regions).saturating_mul(self.size_bytes)
    }

    /// Slabs that the live regions need when packed.
    pub fn slabs_needed(&self) -> u64 {
        self.live_regions.div_ceil(self.regions_per_slab.max(1))
    }

    /// Bytes of whole slabs that perfect packing frees.
    pub fn reclaimable_bytes(&self, page_bytes: u64) -> u64 {
        let slabs = self.slabs.saturating_sub(self.slabs_needed());
        slabs.saturating_mul(self.pages_per_slab).saturating_mul(page_bytes)
    }

    /// Live share of the regions, 0 to 1.
    pub fn utilization(&self) -> f64 {
        let total = self.regions_per_slab.saturating_mul(self.slabs);
        if total == 0 { 1.0 } else { self.live_regions as f64 / total as f64 }
    }
}

/// A large class: each allocation has pages of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeClass {
    /// Bytes in an extent.
    pub size_bytes: u64,
    /// Live extents.
    pub extents: u64,
}

impl LargeClass {
    /// Bytes at the ends of its extents, in whole pages, that no value reaches. Large classes are up to a quarter bigger
    /// than what was asked for, on average by half the distance to the class below. Every extent has one page more, in
    /// which its value begins anywhere (`cache_oblivious`, the default): half of it is left over, and makes up for the
    /// half page that a value's last one is not full.
    pub fn tail_bytes(&self) -> u64 {
        // Four classes a doubling: the spacing is an eighth to a fifth of the class.
        let spacing = self.size_bytes.checked_next_power_of_two().unwrap_or(self.size_bytes) / 8;
        self.extents.saturating_mul(spacing / 2)
    }
}

impl MallocStats {
    /// Reads the text. `None` when it is not jemalloc's (a libc build answers one sentence).
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader::default();
        for line in paste::lines(text) {
            reader.line(&line);
        }
        reader.finish()
    }

    /// Leaves what a build is, and forgets what was counted: for when memory has moved since.
    pub fn forget_counts(&mut self) {
        self.quantum_bytes = self.is_bundled().map(|bundled| if bundled { 8 } else { 16 });
        self.totals = Totals::default();
        (self.dirty_pages, self.muzzy_pages, self.tcache_bytes) = (None, None, None);
        self.bins.clear();
        self.large.clear();
    }

    /// True when the tables account for nearly all that the totals say is allocated: a paste is often cut.
    pub fn is_complete(&self) -> bool {
        let small = sum(self.bins.iter().map(|b| b.live_regions.saturating_mul(b.size_bytes)));
        let large = sum(self.large.iter().map(|c| c.extents.saturating_mul(c.size_bytes)));
        let listed = small.saturating_add(large);
        !self.bins.is_empty() && self.totals.allocated.is_none_or(|all| listed >= all / 10 * 9)
    }

    /// Free regions in small slabs, in bytes: `allocator_frag_bytes` of Redis 7.4 and Valkey 8.0 on.
    pub fn small_waste_bytes(&self) -> u64 {
        sum(self.bins.iter().map(Bin::waste_bytes))
    }

    /// What whole slabs perfect packing frees.
    pub fn small_reclaimable_bytes(&self) -> u64 {
        let page = self.page_bytes.unwrap_or(crate::size_class::PAGE_BYTES);
        sum(self.bins.iter().map(|b| b.reclaimable_bytes(page)))
    }

    /// Bytes that no value reaches in large classes up to `most_bytes`: see [`LargeClass::tail_bytes`].
    pub fn tail_bytes(&self, most_bytes: u64) -> u64 {
        let classes = self.large.iter().filter(|c| c.size_bytes <= most_bytes);
        sum(classes.map(LargeClass::tail_bytes))
    }

    /// True for the build that servers bundle, whose fragmentation hints active defrag needs.
    /// `None` when the output does not tell.
    pub fn is_bundled(&self) -> Option<bool> {
        let by_bins =
            || self.bins.iter().any(|b| matches!(b.size_bytes, 24 | 40 | 56)).then_some(8);
        self.quantum_bytes.or_else(by_bins).map(|q| q == 8)
    }
}

/// A sum that saturates: the figures come from text, and text can say anything.
fn sum(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

/// Which arena the lines being read belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Scope {
    #[default]
    Head,
    Merged,
    Arena,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Bins,
    Large,
}

/// Line-driven state: the current scope, and the header of the table being read.
#[derive(Debug, Default)]
struct Reader {
    stats: MallocStats,
    scope: Scope,
    table: Option<(Table, Vec<String>)>,
    saw_merged: bool,
    saw_anything: bool,
}

/// A guard against text that was made to exhaust memory: jemalloc has under 250 classes, per arena.
const MAX_ROWS: usize = 20_000;

impl Reader {
    fn line(&mut self, line: &str) {
        if self.heading(line) || self.table_header(line) || self.table_row(line) {
            return;
        }
        self.table = None;
        self.scalar(line);
    }

    fn heading(&mut self, line: &str) -> bool {
        if line.starts_with("Merged arenas stats:") {
            self.scope = Scope::Merged;
            self.saw_merged = true;
            self.stats.bins.clear();
            self.stats.large.clear();
        } else if line.starts_with("arenas[") {
            self.scope = Scope::Arena;
        } else {
            return false;
        }
        self.table = None;
        true
    }

    fn wanted(&self) -> bool {
        !(self.saw_merged && self.scope == Scope::Arena)
    }

    fn table_header(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let kind = match words.next() {
            Some("bins:") => Table::Bins,
            Some("large:") => Table::Large,
            Some("huge:" | "extents:") => {
                self.table = None;
                return true;
            }
            _ => return false,
        };
        let columns: Vec<String> = words.map(str::to_owned).collect();
        // The summary row `large: 937984 17 …` has figures where the table has names.
        if !columns.iter().any(|c| c == "size") {
            return false;
        }
        self.table = Some((kind, columns));
        true
    }

    fn table_row(&mut self, line: &str) -> bool {
        let Some((kind, columns)) = &self.table else { return false };
        // A gap: `---`, or before jemalloc 4 `[3..5]`.
        if line.trim() == "---" || line.starts_with('[') {
            return true;
        }
        let values: Vec<&str> = line.split_whitespace().collect();
        if values.first().is_none_or(|v| v.parse::<u64>().is_err()) {
            return false;
        }
        let get = |names: &[&str]| {
            let at = columns.iter().position(|c| names.contains(&c.as_str()))?;
            values.get(at)?.parse::<u64>().ok()
        };
        let row = match kind {
            Table::Bins => bin(&get).map(Row::Bin),
            Table::Large => large(&get).map(Row::Large),
        };
        if self.wanted() && self.stats.bins.len() + self.stats.large.len() < MAX_ROWS {
            match row {
                Some(Row::Bin(bin)) => merge_bin(&mut self.stats.bins, bin),
                Some(Row::Large(class)) => merge_large(&mut self.stats.large, class),
                None => {}
            }
        }
        true
    }

    fn scalar(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let (name, value) = (name.trim(), value.trim());
        match name {
            "Version" => self.stats.version = Some(value.trim_matches('"').to_owned()),
            "Quantum size" => self.stats.quantum_bytes = value.parse().ok(),
            "Page size" => self.stats.page_bytes = value.parse().ok().filter(|&p| p > 0),
            "opt.thp" => self.stats.thp = Some(value.trim_matches('"').to_owned()),
            "opt.background_thread" => self.stats.background_thread = runtime_flag(value),
            "Allocated" => self.stats.totals = totals(line),
            "dirty" | "muzzy" => self.pages(name, value),
            "dirty pages" => self.old_dirty_pages(value),
            "tcache_bytes" if self.wanted() => {
                add(&mut self.stats.tcache_bytes, value.parse().ok());
            }
            _ => return,
        }
        self.saw_anything = true;
    }

    fn pages(&mut self, name: &str, value: &str) {
        if !self.wanted() {
            return;
        }
        let pages = value.split_whitespace().nth(1).and_then(|v| v.parse().ok());
        let slot =
            if name == "dirty" { &mut self.stats.dirty_pages } else { &mut self.stats.muzzy_pages };
        if self.scope == Scope::Merged {
            *slot = pages;
        } else {
            add(slot, pages);
        }
    }

    /// jemalloc 3 and 4: `dirty pages: <active>:<dirty> active:dirty, …`.
    fn old_dirty_pages(&mut self, value: &str) {
        if self.wanted() {
            let pair = value.split_whitespace().next().and_then(|p| p.split_once(':'));
            add(&mut self.stats.dirty_pages, pair.and_then(|(_, dirty)| dirty.parse().ok()));
        }
    }

    fn finish(mut self) -> Option<MallocStats> {
        self.stats.bins.retain(|b| b.slabs > 0);
        self.stats.large.retain(|l| l.extents > 0);
        let found =
            self.saw_anything || !self.stats.bins.is_empty() || !self.stats.large.is_empty();
        found.then_some(self.stats)
    }
}

enum Row {
    Bin(Bin),
    Large(LargeClass),
}

fn bin(get: &impl Fn(&[&str]) -> Option<u64>) -> Option<Bin> {
    let size_bytes = get(&["size"]).filter(|&s| s > 0)?;
    // Before jemalloc 4 live regions were not printed; their bytes were.
    let live_regions = get(&["curregs"]).or_else(|| Some(get(&["allocated"])? / size_bytes))?;
    Some(Bin {
        size_bytes,
        regions_per_slab: get(&["regs"]).filter(|&r| r > 0)?,
        pages_per_slab: get(&["pgs"])?,
        live_regions,
        slabs: get(&["curslabs", "curruns"])?,
        nonfull_slabs: get(&["nonfull_slabs"]),
    })
}

fn large(get: &impl Fn(&[&str]) -> Option<u64>) -> Option<LargeClass> {
    Some(LargeClass {
        size_bytes: get(&["size"]).filter(|&s| s > 0)?,
        extents: get(&["curlextents", "curruns"])?,
    })
}

fn merge_bin(bins: &mut Vec<Bin>, new: Bin) {
    match bins.iter_mut().find(|b| b.size_bytes == new.size_bytes) {
        Some(old) => {
            old.live_regions = old.live_regions.saturating_add(new.live_regions);
            old.slabs = old.slabs.saturating_add(new.slabs);
            add(&mut old.nonfull_slabs, new.nonfull_slabs);
        }
        None => bins.push(new),
    }
}

fn merge_large(classes: &mut Vec<LargeClass>, new: LargeClass) {
    match classes.iter_mut().find(|c| c.size_bytes == new.size_bytes) {
        Some(old) => old.extents = old.extents.saturating_add(new.extents),
        None => classes.push(new),
    }
}

fn add(slot: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *slot = Some(slot.unwrap_or(0).saturating_add(more));
    }
}

/// `false (background_thread: true)` is true: the bracket is the value in force.
fn runtime_flag(value: &str) -> Option<bool> {
    let current = value.split_once("background_thread:").map_or(value, |(_, v)| v);
    match current.trim().trim_end_matches(')') {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn totals(line: &str) -> Totals {
    let get = |name: &str| {
        line.split(',').find_map(|part| {
            let (key, value) = part.split_once(':')?;
            let number = value.split_whitespace().next()?;
            let bytes = number.parse().ok().filter(|&b| b <= crate::bytes::PLAUSIBLE_MAX);
            key.trim().eq_ignore_ascii_case(name).then_some(bytes)?
        })
    };
    Totals {
        allocated: get("allocated"),
        active: get("active"),
        metadata: get("metadata"),
        resident: get("resident"),
        mapped: get("mapped"),
        retained: get("retained"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of jemalloc 4.0 as redis issue 3720 shows them.
    const OLD: &str = "\
Allocated: 1074215072, active: 1580675072, metadata: 40734080, resident: 1621250048, mapped: 1623195648
dirty pages: 385907:0 active:dirty, 0 sweeps, 0 madvises, 0 purged
bins:           size ind    allocated      nmalloc      ndalloc    nrequests      curregs      curruns regs pgs  util       nfills     nflushes      newruns       reruns
                  16   1    149174192     14010400      4687013     14010590      9323387        54728  256   1 0.665       140104        47456        54729            0
                     ---
large:          size ind    allocated      nmalloc      ndalloc    nrequests      curruns
               16384  36        16384            1            0            1            1
huge:           size ind    allocated      nmalloc      ndalloc    nrequests   curhchunks
             4194304  64      4194304            1            0            1            1
";

    #[test]
    fn jemalloc_4_tables_are_read_by_name() {
        let stats = MallocStats::parse(OLD).unwrap();
        assert_eq!(stats.totals.active, Some(1_580_675_072));
        assert_eq!(stats.bins.len(), 1);
        assert_eq!(stats.bins[0].waste_bytes(), (256 * 54_728 - 9_323_387) * 16);
        assert_eq!(stats.large, [LargeClass { size_bytes: 16_384, extents: 1 }]);
        assert_eq!(stats.dirty_pages, Some(0));
    }

    #[test]
    fn jemalloc_3_counts_live_regions_by_their_bytes() {
        let text = "\
Allocated: 73400320, active: 94371840, mapped: 104857600
bins:     bin  size regs pgs    allocated      nmalloc      ndalloc    nrequests       nfills     nflushes      newruns       reruns      curruns
            0     8  501   1         4000          700           92         1084           12            9            2            0            2
[1..2]
            3    48   84   1         4032          700           92         1084           12            9            2            0            3
large:   size pages      nmalloc      ndalloc    nrequests      curruns
         4096     1            9            0            9            7
";
        let stats = MallocStats::parse(text).unwrap();
        let live: Vec<_> =
            stats.bins.iter().map(|b| (b.size_bytes, b.live_regions, b.slabs)).collect();
        assert_eq!(live, [(8, 500, 2), (48, 84, 3)]);
        assert_eq!(stats.large, [LargeClass { size_bytes: 4096, extents: 7 }]);
    }

    #[test]
    fn merged_tables_replace_those_of_arenas() {
        let table = |regs: u64| {
            format!(
                "bins: size ind curregs curslabs nonfull_slabs regs pgs util\n 8 0 {regs} 2 1 512 1 0.5\n"
            )
        };
        let text = format!(
            "Version: \"5.3.0\"\nMerged arenas stats:\n{}arenas[0]:\n{}arenas[1]:\n{}",
            table(300),
            table(100),
            table(200)
        );
        assert_eq!(MallocStats::parse(&text).unwrap().bins[0].live_regions, 300);
        let unmerged = format!("arenas[0]:\n{}arenas[1]:\n{}", table(100), table(200));
        let bin = MallocStats::parse(&unmerged).unwrap().bins[0];
        assert_eq!((bin.live_regions, bin.slabs, bin.nonfull_slabs), (300, 4, Some(2)));
    }

    #[test]
    fn libc_answers_nothing() {
        assert_eq!(MallocStats::parse("Stats not supported for the current allocator"), None);
    }
}

//! The report: what `unfrag keys -o json` prints. Read [`Analysis`] first, then [`Report`].

use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use unfrag_model::{Engine, Flavor, MallocStats};
use unfrag_rdb::SizeReport;
use unfrag_rdb::container::{self, Source};
use unfrag_rdb::input::Slice;
use unfrag_rdb::reader::{Item, Reader};
use unfrag_rdb::size::{Server, SizeFor, TypeSize, fold_file, fold_reader};

use crate::advice::{self, Advice};
use crate::histogram::Quantiles;
use crate::owner::{self, BinOwners};
use crate::pattern::{self, Branch, Pattern};
use crate::rows::KeyHash;
use crate::shape::Placeholder;
use crate::stats::Sum;
use crate::tally::{Group, KeyTally, Options};
use crate::time::{IDLE_NAMES, TTL_NAMES};
use crate::top::Big;

/// Patterns in a report; the rest is summed up.
const PATTERNS_MAX: usize = 2000;
/// The kind of the problem of a source that could not be read at all.
pub const NOT_READ: &str = "not-read";
/// Slots listed.
const SLOTS_MAX: usize = 16;

/// Snapshots that were read, not yet reported on.
#[derive(Debug)]
pub struct Analysis {
    tally: KeyTally,
    size_for: SizeFor,
    sources: Vec<SourceTotal>,
    tables: Vec<SizeReport>,
}

/// One snapshot among several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceTotal {
    /// Its name.
    pub source: String,
    /// How it was read.
    pub method: Method,
    /// What is to be known about that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Keys.
    pub keys: u64,
    /// Bytes, tables included.
    pub bytes: u64,
    /// What stopped the reading before the end.
    pub problem: Option<unfrag_rdb::Problem>,
}

/// How keys were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Every byte of a snapshot, which is of one moment.
    Snapshot,
    /// Each key asked for in turn, while others write.
    Scan,
}

impl Analysis {
    /// Reads the snapshot at `path`, on every core if it is a plain file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn of_file(path: &Path, size_for: &SizeFor, options: Options) -> io::Result<Self> {
        let options = match created_ms(path) {
            Some(now_ms) => Options { now_ms, ..options },
            None => options,
        };
        let (sizes, tally) = fold_file(path, size_for, KeyTally::new(options, size_for))?;
        Ok(Self::new(sizes, tally, size_for))
    }

    /// Reads a snapshot as it arrives, in memory that does not grow with it.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn of_reader<'s>(
        name: &str,
        source: impl Read + Send + 's,
        size_for: &SizeFor,
        options: Options,
    ) -> io::Result<Self> {
        let (sizes, tally) = fold_reader(name, source, size_for, KeyTally::new(options, size_for))?;
        Ok(Self::new(sizes, tally, size_for))
    }

    pub(crate) fn new(sizes: SizeReport, tally: KeyTally, size_for: &SizeFor) -> Self {
        let source = SourceTotal {
            source: sizes.file.clone(),
            method: Method::Snapshot,
            remarks: Vec::new(),
            keys: sizes.total.keys,
            bytes: sizes.total.bytes,
            problem: sizes.problem.clone(),
        };
        Self { tally, size_for: *size_for, sources: vec![source], tables: vec![sizes] }
    }

    /// It was a scan, and this is to be known of it.
    pub(crate) fn scanned(mut self, remarks: &[String]) -> Self {
        for source in &mut self.sources {
            source.method = Method::Scan;
            source.remarks = remarks.to_vec();
        }
        self
    }

    /// Names a source that could not be read: the report is then of a part.
    pub fn add_unread(&mut self, name: &str, why: &str) {
        self.sources.push(SourceTotal {
            source: name.to_owned(),
            method: Method::Snapshot,
            remarks: Vec::new(),
            keys: 0,
            bytes: 0,
            problem: Some(unfrag_rdb::Problem {
                offset: 0,
                db: None,
                key: None,
                kind: NOT_READ,
                message: why.to_owned(),
            }),
        });
    }

    /// Something to be known of all that was read so far.
    pub fn remark(&mut self, text: &str) {
        self.sources.iter_mut().for_each(|source| source.remarks.push(text.to_owned()));
    }

    /// The snapshot did not stop where it ends: we stopped reading it.
    #[must_use]
    pub fn ended_early(mut self, why: &str) -> Self {
        for problem in self.sources.iter_mut().filter_map(|s| s.problem.as_mut()) {
            problem.kind = crate::scanned::ENDED_EARLY;
            why.clone_into(&mut problem.message);
        }
        self
    }

    /// Takes over another one, of another node of a deployment or another file.
    pub fn join(&mut self, other: Self) {
        unfrag_rdb::Tally::join(&mut self.tally, other.tally);
        self.sources.extend(other.sources);
        self.tables.extend(other.tables);
    }

    /// The report. With a server's MALLOC-STATS, also whose allocations stand in its fragmented bins.
    pub fn report(mut self, malloc_stats: Option<&MallocStats>) -> Report {
        // Of keys that were asked for one by one, allocations are not known.
        let malloc_stats =
            malloc_stats.filter(|_| self.sources.iter().all(|s| s.method == Method::Snapshot));
        self.tally.tree.tidy();
        let tally = &self.tally;
        let patterns = pattern::all(&tally.tree);
        let total = self.total();
        let context = advice::Context::new(&patterns, tally, &self.size_for, total.bytes);
        let (advice, advice_with_hash_tags) =
            advice::all(&context).into_iter().partition(|advice| !advice.crosses_slots);
        let not_packed_for_ttl = advice::pack::left_out_for_ttl(&context);
        let omitted = patterns.iter().skip(PATTERNS_MAX).fold(Sum::default(), |mut sum, p| {
            sum.join(Sum { keys: p.stats.keys, bytes: p.stats.bytes });
            sum
        });
        let mut report = Report {
            schema: "unfrag.keys/1",
            source: self.sources.iter().map(|s| s.source.as_str()).collect::<Vec<_>>().join(", "),
            sized_for: self.size_for.server.name(),
            allocator: self.size_for.allocator_name(),
            taken_ms: tally.options.now_ms,
            total,
            is_folded_for_room: tally.tree.is_folded_for_room(),
            types: types(&self.tables),
            patterns_found: patterns.len() as u64,
            patterns_omitted: omitted,
            patterns: patterns
                .iter()
                .take(PATTERNS_MAX)
                .map(|p| PatternRow::new(p, total.bytes))
                .collect(),
            tree: pattern::tree(&tally.tree),
            biggest: tally.by_bytes.sorted(),
            biggest_by_elements: tally.by_elements.sorted(),
            by_type: tally
                .types
                .iter()
                .map(|(kind, (group, by_elements))| GroupRow {
                    biggest_by_elements: by_elements.sorted(),
                    ..GroupRow::new(kind.name().to_owned(), group)
                })
                .collect(),
            by_db: tally.dbs.iter().map(|(db, g)| GroupRow::new(db_name(*db), g)).collect(),
            by_ttl: TTL_NAMES
                .iter()
                .zip(&tally.ttl)
                .filter(|(_, g)| g.sum.keys > 0)
                .map(|((_, name), g)| GroupRow::new((*name).to_owned(), g))
                .collect(),
            by_slot: slots(&tally.slots),
            fragmentation: malloc_stats.map(|stats| owner::owners(stats, &patterns)),
            advice,
            advice_with_hash_tags,
            not_packed_for_ttl,
            about: tally.about.clone(),
            sources: self.sources.clone(),
        };
        if let Some(hash) = &tally.options.hash {
            report.hide_names(hash);
        }
        report
    }

    fn total(&self) -> Total {
        let sum = |of: fn(&SizeReport) -> u64| self.tables.iter().map(of).sum();
        Total {
            keys: sum(|s| s.total.keys),
            bytes: sum(|s| s.total.bytes),
            table_bytes: sum(|s| s.total.table_bytes),
            expiring_keys: self.tally.ttl.iter().skip(1).map(|g| g.sum.keys).sum(),
        }
    }
}

/// When the snapshot says it was made, if it is a plain file that says so before its first key.
pub(crate) fn created_ms(path: &Path) -> Option<i64> {
    let seconds: i64 = said(path, b"ctime")?.parse().ok()?;
    seconds.checked_mul(1000)
}

/// The server that the snapshot says it is of, if it is a plain file that says so before its first key.
pub fn written_by(path: &Path) -> Option<Server> {
    let of = |flavor, version: String| Engine { flavor, version: version.parse().ok() };
    let valkey = said(path, b"valkey-ver").map(|v| of(Flavor::Valkey, v));
    let engine = valkey.or_else(|| said(path, b"redis-ver").map(|v| of(Flavor::Redis, v)))?;
    Server::of(engine)
}

/// What a plain file says before its first key. Of a pipe nothing is read: it would be gone for whoever comes after.
fn said(path: &Path, wanted: &[u8]) -> Option<String> {
    if !container::is_plain_file(path) {
        return None;
    }
    let Ok(Source::Mapped(map)) = container::open(path) else { return None };
    let mut reader = Reader::new(Slice::new(map.bytes(), 0)).ok()?;
    loop {
        match reader.next_item() {
            Ok(Some(Item::Aux { name, value })) if name == wanted => {
                return String::from_utf8(value.to_vec()).ok();
            }
            Ok(Some(Item::Key(_) | Item::End(_)) | None) | Err(_) => return None,
            Ok(Some(_)) => {}
        }
    }
}

fn db_name(db: u64) -> String {
    if db == u64::MAX { "others".to_owned() } else { db.to_string() }
}

fn slots(slots: &[Group]) -> Vec<GroupRow> {
    let mut rows: Vec<(usize, &Group)> =
        slots.iter().enumerate().filter(|(_, g)| g.sum.keys > 0).collect();
    rows.sort_by_key(|(slot, g)| (std::cmp::Reverse(g.sum.bytes), *slot));
    rows.into_iter()
        .take(SLOTS_MAX)
        .map(|(slot, group)| GroupRow::new(slot.to_string(), group))
        .collect()
}

fn types(reports: &[SizeReport]) -> Vec<TypeSize> {
    let mut types: Vec<TypeSize> = Vec::new();
    for found in reports.iter().flat_map(|r| &r.types) {
        let is_it =
            |t: &&mut TypeSize| t.data_type == found.data_type && t.encoding == found.encoding;
        match types.iter_mut().find(is_it) {
            Some(sum) => {
                sum.keys += found.keys;
                sum.bytes += found.bytes;
                sum.elements += found.elements;
            }
            None => types.push(*found),
        }
    }
    types.sort_by_key(|t| std::cmp::Reverse(t.bytes));
    types
}

/// Everything found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `unfrag.keys/1`.
    pub schema: &'static str,
    /// What was read.
    pub source: String,
    /// Server that bytes are of.
    pub sized_for: &'static str,
    /// Allocator that bytes are of.
    pub allocator: &'static str,
    /// When the snapshot was taken, in Unix milliseconds.
    pub taken_ms: i64,
    /// Sum.
    pub total: Total,
    /// True if there were more patterns than there is room for: rare ones are then in wider ones.
    pub is_folded_for_room: bool,
    /// By type and encoding, the largest first.
    pub types: Vec<TypeSize>,
    /// Patterns there are.
    pub patterns_found: u64,
    /// Those that are not listed.
    pub patterns_omitted: Sum,
    /// Patterns, the largest first.
    pub patterns: Vec<PatternRow>,
    /// The same as a tree.
    pub tree: Branch,
    /// Keys with most bytes.
    pub biggest: Vec<Big>,
    /// Keys other than strings with most elements.
    pub biggest_by_elements: Vec<Big>,
    /// By type, with the biggest of each.
    pub by_type: Vec<GroupRow>,
    /// By database.
    pub by_db: Vec<GroupRow>,
    /// By time left.
    pub by_ttl: Vec<GroupRow>,
    /// The slots with most bytes, where slots were summed up.
    pub by_slot: Vec<GroupRow>,
    /// Whose allocations stand in fragmented bins; `None` without a server to ask.
    pub fragmentation: Option<Vec<BinOwners>>,
    /// What would save memory, most first.
    pub advice: Vec<Advice>,
    /// What would save memory in this Cluster if names had hash tags; as they are it cannot be done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice_with_hash_tags: Vec<Advice>,
    /// Small strings that were not considered for packing because some of their pattern expire.
    pub not_packed_for_ttl: Sum,
    /// What the snapshot says of itself.
    pub about: std::collections::BTreeMap<String, String>,
    /// Each snapshot's total.
    pub sources: Vec<SourceTotal>,
}

/// The sum of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Keys.
    pub keys: u64,
    /// Bytes, tables included.
    pub bytes: u64,
    /// Tables of keys and expiries.
    pub table_bytes: u64,
    /// Keys that expire.
    pub expiring_keys: u64,
}

/// A pattern.
#[derive(Debug, Clone, Serialize)]
pub struct PatternRow {
    /// The pattern.
    pub pattern: String,
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
    /// Share of all bytes.
    pub share: f64,
    /// Bytes of names.
    pub name_bytes: u64,
    /// Types and encodings, the largest first.
    pub types: Vec<TypeRow>,
    /// Bytes a key.
    pub size: Quantiles,
    /// Keys by time left.
    pub ttl: Vec<BucketRow>,
    /// Keys by time since use; empty where the server did not keep that.
    pub idle: Vec<BucketRow>,
    /// Mean access frequency (LFU counter), where the server kept that.
    pub frequency: Option<f64>,
    /// Only a part of these keys decides their slot.
    pub has_hash_tag: bool,
}

/// A type and encoding within a pattern.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TypeRow {
    /// Type.
    #[serde(rename = "type")]
    pub data_type: &'static str,
    /// Encoding.
    pub encoding: &'static str,
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
    /// Elements.
    pub elements: u64,
}

/// A bucket of times.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BucketRow {
    /// Its name.
    pub bucket: &'static str,
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Keys of one type, database, time or slot.
#[derive(Debug, Clone, Serialize)]
pub struct GroupRow {
    /// What they share.
    pub name: String,
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
    /// The biggest.
    pub biggest: Vec<Big>,
    /// Those with most elements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub biggest_by_elements: Vec<Big>,
}

impl Report {
    /// True if any of it was asked for key by key.
    pub fn has_scans(&self) -> bool {
        self.sources.iter().any(|source| source.method == Method::Scan)
    }

    /// A pattern without anything that varies is a key's name.
    fn hide_names(&mut self, hash: &KeyHash) {
        let hidden = |name: &mut String| {
            let is_name = !Placeholder::ALL.iter().any(|p| name.contains(p.text()));
            if is_name && !name.contains("{field}") {
                *name = hash.of(name.as_bytes());
            }
        };
        self.patterns.iter_mut().for_each(|row| hidden(&mut row.pattern));
        for advice in self.advice.iter_mut().chain(&mut self.advice_with_hash_tags) {
            let before = advice.pattern.clone();
            hidden(&mut advice.pattern);
            if advice.pattern != before {
                advice.next = None;
            }
        }
        for bin in self.fragmentation.iter_mut().flatten() {
            bin.owners.iter_mut().for_each(|owner| hidden(&mut owner.pattern));
        }
        hide_leaves(&mut self.tree, &hidden);
    }
}

fn hide_leaves(branch: &mut Branch, hidden: &impl Fn(&mut String)) {
    if branch.children.is_empty() {
        let before = branch.pattern.clone();
        hidden(&mut branch.pattern);
        if branch.pattern != before {
            branch.label.clone_from(&branch.pattern);
        }
    }
    branch.children.iter_mut().for_each(|child| hide_leaves(child, hidden));
}

impl GroupRow {
    fn new(name: String, group: &Group) -> Self {
        Self {
            name,
            keys: group.sum.keys,
            bytes: group.sum.bytes,
            biggest: group.biggest.sorted(),
            biggest_by_elements: Vec::new(),
        }
    }
}

impl PatternRow {
    fn new(pattern: &Pattern<'_>, all_bytes: u64) -> Self {
        let stats = pattern.stats;
        let mut types: Vec<TypeRow> = stats
            .kinds
            .iter()
            .map(|k| TypeRow {
                data_type: k.data_type.name(),
                encoding: k.encoding,
                keys: k.sum.keys,
                bytes: k.sum.bytes,
                elements: k.elements,
            })
            .collect();
        types.sort_by_key(|t| (std::cmp::Reverse(t.bytes), t.encoding));
        let frequency = stats.frequency;
        Self {
            pattern: pattern.text.clone(),
            keys: stats.keys,
            bytes: stats.bytes,
            share: stats.bytes as f64 / all_bytes.max(1) as f64,
            name_bytes: stats.name_bytes,
            types,
            size: stats.sizes.quantiles(),
            ttl: buckets(TTL_NAMES.iter().map(|(_, name)| *name), &stats.ttl),
            idle: buckets(IDLE_NAMES.iter().map(|(_, name)| *name), &stats.idle),
            frequency: (frequency.keys > 0).then(|| frequency.bytes as f64 / frequency.keys as f64),
            has_hash_tag: pattern.has_hash_tag(),
        }
    }
}

fn buckets(names: impl Iterator<Item = &'static str>, sums: &[Sum]) -> Vec<BucketRow> {
    names
        .zip(sums)
        .filter(|(_, sum)| sum.keys > 0)
        .map(|(bucket, sum)| BucketRow { bucket, keys: sum.keys, bytes: sum.bytes })
        .collect()
}

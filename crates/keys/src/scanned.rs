//! Keys that a server told of one by one, where no snapshot may be had: [`Scanned`] makes an [`Analysis`] of them. Names,
//! types, bytes and times are there; values and allocations are not, so advice that needs them stays away.

use crate::report::Analysis;
use crate::tally::{KeyTally, Options};
use std::collections::BTreeMap;
use unfrag_rdb::format::{DataType, ValueType};
use unfrag_rdb::reader::Key;
use unfrag_rdb::size::{KeySize, Observer, SizeFor, Total, TypeSize, table, table_bytes};
use unfrag_rdb::{Problem, SizeReport};

/// The kind of the problem of a source of which only a part was read, because no more time was given.
pub const ENDED_EARLY: &str = "ended-early";
/// The same, because somebody ended it.
pub const INTERRUPTED: &str = "interrupted";
/// The same, because the server went away.
pub const LOST: &str = "lost";

/// Why not all keys were told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// [`ENDED_EARLY`], [`INTERRUPTED`] or [`LOST`].
    pub kind: &'static str,
    /// For people: why, and how to go on.
    pub message: String,
}

/// One key as a server tells of it.
#[derive(Debug, Clone, Copy)]
pub struct ScannedKey<'k> {
    /// Database.
    pub db: u64,
    /// Name.
    pub name: &'k [u8],
    /// As TYPE prints it.
    pub kind: &'k str,
    /// As OBJECT ENCODING prints it.
    pub encoding: &'k str,
    /// MEMORY USAGE.
    pub bytes: u64,
    /// Elements, or bytes of a string; 0 where that is not known.
    pub elements: u64,
    /// When it expires, in Unix milliseconds.
    pub expires_ms: Option<i64>,
    /// Seconds since it was last used.
    pub idle_s: Option<u64>,
}

/// Keys told of so far.
#[derive(Debug)]
pub struct Scanned {
    name: String,
    tally: KeyTally,
    size_for: SizeFor,
    total: Total,
    types: BTreeMap<(DataType, &'static str), TypeSize>,
    /// Keys, and those that expire, of each database.
    dbs: BTreeMap<u64, (u64, u64)>,
}

impl Scanned {
    /// None yet.
    pub fn new(name: &str, size_for: &SizeFor, options: Options) -> Self {
        Self {
            name: name.to_owned(),
            tally: KeyTally::new(options, size_for),
            size_for: *size_for,
            total: Total::default(),
            types: BTreeMap::new(),
            dbs: BTreeMap::new(),
        }
    }

    /// Keys so far.
    pub fn keys(&self) -> u64 {
        self.total.keys
    }

    /// One more.
    pub fn add(&mut self, scanned: &ScannedKey<'_>) {
        let kind = kind_of(scanned.kind, scanned.encoding);
        let key = Key {
            offset: self.total.keys,
            type_offset: self.total.keys,
            kind,
            db: Some(scanned.db),
            name: scanned.name,
            expires_ms: scanned.expires_ms,
            idle_s: scanned.idle_s,
            frequency: None,
            meta_classes: 0,
        };
        let sized = KeySize {
            key,
            bytes: scanned.bytes,
            encoding: encoding_of(scanned.encoding),
            elements: scanned.elements,
            longest: 0,
            packed_bytes: None,
            packs_to_intset: false,
        };
        // Nothing is known of its allocations, whether they are wanted or not.
        self.tally.open(&sized.key);
        self.tally.close(&sized, &[]);
        self.total.keys += 1;
        self.total.bytes = self.total.bytes.saturating_add(sized.bytes);
        let (keys, expiring) = self.dbs.entry(scanned.db).or_default();
        *keys += 1;
        *expiring += u64::from(scanned.expires_ms.is_some());
        let data_type = kind.data_type();
        let sum = self.types.entry((data_type, sized.encoding)).or_insert(TypeSize {
            data_type,
            encoding: sized.encoding,
            keys: 0,
            bytes: 0,
            elements: 0,
        });
        sum.keys += 1;
        sum.bytes = sum.bytes.saturating_add(sized.bytes);
        sum.elements = sum.elements.saturating_add(sized.elements);
    }

    /// All that was told; `early` where that is not all there is.
    pub fn end(mut self, early: Option<Ended>, remarks: &[String]) -> Analysis {
        // MEMORY USAGE counts a key's entry and not the table that it stands in.
        let table = |keys: u64| table_bytes(&self.size_for, table(&self.size_for, keys), keys);
        let tables: u64 = self
            .dbs
            .values()
            .map(|(keys, expiring)| table(*keys) + if *expiring > 0 { table(*expiring) } else { 0 })
            .sum();
        self.total.table_bytes = tables;
        self.total.bytes = self.total.bytes.saturating_add(tables);
        let problem = early.map(|ended| Problem {
            offset: self.total.keys,
            db: None,
            key: None,
            kind: ended.kind,
            message: ended.message,
        });
        let sizes = SizeReport {
            schema: unfrag_rdb::size::SCHEMA,
            file: self.name,
            sized_for: self.size_for.server.name(),
            allocator: self.size_for.allocator_name(),
            // Of a node's tables by slot the keys' own sizes say nothing.
            cluster: false,
            total: self.total,
            types: self.types.into_values().collect(),
            problem,
        };
        Analysis::new(sizes, self.tally, &self.size_for).scanned(remarks)
    }
}

/// A layout of that type: only the type is told from it.
fn kind_of(kind: &str, encoding: &str) -> ValueType {
    let is_packed = matches!(encoding, "listpack" | "ziplist");
    match kind {
        "string" => ValueType::String,
        "list" => ValueType::ListQuicklist2,
        "set" if encoding == "intset" => ValueType::SetIntset,
        "set" if is_packed => ValueType::SetListpack,
        "set" => ValueType::Set,
        "zset" if is_packed => ValueType::ZsetListpack,
        "zset" => ValueType::Zset,
        "hash" if is_packed => ValueType::HashListpack,
        "hash" => ValueType::Hash,
        "stream" => ValueType::Stream(1),
        _ => ValueType::Module,
    }
}

/// Encodings that servers print.
const ENCODINGS: [&str; 13] = [
    "raw",
    "int",
    "embstr",
    "listpack",
    "ziplist",
    "listpackex",
    "quicklist",
    "intset",
    "hashtable",
    "skiplist",
    "stream",
    "linkedlist",
    "zipmap",
];

fn encoding_of(text: &str) -> &'static str {
    ENCODINGS.into_iter().find(|known| *known == text).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfrag_rdb::size::Server;

    #[test]
    fn keys_told_one_by_one_become_patterns_and_totals() {
        let mut scanned = Scanned::new("s", &SizeFor::new(Server::Redis82), Options::default());
        for id in 0..100u64 {
            let name = format!("user:{id}:cart");
            let key = ScannedKey {
                db: 0,
                name: name.as_bytes(),
                kind: "hash",
                encoding: "listpack",
                bytes: 120,
                elements: 3,
                expires_ms: None,
                idle_s: Some(id),
            };
            scanned.add(&key);
        }
        let ended = Ended { kind: ENDED_EARLY, message: "ended".to_owned() };
        let report = scanned.end(Some(ended), &[]).report(None);
        assert_eq!(
            (report.total.keys, report.total.bytes - report.total.table_bytes),
            (100, 12_000)
        );
        assert_eq!(report.patterns.first().map(|p| p.pattern.as_str()), Some("user:{id}:cart"));
        assert_eq!(report.types.first().map(|t| (t.encoding, t.elements)), Some(("listpack", 300)));
        assert!(report.sources.iter().all(|s| s.problem.is_some()));
    }
}

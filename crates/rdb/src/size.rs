//! Sizing: what a snapshot would occupy once loaded. Read [`size_file`] first, [`SizeFor`] for whom.
//!
//! The answer is the growth of `used_memory` that loading would cause: every structure a server builds, each rounded up
//! as its allocator does. It is the floor a restart reaches.

mod cost;
mod keyspace;
mod like;
mod server;
mod stream;
mod value;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;

pub use server::{ALLOCATORS, SERVERS, Server, SizeFor, Thresholds, UnknownServer};
pub use unfrag_model::size_class::Allocator;

use crate::container::{self, Framing, Source, Wrapper};
use crate::format::DataType;
use crate::input::{Input, Slice, Stream};
use crate::problem::{Flaw, Problem};
use crate::reader::{Item, Key, Reader};
use value::ValueSize;

/// One key, sized.
#[derive(Debug, Clone, Copy)]
pub struct KeySize<'k> {
    /// Key and attributes.
    pub key: Key<'k>,
    /// Bytes with its share of nothing: tables of the database are apart.
    pub bytes: u64,
    /// Encoding after loading, as `OBJECT ENCODING` prints it.
    pub encoding: &'static str,
    /// Elements, or bytes of a string.
    pub elements: u64,
}

/// Keys and bytes of all keys of a type and encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TypeSize {
    /// Type.
    #[serde(rename = "type")]
    pub data_type: DataType,
    /// Encoding after loading.
    pub encoding: &'static str,
    /// Keys.
    pub keys: u64,
    /// Their bytes, tables of the database not counted.
    pub bytes: u64,
    /// Their elements; bytes of strings.
    pub elements: u64,
}

/// All keys together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Total {
    /// Keys that would be loaded.
    pub keys: u64,
    /// Growth of `used_memory` from an empty server, tables included.
    pub bytes: u64,
    /// Of which tables of keys and expiries, which no key owns.
    pub table_bytes: u64,
    /// Keys left out because they have expired.
    pub expired_keys: u64,
}

/// The result, as `unfrag rdb size -o json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeReport {
    /// `unfrag.rdb-size/1`.
    pub schema: &'static str,
    /// Name of what was read.
    pub file: String,
    /// Server.
    pub sized_for: &'static str,
    /// Allocator.
    pub allocator: &'static str,
    /// Sum.
    pub total: Total,
    /// By type and encoding.
    pub types: Vec<TypeSize>,
    /// What stopped the reading before the end: sizes are then of what came before.
    pub problem: Option<Problem>,
}

/// Sizes the file at `path` (`-` for standard input), telling `each` of every key.
///
/// # Errors
/// Only when the file cannot be opened or mapped.
pub fn size_file(
    path: &Path,
    size_for: &SizeFor,
    each: impl FnMut(&KeySize<'_>),
) -> io::Result<SizeReport> {
    let name = path.display().to_string();
    Ok(match container::open(path)? {
        Source::Mapped(map) => size_bytes(&name, map.bytes(), size_for, each),
        source @ Source::Streamed { .. } => size_source(&name, source, size_for, each),
    })
}

/// Sizes what `source` yields.
pub fn size_reader<'s>(
    name: &str,
    source: impl Read + Send + 's,
    size_for: &SizeFor,
    each: impl FnMut(&KeySize<'_>),
) -> io::Result<SizeReport> {
    Ok(size_source(name, container::streamed(source)?, size_for, each))
}

/// Sizes a snapshot that is all in memory.
pub fn size_bytes(
    name: &str,
    bytes: &[u8],
    size_for: &SizeFor,
    each: impl FnMut(&KeySize<'_>),
) -> SizeReport {
    if Wrapper::sniff(bytes).is_some()
        && let Ok(source) = container::streamed(bytes)
    {
        return size_source(name, source, size_for, each);
    }
    let framing = Framing::parse(bytes.get(..4096).unwrap_or(bytes));
    let snapshot = bytes.get(framing.before..).unwrap_or_default();
    Sizer::new(size_for).run(Slice::new(snapshot, framing.before as u64), each).report(name)
}

fn size_source(
    name: &str,
    source: Source<'_>,
    size_for: &SizeFor,
    each: impl FnMut(&KeySize<'_>),
) -> SizeReport {
    match source {
        Source::Mapped(map) => size_bytes(name, map.bytes(), size_for, each),
        Source::Streamed { bytes, framing, .. } => {
            let input = Stream::new(bytes, framing.before as u64);
            Sizer::new(size_for).run(input, each).report(name)
        }
    }
}

/// Keys and expiries of one database.
#[derive(Debug, Clone, Copy, Default)]
struct Db {
    keys: u64,
    expires: u64,
}

/// Sums over a snapshot.
struct Sizer {
    size_for: SizeFor,
    value: ValueSize,
    dbs: BTreeMap<u64, Db>,
    types: BTreeMap<(DataType, &'static str), TypeSize>,
    total: Total,
    problem: Option<Problem>,
}

impl Sizer {
    fn new(size_for: &SizeFor) -> Self {
        Self {
            size_for: *size_for,
            value: ValueSize::new(size_for),
            dbs: BTreeMap::new(),
            types: BTreeMap::new(),
            total: Total::default(),
            problem: None,
        }
    }

    fn run(mut self, input: impl Input, each: impl FnMut(&KeySize<'_>)) -> Self {
        let result = Reader::new(input).and_then(|mut reader| self.keys(&mut reader, each));
        if let Err(flaw) = result {
            self.problem = Some(Problem::new(flaw, None, None));
        }
        self
    }

    fn keys<I: Input>(
        &mut self,
        reader: &mut Reader<I>,
        mut each: impl FnMut(&KeySize<'_>),
    ) -> Result<(), Flaw> {
        let mut name = Vec::new();
        while let Some(item) = reader.next_item()? {
            let Item::Key(key) = item else { continue };
            let expired = self.size_for.now_ms.zip(key.expires_ms);
            if expired.is_some_and(|(now, at)| at < now) {
                self.total.expired_keys += 1;
                continue;
            }
            let Key { kind, expires_ms, .. } = key;
            name.clear();
            name.extend_from_slice(key.name);
            let key = Key { name: &name, ..key_without_name(&key) };
            self.value.begin(kind);
            reader.value(&mut self.value)?;
            let sized = self.value.finish();
            let whole = keyspace::key(
                &self.size_for,
                &self.value.cost,
                key.name.len() as u64,
                expires_ms.is_some(),
                sized,
            );
            self.add(&key, whole.encoding, whole.bytes, sized.elements);
            each(&KeySize {
                key,
                bytes: whole.bytes,
                encoding: whole.encoding,
                elements: sized.elements,
            });
        }
        Ok(())
    }

    fn add(&mut self, key: &Key<'_>, encoding: &'static str, bytes: u64, elements: u64) {
        let db = self.dbs.entry(key.db.unwrap_or_default()).or_default();
        db.keys += 1;
        db.expires += u64::from(key.expires_ms.is_some());
        let data_type = key.kind.data_type();
        let sum = self.types.entry((data_type, encoding)).or_insert(TypeSize {
            data_type,
            encoding,
            keys: 0,
            bytes: 0,
            elements: 0,
        });
        sum.keys += 1;
        sum.bytes += bytes;
        sum.elements += elements;
        self.total.keys += 1;
        self.total.bytes += bytes;
    }

    fn report(mut self, name: &str) -> SizeReport {
        let cost = &self.value.cost;
        self.total.table_bytes =
            self.dbs.values().map(|db| keyspace::tables(cost, db.keys, db.expires)).sum();
        self.total.bytes += self.total.table_bytes;
        SizeReport {
            schema: "unfrag.rdb-size/1",
            file: name.to_owned(),
            sized_for: self.size_for.server.name(),
            allocator: self.size_for.allocator_name(),
            total: self.total,
            types: self.types.into_values().collect(),
            problem: self.problem,
        }
    }
}

/// `key` with its name left out, free of the reader it came from.
fn key_without_name(key: &Key<'_>) -> Key<'static> {
    Key {
        offset: key.offset,
        type_offset: key.type_offset,
        kind: key.kind,
        db: key.db,
        name: &[],
        expires_ms: key.expires_ms,
        idle_s: key.idle_s,
        frequency: key.frequency,
        meta_classes: key.meta_classes,
    }
}

//! Sizing: what a snapshot would occupy once loaded. Read [`size_file`] first, [`SizeFor`] for whom.
//!
//! The answer is the growth of `used_memory` that loading would cause: every structure a server builds, each rounded up
//! as its allocator does. It is the floor a restart reaches.

mod cost;
mod estimate;
mod expiry;
mod fold;
mod keyspace;
mod like;
mod score;
mod server;
mod slots;
mod stream;
mod value;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

pub use estimate::{Estimate, Estimator};
pub use fold::{Block, Observer, Tally, fold_bytes, fold_file, fold_reader};
pub use server::{ALLOCATORS, SERVERS, Server, SizeFor, Thresholds, UnknownServer};
pub use unfrag_model::size_class::Allocator;

use crate::container::{self, Framing, Source, Wrapper};
use crate::format::{DataType, Header};
use crate::input::{Input, Slice, Stream, index};
use crate::parallel::{self, Queue, SEGMENT_BYTES, Segment};
use crate::problem::{Flaw, FlawKind, Problem};
use crate::reader::{Item, Key, Reader};
use crate::text::Text;
use fold::{Each, Ignore, States, Watched};
use keyspace::Db;
use slots::Slots;
use value::{Sized, ValueSize};

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
    /// Bytes of the longest element, where the walk saw elements.
    pub longest: u64,
    /// For a table or skiplist that is not far from fitting: bytes of the key if it were packed instead. Only where it
    /// is asked for ([`Observer::PACKED`]).
    pub packed_bytes: Option<u64>,
    /// Packed it would be an intset: a set of integers, whose limit is another one.
    pub packs_to_intset: bool,
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
    /// On top of [`Total::bytes`] right after loading, until the server has moved all keys out of the table's
    /// smaller predecessor: seconds, or a minute or two for tens of millions.
    pub rehash_bytes: u64,
    /// Keys left out because they have expired.
    pub expired_keys: u64,
}

/// Form of the report as JSON.
pub const SCHEMA: &str = "unfrag.rdb-size/1";

/// The result, as `unfrag rdb size -o json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Name of what was read.
    pub file: String,
    /// Server.
    pub sized_for: &'static str,
    /// Allocator.
    pub allocator: &'static str,
    /// It is sized for a node of a Cluster.
    pub cluster: bool,
    /// Sum.
    pub total: Total,
    /// By type and encoding.
    pub types: Vec<TypeSize>,
    /// What stopped the reading before the end: sizes are then of what came before.
    pub problem: Option<Problem>,
}

/// Sizes the file at `path` (`-` for standard input), on every core that helps.
///
/// # Errors
/// Only when the file cannot be opened or mapped.
pub fn size_file(path: &Path, size_for: &SizeFor) -> io::Result<SizeReport> {
    fold_file(path, size_for, Ignore).map(|(report, Ignore)| report)
}

/// As [`size_file`], telling of every key on the core that sized it: each core has a state of its own, made by
/// `state`, and all states come back for the caller to join. Keys of a state are in file order, but which
/// state a key goes to is not said. What is not a mapped file has one state. [`fold_file`] tells more.
///
/// # Errors
/// Only when the file cannot be opened or mapped.
pub fn size_fold<S: Send>(
    path: &Path,
    size_for: &SizeFor,
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, &KeySize<'_>) + Sync,
) -> io::Result<(SizeReport, Vec<S>)> {
    let (report, states) = fold_file(path, size_for, States::new(&state, &each))?;
    Ok((report, states.all()))
}

/// As [`size_file`], telling `each` of every key in file order, on one core.
///
/// # Errors
/// Only when the file cannot be opened or mapped.
pub fn size_each(
    path: &Path,
    size_for: &SizeFor,
    each: impl FnMut(&KeySize<'_>),
) -> io::Result<SizeReport> {
    let name = path.display().to_string();
    Ok(match container::open(path)? {
        Source::Mapped(map) => match unframed(map.bytes()) {
            Ok(slice) => Sizer::new(size_for).run(slice, &mut Each(each)).report(&name),
            Err(source) => size_source(&name, source?, size_for, &mut Each(each)),
        },
        source @ Source::Streamed { .. } => size_source(&name, source, size_for, &mut Each(each)),
    })
}

/// Sizes what `source` yields, telling `each` of every key.
///
/// # Errors
/// Only when nothing can be read at all.
pub fn size_reader<'s>(
    name: &str,
    source: impl Read + Send + 's,
    size_for: &SizeFor,
    each: impl FnMut(&KeySize<'_>),
) -> io::Result<SizeReport> {
    Ok(size_source(name, container::streamed(source)?, size_for, &mut Each(each)))
}

/// Sizes a snapshot that is all in memory.
pub fn size_bytes(name: &str, bytes: &[u8], size_for: &SizeFor) -> SizeReport {
    match unframed(bytes) {
        Ok(slice) => {
            Sizer::new(size_for).run_on_all_cores(slice, Ignore, &|_, _| ()).0.report(name)
        }
        Err(Ok(source)) => size_source(name, source, size_for, &mut Ignore),
        Err(Err(_)) => Sizer::broken(size_for, FlawKind::BadWrapper).report(name),
    }
}

/// A table of keys or expiries: slots of a dict, buckets of Valkey's hash table. See [`table`].
pub use keyspace::Table;

/// The table of `keys` entries in a database that has just been loaded.
pub fn table(size_for: &SizeFor, keys: u64) -> Table {
    Table::fresh(&cost::Cost::new(size_for), keys)
}

/// Bytes that a table of `keys` entries takes, whatever its room.
pub fn table_bytes(size_for: &SizeFor, table: Table, keys: u64) -> u64 {
    table.bytes(&cost::Cost::new(size_for), keys)
}

/// The snapshot in `bytes`, or how to stream it if it is compressed.
fn unframed(bytes: &[u8]) -> Result<Slice<'_>, io::Result<Source<'_>>> {
    if Wrapper::sniff(bytes).is_some() {
        return Err(container::streamed(bytes));
    }
    let framing = Framing::parse(bytes.get(..4096).unwrap_or(bytes));
    let snapshot = bytes.get(framing.before..).unwrap_or_default();
    Ok(Slice::new(snapshot, framing.before as u64))
}

fn size_source(
    name: &str,
    source: Source<'_>,
    size_for: &SizeFor,
    observer: &mut impl Observer,
) -> SizeReport {
    match source {
        Source::Mapped(map) => {
            Sizer::new(size_for).run(Slice::new(map.bytes(), 0), observer).report(name)
        }
        Source::Streamed { bytes, framing, .. } => {
            let input = Stream::new(bytes, framing.before as u64);
            Sizer::new(size_for).run(input, observer).report(name)
        }
    }
}

/// Sums over a snapshot.
struct Sizer {
    size_for: SizeFor,
    value: ValueSize,
    dbs: BTreeMap<u64, Db>,
    /// For a node of a Cluster.
    slots: Option<Slots>,
    /// Few, and the last one used is first: looked through in order.
    types: Vec<TypeSize>,
    total: Total,
    problem: Option<Problem>,
}

impl Sizer {
    fn new(size_for: &SizeFor) -> Self {
        Self {
            size_for: *size_for,
            value: ValueSize::new(size_for),
            dbs: BTreeMap::new(),
            slots: size_for.is_cluster.then(|| Slots::new(size_for.server)),
            types: Vec::new(),
            total: Total::default(),
            problem: None,
        }
    }

    fn broken(size_for: &SizeFor, kind: FlawKind) -> Self {
        let problem = Some(Problem::new(Flaw::new(0, kind), None, None));
        Self { problem, ..Self::new(size_for) }
    }

    fn run(mut self, input: impl Input, observer: &mut impl Observer) -> Self {
        let result = Reader::new(input).and_then(|mut reader| self.keys(&mut reader, observer));
        if let Err(flaw) = result {
            self.problem = Some(Problem::new(flaw, None, None));
        }
        self
    }

    /// The same where all bytes are at hand: one core finds the keys, all of them size. `done` is told of the offsets
    /// between which all is sized.
    fn run_on_all_cores<T: Tally>(
        self,
        input: Slice<'_>,
        mut tally: T,
        done: &(impl Fn(u64, u64) + Sync),
    ) -> (Self, T) {
        let threads = parallel::threads(0, input.rest().len());
        if threads == 1 {
            return (self.run(input, &mut tally), tally);
        }
        let Ok(mut reader) = Reader::new(input) else {
            return (self.run(input, &mut tally), tally);
        };
        let queue = Queue::default();
        let size_for = self.size_for;
        let sum = Mutex::new((self, tally));
        let header = reader.header();
        let start = || (Self::new(&size_for), lock(&sum).1.fork());
        let help = |(mut own, mut tally): (Self, T)| {
            while let Some(segment) = queue.next() {
                own.segment(input, header, segment, &mut tally);
                done(segment.start, segment.end);
            }
            let mut sum = lock(&sum);
            sum.0.merge(own);
            sum.1.join(tally);
        };
        let broken = std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| help(start()));
            }
            let (mut own, mut tally) = start();
            let broken = cut(&mut reader, |segment| {
                if let Some(oldest) = queue.add(segment) {
                    own.segment(input, header, oldest, &mut tally);
                    done(oldest.start, oldest.end);
                }
            });
            queue.close();
            help((own, tally));
            broken
        });
        let (mut sum, tally) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        sum.problem = broken.map(|flaw| Problem::new(flaw, None, None));
        (sum, tally)
    }

    fn segment(
        &mut self,
        whole: Slice<'_>,
        header: Header,
        segment: Segment,
        observer: &mut impl Observer,
    ) {
        let base = whole.offset();
        let from = index(segment.start.saturating_sub(base));
        let to = index(segment.end.saturating_sub(base));
        let bytes = whole.rest().get(from..to).unwrap_or_default();
        let mut reader = Reader::resume(Slice::new(bytes, segment.start), header, segment.db);
        // It ends where the piece does; damage has been met on the walk that cut it.
        let _ = self.keys(&mut reader, observer);
    }

    fn merge(&mut self, other: Self) {
        for (number, found) in other.dbs {
            let db = self.dbs.entry(number).or_default();
            db.keys += found.keys;
            db.expires += found.expires;
            db.volatile += found.volatile;
        }
        if let (Some(slots), Some(found)) = (&mut self.slots, other.slots) {
            slots.merge(found);
        }
        for found in other.types {
            let sum = self.type_sum(found.data_type, found.encoding);
            sum.keys += found.keys;
            sum.bytes += found.bytes;
            sum.elements = sum.elements.saturating_add(found.elements);
        }
        self.total.keys += other.total.keys;
        self.total.bytes += other.total.bytes;
        self.total.expired_keys += other.total.expired_keys;
    }

    fn keys<I: Input, O: Observer>(
        &mut self,
        reader: &mut Reader<I>,
        observer: &mut O,
    ) -> Result<(), Flaw> {
        self.value.ask_for_packed(O::PACKED);
        let mut name = Vec::new();
        let mut db = (None, Db::default());
        let result = loop {
            let (offset, selected) = (reader.offset(), reader.db());
            if let Some((name, value)) = reader.next_plain_string() {
                if db.0 != selected {
                    self.add_db(std::mem::replace(&mut db, (selected, Db::default())));
                }
                db.1.keys += 1;
                let key = Key::plain_string(offset, selected, name);
                let text = Text::Bytes(value);
                self.value.cost.record(observer.open(&key));
                observer.text(text);
                self.close(key, value::string(text), observer);
                continue;
            }
            let key = match reader.next_item() {
                Ok(Some(Item::Key(key))) => key,
                Ok(Some(item)) => {
                    observer.item(&item);
                    continue;
                }
                Ok(None) => break Ok(()),
                Err(flaw) => break Err(flaw),
            };
            if self.has_expired(&key) {
                continue;
            }
            name.clear();
            name.extend_from_slice(key.name);
            let key = Key { name: &name, ..key_without_name(&key) };
            self.value.begin(key.kind);
            self.value.cost.record(observer.open(&key));
            if let Err(flaw) = reader.value(&mut Watched { size: &mut self.value, observer }) {
                break Err(flaw);
            }
            if db.0 != key.db {
                self.add_db(std::mem::replace(&mut db, (key.db, Db::default())));
            }
            db.1.keys += 1;
            db.1.expires += u64::from(key.expires_ms.is_some());
            let sized = self.value.finish();
            db.1.volatile += u64::from(sized.has_volatile_fields);
            self.close(key, sized, observer);
        };
        self.add_db(db);
        result
    }

    #[inline]
    fn close(&mut self, key: Key<'_>, sized: Sized, observer: &mut impl Observer) {
        let whole = self.sized(key, sized);
        if self.value.cost.is_recording() {
            observer.close(&whole, &self.value.cost.recorded());
        } else {
            observer.close(&whole, &[]);
        }
    }

    fn has_expired(&mut self, key: &Key<'_>) -> bool {
        let times = self.size_for.now_ms.zip(key.expires_ms);
        let has_expired = times.is_some_and(|(now, at)| at < now);
        self.total.expired_keys += u64::from(has_expired);
        has_expired
    }

    /// Adds a key and its value.
    #[inline]
    fn sized<'k>(&mut self, key: Key<'k>, sized: Sized) -> KeySize<'k> {
        let (length, expires) = (key.name.len() as u64, key.expires_ms.is_some());
        if let Some(slots) = &mut self.slots {
            slots.add(key.name, expires);
        }
        let whole = keyspace::key(&self.size_for, &self.value.cost, length, expires, sized);
        let sum = self.type_sum(key.kind.data_type(), whole.encoding);
        sum.keys += 1;
        sum.bytes += whole.bytes;
        // A stream's is what its file says.
        sum.elements = sum.elements.saturating_add(sized.elements);
        self.total.keys += 1;
        self.total.bytes += whole.bytes;
        KeySize {
            key,
            bytes: whole.bytes,
            encoding: whole.encoding,
            elements: sized.elements,
            longest: sized.longest,
            packed_bytes: sized
                .packed
                .map(|packed| (whole.bytes + packed).saturating_sub(sized.bytes)),
            packs_to_intset: sized.packs_to_intset,
        }
    }

    fn add_db(&mut self, (number, found): (Option<u64>, Db)) {
        if found.keys > 0 {
            let db = self.dbs.entry(number.unwrap_or_default()).or_default();
            db.keys += found.keys;
            db.expires += found.expires;
            db.volatile += found.volatile;
        }
    }

    #[inline]
    fn type_sum(&mut self, data_type: DataType, encoding: &'static str) -> &mut TypeSize {
        let is_it =
            |sum: &TypeSize| sum.data_type == data_type && std::ptr::eq(sum.encoding, encoding);
        let place = match self.types.iter().position(is_it) {
            Some(place) => place,
            None => self.new_type(data_type, encoding),
        };
        // Both branches above give an index of a present element.
        #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
        &mut self.types[place]
    }

    /// The place of a sum met for the first time, or under another copy of its name.
    #[cold]
    fn new_type(&mut self, data_type: DataType, encoding: &'static str) -> usize {
        let is_it = |sum: &TypeSize| sum.data_type == data_type && sum.encoding == encoding;
        self.types.iter().position(is_it).unwrap_or_else(|| {
            self.types.push(TypeSize { data_type, encoding, keys: 0, bytes: 0, elements: 0 });
            self.types.len() - 1
        })
    }

    fn report(mut self, name: &str) -> SizeReport {
        let cost = &self.value.cost;
        self.total.table_bytes = self.dbs.values().map(|db| keyspace::tables(cost, *db)).sum();
        self.total.rehash_bytes = self.dbs.values().map(|db| keyspace::rehash(cost, *db)).sum();
        if let Some(slots) = &mut self.slots {
            let by_slot =
                if cost.has_slot_tables() { slots.tables(cost) } else { slots.tree(cost) };
            self.total.table_bytes += by_slot;
        }
        self.total.bytes += self.total.table_bytes;
        self.types.sort_by_key(|sum| (sum.data_type, sum.encoding));
        SizeReport {
            schema: SCHEMA,
            file: name.to_owned(),
            sized_for: self.size_for.server.name(),
            allocator: self.size_for.allocator_name(),
            cluster: self.size_for.is_cluster,
            total: self.total,
            types: self.types,
            problem: self.problem,
        }
    }
}

/// Walks from key to key and cuts the snapshot into segments; returns damage that stopped it.
fn cut(reader: &mut Reader<Slice<'_>>, mut add: impl FnMut(Segment)) -> Option<Flaw> {
    let mut segment = Segment { start: reader.offset(), end: 0, db: reader.db(), has_depth: true };
    let broken = loop {
        let offset = reader.offset();
        if offset - segment.start >= SEGMENT_BYTES {
            add(Segment { end: offset, ..segment });
            segment = Segment { start: offset, db: reader.db(), ..segment };
        }
        if reader.next_plain_string().is_some() {
            continue;
        }
        match reader.next_item() {
            Ok(Some(Item::Key(_))) => match reader.pass_value() {
                Ok(()) => {}
                // What stands before the damage is whole.
                Err(flaw) => break (offset, Some(flaw)),
            },
            Ok(Some(_)) => {}
            Ok(None) => break (offset, None),
            Err(flaw) => break (offset, Some(flaw)),
        }
    };
    let (end, broken) = broken;
    add(Segment { end, ..segment });
    broken
}

fn lock<S>(sum: &Mutex<S>) -> std::sync::MutexGuard<'_, S> {
    sum.lock().unwrap_or_else(PoisonError::into_inner)
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

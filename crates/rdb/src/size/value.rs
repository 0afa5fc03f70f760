//! Size of one value in a server, from one walk. Read [`ValueSize`] first.
//!
//! Which encoding a server chooses while loading is known only at the end of a value, so the walk sums what each
//! candidate would take. Packed encodings that stay as they are need only their length and count, and
//! those can be had without decompressing.

use super::cost::{Cost, MILLI};
use super::expiry::ExpiryIndex;
use super::score;
use super::server::{Server, SizeFor, Thresholds};
use super::stream::StreamSize;
use crate::format::{DataType, ValueType};
use crate::input::Scratch;
use crate::lzf;
use crate::problem::Flaw;
use crate::text::{Need, Text};
use crate::value::{Encoding, Event, Visitor, intset, listpack, ziplist};

/// What a value comes to, its object not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sized {
    /// Encoding after loading, as `OBJECT ENCODING` prints it.
    pub(super) encoding: &'static str,
    /// Bytes besides the object.
    pub(super) bytes: u64,
    /// Elements, or bytes of a string.
    pub(super) elements: u64,
    /// For strings: how the value relates to its object.
    pub(super) string: Option<StringForm>,
    /// For hashes: whether fields expire, for which the database keeps an index.
    pub(super) has_volatile_fields: bool,
    /// Longest element that was seen by itself.
    pub(super) longest: u64,
    /// For tables and skiplists: bytes if it were packed.
    pub(super) packed: Option<u64>,
    /// And packed it would be an intset.
    pub(super) packs_to_intset: bool,
}

/// A string value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StringForm {
    /// An integer.
    Int(i64),
    /// Text of this length.
    Text(u64),
}

/// Bytes of fields and values up to which newer servers keep both in one allocation.
const ENTRY_MAX: u64 = 128;
/// How many times as many elements as fit a packed encoding are near enough to ask what packing would take.
const NEAR: u64 = 2;
const LISTPACK_FRAME: u64 = 7;
/// The same of a ziplist: bytes, tail, count, end.
const ZIPLIST_FRAME: u64 = 11;

/// The visitor that sizes. [`ValueSize::begin`] before and [`ValueSize::finish`] after each value.
#[derive(Debug)]
pub(super) struct ValueSize {
    pub(super) cost: Cost,
    limits: Thresholds,
    sums: Sums,
    stream: StreamSize,
    /// For Valkey: its fields by expiry.
    expiries: ExpiryIndex,
    scratch: Scratch,
    /// Somebody asks what tables and skiplists would take if they were packed.
    asks_for_packed: bool,
}

/// What one value has come to so far.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact about the value so far")]
struct Sums {
    kind: Option<ValueType>,
    /// It cannot become packed, and nobody asks what it would take if it did: entries need not be priced.
    is_spread: bool,
    /// Elements told one by one, or counted in a closed encoding.
    elements: u64,
    /// Packed encodings that stay closed: their blocks, or their bytes where another block will hold them.
    closed_blocks: u64,
    closed_bytes: u64,
    nodes: u64,
    plain_nodes: u64,
    is_closed: bool,
    /// Bytes as listpack entries.
    entry_bytes: u64,
    /// Bytes as separate elements, in thousandths for skiplists.
    separate: u64,
    longest: u64,
    /// Pairs before the first one too long for a listpack.
    short_pairs: u64,
    width: u64,
    has_text: bool,
    field: u64,
    value: u64,
    expiring: u64,
    string: Option<Sized>,
    /// List node under construction: bytes and entries.
    node_bytes: u64,
    node_entries: u64,
    /// Its entries come from a ziplist and stay together.
    is_node_whole: bool,
    module: u64,
}

impl ValueSize {
    pub(super) fn new(size_for: &SizeFor) -> Self {
        Self {
            cost: Cost::new(size_for),
            limits: size_for.thresholds,
            sums: Sums::default(),
            stream: StreamSize::default(),
            expiries: ExpiryIndex::default(),
            scratch: Scratch::default(),
            asks_for_packed: false,
        }
    }

    /// Whether [`Sized::packed`] is wanted, which takes the texts of scores and more.
    pub(super) fn ask_for_packed(&mut self, wanted: bool) {
        self.asks_for_packed = wanted;
    }

    /// A value of type `kind` follows.
    #[inline]
    pub(super) fn begin(&mut self, kind: ValueType) {
        self.sums = Sums { kind: Some(kind), width: 2, ..Sums::default() };
        self.expiries.clear();
        if matches!(kind, ValueType::Stream(_)) {
            self.stream = StreamSize::default();
        }
    }

    /// What the value came to.
    pub(super) fn finish(&mut self) -> Sized {
        let sized = self.total();
        // The walk prices every candidate; a packed value is one block after all.
        let is_one_block = matches!(sized.encoding, "listpack" | "ziplist" | "intset");
        self.cost.settle(sized.bytes, sized.elements, is_one_block);
        sized
    }

    fn total(&mut self) -> Sized {
        let kind = self.sums.kind.map_or(DataType::String, ValueType::data_type);
        match kind {
            DataType::String => self.sums.string.unwrap_or(string(Text::Bytes(&[]))),
            DataType::List => self.list(),
            DataType::Set => self.set(),
            DataType::Zset => self.zset(),
            DataType::Hash => Sized { has_volatile_fields: self.sums.expiring > 0, ..self.hash() },
            DataType::Stream => {
                let (bytes, elements) = self.stream.finish(&self.cost);
                sized("stream", bytes, elements)
            }
            DataType::Array => {
                sized("array", self.cost.block(88) + self.sums.separate, self.sums.elements)
            }
            DataType::Gcra => sized("gcra", 0, 1),
            // What a module makes of its data only it knows: at least its bytes.
            DataType::Module | DataType::Cron => {
                sized("module", self.cost.block(16) + self.sums.module, self.sums.elements)
            }
        }
    }

    fn list(&mut self) -> Sized {
        self.close_node();
        let sums = self.sums;
        let nodes = sums.nodes + sums.plain_nodes;
        // From 7.2 on a list of one packed node within the limit is that node alone.
        let has_lists_alone = !self.cost.server.is_before_72();
        let (bytes_max, _) = self.limits.list_node();
        if has_lists_alone && sums.plain_nodes == 0 && nodes <= 1 && sums.closed_bytes <= bytes_max
        {
            return sized("listpack", sums.closed_blocks, sums.elements);
        }
        let header = if self.cost.server.is_redis_from(Server::Redis84) { 48 } else { 40 };
        let node = if self.cost.server == Server::Redis62 { 32 } else { 40 };
        let bytes = self.cost.block(header) + nodes * self.cost.block(node) + sums.closed_blocks;
        sized("quicklist", bytes, sums.elements)
    }

    fn set(&self) -> Sized {
        let sums = &self.sums;
        if sums.is_closed {
            let is_intset = sums.kind == Some(ValueType::SetIntset);
            let name = if is_intset { "intset" } else { "listpack" };
            return sized(name, sums.closed_blocks, sums.elements);
        }
        if !sums.has_text && sums.elements <= self.limits.set_intset_entries {
            let bytes = self.cost.block(8 + sums.elements * sums.width);
            return sized("intset", bytes, sums.elements);
        }
        let fits =
            sums.elements <= self.limits.set_entries && sums.longest <= self.limits.set_value_bytes;
        // An intset that grows too long goes straight to a table.
        if !self.cost.server.is_before_72() && fits && sums.has_text {
            return sized(
                "listpack",
                self.cost.block(LISTPACK_FRAME + sums.entry_bytes),
                sums.elements,
            );
        }
        let bytes = sums.separate + self.plain_table(sums.elements);
        if !sums.has_text {
            let packed = Some(self.cost.block(8 + sums.elements * sums.width));
            return Sized {
                packed,
                packs_to_intset: true,
                ..self.spread("hashtable", bytes, false)
            };
        }
        self.spread("hashtable", bytes, !self.cost.server.is_before_72())
    }

    /// What does not fit a packed encoding, with what it would take if it did.
    fn spread(&self, encoding: &'static str, bytes: u64, may_pack: bool) -> Sized {
        let longest = self.sums.longest;
        let is_wanted = self.asks_for_packed && may_pack && !self.sums.is_spread;
        let packed = (is_wanted && self.sums.expiring == 0).then(|| self.repacked());
        Sized { longest, packed, ..sized(encoding, bytes, self.sums.elements) }
    }

    /// A table whose entries are the elements themselves, where the server has such.
    fn plain_table(&self, n: u64) -> u64 {
        let cost = &self.cost;
        if cost.server.has_hashtable() {
            return cost.hashtable(n, 0);
        }
        let entries = if cost.server.is_before_72() { n * cost.block(24) } else { cost.chained(n) };
        cost.dict(n) + entries
    }

    fn zset(&self) -> Sized {
        let sums = &self.sums;
        if sums.is_closed {
            return sized(self.packed_name(), sums.closed_blocks, sums.elements);
        }
        let was_packed =
            matches!(sums.kind, Some(ValueType::ZsetListpack | ValueType::ZsetZiplist));
        let is_short = was_packed || sums.longest <= self.limits.zset_value_bytes;
        if sums.elements <= self.limits.zset_entries && is_short {
            return sized(self.packed_name(), self.repacked(), sums.elements);
        }
        let bytes = sums.separate / MILLI + self.cost.skiplist(sums.elements);
        self.spread("skiplist", bytes, true)
    }

    /// The file announces `count` elements, which rules some encodings out.
    fn announced(&mut self, count: u64) {
        let limits = &self.limits;
        let packed_max = match self.sums.kind.map(ValueType::data_type) {
            Some(DataType::Set) => limits.set_entries,
            Some(DataType::Zset) => limits.zset_entries,
            Some(DataType::Hash) => limits.hash_entries,
            _ => return,
        };
        // The texts of scores are dear.
        let wanted_max = if self.asks_for_packed { NEAR * packed_max } else { packed_max };
        self.sums.is_spread = count > wanted_max;
    }

    fn hash(&self) -> Sized {
        let sums = &self.sums;
        if sums.is_closed {
            let extra = if sums.expiring > 0 { self.listpack_ex() } else { 0 };
            let name = if sums.expiring > 0 { "listpackex" } else { self.packed_name() };
            return sized(name, sums.closed_blocks + extra, sums.elements);
        }
        let was_packed = matches!(
            sums.kind,
            Some(
                ValueType::HashListpack
                    | ValueType::HashZiplist
                    | ValueType::HashListpackTtl
                    | ValueType::HashListpackTtlPreGa
            )
        );
        let is_short = was_packed || sums.longest <= self.limits.hash_value_bytes;
        let may_pack = sums.expiring == 0 || !self.cost.server.is_valkey();
        if sums.elements <= self.limits.hash_entries && is_short && may_pack {
            let extra = if sums.expiring > 0 { self.listpack_ex() } else { 0 };
            let name = if sums.expiring > 0 { "listpackex" } else { self.packed_name() };
            return sized(name, self.repacked() + extra, sums.elements);
        }
        self.spread("hashtable", sums.separate + self.hash_table(), true)
    }

    fn hash_table(&self) -> u64 {
        let (n, cost) = (self.sums.elements, &self.cost);
        if cost.server.has_hashtable() {
            let meta = if self.sums.expiring > 0 { 8 } else { 0 };
            return cost.hashtable(n, meta) + self.expiries.bytes(cost);
        }
        let entries = match cost.server {
            server if server.is_redis_from(Server::Redis86) => cost.chained(n),
            _ => n * cost.block(24) + self.unfinished_rehash(),
        };
        let index = if self.sums.expiring > 0 { self.expiry_tree() } else { 0 };
        cost.dict(n) + entries + index
    }

    /// A hash that spills from a listpack while it loads gets a table for the pairs still to come. If all pairs
    /// together need the next one, the rehash has no time to finish and both tables stay.
    fn unfinished_rehash(&self) -> u64 {
        let sums = &self.sums;
        if sums.kind == Some(ValueType::HashTtl) && sums.elements > self.limits.hash_entries {
            return self.rehash_of_growth();
        }
        let has_spilled =
            sums.kind == Some(ValueType::Hash) && sums.elements <= self.limits.hash_entries;
        let left = sums.elements.saturating_sub(sums.short_pairs + 1);
        let table = left.next_power_of_two().max(4);
        if has_spilled && left > 4 && sums.elements > table {
            return self.cost.dict_table(table);
        }
        0
    }

    /// The loader of a hash whose fields expire lets the table grow by doubling (rdb.c, RDB_TYPE_HASH_METADATA). Each field
    /// after the last doubling moves one bucket of the old table that is not empty: 1 - 1/e of them at one field a bucket.
    fn rehash_of_growth(&self) -> u64 {
        let n = self.sums.elements;
        let old = n.next_power_of_two() / 2;
        let buckets_in_use = old * 632 / 1000;
        if n - old < buckets_in_use { self.cost.dict_table(old) } else { 0 }
    }

    /// Redis' index: a list through the fields up to sixteen, then a tree of segments of as many.
    fn expiry_tree(&self) -> u64 {
        let cost = &self.cost;
        let meta = match cost.server {
            Server::Redis82 => 24,
            _ => 32,
        };
        let grown = cost.dict_header();
        let with_meta = cost.block(56 + meta).saturating_sub(grown);
        match self.sums.expiring {
            0..=16 => with_meta,
            // Segments split when they are full, at sixteen: with 60 and with 600 fields they hold about ten
            // (`scripts/size_truth.py --kind hash-ttl-table --kind hash-ttl-all-table`).
            // A segment's key is a path of its own.
            k => with_meta + cost.rax_header() + k.div_ceil(10) * (cost.block(24) + cost.block(32)),
        }
    }

    fn listpack_ex(&self) -> u64 {
        self.cost.block(if self.cost.server.has_kvobj() { 24 } else { 32 })
    }

    fn packed_name(&self) -> &'static str {
        if self.cost.server == Server::Redis62 { "ziplist" } else { "listpack" }
    }

    /// Elements as one packed encoding.
    fn repacked(&self) -> u64 {
        let frame = if self.has_ziplists() { ZIPLIST_FRAME } else { LISTPACK_FRAME };
        self.cost.block(frame + self.sums.entry_bytes)
    }

    fn has_ziplists(&self) -> bool {
        self.cost.server == Server::Redis62
    }

    /// Bytes of an element of a hash or a sorted set in its packed encoding.
    #[inline]
    fn packed_entry(&self, text: &Text<'_>) -> u64 {
        if self.has_ziplists() { ziplist::entry_bytes(text) } else { listpack::entry_bytes(text) }
    }

    #[inline]
    fn member(&mut self, text: Text<'_>) {
        let length = text.length();
        self.sums.elements += 1;
        self.sums.longest = self.sums.longest.max(length);
        self.sums.separate += self.cost.string(length);
        if !self.sums.is_spread {
            self.sums.entry_bytes += listpack::entry_bytes(&text);
        }
        if !self.sums.has_text {
            match text.as_int() {
                Some(value) => self.sums.width = self.sums.width.max(int_width(value)),
                None => self.sums.has_text = true,
            }
        }
    }

    #[inline]
    fn scored(&mut self, text: Text<'_>) {
        let length = text.length();
        self.sums.elements += 1;
        self.sums.longest = self.sums.longest.max(length);
        self.sums.separate += self.cost.skiplist_member(length);
        if !self.sums.is_spread {
            self.sums.entry_bytes += self.packed_entry(&text);
        }
    }

    #[inline]
    fn score(&mut self, score: f64) {
        if !self.sums.is_spread {
            let mut room = score::Room::new();
            let text = score::text(self.cost.server, score, &mut room);
            self.sums.entry_bytes += self.packed_entry(&text);
        }
    }

    /// Field and value are both known.
    #[inline]
    fn pair(&mut self, value: Text<'_>) {
        let length = value.length();
        self.sums.longest = self.sums.longest.max(length);
        let is_short = self.sums.longest <= self.limits.hash_value_bytes;
        self.sums.short_pairs += u64::from(is_short);
        self.sums.elements += 1;
        if !self.sums.is_spread {
            self.sums.entry_bytes += self.packed_entry(&value);
        }
        self.sums.value = length;
        self.sums.separate += self.pair_bytes(self.sums.field, length, false);
    }

    fn pair_bytes(&self, field: u64, value: u64, expires: bool) -> u64 {
        let cost = &self.cost;
        match cost.server {
            server if server.is_redis_from(Server::Redis86) => {
                self.entry(field, value, if expires { 16 } else { 0 })
            }
            Server::Valkey81 | Server::Valkey90 | Server::Valkey91 => {
                self.entry(field, value, if expires { 8 } else { 0 })
            }
            server if server.is_redis_from(Server::Redis74) => {
                let header = match field {
                    0..=31 => 1,
                    32..=65_535 => 3,
                    _ => 9,
                };
                let expiry = if expires { 16 + 2 } else { 0 };
                cost.block(expiry + header + field + 1) + cost.string(value)
            }
            _ => cost.string(field) + cost.string(value),
        }
    }

    /// Field and value in one allocation, or the field with a pointer.
    fn entry(&self, field: u64, value: u64, expiry: u64) -> u64 {
        let cost = &self.cost;
        // Only a header of three bytes has room to say that there is more than the string.
        let flagged = cost.string_request(field).max(field + 4);
        let plain = if expiry > 0 { flagged } else { cost.string_request(field) };
        let whole = expiry + plain + value + 4;
        if whole <= ENTRY_MAX {
            return cost.block(whole);
        }
        cost.block(expiry + 8 + flagged) + cost.string(value)
    }

    fn field_expiry(&mut self, expiry: Option<u64>) {
        let zero = listpack::entry_bytes(&Text::Int(0));
        let Some(time) = expiry else {
            self.sums.entry_bytes += zero;
            return;
        };
        if self.cost.server.is_valkey() {
            self.expiries.add(time);
        }
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        self.sums.entry_bytes += listpack::entry_bytes(&Text::Int(time));
        self.sums.expiring += 1;
        let plain = self.pair_bytes(self.sums.field, self.sums.value, false);
        let expiring = self.pair_bytes(self.sums.field, self.sums.value, true);
        self.sums.separate = (self.sums.separate + expiring).saturating_sub(plain);
    }

    /// An element of a list that goes into nodes as the server fills them.
    fn item(&mut self, text: Text<'_>) {
        self.sums.elements += 1;
        if self.sums.is_node_whole {
            self.sums.node_bytes += listpack::entry_bytes(&text);
            self.sums.node_entries += 1;
            return;
        }
        let (bytes_max, entries_max) = self.limits.list_node();
        let length = text.length();
        if length > bytes_max && self.cost.server > Server::Redis62 {
            self.close_node();
            self.sums.plain_nodes += 1;
            self.sums.closed_blocks += self.cost.block(length);
            return;
        }
        let bytes = listpack::entry_bytes(&text);
        // Servers overestimate an entry's overhead by a fixed eight bytes.
        let is_full =
            self.sums.node_bytes + length + 8 > bytes_max || self.sums.node_entries >= entries_max;
        if is_full && self.sums.node_entries > 0 {
            self.close_node();
        }
        if self.sums.node_entries == 0 {
            self.sums.node_bytes = LISTPACK_FRAME;
        }
        self.sums.node_bytes += bytes;
        self.sums.node_entries += 1;
    }

    fn close_node(&mut self) {
        if self.sums.node_entries > 0 {
            self.sums.nodes += 1;
            self.sums.closed_bytes += self.sums.node_bytes;
            self.sums.closed_blocks += self.cost.block(self.sums.node_bytes);
        }
        self.sums.node_bytes = 0;
        self.sums.node_entries = 0;
    }

    /// A list node stays as it is.
    fn list_node(&mut self, encoding: Encoding, text: &Text<'_>) -> bool {
        let bytes = text.length();
        if encoding == Encoding::PlainNode {
            self.sums.plain_nodes += 1;
            self.sums.elements += 1;
            self.sums.closed_blocks += self.cost.block(bytes);
            return false;
        }
        let is_old = self.cost.server == Server::Redis62;
        if encoding == Encoding::Ziplist && !is_old {
            // Every node becomes a listpack of its own, also where that is larger than a node may be.
            self.close_node();
            self.sums.is_node_whole = true;
            self.sums.node_bytes = LISTPACK_FRAME;
            return true;
        }
        let count = packed_count(encoding, text, &mut self.scratch);
        if count == Some(0) {
            return false;
        }
        self.sums.elements += count.unwrap_or_default();
        self.sums.nodes += 1;
        self.sums.closed_bytes += bytes;
        self.sums.closed_blocks += self.cost.block(bytes);
        false
    }

    /// Whether a packed set, hash or sorted set of `count` elements becomes something else while loading.
    fn is_converted(&self, kind: ValueType, count: u64) -> bool {
        match kind.data_type() {
            DataType::Set if kind == ValueType::SetIntset => count > self.limits.set_intset_entries,
            DataType::Set => self.cost.server.is_before_72() || count > self.limits.set_entries,
            DataType::Zset => count > self.limits.zset_entries,
            _ => count > self.limits.hash_entries,
        }
    }
}

impl Visitor for ValueSize {
    const NAMES: Need = Need::Length;
    const VALUES: Need = Need::Length;
    const BLOBS: Need = Need::Bytes;

    fn blob(&mut self, encoding: Encoding, text: &Text<'_>) -> bool {
        let Some(kind) = self.sums.kind else { return false };
        match kind.data_type() {
            DataType::List => return self.list_node(encoding, text),
            DataType::Stream => {
                self.stream.node(self.cost.block(text.length()));
                return false;
            }
            _ => {}
        }
        let must_repack = encoding == Encoding::Zipmap
            || (encoding == Encoding::Ziplist && self.cost.server > Server::Redis62);
        let tuple = match kind {
            ValueType::SetIntset | ValueType::SetListpack => 1,
            ValueType::HashListpackTtl | ValueType::HashListpackTtlPreGa => 3,
            _ => 2,
        };
        let count = packed_count(encoding, text, &mut self.scratch).map(|entries| entries / tuple);
        let Some(count) = count.filter(|_| !must_repack) else { return true };
        if self.is_converted(kind, count) || (tuple == 3 && self.cost.server.is_valkey()) {
            return true;
        }
        self.sums.is_closed = true;
        self.sums.elements = count;
        self.sums.expiring = u64::from(tuple == 3);
        self.sums.closed_blocks = self.cost.block(text.length());
        false
    }

    #[inline]
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::String(text) => self.sums.string = Some(string(text)),
            Event::Count(count) => self.announced(count),
            Event::Member(text) => self.member(text),
            Event::Scored(text) => self.scored(text),
            Event::Score(score) => self.score(score),
            Event::Field(text) => {
                self.sums.field = text.length();
                self.sums.longest = self.sums.longest.max(self.sums.field);
                if !self.sums.is_spread {
                    self.sums.entry_bytes += self.packed_entry(&text);
                }
            }
            Event::Value(text) => self.pair(text),
            Event::FieldExpiry(expiry) => self.field_expiry(expiry),
            Event::Item(text) => self.item(text),
            Event::Stream(part) => self.stream.on(part, &self.cost),
            Event::ArrayIndex(_) => {
                self.sums.elements += 1;
                self.sums.separate += 8;
            }
            Event::ArrayText(text) if text.length() > 7 => {
                self.sums.separate += self.cost.string(text.length());
            }
            Event::ModuleText(text) => self.sums.module += self.cost.block(text.length()),
            Event::ModuleInt(_) | Event::ModuleFloat(_) => self.sums.module += 8,
            _ => {}
        }
    }

    fn flaw(&mut self, _: Flaw) {}
}

/// A string value: what it takes depends on its key.
#[inline]
pub(super) fn string(text: Text<'_>) -> Sized {
    let (encoding, form) = match text.as_int() {
        Some(value) => ("int", StringForm::Int(value)),
        None => ("raw", StringForm::Text(text.length())),
    };
    Sized { string: Some(form), ..sized(encoding, 0, text.length()) }
}

fn sized(encoding: &'static str, bytes: u64, elements: u64) -> Sized {
    Sized {
        encoding,
        bytes,
        elements,
        string: None,
        has_volatile_fields: false,
        longest: 0,
        packed: None,
        packs_to_intset: false,
    }
}

fn int_width(value: i64) -> u64 {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// Entries that the header of a packed encoding states, without decompressing more than that.
fn packed_count(encoding: Encoding, text: &Text<'_>, scratch: &mut Scratch) -> Option<u64> {
    let mut start = [0; 16];
    let header: &[u8] = match text {
        Text::Bytes(bytes) => bytes,
        Text::Packed(packed) => {
            let got = lzf::decode_prefix(packed.lzf, &mut start);
            start.get(..got)?
        }
        other => other.bytes(scratch).ok()?,
    };
    let short =
        |at: usize| header.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes));
    match encoding {
        Encoding::Listpack | Encoding::StreamListpack => {
            short(4).filter(|&count| count != listpack::COUNT_UNKNOWN).map(u64::from)
        }
        Encoding::Ziplist => {
            short(8).filter(|&count| count != ziplist::COUNT_UNKNOWN).map(u64::from)
        }
        Encoding::Intset => intset::Header::parse(header).map(|header| u64::from(header.count)),
        Encoding::Zipmap | Encoding::PlainNode => None,
    }
}

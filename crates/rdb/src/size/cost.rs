//! What structures cost in a server: strings, tables, skiplists, radix trees. Read [`Cost`] first.
//!
//! Each function names the structure and gives the bytes that the allocator takes for it. Sources are the servers'
//! own headers, by release; numbers were checked against growth of `used_memory` after loading.

use std::cell::{Cell, RefCell};

use unfrag_model::size_class::Allocator;

use super::fold::Block;

use super::server::{Server, SizeFor};

/// Prices of one server.
#[derive(Debug, Clone)]
pub(super) struct Cost {
    pub(super) server: Server,
    allocator: Allocator,
    pub(super) is_cluster: bool,
    /// Expected bytes of a skiplist node's levels are the same for every member of a given base: kept per base class.
    plain_node: u64,
    recording: Cell<bool>,
    blocks: RefCell<Vec<Block>>,
}

/// Levels of a skiplist: each next one with probability 1/4, up to 32; beyond ten the rest weighs nothing.
const LEVELS: u64 = 10;
/// Fixed-point unit for expected sizes.
pub(super) const MILLI: u64 = 1000;

impl Cost {
    pub(super) fn new(size_for: &SizeFor) -> Self {
        let mut cost = Self {
            server: size_for.server,
            allocator: size_for.allocator,
            is_cluster: size_for.is_cluster,
            plain_node: 0,
            recording: Cell::new(false),
            blocks: RefCell::default(),
        };
        cost.plain_node = cost.expected_levels(24);
        cost
    }

    /// Bytes taken by a request of `bytes`.
    #[inline]
    pub(super) fn block(&self, bytes: u64) -> u64 {
        let class_bytes = self.allocator.usable(bytes);
        if self.recording.get() {
            self.note(class_bytes, 1);
        }
        class_bytes
    }

    /// Starts or ends a list of the blocks asked for.
    #[inline]
    pub(super) fn record(&self, wanted: bool) {
        self.recording.set(wanted);
        if wanted {
            self.blocks.borrow_mut().clear();
        }
    }

    #[inline]
    pub(super) fn is_recording(&self) -> bool {
        self.recording.get()
    }

    /// The list.
    pub(super) fn recorded(&self) -> Vec<Block> {
        self.blocks.borrow().clone()
    }

    #[cold]
    fn note(&self, class_bytes: u64, count: u64) {
        let mut blocks = self.blocks.borrow_mut();
        match blocks.iter_mut().find(|block| block.class_bytes == class_bytes) {
            Some(block) => block.count += count,
            None => blocks.push(Block { class_bytes, count }),
        }
    }

    /// Makes the list agree with a value of `bytes`: prices that were multiplied stand in it once.
    pub(super) fn settle(&self, bytes: u64, elements: u64, is_one_block: bool) {
        if !self.recording.get() {
            return;
        }
        if is_one_block {
            self.blocks.borrow_mut().clear();
            self.note(bytes, 1);
            return;
        }
        let listed: u64 = self.blocks.borrow().iter().map(|b| b.class_bytes * b.count).sum();
        let missing = bytes.saturating_sub(listed);
        let each = missing / elements.max(1);
        if each > 0 {
            self.note(self.allocator.usable(each), elements);
        }
    }

    /// Request for a string of `length` with its header and terminator.
    #[inline]
    pub(super) fn string_request(&self, length: u64) -> u64 {
        let is_new = self.server.is_redis_from(Server::Redis82) || self.server.has_hashtable();
        // Newer servers keep a few lengths of each header for themselves.
        let (small, medium) = if is_new { (252, 65_530) } else { (255, 65_535) };
        let header = match length {
            // An empty string is made to be appended to.
            0 => 3,
            1..=31 => 1,
            length if length <= small => 3,
            length if length <= medium => 5,
            length if length < 1 << 32 => 9,
            _ => 17,
        };
        header + length + 1
    }

    /// A string of its own.
    #[inline]
    pub(super) fn string(&self, length: u64) -> u64 {
        self.block(self.string_request(length))
    }

    /// A table of `n` entries, entries not counted: pointers to the next power of two.
    pub(super) fn dict_table(&self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.block(8 * n.next_power_of_two().max(4)) }
    }

    /// The structure in front of a table.
    pub(super) fn dict_header(&self) -> u64 {
        self.block(match self.server {
            Server::Redis62 => 96,
            server if server.is_redis_from(Server::Redis84) => 64,
            _ => 56,
        })
    }

    /// Entries of a table without values: one that is last in its chain is the pointer itself.
    pub(super) fn chained(&self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        self.chained_at(n.next_power_of_two().max(4), n)
    }

    /// The same in a table of `buckets`.
    pub(super) fn chained_at(&self, buckets: u64, n: u64) -> u64 {
        self.links(n as f64, buckets as f64)
    }

    /// Entries that `elements` in `buckets` need beyond one a bucket.
    fn links(&self, elements: f64, buckets: f64) -> u64 {
        if buckets < 1.0 {
            return 0;
        }
        rounded((elements - buckets * (1.0 - (-elements / buckets).exp())) * self.block(16) as f64)
    }

    /// A database's table of `n` entries, values not counted, as it is once a rehash is done.
    pub(super) fn database_table(&self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        if self.server.has_hashtable() {
            return self.buckets(n);
        }
        // The server's own rounds make room in a full table where it was not made for what was announced.
        let buckets = (n + u64::from(self.makes_tables_on_demand())).next_power_of_two().max(4);
        let links = if self.server.has_kvobj() { self.links(n as f64, buckets as f64) } else { 0 };
        self.block(8 * buckets) + links
    }

    /// A database's own structures where these come with its first key: a table's header, and from 8.0 on the histogram
    /// of key sizes, five types by sixty powers of two.
    pub(super) fn database_header(&self) -> u64 {
        if self.server.is_redis_from(Server::Redis80) {
            self.block(56 + 8 + HISTOGRAM_BYTES)
        } else {
            0
        }
    }

    /// Whether a node of a Cluster has tables for each slot.
    pub(super) fn has_slot_tables(&self) -> bool {
        let is_new = self.server.is_redis_from(Server::Redis74) || self.server >= Server::Valkey80;
        self.is_cluster && is_new
    }

    /// The structure in front of a slot's table; that of keys has the histogram as well.
    pub(super) fn slot_header(&self, has_histogram: bool) -> u64 {
        if self.server.has_hashtable() {
            // 9.1.2 was measured to take sixteen bytes more a slot than 8.1.8.
            let meta = if self.server == Server::Valkey91 { 24 } else { 8 };
            return self.block(HASHTABLE_HEADER + meta);
        }
        let has_histogram = has_histogram && self.server.is_redis_from(Server::Redis80);
        self.block(56 + 8 + if has_histogram { HISTOGRAM_BYTES } else { 0 })
    }

    /// A slot's table of `n` entries: as a database's, but small ones are told exactly.
    pub(super) fn slot_table(&self, n: u64) -> u64 {
        if self.server.has_hashtable() {
            return if n < 7 { self.block(64) } else { self.buckets(n) };
        }
        let buckets = n.next_power_of_two().max(4);
        let empty = (1.0 - 1.0 / buckets as f64).powf(n as f64);
        let chained = n as f64 - buckets as f64 * (1.0 - empty);
        let links = if self.server.has_kvobj() { chained * self.block(16) as f64 } else { 0.0 };
        self.block(8 * buckets) + rounded(links)
    }

    /// The database's index of `n` hashes with expiring fields: a table where there are hash tables, else a tree by
    /// time with up to sixteen to a segment.
    pub(super) fn volatile_index(&self, n: u64) -> u64 {
        if self.server.has_hashtable() {
            return self.buckets(n);
        }
        n.div_ceil(16) * (self.block(24) + self.block(32))
    }

    fn makes_tables_on_demand(&self) -> bool {
        self.server.is_redis_from(Server::Redis74) || self.server == Server::Valkey80
    }

    /// What [`Cost::database_table`] is right after loading, where that is more; else 0.
    ///
    /// Servers that make the table on demand ignore the announced size, so that it doubles on the way. Each entry
    /// added after the last doubling moves one chain, and passes the empty buckets before it: where that is not
    /// enough the old table stays until the server's own share of the work, a millisecond in a hundred, has
    /// moved the rest: 10 M keys in 8.2.3 still had both tables after half a minute.
    pub(super) fn rehashing(&self, n: u64) -> u64 {
        let table = n.next_power_of_two();
        if !self.makes_tables_on_demand() || table <= REHASHED_AT_ONCE {
            return 0;
        }
        let old = (table / 2) as f64;
        let added = n as f64 - old;
        // A bucket at load 1 is empty in e^-1 of cases.
        let moved = added / (1.0 - (-1.0_f64).exp()) / old;
        if moved >= 1.0 {
            return 0;
        }
        let both = self.dict_table(table) + self.dict_table(table / 2);
        if !self.server.has_kvobj() {
            return both;
        }
        let left = old * (1.0 - moved);
        // The part of the new table that the old one has been moved into, and the part that it has not.
        let into = self.links((old + added) * moved, table as f64 * moved);
        let beside = self.links(added * (1.0 - moved), table as f64 * (1.0 - moved));
        both + self.links(left, left) + into + beside
    }

    /// A hash table of Valkey from 8.1 with `n` entries, entries not counted; `meta` bytes of metadata.
    pub(super) fn hashtable(&self, n: u64, meta: u64) -> u64 {
        self.block(HASHTABLE_HEADER + meta) + self.buckets(n)
    }

    /// The same without its header: a database's exists before anything is loaded.
    pub(super) fn buckets(&self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        self.buckets_at((n * 5).div_ceil(32).next_power_of_two(), n)
    }

    /// The same in a table of `buckets`.
    pub(super) fn buckets_at(&self, buckets: u64, n: u64) -> u64 {
        let children = child_buckets(n, buckets);
        self.block(buckets * 64) + rounded(children * self.block(64) as f64)
    }

    /// Expected thousandths of bytes of a skiplist node of `base` bytes and its levels.
    fn expected_levels(&self, base: u64) -> u64 {
        let mut chance = 0.75;
        let mut sum = 0.0;
        for level in 1..=LEVELS {
            sum += chance * self.block(base + 16 * level) as f64;
            chance *= 0.25;
        }
        rounded(sum * MILLI as f64)
    }

    /// Expected thousandths of bytes of one member of a skiplist, string and table entry included.
    pub(super) fn skiplist_member(&self, length: u64) -> u64 {
        match self.server {
            server if server.is_redis_from(Server::Redis86) => {
                self.expected_levels(16 + self.string_request(length))
            }
            // One more byte says where the string starts.
            Server::Valkey91 => self.expected_levels(17 + self.string_request(length)),
            Server::Valkey81 | Server::Valkey90 => self.plain_node + self.string(length) * MILLI,
            _ => self.plain_node + (self.string(length) + self.block(24)) * MILLI,
        }
    }

    /// A skiplist's own structures and table, for `n` members.
    pub(super) fn skiplist(&self, n: u64) -> u64 {
        let head = 24 + 32 * 16;
        match self.server {
            server if server.is_redis_from(Server::Redis86) => {
                self.block(16) + self.block(40) + self.block(528) + self.dict(n) + self.chained(n)
            }
            server if server.is_redis_from(Server::Redis84) => {
                self.block(16) + self.block(40) + self.block(head) + self.dict(n)
            }
            // The head is part of the list itself.
            Server::Valkey91 => self.block(16) + self.block(32 + 512) + self.hashtable(n, 0),
            Server::Valkey81 | Server::Valkey90 => {
                self.block(16) + self.block(32) + self.block(head) + self.hashtable(n, 0)
            }
            _ => self.block(16) + self.block(32) + self.block(head) + self.dict(n),
        }
    }

    /// Header and table of a dict of `n` entries.
    pub(super) fn dict(&self, n: u64) -> u64 {
        self.dict_header() + self.dict_table(n)
    }

    /// A radix tree's own structure.
    pub(super) fn rax_header(&self) -> u64 {
        let is_counted = self.server.is_redis_from(Server::Redis84) || self.server.has_hashtable();
        self.block(if is_counted { 32 } else { 24 })
    }

    /// A node of `characters` with `children`, and a value or not.
    fn rax_node(&self, characters: u64, children: u64, value_bytes: u64) -> u64 {
        let padding = (8 - ((characters + 4) % 8)) % 8;
        self.block(4 + characters + padding + 8 * children + value_bytes)
    }

    /// A radix tree of `keys`, ascending and none twice, with its structure.
    pub(super) fn rax<K: AsRef<[u8]>>(&self, keys: &[K]) -> u64 {
        self.rax_header() + self.rax_below(keys, 0, 8)
    }

    /// The nodes of a radix tree that has no values, only keys.
    pub(super) fn rax_of_names<K: AsRef<[u8]>>(&self, keys: &[K]) -> u64 {
        self.rax_below(keys, 0, 0)
    }

    /// Nodes for `keys`, which agree up to `depth`. Recursion is as deep as keys are prefixes of each other or
    /// branch, and callers bound their number.
    fn rax_below<K: AsRef<[u8]>>(&self, keys: &[K], depth: usize, value_bytes: u64) -> u64 {
        let (ends_here, keys) = match keys {
            [first, rest @ ..] if first.as_ref().len() == depth => (value_bytes, rest),
            all => (0, all),
        };
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return self.rax_node(0, 0, ends_here);
        };
        let pairs = first.as_ref().iter().zip(last.as_ref());
        let shared = pairs.take_while(|(a, b)| a == b).count().max(depth);
        if shared > depth {
            let run = (shared - depth) as u64;
            return self.rax_node(run, 1, ends_here) + self.rax_below(keys, shared, value_bytes);
        }
        let mut below = 0;
        let mut branches = 0;
        let letter = |key: &K| key.as_ref().get(depth).copied();
        for branch in keys.chunk_by(|a, b| letter(a) == letter(b)) {
            branches += 1;
            below += self.rax_below(branch, depth + 1, value_bytes);
        }
        self.rax_node(branches, branches, ends_here) + below
    }
}

/// Tables up to this are rehashed by the server within a second of loading.
const REHASHED_AT_ONCE: u64 = 1 << 16;
/// The histogram of key sizes: five types by sixty powers of two.
const HISTOGRAM_BYTES: u64 = 5 * 60 * 8;
/// Header of a Valkey hash table.
const HASHTABLE_HEADER: u64 = 72;
/// Entries in a bucket; one slot links to a child bucket where there are more.
const BUCKET_ENTRIES: u64 = 7;

/// Child buckets expected in a table of `n` entries: a chain of them holds what is beyond seven in a bucket.
fn child_buckets(n: u64, buckets: u64) -> f64 {
    // The last entry of a full bucket moves down when a child is added.
    let children =
        |entries: u64| entries.saturating_sub(BUCKET_ENTRIES).div_ceil(BUCKET_ENTRIES - 1) as f64;
    if buckets == 1 {
        return children(n);
    }
    // Entries in a bucket are binomially distributed; more than sixty do not happen.
    let odds = 1.0 / (buckets - 1) as f64;
    let mut chance = (n as f64 * (-1.0 / buckets as f64).ln_1p()).exp();
    let mut sum = 0.0;
    for entries in 1..=n.min(60) {
        chance *= (n - entries + 1) as f64 / entries as f64 * odds;
        sum += chance * children(entries);
    }
    sum * buckets as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "expected byte counts are positive and far below 2^53"
)]
fn rounded(bytes: f64) -> u64 {
    bytes.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::stream::Id;

    fn cost(server: Server) -> Cost {
        Cost::new(&SizeFor::new(server))
    }

    #[test]
    fn strings_have_the_headers_of_their_release() {
        let (old, new) = (cost(Server::Redis70), cost(Server::Redis82));
        assert_eq!(old.string_request(0), 4);
        assert_eq!(old.string_request(31), 33);
        assert_eq!(old.string_request(32), 36);
        assert_eq!(old.string_request(255), 259);
        assert_eq!(new.string_request(253), 259);
    }

    #[test]
    fn tables_are_powers_of_two() {
        let cost = cost(Server::Redis70);
        assert_eq!(cost.dict_table(1), 32);
        assert_eq!(cost.dict_table(5), 64);
        assert_eq!(cost.dict_table(1024), 8192);
        assert_eq!(cost.dict_table(0), 0);
    }

    #[test]
    fn a_table_just_doubled_keeps_the_old_one_for_a_while() {
        let (with, without) = (cost(Server::Redis82), cost(Server::Redis70));
        let just_doubled = (1 << 23) + 1000;
        assert!(with.rehashing(just_doubled) > with.dict_table(just_doubled) + (8 << 23));
        // Nearly full again: all has been moved.
        assert_eq!(with.rehashing((1 << 24) - 1000), 0);
        // 7.0 heeds the announced size.
        assert_eq!(without.rehashing(just_doubled), 0);
    }

    #[test]
    fn trees_share_what_keys_share() {
        let cost = cost(Server::Redis70);
        let id = |sequence: u64| Id { ms: 1, sequence }.to_bytes();
        // 24 for the tree, 4 + 16 + 4 padding + 8 for the run, 16 for the leaf.
        assert_eq!(cost.rax(&[id(0)]), 24 + 32 + 16);
        assert_eq!(cost.rax(&[id(0), id(1)]), 24 + (4 + 15 + 5 + 8) + 24 + 2 * 16);
        assert_eq!(cost.rax::<&[u8]>(&[]), 24 + 8);
        // "a" ends on the way to "abc": its value sits in the node that goes on.
        assert_eq!(cost.rax(&["a", "abc"]), 24 + 16 + 24 + 16);
    }
}

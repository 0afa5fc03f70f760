//! [`Image`]: values as they are and as they would be, sized for exactly this server. Pure.
//!
//! A snapshot of the sampled keys is put together in memory, once in each layout, and sized by `unfrag-rdb`, whose figures
//! are held against the `used_memory` of every server we have. That costs the server nothing but reading the sample.

use unfrag_model::size_class::Allocator;
use unfrag_rdb::size::{self, Server, Table};
use unfrag_rdb::{SizeFor, size_bytes};

const OPCODE_EXPIRY_MS: u8 = 0xfc;
const OPCODE_SELECT: u8 = 0xfe;
const OPCODE_END: u8 = 0xff;
const TYPE_STRING: u8 = 0;
const TYPE_HASH: u8 = 4;
/// A hash whose fields expire, as Valkey 9 and as Redis 7.4 write it.
const TYPE_HASH_VALKEY: u8 = 22;
const TYPE_HASH_REDIS: u8 = 24;
/// More than any key has: times of the sample are of no matter.
const LATER_MS: u64 = 4_000_000_000_000;

/// What glibc hands out beyond what was asked for, in thousandths of a byte a key: a hole that is 16 bytes larger is given
/// whole. Means of twelve runs of `reshape hash` on Valkey 8.1.8 and 9.1.2 (2 to 30 fields, values of 1 to 60 bytes), by MEMORY
/// USAGE of all keys: 0.1 to 1.5 bytes a string, and 1.8 to 15.8 a hash, whose listpack was grown field by field
/// into whatever hole came next. Where between is the heap's luck: see [`LIBC_NOTE`].
const LIBC_STRING_MILLI: u64 = 550;
const LIBC_HASH_MILLI: u64 = 6000;
/// Strings that `--reverse` makes find the holes of the hashes before them, which are seldom of their size: 0.6 to 2.1 bytes
/// more a string by `used_memory` of Valkey 9.1.2 over four sets of 20,000 to 32,000 keys.
const LIBC_ANEW_MILLI: u64 = 1650;
/// A field of a hash table is an allocation of its own: 25,257 bytes more for 20,000 fields that expire, in Valkey 9.1.2.
const LIBC_FIELD_MILLI: u64 = 1250;

/// What the reader of a prediction must know of such a server.
pub(super) const LIBC_NOTE: &str = "the allocator is libc, which hands out up to 16 bytes more than asked for as its holes have it: \
     of small hashes the bytes may be some per cent more or less than predicted, on the way back of fields that expire a tenth";

/// What the reader must know of a Cluster's node with little in it.
pub(super) const NODE_NOTE: &str = "on a node that changes by so little, its tables by slot and what the server itself does \
     meanwhile are a large part of it: some kilobytes more or less than predicted";

/// A snapshot in the making.
#[derive(Debug, Clone)]
pub(super) struct Image {
    bytes: Vec<u8>,
    strings: u64,
    hashes: u64,
    /// Its strings are made anew, in the holes of others.
    is_anew: bool,
}

/// A field for an [`Image`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'f> {
    pub(super) name: &'f [u8],
    pub(super) value: &'f [u8],
    /// It expires by itself.
    pub(super) expires: bool,
}

impl Image {
    /// Each family has its own meaning of type 22.
    pub(super) fn new(server: Server) -> Self {
        let is_valkey = server.name().starts_with("valkey");
        let magic: &[u8] = if is_valkey { b"VALKEY080" } else { b"REDIS0009" };
        let mut bytes = magic.to_vec();
        bytes.extend([OPCODE_SELECT, 0]);
        Self { bytes, strings: 0, hashes: 0, is_anew: false }
    }

    /// Of what a server makes while it runs rather than of what it has long had.
    pub(super) fn anew(server: Server) -> Self {
        Self { is_anew: true, ..Self::new(server) }
    }

    pub(super) fn string(&mut self, key: &[u8], value: &[u8], expires: bool) {
        self.strings += 1;
        self.begin(TYPE_STRING, key, expires);
        self.text(value);
    }

    pub(super) fn hash(&mut self, key: &[u8], fields: &[Field<'_>], expires: bool, server: Server) {
        let by_field = fields.iter().any(|f| f.expires);
        let is_valkey = server.name().starts_with("valkey");
        let kind = match (by_field, is_valkey) {
            (false, _) => TYPE_HASH,
            (true, true) => TYPE_HASH_VALKEY,
            (true, false) => TYPE_HASH_REDIS,
        };
        self.hashes += 1;
        self.begin(kind, key, expires);
        if kind == TYPE_HASH_REDIS {
            self.bytes.extend(LATER_MS.to_le_bytes());
        }
        self.length(fields.len());
        for field in fields {
            if kind == TYPE_HASH_REDIS {
                self.length(usize::from(field.expires));
            }
            self.text(field.name);
            self.text(field.value);
            if kind == TYPE_HASH_VALKEY {
                let at = if field.expires { LATER_MS.cast_signed() } else { -1 };
                self.bytes.extend(at.to_le_bytes());
            }
        }
    }

    fn begin(&mut self, kind: u8, key: &[u8], expires: bool) {
        if expires {
            self.bytes.push(OPCODE_EXPIRY_MS);
            self.bytes.extend(LATER_MS.to_le_bytes());
        }
        self.bytes.push(kind);
        self.text(key);
    }

    fn text(&mut self, text: &[u8]) {
        self.length(text.len());
        self.bytes.extend_from_slice(text);
    }

    /// The 32-bit form, for all lengths.
    fn length(&mut self, length: usize) {
        self.bytes.push(0x80);
        self.bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    /// Bytes that these keys take, tables of the database not counted; `None` if the image cannot be read.
    pub(super) fn measure(mut self, size_for: &SizeFor) -> Option<Sizes> {
        self.bytes.push(OPCODE_END);
        // Zeros: no checksum.
        self.bytes.extend([0; 8]);
        let report = size_bytes("sample", &self.bytes, size_for);
        if report.problem.is_some() {
            return None;
        }
        let in_tables = || report.types.iter().filter(|t| t.encoding == "hashtable");
        let fields: u64 = in_tables().map(|t| t.elements).sum();
        let slack = match size_for.allocator {
            Allocator::Libc => {
                let strings =
                    self.strings * if self.is_anew { LIBC_ANEW_MILLI } else { LIBC_STRING_MILLI };
                strings + LIBC_HASH_MILLI * self.hashes + LIBC_FIELD_MILLI * fields
            }
            Allocator::Jemalloc8 | Allocator::Jemalloc16 => 0,
        };
        Some(Sizes {
            bytes: report.total.bytes.saturating_sub(report.total.table_bytes) + slack / 1000,
            hash_tables: in_tables().map(|t| t.keys).sum(),
        })
    }
}

/// What an [`Image`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) bytes: u64,
    /// Hashes that are hash tables.
    pub(super) hash_tables: u64,
}

/// Entries of a table before, how many of them stay, and how many come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) before: u64,
    pub(super) kept: u64,
    pub(super) new: u64,
}

/// A table as it is and as it will be, in bytes; `now` is what the server says of it, if it does. On the way back the new keys
/// were in it before.
pub(super) fn tables(
    size_for: &SizeFor,
    now: Option<Table>,
    change: Change,
    way_back: bool,
) -> (u64, u64) {
    let (before, after) = (change.before, change.kept + change.new);
    let fresh = size::table(size_for, before);
    let table = now.unwrap_or(fresh);
    // One that has more room than it needs was not resized since.
    let is_worn = way_back && carries_keys(size_for) && table.room > fresh.room;
    let before_bytes = if is_worn {
        let gone = before.saturating_sub(change.kept);
        let once = Change { before: change.kept + change.new, kept: change.kept, new: gone };
        8 * table.room + worn_chains(size_for, table.room, once)
    } else {
        size::table_bytes(size_for, table, before)
    };
    let then = if after <= before {
        table.emptied(size_for.server, after)
    } else {
        let grown = size::table(size_for, after);
        if grown.room > table.room { grown } else { table }
    };
    let then_bytes = if carries_keys(size_for) && then.room == table.room && then.room > 0 {
        8 * then.room + worn_chains(size_for, then.room, change)
    } else {
        size::table_bytes(size_for, then, after)
    };
    (before_bytes, then_bytes)
}

/// From Redis 8.2 on: an object has its key in it.
fn carries_keys(size_for: &SizeFor) -> bool {
    size_for.server >= Server::Redis82 && size_for.server < Server::Valkey72
}

/// A slot's table in a Cluster's node that has one for each, followed through a reshape: such small ones are resized on the
/// way, which a table of a million keys is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SlotTable {
    table: Table,
    old: Part,
    new: Part,
}

/// Keys of a table, and of these how many have an entry of 16 bytes because they met another (see [`worn_chains`]).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Part {
    keys: u64,
    met: f64,
}

impl SlotTable {
    /// As it stands after `keys` came one by one.
    pub(super) fn of(size_for: &SizeFor, keys: u64) -> Self {
        let table = size::table(size_for, keys);
        let mut new = Self { table, old: Part { keys, met: 0.0 }, new: Part::default() };
        new.rehash();
        new
    }

    fn keys(&self) -> u64 {
        self.old.keys + self.new.keys
    }

    /// The same table, when what came to it is what is there: the next that go are of all its keys.
    pub(super) fn settled(self) -> Self {
        let old = Part { keys: self.keys(), met: self.old.met + self.new.met };
        Self { old, new: Part::default(), ..self }
    }

    /// All find their places again.
    fn rehash(&mut self) {
        let (keys, room) = (self.keys() as f64, self.table.room as f64);
        let empty = if room > 0.0 { room * (1.0 - 1.0 / room).powf(keys) } else { 0.0 };
        let met = (keys - (room - empty)).max(0.0) / keys.max(1.0);
        for part in [&mut self.old, &mut self.new] {
            part.met = met * part.keys as f64;
        }
    }

    /// One more key. A full table grows before it.
    pub(super) fn add(&mut self, size_for: &SizeFor) {
        let grown = size::table(size_for, self.keys() + 1);
        if grown.room > self.table.room {
            self.table = grown;
            self.rehash();
        }
        let room = (self.table.room as f64).max(1.0);
        self.new.met += 1.0 - (1.0 - 1.0 / room).powf(self.keys() as f64);
        self.new.keys += 1;
    }

    /// So many less of those that were there.
    pub(super) fn take(&mut self, size_for: &SizeFor, keys: u64) {
        let left = self.old.keys.saturating_sub(keys);
        self.old.met *= left as f64 / (self.old.keys as f64).max(1.0);
        self.old.keys = left;
        let room = self.table.room;
        self.table = self.table.emptied(size_for.server, self.keys());
        if self.table.room != room {
            self.rehash();
        }
    }

    /// Its bytes; a table without keys is given back.
    pub(super) fn bytes(&self, size_for: &SizeFor) -> f64 {
        if self.keys() == 0 {
            0.0
        } else if self.table.has_buckets {
            size::table_bytes(size_for, self.table, self.keys()) as f64
        } else {
            let met = if carries_keys(size_for) { self.old.met + self.new.met } else { 0.0 };
            size_for.allocator.usable(8 * self.table.room) as f64
                + met * size_for.allocator.usable(16) as f64
        }
    }
}

/// Where objects carry their keys (Redis 8.2), a key alone in its slot is the slot's pointer itself, and one that met
/// another there has an entry of 16 bytes. It keeps that when the other goes, until the table is resized: so entries are
/// counted by what was met, not by what is left (measured on 8.2.3: 59 KB of 8000 new keys, 57 KB by this).
fn worn_chains(size_for: &SizeFor, room: u64, change: Change) -> u64 {
    let load = |keys: u64| keys as f64 / room as f64;
    let (first, last) = (load(change.before), load(change.kept + change.new));
    let met_before = if change.before == 0 { 0.0 } else { 1.0 - (1.0 - (-first).exp()) / first };
    // A new key meets another with chance 1 - exp(-load), while the load goes from the first to the last.
    let met_new = if (first - last).abs() < 1e-6 {
        1.0 - (-first).exp()
    } else {
        1.0 - ((-last).exp() - (-first).exp()) / (first - last)
    };
    let entries = change.kept as f64 * met_before + change.new as f64 * met_new;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and small"
    )]
    let entries = entries.max(0.0) as u64;
    entries * size_for.allocator.usable(16)
}

/// The table of keys behind MEMORY STATS' `overhead.hashtable.main`, which counts its entries as well: 40 bytes each up to
/// Redis 8.0 (entry and object), 32 in later ones, 16 in Valkey from 8.1 (measured, and `getMemoryOverheadData`).
pub(super) fn table_of(size_for: &SizeFor, overhead_bytes: u64, keys: u64) -> Table {
    let fresh = size::table(size_for, keys);
    let (entry, slot) = match fresh.has_buckets {
        true => (16, 64),
        false if size_for.server >= Server::Redis82 && size_for.server < Server::Valkey72 => {
            (32, 8)
        }
        false => (40, 8),
    };
    let room = overhead_bytes.saturating_sub(keys * entry) / slot;
    // Chains of buckets and constants come on top: the power of two below.
    let room = if room == 0 { 0 } else { 1 << room.ilog2() };
    Table { room: room.max(fresh.room / 2), ..fresh }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_snapshot() {
        for server in [Server::Redis62, Server::Redis82, Server::Valkey91] {
            let size_for = SizeFor::new(server);
            let mut keys = Image::new(server);
            keys.string(b"user:1:name", b"Ada", false);
            keys.string(b"user:1:born", b"1815", true);
            let keys = keys.measure(&size_for).unwrap();
            let field = |expires| Field { name: b"name", value: b"Ada", expires };
            let mut hash = Image::new(server);
            hash.hash(b"user:1", &[field(false)], true, server);
            let hash = hash.measure(&size_for).unwrap();
            assert!(hash.bytes < keys.bytes && hash.hash_tables == 0, "{hash:?} {keys:?}");
            let mut by_field = Image::new(server);
            by_field.hash(b"user:1", &[field(true)], false, server);
            // Valkey keeps hashes whose fields expire as tables.
            let by_field = by_field.measure(&size_for).unwrap();
            assert_eq!(by_field.hash_tables, u64::from(server == Server::Valkey91), "{server}");
        }
    }

    #[test]
    fn tables_are_those_that_servers_were_seen_with() {
        // MEMORY STATS and DEBUG HTSTATS of five servers: 60,000 keys, then 9,000, then 4,500.
        let cases = [
            (Server::Redis62, 2_924_288, 65_536, 65_536, 8192),
            (Server::Redis70, 2_924_288, 65_536, 65_536, 8192),
            (Server::Redis82, 2_446_968, 65_536, 65_536, 8192),
            (Server::Valkey81, 2_044_280, 16_384, 4096, 4096),
            (Server::Valkey91, 2_044_752, 16_384, 4096, 4096),
        ];
        for (server, overhead, first, second, third) in cases {
            let table = table_of(&SizeFor::new(server), overhead, 60_000);
            assert_eq!(table.room, first, "{server}");
            assert_eq!(table.emptied(server, 9000).room, second, "{server}");
            assert_eq!(table.emptied(server, 4500).room, third, "{server}");
        }
    }

    #[test]
    fn a_slots_table_is_resized_on_the_way() {
        let size_for = SizeFor::new(Server::Redis82);
        let mut table = SlotTable::of(&size_for, 4);
        assert_eq!(table.table.room, 4);
        // The hash makes it grow, the keys that go let it shrink again: one key in four places is in no chain.
        table.add(&size_for);
        assert_eq!(table.table.room, 8);
        table.take(&size_for, 4);
        assert_eq!((table.table.room, table.bytes(&size_for)), (4, 32.0));
        // Beside others it stays, and what came last keeps its entry where it met one.
        let mut table = SlotTable::of(&size_for, 5);
        table.add(&size_for);
        let met = table.new.met;
        table.take(&size_for, 3);
        assert_eq!((table.table.room, table.keys(), table.new.met), (8, 3, met));
        assert!(met > 0.4 && table.old.met < SlotTable::of(&size_for, 5).old.met, "{table:?}");
    }

    #[test]
    fn chains_are_worn_by_those_who_left() {
        let size_for = SizeFor::new(Server::Redis82);
        let change = Change { before: 32_000, kept: 0, new: 8000 };
        let bytes = worn_chains(&size_for, 32_768, change);
        assert!((50_000..64_000).contains(&bytes), "{bytes}");
        // Nothing changed, nothing is worn.
        let still = Change { before: 32_000, kept: 32_000, new: 0 };
        let (now, then) = tables(&size_for, None, still, false);
        assert!(now.abs_diff(then) < now / 1000, "{now} {then}");
    }
}

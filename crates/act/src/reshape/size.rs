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

/// What the reader of a prediction must know of such a server.
pub(super) const LIBC_NOTE: &str = "the allocator is libc, which hands out up to 16 bytes more than asked for as its holes have it: \
     of small hashes the saving may be some per cent more or less than predicted";

/// A snapshot in the making.
#[derive(Debug, Clone)]
pub(super) struct Image {
    bytes: Vec<u8>,
    strings: u64,
    hashes: u64,
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
        Self { bytes, strings: 0, hashes: 0 }
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
        let in_tables = report.types.iter().filter(|t| t.encoding == "hashtable");
        let slack = match size_for.allocator {
            Allocator::Libc => LIBC_STRING_MILLI * self.strings + LIBC_HASH_MILLI * self.hashes,
            Allocator::Jemalloc8 | Allocator::Jemalloc16 => 0,
        };
        Some(Sizes {
            bytes: report.total.bytes.saturating_sub(report.total.table_bytes) + slack / 1000,
            hash_tables: in_tables.map(|t| t.keys).sum(),
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

/// A table as it is and as it will be, in bytes; `now` is what the server says of it, if it does.
pub(super) fn tables(size_for: &SizeFor, now: Option<Table>, change: Change) -> (u64, u64) {
    let (before, after) = (change.before, change.kept + change.new);
    let table = now.unwrap_or_else(|| size::table(size_for, before));
    let before_bytes = size::table_bytes(size_for, table, before);
    let then = if after <= before {
        table.emptied(size_for.server, after)
    } else {
        let grown = size::table(size_for, after);
        if grown.room > table.room { grown } else { table }
    };
    let carries_keys = size_for.server >= Server::Redis82 && size_for.server < Server::Valkey72;
    let then_bytes = if carries_keys && then.room == table.room && then.room > 0 {
        8 * then.room + worn_chains(size_for, then.room, change)
    } else {
        size::table_bytes(size_for, then, after)
    };
    (before_bytes, then_bytes)
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
    fn chains_are_worn_by_those_who_left() {
        let size_for = SizeFor::new(Server::Redis82);
        let change = Change { before: 32_000, kept: 0, new: 8000 };
        let bytes = worn_chains(&size_for, 32_768, change);
        assert!((50_000..64_000).contains(&bytes), "{bytes}");
        // Nothing changed, nothing is worn.
        let still = Change { before: 32_000, kept: 32_000, new: 0 };
        let (now, then) = tables(&size_for, None, still);
        assert!(now.abs_diff(then) < now / 1000, "{now} {then}");
    }
}

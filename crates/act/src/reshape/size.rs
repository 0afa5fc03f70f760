//! [`Image`]: values as they are and as they would be, sized for exactly this server. Pure.
//!
//! A snapshot of the sampled keys is put together in memory, once in each layout, and sized by `unfrag-rdb`, whose figures
//! are held against the `used_memory` of every server we have. That costs the server nothing but reading the sample.

use unfrag_rdb::size::Server;
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

/// A snapshot in the making.
#[derive(Debug, Clone)]
pub(super) struct Image {
    bytes: Vec<u8>,
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
    pub(super) fn new() -> Self {
        let mut bytes = b"REDIS0009".to_vec();
        bytes.extend([OPCODE_SELECT, 0]);
        Self { bytes }
    }

    pub(super) fn string(&mut self, key: &[u8], value: &[u8], expires: bool) {
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
        Some(Sizes {
            bytes: report.total.bytes.saturating_sub(report.total.table_bytes),
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

/// Bytes that tables of `keys` keys, `expires` of them with a TTL, take in a server that has just loaded them.
pub(super) fn fresh_tables(size_for: &SizeFor, keys: u64, expires: u64) -> u64 {
    unfrag_rdb::size::table_bytes(size_for, keys, expires)
}

/// As [`fresh_tables`], after keys went away from tables that had `before` of them: a table shrinks only when it is
/// nearly empty. Redis to 7.2 shrinks below 10 %, later ones and Valkey below an eighth.
pub(super) fn tables_after(size_for: &SizeFor, before: (u64, u64), after: (u64, u64)) -> u64 {
    let (old, new) = (fresh(size_for, before), fresh(size_for, after));
    let one = |old: u64, new: u64, before: u64, after: u64| {
        if after > before || shrinks(size_for.server, before, after) { new } else { old }
    };
    one(old.0, new.0, before.0, after.0) + one(old.1, new.1, before.1, after.1)
}

fn fresh(size_for: &SizeFor, (keys, expires): (u64, u64)) -> (u64, u64) {
    (fresh_tables(size_for, keys, 0), fresh_tables(size_for, 0, expires))
}

fn shrinks(server: Server, before: u64, after: u64) -> bool {
    let slots = before.next_power_of_two().max(4);
    let is_old = server < Server::Redis74 || matches!(server, Server::Valkey72 | Server::Valkey80);
    if is_old { after * 100 / slots < 10 } else { after * 8 <= slots }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_snapshot() {
        for server in [Server::Redis62, Server::Redis82, Server::Valkey91] {
            let size_for = SizeFor::new(server);
            let mut keys = Image::new();
            keys.string(b"user:1:name", b"Ada", false);
            keys.string(b"user:1:born", b"1815", true);
            let keys = keys.measure(&size_for).unwrap();
            let field = |expires| Field { name: b"name", value: b"Ada", expires };
            let mut hash = Image::new();
            hash.hash(b"user:1", &[field(false)], true, server);
            let hash = hash.measure(&size_for).unwrap();
            assert!(hash.bytes < keys.bytes && hash.hash_tables == 0, "{hash:?} {keys:?}");
            let mut by_field = Image::new();
            by_field.hash(b"user:1", &[field(true)], false, server);
            // Valkey keeps hashes whose fields expire as tables.
            let by_field = by_field.measure(&size_for).unwrap();
            assert_eq!(by_field.hash_tables, u64::from(server == Server::Valkey91), "{server}");
        }
    }
}

//! Names of the format: dialects, opcodes, value types. Read [`ValueType`] first.
//!
//! Numbers 22, 23 and 243 mean different things in the two dialects, so nothing here is decided
//! from a version alone: the magic names the dialect.

use serde::Serialize;

use crate::problem::{Flaw, FlawKind};

/// Who defines the meaning of numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Dialect {
    /// Magic `REDIS`: Redis, Valkey before 9.0, `KeyDB`, Dragonfly exports.
    Redis,
    /// Magic `VALKEY`: Valkey 9.0 and later.
    Valkey,
}

/// Magic and version: the first nine bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// Whose numbers these are.
    pub dialect: Dialect,
    /// Format version, from the digits.
    pub version: u32,
}

/// Bytes of magic and version.
pub const HEADER_BYTES: usize = 9;
/// Newest version of the Redis dialect whose types are all known here.
pub const REDIS_VERSION_MAX: u32 = 14;
/// Versions of the Valkey dialect known here; 81 (9.2, in development) adds a type that is reported when met.
pub const VALKEY_VERSIONS: std::ops::RangeInclusive<u32> = 80..=81;

impl Header {
    /// Reads the first nine bytes.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, Flaw> {
        let (dialect, digits) = if let Some(digits) = bytes.strip_prefix(b"REDIS") {
            (Dialect::Redis, digits)
        } else if let Some(digits) = bytes.strip_prefix(b"VALKEY") {
            (Dialect::Valkey, digits)
        } else {
            return Err(Flaw::new(0, FlawKind::BadMagic));
        };
        let version = std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or(Flaw::new(0, FlawKind::BadMagic))?;
        Ok(Self { dialect, version })
    }

    /// Whether `bytes`, fewer than a header has, may be the beginning of one.
    pub(crate) fn is_begun(bytes: &[u8]) -> bool {
        [b"REDIS".as_slice(), b"VALKEY"].iter().any(|magic| {
            let (letters, digits) = bytes.split_at(bytes.len().min(magic.len()));
            magic.starts_with(letters) && digits.iter().all(u8::is_ascii_digit)
        })
    }

    /// Whether every type of this version is known here. Others are read as far as they go.
    pub fn is_known(self) -> bool {
        match self.dialect {
            Dialect::Redis => (1..=REDIS_VERSION_MAX).contains(&self.version),
            Dialect::Valkey => VALKEY_VERSIONS.contains(&self.version),
        }
    }

    /// Whether a checksum of eight bytes follows the end (version 5 on).
    pub fn has_checksum(self) -> bool {
        self.version >= 5
    }
}

/// Bytes that may stand where a value type stands.
pub mod opcode {
    /// `KeyDB`'s scheduled script, numbered as a value type.
    pub const KEYDB_CRON: u8 = 64;
    /// Redis Enterprise: least-recently-used clock of the next key.
    pub const ENTERPRISE_RAM_LRU: u8 = 107;
    /// Redis Enterprise: slot number.
    pub const ENTERPRISE_SLOT: u8 = 121;
    /// Redis 8.6: metadata of the next key. In the Valkey dialect: a slot import under way.
    pub const KEY_META_OR_SLOT_IMPORT: u8 = 243;
    /// Slot and its counts (Redis 7.4 on, cluster mode).
    pub const SLOT_INFO: u8 = 244;
    /// A library of functions.
    pub const FUNCTION2: u8 = 245;
    /// The same as release candidates of 7.0 wrote it.
    pub const FUNCTION_PRE_GA: u8 = 246;
    /// Data of a module outside the keyspace.
    pub const MODULE_AUX: u8 = 247;
    /// Idle seconds of the next key.
    pub const IDLE: u8 = 248;
    /// Access frequency of the next key.
    pub const FREQ: u8 = 249;
    /// Key and value of metadata about the file (or, between keys, about a neighbour).
    pub const AUX: u8 = 250;
    /// Announced numbers of keys and expiries of the database.
    pub const RESIZEDB: u8 = 251;
    /// Expiry of the next key in milliseconds.
    pub const EXPIRETIME_MS: u8 = 252;
    /// Expiry of the next key in seconds.
    pub const EXPIRETIME: u8 = 253;
    /// Database of the keys that follow.
    pub const SELECTDB: u8 = 254;
    /// End; the checksum follows.
    pub const EOF: u8 = 255;
}

/// What a key holds, as its users name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// Plain string.
    String,
    /// List.
    List,
    /// Set.
    Set,
    /// Sorted set.
    Zset,
    /// Hash.
    Hash,
    /// Stream.
    Stream,
    /// Array (Redis 8.8).
    Array,
    /// Rate limiter (Redis 8.8, held back).
    Gcra,
    /// Value of a module.
    Module,
    /// `KeyDB`'s scheduled script.
    Cron,
}

impl DataType {
    /// Lower-case name as `TYPE` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Array => "array",
            Self::Gcra => "gcra",
            Self::Module => "module",
            Self::Cron => "cron",
        }
    }
}

/// How a value is laid out in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// 0: a string.
    String,
    /// 1: strings one by one.
    List,
    /// 2: strings one by one.
    Set,
    /// 3: members with scores as text.
    ZsetAscii,
    /// 4: fields and values one by one.
    Hash,
    /// 5: members with binary scores.
    Zset,
    /// 7: items of a module.
    Module,
    /// 9: hash as one zipmap.
    HashZipmap,
    /// 10: list as one ziplist.
    ListZiplist,
    /// 11: set as one intset.
    SetIntset,
    /// 12: sorted set as one ziplist.
    ZsetZiplist,
    /// 13: hash as one ziplist.
    HashZiplist,
    /// 14: list as ziplists.
    ListQuicklist,
    /// 15, 19, 21, 26, 27: stream, generation 1 to 5.
    Stream(u8),
    /// 16: hash as one listpack.
    HashListpack,
    /// 17: sorted set as one listpack.
    ZsetListpack,
    /// 18: list as listpacks and plain nodes.
    ListQuicklist2,
    /// 20: set as one listpack.
    SetListpack,
    /// 22 of release candidates of Redis 7.4: absolute expiry before each field.
    HashTtlPreGa,
    /// 23 of the same: listpack of triples, without the minimum.
    HashListpackTtlPreGa,
    /// 22 of Valkey: expiry after each field.
    HashTtlValkey,
    /// 24: minimum expiry, then distances to it.
    HashTtl,
    /// 25: minimum expiry and a listpack of triples.
    HashListpackTtl,
    /// 28: array.
    Array,
    /// 29: rate limiter.
    Gcra,
    /// 64: `KeyDB`'s scheduled script.
    Cron,
}

impl ValueType {
    /// The type that `code` stands for in `dialect`.
    pub const fn from_code(dialect: Dialect, code: u8) -> Option<Self> {
        Some(match (code, dialect) {
            (0, _) => Self::String,
            (1, _) => Self::List,
            (2, _) => Self::Set,
            (3, _) => Self::ZsetAscii,
            (4, _) => Self::Hash,
            (5, _) => Self::Zset,
            (7, _) => Self::Module,
            (9, _) => Self::HashZipmap,
            (10, _) => Self::ListZiplist,
            (11, _) => Self::SetIntset,
            (12, _) => Self::ZsetZiplist,
            (13, _) => Self::HashZiplist,
            (14, _) => Self::ListQuicklist,
            (15, _) => Self::Stream(1),
            (16, _) => Self::HashListpack,
            (17, _) => Self::ZsetListpack,
            (18, _) => Self::ListQuicklist2,
            (19, _) => Self::Stream(2),
            (20, _) => Self::SetListpack,
            (21, _) => Self::Stream(3),
            (22, Dialect::Valkey) => Self::HashTtlValkey,
            (22, Dialect::Redis) => Self::HashTtlPreGa,
            (23, Dialect::Redis) => Self::HashListpackTtlPreGa,
            (24, Dialect::Redis) => Self::HashTtl,
            (25, Dialect::Redis) => Self::HashListpackTtl,
            (26, Dialect::Redis) => Self::Stream(4),
            (27, Dialect::Redis) => Self::Stream(5),
            (28, Dialect::Redis) => Self::Array,
            (29, Dialect::Redis) => Self::Gcra,
            (opcode::KEYDB_CRON, Dialect::Redis) => Self::Cron,
            _ => return None,
        })
    }

    /// What the user calls it.
    pub const fn data_type(self) -> DataType {
        match self {
            Self::String => DataType::String,
            Self::List | Self::ListZiplist | Self::ListQuicklist | Self::ListQuicklist2 => {
                DataType::List
            }
            Self::Set | Self::SetIntset | Self::SetListpack => DataType::Set,
            Self::ZsetAscii | Self::Zset | Self::ZsetZiplist | Self::ZsetListpack => DataType::Zset,
            Self::Hash
            | Self::HashZipmap
            | Self::HashZiplist
            | Self::HashListpack
            | Self::HashTtlPreGa
            | Self::HashListpackTtlPreGa
            | Self::HashTtlValkey
            | Self::HashTtl
            | Self::HashListpackTtl => DataType::Hash,
            Self::Stream(_) => DataType::Stream,
            Self::Array => DataType::Array,
            Self::Gcra => DataType::Gcra,
            Self::Module => DataType::Module,
            Self::Cron => DataType::Cron,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_decides_the_dialect() {
        let redis = Header::parse(*b"REDIS0011").unwrap();
        assert_eq!(redis, Header { dialect: Dialect::Redis, version: 11 });
        let valkey = Header::parse(*b"VALKEY080").unwrap();
        assert_eq!(valkey, Header { dialect: Dialect::Valkey, version: 80 });
        assert!(Header::parse(*b"REDIS00x1").is_err());
        assert!(Header::parse(*b"REDIT0001").is_err());
        assert_ne!(
            ValueType::from_code(redis.dialect, 22),
            ValueType::from_code(valkey.dialect, 22)
        );
        assert_eq!(ValueType::from_code(valkey.dialect, 24), None);
    }
}

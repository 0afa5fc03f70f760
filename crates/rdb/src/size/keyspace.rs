//! What a key costs beside its value, and what the tables of a database cost. Read [`key`] first.

use super::cost::Cost;
use super::server::{Server, SizeFor};
use super::value::{Sized, StringForm};

/// Longest string that shares an allocation with its object in servers whose objects carry no key.
const EMBEDDED_MAX: u64 = 44;
/// Integers below this are made once and shared, where the server can.
const SHARED_INTEGERS: i64 = 10_000;
/// Keys from this length on get room for an expiry before they have one.
const LONG_KEY: u64 = 128;

/// A key with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: u64,
    pub(super) encoding: &'static str,
}

/// Bytes of a key of `name` bytes with its value, tables not counted.
pub(super) fn key(
    size_for: &SizeFor,
    cost: &Cost,
    name: u64,
    expires: bool,
    value: Sized,
) -> Whole {
    if cost.server.has_kvobj() || cost.server.has_hashtable() {
        return object_with_key(cost, name, expires, value);
    }
    let entry = if cost.server == Server::Valkey80 {
        cost.block(17 + cost.string_request(name))
    } else {
        // From 7.0 on a node links the entries of a slot.
        let links = if cost.is_cluster && cost.server.links_slots() { 16 } else { 0 };
        cost.block(24 + links) + cost.string(name)
    };
    let expiry = if expires { cost.block(24) } else { 0 };
    let (object, encoding) = object(size_for, cost, value);
    Whole { bytes: entry + expiry + object + value.bytes, encoding }
}

/// An object that stands by itself.
fn object(size_for: &SizeFor, cost: &Cost, value: Sized) -> (u64, &'static str) {
    match value.string {
        None => (cost.block(16), value.encoding),
        Some(StringForm::Int(number)) => {
            let is_shared = (0..SHARED_INTEGERS).contains(&number) && !size_for.has_eviction_clock;
            (if is_shared { 0 } else { cost.block(16) }, "int")
        }
        Some(StringForm::Text(length)) if length <= EMBEDDED_MAX => {
            (cost.block(16 + 3 + length + 1), "embstr")
        }
        Some(StringForm::Text(length)) => (cost.block(16) + cost.string(length), "raw"),
    }
}

/// An object that carries its key, and a short string too.
fn object_with_key(cost: &Cost, name: u64, expires: bool, value: Sized) -> Whole {
    let expiry = if expires || name >= LONG_KEY { 8 } else { 0 };
    let header = 16 + expiry + 1 + cost.string_request(name);
    match value.string {
        None => Whole { bytes: cost.block(header) + value.bytes, encoding: value.encoding },
        Some(StringForm::Int(_)) => Whole { bytes: cost.block(header), encoding: "int" },
        Some(StringForm::Text(length)) => match embedded(cost, name, expires, length, header) {
            Some(request) => Whole { bytes: cost.block(request), encoding: "embstr" },
            None => Whole { bytes: cost.block(header) + cost.string(length), encoding: "raw" },
        },
    }
}

/// The request that holds object, key and string of `length`, if the server would make one.
fn embedded(cost: &Cost, name: u64, expires: bool, length: u64, header: u64) -> Option<u64> {
    let whole = header + length + 4;
    let ttl = if expires { 8 } else { 0 };
    let fits = match cost.server {
        // The pointer to the value is left out as well.
        Server::Valkey91 => return (whole - 8 <= 128).then_some(whole - 8),
        // The object is made before its expiry is known, and keeps its string if the block has room to spare.
        Server::Valkey81 | Server::Valkey90 if expires && name < LONG_KEY => {
            let before = header - 8 + length + 4;
            let has_room = cost.block(before) >= before + 8;
            16 + name + 3 + ttl + 4 + length <= 64 || (16 + name + 3 + 4 + length <= 64 && has_room)
        }
        Server::Redis86 => 16 + name + 3 + 4 + length <= 64,
        _ => 16 + name + 3 + ttl + 4 + length <= 64,
    };
    (fits && length <= EMBEDDED_MAX).then_some(whole)
}

/// What a database holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Db {
    pub(super) keys: u64,
    /// Keys that expire.
    pub(super) expires: u64,
    /// Hashes with fields that expire.
    pub(super) volatile: u64,
}

/// Tables of a database.
pub(super) fn tables(cost: &Cost, db: Db) -> u64 {
    if cost.has_slot_tables() {
        return cost.volatile_index(db.volatile);
    }
    let header = if db.keys > 0 { cost.database_header() } else { 0 };
    header
        + cost.database_table(db.keys)
        + cost.database_table(db.expires)
        + cost.volatile_index(db.volatile)
}

/// What these tables take on top until their rehash is done.
pub(super) fn rehash(cost: &Cost, db: Db) -> u64 {
    if cost.has_slot_tables() {
        return 0;
    }
    let one = |n| cost.rehashing(n).saturating_sub(cost.database_table(n));
    one(db.keys) + one(db.expires)
}

/// A database's table of keys or of expiries, by its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Pointers of a dict, or buckets of seven entries of Valkey's hash table.
    pub room: u64,
    /// It is Valkey's hash table.
    pub has_buckets: bool,
}

impl Table {
    /// Of a database that has just been loaded.
    pub(super) fn fresh(cost: &Cost, keys: u64) -> Self {
        let has_buckets = cost.server.has_hashtable();
        let room = match keys {
            0 => 0,
            _ if has_buckets => (keys * 5).div_ceil(32).next_power_of_two(),
            _ => keys.next_power_of_two().max(4),
        };
        Self { room, has_buckets }
    }

    /// The table after entries went away until `keys` were left. It shrinks at the moment at which it is nearly empty, to
    /// what fits then: below 10 % to Redis 7.2, an eighth after that, 13 % of Valkey's entries.
    #[must_use]
    pub fn emptied(mut self, server: Server, keys: u64) -> Self {
        loop {
            let (least, room) = if self.has_buckets {
                let least = self.room * 7 * 13 / 100;
                (least, (least * 5).div_ceil(32).next_power_of_two())
            } else {
                let is_old = server < Server::Redis74
                    || matches!(server, Server::Valkey72 | Server::Valkey80);
                let least = self.room / if is_old { 10 } else { 8 };
                (least, least.next_power_of_two().max(4))
            };
            if keys > least || room >= self.room {
                return self;
            }
            self.room = room;
        }
    }

    pub(super) fn bytes(self, cost: &Cost, keys: u64) -> u64 {
        match (self.room, self.has_buckets) {
            (0, _) => 0,
            (room, true) => cost.buckets_at(room, keys),
            (room, false) if cost.server.has_kvobj() => {
                cost.block(8 * room) + cost.chained_at(room, keys)
            }
            (room, false) => cost.block(8 * room),
        }
    }
}

//! Has this key been seen in its database? Read [`Keys`] first.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::quality::RandomState;

/// Keys remembered unless more is asked for: 9 to 18 bytes each, 32 MiB at most.
pub const KEYS_REMEMBERED: u64 = 1_800_000;
/// Tables: each grows by itself, so that a table and its successor never hold everything twice.
const SHARDS: usize = 64;

/// Fingerprints of keys, hashed with a random key.
#[derive(Debug)]
pub(super) struct Keys {
    shards: Vec<HashSet<u64, BuildHasherDefault<Same>>>,
    hasher: RandomState,
    left: u64,
    is_full: bool,
}

impl Keys {
    /// Remembers up to `limit` keys.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            shards: vec![HashSet::default(); SHARDS],
            hasher: RandomState::default(),
            left: limit,
            is_full: limit == 0,
        }
    }

    /// More keys are coming than can be remembered: give the memory back and stop.
    pub(super) fn expect(&mut self, keys: u64) {
        if keys > self.left {
            self.forget();
        }
    }

    /// Whether some keys were not looked at.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether `key` was seen in `db` before.
    #[inline]
    pub(super) fn is_repeated(&mut self, db: u64, key: &[u8]) -> bool {
        if self.is_full {
            return false;
        }
        let print = self.hasher.hash_one((db, key));
        let Some(shard) = self.shards.get_mut(crate::input::index(print % SHARDS as u64)) else {
            return false;
        };
        if !shard.insert(print) {
            return true;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.forget();
        }
        false
    }

    fn forget(&mut self) {
        self.is_full = true;
        self.shards = vec![HashSet::default(); SHARDS];
    }
}

/// The identity: what is stored is a hash already.
#[derive(Debug, Default, Clone, Copy)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The low bits chose the shard: let others choose the place in it.
        self.0 = value.rotate_right(6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_repeats_within_its_database_only() {
        let mut keys = Keys::new(100);
        assert!(!keys.is_repeated(0, b"a"));
        assert!(!keys.is_repeated(1, b"a"));
        assert!(keys.is_repeated(0, b"a"));
        assert!(!keys.is_full());
    }

    #[test]
    fn beyond_the_limit_nothing_is_claimed() {
        let mut keys = Keys::new(2);
        assert!(!keys.is_repeated(0, b"a"));
        assert!(!keys.is_repeated(0, b"b"));
        assert!(keys.is_full());
        assert!(!keys.is_repeated(0, b"a"));
        let mut keys = Keys::new(2);
        keys.expect(3);
        assert!(keys.is_full());
    }
}

//! Has this key been seen in its database? Read [`Keys`] first.
//!
//! A stream must answer at once: a hash table, whose every look-up misses the cache. A mapped file can be walked again,
//! so that the answer may wait until all fingerprints are there to be sorted: several times as fast.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::quality::RandomState;

/// Keys remembered unless more is asked for: up to 16 bytes each, 40 MiB in all.
pub const KEYS_REMEMBERED: u64 = 3_000_000;
/// Tables: each grows by itself, so that a table and its successor never hold everything twice. As bins, each is
/// small enough to be sorted in the cache.
const SHARDS: usize = 256;
/// Fingerprints that occur twice and are looked for in the file; more keys than that are not named.
const REPEATED_MAX: usize = 10_000;

/// What is remembered of keys.
#[derive(Debug)]
pub(super) struct Keys {
    memory: Memory,
    hasher: RandomState,
    left: u64,
    is_full: bool,
}

#[derive(Debug)]
enum Memory {
    /// Answers at once.
    Tables(Vec<HashSet<u64, BuildHasherDefault<Same>>>),
    /// Answers at the end.
    Bins(Vec<Vec<u64>>),
}

impl Keys {
    /// Remembers up to `limit` keys and answers [`Keys::is_repeated`] at once.
    pub(super) fn answering_now(limit: u64) -> Self {
        Self::with(Memory::Tables(vec![HashSet::default(); SHARDS]), limit)
    }

    /// Remembers up to `limit` keys and answers by [`Keys::into_repeated`].
    pub(super) fn answering_later(limit: u64) -> Self {
        Self::with(Memory::Bins(vec![Vec::new(); SHARDS]), limit)
    }

    fn with(memory: Memory, limit: u64) -> Self {
        Self { memory, hasher: RandomState::default(), left: limit, is_full: limit == 0 }
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

    /// Remembers `key`; whether it was seen in `db` before, where that can be told now.
    #[inline]
    pub(super) fn is_repeated(&mut self, db: u64, key: &[u8]) -> bool {
        if self.is_full {
            return false;
        }
        let print = print(&self.hasher, db, key);
        let shard = crate::input::index(print % SHARDS as u64);
        let is_new = match &mut self.memory {
            Memory::Tables(tables) => tables.get_mut(shard).is_none_or(|table| table.insert(print)),
            Memory::Bins(bins) => {
                if let Some(bin) = bins.get_mut(shard) {
                    bin.push(print);
                }
                true
            }
        };
        self.left = self.left.saturating_sub(u64::from(is_new));
        if self.left == 0 {
            self.forget();
        }
        !is_new
    }

    fn forget(&mut self) {
        self.is_full = true;
        self.memory = Memory::Bins(Vec::new());
    }

    /// The keys that occurred more than once, to be told apart in a second walk.
    pub(super) fn into_repeated(self) -> Repeated {
        let mut seen = HashMap::new();
        if let Memory::Bins(bins) = self.memory {
            for mut bin in bins {
                bin.sort_unstable();
                let twice = bin.windows(2).filter_map(|pair| match pair {
                    [first, second] if first == second => Some((*first, false)),
                    _ => None,
                });
                seen.extend(twice.take(REPEATED_MAX.saturating_sub(seen.len())));
            }
        }
        Repeated { seen, hasher: self.hasher }
    }
}

/// Fingerprints of keys that occur more than once, and whether each has been met on the second walk.
#[derive(Debug)]
pub(super) struct Repeated {
    seen: HashMap<u64, bool>,
    hasher: RandomState,
}

impl Repeated {
    /// Nothing repeats: no second walk is needed.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether `key` of `db` was met before on this walk.
    pub(super) fn is_again(&mut self, db: u64, key: &[u8]) -> bool {
        let print = print(&self.hasher, db, key);
        self.seen.get_mut(&print).is_some_and(|met| std::mem::replace(met, true))
    }
}

#[inline]
fn print(hasher: &RandomState, db: u64, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.write_u64(db);
    hasher.finish()
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
        self.0 = value.rotate_right(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_repeats_within_its_database_only() {
        let mut keys = Keys::answering_now(100);
        assert!(!keys.is_repeated(0, b"a"));
        assert!(!keys.is_repeated(1, b"a"));
        assert!(keys.is_repeated(0, b"a"));
        assert!(!keys.is_full());
    }

    #[test]
    fn bins_tell_later_and_tell_the_second_one() {
        let mut keys = Keys::answering_later(100);
        for key in [b"a", b"b", b"a"] {
            assert!(!keys.is_repeated(0, key));
        }
        let mut repeated = keys.into_repeated();
        let again: Vec<bool> =
            [b"a", b"b", b"a"].iter().map(|key| repeated.is_again(0, *key)).collect();
        assert_eq!(again, [false, false, true]);
    }

    #[test]
    fn beyond_the_limit_nothing_is_claimed() {
        let mut keys = Keys::answering_now(2);
        assert!(!keys.is_repeated(0, b"a"));
        assert!(!keys.is_repeated(0, b"b"));
        assert!(keys.is_full());
        assert!(!keys.is_repeated(0, b"a"));
        let mut keys = Keys::answering_now(2);
        keys.expect(3);
        assert!(keys.is_full());
    }
}

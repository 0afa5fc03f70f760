//! Large values that stand in a server more than once. Read [`Duplicates`] first.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use foldhash::quality::RandomState;
use unfrag_rdb::text::Text;

/// Values shorter than this are not worth sharing: the reference to share them by costs as much.
pub const VALUE_BYTES_MIN: u64 = 512;
/// Values remembered. Beyond, those of every second hash are forgotten, and what is found counts twice.
const VALUES_MAX: usize = 60_000;
/// Bytes of an example's name.
const NAME_BYTES_MAX: usize = 64;

/// Values seen, by hash. Equal values have equal hashes in every core's table.
#[derive(Debug, Clone, Default)]
pub struct Duplicates {
    hasher: RandomState,
    seen: HashMap<u64, Copies, FixedState>,
    /// Hashes below `u64::MAX >> shift` are remembered.
    shift: u32,
    /// Hash of the value of the key under way.
    pending: Option<u64>,
}

/// One value.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    /// Keys that hold it.
    pub keys: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the value.
    pub length: u64,
    /// The name of the second of them.
    pub example: Option<Box<[u8]>>,
}

impl Duplicates {
    /// An empty one that hashes alike.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { hasher: self.hasher.clone(), ..Self::default() }
    }

    /// A string value; its key comes with [`Duplicates::close`].
    #[inline]
    pub fn text(&mut self, text: Text<'_>) {
        self.pending = match text {
            Text::Bytes(bytes) if bytes.len() as u64 >= VALUE_BYTES_MIN => {
                Some(self.hasher.hash_one(bytes))
            }
            // Servers compress equal values equally.
            Text::Packed(packed) if packed.length >= VALUE_BYTES_MIN => {
                Some(self.hasher.hash_one((packed.length, packed.lzf)))
            }
            _ => None,
        };
    }

    /// The key of the value that came last, and its bytes.
    #[inline]
    pub fn close(&mut self, name: &[u8], length: u64, bytes: u64) {
        let Some(hash) = self.pending.take() else { return };
        if hash > u64::MAX >> self.shift {
            return;
        }
        let copies = self.seen.entry(hash).or_default();
        copies.keys += 1;
        copies.bytes += bytes;
        copies.length = length;
        if copies.keys == 2 {
            copies.example = name.get(..NAME_BYTES_MAX).or(Some(name)).map(Box::from);
        }
        self.limit();
    }

    fn limit(&mut self) {
        while self.seen.len() > VALUES_MAX {
            self.shift += 1;
            let most = u64::MAX >> self.shift;
            self.seen.retain(|&hash, _| hash <= most);
        }
    }

    /// Takes over another's.
    pub fn join(&mut self, other: Self) {
        self.shift = self.shift.max(other.shift);
        let most = u64::MAX >> self.shift;
        self.seen.retain(|&hash, _| hash <= most);
        for (hash, more) in other.seen.into_iter().filter(|&(hash, _)| hash <= most) {
            let copies = self.seen.entry(hash).or_default();
            copies.keys += more.keys;
            copies.bytes += more.bytes;
            copies.length = more.length;
            copies.example = copies.example.take().or(more.example);
        }
        self.limit();
    }

    /// Values held by more than one key, the costliest first, and by how much to multiply them.
    pub fn found(&self) -> (Vec<&Copies>, u64) {
        let mut found: Vec<&Copies> = self.seen.values().filter(|c| c.keys > 1).collect();
        found.sort_by_key(|c| std::cmp::Reverse((c.bytes, c.keys, c.example.clone())));
        (found, 1 << self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_meet_across_cores() {
        let mut one = Duplicates::default();
        let mut two = one.fork();
        let (long, other) = (vec![7_u8; 1000], vec![8_u8; 1000]);
        for duplicates in [&mut one, &mut two] {
            duplicates.text(Text::Bytes(&long));
            duplicates.close(b"a", 1000, 1100);
            duplicates.text(Text::Bytes(b"short"));
            duplicates.close(b"b", 5, 60);
        }
        two.text(Text::Bytes(&other));
        two.close(b"c", 1000, 1100);
        one.join(two);
        let (found, factor) = one.found();
        assert_eq!((found.len(), factor), (1, 1));
        assert_eq!((found[0].keys, found[0].bytes), (2, 2200));
    }

    #[test]
    fn many_values_are_sampled_and_scaled() {
        let mut duplicates = Duplicates::default();
        for number in 0..200_000_u64 {
            let mut value = vec![0_u8; 600];
            value[..8].copy_from_slice(&(number / 2).to_le_bytes());
            duplicates.text(Text::Bytes(&value));
            duplicates.close(b"k", 600, 700);
        }
        let (found, factor) = duplicates.found();
        let keys: u64 = found.iter().map(|c| c.keys).sum::<u64>() * factor;
        assert!(factor > 1);
        assert!((180_000..220_000).contains(&keys), "{keys}");
    }
}

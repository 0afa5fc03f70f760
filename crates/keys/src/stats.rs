//! What is kept of all keys of one pattern. Read [`Stats`] first.

use unfrag_rdb::format::DataType;
use unfrag_rdb::size::{Block, KeySize};

use crate::histogram::Histogram;
use crate::sample::Reservoir;
use crate::time::{IDLE_BUCKETS, TTL_BUCKETS, TtlBucket, idle_bucket};

/// Sums over the keys of one pattern. Everything in it can be joined with another's.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Keys.
    pub keys: u64,
    /// Their bytes, tables of the database not counted.
    pub bytes: u64,
    /// Bytes of their names.
    pub name_bytes: u64,
    /// Bytes a key.
    pub sizes: Histogram,
    /// By type and encoding; few.
    pub kinds: Vec<KindSum>,
    /// Keys and bytes by the time they have left.
    pub ttl: [Sum; TTL_BUCKETS],
    /// Keys and bytes by the time since they were used, where the server kept that.
    pub idle: [Sum; IDLE_BUCKETS],
    /// Keys whose access frequency the server kept, and the sum of it.
    pub frequency: Sum,
    /// Keys just over a conversion threshold.
    pub near: Near,
    /// Allocations of some of the keys.
    pub blocks: Vec<Block>,
    /// How many keys that are.
    pub blocks_keys: u64,
    /// Some keys, with their values if those are strings.
    pub reservoir: Reservoir,
}

/// Keys and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sum {
    /// Keys.
    pub keys: u64,
    /// Bytes, or whatever is summed.
    pub bytes: u64,
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, bytes: u64) {
        self.keys += 1;
        self.bytes += bytes;
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

/// Keys of one type and encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindSum {
    /// Type.
    pub data_type: DataType,
    /// Encoding after loading.
    pub encoding: &'static str,
    /// Keys and bytes.
    pub sum: Sum,
    /// Elements; bytes of strings.
    pub elements: u64,
}

/// Keys just over a threshold, and what they would take below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Near {
    /// Keys.
    pub keys: u64,
    /// Of which sets of integers.
    pub intsets: u64,
    /// Their bytes.
    pub bytes_now: u64,
    /// Bytes if they were packed.
    pub bytes_after: u64,
    /// Most elements among them.
    pub elements_max: u64,
    /// Longest element among them.
    pub longest_max: u64,
}

impl Stats {
    /// One more key.
    #[inline]
    pub fn add(&mut self, key: &KeySize<'_>, ttl: TtlBucket) {
        self.keys += 1;
        self.bytes += key.bytes;
        self.name_bytes += key.key.name.len() as u64;
        self.sizes.add(key.bytes);
        let kind = self.kind(key.key.kind.data_type(), key.encoding);
        kind.sum.add(key.bytes);
        kind.elements += key.elements;
        if let Some(sum) = self.ttl.get_mut(ttl as usize) {
            sum.add(key.bytes);
        }
        if let Some(idle_s) = key.key.idle_s
            && let Some(sum) = self.idle.get_mut(idle_bucket(idle_s))
        {
            sum.add(key.bytes);
        }
        if let Some(frequency) = key.key.frequency {
            self.frequency.add(u64::from(frequency));
        }
    }

    /// The sums of a type and encoding; the last ones used come first.
    #[inline]
    fn kind(&mut self, data_type: DataType, encoding: &'static str) -> &mut KindSum {
        let is_it = |k: &KindSum| k.data_type == data_type && k.encoding == encoding;
        let place = self.kinds.iter().position(is_it).unwrap_or_else(|| {
            self.kinds.push(KindSum { data_type, encoding, sum: Sum::default(), elements: 0 });
            self.kinds.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
        &mut self.kinds[place]
    }

    /// The allocations of one more key.
    pub fn add_blocks(&mut self, blocks: &[Block]) {
        self.blocks_keys += 1;
        join_blocks(&mut self.blocks, blocks);
    }

    /// Bytes that the pattern holds in each size class, estimated from the keys whose allocations were listed.
    pub fn class_bytes(&self) -> Vec<(u64, u64)> {
        let listed: u64 = self.blocks.iter().map(|b| b.class_bytes * b.count).sum();
        let scale = self.bytes as f64 / listed.max(1) as f64;
        let mut classes: Vec<(u64, u64)> = self
            .blocks
            .iter()
            .map(|b| (b.class_bytes, rounded((b.class_bytes * b.count) as f64 * scale)))
            .collect();
        classes.sort_unstable();
        classes
    }

    /// Keys that expire.
    pub fn expiring(&self) -> Sum {
        let mut sum = Sum::default();
        self.ttl.iter().skip(1).for_each(|more| sum.join(*more));
        sum
    }

    /// Keys without expiry.
    pub fn lasting(&self) -> Sum {
        self.ttl.first().copied().unwrap_or_default()
    }

    /// Keys and bytes of all encodings of a type.
    pub fn of_type(&self, data_type: DataType) -> Sum {
        let mut sum = Sum::default();
        for kind in self.kinds.iter().filter(|k| k.data_type == data_type) {
            sum.join(kind.sum);
        }
        sum
    }

    /// True when all keys are strings.
    pub fn is_strings(&self) -> bool {
        self.keys > 0 && self.of_type(DataType::String).keys == self.keys
    }

    /// Takes over another's sums.
    pub fn join(&mut self, other: Self) {
        self.reservoir.join(other.reservoir, self.keys, other.keys);
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.name_bytes += other.name_bytes;
        self.sizes.join(&other.sizes);
        for more in other.kinds {
            let kind = self.kind(more.data_type, more.encoding);
            kind.sum.join(more.sum);
            kind.elements += more.elements;
        }
        self.ttl.iter_mut().zip(other.ttl).for_each(|(own, more)| own.join(more));
        self.idle.iter_mut().zip(other.idle).for_each(|(own, more)| own.join(more));
        self.frequency.join(other.frequency);
        self.near.join(other.near);
        join_blocks(&mut self.blocks, &other.blocks);
        self.blocks_keys += other.blocks_keys;
    }
}

impl Near {
    pub(crate) fn join(&mut self, other: Self) {
        self.keys += other.keys;
        self.intsets += other.intsets;
        self.bytes_now += other.bytes_now;
        self.bytes_after += other.bytes_after;
        self.elements_max = self.elements_max.max(other.elements_max);
        self.longest_max = self.longest_max.max(other.longest_max);
    }
}

fn join_blocks(own: &mut Vec<Block>, more: &[Block]) {
    for block in more {
        match own.iter_mut().find(|b| b.class_bytes == block.class_bytes) {
            Some(sum) => sum.count += block.count,
            None => own.push(*block),
        }
    }
}

/// A positive estimate as bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "estimates of bytes are positive and far below 2^53"
)]
pub(crate) fn rounded(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

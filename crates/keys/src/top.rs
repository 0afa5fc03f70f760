//! The largest few of many. Read [`Top`] first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Serialize;
use unfrag_rdb::problem::key_text;
use unfrag_rdb::size::KeySize;

use crate::rows::KeyHash;

/// A large key, as reports show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Big {
    /// What it is ranked by.
    #[serde(skip)]
    rank: u64,
    /// Its name, printable (see [`key_text`]), or the hash of it.
    pub key: String,
    /// Database.
    pub db: u64,
    /// Type.
    #[serde(rename = "type")]
    pub data_type: &'static str,
    /// Encoding.
    pub encoding: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// Elements; bytes of a string.
    pub elements: u64,
    /// When it expires, in Unix milliseconds.
    pub expires_ms: Option<i64>,
}

/// The largest few, in room for the few.
#[derive(Debug, Clone)]
pub struct Top {
    heap: BinaryHeap<Reverse<Big>>,
    keep: usize,
    /// What a key must exceed to get in.
    least: u64,
    hash: Option<KeyHash>,
}

impl Top {
    /// For `keep` keys; with a hash, no name is kept.
    pub fn new(keep: usize, hash: Option<KeyHash>) -> Self {
        Self { heap: BinaryHeap::new(), keep, least: if keep == 0 { u64::MAX } else { 0 }, hash }
    }

    /// Considers a key ranked by `rank`.
    #[inline]
    pub fn offer(&mut self, rank: u64, key: &KeySize<'_>) {
        if rank > self.least {
            self.put(Big {
                rank,
                key: self
                    .hash
                    .as_ref()
                    .map_or_else(|| key_text(key.key.name), |hash| hash.of(key.key.name)),
                db: key.key.db.unwrap_or(0),
                data_type: key.key.kind.data_type().name(),
                encoding: key.encoding,
                bytes: key.bytes,
                elements: key.elements,
                expires_ms: key.key.expires_ms,
            });
        }
    }

    fn put(&mut self, big: Big) {
        self.heap.push(Reverse(big));
        if self.heap.len() > self.keep {
            self.heap.pop();
        }
        if self.heap.len() == self.keep {
            self.least = self.heap.peek().map_or(0, |Reverse(big)| big.rank);
        }
    }

    /// Takes over another's.
    pub fn join(&mut self, other: Self) {
        for Reverse(big) in other.heap {
            if big.rank > self.least {
                self.put(big);
            }
        }
    }

    /// Largest first.
    pub fn sorted(&self) -> Vec<Big> {
        self.heap.clone().into_sorted_vec().into_iter().map(|Reverse(big)| big).collect()
    }
}

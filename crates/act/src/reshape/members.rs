//! [`Members`]: keys with their places, sorted into hashes, in bounded memory. Pure.
//!
//! When more keys match than are held, only hashes of a share of all are kept, by a hash of their name: a fair sample for
//! the dry run, and the parts in which a run works through all of them.

use super::layout::{Layout, Place};
use super::spec::{Job, Name};
use std::hash::{BuildHasher, Hasher};

/// Keys held at once: about 100 bytes each with their names.
pub(super) const MOST_HELD: usize = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Member {
    at: usize,
    hash_bytes: u32,
    field_bytes: u32,
    db: u32,
}

/// Keys of a part of all hashes.
#[derive(Debug)]
pub(super) struct Members {
    text: Vec<u8>,
    index: Vec<Member>,
    most: usize,
    /// One of `2^halvings` parts is kept: that with this number.
    halvings: u32,
    part: u64,
    is_fixed: bool,
    /// Keys that have a place, kept or not.
    pub(super) matching: u64,
}

impl Members {
    /// As large a share as fits into `most`.
    pub(super) fn share(most: usize) -> Self {
        let (text, index) = (vec![], vec![]);
        Self { text, index, most, halvings: 0, part: 0, is_fixed: false, matching: 0 }
    }

    /// One of `2^halvings` parts, whatever it takes.
    pub(super) fn part(halvings: u32, part: u64) -> Self {
        Self { halvings, part, is_fixed: true, ..Self::share(0) }
    }

    /// Each of so many hashes is kept.
    pub(super) fn parts(&self) -> u64 {
        1 << self.halvings
    }

    pub(super) fn halvings(&self) -> u32 {
        self.halvings
    }

    /// False when the layout has no place for this key.
    pub(super) fn add(&mut self, layout: &Layout, db: u32, key: &[u8]) -> bool {
        let Some(place) = layout.place(key) else { return false };
        self.matching += 1;
        if self.is_kept(db, &place.hash) {
            self.push(db, &place);
            if !self.is_fixed && self.index.len() > self.most {
                self.halve();
            }
        }
        true
    }

    fn push(&mut self, db: u32, place: &Place) {
        let (Ok(hash_bytes), Ok(field_bytes)) =
            (u32::try_from(place.hash.len()), u32::try_from(place.field.len()))
        else {
            return;
        };
        self.index.push(Member { at: self.text.len(), hash_bytes, field_bytes, db });
        self.text.extend_from_slice(&place.hash);
        self.text.extend_from_slice(&place.field);
    }

    fn is_kept(&self, db: u32, hash: &[u8]) -> bool {
        let mut hasher = foldhash::fast::FixedState::with_seed(0x756e).build_hasher();
        hasher.write_u32(db);
        hasher.write(hash);
        // The upper bits: foldhash's best.
        self.halvings == 0 || hasher.finish() >> (64 - self.halvings) == self.part
    }

    fn halve(&mut self) {
        self.halvings += 1;
        let (text, index) = (std::mem::take(&mut self.text), std::mem::take(&mut self.index));
        for member in index {
            let hash = slice(&text, member.at, member.hash_bytes);
            if self.is_kept(member.db, hash) {
                let at = self.text.len();
                self.index.push(Member { at, ..member });
                let bytes = member.hash_bytes + member.field_bytes;
                self.text.extend_from_slice(slice(&text, member.at, bytes));
            }
        }
    }

    /// The hashes with their fields, in order; a key that SCAN gave twice is there once.
    pub(super) fn into_jobs(mut self) -> Vec<(u32, Job)> {
        let text = std::mem::take(&mut self.text);
        let hash = |m: &Member| slice(&text, m.at, m.hash_bytes);
        let field = |m: &Member| slice(&text, m.at + m.hash_bytes as usize, m.field_bytes);
        let order = |m: &Member| (m.db, hash(m), field(m));
        self.index.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        self.index.dedup_by(|a, b| order(a) == order(b));
        let groups = self.index.chunk_by(|a, b| a.db == b.db && hash(a) == hash(b));
        groups
            .filter_map(|group| {
                let first = group.first()?;
                let fields = group.iter().map(|m| Name(field(m).to_vec())).collect();
                Some((first.db, Job { name: Name(hash(first).to_vec()), fields }))
            })
            .collect()
    }
}

fn slice(text: &[u8], at: usize, bytes: u32) -> &[u8] {
    text.get(at..at + bytes as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::layout::Wording;
    use super::*;

    fn layout() -> Layout {
        Layout::parse(&Wording { keys: "u:{id}:{f}".into(), into: "u:{id}".into(), field: None })
            .unwrap()
    }

    #[test]
    fn parts_are_all_of_it_and_a_share_is_one_of_them() {
        let layout = layout();
        let keys: Vec<Vec<u8>> =
            (0..3000).map(|n| format!("u:{}:f{}", n / 3, n % 3).into_bytes()).collect();
        let mut share = Members::share(500);
        for key in &keys {
            assert!(share.add(&layout, 0, key));
        }
        assert_eq!(share.matching, 3000);
        let (halvings, kept) = (share.halvings(), share.into_jobs());
        assert!((250..=500).contains(&(kept.len() * 3)), "{}", kept.len());
        let mut all = vec![];
        for part in 0..1 << halvings {
            let mut members = Members::part(halvings, part);
            // Twice, as SCAN may.
            for key in keys.iter().chain(&keys) {
                assert!(members.add(&layout, 0, key));
            }
            let jobs = members.into_jobs();
            if part == 0 {
                assert_eq!(jobs, kept);
            }
            all.extend(jobs);
        }
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|(_, job)| job.fields.len() == 3));
    }
}

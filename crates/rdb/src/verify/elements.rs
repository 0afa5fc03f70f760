//! Has this element been seen in its value? Read [`Seen`] first.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

/// Slots of the largest table: 8 MiB a worker. Elements beyond three quarters of that are not looked up,
/// and the report says so.
const SLOTS_MAX: usize = 1 << 20;
const SLOTS_MIN: usize = 64;

/// What became of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    New,
    Again,
    /// The table is full: not known.
    Untold,
}

/// 64-bit fingerprints of elements, reused from value to value. The hash is keyed at random, so that two of
/// a million elements share a fingerprint once in ten million values.
#[derive(Debug)]
pub(super) struct Seen {
    slots: Vec<u64>,
    mask: usize,
    used: usize,
    hasher: RandomState,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![0; SLOTS_MIN],
            mask: SLOTS_MIN - 1,
            used: 0,
            hasher: RandomState::default(),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        if self.used > 0 {
            self.slots.truncate(SLOTS_MIN);
            self.slots.fill(0);
            self.mask = SLOTS_MIN - 1;
            self.used = 0;
        }
    }

    #[inline]
    pub(super) fn see(&mut self, element: &[u8]) -> Sight {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(element);
        // The low bits choose the slot: fold the high ones in. Zero marks a free slot.
        let hash = hasher.finish();
        self.insert((hash ^ hash >> 32).max(1))
    }

    #[inline]
    fn insert(&mut self, print: u64) -> Sight {
        if (self.used + 1) * 4 > (self.mask + 1) * 3 && !self.grow() {
            return if self.find(print).is_none() { Sight::Again } else { Sight::Untold };
        }
        let Some(slot) = self.find(print) else { return Sight::Again };
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = print;
        }
        self.used += 1;
        Sight::New
    }

    #[inline]
    /// The free slot where `print` belongs; `None` where it is already.
    fn find(&self, print: u64) -> Option<usize> {
        let mut at = crate::input::index(print);
        loop {
            at &= self.mask;
            match self.slots.get(at) {
                Some(0) => return Some(at),
                Some(&other) if other != print => at += 1,
                _ => return None,
            }
        }
    }

    fn grow(&mut self) -> bool {
        let slots = (self.mask + 1) * 4;
        if slots > SLOTS_MAX {
            return false;
        }
        let old = std::mem::replace(&mut self.slots, vec![0; slots]);
        self.mask = slots - 1;
        for print in old.into_iter().filter(|&print| print != 0) {
            if let Some(slot) = self.find(print).and_then(|at| self.slots.get_mut(at)) {
                *slot = print;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_new_once() {
        let mut seen = Seen::new();
        for round in 0..2 {
            for element in 0..5000_u32 {
                let sight = if round == 0 { Sight::New } else { Sight::Again };
                assert_eq!(seen.see(&element.to_le_bytes()), sight);
            }
        }
        seen.clear();
        assert_eq!(seen.see(b"a"), Sight::New);
    }

    #[test]
    fn a_full_table_says_that_it_does_not_know() {
        let mut seen = Seen::new();
        let sights = (0..900_000_u32).map(|element| seen.see(&element.to_le_bytes()));
        let untold = sights.filter(|&sight| sight == Sight::Untold).count();
        assert_eq!(untold, 900_000 - SLOTS_MAX * 3 / 4);
        assert_eq!(seen.see(&7_u32.to_le_bytes()), Sight::Again);
    }
}

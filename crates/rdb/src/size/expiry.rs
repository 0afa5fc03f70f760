//! Size of Valkey's index of a hash's fields by expiry, found by filling one as the server does. Read
//! [`ExpiryIndex::bytes`].
//!
//! One field is the pointer itself; up to 127 are a vector; more are a radix tree of time windows, each with a pointer, a
//! vector or a table (valkey:src/vset.c). A window begins 8,192 ms long and is split where it is full, down to 16 ms.
//!
//! With libc's allocator hashes of 600 such fields take 1 % more than is said here, and with jemalloc 0.1 %
//! (`scripts/size_truth.py --kind hash-ttl-all-table`, with and without one preloaded): vectors and nodes that grow leave gaps,
//! and libc fills a gap with a block sixteen bytes too small for it rather than cut it.

use std::collections::BTreeMap;

use super::cost::Cost;

/// Fields of a vector at most.
const VECTOR_MAX: usize = 127;
/// A vector's own bytes, and those of each pointer.
const VECTOR_HEADER: u64 = 8;
const POINTER: u64 = 8;
/// Shortest and longest window, in ms.
const WINDOW_MIN: u64 = 1 << 4;
const WINDOW_MAX: u64 = 1 << 13;
/// Expiries of one hash that are held; more are priced like these.
const HELD_MAX: usize = 1 << 16;

/// Expiries of one hash in the order in which the file has them.
#[derive(Debug, Default)]
pub(super) struct ExpiryIndex {
    held: Vec<u64>,
    count: u64,
}

impl ExpiryIndex {
    /// A field expires at `time`, a Unix time in ms.
    pub(super) fn add(&mut self, time: u64) {
        self.count += 1;
        if self.held.len() < HELD_MAX {
            self.held.push(time);
        }
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.count = 0;
    }

    /// Bytes of the index, the pointer to it not counted.
    pub(super) fn bytes(&self, cost: &Cost) -> u64 {
        if self.held.len() <= VECTOR_MAX {
            return vector_bytes(self.held.len(), cost);
        }
        let mut tree = Tree::default();
        for &time in &self.held {
            tree.insert(time);
        }
        let held = self.held.len() as u64;
        tree.bytes(cost).saturating_mul(self.count).checked_div(held).unwrap_or(0)
    }
}

fn vector_bytes(fields: usize, cost: &Cost) -> u64 {
    match fields {
        0 | 1 => 0,
        n => cost.block(VECTOR_HEADER + POINTER * n as u64),
    }
}

/// Windows by the time at which they end.
#[derive(Debug, Default)]
struct Tree {
    windows: BTreeMap<u64, Window>,
}

/// What expires before a window's end and after the one before.
#[derive(Debug)]
enum Window {
    /// A pointer, or a vector.
    Times(Vec<u64>),
    /// A table of so many: fields that no shorter window tells apart.
    Table(u64),
}

impl Tree {
    fn insert(&mut self, time: u64) {
        // A split or a move may be needed first; each leaves shorter windows, so that this ends.
        while let Some((&end, window)) = self.windows.range_mut(time.saturating_add(1)..).next() {
            if window_end(time, WINDOW_MAX) < end {
                break;
            }
            match window {
                Window::Table(count) => *count += 1,
                Window::Times(times) if times.len() < VECTOR_MAX => times.push(time),
                Window::Times(times) => match narrower(times, end) {
                    Narrower::Moved(to) => {
                        if let Some(window) = self.windows.remove(&end) {
                            self.windows.insert(to, window);
                        }
                        continue;
                    }
                    Narrower::Split { at, end } => {
                        let later = times.split_off(at);
                        let sooner = std::mem::replace(times, later);
                        self.windows.insert(end, Window::Times(sooner));
                        continue;
                    }
                    Narrower::Never => *window = Window::Table(VECTOR_MAX as u64 + 1),
                },
            }
            return;
        }
        self.windows.insert(window_end(time, WINDOW_MAX), Window::Times(vec![time]));
    }

    fn bytes(&self, cost: &Cost) -> u64 {
        let ends: Vec<[u8; 8]> = self.windows.keys().map(|end| end.to_be_bytes()).collect();
        let windows = self.windows.values().map(|window| match window {
            Window::Times(times) => vector_bytes(times.len(), cost),
            Window::Table(count) => cost.hashtable(*count, 0),
        });
        cost.rax(&ends) + windows.sum::<u64>()
    }
}

/// What becomes of a full vector.
#[derive(Debug, PartialEq, Eq)]
enum Narrower {
    /// All of it expires before an earlier end.
    Moved(u64),
    /// What comes before `at` gets a window of its own that ends at `end`.
    Split { at: usize, end: u64 },
    /// All fall into one shortest window.
    Never,
}

/// Sorts `times`, which end at `end`, and says how to make room: the boundary nearest to the middle, the earlier one of two.
fn narrower(times: &mut [u64], end: u64) -> Narrower {
    times.sort_unstable();
    let shortest = |time: &u64| window_end(*time, WINDOW_MIN);
    let last = times.last().map_or(end, shortest);
    if last < end {
        return Narrower::Moved(last);
    }
    let middle = times.len() / 2;
    let boundaries = times.windows(2).enumerate().filter_map(|(before, pair)| match pair {
        [a, b] if shortest(a) < shortest(b) => Some((before + 1, shortest(a))),
        _ => None,
    });
    let nearest = boundaries.min_by_key(|(at, _)| (at.abs_diff(middle), *at));
    nearest.map_or(Narrower::Never, |(at, end)| Narrower::Split { at, end })
}

/// End of the window of `length` ms, a power of two, in which `time` falls.
fn window_end(time: u64, length: u64) -> u64 {
    (time & !(length - 1)).saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::SizeFor;
    use crate::size::server::Server;

    fn filled(times: impl Iterator<Item = u64>) -> Tree {
        let mut tree = Tree::default();
        times.for_each(|time| tree.insert(time));
        tree
    }

    fn lengths(tree: &Tree) -> Vec<(u64, usize)> {
        let length = |window: &Window| match window {
            Window::Times(times) => times.len(),
            Window::Table(count) => usize::try_from(*count).unwrap_or(usize::MAX),
        };
        tree.windows.iter().map(|(end, window)| (*end, length(window))).collect()
    }

    #[test]
    fn fields_of_other_times_have_windows_of_their_own() {
        let far_apart = filled((0..200).map(|n| n * 60_000));
        assert_eq!(far_apart.windows.len(), 200);
        let near = filled((0..100).map(|n| n * 16));
        assert_eq!(lengths(&near), [(8192, 100)]);
    }

    #[test]
    fn a_full_window_is_split_near_its_middle_and_what_cannot_be_split_becomes_a_table() {
        let split = filled((0..128).rev().map(|n| n * 64 + 63));
        assert_eq!(lengths(&split), [(4096, 64), (8192, 64)]);
        // Nothing reaches to its end: it ends earlier, and what comes later has a window of its own.
        let moved = filled((0..128).map(|n| n * 64));
        assert_eq!(lengths(&moved), [(126 * 64 + 16, 127), (8192, 1)]);
        let same = filled((0..300).map(|_| 5));
        // It moves to its shortest window first.
        assert_eq!(lengths(&same), [(16, 300)]);
        assert!(matches!(same.windows.get(&16), Some(Window::Table(300))));
    }

    #[test]
    fn no_time_and_no_order_is_too_much() {
        let ends = [0, 1, u64::MAX, u64::MAX - 1, u64::MAX / 2, i64::MAX as u64];
        let tree = filled((0..3000).map(|n| ends[n % ends.len()]));
        let all: usize = lengths(&tree).iter().map(|(_, n)| n).sum();
        assert_eq!(all, 3000);
    }

    #[test]
    fn more_than_are_held_are_priced_like_those_held() {
        let cost = Cost::new(&SizeFor::new(Server::Valkey91));
        let mut index = ExpiryIndex::default();
        (0..HELD_MAX as u64).for_each(|n| index.add(n * 1000));
        let held = index.bytes(&cost);
        (0..HELD_MAX as u64).for_each(|n| index.add(n * 1000));
        assert_eq!(index.bytes(&cost), 2 * held);
        index.clear();
        assert_eq!(index.bytes(&cost), 0);
    }
}

//! What a node of a Cluster keeps by slot. Read [`Slots`] first.
//!
//! Redis from 7.4 and Valkey from 8.0 have a table of keys, and one of expiries, for each slot; before that there is one table,
//! and each release has its own way to find the keys of a slot: a radix tree over slot and name (6.2), or links in
//! the entries (7.0, 7.2), which are priced with the key.

use super::cost::Cost;
use super::server::Server;
use crate::slot;

const SLOTS: usize = 16_384;
/// Names held to measure the tree; beyond that, those of every second slot are, and so on.
const NAMES_MAX: usize = 1 << 14;
/// Longest name held; what is longer costs its length.
const NAME_BYTES_MAX: usize = 256;

/// Keys of a snapshot by slot.
#[derive(Debug)]
pub(super) struct Slots {
    /// Keys, and keys that expire.
    counts: Vec<(u64, u64)>,
    names: Option<Names>,
}

/// A sample of names with their slots, whole slots of them.
#[derive(Debug, Default)]
struct Names {
    held: Vec<Vec<u8>>,
    /// Slots whose number shares no bit with this are held.
    mask: u64,
    /// Bytes of names beyond what is held of them.
    cut_bytes: u64,
}

impl Slots {
    pub(super) fn new(server: Server) -> Self {
        let names = (server == Server::Redis62).then(Names::default);
        Self { counts: vec![(0, 0); SLOTS], names }
    }

    pub(super) fn add(&mut self, name: &[u8], expires: bool) {
        let slot = slot::of(name);
        if let Some((keys, expiring)) = self.counts.get_mut(crate::input::index(slot)) {
            *keys += 1;
            *expiring += u64::from(expires);
        }
        if let Some(names) = &mut self.names {
            names.add(slot, name);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (own, found) in self.counts.iter_mut().zip(other.counts) {
            own.0 += found.0;
            own.1 += found.1;
        }
        if let (Some(names), Some(found)) = (&mut self.names, other.names) {
            names.merge(found);
        }
    }

    /// Tables of all slots in servers that have one for each.
    pub(super) fn tables(&self, cost: &Cost) -> u64 {
        let table = |n, has_histogram| match n {
            0 => 0,
            n => cost.slot_header(has_histogram) + cost.slot_table(n),
        };
        self.counts.iter().map(|&(keys, expires)| table(keys, true) + table(expires, false)).sum()
    }

    /// The tree over slots and names in servers that have one.
    pub(super) fn tree(&mut self, cost: &Cost) -> u64 {
        let all: u64 = self.counts.iter().map(|(keys, _)| keys).sum();
        let Some(names) = &mut self.names else { return 0 };
        names.held.sort_unstable();
        names.held.dedup();
        let held = names.held.len() as u64;
        let bytes = cost.rax_of_names(&names.held).saturating_add(names.cut_bytes);
        u128::from(bytes)
            .saturating_mul(u128::from(all))
            .checked_div(u128::from(held))
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or_default()
    }
}

impl Names {
    fn add(&mut self, slot: u64, name: &[u8]) {
        if slot & self.mask != 0 {
            return;
        }
        let held = name.get(..NAME_BYTES_MAX).unwrap_or(name);
        self.cut_bytes += (name.len() - held.len()) as u64;
        let [.., high, low] = slot.to_be_bytes();
        self.held.push([[high, low].as_slice(), held].concat());
        while self.held.len() > NAMES_MAX && self.mask < SLOTS as u64 - 1 {
            self.thin(self.mask << 1 | 1);
        }
    }

    fn thin(&mut self, mask: u64) {
        self.mask |= mask;
        let mask = self.mask;
        let before = self.held.len().max(1) as u64;
        self.held.retain(|name| match name.as_slice() {
            [high, low, ..] => u64::from(u16::from_be_bytes([*high, *low])) & mask == 0,
            _ => false,
        });
        // As many of the long ones went as of all.
        self.cut_bytes = self.cut_bytes.saturating_mul(self.held.len() as u64) / before;
    }

    fn merge(&mut self, mut other: Self) {
        let mask = self.mask | other.mask;
        self.thin(mask);
        other.thin(mask);
        self.held.append(&mut other.held);
        self.cut_bytes += other.cut_bytes;
        while self.held.len() > NAMES_MAX && self.mask < SLOTS as u64 - 1 {
            self.thin(self.mask << 1 | 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::SizeFor;

    fn slots(server: Server, keys: std::ops::Range<u32>) -> Slots {
        let mut slots = Slots::new(server);
        keys.for_each(|n| slots.add(format!("key:{n}").as_bytes(), false));
        slots
    }

    #[test]
    fn a_sample_of_slots_tells_what_all_would() {
        let cost = Cost::new(&SizeFor::new(Server::Redis62));
        let few = slots(Server::Redis62, 0..15_000).tree(&cost) as f64 / 15_000.0;
        let many = slots(Server::Redis62, 0..300_000).tree(&cost) as f64 / 300_000.0;
        assert!((40.0..46.0).contains(&few) && (38.0..46.0).contains(&many), "{few} {many}");
        let mut halves = slots(Server::Redis62, 0..150_000);
        halves.merge(slots(Server::Redis62, 150_000..300_000));
        let joined = halves.tree(&cost) as f64 / 300_000.0;
        assert!((joined / many - 1.0).abs() < 0.02, "{joined} {many}");
    }

    #[test]
    fn every_slot_with_keys_has_a_table() {
        let server = Server::Redis82;
        let cost = Cost::new(&SizeFor::new(server));
        let one = slots(server, 0..1).tables(&cost);
        assert_eq!(one, 2560 + 32);
        assert!(slots(server, 0..100_000).tables(&cost) > 16_000 * one);
    }
}

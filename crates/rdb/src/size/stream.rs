//! Size of a stream: listpacks, the tree over them, groups with their consumers and pending entries.
//! Read [`StreamSize`] first.

use super::cost::Cost;
use super::server::Server;
use crate::text::{Text, write_decimal};
use crate::value::stream::Part;

/// Names of a tree that are held; more are priced like these.
const NAMES_MAX: usize = 4096;
/// Ids of a tree that are held to be measured exactly; a larger tree is measured by its first ones.
const IDS_MAX: usize = 1 << 17;

/// What a stream has come to so far.
#[derive(Debug, Default)]
pub(super) struct StreamSize {
    bytes: u64,
    length: u64,
    nodes: Tree<[u8; 16]>,
    pending: Tree<[u8; 16]>,
    consumed: Tree<[u8; 16]>,
    groups: Tree<Vec<u8>>,
    consumers: Tree<Vec<u8>>,
}

/// Keys of one tree.
#[derive(Debug)]
struct Tree<K> {
    held: Vec<K>,
    count: u64,
}

impl<K> Default for Tree<K> {
    fn default() -> Self {
        Self { held: Vec::new(), count: 0 }
    }
}

impl<K: AsRef<[u8]> + Ord> Tree<K> {
    fn add(&mut self, key: K, held_max: usize) {
        self.count += 1;
        if self.held.len() < held_max {
            self.held.push(key);
        }
    }

    /// Bytes of the tree; then it is empty.
    fn take(&mut self, cost: &Cost) -> u64 {
        self.held.sort_unstable();
        // A damaged file repeats keys; a tree cannot.
        self.held.dedup();
        let bytes = cost.rax(&self.held);
        let held = self.held.len() as u64;
        let whole = bytes.saturating_mul(self.count).checked_div(held).unwrap_or(bytes);
        self.held.clear();
        self.count = 0;
        whole
    }
}

impl StreamSize {
    /// A listpack that takes `block` bytes.
    pub(super) fn node(&mut self, block: u64) {
        self.bytes += block;
    }

    pub(super) fn on(&mut self, part: Part<'_>, cost: &Cost) {
        match part {
            Part::Node(id) => self.nodes.add(id.to_bytes(), IDS_MAX),
            Part::Meta(meta) => self.length = meta.length,
            Part::Group { name } => {
                self.bytes += cost.block(group_bytes(cost.server));
                self.groups.add(held_name(&name), NAMES_MAX);
            }
            Part::Pending { id, .. } => {
                self.bytes += cost.block(pending_bytes(cost.server));
                self.pending.add(id.to_bytes(), IDS_MAX);
            }
            Part::Consumer(name) => {
                self.close_consumer(cost);
                let header = if cost.server.is_before_72() { 24 } else { 32 };
                self.bytes += cost.block(header) + cost.string(name.length());
                self.consumers.add(held_name(&name), NAMES_MAX);
            }
            Part::ConsumerPending(id) => self.consumed.add(id.to_bytes(), IDS_MAX),
            Part::GroupEnd => self.close_group(cost),
            // A radix tree of producers is a run and a leaf for each, their names being random.
            Part::Producer(name) => {
                let tree = cost.block(16 + name.length()) + cost.block(16);
                self.bytes += cost.block(24) + cost.dict_header() + tree;
            }
            Part::Remembered(id) => self.bytes += cost.block(32 + id.length()) + cost.block(24),
            _ => {}
        }
    }

    /// Bytes of the whole, and live entries.
    pub(super) fn finish(&mut self, cost: &Cost) -> (u64, u64) {
        let tree = self.nodes.take(cost);
        let groups = if self.groups.count > 0 { self.groups.take(cost) } else { 0 };
        (self.bytes + cost.block(stream_bytes(cost.server)) + tree + groups, self.length)
    }

    fn close_consumer(&mut self, cost: &Cost) {
        // The first consumer closes nothing: there was none before it.
        if self.consumers.count > 0 {
            self.bytes += self.consumed.take(cost);
        }
    }

    fn close_group(&mut self, cost: &Cost) {
        self.close_consumer(cost);
        let by_id = cost.server.is_redis_from(Server::Redis82);
        // From 8.2 on a third tree says which groups refer to an entry, with a list of one for each.
        let references = self.pending.count * (cost.block(48) + cost.block(24));
        let tree = self.pending.take(cost);
        self.bytes += tree + if by_id { tree + references } else { 0 };
        self.bytes += self.consumers.take(cost);
    }
}

/// A name as far as it says how trees branch.
fn held_name(name: &Text<'_>) -> Vec<u8> {
    let mut digits = [0; crate::text::DIGITS_MAX];
    match *name {
        Text::Bytes(bytes) => bytes.to_vec(),
        Text::Int(value) => write_decimal(value, &mut digits).to_vec(),
        Text::Packed(_) | Text::Omitted { .. } => {
            vec![b'x'; crate::input::index(name.length().min(NAME_BYTES_MAX))]
        }
    }
}

/// Longest name held; longer ones cost their length, whatever their letters.
const NAME_BYTES_MAX: u64 = 256;

fn stream_bytes(server: Server) -> u64 {
    match server {
        Server::Redis62 => 40,
        Server::Redis82 => 112,
        Server::Redis84 => 120,
        Server::Redis86 => 160,
        _ => 80,
    }
}

fn group_bytes(server: Server) -> u64 {
    match server {
        Server::Redis62 => 32,
        Server::Redis86 => 56,
        _ => 40,
    }
}

fn pending_bytes(server: Server) -> u64 {
    match server {
        Server::Redis82 | Server::Redis84 => 32,
        Server::Redis86 => 64,
        _ => 24,
    }
}

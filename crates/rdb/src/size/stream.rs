//! Size of a stream: listpacks, the tree over them, groups with their consumers and pending entries.
//! Read [`StreamSize`] first.

use super::cost::Cost;
use super::server::Server;
use crate::value::stream::{Id, Part};

/// Ids of a tree that are held to be measured exactly; a larger tree is measured by its first ones.
const IDS_MAX: usize = 1 << 17;

/// What a stream has come to so far.
#[derive(Debug, Default)]
pub(super) struct StreamSize {
    bytes: u64,
    length: u64,
    nodes: Ids,
    pending: Ids,
    consumed: Ids,
    groups: u64,
    consumers: u64,
    producers: u64,
}

/// Ids of one tree.
#[derive(Debug, Default)]
struct Ids {
    held: Vec<Id>,
    count: u64,
}

impl Ids {
    fn add(&mut self, id: Id) {
        self.count += 1;
        if self.held.len() < IDS_MAX {
            self.held.push(id);
        }
    }

    /// Bytes of the tree; then it is empty.
    fn take(&mut self, cost: &Cost) -> u64 {
        let bytes = cost.rax_of_ids(&self.held);
        let whole = if self.held.is_empty() {
            bytes
        } else {
            bytes.saturating_mul(self.count) / self.held.len() as u64
        };
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
            Part::Node(id) => self.nodes.add(id),
            Part::Meta(meta) => self.length = meta.length,
            Part::Group { name } => {
                self.groups += 1;
                self.bytes +=
                    cost.block(group_bytes(cost.server)) + cost.rax_of_name(name.length());
            }
            Part::Pending { id, .. } => {
                self.bytes += cost.block(pending_bytes(cost.server));
                self.pending.add(id);
            }
            Part::Consumer(name) => {
                self.close_consumer(cost);
                self.consumers += 1;
                let header = if cost.server.is_before_72() { 24 } else { 32 };
                let name = name.length();
                self.bytes += cost.block(header) + cost.string(name) + cost.rax_of_name(name);
            }
            Part::ConsumerPending(id) => self.consumed.add(id),
            Part::GroupEnd => self.close_group(cost),
            Part::Producer(name) => {
                self.producers += 1;
                self.bytes += cost.block(24) + cost.dict_header() + cost.rax_of_name(name.length());
            }
            Part::Remembered(id) => self.bytes += cost.block(32 + id.length()) + cost.block(24),
            _ => {}
        }
    }

    /// Bytes of the whole, and live entries.
    pub(super) fn finish(&mut self, cost: &Cost) -> (u64, u64) {
        let tree = self.nodes.take(cost);
        let groups = if self.groups > 0 { cost.rax_header() } else { 0 };
        (self.bytes + cost.block(stream_bytes(cost.server)) + tree + groups, self.length)
    }

    fn close_consumer(&mut self, cost: &Cost) {
        // The first consumer closes nothing: there was none before it.
        if self.consumers > 0 {
            self.bytes += self.consumed.take(cost);
        }
    }

    fn close_group(&mut self, cost: &Cost) {
        self.close_consumer(cost);
        self.consumers = 0;
        let by_id = cost.server.is_redis_from(Server::Redis82);
        // From 8.2 on a third tree says which groups refer to an entry, with a list of one for each.
        let references = self.pending.count * (cost.block(48) + cost.block(24));
        let tree = self.pending.take(cost);
        self.bytes += tree + if by_id { tree + references } else { 0 };
        // The tree of consumers.
        self.bytes += cost.rax_header();
    }
}

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

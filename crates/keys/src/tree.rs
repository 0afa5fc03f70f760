//! Patterns as a tree, learnt from the keys. Read [`Tree`] first.
//!
//! A node is one part of a key (`user:`, `{id}:`, `cart`). Where a place in the tree gathers more different words
//! than a scheme has, the rare ones are names: they are folded into one node `{name}`, or `prefix_{name}` where many
//! begin alike, and the frequent ones stay. A word is frequent if it has its share when the place overflows:
//! snapshots hold keys in the order of a hash table, so the start of one is a fair sample.
//!
//! Memory is bounded by [`NODES_MAX`]: beyond it the limits halve until the tree fits, and the report says so.

mod fold;

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::shape::Placeholder;
use crate::stats::Stats;

/// Nodes that are kept: about 2 KiB each with their sums.
pub const NODES_MAX: usize = 16_000;
/// Different words that a place may have, by depth. An application has hundreds of kinds of keys, but not of
/// each kind hundreds again.
const WORDS_MAX: [u32; 3] = [512, 256, 128];
/// Limits do not halve below this.
const WORDS_FEWEST: u32 = 4;

/// Index of a node.
pub(crate) type NodeId = u32;
/// No sums here.
const NONE: u32 = u32::MAX;
/// Where all keys begin.
pub(crate) const ROOT: NodeId = 0;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// What the part says, with what ends it.
    pub(crate) label: Box<[u8]>,
    pub(crate) children: HashMap<Box<[u8]>, NodeId, FixedState>,
    depth: u32,
    /// Index of sums, for keys that end here.
    stats: u32,
    /// Children that are words.
    words: u32,
    /// New words are names here.
    is_folding: bool,
}

/// All patterns met.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
    free_nodes: Vec<NodeId>,
    stats: Vec<Stats>,
    free_stats: Vec<u32>,
    /// How often the limits were halved.
    halved: u32,
    /// Changes whenever a place found before may no longer be right.
    generation: u32,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(&[], 0)],
            free_nodes: Vec::new(),
            stats: Vec::new(),
            free_stats: Vec::new(),
            halved: 0,
            generation: 0,
        }
    }
}

impl Node {
    fn new(label: &[u8], depth: u32) -> Self {
        Self {
            label: label.into(),
            children: HashMap::with_hasher(FixedState::default()),
            depth,
            stats: NONE,
            words: 0,
            is_folding: false,
        }
    }
}

impl Tree {
    /// The place of keys whose shape has these parts: an index for [`Tree::at`], good until the generation changes.
    pub fn place<'p>(&mut self, parts: impl Iterator<Item = &'p [u8]>) -> u32 {
        let mut node = ROOT;
        for part in parts {
            node = self.step(node, part);
        }
        if self.nodes.len() - self.free_nodes.len() > NODES_MAX {
            self.shrink();
            // The node may be gone; its words are known to be names now.
            return NONE;
        }
        self.stats_of(node)
    }

    /// As [`Tree::place`], surely.
    pub fn surely<'p, I: Iterator<Item = &'p [u8]>>(&mut self, parts: impl Fn() -> I) -> u32 {
        loop {
            let place = self.place(parts());
            if place != NONE {
                return place;
            }
        }
    }

    /// Sums at a place.
    #[inline]
    pub fn at(&mut self, place: u32) -> Option<&mut Stats> {
        self.stats.get_mut(place as usize)
    }

    /// Counts how often places became invalid.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// True if patterns had to be folded for want of room rather than because they are alike.
    pub fn is_folded_for_room(&self) -> bool {
        self.halved > 0
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }

    /// Sums of keys that end at `node`.
    pub(crate) fn stats(&self, node: NodeId) -> Option<&Stats> {
        self.stats.get(self.node(node)?.stats as usize)
    }

    /// Children of `node` in a stable order.
    pub(crate) fn children(&self, node: NodeId) -> Vec<NodeId> {
        let Some(node) = self.node(node) else { return Vec::new() };
        let mut children: Vec<(&[u8], NodeId)> =
            node.children.iter().map(|(label, &id)| (&**label, id)).collect();
        children.sort_unstable();
        children.into_iter().map(|(_, id)| id).collect()
    }

    /// Keys at `node` and below.
    pub(crate) fn keys_below(&self, node: NodeId) -> u64 {
        let own = self.stats(node).map_or(0, |s| s.keys);
        // The depth is bounded by a shape's parts.
        own + self.children(node).into_iter().map(|child| self.keys_below(child)).sum::<u64>()
    }

    fn stats_of(&mut self, node: NodeId) -> u32 {
        let Some(found) = self.node(node).map(|n| n.stats) else { return NONE };
        if found != NONE {
            return found;
        }
        let place = self.free_stats.pop().unwrap_or_else(|| {
            self.stats.push(Stats::default());
            u32::try_from(self.stats.len() - 1).unwrap_or(NONE)
        });
        if let Some(node) = self.node_mut(node) {
            node.stats = place;
        }
        place
    }

    /// The child of `node` for `part`, made if it is new.
    fn step(&mut self, node: NodeId, part: &[u8]) -> NodeId {
        let Some(here) = self.node(node) else { return ROOT };
        if let Some(&child) = here.children.get(part) {
            return child;
        }
        if !is_word(part) {
            return self.add(node, part);
        }
        if here.is_folding {
            let named = named_with_prefix(part);
            if let Some(&child) = named.and_then(|label| here.children.get(&*label)) {
                return child;
            }
            return self.child(node, &named_whole(part));
        }
        if here.words < self.words_max(here.depth) {
            return self.add(node, part);
        }
        self.fold(node);
        self.step(node, part)
    }

    /// The child with exactly this label.
    fn child(&mut self, node: NodeId, label: &[u8]) -> NodeId {
        match self.node(node).and_then(|n| n.children.get(label)) {
            Some(&child) => child,
            None => self.add(node, label),
        }
    }

    fn add(&mut self, parent: NodeId, label: &[u8]) -> NodeId {
        let depth = self.node(parent).map_or(0, |n| n.depth) + 1;
        let new = Node::new(label, depth);
        let id = if let Some(id) = self.free_nodes.pop() {
            if let Some(place) = self.node_mut(id) {
                *place = new;
            }
            id
        } else {
            self.nodes.push(new);
            // Far more than NODES_MAX.
            u32::try_from(self.nodes.len() - 1).unwrap_or(ROOT)
        };
        if let Some(parent) = self.node_mut(parent) {
            parent.words += u32::from(is_word(label) && !is_name(label));
            parent.children.insert(label.into(), id);
        }
        id
    }

    fn words_max(&self, depth: u32) -> u32 {
        let limit = WORDS_MAX.get(depth as usize).or(WORDS_MAX.last()).copied();
        (limit.unwrap_or(WORDS_FEWEST) >> self.halved).max(WORDS_FEWEST)
    }
}

/// The byte that ends a part, if one does.
fn cut(part: &[u8]) -> Option<u8> {
    let last = *part.last()?;
    let is_cut = last.is_ascii_punctuation() && !matches!(last, b'-' | b'_') || last == b' ';
    is_cut.then_some(last)
}

/// A part without what ends it.
fn body(part: &[u8]) -> &[u8] {
    let end = part.len() - usize::from(cut(part).is_some());
    part.get(..end).unwrap_or_default()
}

/// True for a part with text of its own: anything but one placeholder, or nothing.
fn is_word(part: &[u8]) -> bool {
    match body(part) {
        [] => false,
        [one] => Placeholder::from_byte(*one).is_none(),
        _ => true,
    }
}

/// True for a part that stands for many words.
fn is_name(part: &[u8]) -> bool {
    body(part).last() == Some(&Placeholder::Name.byte())
}

/// `{name}` with the same ending.
fn named_whole(part: &[u8]) -> Vec<u8> {
    std::iter::once(Placeholder::Name.byte()).chain(cut(part)).collect()
}

/// `sess_{name}` for `sess_ab12`; `None` where a part has no such beginning.
fn named_with_prefix(part: &[u8]) -> Option<Vec<u8>> {
    let body = body(part);
    let joint = body.iter().position(|b| matches!(b, b'-' | b'_'))?;
    let prefix = body.get(..=joint).filter(|p| p.len() > 2 && p.len() < body.len())?;
    let name = std::iter::once(Placeholder::Name.byte()).chain(cut(part));
    Some(prefix.iter().copied().chain(name).collect())
}

#[cfg(test)]
mod tests;

//! Learning which words are names: folding, joining, tidying. Read [`Tree::fold`] first.

use std::collections::BTreeMap;

use super::{
    NODES_MAX, NONE, NodeId, ROOT, Tree, WORDS_FEWEST, body, cut, is_name, is_word, named_whole,
    named_with_prefix,
};
use crate::shape::Placeholder;
use crate::stats::Stats;

/// A word stays if it has one key in this many.
const FREQUENT: u64 = 50;
/// And at least this many.
const FREQUENT_KEYS: u64 = 8;
/// Words that begin alike become a pattern of their own from this many on.
const ALIKE: usize = 8;
/// Words of which nearly each is seen once are names from this many on; at the root, where single keys are common,
/// from more.
const SINGLE_WORDS: usize = 12;
const SINGLE_WORDS_ROOT: usize = 40;
/// A placeholder with less than this share (in per cent) of a wider one beside it is the wider one by chance:
/// a hash of digits only.
const CHANCE_PERCENT: u64 = 15;

impl Tree {
    /// Makes names of the rare words below `node`.
    pub(super) fn fold(&mut self, node: NodeId) {
        self.fold_words(node, true);
    }

    fn fold_words(&mut self, node: NodeId, keep_frequent: bool) {
        self.generation += 1;
        let counted: Vec<(NodeId, Vec<u8>, u64)> = self
            .children(node)
            .into_iter()
            .filter_map(|id| Some((id, self.node(id)?.label.to_vec(), self.keys_below(id))))
            .filter(|(_, label, _)| is_word(label) && !is_name(label))
            .collect();
        let all: u64 = counted.iter().map(|(_, _, keys)| keys).sum();
        let is_frequent =
            |keys: u64| keep_frequent && keys >= FREQUENT_KEYS && keys * FREQUENT >= all;
        let rare: Vec<(NodeId, Vec<u8>)> = counted
            .into_iter()
            .filter(|(_, _, keys)| !is_frequent(*keys))
            .map(|(id, label, _)| (id, label))
            .collect();
        let mut alike: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for prefixed in rare.iter().filter_map(|(_, label)| named_with_prefix(label)) {
            *alike.entry(prefixed).or_default() += 1;
        }
        for (id, label) in rare {
            let target = named_with_prefix(&label)
                .filter(|named| alike.get(named).is_some_and(|&n| n >= ALIKE))
                .unwrap_or_else(|| named_whole(&label));
            self.move_into(node, id, &label, &target);
        }
        if let Some(node) = self.node_mut(node) {
            node.is_folding = true;
        }
    }

    /// Makes child `id` of `parent`, labelled `label`, part of the child labelled `target`.
    fn move_into(&mut self, parent: NodeId, id: NodeId, label: &[u8], target: &[u8]) {
        if label == target {
            return;
        }
        if let Some(parent) = self.node_mut(parent) {
            parent.children.remove(label);
            if is_word(label) && !is_name(label) {
                parent.words = parent.words.saturating_sub(1);
            }
        }
        let target = self.child(parent, target);
        self.merge(id, target);
    }

    /// Makes all of `from` part of `to`. `from` must have been taken from its parent.
    fn merge(&mut self, from: NodeId, to: NodeId) {
        if let Some(stats) = self.take_stats(from) {
            let place = self.stats_of(to);
            if let Some(sum) = self.at(place) {
                sum.join(stats);
            }
        }
        for child in self.children(from) {
            let Some(label) = self.node(child).map(|n| n.label.clone()) else { continue };
            // As deep as shapes have parts.
            let place = self.step(to, &label);
            self.merge(child, place);
        }
        if let Some(node) = self.node_mut(from) {
            node.children.clear();
        }
        self.free_nodes.push(from);
    }

    fn take_stats(&mut self, node: NodeId) -> Option<Stats> {
        let node = self.node_mut(node)?;
        let place = std::mem::replace(&mut node.stats, NONE);
        let stats = std::mem::take(self.stats.get_mut(place as usize)?);
        self.free_stats.push(place);
        Some(stats)
    }

    /// Takes over another tree.
    pub fn join(&mut self, mut other: Self) {
        self.halved = self.halved.max(other.halved);
        self.graft(&mut other, ROOT, ROOT);
        if self.nodes.len() - self.free_nodes.len() > NODES_MAX {
            self.shrink();
        }
    }

    fn graft(&mut self, other: &mut Self, from: NodeId, to: NodeId) {
        if let Some(stats) = other.take_stats(from) {
            let place = self.stats_of(to);
            if let Some(sum) = self.at(place) {
                sum.join(stats);
            }
        }
        // First what the other holds for names, so that both agree on what a name is.
        let was_folding = other.node(from).is_some_and(|n| n.is_folding);
        if was_folding && self.node(to).is_some_and(|n| !n.is_folding) {
            self.fold(to);
        }
        for child in other.children(from) {
            let Some(label) = other.node(child).map(|n| n.label.clone()) else { continue };
            let place = if is_word(&label) && !is_name(&label) && !was_folding {
                self.step(to, &label)
            } else {
                self.child(to, &label)
            };
            self.graft(other, child, place);
        }
    }

    /// Makes room: halves the limits and folds what exceeds them, until it fits.
    pub(super) fn shrink(&mut self) {
        while self.nodes.len() - self.free_nodes.len() > NODES_MAX / 2 {
            self.halved += 1;
            self.generation += 1;
            self.fold_all(ROOT);
            if self.words_max(0) == WORDS_FEWEST {
                self.cut_deep(ROOT);
                break;
            }
        }
    }

    fn fold_all(&mut self, node: NodeId) {
        let limit = self.node(node).map_or(0, |n| self.words_max(n.depth));
        if self.node(node).is_some_and(|n| n.words > limit) {
            self.fold(node);
        }
        for child in self.children(node) {
            self.fold_all(child);
        }
    }

    /// When even that is not enough, what varies in form varies without end: below the children of the root all that
    /// is not frequent becomes `{...}`.
    fn cut_deep(&mut self, node: NodeId) {
        let all = self.keys_below(node);
        for child in self.children(node) {
            let keys = self.keys_below(child);
            if keys * FREQUENT >= all && keys >= FREQUENT_KEYS {
                self.cut_deep(child);
                continue;
            }
            let Some(label) = self.node(child).map(|n| n.label.clone()) else { continue };
            let rest = [Placeholder::Rest.byte()];
            if let Some(stats) = self.take_below(child) {
                if let Some(node) = self.node_mut(node) {
                    node.children.remove(&label);
                    if is_word(&label) && !is_name(&label) {
                        node.words = node.words.saturating_sub(1);
                    }
                }
                let target = self.child(node, &rest);
                let place = self.stats_of(target);
                if let Some(sum) = self.at(place) {
                    sum.join(stats);
                }
            }
        }
    }

    /// Sums of a node and all below it; the nodes are gone.
    fn take_below(&mut self, node: NodeId) -> Option<Stats> {
        let mut sum = self.take_stats(node).unwrap_or_default();
        for child in self.children(node) {
            if let Some(more) = self.take_below(child) {
                sum.join(more);
            }
        }
        if let Some(node) = self.node_mut(node) {
            node.children.clear();
        }
        self.free_nodes.push(node);
        (sum.keys > 0).then_some(sum)
    }

    /// The last look, when all keys are in: words of which nearly each was seen once are names after all, and what
    /// matched a narrow form by chance joins the wide one.
    pub fn tidy(&mut self) {
        self.tidy_below(ROOT);
    }

    fn tidy_below(&mut self, node: NodeId) {
        let words: Vec<NodeId> = self
            .children(node)
            .into_iter()
            .filter(|&id| self.node(id).is_some_and(|n| is_word(&n.label) && !is_name(&n.label)))
            .collect();
        let keys: u64 = words.iter().map(|&id| self.keys_below(id)).sum();
        let enough = if node == ROOT { SINGLE_WORDS_ROOT } else { SINGLE_WORDS };
        if words.len() >= enough && keys < 2 * words.len() as u64 {
            self.fold_words(node, false);
        }
        self.absorb(node);
        for child in self.children(node) {
            self.tidy_below(child);
        }
    }

    /// Moves placeholders that are there by chance into the wide one beside them.
    fn absorb(&mut self, node: NodeId) {
        let mut siblings: Vec<(u64, NodeId, Vec<u8>)> = self
            .children(node)
            .into_iter()
            .filter_map(|id| Some((self.keys_below(id), id, self.node(id)?.label.to_vec())))
            .collect();
        siblings.sort_unstable();
        let Some((most, _, wide)) = siblings.pop() else { return };
        for (keys, id, label) in siblings {
            if keys * 100 <= most * CHANCE_PERCENT
                && cut(&label) == cut(&wide)
                && may_absorb(body(&wide), body(&label))
            {
                self.move_into(node, id, &label, &wide);
            }
        }
    }
}

/// Whether what has form `narrow` may have `wide` too.
fn may_absorb(wide: &[u8], narrow: &[u8]) -> bool {
    let one = |body: &[u8]| match body {
        [byte] => Placeholder::from_byte(*byte),
        _ => None,
    };
    match (one(wide), one(narrow)) {
        (Some(Placeholder::Id), Some(Placeholder::Date | Placeholder::Time)) => true,
        (Some(wide @ (Placeholder::Hash | Placeholder::Token)), Some(narrow)) => {
            wide.widest(narrow) == wide || narrow == Placeholder::Name
        }
        (Some(Placeholder::Hash | Placeholder::Token | Placeholder::Name), None) => {
            // `ab{id}` beside a great many tokens.
            narrow.len() <= 12 && narrow.iter().any(|&b| Placeholder::from_byte(b).is_some())
        }
        (Some(Placeholder::Name), Some(narrow)) => narrow != Placeholder::Binary,
        _ => false,
    }
}
